import Primitives
import Testing

@testable import Keys

@Suite("Strings") struct StringTests {
    @Test("RS-11 SET with its options, GET, GETSET, GETDEL, GETEX")
    func setting() {
        var redis = KeyspaceSession()
        #expect(redis("SET a 1") == "OK")
        #expect(redis("get a") == "\"1\"")
        #expect(redis("SET a 2 NX") == "nil")
        #expect(redis("SET b 2 XX") == "nil")
        #expect(redis("SET a 2 XX GET") == "\"1\"")
        #expect(redis("SET c 3 NX GET") == "nil")
        #expect(redis("SET c 4 NX GET") == "\"3\"")
        #expect(redis("GET c") == "\"3\"")
        #expect(redis("SET a 3 EX 10") == "OK")
        #expect(redis("PTTL a") == "10000")
        #expect(redis("SET a 4 KEEPTTL") == "OK")
        #expect(redis("TTL a") == "10")
        #expect(redis("SET a 5") == "OK")
        #expect(redis("TTL a") == "-1")
        #expect(redis("SET a 5 PXAT 1700000005000") == "OK")
        #expect(redis("PTTL a") == "5000")
        #expect(redis("GETEX a PERSIST") == "\"5\"")
        #expect(redis("PTTL a") == "-1")
        #expect(redis("GETEX a EXAT 1") == "\"5\"")
        #expect(redis("EXISTS a") == "0")
        #expect(redis("GETDEL c") == "\"3\"")
        #expect(redis("GETSET c x") == "nil")
        #expect(redis("SETEX d 5 v") == "OK")
        #expect(redis("PSETEX d 1500 v") == "OK")
        #expect(redis("PTTL d") == "1500")
        for line in [
            "SET a 1 NX XX", "SET a 1 EX", "SET a 1 EX 1 PX 1", "SET a 1 KEEPTTL EX 1", "GETEX a NX", "SET a 1 X",
        ] {
            #expect(redis(line) == "ERR syntax error", "\(line)")
        }
        #expect(redis("SET a 1 EX 0") == "ERR invalid expire time in 'set' command")
        #expect(redis("SET a 1 EX 9223372036854775807") == "ERR invalid expire time in 'set' command")
        #expect(redis("SETEX a -1 x") == "ERR invalid expire time in 'setex' command")
        #expect(redis("SET a 1 EX x") == "ERR value is not an integer or out of range")
        #expect(redis("GETEX d PX 0") == "ERR invalid expire time in 'getex' command")
    }

    @Test("RS-11 several keys at once")
    func many() {
        var redis = KeyspaceSession()
        #expect(redis("MSET a 1 b 2 a 3") == "OK")
        #expect(redis("MGET a b c") == "[\"3\", \"2\", nil]")
        #expect(redis("MSETNX c 1 a 1") == "0")
        #expect(redis("EXISTS c") == "0")
        #expect(redis("MSETNX c 1 d 1 c 2") == "1")
        #expect(redis("GET c") == "\"2\"")
        #expect(redis("MSET a 1 b") == "ERR wrong number of arguments for 'mset' command")
        #expect(redis("RPUSH l x") == "1")
        #expect(redis("MGET a l") == "[\"3\", nil]")
        #expect(redis("GET l").hasPrefix("WRONGTYPE"))
        #expect(redis("SET l y GET").hasPrefix("WRONGTYPE"))
        #expect(redis("TYPE l") == "list")
    }

    @Test("RS-11 integers: the whole range of 64 bits, and not a step further")
    func integers() {
        var redis = KeyspaceSession()
        #expect(redis("INCR n") == "1")
        #expect(redis("INCRBY n 9223372036854775806") == "9223372036854775807")
        #expect(redis("INCR n") == "ERR increment or decrement would overflow")
        #expect(redis("GET n") == "\"9223372036854775807\"")
        #expect(redis("SET n -9223372036854775808") == "OK")
        #expect(redis("DECR n") == "ERR increment or decrement would overflow")
        #expect(redis("DECRBY n -9223372036854775808") == "ERR decrement would overflow")
        #expect(redis("SET n 11") == "OK")
        #expect(redis("SET m \" 11\"") == "OK")
        #expect(redis("INCR m") == "ERR value is not an integer or out of range")
        #expect(redis("DECRBY n 4") == "7")
        #expect(redis("APPEND n 0") == "2")
        #expect(redis("INCR n") == "71")
        #expect(redis("EXPIRE n 10") == "1")
        #expect(redis("INCR n") == "72")
        #expect(redis("TTL n") == "10")
    }

