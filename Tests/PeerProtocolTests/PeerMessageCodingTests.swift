import PeerProtocol
import Primitives
import Raft
import Rooms
import Testing

@Suite struct PeerMessageCodingTests {
    private func frame(_ message: PeerMessage) -> [UInt8] {
        var writer = ByteWriter()
        message.encode(into: &writer)
        return writer.bytes
    }

    @Test("every message survives the wire, from lent memory and from an array", arguments: 0..<RandomMessages.cases)
    func roundTrip(index: Int) throws {
        var source = RandomMessages(seed: UInt64(index) + 1)
        for _ in 0..<300 {
            let message = source.message(index)
            let bytes = frame(message)
            let size = try bytes.withUnsafeBytes { try PeerFrame.size(at: $0, limit: PeerFrame.defaultLimit) }
            #expect(size == bytes.count)
            let lent = try bytes.withUnsafeBytes {
                try PeerMessage(decoding: UnsafeRawBufferPointer(rebasing: $0[4...]))
            }
            #expect(lent == message)
            #expect(try PeerMessage(decoding: bytes[4...]) == message)
        }
    }

    @Test("every Raft message survives the wire", arguments: 0..<RandomMessages.raftCases)
    func raftRoundTrip(index: Int) throws {
        var source = RandomMessages(seed: UInt64(index) + 100)
        for _ in 0..<300 {
            let message = PeerMessage.raft(GroupID(rawValue: 7), source.raft(index))
            #expect(try PeerMessage(decoding: frame(message)[4...]) == message)
        }
    }

    @Test("bodies and names are slices of the received array, without a copy")
    func bodiesAreSlices() throws {
        let publications = (1...3).map {
            Publication(offset: $0, timestamp: 5, body: [UInt8](repeating: 7, count: 50)[...])
        }
        let bytes = frame(.publications(PartitionID(3), RoomName("gov:alerts"), epoch: 9, publications))
        guard case .publications(_, let room, _, let decoded) = try PeerMessage(decoding: bytes[4...]) else {
            Issue.record("another message came out")
            return
        }
        bytes.withUnsafeBytes { whole in
            let range = Int(bitPattern: whole.baseAddress!)..<Int(bitPattern: whole.baseAddress!) + whole.count
            room.bytes.withUnsafeBytes { #expect(range.contains(Int(bitPattern: $0.baseAddress!))) }
            for publication in decoded {
                publication.body.withUnsafeBytes { #expect(range.contains(Int(bitPattern: $0.baseAddress!))) }
            }
        }
    }

    @Test("several messages follow each other in one buffer")
    func messagesFollowEachOther() throws {
        var source = RandomMessages(seed: 5)
        let messages = (0..<100).map { source.message($0 % RandomMessages.cases) }
        var writer = ByteWriter()
        for message in messages { message.encode(into: &writer) }
        var decoded: [PeerMessage] = []
        var rest = writer.bytes[...]
        while let size = try rest.withUnsafeBytes({ try PeerFrame.size(at: $0, limit: PeerFrame.defaultLimit) }) {
            decoded.append(try PeerMessage(decoding: rest.prefix(size).dropFirst(4)))
            rest = rest.dropFirst(size)
        }
        #expect(decoded == messages)
        #expect(rest.isEmpty)
    }

    @Test("a frame above the limit, or an empty one, is refused by its length alone")
    func lengthLimits() throws {
        func size(_ length: UInt32, limit: Int) throws -> Int? {
            var writer = ByteWriter()
            writer.write(length)
            return try writer.bytes.withUnsafeBytes { try PeerFrame.size(at: $0, limit: limit) }
        }
        #expect(try size(96, limit: 100) == 100)
        #expect(throws: DecodeError.tooLong(field: "frame", length: 101, limit: 100)) { try size(97, limit: 100) }
        #expect(throws: DecodeError.self) { try size(.max, limit: PeerFrame.defaultLimit) }
        #expect(throws: DecodeError.malformed("frame length")) { try size(0, limit: 100) }
        #expect(try [UInt8](repeating: 0xff, count: 3).withUnsafeBytes { try PeerFrame.size(at: $0, limit: 10) } == nil)
    }

    @Test("a count that its bytes cannot hold is refused before anything is allocated")
    func lyingCounts() {
        var owners = ByteWriter([11])
        owners.writeVarint(UInt64(PeerLimits.elements))
        #expect(throws: DecodeError.truncated) { try PeerMessage(decoding: owners.bytes[...]) }
        var absurd = ByteWriter([11])
        absurd.writeVarint(1 << 40)
        #expect(throws: DecodeError.tooLong(field: "ownerships", length: 1 << 40, limit: PeerLimits.elements)) {
            try PeerMessage(decoding: absurd.bytes[...])
        }
    }

    @Test("unknown tags, unknown flags and trailing bytes are refused")
    func strictness() {
        #expect(throws: DecodeError.unknown(field: "peer message", value: 99)) { try PeerMessage(decoding: [99]) }
        #expect(throws: DecodeError.truncated) { try PeerMessage(decoding: []) }
        #expect(throws: DecodeError.trailingBytes(1)) { try PeerMessage(decoding: [12, 0]) }
        let fetch = FetchRequest(partition: PartitionID(1), token: 1, room: RoomName("a"), register: true)
        var bytes = frame(.fetch(fetch))
        let flags = 4 + 1 + 1 + 1 + 2
        #expect(bytes[flags] == 1)
        bytes[flags] = 5
        #expect(throws: DecodeError.unknown(field: "fetch flags", value: 5)) { try PeerMessage(decoding: bytes[4...]) }
    }

    @Test("every prefix of a message is refused, never misread")
    func prefixes() {
        var source = RandomMessages(seed: 77)
        for index in 0..<RandomMessages.cases {
            let content = frame(source.message(index))[4...]
            for length in 0..<content.count {
                #expect(throws: DecodeError.self) { try PeerMessage(decoding: content.prefix(length)) }
            }
        }
    }

    @Test("mutated messages are decoded or refused, never a trap, and what is decoded encodes again")
    func mutations() throws {
        var source = RandomMessages(seed: 4711)
        var refused = 0
        var accepted = 0
        for round in 0..<30_000 {
            var content = Array(frame(source.message(round % RandomMessages.cases)).dropFirst(4))
            for _ in 0...source.random.below(3) where !content.isEmpty {
                let place = Int(source.random.below(UInt64(content.count)))
                switch source.random.below(5) {
                case 0: content[place] = UInt8(truncatingIfNeeded: source.random.next())
                case 1: content[place] ^= 1 << UInt8(source.random.below(8))
                case 2: content.remove(at: place)
                case 3: content.insert(0xff, at: place)
                default: content.removeSubrange(place...)
                }
            }
            do {
                let message = try PeerMessage(decoding: content[...])
                accepted += 1
                #expect(try PeerMessage(decoding: frame(message)[4...]) == message)
            } catch {
                refused += 1
            }
        }
        #expect(refused > 5000)
        #expect(accepted > 1000)
    }

    @Test("random bytes never trap")
    func noise() {
        var source = RandomMessages(seed: 99)
        for round in 0..<30_000 {
            var content = source.bytes(80)
            if !content.isEmpty { content[0] = UInt8(round % 17) }
            _ = try? PeerMessage(decoding: content[...])
        }
    }
}
