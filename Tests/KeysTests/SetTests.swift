import Primitives
import RESP
import Testing

@testable import Keys

@Suite("Sets")
struct SetTests {
    @Test("RS-12 integers come in order, other members as they were added; the encodings are those of Redis 7.0")
    func order() {
        var redis = KeyspaceSession()
        #expect(redis("SADD s 10 9 -3 2 10") == "4")
        #expect(redis("SMEMBERS s") == #"["-3", "2", "9", "10"]"#)
        #expect(redis("SADD s b a 01") == "3")
        #expect(redis("SMEMBERS s") == #"["-3", "2", "9", "10", "b", "a", "01"]"#)
        #expect(redis("SREM s x 9 b") == "2")
        #expect(redis("SMISMEMBER s 9 10 01 1") == "[0, 1, 1, 0]")
        #expect(redis("SCARD s") == "5")
        #expect(redis("SADD") == "ERR wrong number of arguments for 'sadd' command")
    }

    @Test("RS-12 a set goes with its last member, and events are those of Redis")
    func events() {
        var redis = KeyspaceSession()
        redis.keys.configuration.notifications = KeyNotification.Kind(text: "KEA") ?? []
        _ = redis("SADD s 1 2")
        _ = redis("SADD s 1")
        _ = redis("SREM s 3")
        #expect(redis("SMOVE s t 1") == "1")
        #expect(redis("SMOVE s t 2") == "1")
        #expect(redis("SMOVE s t 2") == "0")
        #expect(redis("SMOVE t t 2") == "1")
        #expect(redis("SUNIONSTORE u t t") == "2")
        #expect(redis("SINTERSTORE u t missing") == "0")
        #expect(redis("SPOP t 5") == #"["1", "2"]"#)
        #expect(
            redis.notifications() == [
                "sadd s", "srem s", "sadd t", "srem s", "del s", "sadd t", "sunionstore u", "del u", "spop t", "del t",
            ]
        )
        #expect(redis("SCARD t") == "0")
    }

    @Test("RS-12 union, intersection and difference, with types checked in every key")
    func algebra() {
        var redis = KeyspaceSession(version: 3)
        _ = redis("SADD a 1 2 3 x")
        _ = redis("SADD b 2 3 4 x")
        _ = redis("ZADD z 1 m")
        #expect(redis("SINTER a b") == #"~["2", "3", "x"]"#)
        #expect(redis("SUNION a b missing") == #"~["1", "2", "3", "x", "4"]"#)
        #expect(redis("SDIFF a b") == #"~["1"]"#)
        #expect(redis("SINTER missing z").hasPrefix("WRONGTYPE"))
        #expect(redis("SINTERCARD 2 a b LIMIT 2") == "2")
        #expect(redis("SINTERCARD 3 a b") == "ERR Number of keys can't be greater than number of args")
        #expect(redis("SINTERCARD 1 a LIMIT -1") == "ERR LIMIT can't be negative")
        #expect(redis("SDIFFSTORE z a b") == "1")
        #expect(redis("SMEMBERS z") == #"~["1"]"#)
    }

    @Test("RS-12 random picks are fair, also after many members have gone")
    func chance() {
        var redis = KeyspaceSession()
        _ = redis("SADD s " + (0..<1000).map { "m\($0)" }.joined(separator: " "))
        _ = redis("SREM s " + (0..<990).map { "m\($0)" }.joined(separator: " "))
        var picks: [String: Int] = [:]
        for _ in 0..<10_000 { picks[redis("SRANDMEMBER s"), default: 0] += 1 }
        #expect(picks.count == 10)
        #expect(picks.values.allSatisfy { $0 > 800 && $0 < 1200 })

        #expect(Set(redis("SRANDMEMBER s 7").dropFirst().dropLast().split(separator: ", ")).count == 7)
        #expect(redis("SRANDMEMBER s -20").split(separator: ",").count == 20)
        #expect(redis("SRANDMEMBER s 20").split(separator: ",").count == 10)
        #expect(redis("SPOP s 4").split(separator: ",").count == 4)
        #expect(redis("SCARD s") == "6")
        #expect(redis("SRANDMEMBER s -9223372036854775808").hasPrefix("ERR value is out of range"))
        redis.keys.configuration.protoMaxBulkLength = 1000
        #expect(redis("SRANDMEMBER s -9223372036854775807") == "ERR reply is longer than proto-max-bulk-len")
    }

    @Test("RS-12 what stays in a set throughout a scan is returned")
    func scan() {
        var redis = KeyspaceSession()
        _ = redis("SADD s " + (0..<500).map { "m\($0)" }.joined(separator: " "))
        var seen: Set<[UInt8]> = []
        var cursor = "0"
        repeat {
            let reply = redis("SSCAN s \(cursor) COUNT 20")
            let words = KeyspaceSession.split(reply.map { "[],".contains($0) ? " " : String($0) }.joined())
            cursor = String(decoding: words[0], as: UTF8.self)
            seen.formUnion(words.dropFirst())
            // Others come and go.
            _ = redis("SADD s " + (0..<20).map { "new\(cursor)\($0)" }.joined(separator: " "))
        } while cursor != "0"
        #expect((0..<500).allSatisfy { seen.contains(Array("m\($0)".utf8)) })
        #expect(redis("SSCAN s x") == "ERR invalid cursor")
        #expect(redis("SSCAN s 0 COUNT 0") == "ERR syntax error")
    }

    @Test("RS-12 a set that was read back from a snapshot is the same set", arguments: [20, 600])
    func snapshot(count: Int) throws {
        var set = SetValue(seed: 3)
        for number in 0..<count { _ = set.insert(Decimal.bytes(of: Int64(number * 7)), integersMax: 512) }
        _ = set.remove(Array("7".utf8))
        var writer = ByteWriter()
        set.encode(into: &writer)
        for end in 0..<writer.count {
            #expect(throws: DecodeError.self) { try SetTests.read(Array(writer.bytes[..<end])) }
        }
        var copy = try SetTests.read(writer.bytes)
        #expect(copy.count == count - 1)
        #expect(copy.byteEstimate == set.byteEstimate)
        for set in [copy, set] { #expect(set.contains(Array("14".utf8)) && !set.contains(Array("7".utf8))) }
        _ = set.insert(Array("a".utf8), integersMax: 512)
        _ = copy.insert(Array("a".utf8), integersMax: 512)
        var (first, second) = (ByteWriter(), ByteWriter())
        set.encode(into: &first)
        copy.encode(into: &second)
        #expect(first.bytes == second.bytes)
    }

    static func read(_ bytes: [UInt8]) throws(DecodeError) -> SetValue {
        let result = bytes.withUnsafeBytes { raw -> Result<SetValue, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) { return .success(try SetValue(from: &reader)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
