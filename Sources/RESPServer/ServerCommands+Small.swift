import EventLoops
import Keys
import Primitives
import RESP

/// SLOWLOG, LATENCY, MEMORY, ACL, and the flushes of what is not there.
extension RESPConnection {
    // MARK: SLOWLOG

    func slowlog(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "len": reply.integer(shard.node.slowlog.count)
        case "reset":
            shard.node.resetSlowlog()
            reply.ok()
        case "get":
            var limit: Int64 = 10
            if arguments.count > 2 {
                guard arguments.count == 3, let number = Decimal.integer(arguments[2]), number >= -1 else {
                    return fail("ERR count should be greater than or equal to -1")
                }
                limit = number == -1 ? Int64.max : number
            }
            write(slow: shard.node.slowlog.reversed().prefix(Int(clamping: limit)))
        default:
            help(
                "SLOWLOG",
                [
                    "GET [<count>]", "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
                    "    Entries are made of:",
                    "    id, timestamp, time in microseconds, arguments array, client IP and port,", "    client name",
                    "LEN", "    Return the length of the slowlog.", "RESET", "    Reset the slowlog.",
                ]
            )
        }
    }

    private func write(slow commands: some Collection<RESPNode.SlowCommand>) {
        reply.array(commands.count)
        for command in commands {
            reply.array(6)
            reply.integer(command.id)
            reply.integer(command.time)
            reply.integer(command.microseconds)
            reply.array(command.arguments.count)
            for argument in command.arguments { reply.bulk(argument) }
            reply.bulk(command.address)
            reply.bulk(command.name)
        }
    }

    // MARK: LATENCY

    /// There is no latency monitor: nothing is ever listed. Latencies are in `INFO latencystats` and the metrics.
    func latency(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "latest", "history": reply.array(0)
        case "reset": reply.integer(0)
        case "doctor":
            reply.verbatim(
                "Vencejo has no latency monitor. See INFO latencystats, SLOWLOG, and the node's metrics.\n"
            )
        default:
            help(
                "LATENCY",
                [
                    "DOCTOR", "    Return a human readable latency analysis report.", "HISTORY <event>",
                    "    Return time-latency samples for the <event> class.", "LATEST",
                    "    Return the latest latency samples for all events.", "RESET [<event> ...]",
                    "    Reset latency data of one or more <event> classes.",
                ]
            )
        }
    }

    // MARK: MEMORY, but for USAGE, which is the keyspace's

    func memory(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "doctor": reply.verbatim("Sam, I can't find any memory issue in your instance.\n")
        case "purge": reply.ok()
        case "stats":
            let process = ProcessFigures()
            let rows: [(String, Int64)] = [
                ("peak.allocated", Int64(clamping: process.peakBytes)),
                ("total.allocated", Int64(clamping: process.residentBytes)), ("startup.allocated", 0),
                ("clients.normal", 0), ("overhead.total", 0),
            ]
            reply.map(rows.count)
            for (name, value) in rows {
                reply.bulk(name)
                reply.integer(value)
            }
        default:
            help(
                "MEMORY",
                [
                    "DOCTOR", "    Return memory problems reports.", "PURGE", "    Accepted.", "STATS",
                    "    Return information about the memory usage of the server.", "USAGE <key> [SAMPLES <count>]",
                    "    Return memory in bytes used by <key> and its value.",
                ]
            )
        }
    }

    // MARK: FUNCTION FLUSH and SCRIPT FLUSH: there is nothing to flush

    func flushOnly(_ arguments: [[UInt8]]) {
        guard lastSubcommand == "flush" else { return fail("ERR there are no scripts and no functions") }
        guard arguments.count <= 3, arguments.count == 2 || ["async", "sync"].contains(word(arguments[2])) else {
            return fail("ERR \(word(arguments[0]).uppercased()) FLUSH only supports SYNC|ASYNC option")
        }
        reply.ok()
    }

    func word(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self).lowercased() }

    // MARK: ACL: one user

    private static let categories = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
        "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
    ]

    func acl(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "whoami": reply.bulk("default")
        case "users":
            reply.array(1)
            reply.bulk("default")
        case "list":
            reply.array(1)
            reply.bulk("user default on \(settings.password.isEmpty ? "nopass " : "")~* &* +@all")
        case "cat": aclCategories(arguments)
        case "getuser":
            guard arguments[2].elementsEqual("default".utf8) else { return reply.null() }
            writeDefaultUser()
        default:
            help(
                "ACL",
                [
                    "CAT [<category>]", "    List all commands that belong to <category>, or all command categories",
                    "    when no category is specified.", "GETUSER <username>", "    Get the user's details.", "LIST",
                    "    Show users details in config file format.", "USERS", "    List all the registered usernames.",
                    "WHOAMI", "    Return the current connection username.",
                ]
            )
        }
    }

    private func aclCategories(_ arguments: [[UInt8]]) {
        guard arguments.count > 2 else {
            reply.array(RESPConnection.categories.count)
            for name in RESPConnection.categories { reply.bulk(name) }
            return
        }
        let category = word(arguments[2])
        guard RESPConnection.categories.contains(category) else {
            return fail("ERR Unknown category '\(String(decoding: arguments[2].prefix(128), as: UTF8.self))'")
        }
        let names = table.table.commands.indices
            .filter {
                table.isCommand($0) && isVisible($0)
                    && table.facts[$0].categories.contains(category)
            }
            .map { table.table.commands[$0].name }
        reply.array(names.count)
        for name in names { reply.bulk(name) }
    }

    private func writeDefaultUser() {
        reply.map(6)
        reply.bulk("flags")
        reply.set(settings.password.isEmpty ? 2 : 1)
        reply.bulk("on")
        if settings.password.isEmpty { reply.bulk("nopass") }
        reply.bulk("passwords")
        reply.array(0)
        for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
            reply.bulk(name)
            reply.bulk(value)
        }
        reply.bulk("selectors")
        reply.array(0)
    }
}
