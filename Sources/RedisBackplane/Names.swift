import Rooms

/// How rooms are called in Redis. The global room is the channel `prefix`, any other room `prefix:room` (RA-07, RA-11);
/// keys are `prefix:<kind>:…`, apart from channels, which are no keys.
package struct RedisNames: Sendable {
    package let prefix: [UInt8]
    /// The room of everyone; empty: none.
    package let broadcastRoom: RoomName
    private let start: [UInt8]

    package init(prefix: String, broadcastRoom: String) {
        self.prefix = Array(prefix.utf8)
        self.broadcastRoom = RoomName(broadcastRoom)
        start = self.prefix + [UInt8(ascii: ":")]
    }

    package func channel(of room: RoomName) -> [UInt8] {
        room == broadcastRoom ? prefix : start + room.bytes
    }

    /// Nil for a channel of somebody else.
    package func room(of channel: [UInt8]) -> RoomName? {
        if channel == prefix { return broadcastRoom.count > 0 ? broadcastRoom : nil }
        guard channel.count > start.count, channel.starts(with: start) else { return nil }
        return RoomName(channel[start.count...])
    }

    /// All rooms' channels but the global one, as a glob: what is special in the prefix is escaped.
    package var pattern: [UInt8] {
        var glob: [UInt8] = []
        for byte in start {
            if "*?[]\\^-".utf8.contains(byte) { glob.append(UInt8(ascii: "\\")) }
            glob.append(byte)
        }
        return glob + [UInt8(ascii: "*")]
    }

    /// The channel on which a node hears itself. Outside of the pattern, so that it comes once.
    package func probe(of node: String) -> [UInt8] { prefix + Array("~probe~\(node)".utf8) }

    package func stream(of room: RoomName) -> [UInt8] { start + Array("stream:".utf8) + room.bytes }

    package func room(ofStream key: [UInt8]) -> RoomName? {
        let head = start + Array("stream:".utf8)
        guard key.count > head.count, key.starts(with: head) else { return nil }
        return RoomName(key[head.count...])
    }

    /// Where a message id is remembered. The room's length keeps two pairs from meeting in one key.
    package func message(_ id: some Sequence<UInt8>, in room: RoomName) -> [UInt8] {
        start + Array("message:\(room.count):".utf8) + room.bytes + [UInt8(ascii: ":")] + id
    }

    package func node(_ name: String) -> [UInt8] { start + Array("node:\(name)".utf8) }

    /// A named consumer's group.
    package static func group(_ consumer: [UInt8]) -> [UInt8] { Array("consumer:".utf8) + consumer }
}
