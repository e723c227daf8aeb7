import Broker
import PeerProtocol
import Primitives
import RESP
import RedisBackplane
import Rooms
import Testing

/// A backplane whose connections are the test itself.
private final class Scene {
    let core: Backplane
    var now = Instant(nanoseconds: 1_000_000_000)
    private var directives: [BackplaneDirective] = []

    init(_ change: (inout BackplaneSettings) -> Void = { _ in }) {
        var settings = BackplaneSettings()
        settings.namespaces = NamespaceTable([
            NamespacePolicy(prefix: Array("best:".utf8), deliveryClass: .bestEffort),
            NamespacePolicy(prefix: Array("ws_".utf8), deliveryClass: .bestEffort),
            NamespacePolicy(deliveryClass: .guaranteed, retentionCount: 5),
        ])
        change(&settings)
        core = Backplane(settings: settings, now: now, wall: 1000)
    }

    func step(_ milliseconds: UInt64 = 0) {
        now = now + .milliseconds(milliseconds)
        core.advance(now: now, wall: 1000)
        core.tick()
    }

    private func take() { directives += core.outbox; core.outbox = [] }

    /// Commands sent on a dedicated connection since the last call, as text.
    func sent(_ connection: BackplaneConnection) -> [String] {
        take()
        return extract { directive in
            guard case .send(connection, let command, _) = directive else { return nil }
            return command.arguments.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: " ")
        }
    }

    func pooled() -> [(UInt64, [String])] {
        take()
        return extract { directive in
            guard case .pool(let id, let commands) = directive else { return nil }
            return (
                id,
                commands.map { $0.arguments.map { String(decoding: $0.bytes, as: UTF8.self) }.joined(separator: " ") }
            )
        }
    }

    func told() -> [ShardMessage] {
        take()
        return extract { directive in
            guard case .hub(_, let message) = directive else { return nil }
            return message
        }
    }

    func events() -> [BackplaneEvent] {
        take()
        return extract { directive in
            guard case .event(let event) = directive else { return nil }
            return event
        }
    }

    func disconnects() -> [String] {
        take()
        return extract { directive in
            guard case .disconnect(let reason) = directive else { return nil }
            return reason
        }
    }

    private func extract<Value>(_ pick: (BackplaneDirective) -> Value?) -> [Value] {
        var found: [Value] = []
        directives.removeAll { directive in
            guard let value = pick(directive) else { return false }
            found.append(value)
            return true
        }
        return found
    }

    /// Up to the moment when every subscription is confirmed.
    func connect() {
        step(60_000)
        core.onConnected(readers: [77])
        confirm()
        _ = events()
        for (id, _) in pooled() { core.onPoolReply(id, nil) }
        _ = sent(.publisher)
    }

    func confirm() {
        for command in sent(.subscriber) {
            let parts = command.split(separator: " ").map(String.init)
            for name in parts.dropFirst() {
                core.onSubscriber(.push([text(parts[0].lowercased()), text(name), .integer(1)]))
            }
        }
    }

    func message(_ channel: String, _ payload: String) {
        core.onSubscriber(.push([text("message"), text(channel), text(payload)]))
    }

    func open(epoch: UInt64, first: UInt64 = 1, next: UInt64) {
        for (id, commands) in pooled() where commands.first?.contains("MKSTREAM") == true {
            core.onPoolReply(id, head(epoch: epoch, first: first, next: next))
        }
    }

    func head(epoch: UInt64, first: UInt64, next: UInt64) -> [RESPValue] {
        [
            .error("BUSYGROUP Consumer Group name already exists"),
            .array([.map([text("name"), text("vencejo"), text("last-delivered-id"), text("\(epoch)-0")])]),
            .map([
                text("last-generated-id"), text(next > 1 ? "\(epoch)-\(next - 2)" : "0-0"), text("first-entry"),
                next > first ? .array([text("\(epoch)-\(first - 1)"), .array([])]) : .null,
            ]),
        ]
    }

    func entry(_ epoch: UInt64, _ offset: UInt64, _ data: String = "1") -> RESPValue {
        .array([text("\(epoch)-\(offset - 1)"), .array([text("data"), text(data), text("time"), text("5")])])
    }
}

