import PeerProtocol
import Placement
import Primitives
import Raft

/// What the control group's leader does: it admits nodes, replaces those that are gone, and makes the placement table.
/// One step at a time: each is a committed entry before the next is looked for.
extension Broker {
    /// A new control leader of an empty cluster says how it is laid out.
    func leadControl(_ replica: Replica) {
        away.removeAll()
        nodeLoads.removeAll()
        loadBalance = LoadBalance()
        guard control.placement == nil else { return }
        let nodes = ControlState.placementNodes(settings.nodes)
        guard let table = plan(previous: nil, nodes) else { return }
        proposeControl(
            .initialize(
                nodes: settings.nodes,
                partitions: settings.partitions,
                keyPartitions: settings.keyPartitions,
                replicationFactor: settings.replicationFactor,
                placement: table
            ),
            replica
        )
    }

    @discardableResult
    private func proposeControl(_ command: ControlCommand, _ replica: Replica) -> Bool {
        mark(replica)
        if case .accepted = replica.raft.propose(command.encoded()) { return true }
        return false
    }

    private func plan(previous: PlacementTable?, _ nodes: [PlacementNode]) -> PlacementTable? {
        do throws(PlacementError) {
            return try PlacementTable.repair(
                previous: previous,
                nodes: nodes,
                partitions: settings.allPartitions,
                replicationFactor: control.placement == nil ? settings.replicationFactor : control.replicationFactor
            )
        } catch {
            // Of what is configured; members are checked when they are admitted.
            outbox.events.append(.fatal(.control, index: 0, reason: "placement: \(error)"))
            return nil
        }
    }

    func applyControl(_ entry: Entry) throws(DecodeError) {
        let command = try ControlCommand(decoding: entry.data)
        if case .recover(let recovery) = command {
            let lost = control.members.filter { recovery.lost.contains($0.id) }.map(\.name)
            outbox.events.append(.recovered(recovery, lost: lost))
        }
        guard control.apply(command) else { return }
        for (setting, made, wanted) in [
            ("cluster.partitions", control.partitions, settings.partitions),
            ("keys.partitions", control.keyPartitions, settings.keyPartitions),
        ] where made != wanted {
            outbox.events.append(
                .fatal(
                    .control,
                    index: entry.index,
                    reason: "the cluster was made with \(setting) = \(made), the file says \(wanted): set it back, "
                        + "the number is fixed at creation"
                )
            )
            return
        }
        controlChanged()
    }

    // MARK: The leader's round

    func tickControl() {
        for case let replica? in replicas {
            followPlacement(replica)
            if now >= replica.nextRetireRequest {
                replica.nextRetireRequest = now + settings.askAgainAfter
                askToRetire(replica)
            }
        }
        if replicas[0]?.raft.role == .leader { driveControl() }
        expireControlRequests()
        leaveWhenEmpty()
    }

    /// Gossip's list of nodes that are alive, and which of them ask to join. Members may have other addresses than
    /// before; one that has left is neither.
    ///
    /// - Parameter levels: the feature level of each.
    package func onNodesSeen(_ nodes: [ClusterNode], joining: [NodeID], levels: [NodeID: UInt16]) {
        nodesSeen = nodes.sorted { $0.id < $1.id }
        nodesJoining = joining
        refused.formIntersection(joining)
        // Of those that are away what they told last stands.
        let known = control.members.map(\.id) + nodes.map(\.id)
        for id in known { if let level = levels[id] { levelsTold[id] = level } }
        if levelsTold.count > known.count { levelsTold = levelsTold.filter { known.contains($0.key) } }
    }

    /// One level at a time, when every member can follow.
    private func raiseFeatureLevel(_ replica: Replica) -> Bool {
        let next = control.featureLevel &+ 1
        guard next > control.featureLevel, next <= settings.featureLevel,
            control.members.allSatisfy({ $0.id == settings.node || (levelsTold[$0.id] ?? 0) >= next })
        else { return false }
        return proposeControl(.setFeatureLevel(next), replica)
    }

    /// Compares what is with what should be, and proposes the next step.
    func driveControl() {
        guard let replica = replicas[0], replica.raft.hasCommittedInTerm, control.placement != nil,
            replica.raft.transferringTo == nil, replica.raft.appliedIndex == replica.raft.lastIndex
        else { return }
        noteAway()
        if admitNext(replica) || raiseFeatureLevel(replica) { return }
        if changeControlVoters(replica) || replan(replica) { return }
        _ = balanceLoad { proposeControl($0, replica) }
    }

    private func noteAway() {
        away = away.filter { row in control.member(row.node) != nil && !isReachable(row.node) }
        for member in control.members where !isReachable(member.id) && !away.contains(where: { $0.node == member.id }) {
            away.append((member.id, now))
        }
    }

    /// Up, as far as this node or gossip knows: one link alone may be cut.
    private func isThere(_ id: NodeID) -> Bool { isReachable(id) || nodesSeen.contains { $0.id == id } }

    /// Away for so long that others take its place.
    private func isGone(_ id: NodeID) -> Bool {
        away.contains { $0.node == id && now - $0.since >= settings.replaceAfter }
    }

