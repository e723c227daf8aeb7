import Broker
import DiskSimulation
import HistoryChecker
import LogStorage
import Placement
import Primitives
import Raft
import Rooms

/// The end of a run: healing, quiet, reading everything back, the checker.
extension Simulation {
    /// Everything in the core, which is the whole cluster in safety mode, is well again, and must come together.
    func finish() {
        healEverything()
        if options.isLiveness { chooseCore() }
        trace.line(now) { "healing nodes \(core.map { $0 + 1 })" }
        for node in nodes {
            node.wallOffset = max(node.wallOffset, 0)
            node.stalledUntil = .zero
            node.disk.faults.powerOffAt = nil
            node.disk.faults.failSyncAfter = nil
            node.disk.faults.capacity = nil
            if core.contains(node.index) {
                resume(node)
                if !node.isRunning { after(.milliseconds(10)) { [unowned self] in start(node) } }
            } else if !node.isOutside {
                abandon(node)
            }
        }
        // Clients of nodes outside go elsewhere; nobody begins anything new with the old load.
        for client in clients {
            client.windDown()
            if let connection = client.connection, !core.contains(connection.node) { connection.breakOff() }
        }
        guard wait(.seconds(60), "every group has a leader", { [unowned self] in isServedInCore }) else { return }
        guard wait(.seconds(120), "the cluster is quiet", { [unowned self] in isQuiet && clients.allSatisfy(\.isIdle) })
        else { return }
        run(until: now + swarm.broker.cursorFlush * 2 + .milliseconds(100))
        checkCursors()
        guard failures.isEmpty else { return }
        if options.isLiveness, !publishInCore() { return }
        guard wait(.seconds(20), "the cluster is quiet again", { [unowned self] in isQuiet }) else { return }
        guard wait(.seconds(60), "subscribers reach the head", { [unowned self] in subscribersAreLevel }) else {
            return
        }
        readBack()
    }

    /// Runs until `condition` holds; a failure when it does not within `limit`.
    func wait(_ limit: Interval, _ what: String, _ condition: () -> Bool) -> Bool {
        let end = now + limit
        while failures.isEmpty, now < end {
            if condition() { return true }
            run(until: now + .milliseconds(50))
        }
        if failures.isEmpty { fail("\(what): not within \(limit.seconds) virtual seconds\n\(describe())") }
        return false
    }

    /// The node that serves the partition, of those that are not abandoned.
    func owner(of partition: Int) -> SimulatedNode? {
        let id = PartitionID(UInt32(partition))
        return nodes.first { node in
            node.isRunning && !node.isAbandoned && node.broker(of: GroupID(partition: id)).isServing(id)
        }
    }

    /// The nodes that the partition's owner counts on, but for those that are abandoned.
    func replicas(of partition: Int) -> [NodeID] {
        let group = GroupID(partition: PartitionID(UInt32(partition)))
        let voters = owner(of: partition)?.broker(of: group).raftNode(group)?.membership.voters ?? []
        return voters.filter { !nodes[Int($0.rawValue) - 1].isAbandoned }
    }

    /// Every partition has one owner, known to all, and all of its replicas have applied all of its log.
    var isQuiet: Bool {
        guard latestControl.map(isPlaced) == true else { return false }
        for node in nodes where !node.isAbandoned && !node.isOutside {
            guard node.isRunning, !node.isPaused, node.appends.isEmpty, node.jobs.isEmpty else { return false }
            guard node.brokers.allSatisfy(\.isReady) else { return false }
        }
        for partition in 0..<swarm.allPartitions {
            let id = PartitionID(UInt32(partition))
            let group = GroupID(partition: id)
            let members = replicas(of: partition)
            guard !members.isEmpty else { return false }
            var heads: [LogIndex] = []
            for member in members {
                guard let raft = nodes[Int(member.rawValue) - 1].broker(of: group).raftNode(group) else { return false }
                guard raft.lastIndex == raft.appliedIndex, !raft.isFaulty else { return false }
                heads.append(raft.lastIndex)
            }
            guard heads.min() == heads.max() else { return false }
            let owners = members.filter { nodes[Int($0.rawValue) - 1].broker(of: group).isServing(id) }
            guard owners.count == 1 else { return false }
        }
        return true
    }

    /// Every subscriber has what its room has.
    var subscribersAreLevel: Bool {
        clients.allSatisfy { client in
            guard let subscriber = client as? Subscriber, subscriber.isStored else { return true }
            if subscriber.isConsumer { _ = subscriber.acknowledgeAll() }
            guard subscriber.isSubscribed, let last = subscriber.last else { return false }
            return last >= head(of: subscriber.room)
        }
    }

