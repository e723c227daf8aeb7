import Broker
import Keys
import LogStorage
import Placement
import Primitives
import Raft
import Rooms

/// Sees everything at once and knows what must never be: the invariants of consensus.md 2.1 that need no history.
///
/// An entry is what its (index, term) says, everywhere; a term has one leader; what was committed once stays, and is
/// the same for all; a leader commits by counting entries of its own term; what a disk called durable is there after a
/// restart; equal applied indices are equal states; an acknowledged publish is committed.
final class Oracle {
    struct EntryKey: Hashable {
        var index: LogIndex
        var term: Term
    }
    struct Leadership: Hashable {
        var group: GroupID
        var term: Term
    }

    /// What a group has agreed on, and the state machine that it makes.
    struct Reference {
        var log: [Entry] = []
        var state: PartitionState?
        var keys: KeyPartition?
        /// Messages by room and offset, from 1.
        var messages: [RoomName: [UInt64]] = [:]
    }

    /// What a node's disk has promised of one group.
    struct Promise {
        var term: Term = 0
        var vote: NodeID?
        /// Terms of entries from 1 on; 0 for those that a snapshot covers.
        var terms: [Term] = []
        /// The first index of each write that was handed out and is not durable yet, oldest first; `.max` for none.
        var pending: [LogIndex] = []
    }

    var known: [[EntryKey: Entry]]
    var references: [Reference]
    var leaders: [Leadership: NodeID] = [:]
    var leaderTerms: [Term]
    /// By node and group.
    var promises: [[Promise]]
    var examined: [[LogIndex]]
    var digests: [[LogIndex: UInt64]]
    var owners: [NodeID?]
    /// How often each partition changed its owner.
    var ownerChanges: [Int]
    var acknowledged = 0

    init(partitions: Int, keyPartitions: Int, nodes: Int) {
        let all = partitions + keyPartitions
        let groups = all + 1
        known = Array(repeating: [:], count: groups)
        references = (0..<groups).map { group in
            guard group > 0 else { return Reference() }
            let partition = PartitionID(UInt32(group - 1))
            return group > partitions
                ? Reference(keys: KeyPartition(partition: partition))
                : Reference(state: PartitionState(partition: partition))
        }
        leaderTerms = Array(repeating: 0, count: groups)
        promises = Array(repeating: Array(repeating: Promise(), count: groups), count: nodes)
        examined = Array(repeating: Array(repeating: 0, count: groups), count: nodes)
        digests = Array(repeating: [:], count: groups)
        owners = Array(repeating: nil, count: all)
        ownerChanges = Array(repeating: 0, count: all)
    }

    // MARK: Entries

    /// Log matching: an index and a term name one entry.
    func handedOut(_ item: StorageRequest.Item, _ node: SimulatedNode, simulation: Simulation) {
        let group = Int(item.group.rawValue)
        for entry in item.entries {
            let key = EntryKey(index: entry.index, term: entry.term)
            if let same = known[group][key] {
                if same != entry {
                    simulation.fail("group \(item.group): two entries \(entry.index) of term \(entry.term)")
                }
            } else {
                known[group][key] = entry
            }
            // A deposed leader may well write where others have committed, but nobody where it knows so itself.
            if entry.index <= examined[node.index][group] {
                simulation.fail(
                    "node \(node.id) writes entry \(entry.index) of \(item.group), which it knows to be committed"
                )
            }
        }
        promises[node.index][group].pending.append(item.entries.first?.index ?? .max)
        // From here on either the old or the new entries may be found after a crash.
        if let first = item.entries.first?.index, LogIndex(promises[node.index][group].terms.count) >= first {
            promises[node.index][group].terms.removeLast(promises[node.index][group].terms.count - Int(first) + 1)
        }
    }

    /// Bytes that came back from a disk are what was written.
    func check(_ entries: [Entry], of group: GroupID, at node: SimulatedNode, simulation: Simulation) {
        for entry in entries {
            let key = EntryKey(index: entry.index, term: entry.term)
            if known[Int(group.rawValue)][key] != entry {
                simulation.fail(
                    "node \(node.id), \(group): entry \(entry.index) of term \(entry.term) was never written so"
                )
            }
        }
    }

