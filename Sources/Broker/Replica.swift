import DequeModule
import PeerProtocol
import Primitives
import Raft
import Rooms

/// One Raft group on this node: the consensus core, its state machine, and what the group's leader keeps beside it.
final class Replica {
    let group: GroupID
    var raft: RaftNode
    /// The partition's rooms; nil for the control group.
    var state: PartitionState?
    var ready = Ready()
    var isDirty = false
    /// Appends under way in storage.
    var pendingAppends = 0
    /// When a ranked campaign is due.
    var campaignAt: Instant?
    var isFaulty: Bool

    // Owner: soft state, begun anew with each term that this replica leads.
    var isServing = false
    var servingTerm: Term = 0
    /// Commands gathered in this tick, and batches that Raft was too busy to take.
    var batch: CommandBatchWriter?
    var queued: Deque<[UInt8]> = []
    var streams: [GatewayID: InboundStream] = [:]
    /// Nodes with subscribers in a room.
    var interest: [RoomName: [NodeID]] = [:]
    var reads: [PendingRead] = []
    var nextReadContext: UInt64 = 1
    var transfers: [NodeID: OutgoingTransfer] = [:]
    var lastHousekeeping = Instant.zero

    // Follower: a snapshot that is arriving.
    var incoming: IncomingTransfer?
    /// State bytes of a snapshot that storage has installed and Raft is about to accept.
    var installed: [UInt8]?

    var lastSnapshotIndex: LogIndex
    var isSavingSnapshot = false
    var bytesSinceSnapshot = 0
    /// When leadership may be offered to the preferred owner again; offers that it could not take come ever more
    /// seldom.
    var nextReturn = Instant.zero
    var returnAttempts: UInt64 = 0
    /// When the last known leader was lost, for the failover's duration.
    var leaderLostAt: Instant?

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

    struct OutgoingTransfer {
        var descriptor: SnapshotDescriptor
        var state: [UInt8]
        var firstEntry: LogIndex
        var startedAt: Instant
        var lastProgress: Instant
        var isReading = false
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

    init(group: GroupID, raft: RaftNode, state: PartitionState?, snapshotIndex: LogIndex, isFaulty: Bool) {
        self.group = group
        self.raft = raft
        self.state = state
        self.lastSnapshotIndex = snapshotIndex
        self.isFaulty = isFaulty
    }

    /// Drops everything that belongs to ownership.
    func stopServing() {
        isServing = false
        batch = nil
        queued.removeAll()
        streams.removeAll()
        interest.removeAll()
        reads.removeAll()
        transfers.removeAll()
    }
}
