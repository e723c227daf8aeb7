/// Appends RFC 6455 frames to an array that the caller owns and reuses. A server passes no mask; a client passes a
/// fresh key for every frame. Lengths are written in their shortest form.
package enum FrameWriter {
    /// The largest header: two bytes, a 64-bit length and a key.
    package static let maxHeaderSize = 14

    /// A frame's header, for a payload of `length` bytes that the caller writes after it (masked by `mask`, if any).
    package static func appendHeader(
        _ opcode: Opcode,
        length: Int,
        isFinal: Bool = true,
        mask: MaskingKey? = nil,
        to out: inout [UInt8]
    ) {
        let header = FrameHeader(opcode, length: length, isFinal: isFinal, mask: mask)
        withUnsafeBytes(of: header.octets) {
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: $0[..<header.count]))
        }
    }

    /// A complete frame.
    package static func append(
        _ opcode: Opcode,
        _ payload: UnsafeRawBufferPointer,
        isFinal: Bool = true,
        mask: MaskingKey? = nil,
        to out: inout [UInt8]
    ) {
        out.reserveFree(maxHeaderSize + payload.count)
        appendHeader(opcode, length: payload.count, isFinal: isFinal, mask: mask, to: &out)
        let start = out.count
        out.append(contentsOf: payload)
        if let mask { out.withUnsafeMutableBytes { mask.apply(to: .init(rebasing: $0[start...])) } }
    }

    /// A complete frame.
    package static func append(
        _ opcode: Opcode,
        _ payload: ArraySlice<UInt8>,
        isFinal: Bool = true,
        mask: MaskingKey? = nil,
        to out: inout [UInt8]
    ) {
        payload.withUnsafeBytes { append(opcode, $0, isFinal: isFinal, mask: mask, to: &out) }
    }

    /// A complete frame.
    package static func append(
        _ opcode: Opcode,
        _ payload: [UInt8],
        isFinal: Bool = true,
        mask: MaskingKey? = nil,
        to out: inout [UInt8]
    ) {
        append(opcode, payload[...], isFinal: isFinal, mask: mask, to: &out)
    }

    /// A frame whose payload `body` appends in place: the header is fitted in front of it afterwards. With a good
    /// `lengthHint` (the payload bytes that the caller expects) nothing has to be moved.
    @inlinable package static func append<Failure: Error>(
        _ opcode: Opcode,
        lengthHint: Int = 0,
        mask: MaskingKey? = nil,
        to out: inout [UInt8],
        body: (inout [UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        let start = out.count
        let reserved = headerSize(length: lengthHint, isMasked: mask != nil)
        for _ in 0..<reserved { out.append(0) }
        do throws(Failure) {
            try body(&out)
        } catch {
            out.removeSubrange(start...)
            throw error
        }
        finish(opcode, start: start, reserved: reserved, mask: mask, in: &out)
    }

    @usableFromInline static func headerSize(length: Int, isMasked: Bool) -> Int {
        (length <= 125 ? 2 : length <= 0xFFFF ? 4 : 10) + (isMasked ? 4 : 0)
    }

    @usableFromInline static func finish(
        _ opcode: Opcode,
        start: Int,
        reserved: Int,
        mask: MaskingKey?,
        in out: inout [UInt8]
    ) {
        let length = out.count - start - reserved
        precondition(length >= 0, "the body may only append")
        let header = FrameHeader(opcode, length: length, isFinal: true, mask: mask)
        if header.count != reserved {
            out.replaceSubrange(start..<(start + reserved), with: repeatElement(0, count: header.count))
        }
        out.withUnsafeMutableBytes { bytes in
            let frame = UnsafeMutableRawBufferPointer(rebasing: bytes[start...])
            withUnsafeBytes(of: header.octets) { frame.copyMemory(from: .init(rebasing: $0[..<header.count])) }
            mask?.apply(to: .init(rebasing: frame[header.count...]))
        }
    }

    /// A close frame. Without a code the payload is empty. The reason is cut to 123 bytes of whole characters, which
    /// the frame's 125 bytes leave it.
    package static func appendClose(
        _ code: CloseCode?,
        reason: String = "",
        mask: MaskingKey? = nil,
        to out: inout [UInt8]
    ) {
        var payload: [UInt8] = []
        if let code {
            precondition(code.isAllowedOnWire, "a reserved close code cannot be sent")
            payload.append(UInt8(truncatingIfNeeded: code.rawValue >> 8))
            payload.append(UInt8(truncatingIfNeeded: code.rawValue))
            for scalar in reason.unicodeScalars {
                let encoded = UTF8.encode(scalar)!
                guard payload.count + encoded.count <= 125 else { break }
                payload.append(contentsOf: encoded)
            }
        }
        append(.close, payload, mask: mask, to: &out)
    }
}

/// A frame's header on its way to memory: the first `count` octets.
private struct FrameHeader {
    private(set) var octets = SIMD16<UInt8>()
    private(set) var count = 0

    init(_ opcode: Opcode, length: Int, isFinal: Bool, mask: MaskingKey?) {
        precondition(
            length >= 0 && (!opcode.isControl || (length <= 125 && isFinal)),
            "control frames are short and whole"
        )
        append((isFinal ? 0x80 : 0) | opcode.rawValue)
        let maskBit: UInt8 = mask == nil ? 0 : 0x80
        if length <= 125 {
            append(maskBit | UInt8(length))
        } else if length <= 0xFFFF {
            append(maskBit | 126)
            append(UInt64(length), size: 2)
        } else {
            append(maskBit | 127)
            append(UInt64(length), size: 8)
        }
        if let mask { append(UInt64(mask.rawValue), size: 4) }
    }

    private mutating func append(_ octet: UInt8) {
        octets[count] = octet
        count += 1
    }

    /// The low `size` octets of `value`, high ones first.
    private mutating func append(_ value: UInt64, size: Int) {
        var shift = 8 * (size - 1)
        while shift >= 0 {
            append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
            shift -= 8
        }
    }
}

extension [UInt8] {
    /// Makes room for `count` more bytes, growing geometrically (plain `reserveCapacity` would grow to the exact size
    /// and make repeated appends quadratic).
    @usableFromInline mutating func reserveFree(_ count: Int) {
        let needed = self.count + count
        if needed > capacity { reserveCapacity(Swift.max(needed, capacity * 2)) }
    }
}
