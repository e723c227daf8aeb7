import Primitives

/// What `COMMAND` says of a command beside its row in the table: all flags, ACL categories, tips, key specifications
/// and subcommands.
///
/// Rows are text, `name|flags|categories|tips|key specs`; a subcommand is named `container:name` and goes on with
/// `|arity|first last step|since|summary`. Key specifications are separated by `#`, each `flags;begin;find;notes`:
/// begin is `i <index>`, `k <keyword> <start>` or `u`; find is `r <last> <step> <limit>`, `n <at> <first> <step>` or
/// `u`.
/// Source of the facts: redis-server 7.0.15's `COMMAND` and `COMMAND DOCS`
/// (https://redis.io/docs/latest/develop/reference/key-specs/).
struct CommandFacts: Sendable {
    struct KeySpec: Sendable {
        enum Begin: Sendable {
            case index(Int)
            case keyword(String, start: Int)
            case unknown
        }

        enum Find: Sendable {
            case range(last: Int, step: Int, limit: Int)
            case count(at: Int, first: Int, step: Int)
            case unknown
        }

        var flags: [String]
        var begin: Begin
        var find: Find
        var notes: String?
    }

    struct Subcommand: Sendable {
        var name: String
        var arity: Int
        var keys: [Int]
        var since: String
        var summary: String
        var facts: CommandFacts

        /// The number of arguments, container and name included, fits.
        func accepts(argumentCount count: Int) -> Bool { arity >= 0 ? count == arity : count >= -arity }
    }

    var flags: [String] = []
    var categories: [String] = []
    var tips: [String] = []
    var keySpecs: [KeySpec] = []
    var subcommands: [Subcommand] = []

    func subcommand(_ name: [UInt8]) -> Subcommand? {
        guard !subcommands.isEmpty else { return nil }
        let lower = String(decoding: name, as: UTF8.self).lowercased()
        return subcommands.first { $0.name == lower }
    }

    /// By name.
    static let all: [String: CommandFacts] = {
        var all: [String: CommandFacts] = [:]
        for line in (keys + "\n" + server).split(separator: "\n") {
            let columns = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            precondition(columns.count >= 5, "command facts: \(line)")
            let facts = CommandFacts(columns)
            let names = columns[0].split(separator: ":").map(String.init)
            if names.count == 1 {
                all[names[0]] = facts
                continue
            }
            guard columns.count == 9, let arity = Int(columns[5]) else {
                preconditionFailure("command facts: \(line)")
            }
            all[names[0]]?.subcommands.append(
                Subcommand(
                    name: names[1],
                    arity: arity,
                    keys: columns[6].split(separator: " ").compactMap { Int($0) },
                    since: columns[7],
                    summary: columns[8],
                    facts: facts
                )
            )
        }
        return all
    }()

    private init(_ columns: [String]) {
        flags = columns[1].split(separator: " ").map(String.init)
        categories = columns[2].split(separator: " ").map(String.init)
        tips = columns[3].split(separator: ",").map(String.init)
        keySpecs = columns[4].split(separator: "#").map { CommandFacts.keySpec($0) }
    }

    private static func keySpec(_ text: Substring) -> KeySpec {
        let parts = text.split(separator: ";", maxSplits: 3)
        precondition(parts.count >= 3, "key specification: \(text)")
        let begin = parts[1].split(separator: " ")
        let find = parts[2].split(separator: " ")
        let numbers = find.dropFirst().compactMap { Int($0) }
        var spec = KeySpec(
            flags: parts[0].split(separator: " ").map(String.init),
            begin: .unknown,
            find: .unknown,
            notes: parts.count == 4 ? String(parts[3]) : nil
        )
        switch begin[0] {
        case "i": spec.begin = .index(Int(begin[1]) ?? 0)
        case "k": spec.begin = .keyword(String(begin[1]), start: Int(begin[2]) ?? 1)
        default: break
        }
        switch find[0] {
        case "r": spec.find = .range(last: numbers[0], step: numbers[1], limit: numbers[2])
        case "n": spec.find = .count(at: numbers[0], first: numbers[1], step: numbers[2])
        default: break
        }
        return spec
    }
}

