import EventLoops
import Locks
import NIOCore
import Primitives
import RESP

/// A server that says what a test wants it to say. One connection handler for all; commands are arrays of bulk strings,
/// which the reply parser reads as well.
final class FakeRedis: @unchecked Sendable {
    struct State {
        var commands: [[String]] = []
        var connections = 0
        var open = 0
        var reads = 0
    }

    // Everything but `state` belongs to the loop; `answer` is set before the listener opens.
    private let shards = Shards(count: 1)
    private var listener: Listener?
    private let state = Lock(State())
    private var connections: [Connection] = []
    private let answer: @Sendable ([String]) -> String?

    /// `answer` gives the raw reply to a command; nil: none, ever.
    init(port: Int = 0, _ answer: @escaping @Sendable ([String]) -> String?) async throws {
        self.answer = answer
        var settings = ListenerSettings(host: "127.0.0.1", port: port)
        settings.mode = .single
        listener = try await Listener.open(settings, on: shards.all) { [unowned self] _, stream in
            let connection = Connection(self, stream)
            connections.append(connection)
            state.withLock {
                $0.connections += 1
                $0.open += 1
            }
            return connection
        }
    }

    var port: Int { listener?.port ?? 0 }
    var commands: [[String]] { state.withLock { $0.commands } }
    var connectionCount: Int { state.withLock { $0.connections } }
    var openCount: Int { state.withLock { $0.open } }
    var reads: Int { state.withLock { $0.reads } }
    func count(_ name: String) -> Int { commands.count { $0.first?.uppercased() == name } }

    /// Says something to everybody.
    func push(_ text: String) async {
        try? await shards[0].loop.submit { for connection in self.connections { connection.say(text) } }.get()
    }

    func stop() async {
        await listener?.close()
        try? await shards.shutDown()
    }

    /// What every client asks first, as RESP3 answers it.
    static func handshake(_ command: [String]) -> String? {
        switch command.first?.uppercased() {
        case "HELLO": "%2\r\n+proto\r\n:3\r\n+id\r\n:7\r\n"
        case "CLIENT", "SELECT": "+OK\r\n"
        case "PING": "+PONG\r\n"
        case "ROLE": "*3\r\n+master\r\n:0\r\n*0\r\n"
        default: nil
        }
    }

    private final class Connection: ByteStreamHandler {
        private unowned let server: FakeRedis
        private let stream: ByteStream
        private var parser = RESPReplyParser()

        init(_ server: FakeRedis, _ stream: ByteStream) {
            self.server = server
            self.stream = stream
        }

        func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
            let raw = UnsafeRawBufferPointer(bytes)
            var position = 0
            server.state.withLock { $0.reads += 1 }
            while let value = try? parser.next(raw, from: &position) {
                let command = (value.elements ?? []).map { $0.text ?? "" }
                server.state.withLock { $0.commands.append(command) }
                if let reply = server.answer(command) { say(reply) }
            }
            return position
        }

        func say(_ text: String) {
            guard stream.isOpen else { return }
            stream.write(stream.allocator.buffer(string: text))
            stream.flush()
        }

        func writabilityChanged(_ isWritable: Bool) {}
        func closed(_ reason: StreamCloseReason) { server.state.withLock { $0.open -= 1 } }
    }
}
