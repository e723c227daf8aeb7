import Primitives

/// Bounds and times of the gossip's sockets; those of the protocol are SWIM's own.
package struct GossipSettings: Sendable {
    /// Where a seed without a port listens.
    package var defaultPort = 7947
    /// An exchange over a stream, from dialling to its end.
    package var streamTimeout = Interval.seconds(3)
    /// The largest message of a stream.
    package var maxFrame = 1 << 20
    /// Streams that were accepted, and streams that were dialled, at a time: above it the oldest accepted one is
    /// dropped, and nothing is dialled.
    package var maxStreams = 64
    /// Bytes of a datagram that are looked at; longer ones are refused. Above what SWIM sends.
    package var maxDatagram = 2048
    /// While no other member lives, seeds are asked again after this; the pause doubles up to `maxJoinPause`.
    package var minJoinPause = Interval.milliseconds(500)
    package var maxJoinPause = Interval.seconds(10)
    /// While others live, seeds that are not among them are asked again so often, so that the parts of a cluster that
    /// was split for long find each other.
    package var reseedInterval = Interval.seconds(30)
    /// Lines about refused packets.
    package var refusalLinesPerSecond = 10

    package init() {}
}

/// What went through the gossip's sockets since the node began (CL-18). Bytes are those of UDP and TCP payloads.
package struct GossipStatistics: Equatable, Sendable {
    package var datagramsIn: UInt64 = 0
    package var datagramsOut: UInt64 = 0
    package var datagramBytesIn: UInt64 = 0
    package var datagramBytesOut: UInt64 = 0
    /// Datagrams that the kernel did not take, or that were to go out while the socket was closed.
    package var datagramsUnsent: UInt64 = 0
    /// Frames of streams.
    package var framesIn: UInt64 = 0
    package var framesOut: UInt64 = 0
    package var streamBytesIn: UInt64 = 0
    package var streamBytesOut: UInt64 = 0
    package var streamsAccepted: UInt64 = 0
    package var streamsDialled: UInt64 = 0
    /// Dialled streams that could not be made, or that ended without an answer.
    package var streamsFailed: UInt64 = 0
    /// Accepted streams that were dropped because there were too many, or because they were too slow.
    package var streamsDropped: UInt64 = 0
    /// By reason, in the order of `GossipRefusal.allCases`.
    private var refusals = [UInt64](repeating: 0, count: GossipRefusal.allCases.count)

    package init() {}

    /// Packets and frames that were thrown away, by reason.
    package subscript(reason: GossipRefusal) -> UInt64 {
        get { refusals[GossipStatistics.index(reason)] }
        set { refusals[GossipStatistics.index(reason)] = newValue }
    }

    package var refused: UInt64 { refusals.reduce(0, &+) }

    private static func index(_ reason: GossipRefusal) -> Int { GossipRefusal.allCases.firstIndex(of: reason) ?? 0 }
}

/// Why the gossip did not do what it was asked for.
package enum GossipError: Error, Equatable, CustomStringConvertible {
    /// The node's own address, or a seed, cannot be understood.
    case address(String)
    case stopped
    /// Another change of the keyring is being written.
    case busy
    /// The keyring could not be written; it is as it was.
    case notKept(String)
    case keyring(KeyringError)

    package var description: String {
        switch self {
        case .address(let text): "'\(text)' is not an address like 192.0.2.1:7947 or [2001:db8::1]:7947"
        case .stopped: "the node is stopping"
        case .busy: "another change of the keyring is under way: try again"
        case .notKept(let reason): "the keyring could not be written and is as it was: \(reason)"
        case .keyring(let error): error.description
        }
    }
}
