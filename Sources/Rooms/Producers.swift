import DequeModule
import Primitives

/// What became of a publish. Decided at apply, so that every replica decides alike.
package enum PublishOutcome: Equatable, Sendable, StreamOutcome {
    /// Appended at this position.
    case appended(Position)
    /// It had been appended before, at this position.
    case duplicate(Position)
    /// It had been appended before; the position is no longer remembered.
    case duplicateUnknownOffset
    /// The producer skipped a sequence; it must send `expected` next.
    case sequenceGap(expected: UInt64)
    /// A newer incarnation of the producer is at work.
    case fenced(currentEpoch: UInt64)
    /// The producer was forgotten or never known: it begins again at sequence 0 with a higher epoch.
    case unknownProducer
    /// The room or partition is at a bound (rooms per partition, producers per room).
    case limitReached

    package func encode(into writer: inout ByteWriter) {
        func position(_ tag: UInt8, _ position: Position) {
            writer.write(tag)
            writer.write(position.epoch)
            writer.writeVarint(position.offset)
        }
        switch self {
        case .appended(let at): position(0, at)
        case .duplicate(let at): position(1, at)
        case .duplicateUnknownOffset: writer.write(UInt8(2))
        case .sequenceGap(let expected):
            writer.write(UInt8(3))
            writer.writeVarint(expected)
        case .fenced(let current):
            writer.write(UInt8(4))
            writer.writeVarint(current)
        case .unknownProducer: writer.write(UInt8(5))
        case .limitReached: writer.write(UInt8(6))
        }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        let tag = try reader.readByte()
        switch tag {
        case 0: self = .appended(Position(epoch: try reader.read(), offset: try reader.readVarint()))
        case 1: self = .duplicate(Position(epoch: try reader.read(), offset: try reader.readVarint()))
        case 2: self = .duplicateUnknownOffset
        case 3: self = .sequenceGap(expected: try reader.readVarint())
        case 4: self = .fenced(currentEpoch: try reader.readVarint())
        case 5: self = .unknownProducer
        case 6: self = .limitReached
        default: throw .unknown(field: "publish outcome", value: UInt64(tag))
        }
    }
}

/// The idempotent producers and idempotency keys of one room. Mutated only in apply; never trimmed
/// with the messages.
struct ProducerTable: Sendable {
    /// Offsets of a producer's last batches that are remembered (Kafka's NUM_BATCHES_TO_RETAIN is 5).
    static let ringSize = 8
    /// No setting goes beyond it, and no snapshot is believed that does.
    static let decodedMax = 10_000_000
    static let producerIdle: UInt64 = 24 * 3600 * 1000

    struct Producer: Equatable, Sendable {
        var epoch: UInt64
        var lastSequence: UInt64
        /// Offsets of sequences `lastSequence - ring.count + 1 ... lastSequence`.
        var ring: Deque<UInt64>
        var lastTime: Timestamp
    }

    private struct Key: Sendable {
        var key: [UInt8]
        var time: Timestamp
    }

    private var producers: [ArraySlice<UInt8>: Producer] = [:]
    /// Producers in order of first use, for a deterministic walk.
    private var order: [ArraySlice<UInt8>] = []
    private var keys: [ArraySlice<UInt8>: UInt64] = [:]
    private var keyOrder: Deque<Key> = []

    var isEmpty: Bool { order.isEmpty && keyOrder.isEmpty }

    /// The verdict on a publish that is about to be appended at `next`; nil = append it.
    func verdict(
        producer stamp: ProducerStamp?,
        key: ArraySlice<UInt8>,
        epoch roomEpoch: UInt64,
        limits: RoomLimits
    ) -> PublishOutcome? {
        if let stamp {
            guard let known = producers[stamp.id] else {
                if stamp.sequence != 0 { return .unknownProducer }
                return order.count >= limits.producersPerRoom ? .limitReached : keyVerdict(key, roomEpoch)
            }
            if stamp.epoch < known.epoch { return .fenced(currentEpoch: known.epoch) }
            if stamp.epoch > known.epoch {
                return stamp.sequence == 0 ? keyVerdict(key, roomEpoch) : .sequenceGap(expected: 0)
            }
            if stamp.sequence <= known.lastSequence {
                let back = known.lastSequence - stamp.sequence
                guard back < UInt64(known.ring.count) else { return .duplicateUnknownOffset }
                let offset = known.ring[known.ring.count - 1 - Int(back)]
                return .duplicate(Position(epoch: roomEpoch, offset: offset))
            }
            if stamp.sequence != known.lastSequence + 1 {
                return .sequenceGap(expected: known.lastSequence + 1)
            }
        }
        return keyVerdict(key, roomEpoch)
    }

