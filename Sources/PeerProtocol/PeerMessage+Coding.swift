import Primitives
import Raft
import Rooms

extension PeerMessage {
    /// Appends the message as one whole frame (see `PeerFrame`). Frames above the receiver's limit are refused there,
    /// so the caller looks at what was appended before it sends it.
    package func encode(into writer: inout ByteWriter) {
        let start = writer.count
        writer.write(UInt32(0))
        writer.write(tag.rawValue)
        encodeFields(into: &writer)
        writer.overwrite(UInt32(clamping: writer.count - start - PeerFrame.prefixBytes), at: start)
    }

    /// Decodes a frame's content (tag and fields, without the length) from memory that is only lent: messages that
    /// carry bodies get one copy of the content and slice it, the others copy nothing.
    package init(decoding content: UnsafeRawBufferPointer) throws(DecodeError) {
        guard let first = content.first else { throw .truncated }
        if let tag = PeerTag(rawValue: first), tag.keepsSlices {
            try self.init(decoding: [UInt8](content)[...])
        } else {
            var decoder = PeerDecoder(reader: ByteReader(content), backing: [])
            self = try decoder.message()
        }
    }

    /// Decodes a frame's content; bodies and names become slices of the same storage.
    package init(decoding content: ArraySlice<UInt8>) throws(DecodeError) {
        let result = content.withUnsafeBytes { raw -> Result<PeerMessage, DecodeError> in
            var decoder = PeerDecoder(reader: ByteReader(raw), backing: content)
            do throws(DecodeError) {
                return .success(try decoder.message())
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    private var tag: PeerTag {
        switch self {
        case .raft: .raft
        case .publish: .publish
        case .published: .published
        case .publishRefused: .publishRefused
        case .announce: .announce
        case .fetch: .fetch
        case .fetched: .fetched
        case .uninterested: .uninterested
        case .publications: .publications
        case .acknowledge: .acknowledge
        case .owners: .owners
        case .keepalive: .keepalive
        case .standing: .standing
        case .loads: .loads
        case .snapshotChunk: .snapshotChunk
        case .snapshotProgress: .snapshotProgress
        case .snapshotRequest: .snapshotRequest
        case .keyResults: .keyResults
        case .keyRead: .keyRead
        case .keyReadReply: .keyReadReply
        case .keyServed: .keyServed
        case .subscribers: .subscribers
        case .patterns: .patterns
        case .noted: .noted
        case .announceCounted: .announceCounted
        case .received: .received
        case .channelQuery: .channelQuery
        case .channelReply: .channelReply
        case .retireRequest: .retireRequest
        case .retire: .retire
        case .controlRequest: .controlRequest
        case .controlReply: .controlReply
        }
    }

    private func encodeFields(into writer: inout ByteWriter) {
        switch self {
        case .raft(let group, let message):
            writer.write(group)
            message.encode(into: &writer)
        case .publish(let stream): stream.encode(into: &writer)
        case .published(let results): results.encode(into: &writer)
        case .publishRefused(let refusal): refusal.encode(into: &writer)
        case .announce(let partition, let room, let body):
            writer.write(partition)
            writer.writeBytes(room.bytes)
            writer.writeBytes(body)
        case .fetch(let request): request.encode(into: &writer)
        case .fetched(let reply): reply.encode(into: &writer)
        case .uninterested(let partition, let room):
            writer.write(partition)
            writer.writeBytes(room.bytes)
        case .publications(let partition, let room, let epoch, let publications):
            writer.write(partition)
            writer.writeBytes(room.bytes)
            writer.write(epoch)
            writer.write(publications)
        case .acknowledge(let partition, let updates):
            writer.write(partition)
            writer.writeVarint(UInt64(updates.count))
            for update in updates {
                writer.writeBytes(update.room.bytes)
                writer.writeBytes(update.consumer)
                writer.write(update.position.epoch)
                writer.writeVarint(update.position.offset)
            }
        case .owners(let ownerships):
            writer.writeVarint(UInt64(ownerships.count))
            for ownership in ownerships {
                writer.write(ownership.partition)
                writer.writeVarint(ownership.term)
            }
        case .keepalive: break
        case .standing(let mayLead): writer.write(UInt8(mayLead ? 1 : 0))
        case .loads(let loads):
            writer.writeVarint(UInt64(loads.count))
            for load in loads {
                writer.write(load.partition)
                writer.writeVarint(load.operations)
                writer.writeVarint(load.bytes)
            }
        case .snapshotChunk(let chunk): chunk.encode(into: &writer)
        case .snapshotProgress(let group, let index, let received):
            writer.write(group)
            writer.writeVarint(index)
            writer.writeVarint(received)
        case .snapshotRequest(let group): writer.write(group)
        case .retireRequest(let group): writer.write(group)
        case .retire(let group, let epoch, let term):
            writer.write(group)
            writer.writeVarint(epoch)
            writer.writeVarint(term)
        case .controlRequest(let token, let request):
            writer.writeVarint(token)
            writer.write(request)
        case .controlReply(let token, let reply):
            writer.writeVarint(token)
            writer.write(reply)
        case .keyResults(let results): results.encode(into: &writer)
        case .keyRead(let read): read.encode(into: &writer)
        case .keyReadReply(let reply): reply.encode(into: &writer)
        case .keyServed(let served): served.encode(into: &writer)
        case .subscribers(let partition, let token, let counts):
            writer.write(partition)
            writer.writeVarint(token)
            writer.write(counts)
        case .patterns(let partition, let token, let counts):
            writer.write(partition)
            writer.writeVarint(token)
            writer.write(counts)
        case .noted(let partition, let token):
            writer.write(partition)
            writer.writeVarint(token)
        case .announceCounted(let partition, let token, let room, let body):
            writer.write(partition)
            writer.writeVarint(token)
            writer.writeBytes(room.bytes)
            writer.writeBytes(body)
        case .received(let partition, let token, let receivers):
            writer.write(partition)
            writer.writeVarint(token)
            writer.writeVarint(UInt64(receivers))
        case .channelQuery(let partition, let token, let query):
            writer.write(partition)
            writer.writeVarint(token)
            writer.write(query)
        case .channelReply(let partition, let token, let reply):
            writer.write(partition)
            writer.writeVarint(token)
            writer.write(reply)
        }
    }
}

extension PublishStream {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.write(gateway.rawValue)
        writer.writeVarint(UInt64(attempt))
        writer.writeVarint(first)
        writer.writeVarint(acknowledgedBelow)
        writer.writeVarint(UInt64(commands.count))
        for command in commands { writer.writeBytes(command) }
    }
}

extension PublishedResults {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.write(gateway.rawValue)
        writer.writeVarint(UInt64(results.count))
        for result in results {
            writer.writeVarint(result.sequence)
            result.outcome.encode(into: &writer)
            writer.writeVarint(UInt64(result.receivers))
        }
    }
}

extension PublishRefusal {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.write(gateway.rawValue)
        writer.writeVarint(UInt64(attempt))
        writer.write(owner)
    }
}

