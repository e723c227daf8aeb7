import Primitives
import Testing

@testable import Keys

/// Replies are those of redis-server 7.0.15.
@Suite struct ListTests {
    @Test("RS-12 pushes and pops at both ends, with counts; the key goes with its last element")
    func ends() {
        var redis = KeyspaceSession()
        redis.keys.configuration.notifications = [.all, .new, .keyevent]
        #expect(redis("RPUSH l a b c") == "3")
        #expect(redis("LPUSH l z y") == "5")
        #expect(redis("LRANGE l 0 -1") == #"["y", "z", "a", "b", "c"]"#)
        #expect(redis("LPUSHX none a") == "0")
        #expect(redis("RPUSHX l d") == "6")
        #expect(redis("LPOP l") == #""y""#)
        #expect(redis("RPOP l 2") == #"["d", "c"]"#)
        #expect(redis("LPOP l 0") == "[]")
        #expect(redis("LPOP l -1") == "ERR value is out of range, must be positive")
        #expect(redis("RPOP l 1 2") == "ERR wrong number of arguments for 'rpop' command")
        #expect(redis("RPOP l 99") == #"["b", "a", "z"]"#)
        #expect(redis("LPOP l") == "nil")
        #expect(redis("LPOP l 5") == "nil")
        #expect(redis.keys.keyCount(0) == 0)
        #expect(
            redis.notifications() == [
                "new l", "rpush l", "lpush l", "rpush l", "lpop l", "rpop l", "rpop l", "del l",
            ]
        )
    }

    @Test("RS-12 elements by index, from both ends and beyond them")
    func indexes() {
        var redis = KeyspaceSession()
        _ = redis("RPUSH l a b c d")
        #expect(redis("LINDEX l -1") == #""d""#)
        #expect(redis("LINDEX l 4") == "nil")
        #expect(redis("LINDEX l -9223372036854775808") == "nil")
        #expect(redis("LRANGE l -100 1") == #"["a", "b"]"#)
        #expect(redis("LRANGE l 2 9223372036854775807") == #"["c", "d"]"#)
        #expect(redis("LRANGE l 3 1") == "[]")
        #expect(redis("LSET l -2 x") == "OK")
        #expect(redis("LSET l 4 x") == "ERR index out of range")
        #expect(redis("LSET none 0 x") == "ERR no such key")
        #expect(redis("LINSERT l BEFORE x w") == "5")
        #expect(redis("LINSERT l after d e") == "6")
        #expect(redis("LINSERT l after nope e") == "-1")
        #expect(redis("LINSERT l near d e") == "ERR syntax error")
        #expect(redis("LRANGE l 0 -1") == #"["a", "b", "w", "x", "d", "e"]"#)
        #expect(redis("LTRIM l 1 -2") == "OK")
        #expect(redis("LRANGE l 0 -1") == #"["b", "w", "x", "d"]"#)
        #expect(redis("LTRIM l 9 0") == "OK")
        #expect(redis("LLEN l") == "0")
    }

    @Test("RS-12 LREM takes equal elements from either side, LPOS finds them")
    func equals() {
        var redis = KeyspaceSession()
        _ = redis("RPUSH l a x b x c x d x")
        #expect(redis("LPOS l x") == "1")
        #expect(redis("LPOS l x RANK -1") == "7")
        #expect(redis("LPOS l x RANK 2 COUNT 0") == "[3, 5, 7]")
        #expect(redis("LPOS l x RANK -2 COUNT 2") == "[5, 3]")
        #expect(redis("LPOS l x COUNT 0 MAXLEN 4") == "[1, 3]")
        #expect(redis("LPOS l nope") == "nil")
        #expect(redis("LPOS l nope COUNT 1") == "[]")
        #expect(redis("LPOS l x RANK -9223372036854775808").hasPrefix("ERR value is out of range"))
        #expect(redis("LREM l 1 x") == "1")
        #expect(redis("LRANGE l 0 -1") == #"["a", "b", "x", "c", "x", "d", "x"]"#)
        #expect(redis("LREM l -2 x") == "2")
        #expect(redis("LRANGE l 0 -1") == #"["a", "b", "x", "c", "d"]"#)
        #expect(redis("LREM l -9223372036854775808 x") == "1")
        _ = redis("RPUSH m x x x")
        #expect(redis("LREM m 0 x") == "3")
        #expect(redis("LLEN m") == "0")
    }

    @Test("RS-12 LMOVE, RPOPLPUSH and LMPOP")
    func moves() {
        var redis = KeyspaceSession()
        redis.keys.configuration.notifications = [.all, .keyevent]
        _ = redis("RPUSH a 1 2 3")
        #expect(redis("RPOPLPUSH a b") == #""3""#)
        #expect(redis("LMOVE a b LEFT RIGHT") == #""1""#)
        #expect(redis("LMOVE b b left right") == #""3""#)
        #expect(redis("LRANGE b 0 -1") == #"["1", "3"]"#)
        #expect(redis("LMOVE none b LEFT LEFT") == "nil")
        #expect(redis("LMOVE a b UP LEFT") == "ERR syntax error")
        _ = redis.notifications()
        #expect(redis("RPOPLPUSH a c") == #""2""#)
        // The push is told first, as in Redis.
        #expect(redis.notifications() == ["lpush c", "rpop a", "del a"])
        #expect(redis("LMPOP 3 none b c LEFT COUNT 5") == #"["b", ["1", "3"]]"#)
        #expect(redis("LMPOP 1 none RIGHT") == "nil")
        #expect(redis("LMPOP 0 c LEFT") == "ERR numkeys should be greater than 0")
        #expect(redis("LMPOP 9223372036854775807 c LEFT") == "ERR syntax error")
        #expect(redis("LMPOP 1 c LEFT COUNT 0") == "ERR count should be greater than 0")
        #expect(redis("LMPOP 1 c LEFT COUNT 1 COUNT 1") == "ERR syntax error")
    }

    @Test("RS-12 a key of another type is refused and stays as it is, a source too when the destination is wrong")
    func types() {
        var redis = KeyspaceSession()
        _ = redis("HSET h f v")
        _ = redis("RPUSH l a")
        for line in [
            "LPUSH h a", "LPOP h", "LLEN h", "LRANGE h 0 -1", "LPOS h a", "LMOVE l h LEFT LEFT", "LMPOP 1 h LEFT",
        ] {
            #expect(redis(line) == "WRONGTYPE Operation against a key holding the wrong kind of value", "\(line)")
        }
        #expect(redis("LRANGE l 0 -1") == #"["a"]"#)
        #expect(redis("HGET h f") == #""v""#)
    }

    @Test("RS-12 a list that is read back from a snapshot is equal, and cut bytes are refused")
    func snapshot() throws {
        var list = ListValue(seed: 0)
        for number in 0..<100 { list.push(Array(repeating: UInt8(number), count: number * 7 % 50), .head) }
        var writer = ByteWriter()
        list.encode(into: &writer)
        let again = try writer.bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let again = try ListValue(from: &reader)
            try reader.expectEnd()
            return again
        }
        #expect(again.elements == list.elements)
        #expect(again.byteEstimate == list.byteEstimate)
        for cut in 0..<writer.count {
            #expect(throws: DecodeError.self) {
                try writer.bytes[..<cut].withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    _ = try ListValue(from: &reader)
                }
            }
        }
    }

    @Test("RS-12 a list counts its bytes whatever is done to it")
    func payload() {
        var random = Xoshiro256(seed: 3)
        var list = ListValue(seed: 0)
        var longest = 0
        for _ in 0..<1000 {
            let element = Array(repeating: UInt8(random.below(3)), count: Int(random.below(4)))
            let end: ListValue.End = random.chance(1, in: 2) ? .head : .tail
            switch random.below(8) {
            case 0...3: list.push(element, end)
            case 4: _ = list.pop(end)
            case 5: _ = list.removeAll(element, limit: Int(random.below(4)) + 1, from: end)
            case 6 where !list.isEmpty: list.replace(at: Int(random.below(UInt64(list.count))), with: element)
            case 7: list.drop(Int(random.below(UInt64(min(3, list.count) + 1))), end)
            default: list.insert(element, at: Int(random.below(UInt64(list.count + 1))))
            }
            #expect(list.payload == list.elements.reduce(0) { $0 + $1.count })
            longest = max(longest, list.count)
        }
        #expect(longest > 20)
    }
}
