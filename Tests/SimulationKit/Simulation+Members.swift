import Broker
import PeerProtocol
import Placement
import Primitives
import Raft

/// Nodes that come to the cluster and leave it while it runs.
extension Simulation {
    /// What the control group has decided, as far as anybody has ever heard.
    var latestControl: ControlState? {
        for node in nodes where node.isRunning {
            let control = node.brokers[0].control
            if control.version > newestControl?.version ?? 0 { newestControl = control }
        }
        return newestControl
    }

    /// What gossip tells: nodes that are alive and have no part in any cluster yet.
    var nodesSeen: [ClusterNode] {
        nodes.filter { node in
            node.isSpare && !node.isOutside && !node.isAbandoned && node.isRunning && !node.isPaused
                && node.brokers[0].placement == nil
        }
        .map { ClusterNode(id: $0.id, name: "n\($0.id)") }
    }

    /// The next spare node asks to join.
    func join() {
        guard let node = nodes.first(where: { $0.isOutside && !$0.hasBelonged && !$0.isRunning }) else { return }
        node.isOutside = false
        start(node)
    }

    /// One node more than formed the cluster may go.
    func leave() {
        guard let control = latestControl else { return }
        let members = control.members.filter { !$0.isLeaving }
        guard members.count > swarm.nodes else { return }
        request(.setLeaving(faultChance.pick(members).id, true))
    }

    /// Somebody moves a partition, or changes a weight, by hand.
    func rearrange() {
        guard let control = latestControl,
            let member = control.members.first.map({ _ in faultChance.pick(control.members) })
        else { return }
        switch faultChance.below(4) {
        case 0: request(.setWeight(member.id, UInt8(1 + faultChance.below(3))))
        case 1: request(.rebalance)
        default: request(.move(PartitionID(UInt32(faultChance.below(UInt64(swarm.allPartitions)))), member.id))
        }
    }

    /// An operator asks some node; whatever comes of it.
    private func request(_ request: ControlRequest) {
        let able = nodes.filter { $0.isRunning && !$0.isPaused }
        guard !able.isEmpty else { return }
        trace.line(now) { "operator: \(request)" }
        let node = faultChance.pick(able)
        node.brokers[0].requestControl(1, request)
        drain(node)
    }

    /// A node that the control group has removed ends, whether it has heard so or not: nobody talks to it any more.
    func letGo(_ node: SimulatedNode) -> Bool {
        guard let control = latestControl, control.version > 0 else { return false }
        if control.member(node.id) != nil {
            if !node.hasBelonged, node.isSpare { sometimes.note(.nodeJoined) }
            node.hasBelonged = true
            return false
        }
        guard node.hasBelonged, !node.isOutside else { return false }
        trace.line(now) { "node \(node.id) is let go" }
        sometimes.note(.nodeLeft)
        node.isOutside = true
        crash(node, .kill)
        return true
    }

    /// Changes of members have come to their end: the table is made for everybody who is there to stay, the groups have
    /// the members that it names, nobody keeps what is not theirs, and who was to leave is gone.
    func isPlaced(_ control: ControlState) -> Bool {
        guard let table = control.placement else { return false }
        let staying = control.members.filter { !$0.isLeaving }
        let (lost, live) = (staying.filter { isAbandoned($0.id) }, staying.filter { !isAbandoned($0.id) })
        let isPlanned = live.allSatisfy { member in
            control.plannedFor.contains { $0.id == member.id && $0.weight == member.weight }
        }
        // Who is lost is replaced after a while, when there are enough others for all copies.
        let isReplaced = swarm.broker.replaceAfter < Simulation.longAway && live.count >= control.replicationFactor
        let isPossible = control.plannedFor.allSatisfy { planned in
            live.contains { $0.id == planned.id } || !isReplaced && lost.contains { $0.id == planned.id }
        }
        guard isPlanned, isPossible else { return false }
        var mustWait = false
        for (row, members) in table.replicas.enumerated() {
            let group = GroupID(partition: PartitionID(UInt32(row)))
            guard let membership = owner(of: row)?.broker(of: group).raftNode(group)?.membership else { return false }
            if members.contains(where: { isAbandoned($0) && !membership.voters.contains($0) }) {
                // It waits for a node that will not come, with the voters that it has.
                guard !isReplaced, !membership.isJoint else { return false }
                mustWait = true
                continue
            }
            guard membership == Membership(voters: members) else { return false }
            for node in nodes where node.isRunning && !node.isAbandoned {
                let raft = node.broker(of: group).raftNode(group)
                guard (raft != nil) == members.contains(node.id), raft == nil || raft?.membership == membership else {
                    return false
                }
            }
        }
        let running = nodes.filter { $0.isRunning && !$0.isAbandoned }
        guard running.allSatisfy({ $0.brokers[0].control.version == control.version }) else { return false }
        return mustWait || control.members.allSatisfy { !$0.isLeaving || isAbandoned($0.id) }
    }

    private func isAbandoned(_ id: NodeID) -> Bool { nodes[Int(id.rawValue) - 1].isAbandoned }

    /// Longer than any run: who is away keeps its place.
    static let longAway = Interval.seconds(600)
}
