import Foundation
import OwnThread
import PeerProtocol
import Primitives
import RESP
import RedisAdapter
import RedisBackplane
import RedisProcess
import Rooms
import Testing

@testable import Broker

/// The adapter against real servers: the same tests against redis-server and against Vencejo's own shim (RA-32). One
/// at a time, because each starts processes.
@Suite(.serialized, .ownThread) struct ServerTests {
    @Test(
        "RA-18 RA-21 RA-32 the pool's, publisher's, subscriber's and readers' connections are apart, and named",
        arguments: Server.here
    )
    func connections(_ kind: Server) async throws {
        try await kind.run { server in
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

    @Test("RA-02 RA-32 a database other than 0 is selected", arguments: Server.here)
    func database(_ kind: Server) async throws {
        try await kind.run { server in
            try await AdapterScene.run(port: server.port) {
                $0.database = 5
            } _: { scene in
                try await scene.awaitUp()
                _ = await scene.request([RESPCommand("SET", "k", "v")])
                #expect(try server.command(["INFO", "keyspace"]).contains("db5:"))
            }
        }
    }

    @Test(
        "RA-29 RA-32 a password is enough; a wrong one is told, and not repeated in the reason",
        arguments: Server.here
    )
    func password(_ kind: Server) async throws {
        try await kind.run(password: "open-sesame") { server in
            try await AdapterScene.run(port: server.port) {
                $0.password = "open-sesame"
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

    // Not against the shim: it has one user, `default`.
    @Test("RA-29 an ACL user is enough", .enabled(if: RedisProcess.isInstalled, "needs redis-server"))
    func user() async throws {
        try await Server.redis.run { server in
            try server.command(["ACL", "SETUSER", "vencejo", "on", ">hunter2", "~chat_system:*", "&*", "+@all"])
            try server.command(["ACL", "SETUSER", "default", "off"])
            try await AdapterScene.run(port: server.port) {
                $0.user = "vencejo"
                $0.password = "hunter2"
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
            }
        }
    }

    @Test("RA-07 RA-12 RA-20 RA-32 another prefix is really used, and the probe comes back", arguments: Server.here)
    func prefix(_ kind: Server) async throws {
        try await kind.run { server in
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
        "RA-13 RA-14 RA-32 T-34 a crash and a restart: local meanwhile, and everything again afterwards",
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func crash(_ kind: Server) async throws {
        try await kind.run { server in
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
                switch kind {
                case .redis:
                    // The server had no disk: the room's history is another one, and its members are told.
                    #expect(try await eventually { scene.isReset })
                case .shim:
                    // A node has one: the room goes on where it was.
                    try await scene.tell(publish("r", 5))
                    #expect(try await eventually { scene.outcomes.last == "5 at 2" && scene.payloads.last == "5" })
                    #expect(!scene.isReset)
                }
                try server.command(["PUBLISH", "chat_system:best:a", "6"])
                #expect(try await eventually { scene.payloads.last == "6" })
            }
        }
    }

    @Test(
        "RA-27 RA-32 a foreign XADD into a room's stream costs its epoch, and nothing else",
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func foreignEntry(_ kind: Server) async throws {
        try await kind.run { server in
            try await AdapterScene.run(port: server.port) { _ in
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1))
                #expect(try await eventually { scene.payloads == ["1"] })
                try server.command(["XADD", "chat_system:stream:r", "*", "data", "9"])
                #expect(try await eventually { scene.isReset })
                try await scene.tell(
                    .unregister(hub: 1, partition, RoomName("r"), count: 1),
                    register("r"),
                    publish("r", 2)
                )
                #expect(try await eventually { scene.payloads == ["1", "2"] && scene.outcomes.last == "2 at 1" })
            }
        }
    }

    @Test(
        """
        RA-27 RA-32 DL-08 a room joins the read under way, a message id counts once, history and a consumer's place \
        are read back
        """,
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func streams(_ kind: Server) async throws {
        try await kind.run { server in
            try await AdapterScene.run(port: server.port) {
                // Longer than the test waits for anything: only CLIENT UNBLOCK has the reader look again.
                $0.backplane.readBlock = .seconds(120)
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1, key: "id"))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
                try await scene.tell(register("s"), publish("s", 2))
                #expect(try await eventually { scene.outcomes.last == "2 at 1" && scene.payloads == ["1", "2"] })

                try await scene.tell(publish("r", 3, key: "id"))
                #expect(try await eventually { scene.outcomes.last?.hasPrefix("3 duplicate") == true })
                // As if the node that took the id had died before it could say where its message stands.
                try server.command(["SET", "chat_system:message:1:r:id", "-"])
                try await scene.tell(publish("r", 4, key: "id"), publish("r", 5))
                #expect(try await eventually { scene.outcomes.last == "5 at 2" }, "\(scene.outcomes)")
                #expect(scene.outcomes.dropLast().last?.hasPrefix("4 duplicate") == true, "\(scene.outcomes)")
                #expect(try await eventually { scene.payloads == ["1", "2", "5"] })

                let epoch = try #require(
                    scene.told.lazy.compactMap { message -> UInt64? in
                        guard case .publications(RoomName("r"), let epoch, _) = message else { return nil }
                        return epoch
                    }.first
                )
                let place = Position(epoch: epoch, offset: 1)
                let update = CursorUpdate(room: RoomName("r"), consumer: Array("worker".utf8), position: place)
                try await scene.tell(.acknowledge(partition, update))
                var token: UInt64 = 0
                var reply: FetchReply?
                // Places are written once a second.
                let isKept = try await eventually {
                    token += 1
                    let fetch = ShardMessage.HubFetch(
                        token: token,
                        partition: partition,
                        room: RoomName("r"),
                        linearizable: true,
                        epoch: 0,
                        from: 1,
                        limit: 10,
                        consumer: Array("worker".utf8)
                    )
                    try await scene.tell(.fetch(hub: 1, fetch))
                    reply = try await scene.fetched(token)
                    return reply?.cursor == 1
                }
                #expect(isKept, "\(String(describing: reply))")
                #expect(reply?.publications.map(\.offset) == [1, 2] && reply?.head.epoch == epoch)
            }
        }
    }

    @Test(
        "RA-28 RA-32 WAIT: acknowledged with the replicas that are asked for, unknown with fewer",
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func wait(_ kind: Server) async throws {
        // A redis-server and its replica; three nodes, of which two are the majority that takes writes.
        try await kind.runReplicated { nodes in
            try await AdapterScene.run(port: nodes[0].port) {
                $0.backplane.waitReplicas = nodes.count - 1
                $0.backplane.waitTimeout = .seconds(4)
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] }, "\(scene.outcomes)")
                nodes[nodes.count - 1].kill()
                if kind == .redis {
                    let isGone = try await eventually {
                        try nodes[0].command(["INFO", "replication"]).contains("connected_slaves:0")
                    }
                    #expect(isGone)
                }
                try await scene.tell(publish("r", 2))
                #expect(try await eventually { scene.outcomes.last == "2 timeout" }, "\(scene.outcomes)")
                #expect(try await eventually { scene.payloads == ["1", "2"] }, "it stands all the same")
            }
        }
    }

    @Test(
        "RA-23 RA-32 three real Sentinels name the master; after a crash traffic goes on at its successor",
        .timeLimit(.minutes(5)),
        arguments: Server.here
    )
    func sentinels(_ kind: Server) async throws {
        try await kind.runReplicated { nodes in
            try await kind.runSentinels(of: nodes) { sentinels in
                try await AdapterScene.run(port: 1) { settings in
                    settings.sentinels = sentinels.map { .init(host: "127.0.0.1", port: $0.sentinelPort) }
                    settings.socketTimeout = .seconds(2)
                } _: { scene in
                    try await scene.awaitUp()
                    let named = try await scene.status.server
                    let master = try #require(nodes.first { named == "127.0.0.1:\($0.port)" }, "\(named)")
                    let others = nodes.filter { $0 !== master }
                    if kind == .redis { #expect(master === nodes[0]) }
                    try await scene.tell(register("r"), register("best:a"), publish("r", 1))
                    #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
                    // What is acknowledged has reached the replica before the crash.
                    let isThere = try await eventually {
                        try others[0].command(["XLEN", "chat_system:stream:r"]).contains(":1")
                    }
                    #expect(isThere)
                    let clock = ContinuousClock()
                    let began = clock.now
                    master.kill()
                    let isSwitched = try await eventually(within: 90) {
                        let status = try await scene.status
                        return status.isUp && others.contains { status.server == "127.0.0.1:\($0.port)" }
                    }
                    let lasted = clock.now - began
                    print("\(kind.rawValue), crash of the master to traffic at its successor: \(lasted)")
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
