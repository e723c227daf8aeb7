import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Log codecs", .ownThread(nice: 5))
struct CodecTests {
    static let text = Array(String(repeating: "the quick brown fox jumps over the lazy dog. ", count: 400).utf8)

    static func noise(_ count: Int, seed: UInt64 = 7) -> [UInt8] {
        var random = Xoshiro256(seed: seed)
        return [UInt8](unsafeUninitializedCapacity: count) { bytes, filled in
            var at = 0
            while at + 8 <= count {
                UnsafeMutableRawBufferPointer(bytes).storeBytes(of: random.next(), toByteOffset: at, as: UInt64.self)
                at += 8
            }
            while at < count {
                bytes[at] = UInt8(truncatingIfNeeded: random.next())
                at += 1
            }
            filled = count
        }
    }

    static func record(_ items: [StoredItem], packing: Bool = true) -> [UInt8] {
        var encoder = RecordEncoder()
        for item in items { encoder.add(item, entries: item.entries[...]) }
        encoder.finish(type: .batch, salt: 77, lsn: 5, durable: 4, packing: packing)
        return encoder.record
    }

    static let items = [
        StoredItem(
            group: group(1),
            incarnation: 2,
            hardState: HardState(term: 9, vote: NodeID(3), commit: 4),
            entries: sampleEntries(group(1), 5...40, term: 9)
        ),
        StoredItem(group: group(2), incarnation: 0, floor: 17, change: .repaired),
        StoredItem(group: group(7), incarnation: 1, entries: [Entry(term: 1, index: 1, data: text)]),
    ]

    static func decode(_ record: [UInt8]) -> [StoredItem]? {
        record.withUnsafeBytes { raw in
            guard case .valid(let header) = RecordHeader.decode(raw, at: 0), header.bodyIsIntact(raw, at: 0),
                header.totalLength == raw.count, let body = try? header.body(raw, at: 0)
            else { return nil }
            return try? RecordDecoder.items(body)
        }
    }

    @Test("CL-20 LZ4 makes text smaller and gives it back whole")
    func lz4RoundTrip() throws {
        var packed: [UInt8] = [1, 2, 3]
        let length = try #require(CodecTests.text.withUnsafeBytes { LZ4.append($0, to: &packed) })
        #expect(packed.count == 3 + length)
        #expect(Double(CodecTests.text.count) / Double(length) > 5)
        let plain = try packed.withUnsafeBytes { raw in
            try LZ4.unpack(
                UnsafeRawBufferPointer(rebasing: raw[3...]),
                plainLength: CodecTests.text.count,
                limit: 1 << 20
            )
        }
        #expect(plain == CodecTests.text)
    }

    @Test("what does not gain is not packed")
    func lz4Gain() {
        var output: [UInt8] = [9]
        #expect(CodecTests.noise(20_000).withUnsafeBytes { LZ4.append($0, to: &output) } == nil)
        #expect(CodecTests.text.prefix(4000).withUnsafeBytes { LZ4.append($0, to: &output) } == nil)
        #expect(output == [9])
    }

    @Test("an LZ4 bomb is refused before anything large is allocated")
    func lz4Bomb() {
        var packed: [UInt8] = []
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        _ = zeros.withUnsafeBytes { LZ4.append($0, to: &packed) }
        packed.withUnsafeBytes { raw in
            #expect(throws: DecodeError.self) { try LZ4.unpack(raw, plainLength: 1 << 20, limit: 1 << 16) }
            #expect(throws: DecodeError.self) { try LZ4.unpack(raw, plainLength: 1 << 30, limit: 1 << 30) }
            // Claims less than it holds.
            #expect(throws: DecodeError.self) { try LZ4.unpack(raw, plainLength: 1 << 10, limit: 1 << 16) }
        }
    }

    @Test("a record reads back as it was written, packed or not", arguments: [true, false])
    func recordRoundTrip(packing: Bool) throws {
        let record = CodecTests.record(CodecTests.items, packing: packing)
        #expect(CodecTests.decode(record) == CodecTests.items)
        #expect(record.count % RecordHeader.alignment == 0)
        let groups = record.withUnsafeBytes { raw -> [GroupID]? in
            guard case .valid(let header) = RecordHeader.decode(raw, at: 0) else { return nil }
            #expect(header.isPacked == packing)
            return header.directory(raw, at: 0)
        }
        #expect(groups == [group(1), group(2), group(7)])
    }

