import Primitives
import RESP
import Testing

@testable import Keys

@Suite struct StreamGroupTests {
    /// Entries 1 to `count` with a group `g` from the beginning.
    private func session(_ count: Int, version: UInt8 = 2) -> KeyspaceSession {
        var redis = KeyspaceSession(version: version)
        for ms in 1...count { _ = redis("XADD s \(ms) f \(ms)") }
        _ = redis("XGROUP CREATE s g 0")
        return redis
    }

    @Test("RS-14 a consumer that crashed: what it had not acknowledged goes to another one")
    func redelivery() {
        var redis = session(3)
        #expect(redis("XREADGROUP GROUP g a COUNT 2 STREAMS s >").hasPrefix(#"[["s", [["1-0","#))
        #expect(redis("XACK s g 1 1 9") == "1")
        #expect(redis("XREADGROUP GROUP g b STREAMS s >") == #"[["s", [["3-0", ["f", "3"]]]]]"#)
        #expect(redis("XREADGROUP GROUP g b STREAMS s >") == "nil")
        #expect(redis("XPENDING s g") == #"[2, "2-0", "3-0", [["a", "1"], ["b", "1"]]]"#)
        redis.keys.now += 60_000
        #expect(redis("XAUTOCLAIM s g b 60000 0") == #"["0-0", [["2-0", ["f", "2"]], ["3-0", ["f", "3"]]], []]"#)
        #expect(redis("XPENDING s g - + 10 a") == "[]")
        #expect(redis("XPENDING s g - + 10") == #"[["2-0", "b", 0, 2], ["3-0", "b", 0, 2]]"#)
        #expect(redis("XACK s g 2 3") == "2")
        #expect(redis("XPENDING s g") == "[0, nil, nil, nil]")
    }

    @Test("RS-14 history: what the consumer has, nil for what was deleted, delivered once more")
    func history() {
        var redis = session(3)
        _ = redis("XREADGROUP GROUP g a STREAMS s >")
        _ = redis("XDEL s 2")
        redis.keys.now += 10
        #expect(redis("XREADGROUP GROUP g a COUNT 2 STREAMS s 0") == #"[["s", [["1-0", ["f", "1"]], ["2-0", nil]]]]"#)
        #expect(redis("XREADGROUP GROUP g a STREAMS s 2") == #"[["s", [["3-0", ["f", "3"]]]]]"#)
        #expect(redis("XREADGROUP GROUP g other BLOCK 0 STREAMS s 0") == #"[["s", []]]"#)
        #expect(redis("XPENDING s g - + 9 a") == #"[["1-0", "a", 0, 2], ["2-0", "a", 10, 1], ["3-0", "a", 0, 2]]"#)
        redis.version = 3
        #expect(redis("XREADGROUP GROUP g a STREAMS s 2") == #"{"s": [["3-0", ["f", "3"]]]}"#)
    }

    @Test("RS-14 NOACK delivers and keeps nothing; XGROUP SETID gives entries to another consumer")
    func reassignment() {
        var redis = session(2)
        _ = redis("XREADGROUP GROUP g a NOACK COUNT 1 STREAMS s >")
        #expect(redis("XPENDING s g") == "[0, nil, nil, nil]")
        _ = redis("XREADGROUP GROUP g a STREAMS s >")
        #expect(redis("XGROUP SETID s g -") == "OK")
        _ = redis("XREADGROUP GROUP g b STREAMS s >")
        #expect(redis("XPENDING s g") == #"[2, "1-0", "2-0", [["b", "2"]]]"#)
        #expect(redis("XGROUP DELCONSUMER s g b") == "2")
        #expect(redis("XPENDING s g") == "[0, nil, nil, nil]")
        #expect(redis("XGROUP DELCONSUMER s g b") == "0")
    }

