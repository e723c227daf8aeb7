import Primitives
import RESP
import Testing

@testable import Keys

/// Expected replies are those of redis-server 7.0.15, and of 7.2 where a test says so.
@Suite struct StreamTests {
    // MARK: XADD

    @Test("RS-14 IDs are given from the time, go on from the last one and never back")
    func automaticIDs() {
        var redis = KeyspaceSession()
        #expect(redis("XADD s * f v") == "\"1700000000000-0\"")
        #expect(redis("XADD s * f v") == "\"1700000000000-1\"")
        redis.keys.now -= 5000
        #expect(redis("XADD s * f v") == "\"1700000000000-2\"")
        redis.keys.now += 6000
        #expect(redis("XADD s * f v") == "\"1700000001000-0\"")
        #expect(redis("XADD s 1700000001000-* f v") == "\"1700000001000-1\"")
        #expect(redis("XADD s 1700000002000 f v") == "\"1700000002000-0\"")
        #expect(redis("XADD n 0-* f v") == "\"0-1\"")
        // The greatest sequence carries over.
        #expect(redis("XADD e 2577343934890-18446744073709551615 f v") == "\"2577343934890-18446744073709551615\"")
        #expect(redis("XADD e * f v") == "\"2577343934891-0\"")
    }

    @Test(arguments: [
        ("XADD s 5-5 f v", "ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        ("XADD s 4-* f v", "ERR The ID specified in XADD is equal or smaller than the target stream top item"),
        ("XADD s 0-0 f v", "ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD s x f v", "ERR Invalid stream ID specified as stream command argument"),
        ("XADD s - f v", "ERR Invalid stream ID specified as stream command argument"),
        ("XADD s * f v g", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD s MAXLEN x * f v", "ERR value is not an integer or out of range"),
        ("XADD s MAXLEN -1 * f v", "ERR The MAXLEN argument must be >= 0."),
        ("XADD s MAXLEN 1 LIMIT 1 * f v", "ERR syntax error, LIMIT cannot be used without the special ~ option"),
        (
            "XADD s MAXLEN 1 MINID 1 * f v",
            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
        ),
        (
            "XADD s LIMIT 1 * f v",
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
        ),
        ("XTRIM s LIMIT 0", "ERR syntax error, XTRIM must be called with a trimming strategy"),
        ("XTRIM s LIMIT 0 5", "ERR syntax error"),
        ("XADD t * f v", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ])
    func refusals(_ line: String, _ error: String) {
        var redis = KeyspaceSession()
        _ = redis("XADD s 5-5 f v")
        redis.keys.store(0, Array("t".utf8), .string([1]))
        #expect(redis(line) == error)
        #expect(redis("XLEN s") == "1")
    }

    @Test("RS-14 the last ID that there is ends a stream")
    func exhausted() {
        var redis = KeyspaceSession()
        _ = redis("XADD s 18446744073709551615-18446744073709551615 f v")
        let text = "ERR The stream has exhausted the last possible ID, unable to add more items"
        #expect(redis("XADD s * f v") == text)
        _ = redis("XADD q 1-18446744073709551615 f v")
        #expect(redis("XADD q 1-* f v").hasPrefix("ERR The ID specified in XADD"))
    }

    @Test("RS-14 NOMKSTREAM makes no stream, and a refused XADD neither")
    func noStream() {
        var redis = KeyspaceSession()
        #expect(redis("XADD s NOMKSTREAM * f v") == "nil")
        #expect(redis("XADD s 0-0 f v").hasPrefix("ERR"))
        #expect(redis.keys.keyCount(0) == 0)
    }

    @Test(arguments: [
        ("7", StreamID(7, 9)), ("7-1", StreamID(7, 1)), ("007-01", StreamID(7, 1)), (" +7-1", StreamID(7, 1)),
        ("18446744073709551615-18446744073709551615", .max), ("18446744073709551616", nil), ("7-", nil), ("-7", nil),
        ("7--7", nil), ("7-1-1", nil), ("", nil), ("7 ", nil), ("7-x", nil),
    ])
    func idText(_ text: String, _ id: StreamID?) {
        #expect(StreamID(Array(text.utf8), missingSequence: 9) == id)
    }

    // MARK: Ranges

    @Test("RS-14 XRANGE and XREVRANGE: bounds, exclusive bounds, COUNT")
    func ranges() {
        var redis = KeyspaceSession()
        for id in ["1-1", "1-2", "2-0", "3-0"] { _ = redis("XADD s \(id) f \(id)") }
        #expect(redis("XRANGE s - + COUNT 1") == #"[["1-1", ["f", "1-1"]]]"#)
        #expect(redis("XREVRANGE s + - COUNT 1") == #"[["3-0", ["f", "3-0"]]]"#)
        #expect(redis("XRANGE s 1 1") == #"[["1-1", ["f", "1-1"]], ["1-2", ["f", "1-2"]]]"#)
        #expect(redis("XRANGE s (1-1 (2") == #"[["1-2", ["f", "1-2"]], ["2-0", ["f", "2-0"]]]"#)
        #expect(redis("XREVRANGE s (2-0 (1-1") == #"[["1-2", ["f", "1-2"]]]"#)
        #expect(redis("XRANGE s 3 1") == "[]")
        #expect(redis("XRANGE s - + COUNT 0") == "nil")
        #expect(redis("XRANGE none - +") == "[]")
        #expect(redis("XRANGE s (- +") == "ERR Invalid stream ID specified as stream command argument")
        #expect(redis("XRANGE s - (0-0") == "ERR invalid end ID for the interval")
        let last = "(18446744073709551615-18446744073709551615"
        #expect(redis("XRANGE s \(last) +") == "ERR invalid start ID for the interval")
        #expect(redis("XRANGE s - + LIMIT 1") == "ERR syntax error")
    }

    @Test("RS-14 every range of a stream of many nodes with holes equals that of a plain array")
    func rangesAgainstModel() {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 4
        var random = Xoshiro256(seed: 7)
        var ids: [StreamID] = []
        for ms in 1...60 where random.chance(2, in: 3) {
            ids.append(StreamID(UInt64(ms), random.below(3)))
            _ = redis("XADD s \(ids[ids.count - 1].text) f v")
        }
        for _ in 0..<20 {
            let id = ids.remove(at: Int(random.below(UInt64(ids.count))))
            #expect(redis("XDEL s \(id.text) \(id.text)") == "1")
        }
        func show(_ ids: some Sequence<StreamID>) -> String {
            "[" + ids.map { "[\"\($0.text)\", [\"f\", \"v\"]]" }.joined(separator: ", ") + "]"
        }
        for _ in 0..<300 {
            let a = StreamID(random.below(62), random.below(3))
            let b = StreamID(random.below(62), random.below(3))
            let expected = ids.filter { $0 >= a && $0 <= b }
            #expect(redis("XRANGE s \(a.text) \(b.text)") == show(expected))
            #expect(redis("XREVRANGE s \(b.text) \(a.text)") == show(expected.reversed()))
        }
        #expect(redis("XLEN s") == "\(ids.count)")
    }

    // MARK: Trimming

    @Test("RS-14 MAXLEN ~ removes whole nodes, LIMIT bounds it, = is exact")
    func trimming() {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 10
        for _ in 0..<100 { _ = redis("XADD s * f v") }
        _ = redis("XADD s MAXLEN ~ 55 LIMIT 30 * f v")
        #expect(redis("XLEN s") == "71")
        _ = redis("XADD s MAXLEN ~ 55 LIMIT 30 * f v")
        #expect(redis("XLEN s") == "62")
        #expect(redis("XTRIM s MAXLEN ~ 62") == "0")
        #expect(redis("XTRIM s MAXLEN ~ 53") == "0")
        #expect(redis("XTRIM s MAXLEN 53") == "9")
        #expect(redis("XTRIM s MAXLEN = 0") == "53")
        #expect(redis("XLEN s") == "0")
        #expect(redis("XADD s MAXLEN 0 * f v").hasPrefix("\"17"))
        #expect(redis("XLEN s") == "0")
    }

    @Test("RS-14 MINID ~ removes nodes whose last entry is smaller, deleted or not")
    func trimmingByID() {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 3
        for ms in 1...9 { _ = redis("XADD s \(ms) f v") }
        _ = redis("XDEL s 3 6")
        #expect(redis("XTRIM s MINID ~ 3") == "0")
        #expect(redis("XTRIM s MINID ~ 6") == "2")
        #expect(redis("XTRIM s MINID 6") == "2")
        #expect(redis("XTRIM s MINID = 8-1") == "2")
        #expect(redis("XRANGE s - +") == #"[["9-0", ["f", "v"]]]"#)
    }

    @Test("RS-14 ~ without LIMIT looks at no more than a hundred nodes")
    func trimmingIsBounded() {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 1
        for _ in 0..<102 { _ = redis("XADD s * f v") }
        #expect(redis("XTRIM s MAXLEN ~ 1") == "100")
        #expect(redis("XTRIM s MAXLEN ~ 1 LIMIT 0") == "1")
    }

    // MARK: XREAD

    @Test("RS-14 XREAD of several streams, as an array and as a map")
    func read() {
        var redis = KeyspaceSession()
        _ = redis("XADD a 1-0 f 1")
        _ = redis("XADD b 5-0 f 5")
        #expect(redis("XREAD STREAMS a none b 0 0 5") == #"[["a", [["1-0", ["f", "1"]]]]]"#)
        #expect(redis("XREAD STREAMS a b $ $") == "nil")
        #expect(
            redis("XREAD STREAMS a b 0") == "ERR Unbalanced XREAD list of streams: "
                + "for each stream key an ID or '$' must be specified."
        )
        #expect(redis("XREAD BLOCK -1 STREAMS a 0") == "ERR timeout is negative")
        #expect(redis("XREAD NOACK STREAMS a 0").hasPrefix("ERR The NOACK option is only supported by XREADGROUP"))
        redis.version = 3
        #expect(redis("XREAD COUNT 1 STREAMS a b 0 0") == #"{"a": [["1-0", ["f", "1"]]], "b": [["5-0", ["f", "5"]]]}"#)
    }

    @Test("RS-13 XREAD BLOCK $ waits for what comes after the call, whatever happens to the key meanwhile")
    func blockingRead() {
        var redis = KeyspaceSession()
        _ = redis("XADD s 666 f v")
        redis.client = 7
        #expect(redis("XREAD BLOCK 0 STREAMS none s $ $") == "(blocked)")
        redis.client = nil
        _ = redis("XDEL s 666")
        redis.keys.remove(0, Array("s".utf8))
        redis.keys.serveWaiters()
        #expect(redis.served().isEmpty)
        _ = redis("XADD s 5 f old")
        #expect(redis.served().isEmpty)
        _ = redis("XADD s 667 f new")
        #expect(redis.served() == [#"7: [["s", [["667-0", ["f", "new"]]]]]"#])
        #expect(redis.keys.waiterCount == 0)
    }

    @Test("RS-13 a blocked XREAD times out with nil, and where nobody can wait at once")
    func readTimesOut() {
        var redis = KeyspaceSession()
        #expect(redis("XREAD BLOCK 100 STREAMS s $") == "nil")
        redis.client = 1
        #expect(redis("XREAD BLOCK 100 STREAMS s $") == "(blocked)")
        #expect(redis.keys.nextTimeout == redis.keys.now + 100)
        redis.keys.now += 100
        redis.keys.timeOutWaiters()
        #expect(redis.served() == ["1: nil"])
    }

    @Test func keysOfReads() {
        func keys(_ line: String) -> Range<Int>? { StreamCommands.readKeys(KeyspaceSession.split(line)) }
        #expect(keys("XREADGROUP GROUP g streams COUNT 1 NOACK STREAMS a b > >") == 8..<10)
        #expect(keys("XREAD BLOCK 1 STREAMS a 1") == 4..<5)
        #expect(keys("XREAD STREAMS a") == nil)
        #expect(keys("XREAD bad STREAMS a 1") == nil)
    }

    // MARK: XDEL, XSETID

    @Test("RS-14 XDEL is all or nothing, and the stream stays when it is empty")
    func delete() {
        var redis = KeyspaceSession()
        for ms in 1...3 { _ = redis("XADD s \(ms) f v") }
        #expect(redis("XDEL s 1 2 x") == "ERR Invalid stream ID specified as stream command argument")
        #expect(redis("XLEN s") == "3")
        #expect(redis("XDEL s 1 2 3 4") == "3")
        #expect(redis("XLEN s") == "0")
        #expect(redis.keys.keyCount(0) == 1)
        #expect(redis("XADD s 3 f v").hasPrefix("ERR The ID specified in XADD is equal or smaller"))
    }

    @Test("RS-14 an ID may come again after XDEL and XSETID, also in the next node")
    func againAfterSetID() {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 2
        _ = redis("XADD s 1 f v")
        _ = redis("XADD s 10 f v")
        _ = redis("XDEL s 10")
        #expect(redis("XSETID s 0-1") == "ERR The ID specified in XSETID is smaller than the target stream top item")
        #expect(redis("XSETID s 1 ENTRIESADDED 0").hasPrefix("ERR The entries_added specified in XSETID is smaller"))
        #expect(redis("XSETID s 1 ENTRIESADDED 9 MAXDELETEDID 1-0") == "OK")
        _ = redis("XADD s 5 f v")
        _ = redis("XADD s 6 f v")
        #expect(redis("XRANGE s 5 5") == #"[["5-0", ["f", "v"]]]"#)
        #expect(redis("XREVRANGE s 20 6") == #"[["6-0", ["f", "v"]]]"#)
        #expect(redis("XSETID none 1") == "ERR no such key")
        #expect(redis("XSETID s 1 ENTRIESADDED -1") == "ERR entries_added must be positive")
    }

    // MARK: Notifications, WATCH

    @Test func notifications() {
        var redis = KeyspaceSession()
        redis.keys.configuration.notifications = [.all, .new, .keyevent]
        _ = redis("XADD s MAXLEN 1 1 f v")
        _ = redis("XADD s MAXLEN 1 2 f v")
        _ = redis("XDEL s 2 3")
        _ = redis("XDEL s 3")
        _ = redis("XSETID s 9")
        _ = redis("XGROUP CREATE s g $")
        _ = redis("XREADGROUP GROUP g c STREAMS s 0")
        _ = redis("XGROUP CREATECONSUMER s g c")
        _ = redis("XGROUP SETID s g 0")
        _ = redis("XGROUP DELCONSUMER s g c")
        _ = redis("XGROUP DESTROY s g")
        #expect(
            redis.notifications() == [
                "new s", "xadd s", "xadd s", "xtrim s", "xdel s", "xsetid s", "xgroup-create s",
                "xgroup-createconsumer s", "xgroup-setid s", "xgroup-delconsumer s", "xgroup-destroy s",
            ]
        )
    }

    @Test func watchSeesEntriesAndNotGroups() {
        var redis = KeyspaceSession()
        let key = Array("s".utf8)
        _ = redis("XADD s 1 f v")
        _ = redis("XGROUP CREATE s g 0")
        let version = redis.keys.watchVersion(0, key)
        _ = redis("XREADGROUP GROUP g c STREAMS s >")
        _ = redis("XACK s g 1")
        #expect(redis.keys.watchVersion(0, key) == version)
        _ = redis("XADD s 2 f v")
        #expect(redis.keys.watchVersion(0, key) != version)
    }

    // MARK: Snapshots

    private func held(_ session: KeyspaceSession) throws -> StreamValue {
        try #require(session.keys.peek(0, Array("s".utf8)).flatMap(StreamValue.unwrap))
    }

    @Test("RS-14 a copy stays as it was, and a decoded stream behaves as the one encoded")
    func snapshot() throws {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 3
        for ms in 1...20 { _ = redis("XADD s \(ms) f \(ms)") }
        _ = redis("XDEL s 2 20")
        _ = redis("XGROUP CREATE s g 0 ENTRIESREAD 3")
        _ = redis("XGROUP CREATE s h $")
        for consumer in ["z", "a", "m"] { _ = redis("XREADGROUP GROUP g \(consumer) COUNT 4 STREAMS s >") }
        _ = redis("XGROUP DELCONSUMER s g a")
        _ = redis("XREADGROUP GROUP g b COUNT 1 STREAMS s >")
        var copy = redis
        let before = redis("XINFO STREAM s FULL COUNT 0")
        let stream = try held(redis)
        var writer = ByteWriter()
        stream.encode(into: &writer)
        let again = try writer.bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let decoded = try StreamValue(from: &reader)
            try reader.expectEnd()
            return decoded
        }
        #expect(again.byteEstimate == stream.byteEstimate)
        redis.keys.store(0, Array("s".utf8), .stream(again))
        #expect(redis("XINFO STREAM s FULL COUNT 0") == before)
        for line in [
            "XADD s 30 f v", "XDEL s 5", "XTRIM s MAXLEN ~ 10", "XAUTOCLAIM s g m 0 - COUNT 3", "XACK s g 7",
            "XREADGROUP GROUP g new STREAMS s >", "XINFO STREAM s FULL COUNT 0",
        ] {
            #expect(redis(line) == copy(line))
        }
        // Equal states have equal bytes, whatever their histories.
        var bytes: [[UInt8]] = []
        for session in [redis, copy] {
            var writer = ByteWriter()
            try held(session).encode(into: &writer)
            bytes.append(writer.bytes)
        }
        #expect(bytes[0] == bytes[1])
    }

    @Test("RS-14 bytes that are no stream are refused, never trapped on")
    func damagedSnapshot() throws {
        var redis = KeyspaceSession()
        redis.keys.configuration.streamNodeMaxEntries = 2
        for ms in 1...6 { _ = redis("XADD s \(ms) f v") }
        _ = redis("XGROUP CREATE s g 0")
        _ = redis("XREADGROUP GROUP g c STREAMS s >")
        var writer = ByteWriter()
        try held(redis).encode(into: &writer)
        func decode(_ bytes: [UInt8]) throws -> StreamValue {
            try bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                return try StreamValue(from: &reader)
            }
        }
        for length in 0..<writer.count {
            #expect(throws: DecodeError.self) { try decode(Array(writer.bytes[..<length])) }
        }
        var random = Xoshiro256(seed: 3)
        for _ in 0..<5000 {
            var bytes = writer.bytes
            bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            guard let stream = try? decode(bytes) else { continue }
            redis.keys.store(0, Array("s".utf8), .stream(stream))
            for line in ["XADD s * f v", "XINFO STREAM s FULL", "XAUTOCLAIM s g d 0 -", "XTRIM s MAXLEN 1"] {
                #expect(!redis(line).isEmpty)
            }
        }
    }
}