    private func keyVerdict(_ key: ArraySlice<UInt8>, _ epoch: UInt64) -> PublishOutcome? {
        guard !key.isEmpty, let offset = keys[key] else { return nil }
        return .duplicate(Position(epoch: epoch, offset: offset))
    }

    /// Remembers that a publish with this stamp and key was appended at `offset`.
    mutating func record(
        producer stamp: ProducerStamp?,
        key: ArraySlice<UInt8>,
        offset: UInt64,
        now: Timestamp,
        limits: RoomLimits
    ) {
        if let stamp {
            if var known = producers[stamp.id], known.epoch == stamp.epoch {
                producers[stamp.id] = nil
                known.lastSequence = stamp.sequence
                known.ring.append(offset)
                if known.ring.count > ProducerTable.ringSize { known.ring.removeFirst() }
                known.lastTime = now
                producers[stamp.id] = known
            } else {
                let id = Array(stamp.id)[...]
                if producers[id] == nil { order.append(id) }
                producers[id] = Producer(
                    epoch: stamp.epoch,
                    lastSequence: stamp.sequence,
                    ring: [offset],
                    lastTime: now
                )
            }
        }
        if !key.isEmpty {
            let owned = Array(key)
            keys[owned[...]] = offset
            keyOrder.append(Key(key: owned, time: now))
            expireKeys(now: now, limits)
        }
    }

    private mutating func expireKeys(now: Timestamp, _ limits: RoomLimits) {
        while let oldest = keyOrder.first,
            keyOrder.count > limits.keysPerRoom || now > oldest.time + limits.keyWindow
        {
            keys[oldest.key[...]] = nil
            keyOrder.removeFirst()
        }
    }

    /// Forgets what is past its window, by log time.
    mutating func expire(now: Timestamp, limits: RoomLimits) {
        expireKeys(now: now, limits)
        guard order.contains(where: { isIdle($0, now) }) else { return }
        for id in order where isIdle(id, now) { producers[id] = nil }
        order.removeAll { producers[$0] == nil }
    }

    private func isIdle(_ id: ArraySlice<UInt8>, _ now: Timestamp) -> Bool {
        guard let known = producers[id] else { return true }
        return now > known.lastTime + ProducerTable.producerIdle
    }

    func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(order.count))
        for id in order {
            guard let known = producers[id] else { continue }
            writer.writeBytes(id)
            writer.writeVarint(known.epoch)
            writer.writeVarint(known.lastSequence)
            writer.writeVarint(known.lastTime)
            writer.writeVarint(UInt64(known.ring.count))
            for offset in known.ring { writer.writeVarint(offset) }
        }
        writer.writeVarint(UInt64(keyOrder.count))
        for entry in keyOrder {
            writer.writeBytes(entry.key)
            writer.writeVarint(entry.time)
            writer.writeVarint(keys[entry.key[...]] ?? 0)
        }
    }

    init() {}

    init(from reader: inout ByteReader) throws(DecodeError) {
        for _ in 0..<(try reader.readCount(limit: ProducerTable.decodedMax, "producers")) {
            let id = try reader.readBytes(limit: 255, "producer id")[...]
            let epoch = try reader.readVarint()
            let sequence = try reader.readVarint()
            let time = try reader.readVarint()
            var ring: Deque<UInt64> = []
            for _ in 0..<(try reader.readCount(limit: ProducerTable.ringSize, "producer ring")) {
                ring.append(try reader.readVarint())
            }
            order.append(id)
            producers[id] = Producer(epoch: epoch, lastSequence: sequence, ring: ring, lastTime: time)
        }
        for _ in 0..<(try reader.readCount(limit: ProducerTable.decodedMax, "idempotency keys")) {
            let key = try reader.readBytes(limit: 255, "idempotency key")
            let time = try reader.readVarint()
            keys[key[...]] = try reader.readVarint()
            keyOrder.append(Key(key: key, time: time))
        }
    }
}
