import Admin
import Broker
import CPosixShims
import Cluster
import ClusterConfiguration
import EventLoops
import Gateway
import Glibc
import Keys
import Locks
import LogStorage
import Logging
import NIOCore
import NIOPosix
import Primitives
import RESPServer
import Raft
import Rooms
import SystemOpenSSL
import UnixSignals

extension Broker: EdgeBroker {}

/// A node, from its configuration to its last connection.
///
/// Start: descriptors, log and recovery, identity, mesh, formation (a new cluster forms when all its nodes have met),
/// brokers, gateway, admin. Stop, on SIGTERM, SIGINT or cancellation of the task: the node is drained (`NodeDrain`),
/// then the log is synced. A second signal ends the process at once.
package enum NodeService {
    /// Runs the node `name` of `configuration` until it is stopped.
    ///
    /// - Parameter join: gossip addresses ("host:port") of a cluster that the node is to join; with none it forms a new
    ///   one with the others of `configuration`, unless it belongs to one already.
    package static func run(
        configuration: ClusterConfiguration,
        node name: String,
        join: [String] = [],
        logger: Logger
    ) async throws {
        guard let own = configuration.node(id: name) else {
            throw NodeError.unknownNode(name, known: configuration.nodes.map(\.id))
        }
        for warning in configuration.warnings { logger.warning("\(warning)") }
        let started = MonotonicClock.now()
        if configuration.mode == .redis {
            return try await runRedis(configuration: configuration, own: own, started: started, logger: logger)
        }
        let descriptors = DescriptorLimit.raise()

        let (store, recovery) = try LogStore<PosixDisk>.open(
            disk: PosixDisk(),
            directory: own.dataDirectory,
            settings: logSettings(configuration),
            seed: randomNumber()
        )
        logger.info(
            "log opened",
            metadata: [
                "replicas": "\(recovery.replicas.count)",
                "ms": "\((MonotonicClock.now() - started).milliseconds)",
                "report": "\(recovery.report)",
            ]
        )
        let identity = try NodeIdentity.load(from: store)
        let incarnation = try Incarnation.next(in: store)
        let listed = configuration.members(asSeenBy: own)
        var list = try MemberList.load(from: store, own: name, node: identity.node)
        try list?.checkFeatureLevel()
        let hasLostRecords = try hasLostRecords(recovery, store, hasRunBefore: list != nil, logger)
        var formation = try Formation.load(from: store, own: name, node: identity.node)
        if let list, !list.nodes.contains(where: { $0.id == identity.node }) {
            throw NodeError.left(name)
        }
        let forms = list == nil && join.isEmpty

        let threads = configuration.threads(for: own, cores: processors())
        vencejo_bound_arenas(Int32(threads + 2))
        let shards = Shards(count: threads)
        let host = own.bind.isEmpty ? own.host : own.bind

        // The mesh comes first: a new cluster is formed over it.
        let lobby = Lobby(
            formation: formation ?? Formation(expected: listed.map(\.id), own: name, node: identity.node),
            members: list,
            isJoining: !join.isEmpty
        )
        let known = lobby.formationNow
        var mesh: Mesh?
        if configuration.mode == .cluster {
            let made = Mesh(
                shard: shards[0],
                identity: MeshIdentity(
                    clusterName: configuration.cluster.name,
                    name: name,
                    node: identity.node,
                    incarnation: incarnation,
                    secret: Array(configuration.cluster.secret.text.utf8)
                ),
                host: host,
                port: own.meshPort,
                peers: peers(of: list, listed, join: join),
                settings: try MeshSettings(
                    configuration.mesh,
                    keepalive: configuration.liveness.keepalive,
                    // A node that is let go drains when it has heard of it.
                    farewell: .milliseconds(configuration.drain.budget.milliseconds + 5000)
                ),
                logger: logger,
                admit: { lobby.refusal(name: $0, node: $1) },
                onEvent: { lobby.receive($0) }
            )
            _ = try await made.start()
            mesh = made
        }
        if forms {
            var made = known
            if !made.isComplete {
                logger.notice(
                    "a new cluster forms when all its nodes have met",
                    metadata: ["waiting.for": "\(made.missing.joined(separator: ", "))"]
                )
                guard let formed = await lobby.formed() else { throw CancellationError() }
                made = formed
            }
            try made.save(to: store)
            let begun = MemberList(nodes: founders(made, nil, listed))
            try store.writeMeta(MemberList.file, begun.encoded)
            formation = made
            list = begun
        }

        // From here on there is something to end in order.
        let stop = await StopRequest(logger)
        let box = RuntimeBox()
        let runtime = NodeRuntime(
            configuration: configuration,
            name: name,
            identity: identity,
            writer: LogWriter(
                store: store,
                onFlush: { groups in box.runtime?.flushed(groups) },
                onFailure: { error in box.runtime?.fail("the log cannot go on: \(error)") }
            ),
            members: list ?? MemberList(nodes: []),
            lobby: lobby,
            logger: logger,
            // A node that was let go has nothing to do here any more.
            onLeft: { stop.request() }
        )
        runtime.mesh = mesh
        // A node that joins takes the control group's beginning from its leader.
        let nodes = formation.map { founders($0, list, listed) } ?? [founder(own, identity.node)]
        let voters = (formation?.expected ?? []).prefix(5).compactMap { formation?.members[$0] }
        for shard in shards.all {
            var settings = try brokerSettings(
                configuration,
                node: identity.node,
                nodes: nodes,
                voters: voters,
                shard: shard.index,
                shards: shards.count
            )
            settings.isJoining = formation == nil
            settings.hasLostRecords = hasLostRecords
            let broker = try Broker(
                settings: settings,
                restored: recovery.replicas.map { ($0.group, $0.replica) },
                now: MonotonicClock.now(),
                wall: WallClock.now()
            )
            runtime.runtimes.append(
                ShardRuntime(shard: shard, broker: broker, node: runtime, descriptorLimit: descriptors.soft)
            )
        }
        box.set(runtime)
        let all = runtime.runtimes
        let shim = Shim(
            configuration: configuration,
            own: own,
            me: identity.node,
            runtimes: { all }
        )
        var respShards: [RESPShard] = []

        var edges: [GatewayShard] = []
        for shard in runtime.runtimes {
            let edge = GatewayShard(
                configuration: gatewayConfiguration(
                    configuration,
                    own: own,
                    node: identity.node,
                    shard: shard.shard.index,
                    shards: shards.count
                ),
                loop: shard.shard,
                broker: shard.broker
            )
            shard.gateway = edge
            edges.append(edge)
            let resp = RESPShard(node: shim.node, loop: shard.shard, broker: shard.broker)
            shard.resp = resp
            shard.shim = shim
            respShards.append(resp)
        }
        let started0 = edges
        let resps = respShards
        for (index, shard) in runtime.runtimes.enumerated() {
            let edge = started0[index]
            let resp = resps[index]
            try await shard.shard.loop.submit {
                edge.start()
                resp.start()
                shard.start()
            }.get()
        }
        if mesh != nil {
            try await shards[0].loop.submit { lobby.open(runtime) }.get()
        }

        var gossip: NodeGossip?
        if configuration.gossips {
            let made = try NodeGossip(
                configuration,
                own: own,
                node: runtime,
                incarnation: incarnation,
                store: store,
                shard: shards[0],
                listen: host,
                join: join,
                logger: logger
            )
            try await made.start()
            gossip = made
        }

        let redis: RedisBridge? = try await startPool(configuration, own: own, shard: shards[0], runtime: runtime)
        let gateway = try await openGateway(configuration, own: own, host: host, edges: edges)
        let redisClients = try await ShimListeners.open(configuration, own: own, host: host, shards: resps)
        let report = NodeReport(node: runtime, started: started, shards: shards, redis: redis)
        let talk = gossip
        let drain = NodeDrain(
            edges: shards.all.enumerated().map { NodeDrain.Edge(shard: $1, gateway: started0[$0], resp: resps[$0]) },
            leadership: leadership(of: all),
            settings: configuration.drain,
            name: name,
            events: runtime.events,
            logger: logger,
            announce: { talk?.setDraining($0) }
        )
        let standalone = configuration.mode == .standalone
        let control = NodeControl(node: runtime)
        var gossipKeys: (@Sendable (GossipKeysRequest) async -> GossipKeysAnswer)?
        if let talk { gossipKeys = { await talk.keys($0) } }
        let admin = try await startAdmin(
            configuration,
            own: own,
            routes: AdminRoutes(
                metrics: {
                    let families = await talk?.families() ?? ""
                    return await report.metrics() + drain.family() + families
                },
                live: { report.live() },
                ready: { await drain.readiness { await report.ready() } },
                cluster: { await drain.complete(await report.status()).json() },
                redis: { await redis?.health() ?? AdminRoutes.redisDisabled(standalone: standalone) },
                status: { await drain.complete(await report.status()).json() },
                drain: { await drain.begin(budget: $0) },
                undrain: { await drain.cancel() },
                control: { await control.run($0, $1) },
                gossipKeys: gossipKeys
            ),
            logger: logger
        )

        logger.notice(
            "node is up",
            metadata: [
                "node": "\(name)", "id": "\(identity.text)", "mode": "\(configuration.mode.rawValue)",
                "gateway": "\(own.host):\(gateway.port)", "shards": "\(shards.count)",
                "ms": "\((MonotonicClock.now() - started).milliseconds)",
            ]
        )
        await stop.requested()

        logger.notice("node is stopping", metadata: ["node": "\(name)"])
        await drain.finish()
        await gossip?.stop()
        await redisClients.stop(resps)
        await gateway.stop()
        await admin?.stop()
        await redis?.stop()
        await mesh?.stop()
        runtime.writer.stop()
        // The process ends here: connections that do not answer their close frame must not hold it.
        logger.notice("node has stopped", metadata: ["node": "\(name)"])
    }

    /// Whether the disk has ever lost records without a trace of whose they were. For good: a group that is not on it
    /// then may have been.
    static func hasLostRecords<D: Disk>(
        _ recovery: Recovery,
        _ store: LogStore<D>,
        hasRunBefore: Bool,
        _ logger: Logger
    ) throws -> Bool {
        let file = "lost-records"
        if try store.readMeta(file) != nil { return true }
        guard recovery.report.isIncomplete || (hasRunBefore && recovery.report.files == 0) else { return false }
        try store.writeMeta(file, [1])
        logger.error("records of the log are lost: replicas that are not on this disk wait for their leaders' copies")
        return true
    }

    /// The nodes that formed the cluster. Where one is no longer in the file, what was last known of it does.
    private static func founders(
        _ formation: Formation,
        _ list: MemberList?,
        _ listed: [ClusterConfiguration.Node]
    ) -> [ClusterNode] {
        formation.expected.compactMap { name in
            guard let id = formation.members[name] else { return nil }
            if let node = listed.first(where: { $0.id == name }) { return founder(node, id) }
            return list?.nodes.first { $0.name == name } ?? ClusterNode(id: id, name: name)
        }
    }

    static func founder(_ node: ClusterConfiguration.Node, _ id: NodeID) -> ClusterNode {
        ClusterNode(
            id: id,
            name: node.id,
            host: node.host,
            meshPort: UInt16(clamping: node.meshPort),
            zone: node.zone,
            weight: node.weight
        )
    }

    /// Where the mesh looks for the others at first: who belonged to the cluster when this node last ran, or those of
    /// the file that it forms one with. A node that joins learns it by gossip.
    private static func peers(
        of list: MemberList?,
        _ listed: [ClusterConfiguration.Node],
        join: [String]
    ) -> [MeshPeer] {
        guard let list else {
            return join.isEmpty ? listed.map { MeshPeer(name: $0.id, host: $0.host, port: $0.meshPort) } : []
        }
        return list.nodes.map { node in
            // The file is newer than what was last heard.
            let listed = listed.first { $0.id == node.name }
            return MeshPeer(
                name: node.name,
                host: listed?.host ?? node.host,
                port: listed?.meshPort ?? Int(node.meshPort)
            )
        }
    }

    /// What the shards of a node lead.
    private static func leadership(of runtimes: [ShardRuntime]) -> NodeDrain.Leadership {
        NodeDrain.Leadership(
            left: {
                var left = 0
                for runtime in runtimes {
                    left += (try? await runtime.shard.loop.submit { runtime.broker.leadershipsToHandOver }.get()) ?? 0
                }
                return left
            },
            resign: { for runtime in runtimes { runtime.post(.call { $0.broker.resign() }) } },
            standAgain: { for runtime in runtimes { runtime.post(.call { $0.broker.standAgain() }) } }
        )
    }

    static func randomNumber() throws -> UInt64 {
        try SecureRandom.bytes(count: 8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    static func processors() -> Int { System.coreCount }

    static func openGateway(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        host: String,
        edges: [GatewayShard]
    ) async throws -> Gateway {
        do {
            return try await Gateway.open(
                host: host,
                port: own.gatewayPort,
                backlog: configuration.gateway.listenBacklog,
                shards: edges
            )
        } catch {
            throw NodeError.listen(what: "clients", host: host, port: own.gatewayPort, reason: "\(error)")
        }
    }

    static func startAdmin(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        routes: AdminRoutes,
        logger: Logger
    ) async throws -> AdminService? {
        guard own.adminPort != 0 else { return nil }
        let admin = AdminService(host: configuration.admin.host, port: own.adminPort, routes: routes, logger: logger)
        do {
            _ = try await admin.start()
        } catch {
            throw NodeError.listen(
                what: "the admin port",
                host: configuration.admin.host,
                port: own.adminPort,
                reason: "\(error)"
            )
        }
        return admin
    }

    // MARK: Settings

    static func logSettings(_ configuration: ClusterConfiguration) -> LogSettings {
        var settings = LogSettings()
        settings.walFileSize = configuration.log.walFileSize
        settings.mergeLimit = configuration.log.segmentSize
        settings.commitDelay = configuration.log.commitDelay
        return settings
    }

    /// Channels that only Redis clients use: events of keys, shard channels and Sentinels' own. Never stored.
    private static let shimNamespaces = ["__keyspace@", "__keyevent@", "__sentinel__:", "\u{1}"].map { prefix in
        NamespacePolicy(prefix: Array(prefix.utf8), deliveryClass: .bestEffort)
    }

    static func namespaces(_ configuration: ClusterConfiguration) -> NamespaceTable {
        NamespaceTable(
            shimNamespaces
                + configuration.namespaces.map { namespace in
                    NamespacePolicy(
                        prefix: namespace.prefixBytes,
                        deliveryClass: namespace.deliveryClass == .bestEffort
                            ? .bestEffort : namespace.deliveryClass == .retained ? .retained : .guaranteed,
                        priority: RoomPriority(rawValue: UInt8(namespace.priority.rank)) ?? .normal,
                        retentionCount: UInt64(namespace.retention.count),
                        retentionBytes: UInt64(namespace.retention.bytes),
                        retentionMilliseconds: namespace.retention.time.milliseconds,
                        messageTimeToLive: namespace.messageTTL.milliseconds
                    )
                },
            limits: RoomLimits(
                roomsPerPartition: configuration.limits.roomsPerPartition,
                producersPerRoom: configuration.limits.producersPerRoom,
                keysPerRoom: configuration.limits.idempotencyEntries,
                keyWindow: configuration.limits.idempotencyWindow.milliseconds
            )
        )
    }

    static func brokerSettings(
        _ configuration: ClusterConfiguration,
        node: NodeID,
        nodes: [ClusterNode],
        voters: [NodeID],
        shard: Int,
        shards: Int
    ) throws -> BrokerSettings {
        var settings = BrokerSettings(
            node: node,
            nodes: nodes,
            controlVoters: voters,
            shard: shard,
            shards: shards,
            partitions: configuration.cluster.partitions,
            replicationFactor: configuration.replicationFactor,
            namespaces: namespaces(configuration),
            seed: try randomNumber()
        )
        let raft = configuration.raft
        func ticks(_ interval: Interval) -> Int { max(1, Int(interval.nanoseconds / raft.tick.nanoseconds)) }
        var data = RaftSettings()
        data.electionTicks = ticks(raft.election)
        data.heartbeatTicks = ticks(raft.heartbeat)
        data.maxEntriesBytesPerMessage = raft.maxMessageBytes
        data.maxInflightMessages = raft.maxInflightMessages
        data.maxInflightBytes = raft.maxInflightBytes
        data.maxUncommittedBytes = raft.maxUncommittedBytes
        settings.dataRaft = data
        data.electionTicks = ticks(raft.controlElection)
        settings.controlRaft = data
        settings.raftTick = raft.tick
        settings.keepalive = configuration.liveness.keepalive
        settings.suspectAfter = configuration.liveness.suspect
        settings.rankDelay = configuration.liveness.rankDelay
        // Redis clients have sessions too, and come to shards as they please.
        settings.maxSessions = configuration.limits.maxConnections / shards + 1 + configuration.resp.maxClients
        settings.subscriptionsPerSession = configuration.limits.roomsPerConnection + 2
        settings.pendingPublishes = max(1, configuration.limits.pendingPublishes / shards)
        settings.maxSubscriptions = max(1, configuration.limits.subscriptions / shards)
        settings.maxPatterns = configuration.resp.maxPatterns
        settings.replaceAfter = configuration.cluster.replaceAfter
        settings.loadRule.hotShare = configuration.cluster.hotShare
        settings.loadRule.hotRate = Double(configuration.cluster.hotRate)
        settings.loadRule.hotAfter = configuration.cluster.hotAfter
        settings.loadRule.autoBalance = configuration.cluster.autoBalance
        settings.parallelSyncs = configuration.cluster.parallelSyncs
        settings.transferRate = configuration.cluster.syncRate
        settings.historyLimit = configuration.limits.historyPage
        settings.snapshotEntries = UInt64(configuration.log.snapshotEveryEntries)
        settings.tailBytesPerPartition = configuration.log.tailRingBytes
        settings.keyPartitions = configuration.keys.partitions
        settings.waiterLease = configuration.keys.waiterLease
        settings.keyAck = configuration.keys.ack == .owner ? .owner : .quorum
        settings.keyMemory = MemoryLimit(
            bytes: Int64(configuration.keys.maxMemory),
            policy: KeyspaceConfiguration.MemoryPolicy(rawValue: configuration.keys.maxMemoryPolicy.rawValue)
                ?? .noEviction
        )
        return settings
    }

    static func gatewayConfiguration(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        node: NodeID,
        shard: Int,
        shards: Int
    ) -> GatewayConfiguration {
        let limits = configuration.limits
        var settings = GatewayConfiguration()
        settings.nodeName = own.id
        settings.node = node
        settings.shard = shard
        settings.version = "vencejo \(NodeReport.version)"
        settings.maxConnections = max(1, limits.maxConnections / shards)
        settings.redirectAbove = Int((Double(settings.maxConnections) * limits.redirectAbove).rounded(.up))
        settings.maxSize = limits.maxSize
        settings.maxQueue = limits.maxQueue
        settings.roomNameBytes = limits.roomNameBytes
        settings.roomsPerConnection = limits.roomsPerConnection
        settings.httpHead = limits.httpHead
        settings.httpBody = limits.httpBody
        settings.ackWindow = UInt32(limits.ackWindow)
        settings.historyPage = limits.historyPage
        settings.writeLimit = limits.writeLimit
        settings.writeMessages = limits.writeMessages
        settings.socketSendBuffer = limits.socketSendBuffer
        settings.socketReceiveBuffer = limits.socketReceiveBuffer
        settings.handshakeTimeout = limits.handshakeTimeout
        settings.idleTimeout = limits.idleTimeout
        settings.slowTimeout = limits.slowTimeout
        settings.closeTimeout = limits.closeTimeout
        if let profile = configuration.heartbeats.first(where: { $0.name == "standard" }) {
            settings.pingInterval = profile.pingInterval
            settings.pingTimeout = profile.pingTimeout
        }
        settings.broadcastRoom = configuration.gateway.broadcastRoom
        settings.namespaces = configuration.namespaces.map { gatewayNamespace($0, of: configuration) }
        settings.allowsAnonymous = configuration.namespaces.contains { $0.anonymousSubscribe || $0.anonymousPublish }
        settings.apiKey = Array(configuration.auth.apiKey.text.utf8)
        settings.origins = configuration.auth.origins
        return settings
    }

    /// What the client edge carries out of a namespace.
    private static func gatewayNamespace(
        _ namespace: ClusterConfiguration.Namespace,
        of configuration: ClusterConfiguration
    ) -> GatewayNamespace {
        let profile = configuration.heartbeat(of: namespace)
        var policy = GatewayNamespace(prefix: namespace.prefixBytes)
        policy.anonymousSubscribe = namespace.anonymousSubscribe
        policy.anonymousPublish = namespace.anonymousPublish
        policy.subscribeRoles = namespace.subscribeRoles
        policy.publishRoles = namespace.publishRoles
        policy.publishRate = namespace.publishRate
        policy.publishBurst = namespace.publishBurst
        policy.maxMessageSize = namespace.maxPublicationBytes(limits: configuration.limits)
        policy.heartbeat = Heartbeat(pingInterval: profile.pingInterval, pingTimeout: profile.pingTimeout)
        return policy
    }
}

/// How the log's threads find the node once it is there.
private final class RuntimeBox: Sendable {
    private let state = RankedLock<NodeRuntime?>(.registry, nil)

    var runtime: NodeRuntime? { state.withLock { $0 } }
    func set(_ runtime: NodeRuntime) { state.withLock { $0 = runtime } }
}

/// Where the mesh reports before the brokers exist: it knows who has come, and remembers who is linked.
///
/// Confined to shard 0's loop, apart from `formed()`.
final class Lobby: @unchecked Sendable {
    private var formation: Formation
    /// Nil while the node does not belong to a cluster.
    private var members: MemberList?
    private var linked: [(NodeID, String)] = []
    private var runtime: NodeRuntime?
    private let done = AsyncStream.makeStream(of: Formation.self)
    /// Nodes of a cluster that this one asks to join: whoever proves to know the secret is one.
    private let isJoining: Bool

    init(formation: Formation, members: MemberList?, isJoining: Bool) {
        self.formation = formation
        self.members = members
        self.isJoining = isJoining
    }

    /// As it is before anything runs.
    var formationNow: Formation { formation }

    func refusal(name: String, node: NodeID) -> String? {
        if let members { return members.refusal(name: name, node: node) }
        return isJoining ? nil : formation.refusal(name: name, node: node)
    }

    /// From now on the cluster's members are welcome, and nobody else.
    func admit(_ members: MemberList) { self.members = members }

    func receive(_ event: MeshEvent) {
        switch event {
        case .up(let node, let name):
            linked.append((node, name))
            let wasComplete = formation.isComplete
            formation.learn(name: name, node: node)
            if !wasComplete, formation.isComplete {
                done.continuation.yield(formation)
                done.continuation.finish()
            }
        case .down(let node, _, _): linked.removeAll { $0.0 == node }
        default: break
        }
        runtime?.onMesh(event)
    }

    /// From now on the brokers hear what happens, beginning with the links that are up.
    func open(_ runtime: NodeRuntime) {
        self.runtime = runtime
        for (node, name) in linked { runtime.onMesh(.up(node, name: name)) }
    }

    /// Nil when the task is cancelled before all nodes have met.
    func formed() async -> Formation? {
        for await formation in done.stream { return formation }
        return nil
    }
}
