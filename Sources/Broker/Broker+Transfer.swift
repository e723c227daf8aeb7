import PeerProtocol
import Primitives
import Raft
import Rooms

/// Snapshot transfer: the state machine's bytes and the retained log travel in chunks, one in flight, from the leader
/// to a follower that is behind the retained log or whose disk is damaged. The follower's replica is replaced whole.
extension Broker {
    func beginTransfer(_ replica: Replica, to node: NodeID) {
        guard replica.transfers[node] == nil else { return }
        guard isReachable(node), replicas.count(where: { $0?.transfers[node] != nil }) < settings.parallelSyncs else {
            // Raft tries again when the node answers heartbeats, and who has asked asks again.
            replica.raft.onSnapshotSent(to: node, succeeded: false)
            return
        }
        let bytes: [UInt8]
        let index: LogIndex
        if let state = replica.snapshot, let applied = replica.applied {
            index = applied
            bytes = state.encoded()
        } else {
            index = replica.raft.appliedIndex
            bytes = control.encodeSnapshot()
        }
        guard index > 0, let term = replica.raft.term(at: index) else {
            replica.raft.onSnapshotSent(to: node, succeeded: false)
            return
        }
        replica.transfers[node] = Replica.OutgoingTransfer(
            descriptor: SnapshotDescriptor(index: index, term: term, membership: replica.raft.membership),
            state: bytes,
            // Rooms' histories live in the log; keys are whole in the state.
            firstEntry: replica.keys == nil ? min(replica.raft.firstIndex, index + 1) : index + 1,
            startedAt: now,
            lastProgress: now
        )
        counters.snapshotsSent += 1
        sendChunk(replica, to: node, offset: 0)
    }

    /// Asks the leader to replace a replica that is damaged or new; true when it was asked.
    func askForSnapshot(_ replica: Replica) -> Bool {
        // Behind the last acknowledgement of the old log: the leader forgets them all when it reads this.
        guard replica.isFaulty, replica.pendingAppends == 0, !replica.isFilling(at: now, settings),
            let leader = replica.raft.leader, leader != settings.node
        else { return false }
        replica.askedAt = now
        outbox.peers.append((leader, .snapshotRequest(replica.group)))
        return true
    }

    /// A damaged replica asks to be replaced. What it acknowledged it will lose, so from here on none of that counts,
    /// and the snapshot must reach up to everything that was committed while it still did.
    func receiveSnapshotRequest(_ group: GroupID, from node: NodeID) {
        guard let replica = replica(group), replica.raft.role == .leader, replica.raft.membership.members.contains(node)
        else { return }
        if replica.transfers[node] == nil { replica.raft.onPeerDamaged(node) }
        guard replica.raft.hasCommittedInTerm, replica.raft.appliedIndex == replica.raft.commitIndex else { return }
        beginTransfer(replica, to: node)
    }

    private func sendChunk(_ replica: Replica, to node: NodeID, offset: UInt64) {
        guard var transfer = replica.transfers[node] else { return }
        guard transferDue <= now else {
            replica.transfers[node]?.held = offset
            return
        }
        let stateBytes = UInt64(transfer.state.count)
        if offset < stateBytes || transfer.firstEntry > transfer.descriptor.index {
            let end = min(Int(offset) + settings.snapshotChunkBytes, transfer.state.count)
            spend(end - min(Int(offset), end))
            send(
                chunk(replica, transfer, offset: offset, state: transfer.state[min(Int(offset), end)..<end], []),
                to: node
            )
            return
        }
        let from = transfer.firstEntry + (offset - stateBytes)
        guard from <= transfer.descriptor.index, !transfer.isReading else { return }
        transfer.isReading = true
        replica.transfers[node] = transfer
        let token = nextStorageToken
        nextStorageToken += 1
        storageReads[token] = .transfer(replica, node, from: from)
        outbox.storage.append(
            .read(
                token: token,
                group: replica.group,
                from: from,
                upTo: transfer.descriptor.index,
                maxBytes: settings.snapshotChunkBytes
            )
        )
    }

    private func chunk(
        _ replica: Replica,
        _ transfer: Replica.OutgoingTransfer,
        offset: UInt64,
        state: ArraySlice<UInt8>,
        _ entries: [Entry]
    ) -> PeerMessage {
        .snapshotChunk(
            SnapshotChunk(
                group: replica.group,
                term: replica.raft.term,
                descriptor: transfer.descriptor,
                stateBytes: UInt64(transfer.state.count),
                firstEntry: transfer.firstEntry,
                offset: offset,
                state: state,
                entries: entries
            )
        )
    }

    func continueTransfer(_ replica: Replica, to node: NodeID, from: LogIndex, _ entries: [Entry]?) {
        guard var transfer = replica.transfers[node] else { return }
        transfer.isReading = false
        replica.transfers[node] = transfer
        guard let entries, let first = entries.first, first.index == from else {
            endTransfer(replica, to: node, succeeded: false)
            return
        }
        let wanted = entries.filter { $0.index <= transfer.descriptor.index }
        let offset = UInt64(transfer.state.count) + (from - transfer.firstEntry)
        spend(wanted.reduce(0) { $0 + $1.data.count })
        send(chunk(replica, transfer, offset: offset, state: [], wanted), to: node)
    }

    /// Bytes of transfers are sent at a bounded rate: they take neither the links nor the disks from what is live.
    private func spend(_ bytes: Int) {
        let time = UInt64(bytes) * 1_000_000_000 / UInt64(settings.transferRate)
        transferDue = max(now, transferDue) + Interval(nanoseconds: time)
    }

    func endTransfer(_ replica: Replica, to node: NodeID, succeeded: Bool) {
        replica.transfers[node] = nil
        replica.raft.onSnapshotSent(to: node, succeeded: succeeded)
        mark(replica)
    }

