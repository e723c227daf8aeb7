import Primitives
import Raft
import Rooms

/// Reads one frame's content. `backing` holds the very bytes that the reader sees, for those fields that become slices.
struct PeerDecoder {
    var reader: ByteReader
    let backing: ArraySlice<UInt8>

    mutating func message() throws(DecodeError) -> PeerMessage {
        let byte = try reader.readByte()
        guard let tag = PeerTag(rawValue: byte) else { throw .unknown(field: "peer message", value: UInt64(byte)) }
        let message = try fields(of: tag)
        try reader.expectEnd()
        return message
    }

    private mutating func fields(of tag: PeerTag) throws(DecodeError) -> PeerMessage {
        switch tag {
        case .raft:
            let group = try group()
            return .raft(group, try raftMessage())
        case .publish: return .publish(try publishStream())
        case .published: return .published(try publishedResults())
        case .publishRefused: return .publishRefused(try publishRefusal())
        case .announce:
            let partition = try partition()
            let room = try roomName()
            return .announce(partition, room, body: try slice(limit: .max, "body"))
        case .fetch: return .fetch(try fetchRequest())
        case .fetched: return .fetched(try fetchReply())
        case .uninterested:
            let partition = try partition()
            return .uninterested(partition, try roomName())
        case .publications:
            let partition = try partition()
            let room = try roomName()
            let epoch = try reader.read(UInt64.self)
            return .publications(partition, room, epoch: epoch, try publications())
        case .acknowledge:
            let partition = try partition()
            return .acknowledge(partition, try cursorUpdates())
        case .owners: return .owners(try ownerships())
        case .keepalive: return .keepalive
        case .standing: return .standing(mayLead: try flag("standing"))
        case .loads: return .loads(try partitionLoads())
        case .snapshotChunk: return .snapshotChunk(try snapshotChunk())
        case .snapshotProgress:
            let group = try group()
            let index = try reader.readVarint()
            return .snapshotProgress(group, index: index, received: try reader.readVarint())
        case .snapshotRequest: return .snapshotRequest(try group())
        case .retireRequest: return .retireRequest(try group())
        case .retire:
            let group = try group()
            let epoch = try reader.readVarint()
            return .retire(group, epoch: epoch, term: try reader.readVarint())
        case .controlRequest:
            let token = try reader.readVarint()
            return .controlRequest(token: token, try controlRequest())
        case .controlReply:
            let token = try reader.readVarint()
            return .controlReply(token: token, try controlReply())
        case .keyResults: return .keyResults(try keyResults())
        case .keyRead: return .keyRead(try keyRead())
        case .keyReadReply: return .keyReadReply(try keyReadReply())
        case .keyServed: return .keyServed(try keyServed())
        case .subscribers:
            let partition = try partition()
            let token = try reader.readVarint()
            return .subscribers(partition, token: token, try subscriberCounts())
        case .patterns:
            let partition = try partition()
            let token = try reader.readVarint()
            return .patterns(partition, token: token, try patternCounts())
        case .noted:
            let partition = try partition()
            return .noted(partition, token: try reader.readVarint())
        case .announceCounted:
            let partition = try partition()
            let token = try reader.readVarint()
            let room = try roomName()
            return .announceCounted(partition, token: token, room, body: try slice(limit: .max, "body"))
        case .received:
            let partition = try partition()
            let token = try reader.readVarint()
            return .received(partition, token: token, try uint32("receivers"))
        case .channelQuery:
            let partition = try partition()
            let token = try reader.readVarint()
            return .channelQuery(partition, token: token, try channelQuery())
        case .channelReply:
            let partition = try partition()
            let token = try reader.readVarint()
            return .channelReply(partition, token: token, try channelReply())
        }
    }

    // MARK: Messages

    private mutating func publishStream() throws(DecodeError) -> PublishStream {
        let partition = try partition()
        let gateway = GatewayID(rawValue: try reader.read())
        let attempt = try uint32("attempt")
        let first = try reader.readVarint()
        let acknowledgedBelow = try reader.readVarint()
        let count = try elements(atLeast: 1, "commands")
        var commands: [ArraySlice<UInt8>] = []
        commands.reserveCapacity(count)
        for _ in 0..<count { commands.append(try slice(limit: .max, "command")) }
        return PublishStream(
            partition: partition,
            gateway: gateway,
            attempt: attempt,
            first: first,
            acknowledgedBelow: acknowledgedBelow,
            commands: commands
        )
    }

    private mutating func publishedResults() throws(DecodeError) -> PublishedResults {
        let partition = try partition()
        let gateway = GatewayID(rawValue: try reader.read())
        let count = try elements(atLeast: 3, "results")
        var results: [PublishedResults.Result] = []
        results.reserveCapacity(count)
        for _ in 0..<count {
            let sequence = try reader.readVarint()
            let outcome = try PublishOutcome(from: &reader)
            results.append(.init(sequence: sequence, outcome: outcome, receivers: try uint32("receivers")))
        }
        return PublishedResults(partition: partition, gateway: gateway, results: results)
    }

    private mutating func publishRefusal() throws(DecodeError) -> PublishRefusal {
        let partition = try partition()
        let gateway = GatewayID(rawValue: try reader.read())
        let attempt = try uint32("attempt")
        return PublishRefusal(partition: partition, gateway: gateway, attempt: attempt, owner: try optionalNode())
    }

