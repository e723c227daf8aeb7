import Broker
import Gateway
import Glibc
import OwnThread
import Primitives
import Rooms
import Testing

@Suite(.serialized, .ownThread)
struct DeliveryTests {
    /// A session that is in `rooms` and does not read.
    private func join(_ node: TestNode, _ rooms: [String], receiveBuffer: Int32 = 0) throws -> RawClient {
        let client = try RawClient(port: node.port, receiveBuffer: receiveBuffer)
        _ = client.connect()
        for (index, room) in rooms.enumerated() {
            let id = index + 2
            _ = client.ask("{\"id\":\(id),\"subscribe\":{\"channel\":\"\(room)\"}}", id: id)
        }
        return client
    }

    /// Publishes `count` messages of about a kilobyte in batches, each batch in one tick.
    private func flood(_ node: TestNode, _ room: String, _ count: Int, batch: Int = 50) async {
        let filler = String(repeating: "x", count: 1000)
        for start in stride(from: 0, to: count, by: batch) {
            await node.onLoop { broker, _ in
                for n in start..<min(start + batch, count) {
                    let body = MessageBody(payload: Array("{\"n\":\(n),\"f\":\"\(filler)\"}".utf8)[...])
                    broker.append(RoomName(room), body.encoded()[...])
                }
                return ()
            }
        }
    }

    private func number(_ text: String) -> Int? {
        guard let start = text.range(of: "\"n\":")?.upperBound else { return nil }
        return Int(text[start...].prefix { $0.isNumber })
    }

    private func dropCount(_ text: String) -> Int {
        guard let start = text.range(of: "\"count\":")?.upperBound else { return 0 }
        return Int(text[start...].prefix { $0.isNumber }) ?? 0
    }

