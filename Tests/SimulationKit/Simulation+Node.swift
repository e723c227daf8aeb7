import Broker
import DequeModule
import DiskSimulation
import LogStorage
import PeerProtocol
import Primitives
import Raft

/// A node's life: start, events, death.
extension Simulation {
    func wall(_ node: SimulatedNode) -> UInt64 {
        let milliseconds = Int64(1_700_000_000_000) + Int64(now.nanoseconds / 1_000_000) + node.wallOffset
        return UInt64(milliseconds)
    }

    /// Starts the node's process from what its disk holds.
    func start(_ node: SimulatedNode) {
        guard !node.isRunning, !node.isOutside, !node.isAbandoned else { return }
        node.life += 1
        let recovery: Recovery
        do throws(StorageError) {
            let opened = try LogStore.open(
                disk: node.disk,
                directory: "/disk/data",
                settings: swarm.log,
                seed: SplitMix64.mix(seed ^ UInt64(node.index) << 32 ^ UInt64(node.life))
            )
            node.store = opened.store
            recovery = opened.recovery
        } catch {
            if case .full = error {
                let life = node.life
                after(.milliseconds(100)) { [unowned self] in if node.life == life { start(node) } }
                return
            }
            return fail("node \(node.id) cannot open its log: \(error)")
        }
        noteRecovery(node, recovery.report)
        oracle.checkRecovery(node, recovery, simulation: self)
        var restored: [(GroupID, RestoredReplica)] = []
        node.faultyGroups = []
        for (group, replica) in recovery.replicas {
            var replica = replica
            if replica.isFaulty {
                node.faultyGroups.append(group)
                if options.planted == .ignoreDamage { replica.isFaulty = false }
            }
            if replica.snapshot != nil { sometimes.note(.restartedFromSnapshot) }
            restored.append((group, replica))
        }
        node.sessions = Array(repeating: [], count: swarm.shards)
        for shard in 0..<swarm.shards {
            var settings = swarm.broker
            settings.node = node.id
            settings.shard = shard
            settings.seed = SplitMix64.mix(seed &+ UInt64(node.index) << 40 &+ UInt64(node.life) << 8 &+ UInt64(shard))
            if node.isSpare {
                settings.nodes = [ClusterNode(id: node.id, name: "n\(node.id)")]
                settings.controlVoters = []
                settings.isJoining = true
            }
            plant(into: &settings)
            do {
                node.brokers.append(
                    try Broker(settings: settings, restored: restored, now: now, wall: wall(node))
                )
            } catch {
                return fail("node \(node.id) cannot begin from its log: \(error)")
            }
        }
        trace.line(now) { "node \(node.id) started" }
        schedule(node, .tick, after: networkChance.microseconds(1...10_000))
        schedule(node, .flush, after: diskChance.microseconds(1...50_000))
        for peer in nodes where peer !== node {
            connect(node.index, peer.index, after: networkChance.microseconds(100...20_000))
        }
        drain(node)
    }

    private func plant(into settings: inout BrokerSettings) {
        switch options.planted {
        case .forgetProducers: settings.planted = .forgetProducers
        case .serveBeforeNoop: settings.planted = .serveBeforeNoop
        case .countOldTerm:
            settings.dataRaft.countsOldTerms = true
            settings.controlRaft.countsOldTerms = true
        case .skipFsync, .ignoreDamage, nil: break
        }
    }

    private func noteRecovery(_ node: SimulatedNode, _ report: RecoveryReport) {
        if let torn = report.tornTail {
            sometimes.note(.tornTailCut)
            trace.line(now) { "node \(node.id): \(torn)" }
        }
        for damage in report.damages { trace.line(now) { "node \(node.id): \(damage)" } }
        if !report.damages.isEmpty, !node.wasTampered {
            fail("node \(node.id) reports damage that nobody did: \(report.damages)")
        }
    }

    // MARK: Death

    enum Death {
        /// `kill -9`: the operating system keeps what was written.
        case kill
        /// What was not synced is lost, wholly, in part or torn.
        case powerCut
    }

    func crash(_ node: SimulatedNode, _ death: Death, isSilent: Bool = false) {
        guard node.isRunning || node.store != nil else { return }
        oracle.examine(node, simulation: self)
        trace.line(now) { "node \(node.id) dies: \(death)" }
        let connections = node.connections
        noteCounters(node)
        noteKeysAhead(node, isDying: true)
        node.die()
        switch death {
        case .kill: node.disk.crash(keeping: .everything)
        case .powerCut:
            switch diskChance.below(4) {
            case 0: node.disk.crash(keeping: .nothing)
            case 1: node.disk.crash(keeping: .prefix(seed: diskChance.next()))
            default: node.disk.crash(keeping: .anySectors(seed: diskChance.next()))
            }
        }
        for connection in connections {
            after(clientChance.microseconds(100...20_000)) { connection.breakOff() }
        }
        for peer in nodes where peer !== node {
            network.believesUp[network.link(node.index, peer.index)] = false
            let delay: Interval =
                isSilent ? .milliseconds(networkChance.pick(300...1500)) : networkChance.microseconds(50...3000)
            drop(node.index, peer.index, tellFirst: nil, tellSecond: delay)
        }
    }

