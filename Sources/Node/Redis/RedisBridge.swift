import Admin
import ClusterConfiguration
import EventLoops
import Logging
import NIOCore
import Primitives
import RESP
import RedisAdapter
import RedisBackplane
import SystemOpenSSL

/// The way to a node's Redis adapter from outside its loop, and the settings that it is made with.
final class RedisBridge: Sendable {
    private let adapter: RedisAdapter
    private let shard: Shard
    let configuration: ClusterConfiguration

    init(adapter: RedisAdapter, shard: Shard, configuration: ClusterConfiguration) {
        self.adapter = adapter
        self.shard = shard
        self.configuration = configuration
    }

    func start() async throws { try await shard.loop.submit { self.adapter.start() }.get() }
    func stop() async { _ = try? await shard.loop.submit { self.adapter.stop() }.get() }

    func status() async -> RedisAdapterStatus {
        (try? await shard.loop.submit { self.adapter.status }.get()) ?? RedisAdapterStatus()
    }

    private func ask<Value: Sendable>(
        _ body: @escaping @Sendable (RedisAdapter, CheckedContinuation<Value, Never>) -> Void
    ) async -> Value {
        await withCheckedContinuation { continuation in
            shard.loop.execute { body(self.adapter, continuation) }
        }
    }

    /// What `/health/redis` says.
    func health() async -> String {
        let error: String? = await ask { adapter, continuation in
            adapter.health { continuation.resume(returning: $0) }
        }
        return error.map { AdminRoutes.redisUnhealthy($0) } ?? AdminRoutes.redisHealthy
    }

    private func ping() async -> UInt64? {
        let start = MonotonicClock.now()
        let isAnswered: Bool = await ask { adapter, continuation in
            adapter.request([RESPCommand("PING")]) { continuation.resume(returning: (try? $0.get()) != nil) }
        }
        return isAnswered ? (MonotonicClock.now() - start).nanoseconds / 1000 : nil
    }

    /// What `/status` shows of Redis.
    func report(connections: Int) async -> RedisReport {
        let info: [String: String]? = await ask { adapter, continuation in
            adapter.info { continuation.resume(returning: $0) }
        }
        let ping = info == nil ? nil : await ping()
        let status = await status()
        return RedisReport(
            status: RedisReport.Status(
                isEnabled: true,
                isPubSubEnabled: configuration.redisPubSubEnabled,
                localConnections: connections,
                isFallback: status.isFallback
            ),
            stats: info.map { RedisReport.Stats(info: $0) } ?? .unavailable,
            link: RedisReport.Link(
                isUp: status.isUp,
                breaker: status.breaker.rawValue,
                breakerOpenings: status.breakerOpenings,
                attempts: status.attempts,
                reason: status.reason,
                connections: status.connections,
                pingMicroseconds: ping,
                publishToReceiveMicroseconds: status.probeLatency.map { $0.nanoseconds / 1000 },
                failovers: status.switches
            )
        )
    }

    /// Families of the backplane (MX-21): no name begins with `redis_`, which is redis_exporter's.
    func metrics(_ text: inout PrometheusText, node: String) async {
        let status = await status()
        func counter(_ name: String, _ help: String, _ value: UInt64) {
            text.family(name, .counter, help: help)
            text.sample(value, ["node": node])
        }
        func gauge(_ name: String, _ help: String, _ value: Int) {
            text.family(name, .gauge, help: help)
            text.sample(value, ["node": node])
        }
        text.family("backplane_connections", .gauge, help: "Open connections to Redis, by type.")
        for kind in ["pool", "publisher", "subscriber", "reader", "writer", "sentinel"] {
            text.sample(status.connections[kind] ?? 0, ["node": node, "type": kind])
        }
        text.family("backplane_operations_total", .counter, help: "What Redis was asked, by use.")
        for (use, value) in [
            ("publish", status.counters.published), ("append", status.counters.appended),
            ("pool", status.poolRequests),
        ] {
            text.sample(value, ["node": node, "use": use])
        }
        gauge("backplane_up", "1 while rooms go through Redis.", status.isUp ? 1 : 0)
        gauge("backplane_fallback", "1 while rooms are served locally.", status.isFallback ? 1 : 0)
        text.family("backplane_breaker", .gauge, help: "1 for the circuit breaker's state.")
        for state in ["closed", "open", "half-open"] {
            text.sample(status.breaker.rawValue == state ? 1 : 0, ["node": node, "state": state])
        }
        counter("backplane_breaker_openings_total", "Times that the circuit breaker opened.", status.breakerOpenings)
        counter("backplane_attempts_total", "Attempts to connect the backplane.", status.attempts)
        counter("backplane_received_total", "Messages heard on channels.", status.counters.received)
        counter("backplane_read_total", "Messages read from streams.", status.counters.read)
        counter("backplane_local_total", "Messages delivered on this node only.", status.counters.localBroadcasts)
        counter(
            "backplane_retried_total",
            "Publishes and requests sent again.",
            status.counters.retried + status.poolRetries
        )
        counter("backplane_unplaced_total", "Channel messages for rooms that keep theirs.", status.counters.unplaced)
        counter("backplane_resets_total", "Rooms whose stream began anew.", status.counters.resets)
        counter("backplane_failovers_total", "Masters that a Sentinel replaced.", status.switches)
        text.family("backplane_latency_seconds", .gauge, help: "From publishing a probe to hearing it.")
        if let latency = status.probeLatency { text.sample(latency.seconds, ["node": node]) }
    }