    /// The follower holds `received` of the transfer; all of it means that it has been installed.
    func receiveProgress(_ group: GroupID, index: LogIndex, received: UInt64, from node: NodeID) {
        guard let replica = replica(group), var transfer = replica.transfers[node],
            transfer.descriptor.index == index
        else { return }
        transfer.lastProgress = now
        replica.transfers[node] = transfer
        let total = UInt64(transfer.state.count) + (transfer.descriptor.index + 1 - transfer.firstEntry)
        if received > total {
            endTransfer(replica, to: node, succeeded: true)
        } else if received < total {
            sendChunk(replica, to: node, offset: received)
        }
    }

    func expireTransfers(_ replica: Replica) {
        if let incoming = replica.incoming, !incoming.isInstalling {
            // Who sent it leads no more, or has given it up: the rest will not come.
            let isOver = replica.raft.leader.map { $0 != incoming.from } ?? false
            if isOver || now - incoming.lastProgress > .seconds(10) { replica.incoming = nil }
        }
        guard !replica.transfers.isEmpty else { return }
        for node in replica.transfers.keys.sorted() where transferDue <= now {
            guard let offset = replica.transfers[node]?.held else { continue }
            replica.transfers[node]?.held = nil
            replica.transfers[node]?.lastProgress = now
            sendChunk(replica, to: node, offset: offset)
        }
        for (node, transfer) in replica.transfers.sorted(by: { $0.key < $1.key })
        where transfer.held == nil && now - transfer.lastProgress > .seconds(10) {
            endTransfer(replica, to: node, succeeded: false)
        }
    }

    func receiveChunk(_ chunk: SnapshotChunk, from node: NodeID) {
        guard let replica = replica(chunk.group), chunk.term >= replica.raft.term else { return }
        if let incoming = replica.incoming, incoming.isInstalling { return }
        let isNew =
            replica.incoming == nil || replica.incoming?.descriptor != chunk.descriptor
            || replica.incoming?.from != node
        if isNew {
            guard chunk.offset == 0 else { return }
            replica.incoming = Replica.IncomingTransfer(
                from: node,
                descriptor: chunk.descriptor,
                stateBytes: chunk.stateBytes,
                firstEntry: chunk.firstEntry
            )
        }
        guard var incoming = replica.incoming, chunk.offset == incoming.received else { return }
        replica.incoming = nil
        incoming.lastProgress = now
        incoming.state.append(contentsOf: chunk.state)
        for entry in chunk.entries where entry.index == incoming.firstEntry + UInt64(incoming.entries.count) {
            incoming.entries.append(entry)
        }
        if incoming.isComplete {
            replica.incoming = incoming
            installWhenQuiet(replica)
        } else {
            replica.incoming = incoming
            send(
                .snapshotProgress(chunk.group, index: chunk.descriptor.index, received: incoming.received),
                to: node
            )
        }
    }

    /// Replaces the replica on disk once no append of the old log is under way; until it is done the group's messages
    /// are left aside, so that no entry of the old life lands in the new one.
    func installWhenQuiet(_ replica: Replica) {
        guard let incoming = replica.incoming, incoming.isComplete, !incoming.isInstalling,
            replica.pendingAppends == 0
        else { return }
        if !replica.isFaulty, !replica.raft.prepareSnapshot(incoming.descriptor) {
            // The log caught up by itself meanwhile.
            replica.incoming = nil
            send(.snapshotProgress(replica.group, index: incoming.descriptor.index, received: .max), to: incoming.from)
            return
        }
        replica.incoming?.isInstalling = true
        outbox.storage.append(
            .installSnapshot(
                group: replica.group,
                descriptor: incoming.descriptor,
                state: incoming.state,
                entries: incoming.entries
            )
        )
    }

    package func onSnapshotInstalled(group: GroupID, index: LogIndex, succeeded: Bool) {
        guard let replica = replica(group), let incoming = replica.incoming, incoming.descriptor.index == index else {
            return
        }
        replica.incoming = nil
        guard succeeded else {
            replica.raft.abandonSnapshot()
            mark(replica)
            return
        }
        var starts: [TermStart] = []
        for entry in incoming.entries where starts.last?.term != entry.term {
            starts.append(TermStart(index: entry.index, term: entry.term))
        }
        if starts.isEmpty { starts = [TermStart(index: index, term: incoming.descriptor.term)] }
        replica.installed = incoming.state
        if replica.isFaulty {
            rebuild(replica, incoming, starts)
        } else if !replica.raft.restoreSnapshot(
            incoming.descriptor,
            firstRetained: incoming.firstEntry,
            termStarts: starts
        ) {
            replica.installed = nil
        }
        send(.snapshotProgress(group, index: index, received: .max), to: incoming.from)
        mark(replica)
    }

    /// A damaged replica forgets all of its log; only its term and vote, which are intact, stay.
    private func rebuild(_ replica: Replica, _ incoming: Replica.IncomingTransfer, _ starts: [TermStart]) {
        var restored = RestoredReplica()
        let status = replica.raft.status()
        restored.hardState = HardState(term: status.term, vote: status.vote, commit: incoming.descriptor.index)
        restored.snapshot = incoming.descriptor
        restored.firstIndex = incoming.firstEntry
        restored.lastIndex = incoming.descriptor.index
        restored.termStarts = starts
        replica.raft = RaftNode(
            id: settings.node,
            group: replica.group,
            membership: incoming.descriptor.membership,
            restored: restored,
            settings: replica.group == .control ? settings.controlRaft : settings.dataRaft,
            seed: random.next()
        )
        replaceState(replica, incoming.descriptor)
    }
}
