import Keys
import Primitives
import RESP

/// COMMAND.
extension RESPConnection {
    func command(_ arguments: [[UInt8]]) {
        guard arguments.count > 1 else {
            let all = visibleRows
            reply.array(all.count)
            for row in all { describe(row) }
            return
        }
        switch lastSubcommand {
        case "count": reply.integer(visibleRows.count)
        case "info": commandInfo(Array(arguments.dropFirst(2)))
        case "docs": commandDocs(Array(arguments.dropFirst(2)))
        case "list": commandList(arguments)
        case "getkeys": commandKeys(Array(arguments.dropFirst(2)), withFlags: false)
        case "getkeysandflags": commandKeys(Array(arguments.dropFirst(2)), withFlags: true)
        default:
            help(
                "COMMAND",
                [
                    "(no subcommand)", "    Return details about all Redis commands.", "COUNT",
                    "    Return the total number of commands in this Redis server.", "LIST",
                    "    Return a list of all commands in this Redis server.", "INFO [<command-name> ...]",
                    "    Return details about multiple Redis commands.",
                    "    If no command names are given, documentation details for all", "    commands are returned.",
                    "DOCS [<command-name> ...]", "    Return documentation details about multiple Redis commands.",
                    "    If no command names are given, documentation details for all", "    commands are returned.",
                    "GETKEYS <full-command>", "    Return the keys from a full Redis command.",
                    "GETKEYSANDFLAGS <full-command>",
                    "    Return the keys and the access flags from a full Redis command.",
                ]
            )
        }
    }

    private var visibleRows: [Int] {
        table.table.commands.indices.filter { table.isCommand($0) && isVisible($0) }
    }

    private func row(_ name: [UInt8]) -> Int? {
        guard let row = name.withUnsafeBytes({ table.find($0) }), isVisible(row) else {
            return nil
        }
        return row
    }

    private func commandInfo(_ names: [[UInt8]]) {
        if names.isEmpty {
            let all = visibleRows
            reply.array(all.count)
            for row in all { describe(row) }
            return
        }
        reply.array(names.count)
        for name in names {
            let parts = name.split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
            if parts.count == 1, let row = row(name) {
                describe(row)
            } else if parts.count == 2, let row = row(Array(parts[0])),
                let sub = table.facts[row].subcommand(Array(parts[1]))
            {
                describe(sub, of: row)
            } else {
                reply.nullArray()
            }
        }
    }

    private func describe(_ row: Int) {
        let command = table.table.commands[row]
        let facts = table.facts[row]
        describe(command.name, command.arity, [command.firstKey, command.lastKey, command.keyStep], facts)
        reply.array(facts.subcommands.count)
        for sub in facts.subcommands { describe(sub, of: row) }
    }

    private func describe(_ sub: CommandFacts.Subcommand, of row: Int) {
        describe("\(table.table.commands[row].name)|\(sub.name)", sub.arity, sub.keys, sub.facts)
        reply.array(0)
    }

    private func describe(_ name: String, _ arity: Int, _ keys: [Int], _ facts: CommandFacts) {
        reply.array(10)
        reply.bulk(name)
        reply.integer(arity)
        writeSet(facts.flags)
        for number in keys { reply.integer(number) }
        writeSet(facts.categories.map { "@" + $0 })
        reply.array(facts.tips.count)
        for tip in facts.tips { reply.bulk(tip) }
        reply.array(facts.keySpecs.count)
        for spec in facts.keySpecs { describe(spec) }
    }

    /// A set of status replies, as Redis writes them.
    private func writeSet(_ words: [String]) {
        reply.set(words.count)
        for word in words { reply.simple(word) }
    }

