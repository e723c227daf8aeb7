import Primitives
import Synchronization

/// How late a loop's ticks were (GW-10). A tick is late when something held the loop: every socket of the shard waited
/// as long.
package struct LoopLag: Equatable, Sendable {
    /// Upper bounds of the buckets; one more bucket counts what is above the last.
    package static let bounds: [Interval] = [
        .milliseconds(1), .milliseconds(2), .milliseconds(5), .milliseconds(10), .milliseconds(20), .milliseconds(50),
        .milliseconds(100), .milliseconds(250), .milliseconds(1000),
    ]

    /// Ticks by lateness; the last element counts those above every bound.
    package private(set) var counts: [UInt64] = Array(repeating: 0, count: bounds.count + 1)
    /// The sum of all lateness.
    package private(set) var total = Interval.zero
    /// The latest tick so far.
    package private(set) var max = Interval.zero

    package init() {}

    package var ticks: UInt64 { counts.reduce(0, +) }

    package mutating func record(_ lateness: Interval) {
        var bucket = 0
        while bucket < LoopLag.bounds.count && lateness > LoopLag.bounds[bucket] { bucket += 1 }
        counts[bucket] += 1
        total = Interval(nanoseconds: total.nanoseconds &+ lateness.nanoseconds)
        if lateness > max { max = lateness }
    }

    /// The bound of the bucket that holds the given share of ticks, `max` for the last bucket. `percent` is 0...100.
    package func percentile(_ percent: UInt64) -> Interval {
        let all = ticks
        guard all > 0 else { return .zero }
        let wanted = Swift.max(1, (all * percent + 99) / 100)
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen += count
            if seen >= wanted { return bucket < LoopLag.bounds.count ? LoopLag.bounds[bucket] : max }
        }
        return max
    }
}

/// A loop's sign of life, written by its ticks, read by any thread: a probe that only asks the loop would hang with it.
package final class LoopPulse: Sendable {
    private let lastBeat = Atomic<UInt64>(0)
    private let lag = Published(LoopLag())

    init() {}

    /// Called by the loop once a tick.
    func beat(at now: Instant, lateness: Interval) {
        lastBeat.store(now.nanoseconds, ordering: .relaxed)
        lag.update { $0.record(lateness) }
    }

    /// The loop no longer ticks on purpose.
    func stop() { lastBeat.store(0, ordering: .relaxed) }

    /// How long the loop has not ticked; zero before its first tick and after it was stopped.
    package func silence(at now: Instant) -> Interval {
        let beat = lastBeat.load(ordering: .relaxed)
        return beat == 0 ? .zero : now - Instant(nanoseconds: beat)
    }

    /// A copy of the lateness statistics.
    package var lateness: LoopLag { lag.load() }
}