private func text(_ text: String) -> RESPValue { .bulk(Array(text.utf8)) }
private let partition = PartitionID(0)
private func body(_ text: String) -> ArraySlice<UInt8> { MessageBody(payload: Array(text.utf8)[...]).encoded()[...] }
private func token(_ number: UInt64) -> RequestToken {
    RequestToken(session: SessionID(slot: 1, generation: 1), command: number)
}
private func publish(_ room: String, _ number: UInt64, key: String = "", deadline: Instant = .distantFuture)
    -> ShardMessage
{
    let command = PublishCommand(room: RoomName(room), idempotencyKey: Array(key.utf8)[...], body: body("\(number)"))
    let bytes = command.encoded()[...]
    return .publish(hub: 1, token(number), partition, command: bytes, deadline: deadline, isCounted: false)
}
private func payloads(_ messages: [ShardMessage]) -> [String] {
    messages.flatMap { message -> [String] in
        guard case .publications(_, _, let publications) = message else { return [] }
        return publications.map { publication in
            let body = try? MessageBody(decoding: publication.body)
            return String(decoding: body?.payload ?? [], as: UTF8.self)
        }
    }
}

@Suite struct BackplanePubSubTests {
    @Test("RA-12 both the prefix and prefix:* are subscribed; a message comes once, the publisher's own node included")
    func subscribe() {
        let scene = Scene()
        scene.step()
        scene.core.onConnected(readers: [1])
        let commands = scene.sent(.subscriber)
        #expect(commands == ["SUBSCRIBE chat_system~probe~n1 chat_system", "PSUBSCRIBE chat_system:*"])
        #expect(scene.core.link.phase == .restoring)
        for (kind, name) in [
            ("subscribe", "chat_system~probe~n1"), ("subscribe", "chat_system"), ("psubscribe", "chat_system:*"),
        ] {
            #expect(scene.core.link.phase == .restoring)
            scene.core.onSubscriber(.array([text(kind), text(name), .integer(1)]))
        }
        #expect(scene.core.link.phase == .up)
        for room in ["best:a", "ws_broadcast"] {
            scene.core.onShardMessage(.register(hub: 1, partition, RoomName(room), count: 1))
            scene.core.onShardMessage(.announce(partition, RoomName(room), body: body(#"{"x":1}"#)))
        }
        #expect(payloads(scene.told()).isEmpty, "not before Redis brings it")
        let published = scene.sent(.publisher).filter { !$0.contains("probe") }
        #expect(published == [#"PUBLISH chat_system:best:a {"x":1}"#, #"PUBLISH chat_system {"x":1}"#])
        scene.core.onSubscriber(
            .push([text("pmessage"), text("chat_system:*"), text("chat_system:best:a"), text(#"{"x":1}"#)])
        )
        scene.message("chat_system", #"{"y":2}"#)
        #expect(payloads(scene.told()) == [#"{"x":1}"#, #"{"y":2}"#])
        scene.message("chat_system:best:nobody", "1")
        #expect(scene.told().isEmpty)
    }

    @Test("RA-13 RA-14 T-34 without Redis messages are delivered here, and the first restored link ends that")
    func fallback() {
        let scene = Scene { $0.retryAttempts = 1 }
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("best:a"), count: 1))
        _ = scene.told()
        scene.core.onLinkLost("reset")
        #expect(scene.events() == [.lost("reset")])
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("1")))
        #expect(scene.told().isEmpty, "it waits while the retries go on")
        scene.step(60_000)
        #expect(payloads(scene.told()) == ["1"], "but not for longer than a command may take")
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("2")))
        scene.core.onLinkLost("refused")
        #expect(scene.core.link.isFallback)
        #expect(scene.events() == [.breaker(.open), .fallback("refused")])
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("3")))
        #expect(payloads(scene.told()) == ["2", "3"])
        scene.step(60_000)
        scene.core.onConnected(readers: [1])
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("4")))
        #expect(payloads(scene.told()) == ["4"], "not before every subscription is confirmed")
        scene.confirm()
        #expect(scene.events().contains(.recovered) && !scene.core.link.isFallback)
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("5")))
        #expect(payloads(scene.told()).isEmpty)
        #expect(scene.sent(.publisher).contains("PUBLISH chat_system:best:a 5"))
    }

    @Test("RA-12 by channels: a room is joined when its channel is confirmed, and left with its last member")
    func channels() {
        let scene = Scene { $0.usesPattern = false }
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("best:a"), count: 1))
        #expect(scene.sent(.subscriber) == ["SUBSCRIBE chat_system:best:a"])
        #expect(scene.told().isEmpty)
        scene.core.onSubscriber(.push([text("subscribe"), text("chat_system:best:a"), .integer(2)]))
        #expect(scene.told().count == 1)
        scene.core.onShardMessage(.register(hub: 2, partition, RoomName("best:a"), count: 1))
        #expect(scene.sent(.subscriber).isEmpty && scene.told().count == 1)
        scene.core.onShardMessage(.unregister(hub: 1, partition, RoomName("best:a"), count: 1))
        #expect(scene.sent(.subscriber).isEmpty)
        scene.core.onShardMessage(.unregister(hub: 2, partition, RoomName("best:a"), count: 1))
        #expect(scene.sent(.subscriber) == ["UNSUBSCRIBE chat_system:best:a"])
    }

    @Test("RA-20 what a node publishes to itself it hears in time, or the link counts as lost")
    func probe() {
        let scene = Scene()
        scene.connect()
        scene.step()
        scene.step(4000)
        let probes = scene.sent(.publisher).filter { $0.contains("probe") }
        #expect(probes.count == 1, "\(probes)")
        let number = String(probes[0].split(separator: " ")[2])
        scene.now = scene.now + .milliseconds(3)
        scene.core.advance(now: scene.now, wall: 1000)
        scene.message("chat_system~probe~n1", "0")
        #expect(scene.core.probeLatency == nil, "somebody else's")
        scene.message("chat_system~probe~n1", number)
        #expect(scene.core.probeLatency == .milliseconds(4003))
        scene.step(5000)
        #expect(scene.sent(.publisher).count == 1)
        scene.step(5001)
        #expect(scene.disconnects().count == 1)
    }

    @Test("RA-30 a peer that answers and is not in the same Redis is told of, when it is missing twice")
    func peers() {
        let scene = Scene { $0.peers = ["n2", "n3"] }
        scene.connect()
        for round in 1...2 {
            scene.step(5000)
            for (id, commands) in scene.pooled() where commands.count == 2 {
                #expect(commands[1] == "MGET chat_system:node:n2 chat_system:node:n3")
                scene.core.onPoolReply(id, [.simple("OK"), .array([text("1"), .null])])
            }
            scene.core.onPeerProbed("n3", answers: true)
            #expect(scene.core.foreignPeers == (round == 1 ? [] : ["n3"]))
        }
        scene.step(5000)
        for (id, _) in scene.pooled() { scene.core.onPoolReply(id, [.simple("OK"), .array([text("1"), text("1")])]) }
        #expect(scene.core.foreignPeers.isEmpty)
    }
}

