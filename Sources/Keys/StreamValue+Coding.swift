import DequeModule
import Primitives

/// The snapshot's form. Equal streams give equal bytes: consumers are numbered by their names, whatever their places.
extension StreamValue {
    package func encode(into writer: inout ByteWriter) {
        writer.write(lastID)
        writer.write(maxDeletedID)
        writer.write(entriesAdded)
        writer.writeVarint(UInt64(nodes.count))
        for node in nodes {
            writer.writeVarint(UInt64(node.count))
            writer.writeVarint(UInt64(node.deletedCount))
            writer.write(node.lastID)
            for index in 0..<node.count {
                writer.write(node.ids[index])
                writer.writeBytes(node[index])
            }
        }
        writer.writeVarint(UInt64(groups.count))
        for group in groups { group.encode(into: &writer) }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        let lastID = try reader.readStreamID()
        let maxDeletedID = try reader.readStreamID()
        let entriesAdded = Int64(bitPattern: try reader.read(UInt64.self))
        var nodes: Deque<Node> = []
        var previous: StreamID?
        // Each node and each group takes more than a byte.
        for _ in 0..<(try reader.readCount(limit: reader.remaining, "stream nodes")) {
            let node = try Node(from: &reader, after: previous)
            previous = node.ids.last
            nodes.append(node)
        }
        if let last = nodes.last?.ids.last, last > lastID { throw .malformed("stream ID") }
        var groups: [StreamGroup] = []
        for _ in 0..<(try reader.readCount(limit: reader.remaining, "stream groups")) {
            let group = try StreamGroup(from: &reader)
            if let before = groups.last, !before.name.lexicographicallyPrecedes(group.name) {
                throw .malformed("stream groups")
            }
            groups.append(group)
        }
        self.init(nodes: nodes, groups: groups)
        self.lastID = lastID
        self.maxDeletedID = maxDeletedID
        self.entriesAdded = entriesAdded
    }
}

extension StreamValue.Node {
    fileprivate init(from reader: inout ByteReader, after previous: StreamID?) throws(DecodeError) {
        let count = try reader.readCount(limit: reader.remaining / 17, "stream entries")
        let deleted = try reader.readCount(limit: Int(Int32.max), "stream entries")
        let lastID = try reader.readStreamID()
        var ids: [StreamID] = []
        var ends: [Int] = []
        var content: [UInt8] = []
        for _ in 0..<count {
            let id = try reader.readStreamID()
            if let before = ids.last ?? previous, id <= before { throw .malformed("stream ID") }
            ids.append(id)
            let length = try reader.readCount(limit: reader.remaining, "stream entry")
            let entry = try reader.readRaw(count: length)
            guard StreamValue.Node.isEntry(entry) else { throw .malformed("stream entry") }
            content.append(contentsOf: entry)
            ends.append(content.count)
        }
        guard let last = ids.last, last <= lastID else { throw .malformed("stream ID") }
        self.init(ids: ids, ends: ends, content: content, deletedCount: deleted, lastID: lastID)
    }

    /// An entry is sent as it is, so it must be what `RESPWriter` writes: an array of bulk strings, two at least.
    private static func isEntry(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var position = 0
        /// Reads `kind`, a number and a line's end.
        func header(_ kind: UInt8) -> Int? {
            guard position < bytes.count, bytes[position] == kind else { return nil }
            let start = position + 1
            guard let end = bytes[start...].firstIndex(of: 13), end + 1 < bytes.count, bytes[end + 1] == 10 else {
                return nil
            }
            position = end + 2
            return Decimal.integer(bytes[start..<end]).map(Int.init)
        }
        guard let count = header(UInt8(ascii: "*")), count > 0, count % 2 == 0 else { return false }
        for _ in 0..<count {
            guard let length = header(UInt8(ascii: "$")), length >= 0, length <= bytes.count - position - 2,
                bytes[position + length] == 13, bytes[position + length + 1] == 10
            else { return false }
            position += length + 2
        }
        return position == bytes.count
    }
}

extension StreamGroup {
    fileprivate func encode(into writer: inout ByteWriter) {
        writer.writeBytes(name)
        writer.write(lastID)
        writer.write(UInt8(entriesRead == nil ? 0 : 1))
        writer.write(entriesRead ?? 0)
        writer.writeVarint(UInt64(order.count))
        var numbers = [UInt64](repeating: 0, count: consumers.count)
        for (number, place) in order.enumerated() {
            let consumer = consumer(at: place)
            writer.writeBytes(consumer.name)
            writer.write(consumer.seenTime)
            writer.write(consumer.activeTime)
            numbers[place] = UInt64(number)
        }
        writer.writeVarint(UInt64(pending.count))
        pending.forEach { element in
            writer.write(element.id)
            writer.writeVarint(numbers[element.row.consumer])
            writer.write(element.row.time)
            writer.write(element.row.count)
            return true
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodeError) {
        let name = try reader.readBytes(limit: reader.remaining, "stream group")
        let lastID = try reader.readStreamID()
        let isReadKnown = try reader.readByte() != 0
        let read = Int64(bitPattern: try reader.read(UInt64.self))
        self.init(name: name, lastID: lastID, entriesRead: isReadKnown ? read : nil)
        let count = try reader.readCount(limit: reader.remaining / 17, "stream consumers")
        var before: [UInt8]?
        for _ in 0..<count {
            let name = try reader.readBytes(limit: reader.remaining, "stream consumer")
            if let before, !before.lexicographicallyPrecedes(name) { throw .malformed("stream consumers") }
            before = name
            let seen = Int64(bitPattern: try reader.read(UInt64.self))
            let active = Int64(bitPattern: try reader.read(UInt64.self))
            _ = add(Consumer(name: name, seenTime: seen, activeTime: active))
        }
        var last: StreamID?
        for _ in 0..<(try reader.readCount(limit: reader.remaining / 33, "stream deliveries")) {
            let id = try reader.readStreamID()
            if let last, id <= last { throw .malformed("stream ID") }
            last = id
            let consumer = try reader.readVarint()
            guard consumer < UInt64(count) else { throw .malformed("stream consumer") }
            let time = Int64(bitPattern: try reader.read(UInt64.self))
            let deliveries = Int64(bitPattern: try reader.read(UInt64.self))
            assign(id, Delivery(consumer: Int(consumer), time: time, count: deliveries))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ id: StreamID) {
        write(id.ms)
        write(id.seq)
    }
}

extension ByteReader {
    fileprivate mutating func readStreamID() throws(DecodeError) -> StreamID {
        StreamID(try read(UInt64.self), try read(UInt64.self))
    }
}
