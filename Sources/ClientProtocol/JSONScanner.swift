/// A strict, validating, one-pass reader of RFC 8259 JSON over bytes that it does not own.
///
/// It builds nothing: a value is a place in the buffer, so that a publication's data travels through untouched.
/// Strictness: UTF-8 must be well-formed, control characters escaped, surrogates paired, numbers in the RFC's grammar,
/// nesting at most `depthLimit`. Objects that are entered member by member (`enterObject`, `nextMember`) refuse a name
/// that comes twice, because two readers of such a message could disagree; opaque values are not searched for
/// duplicates.
///
/// Valid only while the buffer is; nothing traps on bad input.
package struct JSONScanner {
    /// Values may nest this deep; 64 at most.
    package static let maximumDepth = 64
    /// Members of one entered object.
    package static let memberLimit = 512

    let base: UnsafeRawBufferPointer
    package private(set) var position: Int
    private let depthLimit: Int
    private var depth = 0
    /// The innermost entered object or array has not shown a member yet.
    private var isFresh = false

    package init(_ bytes: UnsafeRawBufferPointer, from position: Int = 0, depthLimit: Int = maximumDepth) {
        precondition(depthLimit > 0 && depthLimit <= JSONScanner.maximumDepth)
        self.base = bytes
        self.position = position
        self.depthLimit = depthLimit
    }

    /// Checks that `bytes` are exactly one JSON value, with whitespace around it at most.
    package static func validate(
        _ bytes: UnsafeRawBufferPointer,
        depthLimit: Int = maximumDepth
    ) throws(JSONError) -> JSONValue {
        var scanner = JSONScanner(bytes, depthLimit: depthLimit)
        let value = try scanner.value()
        try scanner.expectEnd()
        return value
    }

    package mutating func skipWhitespace() {
        while position < base.count {
            switch base[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position &+= 1
            default: return
            }
        }
    }

    package var isAtEnd: Bool { position >= base.count }

    package mutating func expectEnd() throws(JSONError) {
        skipWhitespace()
        guard isAtEnd else { throw JSONError(.trailingBytes, at: position) }
    }

    /// The first byte of what comes next, after whitespace.
    package mutating func peek() throws(JSONError) -> UInt8 {
        skipWhitespace()
        guard position < base.count else { throw JSONError(.unexpectedEnd, at: position) }
        return base[position]
    }

    /// Validates the next value, whatever it is, and steps over it.
    package mutating func value() throws(JSONError) -> JSONValue {
        let first = try peek()
        let start = position
        switch first {
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            try skipContainer()
            return JSONValue(kind: first == UInt8(ascii: "{") ? .object : .array, range: start..<position)
        default: return try scalar(first)
        }
    }

    // MARK: Objects and arrays, member by member

    /// Steps into the object that comes next; `nextMember` must then be called until it returns nil.
    package mutating func enterObject() throws(JSONError) { try enter(UInt8(ascii: "{")) }

    /// Steps into the array that comes next; `nextElement` must then be called until it returns false.
    package mutating func enterArray() throws(JSONError) { try enter(UInt8(ascii: "[")) }

    private mutating func enter(_ bracket: UInt8) throws(JSONError) {
        guard try peek() == bracket else { throw JSONError(.unexpectedByte, at: position) }
        guard depth < depthLimit else { throw JSONError(.tooDeep, at: position) }
        depth += 1
        position += 1
        isFresh = true
    }

    /// The name of the next member, whose value must be read next; nil at the object's end.
    package mutating func nextMember() throws(JSONError) -> JSONValue? {
        guard try advance(closing: UInt8(ascii: "}")) else { return nil }
        return try memberName()
    }

    /// True when another element follows, which must be read next; false at the array's end.
    package mutating func nextElement() throws(JSONError) -> Bool {
        try advance(closing: UInt8(ascii: "]"))
    }

    private mutating func advance(closing: UInt8) throws(JSONError) -> Bool {
        let byte = try peek()
        if byte == closing {
            position += 1
            depth -= 1
            isFresh = false
            return false
        }
        if isFresh {
            isFresh = false
        } else {
            guard byte == UInt8(ascii: ",") else { throw JSONError(.unexpectedByte, at: position) }
            position += 1
        }
        return true
    }

    private mutating func memberName() throws(JSONError) -> JSONValue {
        guard try peek() == UInt8(ascii: "\"") else { throw JSONError(.unexpectedByte, at: position) }
        let name = try string()
        guard try peek() == UInt8(ascii: ":") else { throw JSONError(.unexpectedByte, at: position) }
        position += 1
        return name
    }

    // MARK: Validation

    /// Walks a whole object or array without recursion: a bit per open level says which of the two it is.
    private mutating func skipContainer() throws(JSONError) {
        var kinds: UInt64 = 0
        var level = 0
        var opener: UInt8? = base[position]
        while true {
            if let bracket = opener {
                guard depth + level < depthLimit else { throw JSONError(.tooDeep, at: position) }
                let isObject = bracket == UInt8(ascii: "{")
                level += 1
                kinds = kinds << 1 | (isObject ? 1 : 0)
                position += 1
                if try peek() != (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                    opener = try item(inObject: isObject)
                    continue
                }
            }
            // After a value: a comma and the next one, or the end of the container.
            let byte = try peek()
            let inObject = kinds & 1 == 1
            if byte == UInt8(ascii: ",") {
                position += 1
                opener = try item(inObject: inObject)
            } else if byte == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                position += 1
                kinds >>= 1
                level -= 1
                if level == 0 { return }
                opener = nil
            } else {
                throw JSONError(.unexpectedByte, at: position)
            }
        }
    }

    /// Reads a member's name, if in an object, and a scalar; or returns the bracket that opens a nested container.
    private mutating func item(inObject: Bool) throws(JSONError) -> UInt8? {
        if inObject { _ = try memberName() }
        let first = try peek()
        if first == UInt8(ascii: "{") || first == UInt8(ascii: "[") { return first }
        _ = try scalar(first)
        return nil
    }

    private mutating func scalar(_ first: UInt8) throws(JSONError) -> JSONValue {
        switch first {
        case UInt8(ascii: "\""): return try string()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        case UInt8(ascii: "t"): return try literal("true", .boolean)
        case UInt8(ascii: "f"): return try literal("false", .boolean)
        case UInt8(ascii: "n"): return try literal("null", .null)
        default: throw JSONError(.unexpectedByte, at: position)
        }
    }

    private mutating func literal(_ word: StaticString, _ kind: JSONValue.Kind) throws(JSONError) -> JSONValue {
        let count = word.utf8CodeUnitCount
        guard base.count - position >= count else { throw JSONError(.invalidLiteral, at: position) }
        for index in 0..<count where base[position + index] != word.utf8Start[index] {
            throw JSONError(.invalidLiteral, at: position)
        }
        position += count
        return JSONValue(kind: kind, range: (position - count)..<position)
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        if base[position] == UInt8(ascii: "-") { position += 1 }
        guard position < base.count else { throw JSONError(.unexpectedEnd, at: position) }
        if base[position] == UInt8(ascii: "0") {
            position += 1
        } else {
            try digits()
        }
        if position < base.count, base[position] == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if position < base.count, base[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            if position < base.count, base[position] == UInt8(ascii: "+") || base[position] == UInt8(ascii: "-") {
                position += 1
            }
            try digits()
        }
        // "01", "1x" and the like: what follows a number is never a letter or a digit.
        if position < base.count, JSONScanner.isWordByte(base[position]) {
            throw JSONError(.invalidNumber, at: position)
        }
        return JSONValue(kind: .number, range: start..<position)
    }

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "+"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// One digit or more.
    private mutating func digits() throws(JSONError) {
        let start = position
        while position < base.count, base[position] &- UInt8(ascii: "0") < 10 { position += 1 }
        guard position > start else { throw JSONError(.invalidNumber, at: position) }
    }

    /// Reads the string that begins at `position`.
    private mutating func string() throws(JSONError) -> JSONValue {
        let start = position
        var isEscaped = false
        var index = start + 1
        while true {
            index = JSONText.firstSpecial(in: base, from: index)
            guard index < base.count else { throw JSONError(.unexpectedEnd, at: base.count) }
            let byte = base[index]
            if byte == UInt8(ascii: "\"") {
                position = index + 1
                return JSONValue(kind: .string, range: start..<position, isEscaped: isEscaped)
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
                index = try escapeEnd(at: index)
            } else if byte < 0x20 {
                throw JSONError(.controlCharacter, at: index)
            } else {
                let length = JSONText.sequenceLength(in: base, at: index)
                guard length > 0 else { throw JSONError(.invalidUTF8, at: index) }
                index += length
            }
        }
    }

    /// The index after the escape that begins at `index`.
    private func escapeEnd(at index: Int) throws(JSONError) -> Int {
        guard index + 1 < base.count else { throw JSONError(.unexpectedEnd, at: base.count) }
        switch base[index + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return index + 2
        case UInt8(ascii: "u"): break
        default: throw JSONError(.invalidEscape, at: index)
        }
        let unit = try codeUnit(at: index)
        switch unit {
        case 0xD800...0xDBFF:
            guard index + 7 < base.count, base[index + 6] == UInt8(ascii: "\\"), base[index + 7] == UInt8(ascii: "u")
            else { throw JSONError(.loneSurrogate, at: index) }
            guard case 0xDC00...0xDFFF = try codeUnit(at: index + 6) else {
                throw JSONError(.loneSurrogate, at: index)
            }
            return index + 12
        case 0xDC00...0xDFFF: throw JSONError(.loneSurrogate, at: index)
        default: return index + 6
        }
    }

    /// The four digits of the `\u` at `index`.
    private func codeUnit(at index: Int) throws(JSONError) -> UInt32 {
        guard index + 6 <= base.count else { throw JSONError(.unexpectedEnd, at: base.count) }
        guard let unit = JSONText.codeUnit(in: base, at: index + 2) else { throw JSONError(.invalidEscape, at: index) }
        return unit
    }
}

