import Primitives
import Testing

@testable import WebSocket

@Suite("Frame parser (RFC 6455)")
struct FrameParserTests {
    /// A conversation with everything in it: single frames, a fragmented message with a ping inside, empty messages.
    static let conversation: [UInt8] =
        frame(0x81, ascii("Hello")) + frame(0x82, [UInt8](repeating: 7, count: 300)) + frame(0x01, ascii("frag"))
        + frame(0x89, ascii("are you there")) + frame(0x00, ascii("men")) + frame(0x80, ascii("ted ✓"))
        + frame(0x8A, []) + frame(0x81, []) + frame(0x88, [0x03, 0xE8] + ascii("bye"))
    static let conversationEvents: [Outcome.Event] = [
        Outcome.text("Hello"), .init(kind: .binary, payload: [UInt8](repeating: 7, count: 300)),
        .init(kind: .ping, payload: ascii("are you there")), Outcome.text("fragmented ✓"),
        .init(kind: .pong, payload: []), Outcome.text(""),
        .init(kind: .close, payload: ascii("bye"), code: .normal),
    ]

    @Test("the examples of RFC 6455, section 5.7, are read")
    func examples() {
        let hello = Outcome.text("Hello")
        #expect(parse([0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f], role: .client).events == [hello])
        let masked: [UInt8] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        #expect(parse(masked).events == [hello])
        let fragments: [UInt8] = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]
        #expect(parse(fragments, role: .client).events == [hello])
        #expect(
            parse([0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f], role: .client).events
                == [.init(kind: .ping, payload: ascii("Hello"))]
        )
        let pong: [UInt8] = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        #expect(parse(pong).events == [.init(kind: .pong, payload: ascii("Hello"))])
        let bytes = [UInt8](repeating: 1, count: 256)
        #expect(
            parse([0x82, 0x7E, 0x01, 0x00] + bytes, role: .client).events == [.init(kind: .binary, payload: bytes)]
        )
        let many = [UInt8](repeating: 2, count: 65536)
        #expect(
            parse([0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0] + many, role: .client).events
                == [.init(kind: .binary, payload: many)]
        )
    }

    @Test("a conversation reads the same however the reads are cut")
    func splits() {
        let bytes = Self.conversation
        #expect(parse(bytes).events == Self.conversationEvents)
        for cut in 1..<bytes.count {
            let outcome = parse(bytes, reads: [cut, Int.max])
            #expect(outcome.events == Self.conversationEvents, "cut at \(cut)")
        }
        for size in [1, 2, 3, 5, 7, 16, 64] { #expect(parse(bytes, reads: [size]).events == Self.conversationEvents) }
    }

    @Test("BP-03 a message that arrives in pieces says how much is missing and is not looked at before")
    func bytesNeeded() throws {
        var parser = FrameParser(role: .server, maxMessageSize: 1 << 20)
        var bytes = frame(0x82, [UInt8](repeating: 9, count: 100_000))
        let total = bytes.count
        try bytes.withUnsafeMutableBytes { buffer in
            var consumed = 0
            #expect(try parser.next(.init(rebasing: buffer[..<1]), consumed: &consumed) == nil)
            #expect(parser.bytesNeeded == 2)
            #expect(try parser.next(.init(rebasing: buffer[..<5]), consumed: &consumed) == nil)
            #expect(parser.bytesNeeded == 14)
            #expect(try parser.next(.init(rebasing: buffer[..<20]), consumed: &consumed) == nil)
            #expect(parser.bytesNeeded == total)
            #expect(consumed == 0)
            let event = try #require(try parser.next(buffer, consumed: &consumed))
            #expect(event.count == 100_000 && event.assembled == nil)
            #expect(consumed == total && parser.bytesNeeded == 2)
        }
    }

    @Test("every rule about headers is enforced")
    func headerRules() {
        for bit: UInt8 in [0x40, 0x20, 0x10] {
            #expect(parse(frame(0x81 | bit, ascii("x"))).error == .reservedBits(bit >> 4))
        }
        for opcode: UInt8 in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
            #expect(parse(frame(0x80 | opcode, [])).error == .reservedOpcode(opcode))
        }
        #expect(parse(frame(0x81, ascii("x"), key: nil)).error == .maskRequired)
        #expect(parse(frame(0x81, ascii("x")), role: .client).error == .maskForbidden)
        for opcode: UInt8 in [0x8, 0x9, 0xA] {
            #expect(parse(frame(opcode, [])).error == .fragmentedControlFrame)
            let long = [UInt8](repeating: 0x20, count: 126)
            #expect(parse(frame(0x80 | opcode, long)).error == .controlFrameTooLong)
            #expect(parse(frame(0x80 | opcode, [], lengthSize: 8)).error == .controlFrameTooLong)
        }
        #expect(parse(frame(0x80, ascii("x"))).error == .unexpectedContinuation)
        #expect(parse(frame(0x00, ascii("x"))).error == .unexpectedContinuation)
        #expect(parse(frame(0x01, ascii("a")) + frame(0x81, ascii("b"))).error == .continuationExpected)
        #expect(parse(frame(0x01, ascii("a")) + frame(0x02, ascii("b"))).error == .continuationExpected)
        // A message that has ended cannot be continued.
        let ended = frame(0x01, ascii("a")) + frame(0x80, ascii("b")) + frame(0x80, ascii("c"))
        #expect(parse(ended).error == .unexpectedContinuation)
        #expect(parse([0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]).error == .lengthOutOfRange)
        #expect(parse([0x82, 0xFF] + [UInt8](repeating: 0xFF, count: 8)).error == .lengthOutOfRange)
    }

    @Test("a violation is found as soon as its byte is there, before the payload arrives")
    func earlyRefusal() {
        #expect(parse([0x81, 0x05]).error == .maskRequired)
        #expect(parse([0x83, 0x85]).error == .reservedOpcode(3))
        #expect(parse([0x82, 0xFE, 0xFF, 0xFF], maxMessageSize: 1000).error != nil)
    }

    @Test("lengths need not be in their shortest form")
    func longLengths() {
        for size in [2, 8] {
            #expect(parse(frame(0x81, ascii("Hello"), lengthSize: size)).events == [Outcome.text("Hello")])
        }
    }

    @Test("SE-09 BP-03 a message above the limit is refused by its header with 1009")
    func messageLimit() {
        let exact = [UInt8](repeating: 1, count: 64)
        #expect(parse(frame(0x82, exact), maxMessageSize: 64).events.count == 1)
        let header = frame(0x82, exact + [1]).prefix(2)
        let error = parse(Array(header), maxMessageSize: 64).error
        #expect(error == .messageTooBig(length: 65, limit: 64))
        #expect(error?.closeCode == .messageTooBig)
        let huge: [UInt8] = [0x82, 0xFF, 0x7F] + [UInt8](repeating: 0xFF, count: 7)
        #expect(parse(huge, maxMessageSize: 64).error == .messageTooBig(length: UInt64(Int64.max), limit: 64))
    }

    @Test("SE-09 fragments cannot add up to more than the limit")
    func fragmentLimit() {
        let piece = [UInt8](repeating: 1, count: 32)
        let fits = frame(0x02, piece) + frame(0x80, piece)
        #expect(parse(fits, maxMessageSize: 64).events.first?.payload.count == 64)
        let tooMany = frame(0x02, piece) + frame(0x00, piece) + frame(0x00, []) + frame(0x80, [1])
        #expect(parse(tooMany, maxMessageSize: 64).error == .messageTooBig(length: 65, limit: 64))
        // Control frames inside are not counted.
        let withPing = frame(0x02, piece) + frame(0x89, [UInt8](repeating: 0, count: 125)) + frame(0x80, piece)
        #expect(parse(withPing, maxMessageSize: 64).events.count == 2)
    }

    @Test("SE-07 text must be UTF-8, also across fragments; binary need not")
    func utf8() {
        #expect(parse(frame(0x81, [0xFF])).error == .invalidText)
        #expect(WebSocketError.invalidText.closeCode == .invalidPayload)
        #expect(parse(frame(0x82, [0xFF])).events.count == 1)
        let snowman = ascii("☃")
        let split = frame(0x01, [snowman[0]]) + frame(0x00, [snowman[1]]) + frame(0x80, [snowman[2]])
        #expect(parse(split).events == [Outcome.text("☃")])
        let cut = frame(0x01, [snowman[0]]) + frame(0x80, [snowman[1]])
        #expect(parse(cut).error == .invalidText)
    }

    @Test("close frames: codes, reasons and lengths")
    func closeRules() {
        #expect(parse(frame(0x88, [])).events == [.init(kind: .close, payload: [], code: nil)])
        #expect(parse(frame(0x88, [3])).error == .truncatedCloseCode)
        for code: UInt16 in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
        ] {
            let payload = [UInt8(code >> 8), UInt8(code & 0xFF)]
            #expect(parse(frame(0x88, payload)).events.first?.code == CloseCode(code))
        }
        for code: UInt16 in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let payload = [UInt8(code >> 8), UInt8(code & 0xFF)]
            #expect(parse(frame(0x88, payload)).error == .invalidCloseCode(code))
        }
        #expect(parse(frame(0x88, [0x03, 0xE8, 0xC0, 0xAF])).error == .invalidCloseReason)
        #expect(WebSocketError.invalidCloseReason.closeCode == .invalidPayload)
        #expect(WebSocketError.invalidCloseCode(1005).closeCode == .protocolError)
        let longest = [0x03, 0xE8] + [UInt8](repeating: 0x61, count: 123)
        #expect(parse(frame(0x88, longest)).events.first?.payload.count == 123)
    }

    @Test("bytes after a close frame are swallowed, and an error is final")
    func terminalStates() throws {
        #expect(parse(frame(0x88, []) + [0xFF, 0xFF, 0xFF]).events.count == 1)
        var parser = FrameParser(role: .server, maxMessageSize: 100)
        var bad: [UInt8] = [0xFF, 0xFF]
        var good = frame(0x81, ascii("x"))
        for _ in 0..<2 {
            bad.withUnsafeMutableBytes { buffer in
                var consumed = 0
                #expect(throws: WebSocketError.reservedBits(7)) { try parser.next(buffer, consumed: &consumed) }
            }
            swap(&bad, &good)
        }
    }

    @Test("masking is its own inverse at every length and agrees with the definition")
    func masking() {
        var random = Xoshiro256(seed: 11)
        for count in 0...130 {
            let key = MaskingKey(rawValue: UInt32(truncatingIfNeeded: random.next()))
            let plain = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let expected = plain.enumerated().map {
                $1 ^ UInt8(truncatingIfNeeded: key.rawValue >> UInt32(24 - 8 * ($0 % 4)))
            }
            var bytes = plain
            bytes.withUnsafeMutableBytes { key.apply(to: $0) }
            #expect(bytes == expected)
            bytes.withUnsafeMutableBytes { key.apply(to: $0) }
            #expect(bytes == plain)
        }
    }

    @Test("SE-07 UTF-8 validation agrees with the standard library")
    func utf8Agreement() {
        func check(_ bytes: [UInt8]) {
            let expected = String(validating: bytes, as: UTF8.self) != nil
            #expect(bytes.withUnsafeBytes(UTF8Validation.isValid) == expected, "\(bytes)")
        }
        // Every two-byte string, and every three- and four-byte one around the borders.
        for a in 0...255 { for b in 0...255 where a >= 0x7F || b >= 0x7F { check([UInt8(a), UInt8(b)]) } }
        let edges: [UInt8] = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xED, 0xFF]
        for lead in UInt8(0xE0)...0xFF {
            for b in edges {
                for c in edges {
                    check([lead, b, c])
                    for d in edges { check([lead, b, c, d]) }
                }
            }
        }
        for pad in 0...17 {
            check([UInt8](repeating: 0x41, count: pad) + ascii("é☃😀") + [UInt8](repeating: 0x42, count: pad))
            check([UInt8](repeating: 0x41, count: pad) + [0xE2, 0x98])
        }
    }
}
