import Glibc
import NIOCore

/// Why a stream ended.
package enum StreamCloseReason: Equatable, Sendable, CustomStringConvertible {
    /// This side closed it.
    case local
    /// The peer closed it (FIN).
    case peer
    /// The unfinished input grew beyond `maxTail`.
    case tailOverflow
    /// The socket failed: a reset, a time-out of the kernel; with the system's words.
    case failed(String)

    package var description: String {
        switch self {
        case .local: "closed by this side"
        case .peer: "closed by the peer"
        case .tailOverflow: "unfinished input above its bound"
        case .failed(let reason): reason
        }
    }
}

/// What owns a stream. All calls come on the shard's loop.
package protocol ByteStreamHandler: AnyObject {
    /// Bytes arrived: everything that was not consumed so far, in order. Returns how many of them are done with; the
    /// rest is offered again with what follows, once there are `stream.bytesNeeded` bytes. The memory may be written to
    /// (to unmask in place) and is valid only during the call.
    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int

    /// Output passed the high-water mark (false) or fell below the low-water mark again (true).
    func writabilityChanged(_ isWritable: Bool)

    /// The last call. The stream lets go of its handler.
    func closed(_ reason: StreamCloseReason)
}

/// One TCP connection as a stream of bytes: the only channel handler of its pipeline, and the only place that writes to
/// NIO channels. Between reads a stream holds nothing but the tail of an unfinished message.
///
/// Confined to its shard's loop.
package final class ByteStream: ChannelInboundHandler, @unchecked Sendable {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    package let shard: Shard
    /// Takes the input; set before the stream reads, cleared after `closed`.
    package var handler: (any ByteStreamHandler)?
    /// The most unfinished bytes that are kept; above it the stream closes.
    package var maxTail: Int
    /// A hint, reset to 1 before each offer: the handler cannot use fewer bytes than this, so do not call it with
    /// fewer.
    package var bytesNeeded = 1

    private var context: ChannelHandlerContext?
    /// The socket, while the channel is active; -1 where there is none.
    private var descriptor: NIOBSDSocket.Handle = -1
    /// The first write since the last flush, as long as the channel has nothing of ours to send before it.
    private var held: ByteBuffer?
    /// The channel has taken bytes over that the kernel may not have yet.
    private var isBehind = false
    private var tail: [UInt8] = []
    private let accept: ((ByteStream) -> (any ByteStreamHandler)?)?
    private var reason = StreamCloseReason.peer
    private var isOffering = false
    private var isPaused = false
    private var isFinishing = false
    private var endedWhileOffering = false
    private var isListedForFlush = false

    init(shard: Shard, maxTail: Int, accept: ((ByteStream) -> (any ByteStreamHandler)?)? = nil) {
        self.shard = shard
        self.maxTail = maxTail
        self.accept = accept
    }

    // MARK: Output

    package var isOpen: Bool { context != nil }

    /// False above the high-water mark of output that the kernel did not take yet.
    package var isWritable: Bool { context?.channel.isWritable ?? false }

    /// Bytes written and not yet taken by the kernel.
    package var queuedBytes: Int {
        channelBytes + (held?.readableBytes ?? 0)
    }

    private var channelBytes: Int { (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0 }

    package var remoteAddress: SocketAddress? { context?.remoteAddress }

    package var allocator: ByteBufferAllocator { context?.channel.allocator ?? ByteBufferAllocator() }

    /// Queues bytes behind those already written. Nothing leaves before a flush; on a closed stream they are dropped.
    package func write(_ buffer: ByteBuffer) {
        guard let context else { return }
        if !isBehind, held == nil, descriptor >= 0 {
            held = buffer
            return
        }
        if let first = held {
            held = nil
            context.write(wrapOutboundOut(first), promise: nil)
        }
        isBehind = true
        context.write(wrapOutboundOut(buffer), promise: nil)
    }

    /// Hands what was written to the kernel now: one system call for all of it.
    package func flush() {
        isListedForFlush = false
        guard let context else { return }
        if let buffer = held {
            held = nil
            send(buffer, context)
        } else {
            context.flush()
            if isBehind { isBehind = channelBytes > 0 }
        }
    }

    /// A single buffer, the usual case of a message to many, goes to the kernel past the channel's pipeline and queue,
    /// which cost about a quarter of what the system call does. What the kernel does not take, and errors, are the
    /// channel's.
    private func send(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        // A closed descriptor may be another connection's by now.
        guard context.channel.isActive else { return }
        let sent = buffer.withUnsafeReadableBytes {
            Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
        guard sent < buffer.readableBytes else { return }
        var rest = buffer
        rest.moveReaderIndex(forwardBy: max(sent, 0))
        isBehind = true
        context.writeAndFlush(wrapOutboundOut(rest), promise: nil)
    }

    /// Flushes once at the end of this tick, however often it is asked for.
    package func flushAtEndOfTick() {
        guard !isListedForFlush, context != nil else { return }
        isListedForFlush = true
        shard.flushAtEndOfTick(self)
    }

    // MARK: Input

    /// Leaves further input in the kernel, so that the peer's sending stops.
    package func pauseReading() {
        guard !isPaused else { return }
        isPaused = true
        _ = try? context?.channel.syncOptions?.setOption(.autoRead, value: false)
    }

    package func resumeReading() {
        guard isPaused else { return }
        isPaused = false
        _ = try? context?.channel.syncOptions?.setOption(.autoRead, value: true)
        // Not in the caller's stack: it may be in the midst of changing its own state.
        if !tail.isEmpty && !isOffering { shard.loop.execute { self.offerTail() } }
    }

    // MARK: End

    /// Ends the connection; output that the kernel did not take yet is lost.
    package func close() { close(.local) }

    private func close(_ why: StreamCloseReason) {
        guard let context else { return }
        if reason == .peer { reason = why }
        context.close(mode: .all, promise: nil)
    }

    /// Ends the connection after everything written has gone out: sends FIN, ignores further input, and closes when the
    /// peer does, at the latest after `linger`. A plain close could reset the connection before the peer has read why.
    package func finish(linger: TimeAmount = .seconds(1)) {
        guard let context, !isFinishing else { return }
        isFinishing = true
        reason = .local
        tail = []
        flush()
        context.close(mode: .output, promise: nil)
        shard.loop.assumeIsolated().scheduleTask(in: linger) { self.close(.local) }
    }

    // MARK: ChannelInboundHandler

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin() }
    }

    package func channelActive(context: ChannelHandlerContext) { begin() }

    private func begin() {
        let transport = context?.pipeline.syncOperations
        descriptor = (try? transport?.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }) ?? -1
        guard let accept else { return }
        handler = accept(self)
        if handler == nil { close(.local) }
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        if !isFinishing && handler != nil {
            buffer.withUnsafeReadableBytes { bytes in
                if tail.isEmpty && bytes.count >= bytesNeeded {
                    // The shard lent this memory for this read alone: nobody else looks at it.
                    let consumed = offer(UnsafeMutableRawBufferPointer(mutating: bytes))
                    if consumed < bytes.count { keep([UInt8](bytes[consumed...])) }
                } else {
                    tail.append(contentsOf: bytes)
                    offerTail()
                }
            }
        }
        shard.readBuffer.giveBack(buffer)
    }

    private func offerTail() {
        guard !tail.isEmpty, !isPaused, !isOffering else { return }
        var held = tail
        tail = []
        guard held.count >= bytesNeeded else { return keep(held) }
        let consumed = held.withUnsafeMutableBytes { offer($0) }
        if consumed == held.count { return }
        // A new array: what a big message needed is not kept for the few bytes behind it.
        keep(consumed == 0 ? held : [UInt8](held[consumed...]))
    }

    private func offer(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard let handler else { return bytes.count }
        isOffering = true
        bytesNeeded = 1
        let consumed = handler.received(bytes)
        precondition(consumed >= 0 && consumed <= bytes.count, "consumed more than was offered")
        isOffering = false
        if endedWhileOffering { notifyClosed() }
        return consumed
    }

    private func keep(_ rest: [UInt8]) {
        guard context != nil, !isFinishing, handler != nil else { return }
        tail = rest
        // A paused handler may leave a whole read behind.
        if rest.count > maxTail && !isPaused { close(.tailOverflow) }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        handler?.writabilityChanged(context.channel.isWritable)
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close(.failed(String(describing: error)))
    }

    package func channelInactive(context: ChannelHandlerContext) {
        forgetChannel()
        tail = []
        if isOffering { endedWhileOffering = true } else { notifyClosed() }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        forgetChannel()
        notifyClosed()
    }

    private func forgetChannel() {
        context = nil
        descriptor = -1
        held = nil
    }

    private func notifyClosed() {
        guard let ended = handler else { return }
        handler = nil
        ended.closed(reason)
    }
}
