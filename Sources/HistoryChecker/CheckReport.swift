import Primitives

/// A time in which a partition acknowledged nothing although somebody was publishing.
package struct Silence: Equatable, Sendable {
    package var partition: UInt32
    package var start: Instant
    package var end: Instant

    package init(partition: UInt32, start: Instant, end: Instant) {
        self.partition = partition
        self.start = start
        self.end = end
    }

    package var length: Interval { end - start }
}

/// Counts that are not by themselves wrong.
package struct CheckStatistics: Equatable, Sendable {
    package var records = 0
    package var rooms = 0
    /// Distinct messages whose publish was recorded, by their best outcome.
    package var acknowledged = 0
    package var refused = 0
    package var unknownOutcome = 0
    /// Publishes of unknown outcome that turned out to be in the log.
    package var unknownButKept = 0
    package var received = 0
    /// Receives that repeat an earlier one of the same session after it was set back.
    package var redelivered = 0
    /// Messages of producers without idempotence that are in the log twice.
    package var duplicatesWithoutIdempotence = 0
    package var declaredGaps = 0
    package var declaredGapMessages: UInt64 = 0
    /// Messages that a best-effort session missed.
    package var bestEffortSkips: UInt64 = 0
    package var epochChanges = 0
    /// Messages that no session received although one was subscribed below them.
    package var unseen = 0
    /// The longest time from a publish's acknowledgement to a first receive by a session.
    package var worstRealTimeLag = Interval.zero
    /// The longest silence of each partition, by partition.
    package var silences: [Silence] = []

    package init() {}
}

/// What the checker found.
package struct CheckReport: Equatable, Sendable {
    /// In the order of rooms and checks; at most `CheckOptions.maximumViolationsPerName` of each name.
    package internal(set) var violations: [Violation] = []
    /// How many there were of each name, including those not listed, in the order of `ViolationName.allCases`.
    package internal(set) var counts: [Int] = Array(repeating: 0, count: ViolationName.allCases.count)
    package internal(set) var statistics = CheckStatistics()

    package init() {}

    package var isValid: Bool { counts.allSatisfy { $0 == 0 } }

    package func count(of name: ViolationName) -> Int { counts[CheckReport.slot(of: name)] }

    mutating func add(_ violation: @autoclosure () -> Violation, _ name: ViolationName, limit: Int) {
        let slot = CheckReport.slot(of: name)
        counts[slot] += 1
        if counts[slot] <= limit { violations.append(violation()) }
    }

    private static func slot(of name: ViolationName) -> Int {
        var slot = 0
        for candidate in ViolationName.allCases {
            if candidate == name { return slot }
            slot += 1
        }
        return slot
    }
}
