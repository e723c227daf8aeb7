import Primitives
import RESP

/// Sorted sets. Source: https://redis.io/docs/latest/commands/?group=sorted-set
enum SortedSetCommands {
    /// ZRANK and ZREVRANK take WITHSCORE since 7.2.
    static let table = """
        bzmpop|-5|write blocking movablekeys|0 0 0|sorted-set|7.0.0|Pops from the first of some sorted sets, or waits.
        bzpopmax|-3|write noscript blocking fast|1 -2 1|sorted-set|5.0.0|Pops a highest member, or waits for one.
        bzpopmin|-3|write noscript blocking fast|1 -2 1|sorted-set|5.0.0|Pops a lowest member, or waits for one.
        zadd|-4|write denyoom fast|1 1 1|sorted-set|1.2.0|Adds members with scores, or changes their scores.
        zcard|2|readonly fast|1 1 1|sorted-set|1.2.0|Returns the number of members.
        zcount|4|readonly fast|1 1 1|sorted-set|2.0.0|Counts the members within a range of scores.
        zdiff|-3|readonly movablekeys|0 0 0|sorted-set|6.2.0|Returns the first sorted set without the others' members.
        zdiffstore|-4|write denyoom movablekeys|1 1 1|sorted-set|6.2.0|Stores the difference of sorted sets in a key.
        zincrby|4|write denyoom fast|1 1 1|sorted-set|1.2.0|Adds to the score of a member.
        zinter|-3|readonly movablekeys|0 0 0|sorted-set|6.2.0|Returns the members that all sorted sets have.
        zintercard|-3|readonly movablekeys|0 0 0|sorted-set|7.0.0|Counts the members that all sorted sets have.
        zinterstore|-4|write denyoom movablekeys|1 1 1|sorted-set|2.0.0|Stores the intersection of sorted sets in a key.
        zlexcount|4|readonly fast|1 1 1|sorted-set|2.8.9|Counts the members within a range of members.
        zmpop|-4|write movablekeys|0 0 0|sorted-set|7.0.0|Pops from the first of several sorted sets that has members.
        zmscore|-3|readonly fast|1 1 1|sorted-set|6.2.0|Returns the scores of members.
        zpopmax|-2|write fast|1 1 1|sorted-set|5.0.0|Removes and returns the highest members.
        zpopmin|-2|write fast|1 1 1|sorted-set|5.0.0|Removes and returns the lowest members.
        zrandmember|-2|readonly|1 1 1|sorted-set|6.2.0|Returns random members.
        zrange|-4|readonly|1 1 1|sorted-set|1.2.0|Returns members within a range of ranks, scores or members.
        zrangebylex|-4|readonly|1 1 1|sorted-set|2.8.9|Returns the members within a range of members.
        zrangebyscore|-4|readonly|1 1 1|sorted-set|1.0.5|Returns the members within a range of scores.
        zrangestore|-5|write denyoom|1 2 1|sorted-set|6.2.0|Stores a range of a sorted set in a key.
        zrank|-3|readonly fast|1 1 1|sorted-set|2.0.0|Returns the place of a member, from the lowest score.
        zrem|-3|write fast|1 1 1|sorted-set|1.2.0|Removes members.
        zremrangebylex|4|write|1 1 1|sorted-set|2.8.9|Removes the members within a range of members.
        zremrangebyrank|4|write|1 1 1|sorted-set|2.0.0|Removes the members within a range of ranks.
        zremrangebyscore|4|write|1 1 1|sorted-set|1.2.0|Removes the members within a range of scores.
        zrevrange|-4|readonly|1 1 1|sorted-set|1.2.0|Returns the members within a range of ranks, highest first.
        zrevrangebylex|-4|readonly|1 1 1|sorted-set|2.8.9|Returns the members within a range of members, last first.
        zrevrangebyscore|-4|readonly|1 1 1|sorted-set|2.2.0|Returns the members within a range of scores, highest first.
        zrevrank|-3|readonly fast|1 1 1|sorted-set|2.0.0|Returns the place of a member, from the highest score.
        zscan|-3|readonly|1 1 1|sorted-set|2.8.0|Walks over the members and their scores.
        zscore|3|readonly fast|1 1 1|sorted-set|1.2.0|Returns the score of a member.
        zunion|-3|readonly movablekeys|0 0 0|sorted-set|6.2.0|Returns the members of all sorted sets.
        zunionstore|-4|write denyoom movablekeys|1 1 1|sorted-set|2.0.0|Stores the union of sorted sets in a key.
        """