    /// What only the broker's own counters show.
    func noteCounters(_ node: SimulatedNode) {
        for broker in node.brokers {
            let counters = broker.counters
            // A stream begins once with each partition's first owner.
            let first = UInt64(swarm.allPartitions)
            if counters.streamsRestarted > first {
                sometimes.note(.streamRestarted, Int(counters.streamsRestarted - first))
            }
        }
    }

    func pause(_ node: SimulatedNode) {
        guard node.isRunning, !node.isPaused else { return }
        trace.line(now) { "node \(node.id) paused" }
        node.isPaused = true
    }

    func resume(_ node: SimulatedNode) {
        guard node.isPaused else { return }
        node.isPaused = false
        trace.line(now) { "node \(node.id) resumed with \(node.deferred.count) events" }
        if oracle.leadsStaleGroup(node) { sometimes.note(.staleLeaderResumed) }
        let events = node.deferred
        node.deferred = []
        for event in events { queue.push(.node(node.index, life: node.life, event), at: now) }
    }

    // MARK: Events

    func handle(_ event: NodeEvent, at node: SimulatedNode) {
        for broker in node.brokers { broker.advance(now: now, wall: wall(node)) }
        switch event {
        case .tick:
            trace.note(2, now.nanoseconds, UInt64(node.index))
            if letGo(node) { return }
            let level = BrokerSettings.supportedFeatureLevel
            node.brokers[0].onNodesSeen(
                nodesSeen,
                joining: nodesSeen.map(\.id),
                levels: Dictionary(uniqueKeysWithValues: nodesSeen.map { ($0.id, level) })
            )
            for broker in node.brokers { broker.tick() }
            drain(node)
            guard node.isRunning else { return }
            oracle.examine(node, simulation: self)
            oracle.sample(node, simulation: self)
            schedule(node, .tick, after: swarm.tick + networkChance.microseconds(0...500))
            return
        case .deliver(let from, let epoch, let lane): deliver(from, epoch, lane, to: node)
        case .peerUp(let peer):
            trace.note(3, now.nanoseconds, UInt64(node.index << 8 | peer))
            for broker in node.brokers { broker.onPeerUp(nodes[peer].id) }
        case .peerDown(let peer):
            trace.note(4, now.nanoseconds, UInt64(node.index << 8 | peer))
            network.believesUp[network.link(node.index, peer)] = false
            for broker in node.brokers { broker.onPeerDown(nodes[peer].id) }
        case .synced: finishWrite(node)
        case .retryAppend:
            node.isWriting = false
        case .work: work(node)
        case .flush: flush(node)
        case .request(let connection, let body): request(connection, body, at: node)
        case .close(let connection):
            if let session = connection.session { node.brokers[connection.shard].closeSession(session) }
        }
        drain(node)
    }

    /// Lets the node's brokers settle and carries out everything that they ask for.
    func drain(_ node: SimulatedNode) {
        var isBusy = true
        while isBusy, node.isRunning, failures.isEmpty {
            isBusy = false
            for shard in node.brokers.indices {
                let broker = node.brokers[shard]
                broker.settle()
                guard !broker.outbox.isEmpty else { continue }
                isBusy = true
                let box = broker.outbox
                broker.outbox = Outbox()
                for event in box.events { note(event, at: node) }
                for request in box.storage { store(request, shard: shard, at: node) }
                for (to, message) in box.peers { send(message, from: node, to: to) }
                for (to, message) in box.shards {
                    if case .publish = message { sometimes.note(.shardCrossed) }
                    node.shardMail.append((to, message))
                }
                for directive in box.edge { edge(directive, shard: shard, at: node) }
            }
            while let (to, message) = node.shardMail.popFirst() {
                isBusy = true
                node.brokers[to].onShardMessage(message)
            }
        }
        pumpWriter(node)
    }

    private func note(_ event: BrokerEvent, at node: SimulatedNode) {
        trace.line(now) { "node \(node.id): \(event)" }
        switch event {
        case .becameOwner(let partition, let term, _): oracle.becameOwner(node, partition, term, simulation: self)
        case .snapshotInstalled(let group, _):
            sometimes.note(.snapshotInstalled)
            if let row = node.faultyGroups.firstIndex(of: group) {
                node.faultyGroups.remove(at: row)
                sometimes.note(.replicaRepaired)
            }
        case .replicaFaulty: sometimes.note(.replicaFaulty)
        case .fatal(let group, let index, let reason):
            fail("node \(node.id), group \(group), entry \(index): \(reason)")
        case .replicaAdded: sometimes.note(.replicaAdded)
        case .replicaRemoved: sometimes.note(.replicaRemoved)
        case .placementApplied(let epoch, _): if epoch > 1 { sometimes.note(.replaced) }
        case .lostOwnership, .controlLeader, .peerSuspected, .peerRecovered, .degraded, .restored, .members,
            .joinRefused, .recovered, .left, .replicaRemains, .partitionHot, .partitionCool, .loadUneven, .loadEven,
            .leadershipMoved:
            break
        }
    }
}
