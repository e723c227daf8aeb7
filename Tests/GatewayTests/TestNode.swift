import Broker
import EventLoops
import Gateway
import Glibc
import NIOCore
import NIOPosix
import Primitives
import Rooms

/// A gateway with one shard on a free loopback port over a fake broker.
final class TestNode: Sendable {
    let shards: Shards
    let edge: GatewayShard
    let broker: FakeBroker
    let gateway: Gateway

    private init(shards: Shards, edge: GatewayShard, broker: FakeBroker, gateway: Gateway) {
        self.shards = shards
        self.edge = edge
        self.broker = broker
        self.gateway = gateway
    }

    static func start(_ change: (inout GatewayConfiguration) -> Void = { _ in }) async throws -> TestNode {
        var configuration = GatewayConfiguration()
        configuration.node = NodeID(7)
        // Raw clients answer no pings: a test that takes longer than an interval would read one instead of a message,
        // and lose its connections. Tests of the heartbeat set their own.
        configuration.pingInterval = .seconds(3600)
        change(&configuration)
        let shards = Shards(count: 1)
        let broker = FakeBroker()
        let edge = GatewayShard(configuration: configuration, loop: shards[0], broker: broker)
        try await shards[0].loop.submit {
            shards[0].atEndOfTick(.step) { drain(broker, edge) }
            edge.start()
            shards[0].startTicking()
        }.get()
        let gateway = try await Gateway.open(host: "127.0.0.1", port: 0, shards: [edge])
        return TestNode(shards: shards, edge: edge, broker: broker, gateway: gateway)
    }

    private static func drain(_ broker: FakeBroker, _ edge: GatewayShard) {
        while !broker.directives.isEmpty {
            let batch = broker.directives
            broker.directives = []
            edge.handle(batch)
        }
    }

    var port: Int { gateway.port }
    var url: String { "ws://127.0.0.1:\(port)" }

