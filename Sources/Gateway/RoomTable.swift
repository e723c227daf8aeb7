import Broker
import ClientProtocol
import NIOCore
import Primitives
import Rooms
import WebSocket

/// What the edge remembers of a room while some session of the shard is subscribed.
struct RoomRecord {
    var name: ArraySlice<UInt8>
    var epoch: UInt64
    var isStored: Bool
    var deliveryClass: DeliveryClass
    var priority: RoomPriority
}

/// The shard's rooms by the hub's dense numbers.
struct RoomTable {
    private var records: ContiguousArray<RoomRecord?> = []

    subscript(room: HubRoomID) -> RoomRecord? {
        room >= 0 && Int(room) < records.count ? records[Int(room)] : nil
    }

    mutating func set(_ room: HubRoomID, _ record: RoomRecord) {
        guard room >= 0 else { return }
        while records.count <= Int(room) { records.append(nil) }
        records[Int(room)] = record
    }
}

/// Where the ids of unstored messages come from: they have no offset, but every event carries an id (DL-01).
struct MessageIDs {
    private let prefix: [UInt8]
    private var next: UInt64 = 1

    init(node: NodeID, shard: Int, start: Timestamp) {
        var text: [UInt8] = []
        EpochText.append(node.rawValue, to: &text)
        text.append(UInt8(ascii: "."))
        EpochText.append(UInt64(shard), to: &text)
        text.append(UInt8(ascii: "."))
        EpochText.append(start, to: &text)
        text.append(UInt8(ascii: "-"))
        prefix = text
    }

    /// The id of a stored message is its position; any other gets the next number of this shard.
    mutating func append(epoch: UInt64, offset: UInt64, isStored: Bool, to out: inout [UInt8]) {
        if isStored {
            EpochText.append(epoch, to: &out)
            out.append(UInt8(ascii: "-"))
            JSONWriter.append(number: offset, to: &out)
        } else {
            out.append(contentsOf: prefix)
            JSONWriter.append(number: next, to: &out)
            next += 1
        }
    }
}

/// A publication and its frames, encoded once per protocol and only when somebody needs them.
struct EncodedPublication {
    let room: HubRoomID
    let record: RoomRecord
    let publication: Publication
    let id: [UInt8]
    let allocator: ByteBufferAllocator
    private var pushFrame: OutboundFrame?
    private var plainFrame: OutboundFrame?

    init(
        _ publication: Publication,
        room: HubRoomID,
        record: RoomRecord,
        ids: inout MessageIDs,
        allocator: ByteBufferAllocator
    ) {
        self.publication = publication
        self.room = room
        self.record = record
        self.allocator = allocator
        var id: [UInt8] = []
        ids.append(epoch: record.epoch, offset: publication.offset, isStored: record.isStored, to: &id)
        self.id = id
    }

    /// As the Centrifugo protocol shows it, inside pushes and replies.
    static func outgoing(_ publication: Publication, isStored: Bool, id: [UInt8]) -> OutgoingPublication {
        let body = EncodedPublication.decode(publication)
        return OutgoingPublication(
            data: body.payload,
            form: body.isJSON ? .json : PayloadForm.classifyOpaque(body.payload),
            offset: isStored ? publication.offset : 0,
            time: publication.timestamp,
            id: id[...],
            tags: body.tags
        )
    }

    /// A body that no gateway of ours wrote is shown as opaque bytes instead of being lost.
    private static func decode(_ publication: Publication) -> MessageBody {
        (try? MessageBody(decoding: publication.body)) ?? MessageBody(payload: publication.body, isJSON: false)
    }

    mutating func push() -> OutboundFrame {
        if let pushFrame { return pushFrame }
        let outgoing = EncodedPublication.outgoing(publication, isStored: record.isStored, id: id)
        let frame = make { PushEncoder.appendPublication(channel: record.name, outgoing, to: &$0) }
        pushFrame = frame
        return frame
    }

    mutating func plain() -> OutboundFrame {
        if let plainFrame { return plainFrame }
        let body = EncodedPublication.decode(publication)
        let form = body.isJSON ? PayloadForm.json : PayloadForm.classifyOpaque(body.payload)
        let frame = make { PlainEncoder.appendDelivery(body.payload, form, to: &$0) }
        plainFrame = frame
        return frame
    }

    private func make(_ body: (inout [UInt8]) -> Void) -> OutboundFrame {
        var bytes: [UInt8] = []
        let hint = publication.body.count + record.name.count + 96
        bytes.reserveCapacity(hint + FrameWriter.maxHeaderSize)
        FrameWriter.append(.text, lengthHint: hint, to: &bytes, body: body)
        return OutboundFrame(
            bytes: allocator.buffer(bytes: bytes),
            room: room,
            offset: publication.offset,
            priority: record.priority,
            isStored: record.isStored
        )
    }
}
