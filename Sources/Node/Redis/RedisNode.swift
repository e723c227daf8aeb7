import Admin
import Broker
import CPosixShims
import ClusterConfiguration
import EventLoops
import Gateway
import Logging
import NIOCore
import Primitives
import RedisAdapter

/// The shards of a node in Redis mode, for the adapter that talks to all of them.
///
/// `runtimes` is set once, before anything runs, and only read afterwards.
private final class RedisShards: @unchecked Sendable {
    var runtimes: [RedisShard] = []
}

extension NodeService {
    /// A node in Redis mode: gateway and admin port, no log, no mesh and no agreement. The adapter lives on shard 0, as
    /// the mesh's links do.
    static func runRedis(
        configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        started: Instant,
        logger: Logger
    ) async throws {
        let descriptors = DescriptorLimit.raise()
        // Nothing is kept here, and so nobody has to be known again.
        let identity = NodeID(try randomNumber() | 1 << 63)
        let threads = configuration.threads(for: own, cores: processors())
        vencejo_bound_arenas(Int32(threads + 2))
        let shards = Shards(count: threads)
        let events = EventLog()
        let all = RedisShards()

        let adapter = RedisAdapter(
            shard: shards[0],
            settings: try RedisBridge.settings(configuration, own: own, seed: randomNumber()),
            hub: { index, message in all.runtimes[index - 1].deliver(message) },
            note: { RedisBridge.note($0, events, logger) }
        )
        let bridge = RedisBridge(adapter: adapter, shard: shards[0], configuration: configuration)
        let questions = Inbox<ShardMessage>(shard: shards[0], capacity: 4 << 20) { messages in
            adapter.receive(messages)
        }

        var edges: [GatewayShard] = []
        for shard in shards.all {
            var settings = try brokerSettings(
                configuration,
                node: identity,
                nodes: [ClusterNode(id: identity, name: own.id, zone: own.zone, weight: own.weight)],
                voters: [identity],
                // The first of them is Redis, and owns the only partition.
                shard: shard.index + 1,
                shards: shards.count + 1
            )
            settings.partitions = 1
            settings.keyPartitions = 0
            settings.maxSessions = configuration.limits.maxConnections / shards.count + 1
            let runtime = RedisShard(
                shard: shard,
                broker: try Broker(
                    settings: settings,
                    restored: [],
                    now: MonotonicClock.now(),
                    wall: WallClock.now()
                ),
                descriptors: DescriptorWatch(limit: descriptors.soft, logger: logger),
                ask: { messages in
                    if shard.index == 0 {
                        adapter.receive(messages)
                    } else if !questions.post(contentsOf: messages) {
                        preconditionFailure("shard 0: the inbox of the Redis adapter overflowed")
                    }
                }
            )
            all.runtimes.append(runtime)
            let edge = GatewayShard(
                configuration: gatewayConfiguration(
                    configuration,
                    own: own,
                    node: identity,
                    shard: shard.index,
                    shards: shards.count
                ),
                loop: shard,
                broker: runtime.broker
            )
            runtime.gateway = edge
            edges.append(edge)
        }
        // Before the shards: at the end of a turn the adapter goes first, and hubs see in it what Redis has brought.
        try await bridge.start()
        for runtime in all.runtimes {
            try await runtime.shard.loop.submit {
                runtime.gateway?.start()
                runtime.start()
            }.get()
        }

        let host = own.bind.isEmpty ? own.host : own.bind
        let stop = await StopRequest(logger)
        let gateway = try await openGateway(configuration, own: own, host: host, edges: edges)
        let report = RedisNodeReport(
            name: own.id,
            identity: "\(identity)",
            runtimes: all.runtimes,
            bridge: bridge,
            events: events,
            started: started,
            shards: shards
        )
        let drain = NodeDrain(
            edges: zip(shards.all, edges).map { NodeDrain.Edge(shard: $0, gateway: $1) },
            leadership: nil,
            settings: configuration.drain,
            name: own.id,
            events: events,
            logger: logger
        )
        let admin = try await startAdmin(
            configuration,
            own: own,
            routes: AdminRoutes(
                metrics: { await report.metrics() + drain.family() },
                live: { report.live() },
                ready: { await drain.readiness { await report.ready() } },
                cluster: { await drain.complete(await report.status()).json() },
                redis: { await bridge.health() },
                status: { await drain.complete(await report.status()).json() },
                drain: { await drain.begin(budget: $0) },
                undrain: { await drain.cancel() }
            ),
            logger: logger
        )
        logger.notice(
            "node is up",
            metadata: [
                "node": "\(own.id)", "mode": "\(configuration.mode.rawValue)", "gateway": "\(own.host):\(gateway.port)",
                "shards": "\(shards.count)", "ms": "\((MonotonicClock.now() - started).milliseconds)",
            ]
        )
        await stop.requested()

        logger.notice("node is stopping", metadata: ["node": "\(own.id)"])
        await drain.finish()
        await gateway.stop()
        await admin?.stop()
        await bridge.stop()
        logger.notice("node has stopped", metadata: ["node": "\(own.id)"])
    }

    /// Redis for a node whose rooms do not go through it: health and statistics only (RA-03). Nil without it.
    static func startPool(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        shard: Shard,
        runtime: NodeRuntime
    ) async throws -> RedisBridge? {
        guard configuration.redisEnabled else { return nil }
        let (events, logger) = (runtime.events, runtime.logger)
        let adapter = RedisAdapter(
            shard: shard,
            settings: try RedisBridge.settings(configuration, own: own, seed: randomNumber()),
            hub: { _, _ in },
            note: { RedisBridge.note($0, events, logger) }
        )
        let bridge = RedisBridge(adapter: adapter, shard: shard, configuration: configuration)
        try await bridge.start()
        return bridge
    }
}
