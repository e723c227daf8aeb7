/// The four octets that a client's payload is XORed with (RFC 6455, 5.3), first octet of the wire in the top byte.
package struct MaskingKey: RawRepresentable, Equatable, Sendable {
    package var rawValue: UInt32

    /// A client must take `rawValue` from a source that its peer cannot predict.
    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// XORs `bytes` in place; masking and unmasking are the same. `bytes` must begin where the payload begins.
    package func apply(to bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        let word = rawValue.bigEndian
        let wide = UInt64(word) << 32 | UInt64(word)
        let count = bytes.count
        var index = 0
        while index &+ 32 <= count {
            let vector = base.loadUnaligned(fromByteOffset: index, as: SIMD4<UInt64>.self)
            base.storeBytes(of: vector ^ SIMD4(repeating: wide), toByteOffset: index, as: SIMD4<UInt64>.self)
            index &+= 32
        }
        while index &+ 8 <= count {
            let value = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            base.storeBytes(of: value ^ wide, toByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        // `index` is a multiple of 8 here, so the key starts over at its first octet.
        var rest = rawValue
        while index < count {
            rest = (rest << 8) | (rest >> 24)
            bytes[index] ^= UInt8(truncatingIfNeeded: rest)
            index &+= 1
        }
    }
}
