import Admin
import Broker
import ClusterConfiguration
import EventLoops
import Gateway
import Primitives
import RedisAdapter
import RedisBackplane

/// Collects what the shards of a node in Redis mode know into what the admin port answers.
struct RedisNodeReport: Sendable {
    let name: String
    let identity: String
    let runtimes: [RedisShard]
    let bridge: RedisBridge
    let events: EventLog
    let started: Instant
    let shards: Shards

    private struct ShardReport: Sendable {
        var sessions: Int
        var gateway: GatewayMetrics
    }

    private var configuration: ClusterConfiguration { bridge.configuration }

    private func collect() async -> [ShardReport] {
        var reports: [ShardReport] = []
        for runtime in runtimes {
            reports.append(
                await withCheckedContinuation { continuation in
                    let isPosted = runtime.inbox.post(
                        .call { runtime in
                            continuation.resume(
                                returning: ShardReport(
                                    sessions: runtime.broker.sessionCount,
                                    gateway: runtime.gateway?.metrics ?? GatewayMetrics()
                                )
                            )
                        }
                    )
                    if !isPosted { continuation.resume(returning: ShardReport(sessions: 0, gateway: GatewayMetrics())) }
                }
            )
        }
        return reports
    }

    func live() -> HealthReport { NodeReport.liveness(shards) }

    /// Ready as soon as it is known whether Redis is there: without it the node serves its own clients.
    func ready() async -> HealthReport {
        let status = await bridge.status()
        return status.isUp || status.isFallback ? .healthy : .unhealthy("Redis: \(status.reason)")
    }

    func status() async -> StatusReport {
        let reports = await collect()
        let gateway = reports.map(\.gateway).reduce(GatewayMetrics(), +)
        let readiness = await ready()
        let redis = await bridge.status()
        var report = StatusReport(
            node: name,
            mode: configuration.mode.rawValue,
            version: NodeReport.version,
            cluster: configuration.cluster.name,
            uptimeSeconds: Int((MonotonicClock.now() - started).seconds),
            ready: readiness.isHealthy,
            reason: readiness.reason,
            degraded: !redis.isUp,
            diskHealthy: true,
            controlLeader: nil,
            placementEpoch: 0,
            connections: gateway.activeConnections,
            sessions: reports.map(\.sessions).reduce(0, +),
            publishesAccepted: redis.counters.appended + redis.counters.published,
            messagesSent: gateway.messagesSent,
            logBytes: 0,
            nodes: configuration.nodes.filter { $0.id == name }.map { own in
                StatusReport.Node(
                    name: own.id,
                    id: identity,
                    state: "self",
                    host: own.host,
                    gatewayPort: own.gatewayPort,
                    zone: own.zone,
                    owned: 0
                )
            },
            partitions: [],
            events: events.latest(200).map { StatusReport.Event(time: $0.time, kind: $0.kind, text: $0.text) },
            warnings: configuration.warnings + redis.foreignPeers.map(RedisBridge.foreignPeerWarning)
        )
        report.redis = await bridge.report(connections: gateway.activeConnections)
        return report
    }

    func metrics() async -> String {
        let gateway = await collect().map(\.gateway).reduce(GatewayMetrics(), +)
        var text = PrometheusText()
        NodeReport.nodeFamilies(&text, node: name, configuration)
        NodeReport.gatewayFamilies(&text, node: name, gateway, configuration)
        await bridge.metrics(&text, node: name)
        NodeReport.loopFamilies(&text, node: name, shards)
        return text.text
    }
}
