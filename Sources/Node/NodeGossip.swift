import Admin
import Broker
import Cluster
import ClusterConfiguration
import EventLoops
import Gateway
import Glibc
import Locks
import LogStorage
import Logging
import NIOCore
import Placement
import Primitives
import SWIM

/// The node's part in the gossip: tells the others what this node is, and the rest of the node who is there. A node
/// that is new finds its cluster by it; ownership is none of its business.
///
/// Confined to shard 0's loop, but for `start`, `stop` and what is asked by the admin port.
final class NodeGossip: @unchecked Sendable {
    private let gossip: Gossip
    private let node: NodeRuntime
    private let own: ClusterConfiguration.Node
    private let limit: Int
    private var nextLook = Instant.zero
    /// Client connections of each shard, as last counted.
    private let connections: RankedLock<[Int]>
    private let isDraining = RankedLock(.registry, false)

    private static let interval = Interval.milliseconds(200)

    /// - Parameter join: seeds of a cluster that the node is to join, besides those of the file and those that it knew
    ///   when it last ran.
    init<D: Disk>(
        _ configuration: ClusterConfiguration,
        own: ClusterConfiguration.Node,
        node: NodeRuntime,
        incarnation: UInt64,
        store: LogStore<D>,
        shard: Shard,
        listen host: String,
        join: [String],
        logger: Logger
    ) throws {
        self.node = node
        self.own = own
        limit = configuration.limits.maxConnections
        connections = RankedLock(.registry, Array(repeating: 0, count: node.runtimes.count))
        let address = try NodeGossip.address(own)
        let metadata = try MemberMetadata(
            node: node.identity.node,
            name: own.id,
            host: own.host,
            meshPort: UInt16(clamping: own.meshPort),
            gatewayPort: UInt16(clamping: own.gatewayPort),
            respPort: UInt16(clamping: own.respPort),
            clusterPort: UInt16(clamping: own.clusterPort),
            sentinelPort: UInt16(clamping: own.sentinelPort),
            adminPort: UInt16(clamping: own.adminPort),
            zone: own.zone,
            weight: UInt8(clamping: own.weight),
            version: NodeReport.version,
            featureLevel: BrokerSettings.supportedFeatureLevel,
            isJoining: !node.belongs
        )
        let keyring = try GossipKeyring.load(
            from: store,
            configured: configuration.gossip.keys.text,
            secret: Array(configuration.cluster.secret.text.utf8),
            cluster: configuration.cluster.name
        )
        let writer = node.writer
        gossip = try Gossip(
            shard: shard,
            node: SWIMNode(
                metadata: metadata,
                address: address,
                // A life has room to refute: the next one begins above whatever was said in it.
                incarnation: incarnation << 24,
                settings: configuration.gossip.swim,
                seed: try NodeService.randomNumber(),
                now: MonotonicClock.now()
            ),
            host: host,
            port: own.gossipPort,
            label: configuration.cluster.name,
            keyring: keyring,
            settings: GossipSettings(configuration, own),
            logger: logger,
            keep: { bytes, done in
                writer.writeMeta(GossipKeyring.file, bytes) { result in
                    if case .failure(let error) = result { done(error) } else { done(nil) }
                }
            },
            onEvent: { [node] in NodeGossip.note($0, node) }
        )
        let listed = configuration.nodes.filter { $0.id != own.id }.map {
            "\(NodeGossip.bracketed($0.host)):\($0.gossipPort)"
        }
        let list = node.members.withLock { $0 }
        let known = list.nodes.filter { $0.id != node.identity.node }.compactMap { list.gossip[$0.id]?.description }
            .filter { !listed.contains($0) }
        try gossip.join(seeds: join + configuration.gossip.seeds + listed + known)
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }

    /// Where others send to. A name is looked up once: members are told by address.
    private static func address(_ own: ClusterConfiguration.Node) throws -> GossipAddress {
        let resolved = try SocketAddress.makeAddressResolvingHost(own.host, port: own.gossipPort)
        guard let host = resolved.ipAddress, let port = UInt16(exactly: own.gossipPort),
            let address = GossipAddress(host: host, port: port)
        else { throw GossipError.address("\(own.host):\(own.gossipPort)") }
        return address
    }

    func start() async throws {
        do {
            try await gossip.start()
        } catch {
            throw NodeError.listen(what: "gossip", host: own.host, port: own.gossipPort, reason: "\(error)")
        }
        let shard = node.runtimes[0].shard
        try await shard.loop.submit { [self] in shard.atEveryTick { now, _ in self.tick(now) } }.get()
    }

    /// Says goodbye, so that nobody has to find out, and closes the sockets.
    func stop() async {
        let loop = node.runtimes[0].shard.loop
        try? await loop.submit { self.gossip.leave() }.get()
        for _ in 0..<20 {
            if (try? await loop.submit({ self.gossip.node.isLeft }).get()) ?? true { break }
            try? await Task.sleep(for: .milliseconds(50))
        }
        await gossip.stop()
    }