/// The keys among a command's arguments.
struct CommandKeys {
    /// A key's place among the arguments, and its flags in the specification.
    struct Position {
        var index: Int
        var flags: [String]
    }

    /// Nil when the arguments do not fit the specification (a count that is no number, keys beyond the end).
    static func positions(_ name: String, _ specs: [CommandFacts.KeySpec], _ arguments: [[UInt8]]) -> [Position]? {
        var found: [Position] = []
        for spec in specs {
            guard let start = begin(spec.begin, arguments) else { continue }
            switch spec.find {
            case .range(let last, let step, let limit):
                guard start < arguments.count else { return nil }
                var end = last >= 0 ? start + last : arguments.count + last
                if last < 0, limit > 1 {
                    // The rest is so many equal parts, of which the first holds the keys (XREAD).
                    let rest = arguments.count - start
                    end = start + rest / limit + (last + 1) - 1
                }
                guard end < arguments.count, end >= start else { return nil }
                for index in stride(from: start, through: end, by: max(1, step)) {
                    found.append(Position(index: index, flags: spec.flags))
                }
            case .count(let at, let first, let step):
                let place = start + at
                guard place < arguments.count, let count = Decimal.integer(arguments[place]), count >= 0,
                    count <= Int64(arguments.count), start + first + Int(count) <= arguments.count
                else { return nil }
                for row in 0..<Int(count) {
                    found.append(Position(index: start + first + row * max(1, step), flags: spec.flags))
                }
            case .unknown: continue
            }
        }
        switch name {
        case "sort": found += sortStore(arguments)
        case "set", "bitfield": for index in found.indices { found[index].flags = variableFlags(name, arguments) }
        default: break
        }
        return found
    }

    private static func begin(_ begin: CommandFacts.KeySpec.Begin, _ arguments: [[UInt8]]) -> Int? {
        switch begin {
        case .index(let index): return index
        case .keyword(let word, let start):
            // A negative start is counted, and searched, from the end.
            let order =
                start >= 0
                ? Array(stride(from: start, to: arguments.count, by: 1))
                : Array(stride(from: arguments.count + start, through: 1, by: -1))
            let upper = word.uppercased()
            for index in order where arguments.indices.contains(index) {
                if arguments[index].count == upper.utf8.count,
                    String(decoding: arguments[index], as: UTF8.self).uppercased() == upper
                {
                    return index + 1
                }
            }
            return nil
        case .unknown: return nil
        }
    }

    /// Flags that depend on the options (db.c: setGetKeys, bitfieldGetKeys).
    private static func variableFlags(_ name: String, _ arguments: [[UInt8]]) -> [String] {
        let words = arguments.dropFirst(2).map { String(decoding: $0, as: UTF8.self).uppercased() }
        if name == "set" {
            return words.dropFirst().contains("GET") ? ["RW", "access", "update"] : ["OW", "update"]
        }
        let writes = words.contains("SET") || words.contains("INCRBY")
        return writes ? ["RW", "access", "update"] : ["RO", "access"]
    }

    /// SORT's STORE may stand anywhere; the last one counts (sort.c: sortGetKeys).
    private static func sortStore(_ arguments: [[UInt8]]) -> [Position] {
        var destination: Int?
        var index = 2
        while index < arguments.count {
            let word = String(decoding: arguments[index], as: UTF8.self).uppercased()
            if word == "LIMIT" {
                index += 2
            } else if word == "GET" || word == "BY" {
                index += 1
            } else if word == "STORE", index + 1 < arguments.count {
                destination = index + 1
                index += 1
            }
            index += 1
        }
        return destination.map { [Position(index: $0, flags: ["OW", "update"])] } ?? []
    }
}
