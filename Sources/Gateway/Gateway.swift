import EventLoops
import NIOCore

/// The client listener of a node: one socket per shard, each connection stays on the shard that accepted it.
package final class Gateway: Sendable {
    private let listener: Listener
    private let shards: [GatewayShard]

    /// The bound port.
    package var port: Int { listener.port }
    /// Times that accepting paused for want of descriptors.
    package var acceptPauses: UInt64 { listener.acceptPauses.value }

    private init(listener: Listener, shards: [GatewayShard]) {
        self.listener = listener
        self.shards = shards
    }

    /// Binds and begins to accept. `shards` have been started; they are found again by their loop's index.
    package static func open(host: String, port: Int, backlog: Int = 4096, shards: [GatewayShard]) async throws
        -> Gateway
    {
        precondition(!shards.isEmpty)
        let configuration = shards[0].configuration
        var settings = ListenerSettings(host: host, port: port)
        settings.backlog = backlog
        settings.stream.receiveBuffer =
            configuration.socketReceiveBuffer > 0 ? configuration.socketReceiveBuffer : nil
        settings.stream.sendBuffer = configuration.socketSendBuffer > 0 ? configuration.socketSendBuffer : nil
        settings.stream.highWater = configuration.highWatermark
        settings.stream.lowWater = configuration.highWatermark / 2
        let listener = try await Listener.open(settings, on: shards.map(\.loop)) { loop, stream in
            for shard in shards where shard.loop === loop { return shard.accept(stream) }
            return nil
        }
        return Gateway(listener: listener, shards: shards)
    }

    /// Accepts no more and closes every connection.
    package func stop() async {
        await listener.close()
        for shard in shards {
            _ = try? await shard.loop.loop.submit { shard.stop() }.get()
        }
    }
}
