import Broker
import Primitives
import RESP
import RedisBackplane
import Rooms
import Testing

/// For calls that change what they are asked of, which `#expect` cannot hold.
private func check(_ holds: Bool, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation) {
    #expect(holds, comment, sourceLocation: location)
}

@Suite struct CircuitBreakerTests {
    @Test("RA-15 BP-13 closed, open, half-open, and both ways out of half-open")
    func states() {
        var breaker = CircuitBreaker(threshold: 3, successes: 2)
        var now = Instant.zero
        for _ in 0..<2 { breaker.failed(at: now, pause: .seconds(1)) }
        check(breaker.state == .closed && breaker.allows(at: now))
        breaker.succeeded()
        for _ in 0..<2 { breaker.failed(at: now, pause: .seconds(1)) }
        #expect(breaker.state == .closed, "only failures in a row count")
        breaker.failed(at: now, pause: .seconds(1))
        check(breaker.state == .open && !breaker.allows(at: now) && breaker.openings == 1)
        now = now + .seconds(1)
        check(breaker.allows(at: now) && breaker.state == .halfOpen)
        breaker.failed(at: now, pause: .seconds(4))
        check(breaker.state == .open && !breaker.allows(at: now + .seconds(3)) && breaker.openings == 2)
        now = now + .seconds(4)
        check(breaker.allows(at: now))
        breaker.succeeded()
        #expect(breaker.state == .halfOpen)
        breaker.succeeded()
        #expect(breaker.state == .closed)
    }
}

@Suite struct LinkStateTests {
    @Test("RA-09 a dead server: exactly three retries, then the fallback")
    func retries() {
        for wanted in [0, 1, 3, 7] {
            var link = LinkState(retries: wanted, base: .milliseconds(100), ceiling: .seconds(30), seed: 1)
            var now = Instant.zero
            while !link.isFallback {
                if link.begin(at: now) { link.failed(at: now, "refused") }
                now = now + .milliseconds(10)
            }
            #expect(link.attempts == UInt64(wanted) + 1)
        }
    }

    @Test("RA-15 two minutes without Redis: attempts are ever further apart, with jitter, and the breaker is open")
    func spacing() {
        var spacings: [[UInt64]] = []
        for seed in 1...8 {
            var link = LinkState(retries: 3, base: .milliseconds(100), ceiling: .seconds(30), seed: UInt64(seed))
            var times: [UInt64] = []
            for tick in 0..<12_000 {
                let now = Instant(nanoseconds: UInt64(tick) * 10_000_000)
                guard link.begin(at: now) else { continue }
                times.append(UInt64(tick) * 10)
                link.failed(at: now, "refused")
            }
            #expect((9...18).contains(times.count), "\(times)")
            #expect(link.breaker.state == .open && link.isFallback)
            let gaps = zip(times.dropFirst(), times).map { $0 - $1 }
            // Equal jitter: at least half of the step, at most all of it and a tick.
            for (index, gap) in gaps.enumerated() {
                let step = min(30_000, 100 << UInt64(index))
                #expect(gap >= step / 2 && gap <= step + 10, "\(gaps)")
            }
            spacings.append(gaps)
        }
        #expect(Set(spacings).count == spacings.count, "nodes do not come back together")
    }

    @Test("RA-23 a successor that is named is tried at once, however long the pause was")
    func hurry() {
        var link = LinkState(retries: 1, base: .milliseconds(100), ceiling: .seconds(600), seed: 5)
        var now = Instant.zero
        for _ in 0..<12 {
            while !link.begin(at: now) { now = now + .milliseconds(10) }
            link.failed(at: now, "refused")
        }
        check(!link.begin(at: now + .seconds(60)))
        link.hurry(at: now)
        check(link.begin(at: now))
        link.failed(at: now, "refused")
        check(link.begin(at: now + .milliseconds(100)), "pauses begin small again")
    }

    @Test("RA-14 the first attempt that restores everything ends the fallback, and the count begins anew")
    func recovery() {
        var link = LinkState(retries: 1, base: .milliseconds(100), ceiling: .seconds(1), seed: 3)
        var now = Instant.zero
        while !link.isFallback {
            if link.begin(at: now) { link.failed(at: now, "refused") }
            now = now + .milliseconds(10)
        }
        while !link.begin(at: now) { now = now + .milliseconds(10) }
        #expect(link.breaker.state == .halfOpen)
        link.connected()
        #expect(link.isFallback && link.phase == .restoring, "connections alone restore nothing")
        link.restored()
        #expect(!link.isFallback && link.phase == .up && link.breaker.state == .closed)
        link.failed(at: now, "reset")
        #expect(!link.isFallback, "a loss is the first failure of a new count")
    }
}