    @Test("a record of another file life or another place is not read")
    func recordIdentity() {
        var encoder = RecordEncoder()
        encoder.add(CodecTests.items[0], entries: CodecTests.items[0].entries[...])
        let header = encoder.finish(type: .batch, salt: 1, lsn: 2, durable: 1)
        encoder.record.withUnsafeBytes { raw in
            var other = header
            #expect(other.bodyIsIntact(raw, at: 0))
            other.salt = 2
            #expect(!other.bodyIsIntact(raw, at: 0))
            other = header
            other.lsn = 3
            #expect(!other.bodyIsIntact(raw, at: 0))
        }
    }

    @Test("no mutation of a record gives other items")
    func recordMutations() {
        let record = CodecTests.record(CodecTests.items)
        for byte in record.indices {
            var mutated = record
            mutated[byte] ^= 1 << UInt8(byte % 8)
            let items = CodecTests.decode(mutated)
            #expect(items == nil || items == CodecTests.items)
        }
    }

    /// Changes bytes at random, cuts, and repeats parts: what a decoder may be handed.
    static func mutate(_ bytes: [UInt8], _ random: inout Xoshiro256) -> [UInt8] {
        var mutated = bytes
        for _ in 0..<(1 + random.below(4)) {
            guard !mutated.isEmpty else { break }
            let at = Int(random.below(UInt64(mutated.count)))
            switch random.below(4) {
            case 0: mutated[at] = UInt8(truncatingIfNeeded: random.next())
            case 1: mutated[at] = 0xff
            case 2: mutated.removeSubrange(at...)
            default: mutated.insert(contentsOf: mutated.prefix(Int(random.below(16))), at: at)
            }
        }
        return mutated
    }

    @Test("CL-20 bodies, segments, snapshots and meta files made of hostile bytes never trap")
    func hostileBytes() {
        var random = Xoshiro256(seed: 2026)
        var encoder = RecordEncoder()
        for item in CodecTests.items { encoder.add(item, entries: item.entries[...]) }
        let body = Array(encoder.record[RecordHeader.size...])
        encoder.begin()
        encoder.add(
            checkpoint: [
                GroupCheckpoint(
                    group: group(3),
                    incarnation: 1,
                    hardState: HardState(term: 5, vote: NodeID(9), commit: 3),
                    floor: 2,
                    lastIndex: 8,
                    isFaulty: true,
                    isDiscarded: false
                )
            ],
            fileSequence: 4
        )
        let checkpoint = Array(encoder.record[RecordHeader.size...])
        let segment = CodecTests.segment().bytes
        let snapshot = SnapshotFormat.encode(
            group: group(1),
            incarnation: 0,
            descriptor: sampleDescriptor(8),
            state: CodecTests.text
        )
        let meta = MetaFormat.encode(name: "node", bytes: [1, 2, 3])
        for _ in 0..<1500 {
            _ = try? RecordDecoder.items(CodecTests.mutate(body, &random))
            _ = try? RecordDecoder.checkpoint(CodecTests.mutate(checkpoint, &random))
            CodecTests.mutate(segment, &random).withUnsafeBytes { _ = CodecTests.readSegment($0) }
            CodecTests.mutate(snapshot, &random).withUnsafeBytes { raw in
                if let read = try? SnapshotFormat.decode(raw, group: group(1)) {
                    #expect(read.state == CodecTests.text)
                }
            }
            CodecTests.mutate(meta, &random).withUnsafeBytes { raw in
                if let read = try? MetaFormat.decode(name: "node", raw) { #expect(read == [1, 2, 3]) }
            }
        }
    }

    @Test("entries behind valid checksums but with hostile fields never trap")
    func hostileFields() {
        var random = Xoshiro256(seed: 99)
        for _ in 0..<3000 {
            let body = CodecTests.noise(Int(random.below(200)), seed: random.next())
            _ = try? RecordDecoder.items(body)
            _ = try? RecordDecoder.checkpoint(body)
        }
        // A count that claims 2^40 entries, an index next to the end of the range.
        var writer = ByteWriter()
        writer.writeVarint(1)
        writer.writeVarint(0)
        writer.write(UInt8(8))
        writer.writeVarint(2)
        writer.writeVarint(UInt64.max - 1)
        writer.writeRaw([1, 1, 0, 1, 1, 0] as [UInt8])
        #expect(throws: DecodeError.self) { try RecordDecoder.items(writer.bytes) }
    }

    static func segment() -> (bytes: [UInt8], header: SegmentHeader, footer: SegmentFooter) {
        var builder = SegmentBuilder(group: group(1), incarnation: 3, sequence: 4, first: 100, previousTerm: 1)
        for index in LogIndex(100)..<400 {
            let data = index % 2 == 0 ? CodecTests.text.prefix(900) : CodecTests.noise(600, seed: index)[...]
            builder.append(Entry(term: index / 150 + 1, index: index, data: Array(data)))
        }
        return builder.finish()
    }

    static func readSegment(_ raw: UnsafeRawBufferPointer) -> [Entry] {
        var entries: [Entry] = []
        guard let header = try? SegmentHeader.decode(raw) else { return [] }
        var offset = SegmentHeader.size
        while let block = try? SegmentBlock.decode(raw, at: offset, of: header),
            let found = try? block.entries(raw, at: offset, of: header)
        {
            entries.append(contentsOf: found)
            offset += block.totalLength
        }
        guard raw.count >= SegmentFooter.trailerSize else { return entries }
        let trailer = UnsafeRawBufferPointer(rebasing: raw[(raw.count - SegmentFooter.trailerSize)...])
        if let place = try? SegmentFooter.locate(trailer: trailer, fileSize: raw.count) {
            let part = UnsafeRawBufferPointer(rebasing: raw[place.offset..<(place.offset + place.length)])
            _ = try? SegmentFooter.decode(part, checksum: place.checksum, header: header, footerOffset: place.offset)
        }
        return entries
    }

    @Test("CL-20 PS-03 a segment describes itself: head, sparse index, terms; and is smaller than its entries")
    func segmentRoundTrip() throws {
        let (bytes, header, footer) = CodecTests.segment()
        #expect(header.first == 100 && header.last == 399 && header.previousTerm == 1)
        #expect(footer.blocks.count > 2)
        #expect(
            footer.termStarts == [
                TermStart(index: 100, term: 1), TermStart(index: 150, term: 2), TermStart(index: 300, term: 3),
            ]
        )
        #expect(bytes.count < footer.plainBytes)
        let entries = bytes.withUnsafeBytes { CodecTests.readSegment($0) }
        #expect(entries.map(\.index) == Array(100..<400))
        #expect(entries[51].data == CodecTests.noise(600, seed: 151))
        try bytes.withUnsafeBytes { raw in
            let again = try SegmentHeader.decode(raw)
            #expect(again == header)
            let trailer = UnsafeRawBufferPointer(rebasing: raw[(raw.count - SegmentFooter.trailerSize)...])
            let place = try SegmentFooter.locate(trailer: trailer, fileSize: raw.count)
            let part = UnsafeRawBufferPointer(rebasing: raw[place.offset..<(place.offset + place.length)])
            let read = try SegmentFooter.decode(
                part,
                checksum: place.checksum,
                header: header,
                footerOffset: place.offset
            )
            #expect(read == footer)
        }
    }

