import Primitives

/// Keeps a program from leaning on something that does not answer: Closed lets everything through, Open refuses at
/// once, Half-Open lets one attempt through to see (M. Nygard, Release It!, "Circuit Breaker").
package struct CircuitBreaker: Sendable {
    package enum State: String, Sendable {
        case closed, open
        case halfOpen = "half-open"
    }

    package private(set) var state = State.closed
    /// In a row.
    package private(set) var failures = 0
    /// Closed to open or half-open to open, since start.
    package private(set) var openings: UInt64 = 0
    private let threshold: Int
    private let successesNeeded: Int
    private var successes = 0
    private var opensUntil = Instant.zero

    /// Opens after `threshold` failures in a row; closes after `successes` in Half-Open.
    package init(threshold: Int, successes: Int = 1) {
        self.threshold = max(1, threshold)
        successesNeeded = max(1, successes)
    }

    /// Whether an attempt may be made now. An open breaker whose time is over becomes half-open by asking.
    package mutating func allows(at now: Instant) -> Bool {
        if state == .open, now >= opensUntil {
            state = .halfOpen
            successes = 0
        }
        return state != .open
    }

    package mutating func succeeded() {
        failures = 0
        guard state == .halfOpen else { return }
        successes += 1
        if successes >= successesNeeded { state = .closed }
    }

    /// `pause` is for how long it stays open, if it opens now.
    package mutating func failed(at now: Instant, pause: Interval) {
        failures += 1
        guard state == .halfOpen || failures >= threshold else { return }
        state = .open
        openings += 1
        opensUntil = now + pause
    }

    /// It may be tried from now on.
    package mutating func hurry(at now: Instant) { opensUntil = min(opensUntil, now) }
}

/// Growing pauses between attempts, with jitter, so that many nodes that lost one server do not all come back at once.
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("equal jitter").
package struct Backoff: Sendable {
    private let base: Interval
    private let ceiling: Interval
    private var step: UInt64 = 0

    package init(base: Interval, ceiling: Interval) {
        self.base = base
        self.ceiling = ceiling
    }

    package mutating func reset() { step = 0 }

    /// Between half and all of `base` x 2^n, at most `ceiling`.
    package mutating func next(_ random: inout Xoshiro256) -> Interval {
        var full = ceiling.nanoseconds
        if step < 32 {
            let (product, overflow) = base.nanoseconds.multipliedReportingOverflow(by: 1 << step)
            if !overflow { full = min(full, product) }
        }
        step = min(step + 1, 32)
        return Interval(nanoseconds: full / 2 + random.below(full / 2 + 1))
    }
}
