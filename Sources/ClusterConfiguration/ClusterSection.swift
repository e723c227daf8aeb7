import Primitives

extension ClusterConfiguration {
    /// `[cluster]`: what all nodes must agree on.
    package struct Cluster: Sendable, Equatable {
        /// Keeps meshes apart: a node refuses peers of another name.
        package var name = "vencejo"
        /// As the file says; how the node runs is `ClusterConfiguration.mode`.
        package var mode = Mode.cluster
        package var backplane = Backplane.cluster
        /// A power of two, fixed when the cluster is created.
        package var partitions = 64
        /// Copies of each partition in cluster mode; readers want `ClusterConfiguration.replicationFactor`.
        package var replicationFactor = 3
        /// What peers prove to each other that they know.
        package var secret = Secret(Cluster.sampleSecret)
        package var threads = ThreadCount.automatic
        /// A node that was away for so long loses its copies to others.
        package var replaceAfter = Interval.seconds(600)
        /// Copies that one event loop sends or receives at a time.
        package var parallelSyncs = 1
        /// Bytes of copies that one event loop sends in a second.
        package var syncRate = 64 << 20
        /// A partition with so large a part of its node's load, so much load, for so long, is hot.
        package var hotShare = 0.5
        package var hotRate = 1000
        package var hotAfter = Interval.seconds(10)
        /// The control leader moves leaderships when nodes are loaded unevenly.
        package var autoBalance = false

        package init() {}

        /// Public, and so good for one machine only.
        package static let sampleSecret = "change-me-before-leaving-loopback"
    }

    /// How a node shares its rooms.
    package enum Mode: String, CaseIterable, Sendable {
        /// With the other nodes of the file, by the built-in replicated log.
        case cluster
        /// With nobody: one node, the same features.
        case standalone
        /// Through an external Redis.
        case redis
    }

    /// Event loops of one node.
    package enum ThreadCount: Sendable, Equatable {
        /// The machine's cores, shared among the nodes that the file puts on it; at least 1.
        case automatic
        /// 1...256.
        case count(Int)
    }

    /// `[[node]]`: one process of the cluster.
    package struct Node: Sendable, Equatable {
        package var id = ""
        /// The address at which peers and clients reach it.
        package var host = "127.0.0.1"
        /// The address on which it listens; never empty after `load`.
        package var bind = ""
        /// The failure domain.
        package var zone = "default"
        /// Relative share of the partitions.
        package var weight = 1
        package var gatewayPort = 8000
        /// 0: no listener.
        package var respPort = 6379
        /// Cluster clients of Redis; 0: no listener.
        package var clusterPort = 0
        /// Sentinel clients of Redis; 0: no listener.
        package var sentinelPort = 0
        package var meshPort = 7946
        /// UDP and TCP; never 0 after `load`.
        package var gossipPort = 0
        /// 0: no listener.
        package var adminPort = 9000
        /// Relative to the working directory, unless absolute.
        package var dataDirectory = ""

        package init() {}

        /// Nothing outside this machine can reach the node's listeners.
        package var isLoopback: Bool { Node.isLoopback(bind.isEmpty ? host : bind) }

        /// `localhost`, 127.0.0.0/8 or ::1.
        package static func isLoopback(_ address: String) -> Bool {
            if address == "localhost" || address == "::1" { return true }
            let parts = address.split(separator: ".", omittingEmptySubsequences: false)
            return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
        }

        /// What nodes on one machine have in common.
        var machine: String { Node.isLoopback(host) ? "127.0.0.1" : host }
    }
}

