import NIOCore

/// Socket options and bounds of the streams of a listener or a dialer.
package struct StreamSettings: Sendable {
    /// SO_SNDBUF in bytes; nil: the kernel's choice. Small for clients, so that a slow one queues where we can drop or
    /// conflate.
    package var sendBuffer: Int?
    /// SO_RCVBUF; nil: the kernel's choice.
    package var receiveBuffer: Int?
    /// TCP_NOTSENT_LOWAT in bytes: the socket counts as writable only below this much unsent data; nil: off.
    package var notSentLowWater: Int?
    /// Output in user space above which a stream is not writable, and below which it is again, in bytes.
    package var highWater = 65536
    package var lowWater = 32768
    /// See `ByteStream.maxTail`.
    package var maxTail = 1 << 20

    package init() {}

    // Linux's number; the C library's header does not always have it.
    private static let notSentLowWaterOption = NIOBSDSocket.Option(rawValue: 25)

    /// Applies the options through the given setter, which is one of a bootstrap's.
    func apply<Bootstrap>(to bootstrap: Bootstrap, _ set: (Bootstrap, SocketChoice) -> Bootstrap) -> Bootstrap {
        var result = set(bootstrap, SocketChoice(option: .tcpOption(.tcp_nodelay), value: 1))
        if let receiveBuffer {
            result = set(result, SocketChoice(option: .socketOption(.so_rcvbuf), value: receiveBuffer))
        }
        if let sendBuffer {
            result = set(result, SocketChoice(option: .socketOption(.so_sndbuf), value: sendBuffer))
        }
        if let notSentLowWater {
            let option = ChannelOptions.Types.SocketOption.tcpOption(StreamSettings.notSentLowWaterOption)
            result = set(result, SocketChoice(option: option, value: notSentLowWater))
        }
        return result
    }

    var waterMark: ChannelOptions.Types.WriteBufferWaterMark {
        ChannelOptions.Types.WriteBufferWaterMark(low: min(lowWater, highWater), high: max(1, highWater))
    }

    struct SocketChoice {
        var option: ChannelOptions.Types.SocketOption
        var value: Int
    }
}
