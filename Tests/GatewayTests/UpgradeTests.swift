import Broker
import Gateway
import Glibc
import OwnThread
import Primitives
import Rooms
import Testing

@Suite(.serialized, .ownThread)
struct UpgradeTests {
    @Test("GW-01 a standard upgrade gets 101, on both paths")
    func upgrades() async throws {
        let node = try await TestNode.start()
        let a = try RawClient(port: node.port)
        #expect(a.upgrade("/connection/websocket") == 101)
        let b = try RawClient(port: node.port)
        #expect(b.upgrade("/ws?user=ann") == 101)
        let c = try RawClient(port: node.port)
        #expect(c.upgrade("/connection/websocket", headers: "Sec-WebSocket-Protocol: centrifuge-json\r\n") == 101)
        await node.stop()
    }

    @Test("GW-01 malformed upgrades get a 4xx and a JSON error")
    func malformed() async throws {
        let node = try await TestNode.start()
        let head = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        let cases: [(String, Int)] = [
            ("GET /ws HTTP/1.1\r\n\(head)Sec-WebSocket-Version: 13\r\n\r\n", 400),
            ("GET /ws HTTP/1.1\r\n\(head)\(key)Sec-WebSocket-Version: 8\r\n\r\n", 426),
            ("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426),
            ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
            ("GET /ws HTTP/1.1\r\n\r\n", 400),
            ("GET /api/publish HTTP/1.1\r\nHost: x\r\n\r\n", 405),
            ("POST /api/publish HTTP/1.1\r\nHost: x\r\n\r\n", 411),
            ("POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
            ("GET /ws HTTP/1.1\r\nHost: x\r\nX: \(String(repeating: "a", count: 20_000))\r\n\r\n", 431),
            ("POST /api/publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
            ("\u{16}\u{3}\u{1} hello\r\n\r\n", 400),
            (
                "GET /connection/websocket HTTP/1.1\r\n\(head)\(key)Sec-WebSocket-Version: 13\r\n"
                    + "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\r\n", 400
            ),
        ]
        for (request, status) in cases {
            let client = try RawClient(port: node.port)
            client.send(request)
            let answer = client.response()
            #expect(answer.status == status, "\(request.prefix(60))")
            #expect(answer.body.hasPrefix(#"{"error":{"code":"#))
            #expect(client.readToEnd().isEmpty)
        }
        #expect(await node.eventually { _, edge in edge.metrics.activeConnections == 0 })
        #expect(await node.metrics.refusedByStatus[426] == 2)
        await node.stop()
    }

    @Test("a request that never ends is answered with 408 and closed")
    func slowHead() async throws {
        let node = try await TestNode.start { $0.handshakeTimeout = .milliseconds(200) }
        let client = try RawClient(port: node.port)
        client.send("GET /ws HT")
        #expect(client.response().status == 408)
        #expect(client.readToEnd().isEmpty)
        await node.stop()
    }

    /// Descriptors of this process whose local port is `port`: the listener and what it accepted. Other tests run at
    /// the same time, so that the plain number of descriptors says nothing.
    private func sockets(boundTo port: Int) -> Int {
        (0..<Int32(4096)).count { descriptor in
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
            }
            return result == 0 && address.sin_family == AF_INET && Int(in_port_t(bigEndian: address.sin_port)) == port
        }
    }

    @Test("GW-05 after many sessions the tables and the descriptors are back at their baseline")
    func cleanup() async throws {
        let node = try await TestNode.start()
        #expect(sockets(boundTo: node.port) == 1, "the listener")
        for round in 0..<200 {
            let client = try RawClient(port: node.port)
            if round % 3 == 0 { continue }
            _ = client.connect()
            if round % 3 == 1 { client.send(RawClient.frame("", opcode: 8)) }
        }
        #expect(
            await node.eventually { broker, edge in
                edge.metrics.activeConnections == 0 && edge.metrics.activeSessions == 0 && broker.openSessions == 0
                    && broker.rooms.allSatisfy(\.live.isEmpty)
            }
        )
        let metrics = await node.metrics
        #expect(metrics.closedByCode.values.reduce(0, +) == metrics.sessionsTotal)
        #expect(metrics.sessionsTotal >= 132)
        #expect(metrics.cleanups == metrics.connectionsTotal)
        #expect(metrics.cleanupNanoseconds > 0)
        #expect(metrics.queuedBytes == 0)
        #expect(sockets(boundTo: node.port) == 1)
        await node.stop()
    }

    @Test("GW-20 above the ceiling a connection is refused with 503 and a time to come back; the others are unaffected")
    func ceiling() async throws {
        let node = try await TestNode.start { $0.maxConnections = 2 }
        let a = try RawClient(port: node.port)
        #expect(a.connect().contains("\"client\""))
        let b = try RawClient(port: node.port)
        #expect(b.connect().contains("\"client\""))
        let c = try RawClient(port: node.port)
        c.send("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        let refusal = c.response()
        #expect(refusal.status == 503)
        #expect(refusal.head.contains("Retry-After: "))
        #expect(a.ask(#"{"id":2,"ping":{}}"#, id: 2) == #"{"id":2,"ping":{}}"#)
        await node.stop()
    }

    @Test("GW-17 close to the descriptor limit new connections are refused, those that are there go on")
    func descriptors() async throws {
        let node = try await TestNode.start()
        let a = try RawClient(port: node.port)
        #expect(!a.connect().isEmpty)
        await node.onLoop { _, edge in edge.isShortOfDescriptors = true }
        let b = try RawClient(port: node.port)
        #expect(b.upgrade("/ws") == 503)
        #expect(a.ask(#"{"id":2,"ping":{}}"#, id: 2) == #"{"id":2,"ping":{}}"#)
        await node.stop()
    }

    @Test("POST /api/publish answers with the position, keeps the connection, and reports errors by status")
    func publishAPI() async throws {
        let node = try await TestNode.start()
        let client = try RawClient(port: node.port)
        func post(_ body: String) -> (status: Int, body: String, head: String) {
            client.send("POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            return client.response()
        }
        let first = post(#"{"channel":"a","data":{"n":1}}"#)
        #expect(first.status == 200)
        #expect(first.body == #"{"result":{"offset":1,"epoch":"abc0"}}"#)
        #expect(post(#"{"channel":"a","data":2}"#).body == #"{"result":{"offset":2,"epoch":"abc0"}}"#)
        #expect(post("{").status == 400)
        #expect(post(#"{"channel":"a","data":1,"delta":"fossil"}"#).body.contains("108"))
        await node.onLoop { broker, _ in broker.nextError = .noQuorum }
        #expect(post(#"{"channel":"a","data":3}"#).status == 503)
        await node.onLoop { broker, _ in broker.nextOutcome = .sequenceGap(expected: 4) }
        #expect(post(#"{"channel":"a","data":3}"#).body.contains("expected 4"))
        // Two requests in one packet are answered one after the other.
        let body = #"{"channel":"a","data":9}"#
        let request = "POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        client.send(request + request)
        #expect(client.response().body.contains("\"offset\":3"))
        #expect(client.response().body.contains("\"offset\":4"))
        await node.stop()
    }

    @Test("with an API key configured the server API wants it")
    func apiKey() async throws {
        let node = try await TestNode.start { $0.apiKey = Array("secret".utf8) }
        for (header, status) in [("", 401), ("X-API-Key: wrong!\r\n", 401), ("X-API-Key: secret\r\n", 200)] {
            let client = try RawClient(port: node.port)
            let body = #"{"channel":"a","data":1}"#
            client.send(
                "POST /api/publish HTTP/1.1\r\nHost: x\r\n\(header)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
            )
            #expect(client.response().status == status)
        }
        await node.stop()
    }
}
