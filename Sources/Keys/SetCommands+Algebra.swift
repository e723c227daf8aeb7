import Primitives
import RESP

/// Union, intersection and difference of sets.
enum SetOperation {
    case union
    case intersection
    case difference
}

extension Keyspace {
    mutating func setAlgebra(
        _ call: Call,
        _ operation: SetOperation,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let members = try combine(call, operation, call.arguments[1...])
        reply.set(members.count)
        for member in members { reply.bulk(member) }
    }

    mutating func setAlgebraStore(
        _ call: Call,
        _ operation: SetOperation,
        _ event: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let members = try combine(call, operation, call.arguments[2...])
        var result = makeContainer(SetValue.self)
        for member in members { _ = result.insert(member, integersMax: configuration.setMaxIntsetEntries) }
        storeResult(call, call[1], result, .set, event)
        reply.integer(members.count)
    }

    /// The members of the result. Every key's type is checked, also where the result is known to be empty.
    private mutating func combine(
        _ call: Call,
        _ operation: SetOperation,
        _ names: ArraySlice<[UInt8]>
    ) throws(CommandError) -> [[UInt8]] {
        var sets: [SetValue?] = []
        for name in names { sets.append(try lookUp(SetValue.self, call.database, name)) }
        switch operation {
        case .union:
            var seen = makeContainer(SetValue.self)
            for set in sets {
                for member in set?.all ?? [] {
                    _ = seen.insert(member, integersMax: configuration.setMaxIntsetEntries)
                }
            }
            return seen.all
        case .intersection:
            return Keyspace.intersection(sets, limit: .max)
        case .difference:
            guard let first = sets[0] else { return [] }
            let others = sets.dropFirst().compactMap { $0 }
            return first.all.filter { member in !others.contains { $0.contains(member) } }
        }
    }

    /// A missing set is empty. Walks over the smallest set, and asks the next larger ones first.
    private static func intersection(_ sets: [SetValue?], limit: Int) -> [[UInt8]] {
        let present = sets.compactMap { $0 }
        guard present.count == sets.count else { return [] }
        let bySize = present.indices.sorted {
            present[$0].count != present[$1].count ? present[$0].count < present[$1].count : $0 < $1
        }
        .map { present[$0] }
        var members: [[UInt8]] = []
        for member in bySize[0].all where bySize.dropFirst().allSatisfy({ $0.contains(member) }) {
            members.append(member)
            if members.count == limit { break }
        }
        return members
    }

    mutating func sintercard(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let count = try call.integer(1, in: 1...Int64.max, else: "numkeys should be greater than 0")
        guard count <= call.count - 2 else {
            throw .message("ERR Number of keys can't be greater than number of args")
        }
        var limit: Int64 = 0
        var index = 2 + Int(count)
        while index < call.count {
            guard call.isWord(index, "limit"), index + 1 < call.count else { throw .syntax }
            limit = try call.integer(index + 1, in: 0...Int64.max, else: "LIMIT can't be negative")
            index += 2
        }
        var sets: [SetValue?] = []
        for name in call.arguments[2..<(2 + Int(count))] {
            sets.append(try lookUp(SetValue.self, call.database, name))
        }
        reply.integer(Keyspace.intersection(sets, limit: limit == 0 ? .max : Int(limit)).count)
    }
}