    // MARK: Disks

    func becameDurable(_ item: StorageRequest.Item, _ node: SimulatedNode) {
        let group = Int(item.group.rawValue)
        if let state = item.hardState {
            promises[node.index][group].term = state.term
            promises[node.index][group].vote = state.vote
        }
        if !promises[node.index][group].pending.isEmpty { promises[node.index][group].pending.removeFirst() }
        // A later write, handed out already, may replace some of these.
        let limit = promises[node.index][group].pending.min() ?? .max
        for entry in item.entries where entry.index < limit {
            let count = promises[node.index][group].terms.count
            if Int(entry.index) == count + 1 { promises[node.index][group].terms.append(entry.term) }
        }
    }

    func installed(_ group: GroupID, _ index: LogIndex, _ node: SimulatedNode) {
        promises[node.index][Int(group.rawValue)].terms = Array(repeating: 0, count: Int(index))
        examined[node.index][Int(group.rawValue)] = 0
    }

    func discarded(_ group: GroupID, _ node: SimulatedNode) {
        promises[node.index][Int(group.rawValue)].terms = []
        promises[node.index][Int(group.rawValue)].pending = []
        examined[node.index][Int(group.rawValue)] = 0
    }

    func checkRecovery(_ node: SimulatedNode, _ recovery: Recovery, simulation: Simulation) {
        for group in promises[node.index].indices {
            let promise = promises[node.index][group]
            examined[node.index][group] = 0
            promises[node.index][group].pending = []
            let id = GroupID(rawValue: UInt32(group))
            let restored = recovery.replicas.first { $0.group == id }?.replica ?? RestoredReplica()
            if !restored.isFaulty { check(restored.entries, of: id, at: node, simulation: simulation) }
            if restored.isFaulty || node.wasTampered {
                promises[node.index][group] = Promise()
                continue
            }
            let state = restored.hardState
            if state.term < promise.term
                || (state.term == promise.term && promise.vote != nil && state.vote != promise.vote)
            {
                simulation.fail(
                    """
                    node \(node.id), \(id): restarted in term \(state.term) \
                    with vote \(String(describing: state.vote)), \
                    durable were term \(promise.term) and vote \(String(describing: promise.vote))
                    """
                )
            }
            let raft = RaftNode(
                id: node.id,
                group: id,
                membership: Membership(voters: [node.id]),
                restored: restored,
                settings: RaftSettings(),
                seed: 0
            )
            for (row, term) in promise.terms.enumerated() where term != 0 {
                let index = LogIndex(row + 1)
                if index < raft.firstIndex { continue }
                if raft.term(at: index) != term {
                    simulation.fail(
                        """
                        node \(node.id), \(id): entry \(index) of term \(term) was durable and is not there after the \
                        restart (\(raft.firstIndex)...\(raft.lastIndex))
                        """
                    )
                    break
                }
            }
        }
    }

    // MARK: Leaders and commitment

    func observe(_ message: RaftMessage, of group: GroupID, from node: SimulatedNode, simulation: Simulation) {
        switch message.body {
        case .append, .heartbeat, .snapshot: break
        default: return
        }
        let key = Leadership(group: group, term: message.term)
        if let leader = leaders[key] {
            if leader != node.id {
                simulation.fail("group \(group), term \(message.term): \(leader) and \(node.id) both lead")
            }
        } else {
            leaders[key] = node.id
            let row = Int(group.rawValue)
            leaderTerms[row] = max(leaderTerms[row], message.term)
        }
        if case .append(let request) = message.body,
            request.commit > LogIndex(references[Int(group.rawValue)].log.count)
        {
            examine(node, group, simulation: simulation)
        }
    }

