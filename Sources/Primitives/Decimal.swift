/// Numbers as text, strictly as Redis reads and writes them.
package enum Decimal {
    /// Appends the digits of `value`.
    package static func append(_ value: Int64, to bytes: inout [UInt8]) {
        if value >= 0, value < 10 {
            bytes.append(48 + UInt8(value))
            return
        }
        var magnitude = value.magnitude
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        let start = bytes.count
        while magnitude > 0 {
            bytes.append(48 + UInt8(truncatingIfNeeded: magnitude % 10))
            magnitude /= 10
        }
        bytes[start...].reverse()
    }

    package static func bytes(of value: Int64) -> [UInt8] {
        var bytes: [UInt8] = []
        append(value, to: &bytes)
        return bytes
    }

    // Not generic: across modules the optimizer leaves that unspecialized, which cost a third of the request parser.

    /// A 64-bit integer with nothing around it: no blanks, no plus, no leading zeros, no "-0" (Redis: string2ll).
    package static func integer(_ text: UnsafeRawBufferPointer) -> Int64? {
        guard !text.isEmpty, text.count <= 20 else { return nil }
        let isNegative = text[0] == UInt8(ascii: "-")
        var position = isNegative ? 1 : 0
        guard position < text.count, text[position] >= 48, text[position] <= 57 else { return nil }
        if text[position] == 48 { return text.count == 1 ? 0 : nil }
        var value: UInt64 = 0
        while position < text.count {
            let digit = text[position] &- 48
            guard digit <= 9 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
            if overflow || carry { return nil }
            value = sum
            position += 1
        }
        if isNegative { return value <= UInt64(Int64.max) + 1 ? Int64(truncatingIfNeeded: 0 &- value) : nil }
        return Int64(exactly: value)
    }

    package static func integer(_ text: [UInt8]) -> Int64? { text.withUnsafeBytes { integer($0) } }
    package static func integer(_ text: ArraySlice<UInt8>) -> Int64? { text.withUnsafeBytes { integer($0) } }
    package static func integer(_ text: Slice<UnsafeRawBufferPointer>) -> Int64? {
        integer(UnsafeRawBufferPointer(rebasing: text))
    }

    /// A 64-bit number as strtoul reads a cursor: nothing is 0, a minus counts down from the top.
    package static func unsigned(_ text: [UInt8]) -> UInt64? {
        guard let first = text.first else { return 0 }
        let isNegative = first == UInt8(ascii: "-")
        let digits = text.dropFirst(isNegative || first == UInt8(ascii: "+") ? 1 : 0)
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard byte >= 48, byte <= 57 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 48))
            if overflow || carry { return nil }
            value = sum
        }
        return isNegative ? 0 &- value : value
    }

    /// A number of bytes with a unit, in any case: `100`, `64mb` (1024 each), `1g` (1000 each). Not negative.
    package static func memory(_ text: [UInt8]) -> Int64? {
        let digits = text.prefix { $0 >= 48 && $0 <= 57 }
        let unit = String(decoding: text.dropFirst(digits.count).map { $0 | 32 }, as: UTF8.self)
        let units: [String: Int64] = [
            "": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1_000_000, "mb": 1 << 20, "g": 1_000_000_000, "gb": 1 << 30,
        ]
        guard let factor = units[unit], let number = Int64(String(decoding: digits, as: UTF8.self)) else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : bytes
    }

    /// A double as Redis reads scores and increments: what strtod takes, without blanks around it, not NaN, and neither
    /// too large nor too small for a double.
    package static func double(_ text: [UInt8]) -> Double? { double(text[...]) }

    package static func double(_ text: ArraySlice<UInt8>) -> Double? {
        if let number = integer(text), number.magnitude <= 1 << 53 { return Double(number) }
        guard let first = text.first, text.count <= 512, first > 32, !text.contains(0) else { return nil }
        guard let value = Double(String(decoding: text, as: UTF8.self)), !value.isNaN else { return nil }
        if value.isInfinite { return text.contains { $0 | 32 == UInt8(ascii: "i") } ? value : nil }
        if value == 0 {
            // A zero that was not written as one is an underflow.
            let isHexadecimal = text.contains { $0 | 32 == UInt8(ascii: "x") }
            let mantissa = text.prefix { $0 | 32 != (isHexadecimal ? UInt8(ascii: "p") : UInt8(ascii: "e")) }
            let isZero = !mantissa.contains { ($0 >= 49 && $0 <= 57) || ($0 | 32 >= 97 && $0 | 32 <= 102) }
            return isZero ? value : nil
        }
        return value
    }

    /// The shortest text that reads back as the same double: `3`, `0.1`, `1e+20`, `inf`, `-inf`.
    package static func text(of value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        if value == 0 { return value.sign == .minus ? "-0" : "0" }
        if value == value.rounded(.towardZero), value.magnitude < 1e17 { return String(Int64(value)) }
        return value.description
    }
}
