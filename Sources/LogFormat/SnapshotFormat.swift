import Primitives

/// A state-machine snapshot as a file: a head of 72 bytes, the descriptor, then chunks of up to 1 MiB, each packed when
/// that gains and each with a checksum that covers its place:
///
///     magic u64 | version u32 | group u32 | incarnation u64 | index u64 | term u64 | plain length u64 |
///     descriptor length u32 | chunks u32 | descriptor crc u32 | 0 u32 | 0 u32 | crc u32
///     chunk: plain u32 | stored u32 | flags u32 | crc u32, body
package enum SnapshotFormat {
    static let headSize = 72
    static let chunkHeadSize = 16
    static let magic: UInt64 = 0x3150_4e53_4a43_4e56  // "VNCJSNP1"
    static let version: UInt32 = 1
    static let packedFlag: UInt32 = 1

    /// The file's bytes. `state` is at most `LogLimits.snapshotState`.
    package static func encode(
        group: GroupID,
        incarnation: UInt64,
        descriptor: SnapshotDescriptor,
        state: [UInt8]
    ) -> [UInt8] {
        precondition(state.count <= LogLimits.snapshotState, "a snapshot above its limit")
        var writer = ByteWriter()
        writer.write(descriptor)
        let chunkCount = (state.count + LogLimits.snapshotChunk - 1) / LogLimits.snapshotChunk
        var bytes = [UInt8](repeating: 0, count: headSize)
        bytes.reserveCapacity(headSize + writer.count + state.count + chunkCount * chunkHeadSize)
        bytes.withUnsafeMutableBytes { target in
            target.put(magic, at: 0)
            target.put(version, at: 8)
            target.put(group.rawValue, at: 12)
            target.put(incarnation, at: 16)
            target.put(descriptor.index, at: 24)
            target.put(descriptor.term, at: 32)
            target.put(UInt64(state.count), at: 40)
            target.put(UInt32(writer.count), at: 48)
            target.put(UInt32(chunkCount), at: 52)
            target.put(CRC32C.checksum(writer.bytes), at: 56)
            target.put(CRC32C.checksum(UnsafeRawBufferPointer(target).part(0, 68)), at: 68)
        }
        bytes.append(contentsOf: writer.bytes)
        for chunk in 0..<chunkCount {
            let from = chunk * LogLimits.snapshotChunk
            appendChunk(
                state[from..<min(state.count, from + LogLimits.snapshotChunk)],
                seed: chunkSeed(group, descriptor.index, chunk),
                to: &bytes
            )
        }
        return bytes
    }

    private static func appendChunk(_ plain: ArraySlice<UInt8>, seed: UInt32, to bytes: inout [UInt8]) {
        let head = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: chunkHeadSize))
        let packed = plain.withUnsafeBytes { LZ4.append($0, to: &bytes) }
        if packed == nil { bytes.append(contentsOf: plain) }
        let storedLength = packed ?? plain.count
        bytes.withUnsafeMutableBytes { target in
            let all = UnsafeRawBufferPointer(target)
            target.put(UInt32(plain.count), at: head)
            target.put(UInt32(storedLength), at: head + 4)
            target.put(packed == nil ? 0 : packedFlag, at: head + 8)
            let covered = CRC32C.checksum(all.part(head, 12), seed: seed)
            target.put(CRC32C.checksum(all.part(head + chunkHeadSize, storedLength), seed: covered), at: head + 12)
        }
    }

    /// Reads a file back, every checksum verified; the state is never larger than its head declares.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer,
        group: GroupID
    ) throws(DecodeError) -> (incarnation: UInt64, descriptor: SnapshotDescriptor, state: [UInt8]) {
        guard bytes.count >= headSize else { throw .truncated }
        guard bytes.get(UInt32.self, at: 68) == CRC32C.checksum(bytes.part(0, 68)) else {
            throw .malformed("snapshot head")
        }
        guard bytes.get(UInt64.self, at: 0) == magic else { throw .malformed("snapshot magic") }
        let version = bytes.get(UInt32.self, at: 8)
        guard version == SnapshotFormat.version else {
            throw .unknown(field: "snapshot version", value: UInt64(version))
        }
        guard bytes.get(UInt32.self, at: 12) == group.rawValue else { throw .malformed("snapshot group") }
        let plainLength = bytes.get(UInt64.self, at: 40)
        guard plainLength <= UInt64(LogLimits.snapshotState) else {
            throw .tooLong(field: "snapshot", length: Int(clamping: plainLength), limit: LogLimits.snapshotState)
        }
        var reader = ByteReader(bytes)
        reader.position = headSize
        let descriptorBytes = try reader.readRaw(count: Int(bytes.get(UInt32.self, at: 48)))
        guard CRC32C.checksum(descriptorBytes) == bytes.get(UInt32.self, at: 56) else {
            throw .malformed("snapshot descriptor")
        }
        var descriptorReader = ByteReader(descriptorBytes)
        let descriptor = try descriptorReader.readSnapshotDescriptor()
        try descriptorReader.expectEnd()
        guard descriptor.index == bytes.get(UInt64.self, at: 24), descriptor.term == bytes.get(UInt64.self, at: 32)
        else {
            throw .malformed("snapshot descriptor")
        }
        // Grown chunk by chunk: the declared length alone reserves nothing beyond what 255:1 could make of the file.
        var state: [UInt8] = []
        state.reserveCapacity(min(Int(plainLength), bytes.count &* 8))
        for chunk in 0..<Int(bytes.get(UInt32.self, at: 52)) {
            try readChunk(
                &reader,
                seed: chunkSeed(group, descriptor.index, chunk),
                limit: Int(plainLength),
                into: &state
            )
        }
        try reader.expectEnd()
        guard state.count == Int(plainLength) else { throw .malformed("snapshot length") }
        return (bytes.get(UInt64.self, at: 16), descriptor, state)
    }

    private static func readChunk(
        _ reader: inout ByteReader,
        seed: UInt32,
        limit: Int,
        into state: inout [UInt8]
    ) throws(DecodeError) {
        let head = try reader.readRaw(count: chunkHeadSize)
        let plain = Int(head.get(UInt32.self, at: 0))
        let body = try reader.readRaw(count: Int(head.get(UInt32.self, at: 4)))
        let flags = head.get(UInt32.self, at: 8)
        let covered = CRC32C.checksum(head.part(0, 12), seed: seed)
        guard CRC32C.checksum(body, seed: covered) == head.get(UInt32.self, at: 12) else {
            throw .malformed("snapshot chunk")
        }
        guard flags & ~packedFlag == 0 else { throw .unknown(field: "snapshot flags", value: UInt64(flags)) }
        guard state.count + plain <= limit else {
            throw .tooLong(field: "snapshot", length: state.count + plain, limit: limit)
        }
        if flags & packedFlag != 0 {
            state.append(contentsOf: try LZ4.unpack(body, plainLength: plain, limit: LogLimits.snapshotChunk))
        } else {
            guard plain == body.count else { throw .malformed("snapshot chunk") }
            state.append(contentsOf: body)
        }
    }

    private static func chunkSeed(_ group: GroupID, _ index: LogIndex, _ chunk: Int) -> UInt32 {
        withUnsafeBytes(of: (UInt64(group.rawValue).littleEndian, index.littleEndian, UInt64(chunk).littleEndian)) {
            CRC32C.checksum($0)
        }
    }
}
