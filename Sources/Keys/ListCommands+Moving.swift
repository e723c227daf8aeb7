import Primitives
import RESP

/// Moves between lists, pops of several lists, and those that wait.
extension Keyspace {
    /// LEFT or RIGHT.
    private static func end(_ call: Call, _ index: Int) throws(CommandError) -> ListValue.End {
        if call.isWord(index, "left") { return .head }
        if call.isWord(index, "right") { return .tail }
        throw .syntax
    }

    // MARK: Moves

    mutating func lmove(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        try lmove(call, try Keyspace.end(call, 3), try Keyspace.end(call, 4), &reply)
    }

    mutating func lmove(
        _ call: Call,
        _ from: ListValue.End,
        _ to: ListValue.End,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        guard let element = try moveElement(call, from, to) else { return reply.null() }
        reply.bulk(element)
    }

    mutating func blmove(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let from = try Keyspace.end(call, 3)
        let to = try Keyspace.end(call, 4)
        let deadline = try blockDeadline(seconds: call[5])
        try blockingMove(call, from, to, until: deadline, &reply)
    }

    mutating func blockingMove(
        _ call: Call,
        _ from: ListValue.End,
        _ to: ListValue.End,
        until deadline: Int64,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        if let element = try moveElement(call, from, to) { return reply.bulk(element) }
        // Where it must not wait it answers as LMOVE does; when its time is up, as BLPOP does.
        if call.waiter == nil { return reply.null() }
        try block(call, at: [call[1]], for: "list", until: deadline, onTimeout: .nullArray, &reply)
    }

    /// Takes an element from the list at the first key and puts it into the one at the second; nil when there is none.
    private mutating func moveElement(
        _ call: Call,
        _ from: ListValue.End,
        _ to: ListValue.End
    ) throws(CommandError) -> [UInt8]? {
        let source = call[1]
        let destination = call[2]
        let isRotation = source == destination
        // The destination counts only when there is something to move.
        if let held = peek(call.database, source)?.typeName {
            let waiting = peek(call.database, destination)?.typeName ?? "list"
            guard held == "list", waiting == "list" else { throw .wrongType }
        }
        return try modify(ListValue.self, call, source, creating: false) { (list, keys) throws(CommandError) in
            guard let element = list.pop(from) else { return nil }
            if isRotation {
                list.push(element, to)
            } else {
                _ = try keys.modify(ListValue.self, call, destination, creating: true) { list, _ in
                    list.push(element, to)
                }
                keys.touch(call.database, destination)
            }
            keys.notify(.list, to.pushEvent, call.database, destination)
            keys.notify(.list, from.popEvent, call.database, source)
            keys.touch(call.database, source)
            return element
        } ?? nil
    }

    // MARK: Pops of several keys

    mutating func blockingPop(
        _ call: Call,
        _ end: ListValue.End,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let deadline = try blockDeadline(seconds: call[call.count - 1])
        let names = Array(call.arguments[1..<(call.count - 1)])
        for key in names {
            guard let element = try popElement(call, key, end) else { continue }
            reply.array(2)
            reply.bulk(key)
            return reply.bulk(element)
        }
        try block(call, at: names, for: "list", until: deadline, onTimeout: .nullArray, &reply)
    }

    /// What LMPOP and BLMPOP have in common: `numkeys key [key …] LEFT|RIGHT [COUNT count]`.
    private struct MultiplePop {
        var keys: [[UInt8]]
        var end: ListValue.End
        var count: Int64 = 1

        init(_ call: Call, from index: Int) throws(CommandError) {
            let number = try call.integer(index, in: 1...Int64.max, else: "numkeys should be greater than 0")
            guard number < Int64(call.count - index - 1) else { throw .syntax }
            let word = index + 1 + Int(number)
            keys = Array(call.arguments[(index + 1)..<word])
            end = try Keyspace.end(call, word)
            if call.count == word + 1 { return }
            guard call.count >= word + 3, call.isWord(word + 1, "count") else { throw .syntax }
            count = try call.integer(word + 2, in: 1...Int64.max, else: "count should be greater than 0")
            if call.count > word + 3 { throw .syntax }
        }
    }

    mutating func lmpop(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let pop = try MultiplePop(call, from: 1)
        if try !popFirst(call, pop, &reply) { reply.nullArray() }
    }

    mutating func blmpop(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let pop = try MultiplePop(call, from: 2)
        let deadline = try blockDeadline(seconds: call[1])
        if try popFirst(call, pop, &reply) { return }
        try block(call, at: pop.keys, for: "list", until: deadline, onTimeout: .nullArray, &reply)
    }

    /// Pops from the first key that has a list; false when none has.
    private mutating func popFirst(
        _ call: Call,
        _ pop: MultiplePop,
        _ reply: inout RESPWriter
    ) throws(CommandError) -> Bool {
        for key in pop.keys {
            if try popElements(call, key, pop.count, pop.end, withKey: true, &reply) { return true }
        }
        return false
    }
}
