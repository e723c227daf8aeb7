/// A point of the monotonic clock, in nanoseconds since an arbitrary start. Cores are handed instants; they never ask.
package struct Instant: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64

    @inlinable package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = Instant(nanoseconds: 0)
    package static let distantFuture = Instant(nanoseconds: .max)

    @inlinable package static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    /// The instant `interval` later; saturates at `distantFuture`.
    @inlinable package static func + (instant: Instant, interval: Interval) -> Instant {
        let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(interval.nanoseconds)
        return Instant(nanoseconds: overflow ? .max : sum)
    }

    /// The time since `earlier`; zero when `earlier` is not earlier.
    @inlinable package static func - (later: Instant, earlier: Instant) -> Interval {
        Interval(nanoseconds: later.nanoseconds > earlier.nanoseconds ? later.nanoseconds - earlier.nanoseconds : 0)
    }
}

/// A span of time in nanoseconds, never negative. `Duration` is 128 bits wide and signed, which the cores do not need.
package struct Interval: Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64

    @inlinable package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static let zero = Interval(nanoseconds: 0)
    @inlinable package static func seconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n &* 1_000_000_000) }
    @inlinable package static func milliseconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n &* 1_000_000) }
    @inlinable package static func microseconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n &* 1000) }

    @inlinable package var milliseconds: UInt64 { nanoseconds / 1_000_000 }
    @inlinable package var seconds: Double { Double(nanoseconds) / 1e9 }

    @inlinable package static func < (a: Interval, b: Interval) -> Bool { a.nanoseconds < b.nanoseconds }
    @inlinable package static func * (a: Interval, factor: UInt64) -> Interval {
        Interval(nanoseconds: a.nanoseconds &* factor)
    }
}

/// Wall-clock time in milliseconds since 1970, as it is written into the log. Replicas take it from the command, never
/// from their own clock.
public typealias Timestamp = UInt64
