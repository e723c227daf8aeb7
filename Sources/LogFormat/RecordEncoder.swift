import Primitives

/// Builds one write-ahead record at a time in buffers that are kept: no allocation per batch once they have grown.
///
/// `begin`, then `add` until the batch is full, then `finish`; the record is in `record`.
package struct RecordEncoder {
    private var writer: ByteWriter
    private var packed: [UInt8] = []
    private var groups: [UInt32] = []
    private var isPacked = false

    package init() {
        writer = ByteWriter(capacity: 1 << 16)
        begin()
    }

    /// The finished record, padded; valid until `begin`.
    package var record: [UInt8] { isPacked ? packed : writer.bytes }

    /// Bytes of body so far.
    package var bodyLength: Int { writer.count - RecordHeader.size }

    package var isEmpty: Bool { bodyLength == 0 }

    package var groupCount: Int { groups.count }

    package mutating func begin() {
        // A rare huge record must not pin its memory for good.
        if writer.bytes.capacity > 4 * LogLimits.batchBytes { writer = ByteWriter(capacity: 1 << 16) }
        if packed.capacity > 4 * LogLimits.batchBytes { packed = [] }
        writer.bytes.removeAll(keepingCapacity: true)
        writer.bytes.append(contentsOf: repeatElement(0, count: RecordHeader.size))
        packed.removeAll(keepingCapacity: true)
        groups.removeAll(keepingCapacity: true)
        isPacked = false
    }

    /// Adds one item with the part `entries` of its entries.
    package mutating func add(_ item: StoredItem, entries: ArraySlice<Entry>) {
        if groups.last != item.group.rawValue { groups.append(item.group.rawValue) }
        writer.write(item, entries: entries)
    }

    /// The body of a `.checkpoint`: the file that it opens, and every group.
    package mutating func add(checkpoint groups: [GroupCheckpoint], fileSequence: UInt64) {
        writer.write(fileSequence)
        writer.writeVarint(UInt64(groups.count))
        for group in groups { writer.write(group) }
    }

    /// Completes the record and returns its header.
    @discardableResult
    package mutating func finish(
        type: RecordType,
        salt: UInt64,
        lsn: UInt64,
        durable: UInt64,
        packing: Bool = true
    ) -> RecordHeader {
        let plainLength = bodyLength
        if packing, plainLength >= LZ4.minimumLength {
            packed.append(contentsOf: repeatElement(0, count: RecordHeader.size))
            let length = writer.bytes.withUnsafeBytes {
                LZ4.append($0.part(RecordHeader.size, plainLength), to: &packed)
            }
            isPacked = length != nil
        }
        return isPacked
            ? seal(&packed, type, plainLength, salt, lsn, durable)
            : seal(&writer.bytes, type, plainLength, salt, lsn, durable)
    }

    private func seal(
        _ buffer: inout [UInt8],
        _ type: RecordType,
        _ plainLength: Int,
        _ salt: UInt64,
        _ lsn: UInt64,
        _ durable: UInt64
    ) -> RecordHeader {
        let storedLength = buffer.count - RecordHeader.size
        for group in groups {
            withUnsafeBytes(of: group.littleEndian) { buffer.append(contentsOf: $0) }
        }
        while buffer.count % RecordHeader.alignment != 0 { buffer.append(0) }
        var header = RecordHeader(
            salt: salt,
            lsn: lsn,
            durable: durable,
            type: type,
            isPacked: isPacked,
            groupCount: groups.count,
            storedLength: storedLength,
            plainLength: plainLength,
            bodyChecksum: 0,
            directoryChecksum: 0
        )
        buffer.withUnsafeMutableBytes { target in
            let all = UnsafeRawBufferPointer(target)
            header.bodyChecksum = RecordHeader.checksum(
                all.part(RecordHeader.size, storedLength),
                salt: salt,
                lsn: lsn
            )
            header.directoryChecksum = RecordHeader.checksum(
                all.part(RecordHeader.size + storedLength, header.groupCount * 4),
                salt: salt,
                lsn: lsn
            )
            header.encode(into: target)
        }
        return header
    }
}

/// Reads the bodies that `RecordEncoder` wrote.
package enum RecordDecoder {
    package static func items(_ body: [UInt8]) throws(DecodeError) -> [StoredItem] {
        try decode(body) { reader throws(DecodeError) in
            var items: [StoredItem] = []
            while !reader.isAtEnd { items.append(try reader.readStoredItem()) }
            return items
        }
    }

    package static func checkpoint(
        _ body: [UInt8]
    ) throws(DecodeError) -> (fileSequence: UInt64, groups: [GroupCheckpoint]) {
        try decode(body) { reader throws(DecodeError) in
            let sequence = try reader.read(UInt64.self)
            let count = try reader.readCount(limit: LogLimits.recordBody / 8, "groups")
            guard count <= reader.remaining / 7 else { throw DecodeError.truncated }
            var groups: [GroupCheckpoint] = []
            groups.reserveCapacity(count)
            for _ in 0..<count { groups.append(try reader.readGroupCheckpoint()) }
            try reader.expectEnd()
            return (sequence, groups)
        }
    }

    private static func decode<T>(
        _ body: [UInt8],
        _ read: (inout ByteReader) throws(DecodeError) -> T
    ) throws(DecodeError) -> T {
        try body.withBytes { (raw) throws(DecodeError) in
            var reader = ByteReader(raw)
            return try read(&reader)
        }
    }
}
