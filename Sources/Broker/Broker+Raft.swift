import DequeModule
import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// Driving the Raft groups: what a `Ready` asks for is handed to the outbox, what was committed is applied.
extension Broker {
    /// Makes the group's replica, from disk or new.
    func makeReplica(
        _ group: GroupID,
        membership: Membership?,
        restored: RestoredReplica?
    ) throws(DecodeError) {
        let restored = restored ?? RestoredReplica()
        let base: Membership
        if let snapshot = restored.snapshot {
            base = snapshot.membership
        } else if let membership {
            base = membership
        } else if group == .control {
            base = controlMembership
        } else {
            // Known only once the control group's table is applied; made then.
            orphans.append((group, restored))
            return
        }
        var state: PartitionState?
        var keys: KeyPartition?
        if let partition = group.partition, isKeys(partition) {
            keys =
                restored.snapshot == nil
                ? KeyPartition(partition: partition)
                : try KeyPartition(partition: partition, snapshot: restored.snapshotState)
        } else if let partition = group.partition {
            if restored.snapshot != nil {
                state = try PartitionState(
                    partition: partition,
                    snapshot: restored.snapshotState,
                    tailBytesMax: settings.tailBytesPerPartition
                )
                if settings.planted == .forgetProducers { state?.forgetProducers() }
            } else {
                state = PartitionState(partition: partition, tailBytesMax: settings.tailBytesPerPartition)
            }
        } else if restored.snapshot != nil {
            control = try ControlState(snapshot: restored.snapshotState)
            controlChanged()
        }
        let raft = RaftNode(
            id: settings.node,
            group: group,
            membership: base,
            restored: restored,
            settings: group == .control ? settings.controlRaft : settings.dataRaft,
            seed: random.next()
        )
        let replica = Replica(
            group: group,
            raft: raft,
            state: state,
            keys: keys,
            snapshotIndex: restored.snapshot?.index ?? 0,
            isFaulty: restored.isFaulty
        )
        replica.leaderLostAt = now
        replica.lastHousekeeping = now
        replicas[Int(group.rawValue)] = replica
        if restored.isFaulty {
            outbox.events.append(
                base.voters.isEmpty
                    ? .replicaAdded(group) : restored.isRemoved ? .replicaRemains(group) : .replicaFaulty(group)
            )
        }
        mark(replica)
    }

    func pump(_ replica: Replica) {
        if replica.raft.role == .leader { propose(replica) }
        while replica.raft.takeReadyIfAny(into: &replica.ready) {
            // The question to the majority is on its way: later reads need one of their own.
            replica.isReadContextOpen = false
            process(replica)
            // A commit makes room for what was gathered meanwhile.
            if replica.raft.role == .leader { propose(replica) }
        }
        if replica.group != .control, !replica.isFaulty { considerSnapshot(replica) }
    }

    private func process(_ replica: Replica) {
        if let soft = replica.ready.softState { roleChanged(replica, soft) }
        for message in replica.ready.messages { outbox.peers.append((message.to, .raft(replica.group, message))) }

        if replica.ready.mustSync {
            replica.pendingAppends += 1
            let vote = Replica.Vote(term: replica.raft.term, vote: replica.raft.vote)
            if replica.keys == nil || replica.syncedVote != vote { isAppendKeysOnly = false }
            replica.syncedVote = vote
            items.append(
                StorageRequest.Item(
                    group: replica.group,
                    hardState: replica.ready.hardState,
                    entries: replica.ready.entries
                )
            )
            parts.append(
                PendingAppend.Part(
                    replica: replica,
                    term: replica.raft.term,
                    index: replica.ready.entries.last?.index ?? replica.raft.lastIndex,
                    messages: replica.ready.messagesAfterAppend
                )
            )
        } else if !replica.ready.messagesAfterAppend.isEmpty {
            deliver(replica.ready.messagesAfterAppend, replica)
        }

        if let descriptor = replica.ready.snapshot {
            replaceState(replica, descriptor)
            replica.raft.onApplied(descriptor.index)
        }
        // A damaged replica is replaced whole by a snapshot; what is left of its log may lack its beginning.
        if !replica.ready.committed.isEmpty, !replica.isFaulty { apply(replica) }
        for state in replica.ready.readStates {
            for index in replica.reads.indices where replica.reads[index].context == state.context {
                replica.reads[index].index = state.index
            }
        }
        if !replica.reads.isEmpty { serveReads(replica) }
        if !replica.keyReads.isEmpty { serveKeyReads(replica, replica.ready.readStates) }
        for read in replica.ready.logReads { readLog(replica, read) }
        for node in replica.ready.snapshotNeeded { beginTransfer(replica, to: node) }
    }

