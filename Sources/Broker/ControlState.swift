import Placement
import Primitives

/// What the control group agrees: the cluster's nodes, its shape, and the placement table. A state machine of its own:
/// every change is a `ControlCommand` in the control group's log.
package struct ControlState: Equatable, Sendable {
    /// Every node that belongs to the cluster, sorted by id.
    package private(set) var members: [ClusterNode] = []
    package private(set) var partitions = 0
    package private(set) var keyPartitions = 0
    package private(set) var replicationFactor = 0
    /// The table that the cluster began with: the members of every group before its log's first entry.
    package private(set) var genesis: PlacementTable?
    package private(set) var placement: PlacementTable?
    /// For whom `placement` was made. While nobody comes, goes or changes it stays as it is, by hand or not.
    package private(set) var plannedFor: [PlacementNode] = []
    /// Nodes whose disks were given up when a majority was lost for good: their identities never come back, whatever
    /// their disks hold. The newest last.
    package private(set) var formerNodes: [FormerNode] = []
    /// What all nodes can read and write: formats of a higher level are not used. Never goes down.
    package private(set) var featureLevel: UInt16 = 1
    /// Raised by every change.
    package private(set) var version: UInt64 = 0

    package static let formerNodesMax = 1024

    package init() {}

    package func member(_ id: NodeID) -> ClusterNode? { members.first { $0.id == id } }

    package func member(named name: String) -> ClusterNode? { members.first { $0.name == name } }

    package func isFormer(_ id: NodeID) -> Bool { formerNodes.contains { $0.id == id } }

    // MARK: Commands

    /// True when the command changed something. Those that do not fit change nothing, on every replica alike.
    mutating func apply(_ command: ControlCommand) -> Bool {
        switch command {
        case .initialize(let nodes, let partitions, let keyPartitions, let replicationFactor, let table):
            // Two leaders in a row may both propose it; the first one stands.
            guard placement == nil else { return false }
            members = nodes.sorted { $0.id < $1.id }
            self.partitions = partitions
            self.keyPartitions = keyPartitions
            self.replicationFactor = replicationFactor
            genesis = table
            placement = table
            plannedFor = ControlState.placementNodes(members)
        case .admit(let node, let replaced):
            guard placement != nil, replaced != node.id, !isFormer(node.id) else { return false }
            if let other = member(named: node.name), other.id != node.id, other.id != replaced { return false }
            if let row = members.firstIndex(where: { $0.id == node.id }) {
                guard members[row] != node else { return false }
                members[row] = node
            } else {
                members.removeAll { $0.id == replaced }
                guard members.count < PlacementTable.maxNodes else { return false }
                members.append(node)
                members.sort { $0.id < $1.id }
            }
        case .setLeaving(let id, let isLeaving):
            guard let row = members.firstIndex(where: { $0.id == id }), members[row].isLeaving != isLeaving else {
                return false
            }
            members[row].isLeaving = isLeaving
        case .setWeight(let id, let weight):
            guard let row = members.firstIndex(where: { $0.id == id }), members[row].weight != weight,
                (1...100).contains(weight)
            else { return false }
            members[row].weight = weight
        case .remove(let id):
            guard members.count > 1, members.contains(where: { $0.id == id }) else { return false }
            members.removeAll { $0.id == id }
        case .place(let table, let nodes):
            // Made from another table than the one in force: whoever proposed it looks again.
            guard let placement, table.epoch == placement.epoch + 1,
                table.replicas.count == placement.replicas.count
            else { return false }
            self.placement = table
            plannedFor = nodes.sorted { $0.id < $1.id }
        case .recover(let recovery):
            for node in members where recovery.lost.contains(node.id) {
                formerNodes.append(FormerNode(id: node.id, name: node.name))
            }
            formerNodes.removeFirst(max(0, formerNodes.count - ControlState.formerNodesMax))
            members.removeAll { recovery.lost.contains($0.id) }
        case .setFeatureLevel(let level):
            guard placement != nil, level > featureLevel else { return false }
            featureLevel = level
        }
        version += 1
        return true
    }

    static func placementNodes(_ members: [ClusterNode]) -> [PlacementNode] {
        members.map { PlacementNode(id: $0.id, zone: $0.zone, weight: $0.weight) }
    }

    // MARK: Snapshot

    /// Follows a zero byte. The first format had neither: it began with the state's version, which is never zero.
    private static let format: UInt8 = 2

    func encodeSnapshot() -> [UInt8] {
        guard let genesis, let placement else { return [] }
        var writer = ByteWriter(capacity: 1024)
        writer.write(UInt8(0))
        writer.write(ControlState.format)
        writer.writeVarint(version)
        writer.write(nodes: members)
        writer.writeVarint(UInt64(partitions))
        writer.writeVarint(UInt64(keyPartitions))
        writer.writeVarint(UInt64(replicationFactor))
        writer.write(genesis)
        writer.write(placement)
        writer.write(placementNodes: plannedFor)
        writer.writeVarint(UInt64(formerNodes.count))
        for node in formerNodes {
            writer.write(node.id.rawValue)
            writer.writeString(node.name)
        }
        writer.writeVarint(UInt64(featureLevel))
        return writer.bytes
    }

    init(snapshot: [UInt8]) throws(DecodeError) {
        guard !snapshot.isEmpty else { return }
        let format = snapshot[0] != 0 ? 1 : snapshot.count > 1 ? snapshot[1] : 0
        guard (1...ControlState.format).contains(format) else {
            throw .unknown(field: "control snapshot format", value: UInt64(format))
        }
        self = try decoding(snapshot) { reader throws(DecodeError) in
            var state = ControlState()
            if format > 1 { _ = try reader.readRaw(count: 2) }
            state.version = try reader.readVarint()
            state.members = try reader.readNodes()
            state.partitions = try reader.readCount(limit: 16384, "partitions")
            state.keyPartitions = try reader.readCount(limit: 16384, "key partitions")
            state.replicationFactor = try reader.readCount(limit: 16, "replication factor")
            state.genesis = try reader.readPlacementTable()
            state.placement = try reader.readPlacementTable()
            state.plannedFor = try reader.readPlacementNodes()
            guard format > 1 else { return state }
            for _ in 0..<(try reader.readCount(limit: ControlState.formerNodesMax, "former nodes")) {
                let id = NodeID(try reader.read(UInt64.self))
                state.formerNodes.append(FormerNode(id: id, name: try reader.readString(limit: 255, "node name")))
            }
            state.featureLevel = UInt16(try reader.readCount(limit: Int(UInt16.max), "feature level"))
            return state
        }
    }
}

