import Primitives

/// A small file replaced as a whole (the node's identity, for one): magic u64 | version u32 | length u32 | crc u32,
/// bytes. The checksum covers length, name and bytes, so that one file is never taken for another.
package enum MetaFormat {
    static let headSize = 20
    static let magic: UInt64 = 0x3154_454d_4a43_4e56  // "VNCJMET1"
    static let version: UInt32 = 1

    package static func encode(name: String, bytes content: [UInt8]) -> [UInt8] {
        precondition(content.count <= LogLimits.meta, "a meta file above its limit")
        var bytes = [UInt8](repeating: 0, count: headSize)
        bytes.append(contentsOf: content)
        bytes.withUnsafeMutableBytes { target in
            target.put(magic, at: 0)
            target.put(version, at: 8)
            target.put(UInt32(content.count), at: 12)
            target.put(checksum(UnsafeRawBufferPointer(target), name), at: 16)
        }
        return bytes
    }

    package static func decode(name: String, _ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> [UInt8] {
        guard bytes.count >= headSize else { throw .truncated }
        guard bytes.get(UInt32.self, at: 16) == checksum(bytes, name) else { throw .malformed("meta") }
        guard bytes.get(UInt64.self, at: 0) == magic else { throw .malformed("meta magic") }
        let version = bytes.get(UInt32.self, at: 8)
        guard version == MetaFormat.version else { throw .unknown(field: "meta version", value: UInt64(version)) }
        let length = Int(bytes.get(UInt32.self, at: 12))
        guard length == bytes.count - headSize else { throw .malformed("meta length") }
        return [UInt8](bytes.part(headSize, length))
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer, _ name: String) -> UInt32 {
        let named = CRC32C.checksum([UInt8](name.utf8))
        let head = CRC32C.checksum(bytes.part(0, 16), seed: named)
        return CRC32C.checksum(bytes.part(headSize, bytes.count - headSize), seed: head)
    }
}
