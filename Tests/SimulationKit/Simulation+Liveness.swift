import Broker
import Placement
import Primitives
import Raft

/// Liveness mode: faults end only in a connected core; what is outside of it stays broken for good. Self-healing faults
/// alone cannot show a livelock (TigerBeetle, "Simulation testing for liveness"). Nobody asks for changes of members
/// from then on, but those that are under way must end, and whoever is left outside is to be replaced.
extension Simulation {
    /// Draws a core: it has a sound majority of everybody whose votes any group may need.
    func chooseCore() {
        // Before the cluster has agreed who it is there is nobody to do without.
        guard let genesis = latestControl?.genesis else { return }
        var lists = oracle.voters(of: .control, from: swarm.broker.controlVoters)
        for partition in 0..<swarm.allPartitions {
            let id = PartitionID(UInt32(partition))
            lists += oracle.voters(of: GroupID(partition: id), from: genesis.replicas(of: id))
        }
        // Who has been let go is not counted on any more: that is what the leave waited for.
        lists += votersToCome
        lists.removeAll { $0.contains { nodes[Int($0.rawValue) - 1].isOutside } }
        // A damaged replica does not vote.
        func isEnough(_ chosen: [Int]) -> Bool {
            lists.allSatisfy { voters in
                voters.count { chosen.contains(Int($0.rawValue) - 1) && !nodes[Int($0.rawValue) - 1].wasTampered }
                    > voters.count / 2
            }
        }
        var chosen = nodes.indices.filter { !nodes[$0].isOutside }
        var order = chosen
        faultChance.shuffle(&order)
        for index in order {
            let rest = chosen.filter { $0 != index }
            if isEnough(rest), faultChance.chance(3, in: 4) { chosen = rest }
        }
        core = chosen
        wasChanging = latestControl.map(isPlaced) != true
    }

    /// The voters of changes whose next step may be taken before anybody can notice that nodes have broken: whoever is
    /// to vote is a learner already. A majority of them must not break in that very moment.
    private var votersToCome: [[NodeID]] {
        guard let control = latestControl, let table = control.placement else { return [] }
        let staying = control.members.filter { !$0.isLeaving }.map(\.id)
        return nodes.filter(\.isRunning).flatMap { node -> [[NodeID]] in
            var lists: [[NodeID]] = []
            if let raft = node.brokers[0].raftNode(.control), raft.role == .leader {
                let voters = raft.membership.voters.filter { staying.contains($0) }
                lists.append(Array((voters + staying.filter { !voters.contains($0) }).prefix(Broker.controlVotersMax)))
            }
            for row in table.replicas.indices {
                let group = GroupID(partition: PartitionID(UInt32(row)))
                guard let raft = node.broker(of: group).raftNode(group), raft.role == .leader,
                    table.replicas[row].allSatisfy({ raft.membership.members.contains($0) })
                else { continue }
                lists.append(table.replicas[row])
            }
            return lists
        }
    }

    /// Leaves a node broken for good.
    func abandon(_ node: SimulatedNode) {
        node.isAbandoned = true
        let others = nodes.indices.filter { $0 != node.index }
        switch faultChance.below(4) {
        case 0:
            resume(node)
            crash(node, .powerCut, isSilent: faultChance.chance(1, in: 2))
        case 1: pause(node)
        case 2:
            // Hears everything and reaches nobody.
            resume(node)
            for other in others { cut(from: node.index, to: other) }
        default:
            // Is heard by everyone and hears nothing.
            resume(node)
            for other in others { cut(from: other, to: node.index) }
        }
        // The mesh gives up a link that has been silent for so long.
        after(.seconds(3)) { [unowned self] in
            for other in others where !network.isOpen(node.index, other) || node.isPaused {
                drop(node.index, other, tellFirst: .zero, tellSecond: .zero)
            }
        }
    }

    /// Every partition has an owner in the core, and so has the control group.
    var isServedInCore: Bool {
        let running = core.map { nodes[$0] }.filter { !$0.isOutside }
        guard running.allSatisfy({ $0.isRunning && $0.brokers.allSatisfy { $0.placement != nil } }),
            running.contains(where: { $0.brokers[0].raftNode(.control)?.role == .leader })
        else { return false }
        return (0..<swarm.allPartitions).allSatisfy { owner(of: $0) != nil }
    }

    /// Every room takes a message from any node of the core, and everyone there gets it.
    func publishInCore() -> Bool {
        let rooms = Set(swarm.rooms).sorted().filter { !$0.hasPrefix("be:") }
        var publishers: [Publisher] = []
        for room in rooms {
            let publisher = Publisher(self, .stamped, room: room, most: 3)
            clients.append(publisher)
            publishers.append(publisher)
            publisher.begin()
        }
        return wait(.seconds(60), "every partition accepts a publish", { publishers.allSatisfy(\.isIdle) })
    }
}
