/// What a key holds. Every case is a value type that shares its storage when it is copied: so a snapshot is a copy.
package enum Value: Sendable {
    case string([UInt8])
    /// A string that is a canonical 64-bit integer.
    case integer(Int64)
    case list(ListValue)
    case hash(HashValue)
    case set(SetValue)
    case sortedSet(SortedSetValue)
    case stream(StreamValue)
    /// A command holds the value while it changes it, so that the change happens in place.
    case taken

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
}

extension ContainerValue {
    package static var staysWhenEmpty: Bool { false }
}
