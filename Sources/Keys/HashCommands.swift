import Primitives
import RESP

/// Hashes. Source: https://redis.io/docs/latest/commands/?group=hash and t_hash.c of Redis 7.0.
enum HashCommands {
    static let table = """
        hset|-4|write denyoom fast|1 1 1|hash|2.0.0|Sets fields of a hash.
        hsetnx|4|write denyoom fast|1 1 1|hash|2.0.0|Sets a field of a hash that has no such field.
        hget|3|readonly fast|1 1 1|hash|2.0.0|Returns the value of a field.
        hmget|-3|readonly fast|1 1 1|hash|2.0.0|Returns the values of fields.
        hmset|-4|write denyoom fast|1 1 1|hash|2.0.0|Sets fields of a hash.
        hgetall|2|readonly|1 1 1|hash|2.0.0|Returns all fields and values.
        hdel|-3|write fast|1 1 1|hash|2.0.0|Deletes fields.
        hlen|2|readonly fast|1 1 1|hash|2.0.0|Returns the number of fields.
        hexists|3|readonly fast|1 1 1|hash|2.0.0|Tells whether a field exists.
        hkeys|2|readonly|1 1 1|hash|2.0.0|Returns all fields.
        hvals|2|readonly|1 1 1|hash|2.0.0|Returns all values.
        hincrby|4|write denyoom fast|1 1 1|hash|2.0.0|Adds to the integer value of a field.
        hincrbyfloat|4|write denyoom fast|1 1 1|hash|2.6.0|Adds to the decimal value of a field.
        hstrlen|3|readonly fast|1 1 1|hash|3.2.0|Returns the length of a field's value.
        hrandfield|-2|readonly|1 1 1|hash|6.2.0|Returns random fields.
        hscan|-3|readonly|1 1 1|hash|2.8.0|Walks through fields and values.
        """

    static let handlers: [String: Handler] = [
        "hset": { (keys, call, reply) throws(CommandError) in
            guard let created = try keys.setFields(call) else { throw HashCommands.arity("hset") }
            reply.integer(created)
        },
        "hmset": { (keys, call, reply) throws(CommandError) in
            guard try keys.setFields(call) != nil else { throw HashCommands.arity("hmset") }
            reply.ok()
        },
        "hsetnx": { (keys, call, reply) throws(CommandError) in try keys.hsetnx(call, &reply) },
        "hget": { (keys, call, reply) throws(CommandError) in try keys.hget(call, &reply) },
        "hmget": { (keys, call, reply) throws(CommandError) in try keys.hmget(call, &reply) },
        "hgetall": { (keys, call, reply) throws(CommandError) in
            let hash = try keys.hash(call)
            reply.map(hash?.count ?? 0)
            hash?.forEach { field, value in
                reply.bulk(field)
                reply.bulk(value)
            }
        },
        "hkeys": { (keys, call, reply) throws(CommandError) in
            let hash = try keys.hash(call)
            reply.array(hash?.count ?? 0)
            hash?.forEach { field, _ in reply.bulk(field) }
        },
        "hvals": { (keys, call, reply) throws(CommandError) in
            let hash = try keys.hash(call)
            reply.array(hash?.count ?? 0)
            hash?.forEach { _, value in reply.bulk(value) }
        },
        "hdel": { (keys, call, reply) throws(CommandError) in try keys.hdel(call, &reply) },
        "hlen": { (keys, call, reply) throws(CommandError) in reply.integer(try keys.hash(call)?.count ?? 0) },
        "hexists": { (keys, call, reply) throws(CommandError) in
            reply.integer(try keys.hash(call)?[call[2]] == nil ? 0 : 1)
        },
        "hstrlen": { (keys, call, reply) throws(CommandError) in
            reply.integer(try keys.hash(call)?[call[2]]?.count ?? 0)
        },
        "hincrby": { (keys, call, reply) throws(CommandError) in try keys.hincrby(call, &reply) },
        "hincrbyfloat": { (keys, call, reply) throws(CommandError) in try keys.hincrbyfloat(call, &reply) },
        "hrandfield": { (keys, call, reply) throws(CommandError) in try keys.hrandfield(call, &reply) },
        "hscan": { (keys, call, reply) throws(CommandError) in try keys.hscan(call, &reply) },
    ]

