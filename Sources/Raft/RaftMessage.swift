import Primitives

/// What two replicas of one group say to each other. The group travels in the frame, not here.
package struct RaftMessage: Equatable, Sendable {
    package var from: NodeID
    package var to: NodeID
    /// The sender's term; for `.preVote` and a granted `.preVoteReply` the term that the candidate would campaign in.
    package var term: Term
    package var body: Body

    package enum Body: Equatable, Sendable {
        /// Would you vote for me in `term`? Changes neither term nor vote of anyone (Raft thesis, 9.6).
        case preVote(VoteRequest)
        case preVoteReply(granted: Bool)
        /// RequestVote.
        case vote(VoteRequest)
        case voteReply(granted: Bool)
        /// AppendEntries.
        case append(AppendRequest)
        case appendReply(AppendReply)
        /// The leader is alive. `commit` never exceeds what the leader knows the follower to have; `context` names the
        /// newest pending ReadIndex round of this term (0: none) and comes back in the reply.
        case heartbeat(commit: LogIndex, context: UInt64)
        /// Also the answer to any message of a leader with an older term: its term makes that leader step down.
        case heartbeatReply(context: UInt64)
        /// The leader is about to stream, or is streaming, this snapshot. The shell builds it (the core does not know
        /// which snapshot exists); the core uses it as a sign of life and as a fence by term.
        case snapshot(SnapshotDescriptor)
        /// Leadership transfer: campaign now, without PreVote (Raft thesis, 3.10).
        case timeoutNow
    }

    package init(from: NodeID, to: NodeID, term: Term, body: Body) {
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }
}

/// The body of RequestVote and of its PreVote form.
package struct VoteRequest: Equatable, Sendable {
    /// The candidate's last entry.
    package var lastIndex: LogIndex
    package var lastTerm: Term
    /// The leader itself asked for this election: the vote lease does not apply.
    package var isTransfer: Bool

    package init(lastIndex: LogIndex, lastTerm: Term, isTransfer: Bool = false) {
        self.lastIndex = lastIndex
        self.lastTerm = lastTerm
        self.isTransfer = isTransfer
    }
}

/// The body of AppendEntries.
package struct AppendRequest: Equatable, Sendable {
    /// The entry before the first of `entries`; 0 and term 0 at the very start of the log.
    package var previousIndex: LogIndex
    package var previousTerm: Term
    /// The leader's commit index.
    package var commit: LogIndex
    /// Contiguous from `previousIndex + 1`; empty for a probe or a commit notice.
    package var entries: [Entry]

    package init(previousIndex: LogIndex, previousTerm: Term, commit: LogIndex, entries: [Entry]) {
        self.previousIndex = previousIndex
        self.previousTerm = previousTerm
        self.commit = commit
        self.entries = entries
    }
}

/// The answer to AppendEntries, in etcd/raft's form.
package struct AppendReply: Equatable, Sendable {
    /// Accepted: the follower's log is durable and equal to the leader's up to here.
    /// Rejected: the request's `previousIndex`; 0 in a rejection says that the follower is repairing a damaged log and
    /// that whatever it acknowledged before no longer counts.
    package var index: LogIndex
    package var rejected: Bool
    /// Rejected only: the largest index at or below `min(previousIndex, last index)` whose term is not above the
    /// request's `previousTerm`, so that the leader skips whole terms. The follower's last index when `index` is 0.
    package var hintIndex: LogIndex
    /// The follower's term at `hintIndex`, 0 when unknown.
    package var hintTerm: Term

    package init(index: LogIndex, rejected: Bool = false, hintIndex: LogIndex = 0, hintTerm: Term = 0) {
        self.index = index
        self.rejected = rejected
        self.hintIndex = hintIndex
        self.hintTerm = hintTerm
    }
}
