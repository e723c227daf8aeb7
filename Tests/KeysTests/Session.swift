import Keys
import Primitives
import RESP

/// A keyspace with a client at it, for tests: a command line as in redis-cli, and the reply as one short line.
///
///     var redis = KeyspaceSession()
///     #expect(redis("SET a 1") == "OK")
///     #expect(redis("MGET a b") == "[\"1\", nil]")
///
/// Replies read: `OK` (a simple string), `"text"` (a bulk string), `12`, `nil`, `[…]`, `{k: v}` (a map), `~[…]` (a
/// set), `2.5` with a comma in front (`,2.5`), `#t`, and errors as they are, with their code (`ERR syntax error`). A
/// command that blocks gives `(blocked)`; its reply comes through `served`.
struct KeyspaceSession {
    var keys: Keyspace
    /// 2 or 3.
    var version: UInt8 = 2
    var database = 0
    /// The client that the next command comes from; nil: nobody who could wait.
    var client: UInt64?

    /// Time stands at a round number until a test moves it.
    init(version: UInt8 = 2, seed: UInt64 = 1) {
        keys = Keyspace(seed: seed)
        keys.now = 1_700_000_000_000
        keys.random = Xoshiro256(seed: seed)
        self.version = version
    }

    /// Runs a line and serves those who wait, as the node does.
    mutating func callAsFunction(_ line: String) -> String { self(words: KeyspaceSession.split(line)) }

    mutating func callAsFunction(words: [[UInt8]]) -> String { KeyspaceSession.show(raw(words)) }

    /// The reply's bytes; empty when the command waits.
    mutating func raw(_ words: [[UInt8]]) -> [UInt8] {
        var writer = RESPWriter(version: version)
        guard let command = KeyspaceSession.table.find(words) else {
            writer.error("ERR unknown command")
            return writer.bytes
        }
        guard command.accepts(argumentCount: words.count) else {
            writer.error("ERR wrong number of arguments for '\(command.name)' command")
            return writer.bytes
        }
        let call = Call(words, database: database, waiter: client.map { WaiterID(gateway: 1, session: $0) })
        keys.execute(call, &writer)
        keys.serveWaiters()
        return writer.bytes
    }

    /// Replies to clients that had waited, as `3: "value"`; each is given once.
    mutating func served() -> [String] {
        defer { keys.served = [] }
        return keys.served.map { "\($0.waiter.session): \(KeyspaceSession.show($0.reply))" }
    }

    /// Events since the last call, as `set a`; those of other databases than 0 as `set 9:a`.
    mutating func notifications() -> [String] {
        defer { keys.notifications = [] }
        return keys.notifications.map { event in
            let key = String(decoding: event.key, as: UTF8.self)
            return event.database == 0 ? "\(event.event) \(key)" : "\(event.event) \(event.database):\(key)"
        }
    }

    static let table = CommandTable(Keyspace.rows)

    /// Splits a line as redis-cli does, by the inline form of the protocol.
    static func split(_ line: String) -> [[UInt8]] {
        var parser = RESPRequestParser()
        let bytes = Array(line.utf8) + [10]
        let outcome = try? bytes.withUnsafeBytes { try parser.parse($0, limits: RESPLimits()) }
        guard case .command = outcome, parser.isInline else { return [] }
        return parser.arguments.map { Array(parser.inline[$0]) }
    }

    // MARK: Replies

    static func show(_ reply: [UInt8]) -> String {
        if reply.isEmpty { return "(blocked)" }
        var position = 0
        var parts: [String] = []
        while position < reply.count { parts.append(show(reply, &position)) }
        return parts.joined(separator: " ")
    }

    private static func show(_ reply: [UInt8], _ position: inout Int) -> String {
        let kind = reply[position]
        var end = position
        while end < reply.count, reply[end] != 13 { end += 1 }
        let head = String(decoding: reply[(position + 1)..<end], as: UTF8.self)
        position = end + 2
        switch kind {
        case UInt8(ascii: "$"), UInt8(ascii: "="):
            guard let length = Int(head), length >= 0 else { return "nil" }
            let content = reply[position..<(position + length)]
            position += length + 2
            return quoted(kind == UInt8(ascii: "=") ? content.dropFirst(4) : content)
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"):
            guard let count = Int(head), count >= 0 else { return "nil" }
            let list = "[" + (0..<count).map { _ in show(reply, &position) }.joined(separator: ", ") + "]"
            return kind == UInt8(ascii: "*") ? list : String(UnicodeScalar(kind)) + list
        case UInt8(ascii: "%"):
            let pairs = (0..<(Int(head) ?? 0)).map { _ in
                let key = show(reply, &position)
                return "\(key): \(show(reply, &position))"
            }
            return "{" + pairs.joined(separator: ", ") + "}"
        case UInt8(ascii: "_"): return "nil"
        case UInt8(ascii: ","): return "," + head
        case UInt8(ascii: "#"): return "#" + head
        default: return head
        }
    }

    private static func quoted(_ bytes: ArraySlice<UInt8>) -> String {
        var text = "\""
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""): text += "\\\""
            case UInt8(ascii: "\\"): text += "\\\\"
            case 32..<127: text.unicodeScalars.append(UnicodeScalar(byte))
            default:
                let digits = String(byte, radix: 16)
                text += "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return text + "\""
    }
}