    @Test(arguments: [
        ("XREADGROUP GROUP g a STREAMS s $", "ERR The $ ID is meaningless in the context of XREADGROUP"),
        ("XREADGROUP GROUP none a STREAMS s >", "NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with"),
        ("XREADGROUP GROUP g a STREAMS none >", "NOGROUP No such key 'none' or consumer group 'g' in XREADGROUP with"),
        ("XREADGROUP COUNT 1 COUNT 1 STREAMS s >", "ERR Missing GROUP option for XREADGROUP"),
        ("XREAD STREAMS s >", "ERR The > ID can be specified only when calling XREADGROUP"),
        ("XREAD GROUP g a STREAMS s 1", "ERR The GROUP option is only supported by XREADGROUP"),
        ("XGROUP CREATE s g $", "BUSYGROUP Consumer Group name already exists"),
        ("XGROUP CREATE none g $", "ERR The XGROUP subcommand requires the key to exist."),
        ("XGROUP CREATE s h x", "ERR Invalid stream ID specified as stream command argument"),
        ("XGROUP CREATE s h 0 ENTRIESREAD -2", "ERR value for ENTRIESREAD must be positive or -1"),
        ("XGROUP CREATE s", "ERR wrong number of arguments for 'xgroup|create' command"),
        ("XGROUP HELP x", "ERR wrong number of arguments for 'xgroup|help' command"),
        ("XGROUP bad s", "ERR unknown subcommand 'bad'. Try XGROUP HELP."),
        (
            "xgroup Create s h 0 BAD",
            "ERR unknown subcommand or wrong number of arguments for 'Create'. Try XGROUP HELP."
        ),
        ("XGROUP SETID s none 0", "NOGROUP No such consumer group 'none' for key name 's'"),
        ("XCLAIM s none a 0 1", "NOGROUP No such key 's' or consumer group 'none'"),
        ("XCLAIM s g a x 1", "ERR Invalid min-idle-time argument for XCLAIM"),
        ("XCLAIM s g a 0 1 BAD", "ERR Unrecognized XCLAIM option 'BAD'"),
        ("XCLAIM s g a 0 1 IDLE x", "ERR Invalid IDLE option argument for XCLAIM"),
        ("XAUTOCLAIM none g a 0 0 COUNT 0", "ERR COUNT must be > 0"),
        ("XAUTOCLAIM s g a 0 0 COUNT 8070450532247928833", "ERR COUNT must be > 0"),
        ("XAUTOCLAIM s g a 0 0 LIMIT 1", "ERR syntax error"),
        ("XACK s g 1 x", "ERR Invalid stream ID specified as stream command argument"),
        ("XPENDING s none", "NOGROUP No such key 's' or consumer group 'none'"),
        ("XPENDING s g - +", "ERR syntax error"),
        ("XPENDING s g IDLE 5 - +", "ERR syntax error"),
        ("XINFO STREAM none", "ERR no such key"),
        ("XINFO STREAM s BAD", "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."),
        ("XINFO CONSUMERS s none", "NOGROUP No such consumer group 'none' for key name 's'"),
    ])
    func refusals(_ line: String, _ error: String) {
        var redis = session(1)
        #expect(redis(line).hasPrefix(error))
    }