    /// Messages of a group; those to itself (a candidate's own vote) are stepped at once.
    private func deliver(_ messages: [RaftMessage], _ replica: Replica) {
        for message in messages {
            if message.to == settings.node {
                replica.raft.step(message)
                mark(replica)
            } else {
                outbox.peers.append((message.to, .raft(replica.group, message)))
            }
        }
    }

    /// Everything appended up to `ticket` is on disk.
    package func onDurable(ticket: UInt64) {
        while let first = pendingAppends.first, first.ticket <= ticket {
            pendingAppends.removeFirst()
            for part in first.parts {
                part.replica.pendingAppends -= 1
                part.replica.raft.onAppended(term: part.term, index: part.index)
                if !part.replica.unwritten.isEmpty { runAhead(part.replica, written: part.index) }
                deliver(part.messages, part.replica)
                if part.replica.incoming != nil { installWhenQuiet(part.replica) }
                mark(part.replica)
            }
        }
    }

    /// The disk refuses or stalls (full, slow): this node gives up what it leads and does not campaign until the disk
    /// is well again. Nothing is acknowledged meanwhile, because nothing becomes durable here.
    package func onDiskHealth(_ healthy: Bool) {
        guard healthy != isDiskHealthy else { return }
        isDiskHealthy = healthy
        if !healthy { handOverAtOnce() }
    }

    func bestFollower(_ replica: Replica) -> NodeID? {
        replica.raft.status().peers
            .filter { $0.id != settings.node && isReachable($0.id) && replica.raft.membership.isVoter($0.id) }
            .max { $0.match < $1.match }?.id
    }

    private func roleChanged(_ replica: Replica, _ soft: SoftState) {
        if replica.group == .control {
            outbox.events.append(.controlLeader(soft.leader, term: soft.term))
            if soft.role == .leader { leadControl(replica) }
        }
        if soft.leader == nil, replica.leaderLostAt == nil { replica.leaderLostAt = now }
        if let leader = soft.leader, leader != settings.node, replica.raft.role != .leader {
            replica.leaderLostAt = nil
        }
        if soft.role == .leader { replica.handOvers = 0 }
        guard let partition = replica.group.partition else { return }
        if soft.role == .leader, settings.planted == .serveBeforeNoop { beginServing(replica) }
        if soft.role != .leader || soft.term != replica.servingTerm, replica.isServing {
            let term = replica.servingTerm
            let reads = replica.keyReads
            counters.keyEntriesUnconfirmed += replica.unconfirmed
            replica.stopServing()
            outbox.events.append(.lostOwnership(partition, term: term, newOwner: soft.leader))
            if owners[Int(partition.rawValue)]?.node == settings.node {
                owners[Int(partition.rawValue)] = nil
                if let relay = relays[Int(partition.rawValue)] { ownerUnreachable(relay) }
            }
            // A relay asks again by itself; a hub has asked here alone.
            for read in reads {
                if case .hub(let hub, let token) = read.asker {
                    askForKeys(partition, read.unit, hub: hub, token: token)
                }
            }
        }
    }

    // MARK: Apply

