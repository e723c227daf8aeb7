import Broker
import Foundation
import Locks
import OwnThread
import PeerProtocol
import Primitives
import RESP
import RedisAdapter
import RedisBackplane
import RedisProcess
import Rooms
import Testing

/// The adapter against real servers.
@Suite(.ownThread, .enabled(if: RedisProcess.isInstalled, "needs redis-server")) struct ServerTests {
    private func withServer(_ arguments: [String] = [], _ body: (RedisProcess) async throws -> Void) async throws {
        let server = try RedisProcess(port: FreePort.take(), arguments)
        try server.start()
        do {
            try await body(server)
        } catch {
            server.stop()
            throw error
        }
        server.stop()
    }

    @Test("RA-18 RA-21 the pool's, publisher's, subscriber's and readers' connections are apart, and named")
    func connections() async throws {
        try await withServer { server in
            try await AdapterScene.run(port: server.port) {
                $0.backplane.readers = 2
                $0.backplane.waitReplicas = 1
                $0.poolMinimum = 1
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), register("s"))
                // The pool grows and shrinks with what is asked at once; the others are as many as they are.
                #expect(try await eventually { try await scene.status.connections["pool"] ?? 0 >= 1 })
                var kinds = try await scene.status.connections
                kinds["pool"] = nil
                #expect(kinds == ["publisher": 1, "subscriber": 1, "reader": 2, "writer": 1])
                let list = try server.command(["CLIENT", "LIST"])
                #expect(list.contains("name=vencejo:n1:pool "))
                for (kind, count) in kinds {
                    #expect(list.components(separatedBy: "name=vencejo:n1:\(kind) ").count - 1 == count, "\(list)")
                }
                for line in list.split(separator: "\n") where line.contains("cmd=xread") {
                    #expect(line.contains(":reader "), "only a reader reads and blocks")
                }
            }
        }
    }

    @Test("RA-02 a database other than 0 is selected")
    func database() async throws {
        try await withServer { server in
            try await AdapterScene.run(port: server.port) {
                $0.database = 5
            } _: { scene in
                try await scene.awaitUp()
                _ = await scene.request([RESPCommand("SET", "k", "v")])
                #expect(try server.command(["INFO", "keyspace"]).contains("db5:"))
            }
        }
    }

    @Test("RA-29 a password and an ACL user are enough; a wrong password is told, and not repeated in the reason")
    func credentials() async throws {
        try await withServer(["--requirepass", "open-sesame"]) { server in
            try await AdapterScene.run(port: server.port) {
                $0.password = "open-sesame"
            } _: { scene in
                try await scene.awaitUp()
                _ = await scene.request([
                    RESPCommand("ACL", "SETUSER", "vencejo", "on", ">hunter2", "~chat_system:*", "&*", "+@all")
                ])
            }
            try await AdapterScene.run(port: server.port) {
                $0.user = "vencejo"
                $0.password = "hunter2"
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
            }
            try await AdapterScene.run(port: server.port) {
                $0.password = "wrong-password"
                $0.retryAttempts = 0
            } _: { scene in
                #expect(try await eventually { try await scene.status.isFallback })
                let reason = try await scene.status.reason
                #expect(reason.contains("WRONGPASS") && !reason.contains("wrong-password"), "\(reason)")
            }
        }
    }

    @Test("RA-07 RA-12 RA-20 another prefix is really used, and the probe comes back")
    func prefix() async throws {
        try await withServer { server in
            try await AdapterScene.run(port: server.port) {
                $0.backplane.prefix = "other"
                $0.backplane.usesPattern = false
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("best:a"), register("ws_broadcast"), register("r"), publish("r", 7))
                #expect(try await eventually { scene.outcomes.count == 1 })
                let channels = try server.command(["PUBSUB", "CHANNELS"])
                #expect(channels.contains("other:best:a") && !channels.contains("chat_system"))
                let keys = try server.command(["KEYS", "*"])
                #expect(keys.contains("other:stream:r") && !keys.contains("chat_system"))
                #expect(try await eventually { try await scene.status.probeLatency != nil })
                try server.command(["PUBLISH", "other:best:a", "[1]"])
                #expect(try await eventually { scene.payloads.contains("[1]") })
            }
        }
    }

    @Test(
        "RA-13 RA-14 T-34 a crash and a restart: local meanwhile, and everything again afterwards",
        .timeLimit(.minutes(2))
    )
    func crash() async throws {
        try await withServer { server in
            try await AdapterScene.run(port: server.port) {
                $0.retryAttempts = 1
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("best:a"), register("r"), publish("r", 1))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] })
                server.kill()
                #expect(try await eventually { try await scene.status.isFallback })
                try await scene.tell(announce("best:a", "2"), publish("r", 3))
                #expect(try await eventually { scene.payloads == ["1", "2"] && scene.outcomes.last == "3 noQuorum" })
                try server.start()
                try await scene.awaitUp()
                #expect(try await !scene.status.isFallback)
                try await scene.tell(announce("best:a", "4"))
                #expect(try await eventually { scene.payloads.last == "4" })
                // The server had no disk: the room's history is another one, and its members are told.
                let isReset = try await eventually {
                    scene.told.contains { if case .roomReset = $0 { true } else { false } }
                }
                #expect(isReset)
                try server.command(["PUBLISH", "chat_system:best:a", "5"])
                #expect(try await eventually { scene.payloads.last == "5" })
            }
        }
    }

    @Test("RA-27 a foreign XADD into a room's stream costs its epoch, and nothing else", .timeLimit(.minutes(2)))
    func foreignEntry() async throws {
        try await withServer { server in
            try await AdapterScene.run(port: server.port) { _ in
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1))
                #expect(try await eventually { scene.payloads == ["1"] })
                try server.command(["XADD", "chat_system:stream:r", "*", "data", "9"])
                let isReset = try await eventually {
                    scene.told.contains { if case .roomReset = $0 { true } else { false } }
                }
                #expect(isReset)
                try await scene.tell(
                    .unregister(hub: 1, partition, RoomName("r"), count: 1),
                    register("r"),
                    publish("r", 2)
                )
                #expect(try await eventually { scene.payloads == ["1", "2"] && scene.outcomes.last == "2 at 1" })
            }
        }
    }

    @Test("RA-28 WAIT: acknowledged with a replica, unknown without", .timeLimit(.minutes(2)))
    func wait() async throws {
        try await withServer { server in
            try await withServer(["--replicaof", "127.0.0.1 \(server.port)"]) { replica in
                let isLinked = try await eventually {
                    try replica.command(["INFO", "replication"]).contains("master_link_status:up")
                }
                #expect(isLinked)
                try await AdapterScene.run(port: server.port) {
                    $0.backplane.waitReplicas = 1
                    $0.backplane.waitTimeout = .milliseconds(300)
                } _: { scene in
                    try await scene.awaitUp()
                    try await scene.tell(register("r"), publish("r", 1))
                    #expect(try await eventually { scene.outcomes == ["1 at 1"] }, "\(scene.outcomes)")
                    replica.kill()
                    let isGone = try await eventually {
                        try server.command(["INFO", "replication"]).contains("connected_slaves:0")
                    }
                    #expect(isGone)
                    try await scene.tell(publish("r", 2))
                    #expect(try await eventually { scene.outcomes.last == "2 timeout" }, "\(scene.outcomes)")
                    #expect(try await eventually { scene.payloads == ["1", "2"] }, "it stands all the same")
                }
            }
        }
    }

    @Test(
        "RA-23 three real Sentinels name the master; after a crash traffic goes on at its successor",
        .timeLimit(.minutes(5))
    )
    func sentinels() async throws {
        try await withServer { master in
            try await withServer(["--replicaof", "127.0.0.1 \(master.port)", "--repl-diskless-sync-delay", "0"]) {
                replica in
                let isLinked = try await eventually {
                    try replica.command(["INFO", "replication"]).contains("master_link_status:up")
                }
                #expect(isLinked)
                var sentinels: [RedisProcess] = []
                defer { for sentinel in sentinels { sentinel.stop() } }
                for _ in 0..<3 {
                    let port = FreePort.take()
                    let file = NSTemporaryDirectory() + "vencejo-sentinel-\(getpid())-\(port).conf"
                    try """
                    sentinel monitor mymaster 127.0.0.1 \(master.port) 2
                    sentinel down-after-milliseconds mymaster 1000
                    sentinel parallel-syncs mymaster 1
                    sentinel failover-timeout mymaster 10000

                    """.write(toFile: file, atomically: true, encoding: .utf8)
                    let sentinel = try RedisProcess(port: port, [file, "--sentinel"])
                    sentinels.append(sentinel)
                    try sentinel.start()
                }
                defer {
                    for sentinel in sentinels {
                        try? FileManager.default.removeItem(
                            atPath: NSTemporaryDirectory() + "vencejo-sentinel-\(getpid())-\(sentinel.port).conf"
                        )
                    }
                }
                let isAgreed = try await eventually(within: 60) {
                    try sentinels.allSatisfy {
                        let said = try $0.command(["SENTINEL", "MASTER", "mymaster"])
                        return said.contains("num-other-sentinels\r\n$1\r\n2") && said.contains("num-slaves\r\n$1\r\n1")
                    }
                }
                #expect(isAgreed, "the Sentinels have found each other and the replica")
                try await AdapterScene.run(port: 1) { settings in
                    settings.sentinels = sentinels.map { .init(host: "127.0.0.1", port: $0.port) }
                    settings.socketTimeout = .seconds(2)
                } _: { scene in
                    try await scene.awaitUp()
                    #expect(try await scene.status.server == "127.0.0.1:\(master.port)")
                    try await scene.tell(register("r"), register("best:a"), publish("r", 1))
                    #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
                    // What is acknowledged has reached the replica before the crash.
                    #expect(
                        try await eventually { try replica.command(["XLEN", "chat_system:stream:r"]).contains(":1") }
                    )
                    let clock = ContinuousClock()
                    let began = clock.now
                    master.kill()
                    let isSwitched = try await eventually(within: 90) {
                        let status = try await scene.status
                        return status.isUp && status.server == "127.0.0.1:\(replica.port)"
                    }
                    let lasted = clock.now - began
                    print("crash of the master to traffic at its successor: \(lasted)")
                    let server = try await scene.status.server
                    #expect(isSwitched, "\(server)")
                    try await scene.tell(announce("best:a", "2"), publish("r", 3))
                    #expect(try await eventually { scene.outcomes.last == "3 at 2" }, "\(scene.outcomes)")
                    #expect(try await eventually { Set(scene.payloads) == ["1", "2", "3"] }, "\(scene.payloads)")
                }
            }
        }
    }
}
