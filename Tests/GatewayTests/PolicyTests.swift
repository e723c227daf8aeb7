import Broker
import Gateway
import OwnThread
import Primitives
import Rooms
import Testing

/// What `[[namespace]]`, `[limits]` and `[gateway]` change at the client edge: each test fails when its key has no
/// consumer.
@Suite(.serialized, .ownThread)
struct PolicyTests {
    private func namespace(_ prefix: String, _ change: (inout GatewayNamespace) -> Void) -> GatewayNamespace {
        var namespace = GatewayNamespace(prefix: Array(prefix.utf8))
        change(&namespace)
        return namespace
    }

    private func post(_ client: RawClient, _ channel: String, _ data: String = "1", headers: String = "") -> Int {
        let body = "{\"channel\":\"\(channel)\",\"data\":\(data)}"
        client.send(
            "POST /api/publish HTTP/1.1\r\nHost: x\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
        )
        return client.response().status
    }

    private func publish(_ client: RawClient, _ channel: String, id: Int, _ data: String = "1") -> String {
        client.ask("{\"id\":\(id),\"publish\":{\"channel\":\"\(channel)\",\"data\":\(data)}}", id: id)
    }

    // MARK: Rates

    @Test("RM-16 publish_rate and publish_burst bound one connection in one namespace, and 0 bounds nothing")
    func publishRate() async throws {
        let limited = namespace("slow:") {
            $0.publishRate = 1
            $0.publishBurst = 2
        }
        let node = try await TestNode.start { $0.namespaces = [limited] }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        // One frame: the commands are handled at one moment.
        let commands = (2...4).map { "{\"id\":\($0),\"publish\":{\"channel\":\"slow:\($0)\",\"data\":1}}" }
        client.say(commands.joined(separator: "\n"))
        var replies: [String] = []
        while replies.count < 3, let text = client.text() { replies.append(text) }
        replies.sort()
        #expect(replies.count == 3 && replies[0].contains("\"offset\":1") && replies[1].contains("\"offset\":1"))
        #expect(replies.last?.contains(#""error":{"code":111,"#) == true)
        #expect(replies.last?.contains(#""temporary":true"#) == true)
        #expect(await node.metrics.refused(.publishRate) == 1)
        // Nothing was done, and other namespaces and connections have allowances of their own.
        #expect(await node.onLoop { broker, _ in broker.rooms.count { $0.name.description.hasPrefix("slow:") } } == 2)
        for id in 10..<60 { #expect(publish(client, "free", id: id).contains("\"offset\"")) }
        let other = try RawClient(port: node.port)
        _ = other.connect()
        #expect(publish(other, "slow:2", id: 2).contains("\"offset\":2"))

        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        let messages = (1...3).map {
            RawClient.frame("{\"content\":\($0),\"user\":\"u\",\"room\":\"slow:p\",\"id\":\($0)}")
        }
        plain.send(messages.flatMap { $0 })
        #expect(plain.text()?.contains("\"code\":111") == true, "the refusal comes first: it waits for no broker")
        #expect(plain.text()?.contains("\"id\":1") == true && plain.text()?.contains("\"id\":2") == true)

        let http = try RawClient(port: node.port)
        let body = #"{"channel":"slow:h","data":1}"#
        let request = "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        http.send(request + request + request)
        #expect(http.response().status == 200 && http.response().status == 200)
        #expect(http.response().status == 429)
        #expect(await node.metrics.refused(.publishRate) == 3)
        await node.stop()
    }

    // MARK: Access

    @Test(
        "RM-16 anonymous_subscribe keeps clients without a token from rooms, their history and the server's own rooms"
    )
    func anonymousSubscribe() async throws {
        let closed = namespace("closed:") { $0.anonymousSubscribe = false }
        let personal = namespace("#") { $0.anonymousSubscribe = false }
        let node = try await TestNode.start { $0.namespaces = [closed, personal] }
        let client = try RawClient(port: node.port)
        let reply = client.connect("?user=ann")
        #expect(reply.contains("ws_broadcast") && !reply.contains("#ann"), "a room that the client may not read")
        #expect(client.ask(#"{"id":2,"subscribe":{"channel":"closed:a"}}"#, id: 2).contains(#"{"code":103,"#))
        #expect(client.ask(#"{"id":3,"history":{"channel":"closed:a"}}"#, id: 3).contains(#"{"code":103,"#))
        #expect(client.ask(#"{"id":4,"subscribe":{"channel":"closed"}}"#, id: 4).contains("\"epoch\""))
        #expect(publish(client, "closed:a", id: 5).contains("\"offset\":1"), "publishing is another right")
        let second = try RawClient(port: node.port)
        #expect(second.upgrade("/connection/websocket") == 101)
        second.say(#"{"id":1,"connect":{"subs":{"closed:a":{}}}}"#)
        #expect(second.text()?.contains(#"{"code":103,"#) == true)
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws?room=closed:a") == 101)
        #expect(plain.text()?.contains("\"code\":103") == true)
        plain.say(#"{"type":"join","room":"closed:a","id":1}"#)
        #expect(plain.text()?.contains("\"code\":103") == true)
        #expect(await node.metrics.refused(.anonymousSubscribe) == 5)
        #expect(
            await node.onLoop { broker, _ in
                broker.rooms.allSatisfy { $0.name.description != "closed:a" || $0.live.isEmpty }
            }
        )
        await node.stop()
    }

    @Test("RM-16 anonymous_publish keeps clients without a token from publishing, and a backend with the key may")
    func anonymousPublish() async throws {
        let closed = namespace("closed:") { $0.anonymousPublish = false }
        let node = try await TestNode.start { $0.namespaces = [closed] }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        #expect(publish(client, "closed:a", id: 2).contains(#"{"code":103,"#))
        #expect(client.ask(#"{"id":3,"subscribe":{"channel":"closed:a"}}"#, id: 3).contains("\"epoch\""))
        #expect(publish(client, "open", id: 4).contains("\"offset\":1"))
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        plain.say(#"{"content":1,"user":"u","room":"closed:a"}"#)
        #expect(plain.text()?.contains("\"code\":103") == true)
        let http = try RawClient(port: node.port)
        #expect(post(http, "closed:a") == 403)
        #expect(post(http, "open") == 200)
        let metrics = await node.metrics
        #expect(metrics.refused(.anonymousPublish) == 3 && metrics.refusedByStatus[403] == 1)
        await node.stop()

        let keyed = try await TestNode.start {
            $0.namespaces = [closed]
            $0.apiKey = Array("secret".utf8)
        }
        #expect(post(try RawClient(port: keyed.port), "closed:a", headers: "X-API-Key: secret\r\n") == 200)
        #expect(await keyed.metrics.refused(.anonymousPublish) == 0)
        await keyed.stop()
    }

    @Test("RM-16 subscribe_roles and publish_roles let in whom they name; a client without a token is \"anonymous\"")
    func roles() async throws {
        let readers = namespace("r:") { $0.subscribeRoles = ["operator"] }
        let writers = namespace("w:") { $0.publishRoles = ["operator"] }
        let named = namespace("n:") {
            $0.subscribeRoles = ["operator", "anonymous"]
            $0.publishRoles = ["anonymous"]
        }
        let node = try await TestNode.start { $0.namespaces = [readers, writers, named] }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        #expect(client.ask(#"{"id":2,"subscribe":{"channel":"r:a"}}"#, id: 2).contains(#"{"code":103,"#))
        #expect(publish(client, "r:a", id: 3).contains("\"offset\":1"))
        #expect(publish(client, "w:a", id: 4).contains(#"{"code":103,"#))
        #expect(client.ask(#"{"id":5,"subscribe":{"channel":"w:a"}}"#, id: 5).contains("\"epoch\""))
        #expect(client.ask(#"{"id":6,"subscribe":{"channel":"n:a"}}"#, id: 6).contains("\"epoch\""))
        #expect(publish(client, "n:a", id: 7).contains("\"offset\":1"))
        let metrics = await node.metrics
        #expect(metrics.refused(.subscribeRole) == 1 && metrics.refused(.publishRole) == 1)
        #expect(metrics.refused(.anonymousPublish) == 0)
        await node.stop()
    }

    @Test("RM-16 max_message_size refuses a larger payload and says the limit")
    func messageSize() async throws {
        let small = namespace("small:") { $0.maxMessageSize = 64 }
        let node = try await TestNode.start { $0.namespaces = [small] }
        let exact = "\"" + String(repeating: "x", count: 62) + "\""
        let larger = "\"" + String(repeating: "x", count: 63) + "\""
        let client = try RawClient(port: node.port)
        _ = client.connect()
        #expect(publish(client, "small:a", id: 2, exact).contains("\"offset\":1"))
        let refused = publish(client, "small:a", id: 3, larger)
        #expect(refused.contains(#"{"code":107,"#) && refused.contains("65 bytes") && refused.contains("is 64"))
        #expect(publish(client, "large", id: 4, larger).contains("\"offset\":1"))
        let http = try RawClient(port: node.port)
        #expect(post(http, "small:a", exact) == 200)
        #expect(post(http, "small:a", larger) == 413)
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        plain.say("{\"content\":\(larger),\"user\":\"u\",\"room\":\"small:a\"}")
        #expect(plain.text()?.contains("\"code\":107") == true)
        #expect(await node.metrics.refused(.messageSize) == 3)
        await node.stop()
    }

    // MARK: Heartbeat

    @Test("RM-16 the heartbeat of a namespace tightens a connection's while it is in such a room, and never loosens it")
    func heartbeat() async throws {
        let tight = namespace("tight:") {
            $0.heartbeat = Heartbeat(pingInterval: .milliseconds(200), pingTimeout: .milliseconds(300))
        }
        let node = try await TestNode.start { $0.namespaces = [tight] }
        func join(_ room: String) throws -> RawClient {
            let client = try RawClient(port: node.port)
            _ = client.connect()
            _ = client.ask("{\"id\":2,\"subscribe\":{\"channel\":\"\(room)\"}}", id: 2)
            return client
        }
        let calm = try join("calm:a")
        let left = try join("tight:a")
        _ = left.ask(#"{"id":3,"unsubscribe":{"channel":"tight:a"}}"#, id: 3)
        let silent = try join("tight:a")
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws?room=tight:a") == 101)
        #expect(plain.text() == #"{"type":"joined","room":"tight:a"}"#)
        #expect(plain.frame() == .ping)
        let good = try join("tight:a")
        for _ in 0..<8 {
            #expect(good.frame() == .text("{}"))
            good.say("{}")
        }
        var last = RawClient.Frame.end
        while case let frame = silent.frame(), frame != .end { last = frame }
        #expect(last == .close(3012))
        // Neither who never was there nor who left is asked so often.
        calm.say(#"{"id":4,"ping":{}}"#)
        #expect(calm.text() == #"{"id":4,"ping":{}}"#)
        #expect(left.ask(#"{"id":4,"ping":{}}"#, id: 4) == #"{"id":4,"ping":{}}"#)
        await node.stop()
    }

    @Test("RM-16 a looser heartbeat of a namespace changes nothing")
    func looserHeartbeat() async throws {
        let loose = namespace("loose:") {
            $0.heartbeat = Heartbeat(pingInterval: .seconds(20), pingTimeout: .seconds(10))
        }
        let node = try await TestNode.start {
            $0.namespaces = [loose]
            $0.pingInterval = .milliseconds(200)
            $0.pingTimeout = .milliseconds(300)
        }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        _ = client.ask(#"{"id":2,"subscribe":{"channel":"loose:a"}}"#, id: 2)
        var last = RawClient.Frame.end
        while case let frame = client.frame(), frame != .end { last = frame }
        #expect(last == .close(3012))
        await node.stop()
    }

    // MARK: Times

    @Test("P-11 GW-07 limits.idle_timeout ends an HTTP connection between requests and a silent WebSocket")
    func idle() async throws {
        let node = try await TestNode.start { $0.idleTimeout = .milliseconds(300) }
        let http = try RawClient(port: node.port)
        #expect(post(http, "a") == 200)
        #expect(http.readToEnd().isEmpty)
        let client = try RawClient(port: node.port)
        _ = client.connect()
        #expect(client.frame() == .close(3000))
        #expect(await node.eventually { _, edge in edge.metrics.activeConnections == 0 })
        await node.stop()
    }

    @Test("P-11 limits.close_timeout bounds how long a client may leave a close unanswered")
    func closeTimeout() async throws {
        func refuse(_ timeout: Interval) async throws -> (TestNode, RawClient) {
            let node = try await TestNode.start { $0.closeTimeout = timeout }
            let client = try RawClient(port: node.port)
            #expect(client.upgrade("/connection/websocket") == 101)
            client.say("nonsense")
            #expect(client.frame() == .close(3501))
            return (node, client)
        }
        let (patient, first) = try await refuse(.seconds(30))
        let (brief, second) = try await refuse(.milliseconds(1500))
        #expect(await brief.eventually { _, edge in edge.metrics.activeConnections == 0 })
        #expect(await patient.metrics.activeConnections == 1)
        withExtendedLifetime((first, second)) {}
        await patient.stop()
        await brief.stop()
    }

    @Test("P-11 gateway.broadcast_room names the room of everyone, or none")
    func broadcastRoom() async throws {
        let node = try await TestNode.start { $0.broadcastRoom = "lobby" }
        let client = try RawClient(port: node.port)
        #expect(client.connect().contains(#""lobby":{"#))
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        #expect(await node.eventually { broker, _ in broker.rooms.first?.live.count == 2 })
        plain.say(#"{"content":1,"user":"u"}"#)
        #expect(client.text()?.contains(#""channel":"lobby""#) == true)
        await node.stop()

        let none = try await TestNode.start { $0.broadcastRoom = "" }
        #expect(try !RawClient(port: none.port).connect().contains("\"subs\""))
        let alone = try RawClient(port: none.port)
        #expect(alone.upgrade("/ws") == 101)
        alone.say(#"{"content":1,"user":"u"}"#)
        #expect(alone.text()?.contains("\"code\":108") == true)
        await none.stop()
    }
}
