import Glibc

/// How a server's byte stream is cut into messages. Nothing is copied and nothing is allocated.
enum Framing {
    /// Server frames of RFC 6455: unmasked, and never fragmented by the servers that we measure.
    case webSocket
    /// Complete RESP2 values.
    case resp
    /// The head of an HTTP answer, before a WebSocket begins.
    case httpHead
}

/// Cuts the first message off `bytes`: its payload and how many bytes it takes in all; nil when it is not complete.
struct Cut {
    var opcode: UInt8
    var payload: Range<Int>
    var length: Int

    /// Throws for bytes that no server of this protocol sends.
    static func first(_ framing: Framing, in bytes: UnsafeRawBufferPointer) throws(BenchError) -> Cut? {
        switch framing {
        case .webSocket: try webSocket(bytes)
        case .resp: try respLength(bytes, from: 0, depth: 0).map { Cut(opcode: 1, payload: 0..<$0, length: $0) }
        case .httpHead: httpHead(bytes)
        }
    }

    private static func webSocket(_ bytes: UnsafeRawBufferPointer) throws(BenchError) -> Cut? {
        guard bytes.count >= 2 else { return nil }
        var length = Int(bytes[1] & 0x7f)
        var header = 2
        guard bytes[1] & 0x80 == 0, bytes[0] & 0x70 == 0 else { throw BenchError("not a server's WebSocket frame") }
        if length == 126 {
            guard bytes.count >= 4 else { return nil }
            length = Int(bytes[2]) << 8 | Int(bytes[3])
            header = 4
        } else if length == 127 {
            guard bytes.count >= 10 else { return nil }
            let long = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt64.self))
            guard long < 1 << 30 else { throw BenchError("a WebSocket frame of \(long) bytes") }
            length = Int(long)
            header = 10
        }
        guard bytes.count - header >= length else { return nil }
        return Cut(opcode: bytes[0] & 0x0f, payload: header..<(header + length), length: header + length)
    }

    private static func httpHead(_ bytes: UnsafeRawBufferPointer) -> Cut? {
        guard let found = Scan.position(of: "\r\n\r\n", in: bytes, from: 0) else { return nil }
        let length = found + 4
        return Cut(opcode: 0, payload: 0..<length, length: length)
    }

    /// Where the value that starts at `start` ends.
    private static func respLength(
        _ bytes: UnsafeRawBufferPointer,
        from start: Int,
        depth: Int
    ) throws(BenchError) -> Int? {
        guard depth < 8 else { throw BenchError("RESP nested too deep") }
        guard start < bytes.count else { return nil }
        let type = bytes[start]
        switch type {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "*"): break
        default: throw BenchError("not RESP: byte \(type)")
        }
        var at = start + 1
        var number = 0
        var isNegative = false
        while true {
            guard at < bytes.count else { return nil }
            let byte = bytes[at]
            if byte == 0x0d { break }
            if byte == UInt8(ascii: "-") {
                isNegative = true
            } else if number < 1 << 40 {
                number = number &* 10 &+ Int(byte &- 0x30)
            }
            at += 1
        }
        at += 2
        guard at <= bytes.count else { return nil }
        switch type {
        case UInt8(ascii: "$"):
            if isNegative { return at }
            return at + number + 2 <= bytes.count ? at + number + 2 : nil
        case UInt8(ascii: "*"):
            if isNegative { return at }
            for _ in 0..<number {
                guard let next = try respLength(bytes, from: at, depth: depth + 1) else { return nil }
                at = next
            }
            return at
        default: return at
        }
    }
}

/// What is sent to a WebSocket server.
enum ClientFrame {
    /// Any key does: what counts for the server is that it must unmask.
    private static let mask: (UInt8, UInt8, UInt8, UInt8) = (0x37, 0xfa, 0x21, 0x3d)

    /// Appends one masked frame with the given opcode (1 text, 9 ping, 10 pong).
    static func append(_ payload: UnsafeRawBufferPointer, opcode: UInt8 = 1, to out: inout [UInt8]) {
        out.append(0x80 | opcode)
        if payload.count < 126 {
            out.append(0x80 | UInt8(payload.count))
        } else if payload.count < 65536 {
            out.append(0x80 | 126)
            out.append(UInt8(payload.count >> 8))
            out.append(UInt8(payload.count & 0xff))
        } else {
            out.append(0x80 | 127)
            for shift in stride(from: 56, through: 0, by: -8) {
                out.append(UInt8(truncatingIfNeeded: payload.count >> shift))
            }
        }
        out.append(mask.0)
        out.append(mask.1)
        out.append(mask.2)
        out.append(mask.3)
        let key = [mask.0, mask.1, mask.2, mask.3]
        let start = out.count
        out.append(contentsOf: payload)
        out.withUnsafeMutableBytes { bytes in
            for index in 0..<payload.count { bytes[start + index] ^= key[index & 3] }
        }
    }

    static func append(_ text: String, opcode: UInt8 = 1, to out: inout [UInt8]) {
        var text = text
        text.withUTF8 { append(UnsafeRawBufferPointer($0), opcode: opcode, to: &out) }
    }
}
