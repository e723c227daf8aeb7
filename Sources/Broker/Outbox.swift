import Keys
import PeerProtocol
import Primitives
import Rooms

/// What a broker wants done: filled by its inputs, emptied by the shell (or the simulator) after each of them, in order
/// within each list. Arrays keep their capacity.
package struct Outbox {
    /// To other nodes.
    package var peers: [(to: NodeID, message: PeerMessage)] = []
    /// To the disk.
    package var storage: [StorageRequest] = []
    /// To this shard's client connections.
    package var edge: [EdgeDirective] = []
    /// To other shards of this node.
    package var shards: [(to: Int, message: ShardMessage)] = []
    /// For the log, the event list and the metrics.
    package var events: [BrokerEvent] = []
    /// Answers to `requestControl`.
    package var controlReplies: [(token: UInt64, reply: ControlReply)] = []

    package init() {}

    package var isEmpty: Bool {
        peers.isEmpty && storage.isEmpty && edge.isEmpty && shards.isEmpty && events.isEmpty
            && controlReplies.isEmpty
    }
}

/// What the disk is asked for. Replies come back through the broker's `on…` inputs, in any order between kinds.
package enum StorageRequest: Sendable {
    /// One group's part of a write-ahead batch.
    package struct Item: Sendable {
        package var group: GroupID
        package var hardState: HardState?
        package var entries: [Entry]
    }

    /// Append and make durable, then `onDurable(ticket)`. Tickets rise by one. `isKeysOnly`: nothing but commands on
    /// keys, which follow the setting for keys; votes and guaranteed messages never do.
    case append(ticket: UInt64, items: [Item], isKeysOnly: Bool)
    /// Read entries `from...upTo` (about `maxBytes`, at least one), then `onEntriesRead(token, entries)`.
    case read(token: UInt64, group: GroupID, from: LogIndex, upTo: LogIndex, maxBytes: Int)
    /// Save the state machine's snapshot, then `onSnapshotSaved`.
    /// `state` is a copy that shares its storage: encoding it may happen on another thread.
    case saveSnapshot(group: GroupID, descriptor: SnapshotDescriptor, state: SnapshotState)
    /// Replace the replica by a leader's snapshot and log, then `onSnapshotInstalled`.
    case installSnapshot(group: GroupID, descriptor: SnapshotDescriptor, state: [UInt8], entries: [Entry])
    /// Entries below `index` are no longer needed. No reply.
    case dropLog(group: GroupID, below: LogIndex)
    /// Remove the replica but for its vote, then `onDiscarded`.
    case discard(group: GroupID)
}

/// A state machine as it was at one index.
package enum SnapshotState: Sendable {
    case rooms(PartitionState)
    case keys(KeyPartition)

    package func encoded() -> [UInt8] {
        switch self {
        case .rooms(let state): state.encodeSnapshot()
        case .keys(let state): state.encodeSnapshot()
        }
    }
}

