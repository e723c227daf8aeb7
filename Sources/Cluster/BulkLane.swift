import NIOCore
import PeerProtocol
import Primitives

/// The queue of a link for what live messages may overtake: whole frames, oldest first.
///
/// The link hands them to its stream one by one while little waits there, so that a live message has at most that, and
/// one frame, in front of it.
package struct BulkLane {
    private struct Frame {
        var bytes: [UInt8]
        var group: GroupID?
    }

    private var frames = CircularBuffer<Frame>()
    /// Appends that wait, by group; no row for none.
    private var appends: [GroupID: Int] = [:]
    /// Bytes that wait.
    package private(set) var bytes = 0

    package init() {}

    package var isEmpty: Bool { frames.isEmpty }
    package var count: Int { frames.count }

    /// Whether a message must wait here to keep its place among the appends of its group.
    package func holdsBack(_ message: PeerMessage) -> Bool {
        guard !appends.isEmpty, let group = message.appendGroup else { return false }
        return appends[group] != nil
    }

    /// Queues an encoded message; `group` is its `appendGroup`.
    package mutating func append(_ frame: [UInt8], group: GroupID?) {
        frames.append(Frame(bytes: frame, group: group))
        bytes += frame.count
        if let group { appends[group, default: 0] += 1 }
    }

    /// Takes the oldest frame.
    package mutating func next() -> [UInt8]? {
        guard let frame = frames.popFirst() else { return nil }
        bytes -= frame.bytes.count
        if let group = frame.group, let waiting = appends[group] { appends[group] = waiting > 1 ? waiting - 1 : nil }
        return frame.bytes
    }
}
