import NIOCore
import NIOPosix
import Primitives

/// One HTTP/1.1 request on a connection of its own: enough for the admin port and the server API.
package enum HTTPExchange {
    package struct Response: Sendable {
        package var status: Int
        package var body: [UInt8]
        package var text: String { String(decoding: body, as: UTF8.self) }
    }

    package enum Failure: Error, CustomStringConvertible {
        case timeout
        /// Not an HTTP response, or one larger than the limit.
        case malformed

        package var description: String {
            switch self {
            case .timeout: "no answer in time"
            case .malformed: "the answer is not HTTP"
            }
        }
    }

    /// Sends the request and reads the response to its end. Errors: NIO's connection errors, `Failure`.
    package static func send(
        _ method: String = "GET",
        host: String,
        port: Int,
        path: String,
        headers: [(name: String, value: String)] = [],
        body: [UInt8] = [],
        timeout: Interval = .seconds(3)
    ) async throws -> Response {
        var request = "\(method) \(path) HTTP/1.1\r\nHost: \(host):\(port)\r\nConnection: close\r\n"
        for header in headers { request += "\(header.name): \(header.value)\r\n" }
        if !body.isEmpty || method == "POST" { request += "Content-Length: \(body.count)\r\n" }
        let bytes = Array((request + "\r\n").utf8) + body
        let group = MultiThreadedEventLoopGroup.singleton
        let loop = group.next()
        let promise = loop.makePromise(of: Response.self)
        let limit = TimeAmount.nanoseconds(Int64(timeout.nanoseconds))
        let alarm = loop.scheduleTask(in: limit) { promise.fail(Failure.timeout) }
        let connection = ClientBootstrap(group: loop)
            .connectTimeout(limit)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ResponseCollector(promise))
                }
            }
            .connect(host: host, port: port)
        connection.whenSuccess { channel in
            promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
            channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        }
        connection.whenFailure { promise.fail($0) }
        defer { alarm.cancel() }
        return try await promise.futureResult.get()
    }
}

/// Collects one response until its length is reached or the server closes.
private final class ResponseCollector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private static let limit = 64 << 20
    private let promise: EventLoopPromise<HTTPExchange.Response>
    private var bytes: [UInt8] = []

    init(_ promise: EventLoopPromise<HTTPExchange.Response>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        bytes += unwrapInboundIn(data).readableBytesView
        if bytes.count > ResponseCollector.limit { return promise.fail(HTTPExchange.Failure.malformed) }
        if let response = parse(atEnd: false) { promise.succeed(response) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let response = parse(atEnd: true) {
            promise.succeed(response)
        } else {
            promise.fail(HTTPExchange.Failure.malformed)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(error)
        context.close(promise: nil)
    }

    private func parse(atEnd: Bool) -> HTTPExchange.Response? {
        let end = Array("\r\n\r\n".utf8)
        guard let split = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) else { return nil }
        let head = String(decoding: bytes[..<split], as: UTF8.self).split(separator: "\r\n")
        let words = head.first?.split(separator: " ") ?? []
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { return nil }
        var length: Int?
        for line in head.dropFirst() where line.lowercased().hasPrefix("content-length:") {
            length = Int(line.dropFirst(15).drop { $0 == " " })
        }
        let body = bytes[(split + end.count)...]
        if let length {
            return body.count >= length ? .init(status: status, body: Array(body.prefix(length))) : nil
        }
        return atEnd ? .init(status: status, body: Array(body)) : nil
    }
}
