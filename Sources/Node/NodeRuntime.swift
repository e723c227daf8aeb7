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
import PeerProtocol
import Primitives
import Rooms
import SWIM

/// What the shards of a node share: the writer, the mesh, the list of what happened.
final class NodeRuntime: @unchecked Sendable {
    let configuration: ClusterConfiguration
    let name: String
    let identity: NodeIdentity
    let writer: LogWriter
    let logger: Logger
    let events = EventLog()
    /// Set once, before anything runs.
    nonisolated(unsafe) var runtimes: [ShardRuntime] = []
    /// Confined to shard 0's loop; nil in standalone mode.
    nonisolated(unsafe) var mesh: Mesh?
    /// Who belongs to the cluster, as the control group last said.
    let members: RankedLock<MemberList>
    /// Whom gossip knows, as it was lately.
    let seen = RankedLock(.registry, [Member]())
    /// Confined to shard 0's loop.
    private let lobby: Lobby
    /// What operators wait for; confined to shard 0's loop.
    private var controlWaiters: [UInt64: @Sendable (ControlReply) -> Void] = [:]
    private var nextControlToken: UInt64 = 1
    /// Confined to shard 0's loop.
    private var returned: [MeshPeer] = []
    private let started = MonotonicClock.now()
    /// A node that is told that it was given up so soon after its start has just come back.
    private static let returning = Interval.seconds(60)
    /// What is saved of the members says so; confined to shard 0's loop.
    private var hasLeft = false
    /// Called once, when the node does not belong to the cluster any more.
    private let onLeft: @Sendable () -> Void

    init(
        configuration: ClusterConfiguration,
        name: String,
        identity: NodeIdentity,
        writer: LogWriter,
        members: MemberList,
        lobby: Lobby,
        logger: Logger,
        onLeft: @escaping @Sendable () -> Void
    ) {
        self.configuration = configuration
        self.name = name
        self.identity = identity
        self.writer = writer
        self.members = RankedLock(.registry, members)
        self.lobby = lobby
        self.logger = logger
        self.onLeft = onLeft
    }

    /// The cluster has this node among its members.
    var belongs: Bool { members.withLock { list in list.nodes.contains { $0.id == identity.node } } }

    // MARK: Mesh

    /// On a runtime's loop: sends what its broker wants sent. The links live on shard 0.
    func send(_ messages: [(to: NodeID, message: PeerMessage)], from runtime: ShardRuntime) {
        guard let mesh else { return }
        if runtime.shard.index == 0 {
            for (to, message) in messages { mesh.send(to: to, message) }
        } else {
            let batch = messages.map { Addressed(to: $0.to, message: $0.message) }
            runtimes[0].post(.call { _ in for item in batch { mesh.send(to: item.to, item.message) } })
        }
    }

    private struct Addressed: Sendable {
        var to: NodeID
        var message: PeerMessage
    }