    // MARK: Settings

    static func settings(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        seed: UInt64
    ) throws -> RedisAdapterSettings {
        let redis = configuration.redis
        let url = try RedisURL(redis.url.text)
        var settings = RedisAdapterSettings()
        settings.server = RedisAdapterSettings.Address(host: url.host, port: url.port)
        settings.user = url.user
        settings.password = url.password
        settings.database = url.database
        if url.isTLS {
            settings.tls = try TLSContext(
                authorities: redis.tlsAuthorities,
                certificate: redis.tlsCertificate,
                key: redis.tlsKey
            )
        }
        settings.sentinels = (redis.sentinelAddresses ?? []).map {
            RedisAdapterSettings.Address(host: $0.host, port: $0.port)
        }
        settings.sentinelMaster = redis.sentinelMaster
        settings.sentinelPassword = redis.sentinelPassword.text
        settings.isPubSubEnabled = configuration.redisPubSubEnabled
        settings.poolMinimum = redis.poolMinimum
        settings.poolSize = redis.poolSize
        settings.maxConnections = redis.maxConnections
        settings.connectTimeout = redis.connectTimeout
        settings.socketTimeout = redis.socketTimeout
        settings.retryOnTimeout = redis.retryOnTimeout
        settings.retryAttempts = redis.retryAttempts
        let peers = configuration.nodes.filter { $0.id != own.id }
        for peer in peers {
            settings.peers[peer.id] = RedisAdapterSettings.Address(host: peer.host, port: peer.gatewayPort)
        }
        var backplane = BackplaneSettings()
        backplane.node = own.id
        backplane.peers = peers.map(\.id)
        backplane.prefix = redis.channelPrefix
        backplane.broadcastRoom = configuration.gateway.broadcastRoom
        backplane.namespaces = NodeService.namespaces(configuration)
        backplane.usesPattern = redis.subscribe == .pattern
        backplane.retryOnTimeout = redis.retryOnTimeout
        backplane.retryAttempts = redis.retryAttempts
        backplane.socketTimeout = redis.socketTimeout
        backplane.retryBase = redis.retryBase
        backplane.retryCeiling = redis.retryCeiling
        backplane.probeInterval = redis.probeInterval
        backplane.readers = redis.streamReaders
        backplane.waitReplicas = redis.waitReplicas
        backplane.waitTimeout = redis.waitTimeout
        backplane.idempotencyWindow = configuration.limits.idempotencyWindow
        backplane.pendingPublishes = configuration.limits.pendingPublishes
        backplane.historyLimit = configuration.limits.historyPage
        backplane.seed = seed
        settings.backplane = backplane
        return settings
    }

    // MARK: Events

    /// What is worth a line in the log and a place in the list of events.
    static func note(_ event: BackplaneEvent, _ events: EventLog, _ logger: Logger) {
        switch event {
        case .up(let attempts):
            events.append(kind: "redis", "rooms go through Redis")
            logger.notice("rooms go through Redis", metadata: ["attempts": "\(attempts)"])
        case .lost(let reason):
            events.append(kind: "redis", "the connections to Redis are lost: \(reason)")
            logger.warning("the connections to Redis are lost", metadata: ["reason": "\(reason)"])
        case .fallback(let reason):
            events.append(kind: "redis", "rooms are served on this node only: \(reason)")
            logger.error(
                "rooms are served on this node only, and guaranteed publishes are refused",
                metadata: [
                    "reason": "\(reason)", "advice": "redis-cli ping; check redis.url, the network, the firewall",
                ]
            )
        case .recovered:
            events.append(kind: "redis", "rooms reach other nodes again")
            logger.notice("rooms reach other nodes again")
        case .breaker(let state):
            events.append(kind: "breaker", "the circuit breaker of Redis is \(state.rawValue)")
            logger.info("circuit breaker", metadata: ["state": "\(state.rawValue)"])
        case .unplaced(let room):
            logger.warning(
                "a message on the channel of a guaranteed room is not delivered: it has no place in the room's stream",
                metadata: ["room": "\(room)", "advice": "publish through a node, or make the room's class best_effort"]
            )
        case .refused(let reason):
            events.append(kind: "redis", "Redis refused: \(reason)")
            logger.warning("Redis refused", metadata: ["reason": "\(reason)"])
        case .roomReset(let room):
            events.append(kind: "redis", "the stream of \(room) began anew")
            logger.warning("a room's stream began anew: positions in it are void", metadata: ["room": "\(room)"])
        case .foreignPeer(let peer):
            events.append(kind: "redis", "\(peer) answers, and is not registered in this Redis")
            logger.warning("\(foreignPeerWarning(peer))")
        }
    }

    static func foreignPeerWarning(_ peer: String) -> String {
        "\(peer) answers, and is not registered in this node's Redis: it uses another one, or cannot reach this one"
    }
}