    static func arity(_ name: String) -> CommandError {
        .message("ERR wrong number of arguments for '\(name)' command")
    }

    /// HRANDFIELD with a negative count returns no more fields than this: they are repeated, so that nothing else
    /// bounds the reply.
    static let repeatedFieldsMax: Int64 = 1 << 24
}

extension Keyspace {
    /// The hash at the command's key, to be read.
    mutating func hash(_ call: Call) throws(CommandError) -> HashValue? {
        try lookUp(HashValue.self, call.database, call[1])
    }

    // MARK: Fields

    /// Sets the fields of HSET and HMSET; how many are new, or nil when a value is missing.
    mutating func setFields(_ call: Call) throws(CommandError) -> Int? {
        guard call.count % 2 == 0 else { return nil }
        let created = try modify(HashValue.self, call, call[1], creating: true) { hash, keys in
            var created = 0
            for index in stride(from: 2, to: call.count, by: 2)
            where hash.set(call[index], call[index + 1], keys.configuration) {
                created += 1
            }
            return created
        }
        touch(call.database, call[1])
        notify(.hash, "hset", call.database, call[1])
        return created
    }

    mutating func hsetnx(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isSet = try modify(HashValue.self, call, call[1], creating: true) { hash, keys in
            if hash[call[2]] != nil { return false }
            return hash.set(call[2], call[3], keys.configuration)
        }
        guard isSet == true else { return reply.integer(0) }
        touch(call.database, call[1])
        notify(.hash, "hset", call.database, call[1])
        reply.integer(1)
    }

    mutating func hget(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let value = try hash(call)?[call[2]] else { return reply.null() }
        reply.bulk(value)
    }

    mutating func hmget(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let hash = try hash(call)
        reply.array(call.count - 2)
        for field in call.arguments[2...] {
            if let value = hash?[field] { reply.bulk(value) } else { reply.null() }
        }
    }

    mutating func hdel(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let deleted = try modify(HashValue.self, call, call[1], creating: false) { hash, keys in
            var deleted = 0
            for field in call.arguments[2...] where hash.remove(field) { deleted += 1 }
            if deleted > 0 {
                keys.touch(call.database, call[1])
                keys.notify(.hash, "hdel", call.database, call[1])
            }
            return deleted
        }
        reply.integer(deleted ?? 0)
    }

    // MARK: Numbers

    mutating func hincrby(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let increment = try call.integer(3)
        let sum = try modify(HashValue.self, call, call[1], creating: true) { (hash, keys) throws(CommandError) in
            var value: Int64 = 0
            if let text = hash[call[2]] {
                guard let integer = Decimal.integer(text) else { throw .message("ERR hash value is not an integer") }
                value = integer
            }
            let (sum, overflow) = value.addingReportingOverflow(increment)
            if overflow { throw .message("ERR increment or decrement would overflow") }
            hash.set(call[2], Decimal.bytes(of: sum), keys.configuration)
            return sum
        }
        touch(call.database, call[1])
        notify(.hash, "hincrby", call.database, call[1])
        reply.integer(sum ?? 0)
    }

    mutating func hincrbyfloat(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let increment = LongDecimal(call[3]) else { throw .notAFloat }
        if increment.isInfinite { throw .message("ERR value is NaN or Infinity") }
        let sum = try modify(HashValue.self, call, call[1], creating: true) { (hash, keys) throws(CommandError) in
            guard let value = LongDecimal(hash[call[2]] ?? [UInt8(ascii: "0")]) else {
                throw .message("ERR hash value is not a float")
            }
            guard let sum = LongDecimal.sum(value, increment) else {
                throw .message("ERR increment would produce NaN or Infinity")
            }
            hash.set(call[2], sum.text, keys.configuration)
            return sum.text
        }
        touch(call.database, call[1])
        notify(.hash, "hincrbyfloat", call.database, call[1])
        reply.bulk(sum ?? [])
    }

