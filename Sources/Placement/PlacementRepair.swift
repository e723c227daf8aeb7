import Primitives

extension PlacementTable {
    /// A table for the given nodes that moves as little as it must.
    ///
    /// - Every replica on a remaining node stays, unless its node carries more than its share or its zone more than one
    ///   copy that another zone could take.
    /// - Zones: at least as many zones as copies give every copy a zone of its own; with fewer zones they are filled as
    ///   evenly as they can be. Where zones are of unequal size this goes before evenness.
    /// - Loads differ from the nodes' shares (by weight) by less than one replica where zones allow it, so that no
    ///   node of equal weight exceeds ceil(mean). The same holds for preferred owners.
    /// - Deterministic: the order of `nodes` does not matter, and there is no chance in it.
    ///
    /// `previous` nil creates the first table, epoch 1. The result has the next epoch, or is `previous` itself when
    /// nothing changes. With fewer nodes than `replicationFactor` every node keeps every partition.
    package static func repair(
        previous: PlacementTable?,
        nodes: [PlacementNode],
        partitions: Int,
        replicationFactor: Int
    ) throws(PlacementError) -> PlacementTable {
        guard (1...maxPartitions).contains(partitions) else { throw .partitionsOutOfRange(partitions) }
        guard (1...maxReplicas).contains(replicationFactor) else {
            throw .replicationFactorOutOfRange(replicationFactor)
        }
        guard !nodes.isEmpty else { throw .noNodes }
        guard nodes.count <= maxNodes else { throw .tooManyNodes(nodes.count) }
        if let previous, previous.replicas.count != partitions {
            throw .partitionsChanged(from: previous.replicas.count, to: partitions)
        }
        let sorted = nodes.sorted { $0.id < $1.id }
        for (index, node) in sorted.enumerated() {
            if index > 0, sorted[index - 1].id == node.id { throw .duplicateNode(node.id) }
            guard (1...100).contains(node.weight) else { throw .weightOutOfRange(node.id, node.weight) }
        }

        var repair = PlacementRepair(
            nodes: sorted,
            partitions: partitions,
            copies: min(replicationFactor, sorted.count)
        )
        repair.keep(previous)
        repair.fill()
        repair.balanceReplicas()
        repair.chooseOwners(previous)
        let replicas = repair.result()
        if let previous, previous.replicas == replicas { return previous }
        return PlacementTable(epoch: (previous?.epoch ?? 0) + 1, replicas: replicas)
    }
}

/// The work of one repair. Nodes are indices into the sorted list; loads are compared with shares in fixed point, so
/// that every machine decides alike.
struct PlacementRepair {
    private let nodes: [PlacementNode]
    private let copies: Int
    /// Zone of each node.
    private let zones: [Int]
    /// Copies of one partition that a zone may hold.
    private let zoneLimits: [Int]
    /// Replicas that each node should carry, in units of 1/`unit`.
    private let shares: [Int]
    private var lists: [[Int]]
    private var loads: [Int]
    private var owners: [Int] = []

    private static let unit = 1 << 20
    /// Absorbs the rounding of shares.
    private static let tolerance = 1 << 8

    init(nodes: [PlacementNode], partitions: Int, copies: Int) {
        self.nodes = nodes
        self.copies = copies
        var names: [String] = []
        for node in nodes where !names.contains(node.zone) { names.append(node.zone) }
        let zones = nodes.map { node in names.firstIndex(of: node.zone) ?? 0 }
        self.zones = zones
        let sizes = names.indices.map { zone in zones.count { $0 == zone } }
        var limit = 1
        while sizes.reduce(0, { $0 + min($1, limit) }) < copies { limit += 1 }
        zoneLimits = sizes.map { min($0, limit) }

        let zoneWeights = names.indices.map { zone in
            zip(zones, nodes).reduce(0) { $1.0 == zone ? $0 + $1.1.weight : $0 }
        }
        let zoneShares = PlacementRepair.divide(
            partitions * copies * Self.unit,
            by: zoneWeights,
            caps: zoneLimits.map { $0 * partitions * Self.unit }
        )
        var shares = [Int](repeating: 0, count: nodes.count)
        for zone in names.indices {
            let members = nodes.indices.filter { zones[$0] == zone }
            let parts = PlacementRepair.divide(
                zoneShares[zone],
                by: members.map { nodes[$0].weight },
                caps: members.map { _ in partitions * Self.unit }
            )
            for (member, part) in zip(members, parts) { shares[member] = part }
        }
        self.shares = shares
        lists = Array(repeating: [], count: partitions)
        loads = Array(repeating: 0, count: nodes.count)
    }

