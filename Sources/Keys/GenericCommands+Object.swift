import Primitives
import RESP

extension Keyspace {
    private static let objectHelp = [
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    ]

    mutating func object(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        if call.isWord(1, "help"), call.count == 2 { return reply.help("OBJECT", Keyspace.objectHelp) }
        let words: [StaticString] = ["encoding", "freq", "idletime", "refcount", "help"]
        try Keyspace.checkSubcommand(call, "object", words) { $0 == "help" ? call.count == 2 : call.count == 3 }
        guard let slot = slot(call.database, call[2]) else { return reply.null() }
        let object = databases[call.database].objects[slot]
        if call.isWord(1, "encoding") {
            reply.bulk(object.value.encodingName(configuration))
        } else if call.isWord(1, "freq") {
            throw .message(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when "
                    + "switching between policies at runtime LRU and LFU data will take some time to adjust."
            )
        } else if call.isWord(1, "idletime") {
            reply.integer(max(0, now / 1000 - Int64(isReading ? object.usedAt : object.loggedUse)))
        } else if case .integer(0..<10000) = object.value,
            configuration.maxMemory == 0 || !configuration.maxMemoryPolicy.isLRU
        {
            // Redis shares these numbers among all keys, unless each needs its own time of use, and says so.
            reply.integer(Int32.max)
        } else {
            reply.integer(1)
        }
    }

    private static let memoryHelp = [
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    ]

    mutating func memory(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        if call.isWord(1, "help"), call.count == 2 { return reply.help("MEMORY", Keyspace.memoryHelp) }
        try Keyspace.checkSubcommand(call, "memory", ["usage", "help"]) {
            $0 == "help" ? call.count == 2 : call.count >= 3
        }
        var index = 3
        while index < call.count {
            guard call.isWord(index, "samples"), index + 1 < call.count, try call.integer(index + 1) >= 0 else {
                throw .syntax
            }
            index += 2
        }
        guard let slot = slot(call.database, call[2]) else { return reply.null() }
        reply.integer(Keyspace.byteEstimate(call[2], databases[call.database].objects[slot].value))
    }

    /// Throws when argument 1 is none of the subcommands, or when the number of arguments does not fit.
    static func checkSubcommand(
        _ call: Call,
        _ name: String,
        _ known: [StaticString],
        _ hasArguments: (String) -> Bool
    ) throws(CommandError) {
        guard let word = known.first(where: { call.isWord(1, $0) })?.description else {
            let given = String(decoding: call[1].prefix(128), as: UTF8.self)
            throw .message("ERR unknown subcommand '\(given)'. Try \(name.uppercased()) HELP.")
        }
        guard hasArguments(word) else {
            throw .message("ERR wrong number of arguments for '\(name)|\(word)' command")
        }
    }
}

extension RESPWriter {
    /// What `HELP` of a command with subcommands answers.
    mutating func help(_ command: String, _ lines: [String]) {
        array(lines.count + 3)
        simple("\(command) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
        for line in lines { simple(line) }
        simple("HELP" as String)
        simple("    Prints this help." as String)
    }
}