    /// Everybody whose votes the group's next leader may need, a list for each majority: the voters in force, those
    /// before the last change, which not everybody may know to be over, and those of changes that are only written.
    func voters(of id: GroupID, from genesis: [NodeID]) -> [[NodeID]] {
        let group = Int(id.rawValue)
        var before = Membership(voters: genesis)
        var current = before
        for entry in references[group].log {
            guard let next = change(entry)?.applied(to: current) else { continue }
            before = current
            current = next
        }
        var lists = [before.voters, before.outgoing, current.voters, current.outgoing]
        for (key, entry) in known[group] where key.index > LogIndex(references[group].log.count) {
            if case .enterJoint(let voters, _)? = change(entry) { lists.append(voters) }
        }
        return lists.filter { !$0.isEmpty }
    }

    private func change(_ entry: Entry) -> MembershipChange? {
        guard entry.kind == .membership else { return nil }
        return try? MembershipChange(decoding: entry.data)
    }

    func leadsStaleGroup(_ node: SimulatedNode) -> Bool {
        for group in leaderTerms.indices {
            let id = GroupID(rawValue: UInt32(group))
            if let raft = node.broker(of: id).raftNode(id), raft.role == .leader, raft.term < leaderTerms[group] {
                return true
            }
        }
        return false
    }

    /// Takes in what the node's replicas believe to be committed.
    func examine(_ node: SimulatedNode, simulation: Simulation) {
        guard node.isRunning else { return }
        for group in references.indices { examine(node, GroupID(rawValue: UInt32(group)), simulation: simulation) }
    }

    private func examine(_ node: SimulatedNode, _ id: GroupID, simulation: Simulation) {
        let group = Int(id.rawValue)
        // What a damaged replica believes does not count until it is replaced.
        guard let raft = node.broker(of: id).raftNode(id), !raft.isFaulty else { return }
        let commit = raft.commitIndex
        guard commit > examined[node.index][group] else { return }
        var index = max(examined[node.index][group] + 1, raft.firstIndex)
        examined[node.index][group] = commit
        let count = LogIndex(references[group].log.count)
        if raft.role == .leader, commit > count, raft.term(at: commit) != raft.term {
            simulation.fail(
                """
                group \(id): \(node.id) leads term \(raft.term) and commits up to \(commit), an entry of term \
                \(raft.term(at: commit) ?? 0): entries of earlier terms must not be counted
                """
            )
        }
        while index <= commit {
            defer { index += 1 }
            let term = raft.term(at: index) ?? 0
            let length = LogIndex(references[group].log.count)
            if index <= length {
                if references[group].log[Int(index) - 1].term != term {
                    simulation.fail(
                        """
                        group \(id): entry \(index) was committed in term \
                        \(references[group].log[Int(index) - 1].term), \
                        for \(node.id) it is of term \(term)
                        """
                    )
                    return
                }
            } else if index == length + 1, let entry = known[group][EntryKey(index: index, term: term)] {
                commitReference(entry, group, simulation: simulation)
            } else {
                simulation.fail("group \(id): \(node.id) has committed \(index) of term \(term), which nobody wrote")
                return
            }
        }
    }

    private func commitReference(_ entry: Entry, _ group: Int, simulation: Simulation) {
        references[group].log.append(entry)
        if references[group].keys != nil {
            commitKeys(entry, group, simulation: simulation)
            return
        }
        guard references[group].state != nil else { return }
        switch entry.kind {
        case .noop, .membership: references[group].state?.skip(to: entry.index)
        case .command:
            var effects: [PartitionState.Effect] = []
            do {
                try references[group].state?.apply(index: entry.index, data: entry.data, into: &effects)
            } catch {
                simulation.fail("group \(group), entry \(entry.index): \(error)")
            }
            for effect in effects {
                guard case .published(_, _, let room, .appended(let at), let publication?) = effect else { continue }
                let name = room.compacted()
                let count = references[group].messages[name]?.count ?? 0
                if Int(at.offset) != count + 1 {
                    simulation.fail("\(name): offset \(at.offset) follows \(count)")
                }
                references[group].messages[name, default: []].append(messageNumber(publication.body))
            }
        }
    }

