import DequeModule
import Primitives

/// The replicated state machine of one partition: its rooms' heads, retention floors, producers, gateway streams and
/// cursors. Offsets, duplicates, retention and expiry are decided here, at apply, from the log alone; so replicas that
/// applied the same entries are equal to the byte (`encodeSnapshot`, `digest`).
///
/// The messages themselves stay in the log; a bounded tail of them is kept in memory for live fan-out and resumes.
package struct PartitionState: Sendable {
    /// Every this many offsets a room remembers where in the log it stands; retention by time and size, and reads below
    /// the tail, work at this grain.
    package static let markInterval: UInt64 = 64
    package static let cursorsPerRoom = 10_000

    package let partition: PartitionID
    package private(set) var applied: LogIndex = 0
    /// Log time: never goes back, whatever the owners' clocks do.
    package private(set) var now: Timestamp = 0
    package private(set) var namespaces: NamespaceTable?
    /// Where rooms' epochs come from; 0 until the first owner has configured the partition.
    package private(set) var epochSeed: UInt64 = 0
    private var limits: RoomLimits { namespaces?.limits ?? RoomLimits() }
    var rooms: [Room] = []
    var roomIndex: [RoomName: Int] = [:]
    private var gateways = GatewayStreams<PublishOutcome>()
    /// Publish commands in the retained log that were not appended: (log index, ordinal among the entry's publishes).
    private var rejected: Deque<Rejected> = []

    struct Rejected: Equatable, Sendable {
        var index: LogIndex
        var ordinal: UInt32
    }

    /// Rooms in the order of the messages in their tails, oldest first.
    private var tailOrder: Deque<Int32> = []
    private var tailBytes = 0
    private let tailBytesMax: Int

    package init(partition: PartitionID, tailBytesMax: Int = 4 << 20) {
        self.partition = partition
        self.tailBytesMax = tailBytesMax
    }

    // MARK: Apply

    /// Something that an applied entry did.
    package enum Effect: Sendable {
        /// A publish was decided. `publication` is there when it was appended by this very entry.
        case published(
            gateway: GatewayID,
            sequence: UInt64,
            room: RoomName,
            outcome: PublishOutcome,
            publication: Publication?
        )
        /// Cursors moved.
        case cursorsMoved(Int)
    }

    /// Applies one committed entry of kind `.command`. An entry that this build cannot read throws, and the replica
    /// must stop: skipping it would let replicas differ.
    package mutating func apply(
        index: LogIndex,
        data: [UInt8],
        into effects: inout [Effect]
    ) throws(DecodeError) {
        precondition(index > applied, "entries are applied once, in order")
        applied = index
        guard !data.isEmpty else { return }
        let outcome = data.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            do throws(DecodeError) {
                try applyBatch(index, raw, data, &effects)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        trimTail()
    }

    /// Notes that entries without commands (no-ops, membership changes) up to `index` are behind us.
    package mutating func skip(to index: LogIndex) {
        applied = max(applied, index)
    }

    private mutating func applyBatch(
        _ index: LogIndex,
        _ raw: UnsafeRawBufferPointer,
        _ data: [UInt8],
        _ effects: inout [Effect]
    ) throws(DecodeError) {
        var reader = ByteReader(raw)
        let version = try reader.readByte()
        guard version == CommandBatchWriter.version else {
            throw .unknown(field: "command batch version", value: UInt64(version))
        }
        now = max(now, try reader.readVarint())
        var ordinal: UInt32 = 0
        while !reader.isAtEnd {
            let tag = try reader.readByte()
            switch CommandBatchWriter.Tag(rawValue: tag) {
            case .publish:
                let gateway = GatewayID(rawValue: try reader.read())
                let sequence = try reader.readVarint()
                let seen = try reader.readVarint()
                let count = try reader.readCount(limit: reader.remaining, "publish command")
                let start = reader.position
                let bytes = try reader.readRaw(count: count)
                let command = try PublishCommand(decoding: bytes, of: data[start..<(start + count)])
                applyPublish(index, ordinal, gateway, sequence, seen, command, &effects)
                ordinal += 1
            case .cursors:
                try applyCursors(&reader, &effects)
            case .configure:
                let seed = try reader.read(UInt64.self)
                if epochSeed == 0 { epochSeed = seed }
                let table = try NamespaceTable(from: &reader)
                namespaces = table
                for slot in rooms.indices { rooms[slot].policy = table.policy(for: rooms[slot].name) }
            case .housekeeping:
                expire()
            case .recover:
                beginEpochs(try reader.read(UInt64.self))
            case nil:
                throw .unknown(field: "command", value: UInt64(tag))
            }
        }
    }

    private mutating func applyPublish(
        _ index: LogIndex,
        _ ordinal: UInt32,
        _ gateway: GatewayID,
        _ sequence: UInt64,
        _ seen: UInt64,
        _ command: PublishCommand,
        _ effects: inout [Effect]
    ) {
        switch gateways.verdict(gateway, sequence) {
        case .fresh: break
        case .repeated(let first):
            rejected.append(Rejected(index: index, ordinal: ordinal))
            if let first {
                effects.append(
                    .published(
                        gateway: gateway,
                        sequence: sequence,
                        room: command.room,
                        outcome: first,
                        publication: nil
                    )
                )
            }
            return
        case .outOfOrder:
            rejected.append(Rejected(index: index, ordinal: ordinal))
            return
        }
        let outcome: PublishOutcome
        var publication: Publication?
        if let slot = room(command.room) {
            if let verdict = rooms[slot].producers.verdict(
                producer: command.producer,
                key: command.idempotencyKey,
                epoch: rooms[slot].epoch,
                limits: limits
            ) {
                outcome = verdict
            } else {
                let appended = append(command, to: slot, index: index, ordinal: ordinal)
                publication = appended
                outcome = .appended(Position(epoch: rooms[slot].epoch, offset: appended.offset))
            }
        } else {
            outcome = .limitReached
        }
        if publication == nil { rejected.append(Rejected(index: index, ordinal: ordinal)) }
        gateways.record(gateway, sequence, outcome, acknowledgedBelow: seen, now: now)
        effects.append(
            .published(
                gateway: gateway,
                sequence: sequence,
                room: command.room,
                outcome: outcome,
                publication: publication
            )
        )
    }

    /// The slot of `name`, made when it is new; nil at the bound.
    private mutating func room(_ name: RoomName) -> Int? {
        if let slot = roomIndex[name] { return slot }
        guard rooms.count < limits.roomsPerPartition else { return nil }
        let owned = name.compacted()
        let policy = namespaces?.policy(for: owned) ?? NamespacePolicy()
        rooms.append(Room(name: owned, epoch: epoch(of: owned), policy: policy))
        roomIndex[owned] = rooms.count - 1
        return rooms.count - 1
    }

    private mutating func append(
        _ command: PublishCommand,
        to slot: Int,
        index: LogIndex,
        ordinal: UInt32
    ) -> Publication {
        tailOrder.append(Int32(slot))
        tailBytes += command.body.count + 64
        return rooms[slot].append(command, index: index, ordinal: ordinal, now: now, limits: limits)
    }

    private mutating func beginEpochs(_ seed: UInt64) {
        epochSeed = seed
        for slot in rooms.indices {
            rooms[slot].epoch = epoch(of: rooms[slot].name)
            for row in rooms[slot].cursors.indices { rooms[slot].cursors[row].isOfFormerEpoch = true }
        }
    }

    private mutating func expire() {
        for slot in rooms.indices {
            rooms[slot].trim(now: now)
            if !rooms[slot].producers.isEmpty { rooms[slot].producers.expire(now: now, limits: limits) }
        }
        gateways.expire(now: now)
        let floor = logFloor
        while let oldest = rejected.first, oldest.index < floor { rejected.removeFirst() }
    }

    private mutating func applyCursors(
        _ reader: inout ByteReader,
        _ effects: inout [Effect]
    ) throws(DecodeError) {
        let count = try reader.readCount(limit: 1 << 20, "cursor updates")
        var moved = 0
        for _ in 0..<count {
            let name = RoomName(try reader.readBytes(limit: 1024, "room"))
            let consumer = try reader.readBytes(limit: 255, "consumer")
            let epoch = try reader.read(UInt64.self)
            let offset = try reader.readVarint()
            // A consumer may hold a cursor in a room that nothing was published to yet.
            guard let slot = room(name), rooms[slot].epoch == epoch, offset < rooms[slot].next else { continue }
            if let row = rooms[slot].cursors.firstIndex(where: { $0.consumer == consumer }) {
                if offset > rooms[slot].cursors[row].offset {
                    rooms[slot].cursors[row].offset = offset
                    rooms[slot].cursors[row].isOfFormerEpoch = false
                    moved += 1
                }
                rooms[slot].cursors[row].lastTime = now
            } else if rooms[slot].cursors.count < PartitionState.cursorsPerRoom {
                rooms[slot].cursors.append(Cursor(consumer: consumer, offset: offset, lastTime: now))
                moved += 1
            }
        }
        effects.append(.cursorsMoved(moved))
    }

    private mutating func trimTail() {
        while tailBytes > tailBytesMax, let slot = tailOrder.popFirst() {
            let dropped = rooms[Int(slot)].tail.removeFirst()
            tailBytes -= dropped.body.count + 64
        }
    }

    // MARK: Reads

    package var roomCount: Int { rooms.count }

    /// The oldest log entry that a retained message or the rejected list still needs; `applied + 1` when none does.
    package var logFloor: LogIndex {
        var floor = applied + 1
        for room in rooms {
            if let first = room.marks.first { floor = min(floor, first.index) }
        }
        return floor
    }

    /// The epoch of a room, known before its first message: a function of the partition's seed and the name.
    private func epoch(of room: RoomName) -> UInt64 {
        var mix = SplitMix64.mix(epochSeed)
        for byte in room.bytes { mix = SplitMix64.mix(mix ^ UInt64(byte)) }
        return mix | 1
    }

    /// A room's head: its epoch, the first retained offset and the next one.
    package func head(of room: RoomName) -> RoomHead {
        guard let slot = roomIndex[room] else { return RoomHead(epoch: epoch(of: room), first: 1, next: 1) }
        return RoomHead(epoch: rooms[slot].epoch, first: rooms[slot].first, next: rooms[slot].next)
    }

    /// The named consumer's durable position; nil when it has none.
    package func cursor(_ consumer: [UInt8], in room: RoomName) -> UInt64? { row(consumer, in: room)?.offset }

    /// The room has begun a new epoch since the consumer's position last moved: it may have missed something.
    package func isCursorOfFormerEpoch(_ consumer: [UInt8], in room: RoomName) -> Bool {
        row(consumer, in: room)?.isOfFormerEpoch ?? false
    }

    private func row(_ consumer: [UInt8], in room: RoomName) -> Cursor? {
        guard let slot = roomIndex[room] else { return nil }
        return rooms[slot].cursors.first { $0.consumer == consumer }
    }

    /// All rooms' names and heads, in order of creation, for status pages.
    package func listRooms(limit: Int) -> [(RoomName, RoomHead)] {
        rooms.prefix(limit).map { ($0.name, RoomHead(epoch: $0.epoch, first: $0.first, next: $0.next)) }
    }

    package enum TailRead: Sendable {
        case publications([Publication])
        /// Older than the tail in memory: read entries from `index` on, with `LogScan`.
        case log(LogScan)
    }

    /// Up to `limit` messages (and about `maxBytes`) from `offset` on. `offset` must be retained.
    package func read(_ room: RoomName, from offset: UInt64, limit: Int, maxBytes: Int) -> TailRead {
        guard let slot = roomIndex[room], offset < rooms[slot].next, limit > 0 else { return .publications([]) }
        let from = max(offset, rooms[slot].first)
        let tail = rooms[slot].tail
        if let oldest = tail.first?.offset, oldest <= from {
            var result: [Publication] = []
            var bytes = 0
            for publication in tail[Int(from - oldest)...] {
                if result.count == limit || (bytes > 0 && bytes + publication.body.count > maxBytes) { break }
                bytes += publication.body.count
                result.append(publication)
            }
            return .publications(result)
        }
        let marks = rooms[slot].marks
        var low = 0
        var high = marks.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if marks[middle].offset <= from { low = middle } else { high = middle }
        }
        guard !marks.isEmpty else { return .publications([]) }
        return .log(
            LogScan(
                room: rooms[slot].name,
                index: marks[low].index,
                ordinal: marks[low].ordinal,
                nextOffset: marks[low].offset,
                clock: marks[low].timestamp,
                from: from,
                end: rooms[slot].next,
                limit: limit,
                maxBytes: maxBytes,
                rejected: rejected.filter { $0.index >= marks[low].index }
            )
        )
    }

    // MARK: Snapshot

    /// 2: cursors know whether they are of a former epoch. 1 is still read.
    private static let snapshotVersion: UInt8 = 2

    /// The state at `applied`, without the messages. Equal replicas write equal bytes.
    package func encodeSnapshot() -> [UInt8] {
        var writer = ByteWriter(capacity: 64 + rooms.count * 96)
        writer.write(PartitionState.snapshotVersion)
        writer.writeVarint(UInt64(partition.rawValue))
        writer.writeVarint(applied)
        writer.writeVarint(now)
        writer.write(epochSeed)
        writer.write(UInt8(namespaces == nil ? 0 : 1))
        namespaces?.encode(into: &writer)
        writer.writeVarint(UInt64(rooms.count))
        for room in rooms {
            writer.writeBytes(room.name.bytes)
            writer.write(room.epoch)
            writer.writeVarint(room.first)
            writer.writeVarint(room.next)
            writer.writeVarint(room.bytes)
            writer.writeVarint(room.lastTime)
            writer.writeVarint(UInt64(room.marks.count))
            for mark in room.marks {
                writer.writeVarint(mark.offset)
                writer.writeVarint(mark.index)
                writer.writeVarint(UInt64(mark.ordinal))
                writer.writeVarint(mark.timestamp)
                writer.writeVarint(mark.bytesBefore)
            }
            room.producers.encode(into: &writer)
            writer.writeVarint(UInt64(room.cursors.count))
            for cursor in room.cursors {
                writer.writeBytes(cursor.consumer)
                writer.writeVarint(cursor.offset)
                writer.writeVarint(cursor.lastTime)
                writer.write(UInt8(cursor.isOfFormerEpoch ? 1 : 0))
            }
        }
        gateways.encode(into: &writer)
        writer.writeVarint(UInt64(rejected.count))
        for row in rejected {
            writer.writeVarint(row.index)
            writer.writeVarint(UInt64(row.ordinal))
        }
        return writer.bytes
    }

    package init(
        partition: PartitionID,
        snapshot: [UInt8],
        tailBytesMax: Int = 4 << 20
    ) throws(DecodeError) {
        self.init(partition: partition, tailBytesMax: tailBytesMax)
        var decoded = self
        let outcome = snapshot.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            do throws(DecodeError) {
                try decoded.restore(raw)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        self = decoded
    }

    private mutating func restore(_ raw: UnsafeRawBufferPointer) throws(DecodeError) {
        var reader = ByteReader(raw)
        let version = try reader.readByte()
        guard (1...PartitionState.snapshotVersion).contains(version) else {
            throw .unknown(field: "partition snapshot version", value: UInt64(version))
        }
        guard try reader.readVarint() == UInt64(partition.rawValue) else { throw .malformed("snapshot's partition") }
        applied = try reader.readVarint()
        now = try reader.readVarint()
        epochSeed = try reader.read()
        if try reader.readByte() == 1 { namespaces = try NamespaceTable(from: &reader) }
        for _ in 0..<(try reader.readCount(limit: 1 << 30, "rooms")) {
            let name = RoomName(try reader.readBytes(limit: 1024, "room"))
            var room = Room(
                name: name,
                epoch: try reader.read(),
                policy: namespaces?.policy(for: name) ?? NamespacePolicy()
            )
            room.first = try reader.readVarint()
            room.next = try reader.readVarint()
            room.bytes = try reader.readVarint()
            room.lastTime = try reader.readVarint()
            for _ in 0..<(try reader.readCount(limit: reader.remaining, "marks")) {
                room.marks.append(
                    Mark(
                        offset: try reader.readVarint(),
                        index: try reader.readVarint(),
                        ordinal: UInt32(clamping: try reader.readVarint()),
                        timestamp: try reader.readVarint(),
                        bytesBefore: try reader.readVarint()
                    )
                )
            }
            room.producers = try ProducerTable(from: &reader)
            for _ in 0..<(try reader.readCount(limit: PartitionState.cursorsPerRoom, "cursors")) {
                room.cursors.append(
                    Cursor(
                        consumer: try reader.readBytes(limit: 255, "consumer"),
                        offset: try reader.readVarint(),
                        lastTime: try reader.readVarint(),
                        isOfFormerEpoch: version == 1 ? false : try reader.readByte() != 0
                    )
                )
            }
            roomIndex[name] = rooms.count
            rooms.append(room)
        }
        gateways = try GatewayStreams(from: &reader)
        for _ in 0..<(try reader.readCount(limit: reader.remaining, "rejected")) {
            rejected.append(
                Rejected(index: try reader.readVarint(), ordinal: UInt32(clamping: try reader.readVarint()))
            )
        }
        try reader.expectEnd()
    }

    /// PLANTED BUG, for the simulator's proof of itself; called nowhere else.
    package mutating func forgetProducers() {
        for slot in rooms.indices { rooms[slot].producers = ProducerTable() }
    }

    /// A hash of the whole state: replicas at the same applied index must agree (checker's check j).
    package var digest: UInt64 {
        let bytes = encodeSnapshot()
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }
}

/// Where a room stands.
package struct RoomHead: Equatable, Sendable {
    package var epoch: UInt64
    /// The first retained offset; equal to `next` when nothing is retained.
    package var first: UInt64
    /// The offset that the next message gets.
    package var next: UInt64

    package init(epoch: UInt64, first: UInt64, next: UInt64) {
        self.epoch = epoch
        self.first = first
        self.next = next
    }
}
