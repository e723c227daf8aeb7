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
    /// Raised by every change.
    package private(set) var version: UInt64 = 0

    init() {}

    package func member(_ id: NodeID) -> ClusterNode? { members.first { $0.id == id } }

    package func member(named name: String) -> ClusterNode? { members.first { $0.name == name } }

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
            guard placement != nil, replaced != node.id else { return false }
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
        }
        version += 1
        return true
    }

    static func placementNodes(_ members: [ClusterNode]) -> [PlacementNode] {
        members.map { PlacementNode(id: $0.id, zone: $0.zone, weight: $0.weight) }
    }

    // MARK: Snapshot

    func encodeSnapshot() -> [UInt8] {
        guard let genesis, let placement else { return [] }
        var writer = ByteWriter(capacity: 1024)
        writer.writeVarint(version)
        writer.write(nodes: members)
        writer.writeVarint(UInt64(partitions))
        writer.writeVarint(UInt64(keyPartitions))
        writer.writeVarint(UInt64(replicationFactor))
        writer.write(genesis)
        writer.write(placement)
        writer.write(placementNodes: plannedFor)
        return writer.bytes
    }

    init(snapshot: [UInt8]) throws(DecodeError) {
        guard !snapshot.isEmpty else { return }
        self = try decoding(snapshot) { reader throws(DecodeError) in
            var state = ControlState()
            state.version = try reader.readVarint()
            state.members = try reader.readNodes()
            state.partitions = try reader.readCount(limit: 16384, "partitions")
            state.keyPartitions = try reader.readCount(limit: 16384, "key partitions")
            state.replicationFactor = try reader.readCount(limit: 16, "replication factor")
            state.genesis = try reader.readPlacementTable()
            state.placement = try reader.readPlacementTable()
            state.plannedFor = try reader.readPlacementNodes()
            return state
        }
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

    /// Numbers are never used twice.
    private enum Tag: UInt8 {
        case admit = 2
        case setLeaving = 3
        case setWeight = 4
        case remove = 5
        case place = 6
        case initialize = 7
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
            case nil: throw .unknown(field: "control command", value: UInt64(byte))
            }
        }
    }
}

/// Reads all of `bytes` by `body`.
private func decoding<T>(
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
