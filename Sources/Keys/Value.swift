import Primitives

/// What a key holds. Every case is a value type that shares its storage when it is copied: so a snapshot is a copy.
package enum Value: Sendable {
    case string([UInt8])
    /// A string that is a canonical 64-bit integer.
    case integer(Int64)
    case list(ListValue)
    // In boxes of their own, so that the rows of the databases are narrow: most of them are strings.
    indirect case hash(HashValue)
    indirect case set(SetValue)
    indirect case sortedSet(SortedSetValue)
    indirect case stream(StreamValue)
    /// A command holds the value while it changes it, so that the change happens in place.
    case taken

    /// A string of these bytes.
    package init(string bytes: [UInt8]) {
        if let number = Decimal.integer(bytes) { self = .integer(number) } else { self = .string(bytes) }
    }

    /// The bytes of a string; nil for other types.
    package var stringBytes: [UInt8]? {
        switch self {
        case .string(let bytes): bytes
        case .integer(let value): Decimal.bytes(of: value)
        default: nil
        }
    }

    /// `TYPE`'s word.
    package var typeName: String {
        switch self {
        case .string, .integer: "string"
        case .list: "list"
        case .hash: "hash"
        case .set: "set"
        case .sortedSet: "zset"
        case .stream: "stream"
        case .taken: "none"
        }
    }
}

/// A type that holds several elements: made by its first element, and for all but streams gone with its last.
package protocol ContainerValue: Sendable {
    /// An empty one. `seed` is for its hash tables.
    init(seed: UInt64)
    var isEmpty: Bool { get }
    /// An empty one stays (streams).
    static var staysWhenEmpty: Bool { get }
    /// This type's value in `value`; nil when it holds another type.
    static func unwrap(_ value: Value) -> Self?
    var wrapped: Value { get }

    /// About how much memory it takes; cheap to ask.
    var byteEstimate: Int { get }
    /// Writes everything that its behaviour depends on.
    func encode(into writer: inout ByteWriter)
    /// Reads what `encode` wrote.
    init(from reader: inout ByteReader) throws(DecodeError)
}

extension ContainerValue {
    package static var staysWhenEmpty: Bool { false }
}

extension Value {
    /// What `OBJECT ENCODING` says: what Redis would have with these bounds.
    package func encodingName(_ configuration: KeyspaceConfiguration) -> String {
        switch self {
        case .integer: "int"
        // Redis keeps up to 44 bytes in one allocation with the object's header.
        case .string(let bytes): bytes.count <= 44 ? "embstr" : "raw"
        case .list(let held): held.encoding(configuration)
        case .hash(let held): held.encoding
        case .set(let held): held.encodingName
        case .sortedSet(let held): held.encodingName(configuration)
        case .stream: "stream"
        case .taken: ""
        }
    }

    /// About how many bytes the value takes beside its place in the table.
    package var byteEstimate: Int {
        switch self {
        case .string(let bytes): 32 + bytes.count
        case .integer, .taken: 0
        case .list(let held): held.byteEstimate
        case .hash(let held): held.byteEstimate
        case .set(let held): held.byteEstimate
        case .sortedSet(let held): held.byteEstimate
        case .stream(let held): held.byteEstimate
        }
    }

    private enum Tag: UInt8 {
        case integer = 1
        case string, list, hash, set, sortedSet, stream
    }

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .integer(let value):
            writer.write(Tag.integer.rawValue)
            writer.write(value)
        case .string(let bytes):
            writer.write(Tag.string.rawValue)
            writer.writeBytes(bytes)
        case .list(let held): encode(.list, held, into: &writer)
        case .hash(let held): encode(.hash, held, into: &writer)
        case .set(let held): encode(.set, held, into: &writer)
        case .sortedSet(let held): encode(.sortedSet, held, into: &writer)
        case .stream(let held): encode(.stream, held, into: &writer)
        case .taken: preconditionFailure("a snapshot in the middle of a command")
        }
    }

    private func encode(_ tag: Tag, _ held: some ContainerValue, into writer: inout ByteWriter) {
        writer.write(tag.rawValue)
        held.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        let byte = try reader.readByte()
        switch Tag(rawValue: byte) {
        case .integer: self = .integer(Int64(bitPattern: try reader.read(UInt64.self)))
        case .string: self = .string(try reader.readBytes(limit: reader.remaining, "string"))
        case .list: self = .list(try ListValue(from: &reader))
        case .hash: self = .hash(try HashValue(from: &reader))
        case .set: self = .set(try SetValue(from: &reader))
        case .sortedSet: self = .sortedSet(try SortedSetValue(from: &reader))
        case .stream: self = .stream(try StreamValue(from: &reader))
        case nil: throw .unknown(field: "value", value: UInt64(byte))
        }
    }
}
