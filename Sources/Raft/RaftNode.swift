import Primitives

/// What became of a proposal.
package enum ProposeOutcome: Equatable, Sendable {
    /// In the leader's log, not yet committed. It is committed if an entry with this very term is applied at `index`,
    /// lost if another one is, and undecided while neither has happened.
    case accepted(term: Term, index: LogIndex)
    /// Definitely not appended; the leader as far as it is known.
    case notLeader(NodeID?)
    /// Definitely not appended: too many uncommitted bytes, a leadership transfer, or a membership change that cannot
    /// be made now (another one is under way, nothing of this term is committed yet, or it does not fit the
    /// membership).
    case busy
}

/// Peer input and shell calls that were ignored because they break the protocol. A count that grows is a bug somewhere.
package struct RaftAnomalies: Equatable, Sendable {
    /// Messages for another node, with impossible numbers, or from a second leader of the term.
    package var malformedMessages: UInt64 = 0
    /// Appends that would have changed a committed entry.
    package var refusedTruncations: UInt64 = 0
    /// Commit indexes beyond the log.
    package var commitsBeyondLog: UInt64 = 0
    /// `onAppended` for a write that was not handed out, or twice.
    package var unknownWrites: UInt64 = 0
    /// `onEntriesRead` with entries that are not those of the log: an answer overtaken by a truncation, or a bad disk.
    package var mismatchedReads: UInt64 = 0

    package init() {}
}

