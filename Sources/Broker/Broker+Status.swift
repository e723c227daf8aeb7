import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// What a broker knows about itself and the cluster, for status pages and metrics.
package struct BrokerStatus: Sendable {
    package struct Partition: Sendable {
        package var id: PartitionID
        /// Who serves it, as far as is known here.
        package var owner: NodeID?
        package var term: Term
        package var replicas: [NodeID]
        package var isLocal: Bool
        package var role: Role?
        package var commit: LogIndex
        package var applied: LogIndex
        package var lastIndex: LogIndex
        package var firstIndex: LogIndex
        package var rooms: Int
        package var isDegraded: Bool
        package var isFaulty: Bool
        /// Of its owner here; nil elsewhere.
        package var load: PartitionLoad?
    }

    /// Of the copies of key partitions that are here. Counts are those since this node's start.
    package struct Keys: Sendable {
        package var count = 0
        /// By estimate.
        package var memory = 0
        package var maxMemory: Int64 = 0
        package var statistics = KeyspaceStatistics()
    }

    package struct Peer: Sendable {
        package var id: NodeID
        package var isUp: Bool
        package var isSuspected: Bool
    }

    package var node: NodeID
    package var partitions: [Partition]
    package var keys: Keys
    package var peers: [Peer]
    package var controlLeader: NodeID?
    package var placementEpoch: UInt64
    package var featureLevel: UInt16
    package var sessions: Int
    package var counters: BrokerCounters
    package var isDiskHealthy: Bool
    /// The busiest rooms that this shard owns.
    package var rooms: [RoomLoad]
    /// Told by the control group's shard for all shards.
    package var hot: [PartitionID]
    /// How much the most loaded node is above the mean; nil but on the control leader.
    package var imbalance: Double?
}

extension Broker {
    /// The links to other nodes alone, for whoever looks often.
    package var peerStatus: [BrokerStatus.Peer] {
        peers.map { BrokerStatus.Peer(id: $0.id, isUp: $0.isUp, isSuspected: $0.isSuspected) }
    }

    package func status() -> BrokerStatus {
        var partitions: [BrokerStatus.Partition] = []
        for row in 0..<settings.allPartitions {
            guard let relay = relays[row] else { continue }
            let replica = replicas[row + 1]
            partitions.append(
                BrokerStatus.Partition(
                    id: PartitionID(UInt32(row)),
                    owner: relay.owner,
                    term: relay.ownerTerm,
                    replicas: placement?.replicas[row] ?? [],
                    isLocal: replica != nil,
                    role: replica?.raft.role,
                    commit: replica?.raft.commitIndex ?? 0,
                    applied: replica?.raft.appliedIndex ?? 0,
                    lastIndex: replica?.raft.lastIndex ?? 0,
                    firstIndex: replica?.raft.firstIndex ?? 0,
                    rooms: replica?.state?.roomCount ?? 0,
                    isDegraded: relay.isDegraded,
                    isFaulty: replica?.isFaulty ?? false,
                    load: replica.flatMap { $0.isServing ? $0.meter.load(of: PartitionID(UInt32(row))) : nil }
                )
            )
        }
        return BrokerStatus(
            node: settings.node,
            partitions: partitions,
            keys: keysStatus(),
            peers: peerStatus,
            controlLeader: replicas[0]?.raft.leader,
            placementEpoch: placement?.epoch ?? 0,
            featureLevel: control.featureLevel,
            sessions: hub.openSessions,
            counters: counters,
            isDiskHealthy: isDiskHealthy,
            rooms: busiestRooms,
            hot: hotPartitions.hot,
            imbalance: replicas[0]?.raft.role == .leader ? loadBalance.imbalance : nil
        )
    }

    private func keysStatus() -> BrokerStatus.Keys {
        var sum = BrokerStatus.Keys()
        for case let replica? in replicas {
            guard let keys = replica.keys?.keyspace else { continue }
            for database in 0..<Keyspace.databaseCount { sum.count += keys.keyCount(database) }
            sum.memory += keys.memoryEstimate
            sum.maxMemory += keys.configuration.maxMemory
            sum.statistics.add(keys.statistics)
        }
        return sum
    }

    /// Every partition of this shard has an owner that can be reached.
    package var isReady: Bool {
        placement != nil && relays.allSatisfy { $0 == nil || $0?.owner != nil }
    }

    /// The state machine of a partition held here, for proofs that compare replicas.
    package func partitionState(_ partition: PartitionID) -> PartitionState? {
        replica(GroupID(partition: partition))?.state
    }

    package func keyPartition(_ partition: PartitionID) -> KeyPartition? {
        replica(GroupID(partition: partition))?.keys
    }

    package func raftNode(_ group: GroupID) -> RaftNode? { replica(group)?.raft }

    package func isServing(_ partition: PartitionID) -> Bool {
        replica(GroupID(partition: partition))?.isServing ?? false
    }
}
