/// Things that must happen now and then, or the simulation proves less than it seems to. Each run counts them; the
/// tests assert that no count over all seeds is zero.
package enum Sometimes: String, CaseIterable, Sendable {
    case ownerChanged = "owner changed"
    case ownerChangedInFlight = "owner changed with publishes in flight"
    case leadershipReturned = "leadership went back to the preferred owner"
    case resigned = "a node that leaves handed everything over"
    case duplicateAcrossFailover = "duplicate recognized after a change of owner"
    case duplicateAnswered = "duplicate recognized"
    case producerFenced = "old producer epoch fenced"
    case snapshotSaved = "snapshot saved"
    case snapshotInstalled = "snapshot installed"
    case restartedFromSnapshot = "restarted from a snapshot"
    case logDropped = "log dropped by retention"
    case segmentsWritten = "entries moved to segments"
    case readFromDisk = "entries read back from disk"
    case tornTailCut = "torn tail cut"
    case diskFull = "append refused by a full disk"
    case diskRecovered = "append accepted after a full disk"
    case diskStalled = "disk stalled"
    case diedInStorage = "died in the middle of a storage operation"
    case replicaFaulty = "damage made a replica faulty"
    case replicaRepaired = "faulty replica repaired"
    case readFailed = "a read met damaged bytes"
    case staleLeaderResumed = "paused owner resumed after it was replaced"
    case gapSent = "gap sent"
    case resumed = "subscription resumed without a gap"
    case resumedElsewhere = "subscription resumed on another node"
    case cursorResumed = "consumer continued from its cursor"
    case redelivered = "unacknowledged message delivered again"
    case subscriberPaused = "slow subscriber read on from the log"
    case publishRefused = "publish refused without a quorum"
    case publishTimedOut = "publish timed out"
    case streamRestarted = "publish stream sent again"
    case readServed = "linearizable read served"
    case linkReset = "link reset with messages in flight"
    case bulkPassed = "live message overtook bulk"
    case oneWay = "messages lost one way only"
    case clockJumped = "wall clock jumped"
    case bestEffortDelivered = "best-effort message delivered"
    case keyWaited = "command waited for a key"
    case keyServed = "wait for a key ended"
    case keyHistoryJudged = "history of a key explained"
    case keyEvicted = "key evicted"
    case keyAnsweredEarly = "owner of keys lost with what it had answered early"
    case keyKeptEarly = "owner of keys answered early and lost nothing"
    case shardCrossed = "publish crossed shards"
    case nodeJoined = "a node joined"
    case nodeLeft = "a node left"
    case replaced = "a new placement was agreed"
    case replicaAdded = "a replica was added"
    case replicaRemoved = "a replica was removed"
}

/// How often each of them happened.
package struct SometimesCounts: Equatable, Sendable {
    package private(set) var counts = [Int](repeating: 0, count: Sometimes.allCases.count)

    package init() {}

    package subscript(_ event: Sometimes) -> Int { counts[SometimesCounts.slot(event)] }

    mutating func note(_ event: Sometimes, _ times: Int = 1) { counts[SometimesCounts.slot(event)] += times }

    /// Adds another run's counts.
    package mutating func merge(_ other: SometimesCounts) {
        for slot in counts.indices { counts[slot] += other.counts[slot] }
    }

    /// What never happened.
    package var missing: [Sometimes] { Sometimes.allCases.filter { self[$0] == 0 } }

    private static func slot(_ event: Sometimes) -> Int {
        Sometimes.allCases.firstIndex(of: event) ?? 0
    }
}
