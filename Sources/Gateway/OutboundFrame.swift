import Broker
import NIOCore
import Rooms

/// One complete WebSocket frame that waits to be written; the bytes are shared by all its recipients.
struct OutboundFrame {
    /// Who goes first when frames wait: replies, then rooms by their priority.
    enum Rank {
        static let reply: UInt8 = 0
        static let lowest: UInt8 = 4

        static func of(_ priority: RoomPriority) -> UInt8 { priority.rawValue + 1 }
    }

    var bytes: ByteBuffer
    /// The room whose messages these are; -1 for replies, pings and notices.
    var room: HubRoomID
    /// The message's place in its room, when it is stored.
    var offset: UInt64
    var rank: UInt8
    /// Can be read from the log again: when the queue is full, it is the room that pauses and nothing is lost.
    var isStored: Bool

    init(bytes: ByteBuffer, room: HubRoomID, offset: UInt64, priority: RoomPriority, isStored: Bool) {
        self.bytes = bytes
        self.room = room
        self.offset = offset
        rank = Rank.of(priority)
        self.isStored = isStored
    }

    init(reply bytes: ByteBuffer) {
        self.bytes = bytes
        room = -1
        offset = 0
        rank = Rank.reply
        isStored = false
    }

    var count: Int { bytes.readableBytes }
    var isReply: Bool { rank == Rank.reply }
}
