import Primitives

/// Whether the node is linked to Redis, and when it tries again.
///
/// A link is the set of dedicated connections: they come and go together. A lost link is tried again at growing
/// intervals; when the retries are used up the breaker opens and the node falls back to local broadcast. Half-open
/// attempts go on, ever more rarely, and the first that restores every subscription ends the fallback (RA-13 to RA-15).
package struct LinkState: Sendable {
    package enum Phase: Equatable, Sendable {
        case down
        /// Connections are being made.
        case connecting
        /// They are there; subscriptions are not yet.
        case restoring
        case up
    }

    package private(set) var phase = Phase.down
    package private(set) var breaker: CircuitBreaker
    /// Rooms are served locally.
    package private(set) var isFallback = false
    /// The last failure, for people.
    package private(set) var reason = "not connected yet"
    /// Attempts to connect since start.
    package private(set) var attempts: UInt64 = 0
    /// When the next attempt is due.
    package private(set) var nextAttempt = Instant.zero
    private var backoff: Backoff
    private var random: Xoshiro256

    /// `retries`: attempts after the first failed one before the fallback (RA-09).
    package init(retries: Int, base: Interval, ceiling: Interval, seed: UInt64) {
        breaker = CircuitBreaker(threshold: retries + 1)
        backoff = Backoff(base: base, ceiling: ceiling)
        random = Xoshiro256(seed: seed)
    }

    /// True when an attempt is due; it is then under way.
    package mutating func begin(at now: Instant) -> Bool {
        guard phase == .down, now >= nextAttempt, breaker.allows(at: now) else { return false }
        phase = .connecting
        attempts += 1
        return true
    }

    package mutating func connected() {
        guard phase == .connecting else { return }
        phase = .restoring
    }

    /// Every subscription is acknowledged.
    package mutating func restored() {
        guard phase == .restoring else { return }
        phase = .up
        breaker.succeeded()
        backoff.reset()
        isFallback = false
        reason = ""
    }

    /// An attempt failed, or the link is lost.
    package mutating func failed(at now: Instant, _ reason: String) {
        guard phase != .down else { return }
        phase = .down
        self.reason = reason
        let pause = backoff.next(&random)
        nextAttempt = now + pause
        breaker.failed(at: now, pause: pause)
        if breaker.state == .open { isFallback = true }
    }

    /// There is a server again, somebody says: the next attempt is due at once, whatever the pause was, and pauses
    /// begin small.
    package mutating func hurry(at now: Instant) {
        guard phase == .down else { return }
        backoff.reset()
        nextAttempt = now
        breaker.hurry(at: now)
    }
}
