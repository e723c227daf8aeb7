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

extension Broker: RESPBroker {}

/// The shim of a node: its shards, its listeners, and what they know of the cluster.
final class Shim: Sendable {
    let node: RESPNode
    private let members: [Member]
    private let me: Int
    private let state: RankedLock<State>

    struct Member: Sendable {
        var id: NodeID
        var node: ClusterConfiguration.Node
    }

    private struct State {
        var partitions: [RESPTopology.KeyPartition]
        var alive: Set<NodeID>
    }

    init(
        configuration: ClusterConfiguration,
        members: [Member],
        me: NodeID,
        runtimes: @escaping @Sendable () -> [ShardRuntime]
    ) {
        self.members = members
        self.me = members.firstIndex { $0.id == me } ?? 0
        let none = RESPTopology.KeyPartition(owner: nil, replicas: [], epoch: 0)
        state = RankedLock(
            .registry,
            State(partitions: Array(repeating: none, count: configuration.keys.partitions), alive: [me])
        )
        let actions = RESPActions(
            snapshot: { for runtime in runtimes() { runtime.post(.call { $0.broker.saveKeys() }) } },
            lastSnapshot: { runtimes().map { $0.lastKeySnapshot.withLock { $0 } }.max() ?? 0 }
        )
        node = RESPNode(settings: Shim.settings(configuration, own: members[self.me].node, me), actions: actions)
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

    /// What a shard knows of the owners of its key partitions, a few times a second.
    func observe(_ owners: [KeyOwnership], peers: [BrokerStatus.Peer]?) {
        let topology = state.withLock { state -> RESPTopology in
            if let peers {
                state.alive = Set(peers.filter { $0.isUp && !$0.isSuspected }.map(\.id))
                state.alive.insert(members[me].id)
            }
            for row in owners where row.partition < state.partitions.count {
                let owner = row.owner.flatMap { owner in members.firstIndex { $0.id == owner } }
                state.partitions[row.partition] = RESPTopology.KeyPartition(
                    owner: owner,
                    replicas: row.replicas.compactMap { id in members.firstIndex { $0.id == id } }
                        .filter { $0 != owner },
                    epoch: row.term
                )
            }
            return RESPTopology(
                nodes: members.map { member in
                    RESPTopology.Node(
                        id: Shim.name(of: member.id),
                        host: member.node.host,
                        port: member.node.respPort,
                        clusterPort: member.node.clusterPort,
                        sentinelPort: member.node.sentinelPort,
                        isAlive: state.alive.contains(member.id)
                    )
                },
                me: me,
                partitions: state.partitions,
                epoch: state.partitions.map(\.epoch).max() ?? 0
            )
        }
        node.setTopology(topology)
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
