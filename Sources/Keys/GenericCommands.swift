import Primitives
import RESP

/// Keys of any type. Source: https://redis.io/docs/latest/commands/?group=generic
enum GenericCommands {
    static let table = """
        del|-2|write|1 -1 1|generic|1.0.0|Deletes keys.
        unlink|-2|write fast|1 -1 1|generic|4.0.0|Deletes keys.
        exists|-2|readonly fast|1 -1 1|generic|1.0.0|Counts the keys that exist.
        touch|-2|readonly fast|1 -1 1|generic|3.2.1|Counts the keys that exist, and notes that they were used.
        type|2|readonly fast|1 1 1|generic|1.0.0|Returns the type of what a key holds.
        rename|3|write|1 2 1|generic|1.0.0|Renames a key and overwrites the other.
        renamenx|3|write fast|1 2 1|generic|1.0.0|Renames a key if the new name is free.
        copy|-3|write denyoom|1 2 1|generic|6.2.0|Copies what a key holds to another key.
        move|3|write fast|1 1 1|generic|1.0.0|Moves a key to another database.
        keys|2|readonly|0 0 0|generic|1.0.0|Returns the names that match a pattern.
        scan|-2|readonly|0 0 0|generic|2.8.0|Walks through the names of the database.
        randomkey|1|readonly|0 0 0|generic|1.0.0|Returns a random name.
        expire|-3|write fast|1 1 1|generic|1.0.0|Sets the time to live of a key, in seconds.
        pexpire|-3|write fast|1 1 1|generic|2.6.0|Sets the time to live of a key, in milliseconds.
        expireat|-3|write fast|1 1 1|generic|1.2.0|Sets when a key expires, in seconds since 1970.
        pexpireat|-3|write fast|1 1 1|generic|2.6.0|Sets when a key expires, in milliseconds since 1970.
        ttl|2|readonly fast|1 1 1|generic|1.0.0|Returns the time to live of a key, in seconds.
        pttl|2|readonly fast|1 1 1|generic|2.6.0|Returns the time to live of a key, in milliseconds.
        expiretime|2|readonly fast|1 1 1|generic|7.0.0|Returns when a key expires, in seconds since 1970.
        pexpiretime|2|readonly fast|1 1 1|generic|7.0.0|Returns when a key expires, in milliseconds since 1970.
        persist|2|write fast|1 1 1|generic|2.2.0|Takes the time to live from a key.
        flushdb|-1|write|0 0 0|server|1.0.0|Removes all keys of the database.
        flushall|-1|write|0 0 0|server|1.0.0|Removes all keys of all databases.
        swapdb|3|write fast|0 0 0|server|4.0.0|Exchanges two databases.
        dbsize|1|readonly fast|0 0 0|server|1.0.0|Counts the keys of the database.
        object|-2||0 0 0|generic|2.2.3|Tells how a value is kept.
        object/encoding|3|readonly|2 2 1|generic|2.2.3|Returns how a value is kept.
        object/freq|3|readonly|2 2 1|generic|4.0.0|Returns how often a key is used.
        object/idletime|3|readonly|2 2 1|generic|2.2.3|Returns the seconds since a key was last used.
        object/refcount|3|readonly|2 2 1|generic|2.2.3|Returns how many references a value has.
        object/help|2|loading stale|0 0 0|generic|6.2.0|Explains the subcommands.
        memory|-2||0 0 0|server|4.0.0|Tells how much memory a key takes.
        memory/usage|-3|readonly|2 2 1|server|4.0.0|Returns about how much memory a key takes.
        memory/help|2|loading stale|0 0 0|server|4.0.0|Explains the subcommands.
        sort|-2|write denyoom movablekeys|1 1 1|generic|1.0.0|Sorts the elements of a list, set or sorted set.
        sort_ro|-2|readonly movablekeys|1 1 1|generic|7.0.0|Sorts elements and stores nothing.
        dump|2|readonly|1 1 1|generic|2.6.0|Returns what a key holds in the form of Redis's files.
        restore|-4|write denyoom|1 1 1|generic|2.6.0|Makes a key from what DUMP returned.
        """

