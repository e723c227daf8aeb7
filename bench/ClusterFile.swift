/// The cluster.toml of a cluster under test: everything on loopback or in namespaces of its own, and whatever a
/// benchmark would only be throttled by switched off. What is not set here has the server's defaults, so that figures
/// are those of the product as shipped.
struct ClusterFile {
    struct Node {
        var id: String
        var host = loopbackHost
        var gatewayPort: UInt16
        var meshPort: UInt16
        /// 0: the one after `meshPort`.
        var gossipPort: UInt16 = 0
        var adminPort: UInt16
        /// Redis clients; 0: none.
        var respPort: UInt16 = 0
        var dataDirectory: String
    }

    /// The Redis under nodes in Redis mode.
    struct Redis {
        var port: UInt16
        /// Of the Sentinels that name the master.
        var sentinels: [UInt16] = []
        var waitReplicas = 0
    }

    var nodes: [Node]
    /// Rooms are shared through it; nil: by the cluster itself.
    var redis: Redis?
    var partitions = 64
    /// Event loops of each node; nil for the server's own choice.
    var threads: Int?
    var maxConnections = 19_000
    /// Part of them from which on new clients are sent to nodes with room; 0: no sooner than all are there.
    var redirectAbove = 0.0
    /// The control leader moves leaderships away from the most loaded node.
    var autoBalance = false

    /// The prefix of the rooms that are not stored.
    static let bestEffortPrefix = "be"

    /// A room's name in the wanted delivery class.
    static func room(_ name: String, bestEffort: Bool) -> String { bestEffort ? "\(bestEffortPrefix):\(name)" : name }

    func text() -> String {
        var out = """
            [cluster]
            name = "bench"
            mode = "cluster"
            backplane = "\(redis == nil ? "cluster" : "redis")"
            partitions = \(partitions)
            replication_factor = \(min(3, nodes.count))
            secret = "bench-on-loopback-only-0123456789"

            """
        if let threads { out += "threads = \(threads)\n" }
        if autoBalance { out += "auto_balance = true\n" }
        for (index, node) in nodes.enumerated() {
            out += """

                [[node]]
                id = "\(node.id)"
                host = "\(node.host)"
                zone = "z\(index + 1)"
                gateway_port = \(node.gatewayPort)
                resp_port = \(node.respPort)
                mesh_port = \(node.meshPort)
                gossip_port = \(node.gossipPort)
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
        if let redis {
            let sentinels = redis.sentinels.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ", ")
            out += """

                [redis]
                url = "redis://127.0.0.1:\(redis.port)/0"
                sentinels = [\(sentinels)]
                sentinel_master = "\(RedisReplication.masterName)"
                wait_replicas = \(redis.waitReplicas)

                """
        }
        if nodes.contains(where: { $0.host != loopbackHost }) {
            // In network namespaces that lead nowhere else.
            out += """

                [auth]
                allow_anonymous_on_public = true

                [admin]
                host = "0.0.0.0"

                """
        }
        out += """

            [limits]
            max_connections = \(maxConnections)
            redirect_above = \(redirectAbove)

            [log]
            retention_count = 0
            retention_bytes = 0

            """
        return out
    }
}
