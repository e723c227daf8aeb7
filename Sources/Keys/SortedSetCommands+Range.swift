import Primitives
import RESP

extension SortedSetCommands {
    static let ranges: [String: Handler] = [
        "zcount": { (keys, call, reply) throws(CommandError) in try keys.zcount(call, .score, &reply) },
        "zlexcount": { (keys, call, reply) throws(CommandError) in try keys.zcount(call, .lex, &reply) },
        "zrange": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, nil, nil), &reply)
        },
        "zrangebylex": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, .lex, false), &reply)
        },
        "zrangebyscore": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, .score, false), &reply)
        },
        "zrangestore": { (keys, call, reply) throws(CommandError) in
            try keys.zrangestore(call, RangeOptions(call, first: 2, nil, nil), &reply)
        },
        "zrevrange": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, .rank, true), &reply)
        },
        "zrevrangebylex": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, .lex, true), &reply)
        },
        "zrevrangebyscore": { (keys, call, reply) throws(CommandError) in
            try keys.zrange(call, RangeOptions(call, first: 1, .score, true), &reply)
        },
        "zremrangebylex": { (keys, call, reply) throws(CommandError) in
            try keys.zremrange(call, .lex, "zremrangebylex", &reply)
        },
        "zremrangebyrank": { (keys, call, reply) throws(CommandError) in
            try keys.zremrange(call, .rank, "zremrangebyrank", &reply)
        },
        "zremrangebyscore": { (keys, call, reply) throws(CommandError) in
            try keys.zremrange(call, .score, "zremrangebyscore", &reply)
        },
    ]
}

/// What ZRANGE and its older kin ask for.
struct RangeOptions {
    var range: SortedSetRange
    var reversed: Bool
    var withScores = false
    private var offset: Int64 = 0
    private var limit: Int64 = -1

    /// `first` is the key's place, whose bounds follow. ZRANGE and ZRANGESTORE leave kind and direction to options.
    init(_ call: Call, first: Int, _ kind: SortedSetRange.Kind?, _ reversed: Bool?) throws(CommandError) {
        var kind = kind
        var direction = reversed
        let isStore = first == 2
        var index = first + 3
        while index < call.count {
            if !isStore, call.isWord(index, "withscores") {
                withScores = true
            } else if call.isWord(index, "limit"), index + 2 < call.count {
                offset = try call.integer(index + 1)
                limit = try call.integer(index + 2)
                index += 2
            } else if direction == nil, call.isWord(index, "rev") {
                direction = true
            } else if kind == nil, call.isWord(index, "bylex") {
                kind = .lex
            } else if kind == nil, call.isWord(index, "byscore") {
                kind = .score
            } else {
                throw .syntax
            }
            index += 1
        }
        let known = kind ?? .rank
        if limit != -1, known == .rank {
            throw .message(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
            )
        }
        if withScores, known == .lex {
            throw .message("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
        }
        self.reversed = direction ?? false
        // Reversed scores and members are given from the highest to the lowest.
        let swaps = self.reversed && known != .rank
        range = try SortedSetRange(known, call, min: first + (swaps ? 2 : 1), max: first + (swaps ? 1 : 2))
    }

    func ranks(in rows: SortedRows) -> Range<Int> {
        let ranks = range.ranks(in: rows)
        if case .rank = range {
            // Ranks of a reversed range count from the highest.
            return reversed ? (rows.count - ranks.upperBound)..<(rows.count - ranks.lowerBound) : ranks
        }
        guard offset >= 0, offset < ranks.count else { return 0..<0 }
        let left = ranks.count - Int(offset)
        let count = limit < 0 ? left : min(left, Int(limit))
        let start = reversed ? ranks.upperBound - Int(offset) - count : ranks.lowerBound + Int(offset)
        return start..<(start + count)
    }
}

extension Keyspace {
    mutating func zrange(_ call: Call, _ options: RangeOptions, _ reply: inout RESPWriter) throws(CommandError) {
        guard let set = try lookUp(SortedSetValue.self, call.database, call[1]) else { return reply.array(0) }
        let ranks = options.ranks(in: set.rows)
        beginRows(ranks.count, withScores: options.withScores, &reply)
        try set.rows.forEach(ranks, reversed: options.reversed) { (row) throws(CommandError) in
            write(row, withScores: options.withScores, &reply)
        }
    }

    mutating func zrangestore(
        _ call: Call,
        _ options: RangeOptions,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        var scores = makeContainer(SortedSetValue.self).scores
        if let set = try lookUp(SortedSetValue.self, call.database, call[2]) {
            try set.rows.forEach(options.ranks(in: set.rows)) { (row) throws(CommandError) in
                scores.insert(row.member, row.score)
            }
        }
        storeResult(call, call[1], SortedSetValue(scores), .sortedSet, "zrangestore")
        reply.integer(scores.count)
    }

    mutating func zcount(
        _ call: Call,
        _ kind: SortedSetRange.Kind,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let range = try SortedSetRange(kind, call, min: 2, max: 3)
        let set = try lookUp(SortedSetValue.self, call.database, call[1])
        reply.integer(set.map { range.ranks(in: $0.rows).count } ?? 0)
    }

    mutating func zremrange(
        _ call: Call,
        _ kind: SortedSetRange.Kind,
        _ event: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let range = try SortedSetRange(kind, call, min: 2, max: 3)
        let removed = try modify(SortedSetValue.self, call, call[1], creating: false) {
            (set, keys) throws(CommandError) in
            let removed = set.remove(ranks: range.ranks(in: set.rows)).count
            if removed > 0 {
                keys.touch(call.database, call[1])
                keys.notify(.sortedSet, event, call.database, call[1])
            }
            return removed
        }
        reply.integer(removed ?? 0)
    }
}
