import CPosixShims

/// CRC32C (Castagnoli), as iSCSI (RFC 3720), ext4 and etcd's WAL use it; in hardware where the processor has it.
package enum CRC32C {
    /// The checksum of `bytes`, continuing from `seed` (0 for a fresh one).
    package static func checksum(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        vencejo_crc32c(seed, bytes.baseAddress, bytes.count)
    }

    package static func checksum(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { checksum($0, seed: seed) }
    }
}

/// Redis Cluster's hash slot: CRC16-XMODEM of the key, or of its `{tag}`, modulo 16384.
/// Source: Redis Cluster specification, "Key distribution model" and "Hash tags".
package enum HashSlot {
    package static let count: UInt32 = 16384

    package static func slot(of key: UnsafeRawBufferPointer) -> UInt32 {
        if let open = key.firstIndex(of: UInt8(ascii: "{")) {
            let start = open + 1
            if let close = key[start...].firstIndex(of: UInt8(ascii: "}")), close > start {
                return UInt32(crc16(UnsafeRawBufferPointer(rebasing: key[start..<close]))) % count
            }
        }
        return UInt32(crc16(key)) % count
    }

    package static func slot(of key: some Collection<UInt8>) -> UInt32 {
        if let slot = key.withContiguousStorageIfAvailable({ slot(of: UnsafeRawBufferPointer($0)) }) { return slot }
        return Array(key).withUnsafeBytes { slot(of: $0) }
    }

    package static func crc16(_ bytes: UnsafeRawBufferPointer) -> UInt16 {
        vencejo_crc16(bytes.baseAddress, bytes.count)
    }
}
