import Primitives

// Log replication: the follower's and the leader's side of AppendEntries and heartbeats, ReadIndex.
extension RaftNode {
    // MARK: - Follower

    mutating func handleAppend(_ request: AppendRequest, from sender: NodeID) {
        // The log is about to be replaced; the leader asks again.
        guard installing == nil else { return }
        guard isWellFormed(request) else {
            anomalies.malformedMessages += 1
            return
        }
        if isFaulty, repairTerm != term {
            // The leader may count on entries that are gone. Nothing is acknowledged before it has started over from
            // where this log really ends.
            guard request.previousIndex <= log.lastIndex else {
                sendRepairRequest(to: sender)
                return
            }
            repairTerm = term
        }
        if request.previousIndex < log.commit {
            sendAfterAppend(.appendReply(AppendReply(index: log.commit)), to: sender)
            return
        }
        guard log.term(at: request.previousIndex) == request.previousTerm else {
            rejectAppend(request, from: sender)
            return
        }
        let lastNew = request.previousIndex + LogIndex(request.entries.count)
        // Only a real conflict truncates: duplicates and late messages must not shorten the log.
        if let conflict = request.entries.firstIndex(where: { log.term(at: $0.index) != $0.term }) {
            let index = request.entries[conflict].index
            guard index > log.commit else {
                anomalies.refusedTruncations += 1
                return
            }
            if index <= log.lastIndex {
                log.truncate(after: index - 1)
                writes.truncate(after: index - 1)
            }
            log.append(request.entries[conflict...])
        }
        log.commitTo(min(request.commit, lastNew))
        sendAfterAppend(.appendReply(AppendReply(index: lastNew)), to: sender)
    }

    private func isWellFormed(_ request: AppendRequest) -> Bool {
        guard request.previousIndex <= LogIndex.max / 2 else { return false }
        var index = request.previousIndex
        var last = request.previousTerm
        for entry in request.entries {
            index += 1
            guard entry.index == index, entry.term >= last else { return false }
            last = entry.term
        }
        return last <= term
    }

    private mutating func rejectAppend(_ request: AppendRequest, from sender: NodeID) {
        let hint = log.lastPossibleMatch(index: request.previousIndex, term: request.previousTerm)
        let reply = AppendReply(
            index: request.previousIndex,
            rejected: true,
            hintIndex: hint.index,
            hintTerm: hint.term
        )
        // Promises nothing, so it need not wait for the disk.
        send(.appendReply(reply), to: sender)
    }

    private mutating func sendRepairRequest(to leader: NodeID) {
        let reply = AppendReply(index: 0, rejected: true, hintIndex: log.lastIndex, hintTerm: log.lastTerm)
        send(.appendReply(reply), to: leader)
    }

    mutating func handleHeartbeat(commit: LogIndex, context: UInt64, from sender: NodeID) {
        // The leader names only what it believes us to have; after damage it may believe too much.
        if isFaulty {
            if installing == nil, repairTerm != term { sendRepairRequest(to: sender) }
        } else if installing == nil {
            if commit > log.lastIndex { anomalies.commitsBeyondLog += 1 } else { log.commitTo(commit) }
        }
        send(.heartbeatReply(context: context), to: sender)
    }

    // MARK: - Leader: answers

    mutating func handleAppendReply(_ reply: AppendReply, from peer: NodeID) {
        guard role == .leader, let position = progressPosition(peer) else { return }
        progress[position].isRecentlyActive = true
        if reply.rejected {
            handleRejection(reply, position)
            return
        }
        guard reply.index <= log.lastIndex else {
            anomalies.malformedMessages += 1
            return
        }
        let isNews = progress[position].acceptedThrough(reply.index)
        let confirmsProbe = progress[position].state == .probe && progress[position].match == reply.index
        guard isNews || confirmsProbe else { return }
        switch progress[position].state {
        case .probe:
            progress[position].becomeReplicate()
        case .snapshot where progress[position].match + 1 >= log.firstIndex:
            progress[position].becomeReplicate()
        case .snapshot:
            break
        case .replicate:
            progress[position].inflights.free(through: reply.index)
        }
        isReplicationDue = true
        if isNews { advanceCommit() }
        if transferTarget == peer, progress[position].match == log.lastIndex { send(.timeoutNow, to: peer) }
    }

