import Primitives

// What the shell takes out, and what it reports back: storage, applying, snapshots, membership.
extension RaftNode {
    // MARK: - Ready

    /// `takeReady` would bring something.
    package var hasReady: Bool {
        !messages.isEmpty || !messagesAfterAppend.isEmpty || hasUnwritten || !readStates.isEmpty
            || !logReads.isEmpty || !snapshotNeeded.isEmpty || restoredSnapshot != nil || isReplicationDue
            || reads.isRoundDue || softState != emittedSoftState || hardState != emittedHardState || canApply
    }

    /// Entries wait to be written. Not while a snapshot is being installed: they would land behind it on disk.
    private var hasUnwritten: Bool { installing == nil && log.handed < log.lastIndex }

    /// `takeReady` if there is anything to take. Mutating, so that a replica held by a class is used in place: a getter
    /// would copy all of it, which is what polling many groups would spend its time on.
    package mutating func takeReadyIfAny(into ready: inout Ready) -> Bool {
        guard hasReady else { return false }
        takeReady(into: &ready)
        return true
    }

    /// Entries that are not committed yet; mutating for the same reason.
    package mutating func uncommittedEntries() -> UInt64 { log.lastIndex - min(log.commit, log.lastIndex) }

    private var canApply: Bool {
        guard log.applied == log.applying, log.applying < log.appliableEnd, restoredSnapshot == nil
        else { return false }
        return log.applying + 1 >= log.memoryFirst || !applyBuffer.isEmpty || !isApplyReadPending
    }

    /// Moves everything that is to be done into `ready`, whose former content is dropped; nothing is handed out twice.
    /// After a Ready with `mustSync` call `onAppended(term:index:)` with the node's `term` and `lastIndex` as they are
    /// when this returns, once the write is durable.
    package mutating func takeReady(into ready: inout Ready) {
        ready.removeAll()
        if role == .leader {
            if reads.isRoundDue { beginReadRound() }
            if isReplicationDue { replicate() }
        }
        isReplicationDue = false
        if softState != emittedSoftState {
            emittedSoftState = softState
            ready.softState = softState
        }
        if hardState != emittedHardState {
            ready.mustSync = term != emittedHardState.term || vote != emittedHardState.vote
            emittedHardState = hardState
            ready.hardState = hardState
        }
        if hasUnwritten { log.takeUnwritten(into: &ready.entries) }
        swap(&ready.messages, &messages)
        swap(&ready.messagesAfterAppend, &messagesAfterAppend)
        swap(&ready.readStates, &readStates)
        swap(&ready.logReads, &logReads)
        swap(&ready.snapshotNeeded, &snapshotNeeded)
        // Replies may vouch for entries of an earlier, unfinished write: then they wait in line behind it.
        if !ready.entries.isEmpty || (!ready.messagesAfterAppend.isEmpty && !writes.isEmpty) { ready.mustSync = true }
        if ready.mustSync {
            // The commit index goes to disk with the entries, at the latest. Membership rests on it: a leader proposes
            // the end of a joint step when its beginning is committed, and says so with the entry, so that whoever has
            // the one knows of the other, after a crash too, and does not campaign by the members of before.
            if hardState != writtenHardState {
                ready.hardState = hardState
                writtenHardState = hardState
            }
            writes.begin(term: term, vote: vote, index: log.lastIndex, validThrough: log.handed)
        }
        if let descriptor = restoredSnapshot {
            ready.snapshot = descriptor
            restoredSnapshot = nil
        } else {
            takeCommitted(into: &ready)
        }
    }

    private mutating func takeCommitted(into ready: inout Ready) {
        guard canApply else { return }
        if !applyBuffer.isEmpty {
            swap(&ready.committed, &applyBuffer)
            applyBuffer.removeAll(keepingCapacity: true)
            if let last = ready.committed.last { log.applyingTo(last.index) }
        } else if log.applying + 1 >= log.memoryFirst {
            log.takeCommitted(into: &ready.committed, maxBytes: settings.maxCommittedBytesPerReady)
        } else {
            isApplyReadPending = true
            ready.logReads.append(
                LogRead(peer: id, from: log.applying + 1, maxBytes: settings.maxCommittedBytesPerReady)
            )
        }
    }

