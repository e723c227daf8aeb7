import LocalRESP
import OwnThread
import RESPServer
import Testing

@Suite("RESP drain", .ownThread)
struct DrainTests {
    private func begin(_ server: LocalRESPServer) async throws {
        _ = try await server.onLoop { _, edge in
            edge.retire()
            return edge.move(.max)
        }
    }

    @Test("LB-07 Idle connections and subscribers are closed, new ones are told to go elsewhere")
    func idle() async throws {
        let server = try await LocalRESPServer.start()
        let (idle, subscriber) = (try RESPClient(server), try RESPClient(server))
        #expect(idle("PING") == "PONG")
        #expect(subscriber("SUBSCRIBE news") == "[subscribe news :1]")
        try await begin(server)
        #expect(idle.reply() == "end")
        #expect(subscriber.reply() == "end")
        #expect(try RESPClient(server).reply().hasPrefix("-LOADING this node is draining"))
        let metrics = try await server.onLoop { _, edge in edge.metrics }
        #expect(metrics.moved == 2 && metrics.cut == 0 && metrics.connections == 0)
        _ = try await server.onLoop { _, edge in edge.serve() }
        #expect(try RESPClient(server)("PING") == "PONG")
        await server.stop()
    }

    @Test("LB-07 A wait is ended by the owner of the keys, and its connection after it")
    func blocked() async throws {
        let server = try await LocalRESPServer.start()
        let waiting = try RESPClient(server)
        waiting.send("BLPOP list 0")
        for _ in 0..<1000 where try await server.onLoop({ _, edge in edge.metrics.blocked }) == 0 {
            try await Task.sleep(for: .milliseconds(10))
        }
        try await begin(server)
        #expect(waiting.reply().hasPrefix("-UNBLOCKED force unblock"))
        #expect(waiting.reply() == "end")
        await server.stop()
    }

    @Test("LB-07 A transaction that is open is finished, and nothing after it is run")
    func transaction() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("MULTI") == "OK")
        try await begin(server)
        #expect(client("SET a 1") == "QUEUED")
        client.raw("EXEC\r\nSET b 2\r\n")
        #expect(client.reply() == "[OK]")
        #expect(client.reply() == "end")
        _ = try await server.onLoop { _, edge in edge.serve() }
        let next = try RESPClient(server)
        #expect(next("GET a") == "1")
        #expect(next("GET b") == "nil")
        await server.stop()
    }

    @Test("LB-07 Who stays in a transaction is cut off when the time is over")
    func cut() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("MULTI") == "OK")
        try await begin(server)
        let count = try await server.onLoop { _, edge in edge.cut() }
        #expect(count == 1)
        #expect(client.reply() == "end")
        await server.stop()
    }
}
