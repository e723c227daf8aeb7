import Primitives
import RESP

/// Lists. Source: https://redis.io/docs/latest/commands/?group=list and t_list.c of Redis 7.0.
enum ListCommands {
    static let table = """
        lpush|-3|write denyoom fast|1 1 1|list|1.0.0|Prepends one or more elements to a list.
        rpush|-3|write denyoom fast|1 1 1|list|1.0.0|Appends one or more elements to a list.
        lpushx|-3|write denyoom fast|1 1 1|list|2.2.0|Prepends one or more elements to a list that exists.
        rpushx|-3|write denyoom fast|1 1 1|list|2.2.0|Appends one or more elements to a list that exists.
        lpop|-2|write fast|1 1 1|list|1.0.0|Removes and returns the first elements of a list.
        rpop|-2|write fast|1 1 1|list|1.0.0|Removes and returns the last elements of a list.
        llen|2|readonly fast|1 1 1|list|1.0.0|Returns the length of a list.
        lrange|4|readonly|1 1 1|list|1.0.0|Returns a range of elements of a list.
        lindex|3|readonly|1 1 1|list|1.0.0|Returns an element of a list by its index.
        lset|4|write denyoom|1 1 1|list|1.0.0|Sets an element of a list by its index.
        lrem|4|write|1 1 1|list|1.0.0|Removes elements that equal a value from a list.
        ltrim|4|write|1 1 1|list|1.0.0|Removes all elements of a list but a range.
        linsert|5|write denyoom|1 1 1|list|2.2.0|Inserts an element before or after another one of a list.
        lpos|-3|readonly|1 1 1|list|6.0.6|Returns the indexes of elements of a list that equal a value.
        lmove|5|write denyoom|1 2 1|list|6.2.0|Moves an element from an end of a list to an end of another.
        rpoplpush|3|write denyoom|1 2 1|list|1.2.0|Moves the last element of a list to the head of another.
        lmpop|-4|write movablekeys|0 0 0|list|7.0.0|Removes and returns elements of the first list that has some.
        blpop|-3|write noscript blocking|1 -2 1|list|2.0.0|LPOP of the first list that has elements, or waits.
        brpop|-3|write noscript blocking|1 -2 1|list|2.0.0|RPOP of the first list that has elements, or waits.
        blmove|6|write denyoom noscript blocking|1 2 1|list|6.2.0|LMOVE, or waits for an element.
        brpoplpush|4|write denyoom noscript blocking|1 2 1|list|2.2.0|RPOPLPUSH, or waits for an element.
        blmpop|-5|write blocking movablekeys|0 0 0|list|7.0.0|LMPOP, or waits for an element.
        """

    static let handlers: [String: Handler] = [
        "lpush": { (keys, call, reply) throws(CommandError) in try keys.push(call, .head, creating: true, &reply) },
        "rpush": { (keys, call, reply) throws(CommandError) in try keys.push(call, .tail, creating: true, &reply) },
        "lpushx": { (keys, call, reply) throws(CommandError) in try keys.push(call, .head, creating: false, &reply) },
        "rpushx": { (keys, call, reply) throws(CommandError) in try keys.push(call, .tail, creating: false, &reply) },
        "lpop": { (keys, call, reply) throws(CommandError) in try keys.pop(call, .head, &reply) },
        "rpop": { (keys, call, reply) throws(CommandError) in try keys.pop(call, .tail, &reply) },
        "llen": { (keys, call, reply) throws(CommandError) in try keys.llen(call, &reply) },
        "lrange": { (keys, call, reply) throws(CommandError) in try keys.lrange(call, &reply) },
        "lindex": { (keys, call, reply) throws(CommandError) in try keys.lindex(call, &reply) },
        "lset": { (keys, call, reply) throws(CommandError) in try keys.lset(call, &reply) },
        "lrem": { (keys, call, reply) throws(CommandError) in try keys.lrem(call, &reply) },
        "ltrim": { (keys, call, reply) throws(CommandError) in try keys.ltrim(call, &reply) },
        "linsert": { (keys, call, reply) throws(CommandError) in try keys.linsert(call, &reply) },
        "lpos": { (keys, call, reply) throws(CommandError) in try keys.lpos(call, &reply) },
        "lmove": { (keys, call, reply) throws(CommandError) in try keys.lmove(call, &reply) },
        "rpoplpush": { (keys, call, reply) throws(CommandError) in try keys.lmove(call, .tail, .head, &reply) },
        "lmpop": { (keys, call, reply) throws(CommandError) in try keys.lmpop(call, &reply) },
        "blpop": { (keys, call, reply) throws(CommandError) in try keys.blockingPop(call, .head, &reply) },
        "brpop": { (keys, call, reply) throws(CommandError) in try keys.blockingPop(call, .tail, &reply) },
        "blmove": { (keys, call, reply) throws(CommandError) in try keys.blmove(call, &reply) },
        "brpoplpush": { (keys, call, reply) throws(CommandError) in
            let deadline = try keys.blockDeadline(seconds: call[3])
            try keys.blockingMove(call, .tail, .head, until: deadline, &reply)
        },
        "blmpop": { (keys, call, reply) throws(CommandError) in try keys.blmpop(call, &reply) },
    ]
}

