/// The outcome of a subscribe command, or of one server-side subscription of a connect command.
package struct SubscribeResult: Equatable, Sendable {
    package var recoverable = false
    package var positioned = false
    /// The room's current position; nil when it has none.
    package var epoch: UInt64?
    package var offset: UInt64 = 0
    /// What came after the client's position, oldest first.
    package var publications: [OutgoingPublication] = []
    /// Nothing is missing between the client's position and `publications`.
    package var recovered = false
    package var wasRecovering = false
    /// The subscription's token expires in `timeToLive` seconds.
    package var expires = false
    package var timeToLive: UInt32 = 0
    /// Our extension: what was granted of the request's `ack`.
    package var acknowledgement: AcknowledgementGrant?

    package init() {}
}

/// `"ack": {"cursor": …, "window": n, "offset": n}` of a subscribe result: the window in force, and the durable
/// cursor's value, after which publications are sent.
package struct AcknowledgementGrant: Equatable, Sendable {
    package var cursor: ArraySlice<UInt8>
    package var window: UInt32
    package var offset: UInt64

    package init(cursor: ArraySlice<UInt8> = [], window: UInt32, offset: UInt64 = 0) {
        self.cursor = cursor
        self.window = window
        self.offset = offset
    }
}
