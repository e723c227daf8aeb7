import Primitives

/// What a segment file says about itself in its first 64 bytes:
///
///     magic u64 | version u32 | group u32 | incarnation u64 | sequence u64 | first u64 | last u64 |
///     previous term u64 | 0 u32 | crc u32
package struct SegmentHeader: Equatable, Sendable {
    package static let size = 64
    static let magic: UInt64 = 0x3147_4553_4a43_4e56  // "VNCJSEG1"
    static let version: UInt32 = 1

    package var group: GroupID
    package var incarnation: UInt64
    /// A segment with a higher sequence replaces the log from its own first index on.
    package var sequence: UInt64
    package var first: LogIndex
    package var last: LogIndex
    /// The term of entry `first - 1`; 0 when unknown or when there is none.
    package var previousTerm: Term

    package init(
        group: GroupID,
        incarnation: UInt64,
        sequence: UInt64,
        first: LogIndex,
        last: LogIndex,
        previousTerm: Term
    ) {
        self.group = group
        self.incarnation = incarnation
        self.sequence = sequence
        self.first = first
        self.last = last
        self.previousTerm = previousTerm
    }

    func encode(into target: UnsafeMutableRawBufferPointer) {
        target.put(SegmentHeader.magic, at: 0)
        target.put(SegmentHeader.version, at: 8)
        target.put(group.rawValue, at: 12)
        target.put(incarnation, at: 16)
        target.put(sequence, at: 24)
        target.put(first, at: 32)
        target.put(last, at: 40)
        target.put(previousTerm, at: 48)
        target.put(UInt32(0), at: 56)
        target.put(CRC32C.checksum(UnsafeRawBufferPointer(target).part(0, 60)), at: 60)
    }

    package static func decode(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> SegmentHeader {
        guard bytes.count >= size else { throw .truncated }
        guard bytes.get(UInt32.self, at: 60) == CRC32C.checksum(bytes.part(0, 60)) else {
            throw .malformed("segment header")
        }
        guard bytes.get(UInt64.self, at: 0) == magic else { throw .malformed("segment magic") }
        let version = bytes.get(UInt32.self, at: 8)
        guard version == SegmentHeader.version else { throw .unknown(field: "segment version", value: UInt64(version)) }
        let header = SegmentHeader(
            group: GroupID(rawValue: bytes.get(UInt32.self, at: 12)),
            incarnation: bytes.get(UInt64.self, at: 16),
            sequence: bytes.get(UInt64.self, at: 24),
            first: bytes.get(UInt64.self, at: 32),
            last: bytes.get(UInt64.self, at: 40),
            previousTerm: bytes.get(UInt64.self, at: 48)
        )
        guard header.first > 0, header.first <= header.last, header.last < .max else {
            throw .malformed("segment range")
        }
        return header
    }
}

/// Where a block begins: one line of the sparse index.
package struct BlockPosition: Equatable, Sendable {
    package var first: LogIndex
    package var offset: Int

    package init(first: LogIndex, offset: Int) {
        self.first = first
        self.offset = offset
    }
}

/// The end of a segment: sparse index and term starts, with a checksum, found through a fixed trailer of 32 bytes:
///
///     footer offset u64 | footer length u32 | footer crc u32 | magic u64 | 0 u32 | trailer crc u32
package struct SegmentFooter: Equatable, Sendable {
    package static let trailerSize = 32
    static let magic: UInt64 = 0x444e_4547_4a43_4e56  // "VNCJGEND"

    package var blocks: [BlockPosition]
    /// The first entry of each run of one term within the segment.
    package var termStarts: [TermStart]
    /// Bytes of the blocks, unpacked.
    package var plainBytes: Int

    package init(blocks: [BlockPosition] = [], termStarts: [TermStart] = [], plainBytes: Int = 0) {
        self.blocks = blocks
        self.termStarts = termStarts
        self.plainBytes = plainBytes
    }

    /// Where the footer lies, from the last `trailerSize` bytes of a file of `fileSize` bytes.
    package static func locate(
        trailer: UnsafeRawBufferPointer,
        fileSize: Int
    ) throws(DecodeError) -> (offset: Int, length: Int, checksum: UInt32) {
        guard trailer.count == trailerSize else { throw .truncated }
        guard trailer.get(UInt32.self, at: 28) == CRC32C.checksum(trailer.part(0, 28)),
            trailer.get(UInt64.self, at: 16) == magic
        else { throw .malformed("segment trailer") }
        let length = Int(trailer.get(UInt32.self, at: 8))
        guard let offset = Int(exactly: trailer.get(UInt64.self, at: 0)),
            offset >= SegmentHeader.size,
            fileSize - trailerSize - length == offset
        else { throw .malformed("segment trailer") }
        return (offset, length, trailer.get(UInt32.self, at: 12))
    }

    /// Reads the footer and checks it against the segment's own range, so that every offset in it can be trusted.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer,
        checksum: UInt32,
        header: SegmentHeader,
        footerOffset: Int
    ) throws(DecodeError) -> SegmentFooter {
        guard CRC32C.checksum(bytes, seed: header.identityChecksum) == checksum else {
            throw .malformed("segment footer")
        }
        var reader = ByteReader(bytes)
        var footer = SegmentFooter()
        footer.plainBytes = try reader.readCount(limit: Int(Int32.max), "plain bytes")
        let blocks = try reader.readCount(limit: bytes.count / 2, "blocks")
        footer.blocks.reserveCapacity(blocks)
        for _ in 0..<blocks {
            let block = BlockPosition(
                first: try reader.readVarint(),
                offset: try reader.readCount(limit: footerOffset - 1, "block offset")
            )
            if let before = footer.blocks.last {
                guard block.first > before.first, block.offset > before.offset else { throw .malformed("block order") }
            } else {
                guard block.first == header.first, block.offset == SegmentHeader.size else {
                    throw .malformed("first block")
                }
            }
            footer.blocks.append(block)
        }
        let terms = try reader.readCount(limit: bytes.count / 2, "term starts")
        footer.termStarts.reserveCapacity(terms)
        for _ in 0..<terms {
            let start = TermStart(index: try reader.readVarint(), term: try reader.readVarint())
            if let before = footer.termStarts.last {
                guard start.index > before.index else { throw .malformed("term order") }
            }
            footer.termStarts.append(start)
        }
        try reader.expectEnd()
        guard let lastBlock = footer.blocks.last, lastBlock.first <= header.last,
            let lastStart = footer.termStarts.last, lastStart.index <= header.last,
            footer.termStarts.first?.index == header.first
        else { throw .malformed("segment footer") }
        return footer
    }
}

