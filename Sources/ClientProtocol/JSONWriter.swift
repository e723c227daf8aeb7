/// Appends JSON to an array that the caller owns and reuses. What it writes never contains a raw line feed or carriage
/// return, because both protocols separate messages by lines.
package enum JSONWriter {
    /// A string with its quotes. Bytes that are not UTF-8 become U+FFFD, so that the frame stays valid whatever a room
    /// is called.
    package static func append(text: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        var start = 0
        var index = 0
        while true {
            index = JSONText.firstSpecial(in: text, from: index)
            guard index < text.count else { break }
            let byte = text[index]
            if byte >= 0x80 {
                let length = JSONText.sequenceLength(in: text, at: index)
                if length > 0 {
                    index += length
                    continue
                }
            }
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<index]))
            appendEscape(byte, to: &out)
            index += 1
            start = index
        }
        out.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start...]))
        out.append(UInt8(ascii: "\""))
    }

    private static func appendEscape(_ byte: UInt8, to out: inout [UInt8]) {
        switch byte {
        case 0x80...: out.append(contentsOf: [0xEF, 0xBF, 0xBD])
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            out.append(UInt8(ascii: "\\"))
            out.append(byte)
        case 0x0A: append(literal: #"\n"#, to: &out)
        case 0x0D: append(literal: #"\r"#, to: &out)
        case 0x09: append(literal: #"\t"#, to: &out)
        default:
            append(literal: #"\u00"#, to: &out)
            let digits: StaticString = "0123456789abcdef"
            out.append(digits.utf8Start[Int(byte >> 4)])
            out.append(digits.utf8Start[Int(byte & 15)])
        }
    }

    /// A string with its quotes.
    package static func append(text: ArraySlice<UInt8>, to out: inout [UInt8]) {
        text.withUnsafeBytes { append(text: $0, to: &out) }
    }

    /// A string with its quotes. For names and messages, not for the hot path.
    package static func append(text: String, to out: inout [UInt8]) {
        var copy = text
        copy.withUTF8 { append(text: UnsafeRawBufferPointer($0), to: &out) }
    }

    /// A validated JSON value, as it is except that line breaks, which can only stand between its tokens, become
    /// spaces.
    package static func append(value: ArraySlice<UInt8>, to out: inout [UInt8]) {
        value.withUnsafeBytes { raw in
            let start = out.count
            out.append(contentsOf: raw)
            var index = JSONText.firstLineBreak(in: raw, from: 0)
            while index < raw.count {
                out[start + index] = 0x20
                index = JSONText.firstLineBreak(in: raw, from: index + 1)
            }
        }
    }

    /// A decimal number.
    package static func append(number: UInt64, to out: inout [UInt8]) {
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { digits in
            var first = 20
            var rest = number
            repeat {
                first &-= 1
                let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
                digits[first] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: digit)
                rest = quotient
            } while rest != 0
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: digits[first...]))
        }
    }

    /// Bytes of ours, as they are.
    @inline(__always)
    static func append(literal: StaticString, to out: inout [UInt8]) {
        out.append(contentsOf: UnsafeRawBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
    }
}
