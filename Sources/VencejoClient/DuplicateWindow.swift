import NIOCore
import Primitives

/// The ids of messages that were processed, in a bounded window (DL-07): delivery is at least once, and this makes the
/// effect of a repeated message happen once. Time is an input.
package struct DuplicateWindow: Sendable {
    private struct Entry: Sendable {
        var id: [UInt8]
        var time: Instant
    }

    /// The most ids that are remembered; the oldest goes first.
    package let capacity: Int
    /// How long an id is remembered.
    package let lifetime: Interval
    /// Messages that were found to be repeats.
    package private(set) var duplicates: UInt64 = 0
    private var known: Set<[UInt8]> = []
    private var order = CircularBuffer<Entry>()

    package init(capacity: Int = 10_000, lifetime: Interval = .seconds(300)) {
        precondition(capacity > 0)
        self.capacity = capacity
        self.lifetime = lifetime
    }

    package var count: Int { order.count }

    /// True the first time that an id is seen within the window, and remembers it; false for a duplicate. `now` must
    /// not go back. A message without id is always new.
    package mutating func isNew(_ id: [UInt8], now: Instant) -> Bool {
        while let oldest = order.first, now - oldest.time > lifetime { forgetOldest() }
        guard !id.isEmpty else { return true }
        guard !known.contains(id) else {
            duplicates += 1
            return false
        }
        if order.count == capacity { forgetOldest() }
        known.insert(id)
        order.append(Entry(id: id, time: now))
        return true
    }

    private mutating func forgetOldest() {
        guard let oldest = order.popFirst() else { return }
        known.remove(oldest.id)
    }
}