    @Test("a burst of one tick beyond the write limit reaches a reader that keeps up")
    func burst() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 64 << 10
            $0.socketSendBuffer = 4 << 20
        }
        let quick = try join(node, ["live:a"], receiveBuffer: 4 << 20)
        await flood(node, "live:a", 300, batch: 300)
        for n in 0..<300 { #expect(number(quick.text() ?? "") == n) }
        #expect(await node.metrics.dropped(.bestEffort, .slow) == 0)
        await node.stop()
    }

    @Test("a tick costs one flush per connection, however many messages it has")
    func oneFlush() async throws {
        let node = try await TestNode.start()
        var clients: [RawClient] = []
        for _ in 0..<40 { clients.append(try join(node, ["a", "b"])) }
        let before = await node.metrics
        await node.onLoop { broker, _ in
            for n in 0..<10 {
                broker.append(
                    RoomName(n % 2 == 0 ? "a" : "b"),
                    MessageBody(payload: Array("\(n)".utf8)[...]).encoded()[...]
                )
            }
        }
        #expect(await node.eventually { _, edge in edge.metrics.messagesSent - before.messagesSent == 400 })
        let after = await node.metrics
        #expect(after.flushes - before.flushes == 40)
        #expect(after.broadcasts - before.broadcasts == 10)
        for client in clients {
            for n in 0..<10 { #expect(client.text()?.contains("\"data\":\(n),") == true) }
        }
        #expect(after.latencyCount == before.latencyCount + 400)
        await node.stop()
    }

    @Test("GW-06 one of a hundred sockets breaks in mid-broadcast: 99 receive, one is cleaned up")
    func brokenRecipient() async throws {
        let node = try await TestNode.start()
        var clients: [RawClient] = []
        for _ in 0..<99 { clients.append(try join(node, ["a"])) }
        do {
            let broken = try join(node, ["a"])
            var linger = linger(l_onoff: 1, l_linger: 0)
            setsockopt(broken.descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
            await node.publish("a", "1")
            // Its end sends a reset, while more is on its way.
        }
        for n in 2...20 { await node.publish("a", "\(n)") }
        for client in clients {
            for n in 1...20 { #expect(client.text()?.contains("\"data\":\(n),") == true) }
        }
        #expect(
            await node.eventually { broker, edge in edge.metrics.activeSessions == 99 && broker.openSessions == 99 }
        )
        await node.stop()
    }

    @Test("BP-01 a stalled reader of a stored room is bounded, loses nothing, and harms nobody")
    func stalledStored() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 64 << 10
            $0.socketSendBuffer = 16 << 10
        }
        let slow = try join(node, ["a"], receiveBuffer: 8 << 10)
        let quick = try join(node, ["a"])
        let reader = Task.detached {
            for n in 0..<2000 where quick.text()?.contains("\"n\":\(n),") != true { return false }
            return true
        }
        await flood(node, "a", 2000)
        #expect(await reader.value)
        let metrics = await node.metrics
        #expect(metrics.pauses > 0)
        #expect(metrics.queuedBytes > 0 && metrics.queuedBytes <= 64 << 10)
        #expect(metrics.dropped(.guaranteed, .slow) == 0)
        var seen = 0
        while seen < 2000, let text = slow.text() {
            #expect(number(text) == seen)
            if number(text) != seen { break }
            seen += 1
        }
        #expect(seen == 2000)
        #expect(await node.eventually { _, edge in edge.metrics.queuedBytes == 0 })
        await node.stop()
    }

    @Test("BP-01 T-12 a stalled reader of an unstored room gets the newest, and is told how many it missed")
    func stalledBestEffort() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 64 << 10
            $0.socketSendBuffer = 16 << 10
        }
        let slow = try join(node, ["live:a"], receiveBuffer: 8 << 10)
        await flood(node, "live:a", 2000)
        let metrics = await node.metrics
        #expect(metrics.queuedBytes <= 64 << 10)
        let dropped = Int(metrics.dropped(.bestEffort, .slow))
        #expect(dropped > 0)
        var received: [Int] = []
        var noticed = 0
        while received.count + noticed < 2000, let text = slow.text() {
            if let n = number(text) {
                received.append(n)
            } else {
                #expect(text.hasPrefix(#"{"push":{"channel":"live:a","dropped":{"count":"#))
                noticed += dropCount(text)
            }
        }
        #expect(received.last == 1999)
        #expect(received == received.sorted())
        #expect(noticed == dropped && received.count + noticed == 2000)
        await node.publish("live:a", "{\"n\":7777}")
        #expect(slow.text()?.contains("7777") == true)
        await node.stop()
    }

    @Test("BP-02 on overflow only the less important messages go, and the critical ones leave first")
    func priorities() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 64 << 10
            $0.socketSendBuffer = 16 << 10
        }
        await node.onLoop { broker, _ in
            broker.priorities["live:critical"] = .critical
            broker.priorities["live:low"] = .low
        }
        let slow = try join(node, ["live:critical", "live:low"], receiveBuffer: 8 << 10)
        await flood(node, "live:low", 400)
        await flood(node, "live:critical", 20)
        await flood(node, "live:low", 200)
        let dropped = await node.metrics.dropped(.bestEffort, .slow)
        var critical: [Int] = []
        var low = 0
        var noticed = 0
        var lowAfterCritical = 0
        while critical.count + low + noticed < 620, let text = slow.text() {
            if text.contains("\"dropped\":") {
                noticed += dropCount(text)
            } else if text.contains("live:critical") {
                if let n = number(text) { critical.append(n) }
                lowAfterCritical = 0
            } else {
                low += 1
                lowAfterCritical += 1
            }
        }
        #expect(dropped > 0 && noticed == Int(dropped))
        #expect(critical == Array(0..<20))
        #expect(low + noticed == 600)
        // What waited when the critical messages came is behind them.
        #expect(lowAfterCritical > 0)
        await node.stop()
    }

    @Test("BP-12 a reader that is stalled beyond the limit is closed and counted under 3008")
    func slowIsClosed() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 32 << 10
            $0.socketSendBuffer = 16 << 10
            $0.slowTimeout = .milliseconds(300)
        }
        let slow = try join(node, ["a"], receiveBuffer: 8 << 10)
        await flood(node, "a", 1000)
        #expect(await node.eventually { _, edge in edge.metrics.closedByCode[3008] == 1 })
        #expect(await node.eventually { broker, edge in broker.openSessions == 0 && edge.metrics.queuedBytes == 0 })
        _ = slow
        await node.stop()
    }

    @Test("BP-03 the kernel's send buffer and the write limit each have their effect", arguments: [false, true])
    func bufferLimits(isLarge: Bool) async throws {
        let node = try await TestNode.start {
            $0.socketSendBuffer = isLarge ? 512 << 10 : 16 << 10
            $0.writeLimit = isLarge ? 512 << 10 : 32 << 10
        }
        let slow = try join(node, ["live:a"], receiveBuffer: 8 << 10)
        await flood(node, "live:a", 3000)
        let metrics = await node.metrics
        if isLarge {
            #expect(metrics.bytesOut > 256 << 10)
            #expect(metrics.queuedBytes > 128 << 10 && metrics.queuedBytes <= 512 << 10)
        } else {
            #expect(metrics.bytesOut < 192 << 10)
            #expect(metrics.queuedBytes > 8 << 10 && metrics.queuedBytes <= 32 << 10)
        }
        _ = slow
        await node.stop()
    }

    @Test("BP-03 the number of waiting messages is bounded too")
    func messageLimit() async throws {
        let node = try await TestNode.start {
            $0.socketSendBuffer = 16 << 10
            $0.writeMessages = 10
        }
        let slow = try join(node, ["live:a"], receiveBuffer: 8 << 10)
        await flood(node, "live:a", 1000)
        let metrics = await node.metrics
        #expect(metrics.queuedBytes > 0 && metrics.queuedBytes <= 10 * 1200)
        _ = slow
        await node.stop()
    }

    @Test("BP-04 BP-03 beyond max_queue unanswered requests reading stops, and goes on with the answers")
    func inboundStops() async throws {
        let node = try await TestNode.start { $0.maxQueue = 4 }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        await node.onLoop { broker, _ in broker.isSilent = true }
        let filler = String(repeating: "y", count: 20_000)
        var accepted = 0
        var count = 0
        var rest: [UInt8] = []
        // As much as TCP takes: the sender is held back in the end.
        for id in 2..<3000 {
            let frame = RawClient.frame("{\"id\":\(id),\"publish\":{\"channel\":\"a\",\"data\":\"\(filler)\"}}")
            var sent = client.sendWithoutWaiting(frame)
            for _ in 0..<20 where sent < 0 {
                try await Task.sleep(for: .milliseconds(10))
                sent = client.sendWithoutWaiting(frame)
            }
            if sent < 0 { break }
            accepted += sent
            count += 1
            if sent < frame.count {
                rest = Array(frame[sent...])
                break
            }
        }
        #expect(count < 2900)
        #expect(await node.onLoop { broker, _ in broker.silenced.count } == 4)
        #expect(await node.metrics.readPauses >= 1)
        #expect(await node.metrics.bytesIn < 512 << 10)
        // The answers come: everything that was sent is handled, in order.
        await node.onLoop { broker, _ in
            broker.isSilent = false
            for token in broker.silenced { broker.directives.append(.published(token, .failure(.busy))) }
            broker.silenced = []
        }
        let pending = rest
        let sender = Task.detached { client.send(pending) }
        for id in 2..<(2 + count) {
            let text = client.text() ?? ""
            #expect(text.hasPrefix("{\"id\":\(id),"))
            if !text.hasPrefix("{\"id\":\(id),") { break }
        }
        #expect(await sender.value)
        await node.stop()
    }

    @Test("BP-04 one frame with many commands is held back in the middle")
    func batchStops() async throws {
        let node = try await TestNode.start { $0.maxQueue = 3 }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        let commands = (2...60).map { "{\"id\":\($0),\"publish\":{\"channel\":\"a\",\"data\":\($0)}}" }
        client.say(commands.joined(separator: "\n"))
        for id in 2...60 {
            #expect(client.text()?.hasPrefix("{\"id\":\(id),\"publish\":{\"offset\":\(id - 1)") == true)
        }
        await node.stop()
    }

    @Test("DL-09 a message past its time to live is not delivered, and counted by reason")
    func stale() async throws {
        let node = try await TestNode.start()
        let client = try join(node, ["a"])
        await node.onLoop { broker, _ in broker.publishTimestampShift = 5000 }
        await node.publish("a", "1", timeToLive: 1000)
        await node.publish("a", "2", timeToLive: 60_000)
        await node.publish("a", "3")
        #expect(client.text()?.contains("\"data\":2,") == true)
        #expect(client.text()?.contains("\"data\":3,") == true)
        #expect(await node.metrics.dropped(.guaranteed, .stale) == 1)
        let late = try RawClient(port: node.port)
        _ = late.connect()
        let reply = late.ask(#"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":0,"epoch":"abc1"}}"#, id: 2)
        #expect(!reply.contains("\"data\":1,") && reply.contains("\"data\":2,"))
        #expect(await node.metrics.dropped(.guaranteed, .stale) == 2)
        await node.stop()
    }

    @Test("a room that a client left and joined again does not deliver what waited for the first time")
    func rejoin() async throws {
        let node = try await TestNode.start {
            $0.writeLimit = 64 << 10
            $0.socketSendBuffer = 16 << 10
        }
        let slow = try join(node, ["a"], receiveBuffer: 8 << 10)
        await flood(node, "a", 300)
        slow.say(#"{"id":5,"unsubscribe":{"channel":"a"}}"#)
        #expect(
            await node.eventually { broker, _ in broker.rooms[1].live.isEmpty && broker.rooms[1].paused.count <= 1 }
        )
        slow.say(#"{"id":6,"subscribe":{"channel":"a"}}"#)
        #expect(await node.eventually { broker, _ in broker.rooms[1].live.count == 1 })
        await flood(node, "a", 1)
        var isAfterReply = false
        var late: [Int] = []
        while let text = slow.text() {
            if text.hasPrefix("{\"id\":6") { isAfterReply = true }
            if isAfterReply, let n = number(text) {
                late.append(n)
                break
            }
        }
        #expect(late == [0])
        await node.stop()
    }
}