extension Keyspace {
    // MARK: Ends

    mutating func push(
        _ call: Call,
        _ end: ListValue.End,
        creating: Bool,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let length = try modify(ListValue.self, call, call[1], creating: creating) { list, _ in
            for element in call.arguments[2...] { list.push(element, end) }
            return list.count
        }
        guard let length else { return reply.integer(0) }
        touch(call.database, call[1])
        notify(.list, end.pushEvent, call.database, call[1])
        reply.integer(length)
    }

    mutating func pop(_ call: Call, _ end: ListValue.End, _ reply: inout RESPWriter) throws(CommandError) {
        if call.count > 3 {
            let name = end.popEvent
            throw .message("ERR wrong number of arguments for '\(name)' command")
        }
        guard call.count == 3 else {
            guard let element = try popElement(call, call[1], end) else { return reply.null() }
            return reply.bulk(element)
        }
        let count = try call.integer(2, in: 0...Int64.max, else: "value is out of range, must be positive")
        guard try popElements(call, call[1], count, end, &reply) else { return reply.nullArray() }
    }

    /// Takes an element from a list; nil when there is none.
    mutating func popElement(
        _ call: Call,
        _ key: [UInt8],
        _ end: ListValue.End
    ) throws(CommandError) -> [UInt8]? {
        try modify(ListValue.self, call, key, creating: false) { list, keys in
            let element = list.pop(end)
            keys.notify(.list, end.popEvent, call.database, key)
            keys.touch(call.database, key)
            return element
        } ?? nil
    }

    /// Takes up to `count` elements from a list and writes them as an array, after the key's name if wanted; false when
    /// there is no list.
    mutating func popElements(
        _ call: Call,
        _ key: [UInt8],
        _ count: Int64,
        _ end: ListValue.End,
        withKey: Bool = false,
        _ reply: inout RESPWriter
    ) throws(CommandError) -> Bool {
        let isThere = try modify(ListValue.self, call, key, creating: false) { list, keys in
            if withKey {
                reply.array(2)
                reply.bulk(key)
            }
            let amount = Int(min(count, Int64(list.count)))
            reply.array(amount)
            if amount == 0 { return true }
            switch end {
            case .head: for element in list.elements.prefix(amount) { reply.bulk(element) }
            case .tail: for element in list.elements.suffix(amount).reversed() { reply.bulk(element) }
            }
            list.drop(amount, end)
            keys.notify(.list, end.popEvent, call.database, key)
            keys.touch(call.database, key)
            return true
        }
        return isThere != nil
    }

    // MARK: Reading

    mutating func llen(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        reply.integer(try lookUp(ListValue.self, call.database, call[1])?.count ?? 0)
    }

    mutating func lrange(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let start = try call.integer(2)
        let stop = try call.integer(3)
        guard let list = try lookUp(ListValue.self, call.database, call[1]) else { return reply.array(0) }
        let range = list.range(start, stop)
        reply.array(range.count)
        for element in list.elements[range] { reply.bulk(element) }
    }

    mutating func lindex(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let list = try lookUp(ListValue.self, call.database, call[1]) else { return reply.null() }
        guard let place = list.place(of: try call.integer(2)) else { return reply.null() }
        reply.bulk(list[place])
    }

