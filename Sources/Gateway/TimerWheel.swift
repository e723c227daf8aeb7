import Primitives

/// A hashed timer wheel (Varghese and Lauck, 1987) for one deadline per connection, driven by the shard's tick.
///
/// Deadlines are kept by their owners: an entry only says "look at this connection in this slot". Moving a deadline
/// later costs nothing (the owner is looked at, finds that it is not due, and is armed again), cancelling costs
/// nothing, and there is no allocation once the slots have grown.
struct TimerWheel {
    /// Who is to be looked at: an index and a generation of the caller's table.
    struct Entry: Equatable {
        var index: UInt32
        var generation: UInt32
    }

    private let granularity: UInt64
    private var slots: [[Entry]]
    /// The slot number (not wrapped) up to which everything was popped.
    private var position: UInt64
    private(set) var count = 0

    /// Deadlines further than `slots * granularity` away are looked at early, once a turn.
    init(granularity: Interval = .milliseconds(50), slots: Int = 1024, now: Instant) {
        precondition(slots > 1 && granularity.nanoseconds > 0)
        self.granularity = granularity.nanoseconds
        self.slots = Array(repeating: [], count: slots)
        position = now.nanoseconds / granularity.nanoseconds
    }

    /// Never early, up to one granule late; a deadline beyond the wheel is capped to its far end.
    mutating func arm(_ entry: Entry, at deadline: Instant) {
        let wanted = deadline.nanoseconds / granularity + 1
        let slot = min(max(wanted, position + 1), position + UInt64(slots.count) - 1)
        slots[Int(slot % UInt64(slots.count))].append(entry)
        count += 1
    }

    /// Appends the entries of all slots that have passed to `due`.
    mutating func advance(to now: Instant, due: inout [Entry]) {
        let target = now.nanoseconds / granularity
        guard target > position else { return }
        // After a long pause every slot is visited once, not once per missed turn.
        var slot = max(position + 1, target > UInt64(slots.count) ? target - UInt64(slots.count) + 1 : 0)
        while slot <= target {
            let index = Int(slot % UInt64(slots.count))
            count -= slots[index].count
            due.append(contentsOf: slots[index])
            slots[index].removeAll(keepingCapacity: true)
            slot += 1
        }
        position = target
    }
}
