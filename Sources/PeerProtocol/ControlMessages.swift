import Placement
import Primitives

/// What an operator asks of the control group's leader.
package enum ControlRequest: Equatable, Sendable {
    /// What `rebalance` would move.
    case plan
    /// A new table for the nodes as they are now: levels what was moved by hand.
    case rebalance
    /// The node becomes the partition's preferred owner, and gets a copy if it has none.
    case move(PartitionID, NodeID)
    /// The node is to be emptied for good, or may stay after all.
    case setLeaving(NodeID, Bool)
    case setWeight(NodeID, UInt8)
    /// A node that does not come back belongs to the cluster no more.
    case forget(NodeID)
}

package enum ControlReply: Equatable, Sendable {
    /// Proposed to the control group; `status` shows when it has taken effect.
    case accepted
    case plan([Move])
    /// Nothing was done; why, for people.
    case refused(String)
    /// Nothing was done, as there is no control leader in reach: another node may know one.
    case unavailable(String)
    /// The node in question does not belong to the cluster (any more), and that is committed.
    case notMember

    /// One partition's replicas, preferred owner first, as they are and as they will be.
    package struct Move: Equatable, Sendable {
        package var partition: PartitionID
        package var from: [NodeID]
        package var to: [NodeID]

        package init(partition: PartitionID, from: [NodeID], to: [NodeID]) {
            self.partition = partition
            self.from = from
            self.to = to
        }

        /// Nodes that must be sent a copy.
        package var added: [NodeID] { to.filter { !from.contains($0) } }
    }
}

/// What the owner of a partition does for it in a second.
package struct PartitionLoad: Equatable, Sendable {
    package var partition: PartitionID
    /// Publishes, units of commands on keys, and reads of keys.
    package var operations: UInt64
    /// Of what these brought.
    package var bytes: UInt64

    package init(partition: PartitionID, operations: UInt64, bytes: UInt64) {
        self.partition = partition
        self.operations = operations
        self.bytes = bytes
    }

    /// One number to compare by: a KiB counts as much as an operation.
    package var weight: Double { Double(operations) + Double(bytes) / 1024 }
}

extension ByteWriter {
    mutating func write(_ request: ControlRequest) {
        switch request {
        case .plan: write(UInt8(0))
        case .rebalance: write(UInt8(1))
        case .move(let partition, let node):
            write(UInt8(2))
            write(partition)
            write(node.rawValue)
        case .setLeaving(let node, let isLeaving):
            write(UInt8(3))
            write(node.rawValue)
            write(UInt8(isLeaving ? 1 : 0))
        case .setWeight(let node, let weight):
            write(UInt8(4))
            write(node.rawValue)
            write(weight)
        case .forget(let node):
            write(UInt8(5))
            write(node.rawValue)
        }
    }

    mutating func write(_ reply: ControlReply) {
        switch reply {
        case .accepted: write(UInt8(0))
        case .plan(let moves):
            write(UInt8(1))
            writeVarint(UInt64(moves.count))
            for move in moves {
                write(move.partition)
                for list in [move.from, move.to] {
                    writeVarint(UInt64(list.count))
                    for node in list { write(node.rawValue) }
                }
            }
        case .refused(let reason):
            write(UInt8(2))
            writeString(reason)
        case .notMember: write(UInt8(3))
        case .unavailable(let reason):
            write(UInt8(4))
            writeString(reason)
        }
    }
}

extension PeerDecoder {
    mutating func controlRequest() throws(DecodeError) -> ControlRequest {
        switch try reader.readByte() {
        case 0: return .plan
        case 1: return .rebalance
        case 2:
            let partition = try partition()
            return .move(partition, NodeID(try reader.read(UInt64.self)))
        case 3: return .setLeaving(NodeID(try reader.read(UInt64.self)), try flag("leaving"))
        case 4: return .setWeight(NodeID(try reader.read(UInt64.self)), try reader.readByte())
        case 5: return .forget(NodeID(try reader.read(UInt64.self)))
        case let other: throw .unknown(field: "control request", value: UInt64(other))
        }
    }

    mutating func controlReply() throws(DecodeError) -> ControlReply {
        switch try reader.readByte() {
        case 0: return .accepted
        case 1:
            var moves: [ControlReply.Move] = []
            for _ in 0..<(try elements(atLeast: 3, "moves")) {
                let partition = try partition()
                let from = try replicaList()
                moves.append(ControlReply.Move(partition: partition, from: from, to: try replicaList()))
            }
            return .plan(moves)
        case 2: return .refused(try reader.readString(limit: 4096, "refusal"))
        case 3: return .notMember
        case 4: return .unavailable(try reader.readString(limit: 4096, "refusal"))
        case let other: throw .unknown(field: "control reply", value: UInt64(other))
        }
    }

    mutating func partitionLoads() throws(DecodeError) -> [PartitionLoad] {
        let count = try elements(atLeast: 3, "loads")
        var loads: [PartitionLoad] = []
        loads.reserveCapacity(count)
        for _ in 0..<count {
            let partition = try partition()
            let operations = try reader.readVarint()
            loads.append(PartitionLoad(partition: partition, operations: operations, bytes: try reader.readVarint()))
        }
        return loads
    }

    private mutating func replicaList() throws(DecodeError) -> [NodeID] {
        var list: [NodeID] = []
        for _ in 0..<(try reader.readCount(limit: PlacementTable.maxReplicas, "replicas")) {
            list.append(NodeID(try reader.read(UInt64.self)))
        }
        return list
    }
}
