import Primitives

/// What a write-ahead record carries. A type that a build does not know stops the node: skipping it would lose state.
package enum RecordType: UInt8, Sendable {
    /// `StoredItem`s of one or more groups.
    case batch = 1
    /// The state of every group when the file was created; the first record of each file.
    case checkpoint = 2
    /// No body: written so that a durable position reaches the disk after the last batch before a pause.
    case mark = 3
}

/// The fixed head of a write-ahead record. On disk, little-endian, 48 bytes:
///
///     salt u64 | lsn u64 | durable u64 | type u8 | flags u8 | groups u16 | stored u32 | plain u32 |
///     body crc u32 | directory crc u32 | header crc u32
///
/// then `stored` bytes of body, then `groups` group numbers (u32 each, the directory), then zeros to a multiple of 8.
/// The header has a checksum of its own, so that a damaged length is never used to find the next record; the body's
/// covers salt and LSN too, so that a record left from the file's earlier life, or written to the wrong place, is never
/// taken for this one. The directory says which groups suffer when the body is damaged.
package struct RecordHeader: Equatable, Sendable {
    package static let size = 48
    package static let alignment = 8
    static let packedFlag: UInt8 = 1

    /// The file's incarnation; a record with another salt is left over from the file's earlier life.
    package var salt: UInt64
    /// The record's log sequence number: dense over all files of a node.
    package var lsn: UInt64
    /// The highest LSN known to be durable when this record was written; always below `lsn`.
    package var durable: UInt64
    package var type: RecordType
    package var isPacked: Bool
    package var groupCount: Int
    /// Bytes of body on disk.
    package var storedLength: Int
    /// Bytes of body when unpacked; equals `storedLength` unless `isPacked`.
    package var plainLength: Int
    package var bodyChecksum: UInt32
    package var directoryChecksum: UInt32

    /// Bytes on disk including directory and padding.
    package var totalLength: Int {
        (RecordHeader.size + storedLength + groupCount * 4 + RecordHeader.alignment - 1)
            / RecordHeader.alignment * RecordHeader.alignment
    }

    package enum Outcome: Equatable {
        case valid(RecordHeader)
        /// Not a record: zeros, garbage, or a header that fails its checksum.
        case invalid
        /// A checksummed header that this build cannot read.
        case unsupported(UInt64)
    }

    /// Reads the header at `offset`; never traps, whatever the bytes are.
    package static func decode(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Outcome {
        guard offset >= 0, bytes.count - offset >= size else { return .invalid }
        let head = bytes.part(offset, size)
        guard head.get(UInt32.self, at: 44) == CRC32C.checksum(head.part(0, 44)) else { return .invalid }
        let flags = head.get(UInt8.self, at: 25)
        let tag = head.get(UInt8.self, at: 24)
        guard let type = RecordType(rawValue: tag) else { return .unsupported(UInt64(tag)) }
        guard flags & ~packedFlag == 0 else { return .unsupported(UInt64(flags) << 8) }
        let header = RecordHeader(
            salt: head.get(UInt64.self, at: 0),
            lsn: head.get(UInt64.self, at: 8),
            durable: head.get(UInt64.self, at: 16),
            type: type,
            isPacked: flags & packedFlag != 0,
            groupCount: Int(head.get(UInt16.self, at: 26)),
            storedLength: Int(head.get(UInt32.self, at: 28)),
            plainLength: Int(head.get(UInt32.self, at: 32)),
            bodyChecksum: head.get(UInt32.self, at: 36),
            directoryChecksum: head.get(UInt32.self, at: 40)
        )
        guard header.storedLength <= LogLimits.recordBody, header.plainLength <= LogLimits.recordBody,
            header.isPacked || header.plainLength == header.storedLength,
            header.durable < header.lsn, header.lsn < .max
        else { return .invalid }
        return .valid(header)
    }

    package func encode(into target: UnsafeMutableRawBufferPointer) {
        target.put(salt, at: 0)
        target.put(lsn, at: 8)
        target.put(durable, at: 16)
        target.put(type.rawValue, at: 24)
        target.put(isPacked ? RecordHeader.packedFlag : 0, at: 25)
        target.put(UInt16(groupCount), at: 26)
        target.put(UInt32(storedLength), at: 28)
        target.put(UInt32(plainLength), at: 32)
        target.put(bodyChecksum, at: 36)
        target.put(directoryChecksum, at: 40)
        target.put(CRC32C.checksum(UnsafeRawBufferPointer(target).part(0, 44)), at: 44)
    }

    /// The checksum of `bytes` as part of record `lsn` of the file with `salt`.
    package static func checksum(_ bytes: UnsafeRawBufferPointer, salt: UInt64, lsn: UInt64) -> UInt32 {
        let seed = withUnsafeBytes(of: (salt.littleEndian, lsn.littleEndian)) { CRC32C.checksum($0) }
        return CRC32C.checksum(bytes, seed: seed)
    }

    /// True when the body behind this header is what was written. `bytes` and `offset` as for `decode`.
    package func bodyIsIntact(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        guard bytes.count - offset >= totalLength else { return false }
        let body = bytes.part(offset + RecordHeader.size, storedLength)
        return RecordHeader.checksum(body, salt: salt, lsn: lsn) == bodyChecksum
    }

    /// The groups with a part in this record; nil when the directory is damaged.
    package func directory(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> [GroupID]? {
        guard bytes.count - offset >= totalLength else { return nil }
        let raw = bytes.part(offset + RecordHeader.size + storedLength, groupCount * 4)
        guard RecordHeader.checksum(raw, salt: salt, lsn: lsn) == directoryChecksum else { return nil }
        return (0..<groupCount).map { GroupID(rawValue: raw.get(UInt32.self, at: $0 * 4)) }
    }

    /// The unpacked body. Call after `bodyIsIntact`.
    package func body(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DecodeError) -> [UInt8] {
        guard bytes.count - offset >= totalLength else { throw .truncated }
        let stored = bytes.part(offset + RecordHeader.size, storedLength)
        return isPacked
            ? try LZ4.unpack(stored, plainLength: plainLength, limit: LogLimits.recordBody) : [UInt8](stored)
    }
}
