/// The cluster.toml of a cluster under test: everything on loopback, and whatever a benchmark would only be throttled
/// by switched off. What is not set here has the server's defaults, so that figures are those of the product as
/// shipped.
struct ClusterFile {
    struct Node {
        var id: String
        var gatewayPort: UInt16
        var meshPort: UInt16
        var adminPort: UInt16
        /// Redis clients; 0: none.
        var respPort: UInt16 = 0
        var dataDirectory: String
    }

    var nodes: [Node]
    var partitions = 64
    /// Event loops of each node; nil for the server's own choice.
    var threads: Int?
    var maxConnections = 19_000

    /// The prefix of the rooms that are not stored.
    static let bestEffortPrefix = "be"

    /// A room's name in the wanted delivery class.
    static func room(_ name: String, bestEffort: Bool) -> String { bestEffort ? "\(bestEffortPrefix):\(name)" : name }

    func text() -> String {
        var out = """
            [cluster]
            name = "bench"
            mode = "cluster"
            partitions = \(partitions)
            replication_factor = \(min(3, nodes.count))
            secret = "bench-on-loopback-only-0123456789"

            """
        if let threads { out += "threads = \(threads)\n" }
        for (index, node) in nodes.enumerated() {
            out += """

                [[node]]
                id = "\(node.id)"
                host = "127.0.0.1"
                zone = "z\(index + 1)"
                gateway_port = \(node.gatewayPort)
                resp_port = \(node.respPort)
                mesh_port = \(node.meshPort)
                admin_port = \(node.adminPort)
                data_dir = "\(node.dataDirectory)"

                """
        }
        for (prefix, deliveryClass) in [("", "guaranteed"), (Self.bestEffortPrefix, "best_effort")] {
            out += """

                [[namespace]]
                prefix = "\(prefix)"
                class = "\(deliveryClass)"
                publish_rate = 0
                publish_burst = 1000000
                anonymous_subscribe = true
                anonymous_publish = true

                """
        }
        out += """

            [limits]
            max_connections = \(maxConnections)

            [log]
            retention_count = 0
            retention_bytes = 0

            """
        return out
    }
}
