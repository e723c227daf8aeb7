import Primitives
import Raft
import Rooms

/// The two queues of a link. What waits in one is never overtaken by what follows it there.
package enum PeerLane: Sendable {
    /// Everything that somebody waits for, or that has its place in an order.
    case live
    /// Bulk that live messages may overtake, and that may be dropped: whoever wants it asks again.
    case bulk
}

extension PeerMessage {
    /// A smaller message travels with the live ones: it delays nobody.
    package static let bulkBytes = 16 << 10

    /// The lane that the message travels in, where one of `bulkBytes` or more counts as bulk. Three kinds are:
    ///
    /// - Chunks of snapshots. One of a transfer is under way at a time, and its answer asks for the next. Each names
    ///   its transfer and its place, and an older leader's is recognized by its term.
    /// - Appends of nothing but committed entries. A majority has them, so that no publish waits for this follower: it
    ///   is behind, and filled. Votes, heartbeats and replies of the group may pass them, because Raft asks nothing of
    ///   the order of messages. Only among themselves a group's appends keep theirs, or the follower would refuse those
    ///   whose predecessors are late, and get them twice (`appendGroup`).
    /// - Pages of rooms' histories that register nothing (`FetchReply.mayBeOvertaken`).
    ///
    /// The reply to a registration is live: a relay passes over live messages until it has the answer, which tells it
    /// what it missed. Replies to reads of keys are live too, as a connection of RESP3 hears of a key's changes in the
    /// order of its own reads.
    package func lane(bulkBytes: Int = PeerMessage.bulkBytes) -> PeerLane {
        switch self {
        case .snapshotChunk: return .bulk
        case .raft(_, let message):
            guard case .append(let request) = message.body, let last = request.entries.last,
                last.index <= request.commit
            else { return .live }
            var bytes = 0
            for entry in request.entries { bytes += entry.data.count }
            return bytes >= bulkBytes ? .bulk : .live
        case .fetched(let reply):
            guard reply.mayBeOvertaken, !reply.publications.isEmpty else { return .live }
            var bytes = 0
            for publication in reply.publications { bytes += publication.body.count }
            return bytes >= bulkBytes ? .bulk : .live
        default: return .live
        }
    }

    /// The group that an append is for, empty ones too; nil for everything else. While one waits in the bulk lane,
    /// those that follow wait behind it.
    package var appendGroup: GroupID? {
        guard case .raft(let group, let message) = self, case .append = message.body else { return nil }
        return group
    }

    /// The partition that the message is about, which names the shard that it is for; nil for the control group and for
    /// what concerns the whole node.
    package var partition: PartitionID? {
        switch self {
        case .raft(let group, _): group.partition
        case .publish(let stream): stream.partition
        case .published(let results): results.partition
        case .publishRefused(let refusal): refusal.partition
        case .announce(let partition, _, _): partition
        case .fetch(let request): request.partition
        case .fetched(let reply): reply.partition
        case .uninterested(let partition, _): partition
        case .publications(let partition, _, _, _): partition
        case .acknowledge(let partition, _): partition
        case .owners, .keepalive, .standing, .loads: nil
        case .snapshotChunk(let chunk): chunk.group.partition
        case .snapshotProgress(let group, _, _): group.partition
        case .snapshotRequest(let group): group.partition
        case .retireRequest(let group): group.partition
        case .retire(let group, _, _): group.partition
        case .controlRequest, .controlReply: nil
        case .keyResults(let results): results.partition
        case .keyRead(let read): read.partition
        case .keyReadReply(let reply): reply.partition
        case .keyServed(let served): served.partition
        case .subscribers(let partition, _, _): partition
        case .patterns(let partition, _, _): partition
        case .noted(let partition, _): partition
        case .announceCounted(let partition, _, _, _): partition
        case .received(let partition, _, _): partition
        case .channelQuery(let partition, _, _): partition
        case .channelReply(let partition, _, _): partition
        }
    }

    /// About the whole node, and for every shard of the receiver.
    package var isForAllShards: Bool {
        switch self {
        case .owners, .standing: true
        default: false
        }
    }
}