    /// Runs on the loop; what the broker made of it is delivered in the same turn.
    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (FakeBroker, GatewayShard) -> Value) async -> Value {
        let (broker, edge, shard) = (broker, edge, shards[0])
        return try! await shard.loop.submit {
            let value = body(broker, edge)
            shard.setNeeds(.step)
            return value
        }.get()
    }

    func publish(_ room: String, _ json: String, timeToLive: UInt64 = 0) async {
        await onLoop { broker, _ in
            broker.append(
                RoomName(room),
                MessageBody(payload: Array(json.utf8)[...], timeToLive: timeToLive).encoded()[...]
            )
            return ()
        }
    }

    var metrics: GatewayMetrics {
        get async { await onLoop { _, edge in edge.metrics } }
    }

    /// Waits until a condition on the loop holds; false after a minute at least.
    func eventually(_ condition: @escaping @Sendable (FakeBroker, GatewayShard) -> Bool) async -> Bool {
        for _ in 0..<6000 {
            if await onLoop(condition) { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    func stop() async {
        await gateway.stop()
        try? await shards[0].loop.submit { [shards] in shards[0].stopTicking() }.get()
        try? await shards.shutDown()
    }
}

/// A raw client socket with blocking calls and time-outs, so that a test sees each byte and each close.
final class RawClient: @unchecked Sendable {
    let descriptor: Int32
    private var held: [UInt8] = []

    init(port: Int, receiveBuffer: Int32 = 0) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if receiveBuffer > 0 {
            var size = receiveBuffer
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw POSIXFailure(code: errno) }
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var linger = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &linger, socklen_t(MemoryLayout<timeval>.size))
    }

    struct POSIXFailure: Error {
        var code: Int32
    }

    deinit { Glibc.close(descriptor) }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    @discardableResult
    func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// Sends as much as the socket takes at once.
    func sendWithoutWaiting(_ bytes: [UInt8]) -> Int {
        bytes.withUnsafeBytes {
            Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        }
    }

    /// More bytes; empty at the end of the stream or after a minute of silence.
    func read() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            // A process that was stopped and goes on finds its timed calls cut short (signal(7)).
            if count < 0, errno == EINTR { continue }
            return count > 0 ? Array(buffer[..<count]) : []
        }
    }

    /// Everything up to the end of the stream.
    func readToEnd() -> [UInt8] {
        var all = held
        held = []
        while true {
            let more = read()
            if more.isEmpty { return all }
            all += more
        }
    }

    /// One HTTP response: the status and the body.
    func response() -> (status: Int, body: String, head: String) {
        while true {
            let text = String(decoding: held, as: UTF8.self)
            if let end = text.range(of: "\r\n\r\n") {
                let head = String(text[..<end.lowerBound])
                var length = 0
                for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length:") {
                    length = Int(line.drop { $0 != ":" }.dropFirst().drop { $0 == " " }) ?? 0
                }
                let start = Array(text[..<end.upperBound].utf8).count
                if held.count >= start + length {
                    let body = String(decoding: held[start..<(start + length)], as: UTF8.self)
                    held.removeFirst(start + length)
                    return (Int(head.dropFirst(9).prefix(3)) ?? 0, body, head)
                }
            }
            let more = read()
            if more.isEmpty { return (0, "", String(decoding: held, as: UTF8.self)) }
            held += more
        }
    }

    /// Upgrades; returns the status.
    func upgrade(_ path: String, headers: String = "") -> Int {
        send(
            "GET \(path) HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\(headers)\r\n"
        )
        return response().status
    }

    enum Frame: Equatable {
        case text(String)
        case ping
        case pong
        case close(Int)
        case end
    }

    static func frame(_ text: String, opcode: UInt8 = 1) -> [UInt8] {
        let payload = Array(text.utf8)
        var out: [UInt8] = [0x80 | opcode]
        if payload.count <= 125 {
            out.append(0x80 | UInt8(payload.count))
        } else if payload.count <= 0xFFFF {
            out += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        } else {
            out.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) { out.append(UInt8(payload.count >> shift & 255)) }
        }
        let key: [UInt8] = [1, 2, 3, 4]
        out += key
        for (index, byte) in payload.enumerated() { out.append(byte ^ key[index % 4]) }
        return out
    }

    @discardableResult
    func say(_ text: String) -> Bool { send(RawClient.frame(text)) }

    /// The next frame of the server.
    func frame() -> Frame {
        while true {
            if let (frame, used) = parse() {
                held.removeFirst(used)
                return frame
            }
            let more = read()
            if more.isEmpty { return .end }
            held += more
        }
    }

    private func parse() -> (Frame, Int)? {
        guard held.count >= 2 else { return nil }
        var length = Int(held[1] & 127)
        var start = 2
        if length == 126 {
            guard held.count >= 4 else { return nil }
            length = Int(held[2]) << 8 | Int(held[3])
            start = 4
        } else if length == 127 {
            guard held.count >= 10 else { return nil }
            length = held[2..<10].reduce(0) { $0 << 8 | Int($1) }
            start = 10
        }
        guard held.count >= start + length else { return nil }
        let payload = held[start..<(start + length)]
        let frame: Frame =
            switch held[0] & 15 {
            case 8: .close(payload.count >= 2 ? Int(payload.first!) << 8 | Int(payload.dropFirst().first!) : 1005)
            case 9: .ping
            case 10: .pong
            default: .text(String(decoding: payload, as: UTF8.self))
            }
        return (frame, start + length)
    }

    /// The next text frame; nil when something else comes.
    func text() -> String? {
        if case .text(let text) = frame() { return text }
        return nil
    }

    /// Upgrades and connects by the Centrifugo protocol; returns the connect reply.
    func connect(_ query: String = "") -> String {
        guard upgrade("/connection/websocket" + query) == 101 else { return "" }
        say(#"{"id":1,"connect":{}}"#)
        return text() ?? ""
    }

    /// Sends a command and returns the reply to it, passing over pushes.
    func ask(_ command: String, id: Int) -> String {
        say(command)
        while let text = text() {
            if text.hasPrefix("{\"id\":\(id),") { return text }
        }
        return ""
    }
}

extension String {
    func range(of other: String) -> Range<String.Index>? { ranges(of: other).first }
}
