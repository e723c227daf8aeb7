import Glibc
import NIOCore
import NIOPosix

/// A UDP socket on a shard's loop. What the kernel does not take is dropped and counted, as the network itself would: a
/// queue would only make it late.
///
/// Datagrams go to the kernel past NIO, which would close the socket when one of them cannot be sent: a route that is
/// missing for a second (ENETUNREACH) or a rule of the firewall (EPERM) must not end it.
///
/// Confined to its shard's loop, apart from `open`.
package final class DatagramSocket: ChannelInboundHandler, @unchecked Sendable {
    package typealias InboundIn = AddressedEnvelope<ByteBuffer>

    /// It sends to IPv6 addresses only: an IPv4 address must be mapped.
    package let isIPv6: Bool
    /// Datagrams that the kernel did not take.
    package private(set) var unsent: UInt64 = 0
    package var isOpen: Bool { descriptor >= 0 }

    private var context: ChannelHandlerContext?
    private var descriptor: NIOBSDSocket.Handle = -1
    private let receive: (UnsafeRawBufferPointer, SocketAddress) -> Void
    private let closed: (String) -> Void
    private var reason = "closed by this side"

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
    /// `closed` nothing more is called. Fails with NIO's error when the address cannot be bound.
    package static func open(
        address: SocketAddress,
        on shard: Shard,
        maxBytes: Int,
        receive: @escaping @Sendable (UnsafeRawBufferPointer, SocketAddress) -> Void,
        closed: @escaping @Sendable (String) -> Void
    ) -> EventLoopFuture<DatagramSocket> {
        let socket = DatagramSocket(isIPv6: address.protocol == .inet6, receive: receive, closed: closed)
        return DatagramBootstrap(group: shard.loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: maxBytes))
            .channelOption(.maxMessagesPerRead, value: 64)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(socket) }
            }
            .bind(to: address)
            .map { _ in socket }
    }

    /// Sends one datagram now.
    package func send(_ bytes: [UInt8], to address: SocketAddress) {
        guard descriptor >= 0 else {
            unsent += 1
            return
        }
        let sent = address.withSockAddr { pointer, length in
            bytes.withUnsafeBytes {
                sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT), pointer, socklen_t(length))
            }
        }
        if sent < 0 { unsent += 1 }
    }

    /// Closes the socket.
    package func close() { context?.close(promise: nil) }

    // MARK: ChannelInboundHandler

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    package func channelActive(context: ChannelHandlerContext) { begin(context) }

    private func begin(_ context: ChannelHandlerContext) {
        let transport = context.pipeline.syncOperations
        descriptor = (try? transport.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }) ?? -1
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        envelope.data.withUnsafeReadableBytes { receive($0, envelope.remoteAddress) }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIO closes the channel after an error that the socket does not survive.
        reason = String(describing: error)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        forget()
        closed(reason)
    }

    package func handlerRemoved(context: ChannelHandlerContext) { forget() }

    private func forget() {
        context = nil
        descriptor = -1
    }
}
