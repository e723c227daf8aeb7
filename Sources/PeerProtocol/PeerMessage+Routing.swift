import Primitives

extension PeerMessage {
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
        case .retire(let group, _): group.partition
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
