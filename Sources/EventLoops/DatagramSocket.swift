import NIOCore
import NIOPosix
import Primitives

/// A UDP socket on a shard's loop. What cannot be sent at once is dropped and counted, as the network itself would: a
/// queue would only make it late.
///
/// Confined to its shard's loop, apart from `open` and `close`.
package final class DatagramSocket: ChannelInboundHandler, @unchecked Sendable {
    package typealias InboundIn = AddressedEnvelope<ByteBuffer>
    package typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    /// It sends to IPv6 addresses only: an IPv4 address must be mapped.
    package let isIPv6: Bool
    /// Datagrams that the kernel did not take.
    package private(set) var unsent: UInt64 = 0
    /// The socket is open.
    package var isOpen: Bool { context != nil }

    private var context: ChannelHandlerContext?
    private let receive: (UnsafeRawBufferPointer, SocketAddress) -> Void
    private let closed: (String) -> Void
    private var reason = "closed by this side"
    private var isListedForFlush = false

    private init(
        isIPv6: Bool,
        receive: @escaping (UnsafeRawBufferPointer, SocketAddress) -> Void,
        closed: @escaping (String) -> Void
    ) {
        self.isIPv6 = isIPv6
        self.receive = receive
        self.closed = closed
    }

    /// Binds. `receive` is called for each datagram with its sender; one longer than `maxBytes` arrives cut off. After
    /// `closed` nothing more is called. Throws NIO's error when the address cannot be bound.
    package static func open(
        host: String,
        port: Int,
        on shard: Shard,
        maxBytes: Int,
        receive: @escaping @Sendable (UnsafeRawBufferPointer, SocketAddress) -> Void,
        closed: @escaping @Sendable (String) -> Void
    ) async throws -> DatagramSocket {
        let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
        let socket = DatagramSocket(isIPv6: address.protocol == .inet6, receive: receive, closed: closed)
        _ = try await DatagramBootstrap(group: shard.loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: maxBytes))
            .channelOption(.maxMessagesPerRead, value: 64)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(socket) }
            }
            .bind(to: address)
            .get()
        return socket
    }

    /// Sends one datagram at the end of this turn of the loop.
    package func send(_ bytes: [UInt8], to address: SocketAddress) {
        guard let context, context.channel.isWritable else {
            unsent += 1
            return
        }
        let envelope = AddressedEnvelope(remoteAddress: address, data: context.channel.allocator.buffer(bytes: bytes))
        let loop = context.eventLoop.assumeIsolated()
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenFailure { _ in self.unsent += 1 }
        context.write(wrapOutboundOut(envelope), promise: promise)
        guard !isListedForFlush else { return }
        isListedForFlush = true
        loop.execute {
            self.isListedForFlush = false
            self.context?.flush()
        }
    }

    /// Closes the socket; waiting datagrams are lost.
    package func close() { context?.close(promise: nil) }

    // MARK: ChannelInboundHandler

    package func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        envelope.data.withUnsafeReadableBytes { receive($0, envelope.remoteAddress) }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIO closes the channel after errors that the socket does not survive.
        reason = String(describing: error)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        closed(reason)
    }

    package func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }
}