// MARK: Reading scalars

extension JSONScanner {
    /// The text of a string value as UTF-8, unescaped.
    package func text(_ value: JSONValue) -> [UInt8] {
        precondition(value.kind == .string)
        let raw = UnsafeRawBufferPointer(rebasing: base[value.content])
        return value.isEscaped ? JSONText.unescaped(raw) : [UInt8](raw)
    }

    /// True when `value` is a string with exactly this text.
    package func isText(_ value: JSONValue, _ text: StaticString) -> Bool {
        guard value.kind == .string else { return false }
        return text.withUTF8Buffer { other in
            value.isEscaped
                ? self.text(value).elementsEqual(other)
                : value.content.count == other.count && base[value.content].elementsEqual(other)
        }
    }

    /// A number without sign, fraction and exponent, if it fits.
    package func unsigned(_ value: JSONValue) -> UInt64? {
        guard value.kind == .number else { return nil }
        var result: UInt64 = 0
        for byte in base[value.range] {
            let digit = byte &- UInt8(ascii: "0")
            guard digit < 10 else { return nil }
            let (product, overflow) = result.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            if overflow || carry { return nil }
            result = sum
        }
        return result
    }

    /// A number without fraction and exponent, if it fits.
    package func signed(_ value: JSONValue) -> Int64? {
        guard value.kind == .number else { return nil }
        guard base[value.range.lowerBound] == UInt8(ascii: "-") else {
            return unsigned(value).flatMap(Int64.init(exactly:))
        }
        let digits = JSONValue(kind: .number, range: (value.range.lowerBound + 1)..<value.range.upperBound)
        guard let magnitude = unsigned(digits), magnitude <= UInt64(Int64.max) else { return nil }
        return -Int64(magnitude)
    }

    /// `true` or `false`.
    package func boolean(_ value: JSONValue) -> Bool? {
        value.kind == .boolean ? base[value.range.lowerBound] == UInt8(ascii: "t") : nil
    }
}
