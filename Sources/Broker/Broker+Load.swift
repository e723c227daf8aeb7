import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// What owners measure, and what follows from it: hot partitions are told of by their node, an uneven load by the
/// control leader, which levels it where it is allowed to.
extension Broker {
    /// A second's turn of this shard.
    func measureLoad() {
        let interval = now - lastLoadTurn
        lastLoadTurn = now
        var loads: [PartitionLoad] = []
        for case let replica? in replicas where replica.isServing {
            guard let partition = replica.group.partition else { continue }
            replica.meter.turn(after: interval)
            let load = replica.meter.load(of: partition)
            if load.weight > 0 { loads.append(load) }
        }
        busiestRooms = frequentRooms.turn(after: interval)
        post(.loads(shard: settings.shard, loads, busiestRooms), to: 0)
        if settings.shard == 0 { judgeLoad() }
    }

    /// On the control group's shard.
    func takeLoads(_ loads: [PartitionLoad], _ rooms: [RoomLoad], of shard: Int) {
        shardLoads[shard] = ShardLoads(loads: loads, rooms: rooms)
    }

    /// The publishes of this moment to a room, for its place among the busiest: most are passed over.
    func sample(_ room: RoomName, _ partition: PartitionID) {
        if sampler.next() % UInt64(FrequentRooms.sampling) == 0 { frequentRooms.count(room, partition) }
    }

    private func judgeLoad() {
        let loads = shardLoads.flatMap(\.loads)
        for change in hotPartitions.judge(loads, now: now, settings.loadRule) {
            switch change {
            case .hot(let load, let share):
                let rooms = shardLoads.flatMap(\.rooms).filter { $0.partition == load.partition }
                outbox.events.append(.partitionHot(load, share: share, rooms: rooms))
            case .cool(let partition): outbox.events.append(.partitionCool(partition))
            }
        }
        if let leader = replicas[0]?.raft.leader { send(.loads(loads), to: leader) }
    }

    // MARK: Control leader

    func receiveLoads(_ loads: [PartitionLoad], from node: NodeID) {
        guard replicas[0]?.raft.role == .leader else { return }
        nodeLoads.removeAll { $0.node == node }
        nodeLoads.append((node, now, loads))
    }

    /// Judges once for each turn; true when a move was proposed.
    func balanceLoad(_ propose: (ControlCommand) -> Bool) -> Bool {
        guard let placement, now >= nextBalance else { return false }
        nextBalance = now + settings.loadInterval
        var nodes: [LoadBalance.Node] = []
        for member in control.members where isReachable(member.id) {
            guard let row = nodeLoads.first(where: { $0.node == member.id }),
                now - row.at <= settings.loadInterval * 3
            else { return false }
            let isWilling =
                member.id == settings.node ? mayLead : peers.contains { $0.id == member.id && $0.mayLead && $0.isUp }
            // One that has just joined has no replica yet, and so no part in the mean.
            let hasReplicas = placement.replicas.contains { $0.contains(member.id) }
            nodes.append(
                LoadBalance.Node(
                    id: member.id,
                    weight: member.weight,
                    isAble: isWilling && !member.isLeaving && hasReplicas,
                    loads: row.loads
                )
            )
        }
        for verdict in loadBalance.judge(nodes, placement, now: now, settings.loadRule) {
            switch verdict {
            case .uneven(let imbalance, let most):
                outbox.events.append(.loadUneven(imbalance: imbalance, most: most))
            case .even(let imbalance): outbox.events.append(.loadEven(imbalance: imbalance))
            case .move(let move):
                var replicas = placement.replicas
                let row = Int(move.partition.rawValue)
                replicas[row] = [move.to] + replicas[row].filter { $0 != move.to }
                let table = PlacementTable(epoch: placement.epoch + 1, replicas: replicas)
                guard propose(.place(table, for: control.plannedFor)) else { continue }
                outbox.events.append(.leadershipMoved(move))
                return true
            }
        }
        return false
    }
}

/// What the shards of a node last measured.
struct ShardLoads {
    var loads: [PartitionLoad] = []
    var rooms: [RoomLoad] = []
}