    @Test("a snapshot of several chunks reads back, and for no other group")
    func snapshotRoundTrip() throws {
        let state = CodecTests.noise(1 << 20) + CodecTests.text
        let descriptor = sampleDescriptor(88, term: 7)
        let bytes = SnapshotFormat.encode(group: group(4), incarnation: 6, descriptor: descriptor, state: state)
        try bytes.withUnsafeBytes { raw in
            let read = try SnapshotFormat.decode(raw, group: group(4))
            #expect(read.incarnation == 6 && read.descriptor == descriptor && read.state == state)
            #expect(throws: DecodeError.self) { try SnapshotFormat.decode(raw, group: group(5)) }
        }
        let empty = SnapshotFormat.encode(group: group(4), incarnation: 0, descriptor: descriptor, state: [])
        let plain = try empty.withUnsafeBytes { raw in try SnapshotFormat.decode(raw, group: group(4)).state }
        #expect(plain.isEmpty)
    }

    @Test("a later version is named, not skipped")
    func laterVersions() {
        var encoder = RecordEncoder()
        encoder.finish(type: .mark, salt: 1, lsn: 2, durable: 1)
        var record = encoder.record
        record[24] = 9
        let checksum = CRC32C.checksum(Array(record[0..<44]))
        for index in 0..<4 { record[44 + index] = UInt8(truncatingIfNeeded: checksum >> UInt32(8 * index)) }
        record.withUnsafeBytes { #expect(RecordHeader.decode($0, at: 0) == .unsupported(9)) }
        var head = WALFileHeader(salt: 1, sequence: 2, firstLSN: 3).encode()
        head[8] = 2
        let sum = CRC32C.checksum(Array(head[0..<60]))
        for index in 0..<4 { head[60 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index)) }
        #expect(throws: DecodeError.unknown(field: "WAL version", value: 2)) {
            try head.withUnsafeBytes { raw in try WALFileHeader.decode(raw) }
        }
    }
}