    @Test("RS-11 decimals are added without an error")
    func decimals() {
        var redis = KeyspaceSession()
        #expect(redis("INCRBYFLOAT f 0.1") == "\"0.1\"")
        #expect(redis("INCRBYFLOAT f 0.2") == "\"0.3\"")
        #expect(redis("INCRBYFLOAT f 1234.56") == "\"1234.86\"")
        #expect(redis("INCRBYFLOAT f -1234.86") == "\"0\"")
        #expect(redis("INCRBYFLOAT f x") == "ERR value is not a valid float")
        #expect(redis("INCRBYFLOAT f inf") == "ERR increment would produce NaN or Infinity")
        #expect(redis("INCRBYFLOAT f 5e3") == "\"5000\"")
        #expect(redis("INCR f") == "5001")
    }

    @Test("RS-11 parts of a string")
    func parts() {
        var redis = KeyspaceSession()
        #expect(redis("SET s \"Hello World\"") == "OK")
        #expect(redis("GETRANGE s 0 4") == "\"Hello\"")
        #expect(redis("GETRANGE s -5 -1") == "\"World\"")
        #expect(redis("SUBSTR s -1 -5") == "\"\"")
        #expect(redis("GETRANGE s 0 -9223372036854775808") == "\"H\"")
        #expect(redis("SETRANGE s 6 Redis") == "11")
        #expect(redis("GET s") == "\"Hello Redis\"")
        #expect(redis("SETRANGE t 3 x") == "4")
        #expect(redis("GET t") == "\"\\x00\\x00\\x00x\"")
        #expect(redis("SETRANGE u 3 \"\"") == "0")
        #expect(redis("EXISTS u") == "0")
        #expect(redis("SETRANGE s -1 x") == "ERR offset is out of range")
        let tooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
        #expect(redis("SETRANGE s 536870912 x") == tooLong)
        #expect(redis("SETRANGE s 9223372036854775807 x") == tooLong)
        #expect(redis("STRLEN s") == "11")
        #expect(redis("APPEND s !") == "12")
    }

    @Test("RS-11 the longest common subsequence, as text, length and ranges")
    func lcs() {
        var redis = KeyspaceSession(version: 3)
        #expect(redis("MSET a ohmytext b mynewtext") == "OK")
        #expect(redis("LCS a b") == "\"mytext\"")
        #expect(redis("LCS a b LEN") == "6")
        #expect(redis("LCS a b IDX") == "{\"matches\": [[[4, 7], [5, 8]], [[2, 3], [0, 1]]], \"len\": 6}")
        #expect(
            redis("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN") == "{\"matches\": [[[4, 7], [5, 8], 4]], \"len\": 6}"
        )
        #expect(redis("LCS a none") == "\"\"")
        #expect(
            redis("LCS a b IDX LEN") == "ERR If you want both the length and indexes, please just use IDX."
        )
    }

    @Test("RS-11 an append changes the string in place, whatever it weighs, and a snapshot keeps the old one")
    func inPlace() {
        var redis = KeyspaceSession()
        _ = redis("SETRANGE s 30000000 x")
        let frozen = redis.keys
        // A copy of 30 MB for each of these would take minutes.
        for _ in 0..<20_000 { _ = redis("APPEND s 0123456789") }
        #expect(redis("STRLEN s") == "30200001")
        #expect(frozen.peek(0, Array("s".utf8))?.stringBytes?.count == 30_000_001)
    }

    @Test("RS-11 events of strings, in Redis's order")
    func events() throws {
        var redis = KeyspaceSession()
        try redis.keys.configurationSet("notify-keyspace-events", "KEAn")
        _ = redis("SET a 1 EX 100")
        #expect(redis.notifications() == ["new a", "set a", "expire a"])
        _ = redis("MSET a 1 b 2")
        #expect(redis.notifications() == ["set a", "new b", "set b"])
        _ = redis("INCR n")
        _ = redis("APPEND a x")
        _ = redis("SETRANGE a 0 y")
        _ = redis("INCRBYFLOAT n 1")
        #expect(redis.notifications() == ["new n", "incrby n", "append a", "setrange a", "incrbyfloat n"])
        _ = redis("GETEX a EX 5")
        _ = redis("GETEX a PERSIST")
        _ = redis("GETEX a PERSIST")
        _ = redis("GETDEL a")
        #expect(redis.notifications() == ["expire a", "persist a", "del a"])
        _ = redis("SET a 1 NX")
        _ = redis("SET a 1 NX")
        _ = redis("GET missing")
        #expect(redis.notifications() == ["new a", "set a"])
    }
}