    private func admitNext(_ replica: Replica) -> Bool {
        for node in nodesSeen {
            if let member = control.member(node.id) {
                var wanted = node
                wanted.isLeaving = member.isLeaving
                // Its weight is the operator's to change.
                wanted.weight = member.weight
                if wanted == member || wanted.name != member.name { continue }
                return proposeControl(.admit(wanted, replacing: nil), replica)
            }
            guard nodesJoining.contains(node.id), (1...100).contains(node.weight), !node.name.isEmpty,
                !control.isFormer(node.id)
            else { continue }
            let level = levelsTold[node.id] ?? 0
            guard level >= control.featureLevel else {
                refuse(node, .featureLevel(level, cluster: control.featureLevel))
                continue
            }
            guard let other = control.member(named: node.name) else {
                guard control.members.count < PlacementTable.maxNodes else { continue }
                return proposeControl(.admit(node, replacing: nil), replica)
            }
            // The name's former node is gone with its disk, or there are two of them. One that only restarts is back
            // before another takes its name.
            if let row = away.first(where: { $0.node == other.id }), !isThere(other.id) {
                guard now - row.since >= settings.takeNameAfter else { continue }
                return proposeControl(.admit(node, replacing: other.id), replica)
            }
            refuse(node, .nameIsTaken)
        }
        return false
    }

    /// Said once.
    private func refuse(_ node: ClusterNode, _ reason: JoinRefusal) {
        if refused.insert(node.id).inserted { outbox.events.append(.joinRefused(node.id, name: node.name, reason)) }
    }

    /// Up to five voters: those that vote already, as long as they are there, and the others as learners.
    private func changeControlVoters(_ replica: Replica) -> Bool {
        let membership = replica.raft.membership
        guard !membership.isJoint else { return false }
        let able = control.members.filter { !$0.isLeaving && !isGone($0.id) }.map(\.id)
        let staying = membership.voters.filter { able.contains($0) }
        let spare = able.filter { !staying.contains($0) && isReachable($0) }
        // Who is gone is replaced, not left out: when it returns its vote may be the one that is missing.
        let gone = membership.voters.filter { isGone($0) && control.member($0)?.isLeaving == false }
        let voters = (staying + spare + gone).prefix(Broker.controlVotersMax).sorted()
        let members = control.members.map(\.id)
        guard !voters.isEmpty else { return false }
        return change(replica, toVoters: voters, learners: members.filter { !voters.contains($0) })
    }

    package static let controlVotersMax = 5

    private func replan(_ replica: Replica) -> Bool {
        let nodes = nodesToPlaceOn
        guard let placement = control.placement, !nodes.isEmpty, nodes != control.plannedFor else { return false }
        // It may be that nothing moves, but for whom the table stands has changed.
        return proposeControl(place(nextTable(placement).replicas, for: nodes), replica)
    }

    private func place(_ replicas: [[NodeID]], for nodes: [PlacementNode]) -> ControlCommand {
        .place(PlacementTable(epoch: (control.placement?.epoch ?? 0) + 1, replicas: replicas), for: nodes)
    }

    /// The nodes that partitions are placed on: those that have some until they are gone, others once they are there.
    /// Who is gone counts as long as there are fewer others than copies: fewer voters would tolerate no more, and could
    /// not do with the one that returns.
    private var nodesToPlaceOn: [PlacementNode] {
        let planned = control.plannedFor.map(\.id)
        func counts(_ id: NodeID) -> Bool { planned.contains(id) ? !isGone(id) : isReachable(id) }
        let staying = control.members.filter { !$0.isLeaving }
        let able = staying.filter { counts($0.id) }
        let missing = max(0, control.replicationFactor - able.count)
        let kept = able + staying.filter { !counts($0.id) }.prefix(missing)
        return ControlState.placementNodes(kept.sorted { $0.id < $1.id })
    }

    // MARK: What operators ask for

    /// Asks the control leader; answered by `outbox.controlReplies`. On the control group's shard only.
    package func requestControl(_ token: UInt64, _ request: ControlRequest) {
        guard let replica = replicas[0] else { return }
        guard replica.raft.role != .leader else {
            outbox.controlReplies.append((token, decide(request)))
            return
        }
        guard let leader = replica.raft.leader, isReachable(leader) else {
            outbox.controlReplies.append((token, .unavailable("no control leader: a majority of its voters is needed")))
            return
        }
        controlRequests.append((token, now + settings.requestTimeout))
        send(.controlRequest(token: token, request), to: leader)
    }

    func receiveControlRequest(_ token: UInt64, _ request: ControlRequest, from node: NodeID) {
        send(.controlReply(token: token, decide(request)), to: node)
    }

    func receiveControlReply(_ token: UInt64, _ reply: ControlReply) {
        if token == Broker.leaveToken { return receiveLeaveReply(reply) }
        guard let row = controlRequests.firstIndex(where: { $0.token == token }) else { return }
        controlRequests.remove(at: row)
        outbox.controlReplies.append((token, reply))
    }

