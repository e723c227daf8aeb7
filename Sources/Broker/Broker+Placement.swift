import PeerProtocol
import Placement
import Primitives
import Raft

/// Groups follow the placement table. A leader whose group's members are not those of the table makes the missing ones
/// learners, waits until they have caught up, and changes the voters in one joint step (Raft dissertation 4.3). A
/// replica that the table no longer names is removed when the group's leader confirms that nobody counts on it.
extension Broker {
    package var placement: PlacementTable? { control.placement }

    /// Takes the control state up here and on the other shards.
    func controlChanged() {
        let bytes = control.encodeSnapshot()
        for shard in 0..<settings.shards where shard != settings.shard {
            outbox.shards.append((shard, .control(bytes)))
        }
        if control.featureLevel > settings.featureLevel {
            let reason =
                "the cluster has agreed on feature level \(control.featureLevel), and this program supports "
                + "\(settings.featureLevel): start a newer one"
            outbox.events.append(.fatal(.control, index: 0, reason: reason))
            return
        }
        outbox.events.append(
            .members(control.members, former: control.formerNodes, featureLevel: control.featureLevel)
        )
        install()
    }

    /// From the control group's shard.
    func adoptControl(_ bytes: [UInt8]) {
        do throws(DecodeError) {
            let state = try ControlState(snapshot: bytes)
            guard state.version > control.version else { return }
            control = state
            install()
        } catch {
            outbox.events.append(.fatal(.control, index: 0, reason: "control state between shards: \(error)"))
        }
    }

    private func install() {
        guard let table = placement, table.replicas.count == settings.allPartitions else { return }
        if table.epoch > installedEpoch {
            installedEpoch = table.epoch
            outbox.events.append(.placementApplied(epoch: table.epoch, partitions: table.replicas.count))
        }
        for partition in 0..<settings.allPartitions { ensureReplica(PartitionID(UInt32(partition)), table) }
    }

    /// Makes the replica that the table gives this node, or that its disk holds.
    private func ensureReplica(_ partition: PartitionID, _ table: PlacementTable) {
        let group = GroupID(partition: partition)
        guard isLocal(group), replicas[Int(group.rawValue)] == nil, !discarding.contains(group) else { return }
        let isMember = table.replicas(of: partition).contains(settings.node)
        var orphan = orphans.firstIndex { $0.0 == group }.map { orphans.remove(at: $0).1 }
        if isMember, orphan == nil, settings.hasLostRecords {
            // It may have voted and acknowledged: nothing is left that says so.
            orphan = RestoredReplica()
            orphan?.isFaulty = true
        }
        // What the disk holds is needed until the group's leader says otherwise, and if it is damaged it is filled.
        guard isMember || orphan?.isRemoved == false else {
            // Of a replica that was here before, the vote is all that is left; it may matter when the group comes back.
            if let orphan { orphans.append((group, orphan)) }
            return
        }
        let membership: Membership
        if table.epoch == 1 || orphan?.isFaulty == false {
            membership = Membership(voters: control.genesis?.replicas(of: partition) ?? table.replicas(of: partition))
        } else {
            // The group exists elsewhere: until its leader has sent everything this replica neither votes nor counts.
            membership = Membership(voters: [], learners: [settings.node])
            orphan = orphan ?? RestoredReplica()
            orphan?.isFaulty = true
        }
        do {
            try makeReplica(group, membership: membership, restored: orphan)
        } catch {
            outbox.events.append(.fatal(group, index: 0, reason: "\(error)"))
            return
        }
        guard let replica = replica(group) else { return }
        // At the start nobody has heard of a leader: the preferred owner campaigns at once, the others wait their turn.
        if !replica.isFaulty, let rank = table.replicas(of: partition).firstIndex(of: settings.node) {
            replica.campaignAt = now + settings.rankDelay * 3 * UInt64(rank)
        }
    }

    // MARK: Members

    /// One step towards the members that the table names.
    func followPlacement(_ replica: Replica) {
        guard let partition = replica.group.partition, let table = placement, replica.isServing,
            replica.placedEpoch != table.epoch, replica.raft.transferringTo == nil
        else { return }
        let target = table.replicas(of: partition).sorted()
        let membership = replica.raft.membership
        guard !membership.isJoint else { return }
        if membership.voters == target, membership.learners.isEmpty {
            replica.placedEpoch = table.epoch
            return
        }
        _ = change(replica, toVoters: target, learners: [])
    }

    /// Takes the next step of a group's members towards `voters` and `learners`; false when there is none to take now.
    func change(_ replica: Replica, toVoters voters: [NodeID], learners: [NodeID]) -> Bool {
        let membership = replica.raft.membership
        if membership.voters == voters {
            guard membership.learners != learners else { return false }
            return propose(.setLearners(learners), replica)
        }
        let added = voters.filter { !membership.voters.contains($0) }
        if !added.allSatisfy({ membership.learners.contains($0) }) {
            let wanted = (added + learners).filter { !membership.voters.contains($0) }
            return propose(.setLearners(wanted), replica)
        }
        let peers = replica.raft.status().peers
        func hasCaughtUp(_ node: NodeID) -> Bool {
            peers.contains { peer in
                peer.id == node
                    && (node == settings.node
                        // A new replica answers nothing before it is filled, however short the log.
                        || (peer.state == .replicate && peer.isRecentlyActive && isReachable(node)
                            && peer.match + settings.catchUpEntries >= replica.raft.lastIndex))
            }
        }
        // Whoever votes from then on must be able to: a joint step that cannot be completed would stop the group.
        guard added.allSatisfy(hasCaughtUp), voters.filter(hasCaughtUp).count > voters.count / 2 else {
            return false
        }
        if !voters.contains(settings.node), replica.handOvers < 3,
            let successor = voters.filter({ membership.isVoter($0) && hasCaughtUp($0) && isWilling($0) })
                .max(by: { left, right in match(left, peers) < match(right, peers) })
        {
            // It leaves the group: a successor that stays takes the step, and nobody waits for an election.
            replica.handOvers += 1
            replica.raft.transferLeadership(to: successor)
            mark(replica)
            return true
        }
        return propose(.enterJoint(voters: voters, learners: learners), replica)
    }

