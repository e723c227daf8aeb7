import Primitives
import RESP

extension SortedSetCommands {
    static let algebra: [String: Handler] = [
        "zdiff": { (keys, call, reply) throws(CommandError) in
            try keys.zalgebra(call, .difference, "zdiff", &reply)
        },
        "zdiffstore": { (keys, call, reply) throws(CommandError) in
            try keys.zalgebraStore(call, .difference, "zdiffstore", &reply)
        },
        "zinter": { (keys, call, reply) throws(CommandError) in
            try keys.zalgebra(call, .intersection, "zinter", &reply)
        },
        "zintercard": { (keys, call, reply) throws(CommandError) in try keys.zintercard(call, &reply) },
        "zinterstore": { (keys, call, reply) throws(CommandError) in
            try keys.zalgebraStore(call, .intersection, "zinterstore", &reply)
        },
        "zunion": { (keys, call, reply) throws(CommandError) in try keys.zalgebra(call, .union, "zunion", &reply) },
        "zunionstore": { (keys, call, reply) throws(CommandError) in
            try keys.zalgebraStore(call, .union, "zunionstore", &reply)
        },
    ]
}

/// A set in a union: sorted, or not, where every score is 1.
private enum ScoredSet {
    case none
    case sorted(SortedSetValue)
    case plain(SetValue)

    var count: Int {
        switch self {
        case .none: 0
        case .sorted(let set): set.count
        case .plain(let set): set.count
        }
    }

    func score(of member: [UInt8]) -> Double? {
        switch self {
        case .none: nil
        case .sorted(let set): set.score(of: member)
        case .plain(let set): set.contains(member) ? 1 : nil
        }
    }

    /// Stops when `body` returns false.
    func forEach(_ body: ([UInt8], Double) -> Bool) {
        switch self {
        case .none: break
        case .sorted(let set): set.scores.forEach { _, member, score in body(member, score) }
        case .plain(let set): for member in set.all { guard body(member, 1) else { return } }
        }
    }
}

private struct SortedSetAlgebra {
    enum Aggregate {
        case sum
        case min
        case max

        /// Infinity less infinity is 0.
        func callAsFunction(_ a: Double, _ b: Double) -> Double {
            switch self {
            case .sum: (a + b).isNaN ? 0 : a + b
            case .min: b < a ? b : a
            case .max: b > a ? b : a
            }
        }
    }

    struct Input {
        var set: ScoredSet
        var weight = 1.0

        /// 0 times infinity is 0.
        func weighted(_ score: Double) -> Double { (score * weight).isNaN ? 0 : score * weight }
    }

    var operation: SetOperation
    var inputs: [Input]
    var aggregate = Aggregate.sum
    var withScores = false
    var limit = Int.max

    /// From the smallest set, so that an intersection asks few questions; scores are added up in this order.
    mutating func sortBySize() {
        let order = inputs.indices.sorted {
            let (a, b) = (inputs[$0].set.count, inputs[$1].set.count)
            return a != b ? a < b : $0 < $1
        }
        inputs = order.map { inputs[$0] }
    }

    /// Fills an empty table.
    func run(into scores: inout KeyTable<Double>) {
        switch operation {
        case .union:
            for input in inputs {
                input.set.forEach { member, score in
                    let weighted = input.weighted(score)
                    if let slot = scores.find(member) {
                        scores[slot] = aggregate(scores[slot], weighted)
                    } else {
                        scores.insert(member, weighted)
                    }
                    return true
                }
            }
        case .intersection:
            inputs[0].set.forEach { member, score in
                var result = inputs[0].weighted(score)
                for input in inputs.dropFirst() {
                    guard let other = input.set.score(of: member) else { return true }
                    // As in Redis, 0 times infinity is no number here until it is added, which makes it all 0.
                    result = aggregate(result, other * input.weight)
                }
                scores.insert(member, result)
                return scores.count < limit
            }
        case .difference:
            inputs[0].set.forEach { member, score in
                for input in inputs.dropFirst() where input.set.score(of: member) != nil { return true }
                scores.insert(member, score)
                return true
            }
        }
    }
}