    private mutating func fetchRequest() throws(DecodeError) -> FetchRequest {
        let partition = try partition()
        let token = try reader.readVarint()
        let room = try roomName()
        let flags = try reader.readByte()
        let known = FetchRequest.registerFlag | FetchRequest.linearizableFlag
        guard flags & ~known == 0 else { throw .unknown(field: "fetch flags", value: UInt64(flags)) }
        let epoch = try reader.read(UInt64.self)
        let from = try reader.readVarint()
        let limit = try uint32("fetch limit")
        let subscribers = try uint32("subscribers")
        return FetchRequest(
            partition: partition,
            token: token,
            room: room,
            register: flags & FetchRequest.registerFlag != 0,
            linearizable: flags & FetchRequest.linearizableFlag != 0,
            epoch: epoch,
            from: from,
            limit: limit,
            consumer: try reader.readBytes(limit: PeerLimits.consumer, "consumer"),
            subscribers: subscribers
        )
    }

    private mutating func fetchReply() throws(DecodeError) -> FetchReply {
        let partition = try partition()
        let token = try reader.readVarint()
        let room = try roomName()
        let status: FetchReply.Status
        switch try reader.readByte() {
        case 0: status = .ok
        case 1: status = .notOwner(try optionalNode())
        case 2: status = .busy
        case let other: throw .unknown(field: "fetch status", value: UInt64(other))
        }
        let epoch = try reader.read(UInt64.self)
        let first = try reader.readVarint()
        let next = try reader.readVarint()
        let publications = try publications()
        let presence = try reader.readByte()
        guard presence <= 2 else { throw .unknown(field: "cursor presence", value: UInt64(presence)) }
        let cursor = presence == 0 ? nil : try reader.readVarint()
        var reply = FetchReply(
            partition: partition,
            token: token,
            room: room,
            status: status,
            head: RoomHead(epoch: epoch, first: first, next: next),
            publications: publications,
            cursor: cursor
        )
        reply.isCursorOfFormerEpoch = presence == 2
        return reply
    }

    private mutating func snapshotChunk() throws(DecodeError) -> SnapshotChunk {
        let group = try group()
        let term = try reader.readVarint()
        let descriptor = try reader.readSnapshotDescriptor()
        let stateBytes = try reader.readVarint()
        let firstEntry = try reader.readVarint()
        let offset = try reader.readVarint()
        let state = try slice(limit: .max, "snapshot state")
        return SnapshotChunk(
            group: group,
            term: term,
            descriptor: descriptor,
            stateBytes: stateBytes,
            firstEntry: firstEntry,
            offset: offset,
            state: state,
            entries: try entries()
        )
    }

    // MARK: Lists

    private mutating func cursorUpdates() throws(DecodeError) -> [CursorUpdate] {
        let count = try elements(atLeast: 11, "cursors")
        var updates: [CursorUpdate] = []
        updates.reserveCapacity(count)
        for _ in 0..<count {
            let room = try roomName()
            let consumer = try reader.readBytes(limit: PeerLimits.consumer, "consumer")
            let epoch = try reader.read(UInt64.self)
            let position = Position(epoch: epoch, offset: try reader.readVarint())
            updates.append(CursorUpdate(room: room, consumer: consumer, position: position))
        }
        return updates
    }

    private mutating func ownerships() throws(DecodeError) -> [PeerMessage.Ownership] {
        let count = try elements(atLeast: 2, "ownerships")
        var list: [PeerMessage.Ownership] = []
        list.reserveCapacity(count)
        for _ in 0..<count {
            let partition = try partition()
            list.append(.init(partition: partition, term: try reader.readVarint()))
        }
        return list
    }

    private mutating func publications() throws(DecodeError) -> [Publication] {
        let count = try elements(atLeast: 3, "publications")
        var list: [Publication] = []
        list.reserveCapacity(count)
        for _ in 0..<count {
            let offset = try reader.readVarint()
            let timestamp = try reader.readVarint()
            list.append(Publication(offset: offset, timestamp: timestamp, body: try slice(limit: .max, "body")))
        }
        return list
    }

    mutating func entries() throws(DecodeError) -> [Entry] {
        let count = try elements(atLeast: 4, "entries")
        var list: [Entry] = []
        list.reserveCapacity(count)
        for _ in 0..<count { list.append(try reader.readEntry(dataLimit: .max)) }
        return list
    }

    // MARK: Fields

    /// A list's length: bounded by `PeerLimits` and by what the bytes that are left could hold, so that a lie costs
    /// neither memory nor time.
    mutating func elements(atLeast bytes: Int, _ field: StaticStringName) throws(DecodeError) -> Int {
        let count = try reader.readCount(limit: PeerLimits.elements, field)
        guard count * bytes <= reader.remaining else { throw .truncated }
        return count
    }

    mutating func slice(limit: Int, _ field: StaticStringName) throws(DecodeError) -> ArraySlice<UInt8> {
        let count = try reader.readCount(limit: limit, field)
        let start = backing.startIndex + reader.position
        _ = try reader.readRaw(count: count)
        return backing[start..<(start + count)]
    }

    mutating func roomName() throws(DecodeError) -> RoomName {
        RoomName(try slice(limit: PeerLimits.roomName, "room name"))
    }

    mutating func partition() throws(DecodeError) -> PartitionID {
        PartitionID(rawValue: try uint32("partition"))
    }

    private mutating func group() throws(DecodeError) -> GroupID { GroupID(rawValue: try uint32("group")) }

    mutating func optionalNode() throws(DecodeError) -> NodeID? {
        try flag("node presence") ? NodeID(try reader.read(UInt64.self)) : nil
    }

    mutating func flag(_ field: StaticStringName) throws(DecodeError) -> Bool {
        switch try reader.readByte() {
        case 0: return false
        case 1: return true
        case let other: throw .unknown(field: field, value: UInt64(other))
        }
    }

    mutating func uint32(_ field: StaticStringName) throws(DecodeError) -> UInt32 {
        let value = try reader.readVarint()
        guard let narrow = UInt32(exactly: value) else { throw .unknown(field: field, value: value) }
        return narrow
    }
}
