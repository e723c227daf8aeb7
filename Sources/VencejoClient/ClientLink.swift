import NIOCore
import NIOPosix
import SystemOpenSSL
import WebSocket

/// One WebSocket connection of a client: the handshake, frames in, frames out. Confined to its event loop.
final class ClientLink: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Takes what happens; cleared when the link ends.
    weak var owner: ClientCore?
    private let url: NodeURL
    private let maxMessageSize: Int
    private var context: ChannelHandlerContext?
    private var key: [UInt8] = []
    private var responseParser: HTTPResponseParser? = HTTPResponseParser()
    private var parser: FrameParser
    private var tail: [UInt8] = []
    private var closeCode: UInt16 = CloseCode.abnormal.rawValue
    private var failure: ClientFailure?

    init(url: NodeURL, maxMessageSize: Int, owner: ClientCore) {
        self.url = url
        self.maxMessageSize = maxMessageSize
        self.owner = owner
        parser = FrameParser(role: .client, maxMessageSize: maxMessageSize)
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        var random = SystemRandomNumberGenerator()
        let nonce = (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        var request: [UInt8] = []
        let host = url.host.contains(":") ? "[\(url.host)]" : url.host
        key = ClientHandshake.appendRequest(host: "\(host):\(url.port)", target: url.target, nonce: nonce, to: &request)
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: request)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        tail.append(contentsOf: unwrapInboundIn(data).readableBytesView)
        var bytes: [UInt8] = []
        swap(&bytes, &tail)
        let consumed = bytes.withUnsafeMutableBytes { consume($0) }
        if consumed < bytes.count { tail = [UInt8](bytes[consumed...]) + tail }
    }

    private func consume(_ raw: UnsafeMutableRawBufferPointer) -> Int {
        var consumed = 0
        if var waiting = responseParser {
            do {
                guard let head = try waiting.parse(UnsafeRawBufferPointer(raw)) else {
                    responseParser = waiting
                    return 0
                }
                _ = try ClientHandshake.check(head, key: key, sha1: { (try? Digest.sha1($0)) ?? [] })
                responseParser = nil
                consumed = head.byteCount
                owner?.linkOpened(self)
            } catch {
                failure = .protocolViolation("upgrade refused: \(error)")
                context?.close(promise: nil)
                return raw.count
            }
        }
        do throws(WebSocketError) {
            while let event = try parser.next(raw, consumed: &consumed) {
                switch event.kind {
                case .text: owner?.received(event.payload(in: raw), from: self)
                case .binary, .pong: break
                case .ping: send(.pong, event.payload(in: raw))
                case .close:
                    closeCode = event.closeCode?.rawValue ?? CloseCode.noStatus.rawValue
                    send(.close, [])
                    context?.close(promise: nil)
                }
            }
        } catch {
            failure = .protocolViolation(error.reason)
            closeCode = error.closeCode.rawValue
            close(error.closeCode)
        }
        return consumed
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        let ended = owner
        owner = nil
        ended?.linkClosed(self, code: closeCode, failure)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = .protocolViolation(String(describing: error))
        context.close(promise: nil)
    }

    // MARK: Output

    func send(text: [UInt8]) { send(.text, text) }

    private func send(_ opcode: Opcode, _ payload: [UInt8]) {
        guard let context else { return }
        var frame: [UInt8] = []
        FrameWriter.append(opcode, payload, mask: MaskingKey(rawValue: .random(in: .min ... .max)), to: &frame)
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: frame)), promise: nil)
    }

    /// Ends the connection with a close frame.
    func close(_ code: CloseCode) {
        guard let context else { return }
        var frame: [UInt8] = []
        FrameWriter.appendClose(code, mask: MaskingKey(rawValue: .random(in: .min ... .max)), to: &frame)
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(bytes: frame)), promise: nil)
        context.close(promise: nil)
    }
}
