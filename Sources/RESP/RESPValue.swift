/// What a Redis server says: the kinds of RESP2 and RESP3.
/// Source: https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
package enum RESPValue: Equatable, Sendable {
    /// `+` line.
    case simple(String)
    /// `-` line or `!` blob: the code in capitals, then words.
    case error(String)
    /// `:`
    case integer(Int64)
    /// `$`, and the text of `=` (verbatim) without its format.
    case bulk([UInt8])
    /// `_`, and RESP2's `$-1` and `*-1`.
    case null
    /// `#`
    case boolean(Bool)
    /// `,`
    case double(Double)
    /// `(`: decimal digits of any number.
    case bigNumber(String)
    /// `*`
    case array([RESPValue])
    /// `~`
    case set([RESPValue])
    /// `%`: keys and values by turns, in the server's order.
    case map([RESPValue])
    /// `>`: out of band, answers no command.
    case push([RESPValue])

    /// The text of a string of any kind.
    package var text: String? {
        switch self {
        case .simple(let text), .bigNumber(let text): text
        case .bulk(let bytes): String(validating: bytes, as: UTF8.self)
        default: nil
        }
    }

    /// The bytes of a string of any kind.
    package var bytes: [UInt8]? {
        switch self {
        case .simple(let text): Array(text.utf8)
        case .bulk(let bytes): bytes
        default: nil
        }
    }

    /// A number, also one that comes as text.
    package var number: Int64? {
        if case .integer(let number) = self { return number }
        return text.flatMap { Int64($0) }
    }

    /// The elements of an aggregate of any kind.
    package var elements: [RESPValue]? {
        switch self {
        case .array(let elements), .set(let elements), .map(let elements), .push(let elements): elements
        default: nil
        }
    }

    /// The server's refusal.
    package var errorText: String? {
        if case .error(let text) = self { return text }
        return nil
    }

    /// The value of a key, in a map or in RESP2's flat array of pairs.
    package func member(_ key: String) -> RESPValue? {
        guard let elements else { return nil }
        var index = 0
        while index + 1 < elements.count {
            if elements[index].text == key { return elements[index + 1] }
            index += 2
        }
        return nil
    }
}
