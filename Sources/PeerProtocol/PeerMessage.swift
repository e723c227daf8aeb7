import Primitives
import Raft
import Rooms

/// Everything that one node says to another over a mesh link. Links are TCP: a link delivers in order or is reset, and
/// after a reset both sides begin again from their positions.
package enum PeerMessage: Equatable, Sendable {
    case raft(GroupID, RaftMessage)

    /// A gateway's guaranteed publishes, to the owner.
    case publish(PublishStream)
    /// The owner's verdicts on a stream's publishes.
    case published(PublishedResults)
    /// The receiver does not own the partition, or the stream broke: begin a new attempt.
    case publishRefused(PublishRefusal)

    /// A best-effort publish, to the owner. No reply.
    case announce(PartitionID, RoomName, body: ArraySlice<UInt8>)

    /// Registration of interest, history and cursor look-up in one.
    case fetch(FetchRequest)
    case fetched(FetchReply)
    /// The node has no more subscribers in the room.
    case uninterested(PartitionID, RoomName)
    /// Live messages of a room, owner to interested node.
    case publications(PartitionID, RoomName, epoch: UInt64, [Publication])

    /// Consumers' cursors, to the owner.
    case acknowledge(PartitionID, [CursorUpdate])

    /// The partitions that the sender owns, and since which term.
    case owners([Ownership])
    /// Says only that the sender lives.
    case keepalive
    /// Whether the sender takes leaderships: not while it leaves. Until it says so, it does.
    case standing(mayLead: Bool)
    /// What the sender does for the partitions that it owns, each second, to the control group's leader.
    case loads([PartitionLoad])

    /// Part of a snapshot transfer, leader to follower.
    case snapshotChunk(SnapshotChunk)
    /// How much of a transfer the follower holds; it asks for what follows.
    case snapshotProgress(GroupID, index: LogIndex, received: UInt64)
    /// The sender's replica is damaged or empty and wants to be replaced whole.
    case snapshotRequest(GroupID)
    /// The sender has a replica that the placement table does not name: is it still needed?
    case retireRequest(GroupID)
    /// The group's leader in this term, who knows the table of this epoch: it is not.
    case retire(GroupID, epoch: UInt64, term: Term)

    /// To the control group's leader; answered by `controlReply`.
    case controlRequest(token: UInt64, ControlRequest)
    case controlReply(token: UInt64, ControlReply)

    /// Units of a key partition travel as `publish`; these are the owner's results.
    case keyResults(KeyResults)
    case keyRead(KeyRead)
    case keyReadReply(KeyReadReply)
    case keyServed(KeyServed)

    /// Subscribers that the sender has in rooms of the partition, to the owner; answered by `noted` unless the token is
    /// 0.
    case subscribers(PartitionID, token: UInt64, [SubscriberCount])
    /// All patterns that somebody on the sender subscribed to, to every owner; answered by `noted`.
    case patterns(PartitionID, token: UInt64, [PatternCount])
    case noted(PartitionID, token: UInt64)
    /// A best-effort publish whose publisher wants to know how many subscribers it was sent to.
    case announceCounted(PartitionID, token: UInt64, RoomName, body: ArraySlice<UInt8>)
    case received(PartitionID, token: UInt64, UInt32)
    case channelQuery(PartitionID, token: UInt64, ChannelQuery)
    case channelReply(PartitionID, token: UInt64, ChannelReply)

    /// A partition's owner and the term that made it.
    package struct Ownership: Equatable, Sendable {
        package var partition: PartitionID
        package var term: Term

        package init(partition: PartitionID, term: Term) {
            self.partition = partition
            self.term = term
        }
    }
}

/// Consecutive publishes of one gateway shard to one partition, numbered from `first`.
package struct PublishStream: Equatable, Sendable {
    package var partition: PartitionID
    package var gateway: GatewayID
    /// Raised by the gateway when it begins again (go-back-N); the owner takes only the newest attempt, without holes.
    package var attempt: UInt32
    package var first: UInt64
    package var acknowledgedBelow: UInt64
    /// Encoded `PublishCommand`s; of a key partition, encoded `KeyUnit`s.
    package var commands: [ArraySlice<UInt8>]

    package init(
        partition: PartitionID,
        gateway: GatewayID,
        attempt: UInt32,
        first: UInt64,
        acknowledgedBelow: UInt64,
        commands: [ArraySlice<UInt8>]
    ) {
        self.partition = partition
        self.gateway = gateway
        self.attempt = attempt
        self.first = first
        self.acknowledgedBelow = acknowledgedBelow
        self.commands = commands
    }
}

