import Primitives

/// What a leader knows about one member, itself included, and how it sends to it (etcd/raft's `tracker.Progress`).
package struct Progress: Sendable {
    package enum State: Equatable, Sendable {
        /// The match point is unknown: one message, then wait for its answer or for a heartbeat reply.
        case probe
        /// Appends are sent optimistically, bounded by `inflights`.
        case replicate
        /// The follower is behind the retained log: nothing is sent until the snapshot has arrived or failed.
        case snapshot
    }

    package let id: NodeID
    /// Member of the incoming (or only) majority.
    package var isVoter = false
    /// Member of the outgoing majority of a joint membership.
    package var isOutgoingVoter = false

    package internal(set) var state: State = .probe
    /// The highest entry known to be durable there.
    package internal(set) var match: LogIndex = 0
    /// The next entry to send; always above `match`.
    package internal(set) var next: LogIndex
    /// The commit index that the follower will know once everything sent has arrived.
    package internal(set) var sentCommit: LogIndex = 0
    /// Probe: a message is out and unanswered.
    package internal(set) var isProbeSent = false
    /// Replicate: send an append even if it is empty, to find out whether earlier ones were lost.
    package internal(set) var isAppendForced = false
    /// Entries for this follower are being read from disk.
    package internal(set) var isReadPending = false
    /// Answered since the last CheckQuorum.
    package internal(set) var isRecentlyActive = false
    /// The newest ReadIndex round that it confirmed in this term.
    package internal(set) var confirmedRead: UInt64 = 0
    package internal(set) var inflights: Inflights

    package init(id: NodeID, next: LogIndex, settings: RaftSettings) {
        self.id = id
        self.next = max(next, 1)
        inflights = Inflights(maxCount: settings.maxInflightMessages, maxBytes: settings.maxInflightBytes)
    }

    package mutating func becomeProbe(next: LogIndex? = nil) {
        reset(.probe)
        self.next = max(match + 1, next ?? 0)
        sentCommit = min(sentCommit, self.next - 1)
    }

    package mutating func becomeReplicate() {
        reset(.replicate)
        next = match + 1
    }

    package mutating func becomeSnapshot() { reset(.snapshot) }

    private mutating func reset(_ state: State) {
        self.state = state
        isProbeSent = false
        isAppendForced = false
        isReadPending = false
        inflights.removeAll()
    }

    /// An append was accepted up to `index`; false when that was known.
    package mutating func acceptedThrough(_ index: LogIndex) -> Bool {
        guard index > match else { return false }
        match = index
        next = max(next, index + 1)
        isProbeSent = false
        return true
    }

    /// An append after `rejected` was refused, and the logs may agree up to `hint`; false when the refusal is stale.
    package mutating func refused(_ rejected: LogIndex, hint: LogIndex) -> Bool {
        switch state {
        case .replicate:
            // Duplicated or reordered: the follower has confirmed more than this since.
            guard rejected > match else { return false }
            next = match + 1
        case .probe:
            guard rejected == next - 1 else { return false }
            next = max(min(rejected, hint + 1), match + 1)
        case .snapshot:
            return false
        }
        sentCommit = min(sentCommit, next - 1)
        isProbeSent = false
        return true
    }

    /// The follower lost part of what it acknowledged and has its log only up to `last`: start over.
    package mutating func forgetAcknowledged(last: LogIndex) {
        reset(.probe)
        match = 0
        next = last + 1
        sentCommit = 0
    }

    /// An append of `count` entries after `next - 1` has been sent with the leader's commit index.
    package mutating func sent(count: Int, bytes: Int, commit: LogIndex) {
        let last = next - 1 + LogIndex(count)
        sentCommit = max(sentCommit, min(commit, last))
        isAppendForced = false
        switch state {
        case .probe:
            isProbeSent = true
        case .replicate where count > 0:
            next = last + 1
            inflights.add(lastIndex: last, bytes: bytes)
        case .replicate, .snapshot:
            break
        }
    }
}