    /// Splits `total` by weight; whoever would get more than its cap gets its cap, and the others share the rest.
    static func divide(_ total: Int, by weights: [Int], caps: [Int]) -> [Int] {
        var parts = [Int](repeating: 0, count: weights.count)
        var open = Array(weights.indices)
        var rest = total
        while !open.isEmpty {
            let weight = open.reduce(0) { $0 + weights[$1] }
            let full = open.filter { rest / weight * weights[$0] + rest % weight * weights[$0] / weight >= caps[$0] }
            if full.isEmpty {
                for index in open {
                    parts[index] = rest / weight * weights[index] + rest % weight * weights[index] / weight
                }
                return parts
            }
            for index in full {
                parts[index] = caps[index]
                rest -= caps[index]
            }
            open.removeAll { full.contains($0) }
        }
        return parts
    }

    // MARK: Replicas

    /// Takes over what remains of the previous table.
    mutating func keep(_ previous: PlacementTable?) {
        guard let previous else { return }
        for (partition, list) in previous.replicas.enumerated() {
            for id in list {
                guard let node = index(of: id), mayPlace(partition, on: node) else { continue }
                place(partition, on: node)
            }
        }
    }

    /// Gives every partition its full number of copies: the highest score among the nodes that one more leaves within
    /// their share, else among those that are still below it, else among all.
    mutating func fill() {
        for partition in lists.indices {
            while lists[partition].count < copies {
                var best: (node: Int, tier: Int, score: UInt64)?
                for node in nodes.indices where mayPlace(partition, on: node) {
                    let candidate = (node: node, tier: fillingTier(node), score: score(partition, node))
                    guard let current = best else {
                        best = candidate
                        continue
                    }
                    if candidate.tier != current.tier
                        ? candidate.tier < current.tier : candidate.score > current.score
                    {
                        best = candidate
                    }
                }
                guard let best else {
                    // The limits were chosen so that together they exceed `copies`: some zone is below its own.
                    preconditionFailure("zone limits leave no place for partition \(partition)")
                }
                place(partition, on: best.node)
            }
        }
    }

    /// Moves replicas, along chains of nodes where no direct move is legal, until no chain leads from a node to one
    /// that is more than one replica below it, measured against their shares.
    mutating func balanceReplicas() {
        var held: [[Int]] = Array(repeating: [], count: nodes.count)
        for (partition, list) in lists.enumerated() {
            for node in list { held[node].append(partition) }
        }
        balance(
            excess: nodes.indices.map { loads[$0] * Self.unit - shares[$0] },
            edges: { repair, source, visit in
                for partition in held[source] {
                    for target in repair.nodes.indices where repair.mayMove(partition, from: source, to: target) {
                        visit(partition, target)
                    }
                }
            },
            move: { repair, partition, source, target in
                repair.lists[partition].removeAll { $0 == source }
                repair.loads[source] -= 1
                repair.place(partition, on: target)
                held[source].removeAll { $0 == partition }
                held[target].append(partition)
            }
        )
    }

    private func fillingTier(_ node: Int) -> Int {
        let load = loads[node] * Self.unit
        if load + Self.unit <= shares[node] + Self.tolerance { return 0 }
        return load < shares[node] - Self.tolerance ? 1 : 2
    }

