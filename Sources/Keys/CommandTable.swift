import Primitives
import RESP

/// A command as data: the same row drives dispatch, `COMMAND`, the cluster's key checks and the documentation.
package struct Command: Sendable {
    package let name: String
    /// Arguments with the name; negative: at least so many.
    package let arity: Int
    package let flags: Flags
    /// Positions of the keys: the first, the last (negative: from the end), and the step. 0: no keys at fixed places.
    package let firstKey: Int
    package let lastKey: Int
    package let keyStep: Int
    /// Redis's group: `string`, `pubsub`, `connection`.
    package let group: String
    package let since: String
    package let summary: String
    /// Its place in `CommandTable`.
    package let index: Int

    package struct Flags: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Changes keys: goes through the log.
        package static let write = Flags(rawValue: 1 << 0)
        package static let readonly = Flags(rawValue: 1 << 1)
        package static let denyoom = Flags(rawValue: 1 << 2)
        package static let admin = Flags(rawValue: 1 << 3)
        package static let pubsub = Flags(rawValue: 1 << 4)
        package static let noscript = Flags(rawValue: 1 << 5)
        package static let blocking = Flags(rawValue: 1 << 6)
        package static let loading = Flags(rawValue: 1 << 7)
        package static let stale = Flags(rawValue: 1 << 8)
        package static let fast = Flags(rawValue: 1 << 9)
        package static let noAuth = Flags(rawValue: 1 << 10)
        package static let movablekeys = Flags(rawValue: 1 << 11)
        package static let noMulti = Flags(rawValue: 1 << 12)
        package static let allowBusy = Flags(rawValue: 1 << 13)

        package static let names: [(String, Flags)] = [
            ("write", .write), ("readonly", .readonly), ("denyoom", .denyoom), ("admin", .admin),
            ("pubsub", .pubsub), ("noscript", .noscript), ("blocking", .blocking), ("loading", .loading),
            ("stale", .stale), ("fast", .fast), ("no_auth", .noAuth), ("movablekeys", .movablekeys),
            ("no_multi", .noMulti), ("allow_busy", .allowBusy),
        ]

        init?(_ text: Substring) {
            var flags: Flags = []
            for word in text.split(separator: " ") {
                guard let flag = Flags.names.first(where: { $0.0 == word })?.1 else { return nil }
                flags.insert(flag)
            }
            self = flags
        }
    }

    /// The number of arguments fits.
    package func accepts(argumentCount count: Int) -> Bool { arity >= 0 ? count == arity : count >= -arity }
}

/// All commands. Rows are text, `name|arity|flags|first last step|group|since|summary`, beside the code that runs them.
/// A subcommand has a row too, after that of its container and named `container/subcommand` there; its `name` is
/// Redis's, `container|subcommand`.
package struct CommandTable: Sendable {
    package let commands: [Command]
    private var index: [[UInt8]: Int] = [:]

    /// `rows` that cannot be read are a programming error.
    package init(_ texts: [String]) {
        var commands: [Command] = []
        for text in texts {
            for line in text.split(separator: "\n") where !line.allSatisfy({ $0 == " " }) {
                let columns = line.split(separator: "|", omittingEmptySubsequences: false)
                precondition(columns.count == 7, "command row: \(line)")
                let keys = columns[3].split(separator: " ").compactMap { Int($0) }
                guard let arity = Int(columns[1]), let flags = Command.Flags(columns[2]), keys.count == 3 else {
                    preconditionFailure("command row: \(line)")
                }
                commands.append(
                    Command(
                        name: String(columns[0].map { $0 == "/" ? "|" : $0 }),
                        arity: arity,
                        flags: flags,
                        firstKey: keys[0],
                        lastKey: keys[1],
                        keyStep: keys[2],
                        group: String(columns[4]),
                        since: String(columns[5]),
                        summary: String(columns[6]),
                        index: commands.count
                    )
                )
            }
        }
        self.commands = commands
        for command in commands {
            precondition(index.updateValue(command.index, forKey: Array(command.name.utf8)) == nil, command.name)
        }
    }

    /// By a name in any case; a container, not its subcommands.
    package func find(_ name: [UInt8]) -> Command? {
        guard name.count <= 32, !name.contains(UInt8(ascii: "|")) else { return nil }
        return row(name)
    }

    /// The command that these arguments call: of a container the subcommand, or the container itself when it has none
    /// of that name. Its flags and keys are those that count.
    package func find(_ arguments: [[UInt8]]) -> Command? {
        guard let name = arguments.first, let command = find(name) else { return nil }
        guard arguments.count > 1, arguments[1].count <= 32 else { return command }
        return row(name + [UInt8(ascii: "|")] + arguments[1]) ?? command
    }

    private func row(_ name: [UInt8]) -> Command? {
        if let row = index[name] { return commands[row] }
        return index[name.map { $0 >= 65 && $0 <= 90 ? $0 | 32 : $0 }].map { commands[$0] }
    }
}