@Suite struct BackplaneStreamTests {
    @Test("RA-27 a room's stream is opened, read from its end, appended to and acknowledged with positions")
    func life() {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: 50, first: 3, next: 9)
        guard case .registered(let name, let head, true)? = scene.told().first else { return #expect(Bool(false)) }
        #expect(name == RoomName("r") && head == RoomHead(epoch: 50, first: 3, next: 9))
        #expect(scene.sent(.reader(0)) == ["XREAD COUNT 256 BLOCK 5000 STREAMS chat_system:stream:r 50-7"])
        for number: UInt64 in 1...2 { scene.core.onShardMessage(publish("r", number)) }
        let commands = scene.sent(.publisher).filter { $0.hasPrefix("XADD") }
        #expect(commands.count == 2, "both at once")
        #expect(commands[0] == "XADD chat_system:stream:r NOMKSTREAM MAXLEN = 5 50-* data 1 time 1000")
        scene.core.onReply(.publisher, text("50-8"))
        scene.core.onReply(.publisher, text("50-9"))
        let outcomes = scene.told().compactMap { message -> PublishOutcome? in
            guard case .published(_, .success(let outcome)) = message else { return nil }
            return outcome
        }
        #expect(outcomes == [9, 10].map { .appended(Position(epoch: 50, offset: $0)) })
        scene.core.onReply(
            .reader(0),
            .map([text("chat_system:stream:r"), .array([scene.entry(50, 9, "1"), scene.entry(50, 10, "2")])])
        )
        #expect(payloads(scene.told()) == ["1", "2"])
        #expect(scene.sent(.reader(0)) == ["XREAD COUNT 256 BLOCK 5000 STREAMS chat_system:stream:r 50-9"])
        // RESP2 says the same in pairs; null is a time without news.
        scene.core.onReply(.reader(0), .null)
        scene.core.onReply(
            .reader(0),
            .array([.array([text("chat_system:stream:r"), .array([scene.entry(50, 11, "3")])])])
        )
        #expect(payloads(scene.told()) == ["3"])
    }

