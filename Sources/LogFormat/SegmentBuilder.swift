import Primitives

/// Builds the bytes of one segment file from consecutive entries.
package struct SegmentBuilder {
    private var header: SegmentHeader
    private var footer = SegmentFooter()
    private var bytes: [UInt8]
    private var block = ByteWriter(capacity: SegmentBlock.targetLength + 4096)
    private var blockFirst: LogIndex = 0
    private var blockCount = 0
    private var next: LogIndex

    /// `first` is the index of the first entry to come; `previousTerm` the term of the entry before it (0: unknown).
    package init(group: GroupID, incarnation: UInt64, sequence: UInt64, first: LogIndex, previousTerm: Term) {
        header = SegmentHeader(
            group: group,
            incarnation: incarnation,
            sequence: sequence,
            first: first,
            last: first,
            previousTerm: previousTerm
        )
        next = first
        bytes = [UInt8](repeating: 0, count: SegmentHeader.size)
    }

    package var isEmpty: Bool { next == header.first }

    /// The index that the next entry must have.
    package var nextIndex: LogIndex { next }

    /// Bytes of file so far, about.
    package var length: Int { bytes.count + block.count }

    package mutating func append(_ entry: Entry) {
        precondition(entry.index == next, "a segment holds consecutive entries")
        if blockCount == 0 { blockFirst = entry.index }
        if footer.termStarts.last?.term != entry.term {
            footer.termStarts.append(TermStart(index: entry.index, term: entry.term))
        }
        block.writeBody(of: entry)
        blockCount += 1
        next += 1
        if block.count >= SegmentBlock.targetLength { closeBlock() }
    }

    /// The complete file, with its header and footer. At least one entry was appended.
    package mutating func finish() -> (bytes: [UInt8], header: SegmentHeader, footer: SegmentFooter) {
        precondition(!isEmpty, "an empty segment")
        if blockCount > 0 { closeBlock() }
        header.last = next - 1
        bytes.withUnsafeMutableBytes { header.encode(into: $0) }
        let footerOffset = bytes.count
        var writer = ByteWriter()
        writer.writeVarint(UInt64(footer.plainBytes))
        writer.writeVarint(UInt64(footer.blocks.count))
        for block in footer.blocks {
            writer.writeVarint(block.first)
            writer.writeVarint(UInt64(block.offset))
        }
        writer.writeVarint(UInt64(footer.termStarts.count))
        for start in footer.termStarts {
            writer.writeVarint(start.index)
            writer.writeVarint(start.term)
        }
        bytes.append(contentsOf: writer.bytes)
        var trailer = [UInt8](repeating: 0, count: SegmentFooter.trailerSize)
        trailer.withUnsafeMutableBytes { target in
            target.put(UInt64(footerOffset), at: 0)
            target.put(UInt32(writer.count), at: 8)
            target.put(CRC32C.checksum(writer.bytes, seed: header.identityChecksum), at: 12)
            target.put(SegmentFooter.magic, at: 16)
            target.put(CRC32C.checksum(UnsafeRawBufferPointer(target).part(0, 28)), at: 28)
        }
        bytes.append(contentsOf: trailer)
        return (bytes, header, footer)
    }

    private mutating func closeBlock() {
        footer.blocks.append(BlockPosition(first: blockFirst, offset: bytes.count))
        footer.plainBytes += block.count
        let headOffset = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: SegmentBlock.headSize))
        let packed = block.bytes.withUnsafeBytes { LZ4.append($0, to: &bytes) }
        if packed == nil { bytes.append(contentsOf: block.bytes) }
        let storedLength = packed ?? block.count
        let identity = header.identityChecksum
        bytes.withUnsafeMutableBytes { target in
            let all = UnsafeRawBufferPointer(target)
            let head = UnsafeMutableRawBufferPointer(rebasing: target[headOffset...])
            head.put(blockFirst, at: 0)
            head.put(UInt32(blockCount), at: 8)
            head.put(UInt32(block.count), at: 12)
            head.put(UInt32(storedLength), at: 16)
            head.put(packed == nil ? 0 : SegmentBlock.packedFlag, at: 20)
            let body = all.part(headOffset + SegmentBlock.headSize, storedLength)
            head.put(CRC32C.checksum(body, seed: identity), at: 24)
            head.put(CRC32C.checksum(all.part(headOffset, 28), seed: identity), at: 28)
        }
        block.bytes.removeAll(keepingCapacity: true)
        blockCount = 0
    }
}
