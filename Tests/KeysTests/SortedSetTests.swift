import Primitives
import RESP
import Testing

@testable import Keys

@Suite("Sorted sets")
struct SortedSetTests {
    @Test("RS-12 rows agree with a sorted array through random changes")
    func model() throws {
        var random = Xoshiro256(seed: 5)
        var set = SortedSetValue(seed: 1)
        var model: [[UInt8]: Double] = [:]
        func sorted() -> [SortedRows.Row] {
            model.map { SortedRows.Row(score: $0.value, member: $0.key) }.sorted(by: SortedRows.Row.precedes)
        }
        for round in 0..<6000 {
            let member = Decimal.bytes(of: Int64(random.below(1500)))
            let growing = round % 3000 < 2000
            switch random.below(10) {
            case 0..<(growing ? 7 : 2):
                let score = Double(random.below(40))
                set.set(member, score)
                model[member] = score
            case 9 where round % 40 == 0:
                let rows = sorted()
                let low = Int(random.below(UInt64(rows.count + 1)))
                let high = min(rows.count, low + Int(random.below(growing ? 20 : 400)))
                let removed = set.remove(ranks: low..<high)
                #expect(removed.map(\.member) == rows[low..<high].map(\.member))
                for row in removed { model[row.member] = nil }
            default:
                #expect(set.remove(member) == (model.removeValue(forKey: member) != nil))
            }
            guard round % 100 == 99 else { continue }
            let rows = sorted()
            #expect(set.count == rows.count)
            for (rank, row) in rows.enumerated() {
                #expect(set.rank(of: row.member) == rank)
                #expect(set.rows[rank].member == row.member)
            }
            var backwards: [[UInt8]] = []
            try set.rows.forEach(0..<set.count, reversed: true) { (row) throws(CommandError) in
                backwards.append(row.member)
            }
            #expect(backwards == rows.reversed().map(\.member))
        }
    }

    @Test("RS-12 ZADD's flags")
    func add() {
        var redis = KeyspaceSession()
        #expect(redis("ZADD z XX 1 a") == "0")
        #expect(redis("ZADD z 1 a 2 b 3 c 2 b") == "3")
        #expect(redis("ZADD z NX CH 9 a 4 d") == "1")
        #expect(redis("ZADD z GT CH 0 a 5 b") == "1")
        #expect(redis("ZADD z LT CH 9 a 1 b") == "1")
        #expect(redis("ZADD z INCR 1.5 a") == #""2.5""#)
        #expect(redis("ZADD z NX INCR 1 a") == "nil")
        #expect(redis("ZINCRBY z -inf a") == #""-inf""#)
        #expect(redis("ZINCRBY z inf a") == "ERR resulting score is not a number (NaN)")
        #expect(redis("ZADD z NX XX 1 a") == "ERR XX and NX options at the same time are not compatible")
        #expect(redis("ZADD z GT LT 1 a") == "ERR GT, LT, and/or NX options at the same time are not compatible")
        #expect(redis("ZADD z INCR 1 a 2 b") == "ERR INCR option supports a single increment-element pair")
        #expect(redis("ZADD z 1 a 2") == "ERR syntax error")
        #expect(redis("ZADD z nan a") == "ERR value is not a valid float")
        #expect(redis("ZRANGE z 0 -1") == #"["a", "b", "c", "d"]"#)
    }

    @Test("RS-12 ranges by rank, score and member, in both directions")
    func ranges() {
        var redis = KeyspaceSession()
        _ = redis("ZADD z 1 a 2 b 3 c 4 d")
        #expect(redis("ZRANGE z -2 -1 WITHSCORES") == #"["c", "3", "d", "4"]"#)
        #expect(redis("ZRANGE z 0 1 REV") == #"["d", "c"]"#)
        #expect(redis("ZRANGE z (1 3 BYSCORE") == #"["b", "c"]"#)
        #expect(redis("ZRANGE z +inf -inf BYSCORE REV LIMIT 1 2") == #"["c", "b"]"#)
        #expect(redis("ZRANGEBYSCORE z -inf +inf LIMIT -1 2") == "[]")
        #expect(redis("ZREVRANGEBYSCORE z 3 (1 LIMIT 0 -1") == #"["c", "b"]"#)
        #expect(redis("ZCOUNT z (1 (4") == "2")
        #expect(redis("ZRANGE z 0 1 LIMIT 0 1").hasPrefix("ERR syntax error, LIMIT is only supported"))
        #expect(redis("ZRANGE z a 1 BYSCORE") == "ERR min or max is not a float")
        _ = redis("ZADD l 0 a 0 aa 0 b 0 c")
        #expect(redis("ZRANGE l (a [c BYLEX") == #"["aa", "b", "c"]"#)
        #expect(redis("ZRANGE l + (a BYLEX REV") == #"["c", "b", "aa"]"#)
        #expect(redis("ZLEXCOUNT l - +") == "4")
        #expect(redis("ZLEXCOUNT l a +") == "ERR min or max not valid string range item")
        #expect(redis("ZRANGESTORE s z 2 3 BYSCORE") == "2")
        #expect(redis("ZREMRANGEBYSCORE z -inf (3") == "2")
        #expect(redis("ZREMRANGEBYRANK z 0 0") == "1")
        #expect(redis("ZREMRANGEBYLEX l [aa [b") == "2")
        #expect(redis("ZRANGE z 0 -1") == #"["d"]"#)
        #expect(redis("ZRANK s c") == "1")
        #expect(redis("ZREVRANK s c WITHSCORE") == #"[0, "3"]"#)
        #expect(redis("ZRANK s x WITHSCORE") == "nil")
    }

