import Admin
import Broker
import Cluster
import ClusterConfiguration
import EventLoops
import Gateway
import Locks
import LogStorage
import Primitives
import RESPServer
import Raft
import Rooms
import SWIM

/// Collects what the shards know into what the admin port answers.
struct NodeReport: Sendable {
    let node: NodeRuntime
    let started: Instant
    let shards: Shards
    /// The pool of a node whose rooms do not go through Redis.
    let redis: RedisBridge?

    static let version = "0.1.0"

    private struct ShardReport: Sendable {
        var broker: BrokerStatus
        var isReady: Bool
        var isDegraded: Bool
        var gateway: GatewayMetrics
        var resp: RESPMetrics?
        var links: [LinkStatistics]
        var failedHandshakes: UInt64
        var pendingAppends: Int
    }

    /// Asks every shard, on its loop.
    private func collect() async -> [ShardReport] {
        var reports: [ShardReport] = []
        for runtime in node.runtimes {
            reports.append(
                await withCheckedContinuation { continuation in
                    runtime.post(
                        .call { runtime in
                            continuation.resume(
                                returning: ShardReport(
                                    broker: runtime.broker.status(),
                                    isReady: runtime.broker.isReady,
                                    isDegraded: runtime.broker.isDegraded,
                                    gateway: runtime.gateway?.metrics ?? GatewayMetrics(),
                                    resp: runtime.resp?.metrics,
                                    // The mesh is the first shard's.
                                    links: runtime.shard.index == 0 ? node.mesh?.linkStatistics ?? [] : [],
                                    failedHandshakes: runtime.shard.index == 0 ? node.mesh?.failedHandshakes ?? 0 : 0,
                                    pendingAppends: runtime.pendingAppends
                                )
                            )
                        }
                    )
                }
            )
        }
        return reports
    }

    // MARK: Health

    func live() -> HealthReport { NodeReport.liveness(shards) }

    static func liveness(_ shards: Shards) -> HealthReport {
        let stalled = shards.stalled(longerThan: .seconds(5), at: MonotonicClock.now())
        return stalled.isEmpty
            ? .healthy : .unhealthy("event loop \(stalled.map(String.init).joined(separator: ", ")) has stalled")
    }

    func ready() async -> HealthReport { NodeReport.readiness(await collect()) }

    private static func readiness(_ reports: [ShardReport]) -> HealthReport {
        let partitions = reports.flatMap(\.broker.partitions)
        if reports.contains(where: { $0.broker.placementEpoch == 0 }) {
            return .unhealthy("the placement of partitions is not known yet")
        }
        let ownerless = partitions.filter { $0.owner == nil }
        if !ownerless.isEmpty {
            return .unhealthy("\(ownerless.count) of \(partitions.count) partitions have no owner in reach")
        }
        if reports.contains(where: { !$0.broker.isDiskHealthy }) { return .unhealthy("the log cannot be written") }
        return .healthy
    }

    // MARK: Status

    func status() async -> StatusReport {
        let reports = await collect()
        let configuration = node.configuration
        let partitions = reports.flatMap(\.broker.partitions).sorted { $0.id < $1.id }
        let readiness = NodeReport.readiness(reports)
        let members = node.members.withLock { $0.nodes }
        let seen = node.seen.withLock { $0 }
        let peers = reports.first?.broker.peers ?? []
        func name(_ id: NodeID?) -> String? { id.map(node.name(of:)) }
        func state(_ id: NodeID?) -> String {
            guard let id else { return "unknown" }
            if id == node.identity.node { return "self" }
            guard let peer = peers.first(where: { $0.id == id }) else { return "down" }
            return !peer.isUp ? "down" : peer.isSuspected ? "suspected" : "up"
        }
        let gateway = reports.map(\.gateway).reduce(GatewayMetrics(), +)
        var report = StatusReport(
            node: node.name,
            mode: configuration.mode.rawValue,
            version: NodeReport.version,
            cluster: configuration.cluster.name,
            uptimeSeconds: Int((MonotonicClock.now() - started).seconds),
            ready: readiness.isHealthy,
            reason: readiness.reason,
            degraded: reports.contains { $0.isDegraded },
            diskHealthy: reports.allSatisfy { $0.broker.isDiskHealthy },
            controlLeader: name(reports.first?.broker.controlLeader),
            placementEpoch: reports.map(\.broker.placementEpoch).max() ?? 0,
            featureLevel: (reports.first?.broker.featureLevel).map(Int.init),
            connections: gateway.activeConnections,
            sessions: reports.map(\.broker.sessions).reduce(0, +),
            publishesAccepted: reports.map(\.broker.counters.publishesAccepted).reduce(0, +)
                + reports.map(\.broker.counters.bestEffortPublishes).reduce(0, +),
            messagesSent: gateway.messagesSent,
            logBytes: node.writer.statistics.segmentBytes + node.writer.statistics.unflushedBytes,
            nodes: members.sorted { $0.name < $1.name }.map { member in
                let metadata = seen.first { $0.node == member.id }?.metadata
                let listed = configuration.node(id: member.name)
                let adminPort = metadata.map { Int($0.adminPort) } ?? listed?.adminPort ?? 0
                return StatusReport.Node(
                    name: member.name,
                    id: "\(member.id)",
                    state: member.isLeaving ? "leaving" : state(member.id),
                    host: member.host,
                    gatewayPort: metadata.map { Int($0.gatewayPort) } ?? listed?.gatewayPort ?? 0,
                    zone: member.zone,
                    admin: adminPort == 0
                        ? nil : "\(member.host.contains(":") ? "[\(member.host)]" : member.host):\(adminPort)",
                    owned: partitions.count { $0.owner == member.id }
                )
            },
            partitions: partitions.map { partition in
                StatusReport.Partition(
                    id: Int(partition.id.rawValue),
                    owner: name(partition.owner),
                    term: partition.term,
                    replicas: partition.replicas.map { name($0) ?? "?" },
                    role: partition.role.map { "\($0)" } ?? "none",
                    commit: partition.commit,
                    applied: partition.applied,
                    firstIndex: partition.firstIndex,
                    lastIndex: partition.lastIndex,
                    rooms: partition.rooms,
                    degraded: partition.isDegraded,
                    faulty: partition.isFaulty
                )
            },
            events: node.events.latest(200).map { StatusReport.Event(time: $0.time, kind: $0.kind, text: $0.text) },
            warnings: configuration.warnings
        )
        report.load = NodeReport.load(reports.map(\.broker), configuration)
        if let redis {
            report.redis = await redis.report(connections: gateway.activeConnections)
        } else if configuration.mode != .cluster {
            report.redis = RedisReport(
                status: RedisReport.Status(
                    isEnabled: false,
                    isPubSubEnabled: false,
                    localConnections: gateway.activeConnections,
                    isFallback: true
                ),
                stats: .disabled
            )
        }
        return report
    }