    @Test("RA-19 a reader that does not know of a new room is cut short, again while it stays deaf")
    func unblock() {
        let scene = Scene()
        scene.connect()
        for room in ["r", "s"] {
            scene.core.onShardMessage(.register(hub: 1, partition, RoomName(room), count: 1))
            scene.open(epoch: 50, next: 1)
        }
        #expect(scene.sent(.reader(0)).count == 1)
        #expect(scene.pooled().map(\.1) == [["CLIENT UNBLOCK 77"]])
        scene.step(50)
        #expect(scene.pooled().allSatisfy { $0.1 != ["CLIENT UNBLOCK 77"] })
        scene.step(60)
        #expect(scene.pooled().contains { $0.1 == ["CLIENT UNBLOCK 77"] })
        scene.core.onReply(.reader(0), .null)
        #expect(
            scene.sent(.reader(0)) == [
                "XREAD COUNT 256 BLOCK 5000 STREAMS chat_system:stream:r chat_system:stream:s "
                    + "49-18446744073709551615 49-18446744073709551615"
            ]
        )
    }

    @Test("RA-13 without Redis nothing is acknowledged that is not stored; what is unknown is said to be")
    func refusals() {
        let scene = Scene { $0.retryAttempts = 1 }
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: 50, next: 1)
        scene.core.onShardMessage(publish("r", 1))
        scene.core.onShardMessage(publish("closed", 2))
        scene.core.onLinkLost("reset")
        func failures() -> [String] {
            scene.told().compactMap { message in
                guard case .published(let token, .failure(let error)) = message else { return nil }
                return "\(token.command) \(error)"
            }
        }
        #expect(failures() == ["1 timeout"], "it was sent")
        scene.step(60_000)
        scene.core.onLinkLost("refused")
        #expect(failures() == ["2 noQuorum"])
        scene.core.onShardMessage(publish("r", 3))
        #expect(failures() == ["3 noQuorum"])
    }

    @Test("RA-14 RA-27 after an outage reading goes on behind the last message; what was trimmed is announced")
    func resume() {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: 50, next: 4)
        _ = scene.told()
        scene.core.onLinkLost("reset")
        scene.connect()
        scene.step(600)
        scene.open(epoch: 50, first: 6, next: 9)
        guard case .resumed(_, 50, let next)? = scene.told().first else { return #expect(Bool(false)) }
        #expect(next == 6)
        #expect(scene.sent(.reader(0)).last?.hasSuffix("50-4") == true)
    }

    @Test("RA-14 a stream that began anew, or went back, resets its room", arguments: [(60, 3), (50, 2)])
    func reset(_ epoch: Int, _ next: Int) {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: 50, next: 4)
        _ = scene.told()
        scene.core.onLinkLost("reset")
        scene.connect()
        scene.step(600)
        scene.open(epoch: UInt64(epoch), next: UInt64(next))
        guard case .roomReset(RoomName("r"))? = scene.told().first else { return #expect(Bool(false)) }
        scene.core.onShardMessage(.unregister(hub: 1, partition, RoomName("r"), count: 1))
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: UInt64(epoch), next: UInt64(next))
        guard case .registered(_, let head, _)? = scene.told().first else { return #expect(Bool(false)) }
        #expect(head.epoch == UInt64(epoch) && head.next == UInt64(next))
    }

    @Test("RA-27 a stream that is gone is made anew, with a newer epoch, and appends keep their order")
    func gone() {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(publish("r", 1))
        #expect(scene.sent(.publisher).isEmpty)
        scene.open(epoch: 5000, next: 1)
        scene.core.onShardMessage(publish("r", 2))
        #expect(scene.sent(.publisher).count == 2)
        scene.core.onReply(.publisher, .null)
        scene.core.onShardMessage(publish("r", 3))
        #expect(scene.sent(.publisher).isEmpty, "it waits behind those that are coming back")
        scene.core.onReply(.publisher, .error("ERR The ID specified in XADD is equal or smaller than the target"))
        let opening = scene.pooled().flatMap(\.1)
        #expect(opening.contains("XGROUP CREATE chat_system:stream:r vencejo 5001-0 MKSTREAM"), "\(opening)")
    }

    @Test("RA-27 a message id is taken first; what stands already is a duplicate, and those behind it wait")
    func idempotency() {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(publish("r", 1, key: "k"))
        scene.open(epoch: 50, next: 1)
        scene.core.onShardMessage(publish("r", 2))
        #expect(scene.sent(.publisher) == ["SET chat_system:message:1:r:k - NX GET PX 300000"])
        scene.core.onReply(.publisher, .null)
        #expect(scene.sent(.publisher).map { String($0.prefix(4)) } == ["XADD", "XADD"])
        scene.core.onReply(.publisher, text("50-0"))
        #expect(scene.sent(.publisher) == ["SET chat_system:message:1:r:k 50-0 XX KEEPTTL"])
        scene.core.onReply(.publisher, text("50-1"))
        scene.core.onReply(.publisher, .simple("OK"))
        _ = scene.told()
        scene.core.onShardMessage(publish("r", 3, key: "k"))
        scene.core.onReply(.publisher, text("50-0"))
        guard case .published(_, .success(.duplicate(let position)))? = scene.told().first else {
            return #expect(Bool(false))
        }
        #expect(position == Position(epoch: 50, offset: 1))
        // Taken by somebody who has not said where it stands: the stream itself is asked.
        _ = scene.sent(.publisher)
        scene.core.onShardMessage(publish("r", 4, key: "k"))
        scene.core.onReply(.publisher, text("-"))
        let search = scene.pooled().first { $0.1.first?.hasPrefix("XREVRANGE") == true }
        let found = RESPValue.array([
            text("50-6"), .array([text("data"), text("1"), text("id"), text("k")]),
        ])
        scene.core.onPoolReply(search?.0 ?? 0, [.array([found])])
        guard case .published(_, .success(.duplicate(let other)))? = scene.told().first else {
            return #expect(Bool(false))
        }
        #expect(other.offset == 7)
    }

    @Test("RA-28 with wait_replicas an append is acknowledged when WAIT says so, one WAIT for a turn's appends")
    func wait() {
        let scene = Scene { $0.waitReplicas = 1 }
        scene.connect()
        scene.core.onShardMessage(publish("r", 1))
        scene.open(epoch: 50, next: 1)
        scene.core.onShardMessage(publish("r", 2))
        scene.core.settle()
        scene.core.settle()
        #expect(scene.sent(.writer).map { String($0.prefix(8)) } == ["XADD cha", "XADD cha", "WAIT 1 1"])
        scene.core.onReply(.writer, text("50-0"))
        scene.core.onReply(.writer, text("50-1"))
        #expect(scene.told().isEmpty)
        scene.core.onReply(.writer, .integer(1))
        #expect(scene.told().count == 2)
        scene.core.onShardMessage(publish("r", 3))
        scene.core.settle()
        scene.core.onReply(.writer, text("50-2"))
        scene.core.onReply(.writer, .integer(0))
        guard case .published(_, .failure(.timeout))? = scene.told().first else { return #expect(Bool(false)) }
    }

    @Test("RA-27 a foreign entry beyond the epoch ends it: a new epoch begins behind it")
    func overrun() {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(publish("r", 1))
        for (id, _) in scene.pooled() {
            var values = scene.head(epoch: 50, first: 1, next: 3)
            values[2] = .map([text("last-generated-id"), text("7000-0"), text("first-entry"), .null])
            scene.core.onPoolReply(id, values)
        }
        let commands = scene.pooled()
        #expect(commands.first?.1.first == "XGROUP SETID chat_system:stream:r vencejo 7001-0")
        scene.core.onPoolReply(commands.first?.0 ?? 0, scene.head(epoch: 7001, first: 1, next: 1))
        #expect(scene.sent(.publisher).first?.contains(" 7001-* ") == true)
    }

    @Test("RA-13 during the fallback a room that is known can be joined, where this node has left off")
    func joinWithoutRedis() {
        let scene = Scene { $0.retryAttempts = 0 }
        scene.connect()
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("r"), count: 1))
        scene.open(epoch: 50, next: 4)
        scene.core.onLinkLost("reset")
        _ = scene.told()
        scene.core.onShardMessage(.register(hub: 2, partition, RoomName("r"), count: 1))
        guard case .registered(_, let head, _)? = scene.told().first else { return #expect(Bool(false)) }
        #expect(head.epoch == 50 && head.next == 4)
        scene.core.onShardMessage(.register(hub: 1, partition, RoomName("unknown"), count: 1))
        #expect(scene.told().isEmpty, "it may hold what a subscriber has not seen")
    }

    @Test("RA-23 a server that is no master, or is loading, is left", arguments: ["READONLY x", "LOADING y"])
    func notMaster(_ error: String) {
        let scene = Scene()
        scene.connect()
        scene.core.onShardMessage(.announce(partition, RoomName("best:a"), body: body("1")))
        scene.core.onReply(.publisher, .error(error))
        #expect(scene.disconnects() == [error])
    }
}
