import Broker
import PeerProtocol
import Primitives

/// What happens at a node; dropped when the node has died since, put off while it is paused.
enum NodeEvent {
    case tick
    /// The oldest frame in that lane of the link from that node.
    case deliver(from: Int, epoch: UInt32, PeerLane)
    case peerUp(Int)
    case peerDown(Int)
    /// The batch under way is on the platter.
    case synced
    /// A batch that found the disk full is tried again.
    case retryAppend
    /// The first of the slower jobs is due.
    case work
    case flush
    /// A client's request arrives.
    case request(Connection, (Broker, SessionID) -> Void)
    /// A connection is closed by its server, which finds out late that the client is gone.
    case close(Connection)
}

enum Event {
    case node(Int, life: UInt32, NodeEvent)
    case call(() -> Void)
}

/// Events by time; those of one instant in the order in which they were put in.
struct EventQueue {
    private struct Row {
        var time: Instant
        var order: UInt64
        var event: Event
    }

    private var heap: [Row] = []
    private var nextOrder: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }
    var nextTime: Instant? { heap.first?.time }

    mutating func push(_ event: Event, at time: Instant) {
        heap.append(Row(time: time, order: nextOrder, event: event))
        nextOrder += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard precedes(child, parent) else { break }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> (time: Instant, event: Event)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        return (first.time, first.event)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            let left = 2 * parent + 1
            var least = parent
            if left < heap.count, precedes(left, least) { least = left }
            if left + 1 < heap.count, precedes(left + 1, least) { least = left + 1 }
            guard least != parent else { return }
            heap.swapAt(least, parent)
            parent = least
        }
    }

    private func precedes(_ a: Int, _ b: Int) -> Bool {
        heap[a].time != heap[b].time ? heap[a].time < heap[b].time : heap[a].order < heap[b].order
    }
}