package struct PublishedResults: Equatable, Sendable {
    package var partition: PartitionID
    package var gateway: GatewayID
    package var results: [Result]

    package struct Result: Equatable, Sendable {
        package var sequence: UInt64
        package var outcome: PublishOutcome
        /// Subscribers in the cluster that the message was sent to.
        package var receivers: UInt32

        package init(sequence: UInt64, outcome: PublishOutcome, receivers: UInt32 = 0) {
            self.sequence = sequence
            self.outcome = outcome
            self.receivers = receivers
        }
    }

    package init(partition: PartitionID, gateway: GatewayID, results: [Result]) {
        self.partition = partition
        self.gateway = gateway
        self.results = results
    }
}

package struct PublishRefusal: Equatable, Sendable {
    package var partition: PartitionID
    package var gateway: GatewayID
    package var attempt: UInt32
    /// Who may own it, if the sender knows.
    package var owner: NodeID?

    package init(partition: PartitionID, gateway: GatewayID, attempt: UInt32, owner: NodeID?) {
        self.partition = partition
        self.gateway = gateway
        self.attempt = attempt
        self.owner = owner
    }
}

/// Asks an owner where a room stands and for messages from `from` on.
package struct FetchRequest: Equatable, Sendable {
    package var partition: PartitionID
    /// Echoed in the reply; unique per (sender, partition), whatever the sender's restarts.
    package var token: UInt64
    package var room: RoomName
    /// Also register the sender as interested: every later message is pushed.
    package var register: Bool
    /// The reply must reflect everything acknowledged before it was asked (ReadIndex).
    package var linearizable: Bool
    /// The epoch that `from` belongs to; another epoch at the owner returns its head and no messages.
    package var epoch: UInt64
    /// The first offset wanted; 0 = none, only the head.
    package var from: UInt64
    package var limit: UInt32
    /// A consumer whose cursor is wanted too; empty = none.
    package var consumer: [UInt8]
    /// With `register`: subscribers that the sender has in the room.
    package var subscribers: UInt32

    package init(
        partition: PartitionID,
        token: UInt64,
        room: RoomName,
        register: Bool,
        linearizable: Bool = false,
        epoch: UInt64 = 0,
        from: UInt64 = 0,
        limit: UInt32 = 0,
        consumer: [UInt8] = [],
        subscribers: UInt32 = 0
    ) {
        self.subscribers = subscribers
        self.partition = partition
        self.token = token
        self.room = room
        self.register = register
        self.linearizable = linearizable
        self.epoch = epoch
        self.from = from
        self.limit = limit
        self.consumer = consumer
    }
}

package struct FetchReply: Equatable, Sendable {
    package enum Status: Equatable, Sendable {
        case ok
        case notOwner(NodeID?)
        /// Too many reads at once, or the log could not be read; try again.
        case busy
    }

    package var partition: PartitionID
    package var token: UInt64
    package var room: RoomName
    package var status: Status
    package var head: RoomHead
    /// Messages from `from` on (or from the first retained one), in order.
    package var publications: [Publication]
    package var cursor: UInt64?
    /// Live messages may overtake it: it registers nobody, and what it says was true when it was asked for. It chooses
    /// the sender's lane, and is not sent.
    package var mayBeOvertaken = false
    /// The room has begun a new epoch since the cursor last moved.
    package var isCursorOfFormerEpoch = false

    package init(
        partition: PartitionID,
        token: UInt64,
        room: RoomName,
        status: Status,
        head: RoomHead = RoomHead(epoch: 0, first: 1, next: 1),
        publications: [Publication] = [],
        cursor: UInt64? = nil
    ) {
        self.partition = partition
        self.token = token
        self.room = room
        self.status = status
        self.head = head
        self.publications = publications
        self.cursor = cursor
    }
}

/// A piece of a snapshot transfer. The stream is: the state's bytes, then the retained entries.
package struct SnapshotChunk: Equatable, Sendable {
    package var group: GroupID
    package var term: Term
    package var descriptor: SnapshotDescriptor
    /// Bytes of state in the whole transfer.
    package var stateBytes: UInt64
    /// The first entry that travels with the state; `descriptor.index + 1` when none does.
    package var firstEntry: LogIndex
    /// The place of this chunk: bytes of state, then entries, counted as 1 each.
    package var offset: UInt64
    package var state: ArraySlice<UInt8>
    package var entries: [Entry]

    package init(
        group: GroupID,
        term: Term,
        descriptor: SnapshotDescriptor,
        stateBytes: UInt64,
        firstEntry: LogIndex,
        offset: UInt64,
        state: ArraySlice<UInt8>,
        entries: [Entry]
    ) {
        self.group = group
        self.term = term
        self.descriptor = descriptor
        self.stateBytes = stateBytes
        self.firstEntry = firstEntry
        self.offset = offset
        self.state = state
        self.entries = entries
    }
}
