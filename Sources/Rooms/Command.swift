import Primitives

/// Who vouches for a publish's sequence: a producer named by the client.
package struct ProducerStamp: Equatable, Sendable {
    package var id: ArraySlice<UInt8>
    package var epoch: UInt64
    package var sequence: UInt64

    package init(id: ArraySlice<UInt8>, epoch: UInt64, sequence: UInt64) {
        self.id = id
        self.epoch = epoch
        self.sequence = sequence
    }
}

/// One guaranteed publish as the gateway writes it, before it is given its place.
package struct PublishCommand: Equatable, Sendable {
    package var room: RoomName
    package var producer: ProducerStamp?
    /// A client's idempotency key; empty = none.
    package var idempotencyKey: ArraySlice<UInt8>
    /// An encoded `MessageBody`.
    package var body: ArraySlice<UInt8>

    package init(
        room: RoomName,
        producer: ProducerStamp? = nil,
        idempotencyKey: ArraySlice<UInt8> = [],
        body: ArraySlice<UInt8>
    ) {
        self.room = room
        self.producer = producer
        self.idempotencyKey = idempotencyKey
        self.body = body
    }

    package func encode(into writer: inout ByteWriter) {
        var flags: UInt8 = 0
        if producer != nil { flags |= 1 }
        if !idempotencyKey.isEmpty { flags |= 2 }
        writer.write(flags)
        writer.writeBytes(room.bytes)
        if let producer {
            writer.writeBytes(producer.id)
            writer.writeVarint(producer.epoch)
            writer.writeVarint(producer.sequence)
        }
        if !idempotencyKey.isEmpty { writer.writeBytes(idempotencyKey) }
        writer.writeRaw(body)
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: body.count + room.count + idempotencyKey.count + 32)
        encode(into: &writer)
        return writer.bytes
    }

    /// Decodes a command that fills `slice` of `data`; the parts are slices of `data`.
    package init(
        decoding raw: UnsafeRawBufferPointer,
        of data: ArraySlice<UInt8>
    ) throws(DecodeError) {
        var reader = ByteReader(raw)
        let flags = try reader.readByte()
        guard flags & ~3 == 0 else { throw .unknown(field: "publish flags", value: UInt64(flags)) }
        func slice(_ limit: Int, _ field: StaticStringName) throws(DecodeError) -> ArraySlice<UInt8> {
            let count = try reader.readCount(limit: limit, field)
            let start = data.startIndex + reader.position
            _ = try reader.readRaw(count: count)
            return data[start..<(start + count)]
        }
        room = RoomName(try slice(1024, "room"))
        if flags & 1 != 0 {
            let id = try slice(255, "producer id")
            producer = ProducerStamp(id: id, epoch: try reader.readVarint(), sequence: try reader.readVarint())
        } else {
            producer = nil
        }
        idempotencyKey = flags & 2 != 0 ? try slice(255, "idempotency key") : []
        body = data[(data.startIndex + reader.position)...]
    }
}

/// A durable cursor's new value: everything up to `offset` was acknowledged by the named consumer.
package struct CursorUpdate: Equatable, Sendable {
    package var room: RoomName
    package var consumer: [UInt8]
    package var position: Position

    package init(room: RoomName, consumer: [UInt8], position: Position) {
        self.room = room
        self.consumer = consumer
        self.position = position
    }
}

/// Writes the data of a partition's log entries. One entry carries everything that the owner gathered in a tick.
///
/// Bytes: version u8 = 1, timestamp varint, then commands: tag u8 and a length-prefixed body each.
package struct CommandBatchWriter {
    package static let version: UInt8 = 1
    package private(set) var writer: ByteWriter
    package private(set) var count = 0

    enum Tag: UInt8 {
        case publish = 1
        case cursors = 2
        case configure = 3
        case housekeeping = 4
        case recover = 5
    }

    package init(timestamp: Timestamp) {
        writer = ByteWriter(capacity: 512)
        writer.write(CommandBatchWriter.version)
        writer.writeVarint(timestamp)
    }

    package var isEmpty: Bool { count == 0 }
    package var bytes: [UInt8] { writer.bytes }
    package var byteCount: Int { writer.count }

    /// A publish that came as number `sequence` of gateway `gateway`'s stream; the gateway has seen the outcome of
    /// every sequence below `acknowledgedBelow`.
    package mutating func publish(
        gateway: GatewayID,
        sequence: UInt64,
        acknowledgedBelow: UInt64,
        command: ArraySlice<UInt8>
    ) {
        count += 1
        writer.write(Tag.publish.rawValue)
        writer.write(gateway.rawValue)
        writer.writeVarint(sequence)
        writer.writeVarint(acknowledgedBelow)
        writer.writeBytes(command)
    }

    package mutating func cursors(_ updates: [CursorUpdate]) {
        count += 1
        writer.write(Tag.cursors.rawValue)
        writer.writeVarint(UInt64(updates.count))
        for update in updates {
            writer.writeBytes(update.room.bytes)
            writer.writeBytes(update.consumer)
            writer.write(update.position.epoch)
            writer.writeVarint(update.position.offset)
        }
    }

    /// The namespaces in force from here on: retention must be decided alike by all replicas, whatever their files say.
    /// `epochSeed` is taken by a partition that has none yet; rooms' epochs derive from it.
    package mutating func configure(_ table: NamespaceTable, epochSeed: UInt64) {
        count += 1
        writer.write(Tag.configure.rawValue)
        writer.write(epochSeed)
        table.encode(into: &writer)
    }

    /// A majority of the partition's copies was lost for good, and this copy may lack what was acknowledged: all rooms
    /// begin a new epoch, which derives from the seed, so that whoever comes with an old position is told.
    package mutating func recover(epochSeed: UInt64) {
        count += 1
        writer.write(Tag.recover.rawValue)
        writer.write(epochSeed)
    }

    /// Trims by time and forgets what expired, as of this batch's timestamp.
    package mutating func housekeeping() {
        count += 1
        writer.write(Tag.housekeeping.rawValue)
    }
}
