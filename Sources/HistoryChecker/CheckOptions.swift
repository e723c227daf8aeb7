import Primitives

/// What the run promised, where that is not the same for every run.
package struct CheckOptions: Sendable {
    /// Which declared gaps are excused.
    package enum GapPolicy: Sendable {
        /// A gap that was announced is honest, whatever its reason.
        case declared
        /// A gap may only skip what retention trimmed: at or below the final logs' floor.
        case belowFloor
    }

    /// Violations of each name that are described in full; all are counted.
    package var maximumViolationsPerName = 100
    /// Room numbers whose messages are not stored: loss, skips and unseen messages are only counted.
    package var bestEffortRooms: Set<UInt32> = []
    /// The history has every publication, so that an unknown message is a phantom.
    package var publishersAreRecorded = true
    package var gapPolicy = GapPolicy.declared
    /// A room's history may restart in a new epoch, and what the old one held is then given up.
    package var epochMayChange = false
    /// All replicas were given the time to catch up before they were read.
    package var replicasReachHead = true
    /// Every session stayed until it could have received everything.
    package var sessionsReadToEnd = false
    /// The longest time without an acknowledged publish that is no violation; nil for no bound.
    package var maximumSilence: Interval?
    /// The partition of room `n` at index `n`, for silences; empty for one partition a room.
    package var partitions: [UInt32] = []

    package init() {}
}
