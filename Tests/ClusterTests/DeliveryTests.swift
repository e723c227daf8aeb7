import Foundation
import Primitives
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct DeliveryTests {
        @Test(
            """
            P-03 P-04 P-06 RA-32 DL-01 DL-02 DL-06 DL-12 RM-13 what is published on one node reaches every node in one \
            order, with id and time
            """,
            .timeLimit(.minutes(3)),
            arguments: RunMode.here
        )
        func acrossNodes(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                let clock = ContinuousClock()
                let began = clock.now
                try cluster.startAll()
                let first = try await Self.firstAcknowledged(cluster)
                print("three nodes, start to first acknowledged publish: \(clock.now - began)")
                try await cluster.awaitReady()
                #expect(first.position?.offset == 1)

                let received = Shared<[String: [ReceivedMessage]]>([:])
                var clients: [VencejoClient] = []
                let ready = Shared(0)
                for index in cluster.nodes.indices {
                    for room in ["across:room", "best:room"] {
                        let client = try await cluster.client(index, alone: true)
                        clients.append(client)
                        let events = client.subscribe(room)
                        Task {
                            for await event in events {
                                switch event {
                                case .subscribed: ready.change { $0 += 1 }
                                case .message(let message):
                                    received.change { $0["\(index) \(room)", default: []].append(message) }
                                default: break
                                }
                            }
                        }
                    }
                }
                #expect(try await eventually(within: 30) { ready.value == 6 })
                // From all nodes at once.
                let count = 60
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for index in cluster.nodes.indices {
                        let client = try await cluster.client(index, alone: true)
                        clients.append(client)
                        group.addTask {
                            for number in 1...count {
                                for room in ["across:room", "best:room"] {
                                    _ = try await client.publish(room, Array("\"\(index)-\(number)\"".utf8))
                                }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let isComplete = try await eventually(within: 30) {
                    received.change { lists in lists.count == 6 && lists.values.allSatisfy { $0.count >= count * 3 } }
                }
                let lists = received.value
                #expect(isComplete, "\(lists.mapValues(\.count))")
                for room in ["across:room", "best:room"] {
                    let orders = cluster.nodes.indices.map { (lists["\($0) \(room)"] ?? []).map(\.data) }
                    #expect(orders[0].count == count * 3, "each once")
                    #expect(orders[0] == orders[1] && orders[1] == orders[2], "one order of \(room)")
                    for index in 0..<3 {
                        let own = orders[0].filter { String(decoding: $0, as: UTF8.self).hasPrefix("\"\(index)-") }
                        #expect(own == (1...count).map { Array("\"\(index)-\($0)\"".utf8) }, "each publisher's order")
                    }
                }
                for message in lists.values.joined() {
                    #expect(!message.id.isEmpty)
                    #expect(message.time > 1_600_000_000_000)
                }
                let offsets = (lists["0 across:room"] ?? []).map(\.offset)
                #expect(offsets == Array(2...UInt64(count * 3 + 1)), "dense, after the first one")

                // Best effort is not there for those who come later.
                let late = try await cluster.client(1, alone: true)
                await #expect(throws: ClientFailure.self) { _ = try await late.history("best:room") }
                let lateMessages = Shared(0)
                let events = late.subscribe("best:room", SubscriptionOptions(start: .beginning))
                Task { for await case .message in events { lateMessages.change { $0 += 1 } } }
                try await Task.sleep(for: .milliseconds(500))
                #expect(lateMessages.value == 0)
                for client in clients + [late] { await client.close() }
            }
        }

        private static func firstAcknowledged(_ cluster: ProcessCluster) async throws -> PublishReceipt {
            var receipt: PublishReceipt?
            _ = try await eventually(within: 60) {
                guard let client = try? await cluster.client(0, { $0.requestMilliseconds = 1000 }) else { return false }
                receipt = try? await client.publish("across:room", Array("0".utf8), idempotencyKey: "first")
                await client.close()
                return receipt != nil
            }
            guard let receipt else { throw ClusterFailure("nothing was acknowledged within 60 s") }
            return receipt
        }

        @Test(
            "DL-11 kill -9 of the owner right after the acknowledgement: the message is there",
            .timeLimit(.minutes(5))
        )
        func killAfterAcknowledgement() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                for round in 1...3 {
                    let room = "ack:\(round)"
                    let owner = try #require(await cluster.owner(of: room))
                    let client = try await cluster.client((owner + 1) % 3, alone: true)
                    let receipt = try await client.publish(room, Array("\(round)".utf8))
                    await cluster.kill(owner)
                    var page: HistoryPage?
                    _ = try await eventually(within: 30) {
                        page = try? await client.history(room)
                        return page?.messages.isEmpty == false
                    }
                    #expect(page?.messages.map(\.data) == [Array("\(round)".utf8)])
                    #expect(page?.top == receipt.position)
                    await client.close()
                    try cluster.start(owner)
                    try await cluster.awaitReady()
                }
            }
        }

        @Test(
            "P-06 RA-32 RM-01 RM-02 GW-01 GW-13 /ws: broadcasts reach all nodes, rooms only their members",
            .timeLimit(.minutes(3)),
            arguments: RunMode.here
        )
        func plain(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let sockets = try cluster.nodes.map { try PlainSocket.connect($0.gateway, "/ws") }
                #expect(sockets.map(\.status) == [101, 101, 101])
                for (index, socket) in sockets.enumerated() where index < 2 {
                    socket.send(#"{"type":"join","room":"plain:room"}"#)
                    _ = try await socket.await { $0["type"] as? String == "joined" }
                }
                // Joining the room of everyone takes a moment on each node: ask until all have heard one.
                let isJoined = try await eventually(within: 20) {
                    sockets[0].send(#"{"content":"warm-up","user":"ana"}"#)
                    try await Task.sleep(for: .milliseconds(100))
                    return sockets.allSatisfy { $0.received.contains { $0.contains("warm-up") } }
                }
                #expect(isJoined)
                sockets[2].send(#"{"content":"to all","user":{"name":"ana"}}"#)
                sockets[2].send(#"{"content":"to members","user":"ana","room":"plain:room"}"#)
                for socket in sockets {
                    let message = try await socket.await { $0["content"] as? String == "to all" }
                    #expect(Set(message.keys) == ["type", "content", "user"])
                    #expect(message["type"] as? String == "message")
                    #expect((message["user"] as? [String: String])?["name"] == "ana")
                }
                for socket in sockets.prefix(2) {
                    let message = try await socket.await { $0["content"] as? String == "to members" }
                    #expect(message["room"] as? String == "plain:room")
                }
                // A later broadcast has arrived everywhere; the room's message has not leaked before it.
                sockets[0].send(#"{"content":"last","user":"ana"}"#)
                for socket in sockets { _ = try await socket.await { $0["content"] as? String == "last" } }
                #expect(!sockets[2].received.contains { $0.contains("to members") })
                for socket in sockets { socket.close() }

                #expect(try PlainSocket.connect(cluster.nodes[0].gateway, "/nowhere").status == 404)
            }
        }

        @Test(
            "P-06 RA-32 RM-03 a message to a user reaches all of the user's connections on any node",
            .timeLimit(.minutes(3)),
            arguments: RunMode.here
        )
        func user(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let ana = try [0, 1].map { try PlainSocket.connect(cluster.nodes[$0].gateway, "/ws?user=ana") }
                let eva = try PlainSocket.connect(cluster.nodes[1].gateway, "/ws?user=eva")
                var number = 0
                let isHeard = try await eventually(within: 20) {
                    number += 1
                    let data = #"{"type":"message","content":"for ana \#(number)","user":"x"}"#
                    let body = ##"{"channel":"#ana","data":\##(data)}"##
                    let answer = try await cluster.post(2, "/api/publish", body)
                    #expect(answer.status == 200, "\(answer.text)")
                    try await Task.sleep(for: .milliseconds(100))
                    return ana.allSatisfy { $0.received.contains { $0.contains("for ana") } }
                }
                #expect(isHeard)
                eva.send(##"{"type":"join","room":"#ana","id":1}"##)
                _ = try await eva.await { $0["type"] as? String == "error" }
                #expect(!eva.received.contains { $0.contains("for ana") })
                for socket in ana + [eva] { socket.close() }
            }
        }

        private static let hasCurl = FileManager.default.isExecutableFile(atPath: "/usr/bin/curl")

        @Test(
            "P-06 RA-32 DL-08 curl publishes through the server API, and a repeat with the same key takes effect once",
            .enabled(if: hasCurl, "needs curl"),
            .timeLimit(.minutes(3)),
            arguments: RunMode.here
        )
        func curl(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let body = #"{"channel":"curl:room","data":{"text":"hello"},"idempotency_key":"key-1"}"#
                var answers: [String] = []
                // The repeat goes to another node.
                for index in [0, 1, 0] {
                    let url = "http://127.0.0.1:\(cluster.nodes[index].gateway)/api/publish"
                    let result = try await Executable.run("curl", ["-sS", "-f", "-d", body, url])
                    #expect(result.exit == .code(0), "\(result.lines)")
                    answers.append(result.lines.joined())
                }
                #expect(answers.allSatisfy { $0.contains(#""offset":1"#) }, "\(answers)")
                #expect(!answers[0].contains("duplicate") && answers[1].contains(#""duplicate":true"#), "\(answers)")
                let client = try await cluster.client(2)
                let page = try await client.history("curl:room")
                #expect(page.messages.map(\.offset) == [1])
                #expect(String(decoding: page.messages[0].data, as: UTF8.self) == #"{"text":"hello"}"#)
                await client.close()
                let url = "http://127.0.0.1:\(cluster.nodes[0].gateway)/api/publish"
                let wrong = try await Executable.run("curl", ["-sS", "-d", "{\"channel\":", url])
                #expect(wrong.lines.joined().contains(#""code":107"#), "\(wrong.lines)")
            }
        }
    }
}