    mutating func lpos(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        var rank: Int64 = 1
        var count: Int64?
        var steps: Int64 = 0
        var index = 3
        while index < call.count {
            guard index + 1 < call.count else { throw .syntax }
            if call.isWord(index, "rank") {
                rank = try call.integer(index + 1)
                if rank == 0 {
                    throw .message(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                            + "or use negative to start from the end of the list"
                    )
                }
                // As in Redis 7.2; 7.0 negates it.
                if rank == Int64.min {
                    throw .message("ERR value is out of range, value must between \(-Int64.max) and \(Int64.max)")
                }
            } else if call.isWord(index, "count") {
                count = try call.integer(index + 1, in: 0...Int64.max, else: "COUNT can't be negative")
            } else if call.isWord(index, "maxlen") {
                steps = try call.integer(index + 1, in: 0...Int64.max, else: "MAXLEN can't be negative")
            } else {
                throw .syntax
            }
            index += 2
        }
        guard let list = try lookUp(ListValue.self, call.database, call[1]) else {
            return count == nil ? reply.null() : reply.array(0)
        }
        let walk = steps == 0 ? list.count : Int(min(steps, Int64(list.count)))
        let wanted = count ?? 1
        var toSkip = rank.magnitude - 1
        var matches: [Int] = []
        for step in 0..<walk {
            let place = rank > 0 ? step : list.count - 1 - step
            guard list[place] == call[2] else { continue }
            if toSkip > 0 {
                toSkip -= 1
                continue
            }
            matches.append(place)
            if wanted != 0, matches.count == wanted { break }
        }
        if count != nil {
            reply.array(matches.count)
            for place in matches { reply.integer(place) }
        } else if let place = matches.first {
            reply.integer(place)
        } else {
            reply.null()
        }
    }

    // MARK: Change in the middle

    mutating func lset(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isSet = try modify(ListValue.self, call, call[1], creating: false) { (list, _) throws(CommandError) in
            guard let place = list.place(of: try call.integer(2)) else { throw .message("ERR index out of range") }
            list.replace(at: place, with: call[3])
            return true
        }
        guard isSet != nil else { throw .noSuchKey }
        touch(call.database, call[1])
        notify(.list, "lset", call.database, call[1])
        reply.ok()
    }

    mutating func lrem(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let count = try call.integer(2)
        // 0: all of them.
        let limit = count == 0 ? Int.max : Int(clamping: count.magnitude)
        let removed = try modify(ListValue.self, call, call[1], creating: false) { list, keys in
            let removed = list.removeAll(call[3], limit: limit, from: count < 0 ? .tail : .head)
            if removed > 0 {
                keys.touch(call.database, call[1])
                keys.notify(.list, "lrem", call.database, call[1])
            }
            return removed
        }
        reply.integer(removed ?? 0)
    }

    mutating func ltrim(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let start = try call.integer(2)
        let stop = try call.integer(3)
        _ = try modify(ListValue.self, call, call[1], creating: false) { list, keys in
            let range = list.range(start, stop)
            list.drop(list.count - range.upperBound, .tail)
            list.drop(range.lowerBound, .head)
            keys.touch(call.database, call[1])
            keys.notify(.list, "ltrim", call.database, call[1])
        }
        reply.ok()
    }

    mutating func linsert(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isAfter = call.isWord(2, "after")
        guard isAfter || call.isWord(2, "before") else { throw .syntax }
        let length = try modify(ListValue.self, call, call[1], creating: false) { list, keys in
            guard let pivot = list.elements.firstIndex(of: call[3]) else { return -1 }
            list.insert(call[4], at: isAfter ? pivot + 1 : pivot)
            keys.touch(call.database, call[1])
            keys.notify(.list, "linsert", call.database, call[1])
            return list.count
        }
        reply.integer(length ?? 0)
    }
}

extension Call {
    /// An integer in `range`; anything else is an error of the given words.
    func integer(_ index: Int, in range: ClosedRange<Int64>, else text: String) throws(CommandError) -> Int64 {
        if let value = Decimal.integer(arguments[index]), range.contains(value) { return value }
        throw .message("ERR \(text)")
    }
}
