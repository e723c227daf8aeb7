import Primitives
import RESP

extension SortedSetCommands {
    static let pops: [String: Handler] = [
        "bzmpop": { (keys, call, reply) throws(CommandError) in try keys.bzmpop(call, &reply) },
        "bzpopmax": { (keys, call, reply) throws(CommandError) in try keys.bzpop(call, .max, &reply) },
        "bzpopmin": { (keys, call, reply) throws(CommandError) in try keys.bzpop(call, .min, &reply) },
        "zmpop": { (keys, call, reply) throws(CommandError) in try keys.zmpop(call, &reply) },
        "zpopmax": { (keys, call, reply) throws(CommandError) in try keys.zpop(call, .max, &reply) },
        "zpopmin": { (keys, call, reply) throws(CommandError) in try keys.zpop(call, .min, &reply) },
    ]
}

/// Where ZPOPMIN and its kin take from.
enum SortedSetEnd {
    case min
    case max
}

/// `numkeys key… MIN|MAX [COUNT count]`
private struct MultiPop {
    var keys: ArraySlice<[UInt8]>
    var end: SortedSetEnd
    var count: Int64 = 1

    init(_ call: Call, first: Int) throws(CommandError) {
        let keyCount = try call.integer(first, in: 1...Int64.max, else: "numkeys should be greater than 0")
        guard keyCount < call.count - first - 1 else { throw .syntax }
        var index = first + 1 + Int(keyCount)
        keys = call.arguments[(first + 1)..<index]
        if call.isWord(index, "min") {
            end = .min
        } else if call.isWord(index, "max") {
            end = .max
        } else {
            throw .syntax
        }
        index += 1
        if index == call.count { return }
        guard call.isWord(index, "count"), index + 1 < call.count else { throw .syntax }
        count = try call.integer(index + 1, in: 1...Int64.max, else: "count should be greater than 0")
        if index + 2 < call.count { throw .syntax }
    }
}

extension Keyspace {
    /// The first of the keys that holds a sorted set. Who waits does so for a sorted set: other types do not concern
    /// it.
    private func firstSortedSet(_ keys: ArraySlice<[UInt8]>, _ call: Call) throws(CommandError) -> [UInt8]? {
        for key in keys {
            guard let value = peek(call.database, key) else { continue }
            if case .sortedSet = value { return key }
            if !call.isRetry { throw .wrongType }
        }
        return nil
    }

    /// Removes up to `count` rows from an end, the outermost first.
    private mutating func popRows(
        _ call: Call,
        _ key: [UInt8],
        _ end: SortedSetEnd,
        _ count: Int64
    ) throws(CommandError) -> [SortedRows.Row] {
        let rows = try modify(SortedSetValue.self, call, key, creating: false) { (set, keys) throws(CommandError) in
            let taken = Int(min(count, Int64(set.count)))
            let low = end == .min ? 0 : set.count - taken
            let rows = set.remove(ranks: low..<(low + taken))
            keys.touch(call.database, key)
            keys.notify(.sortedSet, end == .min ? "zpopmin" : "zpopmax", call.database, key)
            return end == .min ? rows : rows.reversed()
        }
        return rows ?? []
    }

    mutating func zpop(_ call: Call, _ end: SortedSetEnd, _ reply: inout RESPWriter) throws(CommandError) {
        if call.count > 3 { throw .syntax }
        let hasCount = call.count == 3
        let count = hasCount ? try call.integer(2, in: 0...Int64.max, else: Call.positive) : 1
        guard let key = try firstSortedSet(call.arguments[1...1], call), count > 0 else { return reply.array(0) }
        let rows = try popRows(call, key, end, count)
        // Without a count RESP3 has the two values side by side too.
        if hasCount { beginRows(rows.count, withScores: true, &reply) } else { reply.array(2) }
        for row in rows {
            if hasCount, reply.isRESP3 { reply.array(2) }
            reply.bulk(row.member)
            reply.double(row.score)
        }
    }

    mutating func bzpop(_ call: Call, _ end: SortedSetEnd, _ reply: inout RESPWriter) throws(CommandError) {
        let deadline = try blockDeadline(seconds: call[call.count - 1])
        let names = call.arguments[1..<(call.count - 1)]
        guard let key = try firstSortedSet(names, call) else {
            return try block(call, at: Array(names), until: deadline, onTimeout: .nullArray, &reply)
        }
        reply.array(3)
        reply.bulk(key)
        for row in try popRows(call, key, end, 1) {
            reply.bulk(row.member)
            reply.double(row.score)
        }
    }

    mutating func zmpop(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let pop = try MultiPop(call, first: 1)
        if try !popFirst(call, pop, &reply) { reply.nullArray() }
    }

    mutating func bzmpop(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let pop = try MultiPop(call, first: 2)
        let deadline = try blockDeadline(seconds: call[1])
        if try popFirst(call, pop, &reply) { return }
        try block(call, at: Array(pop.keys), until: deadline, onTimeout: .nullArray, &reply)
    }

    private mutating func popFirst(
        _ call: Call,
        _ pop: MultiPop,
        _ reply: inout RESPWriter
    ) throws(CommandError) -> Bool {
        guard let key = try firstSortedSet(pop.keys, call) else { return false }
        let rows = try popRows(call, key, pop.end, pop.count)
        reply.array(2)
        reply.bulk(key)
        reply.array(rows.count)
        for row in rows {
            reply.array(2)
            reply.bulk(row.member)
            reply.double(row.score)
        }
        return true
    }
}