    // MARK: Chance

    mutating func hrandfield(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard call.count > 2 else {
            guard let hash = try hash(call) else { return reply.null() }
            return reply.bulk(hash[hash.randomPlace(&random)].field)
        }
        let count = try call.integer(2)
        if count == Int64.min {
            throw .message("ERR value is out of range, value must between \(-Int64.max) and \(Int64.max)")
        }
        let withValues = call.count > 3
        if withValues {
            guard call.count == 4, call.isWord(3, "withvalues") else { throw .syntax }
            guard count.magnitude <= Int64.max / 2 else { throw .message("ERR value is out of range") }
        }
        guard let hash = try hash(call), count != 0 else { return reply.array(0) }
        if count < -HashCommands.repeatedFieldsMax {
            let least = -HashCommands.repeatedFieldsMax
            throw .message("ERR value is out of range, value must between \(least) and \(Int64.max)")
        }
        let amount = count < 0 ? Int(-count) : Int(min(count, Int64(hash.count)))
        reply.array(withValues && !reply.isRESP3 ? amount * 2 : amount)
        let mark = reply.count
        func write(_ pair: HashValue.Pair) {
            if withValues, reply.isRESP3 { reply.array(2) }
            reply.bulk(pair.field)
            if withValues { reply.bulk(pair.value) }
        }
        if count < 0 {
            for _ in 0..<amount {
                write(hash[hash.randomPlace(&random)])
                guard reply.count - mark <= configuration.protoMaxBulkLength else {
                    throw .message("ERR the reply exceeds proto-max-bulk-len")
                }
            }
        } else {
            for place in hash.randomPlaces(amount, &random) { write(hash[place]) }
        }
    }

    // MARK: Walking

    mutating func hscan(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let cursor = try MemberScan.cursor(of: call[2])
        guard let hash = try hash(call) else {
            reply.array(2)
            reply.bulk("0")
            return reply.array(0)
        }
        var count: Int64 = 10
        var pattern: Glob?
        var index = 3
        while index < call.count {
            guard index + 1 < call.count else { throw .syntax }
            if call.isWord(index, "count") {
                count = try call.integer(index + 1)
                if count < 1 { throw .syntax }
            } else if call.isWord(index, "match") {
                pattern = Glob(call[index + 1])
            } else {
                throw .syntax
            }
            index += 2
        }
        var seen: [HashValue.Pair] = []
        let next = hash.scan(cursor, Int(min(count, Int64(hash.count)))) { field, value in
            if pattern?.matches(field) != false { seen.append(HashValue.Pair(field: field, value: value)) }
        }
        reply.array(2)
        reply.bulk(String(next))
        reply.array(seen.count * 2)
        for pair in seen {
            reply.bulk(pair.field)
            reply.bulk(pair.value)
        }
    }
}

extension HashValue {
    /// So many different places, each set of them as likely as any other; all of them in their order.
    fileprivate func randomPlaces(_ amount: Int, _ random: inout Xoshiro256) -> [Int] {
        if amount == count { return places }
        var chosen: [Int] = []
        chosen.reserveCapacity(amount)
        if amount * 3 > count {
            // The first places of a shuffle.
            var places = places
            for index in 0..<amount {
                places.swapAt(index, index + Int(random.below(UInt64(places.count - index))))
                chosen.append(places[index])
            }
        } else {
            var known: Set<Int> = []
            while chosen.count < amount {
                let place = randomPlace(&random)
                if known.insert(place).inserted { chosen.append(place) }
            }
        }
        return chosen
    }
}
