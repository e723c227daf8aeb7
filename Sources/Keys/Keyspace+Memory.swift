import Primitives

/// `maxmemory`: an estimate of what the keys take, kept up with each change, and what goes when it is above the bound.
///
/// Everything here follows from the replicated state, the entry's time and its chance: replicas evict the same keys.
/// Source of the rules: https://redis.io/docs/latest/develop/reference/eviction/ and Redis 7's evict.c. Redis keeps a
/// pool of the best candidates it has seen; here the best of one sample goes.
extension Keyspace {
    // MARK: Estimate

    /// What a keyspace without keys takes: the table of removals, and the databases.
    static let emptyBytes = 40 << 10

    /// About what the keyspace takes: what `MEMORY USAGE` says of its keys, and a little for itself.
    package var memoryEstimate: Int { Keyspace.emptyBytes + keyBytes }

    /// About what a key takes beside its value: the row of the table, the headers of its arrays, and the bytes.
    static func rowBytes(_ key: [UInt8]) -> Int { 96 + 32 + key.count }

    static func byteEstimate(_ key: [UInt8], _ value: Value) -> Int { rowBytes(key) + value.byteEstimate }

    /// Counted key by key.
    func byteCount(of database: Int) -> Int {
        var bytes = 0
        databases[database].objects.forEach { _, key, object in
            bytes += Keyspace.byteEstimate(key, object.value)
            return true
        }
        return bytes
    }

    // MARK: Uses

    /// A command looked at a key. A command of the log notes it at every replica, a read beside the log at this one
    /// alone, which tells the others with its next entry: once a second for each key.
    mutating func noteUse(_ database: Int, _ key: [UInt8], _ slot: Int32) {
        let now = usedNow
        if isReading {
            guard databases[database].objects[slot].usedAt != now else { return }
            databases[database].objects[slot].usedAt = now
            if configuration.maxMemory != 0, configuration.maxMemoryPolicy.isLRU { uses.note(database, key) }
        } else if databases[database].objects[slot].loggedUse != now {
            databases[database].objects[slot].use(now)
        }
    }

    /// A client has read the key at the owner.
    mutating func use(_ database: Int, _ key: [UInt8]) {
        if let slot = slot(database, key) { noteUse(database, key, slot) }
    }

    // MARK: Eviction

    /// Keys that go before one command at most. Redis stops after half a millisecond; what it would not have reached
    /// goes before the next commands, and by the owner's own entries.
    static let evictionLimit = 256

    static let outOfMemory = "OOM command not allowed when used memory > 'maxmemory'."

    private static let denyOOM = Set(
        CommandTable(Keyspace.rows).commands.filter { $0.flags.contains(.denyoom) }.map { Array($0.name.utf8) }
    )

    /// Makes room before a command of the log; false when there is none and the command may take some.
    mutating func admits(_ arguments: [[UInt8]]) -> Bool {
        if configuration.maxMemory == 0 || isReading || makeRoom(limit: Keyspace.evictionLimit) { return true }
        return !Keyspace.denyOOM.contains(arguments[0].map { $0 >= 65 && $0 <= 90 ? $0 | 32 : $0 })
    }

    private var isOverLimit: Bool { configuration.maxMemory != 0 && Int64(memoryEstimate) > configuration.maxMemory }

    /// There is room to make, and a key to make it by.
    var canMakeRoom: Bool {
        guard isOverLimit, configuration.maxMemoryPolicy != .noEviction else { return false }
        return databases.indices.contains { evictableCount($0) > 0 }
    }

    private func evictableCount(_ database: Int) -> Int {
        configuration.maxMemoryPolicy.isVolatile ? expiringCount(database) : keyCount(database)
    }

    /// Evicts keys while there are too many, at most `limit`; false when there are too many and none may go.
    @discardableResult
    mutating func makeRoom(limit: Int) -> Bool {
        var left = limit
        while isOverLimit {
            guard left > 0 else { return true }
            guard let victim = nextVictim() else { return false }
            remove(victim.database, victim.key)
            statistics.evicted &+= 1
            notify(.evicted, "evicted", victim.database, victim.key)
            left -= 1
        }
        return true
    }