    private func apply(_ replica: Replica) {
        effects.removeAll(keepingCapacity: true)
        keyEffects.removeAll(keepingCapacity: true)
        var sawOwnTerm = false
        for entry in replica.ready.committed {
            // Here and not at the append, so that a restart, which applies them again, counts them again.
            replica.bytesSinceSnapshot += entry.data.count
            if entry.term == replica.raft.term { sawOwnTerm = true }
            switch entry.kind {
            case .noop:
                replica.state?.skip(to: entry.index)
                replica.keys?.skip(to: entry.index)
            case .membership:
                replica.state?.skip(to: entry.index)
                replica.keys?.skip(to: entry.index)
                do {
                    _ = try replica.raft.applyMembership(entry.data)
                    replica.settledIndex = replica.raft.lastIndex
                    replica.placedEpoch = 0
                } catch {
                    fatal(replica, entry.index, "membership change: \(error)")
                    return
                }
            case .command:
                do throws(DecodeError) {
                    if replica.group == .control {
                        try applyControl(entry)
                    } else {
                        try replica.state?.apply(index: entry.index, data: entry.data, into: &effects)
                        try replica.keys?.apply(index: entry.index, data: entry.data, into: &keyEffects)
                    }
                } catch {
                    fatal(replica, entry.index, "command: \(error)")
                    return
                }
            }
        }
        guard let last = replica.ready.committed.last else { return }
        replica.raft.onApplied(last.index)
        if replica.group == .control {
            replica.lastSnapshotIndex = max(replica.lastSnapshotIndex, 0)
        } else {
            let isTold = replica.ahead != nil
            if sawOwnTerm, replica.raft.role == .leader, !replica.isServing { beginServing(replica) }
            if replica.isServing, replica.keys != nil {
                if !isTold { tellKeyEffects(replica) }
            } else if replica.isServing {
                publishEffects(replica)
            }
        }
    }

    func fatal(_ replica: Replica, _ index: LogIndex, _ reason: String) {
        outbox.events.append(.fatal(replica.group, index: index, reason: reason))
    }

    func replaceState(_ replica: Replica, _ descriptor: SnapshotDescriptor) {
        guard let bytes = replica.installed else {
            fatal(replica, descriptor.index, "a snapshot was accepted that was never installed")
            return
        }
        replica.installed = nil
        do throws(DecodeError) {
            if let partition = replica.group.partition, isKeys(partition) {
                replica.keys = try KeyPartition(partition: partition, snapshot: bytes)
            } else if let partition = replica.group.partition {
                replica.state = try PartitionState(
                    partition: partition,
                    snapshot: bytes,
                    tailBytesMax: settings.tailBytesPerPartition
                )
                if settings.planted == .forgetProducers { replica.state?.forgetProducers() }
            } else {
                control = try ControlState(snapshot: bytes)
                controlChanged()
            }
        } catch {
            fatal(replica, descriptor.index, "snapshot: \(error)")
            return
        }
        replica.lastSnapshotIndex = descriptor.index
        replica.bytesSinceSnapshot = 0
        replica.savedKeyBytes = replica.keys?.keyspace.keyBytes ?? 0
        replica.isFaulty = false
        counters.snapshotsInstalled += 1
        outbox.events.append(.snapshotInstalled(replica.group, index: descriptor.index))
    }

    // MARK: Log reads

    private func readLog(_ replica: Replica, _ read: LogRead) {
        let token = nextStorageToken
        nextStorageToken += 1
        storageReads[token] = read.peer == settings.node ? .apply(replica, read) : .follower(replica, read)
        outbox.storage.append(
            .read(
                token: token,
                group: replica.group,
                from: read.from,
                upTo: replica.raft.lastIndex,
                maxBytes: read.maxBytes
            )
        )
    }

    /// The answer to `.read`; empty when the log no longer reaches back so far, nil when the disk failed the read.
    package func onEntriesRead(token: UInt64, _ entries: [Entry]?) {
        guard let purpose = storageReads.removeValue(forKey: token) else { return }
        if entries == nil {
            switch purpose {
            case .follower(let replica, _), .apply(let replica, _), .scan(let replica, _, _, _, _, _),
                .transfer(let replica, _, _):
                becameUnreadable(replica)
            }
        }
        switch purpose {
        case .follower(let replica, let read), .apply(let replica, let read):
            replica.raft.onEntriesRead(read, entries: entries ?? [])
            mark(replica)
        case .scan(let replica, let scan, let upTo, let node, let request, let reply):
            continueScan(replica, scan, upTo: upTo, node: node, request, reply, entries)
        case .transfer(let replica, let node, let from):
            continueTransfer(replica, to: node, from: from, entries)
        }
    }

