import EventLoops
import Locks
import NIOCore
import OwnThread
import Primitives
import RESP
import RedisAdapter
import RedisBackplane
import Testing

/// The adapter against servers that misbehave on purpose.
@Suite(.ownThread) struct ConnectionTests {
    @Test(
        "RA-05 a stalled server is given up after the time limit, not sooner and not much later",
        .timeLimit(.minutes(5))
    )
    func stalled() async throws {
        let server = try await FakeRedis { $0.first == "GET" ? nil : FakeRedis.handshake($0) }
        try await AdapterScene.run(port: server.port) {
            $0.isPubSubEnabled = false
            $0.socketTimeout = .milliseconds(300)
            $0.retryOnTimeout = false
        } _: { scene in
            // The connection is there: only the command's own time is measured.
            let isConnected = try await eventually {
                await scene.request([RESPCommand("PING")]) == .success([.simple("PONG")])
            }
            #expect(isConnected)
            let clock = ContinuousClock()
            let start = clock.now
            let result = await scene.request([RESPCommand("GET", "k")])
            let took = clock.now - start
            #expect(result == .failure(.timeout))
            #expect(took >= .milliseconds(290) && took < .seconds(20), "\(took)")
            #expect(server.count("GET") == 1)
        }
        await server.stop()
    }

    @Test(
        "RA-08 what timed out once is sent again on another connection, unless that is switched off",
        .timeLimit(.minutes(5))
    )
    func retry() async throws {
        for isAllowed in [true, false] {
            let seen = Lock(0)
            let server = try await FakeRedis { command in
                guard command.first == "GET" else { return FakeRedis.handshake(command) }
                let number = seen.withLock { seen in
                    seen += 1
                    return seen
                }
                return number == 1 ? nil : "$2\r\nok\r\n"
            }
            try await AdapterScene.run(port: server.port) {
                $0.isPubSubEnabled = false
                // Long enough for a handshake on a busy machine, twice.
                $0.socketTimeout = .seconds(4)
                $0.retryOnTimeout = isAllowed
            } _: { scene in
                let result = await scene.request([RESPCommand("GET", "k")])
                #expect(result == (isAllowed ? .success([.bulk(Array("ok".utf8))]) : .failure(.timeout)))
                #expect(server.connectionCount == (isAllowed ? 2 : 1))
            }
            await server.stop()
        }
    }