/// One client connection on this shard: a slot, and a generation so that a late event never meets the slot's next user.
package struct SessionID: Hashable, Sendable {
    package var slot: UInt32
    package var generation: UInt32

    package init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// What a request of a client is answered by. `command` is the shell's own (a protocol's command id).
package struct RequestToken: Hashable, Sendable {
    package var session: SessionID
    package var command: UInt64

    package init(session: SessionID, command: UInt64) {
        self.session = session
        self.command = command
    }
}

/// Why a client's request failed. `isDefinite` false: it may have taken effect; retrying with the same idempotency key
/// or producer sequence is safe.
package enum RequestError: Error, Equatable, Sendable {
    /// The partition has no owner that a quorum follows; nothing was done.
    case noQuorum
    /// Too much is in flight; nothing was done.
    case busy
    /// No answer in time.
    case timeout
    case alreadySubscribed
    case notSubscribed
    /// The epoch or offset of an acknowledgement does not belong to the subscription.
    case badPosition
    case tooManySubscriptions
    /// The publish was decided against: a producer's sequence, fencing or a bound.
    case refused(PublishOutcome)
    /// History is asked of a room that keeps none.
    case notStored
    /// A unit of commands on keys is longer than `KeyUnit.byteLimit`; nothing was done.
    case tooLong

    package var isDefinite: Bool { self != .timeout }
}

/// How a subscription begins.
package struct SubscribeOptions: Sendable {
    /// Continue after this position.
    package var recover: Position?
    /// Deliver everything that is retained.
    package var fromBeginning: Bool
    /// Acknowledgements: the client's window in messages; nil = none are expected.
    package var ackWindow: UInt32?
    /// A named consumer whose cursor is durable; needs `ackWindow`. It continues after the cursor when it has one.
    package var consumer: [UInt8]
    /// The subscription begins once the room's owner counts it.
    package var isCounted: Bool

    package init(
        recover: Position? = nil,
        fromBeginning: Bool = false,
        ackWindow: UInt32? = nil,
        consumer: [UInt8] = [],
        isCounted: Bool = false
    ) {
        self.isCounted = isCounted
        self.recover = recover
        self.fromBeginning = fromBeginning
        self.ackWindow = ackWindow
        self.consumer = consumer
    }
}

package struct SubscribeResult: Sendable {
    /// The room as this shard knows it: valid while at least one session of the shard is subscribed.
    package var room: HubRoomID
    package var isStored: Bool
    package var epoch: UInt64
    /// Offset of the last message before live delivery begins: after `publications`, the client is at
    /// `publications.last?.offset ?? offset`. When more is to come it arrives as `.publications`.
    package var offset: UInt64
    package var publications: [Publication]
    package var wasRecovering: Bool
    /// Everything after the asked position is delivered, without a gap.
    package var recovered: Bool
    /// What the asked position missed, when it was not recovered.
    package var gap: Gap?

    package init(
        room: HubRoomID,
        isStored: Bool,
        epoch: UInt64,
        offset: UInt64,
        publications: [Publication] = [],
        wasRecovering: Bool = false,
        recovered: Bool = false,
        gap: Gap? = nil
    ) {
        self.room = room
        self.isStored = isStored
        self.epoch = epoch
        self.offset = offset
        self.publications = publications
        self.wasRecovering = wasRecovering
        self.recovered = recovered
        self.gap = gap
    }
}

/// A hole in a subscription, announced in order, never skipped in silence.
package struct Gap: Equatable, Sendable {
    package enum Reason: UInt8, Sendable {
        /// Retention moved past it.
        case trimmed
        /// The room's history began anew.
        case epoch
    }

    package var from: UInt64
    package var to: UInt64
    package var reason: Reason

    package init(from: UInt64, to: UInt64, reason: Reason) {
        self.from = from
        self.to = to
        self.reason = reason
    }
}

package struct HistoryResult: Sendable {
    package var epoch: UInt64
    /// The room's last offset.
    package var offset: UInt64
    package var publications: [Publication]
}

/// A room in this shard's hub, dense so that the shell can keep tables beside it.
package typealias HubRoomID = Int32

/// What a shard's client connections are told.
package enum EdgeDirective: Sendable {
    case published(RequestToken, Result<PublishOutcome, RequestError>)
    case subscribed(RequestToken, RoomName, Result<SubscribeResult, RequestError>)
    case history(RequestToken, RoomName, Result<HistoryResult, RequestError>)
    /// A live message for every session in `Broker.liveSubscribers(of:)`: encode once, queue to each.
    case broadcast(HubRoomID, Publication)
    /// Messages for one session that is catching up or acknowledges.
    case publications(SessionID, HubRoomID, [Publication])
    case gap(SessionID, HubRoomID, Gap)
    /// The server ended the subscription; the client may subscribe again (insufficient state).
    case resubscribe(SessionID, RoomName)

    // For the shim.
    /// A unit's result.
    case keys(RequestToken, Result<KeyOutcome, RequestError>)
    /// The reply to a wait; nil: nobody can say what became of it, and the connection closes.
    case served(ticket: UInt64, reply: [UInt8]?)
    /// Subscribers in the cluster that a publish was sent to.
    case received(RequestToken, Result<Int, RequestError>)
    case patternSubscribed(RequestToken, Glob)
    /// A message of a room that matches a pattern of this shard.
    case patternMessage(RoomName, Publication)
    case channels(RequestToken, Result<ChannelReply, RequestError>)
}

/// Things worth a log line, an entry in the event list or a counter (CL-13).
package enum BrokerEvent: Sendable {
    case becameOwner(PartitionID, term: Term, silence: Interval?)
    case lostOwnership(PartitionID, term: Term, newOwner: NodeID?)
    case controlLeader(NodeID?, term: Term)
    case peerSuspected(NodeID, silent: Interval)
    case peerRecovered(NodeID)
    case degraded(PartitionID)
    case restored(PartitionID)
    case placementApplied(epoch: UInt64, partitions: Int)
    case snapshotInstalled(GroupID, index: LogIndex)
    case replicaFaulty(GroupID)
    /// What is left of a replica that was removed here before is there again: the table of those days names it.
    case replicaRemains(GroupID)
    /// A new replica waits for its leader's snapshot.
    case replicaAdded(GroupID)
    /// The group has left this node.
    case replicaRemoved(GroupID)
    /// A partition has a large part of this node's load (CL-16); its busiest rooms.
    case partitionHot(PartitionLoad, share: Double, rooms: [RoomLoad])
    case partitionCool(PartitionID)
    /// The most loaded node is so much above the mean (LB-04). From the control leader.
    case loadUneven(imbalance: Double, most: NodeID)
    case loadEven(imbalance: Double)
    /// The control leader has proposed another preferred owner, to level the load.
    case leadershipMoved(LoadBalance.Move)
    /// Who belongs to the cluster, and who never will again, told on the control group's shard.
    case members([ClusterNode], former: [FormerNode], featureLevel: UInt16)
    /// An operator had the cluster go on without a majority: of the nodes `lost`, by name.
    case recovered(QuorumRecovery, lost: [String])
    /// A node asks to join that is not admitted.
    case joinRefused(NodeID, name: String, JoinRefusal)
    /// This node does not belong to the cluster any more.
    case left
    /// The state machine met an entry that it cannot read: the process must stop.
    case fatal(GroupID, index: LogIndex, reason: String)
}

/// Why a node that asks to join is not admitted.
package enum JoinRefusal: Equatable, Sendable {
    /// Another one of its name is up.
    case nameIsTaken
    /// It cannot read what the cluster may write.
    case featureLevel(UInt16, cluster: UInt16)
}

/// Between shards of one node. A loop-back goes through the same cases, so that one shard and many run the same code.
package enum ShardMessage: Sendable {
    // Hub to relay.
    case publish(
        hub: Int,
        RequestToken,
        PartitionID,
        command: ArraySlice<UInt8>,
        deadline: Instant,
        isCounted: Bool
    )
    case announce(PartitionID, RoomName, body: ArraySlice<UInt8>)
    /// The hub has its first subscriber in the room; of so many it has told.
    case register(hub: Int, PartitionID, RoomName, count: Int32)
    case unregister(hub: Int, PartitionID, RoomName, count: Int32)
    /// So many subscribers more; answered by `.counted` unless the token is 0.
    case subscriberCount(hub: Int, PartitionID, RoomName, delta: Int32, token: UInt64)
    /// All patterns of the hub; answered by `.counted`.
    case patterns(hub: Int, PartitionID, [PatternCount], token: UInt64)
    case announceCounted(hub: Int, RequestToken, PartitionID, RoomName, body: ArraySlice<UInt8>)
    case channelQuery(hub: Int, token: UInt64, PartitionID, ChannelQuery)
    case fetch(hub: Int, HubFetch)
    case acknowledge(PartitionID, CursorUpdate)
    // Relay to hub.
    case published(RequestToken, Result<PublishOutcome, RequestError>)
    case registered(RoomName, head: RoomHead, live: Bool)
    case publications(RoomName, epoch: UInt64, [Publication])
    case fetched(token: UInt64, RoomName, Result<FetchReply, RequestError>)
    /// An owner took the room's registration anew. It goes on at `next`; what was not sent before that is gone.
    case resumed(RoomName, epoch: UInt64, next: UInt64)
    /// The room's history began anew.
    case roomReset(RoomName)
    /// From the control group's shard to the others.
    case control([UInt8])
    /// To the control group's shard, each second: what the sender measured.
    case loads(shard: Int, [PartitionLoad], [RoomLoad])
    /// To the control group's shard: the sender carries nothing any more.
    case emptied(shard: Int)
    // The shim to a key partition's relay.
    case keyUnit(hub: Int, RequestToken, PartitionID, unit: ArraySlice<UInt8>, deadline: Instant)
    case keyRead(hub: Int, RequestToken, PartitionID, unit: ArraySlice<UInt8>)
    case cancelWait(PartitionID, ticket: UInt64)
    // And back.
    case keys(RequestToken, Result<KeyOutcome, RequestError>)
    case served(ticket: UInt64, reply: [UInt8]?)
    case counted(token: UInt64)
    case channelReply(token: UInt64, PartitionID, Result<ChannelReply, RequestError>)
    case received(RequestToken, Result<Int, RequestError>)
    case patternPublications(RoomName, [Publication])

    /// A read that a hub wants from a room's owner.
    package struct HubFetch: Sendable {
        package var token: UInt64
        package var partition: PartitionID
        package var room: RoomName
        package var linearizable: Bool
        package var epoch: UInt64
        package var from: UInt64
        package var limit: UInt32
        package var consumer: [UInt8]
    }
}