    private func head(of room: RoomName) -> UInt64 {
        let partition = PartitionID(room.slot * UInt32(swarm.partitions) / HashSlot.count)
        let group = GroupID(partition: partition)
        var head: UInt64 = 0
        for member in replicas(of: Int(partition.rawValue)) {
            let node = nodes[Int(member.rawValue) - 1]
            guard node.isRunning, let state = node.broker(of: group).partitionState(partition) else {
                continue
            }
            head = max(head, state.head(of: room).next - 1)
        }
        return head
    }

    /// Consumers acknowledge all that they have, each offset once, and every replica's cursor gets there: what is lost
    /// with an owner that hands over is sent to the next one.
    private func checkCursors() {
        for client in clients {
            guard let consumer = client as? Subscriber, consumer.isConsumer else { continue }
            let name = Array("c\(consumer.number)".utf8)
            let partition = PartitionID(consumer.room.slot * UInt32(swarm.partitions) / HashSlot.count)
            let group = GroupID(partition: partition)
            // A window of one message takes a round trip for each.
            let limit = Interval.seconds(60) + .milliseconds(40) * head(of: consumer.room)
            let isStored = wait(limit, "consumer \(consumer.number)'s cursor is stored") { [unowned self] in
                let head = head(of: consumer.room)
                if consumer.isSubscribed, consumer.last ?? 0 >= head, let wanted = consumer.acknowledgeAll() {
                    let cursors = replicas(of: Int(partition.rawValue)).map { member -> UInt64 in
                        let state = nodes[Int(member.rawValue) - 1].broker(of: group).partitionState(partition)
                        let stored = state?.cursor(name, in: consumer.room) ?? 0
                        // What retention took is announced as a gap, and nobody acknowledges that.
                        return max(stored, (state?.head(of: consumer.room).first ?? 1) - 1)
                    }
                    trace.line(now) { "consumer \(consumer.number) acknowledged \(wanted), stored \(cursors)" }
                    // A consumer that never acknowledged anything need not have one.
                    if cursors.allSatisfy({ $0 == wanted || wanted == 0 }) { return true }
                }
                return false
            }
            guard isStored else { return }
        }
    }

    // MARK: Reading back

    private func readBack() {
        addFreshSubscribers()
        guard
            wait(.seconds(90), "fresh subscribers reach the head", { [unowned self] in subscribersAreLevel && isQuiet })
        else { return }
        for node in nodes { oracle.examine(node, simulation: self) }
        var logs = FinalLogs()
        for room in Set(swarm.rooms).sorted() where !room.hasPrefix("be:") {
            for log in read(RoomName(room), number: history.rooms.number(of: room)) { logs.logs.append(log) }
        }
        for partition in 0..<swarm.allPartitions {
            let id = PartitionID(UInt32(partition))
            for member in replicas(of: partition) {
                let node = nodes[Int(member.rawValue) - 1]
                oracle.compare(node, id, simulation: self)
                guard let state = node.broker(of: GroupID(partition: id)).partitionState(id) else { continue }
                logs.digests.append(
                    ReplicaDigest(
                        group: UInt32(partition),
                        replica: member.rawValue,
                        index: state.applied,
                        hash: state.digest
                    )
                )
            }
        }
        judge(logs)
    }

    private func addFreshSubscribers() {
        for room in Set(swarm.rooms).sorted() where !room.hasPrefix("be:") {
            let subscriber = Subscriber(self, room: room, isConsumer: false, startsAtBeginning: true)
            clients.append(subscriber)
            subscriber.windDown()
            subscriber.begin()
        }
    }

