import Broker
import NIOCore

/// The frames of one connection that cannot be written yet. Exists only while a connection is congested.
///
/// Frames leave by rank, and within a rank in the order in which they came, so that a room's order is kept (a room
/// has one rank). The queue counts; what to do at the bound is decided by its owner with `dropBestEffort` and
/// `evictRoom`.
final class OutboundQueue {
    private struct Waiting {
        var frame: OutboundFrame
        var sequence: UInt64
    }

    /// Rank r: stored frames in `2r`, others in `2r + 1`, so that each is dropped without walking over the other kind.
    private var rows: [CircularBuffer<Waiting>] = Array(
        repeating: CircularBuffer(),
        count: 2 * (Int(OutboundFrame.Rank.lowest) + 1)
    )
    private var sequence: UInt64 = 0
    private(set) var bytes = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    func append(_ frame: OutboundFrame) {
        rows[2 * Int(frame.rank) + (frame.isStored ? 0 : 1)].append(Waiting(frame: frame, sequence: sequence))
        sequence += 1
        bytes += frame.count
        count += 1
    }

    /// The next frame to write.
    func popFirst() -> OutboundFrame? {
        var row = 0
        while row < rows.count {
            let stored = rows[row].first?.sequence ?? .max
            let other = rows[row + 1].first?.sequence ?? .max
            if stored != .max || other != .max { return take(stored < other ? row : row + 1) }
            row += 2
        }
        return nil
    }

    /// Drops the oldest unstored frame of the lowest rank that is not better than `rank`.
    func dropBestEffort(notBetterThan rank: UInt8) -> OutboundFrame? {
        var current = OutboundFrame.Rank.lowest
        while current >= max(rank, 1) {
            let row = 2 * Int(current) + 1
            if !rows[row].isEmpty { return take(row) }
            current -= 1
        }
        return nil
    }

    /// Takes out all frames of the stored room whose newest frame is the newest of the lowest rank worse than `rank`.
    /// Returns the room and the offset of its first frame: from there it is read again later.
    func evictRoom(worseThan rank: UInt8) -> (room: HubRoomID, from: UInt64)? {
        var current = OutboundFrame.Rank.lowest
        while current > max(rank, 1) {
            if let room = rows[2 * Int(current)].last?.frame.room, let first = remove(room) {
                return (room, first)
            }
            current -= 1
        }
        return nil
    }

    /// Takes out all frames of a room, as when it is left; returns the first one's offset.
    @discardableResult
    func remove(_ room: HubRoomID) -> UInt64? {
        var first: UInt64?
        for row in rows.indices where rows[row].contains(where: { $0.frame.room == room }) {
            rows[row].removeAll { waiting in
                guard waiting.frame.room == room else { return false }
                if first == nil { first = waiting.frame.offset }
                bytes -= waiting.frame.count
                count -= 1
                return true
            }
        }
        return first
    }

    private func take(_ row: Int) -> OutboundFrame {
        let frame = rows[row].removeFirst().frame
        bytes -= frame.count
        count -= 1
        return frame
    }
}
