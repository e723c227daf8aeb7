import Primitives

/// Reads a room's messages back out of log entries: feed it entries from `index` on until it has enough.
///
/// Offsets are not in the log (they are given at apply), so the scan counts from a mark on and leaves out the publishes
/// that were rejected then.
package struct LogScan: Sendable {
    package let room: RoomName
    /// The next entry that the scan needs.
    package private(set) var index: LogIndex
    private var nextOffset: UInt64
    private let from: UInt64
    /// One past the last offset that the scan looks for.
    private let end: UInt64
    private let limit: Int
    private let maxBytes: Int
    /// Publishes of the first entry before this one came before the mark.
    private let firstIndex: LogIndex
    private let firstOrdinal: UInt32
    private let rejected: [PartitionState.Rejected]
    private var bytes = 0
    private var clock: Timestamp
    package private(set) var publications: [Publication] = []

    init(
        room: RoomName,
        index: LogIndex,
        ordinal: UInt32,
        nextOffset: UInt64,
        clock: Timestamp,
        from: UInt64,
        end: UInt64,
        limit: Int,
        maxBytes: Int,
        rejected: [PartitionState.Rejected]
    ) {
        self.room = room
        self.index = index
        self.nextOffset = nextOffset
        self.from = from
        self.end = end
        self.limit = limit
        self.maxBytes = maxBytes
        self.firstIndex = index
        self.firstOrdinal = ordinal
        self.clock = clock
        self.rejected = rejected
    }

    /// True when no further entry is needed.
    package var isComplete: Bool {
        publications.count >= limit || nextOffset >= end || (bytes > 0 && bytes >= maxBytes)
    }

    /// Takes the entry at `index`.
    package mutating func consume(_ entry: Entry) throws(DecodeError) {
        guard entry.index == index else { throw .malformed("entry index in a log scan") }
        index += 1
        guard entry.kind == .command, !entry.data.isEmpty else { return }
        let data = entry.data
        var scan = self
        let outcome = data.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            do throws(DecodeError) {
                try scan.scan(raw, data, entry.index)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        self = scan
    }

    private mutating func scan(
        _ raw: UnsafeRawBufferPointer,
        _ data: [UInt8],
        _ entryIndex: LogIndex
    ) throws(DecodeError) {
        var reader = ByteReader(raw)
        guard try reader.readByte() == CommandBatchWriter.version else { throw .malformed("command batch version") }
        clock = max(clock, try reader.readVarint())
        var ordinal: UInt32 = 0
        while !reader.isAtEnd, !isComplete {
            let tag = try reader.readByte()
            switch CommandBatchWriter.Tag(rawValue: tag) {
            case .publish:
                _ = try reader.read(UInt64.self)
                _ = try reader.readVarint()
                _ = try reader.readVarint()
                let count = try reader.readCount(limit: reader.remaining, "publish command")
                let start = reader.position
                let bytes = try reader.readRaw(count: count)
                let command = try PublishCommand(decoding: bytes, of: data[start..<(start + count)])
                defer { ordinal += 1 }
                if entryIndex == firstIndex && ordinal < firstOrdinal { continue }
                guard command.room == room, !isRejected(entryIndex, ordinal) else { continue }
                take(command.body)
            case .cursors:
                for _ in 0..<(try reader.readCount(limit: 1 << 20, "cursor updates")) {
                    _ = try reader.readBytes(limit: 1024, "room")
                    _ = try reader.readBytes(limit: 255, "consumer")
                    _ = try reader.read(UInt64.self)
                    _ = try reader.readVarint()
                }
            case .configure:
                _ = try reader.read(UInt64.self)
                _ = try NamespaceTable(from: &reader)
            case .housekeeping: break
            case .recover: _ = try reader.read(UInt64.self)
            case nil: throw .unknown(field: "command", value: UInt64(tag))
            }
        }
    }

    private mutating func take(_ body: ArraySlice<UInt8>) {
        if nextOffset >= from {
            publications.append(Publication(offset: nextOffset, timestamp: clock, body: body))
            bytes += body.count
        }
        nextOffset += 1
    }

    private func isRejected(_ index: LogIndex, _ ordinal: UInt32) -> Bool {
        var low = 0
        var high = rejected.count
        while low < high {
            let middle = (low + high) / 2
            let row = rejected[middle]
            if row.index < index || (row.index == index && row.ordinal < ordinal) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low < rejected.count && rejected[low] == PartitionState.Rejected(index: index, ordinal: ordinal)
    }
}
