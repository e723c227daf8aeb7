import Primitives
import RESP

/// SSCAN and ZSCAN: `key cursor [MATCH pattern] [COUNT count]`.
struct MemberScan {
    var cursor: UInt64
    var wanted = 10
    private var glob: Glob?

    /// The options from argument 3 on. Redis looks for the key before it reads them: see `cursor(of:)`.
    init(_ call: Call, cursor: UInt64) throws(CommandError) {
        self.cursor = cursor
        var index = 3
        while index < call.count {
            guard index + 1 < call.count else { throw .syntax }
            if call.isWord(index, "count") {
                let count = try call.integer(index + 1)
                if count < 1 { throw .syntax }
                wanted = Int(clamping: min(count, 1 << 32))
            } else if call.isWord(index, "match") {
                let pattern = Glob(call[index + 1])
                glob = pattern.matchesAll ? nil : pattern
            } else {
                throw .syntax
            }
            index += 2
        }
    }

    /// Any 64-bit number, as strtoul reads it.
    static func cursor(of text: [UInt8]) throws(CommandError) -> UInt64 {
        guard let value = Decimal.unsigned(text) else { throw .message("ERR invalid cursor") }
        return value
    }

    func matches(_ member: [UInt8]) -> Bool { glob?.matches(member) ?? true }

    static func writeNothing(_ reply: inout RESPWriter) {
        reply.array(2)
        reply.bulk("0")
        reply.array(0)
    }
}

extension Call {
    /// How many random members: negative for as many that may repeat.
    func randomCount(_ index: Int) throws(CommandError) -> Int64 {
        let value = try integer(index)
        if value == .min {
            throw .message(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"
            )
        }
        return value
    }

    static let positive = "value is out of range, must be positive"
}

extension Keyspace {
    /// An empty container that is not at a key yet.
    func makeContainer<V: ContainerValue>(_: V.Type) -> V { V(seed: SplitMix64.mix(seed ^ version &+ 1)) }

    /// The container of type `V` that a live key holds, for commands that write: counts no hit or miss.
    func peek<V: ContainerValue>(_: V.Type, _ database: Int, _ key: [UInt8]) throws(CommandError) -> V? {
        guard let value = peek(database, key) else { return nil }
        guard let container = V.unwrap(value) else { throw .wrongType }
        return container
    }

    /// The result of a command that ends in STORE: an empty one removes the key.
    mutating func storeResult(
        _ call: Call,
        _ key: [UInt8],
        _ result: some ContainerValue,
        _ kind: KeyNotification.Kind,
        _ event: String
    ) {
        if result.isEmpty {
            expireIfDue(call.database, key)
            if remove(call.database, key) { notify(.generic, "del", call.database, key) }
        } else {
            store(call.database, key, result.wrapped)
            notify(kind, event, call.database, key)
        }
    }

    /// `wanted` different numbers below `count`, in random order: the beginning of a shuffle.
    mutating func distinct(_ wanted: Int, below count: Int) -> [Int] {
        var moved: [Int: Int] = [:]
        return (0..<min(wanted, count)).map { place in
            let other = place + Int(random.below(UInt64(count - place)))
            let picked = moved[other] ?? other
            moved[other] = moved[place] ?? place
            return picked
        }
    }

    /// Members that may repeat are as many as a client asks for: their reply has a bound.
    func checkLength(_ reply: RESPWriter, from mark: Int) throws(CommandError) {
        if reply.count - mark > configuration.protoMaxBulkLength {
            throw .message("ERR reply is longer than proto-max-bulk-len")
        }
    }
}