    /// On shard 0's loop: a link came, went or brought something.
    func onMesh(_ event: MeshEvent) {
        switch event {
        case .up(let node, let peer):
            logger.info("link up", metadata: ["peer": "\(peer)"])
            for runtime in runtimes { runtime.deliver(.peerUp(node)) }
        case .down(let node, let peer, let reason):
            logger.info("link down", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
            for runtime in runtimes { runtime.deliver(.peerDown(node)) }
        case .message(let node, let message):
            guard runtimes.count > 1 else {
                runtimes[0].deliver(.peer(node, message))
                return
            }
            if let partition = message.partition {
                runtimes[Int(partition.rawValue) % runtimes.count].deliver(.peer(node, message))
            } else if message.isForAllShards {
                for runtime in runtimes { runtime.deliver(.peer(node, message)) }
            } else if case .keepalive = message {
                for runtime in runtimes { runtime.deliver(.heard(node)) }
            } else {
                runtimes[0].deliver(.peer(node, message))
            }
        case .refused(let address, let reason, let isStranger):
            logger.warning("mesh connection refused", metadata: ["address": "\(address)", "reason": "\(reason)"])
            guard reason.contains(MemberList.givenUp), !isStranger else { return }
            if reason.hasPrefix(MemberList.givenUp) {
                events.append(kind: "member", "refused a link: \(reason)")
            } else if MonotonicClock.now() - started < NodeRuntime.returning {
                // With others like it, it could be the old majority, and go on where the old cluster ended.
                fail(reason)
            } else {
                // It has gone on all the time, and is perhaps the better half: a mistake that only people can undo.
                events.append(kind: "member", "\(address): \(reason)")
            }
        }
    }

    /// On the log's thread: entries went into segments.
    func flushed(_ groups: [FlushedGroup]) { for runtime in runtimes { runtime.post(.flushed(groups)) } }

    // MARK: Control group

    /// A node's name, or its identity when it is not known (any more).
    func name(of node: NodeID) -> String {
        members.withLock { list in list.nodes.first { $0.id == node }?.name } ?? "\(node)"
    }

    /// On shard 0's loop: gossip hears these nodes, which were given up.
    func onReturned(_ nodes: [MeshPeer]) {
        let list = members.withLock { $0 }
        // Of two of one name the mesh knows one.
        let returned = nodes.filter { node in !list.nodes.contains { $0.name == node.name } }
        guard returned != self.returned, list.nodes.contains(where: { $0.id == identity.node }) else { return }
        self.returned = returned
        setPeers(list)
    }

    private func setPeers(_ list: MemberList) {
        // Those that were given up are dialled to be refused: they may wait for this node to dial.
        let members = list.nodes.map { MeshPeer(name: $0.name, host: $0.host, port: Int($0.meshPort), node: $0.id) }
        mesh?.setPeers(members + returned)
    }

    /// On shard 0's loop: the control group has spoken.
    private func adopt(_ said: MemberList) {
        let nodes = said.nodes
        let before = members.withLock { $0 }
        var list = said
        list.gossip = before.gossip
        // A log that is replayed, or is behind, says again what was before: neither is ever taken back.
        list.featureLevel = max(list.featureLevel, before.featureLevel)
        list.former = (before.former.filter { old in !list.former.contains { $0.id == old.id } } + list.former)
            .suffix(ControlState.formerNodesMax)
        list.learn(seen.withLock { $0 })
        members.withLock { $0 = list }
        // Before its own admission a node that joins is no member, and those that are must reach it all the same.
        guard nodes.contains(where: { $0.id == identity.node }) else { return }
        lobby.admit(list)
        setPeers(list)
        if list.featureLevel > before.featureLevel, !before.nodes.isEmpty {
            events.append(kind: "member", "the cluster has agreed on feature level \(list.featureLevel)")
        }
        guard list != before else { return }
        save(list)
        for node in nodes where !before.nodes.contains(where: { $0.id == node.id }) && !before.nodes.isEmpty {
            events.append(kind: "member", "\(node.name) belongs to the cluster (\(node.id))")
            logger.notice("member added", metadata: ["node": "\(node.name)", "id": "\(node.id)"])
        }
        for node in before.nodes where !nodes.contains(where: { $0.id == node.id }) {
            events.append(kind: "member", "\(node.name) does not belong to the cluster any more (\(node.id))")
            logger.notice("member removed", metadata: ["node": "\(node.name)", "id": "\(node.id)"])
        }
    }

    /// On shard 0's loop: where gossip finds the members, for this node's next start. Its own file need not name them.
    func learn(_ seen: [Member]) {
        guard !hasLeft else { return }
        let before = members.withLock { $0 }
        var list = before
        list.learn(seen)
        guard list != before else { return }
        members.withLock { $0 = list }
        save(list)
    }

    private func save(_ list: MemberList) {
        writer.writeMeta(MemberList.file, list.encoded) { [logger] result in
            guard case .failure(let error) = result else { return }
            logger.error("the list of members was not saved", metadata: ["reason": "\(error)"])
        }
    }

    /// Asks the control group's leader, wherever it is. From any thread.
    func requestControl(_ request: ControlRequest) async -> ControlReply {
        await withCheckedContinuation { continuation in
            runtimes[0].post(
                .call { [self] runtime in
                    let token = nextControlToken
                    nextControlToken += 1
                    controlWaiters[token] = { continuation.resume(returning: $0) }
                    runtime.broker.requestControl(token, request)
                }
            )
        }
    }

    /// On shard 0's loop.
    func controlAnswered(_ token: UInt64, _ reply: ControlReply) {
        controlWaiters.removeValue(forKey: token)?(reply)
    }

    // MARK: Events

    func note(_ event: BrokerEvent) {
        func label(_ node: NodeID?) -> String { node.map(name(of:)) ?? "nobody" }
        switch event {
        case .becameOwner(let partition, let term, let silence):
            let milliseconds = silence?.milliseconds ?? 0
            events.append(
                kind: "owner",
                "\(name) owns \(partition) in term \(term), \(milliseconds) ms after its last owner was heard"
            )
            logger.debug(
                "became owner",
                metadata: ["partition": "\(partition)", "term": "\(term)", "silence.ms": "\(milliseconds)"]
            )
        case .lostOwnership(let partition, let term, let owner):
            events.append(kind: "owner", "\(name) no longer owns \(partition) (term \(term)); \(label(owner)) leads")
            logger.debug("lost ownership", metadata: ["partition": "\(partition)", "term": "\(term)"])
        case .controlLeader(let leader, let term):
            events.append(kind: "control", "\(label(leader)) leads the control group in term \(term)")
            logger.info("control leader", metadata: ["leader": "\(label(leader))", "term": "\(term)"])
        case .peerSuspected(let peer, let silent):
            events.append(kind: "peer", "\(label(peer)) is suspected after \(silent.milliseconds) ms of silence")
            logger.warning("peer suspected", metadata: ["peer": "\(label(peer))"])
        case .peerRecovered(let peer):
            events.append(kind: "peer", "\(label(peer)) is heard again")
            logger.info("peer recovered", metadata: ["peer": "\(label(peer))"])
        case .degraded(let partition):
            events.append(kind: "quorum", "\(partition) has no owner: guaranteed publishes are refused")
            logger.debug("degraded", metadata: ["partition": "\(partition)"])
        case .restored(let partition):
            events.append(kind: "quorum", "\(partition) has an owner again")
            logger.debug("restored", metadata: ["partition": "\(partition)"])
        case .placementApplied(let epoch, let partitions):
            events.append(kind: "placement", "epoch \(epoch), \(partitions) partitions")
            logger.info("placement", metadata: ["epoch": "\(epoch)", "partitions": "\(partitions)"])
        case .snapshotInstalled(let group, let index):
            events.append(kind: "snapshot", "\(group) was replaced by a snapshot at \(index)")
            logger.notice("snapshot installed", metadata: ["group": "\(group)", "index": "\(index)"])
        case .replicaFaulty(let group):
            events.append(kind: "damage", "\(group) is damaged here and waits for repair by its leader")
            logger.error("replica damaged", metadata: ["group": "\(group)"])
        case .replicaRemains(let group):
            events.append(kind: "placement", "\(group) was removed here before, but for its vote: its leader is asked")
            logger.info("rest of a removed replica", metadata: ["group": "\(group)"])
        case .replicaAdded(let group):
            events.append(kind: "placement", "\(group) is new here and waits for its leader's snapshot")
            logger.info("replica added", metadata: ["group": "\(group)"])
        case .replicaRemoved(let group):
            events.append(kind: "placement", "\(group) was removed here: others keep it now")
            logger.info("replica removed", metadata: ["group": "\(group)"])
        case .partitionHot(let load, let share, let rooms):
            let names = rooms.prefix(3).map { "\($0.room.shown) \($0.rate)/s" }
            let text =
                "\(load.partition) is hot: \(load.operations) operations and \(load.bytes) bytes a second, "
                + "\(NodeReport.percent(share)) of this node's load"
                + (names.isEmpty ? "" : "; busiest rooms: \(names.joined(separator: ", "))")
            events.append(kind: "load", text)
            logger.warning("\(text)")
        case .partitionCool(let partition):
            events.append(kind: "load", "\(partition) is not hot any more")
            logger.info("partition is not hot any more", metadata: ["partition": "\(partition)"])
        case .loadUneven(let imbalance, let most):
            let text = "the load is uneven: \(name(of: most)) is \(NodeReport.percent(imbalance)) above the mean"
            events.append(kind: "load", text)
            logger.warning("\(text)")
        case .loadEven(let imbalance):
            let text = "the load is even: no node is more than \(NodeReport.percent(imbalance)) above the mean"
            events.append(kind: "load", text)
            logger.notice("\(text)")
        case .leadershipMoved(let move):
            let text = "\(move.partition) goes from \(name(of: move.from)) to \(name(of: move.to)), to level the load"
            events.append(kind: "load", text)
            logger.notice("\(text)")
        case .members(let nodes, let former, let level):
            adopt(MemberList(nodes: nodes, former: former, featureLevel: level))
        case .recovered(let recovery, let lost):
            let partitions = NodeRuntime.ranges(recovery.partitions.map { Int($0.rawValue) })
            events.append(
                kind: "recovery",
                "the cluster was recovered from the loss of a majority: \(lost.sorted().joined(separator: ", ")) "
                    + "given up, \(partitions.isEmpty ? "no partition" : partitions) may miss something",
                at: recovery.time
            )
            logger.notice("recovered from the loss of a majority", metadata: ["lost": "\(lost)"])
        case .joinRefused(let node, let name, let refusal):
            let reason =
                switch refusal {
                case .nameIsTaken: "which is up: give it another name"
                case .featureLevel(let level, let cluster):
                    "and supports feature level \(level), but the cluster has agreed on \(cluster): it needs a "
                        + "newer program"
                }
            events.append(kind: "member", "\(node) asks to join as \(name), \(reason)")
            logger.error("\(node) asks to join as \(name), \(reason)")
        case .left:
            logger.notice("this node does not belong to the cluster any more")
            hasLeft = true
            // The next start reads of it.
            var list = members.withLock { $0 }
            list.nodes.removeAll { $0.id == identity.node }
            writer.writeMeta(MemberList.file, list.encoded) { [onLeft, logger] result in
                if case .failure(let error) = result {
                    logger.error("that this node has left was not saved", metadata: ["reason": "\(error)"])
                }
                onLeft()
            }
        case .fatal(let group, let index, let reason):
            fail("\(group) at \(index): \(reason)")
        }
    }

    /// `p0-p3, p7`.
    private static func ranges(_ numbers: [Int]) -> String {
        var ranges: [ClosedRange<Int>] = []
        for number in numbers {
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        return ranges.map { $0.count == 1 ? "p\($0.lowerBound)" : "p\($0.lowerBound)-p\($0.upperBound)" }
            .joined(separator: ", ")
    }

    /// Ends the process: going on could break a promise.
    func fail(_ reason: String) -> Never {
        logger.critical("stopping at once", metadata: ["reason": "\(reason)"])
        exit(70)
    }
}

/// The last things that happened on a node, with their times (CL-13). Bounded; readable from any thread.
package final class EventLog: Sendable {
    package struct Entry: Sendable {
        package var time: Timestamp
        package var kind: String
        package var text: String
    }

    private static let capacity = 2048
    private let entries = RankedLock(.registry, [Entry]())

    func append(kind: String, _ text: String, at time: Timestamp = WallClock.now()) {
        let entry = Entry(time: time, kind: kind, text: text)
        entries.withLock { list in
            if list.count >= EventLog.capacity { list.removeFirst(EventLog.capacity / 4) }
            list.append(entry)
        }
    }

    /// Newest last.
    package func latest(_ count: Int) -> [Entry] { entries.withLock { Array($0.suffix(count)) } }
}
