import LocalRESP
import OwnThread
import RESPServer
import Testing

@Suite("Several shards", .ownThread)
struct ShardTests {
    @Test("RS-02 CLIENT LIST, KILL, PAUSE, CONFIG, INFO and MONITOR reach the connections of all shards")
    func together() async throws {
        var settings = RESPSettings()
        settings.slowerThan = -1
        let server = try await LocalRESPServer.start(settings: settings, shardCount: 2)
        // Dealt in turn: the first and third are on one shard, the second and fourth on the other.
        let clients = try (0..<4).map { _ in try RESPClient(server) }
        for (number, client) in clients.enumerated() { #expect(client("CLIENT SETNAME c\(number)") == "OK") }
        #expect(try await server.onLoop { _, edge in edge.metrics.connections } == 2)
        let listed = clients[0]("CLIENT LIST").split(separator: "\n")
        #expect(listed.count == 4)
        for number in 0..<4 { #expect(listed.contains { $0.contains("name=c\(number) ") }) }
        #expect(field(clients[1]("INFO clients"), "connected_clients") == "4")

        #expect(clients[2]("MONITOR") == "OK")
        // INFO asks every shard, behind what they were told before: from here on they know.
        _ = clients[0]("INFO")
        #expect(clients[3]("ECHO seen") == "seen")
        // INFO itself may have been shown too.
        #expect((0..<3).contains { _ in clients[2].reply().contains("\"seen\"") })

        #expect(clients[0]("CONFIG SET slowlog-log-slower-than 0") == "OK")
        _ = clients[0]("INFO")
        #expect(clients[1]("GET nothing") == "nil")
        #expect(clients[0]("SLOWLOG GET").contains("[GET nothing]"))

        #expect(clients[0]("CLIENT PAUSE 60000 WRITE") == "OK")
        _ = clients[0]("INFO")
        clients[1].send("SET a 1")
        while field(clients[0]("INFO clients"), "blocked_clients") != "1" {}
        #expect(clients[1].isSilent)
        #expect(clients[0]("CLIENT UNPAUSE") == "OK")
        #expect(clients[1].reply() == "OK")

        let id = clients[3]("CLIENT ID").dropFirst()
        #expect(clients[0]("CLIENT KILL ID \(id)") == ":1")
        #expect(clients[3].reply() == "end")
        #expect(clients[0]("CLIENT KILL SKIPME YES") == ":2")
        #expect(clients[1].reply() == "end")
        await server.stop()
    }
}
