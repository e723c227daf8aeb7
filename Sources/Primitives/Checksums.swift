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

    package static func slot(of key: some RandomAccessCollection<UInt8>) -> UInt32 {
        if let open = key.firstIndex(of: UInt8(ascii: "{")) {
            let start = key.index(after: open)
            if let close = key[start...].firstIndex(of: UInt8(ascii: "}")), close > start {
                return UInt32(crc16(key[start..<close])) % count
            }
        }
        return UInt32(crc16(key)) % count
    }

    package static func crc16(_ bytes: some Sequence<UInt8>) -> UInt16 {
        var crc: UInt16 = 0
        for byte in bytes {
            crc = (crc << 8) ^ crc16Table[Int(UInt8(truncatingIfNeeded: crc >> 8) ^ byte)]
        }
        return crc
    }

    private static let crc16Table: [UInt16] = (0..<256).map { index in
        var crc = UInt16(index) << 8
        for _ in 0..<8 { crc = crc & 0x8000 != 0 ? (crc << 1) ^ 0x1021 : crc << 1 }
        return crc
    }
}
