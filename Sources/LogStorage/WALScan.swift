import LogFormat
import Primitives

/// What the bytes of one write-ahead file hold, damage included. Pure: the same for recovery and for the check tool.
struct WALScan {
    enum Piece {
        case record(offset: Int, header: RecordHeader, isIntact: Bool, groups: [GroupID]?)
        /// Records that must have been here, and are not readable.
        case gap(offset: Int, lsns: ClosedRange<UInt64>)
    }

    var header: WALFileHeader
    /// The head was damaged, and was rebuilt from the first record.
    var isSalvaged = false
    var pieces: [Piece] = []
    /// Behind the last readable record.
    var end = 0
    /// The LSN after the last readable record.
    var nextLSN: UInt64
    /// Something that is neither zeros nor an older life's record lies at `end`.
    var tailIsTorn = false
    /// The highest LSN that this file proves durable.
    var durable: UInt64

    /// The head of the file called `sequence`; nil when neither it nor the first record can be read.
    static func head(_ bytes: UnsafeRawBufferPointer, sequence: UInt64) throws(DecodeError) -> (WALFileHeader, Bool)? {
        do throws(DecodeError) {
            let header = try WALFileHeader.decode(bytes)
            if header.sequence == sequence { return (header, false) }
        } catch {
            if case .unknown = error { throw error }
        }
        guard case .valid(let record) = RecordHeader.decode(bytes, at: WALFileHeader.size),
            record.type == .checkpoint, record.bodyIsIntact(bytes, at: WALFileHeader.size),
            let body = try? record.body(bytes, at: WALFileHeader.size),
            let checkpoint = try? RecordDecoder.checkpoint(body), checkpoint.fileSequence == sequence
        else { return nil }
        return (WALFileHeader(salt: record.salt, sequence: sequence, firstLSN: record.lsn), true)
    }

    /// Reads all records below `limit`, the first LSN of the next file, if there is one.
    init(
        _ bytes: UnsafeRawBufferPointer,
        header: WALFileHeader,
        isSalvaged: Bool,
        limit: UInt64?
    ) throws(DecodeError) {
        self.header = header
        self.isSalvaged = isSalvaged
        nextLSN = header.firstLSN
        // The first record, the checkpoint, was durable before the file had its name.
        durable = header.firstLSN
        var offset = WALFileHeader.size
        var expected = header.firstLSN
        let limit = limit ?? .max
        while expected < limit {
            if let record = try WALScan.record(bytes, at: offset, salt: header.salt), record.lsn == expected {
                add(record, bytes, at: offset)
                offset += record.totalLength
                expected += 1
                continue
            }
            guard let (found, record) = try WALScan.resume(bytes, after: offset, salt: header.salt, from: expected),
                record.lsn < limit
            else { break }
            pieces.append(.gap(offset: offset, lsns: expected...(record.lsn - 1)))
            offset = found
            expected = record.lsn
        }
        end = offset
        nextLSN = expected
        if expected < limit, bytes.count - offset >= 8 {
            let salt = bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
            tailIsTorn = salt == header.salt
        }
    }

    private mutating func add(_ record: RecordHeader, _ bytes: UnsafeRawBufferPointer, at offset: Int) {
        durable = max(durable, record.durable)
        let isIntact = record.bodyIsIntact(bytes, at: offset)
        // The directory only matters when the body cannot speak for itself.
        let groups = isIntact ? nil : record.directory(bytes, at: offset)
        pieces.append(.record(offset: offset, header: record, isIntact: isIntact, groups: groups))
    }

    /// The record head at `offset`, when it belongs to this life of the file and fits into it.
    private static func record(
        _ bytes: UnsafeRawBufferPointer,
        at offset: Int,
        salt: UInt64
    ) throws(DecodeError) -> RecordHeader? {
        guard bytes.count - offset >= RecordHeader.size,
            bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian == salt
        else { return nil }
        switch RecordHeader.decode(bytes, at: offset) {
        case .valid(let header): return bytes.count - offset >= header.totalLength ? header : nil
        case .invalid: return nil
        case .unsupported(let value): throw .unknown(field: "record", value: value)
        }
    }

    /// The next readable record behind a damaged one: records are aligned and salted, so it cannot be mistaken.
    private static func resume(
        _ bytes: UnsafeRawBufferPointer,
        after offset: Int,
        salt: UInt64,
        from lsn: UInt64
    ) throws(DecodeError) -> (Int, RecordHeader)? {
        var at = offset + RecordHeader.alignment
        while bytes.count - at >= RecordHeader.size {
            if let record = try record(bytes, at: at, salt: salt), record.lsn > lsn { return (at, record) }
            at += RecordHeader.alignment
        }
        return nil
    }
}
