import Glibc
import NIOCore

/// Stops accepting for 100 ms when the process or the machine is out of descriptors or socket memory (GW-17).
///
/// The waiting connection stays in the kernel's queue, and epoll would report it again at once and for ever. NIO's own
/// AcceptBackoffHandler delays the read but leaves the socket registered, so the loop would spin; turning `autoRead`
/// off takes the socket out of epoll.
final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let pauses: SharedCounter
    private var isPaused = false

    init(_ pauses: SharedCounter) { self.pauses = pauses }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch (error as? IOError)?.errnoCode {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: pause(context)
        // The peer gave up while it waited: nothing of ours is wrong.
        default: break
        }
    }

    private func pause(_ context: ChannelHandlerContext) {
        guard !isPaused else { return }
        isPaused = true
        pauses.increment()
        _ = try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        let channel = context.channel
        context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(100)) {
            self.isPaused = false
            _ = try? channel.syncOptions?.setOption(.autoRead, value: true)
        }
    }
}
