import Primitives

/// Writes a history as a stream of small items: names as they first appear, records as varints relative to the one
/// before. About 20 bytes a record.
///
///     magic "VHS1"
///     item: 1, room name | 2, epoch name | 3, record | 0, record count (the end, so that a torn file is known)
///     record: kind + 16 * outcome; zigzag(invoked - previous invoked); zigzag(returned - invoked); process;
///             connection; room; epoch; producer; producer epoch; sequence; message; offset
package struct HistoryWriter {
    /// What was written and not yet taken by the caller; the caller may empty it at any time, keeping its capacity.
    package var output = ByteWriter()
    private var roomsWritten = 0
    private var epochsWritten = 0
    private var previous: UInt64 = 0
    private var count: UInt64 = 0

    package init() { output.writeRaw(HistoryReader.magic) }

    /// Appends `record`, with the names that `history`'s tables have gained since the last call.
    package mutating func write(_ record: HistoryRecord, rooms: SymbolTable, epochs: SymbolTable) {
        while roomsWritten < rooms.count {
            output.write(UInt8(1))
            output.writeString(rooms.names[roomsWritten])
            roomsWritten += 1
        }
        while epochsWritten < epochs.count {
            output.write(UInt8(2))
            output.writeString(epochs.names[epochsWritten])
            epochsWritten += 1
        }
        output.write(UInt8(3))
        output.write(record.kind.rawValue | record.outcome.rawValue << 4)
        output.writeVarint(zigzag(record.invoked.nanoseconds &- previous))
        output.writeVarint(zigzag(record.returned.nanoseconds &- record.invoked.nanoseconds))
        output.writeVarint(UInt64(record.process))
        output.writeVarint(UInt64(record.connection))
        output.writeVarint(UInt64(record.room))
        output.writeVarint(UInt64(record.epoch))
        output.writeVarint(record.producer)
        output.writeVarint(UInt64(record.producerEpoch))
        output.writeVarint(record.sequence)
        output.writeVarint(record.message)
        output.writeVarint(record.offset)
        previous = record.invoked.nanoseconds
        count += 1
    }

    /// Appends the end mark.
    package mutating func finish() {
        output.write(UInt8(0))
        output.writeVarint(count)
    }

    /// The whole of `history` as one file.
    package static func encode(_ history: History) -> [UInt8] {
        var writer = HistoryWriter()
        for record in history.records { writer.write(record, rooms: history.rooms, epochs: history.epochs) }
        writer.finish()
        return writer.output.bytes
    }

    private func zigzag(_ difference: UInt64) -> UInt64 {
        let signed = Int64(bitPattern: difference)
        return UInt64(bitPattern: (signed << 1) ^ (signed >> 63))
    }
}

/// Reads what `HistoryWriter` wrote.
package enum HistoryReader {
    static let magic: [UInt8] = [0x56, 0x48, 0x53, 0x31]
    /// The longest room or epoch name, in bytes.
    static let nameLimit = 1024

    /// Decodes a whole file. Throws `.truncated` for a file without its end mark.
    package static func decode(_ bytes: [UInt8]) throws(DecodeError) -> History {
        var outcome: Result<History, DecodeError> = .failure(.truncated)
        bytes.withUnsafeBytes { raw in
            do throws(DecodeError) { outcome = .success(try decode(raw)) } catch { outcome = .failure(error) }
        }
        return try outcome.get()
    }

    private static func decode(_ raw: UnsafeRawBufferPointer) throws(DecodeError) -> History {
        var reader = ByteReader(raw)
        guard try reader.readRaw(count: 4).elementsEqual(magic) else { throw .malformed("history magic") }
        var history = History()
        var previous: UInt64 = 0
        while true {
            let tag = try reader.readByte()
            switch tag {
            case 0:
                guard try reader.readVarint() == UInt64(history.records.count) else {
                    throw .malformed("history record count")
                }
                try reader.expectEnd()
                return history
            case 1: _ = history.rooms.number(of: try reader.readString(limit: nameLimit, "room name"))
            case 2: _ = history.epochs.number(of: try reader.readString(limit: nameLimit, "epoch name"))
            case 3:
                let record = try readRecord(&reader, after: previous)
                previous = record.invoked.nanoseconds
                history.records.append(record)
            default: throw .unknown(field: "history item", value: UInt64(tag))
            }
        }
    }

    private static func readRecord(_ reader: inout ByteReader, after: UInt64) throws(DecodeError) -> HistoryRecord {
        let tag = try reader.readByte()
        guard let kind = RecordKind(rawValue: tag & 0x0f) else {
            throw .unknown(field: "record kind", value: UInt64(tag & 0x0f))
        }
        guard let outcome = RecordOutcome(rawValue: tag >> 4) else {
            throw .unknown(field: "record outcome", value: UInt64(tag >> 4))
        }
        let invoked = after &+ unzigzag(try reader.readVarint())
        let returned = invoked &+ unzigzag(try reader.readVarint())
        return HistoryRecord(
            invoked: Instant(nanoseconds: invoked),
            returned: Instant(nanoseconds: returned),
            process: try read32(&reader),
            connection: try read32(&reader),
            kind: kind,
            room: try read32(&reader),
            epoch: try read32(&reader),
            producer: try reader.readVarint(),
            producerEpoch: try read32(&reader),
            sequence: try reader.readVarint(),
            message: try reader.readVarint(),
            offset: try reader.readVarint(),
            outcome: outcome
        )
    }

    private static func read32(_ reader: inout ByteReader) throws(DecodeError) -> UInt32 {
        guard let value = UInt32(exactly: try reader.readVarint()) else { throw .malformed("32-bit number") }
        return value
    }

    private static func unzigzag(_ value: UInt64) -> UInt64 { (value >> 1) ^ (0 &- (value & 1)) }
}
