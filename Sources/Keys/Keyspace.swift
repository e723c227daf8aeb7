import DequeModule
import Primitives
import RESP

/// Redis's databases as a deterministic state machine: the same commands with the same times and chances give the same
/// replies and the same state, on every replica.
///
/// `now` and `random` are set before each command by who runs it; at the owner of a key partition they are drawn before
/// the command goes into the log.
///
/// A key past its deadline is missing for every command; a command that writes removes it first, and `expireDue` does
/// for those that nobody asks for.
package struct Keyspace: Sendable {
    package static let databaseCount = 16

    /// Milliseconds since 1970.
    package var now: Int64 = 0
    package var random = Xoshiro256(seed: 0)
    /// Settings of `CONFIG` that commands look at; the same on all replicas.
    package var configuration = KeyspaceConfiguration()

    var databases: [Database]
    let seed: UInt64
    /// What all keys take by `byteEstimate`, kept up with each change.
    package internal(set) var keyBytes = 0
    /// The owner answers a read beside the log: what it leaves behind is this replica's own.
    var isReading = false
    /// Keys that reads of this replica used, until its owner tells the others (see `takeUses`).
    var uses = UsedKeys()

    /// Counts each change of a key; a key's `version` is the count at its last change (WATCH).
    package internal(set) var version: UInt64 = 0
    /// When keys that are not there any more were last removed, by hash of the key: WATCH of a missing key.
    var removals: [UInt64]
    package static let removalBuckets = 4096

    var waiters = Waiters()
    package var statistics = KeyspaceStatistics()
    /// What happened to keys, for subscribers of `__keyspace@0__:…`; emptied by the caller.
    package var notifications: [KeyNotification] = []
    /// Replies to commands that had waited; emptied by the caller.
    package var served: [ServedWaiter] = []

    /// A database's rows.
    struct Object: Sendable {
        var value: Value
        /// Milliseconds since 1970; 0: never.
        var expiresAt: Int64 = 0
        var version: UInt64
        /// Seconds since 1970 at the last use (OBJECT IDLETIME). Each replica's own: not a part of the replicated
        /// state.
        var usedAt: UInt32
        /// Seconds since 1970 at the last use that the log knows of, which is what eviction looks at.
        var loggedUse: UInt32

        init(value: Value, expiresAt: Int64 = 0, version: UInt64, usedAt: UInt32) {
            self.value = value
            self.expiresAt = expiresAt
            self.version = version
            self.usedAt = usedAt
            loggedUse = usedAt
        }

        mutating func use(_ time: UInt32) {
            usedAt = time
            loggedUse = time
        }
    }

    struct Database: Sendable {
        var objects: KeyTable<Object>
        var expires = ExpiryQueue()
    }

    struct DatabaseKey: Hashable, Sendable {
        var database: Int
        var key: [UInt8]
    }

    /// `seed` for the hash tables; the same on all replicas.
    package init(seed: UInt64) {
        self.seed = seed
        databases = (0..<Keyspace.databaseCount).map { number in
            Database(objects: KeyTable(seed: SplitMix64.mix(seed &+ UInt64(number))))
        }
        removals = Array(repeating: 0, count: Keyspace.removalBuckets)
    }

    // MARK: Reading

    /// The place of a live key.
    func slot(_ database: Int, _ key: [UInt8]) -> Int32? {
        guard let slot = databases[database].objects.find(key) else { return nil }
        let deadline = databases[database].objects[slot].expiresAt
        return deadline == 0 || deadline > now ? slot : nil
    }

    func exists(_ database: Int, _ key: [UInt8]) -> Bool { slot(database, key) != nil }

    /// What a live key holds, without counting a hit or a miss.
    func peek(_ database: Int, _ key: [UInt8]) -> Value? {
        slot(database, key).map { databases[database].objects[$0].value }
    }

    var usedNow: UInt32 { UInt32(clamping: now / 1000) }

    /// What a live key holds, counting hits and misses: for commands that read. Some of them are no use of the key.
    mutating func lookUp(_ database: Int, _ key: [UInt8], touches: Bool = true) -> Value? {
        if let slot = slot(database, key) {
            statistics.hits &+= 1
            if touches { noteUse(database, key, slot) }
            return databases[database].objects[slot].value
        }
        statistics.misses &+= 1
        if configuration.notifies(.miss) { notify(.miss, "keymiss", database, key) }
        return nil
    }

    /// The container of type `V` that a live key holds; nil when the key is missing.
    mutating func lookUp<V: ContainerValue>(_: V.Type, _ database: Int, _ key: [UInt8]) throws(CommandError) -> V? {
        guard let value = lookUp(database, key) else { return nil }
        guard let container = V.unwrap(value) else { throw .wrongType }
        return container
    }

    // MARK: Writing

    /// Removes the key if it is past its deadline: the first step of every command that writes it. Returns its place
    /// when it is there.
    @discardableResult
    mutating func expireIfDue(_ database: Int, _ key: [UInt8]) -> Int32? {
        guard let slot = databases[database].objects.find(key) else { return nil }
        let deadline = databases[database].objects[slot].expiresAt
        guard deadline != 0, deadline <= now else { return slot }
        expire(database, key)
        return nil
    }

    private mutating func expire(_ database: Int, _ key: [UInt8]) {
        remove(database, key)
        statistics.expired &+= 1
        notify(.expired, "expired", database, key)
    }

    /// Changes the container at `key` in place, and makes it first when there is none and `creating`.
    ///
    /// The key goes with its last element; then `del` is notified, as Redis does. `body` notifies what it did, and
    /// calls nothing that looks at the same key. Returns nil when the key is missing and not made.
    mutating func modify<V: ContainerValue, R>(
        _: V.Type,
        _ call: Call,
        _ key: [UInt8],
        creating: Bool,
        _ body: (inout V, inout Keyspace) throws(CommandError) -> R
    ) throws(CommandError) -> R? {
        let database = call.database
        let isNew: Bool
        var slot: Int32
        if let known = expireIfDue(database, key) {
            slot = known
            isNew = false
        } else {
            guard creating else { return nil }
            let container = V(seed: SplitMix64.mix(seed ^ version &+ 1))
            slot = databases[database].objects.insert(
                key,
                Object(value: container.wrapped, version: version, usedAt: usedNow)
            )
            isNew = true
        }
        var taken = Value.taken
        swap(&taken, &databases[database].objects[slot].value)
        guard var container = V.unwrap(taken) else {
            swap(&taken, &databases[database].objects[slot].value)
            throw .wrongType
        }
        // The only reference left is `container`: it changes in place.
        taken = .taken
        let bytesBefore = container.byteEstimate
        let result: R
        do {
            result = try body(&container, &self)
        } catch {
            if isNew {
                databases[database].objects.remove(key)
            } else if let again = databases[database].objects.find(key) {
                databases[database].objects[again].value = container.wrapped
                keyBytes += container.byteEstimate - bytesBefore
            }
            throw error
        }
        guard let again = databases[database].objects.find(key) else {
            preconditionFailure("a command's body removed the key that it holds")
        }
        slot = again
        let isGone = container.isEmpty && !V.staysWhenEmpty
        databases[database].objects[slot].value = container.wrapped
        if isGone, isNew {
            databases[database].objects.remove(key)
            return result
        }
        keyBytes += isNew ? Keyspace.rowBytes(key) + container.byteEstimate : container.byteEstimate - bytesBefore
        if isGone {
            remove(database, key)
            notify(.generic, "del", database, key)
        } else if isNew {
            signalNew(database, key)
        }
        return result
    }

    /// Sets what `key` holds; with `keepsDeadline` its time to live stays.
    mutating func store(
        _ database: Int,
        _ key: [UInt8],
        _ value: Value,
        expiresAt: Int64 = 0,
        keepsDeadline: Bool = false
    ) {
        let known = expireIfDue(database, key)
        version &+= 1
        if let slot = known {
            keyBytes += value.byteEstimate - databases[database].objects[slot].value.byteEstimate
            databases[database].objects[slot].value = value
            databases[database].objects[slot].version = version
            databases[database].objects[slot].use(usedNow)
            if !keepsDeadline { setDeadline(database, key, slot, expiresAt) }
            signalReady(database, key)
        } else {
            keyBytes += Keyspace.byteEstimate(key, value)
            let slot = databases[database].objects.insert(key, Object(value: value, version: version, usedAt: usedNow))
            if expiresAt != 0 { setDeadline(database, key, slot, expiresAt) }
            signalNew(database, key)
        }
    }

    /// Removes the key; false when it was not there. Notifies nothing.
    @discardableResult
    mutating func remove(_ database: Int, _ key: [UInt8]) -> Bool {
        guard let object = databases[database].objects.remove(key) else { return false }
        keyBytes -= Keyspace.byteEstimate(key, object.value)
        if object.expiresAt != 0 { databases[database].expires.cancelled() }
        version &+= 1
        removals[Keyspace.removalBucket(database, key)] = version
        signalReady(database, key)
        return true
    }

    /// Notes that a command changed what `key` holds: its watchers are told, and those who wait at it are looked at.
    mutating func touch(_ database: Int, _ key: [UInt8]) {
        version &+= 1
        if let slot = databases[database].objects.find(key) {
            databases[database].objects[slot].version = version
            databases[database].objects[slot].use(usedNow)
        }
        signalReady(database, key)
    }

    /// Sets or clears (0) the deadline of the object at `slot`.
    mutating func setDeadline(_ database: Int, _ key: [UInt8], _ slot: Int32, _ deadline: Int64) {
        let old = databases[database].objects[slot].expiresAt
        if old == deadline { return }
        if old != 0 { databases[database].expires.cancelled() }
        databases[database].objects[slot].expiresAt = deadline
        if deadline != 0 { databases[database].expires.add(deadline, key) }
    }

    /// Milliseconds since 1970; 0 when the key has none; nil when it is missing.
    func deadline(_ database: Int, _ key: [UInt8]) -> Int64? {
        slot(database, key).map { databases[database].objects[$0].expiresAt }
    }

    /// Removes keys past their deadlines, at most `limit`; true when more are due.
    package mutating func expireDue(limit: Int) -> Bool {
        var left = limit
        for database in databases.indices {
            while left > 0, let key = databases[database].expires.popDue(now) {
                left -= 1
                // The queue may speak of an earlier deadline of the key.
                guard let slot = databases[database].objects.find(key) else { continue }
                let deadline = databases[database].objects[slot].expiresAt
                if deadline != 0, deadline <= now { expire(database, key) }
            }
            if left == 0 { return true }
            compactExpires(database)
        }
        return false
    }

    /// A key may be due before the given time: there is something for `expireDue`.
    package func hasDue(_ time: Int64) -> Bool {
        databases.contains { $0.expires.firstDeadline.map { $0 <= time } ?? false }
    }

    mutating func compactExpires(_ database: Int) {
        guard databases[database].expires.isMostlyStale else { return }
        var fresh = ExpiryQueue()
        databases[database].objects.forEach { _, key, object in
            if object.expiresAt != 0 { fresh.add(object.expiresAt, key) }
            return true
        }
        databases[database].expires = fresh
    }

    // MARK: Databases

    mutating func flush(_ database: Int) {
        let isWaited = !waiters.isEmpty
        for key in databases[database].objects.keys {
            version &+= 1
            removals[Keyspace.removalBucket(database, key)] = version
            if isWaited { signalReady(database, key) }
        }
        keyBytes -= byteCount(of: database)
        databases[database].objects.removeAll()
        databases[database].expires = ExpiryQueue()
    }

    mutating func swapDatabases(_ a: Int, _ b: Int) {
        guard a != b else { return }
        databases.swapAt(a, b)
        // Everything in both has changed for watchers and waiters.
        for database in [a, b] {
            for key in databases[database].objects.keys { touch(database, key) }
            let other = database == a ? b : a
            for key in databases[other].objects.keys {
                version &+= 1
                removals[Keyspace.removalBucket(database, key)] = version
                signalReady(database, key)
            }
        }
    }

    package func keyCount(_ database: Int) -> Int { databases[database].objects.count }
    package func expiringCount(_ database: Int) -> Int { databases[database].expires.count }

    // MARK: WATCH

    /// The key's version: the same answer later means that nobody changed it.
    package func watchVersion(_ database: Int, _ key: [UInt8]) -> UInt64 {
        if let slot = slot(database, key) { return databases[database].objects[slot].version << 1 | 1 }
        return removals[Keyspace.removalBucket(database, key)] << 1
    }

    /// Versions that a lost owner gave to what it did are not given again: who watches one of them sees a change.
    mutating func skipVersions() { version &+= 1 << 32 }

    private static func removalBucket(_ database: Int, _ key: [UInt8]) -> Int {
        let crc = key.withUnsafeBytes { CRC32C.checksum($0, seed: UInt32(truncatingIfNeeded: database)) }
        return Int(crc) & (removalBuckets - 1)
    }

    // MARK: Signals

    private mutating func signalNew(_ database: Int, _ key: [UInt8]) {
        notify(.new, "new", database, key)
        touch(database, key)
    }

    /// Something about the key changed that a waiter may have waited for.
    mutating func signalReady(_ database: Int, _ key: [UInt8]) {
        guard !waiters.isEmpty else { return }
        waiters.noteChange(DatabaseKey(database: database, key: key))
    }

    mutating func notify(_ kind: KeyNotification.Kind, _ event: String, _ database: Int, _ key: [UInt8]) {
        if kind.isDisjoint(with: [.new, .miss, .expired, .evicted]) { statistics.changes &+= 1 }
        guard configuration.notifies(kind) else { return }
        notifications.append(
            KeyNotification(
                kind: kind,
                event: event,
                database: database,
                key: key,
                channels: configuration.notifications.intersection([.keyspace, .keyevent])
            )
        )
    }
}

/// Counts since the start of this replica; not part of the replicated state.
package struct KeyspaceStatistics: Sendable {
    package var hits: UInt64 = 0
    package var misses: UInt64 = 0
    package var expired: UInt64 = 0
    package var evicted: UInt64 = 0
    /// About what Redis calls dirty: what commands did to keys (`rdb_changes_since_last_save`).
    package var changes: UInt64 = 0

    package init() {}

    package mutating func add(_ other: KeyspaceStatistics) {
        hits &+= other.hits
        misses &+= other.misses
        expired &+= other.expired
        evicted &+= other.evicted
        changes &+= other.changes
    }
}
