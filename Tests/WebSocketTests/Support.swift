import Primitives
import Testing

@testable import WebSocket

/// What a parser made of a byte stream.
struct Outcome: Equatable {
    struct Event: Equatable {
        var kind: FrameEvent.Kind
        var payload: [UInt8]
        var code: CloseCode?
    }

    var events: [Event] = []
    var error: WebSocketError?

    static func text(_ text: String) -> Event { Event(kind: .text, payload: Array(text.utf8), code: nil) }
}

/// Hands `bytes` to a parser in reads of the given sizes (the last one repeats), keeping the unfinished tail as a
/// gateway does. Checks the parser's promises on the way: `consumed` stays in the buffer, and nothing is found below
/// `bytesNeeded`.
func parse(
    _ bytes: [UInt8],
    role: FrameParser.Role = .server,
    maxMessageSize: Int = 1 << 20,
    reads: [Int] = [Int.max]
) -> Outcome {
    var parser = FrameParser(role: role, maxMessageSize: maxMessageSize)
    var outcome = Outcome()
    var pending: [UInt8] = []
    var offset = 0
    var read = 0
    while offset < bytes.count {
        let size = min(reads[min(read, reads.count - 1)], bytes.count - offset)
        read += 1
        pending.append(contentsOf: bytes[offset..<(offset + size)])
        offset += size
        var consumed = 0
        let mayFind = pending.count >= parser.bytesNeeded
        let found = outcome.events.count
        pending.withUnsafeMutableBytes { buffer in
            do throws(WebSocketError) {
                while let event = try parser.next(buffer, consumed: &consumed) {
                    let payload = event.withPayload(in: buffer) { [UInt8]($0) }
                    #expect(payload == event.payload(in: buffer))
                    #expect(payload.count == event.count)
                    outcome.events.append(.init(kind: event.kind, payload: payload, code: event.closeCode))
                }
            } catch {
                outcome.error = error
            }
        }
        #expect(consumed >= 0 && consumed <= pending.count)
        #expect(mayFind || (outcome.events.count == found && outcome.error == nil))
        #expect(parser.bytesNeeded >= 2 && parser.bytesNeeded <= max(maxMessageSize, 125) + 14)
        #expect(parser.bufferedBytes <= maxMessageSize)
        if outcome.error != nil { return outcome }
        pending.removeFirst(consumed)
    }
    return outcome
}

let testKey = MaskingKey(rawValue: 0x37FA_213D)

/// A masked frame, written by hand so that malformed ones can be made.
func frame(
    _ first: UInt8,
    _ payload: [UInt8],
    key: MaskingKey? = testKey,
    lengthSize: Int? = nil
) -> [UInt8] {
    var out = [first]
    let mask: UInt8 = key == nil ? 0 : 0x80
    let size = lengthSize ?? (payload.count <= 125 ? 0 : payload.count <= 0xFFFF ? 2 : 8)
    switch size {
    case 0: out.append(mask | UInt8(payload.count))
    case 2: out += [mask | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
    default: out += [mask | 127] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
    }
    guard let key else { return out + payload }
    let octets = (0..<4).map { UInt8(truncatingIfNeeded: key.rawValue >> UInt32(24 - 8 * $0)) }
    return out + octets + payload.enumerated().map { $1 ^ octets[$0 % 4] }
}

func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }
