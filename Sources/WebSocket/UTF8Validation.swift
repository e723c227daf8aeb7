/// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
enum UTF8Validation {
    /// True when `bytes` is well-formed UTF-8. ASCII is checked in blocks of 32 and 8 bytes.
    static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let count = bytes.count
        var index = 0
        while index < count {
            if index &+ 32 <= count {
                let block = bytes.loadUnaligned(fromByteOffset: index, as: SIMD4<UInt64>.self)
                if block & 0x8080_8080_8080_8080 == SIMD4(repeating: 0) {
                    index &+= 32
                    continue
                }
            }
            if index &+ 8 <= count,
                bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
            {
                index &+= 8
                continue
            }
            let lead = bytes[index]
            if lead < 0x80 {
                index &+= 1
                continue
            }
            let length = sequenceLength(bytes, at: index, lead: lead)
            if length == 0 { return false }
            index &+= length
        }
        return true
    }

    /// The length of the multi-byte sequence at `index`, or 0 when it is malformed or cut off (Unicode table 3-7).
    private static func sequenceLength(_ bytes: UnsafeRawBufferPointer, at index: Int, lead: UInt8) -> Int {
        let length: Int
        var low: UInt8 = 0x80
        var high: UInt8 = 0xBF
        switch lead {
        case 0xC2...0xDF: length = 2
        case 0xE0:
            length = 3
            low = 0xA0
        case 0xED:
            length = 3
            high = 0x9F
        case 0xE1...0xEF: length = 3
        case 0xF0:
            length = 4
            low = 0x90
        case 0xF4:
            length = 4
            high = 0x8F
        case 0xF1...0xF3: length = 4
        default: return 0
        }
        guard bytes.count &- index >= length else { return 0 }
        let second = bytes[index &+ 1]
        guard second >= low, second <= high else { return 0 }
        var next = index &+ 2
        while next < index &+ length {
            guard bytes[next] & 0xC0 == 0x80 else { return 0 }
            next &+= 1
        }
        return length
    }
}