extension Keyspace {
    /// What a command with `numkeys` at `first` asks for. Redis looks at the keys before it reads the options.
    private mutating func algebra(
        _ call: Call,
        _ operation: SetOperation,
        _ name: String,
        first: Int,
        isCount: Bool = false
    ) throws(CommandError) -> SortedSetAlgebra {
        let count = try call.integer(first)
        if count < 1 { throw .message("ERR at least 1 input key is needed for '\(name)' command") }
        guard count < call.count - first else { throw .syntax }
        var algebra = SortedSetAlgebra(operation: operation, inputs: [])
        var index = first + 1
        for key in call.arguments[index..<(index + Int(count))] {
            switch lookUp(call.database, key) {
            case nil: algebra.inputs.append(SortedSetAlgebra.Input(set: .none))
            case .sortedSet(let set)?: algebra.inputs.append(SortedSetAlgebra.Input(set: .sorted(set)))
            case .set(let set)?: algebra.inputs.append(SortedSetAlgebra.Input(set: .plain(set)))
            default: throw .wrongType
            }
        }
        index += Int(count)
        let mayWeigh = operation != .difference && !isCount
        while index < call.count {
            let left = call.count - index - 1
            if mayWeigh, left >= count, call.isWord(index, "weights") {
                for input in algebra.inputs.indices {
                    guard let weight = Decimal.double(call[index + 1 + input]) else {
                        throw .message("ERR weight value is not a float")
                    }
                    algebra.inputs[input].weight = weight
                }
                index += 1 + algebra.inputs.count
            } else if mayWeigh, left >= 1, call.isWord(index, "aggregate") {
                algebra.aggregate = try aggregate(call, index + 1)
                index += 2
            } else if first == 1, !isCount, call.isWord(index, "withscores") {
                algebra.withScores = true
                index += 1
            } else if isCount, left >= 1, call.isWord(index, "limit") {
                let limit = try call.integer(index + 1, in: 0...Int64.max, else: "LIMIT can't be negative")
                algebra.limit = limit == 0 ? .max : Int(limit)
                index += 2
            } else {
                throw .syntax
            }
        }
        if operation != .difference { algebra.sortBySize() }
        return algebra
    }

    private func aggregate(_ call: Call, _ index: Int) throws(CommandError) -> SortedSetAlgebra.Aggregate {
        if call.isWord(index, "sum") { return .sum }
        if call.isWord(index, "min") { return .min }
        if call.isWord(index, "max") { return .max }
        throw .syntax
    }

    mutating func zalgebra(
        _ call: Call,
        _ operation: SetOperation,
        _ name: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let algebra = try algebra(call, operation, name, first: 1)
        var scores = makeContainer(SortedSetValue.self).scores
        algebra.run(into: &scores)
        let result = SortedSetValue(scores)
        beginRows(result.count, withScores: algebra.withScores, &reply)
        try result.rows.forEach(0..<result.count) { (row) throws(CommandError) in
            write(row, withScores: algebra.withScores, &reply)
        }
    }

    mutating func zalgebraStore(
        _ call: Call,
        _ operation: SetOperation,
        _ name: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let algebra = try algebra(call, operation, name, first: 2)
        var scores = makeContainer(SortedSetValue.self).scores
        algebra.run(into: &scores)
        storeResult(call, call[1], SortedSetValue(scores), .sortedSet, name)
        reply.integer(scores.count)
    }

    mutating func zintercard(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let algebra = try algebra(call, .intersection, "zintercard", first: 1, isCount: true)
        var scores = makeContainer(SortedSetValue.self).scores
        algebra.run(into: &scores)
        reply.integer(scores.count)
    }
}