/// A node whose disk was given up.
package struct FormerNode: Equatable, Sendable {
    package var id: NodeID
    package var name: String

    package init(id: NodeID, name: String) {
        self.id = id
        self.name = name
    }
}

/// What an operator did to a cluster that had lost the majority of some groups for good.
package struct QuorumRecovery: Equatable, Sendable {
    package var time: Timestamp
    package var lost: [NodeID]
    /// The partitions that go on from one copy, which may lack what was acknowledged.
    package var partitions: [PartitionID]

    package init(time: Timestamp, lost: [NodeID], partitions: [PartitionID]) {
        self.time = time
        self.lost = lost
        self.partitions = partitions
    }
}

/// An entry of the control group's log.
package enum ControlCommand: Equatable, Sendable {
    /// The cluster's first command.
    case initialize(
        nodes: [ClusterNode],
        partitions: Int,
        keyPartitions: Int,
        replicationFactor: Int,
        placement: PlacementTable
    )
    /// A node belongs to the cluster from now on, or is to be found elsewhere than before. `replacing`: the node of the
    /// same name that it stands in for, whose disk is gone.
    case admit(ClusterNode, replacing: NodeID?)
    /// The node is to be emptied, or may stay after all.
    case setLeaving(NodeID, Bool)
    case setWeight(NodeID, Int)
    /// The node does not belong to the cluster any more.
    case remove(NodeID)
    /// The next table, and for whom it was made.
    case place(PlacementTable, for: [PlacementNode])
    /// Written into the log on disk by `RecoveryPlan`, never proposed.
    case recover(QuorumRecovery)
    /// Every member can read and write the formats up to this level.
    case setFeatureLevel(UInt16)

    /// Numbers are never used twice.
    private enum Tag: UInt8 {
        case admit = 2
        case setLeaving = 3
        case setWeight = 4
        case remove = 5
        case place = 6
        case initialize = 7
        case recover = 8
        case setFeatureLevel = 9
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        switch self {
        case .initialize(let nodes, let partitions, let keyPartitions, let replicationFactor, let table):
            writer.write(Tag.initialize.rawValue)
            writer.write(nodes: nodes)
            writer.writeVarint(UInt64(partitions))
            writer.writeVarint(UInt64(keyPartitions))
            writer.writeVarint(UInt64(replicationFactor))
            writer.write(table)
        case .admit(let node, let replaced):
            writer.write(Tag.admit.rawValue)
            writer.write(nodes: [node])
            writer.write(replaced?.rawValue ?? 0)
        case .setLeaving(let id, let isLeaving):
            writer.write(Tag.setLeaving.rawValue)
            writer.write(id.rawValue)
            writer.write(UInt8(isLeaving ? 1 : 0))
        case .setWeight(let id, let weight):
            writer.write(Tag.setWeight.rawValue)
            writer.write(id.rawValue)
            writer.writeVarint(UInt64(weight))
        case .remove(let id):
            writer.write(Tag.remove.rawValue)
            writer.write(id.rawValue)
        case .place(let table, let nodes):
            writer.write(Tag.place.rawValue)
            writer.write(table)
            writer.write(placementNodes: nodes)
        case .recover(let recovery):
            writer.write(Tag.recover.rawValue)
            writer.writeVarint(recovery.time)
            writer.writeVarint(UInt64(recovery.lost.count))
            for id in recovery.lost { writer.write(id.rawValue) }
            writer.writeVarint(UInt64(recovery.partitions.count))
            for partition in recovery.partitions { writer.writeVarint(UInt64(partition.rawValue)) }
        case .setFeatureLevel(let level):
            writer.write(Tag.setFeatureLevel.rawValue)
            writer.write(level)
        }
        return writer.bytes
    }

    init(decoding data: [UInt8]) throws(DecodeError) {
        self = try decoding(data) { reader throws(DecodeError) in
            let byte = try reader.readByte()
            switch Tag(rawValue: byte) {
            case .initialize:
                return .initialize(
                    nodes: try reader.readNodes(),
                    partitions: try reader.readCount(limit: 16384, "partitions"),
                    keyPartitions: try reader.readCount(limit: 16384, "key partitions"),
                    replicationFactor: try reader.readCount(limit: 16, "replication factor"),
                    placement: try reader.readPlacementTable()
                )
            case .admit:
                guard let node = try reader.readNodes().first else { throw .malformed("admitted node") }
                let replaced = try reader.read(UInt64.self)
                return .admit(node, replacing: replaced == 0 ? nil : NodeID(replaced))
            case .setLeaving:
                return .setLeaving(NodeID(try reader.read(UInt64.self)), try reader.readByte() != 0)
            case .setWeight:
                return .setWeight(NodeID(try reader.read(UInt64.self)), try reader.readCount(limit: 100, "weight"))
            case .remove: return .remove(NodeID(try reader.read(UInt64.self)))
            case .place: return .place(try reader.readPlacementTable(), for: try reader.readPlacementNodes())
            case .recover:
                var recovery = QuorumRecovery(time: try reader.readVarint(), lost: [], partitions: [])
                for _ in 0..<(try reader.readCount(limit: PlacementTable.maxNodes, "lost nodes")) {
                    recovery.lost.append(NodeID(try reader.read(UInt64.self)))
                }
                for _ in 0..<(try reader.readCount(limit: 32_768, "partitions")) {
                    recovery.partitions.append(PartitionID(UInt32(clamping: try reader.readVarint())))
                }
                return .recover(recovery)
            case .setFeatureLevel: return .setFeatureLevel(try reader.read(UInt16.self))
            case nil: throw .unknown(field: "control command", value: UInt64(byte))
            }
        }
    }
}