    /// Told to the others: they send no clients here.
    func setDraining(_ draining: Bool) { isDraining.withLock { $0 = draining } }

    // MARK: What is seen

    private func tick(_ now: Instant) {
        guard now >= nextLook else { return }
        nextLook = now + NodeGossip.interval
        let members = gossip.members
        node.seen.withLock { $0 = members }
        node.learn(members)
        tell(now)
        let alive = members.filter(\.state.isLive)
        node.runtimes[0].broker.onNodesSeen(
            alive.map { member in
                let metadata = member.metadata
                return ClusterNode(
                    id: metadata.node,
                    name: metadata.name,
                    host: metadata.host,
                    meshPort: metadata.meshPort,
                    zone: metadata.zone,
                    weight: Int(metadata.weight)
                )
            },
            joining: alive.filter(\.metadata.isJoining).map(\.node),
            levels: Dictionary(members.map { ($0.node, $0.metadata.featureLevel) }) { min($0, $1) }
        )
        let former = node.members.withLock { $0.former }
        node.onReturned(
            alive.filter { member in former.contains { $0.id == member.node } }.map { member in
                MeshPeer(name: member.metadata.name, host: member.metadata.host, port: Int(member.metadata.meshPort))
            }
        )
        if !node.belongs {
            // Not admitted yet: the leader's messages come over a link to any member.
            node.mesh?.setPeers(
                alive.map { MeshPeer(name: $0.metadata.name, host: $0.metadata.host, port: Int($0.metadata.meshPort)) }
            )
        }
        redirect(alive)
    }

    /// What the others know of this node.
    private func tell(_ now: Instant) {
        for (index, runtime) in node.runtimes.enumerated() {
            runtime.deliver(
                .call { [self] runtime in
                    let count = runtime.gateway?.clientsLeft ?? 0
                    connections.withLock { $0[index] = count }
                }
            )
        }
        let count = connections.withLock { $0.reduce(0, +) }
        var metadata = gossip.node.me.metadata
        metadata.connections = UInt32(clamping: count)
        metadata.load = UInt8(clamping: count * 100 / max(1, limit))
        metadata.placementEpoch = node.runtimes[0].broker.placement?.epoch ?? 0
        metadata.isDraining = isDraining.withLock { $0 }
        // Never again in this life: who was let go is not to be taken in unasked.
        if node.belongs { metadata.isJoining = false }
        if metadata != gossip.node.me.metadata { gossip.update(metadata) }
    }

    /// Where clients go that this node has no room for (LB-06).
    private func redirect(_ alive: [Member]) {
        let targets = RedirectTargets(
            alive.filter { $0.node != node.identity.node && $0.state == .alive && !$0.metadata.isDraining }
                .filter { $0.metadata.gatewayPort != 0 }
                .map { member in
                    let host = NodeGossip.bracketed(member.metadata.host)
                    return RedirectTargets.Target(
                        name: member.metadata.name,
                        url: "ws://\(host):\(member.metadata.gatewayPort)",
                        free: UInt16(100 - min(100, member.metadata.load)) * 10
                    )
                }
        )
        for runtime in node.runtimes { runtime.deliver(.call { $0.gateway?.redirectTargets = targets }) }
    }

    private static func note(_ event: MemberEvent, _ node: NodeRuntime) {
        func note(_ member: Member, _ text: String) {
            node.events.append(kind: "gossip", "\(member.metadata.name) (\(member.address)) \(text)")
            node.logger.info("gossip", metadata: ["member": "\(member.metadata.name)", "event": "\(text)"])
        }
        switch event {
        case .joined(let member): note(member, "is there")
        case .updated: break
        case .suspected(let member): note(member, "is suspected: it does not answer")
        case .recovered(let member): note(member, "answers again")
        case .down(let member): note(member, "is down")
        case .left(let member): note(member, "has left")
        case .conflict(_, let mine, let theirs):
            let text =
                "two nodes share a name or an identity: \(mine.metadata.name) (\(mine.node)) at \(mine.address), and "
                + "\(theirs.metadata.name) (\(theirs.node)) at \(theirs.address): stop one of them"
            node.events.append(kind: "gossip", text)
            node.logger.error("\(text)")
        }
    }

    // MARK: Questions

    func keys(_ request: GossipKeysRequest) async -> GossipKeysAnswer { await gossip.answer(request, node: own.id) }

    /// The gossip's families, as text to be appended to the others.
    func families() async -> String {
        let loop = node.runtimes[0].shard.loop
        guard let figures = try? await loop.submit({ NodeReport.GossipFigures(self.gossip) }).get() else { return "" }
        var text = PrometheusText()
        NodeReport.gossipFamilies(&text, node: own.id, figures)
        return text.text
    }
}
