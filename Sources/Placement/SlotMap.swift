import Primitives

/// From a room's name to its partition: hash slot, then a contiguous range of slots. A function of the name and of the
/// partition count only, so that every node and every client computes the same.
package struct SlotMap: Equatable, Sendable {
    /// A power of two, 1...16384.
    package let partitions: Int
    private let shift: UInt32

    /// Nil unless `partitions` is a power of two, 1...16384.
    package init?(partitions: Int) {
        guard SlotMap.isValid(partitions: partitions) else { return nil }
        self.partitions = partitions
        shift = UInt32(HashSlot.count.trailingZeroBitCount - partitions.trailingZeroBitCount)
    }

    package static func isValid(partitions: Int) -> Bool {
        partitions > 0 && partitions <= Int(HashSlot.count) && partitions & (partitions - 1) == 0
    }

    /// The partition of a slot, 0..<16384.
    @inline(__always)
    package func partition(ofSlot slot: UInt32) -> PartitionID {
        precondition(slot < HashSlot.count, "slot out of range")
        return PartitionID(slot >> shift)
    }

    /// The partition of a room's name (or of its `{tag}`, as Redis Cluster hashes it).
    package func partition(ofRoom name: some RandomAccessCollection<UInt8>) -> PartitionID {
        partition(ofSlot: HashSlot.slot(of: name))
    }

    /// The slots of a partition.
    package func slots(of partition: PartitionID) -> Range<UInt32> {
        precondition(Int(partition.rawValue) < partitions, "partition out of range")
        return partition.rawValue << shift..<(partition.rawValue + 1) << shift
    }
}