    private func commitKeys(_ entry: Entry, _ group: Int, simulation: Simulation) {
        guard case .command = entry.kind else {
            references[group].keys?.skip(to: entry.index)
            return
        }
        var effects: [KeyPartition.Effect] = []
        do {
            try references[group].keys?.apply(index: entry.index, data: entry.data, into: &effects)
        } catch {
            simulation.fail("group \(group), entry \(entry.index): \(error)")
        }
    }

    /// The message at a position, as far as the oracle has seen the log.
    func message(_ room: RoomName, _ offset: UInt64, _ partition: PartitionID) -> UInt64? {
        guard let list = references[Int(partition.rawValue) + 1].messages[room], offset >= 1,
            offset <= UInt64(list.count)
        else { return nil }
        return list[Int(offset) - 1]
    }

    /// The last offset of a room in the committed log.
    func head(_ room: RoomName, _ partitions: Int) -> UInt64 {
        let partition = Int(room.slot * UInt32(partitions) / HashSlot.count)
        return UInt64(references[partition + 1].messages[room]?.count ?? 0)
    }

    /// An acknowledged publish is in the committed log, where the acknowledgement says.
    func acknowledge(_ message: UInt64, _ room: RoomName, _ offset: UInt64, simulation: Simulation) {
        acknowledged += 1
        guard let broker = simulation.nodes.first(where: \.isRunning)?.brokers.first else { return }
        let partition = broker.partition(of: room)
        let id = GroupID(partition: partition)
        if self.message(room, offset, partition) == nil {
            for node in simulation.nodes where node.isRunning { examine(node, id, simulation: simulation) }
        }
        let found = self.message(room, offset, partition)
        if found != message {
            simulation.fail(
                "message \(message) was acknowledged at \(room) \(offset), where the committed log has \(found ?? 0)"
            )
        }
    }

    // MARK: States

    func becameOwner(_ node: SimulatedNode, _ partition: PartitionID, _ term: Term, simulation: Simulation) {
        let row = Int(partition.rawValue)
        if let before = owners[row], before != node.id {
            ownerChanges[row] += 1
            simulation.sometimes.note(.ownerChanged)
            if simulation.hasPublishInFlight(partition) { simulation.sometimes.note(.ownerChangedInFlight) }
            let preferred = node.brokers[0].placement?.replicas[row].first
            if preferred == node.id { simulation.sometimes.note(.leadershipReturned) }
        }
        owners[row] = node.id
    }

    /// Now and then compares a replica's state with the others' at the same index.
    func sample(_ node: SimulatedNode, simulation: Simulation) {
        guard simulation.sampleChance.chance(1, in: 8) else { return }
        let partition = PartitionID(UInt32(simulation.sampleChance.below(UInt64(owners.count))))
        compare(node, partition, simulation: simulation)
    }

    func compare(_ node: SimulatedNode, _ partition: PartitionID, simulation: Simulation) {
        let id = GroupID(partition: partition)
        let group = Int(id.rawValue)
        let applied: LogIndex
        let digest: UInt64
        var reference: UInt64?
        if let state = node.broker(of: id).partitionState(partition), state.applied > 0 {
            applied = state.applied
            digest = state.digest
            if references[group].state?.applied == applied { reference = references[group].state?.digest }
        } else if let keys = node.broker(of: id).keyPartition(partition), keys.applied > 0 {
            applied = keys.applied
            digest = UInt64(CRC32C.checksum(keys.encodeSnapshot()))
            if references[group].keys?.applied == applied {
                reference = references[group].keys.map { UInt64(CRC32C.checksum($0.encodeSnapshot())) }
            }
        } else {
            return
        }
        if let other = digests[group][applied] {
            if other != digest {
                simulation.fail("group \(id): \(node.id)'s state at \(applied) differs from another replica's")
            }
        } else {
            digests[group][applied] = digest
        }
        if let reference, reference != digest {
            simulation.fail("group \(id): \(node.id)'s state at \(applied) is not what the log makes")
        }
    }
}

/// The number that a simulated publish carries in its payload; 0 when it is not one.
func messageNumber(_ body: ArraySlice<UInt8>) -> UInt64 {
    guard let decoded = try? MessageBody(decoding: body), decoded.payload.count >= 8 else { return 0 }
    return decoded.payload.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
}
