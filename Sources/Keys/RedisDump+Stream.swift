import DequeModule
import Primitives
import RESP

/// Streams in RDB: nodes of a master ID and a listpack each, what the stream remembers, and the groups.
/// Source: rdb.c (rdbSaveObject, rdbLoadObject) and t_stream.c (streamAppendItem) of Redis 7.0 and 7.2.
private enum StreamFlags {
    static let deleted: Int64 = 1
    /// The fields are those of the node's master entry.
    static let sameFields: Int64 = 2
}

extension RDBWriter {
    mutating func stream(_ stream: StreamValue) {
        length(stream.nodes.count)
        for node in stream.nodes {
            let master = node.ids[0]
            string(RDBWriter.bigEndian(master))
            var packed = ListpackWriter()
            // No entry is marked as deleted, and none shares the master entry's fields: it has none.
            for number in [Int64(node.count), 0, 0, 0] { packed.integer(number) }
            for index in 0..<node.count {
                let words = RDBWriter.words(node[index])
                packed.integer(0)
                packed.integer(Int64(bitPattern: node.ids[index].ms &- master.ms))
                packed.integer(Int64(bitPattern: node.ids[index].seq &- master.seq))
                packed.integer(Int64(words.count / 2))
                for word in words { packed.string(word) }
                packed.integer(Int64(words.count + 4))
            }
            string(packed.finished())
        }
        length(stream.length)
        for id in [stream.lastID, stream.firstEntryID, stream.maxDeletedID] { lengths(id) }
        length(UInt64(bitPattern: stream.entriesAdded))
        length(stream.groups.count)
        for group in stream.groups {
            string(group.name)
            lengths(group.lastID)
            length(UInt64(bitPattern: group.entriesRead ?? -1))
            length(group.pending.count)
            group.pending.forEach { element in
                bytes += RDBWriter.bigEndian(element.id)
                littleEndian(UInt64(bitPattern: element.row.time), 8)
                length(UInt64(bitPattern: element.row.count))
                return true
            }
            length(group.order.count)
            for place in group.order {
                let consumer = group.consumer(at: place)
                string(consumer.name)
                littleEndian(UInt64(bitPattern: consumer.seenTime), 8)
                length(consumer.pending.count)
                consumer.pending.forEach { element in
                    bytes += RDBWriter.bigEndian(element.id)
                    return true
                }
            }
        }
    }

    private mutating func lengths(_ id: StreamID) {
        length(id.ms)
        length(id.seq)
    }

    private static func bigEndian(_ id: StreamID) -> [UInt8] {
        [id.ms, id.seq].flatMap { number in
            stride(from: UInt64(56), through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> $0) }
        }
    }

    /// The fields and values of an entry, which is kept as a RESP array.
    private static func words(_ entry: ArraySlice<UInt8>) -> [[UInt8]] {
        var parser = RESPRequestParser()
        var limits = RESPLimits()
        limits.bulk = .max
        limits.arguments = .max
        let bytes = Array(entry)
        let outcome = bytes.withUnsafeBytes { raw in try? parser.parse(raw, limits: limits) }
        guard case .command = outcome else { preconditionFailure("a stream's entry is no RESP array") }
        return parser.arguments.map { Array(bytes[$0]) }
    }
}

/// Source: https://github.com/antirez/listpack/blob/master/listpack.md
private struct ListpackWriter {
    private var bytes: [UInt8] = [0, 0, 0, 0, 0, 0]
    private var count = 0

    mutating func integer(_ value: Int64) {
        let start = bytes.count
        if value >= 0, value < 128 {
            bytes.append(UInt8(value))
        } else {
            bytes.append(0xf4)
            little(UInt64(bitPattern: value), 8)
        }
        finish(from: start)
    }

    mutating func string(_ content: [UInt8]) {
        let start = bytes.count
        if content.count < 64 {
            bytes.append(0x80 | UInt8(content.count))
        } else if content.count < 4096 {
            bytes.append(0xe0 | UInt8(content.count >> 8))
            bytes.append(UInt8(content.count & 0xff))
        } else {
            bytes.append(0xf0)
            little(UInt64(content.count), 4)
        }
        bytes += content
        finish(from: start)
    }

    /// Behind each element its length, seven bits a byte, the high ones first; all but the first have the top bit set.
    private mutating func finish(from start: Int) {
        count += 1
        let size = bytes.count - start
        let width = RDBReader.listpackLengthWidth(size)
        for step in stride(from: width - 1, through: 0, by: -1) {
            bytes.append(UInt8(truncatingIfNeeded: size >> (7 * step)) & 0x7f | (step == width - 1 ? 0 : 0x80))
        }
    }

    private mutating func little(_ value: UInt64, _ size: Int) {
        for step in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * step))) }
    }

    /// With the header: all bytes, and the number of elements if it has less than 16 bits.
    func finished() -> [UInt8] {
        var all = bytes + [0xff]
        for step in 0..<4 { all[step] = UInt8(truncatingIfNeeded: all.count >> (8 * step)) }
        let shown = min(count, 0xffff)
        all[4] = UInt8(shown & 0xff)
        all[5] = UInt8(shown >> 8)
        return all
    }
}

