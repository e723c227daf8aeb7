import LogFormat
import Primitives

/// A segment file of a group, known by its head and footer; its blocks are read on demand.
struct Segment: Sendable {
    var name: String
    var header: SegmentHeader
    var footer: SegmentFooter
    /// Where the blocks end.
    var footerOffset: Int
    var fileBytes: Int
    /// The last index that still counts: a later segment, or entries not yet flushed, may have replaced the rest.
    var end: LogIndex
    /// Neither footer nor blocks could be read; the range is what the name says.
    var isDamaged = false

    var first: LogIndex { header.first }

    /// Where block `position` of the footer ends in the file.
    func blockEnd(_ position: Int) -> Int {
        position + 1 < footer.blocks.count ? footer.blocks[position + 1].offset : footerOffset
    }

    /// The block that holds `index`, by binary search in the sparse index.
    func blockPosition(of index: LogIndex) -> Int {
        var low = 0
        var high = footer.blocks.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if footer.blocks[middle].first <= index { low = middle } else { high = middle }
        }
        return low
    }
}

/// Why a stored file could not be read.
enum FileReadError: Error {
    case disk(DiskError)
    /// What is at this byte offset is not what was written.
    case damaged(offset: Int)
    case unsupported(UInt64)

    init(_ error: DecodeError, at offset: Int) {
        if case .unknown(_, let value) = error { self = .unsupported(value) } else { self = .damaged(offset: offset) }
    }
}

/// Reads one segment file.
struct SegmentReader<D: Disk>: ~Copyable {
    private let disk: D
    private let file: DiskFile

    init(_ disk: D, path: String) throws(FileReadError) {
        self.disk = disk
        do throws(DiskError) { file = try disk.open(path, creating: false) } catch { throw .disk(error) }
    }

    deinit { disk.close(file) }

    /// The segment by its head and footer. A damaged footer is rebuilt from the blocks, which have checksums of their
    /// own; `rebuilt` says so.
    func open(name: String, group: GroupID, incarnation: UInt64) throws(FileReadError) -> (Segment, rebuilt: Bool) {
        let size = try fileSize()
        guard size >= SegmentHeader.size, size <= LogLimits.segmentFile else { throw .damaged(offset: 0) }
        let header = try decode(at: 0, count: SegmentHeader.size) { (raw) throws(DecodeError) in
            try SegmentHeader.decode(raw)
        }
        guard let named = DataDirectory.parseSegment(name), header.group == group, header.incarnation == incarnation,
            header.sequence == named.sequence, header.first == named.first, header.last == named.last
        else { throw .damaged(offset: 0) }
        do throws(FileReadError) {
            let trailerOffset = size - SegmentFooter.trailerSize
            let place = try decode(at: trailerOffset, count: SegmentFooter.trailerSize) { (raw) throws(DecodeError) in
                try SegmentFooter.locate(trailer: raw, fileSize: size)
            }
            let footer = try decode(at: place.offset, count: place.length) { (raw) throws(DecodeError) in
                try SegmentFooter.decode(raw, checksum: place.checksum, header: header, footerOffset: place.offset)
            }
            return (
                Segment(
                    name: name,
                    header: header,
                    footer: footer,
                    footerOffset: place.offset,
                    fileBytes: size,
                    end: header.last
                ), false
            )
        } catch .damaged {
            return (try rebuild(name: name, header: header, size: size), true)
        }
    }

    /// The entries of one block, as stored.
    func block(_ position: Int, of segment: Segment) throws(FileReadError) -> [Entry] {
        let offset = segment.footer.blocks[position].offset
        let length = segment.blockEnd(position) - offset
        let entries = try decode(at: offset, count: length) { (raw) throws(DecodeError) in
            let block = try SegmentBlock.decode(raw, at: 0, of: segment.header)
            guard block.totalLength == length, block.first == segment.footer.blocks[position].first else {
                throw DecodeError.malformed("block length")
            }
            return try block.entries(raw, at: 0, of: segment.header)
        }
        // A whole block, or the reader would take the next one's first entry for a hole.
        let next =
            position + 1 < segment.footer.blocks.count
            ? segment.footer.blocks[position + 1].first : segment.header.last + 1
        guard let last = entries.last, last.index + 1 == next else { throw .damaged(offset: offset) }
        return entries
    }

    private func rebuild(name: String, header: SegmentHeader, size: Int) throws(FileReadError) -> Segment {
        var footer = SegmentFooter()
        var offset = SegmentHeader.size
        var next = header.first
        while next <= header.last {
            guard size - offset >= SegmentBlock.headSize else { throw .damaged(offset: offset) }
            let block = try decode(at: offset, count: SegmentBlock.headSize) { (raw) throws(DecodeError) in
                try SegmentBlock.decode(raw, at: 0, of: header)
            }
            guard block.first == next, size - offset >= block.totalLength else { throw .damaged(offset: offset) }
            let entries = try decode(at: offset, count: block.totalLength) { (raw) throws(DecodeError) in
                try block.entries(raw, at: 0, of: header)
            }
            for entry in entries where footer.termStarts.last?.term != entry.term {
                footer.termStarts.append(TermStart(index: entry.index, term: entry.term))
            }
            footer.blocks.append(BlockPosition(first: next, offset: offset))
            footer.plainBytes += block.plainLength
            next += LogIndex(entries.count)
            offset += block.totalLength
        }
        return Segment(
            name: name,
            header: header,
            footer: footer,
            footerOffset: offset,
            fileBytes: size,
            end: header.last
        )
    }

    private func fileSize() throws(FileReadError) -> Int {
        do throws(DiskError) { return try disk.size(of: file) } catch { throw .disk(error) }
    }

    private func decode<T>(
        at offset: Int,
        count: Int,
        _ body: (UnsafeRawBufferPointer) throws(DecodeError) -> T
    ) throws(FileReadError) -> T {
        let bytes: [UInt8]
        do throws(DiskError) {
            bytes = try disk.readUpTo(file, count: count, at: offset)
        } catch {
            throw .disk(error)
        }
        guard bytes.count == count else { throw .damaged(offset: offset + bytes.count) }
        do throws(DecodeError) { return try bytes.withBytes(body) } catch { throw FileReadError(error, at: offset) }
    }
}