    private mutating func nextVictim() -> DatabaseKey? {
        switch configuration.maxMemoryPolicy {
        case .noEviction: return nil
        case .volatileTTL: return nearestDeadline()
        case .allKeysRandom, .volatileRandom: return randomEvictable()?.key
        case .allKeysLRU, .volatileLRU:
            var oldest: (key: DatabaseKey, loggedUse: UInt32)?
            for _ in 0..<configuration.maxMemorySamples {
                guard let (key, slot) = randomEvictable() else { break }
                let loggedUse = databases[key.database].objects[slot].loggedUse
                if oldest.map({ loggedUse < $0.loggedUse }) ?? true { oldest = (key, loggedUse) }
            }
            return oldest?.key
        }
    }

    /// The key with the least time to live: not the least of a sample, as in Redis, but of all.
    private mutating func nearestDeadline() -> DatabaseKey? {
        while true {
            var nearest: (database: Int, deadline: Int64)?
            for database in databases.indices {
                guard let deadline = databases[database].expires.firstDeadline else { continue }
                if nearest.map({ deadline < $0.deadline }) ?? true { nearest = (database, deadline) }
            }
            guard let (database, deadline) = nearest, let key = databases[database].expires.popDue(deadline) else {
                return nil
            }
            // The queue may speak of another deadline than the key's last.
            if let slot = databases[database].objects.find(key),
                databases[database].objects[slot].expiresAt == deadline
            {
                return DatabaseKey(database: database, key: key)
            }
        }
    }

    /// Any key that the policy lets go.
    private mutating func randomEvictable() -> (key: DatabaseKey, slot: Int32)? {
        let total = databases.indices.reduce(0) { $0 + evictableCount($1) }
        guard total > 0 else { return nil }
        var place = Int(random.below(UInt64(total)))
        var database = 0
        while place >= evictableCount(database) {
            place -= evictableCount(database)
            database += 1
        }
        if configuration.maxMemoryPolicy.isVolatile { return randomExpiring(database) }
        let key = databases[database].objects.key(at: Int32(place))
        return (DatabaseKey(database: database, key: key), Int32(place))
    }

    /// Any key of the database that has a deadline.
    private mutating func randomExpiring(_ database: Int) -> (key: DatabaseKey, slot: Int32)? {
        // So at least every other row is a key's, or there are few.
        compactExpires(database)
        let count = databases[database].expires.rowCount
        guard count > 0 else { return nil }
        let first = Int(random.below(UInt64(count)))
        for step in 0..<count {
            let row = databases[database].expires[(first + step) % count]
            if let slot = databases[database].objects.find(row.key),
                databases[database].objects[slot].expiresAt == row.deadline
            {
                return (DatabaseKey(database: database, key: row.key), slot)
            }
        }
        return nil
    }
}

/// Keys that reads have used: the last ones, so that an entry that carries them is bounded.
struct UsedKeys: Sendable {
    static let countMax = 1024
    /// Longer keys are not told of.
    static let keyBytesMax = 128

    private var keys: [(database: Int, key: [UInt8])] = []
    /// Where the oldest is, once there are `countMax`.
    private var oldest = 0

    mutating func note(_ database: Int, _ key: [UInt8]) {
        guard key.count <= UsedKeys.keyBytesMax else { return }
        if keys.count < UsedKeys.countMax {
            keys.append((database, key))
        } else {
            keys[oldest] = (database, key)
            oldest = (oldest + 1) % UsedKeys.countMax
        }
    }

    mutating func take() -> [(database: Int, key: [UInt8])] {
        guard !keys.isEmpty else { return [] }
        defer { self = UsedKeys() }
        return keys
    }
}

/// `keys.max_memory` and `keys.max_memory_policy` of cluster.toml.
package struct MemoryLimit: Equatable, Sendable {
    /// 0: no bound.
    package var bytes: Int64 = 0
    package var policy = KeyspaceConfiguration.MemoryPolicy.noEviction

    package init() {}

    package init(bytes: Int64, policy: KeyspaceConfiguration.MemoryPolicy) {
        self.bytes = bytes
        self.policy = policy
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(bytes)
        writer.writeString(policy.rawValue)
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        bytes = Int64(bitPattern: try reader.read(UInt64.self))
        guard bytes >= 0, let known = KeyspaceConfiguration.MemoryPolicy(rawValue: try reader.readString(limit: 32))
        else { throw .malformed("memory limit") }
        policy = known
    }
}
