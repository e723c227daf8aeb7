import Broker
import Keys
import LogStorage
import Primitives
import Raft
import Rooms

/// The shape of one run, drawn from its seed: cluster, limits, timers, which faults and operations take part.
struct Swarm {
    var nodes: Int
    /// Nodes that may join later.
    var spares = 0
    var partitions: Int
    /// Of keys, behind the others.
    var keyPartitions = 0
    var allPartitions: Int { partitions + keyPartitions }
    var shards: Int
    var replicationFactor: Int
    var namespaces: NamespaceTable
    var rooms: [String]
    var faults: [Fault]
    var operations: [Operation]
    /// Between two faults.
    var faultSpacing: Interval
    var faultPhase: Interval
    var tick: Interval
    var latency: Interval
    var syncTime: Interval
    var publishers: Int
    var subscribers: Int
    var publishSpacing: Interval
    var payload: Int
    var log = LogSettings()
    /// Nodes, partitions and seeds are filled in per node.
    var broker: BrokerSettings

    init(chance: inout Xoshiro256, options: SimulationOptions) {
        nodes = chance.pick([1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7])
        if options.isLiveness || options.planted != nil { nodes = max(nodes, 3) }
        partitions = chance.pick([1, 1, 1, 2, 2, 4, 8, 16])
        shards = partitions > 1 && chance.chance(1, in: 4) ? 2 : 1
        replicationFactor = min(nodes, chance.pick([1, 2, 3, 3, 3, 3, 3, 3]))
        if options.isLiveness || options.planted != nil { replicationFactor = 3 }
        namespaces = Swarm.drawNamespaces(&chance)
        rooms = Swarm.drawRooms(&chance)

        faults = Fault.allCases.filter { _ in chance.chance(1, in: 2) }
        operations = Operation.allCases.filter { _ in chance.chance(2, in: 3) }
        if nodes == 1 { faults.removeAll { $0.isBetweenNodes } }
        if replicationFactor < 3 || nodes < 3 { faults.removeAll { $0 == .bitFlip } }
        // An hour's jump is longer than a key is remembered, and says so; those runs make no promise about keys.
        if faults.contains(.clockJump) { operations.removeAll { $0 == .keyedPublish } }
        if !operations.contains(where: { $0.rawValue <= Operation.stampedPublish.rawValue }) {
            operations.append(.stampedPublish)
        }
        switch options.planted {
        case .skipFsync: Swarm.add([.powerCut, .blackout], to: &faults)
        case .countOldTerm: Swarm.add([.leaderChurn, .slowLink, .oneWay, .kill], to: &faults)
        case .forgetProducers:
            Swarm.add([.kill, .leaderChurn], to: &faults)
            Swarm.add([.stampedPublish], to: &operations)
        case .serveBeforeNoop:
            Swarm.add([.leaderChurn, .kill, .slowLink, .pause], to: &faults)
            Swarm.add([.readHead], to: &operations)
        case .ignoreDamage: Swarm.add([.bitFlip, .kill], to: &faults)
        case nil: break
        }
        if options.planted == nil, faults.contains(.join) { spares = chance.pick([1, 1, 2, 3]) }
        faultSpacing = chance.pick([.milliseconds(150), .milliseconds(300), .milliseconds(600)])
        faultPhase = options.faultPhase ?? .milliseconds(chance.pick([3000, 4000, 6000]))
        tick = chance.pick([.milliseconds(10), .milliseconds(20)])
        latency = chance.pick([.microseconds(100), .microseconds(500), .milliseconds(2), .milliseconds(5)])
        syncTime = chance.pick([.microseconds(200), .milliseconds(1), .milliseconds(4), .milliseconds(10)])
        publishers = chance.pick(2...7)
        subscribers = chance.pick(1...6)
        publishSpacing = chance.pick([.milliseconds(5), .milliseconds(20), .milliseconds(50)])
        payload = chance.pick([8, 40, 300])
        log = Swarm.drawLog(&chance)
        broker = Swarm.drawBroker(&chance, self: nodes, partitions, shards, replicationFactor, namespaces)
        if operations.contains(.keys) { keyPartitions = 1 }
        broker.keyPartitions = keyPartitions
        broker.pollInterval = chance.pick([.milliseconds(100), .milliseconds(500)])
        broker.waiterLease = chance.pick([.milliseconds(300), .milliseconds(1500)])
        if options.planted == nil, chance.chance(1, in: 3) { broker.keyAck = .owner }
        broker.controlInterval = chance.pick([.milliseconds(40), .milliseconds(200)])
        broker.replaceAfter = chance.pick([.milliseconds(700), Simulation.longAway])
        broker.takeNameAfter = .milliseconds(300)
        broker.parallelSyncs = chance.pick([1, 2, 8])
        broker.transferRate = chance.pick([20_000, 1 << 20, 64 << 20])
        broker.catchUpEntries = chance.pick([0, 4, 64])
        // What is judged has no time to live; what has one is there to go.
        if chance.chance(1, in: 3) {
            let policy: KeyspaceConfiguration.MemoryPolicy = chance.pick([.volatileLRU, .volatileRandom, .volatileTTL])
            broker.keyMemory = MemoryLimit(bytes: 60 << 10, policy: policy)
        }
    }