    /// Part of the log is damaged on disk. Another replica leads from now on and replaces this one whole. Where a
    /// majority needs this replica that would only take the partition away, so there it goes on with what it can read.
    private func becameUnreadable(_ replica: Replica) {
        guard !replica.isFaulty, replica.raft.membership.voters.count > 2 else { return }
        replica.isFaulty = true
        replica.raft.markFaulty()
        outbox.events.append(.replicaFaulty(replica.group))
        mark(replica)
    }

    /// Entries up to `upTo` are in segments: they may leave memory.
    package func onFlushed(group: GroupID, upTo: LogIndex) {
        guard let replica = replica(group) else { return }
        replica.raft.evictEntries(upTo: min(upTo, replica.raft.appliedIndex))
    }

    // MARK: Snapshots and retention

    private func considerSnapshot(_ replica: Replica) {
        guard !replica.isSavingSnapshot, let applied = replica.applied else { return }
        let behind = applied - min(applied, replica.lastSnapshotIndex)
        guard
            behind >= settings.snapshotEntries
                || (replica.bytesSinceSnapshot >= settings.snapshotBytes && behind > 0)
        else { return }
        // A snapshot of keys writes them all, so it waits until the log has grown by as much as they took at the last
        // one: else a large keyspace would be written every few seconds (Raft thesis, 5.1.3; Redis's
        // auto-aof-rewrite-percentage 100).
        if let bytes = replica.keys?.keyspace.keyBytes,
            replica.bytesSinceSnapshot < min(bytes, replica.savedKeyBytes)
        {
            return
        }
        saveSnapshot(replica)
    }

    /// Saves the state machine as it is now; retention follows when it is on disk.
    func saveSnapshot(_ replica: Replica) {
        guard let state = replica.snapshot, let applied = replica.applied, applied > 0,
            let term = replica.raft.term(at: applied)
        else { return }
        replica.isSavingSnapshot = true
        replica.bytesBeingSaved = replica.bytesSinceSnapshot
        replica.bytesSinceSnapshot = 0
        replica.savedKeyBytes = replica.keys?.keyspace.keyBytes ?? 0
        outbox.storage.append(
            .saveSnapshot(
                group: replica.group,
                descriptor: SnapshotDescriptor(
                    index: applied,
                    term: term,
                    membership: replica.raft.membership
                ),
                state: state
            )
        )
    }

    package func onSnapshotSaved(group: GroupID, index: LogIndex, succeeded: Bool) {
        guard let replica = replica(group) else { return }
        replica.isSavingSnapshot = false
        guard succeeded else {
            // Tried again when half as much has come: soon, and not all the time.
            replica.bytesSinceSnapshot += replica.bytesBeingSaved / 2
            return
        }
        guard index > replica.lastSnapshotIndex else { return }
        replica.lastSnapshotIndex = index
        // What a retained message, the snapshot's tail or a transfer under way still needs stays.
        var below = min(replica.state?.logFloor ?? .max, index + 1)
        // A follower that is a little behind catches up from the log, not by a snapshot. One that answers may be
        // further behind: else a slow one that has just been filled would have to be filled again, and again.
        if replica.keys != nil { below -= min(below - 1, settings.snapshotEntries / 2) }
        let longest = index - min(index, max(64, settings.snapshotEntries * 4))
        for peer in replica.raft.status().peers where peer.isRecentlyActive && peer.state == .replicate {
            below = min(below, max(peer.match, longest) + 1)
        }
        for (_, transfer) in replica.transfers.sorted(by: { $0.key < $1.key }) {
            below = min(below, transfer.firstEntry)
        }
        guard below > replica.raft.firstIndex else { return }
        replica.raft.compactLog(upTo: below - 1)
        outbox.storage.append(.dropLog(group: group, below: below))
    }
}
