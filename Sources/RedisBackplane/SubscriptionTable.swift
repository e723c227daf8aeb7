import RESP

/// What this node wants to hear on its subscriber connection, and what of it the server has confirmed.
///
/// Entries keep their place, so that what is sent does not depend on the order of a hash table.
package struct SubscriptionTable: Sendable {
    package enum Kind: Sendable {
        case channel, pattern
    }

    private struct Row: Sendable {
        var kind: Kind
        var name: [UInt8]
        var isAcknowledged = false
    }

    /// Names of one SUBSCRIBE: a server answers each name, and other traffic gets its turn between the commands.
    static let batch = 512

    private var rows: [Row?] = []
    private var free: [Int] = []
    private var channels: [[UInt8]: Int] = [:]
    private var patterns: [[UInt8]: Int] = [:]
    private var pending = 0

    package init() {}

    package var count: Int { channels.count + patterns.count }
    /// Nothing wanted lacks its confirmation.
    package var isComplete: Bool { pending == 0 }

    /// The command to send; nil when it is wanted already.
    package mutating func want(_ kind: Kind, _ name: [UInt8]) -> RESPCommand? {
        guard row(kind, name) == nil else { return nil }
        let index: Int
        if let spare = free.popLast() {
            index = spare
            rows[index] = Row(kind: kind, name: name)
        } else {
            index = rows.count
            rows.append(Row(kind: kind, name: name))
        }
        if kind == .channel { channels[name] = index } else { patterns[name] = index }
        pending += 1
        return RESPCommand(kind == .channel ? "SUBSCRIBE" : "PSUBSCRIBE", RESPArgument(name))
    }

    /// The command to send; nil when it was not wanted.
    package mutating func drop(_ kind: Kind, _ name: [UInt8]) -> RESPCommand? {
        guard let index = row(kind, name) else { return nil }
        if rows[index]?.isAcknowledged == false { pending -= 1 }
        rows[index] = nil
        free.append(index)
        if kind == .channel { channels[name] = nil } else { patterns[name] = nil }
        return RESPCommand(kind == .channel ? "UNSUBSCRIBE" : "PUNSUBSCRIBE", RESPArgument(name))
    }

    /// The server confirmed a name. False when it was not wanted (any more), or is known.
    package mutating func acknowledged(_ kind: Kind, _ name: [UInt8]) -> Bool {
        guard let index = row(kind, name), rows[index]?.isAcknowledged == false else { return false }
        rows[index]?.isAcknowledged = true
        pending -= 1
        return true
    }

    package func isAcknowledged(_ kind: Kind, _ name: [UInt8]) -> Bool {
        row(kind, name).flatMap { rows[$0]?.isAcknowledged } ?? false
    }

    /// A new connection knows nothing: all of it again, in batches.
    package mutating func restore() -> [RESPCommand] {
        pending = 0
        var names: [Kind: [RESPArgument]] = [.channel: [], .pattern: []]
        for index in rows.indices {
            guard let row = rows[index] else { continue }
            rows[index]?.isAcknowledged = false
            pending += 1
            names[row.kind]?.append(RESPArgument(row.name))
        }
        var commands: [RESPCommand] = []
        for (kind, name) in [(Kind.channel, "SUBSCRIBE"), (.pattern, "PSUBSCRIBE")] {
            var rest = (names[kind] ?? [])[...]
            while !rest.isEmpty {
                commands.append(RESPCommand([RESPArgument(name)] + rest.prefix(SubscriptionTable.batch)))
                rest = rest.dropFirst(SubscriptionTable.batch)
            }
        }
        return commands
    }

    private func row(_ kind: Kind, _ name: [UInt8]) -> Int? {
        kind == .channel ? channels[name] : patterns[name]
    }
}