extension FetchRequest {
    static let registerFlag: UInt8 = 1
    static let linearizableFlag: UInt8 = 2

    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.writeVarint(token)
        writer.writeBytes(room.bytes)
        writer.write((register ? FetchRequest.registerFlag : 0) | (linearizable ? FetchRequest.linearizableFlag : 0))
        writer.write(epoch)
        writer.writeVarint(from)
        writer.writeVarint(UInt64(limit))
        writer.writeVarint(UInt64(subscribers))
        writer.writeBytes(consumer)
    }
}

extension FetchReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.writeVarint(token)
        writer.writeBytes(room.bytes)
        switch status {
        case .ok: writer.write(UInt8(0))
        case .notOwner(let owner):
            writer.write(UInt8(1))
            writer.write(owner)
        case .busy: writer.write(UInt8(2))
        }
        writer.write(head.epoch)
        writer.writeVarint(head.first)
        writer.writeVarint(head.next)
        writer.write(publications)
        writer.write(UInt8(cursor == nil ? 0 : isCursorOfFormerEpoch ? 2 : 1))
        if let cursor { writer.writeVarint(cursor) }
    }
}

extension SnapshotChunk {
    func encode(into writer: inout ByteWriter) {
        writer.write(group)
        writer.writeVarint(term)
        writer.write(descriptor)
        writer.writeVarint(stateBytes)
        writer.writeVarint(firstEntry)
        writer.writeVarint(offset)
        writer.writeBytes(state)
        writer.write(entries)
    }
}

extension ByteWriter {
    mutating func write(_ partition: PartitionID) { writeVarint(UInt64(partition.rawValue)) }

    mutating func write(_ group: GroupID) { writeVarint(UInt64(group.rawValue)) }

    /// A presence byte, then the identity.
    mutating func write(_ node: NodeID?) {
        write(UInt8(node == nil ? 0 : 1))
        if let node { write(node.rawValue) }
    }

    mutating func write(_ publications: [Publication]) {
        writeVarint(UInt64(publications.count))
        for publication in publications {
            writeVarint(publication.offset)
            writeVarint(publication.timestamp)
            writeBytes(publication.body)
        }
    }

    mutating func write(_ entries: [Entry]) {
        writeVarint(UInt64(entries.count))
        for entry in entries { write(entry) }
    }
}
