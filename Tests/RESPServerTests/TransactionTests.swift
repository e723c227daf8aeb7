import LocalRESP
import OwnThread
import RESPServer
import Testing

@Suite("MULTI", .ownThread)
struct TransactionTests {
    @Test("RS-15 A transaction is done as a whole, with the replies in order, also those of the connection's commands")
    func basics() async throws {
        let server = try await LocalRESPServer.start()
        let (client, other) = (try RESPClient(server), try RESPClient(server))
        #expect(other("SUBSCRIBE c") == "[subscribe c :1]")
        #expect(client("MULTI") == "OK")
        for line in ["SET a 1", "PING", "INCR a", "PUBLISH c hi", "SELECT 1", "SET b x", "GET b"] {
            #expect(client(line) == "QUEUED")
        }
        #expect(client("EXEC") == "[OK PONG :2 :1 OK OK x]")
        #expect(other.reply() == "[message c hi]")
        #expect(client("GET b") == "x")
        #expect(client("EXEC") == "-ERR EXEC without MULTI")
        #expect(client("DISCARD") == "-ERR DISCARD without MULTI")
        await server.stop()
    }

    @Test("RS-15 Errors while queueing abort; errors while running do not")
    func errors() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        _ = client("MULTI")
        #expect(client("MULTI") == "-ERR MULTI calls can not be nested")
        #expect(client("WATCH a") == "-ERR WATCH inside MULTI is not allowed")
        #expect(client("SET a 1") == "QUEUED")
        #expect(client("EXEC") == "[OK]")
        _ = client("MULTI")
        #expect(client("GET") == "-ERR wrong number of arguments for 'get' command")
        #expect(client("SET a 2") == "QUEUED")
        #expect(client("EXEC") == "-EXECABORT Transaction discarded because of previous errors.")
        #expect(client("GET a") == "1")
        _ = client("MULTI")
        _ = client("LPUSH a x")
        _ = client("SAVE")
        #expect(client("EXEC").hasPrefix("-EXECABORT"))
        _ = client("MULTI")
        _ = client("LPUSH a x")
        _ = client("SET a 3")
        #expect(client("EXEC").hasPrefix("[-WRONGTYPE"))
        #expect(client("GET a") == "3")
        _ = client("MULTI")
        #expect(client("EXEC") == "[]")
        // What a client of Redis may not queue it may not queue here, though it is not here at all.
        for line in ["SHUTDOWN", "sync", "PSYNC a b"] {
            _ = client("MULTI")
            #expect(client(line) == "-ERR Command not allowed inside a transaction")
            #expect(client("EXEC") == "-EXECABORT Transaction discarded because of previous errors.")
            #expect(client(line).hasPrefix("-ERR unknown command"))
        }
        await server.stop()
    }

    @Test("RS-15 WATCH: a change between it and EXEC undoes the transaction; so does a missing key that comes")
    func watch() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        for change in ["SET x 1", "DEL x", "SET y 1", "FLUSHALL"] {
            _ = b("SET x 0")
            _ = b("DEL y")
            #expect(a("WATCH x y") == "OK")
            _ = b(change)
            _ = a("MULTI")
            _ = a("SET done 1")
            _ = a("PING")
            #expect(a("EXEC") == "nil", "\(change)")
        }
        #expect(a("GET done") == "nil")
        _ = a("WATCH x")
        _ = b("SET x 5")
        #expect(a("UNWATCH") == "OK")
        _ = a("MULTI")
        _ = a("PING")
        #expect(a("EXEC") == "[PONG]")
        _ = a("WATCH x")
        _ = a("MULTI")
        #expect(a("EXEC") == "[]")
        await server.stop()
    }

    @Test("RS-15 SUBSCRIBE in a transaction; a message comes after the whole reply")
    func subscribe() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        _ = client("HELLO 3")
        _ = client("MULTI")
        for line in ["SUBSCRIBE c", "PUBLISH c one", "SET a 1"] { #expect(client(line) == "QUEUED") }
        #expect(client("EXEC") == "[>[subscribe c :1] :1 OK]")
        #expect(client.reply() == ">[message c one]")
        #expect(client("PUBLISH c two") == ":1")
        #expect(client.reply() == ">[message c two]")
        await server.stop()
    }

    @Test("RS-15 Thousands of the connection's own commands in a transaction do not pile up on the stack")
    func long() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        var bytes = RESPClient.encoded([Array("MULTI".utf8)])
        for _ in 0..<20_000 { bytes += RESPClient.encoded([Array("PING".utf8)]) }
        bytes += RESPClient.encoded([Array("EXEC".utf8)])
        client.raw(bytes)
        #expect(client.reply() == "OK")
        for _ in 0..<20_000 { #expect(client.reply() == "QUEUED") }
        #expect(client.reply().hasPrefix("[PONG PONG"))
        await server.stop()
    }

    @Test("RS-15 A transaction has bounds")
    func bounds() async throws {
        var settings = RESPSettings()
        settings.transactionCommands = 3
        settings.watchedKeys = 2
        let server = try await LocalRESPServer.start(settings: settings)
        let client = try RESPClient(server)
        _ = client("MULTI")
        for _ in 0..<3 { #expect(client("PING") == "QUEUED") }
        #expect(client("PING").hasPrefix("-ERR transaction too large"))
        #expect(client("EXEC").hasPrefix("-EXECABORT"))
        #expect(client("WATCH a b c").hasPrefix("-ERR too many watched keys"))
        await server.stop()
    }
}
