import Primitives
import Testing

@testable import Keys

/// Replies are those of redis-server 7.0.15.
@Suite struct HashTests {
    @Test("RS-12 fields are set, read and deleted; the key goes with its last field")
    func fields() {
        var redis = KeyspaceSession()
        redis.keys.configuration.notifications = [.all, .new, .keyevent]
        #expect(redis("HSET h a 1 b 2 a 3") == "2")
        #expect(redis("HSET h a") == "ERR wrong number of arguments for 'hset' command")
        #expect(redis("HSET h a 1 b") == "ERR wrong number of arguments for 'hset' command")
        #expect(redis("HMSET h c x") == "OK")
        #expect(redis("HMSET h c x d") == "ERR wrong number of arguments for 'hmset' command")
        #expect(redis("HSETNX h c y") == "0")
        #expect(redis("HSETNX h d y") == "1")
        #expect(redis("HGETALL h") == #"["a", "3", "b", "2", "c", "x", "d", "y"]"#)
        #expect(redis("HMGET h a none d") == #"["3", nil, "y"]"#)
        #expect(redis("HMGET none a") == "[nil]")
        #expect(redis("HKEYS h") == #"["a", "b", "c", "d"]"#)
        #expect(redis("HVALS h") == #"["3", "2", "x", "y"]"#)
        #expect(redis("HSTRLEN h d") == "1")
        #expect(redis("HEXISTS h d") == "1")
        #expect(redis("HDEL h a none a b") == "2")
        #expect(redis("HLEN h") == "2")
        #expect(redis("HDEL h c d") == "2")
        #expect(redis("HGETALL h") == "[]")
        #expect(redis.notifications() == ["new h", "hset h", "hset h", "hset h", "hdel h", "hdel h", "del h"])
    }

    @Test("RS-12 RESP3 has maps and pairs")
    func resp3() {
        var redis = KeyspaceSession(version: 3)
        _ = redis("HSET h a 1 b 2")
        #expect(redis("HGETALL h") == #"{"a": "1", "b": "2"}"#)
        #expect(redis("HGETALL none") == "{}")
        #expect(redis("HRANDFIELD h 5 WITHVALUES") == #"[["a", "1"], ["b", "2"]]"#)
        #expect(redis("HGET h none") == "nil")
    }

    @Test("RS-12 numbers: HINCRBY within 64 bits, HINCRBYFLOAT with exact decimals")
    func numbers() {
        var redis = KeyspaceSession()
        #expect(redis("HINCRBY h n 9223372036854775807") == "9223372036854775807")
        #expect(redis("HINCRBY h n 1") == "ERR increment or decrement would overflow")
        #expect(redis("HINCRBY h n -9223372036854775808") == "-1")
        #expect(redis("HINCRBY h n x") == "ERR value is not an integer or out of range")
        #expect(redis("HINCRBYFLOAT h f 0.1") == #""0.1""#)
        #expect(redis("HINCRBYFLOAT h f 0.2") == #""0.3""#)
        #expect(redis("HINCRBYFLOAT h f -1e2") == #""-99.7""#)
        #expect(redis("HINCRBYFLOAT h f inf") == "ERR value is NaN or Infinity")
        #expect(redis("HINCRBYFLOAT h f x") == "ERR value is not a valid float")
        _ = redis("HSET h s text")
        #expect(redis("HINCRBYFLOAT h s 1") == "ERR hash value is not a float")
        #expect(redis("HINCRBY h s 1") == "ERR hash value is not an integer")
        #expect(redis("HINCRBY none2 f x") == "ERR value is not an integer or out of range")
        #expect(redis("HLEN none2") == "0")
    }

    @Test("RS-12 a hash becomes a table at its 129th field or with a long value, and answers as before")
    func conversion() {
        let configuration = KeyspaceConfiguration()
        var hash = HashValue(seed: 7)
        for number in 0..<128 { hash.set(Decimal.bytes(of: Int64(number)), [1], configuration) }
        #expect(hash.isCompact)
        hash.set([48], [2], configuration)
        #expect(hash.isCompact)
        hash.set([120], [3], configuration)
        #expect(!hash.isCompact && hash.encoding == "hashtable" && hash.count == 129)
        #expect(hash[[48]] == [2] && hash[[120]] == [3])
        var long = HashValue(seed: 7)
        long.set([1], Array(repeating: 0, count: 64), configuration)
        #expect(long.isCompact)
        long.set([1], Array(repeating: 0, count: 65), configuration)
        #expect(!long.isCompact && long.count == 1 && long.payload == 66)
    }