    func expireControlRequests() {
        while let first = controlRequests.first, first.deadline <= now {
            controlRequests.removeFirst()
            outbox.controlReplies.append((first.token, .refused("the control leader did not answer: look, then retry")))
        }
    }

    /// Proposes what was asked for. An answer does not wait for the commit: `status` shows when it is done.
    private func decide(_ request: ControlRequest) -> ControlReply {
        guard let replica = replicas[0], replica.raft.hasCommittedInTerm, let placement = control.placement else {
            return .unavailable("this node does not lead the control group: try again")
        }
        guard replica.raft.appliedIndex == replica.raft.lastIndex else {
            return .refused("another change is under way: try again")
        }
        func propose(_ command: ControlCommand) -> ControlReply {
            proposeControl(command, replica) ? .accepted : .refused("the control group is busy: try again")
        }
        switch request {
        case .plan: return .plan(moves(to: nextTable(placement)))
        case .rebalance:
            let table = nextTable(placement)
            guard table.replicas != placement.replicas else { return .plan([]) }
            let answer = propose(place(table.replicas, for: nodesToPlaceOn))
            return answer == .accepted ? .plan(moves(to: table)) : answer
        case .move(let partition, let node):
            guard Int(partition.rawValue) < placement.replicas.count else {
                return .refused("there is no \(partition)")
            }
            guard let member = control.member(node), !member.isLeaving, isReachable(node) else {
                return .refused("\(node) is not a node that could take it")
            }
            var replicas = placement.replicas
            var list = replicas[Int(partition.rawValue)].filter { $0 != node }
            // A node that has no copy takes the place of the owner so far.
            if list.count == replicas[Int(partition.rawValue)].count { list.removeFirst() }
            replicas[Int(partition.rawValue)] = [node] + list
            guard replicas != placement.replicas else { return .refused("it is there already") }
            return propose(place(replicas, for: control.plannedFor))
        case .setLeaving(let node, let isLeaving):
            guard let member = control.member(node) else { return .refused("\(node) is not a node of this cluster") }
            guard member.isLeaving != isLeaving else { return .accepted }
            if isLeaving, !control.members.contains(where: { $0.id != node && !$0.isLeaving }) {
                return .refused("it is the last node: nobody could take its partitions")
            }
            return propose(.setLeaving(node, isLeaving))
        case .setWeight(let node, let weight):
            guard control.member(node) != nil else { return .refused("\(node) is not a node of this cluster") }
            guard (1...100).contains(weight) else { return .refused("a weight is 1 to 100") }
            return propose(.setWeight(node, Int(weight)))
        case .forget(let node):
            guard let member = control.member(node) else { return .notMember }
            if node == settings.node { return .refused("it leads the control group: let it leave") }
            if isThere(node), !member.isLeaving { return .refused("it is up: let it leave instead") }
            if isThere(node), placement.nodes.contains(node) {
                return .refused("it still has partitions: they move first")
            }
            if isThere(node), replica.raft.membership.isVoter(node) {
                return .refused("it still votes in the control group: another node takes its place first")
            }
            return propose(.remove(node))
        }
    }

    private func nextTable(_ placement: PlacementTable) -> PlacementTable {
        plan(previous: placement, nodesToPlaceOn) ?? placement
    }

    private func moves(to table: PlacementTable) -> [ControlReply.Move] {
        guard let placement = control.placement else { return [] }
        return zip(placement.replicas, table.replicas).enumerated().compactMap { row, lists in
            guard lists.0 != lists.1 else { return nil }
            return ControlReply.Move(partition: PartitionID(UInt32(row)), from: lists.0, to: lists.1)
        }
    }

    /// Of a node that asks to be let go: no operator waits for the answer.
    private static let leaveToken: UInt64 = 0

    /// The control group replicates nothing to this node any more, its own removal included: the leader says so.
    private func receiveLeaveReply(_ reply: ControlReply) {
        guard reply == .notMember, control.member(settings.node)?.isLeaving == true, leftAt != .distantFuture else {
            return
        }
        leftAt = .distantFuture
        outbox.events.append(.left)
    }

    /// A node that is to leave and carries nothing any more asks to be let go, until it is told that it is.
    private func leaveWhenEmpty() {
        guard let own = control.member(settings.node) else {
            guard settings.shard == 0, control.version > 0, wasMember || !settings.isJoining else { return }
            // Not at the first look: a node that starts again may read of its own return only later.
            if leftAt == nil { leftAt = now }
            if let since = leftAt, now - since >= settings.ownersInterval {
                leftAt = .distantFuture
                outbox.events.append(.left)
            }
            return
        }
        guard leftAt != .distantFuture else { return }
        leftAt = nil
        wasMember = true
        guard own.isLeaving, discarding.isEmpty, replicas.dropFirst().allSatisfy({ $0 == nil }) else {
            emptyShards.removeAll()
            return
        }
        guard settings.shard == 0 else { return outbox.shards.append((0, .emptied(shard: settings.shard))) }
        emptyShards.insert(0)
        guard emptyShards.count == settings.shards, let leader = replicas[0]?.raft.leader, leader != settings.node
        else { return }
        send(.controlRequest(token: Broker.leaveToken, .forget(settings.node)), to: leader)
    }
}
