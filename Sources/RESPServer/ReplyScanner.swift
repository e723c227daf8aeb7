import Primitives

/// Where one RESP reply ends and the next begins, for replies that others have written.
enum ReplyScanner {
    /// The end of the reply at `start`, in bytes that are well-formed; nil when they are not.
    static func end(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var position = start
        var missing = 1
        while missing > 0 {
            guard position < bytes.count, let line = lineEnd(bytes, position) else { return nil }
            missing -= 1
            switch bytes[position] {
            case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
                guard let length = count(bytes, position + 1, line) else { return nil }
                position = length < 0 ? line + 2 : line + 2 + length + 2
            case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"):
                guard let elements = count(bytes, position + 1, line) else { return nil }
                missing += max(0, elements)
                position = line + 2
            case UInt8(ascii: "%"):
                guard let pairs = count(bytes, position + 1, line) else { return nil }
                missing += max(0, pairs) * 2
                position = line + 2
            default: position = line + 2
            }
        }
        return position <= bytes.count ? position : nil
    }

    /// The ranges of the replies in `bytes`.
    static func split(_ bytes: UnsafeRawBufferPointer, from start: Int = 0) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var position = start
        while position < bytes.count, let next = end(bytes, from: position) {
            ranges.append(position..<next)
            position = next
        }
        return ranges
    }

    /// The elements of an aggregate that is the whole of `bytes`; nil when it is a null or no aggregate.
    static func elements(_ bytes: [UInt8]) -> [Range<Int>]? {
        bytes.withUnsafeBytes { raw in
            guard let first = raw.first, first == UInt8(ascii: "*") || first == UInt8(ascii: "~"),
                let line = lineEnd(raw, 0), let number = count(raw, 1, line), number >= 0
            else { return nil }
            return split(raw, from: line + 2)
        }
    }

    /// An integer reply's value.
    static func integer(_ bytes: [UInt8]) -> Int64? {
        bytes.withUnsafeBytes { raw in
            guard raw.first == UInt8(ascii: ":"), let line = lineEnd(raw, 0) else { return nil }
            return Decimal.integer(raw[1..<line])
        }
    }

    /// A bulk string's content.
    static func bulk(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
        bytes.withUnsafeBytes { raw in
            guard raw.first == UInt8(ascii: "$"), let line = lineEnd(raw, 0), let length = count(raw, 1, line),
                length >= 0, line + 2 + length <= raw.count
            else { return nil }
            return [UInt8](raw[(line + 2)..<(line + 2 + length)])
        }
    }

    private static func lineEnd(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int? {
        var position = start
        while position + 1 < bytes.count {
            if bytes[position] == 13 { return position }
            position += 1
        }
        return nil
    }

    private static func count(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Int? {
        guard let value = Decimal.integer(bytes[start..<end]), value < Int64(Int32.max) else { return nil }
        return Int(value)
    }
}