    @Test("RS-12 HRANDFIELD: different fields, repeated ones, each about as often", arguments: [20, 500])
    func random(size: Int) {
        var redis = KeyspaceSession()
        for number in 0..<size { _ = redis("HSET h f\(number) \(number)") }
        for count in [1, size / 10, size / 2, size - 1, size, size + 5] {
            let reply = redis("HRANDFIELD h \(count)").dropFirst().dropLast().split(separator: ", ")
            #expect(reply.count == min(count, size))
            #expect(Set(reply).count == reply.count)
        }
        let repeated = redis("HRANDFIELD h -\(size * 50)").dropFirst().dropLast().split(separator: ", ")
        #expect(repeated.count == size * 50)
        let times = Dictionary(repeated.map { ($0, 1) }, uniquingKeysWith: +)
        #expect(times.count == size)
        #expect(times.values.allSatisfy { $0 > 10 && $0 < 120 })
        #expect(redis("HRANDFIELD h 1 nope") == "ERR syntax error")
        #expect(redis("HRANDFIELD h -9223372036854775808").hasPrefix("ERR value is out of range"))
        #expect(redis("HRANDFIELD h -9223372036854775807").hasPrefix("ERR value is out of range"))
        #expect(redis("HRANDFIELD h 9223372036854775807 WITHVALUES") == "ERR value is out of range")
    }

    @Test("RS-12 HSCAN returns every field that stays, while others come and go")
    func scan() {
        var redis = KeyspaceSession()
        for number in 0..<400 { _ = redis("HSET h f\(number) v") }
        var seen: Set<Substring> = []
        var cursor = "0"
        var step = 0
        repeat {
            let reply = redis("HSCAN h \(cursor) COUNT 7").split(separator: "\"")
            cursor = String(reply[1])
            for word in reply where word.hasPrefix("f") { seen.insert(word) }
            step += 1
            _ = redis("HDEL h f\(200 + step)")
            for number in 0..<10 { _ = redis("HSET h g\(step).\(number) v") }
        } while cursor != "0" && step < 1000
        #expect((0..<200).allSatisfy { seen.contains("f\($0)") })
        #expect(redis("HSCAN h x") == "ERR invalid cursor")
        #expect(redis("HSCAN h 0 COUNT 0") == "ERR syntax error")
        #expect(redis("HSCAN h 0 COUNT") == "ERR syntax error")
        #expect(redis("HSCAN none 0") == #"["0", []]"#)
        _ = redis("HSET s a 1 b 2")
        #expect(redis("HSCAN s 0 MATCH a* COUNT 1") == #"["0", ["a", "1"]]"#)
        #expect(redis("HSCAN h 18446744073709551615 COUNT 9223372036854775807").hasPrefix("["))
    }

    @Test("RS-12 a hash that is read back from a snapshot picks and walks as the one that was written")
    func snapshot() throws {
        for size in [0, 5, 128, 1000] {
            let configuration = KeyspaceConfiguration()
            var hash = HashValue(seed: 9)
            for number in 0..<size { hash.set(Decimal.bytes(of: Int64(number)), [UInt8(number % 7)], configuration) }
            for number in 0..<(size / 4) { _ = hash.remove(Decimal.bytes(of: Int64(number * 3))) }
            var writer = ByteWriter()
            hash.encode(into: &writer)
            var again = try writer.bytes.withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                let again = try HashValue(from: &reader)
                try reader.expectEnd()
                return again
            }
            #expect(again.byteEstimate == hash.byteEstimate)
            // What comes after must be the same too: places, and the table that a small one becomes.
            for number in 2000..<2200 {
                hash.set(Decimal.bytes(of: Int64(number)), [1], configuration)
                again.set(Decimal.bytes(of: Int64(number)), [1], configuration)
            }
            var one = Xoshiro256(seed: 4)
            var two = Xoshiro256(seed: 4)
            for _ in 0..<100 { #expect(hash.randomPlace(&one) == again.randomPlace(&two)) }
            var first: [[UInt8]] = []
            var second: [[UInt8]] = []
            let cursor = hash.scan(0, 50) { field, _ in first.append(field) }
            #expect(cursor == again.scan(0, 50) { field, _ in second.append(field) })
            #expect(first == second)
        }
    }
}
