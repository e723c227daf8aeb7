/// The little base64 (RFC 4648, section 4) that the handshake needs.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let left = bytes.count - index
            let group =
                UInt32(bytes[index]) << 16 | (left > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
                | (left > 2 ? UInt32(bytes[index + 2]) : 0)
            out.append(alphabet[Int(group >> 18)])
            out.append(alphabet[Int(group >> 12 & 63)])
            out.append(left > 1 ? alphabet[Int(group >> 6 & 63)] : UInt8(ascii: "="))
            out.append(left > 2 ? alphabet[Int(group & 63)] : UInt8(ascii: "="))
            index += 3
        }
        return out
    }

    /// True when `text` is the encoding of exactly 16 bytes: 22 characters, of which the last has four zero bits, and
    /// two pads.
    static func isSixteenBytes(_ text: ArraySlice<UInt8>) -> Bool {
        guard text.count == 24, text.suffix(2).elementsEqual("==".utf8) else { return false }
        let digits = text.prefix(22)
        guard digits.allSatisfy(alphabet.contains) else { return false }
        return "AQgw".utf8.contains(digits.last!)
    }
}
