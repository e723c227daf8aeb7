import Admin
import Broker
import ClusterConfiguration
import EventLoops
import Gateway
import Keys
import Primitives
import Rooms

/// Families of metrics that nodes have in every mode.
extension NodeReport {
    static func nodeFamilies(_ text: inout PrometheusText, node: String, _ configuration: ClusterConfiguration) {
        text.family("node_info", .gauge, help: "1, with the node's mode and version as labels.")
        text.sample(
            1,
            ["node": node, "mode": configuration.mode.rawValue, "version": NodeReport.version]
        )
    }

    static func gatewayFamilies(
        _ text: inout PrometheusText,
        node: String,
        _ gateway: GatewayMetrics,
        _ configuration: ClusterConfiguration
    ) {
        func counter(_ name: String, _ help: String, _ value: UInt64) {
            text.family(name, .counter, help: help)
            text.sample(value, ["node": node])
        }
        func gauge(_ name: String, _ help: String, _ value: Int) {
            text.family(name, .gauge, help: help)
            text.sample(value, ["node": node])
        }
        gauge("active_connections", "Open client connections.", gateway.activeConnections)
        counter("connections_total", "Client connections accepted since start.", gateway.connectionsTotal)
        text.family("connections_closed_total", .counter, help: "Sessions closed, by WebSocket close code.")
        for code in gateway.closedByCode.keys.sorted() {
            text.sample(gateway.closedByCode[code] ?? 0, ["node": node, "code": String(code)])
        }
        text.family("handshakes_refused_total", .counter, help: "Refused HTTP requests and upgrades, by status.")
        for status in gateway.refusedByStatus.keys.sorted() {
            text.sample(gateway.refusedByStatus[status] ?? 0, ["node": node, "status": String(status)])
        }
        counter("redirects_total", "New clients sent to a node with room.", gateway.redirects)
        counter("clients_moved_total", "Sessions that a drain told to go to another node.", gateway.moved)
        counter("clients_cut_total", "Clients cut off at the end of a drain's budget.", gateway.cut)
        counter("messages_sent_total", "Messages queued to client connections.", gateway.messagesSent)
        counter("messages_received_total", "Messages received from clients.", gateway.messagesReceived)
        counter("broadcasts_total", "Room messages fanned out to this node's sessions.", gateway.broadcasts)
        counter("send_errors_total", "Writes to client connections that failed.", gateway.sendErrors)
        counter("client_bytes_in_total", "Bytes read from clients.", gateway.bytesIn)
        counter("client_bytes_out_total", "Bytes written to clients.", gateway.bytesOut)
        gauge("queue_size", "Bytes in the connections' outbound queues.", gateway.queuedBytes)
        counter("subscription_pauses_total", "Stored rooms left to the log by a full queue.", gateway.pauses)
        counter("read_pauses_total", "Times that reading stopped for unanswered requests.", gateway.readPauses)
        text.family("messages_dropped_total", .counter, help: "Messages not delivered, by class and reason.")
        for deliveryClass in ["best_effort", "guaranteed", "retained"].enumerated() {
            for reason in DropReason.allCases {
                text.sample(
                    gateway.dropped(.init(rawValue: UInt8(deliveryClass.offset)) ?? .bestEffort, reason),
                    ["node": node, "class": deliveryClass.element, "reason": "\(reason)"]
                )
            }
        }
        text.family("requests_refused_total", .counter, help: "Client requests refused by a namespace's policy.")
        for reason in PolicyRefusal.allCases {
            text.sample(gateway.refused(reason), ["node": node, "reason": "\(reason)"])
        }
        text.family("slo_seconds", .gauge, help: "Service level objectives of cluster.toml, to compare with.")
        let slo = configuration.slo
        for (objective, value) in [
            ("handshake_p95", slo.handshakeP95), ("message_p95", slo.messageP95), ("ping_p95", slo.pingP95),
            ("client_recovery", slo.clientRecovery), ("cluster_recovery", slo.clusterRecovery),
        ] {
            text.sample(value.seconds, ["node": node, "objective": objective])
        }
        text.family("slo_ratio", .gauge, help: "Service level objectives of cluster.toml that are ratios.")
        for (objective, value) in [
            ("errors", slo.errorRatio), ("send_errors", slo.sendErrorRatio), ("churn", slo.churnRatio),
        ] {
            text.sample(value, ["node": node, "objective": objective])
        }
        text.family("message_latency_seconds", .histogram, help: "Publish accepted to socket write.")
        text.histogram(
            bounds: GatewayMetrics.latencyBounds.map { Double($0) / 1000 },
            counts: gateway.latencyBuckets,
            sum: Double(gateway.latencySumMilliseconds) / 1000,
            ["node": node]
        )
    }

    /// Of the copies of the keys that a node has: it evicts and expires what the others do.
    static func keysFamilies(_ text: inout PrometheusText, node: String, _ keys: [BrokerStatus.Keys]) {
        func sum(_ value: (BrokerStatus.Keys) -> Int) -> Int { keys.reduce(0) { $0 + value($1) } }
        for (name, help, value) in [
            ("keys", "Keys of Redis clients in this node's copies.", sum(\.count)),
            ("keys_memory_bytes", "What they take, as INFO's used_memory counts it.", sum(\.memory)),
            ("keys_memory_limit_bytes", "What they may take (maxmemory); 0: no bound.", sum { Int($0.maxMemory) }),
        ] {
            text.family(name, .gauge, help: help)
            text.sample(value, ["node": node])
        }
        func total(_ field: KeyPath<KeyspaceStatistics, UInt64>) -> UInt64 {
            keys.reduce(0) { $0 &+ $1.statistics[keyPath: field] }
        }
        for (name, help, value) in [
            ("keys_evicted_total", "Keys evicted to make room.", total(\.evicted)),
            ("keys_expired_total", "Keys whose time to live was over.", total(\.expired)),
            ("keys_hits_total", "Look-ups that found their key.", total(\.hits)),
            ("keys_misses_total", "Look-ups that did not.", total(\.misses)),
        ] {
            text.family(name, .counter, help: help)
            text.sample(value, ["node": node])
        }
    }

    static func loopFamilies(_ text: inout PrometheusText, node: String, _ shards: Shards) {
        text.family("event_loop_lag_seconds_max", .gauge, help: "Worst lateness of a shard's tick since start.")
        for shard in shards.all {
            text.sample(shard.pulse.lateness.max.seconds, ["node": node, "shard": String(shard.index)])
        }
    }
}
