import Broker
import Gateway
import OwnThread
import Primitives
import Rooms
import Testing

@Suite(.serialized, .ownThread)
struct DrainTests {
    /// The whole seconds of a `Retry-After`.
    private func retryAfter(_ head: String) -> Int? {
        head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("retry-after: ") }
            .flatMap { Int($0.dropFirst(13)) }
    }

    @Test(
        """
        GW-09 LB-07 LB-10 a drained node refuses clients with a time to come back, and closes the others with 3001 and \
        1012
        """
    )
    func courses() async throws {
        let node = try await TestNode.start()
        let centrifugo = try RawClient(port: node.port)
        _ = centrifugo.connect()
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        #expect(await node.eventually { broker, _ in broker.rooms.first?.live.count == 2 })
        await node.onLoop { _, edge in edge.retire() }
        var waits: Set<Int> = []
        for path in ["/ws", "/connection/websocket", "/ws", "/ws", "/ws", "/ws", "/ws", "/ws"] {
            let late = try RawClient(port: node.port)
            late.send("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n")
            let answer = late.response()
            #expect(answer.status == 503 && answer.body.contains("draining"))
            waits.insert(try #require(retryAfter(answer.head)))
        }
        #expect(waits.allSatisfy { (5...10).contains($0) } && waits.count > 1, "not all at once: \(waits)")
        #expect(centrifugo.ask(#"{"id":2,"ping":{}}"#, id: 2) == #"{"id":2,"ping":{}}"#, "until they are told to go")
        #expect(await node.onLoop { _, edge in edge.move(1) } == 1)
        #expect(await node.eventually { _, edge in edge.metrics.activeSessions == 1 })
        #expect(await node.onLoop { _, edge in edge.move(.max) } == 1)
        #expect(centrifugo.frame() == .close(3001))
        #expect(plain.frame() == .close(1012))
        #expect(await node.eventually { _, edge in edge.clientsLeft == 0 && edge.metrics.activeSessions == 0 })
        let metrics = await node.metrics
        #expect(metrics.moved == 2 && metrics.cut == 0)

        await node.onLoop { _, edge in edge.serve() }
        let again = try RawClient(port: node.port)
        #expect(again.connect().contains("\"client\""))
        await node.stop()
    }

    @Test("GW-09 a publish that was accepted is answered before its connection closes, and nothing more is taken")
    func answered() async throws {
        let node = try await TestNode.start()
        let client = try RawClient(port: node.port)
        _ = client.connect()
        await node.onLoop { broker, _ in broker.isSilent = true }
        client.say(#"{"id":5,"publish":{"channel":"a","data":1}}"#)
        #expect(await node.eventually { broker, _ in broker.silenced.count == 1 })
        await node.onLoop { _, edge in
            edge.retire()
            _ = edge.move(.max)
        }
        client.say(#"{"id":6,"publish":{"channel":"a","data":2}}"#)
        await node.publish("ws_broadcast", "7")
        #expect(client.text()?.contains("ws_broadcast") == true, "what is sent meanwhile arrives")
        #expect(await node.onLoop { broker, edge in broker.silenced.count == 1 && edge.metrics.activeSessions == 1 })
        await node.onLoop { broker, _ in
            let position = Position(epoch: 0xabc, offset: 9)
            broker.directives.append(.published(broker.silenced[0], .success(.appended(position))))
        }
        #expect(client.text()?.hasPrefix(#"{"id":5,"publish""#) == true)
        #expect(client.frame() == .close(3001))
        await node.stop()
    }

    /// A client that does not read, with `count` messages of 4 KiB for it.
    private func slowReader(_ node: TestNode, _ count: Int) async throws -> RawClient {
        let client = try RawClient(port: node.port, receiveBuffer: 4096)
        #expect(client.upgrade("/ws?room=live:a") == 101)
        #expect(client.text()?.contains("joined") == true)
        let payload = String(repeating: "x", count: 4096)
        for number in 0..<count { await node.publish("live:a", #"{"n":\#(number),"p":"\#(payload)"}"#) }
        #expect(await node.eventually { _, edge in edge.metrics.queuedBytes > 0 })
        return client
    }

    private static func small(_ configuration: inout GatewayConfiguration) {
        configuration.socketSendBuffer = 8192
        configuration.writeLimit = 1 << 20
    }

    @Test("GW-09 everything that was queued for a slow reader arrives before the close")
    func queueArrives() async throws {
        let node = try await TestNode.start(Self.small)
        let client = try await slowReader(node, 100)
        await node.onLoop { _, edge in
            edge.retire()
            _ = edge.move(.max)
        }
        #expect(await node.onLoop { _, edge in edge.clientsLeft } == 1, "it waits for the reader")
        await node.publish("live:a", #"{"n":100}"#)
        for number in 0..<100 { #expect(client.text()?.hasPrefix(#"{"n":\#(number),"#) == true) }
        // What came after it was told to go is not promised, and its loss is.
        var last = client.frame()
        if case .text(let notice) = last {
            #expect(notice.contains("dropped"))
            last = client.frame()
        }
        #expect(last == .close(1012))
        #expect(await node.eventually { _, edge in edge.clientsLeft == 0 && edge.metrics.moved == 1 })
        await node.stop()
    }

    @Test("LB-07 who does not read is cut off when the time is over")
    func cut() async throws {
        let node = try await TestNode.start(Self.small)
        let client = try await slowReader(node, 100)
        await node.onLoop { _, edge in
            edge.retire()
            _ = edge.move(.max)
        }
        #expect(await node.onLoop { _, edge in edge.cut() } == 1)
        #expect(await node.eventually { broker, edge in edge.clientsLeft == 0 && broker.openSessions == 0 })
        let metrics = await node.metrics
        #expect(metrics.cut == 1 && metrics.moved == 0 && metrics.queuedBytes == 0)
        _ = client.readToEnd()
        await node.stop()
    }

    @Test("LB-07 backends that are connected publish on with Connection: close, and resting connections are closed")
    func http() async throws {
        let node = try await TestNode.start()
        let body = #"{"channel":"a","data":1}"#
        let request = "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        let resting = try RawClient(port: node.port)
        let busy = try RawClient(port: node.port)
        for client in [resting, busy] {
            client.send(request)
            #expect(client.response().status == 200)
        }
        await node.onLoop { _, edge in edge.retire() }
        busy.send(request)
        let answer = busy.response()
        #expect(answer.status == 200 && answer.head.contains("Connection: close"))
        #expect(busy.readToEnd().isEmpty)
        #expect(await node.onLoop { _, edge in edge.move(.max) } == 0, "no session, nothing to wait for")
        #expect(resting.readToEnd().isEmpty)
        let late = try RawClient(port: node.port)
        late.send(request)
        #expect(late.response().status == 503)
        #expect(await node.eventually { _, edge in edge.clientsLeft == 0 })
        await node.stop()
    }

    // MARK: Redirection

    private static let targets = RedirectTargets([
        RedirectTargets.Target(name: "n2", url: "ws://10.0.0.2:8000", free: 800),
        RedirectTargets.Target(name: "n3", url: "ws://10.0.0.3:8000", free: 0),
    ])

    @Test("LB-06 a crowded node sends new clients to one with room: 307 by HTTP, 3011 to Centrifugo clients")
    func redirects() async throws {
        let node = try await TestNode.start {
            $0.maxConnections = 100
            $0.redirectAbove = 1
        }
        let first = try RawClient(port: node.port)
        _ = first.connect()
        let unknown = try RawClient(port: node.port)
        #expect(unknown.connect().contains("\"client\""), "as long as no node with room is known it stays here")
        await node.onLoop { _, edge in edge.redirectTargets = Self.targets }

        let plain = try RawClient(port: node.port)
        plain.send("GET /ws?room=a&user=b HTTP/1.1\r\nHost: x\r\n\r\n")
        let moved = plain.response()
        #expect(moved.status == 307)
        #expect(moved.head.contains("Location: ws://10.0.0.2:8000/ws?room=a&user=b\r\n"), "\(moved.head)")
        #expect(retryAfter(moved.head) != nil)
        let backend = try RawClient(port: node.port)
        backend.send("POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        let published = backend.response()
        #expect(published.status == 307 && published.head.contains("Location: http://10.0.0.2:8000/api/publish"))
        let centrifugo = try RawClient(port: node.port)
        #expect(centrifugo.upgrade("/connection/websocket") == 101)
        #expect(centrifugo.frame() == .close(3011))
        #expect(first.ask(#"{"id":2,"ping":{}}"#, id: 2) == #"{"id":2,"ping":{}}"#, "who is here stays")
        #expect(await node.metrics.redirects == 3)
        #expect(await node.eventually { broker, edge in broker.openSessions == 2 && edge.metrics.activeSessions == 2 })
        await node.stop()
    }

    @Test("LB-06 GW-20 a full node redirects where it can, and refuses where nobody has room")
    func full() async throws {
        let node = try await TestNode.start { $0.maxConnections = 1 }
        let first = try RawClient(port: node.port)
        _ = first.connect()
        let refused = try RawClient(port: node.port)
        refused.send("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        let answer = refused.response()
        #expect(answer.status == 503 && (5...10).contains(retryAfter(answer.head) ?? 0))
        await node.onLoop { _, edge in edge.redirectTargets = Self.targets }
        let moved = try RawClient(port: node.port)
        moved.send("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(moved.response().status == 307)
        // A draining node sends Centrifugo clients on with its own code.
        await node.onLoop { _, edge in edge.retire() }
        let centrifugo = try RawClient(port: node.port)
        #expect(centrifugo.upgrade("/connection/websocket") == 101)
        #expect(centrifugo.frame() == .close(3001))
        await node.stop()
    }

    @Test("LB-06 targets are chosen by chance and room: nobody without room, nobody overrun, the emptiest most often")
    func choice() {
        #expect(RedirectTargets().choose(1, 2) == nil)
        #expect(RedirectTargets([.init(name: "full", url: "ws://a", free: 0)]).choose(1, 2) == nil)
        let targets = RedirectTargets(
            [("a", 500), ("b", 400), ("c", 100), ("full", 0)].map { .init(name: $0.0, url: "ws://\($0.0)", free: $0.1) }
        )
        var random = Xoshiro256(seed: 7)
        var counts: [String: Int] = [:]
        for _ in 0..<10_000 {
            counts[targets.choose(random.next(), random.next())?.name ?? "nobody", default: 0] += 1
        }
        // Of two draws the roomier one: 1 - 0.5^2, 0.5^2 - 0.1^2 and 0.1^2.
        #expect(counts["full"] == nil && counts["nobody"] == nil)
        #expect((7200...7800).contains(counts["a"] ?? 0), "\(counts)")
        #expect((2100...2700).contains(counts["b"] ?? 0), "\(counts)")
        #expect((50...200).contains(counts["c"] ?? 0), "\(counts)")
        #expect(targets.choose(.max, .max)?.name == "c" && targets.choose(0, .max)?.name == "a")
    }
}