extension SegmentHeader {
    /// Mixed into the checksums of blocks and footer, so that a block of another segment is never taken for this one's.
    var identityChecksum: UInt32 {
        withUnsafeBytes(of: (UInt64(group.rawValue).littleEndian, incarnation.littleEndian, sequence.littleEndian)) {
            CRC32C.checksum($0)
        }
    }
}

/// A run of entries inside a segment. On disk a head of 32 bytes, then the stored body:
///
///     first u64 | count u32 | plain u32 | stored u32 | flags u32 | body crc u32 | head crc u32
package struct SegmentBlock: Equatable, Sendable {
    package static let headSize = 32
    /// Bytes of entries after which a block is closed.
    package static let targetLength = 64 << 10
    static let packedFlag: UInt32 = 1

    package var first: LogIndex
    package var count: Int
    package var plainLength: Int
    package var storedLength: Int
    package var isPacked: Bool
    package var bodyChecksum: UInt32

    package var totalLength: Int { SegmentBlock.headSize + storedLength }

    /// Reads and checks the head at `offset` of the bytes of a segment (or of a part of it).
    package static func decode(
        _ bytes: UnsafeRawBufferPointer,
        at offset: Int,
        of segment: SegmentHeader
    ) throws(DecodeError) -> SegmentBlock {
        guard offset >= 0, bytes.count - offset >= headSize else { throw .truncated }
        let head = bytes.part(offset, headSize)
        guard head.get(UInt32.self, at: 28) == CRC32C.checksum(head.part(0, 28), seed: segment.identityChecksum) else {
            throw .malformed("block head")
        }
        let flags = head.get(UInt32.self, at: 20)
        guard flags & ~packedFlag == 0 else { throw .unknown(field: "block flags", value: UInt64(flags)) }
        let block = SegmentBlock(
            first: head.get(UInt64.self, at: 0),
            count: Int(head.get(UInt32.self, at: 8)),
            plainLength: Int(head.get(UInt32.self, at: 12)),
            storedLength: Int(head.get(UInt32.self, at: 16)),
            isPacked: flags & packedFlag != 0,
            bodyChecksum: head.get(UInt32.self, at: 24)
        )
        guard block.plainLength <= LogLimits.segmentBlock, block.isPacked || block.plainLength == block.storedLength,
            block.count > 0, block.count <= block.plainLength / 3, block.storedLength <= LogLimits.segmentBlock,
            block.first >= segment.first, block.first <= segment.last,
            LogIndex(block.count - 1) <= segment.last - block.first
        else { throw .malformed("block head") }
        return block
    }

    /// The entries of the block whose head is at `offset`; checksummed before anything is unpacked.
    package func entries(
        _ bytes: UnsafeRawBufferPointer,
        at offset: Int,
        of segment: SegmentHeader
    ) throws(DecodeError) -> [Entry] {
        guard bytes.count - offset >= totalLength else { throw .truncated }
        let stored = bytes.part(offset + SegmentBlock.headSize, storedLength)
        guard CRC32C.checksum(stored, seed: segment.identityChecksum) == bodyChecksum else {
            throw .malformed("block body")
        }
        guard isPacked else { return try entries(in: stored) }
        let plain = try LZ4.unpack(stored, plainLength: plainLength, limit: LogLimits.segmentBlock)
        return try plain.withBytes { (raw) throws(DecodeError) in try entries(in: raw) }
    }

    private func entries(in raw: UnsafeRawBufferPointer) throws(DecodeError) -> [Entry] {
        var reader = ByteReader(raw)
        let entries = try reader.readEntryBodies(count: count, first: first)
        try reader.expectEnd()
        return entries
    }
}
