import Primitives
import RESP
import Testing

@testable import Keys

@Suite("Keys of any type") struct GenericTests {
    @Test("RS-11 DEL, EXISTS, TYPE, RENAME, COPY, MOVE")
    func moving() {
        var redis = KeyspaceSession()
        _ = redis("MSET a 1 b 2")
        #expect(redis("EXISTS a a c") == "2")
        #expect(redis("TYPE a") == "string")
        #expect(redis("TYPE c") == "none")
        #expect(redis("EXPIRE a 100") == "1")
        #expect(redis("RENAME a b") == "OK")
        #expect(redis("TTL b") == "100")
        #expect(redis("RENAME a b") == "ERR no such key")
        #expect(redis("RENAME b b") == "OK")
        #expect(redis("SET a 9") == "OK")
        #expect(redis("RENAMENX a b") == "0")
        #expect(redis("COPY b a") == "0")
        #expect(redis("COPY b a REPLACE") == "1")
        #expect(redis("TTL a") == "100")
        #expect(redis("COPY a a") == "ERR source and destination objects are the same")
        #expect(redis("COPY a a DB 3") == "1")
        #expect(redis("COPY a b DB 16") == "ERR DB index is out of range")
        #expect(redis("MOVE a 3") == "0")
        #expect(redis("MOVE a 4") == "1")
        #expect(redis("MOVE b 0") == "ERR source and destination objects are the same")
        #expect(redis("MOVE b x") == "ERR value is not an integer or out of range")
        #expect(redis("DEL a b b") == "1")
        #expect(redis("DBSIZE") == "0")
        redis.database = 4
        #expect(redis("GET a") == "\"1\"")
        #expect(redis("SWAPDB 4 0") == "OK")
        #expect(redis("GET a") == "nil")
        redis.database = 0
        #expect(redis("UNLINK a") == "1")
        #expect(redis("FLUSHALL ASYNC") == "OK")
        #expect(redis("FLUSHDB NOW") == "ERR syntax error")
        redis.database = 3
        #expect(redis("DBSIZE") == "0")
    }

    @Test("RS-11 a copy and its original go their own ways")
    func copies() {
        var redis = KeyspaceSession()
        _ = redis("RPUSH a 1 2 3")
        _ = redis("COPY a b")
        _ = redis("RPUSH b 4")
        _ = redis("LPOP a")
        #expect(redis("LRANGE a 0 -1") == "[\"2\", \"3\"]")
        #expect(redis("LRANGE b 0 -1") == "[\"1\", \"2\", \"3\", \"4\"]")
    }

    @Test("RS-11 EXPIRE with its conditions, and the ways to ask for the time")
    func expiry() {
        var redis = KeyspaceSession()
        _ = redis("SET a 1")
        #expect(redis("EXPIRE a 100 XX") == "0")
        #expect(redis("EXPIRE a 100 GT") == "0")
        #expect(redis("EXPIRE a 100 NX") == "1")
        #expect(redis("EXPIRE a 200 NX") == "0")
        #expect(redis("EXPIRE a 50 GT") == "0")
        #expect(redis("PEXPIRE a 50499 LT") == "1")
        #expect(redis("TTL a") == "50")
        #expect(redis("PEXPIRE a 50500") == "1")
        #expect(redis("TTL a") == "51")
        #expect(redis("PTTL a") == "50500")
        #expect(redis("PEXPIRETIME a") == "1700000050500")
        #expect(redis("EXPIRETIME a") == "1700000051")
        #expect(redis("PERSIST a") == "1")
        #expect(redis("PERSIST a") == "0")
        #expect(redis("PTTL a") == "-1")
        #expect(redis("PTTL none") == "-2")
        #expect(redis("EXPIREAT a 1800000000") == "1")
        #expect(redis("EXPIRE a 1 NX XX").hasPrefix("ERR NX and XX, GT or LT"))
        #expect(redis("EXPIRE a 1 GT LT").hasPrefix("ERR GT and LT"))
        #expect(redis("EXPIRE a 1 QQ") == "ERR Unsupported option QQ")
        #expect(redis("EXPIRE a 9223372036854775807") == "ERR invalid expire time in 'expire' command")
        #expect(redis("PEXPIRE a 9223372036854775807") == "ERR invalid expire time in 'pexpire' command")
        #expect(redis("PEXPIREAT a 9223372036854775807") == "1")
        #expect(redis("EXPIRE a -1") == "1")
        #expect(redis("EXISTS a") == "0")
    }

