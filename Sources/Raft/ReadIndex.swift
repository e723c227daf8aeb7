import DequeModule
import Primitives

/// Linearizable reads without log entries (Raft thesis, 6.4): a read notes the commit index, and is answered once a
/// quorum has confirmed the leader in a heartbeat round that began after the read arrived.
///
/// Rounds are numbered afresh by each leadership and never reused within it, whatever contexts the callers choose, so
/// that a late reply to an earlier round can confirm no later read (the etcd stale read of issue 20418). A reply to
/// round n confirms all reads of rounds up to n. The state dies with the leadership.
struct ReadIndex: Sendable {
    private struct Pending {
        var state: ReadState
        var round: UInt64
    }

    private var pending: Deque<Pending> = []
    /// The newest round that heartbeats carry; 0 before the first.
    private(set) var round: UInt64 = 0
    /// Reads have joined since the last heartbeat round began.
    private(set) var isRoundDue = false

    var count: Int { pending.count }

    mutating func add(context: UInt64, index: LogIndex) {
        pending.append(Pending(state: ReadState(context: context, index: index), round: round + 1))
        isRoundDue = true
    }

    /// Starts the round that confirms everything added so far.
    mutating func beginRound() -> UInt64 {
        round += 1
        isRoundDue = false
        return round
    }

    /// A quorum has confirmed all rounds up to `confirmed`.
    mutating func release(confirmed: UInt64, into states: inout [ReadState]) {
        while let first = pending.first, first.round <= min(confirmed, round) {
            states.append(first.state)
            pending.removeFirst()
        }
    }
}
