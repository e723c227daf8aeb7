import Primitives

/// What is still to be gossiped: at most one message about each member, the newest. It rides on pings and acks and has
/// packets of its own, and is dropped when it was sent often enough (SWIM, 4.1).
struct BroadcastQueue: Sendable {
    struct Broadcast: Sendable {
        var subject: NodeID
        var bytes: [UInt8]
        var transmits: Int
        var order: UInt64
    }

    /// In the order of sending: what was sent least first, and of those the newest.
    private(set) var broadcasts: [Broadcast] = []
    private var nextOrder: UInt64 = 0
    /// Beyond this what was sent most is dropped: a node without anyone to talk to keeps the newest.
    let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    var isEmpty: Bool { broadcasts.isEmpty }

    func contains(_ subject: NodeID) -> Bool { broadcasts.contains { $0.subject == subject } }

    /// Replaces what was queued about `subject`.
    mutating func queue(_ message: SWIMMessage, about subject: NodeID) {
        var writer = ByteWriter(capacity: 160)
        message.write(to: &writer)
        broadcasts.removeAll { $0.subject == subject }
        broadcasts.insert(Broadcast(subject: subject, bytes: writer.bytes, transmits: 0, order: nextOrder), at: 0)
        nextOrder += 1
        if broadcasts.count > capacity { broadcasts.removeLast() }
    }

    /// Appends as many messages as fit into `maxBytes`, and drops those that have now been sent `limit` times.
    mutating func write(to writer: inout ByteWriter, maxBytes: Int, limit: Int) {
        var hasSent = false
        for index in broadcasts.indices where writer.count + broadcasts[index].bytes.count <= maxBytes {
            writer.writeRaw(broadcasts[index].bytes)
            broadcasts[index].transmits += 1
            hasSent = true
        }
        guard hasSent else { return }
        broadcasts.removeAll { $0.transmits >= limit }
        broadcasts.sort { ($0.transmits, $1.order) < ($1.transmits, $0.order) }
    }
}