    @Test("RS-11 a key past its deadline is missing for everybody, and goes when somebody looks for it")
    func due() throws {
        var redis = KeyspaceSession()
        try redis.keys.configurationSet("notify-keyspace-events", "KEx")
        _ = redis("MSET a 1 b 2 c 3")
        for key in ["a", "b", "c"] { _ = redis("PEXPIRE \(key) 100") }
        redis.keys.now += 99
        #expect(redis("MGET a b c") == "[\"1\", \"2\", \"3\"]")
        redis.keys.now += 1
        #expect(redis("MGET a b c") == "[nil, nil, nil]")
        #expect(redis("KEYS *") == "[]")
        #expect(redis("SCAN 0") == "[\"0\", []]")
        #expect(redis("RANDOMKEY") == "nil")
        #expect(redis("TTL a") == "-2")
        #expect(redis.notifications() == [])
        #expect(redis("SET a new") == "OK")
        #expect(redis.notifications() == ["expired a"])
        #expect(redis("DEL b") == "0")
        #expect(redis.notifications() == ["expired b"])
        #expect(redis.keys.hasDue(redis.keys.now))
        let isMoreDue = redis.keys.expireDue(limit: 100)
        #expect(!isMoreDue)
        #expect(redis.notifications() == ["expired c"])
        #expect(redis("DBSIZE") == "1")
        #expect(redis("TTL a") == "-1")
    }

    @Test("RS-11 SCAN walks through all keys of a type that match, whatever comes and goes")
    func scan() {
        var redis = KeyspaceSession()
        for number in 0..<500 { _ = redis("SET stay:\(number) x") }
        _ = redis("RPUSH stay:list x")
        var seen: [String] = []
        var cursor = "0"
        var round = 0
        repeat {
            let reply = redis("SCAN \(cursor) MATCH stay:* TYPE STRING COUNT 20")
            let parts = reply.split { "[]\", ".contains($0) }.map(String.init)
            cursor = parts[0]
            seen += parts.dropFirst()
            round += 1
            for number in 0..<50 { _ = redis("\(round % 4 < 2 ? "SET" : "GETSET") go:\(round % 8):\(number) x") }
            _ = redis("DEL " + (0..<50).map { "go:\((round + 3) % 8):\($0)" }.joined(separator: " "))
        } while cursor != "0" && round < 1000
        #expect(Set(seen).count == 500)
        #expect(!seen.contains("stay:list"))
        #expect(redis("SCAN x") == "ERR invalid cursor")
        #expect(redis("SCAN 0 COUNT 0") == "ERR syntax error")
        #expect(redis("SCAN 18446744073709551615").hasPrefix("[\""))
        #expect(redis("KEYS stay:49[89]").split(separator: ",").count == 2)
        #expect(redis("RANDOMKEY").count > 3)
    }

    @Test("RS-11 OBJECT and MEMORY say what a client would hear from Redis")
    func object() {
        var redis = KeyspaceSession()
        _ = redis("SET n 12")
        _ = redis("SET s hello")
        _ = redis("SET l " + String(repeating: "x", count: 45))
        #expect(redis("OBJECT ENCODING n") == "\"int\"")
        #expect(redis("OBJECT ENCODING s") == "\"embstr\"")
        #expect(redis("OBJECT ENCODING l") == "\"raw\"")
        #expect(redis("OBJECT REFCOUNT n") == "2147483647")
        #expect(redis("OBJECT REFCOUNT s") == "1")
        #expect(redis("OBJECT ENCODING none") == "nil")
        redis.keys.now += 7000
        #expect(redis("OBJECT IDLETIME s") == "7")
        _ = redis("TYPE s")
        #expect(redis("OBJECT IDLETIME s") == "7")
        _ = redis("TOUCH s")
        #expect(redis("OBJECT IDLETIME s") == "0")
        #expect(redis("OBJECT FREQ s").hasPrefix("ERR An LFU maxmemory policy is not selected"))
        #expect(redis("OBJECT NOPE s") == "ERR unknown subcommand 'NOPE'. Try OBJECT HELP.")
        #expect(redis("OBJECT ENCODING") == "ERR wrong number of arguments for 'object|encoding' command")
        #expect(redis("OBJECT HELP").hasPrefix("[OBJECT <subcommand>"))
        #expect((Int(redis("MEMORY USAGE l")) ?? 0) > 45)
        #expect(redis("MEMORY USAGE none") == "nil")
        #expect(redis("MEMORY USAGE l SAMPLES -1") == "ERR syntax error")
    }