    // MARK: - Storage

    /// The oldest unconfirmed write, handed out when the node's term was `term` and its last index `index`, is durable,
    /// and so are all before it. Entries truncated since then are not counted. In the order of the Readys.
    package mutating func onAppended(term writeTerm: Term, index: LogIndex) {
        guard let write = writes.complete(term: writeTerm, index: index) else {
            anomalies.unknownWrites += 1
            return
        }
        log.stableTo(write.validThrough)
        switch role {
        case .candidate where write.term == term && write.vote == id:
            tally(id, isGranted: true)
        case .leader:
            if let position = progressPosition(id), progress[position].acceptedThrough(log.stable) { advanceCommit() }
        default:
            break
        }
    }

    /// The state machine, and the membership, have taken everything up to `index`.
    package mutating func onApplied(_ index: LogIndex) {
        log.appliedTo(index)
        leaveJointIfDue()
        campaignIfTransferDue()
    }

    mutating func onApplyEntriesRead(_ read: LogRead, _ entries: [Entry]) {
        guard isApplyReadPending, applyBuffer.isEmpty, read.from == log.applying + 1 else { return }
        // Beyond this the disk may still hold what the log has replaced.
        let end = min(log.appliableEnd, log.memoryFirst - 1)
        let entries = entries.prefix { $0.index <= end }
        guard !entries.isEmpty, isOfLog(entries, from: read.from) else {
            if !entries.isEmpty { anomalies.mismatchedReads += 1 }
            hasApplyReadFailed = true
            return
        }
        isApplyReadPending = false
        applyBuffer.append(contentsOf: entries)
    }

    /// Entries up to `index` are in segments now: their content may leave the memory. Their terms stay; uncommitted
    /// and unsynced entries stay whole.
    package mutating func evictEntries(upTo index: LogIndex) { log.evict(upTo: index) }

    /// The retained log begins at `index + 1` from now on; never above what is applied.
    package mutating func compactLog(upTo index: LogIndex) { log.compact(upTo: index) }

    // MARK: - Membership

    /// Applies a committed `.membership` entry; call it in the order of the log, before `onApplied` of that entry.
    /// Returns the membership in force after it. A change that does not fit changes nothing, on every replica alike.
    ///
    /// A leader that is no longer a voter steps down, and asks the most complete voter to succeed it.
    @discardableResult
    package mutating func applyMembership(_ data: [UInt8]) throws(DecodeError) -> Membership {
        let change = try MembershipChange(decoding: data)
        // An entry of a batch from before a snapshot that already contains it.
        guard unappliedSnapshot <= log.applied else { return membership }
        if let changed = change.applied(to: membership) { install(changed) }
        return membership
    }

    private mutating func install(_ changed: Membership) {
        membership = changed
        guard role == .leader else { return }
        installProgress()
        isReplicationDue = true
        if !membership.isVoter(id) {
            if let successor = progress.first(where: { $0.isVoter && $0.match == log.lastIndex }) {
                send(.timeoutNow, to: successor.id)
            }
            // What is still to be sent, the commit index of the change above all, goes out before the step-down.
            replicate()
            becomeFollower(term: term, leader: nil)
            return
        }
        if let target = transferTarget, !membership.isVoter(target) { transferTarget = nil }
        // A smaller quorum may have been reached long ago.
        advanceCommit()
    }

    mutating func leaveJointIfDue() {
        guard settings.leavesJointAutomatically, role == .leader, membership.isJoint else { return }
        _ = proposeMembership(.leaveJoint)
    }

    // MARK: - Snapshots

    /// A leader announces a snapshot. When there is no need for it the leader is told at once how far we are.
    mutating func handleSnapshot(_ descriptor: SnapshotDescriptor) {
        guard installing == nil, !needsSnapshot(descriptor) else { return }
        fastForward(to: descriptor)
        answerSnapshot()
    }