    static let handlers: [String: Handler] = members.merging(ranges) { first, _ in first }
        .merging(pops) { first, _ in first }.merging(algebra) { first, _ in first }

    private static let members: [String: Handler] = [
        "zadd": { (keys, call, reply) throws(CommandError) in try keys.zadd(call, isIncrement: false, &reply) },
        "zcard": { (keys, call, reply) throws(CommandError) in try keys.zcard(call, &reply) },
        "zincrby": { (keys, call, reply) throws(CommandError) in try keys.zadd(call, isIncrement: true, &reply) },
        "zmscore": { (keys, call, reply) throws(CommandError) in try keys.zmscore(call, &reply) },
        "zrandmember": { (keys, call, reply) throws(CommandError) in try keys.zrandmember(call, &reply) },
        "zrank": { (keys, call, reply) throws(CommandError) in try keys.zrank(call, reversed: false, &reply) },
        "zrem": { (keys, call, reply) throws(CommandError) in try keys.zrem(call, &reply) },
        "zrevrank": { (keys, call, reply) throws(CommandError) in try keys.zrank(call, reversed: true, &reply) },
        "zscan": { (keys, call, reply) throws(CommandError) in try keys.zscan(call, &reply) },
        "zscore": { (keys, call, reply) throws(CommandError) in try keys.zscore(call, &reply) },
    ]
}

/// ZADD's words before the scores.
private struct AddOptions {
    var onlyNew = false
    var onlyOld = false
    var onlyGreater = false
    var onlyLess = false
    var countsChanges = false
    var isIncrement: Bool
    /// Of the first score.
    var first = 2

    init(_ call: Call, isIncrement: Bool) throws(CommandError) {
        self.isIncrement = isIncrement
        words: while first < call.count {
            switch true {
            case call.isWord(first, "nx"): onlyNew = true
            case call.isWord(first, "xx"): onlyOld = true
            case call.isWord(first, "gt"): onlyGreater = true
            case call.isWord(first, "lt"): onlyLess = true
            case call.isWord(first, "ch"): countsChanges = true
            case call.isWord(first, "incr"): self.isIncrement = true
            default: break words
            }
            first += 1
        }
        let rest = call.count - first
        guard rest > 0, rest % 2 == 0 else { throw .syntax }
        if onlyNew, onlyOld { throw .message("ERR XX and NX options at the same time are not compatible") }
        if onlyGreater && onlyNew || onlyLess && onlyNew || onlyGreater && onlyLess {
            throw .message("ERR GT, LT, and/or NX options at the same time are not compatible")
        }
        if self.isIncrement, rest > 2 { throw .message("ERR INCR option supports a single increment-element pair") }
    }

    /// The score that the member shall have; nil when it stays as it is.
    func score(_ given: Double, old: Double?) throws(CommandError) -> Double? {
        guard let old else { return onlyOld ? nil : given }
        if onlyNew { return nil }
        let score = isIncrement ? old + given : given
        if score.isNaN { throw .message("ERR resulting score is not a number (NaN)") }
        if onlyLess, score >= old { return nil }
        if onlyGreater, score <= old { return nil }
        return score
    }
}

extension Keyspace {
    /// ZADD and ZINCRBY.
    mutating func zadd(_ call: Call, isIncrement: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try AddOptions(call, isIncrement: isIncrement)
        var given: [Double] = []
        given.reserveCapacity((call.count - options.first) / 2)
        for index in stride(from: options.first, to: call.count, by: 2) { given.append(try call.double(index)) }

        var added = 0
        var changed = 0
        var score: Double?
        _ = try modify(SortedSetValue.self, call, call[1], creating: !options.onlyOld) {
            (set, keys) throws(CommandError) in
            for (index, number) in given.enumerated() {
                let member = call[options.first + 2 * index + 1]
                score = try options.score(number, old: set.score(of: member))
                guard let score else { continue }
                switch set.set(member, score) {
                case .added: added += 1
                case .changed: changed += 1
                case .unchanged: break
                }
            }
            if added + changed > 0 { keys.touch(call.database, call[1]) }
        }
        if added + changed > 0 { notify(.sortedSet, options.isIncrement ? "zincr" : "zadd", call.database, call[1]) }
        if !options.isIncrement {
            reply.integer(options.countsChanges ? added + changed : added)
        } else if let score {
            reply.double(score)
        } else {
            reply.null()
        }
    }

    mutating func zrem(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let removed = try modify(SortedSetValue.self, call, call[1], creating: false) {
            (set, keys) throws(CommandError) in
            var removed = 0
            for member in call.arguments[2...] where set.remove(member) { removed += 1 }
            if removed > 0 {
                keys.touch(call.database, call[1])
                keys.notify(.sortedSet, "zrem", call.database, call[1])
            }
            return removed
        }
        reply.integer(removed ?? 0)
    }

