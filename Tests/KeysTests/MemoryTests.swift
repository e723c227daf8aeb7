import Primitives
import RESP
import Testing

@testable import Keys

/// `maxmemory`, at the state machine of a key partition: an owner, whose reads are beside the log, and a replica.
@Suite struct MemoryTests {
    private static let gateway = GatewayID(rawValue: 9)

    private struct Pair {
        var owner = KeyPartition(partition: PartitionID(0))
        var other = KeyPartition(partition: PartitionID(0))
        var time: Timestamp = 1_700_000_000_000
        var random: Xoshiro256
        private var index: LogIndex = 0
        private var sequence: UInt64 = 0
        /// Events of the last entry.
        var events: [String] = []

        init(seed: UInt64 = 1) {
            random = Xoshiro256(seed: seed)
            let first = random.next() | 1
            log { $0.begin(seed: first) }
        }

        /// An entry, applied by both; what the owner has to tell of it.
        @discardableResult
        mutating func log(_ add: (inout KeyBatchWriter) -> Void) -> [KeyPartition.Effect] {
            index += 1
            var batch = KeyBatchWriter(timestamp: time, chance: random.next())
            let uses = owner.takeUses()
            if !uses.isEmpty { batch.uses(uses) }
            add(&batch)
            var effects: [KeyPartition.Effect] = []
            var others: [KeyPartition.Effect] = []
            do {
                try owner.apply(index: index, data: batch.bytes, into: &effects)
                try other.apply(index: index, data: batch.bytes, into: &others)
            } catch {
                Issue.record("\(error)")
            }
            #expect("\(effects)" == "\(others)")
            events = effects.compactMap {
                guard case .notified(let event) = $0 else { return nil }
                return "\(event.event) \(String(decoding: event.key, as: UTF8.self))"
            }
            return effects
        }

        /// A unit of one command, or of a transaction.
        mutating func write(_ items: KeyUnit.Item..., ticket: UInt64 = 0) -> String {
            var unit = KeyUnit(kind: .commands)
            unit.items = items
            unit.ticket = ticket
            let number = sequence
            sequence += 1
            let effects = log {
                $0.unit(
                    gateway: MemoryTests.gateway,
                    sequence: number,
                    acknowledgedBelow: number,
                    unit.encoded()[...]
                )
            }
            for case .decided(_, number, let outcome) in effects {
                switch outcome {
                case .replied(let bytes): return KeyspaceSession.show(bytes)
                case .waits: return "waits"
                case .unknown: return "unknown"
                }
            }
            return "nothing"
        }

        mutating func callAsFunction(_ line: String, ticket: UInt64 = 0) -> String {
            write(.command(database: 0, arguments: KeyspaceSession.split(line)), ticket: ticket)
        }

        /// At the owner, beside the log.
        mutating func read(_ line: String) -> String {
            var unit = KeyUnit(kind: .commands)
            unit.items = [.command(database: 0, arguments: KeyspaceSession.split(line))]
            let outcome = unit.encoded().withUnsafeBytes {
                try? owner.read($0, from: MemoryTests.gateway, now: time)
            }
            guard case .replied(let bytes) = outcome else { return "" }
            return KeyspaceSession.show(bytes)
        }

        /// Room for so many bytes more than there are.
        mutating func limit(_ bytes: Int, _ policy: String) {
            let bound = owner.keyspace.memoryEstimate + bytes
            #expect(self(".configure maxmemory \(bound) maxmemory-policy \(policy)") == "OK")
        }

        func recount(_ keys: Keyspace) -> Int {
            keys.databases.indices.reduce(Keyspace.emptyBytes) { $0 + keys.byteCount(of: $1) }
        }
    }

    private static let full = "OOM command not allowed when used memory > 'maxmemory'."

    // MARK: The estimate

