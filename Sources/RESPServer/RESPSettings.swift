import Primitives
import RESP

/// Which Redis a listener plays.
package enum RESPFace: UInt8, Sendable {
    /// One server with one keyspace; this node passes on what it does not own.
    case standalone
    /// A node of Redis Cluster: 16384 slots, MOVED and CROSSSLOT.
    case cluster
    /// Redis Sentinel: says where the master is.
    case sentinel
}

/// A port of the shim.
package struct RESPListenerSettings: Sendable {
    package var face: RESPFace
    package var port: Int
    /// On the cluster face: keys of other nodes are answered here too, instead of with MOVED.
    package var proxiesKeys: Bool
    /// The address that `CLIENT LIST` shows as ours.
    package var address: String

    package init(face: RESPFace, port: Int, address: String = "127.0.0.1", proxiesKeys: Bool = false) {
        self.face = face
        self.port = port
        self.address = address
        self.proxiesKeys = proxiesKeys
    }
}

/// Settings of the shim in one node: those that `CONFIG` can change among them. Defaults are Redis's, except where
/// Redis has no bound.
package struct RESPSettings: Sendable {
    // MARK: Who may do what

    /// Empty: nobody is asked.
    package var password: [UInt8] = []

    // MARK: Bounds (CONFIG's names in brackets)

    /// Connections of the node (`maxclients`).
    package var maxClients = 10_000
    /// Unfinished input of a connection (`client-query-buffer-limit`).
    package var queryBuffer = 64 << 20
    package var request = RESPLimits()
    /// Output that waits for a client (`client-output-buffer-limit`).
    package var normalOutput = OutputLimit(hard: 256 << 20, soft: 0, seconds: 0)
    package var replicaOutput = OutputLimit(hard: 256 << 20, soft: 64 << 20, seconds: 60)
    package var pubsubOutput = OutputLimit(hard: 32 << 20, soft: 8 << 20, seconds: 60)
    /// Commands and bytes of one unit for the keyspace.
    package var unitCommands = 1024
    package var unitBytes = 1 << 20
    /// Publishes of one connection that wait for their counts.
    package var publishesUnderWay = 1024
    /// Commands and bytes between MULTI and EXEC.
    package var transactionCommands = 100_000
    package var transactionBytes = 6 << 20
    package var watchedKeys = 10_000
    /// Channels, patterns and shard channels of one connection.
    package var subscriptions = 100_000
    /// Bytes of a channel's name; the node's bound on room names, less the 7 that mark a shard channel.
    package var channelBytes = 248
    package var clientNameBytes = 4096
    /// Seconds without a command after which an ordinary connection is closed; 0: never (`timeout`).
    package var idleTimeout: UInt64 = 0
    /// Microseconds above which a command is listed in SLOWLOG; negative: none (`slowlog-log-slower-than`).
    package var slowerThan: Int64 = 10_000
    /// Commands that SLOWLOG keeps (`slowlog-max-len`).
    package var slowlogLength = 128

    // MARK: What the node says of itself

    package var version = "0.1.0"
    /// 40 hex digits that change with each start (`run_id`).
    package var runID = String(repeating: "0", count: 40)
    package var nodeName = ""
    /// The log's policy, as the node's configuration has it (`appendfsync`).
    package var appendfsync = "always"
    /// The name that Sentinel clients know the service by.
    package var masterName = "mymaster"

    package struct OutputLimit: Equatable, Sendable {
        /// Bytes; 0: no bound.
        package var hard: UInt64
        package var soft: UInt64
        package var seconds: UInt64

        package init(hard: UInt64, soft: UInt64, seconds: UInt64) {
            self.hard = hard
            self.soft = soft
            self.seconds = seconds
        }
    }

    package init() {}
}

/// What the shim asks of its node besides keys and channels. The closures are called on a shard's loop and return at
/// once.
package struct RESPActions: Sendable {
    /// BGSAVE, SAVE, BGREWRITEAOF: snapshot the key partitions that are here.
    package var snapshot: @Sendable () -> Void
    /// When the last snapshot was saved; milliseconds since 1970.
    package var lastSnapshot: @Sendable () -> Timestamp

    package init(
        snapshot: @escaping @Sendable () -> Void,
        lastSnapshot: @escaping @Sendable () -> Timestamp
    ) {
        self.snapshot = snapshot
        self.lastSnapshot = lastSnapshot
    }
}

/// Who owns which keys, for the cluster and Sentinel faces, and ROLE.
package struct RESPTopology: Equatable, Sendable {
    package struct Node: Equatable, Sendable {
        /// 40 hex digits.
        package var id: String
        package var host: String
        /// Ports by face; 0: the node has no such listener.
        package var port: Int
        package var clusterPort: Int
        package var sentinelPort: Int
        package var isAlive: Bool

        package init(id: String, host: String, port: Int, clusterPort: Int, sentinelPort: Int, isAlive: Bool) {
            self.id = id
            self.host = host
            self.port = port
            self.clusterPort = clusterPort
            self.sentinelPort = sentinelPort
            self.isAlive = isAlive
        }
    }

    package struct KeyPartition: Equatable, Sendable {
        /// Index in `nodes`; nil: nobody that a quorum follows.
        package var owner: Int?
        /// Indices of the other replicas.
        package var replicas: [Int]
        /// The owner's term.
        package var epoch: UInt64

        package init(owner: Int?, replicas: [Int], epoch: UInt64) {
            self.owner = owner
            self.replicas = replicas
            self.epoch = epoch
        }
    }

    package var nodes: [Node]
    /// This node's index in `nodes`.
    package var me: Int
    package var partitions: [KeyPartition]
    package var epoch: UInt64

    package init(nodes: [Node], me: Int, partitions: [KeyPartition], epoch: UInt64) {
        self.nodes = nodes
        self.me = me
        self.partitions = partitions
        self.epoch = epoch
    }

    /// The node that Sentinel calls the master: the owner of the first key partition.
    package var master: Node? {
        guard let owner = partitions.first?.owner, nodes.indices.contains(owner) else { return nil }
        return nodes[owner]
    }

    func node(_ index: Int?) -> Node? { index.flatMap { nodes.indices.contains($0) ? nodes[$0] : nil } }

    /// Slots of a key partition.
    func slots(_ partition: Int) -> ClosedRange<Int> {
        let count = max(1, partitions.count)
        let first = (partition * 16384 + count - 1) / count
        let next = ((partition + 1) * 16384 + count - 1) / count
        return first...(next - 1)
    }

    /// The key partitions that the node at `index` owns.
    func owned(by index: Int) -> [Int] { partitions.indices.filter { partitions[$0].owner == index } }

    /// The slots that the node at `index` owns; neighbouring ranges are one.
    func slots(ownedBy index: Int) -> [ClosedRange<Int>] {
        var merged: [ClosedRange<Int>] = []
        for range in owned(by: index).map({ slots($0) }) {
            if let last = merged.last, last.upperBound + 1 == range.lowerBound {
                merged[merged.count - 1] = last.lowerBound...range.upperBound
            } else {
                merged.append(range)
            }
        }
        return merged
    }

    /// Whose replica the node at `index` is to clients of the cluster face, which know a node as either a master or a
    /// replica: an owner of slots is nobody's, another one is that of the first partition's owner that it copies.
    func master(of index: Int) -> Int? {
        guard owned(by: index).isEmpty else { return nil }
        return partitions.first { $0.owner != nil && $0.replicas.contains(index) }?.owner
    }

    /// The replicas of the node at `index`, in that sense.
    func replicas(of index: Int) -> [Int] { nodes.indices.filter { master(of: $0) == index } }
}
