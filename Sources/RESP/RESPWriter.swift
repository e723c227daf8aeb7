import Primitives

/// Appends replies in RESP2 or RESP3, as a connection has chosen by HELLO.
///
/// What RESP2 lacks is written as Redis writes it there: a map as a flat array, a set as an array, a double as a bulk
/// string, a boolean as 0 or 1, a push as an array.
/// Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
package struct RESPWriter: Sendable {
    package var bytes: [UInt8] = []
    /// 2 or 3.
    package var version: UInt8

    package init(version: UInt8 = 2) { self.version = version }

    package var isRESP3: Bool { version >= 3 }
    @inlinable package var count: Int { bytes.count }

    /// Forgets everything written after `count` was `mark`.
    package mutating func rollBack(to mark: Int) { bytes.removeSubrange(mark...) }

    // MARK: Scalars

    package mutating func ok() { simple("OK") }

    package mutating func simple(_ text: StaticString) {
        bytes.append(UInt8(ascii: "+"))
        text.withUTF8Buffer { bytes.append(contentsOf: $0) }
        endLine()
    }

    package mutating func simple(_ text: String) {
        bytes.append(UInt8(ascii: "+"))
        bytes.append(contentsOf: text.utf8)
        endLine()
    }

    /// `text` begins with the error's code (`ERR`, `WRONGTYPE`); line ends within become spaces.
    package mutating func error(_ text: String) {
        bytes.append(UInt8(ascii: "-"))
        for byte in text.utf8 { bytes.append(byte == 13 || byte == 10 ? 32 : byte) }
        endLine()
    }

    package mutating func integer(_ value: some FixedWidthInteger) { line(UInt8(ascii: ":"), Int64(value)) }

    package mutating func bulk(_ content: [UInt8]) {
        line(UInt8(ascii: "$"), Int64(content.count))
        bytes.append(contentsOf: content)
        endLine()
    }

    package mutating func bulk(_ content: ArraySlice<UInt8>) {
        line(UInt8(ascii: "$"), Int64(content.count))
        bytes.append(contentsOf: content)
        endLine()
    }

    package mutating func bulk(_ text: String) {
        line(UInt8(ascii: "$"), Int64(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
        endLine()
    }

    /// An integer as a bulk string.
    package mutating func bulk(_ value: Int64) {
        let mark = bytes.count
        appendDecimal(value)
        let digits = bytes.count - mark
        bytes.removeSubrange(mark...)
        line(UInt8(ascii: "$"), Int64(digits))
        appendDecimal(value)
        endLine()
    }

    /// Text that RESP3 clients may show as it is (INFO, CLIENT LIST, LATENCY DOCTOR); a bulk string in RESP2.
    package mutating func verbatim(_ text: String) {
        guard isRESP3 else {
            bulk(text)
            return
        }
        line(UInt8(ascii: "="), Int64(text.utf8.count + 4))
        bytes.append(contentsOf: "txt:".utf8)
        bytes.append(contentsOf: text.utf8)
        endLine()
    }

    /// Nothing: `_` in RESP3, a null bulk string in RESP2.
    package mutating func null() {
        if isRESP3 { raw("_\r\n") } else { raw("$-1\r\n") }
    }

    /// Nothing where an array was expected: `_` in RESP3, a null array in RESP2.
    package mutating func nullArray() {
        if isRESP3 { raw("_\r\n") } else { raw("*-1\r\n") }
    }

    package mutating func boolean(_ value: Bool) {
        if isRESP3 { raw(value ? "#t\r\n" : "#f\r\n") } else { raw(value ? ":1\r\n" : ":0\r\n") }
    }

    /// A double in RESP3, a bulk string in RESP2; `inf`, `-inf`, and the shortest text that reads back the same.
    package mutating func double(_ value: Double) {
        let text = Decimal.text(of: value)
        if isRESP3 {
            bytes.append(UInt8(ascii: ","))
            bytes.append(contentsOf: text.utf8)
            endLine()
        } else {
            bulk(text)
        }
    }

    // MARK: Aggregates: the header; the elements follow.

    package mutating func array(_ count: Int) { line(UInt8(ascii: "*"), Int64(count)) }

    /// `count` pairs follow.
    package mutating func map(_ count: Int) {
        if isRESP3 { line(UInt8(ascii: "%"), Int64(count)) } else { line(UInt8(ascii: "*"), Int64(count) * 2) }
    }

    package mutating func set(_ count: Int) {
        line(isRESP3 ? UInt8(ascii: "~") : UInt8(ascii: "*"), Int64(count))
    }

    package mutating func push(_ count: Int) {
        line(isRESP3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), Int64(count))
    }

    /// An array whose length is known only after its elements: writes the header in front of what follows `mark`.
    package mutating func insertArray(_ count: Int, at mark: Int) { insert(UInt8(ascii: "*"), count, at: mark) }

    private mutating func insert(_ kind: UInt8, _ count: Int, at mark: Int) {
        var header = RESPWriter(version: version)
        header.line(kind, Int64(count))
        bytes.insert(contentsOf: header.bytes, at: mark)
    }

    /// Bytes that are RESP already.
    package mutating func raw(_ text: StaticString) { text.withUTF8Buffer { bytes.append(contentsOf: $0) } }
    package mutating func raw(_ content: [UInt8]) { bytes.append(contentsOf: content) }
    package mutating func raw(_ content: ArraySlice<UInt8>) { bytes.append(contentsOf: content) }

    private mutating func line(_ kind: UInt8, _ value: Int64) {
        bytes.append(kind)
        appendDecimal(value)
        endLine()
    }

    private mutating func endLine() {
        bytes.append(13)
        bytes.append(10)
    }

    private mutating func appendDecimal(_ value: Int64) { Decimal.append(value, to: &bytes) }
}
