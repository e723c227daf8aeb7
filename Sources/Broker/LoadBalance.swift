import PeerProtocol
import Placement
import Primitives

/// Whether the nodes of a cluster carry alike, and which leadership goes elsewhere if not. Of the control leader.
///
/// It looks at what owners measured. The load is uneven when the most loaded node, by its weight, was more than
/// `LoadRule.imbalance` above the mean for `hotAfter`. If it would be so, too, with every partition at its preferred
/// owner, then, one move every `pause`, a partition of the most loaded node gets another of its replicas as that: the
/// one that leaves the less for the busier of the two. Data stays where it is. Each move makes the busiest node less
/// busy by `gain` at least, so under a constant load they come to an end; one hot partition that outweighs everything
/// stays where it is, and loses its company.
package struct LoadBalance: Sendable {
    package struct Node: Equatable, Sendable {
        package var id: NodeID
        /// Its share, as placement has it.
        package var weight: Int
        /// It may be given leaderships.
        package var isAble: Bool
        /// Of the partitions that it serves.
        package var loads: [PartitionLoad]

        package init(id: NodeID, weight: Int, isAble: Bool = true, loads: [PartitionLoad]) {
            self.id = id
            self.weight = weight
            self.isAble = isAble
            self.loads = loads
        }

        var relative: Double { loads.reduce(0) { $0 + $1.weight } / Double(max(1, weight)) }
    }

    package struct Move: Equatable, Sendable {
        package var partition: PartitionID
        package var from: NodeID
        package var to: NodeID

        package init(partition: PartitionID, from: NodeID, to: NodeID) {
            self.partition = partition
            self.from = from
            self.to = to
        }
    }

    package enum Verdict: Equatable, Sendable {
        /// The load has become uneven.
        case uneven(imbalance: Double, most: NodeID)
        /// It is even again.
        case even(imbalance: Double)
        case move(Move)
    }

    /// How much the most loaded node is above the mean: 0.2 is 20 %. As last judged.
    package private(set) var imbalance = 0.0
    package private(set) var isUneven = false
    private var unevenSince: Instant?
    private var lastMove: Instant?
    private var moved: [(partition: PartitionID, at: Instant)] = []

    package init() {}

    /// Nil: so little load that it says nothing.
    package static func imbalance(_ nodes: [Node], _ rule: LoadRule) -> (value: Double, most: NodeID)? {
        guard let most = nodes.max(by: { ($0.relative, $1.id) < ($1.relative, $0.id) }) else { return nil }
        let total = nodes.reduce(0) { sum, node in sum + node.loads.reduce(0) { $0 + $1.weight } }
        guard total >= rule.hotRate else { return nil }
        // Who has given everything away and takes nothing is no measure for the others.
        let carrying = nodes.filter { $0.isAble || !$0.loads.isEmpty }
        let mean = carrying.reduce(0) { $0 + $1.relative } / Double(max(1, carrying.count))
        return (most.relative / mean - 1, most.id)
    }

    package mutating func judge(_ nodes: [Node], _ table: PlacementTable, now: Instant, _ rule: LoadRule) -> [Verdict] {
        let found = LoadBalance.imbalance(nodes, rule)
        imbalance = found?.value ?? 0
        var verdicts: [Verdict] = []
        if let found, imbalance > (isUneven ? LoadRule.settled : LoadRule.imbalance) {
            let since = unevenSince ?? now
            unevenSince = since
            if !isUneven, now - since >= rule.hotAfter {
                isUneven = true
                verdicts.append(.uneven(imbalance: imbalance, most: found.most))
            }
        } else {
            unevenSince = nil
            if isUneven { verdicts.append(.even(imbalance: imbalance)) }
            isUneven = false
        }
        moved.removeAll { now - $0.at >= LoadRule.rest }
        guard isUneven, rule.autoBalance, lastMove.map({ now - $0 >= LoadRule.pause }) ?? true else { return verdicts }
        let placed = LoadBalance.asPlaced(nodes, table)
        if let lasting = LoadBalance.imbalance(placed, rule), lasting.value > LoadRule.settled,
            let move = LoadBalance.move(placed, table, without: moved.map(\.partition))
        {
            lastMove = now
            moved.append((move.partition, now))
            verdicts.append(.move(move))
        }
        return verdicts
    }

    /// The loads as they are when each partition is where the table wants it. A node that restarts lends its
    /// partitions to others meanwhile, and those of a node that is away count for nobody: neither is a reason to move
    /// any.
    static func asPlaced(_ nodes: [Node], _ table: PlacementTable) -> [Node] {
        var placed = nodes
        for position in placed.indices { placed[position].loads = [] }
        for load in nodes.flatMap(\.loads) {
            let row = Int(load.partition.rawValue)
            guard table.replicas.indices.contains(row), let owner = table.replicas[row].first,
                let position = placed.firstIndex(where: { $0.id == owner })
            else { continue }
            placed[position].loads.append(load)
        }
        return placed
    }

    /// The best move away from the most loaded node; nil: none is worth it.
    package static func move(_ nodes: [Node], _ table: PlacementTable, without resting: [PartitionID] = []) -> Move? {
        guard let most = nodes.max(by: { ($0.relative, $1.id) < ($1.relative, $0.id) }) else { return nil }
        let mean = nodes.reduce(0) { $0 + $1.relative } / Double(nodes.count)
        var best: (move: Move, busier: Double, other: Double)?
        for load in most.loads where !resting.contains(load.partition) {
            let row = Int(load.partition.rawValue)
            // One that is on its way already, or has not arrived where it should be, is left alone.
            guard table.replicas.indices.contains(row), table.replicas[row].first == most.id else { continue }
            for other in nodes where other.isAble && other.id != most.id && table.replicas[row].contains(other.id) {
                let busier = max(
                    most.relative - load.weight / Double(max(1, most.weight)),
                    other.relative + load.weight / Double(max(1, other.weight))
                )
                guard busier < most.relative - LoadRule.gain * mean else { continue }
                if let best, (best.busier, best.other) <= (busier, other.relative) { continue }
                best = (Move(partition: load.partition, from: most.id, to: other.id), busier, other.relative)
            }
        }
        return best?.move
    }
}
