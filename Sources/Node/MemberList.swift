import Broker
import LogStorage
import Primitives
import SWIM

/// Who belonged to the cluster when this node last heard, and where they listen: whom to look for after a restart. What
/// holds is what the control group says; this only leads there.
package struct MemberList: Sendable, Equatable {
    package var nodes: [ClusterNode]
    /// Nodes whose disks were given up by `vencejo recover`.
    package var former: [FormerNode] = []
    /// What the cluster had agreed on: its formats may be on this disk.
    package var featureLevel: UInt16 = 1
    /// Where their gossip is, of those that this node has met.
    var gossip: [NodeID: GossipAddress] = [:]

    static let file = "members"
    /// The first format began with the number of nodes, which is never 0: 0 says that a format's number follows.
    private static let format: UInt8 = 2

    package init(nodes: [ClusterNode], former: [FormerNode] = [], featureLevel: UInt16 = 1) {
        self.nodes = nodes
        self.former = former
        self.featureLevel = featureLevel
    }

    /// Takes up where gossip finds the nodes.
    mutating func learn(_ seen: [Member]) {
        gossip = gossip.filter { row in nodes.contains { $0.id == row.key } }
        for member in seen where nodes.contains(where: { $0.id == member.node }) {
            gossip[member.node] = member.address
        }
    }

    /// Nil when the node never belonged to a cluster.
    package static func load<D: Disk>(
        from store: LogStore<D>,
        own name: String,
        node: NodeID
    ) throws -> MemberList? {
        guard let bytes = try store.readMeta(file) else { return nil }
        let list: MemberList
        do {
            list = try MemberList(decoding: bytes)
        } catch {
            throw NodeError.damagedMeta(file)
        }
        if let own = list.nodes.first(where: { $0.id == node }), own.name != name {
            throw NodeError.foreignDirectory(name: name, owner: own.name)
        }
        return list
    }

    /// Throws when this program cannot read all that the cluster may have written here.
    func checkFeatureLevel() throws(NodeError) {
        let supported = BrokerSettings.supportedFeatureLevel
        if featureLevel > supported { throw .featureLevel(cluster: featureLevel, program: supported) }
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(nodes: [])
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            var count = try reader.readCount(limit: 4096, "members")
            let isFirst = count > 0
            if !isFirst {
                let number = try reader.readByte()
                guard number == MemberList.format else {
                    throw DecodeError.unknown(field: "members", value: UInt64(number))
                }
                count = try reader.readCount(limit: 4096, "members")
            }
            for _ in 0..<count {
                let name = try reader.readString(limit: 255, "node name")
                let id = NodeID(try reader.read(UInt64.self))
                let host = try reader.readString(limit: 255, "host")
                nodes.append(ClusterNode(id: id, name: name, host: host, meshPort: try reader.read(UInt16.self)))
                if isFirst { continue }
                let address = try reader.readString(limit: GossipAddress.maxHostBytes, "gossip host")
                gossip[id] = GossipAddress(host: address, port: try reader.read(UInt16.self))
            }
            if !isFirst {
                for _ in 0..<(try reader.readCount(limit: ControlState.formerNodesMax, "former nodes")) {
                    let id = NodeID(try reader.read(UInt64.self))
                    former.append(FormerNode(id: id, name: try reader.readString(limit: 255, "node name")))
                }
                featureLevel = try reader.read(UInt16.self)
            }
            try reader.expectEnd()
        }
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.writeVarint(0)
        writer.write(MemberList.format)
        writer.writeVarint(UInt64(nodes.count))
        for node in nodes {
            writer.writeString(node.name)
            writer.write(node.id.rawValue)
            writer.writeString(node.host)
            writer.write(node.meshPort)
            writer.writeString(gossip[node.id]?.host ?? "")
            writer.write(gossip[node.id]?.port ?? 0)
        }
        writer.writeVarint(UInt64(former.count))
        for node in former {
            writer.write(node.id.rawValue)
            writer.writeString(node.name)
        }
        writer.write(featureLevel)
        return writer.bytes
    }

    /// How the refusal of a former node begins: it ends when it reads this soon after its start.
    static let givenUp = "this node was given up when its cluster was recovered from the loss of a majority"

    /// Why a node that proves to know the secret is refused all the same; nil = it is welcome.
    package func refusal(name: String, node: NodeID) -> String? {
        if former.contains(where: { $0.id == node }) {
            return "\(MemberList.givenUp) (\(name), identity \(node)): its data directory is of a past that others do "
                + "not share. Wipe it and start the node with --join"
        }
        guard let known = nodes.first(where: { $0.name == name }) else {
            return "\(name) does not belong to this cluster (yet): start it with --join"
        }
        guard known.id != node else { return nil }
        return "\(name) was identity \(known.id) and is now \(node): its data directory was replaced. "
            + "Restore the directory, or start it with --join to come back as a new node"
    }
}