@Suite struct SubscriptionTableTests {
    @Test("RA-14 after a reconnect everything wanted is asked for again, in batches, and counted when confirmed")
    func restore() {
        var table = SubscriptionTable()
        #expect(table.isComplete)
        for number in 0..<1000 { check(table.want(.channel, Array("c\(number)".utf8)) != nil) }
        check(table.want(.channel, Array("c1".utf8)) == nil)
        check(table.want(.pattern, Array("c1".utf8))?.name == "PSUBSCRIBE", "a pattern is no channel")
        check(table.drop(.channel, Array("c0".utf8))?.name == "UNSUBSCRIBE")
        check(table.drop(.channel, Array("c0".utf8)) == nil)
        let commands = table.restore()
        #expect(commands.map(\.name) == ["SUBSCRIBE", "SUBSCRIBE", "PSUBSCRIBE"])
        #expect(commands.map { $0.arguments.count - 1 } == [512, 487, 1])
        #expect(!table.isComplete)
        for number in 1..<1000 { check(table.acknowledged(.channel, Array("c\(number)".utf8))) }
        check(!table.acknowledged(.channel, Array("c1".utf8)), "twice")
        check(!table.acknowledged(.channel, Array("c0".utf8)), "not wanted")
        #expect(!table.isComplete)
        check(table.acknowledged(.pattern, Array("c1".utf8)))
        #expect(table.isComplete && table.count == 1000)
        _ = table.restore()
        #expect(!table.isComplete && !table.isAcknowledged(.channel, Array("c5".utf8)))
    }
}

@Suite struct NamesTests {
    @Test("RA-07 RA-11 the prefix names the global channel, prefix:room any other; the pattern takes it literally")
    func channels() {
        let names = RedisNames(prefix: "chat_system", broadcastRoom: "ws_broadcast")
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        #expect(text(names.channel(of: RoomName("ws_broadcast"))) == "chat_system")
        #expect(text(names.channel(of: RoomName("a:b"))) == "chat_system:a:b")
        #expect(names.room(of: Array("chat_system".utf8)) == RoomName("ws_broadcast"))
        #expect(names.room(of: Array("chat_system:a:b".utf8)) == RoomName("a:b"))
        for foreign in ["chat_system:", "chat_systema", "chat", "", "chat_system~probe~n1"] {
            #expect(names.room(of: Array(foreign.utf8)) == nil, "\(foreign)")
        }
        #expect(text(names.pattern) == "chat_system:*")
        let odd = RedisNames(prefix: "a*[x]?\\", broadcastRoom: "")
        #expect(text(odd.pattern) == #"a\*\[x\]\?\\:*"#)
        #expect(odd.room(of: Array("a*[x]?\\".utf8)) == nil, "no global room")
        #expect(names.room(ofStream: names.stream(of: RoomName("r"))) == RoomName("r"))
        #expect(
            names.message(Array("b:c".utf8), in: RoomName("a")) != names.message(Array("c".utf8), in: RoomName("a:b"))
        )
    }
}

@Suite struct PayloadTests {
    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
    private func body(_ payload: String, isJSON: Bool = true, ttl: UInt64 = 0, tags: String = "") -> MessageBody {
        MessageBody(payload: Array(payload.utf8)[...], isJSON: isJSON, timeToLive: ttl, tags: Array(tags.utf8)[...])
    }