/// One replica of one Raft group: a pure state machine in etcd/raft's contract with asynchronous storage writes.
///
/// Inputs are `tick`, `step`, `propose...`, `on...` and a few commands; everything to be done comes out of
/// `takeReady(into:)`. There is no I/O, clock, thread or chance in here: time is counted in ticks, randomness is
/// seeded.
///
/// Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version); Ongaro's
/// thesis (4.3 joint membership, 6.4 ReadIndex, 9.6 PreVote, 10.2.1 parallel writes); etcd-io/raft.
///
/// Choices and deviations:
/// - PreVote and CheckQuorum are always on; there are no time-based leases, reads go through ReadIndex.
/// - Vote requests of a candidate wait until its log is durable (etcd sends them at once): a candidate that crashes can
///   then not be elected on replies to a claim that its disk no longer supports. They do not wait for its own vote, but
///   it leads only when that is durable, too.
/// - Appends are built in `takeReady`, so that all proposals of one turn share a message per follower.
/// - ReadIndex counts rounds of its own instead of trusting the callers' contexts; see `ReadIndex`.
/// - Storage answers are matched to writes, not to terms; see `PendingWrites`.
/// - Committed entries are applied only when they are durable here as well.
/// - A replica is a large value: mutating it in place costs nothing, but a getter on a class's property copies it (some
///   twenty retains), so a shell remembers which replicas it touched instead of polling `hasReady` of all.
/// - Whatever a peer sends, nothing traps and nothing at or below the commit index changes: impossible input is counted
///   in `anomalies` and ignored.
package struct RaftNode: Sendable {
    package let id: NodeID
    package let group: GroupID
    package let settings: RaftSettings

    package internal(set) var role: Role = .follower
    package internal(set) var term: Term
    /// Who leads `term`, nil while unknown.
    package internal(set) var leader: NodeID?
    /// The applied membership.
    package internal(set) var membership: Membership
    /// A damaged part of the acknowledged log is being repaired: no votes, no pre-votes, no campaign.
    package internal(set) var isFaulty: Bool
    package internal(set) var anomalies = RaftAnomalies()
    /// Multiplies the election timeout, 1...8: a process that suspects itself (late ticks, slow disk) accuses others
    /// later (Lifeguard's local health multiplier). It changes neither the vote lease nor CheckQuorum.
    package var localHealth: Int {
        get { localHealthMultiplier }
        set { localHealthMultiplier = min(max(newValue, 1), 8) }
    }

    package internal(set) var vote: NodeID?
    var log: RaftLog
    var writes = PendingWrites()
    var random: Xoshiro256
    var localHealthMultiplier = 1

    // Timers.
    var electionElapsed = 0
    var heartbeatElapsed = 0
    var randomizedElectionTicks = 0

    // Elections.
    var granted: [NodeID] = []
    var rejected: [NodeID] = []
    /// A leader handed over while committed membership changes were still to be applied: campaign right after that.
    var isTransferDue = false

    // Leadership.
    /// One per member, sorted by id; empty unless leader.
    var progress: [Progress] = []
    var reads = ReadIndex()
    var transferTarget: NodeID?
    var uncommittedBytes = 0
    /// The first entry of the own term, the no-op.
    var termStartIndex: LogIndex = 0
    /// No further membership change before this index is applied.
    var pendingMembershipIndex: LogIndex = 0
    /// Something may have to be sent to followers.
    var isReplicationDue = false

    // Snapshots and reads for applying.
    /// A snapshot is being installed by the shell; appends are ignored meanwhile.
    var installing: SnapshotDescriptor?
    /// Restored, but the state machine has not been replaced yet.
    var unappliedSnapshot: LogIndex = 0
    var restoredSnapshot: SnapshotDescriptor?
    var isApplyReadPending = false
    /// The disk did not have what is to be applied; asked again at the next tick.
    var hasApplyReadFailed = false
    var applyBuffer: [Entry] = []
    /// The term in which this faulty replica has agreed with the leader on where its log ends.
    var repairTerm: Term = 0

    // Output.
    var messages: [RaftMessage] = []
    var messagesAfterAppend: [RaftMessage] = []
    var readStates: [ReadState] = []
    var logReads: [LogRead] = []
    var snapshotNeeded: [NodeID] = []
    var emittedSoftState: SoftState
    var emittedHardState: HardState
    /// The last one that went out with a write.
    var writtenHardState: HardState

    /// - Parameters:
    ///   - membership: the one in force at `restored.snapshot?.index`, or the initial one.
    ///   - restored: what the disk holds. Committed entries above the snapshot come out of `Ready.committed` again;
    ///     those that are not among `restored.entries` are asked for by a `LogRead` whose peer is this node.
    ///   - seed: of the election timeouts.
    package init(
        id: NodeID,
        group: GroupID,
        membership: Membership,
        restored: RestoredReplica,
        settings: RaftSettings,
        seed: UInt64
    ) {
        self.id = id
        self.group = group
        self.membership = membership
        self.settings = settings
        term = restored.hardState.term
        vote = restored.hardState.vote
        isFaulty = restored.isFaulty
        log = RaftLog(restored)
        random = Xoshiro256(seed: seed)
        emittedSoftState = SoftState(role: .follower, leader: nil, term: restored.hardState.term)
        emittedHardState = HardState(term: restored.hardState.term, vote: restored.hardState.vote, commit: log.commit)
        writtenHardState = restored.hardState
        resetElectionTimer()
    }

    // MARK: - State

    package var commitIndex: LogIndex { log.commit }
    package var appliedIndex: LogIndex { log.applied }
    package var lastIndex: LogIndex { log.lastIndex }
    package var lastTerm: Term { log.lastTerm }
    /// The first retained entry; `lastIndex + 1` when the log is empty.
    package var firstIndex: LogIndex { log.firstIndex }
    /// The last entry that is durable here.
    package var stableIndex: LogIndex { log.stable }
    /// Retained entries below this one are on disk only.
    package var memoryFirstIndex: LogIndex { log.memoryFirst }
    package var isLeader: Bool { role == .leader }
    package var isLearner: Bool { membership.learners.contains(id) && !membership.isVoter(id) }
    /// Whether this leader has committed an entry of its own term; before that it serves no reads.
    package var hasCommittedInTerm: Bool { role == .leader && log.commit >= termStartIndex }
    /// The target of a leadership transfer under way.
    package var transferringTo: NodeID? { transferTarget }

    /// The term of an entry in `firstIndex - 1 ... lastIndex`; nil outside.
    package func term(at index: LogIndex) -> Term? { log.term(at: index) }

    /// May campaign: a voter that is sound, has its snapshot in place and no membership change left to apply.
    package var isPromotable: Bool {
        membership.isVoter(id) && !isFaulty && installing == nil && unappliedSnapshot <= log.applied
            && !log.hasUnappliedMembership
    }

    /// The place of this voter in a ranked campaign for the successor of a dead leader: 0 campaigns first. The order is
    /// the voters' own, rotated by the group so that the leaderships of one dead node spread. Nil for others.
    package var campaignRank: Int? {
        let candidates = membership.voters.filter { $0 != leader }
        guard let position = candidates.firstIndex(of: id) else { return nil }
        return (position + Int(group.rawValue % UInt32(candidates.count))) % candidates.count
    }

    var softState: SoftState { SoftState(role: role, leader: leader, term: term) }
    var hardState: HardState { HardState(term: term, vote: vote, commit: log.commit) }

    // MARK: - Time

    /// One tick has passed.
    package mutating func tick() {
        electionElapsed += 1
        isTransferDue = false
        if hasApplyReadFailed {
            hasApplyReadFailed = false
            isApplyReadPending = false
        }
        if role == .leader {
            tickLeader()
        } else if electionElapsed >= randomizedElectionTicks * localHealthMultiplier {
            resetElectionTimer()
            startPreVote()
        }
    }

    private mutating func tickLeader() {
        heartbeatElapsed += 1
        if electionElapsed >= settings.electionTicks {
            electionElapsed = 0
            checkQuorum()
            if role != .leader { return }
            // The transfer had its time; proposals are welcome again.
            transferTarget = nil
        }
        if heartbeatElapsed >= settings.heartbeatTicks {
            heartbeatElapsed = 0
            broadcastHeartbeat()
        }
        leaveJointIfDue()
    }

    mutating func resetElectionTimer() {
        electionElapsed = 0
        randomizedElectionTicks =
            settings.electionTicks + Int(random.below(UInt64(settings.electionTicks)))
    }

    // MARK: - Messages

    /// Takes a message of a peer. Anything may come, in any order and any number of times.
    package mutating func step(_ message: RaftMessage) {
        guard message.to == id, message.from != id, message.term <= Term.max / 2 else {
            anomalies.malformedMessages += 1
            return
        }
        // Replies of nodes that are not members (any more) can tell a leader nothing, and must not depose it.
        if role == .leader, message.body.isReply, progressPosition(message.from) == nil { return }
        if message.term > term {
            guard acceptsHigherTerm(message) else { return }
        } else if message.term < term {
            answerLowerTerm(message)
            return
        }
        switch message.body {
        case .preVote(let request): handlePreVote(request, message)
        case .vote(let request): handleVote(request, message)
        case .preVoteReply(let isGranted): handlePreVoteReply(isGranted, message)
        case .voteReply(let isGranted): handleVoteReply(isGranted, message)
        case .append(let request):
            if followsLeader(message) { handleAppend(request, from: message.from) }
        case .heartbeat(let commit, let context):
            if followsLeader(message) { handleHeartbeat(commit: commit, context: context, from: message.from) }
        case .snapshot(let descriptor):
            if followsLeader(message) { handleSnapshot(descriptor) }
        case .timeoutNow: handleTimeoutNow()
        case .appendReply(let reply): handleAppendReply(reply, from: message.from)
        case .heartbeatReply(let context): handleHeartbeatReply(context: context, from: message.from)
        }
    }

    /// Moves to the term of the message unless it is none to move to; false when the message is to be ignored.
    private mutating func acceptsHigherTerm(_ message: RaftMessage) -> Bool {
        switch message.body {
        case .preVote, .vote:
            // The vote lease: a voter that hears its leader helps nobody to depose it, unless the leader asked for it.
            if isLeaseHeld, !message.isTransferVote { return false }
            if case .vote = message.body { becomeFollower(term: message.term, leader: nil) }
        case .preVoteReply(granted: true):
            // Carries the term that we asked about, not one that exists.
            break
        case .append, .heartbeat, .snapshot:
            becomeFollower(term: message.term, leader: message.from)
        default:
            becomeFollower(term: message.term, leader: nil)
        }
        return true
    }

    /// Tells a sender from the past which term it is, where staying silent could leave it stuck for ever.
    private mutating func answerLowerTerm(_ message: RaftMessage) {
        switch message.body {
        case .append, .heartbeat, .snapshot:
            send(.heartbeatReply(context: 0), to: message.from)
        case .preVote:
            send(.preVoteReply(granted: false), to: message.from)
        default:
            break
        }
    }

    /// The sender leads our term: follow it.
    private mutating func followsLeader(_ message: RaftMessage) -> Bool {
        guard role != .leader, term > 0 else {
            anomalies.malformedMessages += 1
            return false
        }
        if role != .follower { becomeFollower(term: term, leader: message.from) }
        leader = message.from
        electionElapsed = 0
        return true
    }

    mutating func send(_ body: RaftMessage.Body, to peer: NodeID) {
        messages.append(RaftMessage(from: id, to: peer, term: term, body: body))
    }

    mutating func sendAfterAppend(_ body: RaftMessage.Body, to peer: NodeID) {
        messagesAfterAppend.append(RaftMessage(from: id, to: peer, term: term, body: body))
    }

    // MARK: - Commands

    /// Appends a command of the state machine to the leader's log. Never forwarded: only the leader stamps data.
    package mutating func propose(_ data: [UInt8]) -> ProposeOutcome { propose(data, kind: .command) }

    /// Appends a membership change; see `ProposeOutcome.busy` for when it is refused.
    package mutating func proposeMembership(_ change: MembershipChange) -> ProposeOutcome {
        guard role == .leader else { return .notLeader(leader) }
        if case .recover = change { return .busy }
        guard hasCommittedInTerm, pendingMembershipIndex <= log.applied, change.applied(to: membership) != nil
        else { return .busy }
        let outcome = propose(change.encoded(), kind: .membership)
        if case .accepted(_, let index) = outcome { pendingMembershipIndex = index }
        return outcome
    }

    private mutating func propose(_ data: [UInt8], kind: EntryKind) -> ProposeOutcome {
        guard role == .leader else { return .notLeader(leader) }
        guard transferTarget == nil else { return .busy }
        let entry = Entry(term: term, index: log.lastIndex + 1, kind: kind, data: data)
        // A single proposal above the cap is let through when it is alone, or it could never be made.
        guard uncommittedBytes == 0 || uncommittedBytes + entry.footprint <= settings.maxUncommittedBytes
        else { return .busy }
        uncommittedBytes += entry.footprint
        log.append(entry)
        isReplicationDue = true
        return .accepted(term: term, index: entry.index)
    }

    /// Starts a pre-vote now, for instance in the order of `campaignRank` after the leader's node was found dead.
    package mutating func campaign() {
        guard role != .leader else { return }
        resetElectionTimer()
        startPreVote()
    }

    /// The leader's node is known to be dead: drop the vote lease, so that a peer can be elected at once (etcd's
    /// `ForgetLeader`). A leader that lives after all is followed again at its next message.
    package mutating func forgetLeader() {
        if role == .follower { leader = nil }
    }

    /// The replica's log holds all that it ever acknowledged, or the leader's committed log instead of it: it may vote
    /// and campaign again. `isRepaired` tells when.
    package mutating func markRepaired() { isFaulty = false }

    /// Part of the acknowledged log turned out to be unreadable: no leading, no votes and no campaigns until it is
    /// repaired.
    package mutating func markFaulty() {
        guard !isFaulty else { return }
        isFaulty = true
        repairTerm = 0
        if role != .follower { becomeFollower(term: term, leader: nil) }
    }

    /// A faulty replica has caught up: its durable log reaches a commit index of the current leader's own term, below
    /// which lies everything that was ever committed.
    package var isRepaired: Bool {
        isFaulty && leader != nil && repairTerm == term && log.stable >= log.commit
            && unappliedSnapshot <= log.applied && log.term(at: log.commit) == term
    }
}

extension RaftMessage {
    var isTransferVote: Bool {
        if case .vote(let request) = body { return request.isTransfer }
        return false
    }
}

extension RaftMessage.Body {
    /// The message answers one of a leader or candidate.
    var isReply: Bool {
        switch self {
        case .preVoteReply, .voteReply, .appendReply, .heartbeatReply: true
        default: false
        }
    }
}