    @Test("RS-12 replies in RESP3 pair members with doubles")
    func resp3() {
        var redis = KeyspaceSession(version: 3)
        _ = redis("ZADD z 1 a 0.1 b inf c")
        #expect(redis("ZRANGE z 0 -1 WITHSCORES") == #"[["b", ,0.1], ["a", ,1], ["c", ,inf]]"#)
        #expect(redis("ZSCORE z b") == ",0.1")
        #expect(redis("ZMSCORE z b x") == "[,0.1, nil]")
        #expect(redis("ZPOPMIN z") == #"["b", ,0.1]"#)
        #expect(redis("ZPOPMAX z 1") == #"[["c", ,inf]]"#)
        #expect(redis("ZMPOP 2 x z MIN") == #"["z", [["a", ,1]]]"#)
        #expect(redis("ZMPOP 2 x z MIN") == "nil")
    }

    @Test("RS-12 union, intersection and difference with weights, of sorted sets and sets")
    func algebra() {
        var redis = KeyspaceSession()
        _ = redis("ZADD a 1 x 2 y")
        _ = redis("ZADD b 10 y 20 z")
        _ = redis("SADD s y w")
        #expect(redis("ZUNION 3 a b s WITHSCORES") == #"["w", "1", "x", "1", "y", "13", "z", "20"]"#)
        #expect(redis("ZINTER 2 a b WEIGHTS 2 0.5 WITHSCORES") == #"["y", "9"]"#)
        #expect(redis("ZINTER 2 a b AGGREGATE MAX WITHSCORES") == #"["y", "10"]"#)
        #expect(redis("ZDIFF 2 a s WITHSCORES") == #"["x", "1"]"#)
        #expect(redis("ZINTERCARD 3 a b s LIMIT 5") == "1")
        #expect(redis("ZUNIONSTORE a 2 a b AGGREGATE MIN") == "3")
        #expect(redis("ZDIFFSTORE a 2 a a") == "0")
        #expect(redis("ZCARD a") == "0")
        #expect(redis("ZUNION 0 a") == "ERR at least 1 input key is needed for 'zunion' command")
        #expect(redis("ZUNION 1 b WEIGHTS x") == "ERR weight value is not a float")
    }

    @Test("RS-13 who waits for a sorted set is served in order, and a key of another type leaves it waiting")
    func blocking() {
        var redis = KeyspaceSession()
        redis.client = 1
        #expect(redis("BZPOPMIN a b 0") == "(blocked)")
        redis.client = 2
        #expect(redis("BZMPOP 0.5 1 b MAX COUNT 2") == "(blocked)")
        redis.client = 3
        #expect(redis("SADD a x") == "1")
        #expect(redis.served() == [])
        #expect(redis("ZADD b 1 x 2 y 3 z") == "3")
        #expect(redis.served() == [#"1: ["b", "x", "1"]"#, #"2: ["b", [["z", "3"], ["y", "2"]]]"#])
        #expect(redis("BZPOPMAX b 1") == "(blocked)")
        redis.client = nil
        #expect(redis("BZPOPMAX b 0") == "nil")

        // A wait that is looked at in vain does not begin anew.
        redis.keys.now += 900
        _ = redis("SADD b x")
        _ = redis("SREM b x")
        redis.keys.now += 100
        redis.keys.timeOutWaiters()
        #expect(redis.served() == ["3: nil"])
    }

    @Test("RS-12 a sorted set that was read back from a snapshot is the same, and cut bytes are refused")
    func snapshot() throws {
        var set = SortedSetValue(seed: 9)
        for number in 0..<300 { set.set(Decimal.bytes(of: Int64(number * 31 % 300)), Double(number % 7)) }
        for number in 0..<50 { _ = set.remove(Decimal.bytes(of: Int64(number))) }
        var writer = ByteWriter()
        set.encode(into: &writer)
        for end in 0..<writer.count {
            #expect(throws: DecodeError.self) { try SortedSetTests.read(Array(writer.bytes[..<end])) }
        }
        let copy = try SortedSetTests.read(writer.bytes)
        #expect(copy.count == 250)
        #expect(copy.byteEstimate == set.byteEstimate)
        for rank in 0..<250 { #expect(copy.rows[rank].member == set.rows[rank].member) }
        var again = ByteWriter()
        copy.encode(into: &again)
        #expect(again.bytes == writer.bytes)
    }

    static func read(_ bytes: [UInt8]) throws(DecodeError) -> SortedSetValue {
        let result = bytes.withUnsafeBytes { raw -> Result<SortedSetValue, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                return .success(try SortedSetValue(from: &reader))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