    @Test("RA-11 a message is published as its own JSON, and only what JSON cannot say is wrapped, in JSON too")
    func roundTrips() throws {
        let plain = body(#"{"type":"message","content":"hé","user":"ann"}"#)
        #expect(text(ChannelPayload.encode(plain.encoded()[...], policyTimeToLive: 0)) == text(Array(plain.payload)))
        let bodies = [
            plain, body("42"), body(#"{"a":1}"#, ttl: 500), body("[]", tags: #"{"k":"v"}"#),
            body("plain \" text\n", isJSON: false), body(#"{"vencejo":{},"data":1}"#), body(#"{"vencejo":1}"#),
            MessageBody(
                payload: [0xff, 0x00, 0x7f],
                isJSON: false,
                timeToLive: 9,
                tags: Array(#"{"k":"v"}"#.utf8)[...]
            ),
        ]
        for body in bodies {
            let payload = ChannelPayload.encode(body.encoded()[...], policyTimeToLive: 0)
            let again = ChannelPayload.decode(payload, policyTimeToLive: 0)
            #expect(try MessageBody(decoding: again[...]) == body, "\(text(payload))")
        }
        let policy = body("1", ttl: 60_000)
        #expect(text(ChannelPayload.encode(policy.encoded()[...], policyTimeToLive: 60_000)) == "1")
        #expect(
            try MessageBody(decoding: ChannelPayload.decode(Array("1".utf8), policyTimeToLive: 60_000)[...]) == policy
        )
    }

    @Test("RA-12 what foreign publishers send is JSON, text or bytes, and never breaks a frame")
    func foreign() throws {
        func decode(_ bytes: [UInt8]) throws -> MessageBody {
            try MessageBody(decoding: ChannelPayload.decode(bytes, policyTimeToLive: 0)[...])
        }
        #expect(try decode(Array(#"{"content": "x"}"#.utf8)).isJSON)
        for bad in ["{", "hello", "{} {}", #"{"vencejo":"#, #"{"vencejo":{"form":"hex"},"data":"zz"}"#] {
            let decoded = try decode(Array(bad.utf8))
            #expect(!decoded.isJSON || bad.hasSuffix("}"), "\(bad)")
            #expect(text(Array(decoded.payload)) == bad)
        }
        #expect(try decode([0xff, 0xfe]).payload == [0xff, 0xfe])
    }
}

@Suite struct StreamPositionTests {
    @Test("RA-27 positions are stream ids: dense from E-0, and back")
    func ids() {
        #expect(StreamPosition.id(Position(epoch: 7, offset: 1)) == StreamID(7, 0))
        #expect(StreamPosition.id(Position(epoch: 7, offset: 0)) == StreamID(6, .max))
        for offset: UInt64 in [0, 1, 2, 1000] {
            let id = StreamPosition.id(Position(epoch: 7, offset: offset))
            #expect(StreamPosition.offset(id, epoch: 7) == offset)
            #expect(StreamID(id.description) == id)
        }
        #expect(StreamPosition.offset(StreamID(8, 0), epoch: 7) == nil)
        #expect(StreamPosition.offset(StreamID(6, 3), epoch: 7) == nil)
        for bad in ["", "1", "1-", "-1", "a-b", "1-2-3", "99999999999999999999-1"] { #expect(StreamID(bad) == nil) }
    }

    @Test("RA-27 an entry keeps a message's parts, and what others wrote is not taken at its word")
    func entries() throws {
        let body = MessageBody(
            payload: Array(#"{"n":1}"#.utf8)[...],
            timeToLive: 5,
            tags: Array(#"{"a":"b"}"#.utf8)[...]
        )
        let fields = StreamEntry.fields(body.encoded()[...], key: Array("k1".utf8)[...], time: 99)
        let value = RESPValue.array([
            .bulk(Array("7-4".utf8)), .array(fields.map { .bulk(Array($0.bytes)) }),
        ])
        let entry = try #require(StreamEntry(value))
        #expect(entry.id == StreamID(7, 4) && entry.key == Array("k1".utf8))
        #expect(entry.publication.offset == 5 && entry.publication.timestamp == 99)
        #expect(try MessageBody(decoding: entry.publication.body) == body)
        let foreign = RESPValue.array([
            .bulk(Array("7-5".utf8)), .array([.bulk(Array("data".utf8)), .bulk(Array("not json".utf8))]),
        ])
        let decoded = try MessageBody(decoding: try #require(StreamEntry(foreign)).publication.body)
        #expect(!decoded.isJSON)
        for bad: RESPValue in [.null, .array([]), .array([.integer(1), .array([])]), .simple("x")] {
            #expect(StreamEntry(bad) == nil)
        }
    }
}

@Suite struct PublishQueueTests {
    private func item(_ text: String, at deadline: UInt64 = 10) -> PublishQueue.Item {
        PublishQueue.Item(
            room: RoomName("r"),
            body: Array(text.utf8)[...],
            channel: Array("c".utf8),
            payload: Array(text.utf8),
            expectsEcho: true,
            deadline: Instant(nanoseconds: deadline)
        )
    }
    private func texts(_ items: [PublishQueue.Item]) -> [String] {
        items.map { String(decoding: $0.body, as: UTF8.self) }
    }

    @Test("RA-08 what was sent, not answered and not heard is sent again, or delivered here when retrying is off")
    func loss() {
        for retry in [true, false] {
            var queue = PublishQueue(limit: 100, byteLimit: 1000, window: 4)
            for text in ["a", "b", "c", "d", "e"] { check(queue.append(item(text)).isEmpty) }
            var sent: [String] = []
            while let next = queue.next() { sent += texts([next]) }
            #expect(sent == ["a", "b", "c", "d"] && queue.waitingCount == 1, "the window")
            queue.answered()
            queue.heard(channel: Array("c".utf8), payload: Array("b".utf8))
            queue.heard(channel: Array("c".utf8), payload: Array("foreign".utf8))
            let local = queue.lost(retry: retry)
            #expect(texts(local) == (retry ? [] : ["c", "d"]))
            var again: [String] = []
            while let next = queue.next() { again += texts([next]) }
            #expect(again == (retry ? ["c", "d", "e"] : ["e"]), "b was heard; order is kept")
        }
    }

    @Test("RA-13 nothing waits beyond its bounds: what does not fit, or is late, is delivered here")
    func bounds() {
        var queue = PublishQueue(limit: 2, byteLimit: 5, window: 1)
        check(queue.append(item("1", at: 5)).isEmpty)
        check(queue.append(item("2", at: 9)).isEmpty)
        check(texts(queue.append(item("3"))) == ["1"])
        check(texts(queue.append(item("12345"))) == ["2", "3"])
        check(queue.expired(at: Instant(nanoseconds: 9)).isEmpty)
        check(texts(queue.expired(at: Instant(nanoseconds: 10))) == ["12345"])
        check(queue.append(item("x")).isEmpty)
        check(texts(queue.drain()) == ["x"] && queue.waitingCount == 0)
    }
}
