import Glibc
import NIOCore
import NIOPosix

package struct ListenerSettings: Sendable {
    package enum Mode: Sendable {
        /// A listening socket per shard (SO_REUSEPORT): a connection stays on the shard whose socket took it.
        case perShard
        /// One socket on the first shard; connections are dealt to the shards in turn. For few, long connections, which
        /// the kernel's hashing would spread unevenly.
        case single
    }

    package var host: String
    /// 0: any free port.
    package var port: Int
    /// Connections that may wait to be accepted.
    package var backlog = 4096
    package var mode = Mode.perShard
    package var stream = StreamSettings()

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}

/// Accepts TCP connections for some shards and makes each a `ByteStream`.
///
/// Out of descriptors, accepting pauses for 100 ms at a time and counts it; connections that are open go on unharmed.
package final class Listener: Sendable {
    /// The bound port.
    package let port: Int
    /// Times that accepting paused because the process or the machine was out of descriptors or socket memory (GW-17).
    package let acceptPauses: SharedCounter
    /// Connections accepted.
    package let accepted: SharedCounter
    private let channels: [any Channel]

    private init(port: Int, channels: [any Channel], pauses: SharedCounter, accepted: SharedCounter) {
        self.port = port
        self.channels = channels
        self.acceptPauses = pauses
        self.accepted = accepted
    }

    /// Binds and listens. `accept` is called on a shard's loop for each new connection and returns its handler, or nil
    /// to refuse it at once. Throws NIO's error when the address cannot be bound. In `.single` mode with more than one
    /// shard, `shards` must be all of a `Shards`.
    package static func open(
        _ settings: ListenerSettings,
        on shards: [Shard],
        accept: @escaping @Sendable (Shard, ByteStream) -> (any ByteStreamHandler)?
    ) async throws -> Listener {
        precondition(!shards.isEmpty)
        let pauses = SharedCounter()
        let accepted = SharedCounter()
        var channels: [any Channel] = []
        var port = settings.port
        do {
            if settings.mode == .perShard && port != 0 { try requireFree(settings.host, port) }
            for shard in settings.mode == .single ? shards.prefix(1) : shards[...] {
                let takers = settings.mode == .single ? shards : [shard]
                let bootstrap = bootstrap(settings, on: shard, takers: takers, pauses: pauses) { shard, stream in
                    accepted.increment()
                    return accept(shard, stream)
                }
                let channel = try await bootstrap.bind(host: settings.host, port: port).get()
                channels.append(channel)
                port = channel.localAddress?.port ?? port
            }
        } catch {
            for channel in channels { channel.close(promise: nil) }
            throw error
        }
        return Listener(port: port, channels: channels, pauses: pauses, accepted: accepted)
    }

    /// Stops listening; connections that were accepted stay.
    package func close() async {
        for channel in channels { try? await channel.close() }
    }

    /// SO_REUSEPORT would let a second process share the port unnoticed: each would get a part of the connections.
    private static func requireFree(_ host: String, _ port: Int) throws {
        let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
        let probe = socket(Int32(address.protocol.rawValue), Int32(SOCK_STREAM.rawValue), 0)
        guard probe >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        defer { Glibc.close(probe) }
        var yes: Int32 = 1
        setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        let outcome = address.withSockAddr { Glibc.bind(probe, $0, socklen_t($1)) }
        guard outcome == 0 else { throw IOError(errnoCode: errno, reason: "bind \(host):\(port)") }
    }

    private static func bootstrap(
        _ settings: ListenerSettings,
        on shard: Shard,
        takers: [Shard],
        pauses: SharedCounter,
        accept: @escaping @Sendable (Shard, ByteStream) -> (any ByteStreamHandler)?
    ) -> ServerBootstrap {
        let maxTail = settings.stream.maxTail
        let plain = ServerBootstrap(group: shard.loop, childGroup: takers.count == 1 ? shard.loop : shard.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(
                .socketOption(.init(rawValue: SO_REUSEPORT)),
                value: settings.mode == .perShard ? 1 : 0
            )
            .serverChannelOption(.backlog, value: Int32(clamping: settings.backlog))
            .serverChannelOption(.maxMessagesPerRead, value: 16)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptPause(pauses))
                }
            }
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.writeBufferWaterMark, value: settings.stream.waterMark)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let shard = takers.first(where: { $0.loop === channel.eventLoop }) else {
                        preconditionFailure("a connection on a loop that is none of the listener's")
                    }
                    try channel.syncOptions?.setOption(
                        .recvAllocator,
                        value: LoaningRecvAllocator(loan: shard.readBuffer)
                    )
                    let stream = ByteStream(shard: shard, maxTail: maxTail) { stream in accept(shard, stream) }
                    try channel.pipeline.syncOperations.addHandler(stream)
                }
            }
        return settings.stream.apply(to: plain) { $0.childChannelOption($1.option, value: $1.value) }
    }
}
