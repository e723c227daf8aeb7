import Broker
import ClusterConfiguration
import EventLoops
import Keys
import Locks
import Logging
import NIOCore
import Primitives
import RESP
import RESPServer
import Rooms
import SWIM

extension Broker: RESPBroker {}

/// The shim of a node: its shards, its listeners, and what they know of the cluster.
final class Shim: Sendable {
    let node: RESPNode
    private let configuration: ClusterConfiguration
    private let me: NodeID
    private let state: RankedLock<State>

    private struct State {
        /// Who belongs to the cluster, this node included, in the order of their names.
        var members: [RESPMember]
        var partitions: [KeyOwnership]
    }

    init(
        configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        me: NodeID,
        runtimes: @escaping @Sendable () -> [ShardRuntime]
    ) {
        self.configuration = configuration
        self.me = me
        let partitions = (0..<configuration.keys.partitions).map {
            KeyOwnership(partition: $0, owner: nil, term: 0, replicas: [])
        }
        state = RankedLock(.registry, State(members: [RESPMember(own, me)], partitions: partitions))
        let actions = RESPActions(
            snapshot: { for runtime in runtimes() { runtime.post(.call { $0.broker.saveKeys() }) } },
            lastSnapshot: { runtimes().map { $0.lastKeySnapshot.withLock { $0 } }.max() ?? 0 }
        )
        node = RESPNode(settings: Shim.settings(configuration, own: own, me), actions: actions)
    }

    private static func settings(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        _ id: NodeID
    ) -> RESPSettings {
        var settings = RESPSettings()
        let resp = configuration.resp
        settings.password = Array(resp.password.text.utf8)
        settings.maxClients = resp.maxClients
        settings.queryBuffer = resp.queryBuffer
        settings.request.bulk = resp.maxBulk
        settings.normalOutput.hard = UInt64(resp.outputBuffer)
        settings.pubsubOutput.hard = UInt64(resp.subscriberBuffer)
        settings.idleTimeout = UInt64(resp.timeout.seconds)
        settings.masterName = resp.sentinelMaster
        settings.appendfsync = configuration.keys.sync.rawValue == "never" ? "no" : configuration.keys.sync.rawValue
        settings.nodeName = own.id
        settings.version = NodeReport.version
        settings.runID = name(of: id)
        settings.channelBytes = min(settings.channelBytes, configuration.limits.roomNameBytes)
        return settings
    }

    /// A node's name in the cluster protocol: always 40 hex digits.
    static func name(of node: NodeID) -> String {
        let words = [node.rawValue, SplitMix64.mix(node.rawValue), SplitMix64.mix(node.rawValue &+ 1)]
        let digits = words.map { word in
            let text = String(word, radix: 16)
            return String(repeating: "0", count: 16 - text.count) + text
        }
        return String(digits.joined().prefix(40))
    }

    // MARK: Topology

    /// Who belongs to the cluster, where gossip says that they listen, and who is reached; a few times a second.
    ///
    /// A member that gossip does not know is where it was when it did, or where the file has it; one that nobody has
    /// ever told of cannot be listed.
    func observe(_ members: [ClusterNode], seen: [Member], peers: [BrokerStatus.Peer]) {
        let alive = peers.filter { $0.isUp && !$0.isSuspected }.map(\.id)
        let topology = state.withLock { state -> RESPTopology in
            let own = state.members.filter { $0.id == me }
            let others = members.filter { $0.id != me }.compactMap { member -> RESPMember? in
                let known =
                    seen.first { $0.node == member.id }.map { RESPMember($0.metadata) }
                    ?? state.members.first { $0.id == member.id }
                    ?? configuration.node(id: member.name).map { RESPMember($0, member.id) }
                guard var known else { return nil }
                known.isAlive = alive.contains(member.id)
                return known
            }
            state.members = (own + others).sorted { ($0.name, $0.id) < ($1.name, $1.id) }
            return describe(state)
        }
        node.setTopology(topology)
    }

    /// What a shard knows of the owners of its key partitions, a few times a second.
    func observe(_ owners: [KeyOwnership]) {
        let topology = state.withLock { state -> RESPTopology in
            for row in owners where row.partition < state.partitions.count { state.partitions[row.partition] = row }
            return describe(state)
        }
        node.setTopology(topology)
    }

    private func describe(_ state: State) -> RESPTopology {
        func index(_ node: NodeID) -> Int? { state.members.firstIndex { $0.id == node } }
        return RESPTopology(
            nodes: state.members.map { member in
                RESPTopology.Node(
                    id: Shim.name(of: member.id),
                    host: member.host,
                    port: member.port,
                    clusterPort: member.clusterPort,
                    sentinelPort: member.sentinelPort,
                    isAlive: member.isAlive
                )
            },
            me: index(me) ?? 0,
            partitions: state.partitions.map { row in
                RESPTopology.KeyPartition(
                    owner: row.owner.flatMap(index),
                    replicas: row.replicas.filter { $0 != row.owner }.compactMap(index),
                    epoch: row.term
                )
            },
            epoch: state.partitions.map(\.term).max() ?? 0
        )
    }
}

/// A node as Redis clients reach it.
private struct RESPMember {
    var id: NodeID
    var name: String
    var host: String
    var port: Int
    var clusterPort: Int
    var sentinelPort: Int
    var isAlive = true

    init(_ node: ClusterConfiguration.Node, _ id: NodeID) {
        self.id = id
        name = node.id
        host = node.host
        port = node.respPort
        clusterPort = node.clusterPort
        sentinelPort = node.sentinelPort
    }

    init(_ metadata: MemberMetadata) {
        id = metadata.node
        name = metadata.name
        host = metadata.host
        port = Int(metadata.respPort)
        clusterPort = Int(metadata.clusterPort)
        sentinelPort = Int(metadata.sentinelPort)
    }
}

/// The listeners of a node's shim.
struct ShimListeners {
    private var listeners: [Listener] = []

    static func open(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        host: String,
        shards: [RESPShard]
    ) async throws -> ShimListeners {
        var all = ShimListeners()
        let faces: [(RESPFace, Int, String)] = [
            (.standalone, own.respPort, "Redis clients"),
            (.cluster, own.clusterPort, "clients of a Redis Cluster"),
            (.sentinel, own.sentinelPort, "clients of Redis Sentinels"),
        ]
        for (face, port, what) in faces where port != 0 {
            let settings = RESPListenerSettings(
                face: face,
                port: port,
                address: own.host,
                proxiesKeys: face != .cluster || !configuration.resp.clusterRedirects
            )
            var listener = ListenerSettings(host: host, port: port)
            listener.backlog = configuration.gateway.listenBacklog
            do {
                all.listeners.append(
                    try await Listener.open(listener, on: shards.map(\.loop)) { loop, stream in
                        for shard in shards where shard.loop === loop { return shard.accept(stream, settings) }
                        return nil
                    }
                )
            } catch {
                throw NodeError.listen(what: what, host: host, port: port, reason: "\(error)")
            }
        }
        return all
    }

    /// Accepts no more and closes every connection.
    func stop(_ shards: [RESPShard]) async {
        for listener in listeners { await listener.close() }
        for shard in shards { _ = try? await shard.loop.loop.submit { shard.stop() }.get() }
    }
}
