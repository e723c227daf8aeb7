import Primitives
import RESP

/// Sets. Source: https://redis.io/docs/latest/commands/?group=set
enum SetCommands {
    static let table = """
        sadd|-3|write denyoom fast|1 1 1|set|1.0.0|Adds members to a set, and makes it when there is none.
        scard|2|readonly fast|1 1 1|set|1.0.0|Returns the number of a set's members.
        sdiff|-2|readonly|1 -1 1|set|1.0.0|Returns the first set's members that are in none of the others.
        sdiffstore|-3|write denyoom|1 -1 1|set|1.0.0|Stores the difference of sets in a key.
        sinter|-2|readonly|1 -1 1|set|1.0.0|Returns the members that all sets have.
        sintercard|-3|readonly movablekeys|0 0 0|set|7.0.0|Returns how many members all sets have, up to a limit.
        sinterstore|-3|write denyoom|1 -1 1|set|1.0.0|Stores the intersection of sets in a key.
        sismember|3|readonly fast|1 1 1|set|1.0.0|Tells whether a set has a member.
        smembers|2|readonly|1 1 1|set|1.0.0|Returns all members of a set.
        smismember|-3|readonly fast|1 1 1|set|6.2.0|Tells of each argument whether a set has it.
        smove|4|write fast|1 2 1|set|1.0.0|Moves a member from one set to another.
        spop|-2|write fast|1 1 1|set|1.0.0|Removes and returns random members of a set.
        srandmember|-2|readonly|1 1 1|set|1.0.0|Returns random members of a set.
        srem|-3|write fast|1 1 1|set|1.0.0|Removes members from a set, and the set with its last.
        sscan|-3|readonly|1 1 1|set|2.8.0|Walks over the members of a set.
        sunion|-2|readonly|1 -1 1|set|1.0.0|Returns the members that any of the sets has.
        sunionstore|-3|write denyoom|1 -1 1|set|1.0.0|Stores the union of sets in a key.
        """

    static let handlers: [String: Handler] = [
        "sadd": { (keys, call, reply) throws(CommandError) in try keys.sadd(call, &reply) },
        "scard": { (keys, call, reply) throws(CommandError) in try keys.scard(call, &reply) },
        "sdiff": { (keys, call, reply) throws(CommandError) in try keys.setAlgebra(call, .difference, &reply) },
        "sdiffstore": { (keys, call, reply) throws(CommandError) in
            try keys.setAlgebraStore(call, .difference, "sdiffstore", &reply)
        },
        "sinter": { (keys, call, reply) throws(CommandError) in try keys.setAlgebra(call, .intersection, &reply) },
        "sintercard": { (keys, call, reply) throws(CommandError) in try keys.sintercard(call, &reply) },
        "sinterstore": { (keys, call, reply) throws(CommandError) in
            try keys.setAlgebraStore(call, .intersection, "sinterstore", &reply)
        },
        "sismember": { (keys, call, reply) throws(CommandError) in try keys.sismember(call, &reply) },
        "smembers": { (keys, call, reply) throws(CommandError) in try keys.smembers(call, &reply) },
        "smismember": { (keys, call, reply) throws(CommandError) in try keys.smismember(call, &reply) },
        "smove": { (keys, call, reply) throws(CommandError) in try keys.smove(call, &reply) },
        "spop": { (keys, call, reply) throws(CommandError) in try keys.spop(call, &reply) },
        "srandmember": { (keys, call, reply) throws(CommandError) in try keys.srandmember(call, &reply) },
        "srem": { (keys, call, reply) throws(CommandError) in try keys.srem(call, &reply) },
        "sscan": { (keys, call, reply) throws(CommandError) in try keys.sscan(call, &reply) },
        "sunion": { (keys, call, reply) throws(CommandError) in try keys.setAlgebra(call, .union, &reply) },
        "sunionstore": { (keys, call, reply) throws(CommandError) in
            try keys.setAlgebraStore(call, .union, "sunionstore", &reply)
        },
    ]
}

extension Keyspace {
    mutating func sadd(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let integersMax = configuration.setMaxIntsetEntries
        let added = try modify(SetValue.self, call, call[1], creating: true) { (set, keys) throws(CommandError) in
            var added = 0
            for member in call.arguments[2...] where set.insert(member, integersMax: integersMax) { added += 1 }
            if added > 0 { keys.touch(call.database, call[1]) }
            return added
        }
        if let added, added > 0 { notify(.set, "sadd", call.database, call[1]) }
        reply.integer(added ?? 0)
    }

    mutating func srem(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let removed = try modify(SetValue.self, call, call[1], creating: false) { (set, keys) throws(CommandError) in
            var removed = 0
            for member in call.arguments[2...] where set.remove(member) { removed += 1 }
            if removed > 0 {
                keys.touch(call.database, call[1])
                keys.notify(.set, "srem", call.database, call[1])
            }
            return removed
        }
        reply.integer(removed ?? 0)
    }

