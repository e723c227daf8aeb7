import Broker
import DiskSimulation
import Primitives
import Rooms

/// Liveness mode: faults end only in a connected core; what is outside of it stays broken for good. Self-healing faults
/// alone cannot show a livelock (TigerBeetle, "Simulation testing for liveness").
extension Simulation {
    func finishInCore() {
        chooseCore()
        trace.line(now) { "core \(core.map { $0 + 1 })" }
        // Without a quorum of sound control replicas nobody is promised a placement.
        guard hasControlQuorumInCore else { return }
        healEverything()
        for node in nodes {
            node.disk.faults.powerOffAt = nil
            node.disk.faults.failSyncAfter = nil
            node.disk.faults.capacity = nil
            node.stalledUntil = .zero
            if core.contains(node.index) {
                resume(node)
                if !node.isRunning { after(.milliseconds(10)) { [unowned self] in start(node) } }
            } else {
                abandon(node)
            }
        }
        // Clients of nodes outside go elsewhere; nobody begins anything new with the old load.
        for client in clients {
            client.windDown()
            if let connection = client.connection, !core.contains(connection.node) { connection.breakOff() }
        }
        let live = (0..<swarm.partitions).filter { hasQuorumInCore($0) }
        guard
            wait(
                .seconds(60),
                "partitions \(live) are served in the core",
                { [unowned self] in
                    live.allSatisfy { isServed($0) }
                }
            )
        else { return }
        publishInCore(live)
    }

    /// A majority of the control group's voters, and some more.
    private func chooseCore() {
        var order = Array(nodes.indices)
        faultChance.shuffle(&order)
        let voters = swarm.broker.controlVoters.map { Int($0.rawValue) - 1 }
        let needed = voters.count / 2 + 1
        // A decayed disk is chosen last: a damaged replica does not vote.
        let sound = order.filter { voters.contains($0) && !nodes[$0].wasTampered }
        let decayed = order.filter { voters.contains($0) && nodes[$0].wasTampered }
        var chosen = Array((sound + decayed).prefix(needed))
        for index in order where !chosen.contains(index) && chosen.count < nodes.count - 1 {
            if faultChance.chance(1, in: 3) { chosen.append(index) }
        }
        core = chosen.sorted()
    }

    private var hasControlQuorumInCore: Bool {
        let voters = swarm.broker.controlVoters.map { Int($0.rawValue) - 1 }
        let sound = voters.filter { core.contains($0) && !nodes[$0].wasTampered }
        return sound.count > voters.count / 2
    }

    private func abandon(_ node: SimulatedNode) {
        node.isAbandoned = true
        switch faultChance.below(4) {
        case 0:
            resume(node)
            crash(node, .powerCut, isSilent: faultChance.chance(1, in: 2))
        case 1: pause(node)
        case 2:
            // Hears everything and reaches nobody.
            resume(node)
            for other in nodes.indices where other != node.index { cut(from: node.index, to: other) }
        default:
            // Is heard by everyone and hears nothing.
            resume(node)
            for other in nodes.indices where other != node.index { cut(from: other, to: node.index) }
        }
    }

    private func hasQuorumInCore(_ partition: Int) -> Bool {
        let members = replicas(of: partition)
        let sound = members.filter { member in
            let index = Int(member.rawValue) - 1
            return core.contains(index) && !nodes[index].wasTampered
        }
        return !members.isEmpty && sound.count > members.count / 2
    }

    private func isServed(_ partition: Int) -> Bool {
        let id = PartitionID(UInt32(partition))
        let group = GroupID(partition: id)
        for index in core {
            guard nodes[index].isRunning else { return false }
            guard nodes[index].brokers[partition % swarm.shards].placement != nil else { return false }
        }
        return core.contains { nodes[$0].broker(of: group).isServing(id) }
    }

    /// Every room of a live partition takes a message from any node of the core, and everyone there gets it.
    private func publishInCore(_ live: [Int]) {
        let rooms = Set(swarm.rooms).sorted().filter { room in
            let partition = Int(RoomName(room).slot * UInt32(swarm.partitions) / HashSlot.count)
            return !room.hasPrefix("be:") && live.contains(partition)
        }
        var publishers: [Publisher] = []
        for room in rooms {
            let publisher = Publisher(self, .stamped, room: room, most: 3)
            clients.append(publisher)
            publishers.append(publisher)
            publisher.begin()
        }
        guard wait(.seconds(60), "every live partition accepts a publish", { publishers.allSatisfy(\.isIdle) }) else {
            return
        }
        let subscribers = clients.compactMap { $0 as? Subscriber }.filter { rooms.contains($0.room.description) }
        _ = wait(
            .seconds(60),
            "every live subscriber reaches the head",
            { [unowned self] in
                subscribers.allSatisfy { subscriber in
                    if subscriber.isConsumer { _ = subscriber.acknowledgeAll() }
                    return subscriber.isSubscribed
                        && (subscriber.last ?? 0) >= oracle.head(subscriber.room, swarm.partitions)
                }
            }
        )
    }
}
