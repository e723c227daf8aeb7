import Primitives

/// Which nodes keep each partition, and which of them should lead it: agreed in the control group, versioned by an
/// epoch.
///
/// The preferred owner comes first; the others follow in the order in which they stand in for it.
package struct PlacementTable: Equatable, Sendable {
    package static let maxNodes = 1024
    package static let maxReplicas = 7
    /// Of rooms and of keys together.
    package static let maxPartitions = 2 * 16384

    /// Grows with every change, from 1.
    package let epoch: UInt64
    /// One list per partition, 1...7 different nodes each.
    package let replicas: [[NodeID]]

    package init(epoch: UInt64, replicas: [[NodeID]]) {
        self.epoch = epoch
        self.replicas = replicas
    }

    /// The nodes that keep a partition, preferred owner first.
    package func replicas(of partition: PartitionID) -> [NodeID] { replicas[Int(partition.rawValue)] }

    /// The node that should lead a partition.
    package func preferredOwner(of partition: PartitionID) -> NodeID { replicas[Int(partition.rawValue)][0] }

    /// The partitions that a node keeps, ascending.
    package func partitions(of node: NodeID) -> [PartitionID] {
        replicas.indices.filter { replicas[$0].contains(node) }.map { PartitionID(UInt32($0)) }
    }

    /// Every node that keeps something, sorted.
    package var nodes: [NodeID] {
        var all: [NodeID] = []
        for list in replicas {
            for id in list {
                let position = PlacementTable.position(of: id, in: all)
                if position == all.count || all[position] != id { all.insert(id, at: position) }
            }
        }
        return all
    }

    /// Where `id` is, or belongs, in a sorted list.
    static func position(of id: NodeID, in sorted: [NodeID]) -> Int {
        var low = 0
        var high = sorted.count
        while low < high {
            let middle = (low + high) / 2
            if sorted[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// What must move to get from `previous` to this table, by partition; nothing for a mere change of owner.
    package func changes(from previous: PlacementTable) -> [PlacementChange] {
        var changes: [PlacementChange] = []
        for (index, list) in replicas.enumerated() {
            let old = index < previous.replicas.count ? previous.replicas[index] : []
            let added = list.filter { !old.contains($0) }
            let removed = old.filter { !list.contains($0) }
            if !added.isEmpty || !removed.isEmpty {
                changes.append(PlacementChange(partition: PartitionID(UInt32(index)), added: added, removed: removed))
            }
        }
        return changes
    }

    /// How unevenly the given nodes are loaded, by replicas and by preferred owners.
    package func balance(over nodes: [NodeID]) -> PlacementBalance {
        let sorted = nodes.sorted()
        var replicaCounts = [Int](repeating: 0, count: sorted.count)
        var ownerCounts = replicaCounts
        for list in replicas {
            for (rank, id) in list.enumerated() {
                let position = PlacementTable.position(of: id, in: sorted)
                guard position < sorted.count, sorted[position] == id else { continue }
                replicaCounts[position] += 1
                if rank == 0 { ownerCounts[position] += 1 }
            }
        }
        return PlacementBalance(nodes: sorted, replicas: replicaCounts, owners: ownerCounts)
    }
}

/// The move of a partition's copies.
package struct PlacementChange: Equatable, Sendable {
    package let partition: PartitionID
    package let added: [NodeID]
    package let removed: [NodeID]
}

/// Load per node.
package struct PlacementBalance: Equatable, Sendable {
    /// Sorted; the other arrays go with it.
    package let nodes: [NodeID]
    package let replicas: [Int]
    package let owners: [Int]

    /// Load of the busiest node against the mean, 1.0 at best; 0 without load.
    package var replicaMaxOverMean: Double { PlacementBalance.maxOverMean(replicas) }
    package var ownerMaxOverMean: Double { PlacementBalance.maxOverMean(owners) }

    private static func maxOverMean(_ loads: [Int]) -> Double {
        let total = loads.reduce(0, +)
        guard total > 0, let max = loads.max() else { return 0 }
        return Double(max) * Double(loads.count) / Double(total)
    }
}

extension ByteWriter {
    /// Epoch, the nodes in ascending order, then each partition's replicas as indices into them.
    package mutating func write(_ table: PlacementTable) {
        let nodes = table.nodes
        writeVarint(table.epoch)
        writeVarint(UInt64(nodes.count))
        for id in nodes { write(id.rawValue) }
        writeVarint(UInt64(table.replicas.count))
        for list in table.replicas {
            writeVarint(UInt64(list.count))
            for id in list { writeVarint(UInt64(PlacementTable.position(of: id, in: nodes))) }
        }
    }
}

extension ByteReader {
    /// Refuses what `write` cannot have written: unsorted or unused nodes, repeated replicas, a wrong partition count.
    package mutating func readPlacementTable() throws(DecodeError) -> PlacementTable {
        let epoch = try readVarint()
        let nodeCount = try readCount(limit: PlacementTable.maxNodes, "placement nodes")
        var nodes: [NodeID] = []
        for _ in 0..<nodeCount {
            let id = NodeID(try read(UInt64.self))
            if let last = nodes.last, last >= id { throw .malformed("placement nodes") }
            nodes.append(id)
        }
        let partitions = try readCount(limit: PlacementTable.maxPartitions, "placement partitions")
        guard partitions > 0 else { throw .malformed("placement partitions") }
        var used = [Bool](repeating: false, count: nodeCount)
        var replicas: [[NodeID]] = []
        for _ in 0..<partitions {
            let count = try readCount(limit: PlacementTable.maxReplicas, "placement replicas")
            guard count > 0 else { throw .malformed("placement replicas") }
            var list: [NodeID] = []
            for _ in 0..<count {
                let index = try readCount(limit: PlacementTable.maxNodes, "placement replica")
                guard index < nodeCount, !list.contains(nodes[index]) else { throw .malformed("placement replica") }
                used[index] = true
                list.append(nodes[index])
            }
            replicas.append(list)
        }
        guard used.allSatisfy({ $0 }) else { throw .malformed("placement nodes") }
        return PlacementTable(epoch: epoch, replicas: replicas)
    }
}
