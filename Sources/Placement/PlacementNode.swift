import Primitives

/// A node that may carry replicas.
package struct PlacementNode: Equatable, Sendable {
    package var id: NodeID
    /// Failure domain: replicas of a partition go to different zones where they can.
    package var zone: String
    /// Relative share of the partitions, 1...100; what virtual nodes are on a hash ring.
    package var weight: Int

    package init(id: NodeID, zone: String = "", weight: Int = 1) {
        self.id = id
        self.zone = zone
        self.weight = weight
    }
}

/// Why a placement cannot be made.
package enum PlacementError: Error, Equatable {
    case noNodes
    /// More than `PlacementTable.maxNodes`.
    case tooManyNodes(Int)
    case duplicateNode(NodeID)
    /// Not 1...100.
    case weightOutOfRange(NodeID, Int)
    /// Not 1...`PlacementTable.maxPartitions`.
    case partitionsOutOfRange(Int)
    /// Not 1...`PlacementTable.maxReplicas`.
    case replicationFactorOutOfRange(Int)
    /// The partition count is fixed when a cluster is created.
    case partitionsChanged(from: Int, to: Int)
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): every node has a score for every partition, the highest wins;
/// when a node leaves, only its partitions find another winner.
package enum Rendezvous {
    /// Uniform in 64 bits, the same on every machine.
    @inline(__always)
    package static func score(_ partition: PartitionID, _ node: NodeID) -> UInt64 {
        let salt = SplitMix64.mix(UInt64(partition.rawValue) &* 0x9e37_79b9_7f4a_7c15 &+ 0x2545_f491_4f6c_dd1d)
        return SplitMix64.mix(node.rawValue ^ salt)
    }
}
