import Primitives

/// What a gateway asks of a key partition at once: usually all commands that one connection's last read brought.
///
/// A connection has one unit under way at a time, so its commands keep their order whatever happens between nodes. A
/// unit that writes goes through the log as a whole; one that only reads is answered by the owner.
///
/// Bytes: kind u8, then by kind:
/// - commands: flags u8 (1: RESP3), waiter's ticket varint, then items: tag u8;
///   command: database varint, arguments; transaction: watches, commands.
/// - others: see `Kind`.
package struct KeyUnit: Equatable, Sendable {
    package enum Kind: UInt8, Sendable {
        /// Commands and transactions, answered by their replies one after the other.
        case commands = 0
        /// The versions of keys (WATCH), answered by 8 bytes each, little-endian. Reads only.
        case versions = 1
        /// Tickets whose replies the gateway has. No reply.
        case done = 2
        /// Asks after a ticket that waits: its reply if it has one by now, "still waiting", or "unknown".
        case poll = 3
        /// The connections of these tickets are gone. No reply.
        case cancel = 4
        /// Ends the wait of a ticket (CLIENT UNBLOCK), with an error's text or as if its time were up. `:1` or `:0`.
        case unblock = 5
        /// The first of a gateway's life: says which node and shard it serves, so that its former lives are forgotten.
        case hello = 6
        /// How many replicas besides the owner have everything (WAIT): `:n`, said by the owner's broker. Reads only.
        case replicas = 7
        /// The owner gives the partition to another replica (FAILOVER): `:1`, or `:0` when none can take it. The same
        /// way as a read.
        case handOver = 8
    }

    package enum Item: Equatable, Sendable {
        case command(database: Int, arguments: [[UInt8]])
        /// Done as a whole, or not at all when a watched key has another version: then the reply is the null array.
        case transaction(watches: [Watch], commands: [(database: Int, arguments: [[UInt8]])])

        package static func == (a: Item, b: Item) -> Bool {
            switch (a, b) {
            case (.command(let x, let p), .command(let y, let q)): x == y && p == q
            case (.transaction(let v, let p), .transaction(let w, let q)):
                v == w && p.elementsEqual(q) { $0.database == $1.database && $0.arguments == $1.arguments }
            default: false
            }
        }
    }

    package struct Watch: Equatable, Sendable {
        package var database: Int
        package var key: [UInt8]
        package var version: UInt64

        package init(database: Int, key: [UInt8], version: UInt64) {
            self.database = database
            self.key = key
            self.version = version
        }
    }

    /// Bytes of the longest unit. A log entry and a frame between nodes have room for one with company: what is longer
    /// would stop all that waits behind it.
    package static let byteLimit = (6 << 20) + (64 << 10)

    package var kind: Kind
    package var isRESP3 = false
    /// Names this connection's wait, should the last command block; 0: it must not. Unique in the gateway's life.
    package var ticket: UInt64 = 0
    package var items: [Item] = []
    /// Of `.versions`.
    package var keys: [(database: Int, key: [UInt8])] = []
    /// Of `.done`, `.poll`, `.cancel`, `.unblock`.
    package var tickets: [UInt64] = []
    /// Of `.unblock`: empty for a plain time-out.
    package var error: [UInt8] = []
    /// Of `.hello`.
    package var node: UInt64 = 0
    package var shard: UInt32 = 0

    package init(kind: Kind) { self.kind = kind }

    package static let itemsMax = 1 << 20
    package static let argumentsMax = 1 << 20

    package static func == (a: KeyUnit, b: KeyUnit) -> Bool { a.encoded() == b.encoded() }

    // MARK: Bytes

    package enum ItemTag: UInt8 {
        case command = 0
        case transaction = 1
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 128)
        writer.write(kind.rawValue)
        switch kind {
        case .commands:
            writer.write(UInt8(isRESP3 ? 1 : 0))
            writer.writeVarint(ticket)
            for item in items { KeyUnit.write(item, to: &writer) }
        case .versions:
            writer.writeVarint(UInt64(keys.count))
            for (database, key) in keys {
                writer.writeVarint(UInt64(database))
                writer.writeBytes(key)
            }
        case .done, .poll, .cancel, .unblock:
            writer.writeVarint(UInt64(tickets.count))
            for ticket in tickets { writer.writeVarint(ticket) }
            if kind == .unblock { writer.writeBytes(error) }
        case .hello:
            writer.write(node)
            writer.write(shard)
        case .replicas, .handOver: break
        }
        return writer.bytes
    }

    private static func write(_ item: Item, to writer: inout ByteWriter) {
        switch item {
        case .command(let database, let arguments):
            writer.write(ItemTag.command.rawValue)
            writer.writeVarint(UInt64(database))
            write(arguments, to: &writer)
        case .transaction(let watches, let commands):
            writer.write(ItemTag.transaction.rawValue)
            writer.writeVarint(UInt64(watches.count))
            for watch in watches {
                writer.writeVarint(UInt64(watch.database))
                writer.writeBytes(watch.key)
                writer.writeVarint(watch.version)
            }
            writer.writeVarint(UInt64(commands.count))
            for (database, arguments) in commands {
                writer.writeVarint(UInt64(database))
                write(arguments, to: &writer)
            }
        }
    }

    private static func write(_ arguments: [[UInt8]], to writer: inout ByteWriter) {
        writer.writeVarint(UInt64(arguments.count))
        for argument in arguments { writer.writeBytes(argument) }
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(DecodeError) {
        var reader = ByteReader(bytes)
        let tag = try reader.readByte()
        guard let kind = Kind(rawValue: tag) else { throw .unknown(field: "key unit", value: UInt64(tag)) }
        self.kind = kind
        switch kind {
        case .commands:
            (isRESP3, ticket) = try KeyUnit.readHead(&reader)
            while !reader.isAtEnd { items.append(try KeyUnit.readItem(&reader)) }
        case .versions:
            for _ in 0..<(try reader.readCount(limit: KeyUnit.argumentsMax, "keys")) {
                let database = try KeyUnit.readDatabase(&reader)
                keys.append((database, try reader.readBytes(limit: Int(Int32.max), "key")))
            }
        case .done, .poll, .cancel, .unblock:
            for _ in 0..<(try reader.readCount(limit: KeyUnit.itemsMax, "tickets")) {
                tickets.append(try reader.readVarint())
            }
            if kind == .unblock { error = try reader.readBytes(limit: 1024, "error") }
        case .hello:
            node = try reader.read(UInt64.self)
            shard = try reader.read(UInt32.self)
        case .replicas, .handOver: break
        }
        try reader.expectEnd()
    }

    /// The flags and the ticket of a `.commands` unit, whose items follow.
    static func readHead(_ reader: inout ByteReader) throws(DecodeError) -> (isRESP3: Bool, ticket: UInt64) {
        let flags = try reader.readByte()
        guard flags & ~1 == 0 else { throw .unknown(field: "key unit flags", value: UInt64(flags)) }
        return (flags & 1 != 0, try reader.readVarint())
    }

    static func readItem(_ reader: inout ByteReader) throws(DecodeError) -> Item {
        let tag = try reader.readByte()
        switch ItemTag(rawValue: tag) {
        case .command: return .command(database: try readDatabase(&reader), arguments: try readArguments(&reader))
        case .transaction:
            var watches: [Watch] = []
            for _ in 0..<(try reader.readCount(limit: argumentsMax, "watches")) {
                let database = try readDatabase(&reader)
                let key = try reader.readBytes(limit: Int(Int32.max), "key")
                watches.append(Watch(database: database, key: key, version: try reader.readVarint()))
            }
            var commands: [(database: Int, arguments: [[UInt8]])] = []
            for _ in 0..<(try reader.readCount(limit: itemsMax, "commands")) {
                let database = try readDatabase(&reader)
                commands.append((database, try readArguments(&reader)))
            }
            return .transaction(watches: watches, commands: commands)
        case nil: throw .unknown(field: "key unit item", value: UInt64(tag))
        }
    }

    static func readDatabase(_ reader: inout ByteReader) throws(DecodeError) -> Int {
        try reader.readCount(limit: Keyspace.databaseCount - 1, "database")
    }

    private static func readArguments(_ reader: inout ByteReader) throws(DecodeError) -> [[UInt8]] {
        let count = try reader.readCount(limit: argumentsMax, "arguments")
        guard count > 0 else { throw .unknown(field: "arguments", value: 0) }
        var arguments: [[UInt8]] = []
        arguments.reserveCapacity(min(count, 64))
        for _ in 0..<count { arguments.append(try reader.readBytes(limit: Int(Int32.max), "argument")) }
        return arguments
    }
}

