/// A room's epoch on the wire: lower-case hexadecimal without leading zeros. The protocol has it as an opaque string.
package enum EpochText {
    package static func append(_ epoch: UInt64, to out: inout [UInt8]) {
        let digits: StaticString = "0123456789abcdef"
        var shift = epoch == 0 ? 0 : (63 - epoch.leadingZeroBitCount) & ~3
        while shift >= 0 {
            out.append(digits.utf8Start[Int(epoch >> UInt64(shift) & 15)])
            shift -= 4
        }
    }

    /// Nil for text that `append` never writes.
    package static func parse(_ text: ArraySlice<UInt8>) -> UInt64? {
        guard !text.isEmpty, text.count <= 16, text.count == 1 || text.first != UInt8(ascii: "0") else { return nil }
        var epoch: UInt64 = 0
        for byte in text {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): epoch = epoch << 4 | UInt64(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): epoch = epoch << 4 | UInt64(byte - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return epoch
    }
}
