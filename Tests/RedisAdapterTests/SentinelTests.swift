import EventLoops
import Locks
import NIOCore
import OwnThread
import Primitives
import RedisAdapter
import RedisBackplane
import RedisProcess
import Testing

/// The port that a Sentinel names.
private final class Named: Sendable {
    private let state: Lock<Int>
    init(_ port: Int) { state = Lock(port) }
    var port: Int { state.withLock { $0 } }
    func set(_ port: Int) { state.withLock { $0 = port } }
}

/// Sentinels that say what a test wants.
@Suite(.ownThread) struct SentinelTests {
    // Not against the shim: each of its nodes takes commands, so none is a replica that refuses them, and none can be
    // made one (REPLICAOF).
    @Test(
        "RA-23 a dead Sentinel is passed over, a replica is refused by its ROLE, and +switch-master is followed",
        .enabled(if: RedisProcess.isInstalled, "needs redis-server"),
        .timeLimit(.minutes(5))
    )
    func follow() async throws {
        let first = try RedisProcess(port: FreePort.take())
        let second = try RedisProcess(port: FreePort.take())
        defer {
            first.stop()
            second.stop()
        }
        try first.start()
        try second.start()
        let master = Named(second.port)
        let sentinel = try await FakeRedis { command in
            switch command.first {
            case "SENTINEL":
                "*2\r\n$9\r\n127.0.0.1\r\n+\(master.port)\r\n"
            case "SUBSCRIBE": ">3\r\n+subscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
            case "HELLO": "-ERR unknown command\r\n"
            default: FakeRedis.handshake(command)
            }
        }
        try second.command(["REPLICAOF", "127.0.0.1", String(first.port)])
        try await AdapterScene.run(port: 1) { settings in
            settings.sentinels = [.init(host: "127.0.0.1", port: 1), .init(host: "127.0.0.1", port: sentinel.port)]
            settings.retryAttempts = 1
            settings.backplane.retryCeiling = .milliseconds(100)
        } _: { scene in
            // The Sentinel names a replica: an old view of the world.
            #expect(try await eventually { try await scene.status.isFallback })
            let reason = try await scene.status.reason
            #expect(reason.contains("slave, not master"), "\(reason)")
            master.set(first.port)
            try await scene.awaitUp()
            #expect(try await scene.status.server == "127.0.0.1:\(first.port)")
            #expect(try await eventually { sentinel.count("SUBSCRIBE") >= 1 })
            try await scene.tell(register("best:a"))
            // A failover by hand: the old master still answers.
            try second.command(["REPLICAOF", "NO", "ONE"])
            master.set(second.port)
            let payload = "mymaster 127.0.0.1 \(first.port) 127.0.0.1 \(second.port)"
            await sentinel.push(">3\r\n+message\r\n$14\r\n+switch-master\r\n$\(payload.utf8.count)\r\n\(payload)\r\n")
            let isMoved = try await eventually {
                let status = try await scene.status
                return status.isUp && status.server == "127.0.0.1:\(second.port)" && status.switches == 1
            }
            #expect(isMoved)
            try await scene.tell(announce("best:a", "1"))
            #expect(try await eventually { scene.payloads == ["1"] })
            #expect(try !first.command(["CLIENT", "LIST"]).contains("vencejo"), "nothing stays at the old one")
        }
        await sentinel.stop()
    }

    @Test(
        "RA-23 RA-32 +switch-master ends the pause between attempts",
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func hurry(_ kind: Server) async throws {
        let first = try kind.make()
        let second = try kind.make()
        defer {
            first.stop()
            second.stop()
        }
        try first.start()
        try second.start()
        let master = Named(first.port)
        let sentinel = try await FakeRedis { command in
            switch command.first {
            case "SENTINEL": "*2\r\n$9\r\n127.0.0.1\r\n+\(master.port)\r\n"
            case "SUBSCRIBE": ">3\r\n+subscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
            case "HELLO": "-ERR unknown command\r\n"
            default: FakeRedis.handshake(command)
            }
        }
        try await AdapterScene.run(port: 1) { settings in
            settings.sentinels = [.init(host: "127.0.0.1", port: sentinel.port)]
            settings.retryAttempts = 0
            // Longer than the test's limit.
            settings.backplane.retryBase = .seconds(600)
            settings.backplane.retryCeiling = .seconds(600)
        } _: { scene in
            try await scene.awaitUp()
            #expect(try await eventually { sentinel.count("SUBSCRIBE") >= 1 })
            first.kill()
            #expect(try await eventually { try await scene.status.isFallback })
            master.set(second.port)
            let payload = "mymaster 127.0.0.1 \(first.port) 127.0.0.1 \(second.port)"
            await sentinel.push(">3\r\n+message\r\n$14\r\n+switch-master\r\n$\(payload.utf8.count)\r\n\(payload)\r\n")
            try await scene.awaitUp()
            #expect(try await scene.status.server == "127.0.0.1:\(second.port)")
        }
        await sentinel.stop()
    }
}