/// Writes a `.commands` unit straight from where the arguments lie, without arrays in between.
package struct KeyUnitWriter {
    package private(set) var writer: ByteWriter
    package private(set) var count = 0

    package init(isRESP3: Bool, ticket: UInt64 = 0) {
        writer = ByteWriter(capacity: 128)
        writer.write(KeyUnit.Kind.commands.rawValue)
        writer.write(UInt8(isRESP3 ? 1 : 0))
        writer.writeVarint(ticket)
    }

    package var bytes: [UInt8] { writer.bytes }
    package var byteCount: Int { writer.count }

    /// Begins a command of so many arguments, which follow by `argument`.
    package mutating func command(database: Int, arguments: Int) {
        count += 1
        writer.write(KeyUnit.ItemTag.command.rawValue)
        writer.writeVarint(UInt64(database))
        writer.writeVarint(UInt64(arguments))
    }

    package mutating func argument(_ bytes: UnsafeRawBufferPointer) {
        writer.writeVarint(UInt64(bytes.count))
        writer.writeRaw(bytes)
    }
}

/// The result of a unit.
package enum KeyOutcome: Equatable, Sendable, StreamOutcome {
    /// The replies, one after the other.
    case replied([UInt8])
    /// The replies of all commands but the last, which waits: its reply comes by its ticket.
    case waits([UInt8])
    /// The unit was done, but its replies were too large to be kept for a second asking: nobody can say what they were.
    case unknown

    /// Bytes of replies that replicas keep until the gateway has them.
    package static let keptMax = 64 << 10

    package var byteCount: Int {
        switch self {
        case .replied(let bytes), .waits(let bytes): bytes.count
        case .unknown: 0
        }
    }

    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .replied(let bytes):
            writer.write(UInt8(0))
            writer.writeBytes(bytes)
        case .waits(let bytes):
            writer.write(UInt8(1))
            writer.writeBytes(bytes)
        case .unknown: writer.write(UInt8(2))
        }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        let tag = try reader.readByte()
        switch tag {
        case 0: self = .replied(try reader.readBytes(limit: Int(Int32.max), "replies"))
        case 1: self = .waits(try reader.readBytes(limit: Int(Int32.max), "replies"))
        case 2: self = .unknown
        default: throw .unknown(field: "key outcome", value: UInt64(tag))
        }
    }
}
