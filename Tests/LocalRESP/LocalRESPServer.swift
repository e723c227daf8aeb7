import Broker
import EventLoops
import NIOCore
import Primitives
import RESPServer

/// The shim over a `LocalRESPBroker` on loopback ports.
package final class LocalRESPServer: Sendable {
    package let shards: Shards
    package let node: RESPNode
    /// Of the first shard.
    package let edge: RESPShard
    package let broker: LocalRESPBroker
    private let listeners: [Listener]

    private init(shards: Shards, node: RESPNode, edge: RESPShard, broker: LocalRESPBroker, listeners: [Listener]) {
        self.shards = shards
        self.node = node
        self.edge = edge
        self.broker = broker
        self.listeners = listeners
    }

    package var port: Int { listeners[0].port }
    /// By the order of the faces.
    package func port(_ face: Int) -> Int { listeners[face].port }

    /// `ports`: 0 for any that is free, one for each face. Several shards have a broker each, which do not know each
    /// other's keys and channels; connections are dealt to them in turn.
    package static func start(
        settings: RESPSettings = RESPSettings(),
        keyPartitions: Int = 1,
        faces: [RESPFace] = [.standalone],
        ports: [Int]? = nil,
        proxiesKeys: Bool = false,
        shardCount: Int = 1
    ) async throws -> LocalRESPServer {
        let shards = Shards(count: shardCount)
        let started = WallClock.now()
        let actions = RESPActions(snapshot: {}, lastSnapshot: { started })
        let node = RESPNode(settings: settings, actions: actions)
        let brokers = shards.all.map { LocalRESPBroker(loop: $0, keyPartitions: keyPartitions) }
        let edges = shards.all.map { RESPShard(node: node, loop: $0, broker: brokers[$0.index]) }
        for (index, shard) in shards.all.enumerated() {
            let (broker, edge) = (brokers[index], edges[index])
            try await shard.loop.submit {
                shard.atEndOfTick(.step) {
                    while !broker.directives.isEmpty { edge.handle(broker.takeDirectives()) }
                }
                shard.atEveryTick { _, wall in broker.tick(wall) }
                edge.start()
                shard.startTicking()
            }.get()
        }
        var listeners: [Listener] = []
        for (index, face) in faces.enumerated() {
            var settings = ListenerSettings(host: "127.0.0.1", port: ports?[index] ?? 0)
            settings.mode = .single
            let listener = RESPListenerSettings(
                face: face,
                port: ports?[index] ?? 0,
                proxiesKeys: proxiesKeys
            )
            listeners.append(
                try await Listener.open(settings, on: shards.all) { shard, stream in
                    edges[shard.index].accept(stream, listener)
                }
            )
        }
        return LocalRESPServer(
            shards: shards,
            node: node,
            edge: edges[0],
            broker: brokers[0],
            listeners: listeners
        )
    }

    /// Runs on the loop.
    package func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable (LocalRESPBroker, RESPShard) -> Value
    ) async throws -> Value {
        let (broker, edge, shard) = (broker, edge, shards[0])
        return try await shard.loop.submit {
            let value = body(broker, edge)
            shard.setNeeds(.step)
            return value
        }.get()
    }

    package func stop() async {
        for listener in listeners { await listener.close() }
        _ = try? await onLoop { _, edge in edge.stop() }
        for shard in shards.all { try? await shard.loop.submit { shard.stopTicking() }.get() }
        try? await shards.shutDown()
    }
}
