import Broker
import LocalRESP
import OwnThread
import Primitives
import RESPServer
import Rooms
import Testing

@Suite("Channels", .ownThread)
struct PubSubTests {
    @Test("RS-03 What is published reaches subscribers of either protocol; browsers' messages come as their payload")
    func bridge() async throws {
        let server = try await LocalRESPServer.start()
        let (two, three, publisher) = (try RESPClient(server), try RESPClient(server), try RESPClient(server))
        _ = three("HELLO 3")
        #expect(two("SUBSCRIBE news") == "[subscribe news :1]")
        #expect(three("SUBSCRIBE news") == ">[subscribe news :1]")
        #expect(publisher("PUBLISH news hello") == ":2")
        #expect(two.reply() == "[message news hello]")
        #expect(three.reply() == ">[message news hello]")
        try await server.onLoop { broker, _ in
            broker.publishFromElsewhere(RoomName("news"), Array("{\"a\":1}".utf8), isJSON: true)
        }
        #expect(two.reply() == "[message news {\"a\":1}]")
        #expect(three.reply() == ">[message news {\"a\":1}]")
        #expect(publisher("PUBLISH nobody hello") == ":0")
        await server.stop()
    }

    @Test("RS-03 Acknowledgements: one per name, duplicates too, with Redis's counts; none left gives a nil")
    func acknowledgements() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        client.send("SUBSCRIBE a b a")
        for answer in ["[subscribe a :1]", "[subscribe b :2]", "[subscribe a :2]"] { #expect(client.reply() == answer) }
        #expect(client("PSUBSCRIBE p*") == "[psubscribe p* :3]")
        #expect(client("SSUBSCRIBE s") == "[ssubscribe s :1]")
        client.send("UNSUBSCRIBE")
        #expect(client.reply() == "[unsubscribe a :2]")
        #expect(client.reply() == "[unsubscribe b :1]")
        #expect(client("UNSUBSCRIBE") == "[unsubscribe nil :1]")
        #expect(client("UNSUBSCRIBE x") == "[unsubscribe x :1]")
        #expect(client("PUNSUBSCRIBE") == "[punsubscribe p* :0]")
        #expect(client("SUNSUBSCRIBE") == "[sunsubscribe s :0]")
        #expect(try await server.onLoop { broker, _ in broker.subscriptionCount } == 0)
        await server.stop()
    }