    mutating func smove(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let (database, from, to, member) = (call.database, call[1], call[2], call[3])
        // A destination of another type is an error only when there is a source.
        guard let source = try peek(SetValue.self, database, from) else { return reply.integer(0) }
        _ = try peek(SetValue.self, database, to)
        guard source.contains(member) else { return reply.integer(0) }
        if from == to { return reply.integer(1) }
        _ = try take(member, call)
        let integersMax = configuration.setMaxIntsetEntries
        let isAdded = try modify(SetValue.self, call, to, creating: true) { (set, keys) throws(CommandError) in
            guard set.insert(member, integersMax: integersMax) else { return false }
            keys.touch(database, to)
            return true
        }
        if isAdded == true { notify(.set, "sadd", database, to) }
        reply.integer(1)
    }

    /// SMOVE's first half. Apart, so that the look at the source is over and it changes in place.
    private mutating func take(_ member: [UInt8], _ call: Call) throws(CommandError) {
        _ = try modify(SetValue.self, call, call[1], creating: false) { (set, keys) throws(CommandError) in
            _ = set.remove(member)
            keys.touch(call.database, call[1])
            keys.notify(.set, "srem", call.database, call[1])
        }
    }

    mutating func scard(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        reply.integer(try lookUp(SetValue.self, call.database, call[1])?.count ?? 0)
    }

    mutating func sismember(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let set = try lookUp(SetValue.self, call.database, call[1])
        reply.integer(set?.contains(call[2]) == true ? 1 : 0)
    }

    mutating func smismember(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let set = try lookUp(SetValue.self, call.database, call[1])
        reply.array(call.count - 2)
        for member in call.arguments[2...] { reply.integer(set?.contains(member) == true ? 1 : 0) }
    }

    mutating func smembers(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let set = try lookUp(SetValue.self, call.database, call[1])
        reply.set(set?.count ?? 0)
        try set?.forEach { (member) throws(CommandError) in
            reply.bulk(member)
            return true
        }
    }

    mutating func sscan(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let cursor = try MemberScan.cursor(of: call[2])
        guard let set = try lookUp(SetValue.self, call.database, call[1]) else {
            return MemberScan.writeNothing(&reply)
        }
        let scan = try MemberScan(call, cursor: cursor)
        var members: [[UInt8]] = []
        let next = set.scan(cursor, scan.wanted) { if scan.matches($0) { members.append($0) } }
        reply.array(2)
        reply.bulk(String(next))
        reply.array(members.count)
        for member in members { reply.bulk(member) }
    }

    // MARK: Chance

    mutating func spop(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        if call.count > 3 { throw .syntax }
        let count = call.count == 3 ? try call.integer(2, in: 0...Int64.max, else: Call.positive) : nil
        guard try peek(SetValue.self, call.database, call[1]) != nil, count != 0 else {
            if count == nil { reply.null() } else { reply.set(0) }
            return
        }
        _ = try modify(SetValue.self, call, call[1], creating: false) { (set, keys) throws(CommandError) in
            if let count {
                let popped = count >= set.count ? set.removeAll() : keys.pop(Int(count), from: &set)
                reply.set(popped.count)
                for member in popped { reply.bulk(member) }
            } else {
                for member in keys.pop(1, from: &set) { reply.bulk(member) }
            }
            keys.touch(call.database, call[1])
            keys.notify(.set, "spop", call.database, call[1])
        }
    }

    private mutating func pop(_ count: Int, from set: inout SetValue) -> [[UInt8]] {
        (0..<count).map { _ in
            let member = set.member(at: Int(random.below(UInt64(set.count))))
            _ = set.remove(member)
            return member
        }
    }

    mutating func srandmember(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        if call.count > 3 { throw .syntax }
        guard call.count == 3 else {
            guard let set = try lookUp(SetValue.self, call.database, call[1]) else { return reply.null() }
            return reply.bulk(set.member(at: Int(random.below(UInt64(set.count)))))
        }
        let count = try call.randomCount(2)
        guard let set = try lookUp(SetValue.self, call.database, call[1]), count != 0 else { return reply.array(0) }
        if count >= set.count {
            reply.array(set.count)
            for member in set.all { reply.bulk(member) }
        } else if count > 0 {
            reply.array(Int(count))
            for place in distinct(Int(count), below: set.count) { reply.bulk(set.member(at: place)) }
        } else {
            let mark = reply.count
            reply.array(Int(count.magnitude))
            for _ in 0..<count.magnitude {
                reply.bulk(set.member(at: Int(random.below(UInt64(set.count)))))
                try checkLength(reply, from: mark)
            }
        }
    }
}
