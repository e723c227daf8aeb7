import Primitives

/// The head of a write-ahead file. On disk, little-endian, 64 bytes:
///
///     magic u64 | version u32 | 0 u32 | salt u64 | sequence u64 | first lsn u64 | zeros | crc u32 (at 60)
///
/// `firstLSN - 1` is the last good record of the file before: whatever that file holds from `firstLSN` on was cut, and
/// everything below was durable before this file got its name. A file is written and synced under a temporary name, so
/// a named file without a readable head is damage, not a crash.
package struct WALFileHeader: Equatable, Sendable {
    package static let size = 64
    static let magic: UInt64 = 0x314c_4157_4a43_4e56  // "VNCJWAL1"
    package static let version: UInt32 = 1

    /// Random for each life of the file.
    package var salt: UInt64
    /// Position in the order of files; also the file's name.
    package var sequence: UInt64
    package var firstLSN: UInt64

    package init(salt: UInt64, sequence: UInt64, firstLSN: UInt64) {
        self.salt = salt
        self.sequence = sequence
        self.firstLSN = firstLSN
    }

    package func encode() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: WALFileHeader.size)
        bytes.withUnsafeMutableBytes { target in
            target.put(WALFileHeader.magic, at: 0)
            target.put(WALFileHeader.version, at: 8)
            target.put(salt, at: 16)
            target.put(sequence, at: 24)
            target.put(firstLSN, at: 32)
            target.put(CRC32C.checksum(UnsafeRawBufferPointer(target).part(0, 60)), at: 60)
        }
        return bytes
    }

    /// Fails with `.unknown` when the head is intact but of a version that this build does not know.
    package static func decode(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> WALFileHeader {
        guard bytes.count >= size else { throw .truncated }
        guard bytes.get(UInt32.self, at: 60) == CRC32C.checksum(bytes.part(0, 60)) else {
            throw .malformed("WAL header")
        }
        guard bytes.get(UInt64.self, at: 0) == magic else { throw .malformed("WAL magic") }
        let version = bytes.get(UInt32.self, at: 8)
        guard version == WALFileHeader.version else { throw .unknown(field: "WAL version", value: UInt64(version)) }
        guard bytes.get(UInt64.self, at: 32) > 0 else { throw .malformed("first lsn") }
        return WALFileHeader(
            salt: bytes.get(UInt64.self, at: 16),
            sequence: bytes.get(UInt64.self, at: 24),
            firstLSN: bytes.get(UInt64.self, at: 32)
        )
    }
}