    @Test("RS-02 A RESP2 subscriber may only do what Redis lets it; PING answers as a push")
    func subscriberMode() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        _ = client("SUBSCRIBE a")
        #expect(client("GET x").hasPrefix("-ERR Can't execute 'get': only (P|S)SUBSCRIBE"))
        #expect(client("PING") == "[pong ]")
        #expect(client("PING redis-py-health-check") == "[pong redis-py-health-check]")
        #expect(client("RESET") == "RESET")
        #expect(client("GET x") == "nil")
        let three = try RESPClient(server)
        _ = three("HELLO 3")
        _ = three("SUBSCRIBE a")
        #expect(three("GET x") == "nil")
        #expect(three("PING") == "PONG")
        await server.stop()
    }

    @Test("RS-04 One copy for the channel and one for each pattern that matches, in the publisher's order")
    func patterns() async throws {
        let server = try await LocalRESPServer.start()
        let (client, publisher) = (try RESPClient(server), try RESPClient(server))
        client.send("PSUBSCRIBE n* news.?")
        _ = (client.reply(), client.reply())
        _ = client("SUBSCRIBE news.1")
        publisher.raw("PUBLISH news.1 a\r\nPUBLISH news.1 b\r\nPUBLISH other c\r\n")
        for answer in [":3", ":3", ":0"] { #expect(publisher.reply() == answer) }
        for text in ["a", "b"] {
            #expect(client.reply() == "[message news.1 \(text)]")
            #expect(client.reply() == "[pmessage n* news.1 \(text)]")
            #expect(client.reply() == "[pmessage news.? news.1 \(text)]")
        }
        await server.stop()
    }

    @Test("RS-03 Pipelined publishes keep their order and have one reply each")
    func order() async throws {
        var settings = RESPSettings()
        settings.publishesUnderWay = 16
        let server = try await LocalRESPServer.start(settings: settings)
        let (client, publisher) = (try RESPClient(server), try RESPClient(server))
        _ = client("SUBSCRIBE c")
        var bytes: [UInt8] = []
        for number in 0..<1000 {
            bytes += RESPClient.encoded([Array("publish".utf8), Array("c".utf8), Array("\(number)".utf8)])
        }
        bytes += RESPClient.encoded([Array("ping".utf8)])
        publisher.raw(bytes)
        for _ in 0..<1000 { #expect(publisher.reply() == ":1") }
        #expect(publisher.reply() == "PONG")
        for number in 0..<1000 { #expect(client.reply() == "[message c \(number)]") }
        await server.stop()
    }

    @Test("RS-03 No message comes before the acknowledgement of its channel")
    func heldBack() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        try await server.onLoop { broker, _ in broker.isHolding = true }
        client.send("SUBSCRIBE a b")
        while try await server.onLoop({ broker, _ in broker.subscriptionCount }) < 2 {}
        try await server.onLoop { broker, _ in
            broker.publishFromElsewhere(RoomName("a"), Array("early".utf8), isJSON: false)
        }
        try await server.onLoop { broker, _ in broker.release() }
        #expect(client.reply() == "[subscribe a :1]")
        #expect(client.reply() == "[subscribe b :2]")
        #expect(client.reply() == "[message a early]")
        await server.stop()
    }

    @Test("RS-05 A subscriber that reads too slowly is closed and counted; the others get everything")
    func slow() async throws {
        var settings = RESPSettings()
        settings.pubsubOutput = RESPSettings.OutputLimit(hard: 1 << 20, soft: 0, seconds: 0)
        let server = try await LocalRESPServer.start(settings: settings)
        let slow = try RESPClient(server, receiveBuffer: 4096)
        let (good, publisher) = (try RESPClient(server), try RESPClient(server))
        _ = slow("SUBSCRIBE c")
        _ = good("SUBSCRIBE c")
        let payload = [UInt8](repeating: 120, count: 100_000)
        var closed: UInt64 = 0
        var sent = 0
        while closed == 0, sent < 2000 {
            _ = publisher.call([Array("publish".utf8), Array("c".utf8), payload])
            sent += 1
            #expect(good.reply().count == payload.count + 12)
            closed = try await server.onLoop { _, edge in edge.metrics.slowSubscribers }
        }
        #expect(closed == 1)
        #expect(publisher("PUBLISH c x") == ":1")
        #expect(good.reply() == "[message c x]")
        await server.stop()
    }

    @Test("RS-06 Shard channels are apart from channels; their names are out of clients' reach")
    func shardChannels() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b, publisher) = (try RESPClient(server), try RESPClient(server), try RESPClient(server))
        #expect(a("SSUBSCRIBE c") == "[ssubscribe c :1]")
        #expect(b("SUBSCRIBE c") == "[subscribe c :1]")
        #expect(b("PSUBSCRIBE *") == "[psubscribe * :2]")
        #expect(publisher("SPUBLISH c one") == ":1")
        #expect(publisher("PUBLISH c two") == ":2")
        #expect(a.reply() == "[smessage c one]")
        #expect(b.reply() == "[message c two]")
        #expect(b.reply() == "[pmessage * c two]")
        #expect(publisher("PUBSUB SHARDCHANNELS") == "[c]")
        #expect(publisher("PUBSUB SHARDNUMSUB c d") == "[c :1 d :0]")
        #expect(publisher("PUBSUB CHANNELS") == "[c]")
        #expect(publisher("SUBSCRIBE \u{1}shard:c").hasPrefix("-ERR invalid channel"))
        await server.stop()
    }

    @Test("RS-07 PUBSUB says what is subscribed")
    func questions() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b, c) = (try RESPClient(server), try RESPClient(server), try RESPClient(server))
        a.send("SUBSCRIBE one two")
        _ = (a.reply(), a.reply())
        _ = b("SUBSCRIBE one")
        a.send("PSUBSCRIBE x* y*")
        _ = (a.reply(), a.reply())
        _ = b("PSUBSCRIBE x*")
        #expect(c("PUBSUB CHANNELS") == "[one two]")
        #expect(c("PUBSUB CHANNELS t*") == "[two]")
        #expect(c("PUBSUB NUMSUB one two three") == "[one :2 two :1 three :0]")
        #expect(c("PUBSUB NUMSUB") == "[]")
        #expect(c("PUBSUB NUMPAT") == ":2")
        let info = c("INFO stats")
        #expect(field(info, "pubsub_channels") == "2")
        #expect(field(info, "pubsub_patterns") == "2")
        await server.stop()
    }

    @Test("RS-05 A subscriber that goes leaves no subscription behind")
    func gone() async throws {
        let server = try await LocalRESPServer.start()
        let other = try RESPClient(server)
        do {
            let client = try RESPClient(server)
            client.send("SUBSCRIBE a")
            _ = client.reply()
            client.send("PSUBSCRIBE b*")
            _ = client.reply()
        }
        while field(other("INFO clients"), "connected_clients") != "1" {}
        #expect(try await server.onLoop { broker, _ in broker.subscriptionCount } == 0)
        #expect(field(other("INFO stats"), "pubsub_patterns") == "0")
        #expect(field(other("INFO clients"), "pubsub_clients") == "0")
        await server.stop()
    }

    @Test("RS-03 Names and numbers of subscriptions have bounds")
    func bounds() async throws {
        var settings = RESPSettings()
        settings.subscriptions = 2
        settings.channelBytes = 10
        let server = try await LocalRESPServer.start(settings: settings)
        let client = try RESPClient(server)
        #expect(client("SUBSCRIBE a b c").hasPrefix("-ERR too many subscriptions"))
        #expect(client("SUBSCRIBE elevenbytes").hasPrefix("-ERR invalid channel"))
        #expect(client("PUBLISH elevenbytes x").hasPrefix("-ERR invalid channel"))
        #expect(client("SUBSCRIBE tenbytes10") == "[subscribe tenbytes10 :1]")
        await server.stop()
    }
}