    static let handlers: [String: Handler] = [
        "del": { (keys, call, reply) throws(CommandError) in keys.delete(call, &reply) },
        "unlink": { (keys, call, reply) throws(CommandError) in keys.delete(call, &reply) },
        "exists": { (keys, call, reply) throws(CommandError) in keys.countExisting(call, touches: false, &reply) },
        "touch": { (keys, call, reply) throws(CommandError) in keys.countExisting(call, touches: true, &reply) },
        "type": { (keys, call, reply) throws(CommandError) in
            reply.simple(keys.lookUp(call.database, call[1], touches: false)?.typeName ?? "none")
        },
        "rename": { (keys, call, reply) throws(CommandError) in try keys.rename(call, ifFree: false, &reply) },
        "renamenx": { (keys, call, reply) throws(CommandError) in try keys.rename(call, ifFree: true, &reply) },
        "copy": { (keys, call, reply) throws(CommandError) in try keys.copy(call, &reply) },
        "move": { (keys, call, reply) throws(CommandError) in try keys.move(call, &reply) },
        "keys": { (keys, call, reply) throws(CommandError) in keys.matching(call, &reply) },
        "scan": { (keys, call, reply) throws(CommandError) in try keys.scan(call, &reply) },
        "randomkey": { (keys, call, reply) throws(CommandError) in keys.randomKey(call, &reply) },
        "expire": { (keys, call, reply) throws(CommandError) in
            try keys.expire(call, .seconds, isAbsolute: false, "expire", &reply)
        },
        "pexpire": { (keys, call, reply) throws(CommandError) in
            try keys.expire(call, .milliseconds, isAbsolute: false, "pexpire", &reply)
        },
        "expireat": { (keys, call, reply) throws(CommandError) in
            try keys.expire(call, .seconds, isAbsolute: true, "expireat", &reply)
        },
        "pexpireat": { (keys, call, reply) throws(CommandError) in
            try keys.expire(call, .milliseconds, isAbsolute: true, "pexpireat", &reply)
        },
        "ttl": { (keys, call, reply) throws(CommandError) in
            keys.timeToLive(call, .seconds, isAbsolute: false, &reply)
        },
        "pttl": { (keys, call, reply) throws(CommandError) in
            keys.timeToLive(call, .milliseconds, isAbsolute: false, &reply)
        },
        "expiretime": { (keys, call, reply) throws(CommandError) in
            keys.timeToLive(call, .seconds, isAbsolute: true, &reply)
        },
        "pexpiretime": { (keys, call, reply) throws(CommandError) in
            keys.timeToLive(call, .milliseconds, isAbsolute: true, &reply)
        },
        "persist": { (keys, call, reply) throws(CommandError) in keys.persist(call, &reply) },
        "flushdb": { (keys, call, reply) throws(CommandError) in
            try keys.flush(call, [call.database], &reply)
        },
        "flushall": { (keys, call, reply) throws(CommandError) in
            try keys.flush(call, Array(keys.databases.indices), &reply)
        },
        "swapdb": { (keys, call, reply) throws(CommandError) in try keys.swapDatabases(call, &reply) },
        "dbsize": { (keys, call, reply) throws(CommandError) in reply.integer(keys.keyCount(call.database)) },
        "object": { (keys, call, reply) throws(CommandError) in try keys.object(call, &reply) },
        "memory": { (keys, call, reply) throws(CommandError) in try keys.memory(call, &reply) },
        "sort": { (keys, call, reply) throws(CommandError) in try keys.sort(call, isReadOnly: false, &reply) },
        "sort_ro": { (keys, call, reply) throws(CommandError) in try keys.sort(call, isReadOnly: true, &reply) },
        "dump": { (keys, call, reply) throws(CommandError) in keys.dumpKey(call, &reply) },
        "restore": { (keys, call, reply) throws(CommandError) in try keys.restoreKey(call, &reply) },
    ]
}

extension Keyspace {
    /// Removes a live key and notifies `del`; false when there was none.
    @discardableResult
    mutating func deleteIfLive(_ database: Int, _ key: [UInt8]) -> Bool {
        expireIfDue(database, key)
        guard remove(database, key) else { return false }
        notify(.generic, "del", database, key)
        return true
    }

    fileprivate mutating func delete(_ call: Call, _ reply: inout RESPWriter) {
        var count = 0
        for key in call.arguments.dropFirst() where deleteIfLive(call.database, key) { count += 1 }
        reply.integer(count)
    }

    fileprivate mutating func countExisting(_ call: Call, touches: Bool, _ reply: inout RESPWriter) {
        var count = 0
        for key in call.arguments.dropFirst() where lookUp(call.database, key, touches: touches) != nil { count += 1 }
        reply.integer(count)
    }

    // MARK: Moving

    fileprivate mutating func rename(_ call: Call, ifFree: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        let database = call.database
        let (source, target) = (call[1], call[2])
        expireIfDue(database, source)
        guard let value = peek(database, source), let deadline = deadline(database, source) else { throw .noSuchKey }
        if source != target {
            expireIfDue(database, target)
            if ifFree, exists(database, target) { return reply.integer(0) }
            // The old key goes first, as in Redis: the renamed one is new.
            remove(database, target)
            store(database, target, value, expiresAt: deadline)
            remove(database, source)
            notify(.generic, "rename_from", database, source)
            notify(.generic, "rename_to", database, target)
            if ifFree { reply.integer(1) } else { reply.ok() }
        } else if ifFree {
            reply.integer(0)
        } else {
            reply.ok()
        }
    }

    fileprivate func databaseNumber(_ text: [UInt8]) throws(CommandError) -> Int {
        guard let number = Decimal.integer(text), Int32(exactly: number) != nil else { throw .notAnInteger }
        guard databases.indices.contains(Int(number)) else { throw .message("ERR DB index is out of range") }
        return Int(number)
    }

