import Admin
import ClusterConfiguration
import EventLoops
import Logging
import Primitives

/// In a build without the Redis adapter (see Package.swift) there is none to ask.
enum RedisBridge: Sendable {
    func health() async -> String { switch self {} }
    func report(connections: Int) async -> RedisReport { switch self {} }
    func metrics(_ text: inout PrometheusText, node: String) async {}
    func stop() async {}
}

extension NodeService {
    static func runRedis(
        configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        started: Instant,
        logger: Logger
    ) async throws {
        throw NodeError.withoutRedis
    }

    static func startPool(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        shard: Shard,
        runtime: NodeRuntime
    ) async throws -> RedisBridge? {
        if configuration.redisEnabled { throw NodeError.withoutRedis }
        return nil
    }
}
