import Keys
import Primitives
import Raft
import Rooms

/// A node as the control group knows it.
package struct ClusterNode: Equatable, Sendable {
    package var id: NodeID
    package var name: String
    /// Where its mesh listens.
    package var host: String
    package var meshPort: UInt16
    package var zone: String
    /// Relative share of the partitions, 1...100.
    package var weight: Int
    /// It is being emptied: nothing is placed on it any more.
    package var isLeaving = false

    package init(
        id: NodeID,
        name: String,
        host: String = "",
        meshPort: UInt16 = 0,
        zone: String = "",
        weight: Int = 1
    ) {
        self.id = id
        self.name = name
        self.host = host
        self.meshPort = meshPort
        self.zone = zone
        self.weight = weight
    }
}

/// What a broker is told at start. Every bound has a default that suits a small node.
package struct BrokerSettings: Sendable {
    package var node: NodeID
    /// The nodes that formed the cluster, sorted by id; of a node that joins one, itself.
    package var nodes: [ClusterNode]
    /// The control group's voters at the cluster's formation: the first five nodes in file order, sorted by id.
    package var controlVoters: [NodeID]
    /// The node has no part in any group yet: it waits to be admitted, and takes everything from leaders' snapshots.
    package var isJoining = false
    package var shard: Int
    package var shards: Int
    /// Partitions of rooms.
    package var partitions: Int
    /// Partitions of keys; their numbers follow those of the rooms' partitions.
    package var keyPartitions = 0
    package var allPartitions: Int { partitions + keyPartitions }
    package var replicationFactor: Int
    package var namespaces: NamespaceTable

    package var dataRaft = RaftSettings()
    package var controlRaft = RaftSettings()
    /// Raft's clock: one tick every so long.
    package var raftTick = Interval.milliseconds(50)
    package var keepalive = Interval.milliseconds(100)
    /// A peer that was silent for so long is taken for dead by the groups that it led.
    package var suspectAfter = Interval.milliseconds(400)
    /// Replica of rank r campaigns r times this after the hint.
    package var rankDelay = Interval.milliseconds(60)
    package var ownersInterval = Interval.seconds(1)
    /// A partition without an owner for so long refuses guaranteed publishes at once.
    package var degradedAfter = Interval.milliseconds(1500)
    package var requestTimeout = Interval.seconds(10)
    /// What an owner in reach has not answered for so long is sent again: a request may be lost with what it found
    /// there.
    package var resendAfter = Interval.seconds(2)
    package var cursorFlush = Interval.seconds(1)
    package var housekeeping = Interval.seconds(30)
    package var rebalanceInterval = Interval.seconds(2)
    /// How often loads are measured and told.
    package var loadInterval = Interval.seconds(1)
    package var loadRule = LoadRule()
    /// How often the control leader, and the leaders of groups, compare what is with what should be.
    package var controlInterval = Interval.milliseconds(200)
    /// The disk lost records without a trace of whose they were: a replica that it does not know may have voted and
    /// acknowledged, and does neither before its leader has sent it everything.
    package var hasLostRecords = false
    /// A node that was away for so long loses its replicas to others.
    package var replaceAfter = Interval.seconds(600)
    /// A member that was away for so long loses its name to a node that asks to join under it: its disk was wiped.
    package var takeNameAfter = Interval.seconds(5)
    /// Replicas of this shard that are filled from their leaders at the same time (Redis's parallel-syncs).
    package var parallelSyncs = 1
    /// A leader that does not send the snapshot that it was asked for is asked again.
    package var askAgainAfter: Interval { keepalive * 5 }
    /// Bytes of snapshots that this shard sends in a second.
    package var transferRate = 64 << 20
    /// A new replica may be this many entries behind when it is made a voter.
    package var catchUpEntries: UInt64 = 64

    package var maxSessions = 100_000
    package var subscriptionsPerSession = 128
    /// Guaranteed publishes in flight from this shard to one partition.
    package var publishWindow = 16_384
    package var publishWindowBytes = 16 << 20
    /// Guaranteed publishes in flight from this shard to all partitions.
    package var pendingPublishes = 65_536
    /// Subscriptions of all sessions of this shard.
    package var maxSubscriptions = 2_000_000
    /// Different patterns that sessions of this shard subscribe to.
    package var maxPatterns = 1000
    /// Bytes gathered into one log entry.
    package var batchBytes = 128 << 10
    /// Entries of a partition that may be uncommitted before the next publishes wait for company.
    package var entriesInFlight: UInt64 = 1
    package var historyLimit = 1000
    package var fetchBytes = 256 << 10
    package var pendingFetches = 65_536
    package var tailBytesPerPartition = 4 << 20
    /// A snapshot is taken after so many entries, or so many bytes of them.
    package var snapshotEntries: UInt64 = 50_000
    package var snapshotBytes = 64 << 20
    package var snapshotChunkBytes = 512 << 10
    /// Open tickets of a gateway are asked after so often, should the answer to a wait have been lost.
    package var pollInterval = Interval.seconds(10)
    /// A node that was away for so long has lost its waits: nobody is there to take what they would pop.
    package var waiterLease = Interval.seconds(5)
    /// When a write to keys is answered.
    package var keyAck = KeyAck.quorum
    /// What keys may take, until CONFIG SET says otherwise.
    package var keyMemory = MemoryLimit()
    /// The newest formats that this program reads and writes.
    package var featureLevel = BrokerSettings.supportedFeatureLevel
    package var seed: UInt64
    /// PLANTED BUG, for the simulator's proof of itself; never set elsewhere.
    package var planted: PlantedBug?

    /// Of this program. 1: the formats of before levels were agreed. A format that older programs cannot read gets the
    /// next number, and is used from `ControlState.featureLevel` on.
    package static let supportedFeatureLevel: UInt16 = 1

    package enum KeyAck: Sendable {
        /// A majority has it.
        case quorum
        /// The owner has written it: it may be lost with the owner, as Redis's own replication loses it.
        case owner
    }

    /// What `planted` breaks.
    package enum PlantedBug: Sendable {
        /// A state restored from a snapshot has lost its producers.
        case forgetProducers
        /// A new leader serves at once, and answers linearizable reads without asking anyone.
        case serveBeforeNoop
    }

    package init(
        node: NodeID,
        nodes: [ClusterNode],
        controlVoters: [NodeID],
        shard: Int = 0,
        shards: Int = 1,
        partitions: Int,
        replicationFactor: Int,
        namespaces: NamespaceTable,
        seed: UInt64
    ) {
        self.node = node
        self.nodes = nodes.sorted { $0.id < $1.id }
        self.controlVoters = controlVoters.sorted()
        self.shard = shard
        self.shards = shards
        self.partitions = partitions
        self.replicationFactor = replicationFactor
        self.namespaces = namespaces
        self.seed = seed
    }
}
