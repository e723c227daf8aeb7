import NIOCore
import NIOPosix

/// Opens TCP connections from a shard.
package enum Dialer {
    /// Connects. Either `makeHandler` is called once, on the loop, when the connection is made, and the stream belongs
    /// to the handler that it returns (nil: it is closed), or `failed` is called once with the reason. Names are
    /// resolved off the loop.
    package static func connect(
        from shard: Shard,
        host: String,
        port: Int,
        settings: StreamSettings = StreamSettings(),
        timeout: TimeAmount = .seconds(3),
        makeHandler: @escaping (ByteStream) -> (any ByteStreamHandler)?,
        failed: @escaping (String) -> Void
    ) {
        shard.loop.assertInEventLoop()
        let make = NIOLoopBound(makeHandler, eventLoop: shard.loop)
        let report = NIOLoopBound(failed, eventLoop: shard.loop)
        let maxTail = settings.maxTail
        let waterMark = settings.waterMark
        let plain = ClientBootstrap(group: shard.loop)
            .connectTimeout(timeout)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.writeBufferWaterMark, value: waterMark)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.syncOptions?.setOption(
                        .recvAllocator,
                        value: LoaningRecvAllocator(loan: shard.readBuffer)
                    )
                    let stream = ByteStream(shard: shard, maxTail: maxTail) { make.value($0) }
                    try channel.pipeline.syncOperations.addHandler(stream)
                }
            }
        settings.apply(to: plain) { $0.channelOption($1.option, value: $1.value) }
            .connect(host: host, port: port)
            .whenFailure { error in report.value(String(describing: error)) }
    }
}
