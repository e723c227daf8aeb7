import Primitives

// Elections: PreVote, votes, CheckQuorum, leadership transfer.
extension RaftNode {
    /// A leader is in contact: heard within an election timeout, or ourselves.
    var isLeaseHeld: Bool { leader != nil && electionElapsed < settings.electionTicks }

    // MARK: - Roles

    /// The vote is forgotten only when the term grows: a step-down within a term must not make a second vote possible.
    private mutating func reset(term newTerm: Term) {
        if newTerm > term {
            term = newTerm
            vote = nil
        }
        leader = nil
        resetElectionTimer()
        heartbeatElapsed = 0
        granted.removeAll(keepingCapacity: true)
        rejected.removeAll(keepingCapacity: true)
        isTransferDue = false
        progress.removeAll()
        reads = ReadIndex()
        transferTarget = nil
        uncommittedBytes = 0
        isReplicationDue = false
        logReads.removeAll { $0.peer != id }
        snapshotNeeded.removeAll()
    }

    mutating func becomeFollower(term newTerm: Term, leader newLeader: NodeID?) {
        reset(term: newTerm)
        role = .follower
        leader = newLeader
    }

    private mutating func becomeLeader() {
        reset(term: term)
        role = .leader
        leader = id
        installProgress()
        // Whatever the log holds may contain a change that we have not seen applied.
        pendingMembershipIndex = log.lastIndex
        termStartIndex = log.lastIndex + 1
        log.append(Entry(term: term, index: termStartIndex, kind: .noop))
        isReplicationDue = true
        heartbeatElapsed = settings.heartbeatTicks
    }

    // MARK: - Campaign

    /// Asks whether an election could be won, without disturbing anyone.
    mutating func startPreVote() {
        guard role != .leader, isPromotable else { return }
        role = .preCandidate
        leader = nil
        granted.removeAll(keepingCapacity: true)
        rejected.removeAll(keepingCapacity: true)
        let request = VoteRequest(lastIndex: log.lastIndex, lastTerm: log.lastTerm)
        forEachOtherVoter { node, voter in
            node.messages.append(
                RaftMessage(from: node.id, to: voter, term: node.term + 1, body: .preVote(request))
            )
        }
        tally(id, isGranted: true)
    }

    /// Votes for itself, and asks the others while that vote is being written: it counts once it is durable, and
    /// without it nobody leads (see `tally`). What the request says of the log has to be durable before: a grant may
    /// come when this node has crashed, lost what was not, and campaigns in the same term again. (Durable as the shell
    /// means it: a group whose appends are not synced may lose them, and then is faulty, which does not campaign.)
    private mutating func startElection(isTransfer: Bool) {
        reset(term: term + 1)
        role = .candidate
        vote = id
        let request = VoteRequest(lastIndex: log.lastIndex, lastTerm: log.lastTerm, isTransfer: isTransfer)
        let isLogDurable = log.stable >= log.lastIndex
        forEachOtherVoter { node, voter in
            if isLogDurable {
                node.send(.vote(request), to: voter)
            } else {
                node.sendAfterAppend(.vote(request), to: voter)
            }
        }
    }

    private mutating func forEachOtherVoter(_ body: (inout RaftNode, NodeID) -> Void) {
        let voters = membership.voters
        let outgoing = membership.outgoing
        for voter in voters where voter != id { body(&self, voter) }
        for voter in outgoing where voter != id && !voters.contains(voter) { body(&self, voter) }
    }

    /// Counts an answer of the campaign under way.
    mutating func tally(_ voter: NodeID, isGranted: Bool) {
        guard membership.isVoter(voter), !granted.contains(voter), !rejected.contains(voter) else { return }
        if isGranted { granted.append(voter) } else { rejected.append(voter) }
        switch Quorum.voteResult(membership, granted: granted, rejected: rejected) {
        case .pending: break
        case .lost: becomeFollower(term: term, leader: nil)
        case .won:
            if role == .preCandidate {
                startElection(isTransfer: false)
            } else if granted.contains(id) {
                // With the others' votes alone it could crash, forget the term, and lead it a second time with another
                // log.
                becomeLeader()
            }
        }
    }

    // MARK: - Votes

    mutating func handlePreVote(_ request: VoteRequest, _ message: RaftMessage) {
        let isFree = message.term > term || vote == message.from || (vote == nil && leader == nil)
        let isGranted =
            !isFaulty && isFree && log.isUpToDate(lastIndex: request.lastIndex, lastTerm: request.lastTerm)
        // Promises nothing, so it need not wait for the disk.
        messages.append(
            RaftMessage(
                from: id,
                to: message.from,
                term: isGranted ? message.term : term,
                body: .preVoteReply(granted: isGranted)
            )
        )
    }

    mutating func handleVote(_ request: VoteRequest, _ message: RaftMessage) {
        let isFree = vote == message.from || (vote == nil && leader == nil)
        let isGranted =
            !isFaulty && isFree && log.isUpToDate(lastIndex: request.lastIndex, lastTerm: request.lastTerm)
        guard isGranted else {
            send(.voteReply(granted: false), to: message.from)
            return
        }
        vote = message.from
        electionElapsed = 0
        sendAfterAppend(.voteReply(granted: true), to: message.from)
    }

    mutating func handlePreVoteReply(_ isGranted: Bool, _ message: RaftMessage) {
        guard role == .preCandidate else { return }
        // A grant names the term that would be campaigned in; anything else answers an older question.
        guard message.term == (isGranted ? term + 1 : term) else { return }
        tally(message.from, isGranted: isGranted)
    }

    mutating func handleVoteReply(_ isGranted: Bool, _ message: RaftMessage) {
        guard role == .candidate else { return }
        tally(message.from, isGranted: isGranted)
    }

    /// The leader hands over: campaign at once, without PreVote and past everyone's vote lease.
    mutating func handleTimeoutNow() {
        guard role == .follower else { return }
        isTransferDue = true
        campaignIfTransferDue()
    }

    mutating func campaignIfTransferDue() {
        guard isTransferDue, role == .follower, isPromotable else { return }
        startElection(isTransfer: true)
    }

    // MARK: - Leadership

    /// A leader that has heard less than a quorum for an election timeout leads nobody.
    mutating func checkQuorum() {
        let active = Quorum.jointValue(progress) { $0.isRecentlyActive || $0.id == id ? 1 : 0 }
        for position in progress.indices { progress[position].isRecentlyActive = false }
        if active == 0 { becomeFollower(term: term, leader: nil) }
    }

    /// Hands leadership to a voter as soon as its log is complete; given up after one election timeout. Proposals are
    /// refused meanwhile. Another target replaces the first one.
    package mutating func transferLeadership(to target: NodeID) {
        guard role == .leader, target != id, target != transferTarget, membership.isVoter(target),
            let position = progressPosition(target)
        else { return }
        transferTarget = target
        electionElapsed = 0
        isReplicationDue = true
        if progress[position].match == log.lastIndex { send(.timeoutNow, to: target) }
    }
}