    // MARK: Metrics

    func metrics() async -> String {
        let reports = await collect()
        let gateway = reports.map(\.gateway).reduce(GatewayMetrics(), +)
        let brokers = reports.map(\.broker)
        let log = node.writer.statistics
        func sum(_ field: KeyPath<BrokerCounters, UInt64>) -> UInt64 {
            brokers.reduce(0) { $0 + $1.counters[keyPath: field] }
        }
        var text = PrometheusText()
        func counter(_ name: String, _ help: String, _ value: UInt64) {
            text.family(name, .counter, help: help)
            text.sample(value, ["node": node.name])
        }
        func gauge(_ name: String, _ help: String, _ value: Int) {
            text.family(name, .gauge, help: help)
            text.sample(value, ["node": node.name])
        }
        NodeReport.nodeFamilies(&text, node: node.name, node.configuration)
        NodeReport.gatewayFamilies(&text, node: node.name, gateway, node.configuration)
        counter("publishes_accepted_total", "Guaranteed publishes appended here as owner.", sum(\.publishesAccepted))
        counter("publishes_refused_total", "Guaranteed publishes refused here.", sum(\.publishesRefused))
        counter("publishes_duplicate_total", "Publishes recognized as repeated.", sum(\.duplicates))
        counter("publishes_best_effort_total", "Best-effort publishes ordered here.", sum(\.bestEffortPublishes))
        counter("fanout_total", "Room messages sent to interested nodes as owner.", sum(\.fannedOut))
        counter("ownerships_won_total", "Partitions taken over.", sum(\.ownershipsWon))
        counter("gaps_repaired_total", "Holes in a room's stream read again from its log.", sum(\.gapsRepaired))
        counter("gaps_announced_total", "Gaps announced to subscribers.", sum(\.gapsAnnounced))
        counter("snapshots_installed_total", "Replicas replaced by a snapshot.", sum(\.snapshotsInstalled))
        gauge(
            "partitions_owned",
            "Partitions that this node owns.",
            brokers.flatMap(\.partitions).count {
                $0.owner == node.identity.node
            }
        )
        gauge(
            "partitions_degraded",
            "Partitions without an owner in reach.",
            brokers.flatMap(\.partitions).count {
                $0.isDegraded
            }
        )
        counter("log_syncs_total", "fsync calls of the write-ahead log.", log.syncs)
        counter("log_records_total", "Batches written to the write-ahead log.", log.records)
        counter("log_entries_total", "Entries written to the write-ahead log.", log.entries)
        counter("log_plain_bytes_total", "Bytes of batches before compression.", log.plainBytes)
        counter("log_stored_bytes_total", "Bytes of batches as stored.", log.storedBytes)
        gauge("log_segment_bytes", "Bytes in segment files.", log.segmentBytes)
        gauge("log_segment_files", "Segment files.", log.segmentFiles)
        gauge("log_unflushed_bytes", "Bytes in write-ahead files not yet in segments.", log.unflushedBytes)
        gauge("log_pending_appends", "Batches waiting for the disk.", reports.map(\.pendingAppends).reduce(0, +))
        if node.configuration.keys.partitions > 0 {
            NodeReport.keysFamilies(&text, node: node.name, brokers.map(\.keys))
            counter(
                "keys_unconfirmed_entries_total",
                "Entries answered early here that no majority was known to have when the ownership was lost.",
                sum(\.keyEntriesUnconfirmed)
            )
        }
        NodeReport.loadFamilies(&text, node: node.name, brokers)
        let resp = reports.compactMap(\.resp)
        if !resp.isEmpty {
            var all = RESPMetrics()
            for metrics in resp { all.add(metrics) }
            NodeReport.shimFamilies(&text, node: node.name, all)
        }
        NodeReport.linkFamilies(
            &text,
            node: node.name,
            reports.flatMap(\.links),
            failedHandshakes: reports.reduce(0) { $0 + $1.failedHandshakes }
        )
        NodeReport.loopFamilies(&text, node: node.name, shards)
        await redis?.metrics(&text, node: node.name)
        return text.text
    }
}
