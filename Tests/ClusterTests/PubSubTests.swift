import Admin
import Foundation
import Glibc
import RESP
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// What Pub/Sub promises, over the shim of a real cluster.
    @Suite struct PubSubTests {
        /// A subscriber's payloads of one channel, as numbers.
        private func numbers(_ socket: RedisSocket, _ channel: String, _ kind: String = "message") -> [Int] {
            socket.messages.filter { $0.kind == kind && $0.channel == channel }.compactMap { Int($0.payload) }
        }

        /// Samples of one family of a node's metrics, by their labels.
        private func samples(_ cluster: ProcessCluster, _ index: Int, _ name: String) async throws -> [String: Double] {
            let text = try await cluster.admin(index).get("/metrics").text
            var found: [String: Double] = [:]
            for line in text.split(separator: "\n") where line.hasPrefix(name + "{") {
                guard let end = line.lastIndex(of: "}") else { continue }
                found[String(line[...end].dropFirst(name.count))] = Double(line[end...].dropFirst(2))
            }
            return found
        }

        @Test(
            "T-10 RS-05 one publisher, many subscribers of a channel: in order, none lost, none delivered later",
            .timeLimit(.minutes(3)),
            // Whether the room is stored or not, plain Pub/Sub is at most once.
            arguments: ["best:ten", "kept:ten"]
        )
        func broadcast(_ channel: String) async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                var subscribers: [RedisSocket] = []
                for index in 0..<12 {
                    let socket = try await RedisSocket.connect(cluster.nodes[index % 3].resp)
                    try await socket.call("SUBSCRIBE", channel)
                    subscribers.append(socket)
                }
                let publisher = try await RedisSocket.connect(cluster.nodes[1].resp)
                let replies = try await publisher.pipeline((0..<1000).map { ["PUBLISH", channel, String($0)] })
                #expect(replies.allSatisfy { $0.number == 12 }, "every publish was sent to all twelve")
                for socket in subscribers {
                    #expect(try await eventually(within: 30) { socket.messageCount >= 1000 })
                    #expect(numbers(socket, channel) == Array(0..<1000))
                }
                // One goes, and comes back after more was said.
                subscribers[0].close()
                let isGone = try await eventually(within: 20) {
                    try await publisher.call("PUBSUB", "NUMSUB", channel).elements?.last?.number == 11
                }
                #expect(isGone)
                let missed = try await publisher.pipeline((1000..<1100).map { ["PUBLISH", channel, String($0)] })
                #expect(missed.allSatisfy { $0.number == 11 })
                let back = try await RedisSocket.connect(cluster.nodes[0].resp)
                try await back.call("SUBSCRIBE", channel)
                #expect(try await publisher.call("PUBLISH", channel, "1100").number == 12)
                for socket in subscribers.dropFirst() {
                    #expect(try await eventually(within: 30) { socket.messageCount >= 1101 })
                    #expect(numbers(socket, channel) == Array(0...1100))
                    socket.close()
                }
                #expect(try await eventually(within: 30) { back.messageCount >= 1 })
                #expect(try await back.call("PING") == .simple("PONG"), "whatever was sent before this has arrived")
                #expect(numbers(back, channel) == [1100], "what it missed does not come later")
                back.close()
                publisher.close()
            }
        }

        @Test(
            "T-11 RS-04 patterns: one copy for each that matches and for the channel, in the channel's order",
            .timeLimit(.minutes(3))
        )
        func patterns() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let subscriber = try await RedisSocket.connect(cluster.nodes[0].resp)
                let patterns = ["best:news.*", "best:*.a", "best:n?ws.[ab]", "best:weather.*"]
                try await subscriber.call("SUBSCRIBE", "best:news.a")
                _ = try await subscriber.pipeline(patterns.map { ["PSUBSCRIBE", $0] })
                // How many copies each channel's messages come in.
                let copies = ["best:news.a": 4, "best:news.b": 2, "best:news.c": 1, "best:sport.c": 0]
                // Two publishers at two nodes, each with channels of its own.
                let one = try await RedisSocket.connect(cluster.nodes[1].resp)
                let two = try await RedisSocket.connect(cluster.nodes[2].resp)
                async let first = one.pipeline(
                    (0..<400).map { ["PUBLISH", $0 % 2 == 0 ? "best:news.a" : "best:sport.c", String($0)] }
                )
                async let second = two.pipeline(
                    (0..<400).map { ["PUBLISH", $0 % 2 == 0 ? "best:news.b" : "best:news.c", String($0)] }
                )
                let counts = try await (first, second)
                for (number, reply) in counts.0.enumerated() {
                    #expect(reply.number == (number % 2 == 0 ? 4 : 0))
                }
                for (number, reply) in counts.1.enumerated() {
                    #expect(reply.number == (number % 2 == 0 ? 2 : 1))
                }
                let wanted = copies.values.reduce(0) { $0 + $1 * 200 }
                #expect(try await eventually(within: 30) { subscriber.messageCount >= wanted })
                #expect(try await subscriber.call("PING") == .simple("PONG"))
                let all = subscriber.messages
                #expect(all.count == wanted)
                for channel in copies.keys {
                    var found = 0
                    for pattern in [""] + patterns {
                        let own = all.filter { $0.channel == channel && $0.pattern == pattern }.compactMap {
                            Int($0.payload)
                        }
                        if own.isEmpty { continue }
                        found += 1
                        let parity = channel == "best:news.c" ? 1 : 0
                        #expect(own == (0..<200).map { $0 * 2 + parity }, "\(channel) by \(pattern)")
                    }
                    #expect(found == copies[channel], "\(channel)")
                }
                for socket in [subscriber, one, two] { socket.close() }
            }
        }

        @Test(
            "T-12 RS-05 a subscriber that does not read is cut off and counted; others lose nothing",
            .timeLimit(.minutes(3))
        )
        func slow() async throws {
            let options = redisClients(sections: "[resp]\nsubscriber_buffer = \"1MiB\"")
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let healthy = try await RedisSocket.connect(cluster.nodes[0].resp)
                try await healthy.call("SUBSCRIBE", "best:slow")
                let slow = try await RedisSocket.connect(cluster.nodes[0].resp, receiveBuffer: 16 << 10)
                slow.send([["SUBSCRIBE", "best:slow"]])
                let publisher = try await RedisSocket.connect(cluster.nodes[1].resp)
                let isThere = try await eventually(within: 20) {
                    try await publisher.call("PUBSUB", "NUMSUB", "best:slow").elements?.last?.number == 2
                }
                #expect(isThere)
                let padding = String(repeating: "x", count: 32 << 10)
                // Above its bound and what the kernel takes for it; the last ones are for the other subscriber alone.
                var sent = 0
                var receivers: [Int64] = []
                while receivers.count(where: { $0 == 1 }) < 2, sent < 1600 {
                    let texts = (sent..<sent + 16).map { "\($0) \(padding)" }
                    let replies = try await publisher.pipeline(texts.map { ["PUBLISH", "best:slow", $0] })
                    receivers.append(replies.last?.number ?? -1)
                    sent += 16
                }
                #expect(receivers.last == 1, "\(receivers)")
                let wanted = sent
                #expect(try await eventually(within: 30) { healthy.messageCount >= wanted })
                let heard = healthy.messages.map { Int($0.payload.prefix { $0 != " " }) ?? -1 }
                #expect(heard == Array(0..<sent), "the other subscriber lost nothing")

                let cuts = try await samples(cluster, 0, "resp_clients_cut_total")
                #expect(cuts[#"{node="n1",reason="slow_subscriber"}"#] == 1, "\(cuts)")
                #expect(cuts[#"{node="n1",reason="slow_reader"}"#] == 0)
                let info = try await healthy.call("INFO", "stats").text ?? ""
                #expect(info.contains("client_output_buffer_limit_disconnections:1\r\n"), "\(info)")
                // It learns of it by the end of its connection, behind less than was sent.
                slow.read()
                #expect(try await eventually(within: 30) { slow.isEnded })
                #expect(slow.messageCount < sent)
                let received = slow.messages.map { Int($0.payload.prefix { $0 != " " }) ?? -1 }
                #expect(received == Array(0..<received.count), "what came was in order")
                let back = try await RedisSocket.connect(cluster.nodes[0].resp)
                try await back.call("SUBSCRIBE", "best:slow")
                try await publisher.call("PUBLISH", "best:slow", "after")
                #expect(try await eventually(within: 20) { back.messageCount >= 1 })
                #expect(back.messages.map(\.payload) == ["after"])
                for socket in [healthy, publisher, back] { socket.close() }
            }
        }

        private static let orders = 200

        private func bytesBetweenNodes(_ cluster: ProcessCluster) async throws -> Double {
            var sum = 0.0
            for index in cluster.nodes.indices {
                let links = try await samples(cluster, index, "mesh_link_bytes_out_total")
                #expect(links.count == 2, "\(links)")
                sum += links.values.reduce(0, +)
            }
            return sum
        }

        /// A subscriber of a shard channel: the node that is asked says where to go.
        private func shardSubscriber(_ cluster: ProcessCluster, _ channel: String) async throws -> (RedisSocket, Int) {
            let asked = cluster.nodes[0].respCluster
            let asking = try await RedisSocket.connect(asked)
            guard case .error(let text) = try await asking.call("SSUBSCRIBE", channel) else { return (asking, asked) }
            asking.close()
            try #require(text.hasPrefix("MOVED "), "\(text)")
            let port = try #require(text.split(separator: ":").last.flatMap { Int($0) })
            let subscriber = try await RedisSocket.connect(port)
            let reply = try await subscriber.call("SSUBSCRIBE", channel)
            #expect(reply.elements?.first?.text == "ssubscribe", "\(reply)")
            return (subscriber, port)
        }

        private func publishOrders(_ word: String, _ channel: String, _ publisher: RedisSocket) async throws {
            let padding = String(repeating: "x", count: 1000)
            let replies = try await publisher.pipeline((0..<Self.orders).map { [word, channel, "\($0) \(padding)"] })
            #expect(replies.allSatisfy { $0.number == 3 }, "\(channel): \(replies.last as Any)")
        }

        private func hasOrders(_ socket: RedisSocket, _ channel: String, _ kind: String) async throws -> Bool {
            _ = try await eventually(within: 30) { socket.messageCount >= Self.orders }
            let heard = socket.messages.map { Int($0.payload.prefix { $0 != " " }) ?? -1 }
            return heard == Array(0..<Self.orders)
                && socket.messages.allSatisfy { $0.kind == kind && $0.channel == channel }
        }

        @Test(
            "T-13 RS-06 CL-18 shard channels: in order, less traffic between nodes than PUBLISH, slots in balance",
            .timeLimit(.minutes(3))
        )
        func sharded() async throws {
            try await ProcessCluster.run(redisClients(keyPartitions: 4)) { cluster in
                try await cluster.startAndAwaitReady()
                let channels = (0..<8).map { "best:orders:\($0)" }
                // Three subscribers of each channel. Those of plain channels may be anywhere, and somebody who hears
                // everything is elsewhere: no pattern matches a shard channel.
                let listener = try await RedisSocket.connect(cluster.nodes[2].resp)
                try await listener.call("PSUBSCRIBE", "nothing:*")
                var before = try await bytesBetweenNodes(cluster)
                for channel in channels {
                    var subscribers: [RedisSocket] = []
                    for node in cluster.nodes {
                        let socket = try await RedisSocket.connect(node.resp)
                        try await socket.call("SUBSCRIBE", channel)
                        subscribers.append(socket)
                    }
                    let publisher = try await RedisSocket.connect(cluster.nodes[0].resp)
                    try await publishOrders("PUBLISH", channel, publisher)
                    for socket in subscribers { #expect(try await hasOrders(socket, channel, "message")) }
                    for socket in subscribers + [publisher] { socket.close() }
                }
                let plain = try await bytesBetweenNodes(cluster) - before
                try await listener.call("PSUBSCRIBE", "*")
                before = try await bytesBetweenNodes(cluster)
                for channel in channels {
                    var subscribers: [RedisSocket] = []
                    var owner = 0
                    for _ in 0..<3 {
                        let (socket, port) = try await shardSubscriber(cluster, channel)
                        subscribers.append(socket)
                        owner = port
                    }
                    let publisher = try await RedisSocket.connect(owner)
                    try await publishOrders("SPUBLISH", channel, publisher)
                    for socket in subscribers { #expect(try await hasOrders(socket, channel, "smessage")) }
                    for socket in subscribers + [publisher] { socket.close() }
                }
                let shard = try await bytesBetweenNodes(cluster) - before
                let messages = channels.count * Self.orders
                print("bytes between nodes for \(messages) messages: PUBLISH \(plain), SPUBLISH \(shard)")
                #expect(shard < plain, "PUBLISH \(plain), SPUBLISH \(shard)")
                #expect(listener.messageCount == 0, "no pattern hears a shard channel")

                // Two of four partitions at most, that is, the share of any node rounded up.
                let isBalanced = try await eventually(within: 60) {
                    let owners = try await cluster.status(0).partitions.filter { $0.id >= 8 }.compactMap(\.owner)
                    return owners.count == 4 && cluster.nodes.allSatisfy { node in owners.count { $0 == node.id } <= 2 }
                }
                #expect(isBalanced)
                listener.close()
            }
        }

        /// Numbers that a browser's client hears in a room, and the longest pause between two.
        private struct Heard {
            var numbers: [Int] = []
            var last: ContinuousClock.Instant?
            var pause = Duration.zero
            var isSubscribed = 0
        }
        private func listen(_ client: VencejoClient, _ room: String) -> Shared<Heard> {
            let heard = Shared(Heard())
            let events = client.subscribe(room)
            Task {
                for await event in events {
                    switch event {
                    case .subscribed: heard.change { $0.isSubscribed += 1 }
                    case .message(let message):
                        let number = Int(String(decoding: message.data, as: UTF8.self)) ?? -1
                        let now = ContinuousClock.now
                        heard.change {
                            $0.numbers.append(number)
                            if let last = $0.last { $0.pause = max($0.pause, now - last) }
                            $0.last = now
                        }
                    default: break
                    }
                }
            }
            return heard
        }

        private func publish(_ range: ClosedRange<Int>, in rooms: [String], _ publisher: VencejoClient) async throws {
            for number in range {
                for room in rooms {
                    let isDone = try await eventually(within: 60) {
                        (try? await publisher.publish(
                            room,
                            Array("\(number)".utf8),
                            idempotencyKey: "\(number)"
                        )) != nil
                    }
                    #expect(isDone)
                }
            }
        }

        @Test(
            """
            T-16 a subscriber cut off during a publish: best effort is not delivered again, guaranteed is replayed, \
            others notice nothing
            """,
            .timeLimit(.minutes(3))
        )
        func cut() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                // The first node carries the subscriber that is cut off with it, and nothing but its process dies.
                let lonely = try await cluster.client(0, alone: true)
                let other = try await cluster.client(1, alone: true)
                let rooms = ["best:cut", "kept:cut"]
                let cutOff = rooms.map { listen(lonely, $0) }
                let others = rooms.map { listen(other, $0) }
                let isUp = try await eventually(within: 20) {
                    (cutOff + others).allSatisfy { $0.value.isSubscribed == 1 }
                }
                #expect(isUp)
                let publisher = try await cluster.client(2, alone: true)
                try await publish(1...30, in: rooms, publisher)
                #expect(try await eventually(within: 20) { cutOff.allSatisfy { $0.value.numbers.count == 30 } })
                let clock = ContinuousClock()
                let began = clock.now
                await cluster.kill(0)
                // What a best-effort room loses with its owner is not the matter here: it is heard again before more
                // is said.
                let isSettled = try await eventually(within: 60) {
                    _ = try? await publisher.publish(rooms[0], Array("0".utf8))
                    return others[0].value.numbers.contains(0)
                }
                #expect(isSettled)
                try await publish(31...60, in: rooms, publisher)
                try cluster.start(0)
                try await cluster.awaitReady()
                let isBack = try await eventually(within: 60) { cutOff.allSatisfy { $0.value.isSubscribed == 2 } }
                #expect(isBack)
                let outage = clock.now - began
                try await publish(61...70, in: rooms, publisher)
                var more = 70
                let isAll = try await eventually(within: 30) {
                    // The room may change its owner once more, back to the node that has returned.
                    if cutOff[0].value.numbers.last ?? 0 <= 60 {
                        more += 1
                        _ = try? await publisher.publish(rooms[0], Array("\(more)".utf8))
                    }
                    return cutOff[0].value.numbers.last ?? 0 > 60 && cutOff[1].value.numbers.last == 70
                        && others[1].value.numbers.last == 70
                }
                #expect(isAll, "\((cutOff + others).map { $0.value.numbers.suffix(3) })")
                let unstored = cutOff[0].value.numbers.filter { $0 > 0 }
                #expect(Array(unstored.prefix(30)) == Array(1...30) && unstored.allSatisfy { $0 <= 30 || $0 > 60 })
                #expect(zip(unstored, unstored.dropFirst()).allSatisfy { $0 < $1 }, "nothing twice: \(unstored)")
                #expect(cutOff[1].value.numbers == Array(1...70), "replayed")
                #expect(others[1].value.numbers == Array(1...70))
                #expect(others[0].value.numbers.filter { (1...60).contains($0) } == Array(1...60))
                print("cut off for \(outage); the others' longest pause \(others.map(\.value.pause))")
                for client in [lonely, other, publisher] { await client.close() }
            }
        }

        /// redis-py's channel and pattern, the one that stayed, the browser: nobody more, nobody less.
        private func isWhole(_ socket: RedisSocket, _ channel: String) async throws -> Bool {
            let count = try await socket.call("PUBSUB", "NUMSUB", channel).elements?.last?.number
            let patterns = try await socket.call("PUBSUB", "NUMPAT").number
            return count == 3 && patterns == 1
        }

        @Test(
            "T-17 a node restarts: subscriptions are active again without hands, and the cluster counts them right",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(4)),
            arguments: [SIGKILL, SIGTERM]
        )
        func restart(_ signal: Int32) async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let channel = "best:restart"
                let arguments = [String(cluster.nodes[0].resp), channel, "best:rest*"]
                try await Python.with("redis_subscriber.py", arguments) { _, lines in
                    let stayed = try await RedisSocket.connect(cluster.nodes[1].resp)
                    try await stayed.call("SUBSCRIBE", channel)
                    let browser = try await cluster.client(0, alone: true)
                    let heard = Shared<[String]>([])
                    let events = browser.subscribe(channel)
                    Task {
                        for await case .message(let message) in events {
                            heard.change { $0.append(String(decoding: message.data, as: UTF8.self)) }
                        }
                    }
                    let publisher = try await RedisSocket.connect(cluster.nodes[2].resp)
                    #expect(try await eventually(within: 30) { try await isWhole(publisher, channel) }, "\(lines.all)")
                    for round in 1...2 {
                        let clock = ContinuousClock()
                        let began = clock.now
                        if signal == SIGKILL { await cluster.kill(0) } else { await cluster.stop(0) }
                        try cluster.start(0)
                        try await cluster.awaitReady()
                        let isBack = try await eventually(within: 60) { try await isWhole(publisher, channel) }
                        #expect(isBack, "\(lines.all)")
                        print("restart by signal \(signal): subscriptions whole again after \(clock.now - began)")
                        // Ownership may still move back to the node that has returned: the next one is heard by all.
                        var isHeard = false
                        for attempt in 1...20 where !isHeard {
                            let mark = "\(round).\(attempt)"
                            guard try await publisher.call("PUBLISH", channel, mark).number == 4 else { continue }
                            isHeard = try await eventually(within: 5) {
                                stayed.messages.contains { $0.payload == mark } && heard.value.contains(mark)
                                    && lines.all.contains("message \(channel) \(mark)")
                                    && lines.all.contains("pmessage \(channel) \(mark)")
                            }
                        }
                        #expect(isHeard, "\(lines.all) \(heard.value)")
                    }
                    for list in [
                        stayed.messages.map(\.payload), heard.value, lines.all.filter { $0.hasPrefix("message ") },
                        lines.all.filter { $0.hasPrefix("pmessage ") },
                    ] {
                        #expect(Set(list).count == list.count, "nothing twice: \(list)")
                    }
                    await browser.close()
                    stayed.close()
                    publisher.close()
                }
            }
        }
    }
}
