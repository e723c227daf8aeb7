import Primitives
import Testing

@testable import Keys

@Suite("DUMP and RESTORE") struct DumpTests {
    private func bytes(_ hex: String) -> [UInt8] {
        let digits = Array(hex.utf8)
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...($0 + 1)], as: UTF8.self), radix: 16)
        }
    }

    private func restore(_ redis: inout KeyspaceSession, _ payload: [UInt8], _ options: String...) -> String {
        redis(words: [Array("RESTORE".utf8), [107], [48], payload] + options.map { Array($0.utf8) })
    }

    private func dump(_ redis: inout KeyspaceSession, _ key: String) -> [UInt8]? {
        redis.keys.peek(0, Array(key.utf8)).map { RedisDump.encode($0) }
    }

    @Test("RS-11 payloads of Redis 7.0.15 are read")
    func fromRedis() {
        let ab = String(repeating: "ab", count: 60)
        let q = String(repeating: "q", count: 70)
        let m = String(repeating: "m", count: 70)
        let rows = [
            ("000568656c6c6f0a006372df766534200a", "GET k", "\"hello\""),
            ("00c1c7cf0a0067eda236b4db26d0", "GET k", "\"-12345\""),
            ("00c30a407802616261e06a010161620a00b288708c530716d2", "GET k", "\"\(ab)\""),
            (
                "120102c32a406a1a6a00000006000101f178ec038361626304f270110104f4005ed0b22019040009e04671e03c000148ff0a00"
                    + "6bb608f8b91016c0",
                "LRANGE k 0 -1", "[\"1\", \"-5000\", \"abc\", \"70000\", \"3000000000\", \"\(q)\"]"
            ),
            (
                "1012120000000400816602817602816e020c01ff0a0001369481d35b8974", "HGETALL k",
                "[\"f\", \"v\", \"n\", \"12\"]"
            ),
            (
                "0b140400000003000000feffffff01000000701101000a0030527df8cc311f3b", "SMEMBERS k",
                "[\"-2\", \"1\", \"70000\"]"
            ),
            ("0202016201610a0075d99d835ef85f65", "SORT k ALPHA", "[\"a\", \"b\"]"),
            (
                "1118180000000400816202842d696e660581610283312e3504ff0a006283bc627bc94781", "ZRANGE k 0 -1 WITHSCORES",
                "[\"b\", \"-inf\", \"a\", \"1.5\"]"
            ),
            (
                "050201790000000000000240c3094046016d6de03900016d6d000000000000f03f0a0056db4984342817b6",
                "ZRANGE k 0 -1 WITHSCORES", "[\"\(m)\", \"1\", \"y\", \"2.25\"]"
            ),
        ]
        for (hex, question, answer) in rows {
            var redis = KeyspaceSession()
            #expect(restore(&redis, bytes(hex)) == "OK")
            #expect(redis(question) == answer)
        }
    }

    @Test("RS-14 a stream of Redis 6.2, with a group that is half read, gets what Redis 7 knows more")
    func oldStream() {
        // From the tests of Redis 7.0.15: five entries, one deleted, trimmed to two, four of them delivered.
        let hex =
            "0f011000000000000000010000000000000000c3404a40571657000000230002010401010184646174610500"
            + "0103010020010381610204200a0001400a0062600a0002400a0063600a4022018164200a4039200a0065600a"
            + "0005400a0066200a00ff02060002026731050004000000000000000100000000000000003ef783437a010000"
            + "01000000000000000200000000000000003ef783437a01000001000000000000000400000000000000003ef7"
            + "83437a01000001000000000000000500000000000000003ef783437a0100000101036331313ef783437a0100"
            + "0004000000000000000100000000000000000000000000000002000000000000000000000000000000040000"
            + "000000000000000000000000000500000000000000000267320000000009003d52ef6867521dfa"
        var redis = KeyspaceSession()
        #expect(restore(&redis, bytes(hex)) == "OK")
        #expect(redis("XLEN k") == "2")
        #expect(redis("XPENDING k g1").hasPrefix("[4, \"1-0\", \"5-0\""))
        let groups = redis("XINFO GROUPS k")
        #expect(groups.contains("\"entries-read\", 1, \"lag\", 1]"))
        #expect(groups.contains("\"entries-read\", 0, \"lag\", 2]"))
    }

    @Test("RS-14 a stream comes back with its groups, consumers and deliveries")
    func streams() throws {
        var redis = KeyspaceSession()
        for number in 1...300 { _ = redis("XADD a \(number)-\(number % 7) f \(number) \(number) v") }
        _ = redis("XADD a 400-0 long " + String(repeating: "x", count: 6000))
        _ = redis("XDEL a 5-5")
        _ = redis("XGROUP CREATE a g 0")
        _ = redis("XGROUP CREATE a h $")
        _ = redis("XREADGROUP GROUP g c COUNT 10 STREAMS a >")
        _ = redis("XREADGROUP GROUP g d COUNT 3 STREAMS a >")
        _ = redis("XACK a g 2-2")
        #expect(restore(&redis, try #require(dump(&redis, "a"))) == "OK")
        for question in ["XRANGE # - +", "XPENDING # g - + 20", "XINFO GROUPS #", "XLEN #"] {
            let lines = ["a", "k"].map { question.replacing("#", with: $0) }
            #expect(redis(lines[0]) == redis(lines[1]))
        }
        #expect(redis("XINFO STREAM k").contains("\"max-deleted-entry-id\", \"5-5\", \"entries-added\", 301"))
    }

    @Test("RS-11 what is dumped is restored as it was")
    func roundTrip() throws {
        let makers = [
            "SET a hello", "SET a -7", "SET a \"\"", "RPUSH a 1 two \"\" 3", "HSET a f v g 12", "SADD a 1 2 3",
            "SADD a x y 1", "ZADD a 1.5 x -inf y 2 z", "SETRANGE a 20000 x",
        ]
        for maker in makers {
            var redis = KeyspaceSession()
            _ = redis(maker)
            let payload = try #require(dump(&redis, "a"))
            #expect(restore(&redis, payload) == "OK")
            #expect(redis("OBJECT ENCODING k") == redis("OBJECT ENCODING a"))
            #expect(dump(&redis, "k") == payload, "\(maker)")
        }
    }

    @Test("RS-11 RESTORE's options and refusals")
    func options() throws {
        var redis = KeyspaceSession()
        _ = redis("SET a x")
        let payload = try #require(dump(&redis, "a"))
        #expect(restore(&redis, payload) == "OK")
        #expect(restore(&redis, payload) == "BUSYKEY Target key name already exists.")
        #expect(restore(&redis, payload, "REPLACE", "IDLETIME", "50") == "OK")
        #expect(redis("OBJECT IDLETIME k") == "50")
        #expect(restore(&redis, payload, "REPLACE", "FREQ", "256") == "ERR Invalid FREQ value, must be >= 0 and <= 255")
        #expect(restore(&redis, payload, "REPLACE", "IDLETIME", "1", "FREQ", "1") == "ERR syntax error")
        #expect(restore(&redis, payload, "REPLACE", "NOPE") == "ERR syntax error")
        let words = { (time: String, option: String) in
            [Array("RESTORE".utf8), [107], Array(time.utf8), payload, Array("REPLACE".utf8), Array(option.utf8)]
        }
        #expect(redis(words: words("-1", "REPLACE")) == "ERR Invalid TTL value, must be >= 0")
        #expect(redis(words: words("5000", "REPLACE")) == "OK")
        #expect(redis("PTTL k") == "5000")
        #expect(redis(words: words("1700000000700", "ABSTTL")) == "OK")
        #expect(redis("PTTL k") == "700")
        #expect(redis(words: words("1", "ABSTTL")) == "OK")
        #expect(redis("EXISTS k") == "0")
        #expect(redis(words: words("9223372036854775807", "REPLACE")) == "OK")
        #expect(redis("EXISTS k") == "0")
        var damaged = payload
        damaged[1] ^= 1
        #expect(restore(&redis, damaged) == "ERR DUMP payload version or checksum are wrong")
        #expect(restore(&redis, [1, 2, 3]) == "ERR DUMP payload version or checksum are wrong")
        #expect(redis("DUMP none") == "nil")
    }

    @Test("RS-11 the checksum is Redis's CRC-64")
    func checksum() {
        #expect(CRC64.checksum(Array("123456789".utf8)[...]) == 0xe9c6_d914_c4b8_d9ca)
    }

    @Test("RS-11 payloads that somebody made up are refused or make a value that works")
    func damage() {
        var random = Xoshiro256(seed: 1)
        let good = [
            "120102c32a406a1a6a00000006000101f178ec038361626304f270110104f4005ed0b22019040009e04671e03c000148ff",
            "1012120000000400816602817602816e020c01ff", "0b140400000003000000feffffff0100000070110100",
            "1118180000000400816202842d696e660581610283312e3504ff", "00c30a407802616261e06a01016162", "0202016201 61",
            "050201790000000000000240c3094046016d6de03900016d6d000000000000f03f",
        ].map { bytes($0.filter { $0 != " " }) }
        var restored = 0
        for round in 0..<20_000 {
            var payload = good[round % good.count]
            for _ in 0...random.below(3) {
                payload[Int(random.below(UInt64(payload.count)))] = UInt8(truncatingIfNeeded: random.next())
            }
            payload += [10, 0]
            let checksum = CRC64.checksum(payload[...])
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                payload.append(UInt8(truncatingIfNeeded: checksum >> shift))
            }
            var redis = KeyspaceSession()
            if restore(&redis, payload) == "OK" {
                restored += 1
                #expect(redis("MEMORY USAGE k") != "nil" && !redis("OBJECT ENCODING k").isEmpty)
                _ = redis("SORT k ALPHA")
            }
        }
        #expect(restored > 100)
    }
}