    /// What each replica holds of a room, read as its owner would read it: memory first, then the log on disk.
    private func read(_ room: RoomName, number: UInt32) -> [ReplicaLog] {
        let partition = PartitionID(room.slot * UInt32(swarm.partitions) / HashSlot.count)
        let group = GroupID(partition: partition)
        var logs: [ReplicaLog] = []
        for member in replicas(of: Int(partition.rawValue)) {
            let node = nodes[Int(member.rawValue) - 1]
            guard let state = node.broker(of: group).partitionState(partition), let store = node.store else { continue }
            let head = state.head(of: room)
            var log = ReplicaLog(
                room: number,
                replica: member.rawValue,
                epoch: history.epochs.number(of: String(head.epoch, radix: 16)),
                floor: head.first - 1,
                entries: []
            )
            var next = head.first
            var isWhole = true
            while next < head.next {
                let found = publications(room, from: next, state, store, node)
                guard let last = found.last else {
                    // What decayed after the last restart is found when somebody reads it: here.
                    if !node.wasTampered {
                        fail(
                            "node \(node.id) cannot read \(room) from \(next) on, its log is "
                                + "\(head.first)..<\(head.next)"
                        )
                    }
                    isWhole = false
                    break
                }
                for publication in found {
                    log.entries.append(
                        ReplicaLog.Entry(offset: publication.offset, message: messageNumber(publication.body))
                    )
                }
                next = last.offset + 1
            }
            if isWhole { logs.append(log) }
        }
        return logs
    }

    private func publications(
        _ room: RoomName,
        from: UInt64,
        _ state: PartitionState,
        _ store: LogStore<SimulatedDisk>,
        _ node: SimulatedNode
    ) -> [Publication] {
        switch state.read(room, from: from, limit: 64, maxBytes: 1 << 20) {
        case .publications(let list): return list
        case .log(var scan):
            let group = GroupID(partition: state.partition)
            do {
                while !scan.isComplete, scan.index <= state.applied {
                    let entries = try store.read(group: group, from: scan.index, upTo: state.applied, maxBytes: 4096)
                    if entries.isEmpty { break }
                    for entry in entries where !scan.isComplete { try scan.consume(entry) }
                }
            } catch {
                if !node.wasTampered { fail("node \(node.id), \(room) from \(from): \(error)") }
                return []
            }
            return scan.publications
        }
    }

    private func judge(_ logs: FinalLogs) {
        for client in clients { client.finish() }
        judgeKeys()
        var options = CheckOptions()
        options.gapPolicy = .belowFloor
        options.sessionsReadToEnd = true
        if swarm.operations.contains(.bestEffort) { options.bestEffortRooms = [history.rooms.number(of: "be:a")] }
        options.maximumViolationsPerName = 3
        let report = HistoryChecker.check(history, finalLogs: logs, options: options)
        for violation in report.violations { fail("\(violation)") }
    }

    // MARK: Words

    func describe() -> String {
        var lines: [String] = []
        for node in nodes {
            let state = node.isAbandoned ? "abandoned" : node.isPaused ? "paused" : node.isRunning ? "running" : "down"
            lines.append("node \(node.id): \(state), \(node.appends.count) appends, \(node.jobs.count) jobs")
            if let broker = node.brokers.first, let raft = broker.raftNode(.control) {
                let members = broker.control.members.map { "\($0.id)\($0.isLeaving ? " leaving" : "")" }
                lines.append(
                    "  control \(raft.role) t\(raft.term) version \(broker.control.version) members \(members) "
                        + "voters \(raft.membership.voters) outgoing \(raft.membership.outgoing) "
                        + "learners \(raft.membership.learners) commit \(raft.commitIndex) last \(raft.lastIndex) "
                        + "faulty \(raft.isFaulty), placement \(broker.placement?.epoch ?? 0)"
                )
            }
            for broker in node.brokers {
                for partition in broker.status().partitions {
                    let group = GroupID(partition: partition.id)
                    let raft = broker.raftNode(group)
                    lines.append(
                        "  \(partition.id): owner \(partition.owner.map { "\($0)" } ?? "none") t\(partition.term) "
                            + "\(partition.role.map { "\($0)" } ?? "-") t\(raft?.term ?? 0) commit \(partition.commit) "
                            + "applied \(partition.applied) log \(partition.firstIndex)...\(partition.lastIndex) "
                            + "faulty \(partition.isFaulty)/\(raft?.isFaulty ?? false) "
                            + "serving \(broker.isServing(partition.id)) replicas \(partition.replicas) "
                            + "voters \(raft?.membership.voters ?? []) outgoing \(raft?.membership.outgoing ?? []) "
                            + "learners \(raft?.membership.learners ?? [])"
                    )
                }
            }
        }
        for client in clients where !client.isIdle {
            lines.append("client \(client.number) is not idle: \(client.state)")
        }
        for case let subscriber as Subscriber in clients where subscriber.isStored {
            lines.append(
                "subscriber \(subscriber.number) of \(subscriber.room): subscribed \(subscriber.isSubscribed), "
                    + "last \(subscriber.last.map(String.init) ?? "none"), head \(head(of: subscriber.room))"
            )
        }
        return lines.joined(separator: "\n")
    }
}
