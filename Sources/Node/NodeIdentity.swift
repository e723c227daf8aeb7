import LogStorage
import Primitives
import SystemOpenSSL

/// Who this node is: a random UUID in its data directory. Whoever wipes the directory makes another node of it.
package struct NodeIdentity: Sendable, Equatable {
    package let uuid: [UInt8]

    /// The part of it that consensus uses.
    package var node: NodeID {
        NodeID(uuid.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } | 1 << 63)
    }

    package var text: String {
        let digits = Array("0123456789abcdef")
        var text = ""
        for (index, byte) in uuid.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append("-") }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return text
    }

    static let file = "identity"

    /// Reads the identity, or draws one for an empty directory (UUID version 4, RFC 9562).
    package static func load<D: Disk>(from store: LogStore<D>) throws -> NodeIdentity {
        if let bytes = try store.readMeta(file) {
            guard bytes.count == 16 else { throw NodeError.damagedMeta(file) }
            return NodeIdentity(uuid: bytes)
        }
        var uuid = try SecureRandom.bytes(count: 16)
        uuid[6] = uuid[6] & 0x0f | 0x40
        uuid[8] = uuid[8] & 0x3f | 0x80
        try store.writeMeta(file, uuid)
        return NodeIdentity(uuid: uuid)
    }
}

/// How often the node has started: peers tell a new process from the one that it replaces by the higher number.
enum Incarnation {
    static let file = "incarnation"

    static func next<D: Disk>(in store: LogStore<D>) throws -> UInt64 {
        var last: UInt64 = 0
        if let bytes = try store.readMeta(file) {
            guard bytes.count == 8 else { throw NodeError.damagedMeta(file) }
            last = bytes.reduce(0) { $0 << 8 | UInt64($1) }
        }
        let next = last + 1
        try store.writeMeta(file, (0..<8).map { UInt8(truncatingIfNeeded: next >> UInt64(56 - 8 * $0)) })
        return next
    }
}

/// The nodes that formed the cluster, by name: written once, when every node of cluster.toml has met every other, and
/// never changed, because the control group's log begins with them.
///
/// Until then nobody votes, so a node with an empty disk cannot help to elect a leader that misses acknowledged
/// entries; afterwards a name that comes with another identity is refused.
package struct Formation: Sendable, Equatable {
    package private(set) var members: [String: NodeID]
    /// In the order of cluster.toml: the first five vote in the control group.
    package let expected: [String]

    static let file = "formation"

    package init(expected: [String], own name: String, node: NodeID) {
        self.expected = expected
        members = [name: node]
    }

    package var isComplete: Bool { expected.allSatisfy { members[$0] != nil } }

    package var missing: [String] { expected.filter { members[$0] == nil } }

    /// Why a node that proves to know the secret is refused all the same; nil = it is welcome.
    package func refusal(name: String, node: NodeID) -> String? {
        guard expected.contains(name) else { return "\(name) is not a node of this cluster's cluster.toml" }
        if let known = members[name], known != node {
            return "\(name) was identity \(known) and is now \(node): its data directory was replaced. "
                + "Restore the directory; a node with an empty disk must not vote for what it has forgotten"
        }
        if let other = members.first(where: { $0.value == node && $0.key != name }) {
            return
                "identity \(node) belongs to \(other.key): the data directory was copied; give \(name) one of its own"
        }
        return nil
    }

    package mutating func learn(name: String, node: NodeID) { members[name] = node }

    /// Nil when this node did not form a cluster.
    package static func load<D: Disk>(
        from store: LogStore<D>,
        own name: String,
        node: NodeID
    ) throws -> Formation? {
        guard let bytes = try store.readMeta(file) else { return nil }
        var members: [String: NodeID] = [:]
        var order: [String] = []
        do {
            try bytes.withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                for _ in 0..<(try reader.readCount(limit: 4096, "formation")) {
                    let member = try reader.readString(limit: 255, "node name")
                    order.append(member)
                    members[member] = NodeID(try reader.read(UInt64.self))
                }
                try reader.expectEnd()
            }
        } catch is DecodeError {
            throw NodeError.damagedMeta(file)
        }
        guard members[name] == node else {
            throw NodeError.foreignDirectory(name: name, owner: members.first { $0.value == node }?.key)
        }
        var formation = Formation(expected: order, own: name, node: node)
        formation.members = members
        return formation
    }

    package func save<D: Disk>(to store: LogStore<D>) throws {
        precondition(isComplete, "a formation that lacks \(missing)")
        var writer = ByteWriter()
        writer.writeVarint(UInt64(expected.count))
        for name in expected {
            writer.writeString(name)
            writer.write(members[name]?.rawValue ?? 0)
        }
        try store.writeMeta(Formation.file, writer.bytes)
    }
}

/// Why a node does not start.
package enum NodeError: Error, CustomStringConvertible {
    case unknownNode(String, known: [String])
    case damagedMeta(String)
    case foreignDirectory(name: String, owner: String?)
    case left(String)
    case featureLevel(cluster: UInt16, program: UInt16)
    case shortLog(group: GroupID, entry: LogIndex)
    case listen(what: String, host: String, port: Int, reason: String)
    case withoutRedis
    /// A file of `[mesh]` that TLS cannot begin with.
    case meshTLS(key: String, path: String, reason: String)

    package var description: String {
        switch self {
        case .unknownNode(let name, let known):
            "no [[node]] has id \"\(name)\"; cluster.toml has \(known.joined(separator: ", "))"
        case .damagedMeta(let file):
            "meta/\(file) in the data directory is damaged: restore it from a backup, or wipe the directory and "
                + "let the "
                + "node come back as a new one"
        case .foreignDirectory(let name, let owner):
            "this data directory belongs to \(owner ?? "another node"), not to \(name): check data_dir in cluster.toml"
        case .left(let name):
            "\(name) does not belong to its cluster any more: wipe the data directory and start it with --join to "
                + "come back as a new node"
        case .featureLevel(let cluster, let program):
            "its cluster has agreed on feature level \(cluster), and this program supports \(program): what is on the "
                + "disk may be unreadable to it. Start a newer program"
        case .shortLog(let group, let entry):
            "the log of \(group) has no entry \(entry), which it should have: see `vencejo log check`"
        case .listen(let what, let host, let port, let reason):
            "cannot listen for \(what) on \(host):\(port): \(reason)"
        case .meshTLS(let key, let path, let reason): "mesh.\(key) = \"\(path)\": \(reason)"
        case .withoutRedis:
            "cluster.backplane = \"redis\" (or REDIS_ENABLED) needs the Redis adapter, and this program was built "
                + "without it (VENCEJO_WITHOUT_REDIS)"
        }
    }
}