    @Test("RA-09 RA-15 a dead server: one attempt and exactly three retries, then the fallback and an open breaker")
    func dead() async throws {
        // Every connection is taken, and ends with an error.
        let server = try await FakeRedis { _ in "-NOAUTH go away\r\n" }
        try await AdapterScene.run(port: server.port) { settings in
            settings.retryAttempts = 3
            settings.backplane.retryCeiling = .seconds(30)
            settings.backplane.retryBase = .milliseconds(100)
        } _: { scene in
            var status = try await scene.status
            let isFallback = try await eventually {
                #expect(status.attempts <= 4, "no fallback yet")
                status = try await scene.status
                return status.isFallback
            }
            #expect(isFallback && status.attempts >= 4 && status.breakerOpenings >= 1)
            // Who looks late, on a busy machine, finds the breaker half-open and the fifth attempt under way.
            if status.attempts == 4 { #expect(status.breaker == .open && status.breakerOpenings == 1) }
            #expect(status.reason.contains("NOAUTH"))
            let refused = await scene.request([RESPCommand("PING")])
            guard case .failure(.unavailable) = refused else { return #expect(Bool(false), "\(refused)") }
        }
        await server.stop()
    }

    @Test(
        "RA-04 RA-06 the pool keeps its size, goes up to the ceiling, and the next request fails cleanly",
        .timeLimit(.minutes(5))
    )
    func bounds() async throws {
        let server = try await FakeRedis { $0.first == "GET" ? nil : FakeRedis.handshake($0) }
        try await AdapterScene.run(port: server.port) {
            $0.isPubSubEnabled = false
            $0.poolSize = 2
            $0.maxConnections = 5
            // Long enough for five handshakes on a busy machine.
            $0.socketTimeout = .seconds(10)
            $0.retryOnTimeout = false
            $0.retryAttempts = 0
        } _: { scene in
            // In one turn of the loop, so that the one that waits runs out of time before those that are asked.
            let results = Lock<[Result<[RESPValue], RedisError>]>([])
            let adapter = scene.adapter
            try await scene.shards[0].loop.submit {
                for _ in 0..<6 {
                    adapter.request([RESPCommand("GET", "k")]) { result in results.withLock { $0.append(result) } }
                }
            }.get()
            #expect(try await eventually { server.count("GET") == 5 })
            #expect(try await scene.status.poolWaiting == 1)
            #expect(try await eventually { results.withLock { $0.count } == 6 })
            let all = results.withLock { $0 }
            #expect(all.count { $0 == .failure(.timeout) } == 5, "\(all)")
            #expect(all.count { $0 == .failure(.exhausted) } == 1, "\(all)")
            #expect(server.connectionCount == 5)
        }
        await server.stop()
        let quick = try await FakeRedis { FakeRedis.handshake($0) }
        try await AdapterScene.run(port: quick.port) {
            $0.isPubSubEnabled = false
            $0.poolSize = 2
            $0.poolMinimum = 1
            $0.maxConnections = 5
            $0.socketTimeout = .seconds(30)
        } _: { scene in
            let hasMinimum = try await eventually { try await scene.status.connections["pool"] == 1 }
            #expect(hasMinimum, "RA-21: the minimum")
            await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<40 {
                    group.addTask { await scene.request([RESPCommand("PING")]) == .success([.simple("PONG")]) }
                }
                for await isAnswered in group { #expect(isAnswered) }
            }
            let isTrimmed = try await eventually { quick.openCount <= 2 }
            #expect(isTrimmed, "\(quick.openCount)")
            #expect(quick.connectionCount <= 5)
        }
        await quick.stop()
    }

    @Test("RA-19 the pool refuses commands that block")
    func blocking() async throws {
        let server = try await FakeRedis { FakeRedis.handshake($0) }
        try await AdapterScene.run(port: server.port) {
            $0.isPubSubEnabled = false
        } _: { scene in
            let result = await scene.request([RESPCommand("PING"), RESPCommand("BLPOP", "k", "0")])
            #expect(result == .failure(.blocking("BLPOP")))
            #expect(server.count("BLPOP") == 0)
        }
        await server.stop()
    }

    @Test("RA-22 the publishes of one turn leave as one write, in order")
    func batch() async throws {
        let server = try await FakeRedis { command in
            switch command.first {
            case "SUBSCRIBE":
                command.dropFirst().map { ">3\r\n+subscribe\r\n$\($0.utf8.count)\r\n\($0)\r\n:1\r\n" }.joined()
            case "PSUBSCRIBE": ">3\r\n+psubscribe\r\n$\(command[1].utf8.count)\r\n\(command[1])\r\n:1\r\n"
            case "XREAD": nil
            case "PUBLISH": ":1\r\n"
            default: FakeRedis.handshake(command) ?? "+OK\r\n"
            }
        }
        try await AdapterScene.run(port: server.port) {
            $0.backplane.probeInterval = .seconds(600)
        } _: { scene in
            try await scene.awaitUp()
            // Registration and the first probe have gone out.
            #expect(try await eventually { server.count("PUBLISH") == 1 && server.count("SET") == 1 })
            let before = server.reads
            let adapter = scene.adapter
            try await scene.shards[0].loop.submit {
                for number in 0..<100 { adapter.receive([announce("best:a", "\(number)")]) }
            }.get()
            #expect(try await eventually { server.count("PUBLISH") == 101 })
            #expect(server.reads - before <= 2, "\(server.reads - before) reads for 100 publishes")
            let order = server.commands.filter { $0.first == "PUBLISH" && $0[1] == "chat_system:best:a" }.map { $0[2] }
            #expect(order == (0..<100).map(String.init))
        }
        await server.stop()
    }

    @Test("RA-32 a server that knows no HELLO is spoken to in RESP2")
    func old() async throws {
        let server = try await FakeRedis { command in
            switch command.first {
            case "HELLO": "-ERR unknown command 'HELLO', with args beginning with: '3'\r\n"
            case "AUTH": "+OK\r\n"
            case "CLIENT" where command[1] == "SETINFO": "-ERR unknown subcommand\r\n"
            case "CLIENT" where command[1] == "ID": ":9\r\n"
            default: FakeRedis.handshake(command)
            }
        }
        try await AdapterScene.run(port: server.port) {
            $0.isPubSubEnabled = false
            $0.password = "pw"
            $0.user = "ann"
            $0.database = 3
        } _: { scene in
            #expect(await scene.request([RESPCommand("PING")]) == .success([.simple("PONG")]))
            #expect(server.commands.contains(["AUTH", "ann", "pw"]) && server.commands.contains(["SELECT", "3"]))
        }
        await server.stop()
    }
}