    @Test("RS-11 CONFIG's parameters of the keyspace: both names, units and bounds")
    func configuration() throws {
        var redis = KeyspaceSession()
        for name in KeyspaceConfiguration.names { #expect(redis.keys.configurationGet(name) != nil) }
        try redis.keys.configurationSet("hash-max-ziplist-entries", "77")
        #expect(redis.keys.configurationGet("hash-max-listpack-entries") == "77")
        try redis.keys.configurationSet("proto-max-bulk-len", "2mb")
        #expect(redis.keys.configurationGet("proto-max-bulk-len") == "2097152")
        try redis.keys.configurationSet("notify-keyspace-events", "lxKE")
        #expect(redis.keys.configurationGet("notify-keyspace-events") == "lxKE")
        #expect(redis.keys.configurationGet("no-such-parameter") == nil)
        let before = redis.keys.configuration
        func refusal(_ name: String, _ value: String) -> KeyspaceConfiguration.Refusal? {
            do throws(KeyspaceConfiguration.Refusal) {
                try redis.keys.configurationSet(name, value)
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal("nope", "1") == .unknownName)
        #expect(refusal("proto-max-bulk-len", "5") != nil)
        #expect(refusal("proto-max-bulk-len", "10gb") != nil, "no command may make a node busy for seconds")
        #expect(refusal("proto-max-bulk-len", "99999999999gb") == .badValue("argument must be a memory value"))
        #expect(
            refusal("set-max-intset-entries", "x") == .badValue("argument couldn't be parsed into an integer")
        )
        #expect(
            refusal("set-max-intset-entries", "-1")
                == .badValue("argument must be between 0 and 9223372036854775807 inclusive")
        )
        #expect(refusal("notify-keyspace-events", "KQ") != nil)
        #expect(redis.keys.configuration == before)
    }

    @Test("RS-11 WATCH sees changes, removals, expiry and FLUSHALL, and nothing else")
    func watch() {
        var redis = KeyspaceSession()
        _ = redis("SET a 1")
        func version(_ key: String) -> UInt64 { redis.keys.watchVersion(0, Array(key.utf8)) }
        for line in [
            "SET a 1", "APPEND a x", "EXPIRE a 100", "PERSIST a", "SETBIT a 1 1", "DEL a", "SET a 2", "RENAME a b",
            "COPY b a",
            "FLUSHALL",
        ] {
            let before = version("a")
            _ = redis(line)
            #expect(version("a") != before, "\(line)")
        }
        for line in ["GET a", "DEL a", "EXPIRE a 1", "PERSIST a", "RENAMENX b b", "GETEX a", "SET a 1 XX", "FLUSHALL"] {
            let before = version("a")
            _ = redis(line)
            #expect(version("a") == before, "\(line)")
        }
        _ = redis("SET a 1 PX 5")
        let before = version("a")
        redis.keys.now += 5
        #expect(version("a") != before)
    }

    @Test("RS-11 the table's rows have code, and all code has a row")
    func table() {
        var writer = RESPWriter()
        for command in KeyspaceSession.table.commands where !command.name.contains("|") {
            var keys = Keyspace(seed: 1)
            let least = command.arity < 0 ? -command.arity : command.arity
            let call = Call([Array(command.name.utf8)] + Array(repeating: [120], count: least - 1))
            writer.bytes = []
            keys.execute(call, &writer)
            #expect(!String(decoding: writer.bytes, as: UTF8.self).hasPrefix("-ERR unknown command"), "\(command.name)")
        }
    }
}
