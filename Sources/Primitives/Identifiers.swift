/// The identity of a node: the first eight bytes of the random UUID kept in its data directory, so that a wiped disk is
/// a new member and an identity is never used twice (etcd/raft: "IDs MUST be used only once").
package struct NodeID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable package static func < (a: NodeID, b: NodeID) -> Bool { a.rawValue < b.rawValue }

    package var description: String {
        rawValue < 10_000 ? String(rawValue) : String(rawValue, radix: 16)
    }
}

/// A Raft group: the control group is 0, partition `p` is `p + 1`.
package struct GroupID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt32

    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable package init(partition: PartitionID) { self.rawValue = partition.rawValue + 1 }

    package static let control = GroupID(rawValue: 0)

    /// The partition whose log this group keeps; nil for the control group.
    @inlinable package var partition: PartitionID? {
        rawValue == 0 ? nil : PartitionID(rawValue: rawValue - 1)
    }

    @inlinable package static func < (a: GroupID, b: GroupID) -> Bool { a.rawValue < b.rawValue }

    package var description: String { rawValue == 0 ? "control" : "p\(rawValue - 1)" }
}

/// A contiguous range of slots with one Raft group and one log.
package struct PartitionID: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt32

    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable package init(_ rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable package static func < (a: PartitionID, b: PartitionID) -> Bool { a.rawValue < b.rawValue }

    package var description: String { "p\(rawValue)" }
}

/// Raft's term: a logical clock with at most one leader each.
package typealias Term = UInt64

/// A position in a Raft group's log; the first entry is 1.
package typealias LogIndex = UInt64
