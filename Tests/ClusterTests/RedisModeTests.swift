import Admin
import Foundation
import Glibc
import Locks
import RedisProcess
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// Nodes over a real Redis, and other people's programs at the same Redis.
    @Suite(.enabled(if: RedisProcess.isInstalled, "needs redis-server")) struct RedisModeTests {
        private static let python =
            ProcessInfo.processInfo.environment["VENCEJO_PYTHON"] ?? Checkout.root + "/.build/venv/bin/python"
        private static let hasRedisPy: Bool = {
            guard FileManager.default.isExecutableFile(atPath: python) else { return false }
            let check = Process()
            check.executableURL = URL(fileURLWithPath: python)
            check.arguments = ["-c", "import redis"]
            check.standardError = FileHandle.nullDevice
            guard (try? check.run()) != nil else { return false }
            check.waitUntilExit()
            return check.terminationStatus == 0
        }()
        private static let peer = Checkout.root + "/Tests/ClusterTests/Clients/redis_peer.py"

        private func run(
            nodes: Int = 2,
            _ change: (inout ProcessCluster.Options) -> Void = { _ in },
            _ body: (ProcessCluster, RedisProcess) async throws -> Void
        ) async throws {
            var options = RunMode.redis.options
            options.nodes = nodes
            change(&options)
            try await ProcessCluster.run(options) { cluster in
                try await body(cluster, try #require(cluster.redis))
            }
        }

        /// A `/ws` connection that has heard a broadcast: it is in the room of everyone.
        private func joined(_ cluster: ProcessCluster, _ index: Int) async throws -> PlainSocket {
            let socket = try PlainSocket.connect(cluster.nodes[index].gateway, "/ws")
            let mark = "warm-up \(UInt32.random(in: 0 ... .max))"
            _ = try await eventually(within: 20) {
                socket.send(#"{"content":"\#(mark)","user":"w"}"#)
                try await Task.sleep(for: .milliseconds(50))
                return socket.received.contains { $0.contains(mark) }
            }
            return socket
        }

        private func health(_ cluster: ProcessCluster, _ index: Int) async throws -> String {
            try await cluster.admin(index).get("/health/redis").text
        }

        private func redisStatus(_ cluster: ProcessCluster, _ index: Int) async throws -> RedisReport {
            let report = try await cluster.status(index).redis
            return try #require(report)
        }

        @Test(
            "RA-11 RA-12 foreign redis-py programs hear valid JSON and are heard, each message once",
            .enabled(if: hasRedisPy, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func foreign() async throws {
            try await run { cluster, redis in
                try await cluster.startAndAwaitReady()
                let url = "redis://127.0.0.1:\(redis.port)/0"
                let lines = Lines()
                let listener = try ChildProcess.start(
                    Self.python,
                    [Self.peer, url, "listen", "chat_system"],
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { listener.signal(SIGKILL) }
                #expect(try await eventually(within: 30) { lines.contains("listening") }, "\(lines.all)")
                let sockets = [try await joined(cluster, 0), try await joined(cluster, 1)]
                for socket in sockets {
                    socket.send(#"{"type":"join","room":"best:chat"}"#)
                    _ = try await socket.await { $0["type"] as? String == "joined" }
                }
                sockets[0].send(#"{"content":"to all é","user":"ana"}"#)
                sockets[0].send(#"{"content":"to room","user":"ana","room":"best:chat"}"#)
                func heard(_ channel: String, _ content: String) -> [[String: Any]] {
                    lines.all.compactMap { line -> [String: Any]? in
                        let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                        let data = object?["data"] as? [String: Any]
                        return object?["channel"] as? String == channel && data?["content"] as? String == content
                            ? data : nil
                    }
                }
                let isHeard = try await eventually(within: 20) {
                    heard("chat_system", "to all é").count == 1 && heard("chat_system:best:chat", "to room").count == 1
                }
                #expect(isHeard, "\(lines.all)")
                #expect(heard("chat_system", "to all é").first?["user"] as? String == "ana")

                for (channel, content) in [("chat_system", "global"), ("chat_system:best:chat", "room")] {
                    let json = #"{"type":"message","content":"foreign \#(content)","user":"py"}"#
                    let result = try await Executable.run(Self.python, [Self.peer, url, "publish", channel, json])
                    #expect(result.exit == .code(0), "\(result.lines)")
                }
                let batch = try await Executable.run(
                    Self.python,
                    [Self.peer, url, "batch", "chat_system:best:chat", "50"]
                )
                #expect(batch.exit == .code(0), "\(batch.lines)")
                for socket in sockets {
                    _ = try await socket.await { $0["content"] as? Int == 49 }
                    for content in ["foreign global", "foreign room", "to all é", "to room"] {
                        #expect(socket.objects.count { $0["content"] as? String == content } == 1, "\(content)")
                    }
                    let numbers = socket.objects.compactMap { $0["content"] as? Int }
                    #expect(numbers == Array(0..<50), "RA-22: in order, each once")
                }
                for socket in sockets { socket.close() }
            }
        }

        @Test(
            "RA-13 RA-14 HC-04 HC-05 T-34 Redis stops during traffic and comes back: no client sees an error",
            .timeLimit(.minutes(3))
        )
        func stopAndStart() async throws {
            try await run { cluster, redis in
                try await cluster.startAndAwaitReady()
                #expect(try await health(cluster, 0) == #"{"status":"healthy"}"#)
                let first = [try await joined(cluster, 0), try await joined(cluster, 0)]
                let other = try await joined(cluster, 1)
                var number = 0
                var local: Set<Int> = []
                /// One member of the first node speaks; true when the other one has heard it.
                func speak() async throws -> Bool {
                    number += 1
                    let own = number
                    first[0].send(#"{"content":\#(own),"user":"ana"}"#)
                    let isHeard = try await eventually(within: 20) {
                        first[1].objects.contains { $0["content"] as? Int == own }
                    }
                    local.insert(own)
                    return isHeard
                }
                for _ in 0..<20 { #expect(try await speak()) }
                redis.kill()
                let isNoticed = try await eventually(within: 30) {
                    #expect(try await speak(), "members of one node talk on")
                    return try await redisStatus(cluster, 0).status.isFallback
                }
                #expect(isNoticed)
                for _ in 0..<20 { #expect(try await speak()) }
                let unhealthy = try await health(cluster, 0)
                let object = try JSONSerialization.jsonObject(with: Data(unhealthy.utf8)) as? [String: Any]
                #expect(Set((object ?? [:]).keys) == ["status", "error", "fallback_mode"], "\(unhealthy)")
                #expect(object?["status"] as? String == "unhealthy" && object?["fallback_mode"] as? Bool == true)
                let status = try await redisStatus(cluster, 0)
                #expect(status.link?.breaker == "open" || status.link?.breaker == "half-open")
                #expect(status.stats == .unavailable)
                #expect(await cluster.admin(0).unreadiness() == nil, "it serves its clients")
                let before = other.objects.count

                try redis.start()
                let isBack = try await eventually(within: 60) {
                    var isAnyFallback = false
                    for index in 0..<2 where try await redisStatus(cluster, index).status.isFallback {
                        isAnyFallback = true
                    }
                    return !isAnyFallback
                }
                #expect(isBack, "without anybody's help")
                #expect(try await health(cluster, 0) == #"{"status":"healthy"}"#)
                #expect(try await speak())
                let last = number
                _ = try await other.await { $0["content"] as? Int == last }
                #expect(other.objects.count - before <= 2, "RA-31: what was missed does not come later")
                for socket in first + [other] {
                    #expect(!socket.isEnded)
                    #expect(!socket.objects.contains { $0["type"] as? String == "error" }, "\(socket.received)")
                }
                let heard = first[1].objects.compactMap { $0["content"] as? Int }
                #expect(heard == Array(1...last), "each once, in order, over the outage")
                for socket in first + [other] { socket.close() }
            }
        }

        @Test(
            """
            RA-27 a consumer that is cut off before it acknowledges gets its messages again, on any node, and none \
            that it has acknowledged
            """,
            .timeLimit(.minutes(3))
        )
        func redelivery() async throws {
            try await run { cluster, redis in
                try await cluster.startAndAwaitReady()
                let publisher = try await cluster.client(0, alone: true)
                for number in 1...10 { _ = try await publisher.publish("work:queue", Array("\(number)".utf8)) }
                /// The consumer's place is in Redis; offset n is the sequence n - 1 of the stream.
                func isKept(_ offset: Int) async throws -> Bool {
                    try await eventually(within: 20) {
                        let groups = try redis.command(["XINFO", "GROUPS", "chat_system:stream:work:queue"])
                        return groups.contains("consumer:worker") && groups.contains("-\(offset - 1)\r\n")
                    }
                }

                let first = try PlainSocket.connect(cluster.nodes[0].gateway, "/connection/websocket")
                first.send(#"{"id":1,"connect":{}}"#)
                _ = try await first.await { $0["id"] as? Int == 1 && $0["connect"] != nil }
                let acknowledgement = #"{"cursor":"worker","window":4}"#
                first.send(
                    #"{"id":2,"subscribe":{"channel":"work:queue","recover":true,"ack":\#(acknowledgement)}}"#
                )
                let reply = try await first.await { $0["id"] as? Int == 2 }
                let subscribed = try #require(reply["subscribe"] as? [String: Any], "\(reply)")
                let epoch = try #require(subscribed["epoch"] as? String)
                func received() -> [Int] {
                    let pushed = first.objects.compactMap { object -> [String: Any]? in
                        let push = object["push"] as? [String: Any]
                        return push?["channel"] as? String == "work:queue" ? push?["pub"] as? [String: Any] : nil
                    }
                    let recovered = subscribed["publications"] as? [[String: Any]] ?? []
                    return (recovered + pushed).compactMap { $0["offset"] as? Int }
                }
                #expect(try await eventually(within: 20) { received() == [1, 2, 3, 4] }, "\(received())")
                first.send(#"{"id":3,"ack":{"channel":"work:queue","offset":3,"epoch":"\#(epoch)"}}"#)
                _ = try await first.await { $0["id"] as? Int == 3 && $0["ack"] != nil }
                #expect(try await eventually(within: 20) { received() == Array(1...7) }, "\(received())")
                // No close frame, no word: it is gone with the messages 4 to 7 in its hands.
                first.close()
                #expect(try await isKept(3))

                func consume(_ node: Int, to last: UInt64) async throws -> [UInt64] {
                    let client = try await cluster.client(node, alone: true)
                    let options = SubscriptionOptions(
                        start: .beginning,
                        acknowledgement: SubscriptionOptions.Acknowledgement(cursor: "worker", window: 4)
                    )
                    var seen: [UInt64] = []
                    for await case .message(let message) in client.subscribe("work:queue", options) {
                        seen.append(message.offset)
                        let position = RoomPosition(epoch: message.epoch, offset: message.offset)
                        try await client.acknowledge("work:queue", position)
                        if message.offset >= last { break }
                    }
                    await client.close()
                    return seen
                }
                #expect(try await consume(1, to: 10) == Array(4...10))
                #expect(try await isKept(10))
                _ = try await publisher.publish("work:queue", Array("11".utf8))
                #expect(try await consume(0, to: 11) == [11])
                await publisher.close()
            }
        }

        @Test(
            "RA-14 RA-27 a subscriber resumes by position over crashes of Redis and of its node, and misses nothing",
            .timeLimit(.minutes(3))
        )
        func resume() async throws {
            try await run {
                // With a disk, as the guide starts it; every write is on it before it is answered.
                $0.redisArguments = ["--appendonly", "yes", "--appendfsync", "always"]
            } _: { cluster, redis in
                try await cluster.startAndAwaitReady()
                let numbers = Shared<[Int]>([])
                let offsets = Shared<[UInt64]>([])
                let problems = Shared<[String]>([])
                let subscriber = try await cluster.client(0)
                let isSubscribed = Shared(false)
                let events = subscriber.subscribe("log:room")
                Task {
                    for await event in events {
                        switch event {
                        case .message(let message):
                            numbers.change { $0.append(Int(String(decoding: message.data, as: UTF8.self)) ?? -1) }
                            offsets.change { $0.append(message.offset) }
                        case .subscribed(_, let wasRecovering, let recovered):
                            isSubscribed.change { $0 = true }
                            if wasRecovering, !recovered { problems.change { $0.append("not recovered") } }
                        case .gap(let from, let to, let reason):
                            problems.change { $0.append("gap \(from)...\(to) \(reason)") }
                        case .ended(let reason): problems.change { $0.append("ended: \(String(describing: reason))") }
                        default: break
                        }
                    }
                }
                #expect(try await eventually(within: 20) { isSubscribed.value })
                let publisher = try await cluster.client(1, alone: true)
                func publish(_ range: ClosedRange<Int>) async throws {
                    for number in range {
                        let isDone = try await eventually(within: 60) {
                            (try? await publisher.publish(
                                "log:room",
                                Array("\(number)".utf8),
                                idempotencyKey: "\(number)"
                            ))
                                != nil
                        }
                        #expect(isDone)
                    }
                }
                try await publish(1...20)
                let crash = Task {
                    redis.kill()
                    try await Task.sleep(for: .milliseconds(1500))
                    try redis.start()
                }
                try await publish(21...60)
                try await crash.value
                #expect(try await eventually(within: 60) { numbers.value.count >= 60 })
                #expect(numbers.value == Array(1...60), "\(problems.value)")
                await cluster.kill(0)
                try await publish(61...80)
                #expect(try await eventually(within: 60) { numbers.value.count >= 80 })
                #expect(numbers.value == Array(1...80), "\(problems.value)")
                #expect(offsets.value == Array(1...80))
                #expect(problems.value.isEmpty)
                let page = try await publisher.history("log:room", limit: 10, reverse: true)
                #expect(page.messages.map(\.offset) == Array((71...80).reversed()) && page.top.offset == 80)
                await subscriber.close()
                await publisher.close()
            }
        }

        @Test(
            "RA-05 RA-08 RA-13 Redis stalls for ten seconds: members of a node hear each message once and in order",
            .timeLimit(.minutes(3))
        )
        func stall() async throws {
            try await run(nodes: 1) {
                $0.environment = ["REDIS_SOCKET_TIMEOUT": "0.5"]
            } _: { cluster, redis in
                try await cluster.startAndAwaitReady()
                let client = try await cluster.client(0)
                let heard = Shared<[Int]>([])
                let isSubscribed = Shared(false)
                let events = client.subscribe("best:stall")
                Task {
                    for await event in events {
                        switch event {
                        case .subscribed: isSubscribed.change { $0 = true }
                        case .message(let message):
                            heard.change { $0.append(Int(String(decoding: message.data, as: UTF8.self)) ?? -1) }
                        default: break
                        }
                    }
                }
                #expect(try await eventually(within: 20) { isSubscribed.value })
                var number = 0
                func speak(_ count: Int) async throws {
                    for _ in 0..<count {
                        number += 1
                        _ = try await client.publish("best:stall", Array("\(number)".utf8))
                    }
                }
                try await speak(20)
                try redis.command(["CLIENT", "PAUSE", "10000", "ALL"])
                let isFallback = try await eventually(within: 30) {
                    try await speak(1)
                    try await Task.sleep(for: .milliseconds(20))
                    return try await redisStatus(cluster, 0).status.isFallback
                }
                #expect(isFallback)
                let isBack = try await eventually(within: 60) {
                    try await speak(1)
                    try await Task.sleep(for: .milliseconds(20))
                    return try await !redisStatus(cluster, 0).status.isFallback
                }
                #expect(isBack)
                try await speak(20)
                let last = number
                _ = try await eventually(within: 30) { heard.value.last == last }
                #expect(heard.value == Array(1...last))
                await client.close()
            }
        }

        @Test("RA-31 a best-effort subscriber that was away does not get what it missed", .timeLimit(.minutes(3)))
        func atMostOnce() async throws {
            try await run { cluster, _ in
                try await cluster.startAndAwaitReady()
                let publisher = try await cluster.client(1, alone: true)
                func listen(_ client: VencejoClient, _ wanted: Int) async throws -> Shared<[String]> {
                    let heard = Shared<[String]>([])
                    let events = client.subscribe("best:news")
                    Task {
                        for await case .message(let message) in events {
                            heard.change { $0.append(String(decoding: message.data, as: UTF8.self)) }
                        }
                    }
                    _ = try await eventually(within: 20) {
                        _ = try await publisher.publish("best:news", Array("\(wanted)".utf8))
                        return try await eventually(within: 0.2) { heard.value.contains("\(wanted)") }
                    }
                    return heard
                }
                let first = try await cluster.client(0)
                #expect(try await listen(first, 1).value.allSatisfy { $0 == "1" })
                await first.close()
                _ = try await publisher.publish("best:news", Array("2".utf8))
                let second = try await cluster.client(0)
                let heard = try await listen(second, 3)
                #expect(heard.value.allSatisfy { $0 == "3" } && !heard.value.isEmpty, "\(heard.value)")
                await second.close()
                await publisher.close()
            }
        }

        @Test("RA-16 RA-17 P-08 status and statistics have the guide's keys, and no password", .timeLimit(.minutes(3)))
        func status() async throws {
            try await run(nodes: 1) {
                $0.redisArguments = ["--requirepass", "hunter2"]
                $0.environment = ["REDIS_POOL_SIZE": "3"]
            } _: { cluster, redis in
                let url = "redis://:hunter2@127.0.0.1:\(redis.port)/0"
                try cluster.start(0, environment: ["REDIS_URL": url])
                try await cluster.awaitReady()
                let socket = try await joined(cluster, 0)
                let text = try await cluster.admin(0).get("/status").text
                let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
                #expect(object?["mode"] as? String == "redis")
                let report = object?["redis"] as? [String: Any]
                let status = try #require(report?["status"] as? [String: Any])
                let expected: [String: Any] = [
                    "redis_enabled": true, "local_connections": 1, "fallback_mode": false,
                    "configuration": [
                        "REDIS_ENABLED": true, "REDIS_PUBSUB_ENABLED": true, "REDIS_URL": "configured",
                    ] as [String: Any],
                ]
                #expect(status as NSDictionary == expected as NSDictionary, "\(status)")
                let stats = try #require(report?["stats"] as? [String: Any])
                #expect(
                    Set(stats.keys) == [
                        "connected_clients", "used_memory", "pubsub_channels", "pubsub_patterns",
                        "total_commands_processed",
                    ]
                )
                #expect(stats["pubsub_patterns"] as? Int == 1 && stats["pubsub_channels"] as? Int == 2)
                #expect((stats["used_memory"] as? String)?.hasSuffix("M") == true)
                #expect(stats["connected_clients"] as? Int ?? 0 >= 4)
                let metrics = try await cluster.admin(0).get("/metrics").text
                #expect(metrics.contains(#"mode="redis""#))
                #expect(metrics.contains(#"backplane_connections{node="n1",type="subscriber"} 1"#))
                for said in [text, metrics] + cluster.log(0) { #expect(!said.contains("hunter2")) }
                let isProbed = try await eventually(within: 20) {
                    let link = try await redisStatus(cluster, 0).link
                    return link?.publishToReceiveMicroseconds != nil && link?.pingMicroseconds != nil
                }
                #expect(isProbed, "RA-20")
                socket.close()
            }
        }

        @Test(
            "RA-03 REDIS_ENABLED alone: health and statistics ask Redis, rooms stay on the node",
            .timeLimit(.minutes(3))
        )
        func withoutPubSub() async throws {
            try await run(nodes: 1) {
                $0.environment = ["REDIS_ENABLED": "true", "REDIS_PUBSUB_ENABLED": "false"]
            } _: {
                cluster,
                redis in
                try cluster.start(0)
                try await cluster.awaitReady()
                let socket = try await joined(cluster, 0)
                let client = try await cluster.client(0)
                let receipt = try await client.publish("kept:here", Array("1".utf8))
                #expect(receipt.position?.offset == 1)
                #expect(try await health(cluster, 0) == #"{"status":"healthy"}"#)
                let report = try await cluster.status(0)
                #expect(report.mode == "standalone")
                #expect(report.redis?.status.isFallback == true && report.redis?.status.isEnabled == true)
                #expect(report.redis?.stats.connectedClients ?? 0 > 0)
                let calls = try redis.command(["INFO", "commandstats"])
                for command in ["publish", "subscribe", "psubscribe", "xadd"] {
                    #expect(!calls.contains("cmdstat_\(command):"), "\(calls)")
                }
                await client.close()
                socket.close()
            }
        }

        @Test("RA-30 nodes at different Redis servers warn of each other", .timeLimit(.minutes(3)))
        func differentServers() async throws {
            try await run { cluster, _ in
                let second = try RedisProcess(port: FreePorts.take(1)[0])
                defer { second.stop() }
                try second.start()
                try cluster.start(0)
                try cluster.start(1, environment: ["REDIS_URL": "redis://127.0.0.1:\(second.port)/0"])
                try await cluster.awaitReady()
                let isWarned = try await eventually(within: 60) {
                    let warnings = try await cluster.status(0).warnings
                    return warnings.contains { $0.contains("n2 answers, and is not registered") }
                }
                #expect(isWarned)
                // Brought to the same server, the warning goes away.
                #expect(await cluster.stop(1) == .code(0))
                try cluster.start(1)
                let isWell = try await eventually(within: 60) {
                    let warnings = try await cluster.status(0).warnings
                    return !warnings.contains { $0.contains("n2 answers") }
                }
                #expect(isWell)
            }
        }
    }
}