    @Test("RS-14 XCLAIM: idle time, FORCE, RETRYCOUNT, JUSTID, LASTID, and entries that are gone")
    func claim() {
        var redis = session(4)
        _ = redis("XREADGROUP GROUP g a COUNT 3 STREAMS s >")
        redis.keys.now += 100
        #expect(redis("XCLAIM s g b 101 1") == "[]")
        #expect(redis("XCLAIM s g b 100 1 RETRYCOUNT 7 IDLE 50") == #"[["1-0", ["f", "1"]]]"#)
        #expect(redis("XCLAIM s g b 0 2 4 JUSTID") == #"["2-0"]"#)
        #expect(redis("XCLAIM s g b 0 4 9 FORCE JUSTID LASTID 4") == #"["4-0"]"#)
        #expect(
            redis("XPENDING s g - + 9")
                == #"[["1-0", "b", 50, 7], ["2-0", "b", 0, 1], ["3-0", "a", 100, 1], ["4-0", "b", 0, 1]]"#
        )
        #expect(redis("XREADGROUP GROUP g a STREAMS s >") == "nil")
        _ = redis("XDEL s 3")
        #expect(redis("XCLAIM s g b 0 3") == "[]")
        #expect(redis("XPENDING s g - + 9 a") == "[]")
        #expect(redis("XPENDING s g IDLE 50 - + 9") == #"[["1-0", "b", 50, 7]]"#)
        #expect(redis("XPENDING s g (1 (4-0 9") == #"[["2-0", "b", 0, 1]]"#)
    }

    @Test("RS-14 XAUTOCLAIM goes on from its cursor, counts what was deleted, and looks ten times at most")
    func autoclaim() {
        var redis = session(30)
        _ = redis("XREADGROUP GROUP g a STREAMS s >")
        redis.keys.now += 100
        _ = redis("XDEL s 1 2")
        #expect(redis("XAUTOCLAIM s g b 0 - COUNT 1") == #"["2-0", [], ["1-0"]]"#)
        #expect(redis("XAUTOCLAIM s g b 0 2 COUNT 2 JUSTID") == #"["4-0", ["3-0"], ["2-0"]]"#)
        #expect(redis("XAUTOCLAIM s g b 101 4 COUNT 1") == #"["14-0", [], []]"#)
        #expect(redis("XAUTOCLAIM s g b 0 (29 COUNT 1 JUSTID") == #"["0-0", ["30-0"], []]"#)
    }

    @Test("RS-14 lag and entries-read: known from the beginning, not known behind a hole, known again at its end")
    func lag() {
        func shown(_ redis: inout KeyspaceSession) -> String {
            String(
                redis("XINFO GROUPS s").dropFirst().dropLast().split(separator: ", ").suffix(4).joined(separator: " ")
            )
        }
        var redis = session(5)
        #expect(shown(&redis) == "\"entries-read\" nil \"lag\" 5]")
        _ = redis("XREADGROUP GROUP g c COUNT 1 STREAMS s >")
        #expect(shown(&redis) == "\"entries-read\" 1 \"lag\" 4]")
        _ = redis("XDEL s 3")
        #expect(shown(&redis) == "\"entries-read\" 1 \"lag\" nil]")
        _ = redis("XREADGROUP GROUP g c COUNT 2 STREAMS s >")
        #expect(shown(&redis) == "\"entries-read\" nil \"lag\" nil]")
        _ = redis("XREADGROUP GROUP g c COUNT 1 STREAMS s >")
        #expect(shown(&redis) == "\"entries-read\" 5 \"lag\" 0]")
        _ = redis("XADD s 6 f v")
        #expect(shown(&redis) == "\"entries-read\" 5 \"lag\" 1]")
        _ = redis("XTRIM s MINID 5")
        #expect(shown(&redis) == "\"entries-read\" 5 \"lag\" 1]")
        _ = redis("XGROUP SETID s g 0")
        #expect(shown(&redis) == "\"entries-read\" nil \"lag\" 2]")
    }

    @Test("RS-14 XINFO: the stream, its groups and its consumers (with 7.2's inactive)")
    func info() {
        var redis = session(2, version: 3)
        _ = redis("XGROUP CREATECONSUMER s g idle")
        redis.keys.now += 5
        _ = redis("XREADGROUP GROUP g a COUNT 1 STREAMS s >")
        redis.keys.now += 10
        #expect(
            redis("XINFO CONSUMERS s g")
                == #"[{"name": "a", "pending": 1, "idle": 10, "inactive": 10}, "#
                + #"{"name": "idle", "pending": 0, "idle": 15, "inactive": -1}]"#
        )
        #expect(
            redis("XINFO STREAM s")
                == #"{"length": 2, "radix-tree-keys": 1, "radix-tree-nodes": 2, "last-generated-id": "2-0", "#
                + #""max-deleted-entry-id": "0-0", "entries-added": 2, "recorded-first-entry-id": "1-0", "groups": 1, "#
                + #""first-entry": ["1-0", ["f", "1"]], "last-entry": ["2-0", ["f", "2"]]}"#
        )
        let full = redis("XINFO STREAM s FULL COUNT 1")
        #expect(
            full.contains(#""entries": [["1-0", ["f", "1"]]], "groups": [{"name": "g", "last-delivered-id": "1-0""#)
        )
        #expect(
            full.contains(#""pel-count": 1, "pending": [["1-0", "a", 1700000000005, 1]], "consumers": [{"name": "a""#)
        )
        #expect(redis("XGROUP CREATE e g $ MKSTREAM") == "OK")
        #expect(redis("XINFO STREAM e").hasSuffix(#""first-entry": nil, "last-entry": nil}"#))
        #expect(redis("XINFO HELP").hasPrefix(#"[XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"#))
    }

    // MARK: Waiting

    @Test("RS-13 XREADGROUP: the first who waits gets the entry, the next one the next")
    func waiting() {
        var redis = session(1)
        _ = redis("XREADGROUP GROUP g a STREAMS s >")
        for client in [UInt64(1), 2] {
            redis.client = client
            #expect(redis("XREADGROUP GROUP g c\(client) BLOCK 0 STREAMS s >") == "(blocked)")
        }
        redis.client = nil
        _ = redis("XADD s 2 f v")
        #expect(redis.served() == [#"1: [["s", [["2-0", ["f", "v"]]]]]"#])
        _ = redis("XADD s 3 f v")
        #expect(redis.served() == [#"2: [["s", [["3-0", ["f", "v"]]]]]"#])
        // As in Redis 7.2 they are consumers from their first try.
        #expect(redis("XPENDING s g") == #"[3, "1-0", "3-0", [["a", "1"], ["c1", "1"], ["c2", "1"]]]"#)
    }

    @Test("RS-13 XREADGROUP is woken when the stream, its type or the group goes", arguments: 0..<6)
    func wokenByRemoval(_ way: Int) {
        var redis = session(1)
        _ = redis("XREADGROUP GROUP g a STREAMS s >")
        redis.client = 1
        #expect(redis("XREADGROUP GROUP g a BLOCK 0 STREAMS s >") == "(blocked)")
        redis.client = nil
        let key = Array("s".utf8)
        switch way {
        case 0: redis.keys.remove(0, key)
        case 1: redis.keys.store(0, key, .string([1]))
        case 2: redis.keys.flush(0)
        case 3: redis.keys.swapDatabases(0, 4)
        case 4: _ = redis("XGROUP DESTROY s g")
        default: redis.keys.store(0, key, .stream(StreamValue(seed: 0)))
        }
        redis.keys.serveWaiters()
        let expected =
            way < 4
            ? "1: UNBLOCKED the stream key no longer exists"
            : "1: NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"
        #expect(redis.served() == [expected])
    }

    // MARK: Size

    @Test("RS-14 a table of pending entries equals a sorted array under any order of changes")
    func pendingTable() {
        var table = PendingTable<Int>()
        var model: [StreamID: Int] = [:]
        var random = Xoshiro256(seed: 11)
        for step in 0..<20_000 {
            let id = StreamID(random.below(700), random.below(2))
            if random.chance(step < 10_000 ? 2 : 1, in: 3) {
                #expect(table.insert(id, step) == (model[id] == nil))
                if model[id] == nil { model[id] = step }
            } else {
                #expect(table.remove(id) == model.removeValue(forKey: id))
            }
            #expect(table.count == model.count)
        }
        let sorted = model.keys.sorted()
        var walked: [StreamID] = []
        table.forEach { element in
            walked.append(element.id)
            return true
        }
        #expect(walked == sorted)
        #expect(table.firstID == sorted.first && table.lastID == sorted.last)
        for ms in 0..<700 {
            let id = StreamID(UInt64(ms), 1)
            #expect(table.place(from: id).map { table[$0].id } == sorted.first { $0 >= id })
            #expect(table.find(id).map { table[$0].row } == model[id])
        }
    }

    @Test("RS-14 a hundred thousand pending entries, claimed, acknowledged and listed")
    func manyPending() {
        var redis = KeyspaceSession()
        func words(_ line: String) -> [[UInt8]] { line.split(separator: " ").map { Array($0.utf8) } }
        func ids(from first: Int) -> [[UInt8]] {
            stride(from: first, through: 100_000, by: 10).map { Decimal.bytes(of: Int64($0)) }
        }
        let add = words("XADD s * f v")
        for ms in 1...100_000 {
            redis.keys.now = Int64(ms)
            _ = redis.raw(add)
        }
        _ = redis("XGROUP CREATE s g 0")
        _ = redis.raw(words("XREADGROUP GROUP g a STREAMS s >"))
        #expect(redis("XPENDING s g") == #"[100000, "1-0", "100000-0", [["a", "100000"]]]"#)
        _ = redis.raw(words("XCLAIM s g b 0") + ids(from: 1) + words("JUSTID"))
        #expect(redis(words: words("XACK s g") + ids(from: 2)) == "10000")
        #expect(redis("XPENDING s g") == #"[90000, "1-0", "100000-0", [["a", "80000"], ["b", "10000"]]]"#)
        #expect(redis("XGROUP DELCONSUMER s g a") == "80000")
        #expect(redis("XPENDING s g 50000 + 1") == #"[["50001-0", "b", 0, 1]]"#)
    }
}
