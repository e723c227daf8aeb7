import Broker
import Gateway
import OwnThread
import Primitives
import Rooms
import Testing

@Suite(.serialized, .ownThread)
struct ProtocolTests {
    @Test("connect lists the server's rooms, and everything after it is in order")
    func connect() async throws {
        let node = try await TestNode.start { $0.pingInterval = GatewayConfiguration().pingInterval }
        let client = try RawClient(port: node.port)
        let reply = client.connect("?user=ann")
        #expect(reply.hasPrefix(#"{"id":1,"connect":{"client":""#))
        #expect(reply.contains(##""#ann":{"recoverable":true"##))
        #expect(reply.contains(#""ws_broadcast":{"recoverable":true"#))
        #expect(reply.contains(#""ping":15,"pong":true"#))
        await node.stop()
    }

    @Test("DL-01 every publication carries an id and a time, stored or not")
    func identity() async throws {
        let node = try await TestNode.start()
        let client = try RawClient(port: node.port)
        _ = client.connect()
        #expect(client.ask(#"{"id":2,"subscribe":{"channel":"a"}}"#, id: 2).contains(#""epoch":"abc1""#))
        _ = client.ask(#"{"id":3,"subscribe":{"channel":"live:b"}}"#, id: 3)
        await node.publish("a", #"{"x":1}"#)
        let stored = client.text() ?? ""
        #expect(stored.contains(#""channel":"a","pub":{"data":{"x":1},"offset":1,"time":1"#))
        #expect(stored.contains(#""id":"abc1-1""#))
        await node.publish("live:b", "1")
        await node.publish("live:b", "2")
        let first = client.text() ?? ""
        let second = client.text() ?? ""
        #expect(first.contains(#""id":"7.0."#) && first.contains("\"time\":"))
        #expect(first.contains("-1\"") && second.contains("-2\""))
        await node.stop()
    }

    @Test("subscribe recovers after a position, and a foreign epoch is not recovered")
    func recovery() async throws {
        let node = try await TestNode.start()
        for n in 1...5 { await node.publish("a", "\(n)") }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        let recovered = client.ask(
            #"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":3,"epoch":"abc0"}}"#,
            id: 2
        )
        #expect(recovered.contains(#""publications":[{"data":4,"offset":4"#))
        #expect(recovered.contains(#""recovered":true,"was_recovering":true"#))
        #expect(client.ask(#"{"id":3,"unsubscribe":{"channel":"a"}}"#, id: 3) == #"{"id":3,"unsubscribe":{}}"#)
        let lost = client.ask(
            #"{"id":4,"subscribe":{"channel":"a","recover":true,"offset":3,"epoch":"zzz"}}"#,
            id: 4
        )
        #expect(!lost.contains("\"recovered\"") && lost.contains("was_recovering"))
        let again = client.ask(#"{"id":5,"subscribe":{"channel":"a"}}"#, id: 5)
        #expect(again.contains("\"code\":105"))
        await node.stop()
    }

    @Test("positions in the connect command continue the server-side rooms")
    func connectRecovery() async throws {
        let node = try await TestNode.start()
        for n in 1...3 { await node.publish("ws_broadcast", "\(n)") }
        let client = try RawClient(port: node.port)
        #expect(client.upgrade("/connection/websocket") == 101)
        client.say(#"{"id":1,"connect":{"subs":{"ws_broadcast":{"recover":true,"offset":2,"epoch":"abc0"}}}}"#)
        let reply = client.text() ?? ""
        #expect(reply.contains(#""publications":[{"data":3,"offset":3"#))
        await node.stop()
    }

    @Test("what is not supported is refused, never ignored")
    func refusals() async throws {
        let node = try await TestNode.start()
        let client = try RawClient(port: node.port)
        _ = client.connect()
        let cases: [(String, Int)] = [
            (#""subscribe":{"channel":"a","delta":"fossil"}"#, 108),
            (#""subscribe":{"channel":"a","tf":"x"}"#, 108),
            (#""subscribe":{"channel":"a","join_leave":true}"#, 108),
            (#""subscribe":{"channel":"a","token":"x"}"#, 101),
            (##""subscribe":{"channel":"#someone"}"##, 103),
            (#""presence":{"channel":"a"}"#, 108),
            (#""presence_stats":{"channel":"a"}"#, 108),
            (#""rpc":{"method":"a"}"#, 108),
            (#""refresh":{"token":"a"}"#, 108),
            (#""sub_refresh":{"channel":"a","token":"a"}"#, 108),
            (#""history":{"channel":"live:a"}"#, 108),
            (#""wonder":{}"#, 104),
            (#""publish":{"channel":"a"}"#, 107),
            (#""publish":{"channel":"a\u0007","data":1}"#, 107),
            (#""publish":{"channel":"\#(String(repeating: "x", count: 256))","data":1}"#, 107),
            (#""ack":{"channel":"a","offset":1,"epoch":"abc0"}"#, 103),
        ]
        for (index, (command, code)) in cases.enumerated() {
            let id = index + 10
            let reply = client.ask("{\"id\":\(id),\(command)}", id: id)
            #expect(reply.contains("\"error\":{\"code\":\(code),"), "\(command): \(reply)")
        }
        let second = try RawClient(port: node.port)
        #expect(second.upgrade("/connection/websocket") == 101)
        second.say(#"{"id":1,"connect":{"token":"abc"}}"#)
        #expect(second.text()?.contains("\"code\":101") == true)
        #expect(second.frame() == .close(3500))
        await node.stop()
    }

    @Test("every request error becomes its code, temporary where a retry may help")
    func errorCodes() async throws {
        let node = try await TestNode.start()
        let client = try RawClient(port: node.port)
        _ = client.connect()
        let cases: [(RequestError, Int, Bool)] = [
            (.noQuorum, 100, true), (.busy, 111, true), (.timeout, 100, true), (.alreadySubscribed, 105, false),
            (.notSubscribed, 103, false), (.badPosition, 112, false), (.tooManySubscriptions, 106, false),
            (.refused(.fenced(currentEpoch: 9)), 107, false), (.refused(.unknownProducer), 107, false),
            (.refused(.limitReached), 107, false), (.notStored, 108, false),
        ]
        for (index, (error, code, isTemporary)) in cases.enumerated() {
            await node.onLoop { broker, _ in broker.nextError = error }
            let id = index + 2
            let reply = client.ask("{\"id\":\(id),\"publish\":{\"channel\":\"a\",\"data\":1}}", id: id)
            #expect(reply.contains("\"code\":\(code),"), "\(error): \(reply)")
            #expect(reply.contains("\"temporary\":true") == isTemporary, "\(error): \(reply)")
        }
        await node.onLoop { broker, _ in broker.nextOutcome = .duplicate(Position(epoch: 0xabc0, offset: 4)) }
        #expect(
            client.ask(#"{"id":50,"publish":{"channel":"a","data":1,"idempotency_key":"k"}}"#, id: 50)
                == #"{"id":50,"publish":{"offset":4,"epoch":"abc0","duplicate":true}}"#
        )
        await node.stop()
    }

    @Test("bad input ends the connection with its code")
    func closeCodes() async throws {
        let node = try await TestNode.start { $0.maxSize = 1024 }
        let cases: [([UInt8], Int)] = [
            (RawClient.frame(#"{"id":1,"publish":{"channel":"a","data":1}}"#), 3501),
            (RawClient.frame("nonsense"), 3501),
            (RawClient.frame(#"{"send":{"data":1}}"#), 3501),
            (RawClient.frame("x", opcode: 2), 3506),
            (RawClient.frame(String(repeating: "x", count: 1025)), 1009),
            ([0x81, 0x03, 0x41, 0x41, 0x41], 1002),
            ([0xF1, 0x80, 0, 0, 0, 0], 1002),
        ]
        for (bytes, code) in cases {
            let client = try RawClient(port: node.port)
            #expect(client.upgrade("/connection/websocket") == 101)
            client.send(bytes)
            #expect(client.frame() == .close(code))
            #expect(client.frame() == .end)
        }
        #expect(await node.eventually { _, edge in edge.metrics.closedByCode[3501] == 3 })
        await node.stop()
    }

    @Test("history pages forward and backward")
    func history() async throws {
        let node = try await TestNode.start { $0.historyPage = 2 }
        for n in 1...5 { await node.publish("a", "\(n)") }
        let client = try RawClient(port: node.port)
        _ = client.connect()
        let page = client.ask(
            #"{"id":2,"history":{"channel":"a","limit":10,"since":{"offset":1,"epoch":"abc0"}}}"#,
            id: 2
        )
        #expect(page.contains(#"[{"data":2,"offset":2"#) && page.contains(#"{"data":3,"offset":3"#))
        #expect(!page.contains("\"data\":4") && page.hasSuffix(#""epoch":"abc0","offset":5}}"#))
        #expect(
            client.ask(#"{"id":3,"history":{"channel":"a","limit":1,"reverse":true}}"#, id: 3).contains("\"data\":5")
        )
        await node.stop()
    }

    @Test("GW-13 what one plain client says comes to the other with exactly the guide's members")
    func plainBroadcast() async throws {
        let node = try await TestNode.start()
        let a = try RawClient(port: node.port)
        #expect(a.upgrade("/ws") == 101)
        let b = try RawClient(port: node.port)
        #expect(b.upgrade("/ws") == 101)
        #expect(await node.eventually { broker, _ in broker.rooms.first?.live.count == 2 })
        a.say(#"{"content":{"hi":"there"},"user":"ann"}"#)
        let expected = #"{"type":"message","content":{"hi":"there"},"user":"ann"}"#
        #expect(b.text() == expected)
        #expect(a.text() == expected)
        a.say(#"{"type":"ping"}"#)
        #expect(a.text() == #"{"type":"pong"}"#)
        a.say("{")
        #expect(a.text()?.contains("\"code\":107") == true)
        await node.stop()
    }

    @Test("RM-02 RM-01 a room's message reaches its members only, a message without room everyone")
    func roomIsolation() async throws {
        let node = try await TestNode.start()
        let inA = try RawClient(port: node.port)
        #expect(inA.upgrade("/ws?room=a") == 101)
        #expect(inA.text() == #"{"type":"joined","room":"a"}"#)
        let inB = try RawClient(port: node.port)
        #expect(inB.upgrade("/ws") == 101)
        inB.say(#"{"type":"join","room":"b","id":7}"#)
        #expect(inB.text() == #"{"type":"joined","room":"b"}"#)
        #expect(inB.text() == #"{"type":"ack","id":7}"#)
        let centrifugo = try RawClient(port: node.port)
        _ = centrifugo.connect()
        _ = centrifugo.ask(#"{"id":2,"subscribe":{"channel":"a"}}"#, id: 2)
        inA.say(#"{"content":1,"user":"x","room":"a"}"#)
        #expect(inA.text() == #"{"type":"message","content":1,"user":"x","room":"a"}"#)
        #expect(centrifugo.text()?.contains(#""channel":"a""#) == true)
        // The next thing that b's member sees is the broadcast: the room's message never came.
        inA.say(#"{"content":2,"user":"x"}"#)
        #expect(inB.text() == #"{"type":"message","content":2,"user":"x"}"#)
        #expect(centrifugo.text()?.contains(#""channel":"ws_broadcast""#) == true)
        inB.say(#"{"type":"leave","room":"b"}"#)
        #expect(inB.text() == #"{"type":"left","room":"b"}"#)
        await node.publish("b", "1")
        await node.publish("ws_broadcast", "2")
        #expect(inB.text() == "2")
        await node.stop()
    }

    @Test("RM-03 a message to a personal room reaches all connections of that user and nobody else")
    func personalRoom() async throws {
        let node = try await TestNode.start()
        let first = try RawClient(port: node.port)
        _ = first.connect("?user=ann")
        let second = try RawClient(port: node.port)
        #expect(second.upgrade("/ws?user=ann") == 101)
        let other = try RawClient(port: node.port)
        #expect(other.upgrade("/ws?user=bob") == 101)
        #expect(await node.eventually { broker, _ in broker.rooms.reduce(0) { $0 + $1.live.count } == 6 })
        await node.publish("#ann", "5")
        await node.publish("ws_broadcast", "6")
        #expect(first.text()?.contains(##""channel":"#ann""##) == true)
        #expect(second.text() == "5")
        #expect(other.text() == "6")
        await node.stop()
    }

    @Test("HB-01 a client that does not answer pings is closed with 3012, one that does stays")
    func heartbeat() async throws {
        let node = try await TestNode.start {
            $0.pingInterval = .milliseconds(200)
            $0.pingTimeout = .milliseconds(300)
        }
        let silent = try RawClient(port: node.port)
        _ = silent.connect()
        let plain = try RawClient(port: node.port)
        #expect(plain.upgrade("/ws") == 101)
        let good = try RawClient(port: node.port)
        _ = good.connect()
        for _ in 0..<8 {
            #expect(good.frame() == .text("{}"))
            good.say("{}")
        }
        var last = RawClient.Frame.end
        while case let frame = silent.frame(), frame != .end { last = frame }
        #expect(last == .close(3012))
        last = .end
        var pings = 0
        while case let frame = plain.frame(), frame != .end {
            if frame == .ping { pings += 1 }
            last = frame
        }
        #expect(pings > 0 && last == .close(3012))
        #expect(await node.metrics.activeSessions == 1)
        await node.stop()
    }

    @Test("a client that upgrades and never connects is closed as stale")
    func stale() async throws {
        let node = try await TestNode.start { $0.handshakeTimeout = .milliseconds(200) }
        let client = try RawClient(port: node.port)
        #expect(client.upgrade("/connection/websocket") == 101)
        #expect(client.frame() == .close(3502))
        await node.stop()
    }

    @Test("a stopping node sends its clients away with 3001 and 1012")
    func stopping() async throws {
        let node = try await TestNode.start()
        let a = try RawClient(port: node.port)
        _ = a.connect()
        let b = try RawClient(port: node.port)
        #expect(b.upgrade("/ws") == 101)
        #expect(await node.eventually { broker, _ in broker.rooms.first?.live.count == 2 })
        await node.stop()
        #expect(a.frame() == .close(3001))
        #expect(b.frame() == .close(1012))
    }

    @Test("SE-07 garbage on a live connection harms nobody else")
    func fuzz() async throws {
        let node = try await TestNode.start()
        let witness = try RawClient(port: node.port)
        _ = witness.connect()
        var random = Xoshiro256(seed: 42)
        let seeds = [
            #"{"id":2,"subscribe":{"channel":"a","recover":true,"offset":1,"epoch":"abc0"}}"#,
            #"{"id":3,"publish":{"channel":"a","data":{"x":[1,2,{"y":"z"}]},"tags":{"a":"b"},"ttl_ms":5}}"#,
            #"{"id":4,"history":{"channel":"a","limit":5}}"# + "\n" + #"{"id":5,"ping":{}}"#, "{}", "",
        ]
        for round in 0..<300 {
            let client = try RawClient(port: node.port)
            if round % 4 == 0 {
                client.send((0..<Int(random.below(300))).map { _ in UInt8(truncatingIfNeeded: random.next()) })
                continue
            }
            if round % 2 == 0 { _ = client.upgrade("/ws") } else { _ = client.connect() }
            for _ in 0..<5 {
                var bytes = RawClient.frame(seeds[Int(random.below(UInt64(seeds.count)))])
                for _ in 0..<random.below(4) {
                    bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
                }
                client.send(bytes)
            }
        }
        #expect(await node.eventually { _, edge in edge.metrics.activeConnections == 1 })
        var reply = ""
        witness.say(#"{"id":9,"ping":{}}"#)
        while let text = witness.text() {
            reply = text
            if text.hasPrefix("{\"id\":9") { break }
        }
        #expect(reply == #"{"id":9,"ping":{}}"#)
        await node.stop()
    }
}