    /// Installing this snapshot would bring the replica forward: it ends above the commit index and does not lie in the
    /// log. (A snapshot in the middle of the log is committed, so the commit index moves up to it and the suffix, which
    /// may have been acknowledged, stays.)
    package func needsSnapshot(_ descriptor: SnapshotDescriptor) -> Bool {
        role != .leader && descriptor.index > log.commit && descriptor.index <= LogIndex.max / 2
            && log.term(at: descriptor.index) != descriptor.term
    }

    /// Call before storage replaces log and state by the snapshot, when that is not instantaneous: appends are ignored
    /// no entries come out and no campaign starts until `restoreSnapshot` or `abandonSnapshot`. The replacement must be
    /// queued behind the writes handed out so far. False: not needed, leave the disk alone.
    package mutating func prepareSnapshot(_ descriptor: SnapshotDescriptor) -> Bool {
        guard installing == nil, needsSnapshot(descriptor) else { return false }
        if role != .follower { becomeFollower(term: term, leader: nil) }
        installing = descriptor
        // Acknowledgements of entries that will not be written any more.
        messagesAfterAppend.removeAll { message in
            if case .appendReply = message.body { true } else { false }
        }
        return true
    }

    /// The prepared snapshot did not arrive or could not be stored; the old log is as it was.
    package mutating func abandonSnapshot() { installing = nil }

    /// The shell has durably stored a snapshot and replaced the log on disk by the entries
    /// `firstRetained...descriptor.index` (none when `firstRetained` is above), with nothing after them. `termStarts`
    /// covers those entries. The next Ready carries `snapshot`; the leader is told.
    ///
    /// False when it is stale or lies in the log, and then the log on disk must be left alone: ask `prepareSnapshot`
    /// (or `needsSnapshot`, without a gap in between) first.
    package mutating func restoreSnapshot(
        _ descriptor: SnapshotDescriptor,
        firstRetained: LogIndex,
        termStarts: [TermStart]
    ) -> Bool {
        installing = nil
        guard needsSnapshot(descriptor) else {
            if role != .leader { fastForward(to: descriptor) }
            answerSnapshot()
            return false
        }
        if role != .follower { becomeFollower(term: term, leader: nil) }
        log.restore(descriptor, firstRetained: firstRetained, termStarts: termStarts)
        writes.truncate(after: 0)
        membership = descriptor.membership
        applyBuffer.removeAll()
        isApplyReadPending = false
        unappliedSnapshot = descriptor.index
        restoredSnapshot = descriptor
        repairTerm = term
        answerSnapshot()
        return true
    }

    private mutating func fastForward(to descriptor: SnapshotDescriptor) {
        if log.term(at: descriptor.index) == descriptor.term { log.commitTo(descriptor.index) }
    }

    private mutating func answerSnapshot() {
        guard let leader, leader != id else { return }
        sendAfterAppend(.appendReply(AppendReply(index: log.commit)), to: leader)
    }

    /// A member says that its log is damaged and will be replaced by a snapshot: nothing that it acknowledged counts
    /// from here on. A snapshot that reaches up to the commit index of now loses nothing of what it counted for.
    package mutating func onPeerDamaged(_ peer: NodeID) {
        guard role == .leader, peer != id, let position = progressPosition(peer) else { return }
        progress[position].forgetAcknowledged(last: log.lastIndex)
        progress[position].becomeSnapshot()
    }

    /// The stream that `Ready.snapshotNeeded` asked for has been delivered, or not. Either way the leader probes; the
    /// follower's answer tells the rest.
    package mutating func onSnapshotSent(to peer: NodeID, succeeded: Bool) {
        guard role == .leader, let position = progressPosition(peer), progress[position].state == .snapshot
        else { return }
        progress[position].becomeProbe(next: succeeded ? log.firstIndex : nil)
        // Not before a heartbeat reply: the follower may be busy with the snapshot, or gone.
        progress[position].isProbeSent = true
    }
}