    private mutating func handleRejection(_ reply: AppendReply, _ position: Int) {
        isReplicationDue = true
        if reply.index == 0 {
            progress[position].forgetAcknowledged(last: min(reply.hintIndex, log.lastIndex))
            return
        }
        var hint = min(reply.hintIndex, log.lastIndex)
        if reply.hintTerm > 0 { hint = log.lastPossibleMatch(index: hint, term: reply.hintTerm).index }
        if progress[position].refused(reply.index, hint: hint), progress[position].state == .replicate {
            progress[position].becomeProbe()
        }
    }

    mutating func handleHeartbeatReply(context: UInt64, from peer: NodeID) {
        guard role == .leader, let position = progressPosition(peer) else { return }
        progress[position].isRecentlyActive = true
        progress[position].isProbeSent = false
        if progress[position].match < log.lastIndex || progress[position].state == .probe {
            // Whatever was in flight may be lost: an append, even an empty one, finds out.
            progress[position].isAppendForced = true
            isReplicationDue = true
        }
        if context <= reads.round, context > progress[position].confirmedRead {
            progress[position].confirmedRead = context
            releaseReads()
        }
    }

    /// Only entries of the own term are committed by counting (Raft, 5.4.2); earlier ones come with them.
    mutating func advanceCommit() {
        let reached = min(Quorum.jointValue(progress) { $0.match }, log.lastIndex)
        guard reached > log.commit, log.term(at: reached) == term || settings.countsOldTerms else { return }
        let first = log.commit + 1
        log.commitTo(reached)
        uncommittedBytes -= log.footprint(from: first, through: reached, term: term)
        uncommittedBytes = max(uncommittedBytes, 0)
        isReplicationDue = true
    }

    // MARK: - Leader: sending

    /// Sends every follower what it may have now.
    mutating func replicate() {
        isReplicationDue = false
        var shared = SharedEntries()
        for position in progress.indices where progress[position].id != id {
            replicate(to: position, &shared)
        }
    }

    /// Followers in step get the same entries; building the array once is enough.
    private struct SharedEntries {
        var from: LogIndex = 0
        var entries: [Entry] = []
    }

    private mutating func replicate(to position: Int, _ shared: inout SharedEntries) {
        while true {
            let next = progress[position].next
            switch progress[position].state {
            case .snapshot:
                return
            case .probe where progress[position].isProbeSent:
                return
            case .probe, .replicate:
                guard log.term(at: next - 1) != nil else {
                    progress[position].becomeSnapshot()
                    snapshotNeeded.append(progress[position].id)
                    return
                }
            }
            let isProbe = progress[position].state == .probe
            let hasRoom = isProbe || !progress[position].inflights.isFull
            // A probe that is repeated asks without entries: those of the first may still be under way.
            let isRepeated = isProbe && progress[position].isAppendForced
            if next <= log.lastIndex, hasRoom, next >= log.memoryFirst, !isRepeated {
                if shared.from != next {
                    shared = SharedEntries(
                        from: next,
                        entries: log.entries(from: next, maxBytes: settings.maxEntriesBytesPerMessage)
                    )
                }
                sendAppend(shared.entries, to: position)
                continue
            }
            if !isProbe, next <= log.lastIndex, hasRoom, !progress[position].isReadPending {
                progress[position].isReadPending = true
                logReads.append(
                    LogRead(peer: progress[position].id, from: next, maxBytes: settings.maxEntriesBytesPerMessage)
                )
            }
            // Nothing to send but, perhaps, the commit index or a probe.
            let knowable = min(log.commit, next - 1)
            if isProbe || progress[position].isAppendForced || knowable > progress[position].sentCommit {
                sendAppend([], to: position)
            }
            return
        }
    }

