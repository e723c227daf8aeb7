import DequeModule
import NIOCore
import PeerProtocol
import Primitives

/// The queue of a link for what live messages may overtake: whole frames, oldest first.
///
/// The link hands them to its stream one by one while little waits there, so that a live message has at most that, and
/// one frame, in front of it.
package struct BulkLane {
    private struct Frame {
        var bytes: ByteBuffer
        var group: GroupID?
    }

    private var frames: Deque<Frame> = []
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
    package mutating func append(_ frame: ByteBuffer, group: GroupID?) {
        frames.append(Frame(bytes: frame, group: group))
        bytes += frame.readableBytes
        if let group { appends[group, default: 0] += 1 }
    }

    /// Takes the oldest frame.
    package mutating func next() -> ByteBuffer? {
        guard let frame = frames.popFirst() else { return nil }
        bytes -= frame.bytes.readableBytes
        if let group = frame.group, let waiting = appends[group] { appends[group] = waiting > 1 ? waiting - 1 : nil }
        return frame.bytes
    }
}
