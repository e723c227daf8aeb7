import Broker
import Gateway
import OwnThread
import Primitives
import Rooms
import Testing
import VencejoClient

@Suite(.serialized, .ownThread)
struct ClientTests {
    @Test("DL-07 a repeated id is dropped and counted, within a window bounded by count and time")
    func window() {
        var window = DuplicateWindow(capacity: 3, lifetime: .seconds(10))
        func isNew(_ id: [UInt8], at seconds: UInt64) -> Bool {
            window.isNew(id, now: Instant(nanoseconds: seconds * 1_000_000_000))
        }
        #expect(isNew([1], at: 0))
        #expect(!isNew([1], at: 1))
        #expect(window.duplicates == 1)
        #expect(isNew([2], at: 1) && isNew([3], at: 1) && isNew([4], at: 2))
        #expect(window.count == 3)
        #expect(isNew([1], at: 3), "pushed out by newer ones")
        #expect(!isNew([4], at: 12))
        #expect(isNew([4], at: 13), "too old")
        #expect(isNew([], at: 13) && isNew([], at: 13), "no id, no memory")
        #expect(window.duplicates == 2)
    }

    @Test("DL-07 a message that is delivered twice reaches the reader once")
    func redelivery() async throws {
        let node = try await TestNode.start()
        let client = try await VencejoClient.connect(node.url)
        var events = client.subscribe("a").makeAsyncIterator()
        #expect(
            await events.next()
                == .subscribed(position: RoomPosition(epoch: 0xabc1, offset: 0), wasRecovering: false, recovered: false)
        )
        await node.publish("a", "1")
        await node.onLoop { broker, _ in
            let publication = broker.rooms[1].log[0]
            broker.directives.append(.broadcast(1, publication))
        }
        await node.publish("a", "2")
        var seen: [String] = []
        while seen.count < 2, case .message(let message)? = await events.next() {
            seen.append(String(decoding: message.data, as: UTF8.self))
        }
        #expect(seen == ["1", "2"])
        #expect(await client.duplicates() == 1)
        await client.close()
        await node.stop()
    }

    @Test("publish returns the position, history the page, and errors are thrown with their codes")
    func requests() async throws {
        let node = try await TestNode.start()
        let client = try await VencejoClient.connect([node.url])
        for n in 1...3 {
            let receipt = try await client.publish("a", Array("{\"n\":\(n)}".utf8), idempotencyKey: "k\(n)")
            #expect(receipt.position == RoomPosition(epoch: 0xabc1, offset: UInt64(n)) && !receipt.isDuplicate)
        }
        let page = try await client.history("a", since: RoomPosition(epoch: 0xabc1, offset: 1), limit: 10)
        #expect(page.messages.map(\.offset) == [2, 3] && page.top.offset == 3)
        #expect(page.messages.first.map { String(decoding: $0.data, as: UTF8.self) } == "{\"n\":2}")
        await node.onLoop { broker, _ in broker.nextError = .noQuorum }
        await #expect(throws: ClientFailure.self) { try await client.publish("a", Array("1".utf8)) }
        await #expect(throws: ClientFailure.self) { try await client.history("live:x") }
        try await client.acknowledgeUnknown(in: node)
        await client.close()
        await node.stop()
    }

    @Test("when its node ends the client goes to the next one and continues without a loss")
    func failover() async throws {
        let first = try await TestNode.start()
        let second = try await TestNode.start()
        // Both nodes know the room under the same epoch, as nodes of a cluster do.
        for node in [first, second] {
            await node.onLoop { broker, _ in _ = broker.index(of: RoomName("ws_broadcast")) }
            for n in 1...3 { await node.publish("a", "\(n)") }
        }
        let client = try await VencejoClient.connect([first.url, second.url])
        var events = client.subscribe("a", SubscriptionOptions(start: .beginning)).makeAsyncIterator()
        guard case .subscribed? = await events.next() else {
            Issue.record("no subscription")
            return
        }
        var offsets: [UInt64] = []
        while offsets.count < 3, case .message(let message)? = await events.next() { offsets.append(message.offset) }
        for n in 4...6 { await second.publish("a", "\(n)") }
        await first.stop()
        var isRecovered = false
        while offsets.count < 6, let event = await events.next() {
            switch event {
            case .disconnected(let code, let reconnects): #expect(code == 3001 && reconnects)
            case .subscribed(_, let wasRecovering, let recovered): isRecovered = wasRecovering && recovered
            case .message(let message): offsets.append(message.offset)
            default: Issue.record("unexpected \(event)")
            }
        }
        #expect(isRecovered)
        #expect(offsets == [1, 2, 3, 4, 5, 6])
        await client.close()
        await second.stop()
    }

    @Test("a client that reaches nobody says so; a closed one refuses")
    func failures() async throws {
        await #expect(throws: ClientFailure.self) { try await VencejoClient.connect("ws://127.0.0.1:1") }
        await #expect(throws: ClientFailure.self) { try await VencejoClient.connect("http://127.0.0.1") }
        let node = try await TestNode.start()
        let client = try await VencejoClient.connect(node.url)
        let events = client.subscribe("a")
        await client.close()
        await #expect(throws: ClientFailure.closed) { try await client.publish("a", Array("1".utf8)) }
        var last: ClientEvent?
        for await event in events { last = event }
        #expect(last == .ended(nil))
        await node.stop()
    }
}

extension VencejoClient {
    /// An acknowledgement of a foreign position is refused.
    fileprivate func acknowledgeUnknown(in node: TestNode) async throws {
        await #expect(throws: ClientFailure.self) {
            try await self.acknowledge("a", RoomPosition(epoch: 1, offset: 1))
        }
    }
}
