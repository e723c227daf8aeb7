import Primitives
import Testing

@testable import WebSocket

@Suite("Frame writer (RFC 6455)")
struct FrameWriterTests {
    @Test("the examples of RFC 6455, section 5.7, are written")
    func examples() {
        var out: [UInt8] = []
        FrameWriter.append(.text, ascii("Hello"), to: &out)
        #expect(out == [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f])
        out = []
        FrameWriter.append(.text, ascii("Hello"), mask: testKey, to: &out)
        #expect(out == [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58])
        out = []
        FrameWriter.append(.text, ascii("Hel"), isFinal: false, to: &out)
        FrameWriter.append(.continuation, ascii("lo"), to: &out)
        #expect(out == [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f])
        out = []
        FrameWriter.appendHeader(.binary, length: 256, to: &out)
        #expect(out == [0x82, 0x7E, 0x01, 0x00])
        out = []
        FrameWriter.appendHeader(.binary, length: 65536, to: &out)
        #expect(out == [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0])
    }

    @Test(
        "frames of every length class come back from the parser",
        arguments: [0, 1, 125, 126, 127, 65535, 65536, 70000]
    )
    func roundTrip(count: Int) {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for mask in [nil, testKey] {
            for hint in [0, count, 1 << 20] {
                var direct: [UInt8] = [0xEE]
                FrameWriter.append(.binary, payload, mask: mask, to: &direct)
                var inPlace: [UInt8] = [0xEE]
                FrameWriter.append(.binary, lengthHint: hint, mask: mask, to: &inPlace) {
                    $0.append(contentsOf: payload)
                }
                #expect(inPlace == direct)
                let outcome = parse(Array(direct.dropFirst()), role: mask == nil ? .client : .server)
                #expect(outcome.events == [.init(kind: .binary, payload: payload)])
            }
        }
    }

    @Test("a body that fails leaves nothing behind")
    func failingBody() {
        struct Refused: Error {}
        var out: [UInt8] = [1, 2, 3]
        #expect(throws: Refused.self) {
            try FrameWriter.append(.text, to: &out) { (out: inout [UInt8]) throws(Refused) in
                out.append(9)
                throw Refused()
            }
        }
        #expect(out == [1, 2, 3])
    }

    @Test("a close reason is cut to 123 bytes of whole characters")
    func close() {
        var out: [UInt8] = []
        FrameWriter.appendClose(.goingAway, reason: "shutdown", to: &out)
        #expect(out == [0x88, 10, 0x03, 0xE9] + ascii("shutdown"))
        out = []
        FrameWriter.appendClose(nil, to: &out)
        #expect(out == [0x88, 0])
        out = []
        FrameWriter.appendClose(CloseCode(3008), reason: String(repeating: "é", count: 100), mask: testKey, to: &out)
        let event = parse(out).events.first
        #expect(event?.code == CloseCode(3008))
        #expect(event?.payload == ascii(String(repeating: "é", count: 61)))
    }
}
