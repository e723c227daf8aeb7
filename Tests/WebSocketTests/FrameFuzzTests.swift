import Primitives
import Testing

@testable import WebSocket

@Suite("Frame fuzzing")
struct FrameFuzzTests {
    @Test("SE-07 SE-09 mutated streams never trap, and read the same however they are cut")
    func mutations() {
        var random = Xoshiro256(seed: 2026)
        var refused = 0
        for _ in 0..<4000 {
            var bytes = FrameParserTests.conversation
            for _ in 0...random.below(4) {
                let index = Int(random.below(UInt64(bytes.count)))
                switch random.below(5) {
                case 0: bytes[index] ^= 1 << UInt8(random.below(8))
                case 1: bytes[index] = UInt8(truncatingIfNeeded: random.next())
                case 2: bytes.remove(at: index)
                case 3: bytes.insert([0, 0x7E, 0x7F, 0x80, 0xFE, 0xFF][Int(random.below(6))], at: index)
                default: bytes.removeLast(Int(random.below(UInt64(bytes.count))))
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let whole = parse(bytes, maxMessageSize: 512)
            let reads = (0..<8).map { _ in 1 + Int(random.below(40)) }
            let pieces = parse(bytes, maxMessageSize: 512, reads: reads)
            #expect(whole == pieces)
            #expect(whole.events.allSatisfy { $0.payload.count <= 512 })
            for event in whole.events where event.kind == .text || event.kind == .close {
                #expect(String(validating: event.payload, as: UTF8.self) != nil)
            }
            if whole.error != nil { refused += 1 }
        }
        #expect(refused > 100)
    }

    @Test("SE-07 random bytes never trap")
    func noise() {
        var random = Xoshiro256(seed: 99)
        for role in [FrameParser.Role.server, .client] {
            for _ in 0..<4000 {
                let bytes = (0..<(1 + random.below(60))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                #expect(
                    parse(bytes, role: role, maxMessageSize: 100)
                        == parse(bytes, role: role, maxMessageSize: 100, reads: [1])
                )
            }
        }
    }

    @Test("random messages in random fragments come back whole")
    func fragmentation() {
        var random = Xoshiro256(seed: 5)
        for _ in 0..<300 {
            var bytes: [UInt8] = []
            var expected: [Outcome.Event] = []
            for _ in 0..<random.below(5) {
                let message = (0..<random.below(400)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                var start = 0
                var isFirst = true
                repeat {
                    let size = min(message.count - start, Int(random.below(200)))
                    let isLast = start + size == message.count
                    let key = MaskingKey(rawValue: UInt32(truncatingIfNeeded: random.next()))
                    FrameWriter.append(
                        isFirst ? .binary : .continuation,
                        message[start..<(start + size)],
                        isFinal: isLast,
                        mask: key,
                        to: &bytes
                    )
                    if isLast { expected.append(.init(kind: .binary, payload: message)) }
                    if random.chance(1, in: 4) {
                        FrameWriter.append(.ping, [1, 2], mask: key, to: &bytes)
                        expected.append(.init(kind: .ping, payload: [1, 2]))
                    }
                    start += size
                    isFirst = false
                    if isLast { break }
                } while true
            }
            if bytes.isEmpty { continue }
            #expect(parse(bytes, reads: [1 + Int(random.below(100))]).events == expected)
        }
    }
}