    private static let sameObject = CommandError.message("ERR source and destination objects are the same")

    fileprivate mutating func move(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let target = try databaseNumber(call[2])
        let key = call[1]
        guard target != call.database else { throw Keyspace.sameObject }
        expireIfDue(call.database, key)
        guard let value = peek(call.database, key), let deadline = deadline(call.database, key) else {
            return reply.integer(0)
        }
        expireIfDue(target, key)
        if exists(target, key) { return reply.integer(0) }
        store(target, key, value, expiresAt: deadline)
        remove(call.database, key)
        notify(.generic, "move_from", call.database, key)
        notify(.generic, "move_to", target, key)
        reply.integer(1)
    }

    fileprivate mutating func copy(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        var database = call.database
        var replaces = false
        var index = 3
        while index < call.count {
            if call.isWord(index, "replace") {
                replaces = true
            } else if call.isWord(index, "db"), index + 1 < call.count {
                database = try databaseNumber(call[index + 1])
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        let (source, target) = (call[1], call[2])
        if database == call.database, source == target { throw Keyspace.sameObject }
        guard let value = lookUp(call.database, source), let deadline = deadline(call.database, source) else {
            return reply.integer(0)
        }
        expireIfDue(database, target)
        if exists(database, target) {
            guard replaces else { return reply.integer(0) }
            remove(database, target)
        }
        store(database, target, value, expiresAt: deadline)
        notify(.generic, "copy_to", database, target)
        reply.integer(1)
    }

    // MARK: Walking

    fileprivate func matching(_ call: Call, _ reply: inout RESPWriter) {
        let glob = Glob(call[1])
        let all = glob.matchesAll
        let mark = reply.count
        var count = 0
        databases[call.database].objects.forEach { _, key, object in
            if object.expiresAt == 0 || object.expiresAt > now, all || glob.matches(key) {
                reply.bulk(key)
                count += 1
            }
            return true
        }
        reply.insertArray(count, at: mark)
    }

    fileprivate func scan(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let cursor = try MemberScan.cursor(of: call[1])
        var wanted: Int64 = 10
        var glob = Glob([UInt8(ascii: "*")])
        var type: [UInt8]?
        var index = 2
        while index < call.count {
            guard index + 1 < call.count else { throw .syntax }
            if call.isWord(index, "count") {
                wanted = try call.integer(index + 1)
                if wanted < 1 { throw .syntax }
            } else if call.isWord(index, "match") {
                glob = Glob(call[index + 1])
            } else if call.isWord(index, "type") {
                type = call[index + 1].map { $0 >= 65 && $0 <= 90 ? $0 | 32 : $0 }
            } else {
                throw .syntax
            }
            index += 2
        }
        let objects = databases[call.database].objects
        let all = glob.matchesAll
        var found: [[UInt8]] = []
        let next = objects.scan(cursor, Int(min(wanted, 1 << 40))) { slot in
            let object = objects[slot]
            if object.expiresAt != 0, object.expiresAt <= now { return }
            if let type, !type.elementsEqual(object.value.typeName.utf8) { return }
            let key = objects.key(at: slot)
            if all || glob.matches(key) { found.append(key) }
        }
        reply.array(2)
        reply.bulk(String(next))
        reply.array(found.count)
        for key in found { reply.bulk(key) }
    }

    fileprivate mutating func randomKey(_ call: Call, _ reply: inout RESPWriter) {
        let objects = databases[call.database].objects
        guard !objects.isEmpty else { return reply.null() }
        for _ in 0..<100 {
            let slot = objects.randomSlot(&random)
            let deadline = objects[slot].expiresAt
            if deadline == 0 || deadline > now { return reply.bulk(objects.key(at: slot)) }
        }
        // Nearly all are past their deadlines.
        var key: [UInt8]?
        objects.forEach { _, candidate, object in
            if object.expiresAt == 0 || object.expiresAt > now { key = candidate }
            return key == nil
        }
        if let key { reply.bulk(key) } else { reply.null() }
    }

    // MARK: Databases

    fileprivate mutating func flush(_ call: Call, _ flushed: [Int], _ reply: inout RESPWriter) throws(CommandError) {
        guard call.count == 1 || (call.count == 2 && (call.isWord(1, "async") || call.isWord(1, "sync"))) else {
            throw .syntax
        }
        for database in flushed { flush(database) }
        reply.ok()
    }

    fileprivate mutating func swapDatabases(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let first = Decimal.integer(call[1]), Int32(exactly: first) != nil else {
            throw .message("ERR invalid first DB index")
        }
        guard let second = Decimal.integer(call[2]), Int32(exactly: second) != nil else {
            throw .message("ERR invalid second DB index")
        }
        swapDatabases(try databaseNumber(call[1]), try databaseNumber(call[2]))
        reply.ok()
    }
}
