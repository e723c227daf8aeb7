import Primitives
import Rooms

/// How many subscribers of a node a room has.
package struct SubscriberCount: Equatable, Sendable {
    package var room: RoomName
    package var count: UInt32

    package init(room: RoomName, count: UInt32) {
        self.room = room
        self.count = count
    }
}

/// How many subscribers of a node a pattern has.
package struct PatternCount: Equatable, Sendable {
    package var pattern: Glob
    package var count: UInt32

    package init(pattern: Glob, count: UInt32) {
        self.pattern = pattern
        self.count = count
    }
}

extension ByteWriter {
    mutating func write(_ counts: [SubscriberCount]) {
        writeVarint(UInt64(counts.count))
        for row in counts {
            writeBytes(row.room.bytes)
            writeVarint(UInt64(row.count))
        }
    }

    mutating func write(_ counts: [PatternCount]) {
        writeVarint(UInt64(counts.count))
        for row in counts {
            writeBytes(row.pattern.pattern)
            writeVarint(UInt64(row.count))
        }
    }

    mutating func write(_ query: ChannelQuery) {
        switch query {
        case .names(let glob):
            write(UInt8(glob == nil ? 0 : 1))
            if let glob { writeBytes(glob.pattern) }
        case .counts(let rooms):
            write(UInt8(2))
            writeVarint(UInt64(rooms.count))
            for room in rooms { writeBytes(room.bytes) }
        case .patterns: write(UInt8(3))
        }
    }

    mutating func write(_ reply: ChannelReply) {
        switch reply {
        case .names(let rooms):
            write(UInt8(0))
            writeVarint(UInt64(rooms.count))
            for room in rooms { writeBytes(room.bytes) }
        case .counts(let counts):
            write(UInt8(1))
            writeVarint(UInt64(counts.count))
            for count in counts { writeVarint(count) }
        case .patterns(let globs):
            write(UInt8(2))
            writeVarint(UInt64(globs.count))
            for glob in globs { writeBytes(glob.pattern) }
        }
    }
}

extension PeerDecoder {
    mutating func subscriberCounts() throws(DecodeError) -> [SubscriberCount] {
        var list: [SubscriberCount] = []
        for _ in 0..<(try elements(atLeast: 2, "subscriber counts")) {
            let room = try roomName()
            list.append(SubscriberCount(room: room, count: try uint32("subscribers")))
        }
        return list
    }

    mutating func patternCounts() throws(DecodeError) -> [PatternCount] {
        var list: [PatternCount] = []
        for _ in 0..<(try elements(atLeast: 2, "pattern counts")) {
            let pattern = try glob()
            list.append(PatternCount(pattern: pattern, count: try uint32("subscribers")))
        }
        return list
    }

    mutating func channelQuery() throws(DecodeError) -> ChannelQuery {
        switch try reader.readByte() {
        case 0: return .names(nil)
        case 1: return .names(try glob())
        case 2: return .counts(try roomNames())
        case 3: return .patterns
        case let other: throw .unknown(field: "channel query", value: UInt64(other))
        }
    }

    mutating func channelReply() throws(DecodeError) -> ChannelReply {
        switch try reader.readByte() {
        case 0: return .names(try roomNames())
        case 1:
            var counts: [UInt64] = []
            for _ in 0..<(try elements(atLeast: 1, "counts")) { counts.append(try reader.readVarint()) }
            return .counts(counts)
        case 2:
            var globs: [Glob] = []
            for _ in 0..<(try elements(atLeast: 1, "patterns")) { globs.append(try glob()) }
            return .patterns(globs)
        case let other: throw .unknown(field: "channel reply", value: UInt64(other))
        }
    }

    private mutating func glob() throws(DecodeError) -> Glob {
        Glob(try reader.readBytes(limit: PeerLimits.roomName, "pattern"))
    }

    private mutating func roomNames() throws(DecodeError) -> [RoomName] {
        var rooms: [RoomName] = []
        for _ in 0..<(try elements(atLeast: 1, "room names")) { rooms.append(try roomName()) }
        return rooms
    }
}