extension RDBReader {
    /// `version` 1 is that of Redis 5 and 6, 2 of Redis 7.0, 3 of Redis 7.2.
    mutating func stream(version: Int, _ configuration: KeyspaceConfiguration, seed: UInt64) -> Value? {
        var stream = StreamValue(seed: seed)
        guard let nodeCount = length() else { return nil }
        for _ in 0..<nodeCount {
            guard let key = string(), let master = RDBReader.id(key[...]), let packed = listpack(),
                RDBReader.append(packed, master, to: &stream, configuration)
            else { return nil }
        }
        guard length() == stream.length, let lastID = lengths(), lastID >= stream.lastID else { return nil }
        stream.lastID = lastID
        stream.entriesAdded = Int64(stream.length)
        if version >= 2 {
            guard lengths() != nil, let maxDeletedID = lengths(), let added = number() else { return nil }
            stream.maxDeletedID = maxDeletedID
            stream.entriesAdded = Int64(bitPattern: added)
        }
        guard let groupCount = length() else { return nil }
        for _ in 0..<groupCount {
            guard let group = group(version: version, stream), stream.add(group) else { return nil }
        }
        return stream.wrapped
    }

    private static func append(
        _ words: [[UInt8]],
        _ master: StreamID,
        to stream: inout StreamValue,
        _ configuration: KeyspaceConfiguration
    ) -> Bool {
        var rest = words[...]
        func integer() -> Int64? { rest.popFirst().flatMap { Decimal.integer($0) } }
        func take(_ count: Int64) -> ArraySlice<[UInt8]>? {
            guard count >= 0, count <= rest.count else { return nil }
            defer { rest = rest.dropFirst(Int(count)) }
            return rest.prefix(Int(count))
        }
        guard integer() != nil, integer() != nil, let fieldCount = integer(), let fields = take(fieldCount),
            integer() == 0
        else { return false }
        while !rest.isEmpty {
            guard let flags = integer(), let ms = integer(), let seq = integer() else { return false }
            var pairs: [[UInt8]] = []
            if flags & StreamFlags.sameFields != 0 {
                guard let values = take(fieldCount) else { return false }
                for (field, value) in zip(fields, values) { pairs += [field, value] }
            } else {
                guard let count = integer(), count >= 0, count <= rest.count, let all = take(count * 2) else {
                    return false
                }
                pairs = Array(all)
            }
            guard integer() != nil else { return false }
            if flags & StreamFlags.deleted != 0 { continue }
            let id = StreamID(master.ms &+ UInt64(bitPattern: ms), master.seq &+ UInt64(bitPattern: seq))
            guard id > stream.lastID, !pairs.isEmpty else { return false }
            var entry = RESPWriter()
            entry.array(pairs.count)
            for word in pairs { entry.bulk(word) }
            stream.append(id, entry.bytes, configuration)
        }
        return true
    }

    private mutating func group(version: Int, _ stream: StreamValue) -> StreamGroup? {
        guard let name = string(), let lastID = lengths() else { return nil }
        var read = stream.entriesBefore(lastID)
        if version >= 2 {
            guard let number = number() else { return nil }
            read = number == .max ? nil : Int64(bitPattern: number)
        }
        var group = StreamGroup(name: name, lastID: lastID, entriesRead: read)
        var deliveries: [StreamID: (time: Int64, count: Int64)] = [:]
        guard let pendingCount = length() else { return nil }
        for _ in 0..<pendingCount {
            guard let id = raw(16).flatMap({ RDBReader.id($0) }), let time = littleEndian(8), let count = number(),
                deliveries.updateValue((Int64(bitPattern: time), Int64(bitPattern: count)), forKey: id) == nil
            else { return nil }
        }
        guard let consumerCount = length() else { return nil }
        for _ in 0..<consumerCount {
            guard let name = string(), group.find(consumer: name) == nil, let seen = littleEndian(8) else { return nil }
            var consumer = StreamGroup.Consumer(name: name, seenTime: Int64(bitPattern: seen))
            // Before Redis 7.2 there was one time for both.
            consumer.activeTime = consumer.seenTime
            if version >= 3 {
                guard let active = littleEndian(8) else { return nil }
                consumer.activeTime = Int64(bitPattern: active)
            }
            let place = group.add(consumer)
            guard let count = length() else { return nil }
            for _ in 0..<count {
                guard let id = raw(16).flatMap({ RDBReader.id($0) }), let row = deliveries.removeValue(forKey: id)
                else {
                    return nil
                }
                group.assign(id, StreamGroup.Delivery(consumer: place, time: row.time, count: row.count))
            }
        }
        // What is pending is somebody's.
        return deliveries.isEmpty ? group : nil
    }

    private mutating func lengths() -> StreamID? {
        guard let ms = number(), let seq = number() else { return nil }
        return StreamID(ms, seq)
    }

    private static func id(_ bytes: ArraySlice<UInt8>) -> StreamID? {
        guard bytes.count == 16 else { return nil }
        let numbers = [bytes.prefix(8), bytes.suffix(8)].map { $0.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        return StreamID(numbers[0], numbers[1])
    }
}