    private func propose(_ change: MembershipChange, _ replica: Replica) -> Bool {
        mark(replica)
        if case .accepted = replica.raft.proposeMembership(change) { return true }
        return false
    }

    private func isWilling(_ node: NodeID) -> Bool { peers.contains { $0.id == node && $0.mayLead } }

    private func match(_ node: NodeID, _ peers: [RaftStatus.Peer]) -> LogIndex {
        peers.first { $0.id == node }?.match ?? 0
    }

    // MARK: Replicas that are not needed any more

    /// Asks the owner whether the group can do without this replica.
    func askToRetire(_ replica: Replica) {
        guard let partition = replica.group.partition, let table = placement,
            !table.replicas(of: partition).contains(settings.node),
            let owner = owners[Int(partition.rawValue)]?.node, owner != settings.node
        else { return }
        send(.retireRequest(replica.group), to: owner)
    }

    func receiveRetireRequest(_ group: GroupID, from node: NodeID) {
        guard let partition = group.partition, let replica = replica(group), replica.isServing, let table = placement,
            !table.replicas(of: partition).contains(node), !replica.raft.membership.isJoint,
            !replica.raft.membership.members.contains(node)
        else { return }
        // That the node is out must be known on the disks of a majority of those who are in, or a crash of all of them
        // would have them count on it again: an entry from after the change carries the commit index there.
        guard replica.raft.appliedIndex > replica.settledIndex else {
            if replica.raft.lastIndex == replica.settledIndex { replica.lastHousekeeping = .zero }
            return
        }
        send(.retire(group, epoch: table.epoch, term: replica.servingTerm), to: node)
    }

    /// The group's leader does without this replica: it is removed, but for its vote. Not by the word of a leader who
    /// has not heard of a later one, to whom this replica has acknowledged entries.
    func receiveRetire(_ group: GroupID, epoch: UInt64, term: Term) {
        guard let partition = group.partition, let replica = replica(group), let table = placement,
            table.epoch <= epoch, replica.raft.lastTerm <= term, !table.replicas(of: partition).contains(settings.node),
            replica.raft.role != .leader, replica.pendingAppends == 0, replica.incoming == nil,
            !replica.isSavingSnapshot
        else { return }
        replicas[Int(group.rawValue)] = nil
        discarding.insert(group)
        let status = replica.raft.status()
        var left = RestoredReplica(hardState: HardState(term: status.term, vote: status.vote, commit: 0))
        left.isFaulty = true
        left.isRemoved = true
        orphans.append((group, left))
        outbox.storage.append(.discard(group: group))
    }

    /// False: the disk did not take it; the replica is still there after the next start, and asks again.
    package func onDiscarded(group: GroupID, succeeded: Bool) {
        discarding.remove(group)
        if succeeded { outbox.events.append(.replicaRemoved(group)) }
        if let partition = group.partition, let table = placement { ensureReplica(partition, table) }
    }

    // MARK: Owners

    /// Gives leaderships back to their preferred owners, a few at a time, when those have caught up.
    func returnLeaderships() {
        guard let placement, !hasResigned else { return }
        var moves = 0
        for case let replica? in replicas where replica.raft.role == .leader && moves < 4 && replica.nextReturn <= now {
            guard let partition = replica.group.partition,
                let preferred = placement.replicas[Int(partition.rawValue)].first, preferred != settings.node,
                peers.contains(where: { $0.id == preferred && $0.isUp && !$0.isSuspected && $0.mayLead }),
                replica.raft.membership.voters.contains(preferred)
            else { continue }
            let status = replica.raft.status()
            guard let progress = status.peers.first(where: { $0.id == preferred }),
                progress.match + 64 >= replica.raft.lastIndex
            else { continue }
            // Publishes wait while a transfer is under way: a node that follows but cannot win must not stop the room.
            replica.nextReturn = now + settings.rebalanceInterval * (UInt64(4) << min(replica.returnAttempts, 6))
            replica.returnAttempts += 1
            replica.raft.transferLeadership(to: preferred)
            mark(replica)
            moves += 1
        }
    }

    func ownedPartitions() -> [PeerMessage.Ownership] {
        var list: [PeerMessage.Ownership] = []
        for case let replica? in replicas where replica.isServing {
            if let partition = replica.group.partition {
                list.append(PeerMessage.Ownership(partition: partition, term: replica.servingTerm))
            }
        }
        return list
    }

    /// A node says that it serves a partition; the highest term is right.
    func noteOwner(_ partition: PartitionID, node: NodeID, term: Term) {
        let row = Int(partition.rawValue)
        guard row < owners.count, isLocal(GroupID(partition: partition)) else { return }
        if let known = owners[row], known.term > term || (known.term == term && known.node != node) { return }
        owners[row] = Owner(node: node, term: term)
        if let relay = relays[row] { relayOwner(relay, node: node, term: term) }
    }
}