    private func index(of id: NodeID) -> Int? {
        var low = 0
        var high = nodes.count
        while low < high {
            let middle = (low + high) / 2
            if nodes[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low < nodes.count && nodes[low].id == id ? low : nil
    }

    private func score(_ partition: Int, _ node: Int) -> UInt64 {
        Rendezvous.score(PartitionID(UInt32(partition)), nodes[node].id)
    }

    private mutating func place(_ partition: Int, on node: Int) {
        lists[partition].append(node)
        loads[node] += 1
    }

    private func mayPlace(_ partition: Int, on node: Int) -> Bool {
        let list = lists[partition]
        guard list.count < copies else { return false }
        var inZone = 0
        for other in list {
            if other == node { return false }
            if zones[other] == zones[node] { inZone += 1 }
        }
        return inZone < zoneLimits[zones[node]]
    }

    private func mayMove(_ partition: Int, from source: Int, to target: Int) -> Bool {
        var inZone = 0
        for other in lists[partition] {
            if other == target { return false }
            if other != source, zones[other] == zones[target] { inZone += 1 }
        }
        return inZone < zoneLimits[zones[target]]
    }

    // MARK: Preferred owners

    /// Keeps the owners that can stay and evens them out over the replicas.
    mutating func chooseOwners(_ previous: PlacementTable?) {
        let weight = nodes.reduce(0) { $0 + $1.weight }
        let total = lists.count * Self.unit
        let ownerShares = nodes.map { total / weight * $0.weight + total % weight * $0.weight / weight }
        var ownerLoads = [Int](repeating: 0, count: nodes.count)
        owners = Array(repeating: -1, count: lists.count)
        for partition in lists.indices {
            guard let owner = previous?.replicas[partition].first, let node = index(of: owner),
                lists[partition].contains(node)
            else { continue }
            owners[partition] = node
            ownerLoads[node] += 1
        }
        for partition in lists.indices where owners[partition] < 0 {
            var best = lists[partition][0]
            for node in lists[partition].dropFirst() {
                let difference =
                    (ownerLoads[node] * Self.unit - ownerShares[node])
                    - (ownerLoads[best] * Self.unit - ownerShares[best])
                if difference < 0 || (difference == 0 && score(partition, node) > score(partition, best)) {
                    best = node
                }
            }
            owners[partition] = best
            ownerLoads[best] += 1
        }
        var led: [[Int]] = Array(repeating: [], count: nodes.count)
        for (partition, owner) in owners.enumerated() { led[owner].append(partition) }
        balance(
            excess: nodes.indices.map { ownerLoads[$0] * Self.unit - ownerShares[$0] },
            edges: { repair, source, visit in
                for partition in led[source] {
                    for target in repair.lists[partition] where target != source { visit(partition, target) }
                }
            },
            move: { repair, partition, source, target in
                repair.owners[partition] = target
                led[source].removeAll { $0 == partition }
                led[target].append(partition)
            }
        )
    }

    /// The table's lists: preferred owner first, then by score.
    func result() -> [[NodeID]] {
        lists.indices.map { partition in
            let owner = owners[partition]
            let others = lists[partition].filter { $0 != owner }.sorted { score(partition, $0) > score(partition, $1) }
            return ([owner] + others).map { nodes[$0].id }
        }
    }

    // MARK: Augmenting paths

    /// Evens out a load: breadth-first from the fullest node to the emptiest node that can be reached and is more than
    /// one unit emptier; every hop hands one partition on. The sum of squared excesses falls with each chain, so this
    /// ends.
    ///
    /// `edges` visits every legal hand-over from a node; `move` carries one out.
    private mutating func balance(
        excess initial: [Int],
        edges: (PlacementRepair, Int, (_ partition: Int, _ target: Int) -> Void) -> Void,
        move: (inout PlacementRepair, _ partition: Int, _ source: Int, _ target: Int) -> Void
    ) {
        var excess = initial
        // A node without a path to anywhere emptier gets none by later moves that matter; it is tried again after each.
        var stuck = [Bool](repeating: false, count: nodes.count)
        while true {
            var source: Int?
            for node in nodes.indices where !stuck[node] {
                if let current = source, excess[node] <= excess[current] { continue }
                source = node
            }
            guard let source else { return }
            let bound = excess[source] - Self.unit - Self.tolerance
            guard excess.contains(where: { $0 < bound }) else { return }
            guard let path = path(from: source, excess: excess, below: bound, edges: edges) else {
                stuck[source] = true
                continue
            }
            for hop in path { move(&self, hop.partition, hop.source, hop.target) }
            excess[source] -= Self.unit
            excess[path[0].target] += Self.unit
            for node in stuck.indices { stuck[node] = false }
        }
    }

    private struct Hop {
        let partition: Int
        let source: Int
        let target: Int
    }

    /// The shortest chain to the emptiest node at that distance, last hop first, or nil. Between two nodes the
    /// partition goes that scores highest on the target.
    private func path(
        from source: Int,
        excess: [Int],
        below bound: Int,
        edges: (PlacementRepair, Int, (_ partition: Int, _ target: Int) -> Void) -> Void
    ) -> [Hop]? {
        var arrivals = [Hop?](repeating: nil, count: nodes.count)
        var seen = [Bool](repeating: false, count: nodes.count)
        seen[source] = true
        var frontier = [source]
        while !frontier.isEmpty {
            var next: [Int] = []
            for node in frontier {
                var found: [Hop?] = Array(repeating: nil, count: nodes.count)
                edges(self, node) { partition, target in
                    guard !seen[target] else { return }
                    if let hop = found[target], score(hop.partition, target) >= score(partition, target) { return }
                    found[target] = Hop(partition: partition, source: node, target: target)
                }
                for target in nodes.indices {
                    guard let hop = found[target] else { continue }
                    seen[target] = true
                    arrivals[target] = hop
                    next.append(target)
                }
            }
            var best: Int?
            for node in next where excess[node] < bound {
                if let current = best, excess[node] >= excess[current] { continue }
                best = node
            }
            if var node = best {
                var path: [Hop] = []
                while let hop = arrivals[node] {
                    path.append(hop)
                    node = hop.source
                }
                // Two moves of one partition might be legal only apart.
                let partitions = path.map(\.partition).sorted()
                let repeats = zip(partitions, partitions.dropFirst()).contains { $0 == $1 }
                return repeats ? nil : path
            }
            frontier = next.sorted()
        }
        return nil
    }
}
