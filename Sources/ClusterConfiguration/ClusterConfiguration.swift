import Primitives

/// What `cluster.toml` and the environment say, checked and complete: every value is concrete, nothing is optional
/// that a reader would have to resolve. Plain values; made once at start and only read afterwards.
package struct ClusterConfiguration: Sendable, Equatable {
    /// The file that it came from; empty for `init()`.
    package var path = ""
    package var cluster = Cluster()
    /// At least one after `load`, in the file's order.
    package var nodes: [Node] = []
    /// At least one, and one of them has the empty prefix, after `load`; longest prefix first.
    package var namespaces: [Namespace] = [Namespace()]
    /// Sorted by name; the three built-in profiles plus the file's.
    package var heartbeats: [HeartbeatProfile] = HeartbeatProfile.builtIn
    package var limits = Limits()
    package var gateway = Gateway()
    package var admin = Admin()
    package var drain = Drain()
    package var auth = Auth()
    package var log = Log()
    package var raft = Raft()
    package var liveness = Liveness()
    package var mesh = Mesh()
    package var gossip = Gossip()
    package var slo = ServiceLevels()
    package var redis = Redis()
    package var keys = Keys()
    package var resp = RESP()
    /// What is allowed but unwise, to be printed at start.
    package var warnings: [String] = []

    /// Every default, without a node: a beginning for tests and tools.
    package init() {}

    /// The node with this `id`.
    package func node(id: String) -> Node? { nodes.first { $0.id == id } }

    /// Copies of each partition: the configured factor, or 1 in standalone mode.
    package var replicationFactor: Int { mode == .cluster ? cluster.replicationFactor : 1 }

    /// The nodes that take part: all of them in cluster mode, otherwise only `node` itself.
    package func members(asSeenBy node: Node) -> [Node] { mode == .cluster ? nodes : [node] }

    /// Event loops for `node` on a machine with `cores` processors: the configured number, or the cores divided among
    /// the nodes that the file puts on the same host; a standalone node has them all.
    package func threads(for node: Node, cores: Int) -> Int {
        switch cluster.threads {
        case .count(let count): count
        case .automatic:
            mode == .standalone ? max(1, cores) : max(1, cores / max(1, nodes.count { $0.machine == node.machine }))
        }
    }

    /// The index in `namespaces` of the policy that governs a room: the longest prefix of its name. The empty prefix
    /// governs the rest.
    package func namespaceIndex(for room: some Collection<UInt8>) -> Int {
        for (index, namespace) in namespaces.enumerated() where namespace.governs(room) { return index }
        return namespaces.count - 1
    }

    /// The policy that governs a room.
    package func namespace(for room: some Collection<UInt8>) -> Namespace { namespaces[namespaceIndex(for: room)] }

    /// The heartbeat profile of a namespace.
    package func heartbeat(of namespace: Namespace) -> HeartbeatProfile {
        heartbeats.first { $0.name == namespace.heartbeat } ?? .standard
    }
}