    mutating func zcard(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        reply.integer(try lookUp(SortedSetValue.self, call.database, call[1])?.count ?? 0)
    }

    mutating func zscore(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let set = try lookUp(SortedSetValue.self, call.database, call[1])
        if let score = set?.score(of: call[2]) { reply.double(score) } else { reply.null() }
    }

    mutating func zmscore(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let set = try lookUp(SortedSetValue.self, call.database, call[1])
        reply.array(call.count - 2)
        for member in call.arguments[2...] {
            if let score = set?.score(of: member) { reply.double(score) } else { reply.null() }
        }
    }

    mutating func zrank(_ call: Call, reversed: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        if call.count > 4 {
            throw .message("ERR wrong number of arguments for '\(reversed ? "zrevrank" : "zrank")' command")
        }
        let withScore = call.count == 4
        if withScore, !call.isWord(3, "withscore") { throw .syntax }
        guard let set = try lookUp(SortedSetValue.self, call.database, call[1]), let score = set.score(of: call[2])
        else {
            if withScore { reply.nullArray() } else { reply.null() }
            return
        }
        let rank = set.rows.rank(of: SortedRows.Row(score: score, member: call[2]))
        if withScore { reply.array(2) }
        reply.integer(reversed ? set.count - 1 - rank : rank)
        if withScore { reply.double(score) }
    }

    mutating func zscan(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let cursor = try MemberScan.cursor(of: call[2])
        guard let set = try lookUp(SortedSetValue.self, call.database, call[1]) else {
            return MemberScan.writeNothing(&reply)
        }
        let scan = try MemberScan(call, cursor: cursor)
        var next: UInt64 = 0
        var found: [SortedRows.Row] = []
        if set.count <= configuration.zsetMaxListpackEntries {
            // A small one comes at once and in order, as Redis gives it.
            try set.rows.forEach(0..<set.count) { (row) throws(CommandError) in
                if scan.matches(row.member) { found.append(row) }
            }
        } else {
            next = set.scores.scan(cursor, scan.wanted) { slot in
                let member = set.scores.key(at: slot)
                if scan.matches(member) { found.append(SortedRows.Row(score: set.scores[slot], member: member)) }
            }
        }
        reply.array(2)
        reply.bulk(String(next))
        reply.array(found.count * 2)
        for row in found {
            reply.bulk(row.member)
            // Plus 0, because Redis shows -0 as 0 here.
            reply.bulk(Decimal.text(of: row.score + 0))
        }
    }

    mutating func zrandmember(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard call.count > 2 else {
            guard let set = try lookUp(SortedSetValue.self, call.database, call[1]) else { return reply.null() }
            return reply.bulk(set.scores.key(at: set.scores.randomSlot(&random)))
        }
        let count = try call.randomCount(2)
        let withScores = call.count > 3
        if withScores, call.count > 4 || !call.isWord(3, "withscores") { throw .syntax }
        if withScores, count.magnitude > Int64.max / 2 { throw .message("ERR value is out of range") }
        guard let set = try lookUp(SortedSetValue.self, call.database, call[1]), count != 0 else {
            return reply.array(0)
        }
        if count > 0 {
            let places = distinct(Int(count), below: set.count)
            beginRows(places.count, withScores: withScores, &reply)
            for place in places { write(set.scores, Int32(place), withScores: withScores, &reply) }
        } else {
            let mark = reply.count
            beginRows(Int(count.magnitude), withScores: withScores, &reply)
            for _ in 0..<count.magnitude {
                write(set.scores, set.scores.randomSlot(&random), withScores: withScores, &reply)
                try checkLength(reply, from: mark)
            }
        }
    }

    private func write(_ scores: KeyTable<Double>, _ slot: Int32, withScores: Bool, _ reply: inout RESPWriter) {
        let row = SortedRows.Row(score: scores[slot], member: scores.key(at: slot))
        write(row, withScores: withScores, &reply)
    }

    // MARK: Rows

    /// The header of rows; with scores each row is an array of its own in RESP3.
    func beginRows(_ count: Int, withScores: Bool, _ reply: inout RESPWriter) {
        reply.array(withScores && !reply.isRESP3 ? count * 2 : count)
    }

    func write(_ row: SortedRows.Row, withScores: Bool, _ reply: inout RESPWriter) {
        if withScores, reply.isRESP3 { reply.array(2) }
        reply.bulk(row.member)
        if withScores { reply.double(row.score) }
    }
}
