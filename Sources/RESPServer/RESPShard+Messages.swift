import Broker
import NIOCore
import Primitives
import RESP
import Rooms

/// Patterns that connections of a shard are subscribed to.
struct PatternTable {
    struct Row {
        var glob: Glob
        /// Sessions, in the order of their subscriptions.
        var subscribers: [UInt32]
    }

    private(set) var rows: [Row] = []
    private var index: [Glob: Int] = [:]

    mutating func add(_ glob: Glob, _ slot: UInt32) {
        if let row = index[glob] {
            rows[row].subscribers.append(slot)
        } else {
            index[glob] = rows.count
            rows.append(Row(glob: glob, subscribers: [slot]))
        }
    }

    mutating func remove(_ glob: Glob, _ slot: UInt32) {
        guard let row = index[glob] else { return }
        rows[row].subscribers.removeAll { $0 == slot }
        guard rows[row].subscribers.isEmpty else { return }
        rows.remove(at: row)
        index[glob] = nil
        for later in row..<rows.count { index[rows[later].glob] = later }
    }
}

/// Names of rooms as channels, and the other way.
package enum ChannelName {
    /// A shard channel `x` is the room of this name and `x`: apart from the channel `x`, as in Redis, and out of reach
    /// for clients, whose names may not begin with it. No pattern matches it.
    package static let shardPrefix = Array("\u{1}shard:".utf8)

    static func room(_ kind: RESPNode.ChannelKind, _ name: [UInt8]) -> RoomName {
        kind == .channel ? RoomName(name) : RoomName(shardPrefix + name)
    }

    package static func isReserved(_ name: some Collection<UInt8>) -> Bool { name.starts(with: shardPrefix) }
}

/// One message in the forms that subscribers of a shard need, each made once.
struct EncodedMessage {
    private enum Form {
        case message(kind: StaticString, name: ArraySlice<UInt8>)
        case pattern([UInt8], name: ArraySlice<UInt8>)
    }

    private let form: Form
    private let payload: ArraySlice<UInt8>
    /// Numbers in the tick's tree, by protocol; -1: not made yet.
    private var resp2: Int32 = -1
    private var resp3: Int32 = -1

    init(channel: RESPShard.Channel, payload: ArraySlice<UInt8>) {
        form = .message(kind: channel.kind == .channel ? "message" : "smessage", name: channel.name[...])
        self.payload = payload
    }

    init(pattern: [UInt8], name: ArraySlice<UInt8>, payload: ArraySlice<UInt8>) {
        form = .pattern(pattern, name: name)
        self.payload = payload
    }

    func bytes(isRESP3: Bool) -> [UInt8] {
        var writer = RESPWriter(version: isRESP3 ? 3 : 2)
        writer.bytes.reserveCapacity(payload.count + 96)
        switch form {
        case .message(let kind, let name):
            writer.push(3)
            writer.bulk(kind.description)
            writer.bulk(name)
        case .pattern(let pattern, let name):
            writer.push(4)
            writer.bulk("pmessage")
            writer.bulk(pattern)
            writer.bulk(name)
        }
        writer.bulk(payload)
        return writer.bytes
    }

    mutating func frame(isRESP3: Bool, in tree: inout FrameTree, _ allocator: ByteBufferAllocator) -> Int32 {
        let known = isRESP3 ? resp3 : resp2
        if known >= 0 { return known }
        let made = tree.add(allocator.buffer(bytes: bytes(isRESP3: isRESP3)))
        if isRESP3 { resp3 = made } else { resp2 = made }
        return made
    }
}

extension RESPShard {
    /// The broker's number for a room that a connection joined.
    func note(_ room: HubRoomID, _ name: RoomName) {
        while channels.count <= Int(room) { channels.append(nil) }
        if let known = channels[Int(room)], known.room == name { return }
        channels[Int(room)] = RESPShard.channel(name)
    }

    private static func channel(_ room: RoomName) -> Channel {
        if ChannelName.isReserved(room.bytes) {
            let name = Array(room.bytes.dropFirst(ChannelName.shardPrefix.count))
            return Channel(room: room.compacted(), name: name, kind: .shard)
        }
        return Channel(room: room.compacted(), name: Array(room.bytes), kind: .channel)
    }

    private func channel(of room: HubRoomID) -> Channel {
        if Int(room) < channels.count, let known = channels[Int(room)] { return known }
        return RESPShard.channel(broker.roomName(of: room))
    }

    private func payload(of publication: Publication) -> ArraySlice<UInt8>? {
        guard !publication.isStale(at: wall) else { return nil }
        return try? MessageBody(decoding: publication.body).payload
    }

    func broadcast(_ room: HubRoomID, _ publication: Publication) {
        let subscribers = broker.liveSubscribers(of: room)
        guard subscribers.contains(where: { isOurs($0) }), let payload = payload(of: publication) else { return }
        var message = EncodedMessage(channel: channel(of: room), payload: payload)
        spread(&message, to: subscribers)
    }

    @inline(__always)
    private func isOurs(_ slot: UInt32) -> Bool { Int(slot) < lanes.count && lanes[Int(slot)].state & Lane.open != 0 }

    /// Lists a message for each of these sessions that is ours.
    private func spread(_ message: inout EncodedMessage, to subscribers: [UInt32]) {
        var count: UInt64 = 0
        for slot in subscribers where isOurs(slot) {
            let state = lanes[Int(slot)].state
            let frame = message.frame(isRESP3: state & Lane.resp3 != 0, in: &tree, allocator)
            count += 1
            if state & Lane.held != 0 {
                hold(frame, slot)
                continue
            }
            lanes[Int(slot)].node = tree.extend(lanes[Int(slot)].node, by: frame)
            mark(slot)
        }
        metrics.deliveries &+= count
    }

    private func hold(_ frame: Int32, _ slot: UInt32) {
        session(at: slot)?.hold(Array(tree.frame(frame).readableBytesView))
    }

    /// One message for one connection.
    func deliver(_ publication: Publication, _ room: HubRoomID, to connection: RESPConnection) {
        guard let payload = payload(of: publication) else { return }
        var message = EncodedMessage(channel: channel(of: room), payload: payload)
        spread(&message, to: [connection.session.slot])
    }

    /// A copy for each pattern that matches, to each of its subscribers.
    func deliverPattern(_ room: RoomName, _ publication: Publication) {
        guard !patterns.rows.isEmpty, !ChannelName.isReserved(room.bytes), let payload = payload(of: publication)
        else { return }
        for row in patterns.rows where row.glob.matches(room.bytes) {
            var message = EncodedMessage(pattern: row.glob.pattern, name: room.bytes, payload: payload)
            spread(&message, to: row.subscribers)
        }
    }
}