    private mutating func sendAppend(_ entries: [Entry], to position: Int) {
        let previous = progress[position].next - 1
        guard let previousTerm = log.term(at: previous) else { return }
        var bytes = 0
        for entry in entries { bytes += entry.footprint }
        let request = AppendRequest(
            previousIndex: previous,
            previousTerm: previousTerm,
            commit: log.commit,
            entries: entries
        )
        send(.append(request), to: progress[position].id)
        progress[position].sent(count: entries.count, bytes: bytes, commit: log.commit)
    }

    /// The answer to a `LogRead`, entries contiguous from `read.from`; empty when they are no longer retained. Every
    /// `LogRead` must be answered, or its follower waits for ever; a late answer is harmless.
    package mutating func onEntriesRead(_ read: LogRead, entries: [Entry]) {
        if read.peer == id {
            onApplyEntriesRead(read, entries)
            return
        }
        guard role == .leader, let position = progressPosition(read.peer), progress[position].isReadPending
        else { return }
        progress[position].isReadPending = false
        isReplicationDue = true
        guard progress[position].state == .replicate, progress[position].next == read.from else { return }
        if entries.isEmpty {
            progress[position].becomeSnapshot()
            snapshotNeeded.append(read.peer)
            return
        }
        // From `memoryFirst` on the disk may still hold what the log has replaced.
        let known = entries.prefix { $0.index < log.memoryFirst }
        guard !known.isEmpty, isOfLog(known, from: read.from) else {
            anomalies.mismatchedReads += 1
            return
        }
        sendAppend(known.count == entries.count ? entries : Array(known), to: position)
    }

    /// The entries are contiguous from `from` and have the terms that the log has there.
    func isOfLog(_ entries: ArraySlice<Entry>, from: LogIndex) -> Bool {
        var index = from
        for entry in entries {
            guard entry.index == index, log.term(at: index) == entry.term else { return false }
            index += 1
        }
        return true
    }

    mutating func broadcastHeartbeat() {
        let context = reads.count > 0 ? reads.round : 0
        for position in progress.indices where progress[position].id != id {
            let commit = min(progress[position].match, log.commit)
            send(.heartbeat(commit: commit, context: context), to: progress[position].id)
        }
    }

    // MARK: - ReadIndex

    /// Asks for a linearizable read; `ReadState` brings `context` back. False when not leader, before an entry of the
    /// own term is committed (only then is the commit index known to be current), or with too many reads waiting. When
    /// the leadership ends (`Ready.softState`), reads without a `ReadState` are lost: the caller fails or retries them
    /// with a context of its own choosing, which need not be unique for correctness.
    package mutating func readIndex(context: UInt64) -> Bool {
        guard hasCommittedInTerm, reads.count < settings.maxPendingReads else { return false }
        reads.add(context: context, index: log.commit)
        return true
    }

    /// All reads of one turn share a heartbeat round.
    mutating func beginReadRound() {
        let round = reads.beginRound()
        if let position = progressPosition(id) { progress[position].confirmedRead = round }
        broadcastHeartbeat()
        releaseReads()
    }

    private mutating func releaseReads() {
        guard reads.count > 0 else { return }
        reads.release(confirmed: Quorum.jointValue(progress) { $0.confirmedRead }, into: &readStates)
    }

    // MARK: - Progress

    /// The position of a member in `progress`.
    /// By index: a closure over the elements would copy each of them.
    func progressPosition(_ id: NodeID) -> Int? { progress.indices.first { progress[$0].id == id } }

    /// Makes `progress` match the membership, keeping what is known about those who stay.
    mutating func installProgress() {
        var updated: [Progress] = []
        for member in membership.members {
            var entry: Progress
            if let position = progressPosition(member) {
                entry = progress[position]
            } else {
                entry = Progress(id: member, next: log.lastIndex + 1, settings: settings)
                // CheckQuorum must not count against a member that had no chance to answer yet.
                entry.isRecentlyActive = role == .leader && !progress.isEmpty
                if member == id { entry.match = log.stable }
            }
            entry.isVoter = membership.voters.contains(member)
            entry.isOutgoingVoter = membership.outgoing.contains(member)
            updated.append(entry)
        }
        progress = updated
    }
}