    @Test(
        "CA-13 the estimate is exact after any commands, and replicas evict alike, one from a snapshot too",
        arguments: zip(
            1...7 as ClosedRange<UInt64>,
            [
                "noeviction", "allkeys-lru", "allkeys-random", "volatile-lru", "volatile-random", "volatile-ttl",
                "allkeys-lru",
            ]
        )
    )
    func exact(seed: UInt64, policy: String) throws {
        var commands = RandomCommands(seed: seed)
        var pair = Pair(seed: seed)
        let compact = "hash-max-listpack-entries 4 set-max-intset-entries 4"
        #expect(pair(".configure \(compact) notify-keyspace-events KEA") == "OK")
        if seed < 7 { pair.limit(6000, policy) }
        var snapshots = 0
        for step in 0..<4000 {
            pair.time += pair.random.below(300)
            let words = pair.random.chance(1, in: 12) ? commands.nonsense() : commands.next()
            guard let command = KeyspaceSession.table.find(words), command.accepts(argumentCount: words.count) else {
                continue
            }
            let database = Int(pair.random.below(2))
            let line = words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
            if command.flags.contains(.readonly), pair.random.chance(2, in: 3) {
                var unit = KeyUnit(kind: .commands)
                unit.items = [.command(database: database, arguments: words)]
                _ = try unit.encoded().withUnsafeBytes {
                    try pair.owner.read($0, from: MemoryTests.gateway, now: pair.time)
                }
            } else if !line.lowercased().hasPrefix("object idletime") {
                let ticket = pair.random.chance(1, in: 4) ? UInt64(step + 1) : 0
                let isTransaction = ticket == 0 && pair.random.chance(1, in: 5)
                let item: KeyUnit.Item =
                    isTransaction
                    ? .transaction(watches: [], commands: [(database, words), (1 - database, commands.next())])
                    : .command(database: database, arguments: words)
                _ = pair.write(item, ticket: ticket)
            }
            if pair.random.chance(1, in: 50) { pair.log { $0.expire() } }
            if pair.random.chance(1, in: 400) { _ = pair("FLUSHDB") }
            #expect(pair.owner.keyspace.memoryEstimate == pair.recount(pair.owner.keyspace), "step \(step): \(line)")
            if step % 500 == 499 {
                let bytes = pair.owner.encodeSnapshot()
                let isSame = bytes == pair.other.encodeSnapshot()
                #expect(isSame, "step \(step)")
                pair.other = try KeyPartition(partition: PartitionID(0), snapshot: bytes)
                #expect(pair.other.keyspace.memoryEstimate == pair.owner.keyspace.memoryEstimate)
                snapshots += 1
            }
        }
        #expect(snapshots == 8)
        let evicted = pair.owner.keyspace.statistics.evicted
        if seed < 7, policy != "noeviction" { #expect(evicted > 0) } else { #expect(evicted == 0) }
        for database in 0..<2 {
            _ = pair.write(.command(database: database, arguments: KeyspaceSession.split("FLUSHDB")))
        }
        #expect(pair.owner.keyspace.memoryEstimate == Keyspace.emptyBytes)
    }

    @Test("CA-13 the estimate follows what is in the keys")
    func follows() {
        var pair = Pair()
        let empty = pair.owner.keyspace.memoryEstimate
        for (fill, drain) in [
            ("SET key \(String(repeating: "x", count: 10_000))", "DEL key"),
            ("SETRANGE key 9999 x", "GETDEL key"),
            ("RPUSH key \(String(repeating: "element ", count: 300))", "LTRIM key 1 0"),
            ("HSET key field value \(String(repeating: "f", count: 9000)) v", "UNLINK key"),
            ("SADD key \(String(repeating: "m", count: 9000)) b", "SPOP key 2"),
            ("ZADD key 1 \(String(repeating: "m", count: 9000))", "ZPOPMIN key"),
            ("XADD key * field \(String(repeating: "v", count: 9000))", "RENAME key other"),
        ] {
            #expect(!pair(fill).hasPrefix("ERR"))
            #expect(pair.owner.keyspace.memoryEstimate > empty + 9000, "\(fill.prefix(10))")
            let used = pair("MEMORY USAGE key")
            #expect(pair.owner.keyspace.memoryEstimate == empty + (Int(used) ?? 0))
            _ = pair(drain)
            if drain != "RENAME key other" { #expect(pair.owner.keyspace.memoryEstimate == empty, "\(drain)") }
        }
    }

    // MARK: Policies

    @Test("CA-13 RB-07 allkeys-lru: keys that nobody used leave; what was read at the owner stays")
    func leastRecentlyUsed() {
        var pair = Pair()
        for number in 0..<200 { #expect(pair("SET old\(number) value") == "OK") }
        pair.limit(0, "allkeys-lru")
        #expect(pair(".configure maxmemory-samples 64") == "OK")
        pair.time += 60_000
        for number in 0..<50 { #expect(pair.read("GET old\(number)") == "\"value\"") }
        pair.time += 60_000
        for number in 0..<100 { #expect(pair("SET new\(number) value") == "OK") }
        let left = (0..<200).map { pair.read("EXISTS old\($0)") == "1" }
        #expect(left[..<50].allSatisfy { $0 }, "read a minute ago")
        #expect(left[50...].count { $0 } <= 51, "the others made room")
        #expect((0..<100).allSatisfy { pair.read("EXISTS new\($0)") == "1" })
        #expect(pair.owner.keyspace.statistics.evicted >= 99)
        #expect(Int64(pair.owner.keyspace.memoryEstimate) <= pair.owner.keyspace.configuration.maxMemory + 200)
        #expect(pair("SET number 1") == "OK" && pair.read("OBJECT REFCOUNT number") == "1", "has a time of its own")
        // Followers took the same keys, so they know of the reads.
        #expect(pair.owner.encodeSnapshot() == pair.other.encodeSnapshot())
    }

    @Test("CA-13 volatile-ttl: the least time to live goes first; keys without one stay, and then it is OOM")
    func timeToLive() {
        var pair = Pair()
        #expect(pair(".configure notify-keyspace-events Ee") == "OK")
        for number in 0..<50 { #expect(pair("SET keep\(number) value") == "OK") }
        for number in 0..<20 { #expect(pair("SET going\(number) value EX \(1000 - number)") == "OK") }
        // The first to go got more time: its old place in the queue means nothing.
        #expect(pair("EXPIRE going19 5000") == "1")
        pair.limit(0, "volatile-ttl")
        var gone: [String] = []
        for number in 0..<40 {
            let reply = pair("SET more\(number) value")
            gone += pair.events
            if reply != "OK" {
                #expect(reply == MemoryTests.full)
                break
            }
        }
        #expect(gone == (0..<19).reversed().map { "evicted going\($0)" } + ["evicted going19"])
        #expect((0..<50).allSatisfy { pair.read("EXISTS keep\($0)") == "1" })
        #expect(pair.owner.keyspace.statistics.evicted == 20)
    }

    @Test(
        "CA-13 only keys with a time to live go where the policy says so",
        arguments: ["volatile-lru", "volatile-random"]
    )
    func volatile(policy: String) {
        var pair = Pair()
        for number in 0..<50 { #expect(pair("SET keep\(number) value") == "OK") }
        for number in 0..<50 { #expect(pair("SET going\(number) value EX 1000") == "OK") }
        for number in 0..<25 { #expect(pair("PERSIST going\(number)") == "1") }
        pair.limit(0, policy)
        var written = 0
        while written < 100, pair("SET more\(written) value") == "OK" { written += 1 }
        #expect(written > 20 && written < 30)
        #expect((0..<25).allSatisfy { pair.read("EXISTS keep\($0) going\($0)") == "2" })
        #expect((25..<50).allSatisfy { pair.read("EXISTS going\($0)") == "0" })
        #expect(pair("SET one more") == MemoryTests.full)
    }

    @Test("CA-13 noeviction: what takes memory is refused, everything else goes on")
    func refused() {
        var pair = Pair()
        #expect(pair("SET key value") == "OK")
        #expect(pair("RPUSH list a") == "1")
        #expect(pair(".configure maxmemory 1") == "OK")
        for line in ["SET a 1", "set a 1", "INCR n", "LPUSH list b", "HSET h f v", "XADD s * f v", "SETRANGE key 9 x"] {
            #expect(pair(line) == MemoryTests.full, "\(line)")
        }
        #expect(pair("GET key") == "\"value\"")
        #expect(pair.read("GET key") == "\"value\"")
        #expect(pair("EXPIRE key 100") == "1")
        #expect(pair("LPOP list") == "\"a\"")
        #expect(pair("DEL key") == "1")
        #expect(pair("SET key value") == MemoryTests.full, "an empty keyspace takes more than a byte")
        #expect(pair("CONFIG") != "OK")
        #expect(pair(".configure maxmemory 0") == "OK")
        #expect(pair("SET key value") == "OK")
    }

    @Test("CA-13 EXEC is refused as a whole when a command of it takes memory; reads alone are done")
    func transactions() {
        var pair = Pair()
        #expect(pair("SET key value") == "OK")
        #expect(pair(".configure maxmemory 1") == "OK")
        func transaction(_ lines: String...) -> KeyUnit.Item {
            .transaction(watches: [], commands: lines.map { (0, KeyspaceSession.split($0)) })
        }
        let reply = pair.write(transaction("DEL key", "SET other 1"))
        #expect(reply == "EXECABORT Transaction discarded because of: \(MemoryTests.full)")
        #expect(pair.write(transaction("GET key", "DEL key")) == "[\"value\", 1]")
        // Within a transaction room is made at its beginning only.
        #expect(pair("DEL key") == "0")
        #expect(pair(".configure maxmemory 0") == "OK")
        for number in 0..<20 { #expect(pair("SET key\(number) value") == "OK") }
        pair.limit(-1, "allkeys-random")
        #expect(pair.owner.keyspace.keyCount(0) == 20)
        #expect(pair.write(transaction("SET a 1", "SET b 2", "GET a", "GET b")) == "[OK, OK, \"1\", \"2\"]")
    }

    @Test("RS-13 CA-13 a wait that would take memory ends with OOM, and the element stays")
    func blocked() {
        var pair = Pair()
        #expect(pair("SET key value") == "OK")
        #expect(pair("BLMOVE from to LEFT RIGHT 0", ticket: 7) == "waits")
        #expect(pair("BLPOP other 0", ticket: 8) == "waits")
        let item = KeyUnit.Item.transaction(
            watches: [],
            commands: ["RPUSH from a", "RPUSH other b", ".configure maxmemory 1"].map { (0, KeyspaceSession.split($0)) }
        )
        _ = pair.write(item)
        let served = pair.owner.served.values.map { KeyspaceSession.show($0) }.sorted()
        #expect(served == [MemoryTests.full, "[\"other\", \"b\"]"])
        #expect(pair.read("LRANGE from 0 -1") == "[\"a\"]")
    }

    // MARK: Bounds

    @Test("CA-13 a lower limit is reached by bounded steps, without a client's help")
    func bounded() {
        var pair = Pair()
        for start in stride(from: 0, to: 3000, by: 100) {
            let pairs = (start..<(start + 100)).map { "key\($0) v" }.joined(separator: " ")
            #expect(pair("MSET \(pairs)") == "OK")
        }
        #expect(!pair.owner.isDue(pair.time))
        #expect(pair(".configure maxmemory 60kb maxmemory-policy allkeys-random") == "OK")
        #expect(pair.owner.keyspace.keyCount(0) == 3000)
        #expect(pair("SET one more") == "OK", "as long as there is something to evict")
        #expect(pair.owner.keyspace.keyCount(0) == 3001 - Keyspace.evictionLimit)
        var entries = 0
        while pair.owner.isDue(pair.time), entries < 100 {
            let before = pair.owner.keyspace.keyCount(0)
            pair.log { $0.expire() }
            #expect(before - pair.owner.keyspace.keyCount(0) <= KeyPartition.expireLimit)
            entries += 1
        }
        #expect(entries >= 2 && entries < 10)
        #expect(pair.owner.keyspace.memoryEstimate <= 60 << 10)
    }

    @Test("CA-13 what an entry tells of reads is bounded, and told once a second for each key")
    func uses() {
        var pair = Pair()
        for number in 0..<3000 { #expect(pair("SET key\(number) v") == "OK") }
        pair.time += 5000
        #expect(pair.read("GET key1") == "\"v\"")
        #expect(pair.owner.takeUses().isEmpty, "nobody asked for it")
        pair.limit(1000, "allkeys-lru")
        pair.time += 5000
        for _ in 0..<3 { #expect(pair.read("GET key1") == "\"v\"") }
        #expect(pair.owner.takeUses().map(\.key) == [Array("key1".utf8)])
        for number in 0..<3000 { _ = pair.read("GET key\(number)") }
        let told = Set(pair.owner.takeUses().map(\.key))
        #expect(told == Set((1976..<3000).map { Array("key\($0)".utf8) }), "the last ones")
        #expect(pair.owner.takeUses().isEmpty)
    }

    // MARK: Settings

    @Test("RS-09 CONFIG SET of the limit, the policy and the samples")
    func settings() {
        var pair = Pair()
        #expect(pair(".configure maxmemory 1gb maxmemory-policy ALLKEYS-LRU maxmemory-samples 10") == "OK")
        let configuration = pair.owner.keyspace.configuration
        #expect(configuration.maxMemory == 1 << 30)
        #expect(configuration.value(of: "maxmemory-policy") == "allkeys-lru")
        #expect(configuration.value(of: "maxmemory-samples") == "10")
        for line in ["maxmemory-policy allkeys-lfu", "maxmemory 1xb", "maxmemory -1", "maxmemory-samples 0"] {
            #expect(pair(".configure \(line)").hasPrefix("ERR CONFIG SET failed"), "\(line)")
        }
        #expect(pair.owner.keyspace.configuration == configuration)
        #expect(pair.other.keyspace.configuration == configuration)
        // What the file says is put into the log once; what was set later stays, a snapshot too.
        let limit = MemoryLimit(bytes: 1 << 20, policy: .volatileTTL)
        pair.log { $0.memoryLimit(limit) }
        #expect(pair.owner.memoryLimit == limit)
        #expect(pair.owner.keyspace.configuration.maxMemory == 1 << 20)
        #expect(pair.owner.keyspace.configuration.maxMemoryPolicy == .volatileTTL)
        #expect(pair(".configure maxmemory 5mb") == "OK")
        let restored = try? KeyPartition(partition: PartitionID(0), snapshot: pair.owner.encodeSnapshot())
        #expect(restored?.memoryLimit == limit)
        #expect(restored?.keyspace.configuration.maxMemory == 5 << 20)
    }
}
