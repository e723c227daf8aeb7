import Primitives

/// What PUBSUB asks of the whole cluster.
package enum ChannelQuery: Equatable, Sendable {
    /// Channels with at least one subscriber whose names match; nil: all.
    case names(Glob?)
    /// Subscribers of each.
    case counts([RoomName])
    /// Distinct patterns.
    case patterns
}

package enum ChannelReply: Equatable, Sendable {
    case names([RoomName])
    case counts([UInt64])
    case patterns([Glob])
}