    private func describe(_ spec: CommandFacts.KeySpec) {
        reply.map(spec.notes == nil ? 3 : 4)
        if let notes = spec.notes {
            reply.bulk("notes")
            reply.bulk(notes)
        }
        reply.bulk("flags")
        writeSet(spec.flags)
        reply.bulk("begin_search")
        reply.map(2)
        reply.bulk("type")
        switch spec.begin {
        case .index(let index):
            reply.bulk("index")
            write("spec", [("index", index)])
        case .keyword(let word, let start):
            reply.bulk("keyword")
            reply.bulk("spec")
            reply.map(2)
            reply.bulk("keyword")
            reply.bulk(word)
            reply.bulk("startfrom")
            reply.integer(start)
        case .unknown:
            reply.bulk("unknown")
            write("spec", [])
        }
        reply.bulk("find_keys")
        reply.map(2)
        reply.bulk("type")
        switch spec.find {
        case .range(let last, let step, let limit):
            reply.bulk("range")
            write("spec", [("lastkey", last), ("keystep", step), ("limit", limit)])
        case .count(let at, let first, let step):
            reply.bulk("keynum")
            write("spec", [("keynumidx", at), ("firstkey", first), ("keystep", step)])
        case .unknown:
            reply.bulk("unknown")
            write("spec", [])
        }
    }

    private func write(_ name: String, _ fields: [(String, Int)]) {
        reply.bulk(name)
        reply.map(fields.count)
        for (field, value) in fields {
            reply.bulk(field)
            reply.integer(value)
        }
    }

    // MARK: DOCS

    private func commandDocs(_ names: [[UInt8]]) {
        let rows = names.isEmpty ? visibleRows : names.compactMap { row($0) }
        reply.map(rows.count)
        for row in rows {
            let command = table.table.commands[row]
            let facts = table.facts[row]
            reply.bulk(command.name)
            reply.map(facts.subcommands.isEmpty ? 3 : 4)
            document(command.summary, command.since, command.group)
            guard !facts.subcommands.isEmpty else { continue }
            reply.bulk("subcommands")
            reply.map(facts.subcommands.count)
            for sub in facts.subcommands {
                reply.bulk("\(command.name)|\(sub.name)")
                reply.map(3)
                document(sub.summary, sub.since, command.group)
            }
        }
    }

    private func document(_ summary: String, _ since: String, _ group: String) {
        reply.bulk("summary")
        reply.bulk(summary.hasSuffix(".") ? String(summary.dropLast()) : summary)
        reply.bulk("since")
        reply.bulk(since)
        reply.bulk("group")
        reply.bulk(group)
    }

    // MARK: LIST

    private func commandList(_ arguments: [[UInt8]]) {
        var isIncluded: (String, CommandFacts) -> Bool = { _, _ in true }
        if arguments.count > 2 {
            guard arguments.count == 5, Call.equals(arguments[2], "filterby") else { return fail("ERR syntax error") }
            let value = String(decoding: arguments[4], as: UTF8.self).lowercased()
            switch String(decoding: arguments[3], as: UTF8.self).lowercased() {
            case "module": isIncluded = { _, _ in false }
            case "aclcat": isIncluded = { _, facts in facts.categories.contains(value) }
            case "pattern":
                let glob = Glob(Array(value.utf8))
                isIncluded = { name, _ in glob.matches(Array(name.utf8)) }
            default: return fail("ERR syntax error")
            }
        }
        var names: [String] = []
        for row in visibleRows {
            let command = table.table.commands[row]
            if isIncluded(command.name, table.facts[row]) { names.append(command.name) }
            for sub in table.facts[row].subcommands {
                let name = "\(command.name)|\(sub.name)"
                if isIncluded(name, sub.facts) { names.append(name) }
            }
        }
        reply.array(names.count)
        for name in names { reply.bulk(name) }
    }

    // MARK: GETKEYS

    private func commandKeys(_ arguments: [[UInt8]], withFlags: Bool) {
        guard let row = row(arguments[0]) else { return fail("ERR Invalid command specified") }
        let command = table.table.commands[row]
        var specs = table.facts[row].keySpecs
        if arguments.count > 1, let sub = table.facts[row].subcommand(arguments[1]) { specs = sub.facts.keySpecs }
        let isChannel = specs.contains { $0.flags.contains("not_key") }
        guard !specs.isEmpty, !isChannel else { return fail("ERR The command has no key arguments") }
        guard command.accepts(argumentCount: arguments.count) else {
            return fail("ERR Invalid number of arguments specified for command")
        }
        guard let keys = CommandKeys.positions(command.name, specs, arguments) else {
            return fail("ERR Invalid arguments specified for command")
        }
        reply.array(keys.count)
        for key in keys {
            if withFlags { reply.array(2) }
            reply.bulk(arguments[key.index])
            guard withFlags else { continue }
            reply.set(key.flags.count)
            for flag in key.flags { reply.simple(flag) }
        }
    }
}
