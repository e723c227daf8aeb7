import Admin
import Foundation
import Glibc
import HistoryChecker
import RESP
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct DrainTests {
        private static let rooms = ["drain:a", "drain:b", "drain:c", "drain:d"]

        // MARK: SIGTERM

        @Test(
            """
            GW-09 T-29 SIGTERM under load: queued messages arrive, accepted publishes are answered, close codes 1012 \
            and 3001 are seen
            """,
            .timeLimit(.minutes(5))
        )
        func sigterm() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let port = cluster.nodes[0].gateway
                let quick = try PlainSocket.connect(port, "/ws?room=gw:room")
                let slow = try PlainSocket.connect(port, "/ws?room=gw:room", receiveBuffer: 4096)
                let busy = try PlainSocket.connect(port, "/connection/websocket")
                busy.send(#"{"id":1,"connect":{}}"#)
                _ = try await busy.await { ($0["id"] as? Int) == 1 }
                _ = try await quick.await { ($0["type"] as? String) == "joined" }

                // More than the kernel takes for a reader that stands still, and less than its queue holds.
                let payload = String(repeating: "x", count: 8000)
                let publisher = try await cluster.client(1, alone: true)
                for number in 1...40 {
                    _ = try await publisher.publish("gw:room", Array(#"{"n":\#(number),"p":"\#(payload)"}"#.utf8))
                }
                let isHeard = try await eventually(within: 20) { Self.numbers(quick).count == 40 }
                #expect(isHeard, "\(quick.received.count)")
                // Publishes on their way at the moment of the signal, from a client that does not wait for answers.
                let isStopped = Shared(false)
                let sender = Task.detached {
                    var id = 100
                    while !isStopped.value, !busy.isEnded, id < 60_000 {
                        busy.send(#"{"id":\#(id),"publish":{"channel":"gw:own","data":\#(id)}}"#)
                        id += 1
                        try? await Task.sleep(for: .microseconds(200))
                    }
                }
                try await Task.sleep(for: .milliseconds(500))
                let clock = ContinuousClock()
                let began = clock.now
                cluster.child(0)?.signal(SIGTERM)
                let isRefusing = try await eventually(within: 20) {
                    await cluster.admin(0).unreadiness()?.contains("draining") ?? false
                }
                #expect(isRefusing, "LB-10: 503 while it drains")
                #expect(cluster.child(0)?.exit == nil, "it waits for the slow reader")
                slow.read()
                let exit = await cluster.child(0)?.wait()
                print("SIGTERM to exit: \(clock.now - began), with a reader that woke up meanwhile")
                isStopped.change { $0 = true }
                await sender.value
                #expect(exit == .code(0))
                for socket in [quick, slow, busy] {
                    #expect(try await eventually(within: 10) { socket.isEnded })
                }
                #expect(quick.closeCode == 1012 && slow.closeCode == 1012 && busy.closeCode == 3001)
                #expect(Self.numbers(slow) == Array(1...40), "what was queued has arrived")

                let answered = busy.objects.filter { $0["publish"] != nil }.compactMap { $0["id"] as? Int }
                let reader = try await cluster.client(2, alone: true)
                let recorder = Recorder()
                let log = try await recorder.read(reader, room: "gw:own", replica: 1)
                let kept = log.entries.map { Int($0.message) }
                #expect(answered.count > 50 && kept == answered, "each accepted publish was answered, in order")
                print("\(answered.count) publishes answered before the close, \(kept.count) kept")
                await publisher.close()
                await reader.close()
            }
        }

        private static func numbers(_ socket: PlainSocket) -> [Int] { socket.objects.compactMap { $0["n"] as? Int } }

        @Test("GW-09 a second SIGTERM ends a node at once", .timeLimit(.minutes(3)))
        func impatient() async throws {
            var options = ProcessCluster.Options()
            options.nodes = 1
            options.mode = "standalone"
            options.hasRedisClients = true
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                // A client that never gets to its end.
                let stuck = try await RedisSocket.connect(cluster.nodes[0].resp)
                try await stuck.call("MULTI")
                cluster.child(0)?.signal(SIGTERM)
                let isDraining = try await eventually(within: 20) {
                    (try? await cluster.status(0).drain?.state) == "moving clients"
                }
                #expect(isDraining)
                #expect(cluster.child(0)?.exit == nil && !stuck.isEnded)
                #expect(await cluster.stop(0) == .code(1))
                #expect(try await eventually(within: 10) { stuck.isEnded })
            }
        }

        // MARK: vencejo drain

        @Test(
            """
            LB-07 LB-10 LB-11 RC-09 T-29 drain under load: nothing acknowledged is lost, the node is empty before its \
            budget, and serves again after undrain
            """,
            .timeLimit(.minutes(8))
        )
        func drain() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let config = ["--config", cluster.configurationPath]
                let load = try await Load.start(cluster, Self.rooms)
                let port = cluster.nodes[1].gateway
                var plain: [PlainSocket] = []
                for _ in 0..<100 { plain.append(try PlainSocket.connect(port, "/ws?room=best:drain")) }
                let witness = try PlainSocket.connect(cluster.nodes[0].gateway, "/ws?room=best:drain")
                try await Task.sleep(for: .seconds(2))

                let result = try await Executable.run(["drain", "n2", "--budget", "20s"] + config)
                for line in result.lines { print("drain: \(line)") }
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last?.contains("n2 is empty") == true)
                let status = try await cluster.status(1)
                let drained = try #require(status.drain)
                #expect(drained.state == "empty" && drained.clients == 0 && drained.owners == 0 && drained.cut == 0)
                #expect(drained.moved >= 100 && drained.elapsedMilliseconds < 20_000)
                #expect(await cluster.admin(1).unreadiness()?.contains("draining") == true)
                for socket in plain {
                    #expect(try await eventually(within: 10) { socket.isEnded })
                    #expect(socket.closeCode == 1012)
                }
                // Elsewhere, as soon as gossip has told of a node with room.
                #expect([307, 503].contains(try PlainSocket.connect(port, "/ws").status))
                let survey = try await Executable.run(["status"] + config)
                let isShown = survey.lines.contains { $0.hasPrefix("n2") && $0.contains("drained") }
                #expect(survey.exit == .code(1) && isShown, "\(survey.lines)")
                let text = try await cluster.admin(1).get("/metrics").text
                #expect(text.contains(#"drain_state{node="n2",state="empty"} 1"#))

                // It stays empty: nobody gives it anything back.
                let acknowledged = load.acknowledged
                try await Task.sleep(for: .seconds(5))
                #expect(load.acknowledged > acknowledged)
                let owners = Set(try await cluster.status(0).partitions.map { $0.owner ?? "nobody" })
                #expect(!owners.contains("n2") && !owners.contains("nobody"), "\(owners)")
                #expect(!witness.isEnded, "clients of other nodes see no close")

                #expect(try await Executable.run(["undrain", "n2"] + config).exit == .code(0))
                try await cluster.awaitReady()
                let isBack = try await eventually(within: 60) {
                    try await cluster.status(0).partitions.contains { $0.owner == "n2" }
                }
                #expect(isBack, "its leaderships come back")
                #expect(try PlainSocket.connect(port, "/ws").status == 101)
                let report = try await load.finish()
                print("drain: \(Load.summary(report))")
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(load.recorder.failures == [])
                #expect(report.statistics.unknownOutcome == 0 && report.statistics.acknowledged > 100)
                #expect(!witness.isEnded)
            }
        }

        @Test(
            "LB-07 clients that do not go are cut off when the budget is over, and the command says so",
            .timeLimit(.minutes(3))
        )
        func overBudget() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let config = ["--config", cluster.configurationPath]
                let stuck = try await RedisSocket.connect(cluster.nodes[1].resp)
                try await stuck.call("MULTI")
                let waiting = try await RedisSocket.connect(cluster.nodes[1].resp)
                waiting.send([["BLPOP", "nobody", "0"]])
                let idle = try await RedisSocket.connect(cluster.nodes[1].resp)
                try await idle.call("SET", "a", "1")

                let result = try await Executable.run(["drain", "n2", "--budget", "2s"] + config)
                #expect(result.exit == .code(1), "\(result.lines)")
                #expect(result.lines.last?.contains("1 were cut off") == true, "\(result.lines)")
                for socket in [stuck, waiting, idle] { #expect(try await eventually(within: 10) { socket.isEnded }) }
                let elsewhere = try await RedisSocket.connect(cluster.nodes[0].resp)
                #expect(try await elsewhere.call("GET", "a").text == "1")
                #expect(try await Executable.run(["drain", "n9"] + config).exit == .code(64))
                #expect(try await Executable.run(["drain", "n1", "--budget", "soon"] + config).exit == .code(64))
            }
        }

        // MARK: Rolling restart

        @Test(
            """
            CL-15 GW-09 all nodes are restarted one by one under load: nothing acknowledged is lost, repeated or \
            reordered
            """,
            .timeLimit(.minutes(10))
        )
        func rollingRestart() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let load = try await Load.start(cluster, Self.rooms)
                try await Task.sleep(for: .seconds(2))
                let clock = ContinuousClock()
                for index in cluster.nodes.indices {
                    let began = clock.now
                    #expect(await cluster.stop(index) == .code(0))
                    let stopped = clock.now
                    try cluster.start(index)
                    try await cluster.awaitReady()
                    let id = cluster.nodes[index].id
                    print("rolling restart: \(id) stops in \(stopped - began), is ready after \(clock.now - stopped)")
                    try await Task.sleep(for: .seconds(2))
                }
                let report = try await load.finish()
                print("rolling restart: \(Load.summary(report))")
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(load.recorder.failures == [])
                #expect(report.statistics.unknownOutcome == 0 && report.statistics.acknowledged > 100)
                #expect(report.statistics.declaredGaps == 0)
            }
        }

        // MARK: Deaths

        @Test("RC-09 the owner of a room is killed: no connection to another node is closed", .timeLimit(.minutes(5)))
        func survivors() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let room = "best:rc"
                let owner = try #require(await cluster.owner(of: room))
                let others = cluster.nodes.indices.filter { $0 != owner }
                var sockets: [PlainSocket] = []
                for index in others {
                    for _ in 0..<25 {
                        sockets.append(try PlainSocket.connect(cluster.nodes[index].gateway, "/ws?room=\(room)"))
                    }
                }
                for socket in sockets { _ = try await socket.await { ($0["type"] as? String) == "joined" } }
                await cluster.kill(owner)
                let isOwned = try await eventually(within: 30) {
                    let next = await cluster.owner(of: room, asking: others)
                    return next != nil && next != owner
                }
                #expect(isOwned)
                let publisher = try await cluster.client(others[0], alone: true)
                // Best effort: again until everybody has heard one.
                let isHeard = try await eventually(within: 30) {
                    _ = try? await publisher.publish(room, Array(#"{"n":1}"#.utf8))
                    return sockets.allSatisfy { !Self.numbers($0).isEmpty }
                }
                #expect(isHeard)
                #expect(sockets.count { $0.isEnded } == 0, "0 closes on survivors")
                await publisher.close()
            }
        }

        @Test(
            """
            T-31 RC-02 two gateways of five are killed together: all clients are back within seconds, in no storm, and \
            miss nothing
            """,
            .timeLimit(.minutes(8))
        )
        func batch() async throws {
            var options = ProcessCluster.Options()
            options.nodes = 5
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady(within: 120)
                let room = "batch:room"
                // One of them is the room's owner, and the other has no copy: three copies survive one loss at a time.
                let partition = cluster.partition(of: room)
                let row = try #require(try await cluster.status(0).partitions.first { $0.id == partition })
                let owner = try #require(cluster.nodes.firstIndex { $0.id == row.owner })
                let other = try #require(cluster.nodes.firstIndex { !row.replicas.contains($0.id) })
                let survivor = try #require(cluster.nodes.indices.first { $0 != owner && $0 != other })
                let received = Shared<[Int: [UInt64]]>([:])
                let closed = Shared(0)
                let back = Shared<[Double]>([])
                let killed = Shared<ContinuousClock.Instant?>(nil)
                var clients: [VencejoClient] = []
                for number in 0..<60 {
                    let client = try await cluster.client(number % 5) { $0.backoffMilliseconds = 100...2000 }
                    clients.append(client)
                    let events = client.subscribe(room, SubscriptionOptions(start: .beginning))
                    Task {
                        for await event in events {
                            switch event {
                            case .message(let message):
                                received.change { $0[number, default: []].append(message.offset) }
                            case .disconnected: closed.change { $0 += 1 }
                            case .subscribed:
                                guard let began = killed.value else { continue }
                                let seconds = (ContinuousClock.now - began) / .seconds(1)
                                back.change { $0.append(seconds) }
                            default: break
                            }
                        }
                    }
                }
                let publisher = try await cluster.client(survivor, alone: true)
                func publish(_ count: Int) async throws {
                    for _ in 0..<count {
                        let key = UUID().uuidString
                        let isPublished = try await eventually(within: 60) {
                            (try? await publisher.publish(room, Array("1".utf8), idempotencyKey: key)) != nil
                        }
                        guard isPublished else { throw ClusterFailure("a publish is not taken for a minute") }
                    }
                }
                try await publish(50)
                killed.change { $0 = ContinuousClock.now }
                for index in [owner, other] { cluster.child(index)?.signal(SIGKILL) }
                for index in [owner, other] { await cluster.kill(index) }
                try await publish(100)
                let isComplete = try await eventually(within: 60) {
                    received.value.count == 60 && received.value.values.allSatisfy { $0.count >= 150 }
                }
                #expect(isComplete, "\(received.value.mapValues(\.count))")
                let orders = received.value.values
                #expect(orders.allSatisfy { $0 == (1...150).map { UInt64($0) } }, "each once and in order")
                #expect(closed.value == 24, "only the clients of the killed nodes: \(closed.value)")
                let times = back.value.sorted()
                #expect(times.count == 24 && (times.last ?? 99) < 10, "\(times)")
                let peak = times.map { time in times.count { $0 >= time && $0 < time + 0.1 } }.max() ?? 0
                let (first, last) = (times.first ?? 0, times.last ?? 0)
                print("batch kill: 24 clients back after \(first) to \(last) s, at most \(peak) within 100 ms")
                for client in clients { await client.close() }
                await publisher.close()
            }
        }
    }
}