extension ClusterConfiguration.Cluster {
    static let settings: [Setting<Self>] = [
        .text("name", \.name, limit: 64, "Label of the mesh; a node refuses peers of another name."),
        .choice(
            "mode",
            \.mode,
            "cluster: the nodes below share all rooms by the built-in replicated log, with no Redis anywhere. "
                + "standalone: this node alone, with every feature but the reach across nodes. "
                + "redis: what backplane = \"redis\" makes of it; to be said there."
        ),
        .choice(
            "backplane",
            \.backplane,
            "What carries rooms from node to node. cluster: the built-in log. redis: an external Redis, see [redis]; "
                + "REDIS_ENABLED=true in the environment says the same."
        ),
        .integer(
            "partitions",
            \.partitions,
            1...16384,
            "Shards of the room space, each one replicated log; a power of two. Fixed when the cluster is created. "
                + "64 suits 5 nodes, 256 suits 30."
        ),
        .integer(
            "replication_factor",
            \.replicationFactor,
            1...7,
            "Copies of each partition; 3 survive the loss of any one node. At most the number of nodes. Standalone "
                + "mode uses 1."
        ),
        .secret(
            "secret",
            \.secret,
            "Shared by all nodes and proved by each on every mesh connection. The sample value is refused, like any "
                + "shorter than 16 bytes, when a node listens beyond loopback. Better set by VENCEJO_CLUSTER_SECRET."
        ),
        .threads,
        .duration(
            "replace_after",
            \.replaceAfter,
            .seconds(1)...(.seconds(604_800)),
            "A node that was away for so long is replaced: others get copies of what it kept. A restart or a short "
                + "outage should not move data."
        ),
        .integer(
            "parallel_syncs",
            \.parallelSyncs,
            1...64,
            "Copies that an event loop fills or sends to a node at a time, as Redis's parallel-syncs."
        ),
        .size(
            "sync_rate",
            \.syncRate,
            65536...(10 << 30),
            "Bytes of copies that an event loop sends in a second at most, so that moves leave room for what is live."
        ),
        .number(
            "hot_share",
            \.hotShare,
            0.01...1,
            "A partition is hot when it has this part of its node's load or more, hot_rate or more, for hot_after."
        ),
        .integer(
            "hot_rate",
            \.hotRate,
            1...1_000_000_000,
            "Least load of a hot partition, and of a cluster whose nodes are compared: operations a second, a KiB of "
                + "payload counting as one."
        ),
        .duration(
            "hot_after",
            \.hotAfter,
            .seconds(1)...(.seconds(3600)),
            "How long a partition must be hot, or the load uneven, before it is told."
        ),
        .boolean(
            "auto_balance",
            \.autoBalance,
            "Give leaderships of the most loaded node to other replicas when it is more than 20 % above the mean. No "
                + "data moves; publishes to a partition wait for the moment of its transfer."
        ),
    ]
}

extension Setting<ClusterConfiguration.Cluster> {
    fileprivate static let threads = Setting(
        key: "threads",
        type: "integer",
        allowed: "\"auto\" or 1...256",
        documentation: "Event loops per node; auto: the cores divided by the nodes of this file on the same host.",
        render: {
            switch $0.threads {
            case .automatic: "\"auto\""
            case .count(let count): String(count)
            }
        },
        assign: { node, section in
            switch node {
            case .string("auto"): section.threads = .automatic
            case .integer(let count) where (1...256).contains(count): section.threads = .count(count)
            default: return Refusal(reason: "must be \"auto\" or 1...256")
            }
            return nil
        },
        parse: { text in Int(text).map(TOMLNode.integer) ?? .string(text) }
    )
}

extension ClusterConfiguration.Node {
    static let settings: [Setting<Self>] = [
        .text("id", \.id, limit: 64, required: true, "Name of the node: letters, digits, '.', '_' and '-'; unique."),
        .text("host", \.host, limit: 253, "Address at which peers and clients reach the node."),
        .text(
            "bind",
            \.bind,
            limit: 253,
            mayBeEmpty: true,
            "Address on which gateway, RESP and mesh listen, e.g. 0.0.0.0; empty: the same as host."
        ),
        .text("zone", \.zone, limit: 64, "Failure domain (rack, zone, site): replicas are spread over zones."),
        .integer(
            "weight",
            \.weight,
            1...100,
            "Relative share of the partitions, as virtual nodes are on a hash ring: weight 2 carries twice as many."
        ),
        .integer("gateway_port", \.gatewayPort, 1...65535, "WebSocket and HTTP clients."),
        .integer("resp_port", \.respPort, 0...65535, "Redis clients; 0: no listener."),
        .integer(
            "cluster_port",
            \.clusterPort,
            0...65535,
            "Redis clients that speak to a Redis Cluster; 0: no listener."
        ),
        .integer("sentinel_port", \.sentinelPort, 0...65535, "Redis clients that ask Sentinels; 0: no listener."),
        .integer("mesh_port", \.meshPort, 1...65535, "Other nodes."),
        .integer(
            "gossip_port",
            \.gossipPort,
            0...65535,
            "Gossip of other nodes, UDP and TCP; 0: mesh_port + 1."
        ),
        .integer("admin_port", \.adminPort, 0...65535, "Metrics, health and status, on [admin] host; 0: no listener."),
        .text(
            "data_dir",
            \.dataDirectory,
            limit: 1024,
            required: true,
            "Directory of the log and of the node's identity; relative to the working directory. One per node."
        ),
    ]
}
