import DequeModule
import Keys
import PeerProtocol
import Primitives
import Raft
import Rooms

/// One Raft group on this node: the consensus core, its state machine, and what the group's leader keeps beside it.
final class Replica {
    let group: GroupID
    var raft: RaftNode
    /// The partition's rooms; nil for the control group and for keys.
    var state: PartitionState?
    /// The partition's keys.
    var keys: KeyPartition?
    var ready = Ready()
    var isDirty = false
    /// As they were last handed to storage: a change is synced whatever the setting for keys says.
    var syncedVote: Vote?
    /// Appends under way in storage.
    var pendingAppends = 0
    /// When a ranked campaign is due.
    var campaignAt: Instant?
    /// How often it is tried again without an answer to who leads.
    var campaignsLeft = 0
    var isFaulty: Bool

    // Owner: soft state, begun anew with each term that this replica leads.
    var isServing = false
    var servingTerm: Term = 0
    /// Commands gathered in this tick, and batches that Raft was too busy to take.
    var batch: CommandBatchWriter?
    var keyBatch: KeyBatchWriter?
    /// Of an owner that answers before a majority has what it answers: a second state, which has everything that was
    /// written here. It goes with the ownership, and nothing that stays comes from it.
    var ahead: KeyPartition?
    /// Entries that go into `ahead` as soon as they are written here.
    var unwritten: Deque<(index: LogIndex, data: [UInt8])> = []
    /// A command to expire keys is on its way.
    var isExpiring = false
    /// Gateways whose forgetting is on its way.
    var forgotten: [GatewayID] = []
    /// The last question to the majority has not been asked yet, so reads may still join it.
    var isReadContextOpen = false
    var queued: Deque<[UInt8]> = []
    var streams: [GatewayID: InboundStream] = [:]
    /// Nodes with subscribers in a room, and how many.
    var interest: [RoomName: [Interest]] = [:]
    /// Patterns that somebody on a node subscribed to; sorted by node.
    var patterns: [(node: NodeID, patterns: [PatternCount])] = []
    var reads: [PendingRead] = []
    var keyReads: [PendingKeyRead] = []
    var nextReadContext: UInt64 = 1
    var transfers: [NodeID: OutgoingTransfer] = [:]
    var lastHousekeeping = Instant.zero
    var meter = LoadMeter()

    // Follower: a snapshot that is arriving, and when it was last asked for.
    var incoming: IncomingTransfer?
    var askedAt: Instant?
    /// State bytes of a snapshot that storage has installed and Raft is about to accept.
    var installed: [UInt8]?

    var lastSnapshotIndex: LogIndex
    var isSavingSnapshot = false
    /// Of entries that were applied since the last snapshot, and of those before the one that is being saved.
    var bytesSinceSnapshot = 0
    var bytesBeingSaved = 0
    /// What the keys took when they were last saved.
    var savedKeyBytes: Int
    /// When leadership may be offered to the preferred owner again; offers that it could not take come ever more
    /// seldom.
    var nextReturn = Instant.zero
    /// When leadership may be offered to another node again, once this one has resigned.
    var nextHandOver = Instant.zero
    /// The leader that told this replica to take over from it.
    var giver: NodeID?
    var returnAttempts: UInt64 = 0
    /// The placement epoch whose members the group is known to have.
    var placedEpoch: UInt64 = 0
    /// The log's end when this leader applied the last change of its members, or began to serve.
    var settledIndex: LogIndex = 0
    var nextRetireRequest = Instant.zero
    /// Leaderships given away in this term because the table does not name this node any more.
    var handOvers = 0
    /// When the last known leader was lost, for the failover's duration.
    var leaderLostAt: Instant?

    struct Vote: Equatable {
        var term: Term
        var vote: NodeID?
    }

    struct Interest {
        var node: NodeID
        var subscribers: UInt32
    }

    struct InboundStream {
        var node: NodeID
        var attempt: UInt32
        var next: UInt64
        var isBroken: Bool
    }

    /// A linearizable fetch that waits for its ReadIndex.
    struct PendingRead {
        var context: UInt64
        var index: LogIndex?
        var node: NodeID
        var request: FetchRequest
    }

    /// A unit that only reads and waits for its ReadIndex.
    struct PendingKeyRead {
        var context: UInt64
        var index: LogIndex?
        var asker: Asker
        /// A relay looks after its requests itself.
        var deadline = Instant.distantFuture
        var gateway: GatewayID
        var unit: ArraySlice<UInt8>

        enum Asker {
            /// A relay, which asks again when the answer does not come.
            case relay(NodeID, token: UInt64)
            /// A hub of this node: the relay between has nothing to remember while the owner is here.
            case hub(Int, RequestToken)
        }
    }

    struct OutgoingTransfer {
        var descriptor: SnapshotDescriptor
        var state: [UInt8]
        var firstEntry: LogIndex
        var startedAt: Instant
        var lastProgress: Instant
        var isReading = false
        /// What is to be sent next, when the rate allows it.
        var held: UInt64?
    }

    struct IncomingTransfer {
        var from: NodeID
        var descriptor: SnapshotDescriptor
        var stateBytes: UInt64
        var firstEntry: LogIndex
        var state: [UInt8] = []
        var entries: [Entry] = []
        var isInstalling = false
        var lastProgress = Instant.zero

        var received: UInt64 { UInt64(state.count + entries.count) }
        var isComplete: Bool {
            UInt64(state.count) == stateBytes && firstEntry + UInt64(entries.count) == descriptor.index + 1
        }
    }

    init(
        group: GroupID,
        raft: RaftNode,
        state: PartitionState?,
        keys: KeyPartition?,
        snapshotIndex: LogIndex,
        isFaulty: Bool
    ) {
        self.group = group
        self.raft = raft
        self.state = state
        self.keys = keys
        self.lastSnapshotIndex = snapshotIndex
        savedKeyBytes = keys?.keyspace.keyBytes ?? 0
        self.isFaulty = isFaulty
    }

    /// The last index that the partition's state machine has applied; nil for the control group.
    var applied: LogIndex? { state?.applied ?? keys?.applied }

    /// Does something with the keys as their owner answers from them.
    func withKeys<R>(_ body: (inout KeyPartition) -> R) -> R? {
        if ahead != nil { return body(&ahead!) }
        return keys != nil ? body(&keys!) : nil
    }

    /// Entries that were answered and that a majority does not have, as far as is known here.
    var unconfirmed: UInt64 { (ahead?.applied ?? 0) - min(ahead?.applied ?? 0, keys?.applied ?? 0) }

    /// A snapshot is on its way here, or was just asked for.
    func isFilling(at now: Instant, _ settings: BrokerSettings) -> Bool {
        incoming != nil || isFaulty && askedAt.map { now - $0 < settings.askAgainAfter } ?? false
    }

    var snapshot: SnapshotState? { state.map { .rooms($0) } ?? keys.map { .keys($0) } }

    /// Drops everything that belongs to ownership.
    func stopServing() {
        isServing = false
        batch = nil
        keyBatch = nil
        ahead = nil
        unwritten.removeAll()
        isExpiring = false
        forgotten = []
        queued.removeAll()
        streams.removeAll()
        interest.removeAll()
        patterns.removeAll()
        reads.removeAll()
        keyReads.removeAll()
        transfers.removeAll()
        meter = LoadMeter()
    }
}