/// Reads all of `bytes` by `body`.
func decoding<T>(
    _ bytes: [UInt8],
    _ body: (inout ByteReader) throws(DecodeError) -> T
) throws(DecodeError) -> T {
    let outcome = bytes.withUnsafeBytes { raw -> Result<T, DecodeError> in
        var reader = ByteReader(raw)
        do throws(DecodeError) {
            let value = try body(&reader)
            try reader.expectEnd()
            return .success(value)
        } catch {
            return .failure(error)
        }
    }
    return try outcome.get()
}

extension ByteWriter {
    fileprivate mutating func write(nodes: [ClusterNode]) {
        writeVarint(UInt64(nodes.count))
        for node in nodes {
            write(node.id.rawValue)
            writeString(node.name)
            writeString(node.host)
            write(node.meshPort)
            writeString(node.zone)
            writeVarint(UInt64(node.weight))
            write(UInt8(node.isLeaving ? 1 : 0))
        }
    }

    fileprivate mutating func write(placementNodes nodes: [PlacementNode]) {
        writeVarint(UInt64(nodes.count))
        for node in nodes {
            write(node.id.rawValue)
            writeString(node.zone)
            writeVarint(UInt64(node.weight))
        }
    }
}

extension ByteReader {
    fileprivate mutating func readNodes() throws(DecodeError) -> [ClusterNode] {
        var nodes: [ClusterNode] = []
        for _ in 0..<(try readCount(limit: PlacementTable.maxNodes, "nodes")) {
            let id = NodeID(try read(UInt64.self))
            let name = try readString(limit: 255, "node name")
            let host = try readString(limit: 255, "node host")
            let meshPort = try read(UInt16.self)
            var node = ClusterNode(
                id: id,
                name: name,
                host: host,
                meshPort: meshPort,
                zone: try readString(limit: 255, "zone"),
                weight: try readCount(limit: 100, "weight")
            )
            node.isLeaving = try readByte() != 0
            nodes.append(node)
        }
        return nodes
    }

    fileprivate mutating func readPlacementNodes() throws(DecodeError) -> [PlacementNode] {
        var nodes: [PlacementNode] = []
        for _ in 0..<(try readCount(limit: PlacementTable.maxNodes, "planned nodes")) {
            let id = NodeID(try read(UInt64.self))
            let zone = try readString(limit: 255, "zone")
            nodes.append(PlacementNode(id: id, zone: zone, weight: try readCount(limit: 100, "weight")))
        }
        return nodes
    }
}