    private static func add<T: Equatable>(_ wanted: [T], to list: inout [T]) {
        for value in wanted where !list.contains(value) { list.append(value) }
    }

    private static func drawNamespaces(_ chance: inout Xoshiro256) -> NamespaceTable {
        NamespaceTable([
            NamespacePolicy(prefix: Array("be:".utf8), deliveryClass: .bestEffort),
            NamespacePolicy(prefix: Array("few:".utf8), retentionCount: chance.pick([1, 3, 10, 70])),
            NamespacePolicy(prefix: Array("short:".utf8), retentionMilliseconds: chance.pick([500, 2000])),
            NamespacePolicy(prefix: Array("small:".utf8), retentionBytes: chance.pick([500, 5000])),
            NamespacePolicy(deliveryClass: .guaranteed),
        ])
    }

    private static func drawRooms(_ chance: inout Xoshiro256) -> [String] {
        var rooms = ["room-0"]
        for prefix in ["room-", "few:", "short:", "small:", "room-"] where chance.chance(1, in: 2) {
            for _ in 0...chance.below(2) { rooms.append("\(prefix)\(rooms.count)") }
        }
        return rooms
    }

    private static func drawLog(_ chance: inout Xoshiro256) -> LogSettings {
        var log = LogSettings()
        log.walFileSize = chance.pick([8 << 10, 32 << 10, 128 << 10])
        log.flushStepBytes = chance.pick([1 << 10, 16 << 10, 1 << 20])
        log.mergeFanIn = chance.pick([2, 4, 8])
        log.mergeLimit = chance.pick([16 << 10, 1 << 20])
        log.spareFiles = chance.pick([0, 1])
        log.snapshotsKept = chance.pick([1, 2])
        log.restoreBudget = chance.pick([0, 4 << 10, 64 << 20])
        return log
    }

    private static func drawBroker(
        _ chance: inout Xoshiro256,
        self nodes: Int,
        _ partitions: Int,
        _ shards: Int,
        _ replicationFactor: Int,
        _ namespaces: NamespaceTable
    ) -> BrokerSettings {
        let ids = (1...nodes).map { NodeID(UInt64($0)) }
        var settings = BrokerSettings(
            node: ids[0],
            nodes: ids.map { ClusterNode(id: $0, name: "n\($0)") },
            controlVoters: Array(ids.prefix(5)),
            shards: shards,
            partitions: partitions,
            replicationFactor: replicationFactor,
            namespaces: namespaces,
            seed: 0
        )
        // All timers are a third of the production ones or less, so that more happens in a virtual second.
        var raft = RaftSettings(electionTicks: chance.pick([6, 10]), heartbeatTicks: 2)
        raft.maxEntriesBytesPerMessage = chance.pick([1, 200, 4 << 10, 256 << 10])
        raft.maxInflightMessages = chance.pick([1, 2, 8, 256])
        raft.maxInflightBytes = chance.pick([400, 4 << 20])
        raft.maxUncommittedBytes = chance.pick([1 << 10, 16 << 10, 16 << 20])
        raft.maxCommittedBytesPerReady = chance.pick([1, 500, 1 << 20])
        settings.dataRaft = raft
        settings.controlRaft = raft
        settings.raftTick = .milliseconds(20)
        settings.keepalive = .milliseconds(40)
        settings.suspectAfter = .milliseconds(chance.pick([100, 200]))
        settings.rankDelay = .milliseconds(chance.pick([10, 30]))
        settings.ownersInterval = .milliseconds(300)
        settings.degradedAfter = .milliseconds(500)
        settings.requestTimeout = .milliseconds(chance.pick([500, 2000]))
        settings.cursorFlush = .milliseconds(chance.pick([50, 300]))
        // Each partition's is an entry: many partitions on a slow disk would never all be at rest at once.
        settings.housekeeping = max(.milliseconds(chance.pick([200, 1000])), .milliseconds(50 * UInt64(partitions)))
        settings.rebalanceInterval = .milliseconds(chance.pick([300, 1000]))
        settings.publishWindow = chance.pick([2, 16, 16_384])
        settings.batchBytes = chance.pick([1, 300, 128 << 10])
        settings.historyLimit = chance.pick([1, 3, 20, 1000])
        settings.fetchBytes = chance.pick([100, 2000, 256 << 10])
        settings.tailBytesPerPartition = chance.pick([0, 500, 4000, 4 << 20])
        settings.snapshotEntries = chance.pick([3, 10, 50, 1000])
        settings.snapshotBytes = chance.pick([1000, 64 << 20])
        settings.snapshotChunkBytes = chance.pick([50, 1000, 512 << 10])
        return settings
    }
}

extension Fault {
    /// Needs a second node.
    var isBetweenNodes: Bool {
        switch self {
        case .split, .isolate, .oneWay, .blackhole, .reset, .slowLink, .swizzle, .leaderChurn, .resign: true
        default: false
        }
    }
}
