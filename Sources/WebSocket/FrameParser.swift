/// Reads RFC 6455 frames from a connection's byte stream, in place and without copying single-frame messages.
///
/// The caller owns the buffer: it hands over the bytes that it has, takes events until `next` returns nil, then keeps
/// what lies after `consumed` and offers it again, at the start of a buffer, with more bytes behind it. A payload is
/// unmasked only once its frame is complete, so an unfinished frame may be moved freely. `bytesNeeded` says how much
/// must be there before another call can succeed, so that a big message arriving in small reads is looked at twice, not
/// once per read.
///
///     var consumed = 0
///     while let event = try parser.next(buffer, consumed: &consumed) { … }
///
/// Rules beyond the frame grammar:
/// - Messages and frames above `maxMessageSize` are refused by their header (1009): memory stays bounded by that size.
/// - Text is checked for UTF-8 when the message is complete, not fragment by fragment.
/// - A length that is not in its shortest form is accepted.
/// - After a close frame further bytes are swallowed (RFC 6455, 1.4); after an error every call throws that error.
package struct FrameParser: Sendable {
    /// Whose bytes are read: a server demands masked frames, a client forbids them.
    package enum Role: Sendable {
        case server
        case client
    }

    private enum Phase {
        case open
        case closed
        case failed(WebSocketError)
    }

    package let role: Role
    /// The largest message, in payload bytes.
    package let maxMessageSize: Int
    /// The bytes that must lie after `consumed` before `next` can return another event; at least 2.
    package private(set) var bytesNeeded = 2

    private var phase = Phase.open
    /// The opcode of the fragmented message that is open.
    private var opened: Opcode?
    private var fragments: [UInt8] = []

    package init(role: Role, maxMessageSize: Int) {
        precondition(maxMessageSize > 0 && maxMessageSize <= Int(Int32.max), "the message limit is 1 byte to 2 GiB")
        self.role = role
        self.maxMessageSize = maxMessageSize
    }

    /// True once the peer's close frame has been read.
    package var isClosed: Bool {
        if case .closed = phase { true } else { false }
    }

    /// Bytes that the parser itself holds for an unfinished fragmented message.
    package var bufferedBytes: Int { fragments.count }

    /// The next message or control frame, or nil when more bytes are needed. Advances `consumed` over everything that
    /// is done with, including fragments that the parser keeps for itself.
    package mutating func next(
        _ buffer: UnsafeMutableRawBufferPointer,
        consumed: inout Int
    ) throws(WebSocketError) -> FrameEvent? {
        precondition(consumed >= 0 && consumed <= buffer.count)
        switch phase {
        case .open: break
        case .closed:
            consumed = buffer.count
            return nil
        case .failed(let error): throw error
        }
        do throws(WebSocketError) {
            while true {
                guard let frame = try readHeader(UnsafeRawBufferPointer(buffer), at: consumed) else { return nil }
                let payload = UnsafeMutableRawBufferPointer(rebasing: buffer[frame.range])
                frame.key?.apply(to: payload)
                consumed = frame.range.upperBound
                bytesNeeded = 2
                if let event = try accept(frame, UnsafeRawBufferPointer(payload)) { return event }
            }
        } catch {
            phase = .failed(error)
            fragments = []
            throw error
        }
    }

    private struct Frame {
        var opcode: Opcode
        var isFinal: Bool
        var key: MaskingKey?
        var range: Range<Int>
    }

    /// Checks the header at `start`; nil, with `bytesNeeded` set, when the frame is not complete yet.
    private mutating func readHeader(
        _ buffer: UnsafeRawBufferPointer,
        at start: Int
    ) throws(WebSocketError) -> Frame? {
        let available = buffer.count - start
        guard available >= bytesNeeded else { return nil }
        let first = buffer[start]
        let second = buffer[start + 1]
        guard first & 0x70 == 0 else { throw .reservedBits((first & 0x70) >> 4) }
        guard let opcode = Opcode(rawValue: first & 0x0F) else { throw .reservedOpcode(first & 0x0F) }
        let isFinal = first & 0x80 != 0
        let isMasked = second & 0x80 != 0
        if isMasked != (role == .server) { throw role == .server ? .maskRequired : .maskForbidden }
        let shortLength = Int(second & 0x7F)
        if opcode.isControl {
            guard isFinal else { throw .fragmentedControlFrame }
            guard shortLength <= 125 else { throw .controlFrameTooLong }
        } else if opcode == .continuation {
            guard opened != nil else { throw .unexpectedContinuation }
        } else {
            guard opened == nil else { throw .continuationExpected }
        }

        let lengthSize = shortLength < 126 ? 0 : shortLength == 126 ? 2 : 8
        let headerSize = 2 + lengthSize + (isMasked ? 4 : 0)
        guard available >= 2 + lengthSize else {
            bytesNeeded = headerSize
            return nil
        }
        var length = UInt64(shortLength)
        if lengthSize == 2 {
            length = UInt64(UInt16(bigEndian: buffer.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self)))
        } else if lengthSize == 8 {
            length = UInt64(bigEndian: buffer.loadUnaligned(fromByteOffset: start + 2, as: UInt64.self))
            guard length >> 63 == 0 else { throw .lengthOutOfRange }
        }
        if !opcode.isControl {
            let total = length + UInt64(fragments.count)
            guard total <= UInt64(maxMessageSize) else { throw .messageTooBig(length: total, limit: maxMessageSize) }
        }
        let size = headerSize + Int(length)
        guard available >= size else {
            bytesNeeded = size
            return nil
        }
        var key: MaskingKey?
        if isMasked {
            let raw = buffer.loadUnaligned(fromByteOffset: start + headerSize - 4, as: UInt32.self)
            key = MaskingKey(rawValue: UInt32(bigEndian: raw))
        }
        return Frame(
            opcode: opcode,
            isFinal: isFinal,
            key: key,
            range: (start + headerSize)..<(start + size)
        )
    }

    /// Takes a complete, unmasked frame; nil when it is a fragment with more to follow.
    private mutating func accept(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer
    ) throws(WebSocketError) -> FrameEvent? {
        switch frame.opcode {
        case .ping: return FrameEvent(kind: .ping, range: frame.range)
        case .pong: return FrameEvent(kind: .pong, range: frame.range)
        case .close: return try acceptClose(frame.range, payload)
        case .text, .binary:
            if frame.isFinal {
                let isText = frame.opcode == .text
                if isText && !UTF8Validation.isValid(payload) { throw .invalidText }
                return FrameEvent(kind: isText ? .text : .binary, range: frame.range)
            }
            opened = frame.opcode
            fragments.append(contentsOf: payload)
            return nil
        case .continuation:
            fragments.append(contentsOf: payload)
            guard frame.isFinal else { return nil }
            let isText = opened == .text
            opened = nil
            var message: [UInt8] = []
            swap(&message, &fragments)
            if isText && !message.withUnsafeBytes(UTF8Validation.isValid) { throw .invalidText }
            return FrameEvent(kind: isText ? .text : .binary, range: frame.range, assembled: message)
        }
    }

    private mutating func acceptClose(
        _ range: Range<Int>,
        _ payload: UnsafeRawBufferPointer
    ) throws(WebSocketError) -> FrameEvent {
        guard payload.count != 1 else { throw .truncatedCloseCode }
        var code: CloseCode?
        var reason = range
        if payload.count >= 2 {
            let received = CloseCode(UInt16(payload[0]) << 8 | UInt16(payload[1]))
            guard received.isAllowedOnWire else { throw .invalidCloseCode(received.rawValue) }
            guard UTF8Validation.isValid(UnsafeRawBufferPointer(rebasing: payload[2...])) else {
                throw .invalidCloseReason
            }
            code = received
            reason = (range.lowerBound + 2)..<range.upperBound
        }
        phase = .closed
        opened = nil
        fragments = []
        return FrameEvent(kind: .close, range: reason, closeCode: code)
    }
}
