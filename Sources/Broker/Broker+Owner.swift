import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// What the leader of a partition does: orders publishes, answers their gateways, fans out, serves history.
extension Broker {
    // MARK: Serving

    /// The term's no-op is applied: everything acknowledged before is here. A partition that was never configured, or
    /// was configured otherwise, is configured first, because rooms take their epochs and retention from it.
    func beginServing(_ replica: Replica) {
        guard let partition = replica.group.partition else { return }
        let isBegun: Bool
        let isConfigured: Bool
        if let state = replica.state {
            isBegun = state.epochSeed != 0
            isConfigured = state.namespaces == settings.namespaces
        } else if let keys = replica.keys {
            isBegun = keys.seed != 0
            isConfigured = isBegun && keys.memoryLimit == settings.keyMemory && settings.keyAck == .quorum
        } else {
            return
        }
        if !isConfigured, replica.batch == nil, replica.queued.isEmpty, replica.servingTerm != replica.raft.term {
            replica.servingTerm = replica.raft.term
            if replica.keys != nil {
                var batch = KeyBatchWriter(timestamp: wall, chance: random.next())
                if !isBegun { batch.begin(seed: random.next() | 1) }
                if replica.keys?.memoryLimit != settings.keyMemory { batch.memoryLimit(settings.keyMemory) }
                if settings.keyAck == .owner { batch.takeOver() }
                replica.queued.append(batch.bytes)
            } else {
                var batch = CommandBatchWriter(timestamp: wall)
                batch.configure(settings.namespaces, epochSeed: random.next() | 1)
                replica.queued.append(batch.bytes)
            }
            mark(replica)
        }
        guard isBegun else { return }
        replica.servingTerm = replica.raft.term
        replica.isServing = true
        replica.settledIndex = replica.raft.lastIndex
        if settings.keyAck == .owner { replica.ahead = replica.keys }
        if replica.leaderLostAt == nil || owners[Int(partition.rawValue)]?.node != settings.node {
            replica.returnAttempts = 0
            replica.nextReturn = now
            // Who gives it away does not want it back at once, unless it goes and comes again.
            let preferred = placement?.replicas[Int(partition.rawValue)].first
            if let giver = replica.giver, giver == preferred {
                replica.nextReturn = now + settings.rebalanceInterval * 30
            }
        }
        replica.giver = nil
        replica.campaignAt = nil
        let silence = replica.leaderLostAt.map { now - $0 }
        replica.leaderLostAt = nil
        replica.lastHousekeeping = now
        counters.ownershipsWon += 1
        outbox.events.append(.becameOwner(partition, term: replica.raft.term, silence: silence))
        let announcement = PeerMessage.owners([.init(partition: partition, term: replica.raft.term)])
        for peer in peers where peer.isUp { outbox.peers.append((peer.id, announcement)) }
        noteOwner(partition, node: settings.node, term: replica.raft.term)
    }

    /// Adds commands to the entry that this tick will propose.
    func gather(_ replica: Replica, _ add: (inout CommandBatchWriter) -> Void) {
        if replica.batch == nil { replica.batch = CommandBatchWriter(timestamp: wall) }
        add(&replica.batch!)
        if let batch = replica.batch, batch.byteCount >= settings.batchBytes {
            replica.queued.append(batch.bytes)
            replica.batch = nil
        }
        mark(replica)
    }

    /// Hands the gathered batches to Raft; what it is too busy to take stays, in order.
    ///
    /// Group commit at the level of the log: while enough entries are on their way, publishes gather into the next one,
    /// so that a busy partition writes few large entries and an idle one waits for nothing.
    func propose(_ replica: Replica) {
        guard replica.batch != nil || replica.keyBatch != nil || !replica.queued.isEmpty else { return }
        let inFlight = replica.ahead == nil ? replica.raft.uncommittedEntries() : UInt64(replica.unwritten.count)
        if replica.queued.isEmpty, inFlight >= settings.entriesInFlight { return }
        if let batch = replica.batch, !batch.isEmpty {
            replica.queued.append(batch.bytes)
            replica.batch = nil
        }
        if let batch = replica.keyBatch, !batch.isEmpty {
            replica.queued.append(batch.bytes)
            replica.keyBatch = nil
        }
        while let data = replica.queued.first {
            switch replica.raft.propose(data) {
            case .accepted(_, let index):
                counters.entriesProposed += 1
                if replica.ahead != nil { replica.unwritten.append((index, data)) }
                replica.queued.removeFirst()
            case .notLeader, .busy: return
            }
        }
    }

    func housekeep(_ replica: Replica) {
        if replica.isServing, now - replica.lastHousekeeping >= settings.housekeeping {
            replica.lastHousekeeping = now
            if replica.keys != nil {
                gatherKeys(replica) { $0.housekeeping() }
            } else {
                gather(replica) { $0.housekeeping() }
            }
        }
        if !replica.queued.isEmpty { mark(replica) }
        if replica.keys != nil { housekeepKeys(replica) }
        expireTransfers(replica)
    }

    // MARK: Publishing

    func receivePublish(_ stream: PublishStream, from node: NodeID) {
        guard let replica = replica(GroupID(partition: stream.partition)), replica.isServing else {
            let hint =
                owners.indices.contains(Int(stream.partition.rawValue))
                ? owners[Int(stream.partition.rawValue)]?.node : nil
            send(
                .publishRefused(
                    PublishRefusal(
                        partition: stream.partition,
                        gateway: stream.gateway,
                        attempt: stream.attempt,
                        owner: hint == settings.node ? nil : hint
                    )
                ),
                to: node
            )
            return
        }
        var row: Replica.InboundStream
        if let known = replica.streams[stream.gateway] {
            if stream.attempt < known.attempt { return }
            row = known
            if stream.attempt > known.attempt {
                row = Replica.InboundStream(
                    node: node,
                    attempt: stream.attempt,
                    next: stream.first,
                    isBroken: false
                )
            }
        } else {
            row = Replica.InboundStream(node: node, attempt: stream.attempt, next: stream.first, isBroken: false)
        }
        // Go-back-N: after a hole nothing of this attempt counts, or publishes would change places.
        if row.isBroken || stream.first != row.next {
            row.isBroken = true
            replica.streams[stream.gateway] = row
            send(
                .publishRefused(
                    PublishRefusal(
                        partition: stream.partition,
                        gateway: stream.gateway,
                        attempt: stream.attempt,
                        owner: settings.node
                    )
                ),
                to: node
            )
            return
        }
        row.next += UInt64(stream.commands.count)
        replica.meter.count(stream.commands.count, bytes: stream.commands.reduce(0) { $0 + $1.count })
        replica.streams[stream.gateway] = row
        if replica.keys != nil {
            for (offset, unit) in stream.commands.enumerated() {
                gatherKeys(replica) {
                    $0.unit(
                        gateway: stream.gateway,
                        sequence: stream.first + UInt64(offset),
                        acknowledgedBelow: stream.acknowledgedBelow,
                        unit
                    )
                }
            }
            return
        }
        for (offset, command) in stream.commands.enumerated() {
            gather(replica) {
                $0.publish(
                    gateway: stream.gateway,
                    sequence: stream.first + UInt64(offset),
                    acknowledgedBelow: stream.acknowledgedBelow,
                    command: command
                )
            }
        }
    }

    /// Answers the gateways and fans out what was just applied, one message per gateway and one per room and node.
    func publishEffects(_ replica: Replica) {
        guard let partition = replica.group.partition else { return }
        var results: [PublishedResults] = []
        var rooms: [(name: RoomName, epoch: UInt64, nodes: [NodeID], receivers: Int, publications: [Publication])] = []
        var roomRow: [RoomName: Int] = [:]
        for effect in effects {
            guard case .published(let gateway, let sequence, let room, let outcome, let publication) = effect else {
                continue
            }
            var row: Int?
            if let publication, case .appended(let position) = outcome {
                counters.publishesAccepted += 1
                if replica.isServing { sample(room, partition) }
                if let last = rooms.indices.last, rooms[last].name == room {
                    row = last
                } else if let known = roomRow[room] {
                    row = known
                } else {
                    let audience = audience(of: room, replica)
                    row = rooms.count
                    roomRow[room] = rooms.count
                    rooms.append((room, position.epoch, audience.nodes, audience.receivers, []))
                }
                if let row, !rooms[row].nodes.isEmpty { rooms[row].publications.append(publication) }
            } else if case .duplicate = outcome {
                counters.duplicates += 1
            }
            let receivers = UInt32(clamping: row.map { rooms[$0].receivers } ?? 0)
            let result = PublishedResults.Result(sequence: sequence, outcome: outcome, receivers: receivers)
            if let row = results.firstIndex(where: { $0.gateway == gateway }) {
                results[row].results.append(result)
            } else {
                results.append(PublishedResults(partition: partition, gateway: gateway, results: [result]))
            }
        }
        for result in results {
            if let stream = replica.streams[result.gateway] { send(.published(result), to: stream.node) }
        }
        for row in rooms {
            for node in row.nodes {
                counters.fannedOut += UInt64(row.publications.count)
                send(.publications(partition, row.name, epoch: row.epoch, row.publications), to: node)
            }
        }
    }

    /// A best-effort message: put in order by being here, pushed to whoever is interested, and forgotten.
    func receiveAnnounce(_ partition: PartitionID, _ room: RoomName, _ body: ArraySlice<UInt8>, from node: NodeID) {
        guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
        _ = fanOut(room, body, partition, replica)
    }

    func removeInterest(_ node: NodeID, _ room: RoomName, _ replica: Replica) {
        guard var nodes = replica.interest[room] else { return }
        nodes.removeAll { $0.node == node }
        replica.interest[room] = nodes.isEmpty ? nil : nodes
    }

    // MARK: Fetches

    private func refuse(_ request: FetchRequest, to node: NodeID, _ replica: Replica?) {
        let hint = owners[Int(request.partition.rawValue)]?.node
        send(
            .fetched(
                FetchReply(
                    partition: request.partition,
                    token: request.token,
                    room: request.room,
                    status: .notOwner(hint == settings.node ? nil : hint)
                )
            ),
            to: node
        )
    }

    func receiveFetch(_ request: FetchRequest, from node: NodeID) {
        guard Int(request.partition.rawValue) < settings.partitions else { return }
        guard let replica = replica(GroupID(partition: request.partition)), replica.isServing else {
            refuse(request, to: node, nil)
            return
        }
        counters.fetches += 1
        if request.linearizable, settings.planted != .serveBeforeNoop {
            guard replica.reads.count < settings.pendingFetches else {
                var reply = FetchReply(
                    partition: request.partition,
                    token: request.token,
                    room: request.room,
                    status: .busy
                )
                reply.head = RoomHead(epoch: 0, first: 1, next: 1)
                send(.fetched(reply), to: node)
                return
            }
            let context = replica.nextReadContext
            replica.nextReadContext += 1
            guard replica.raft.readIndex(context: context) else {
                refuse(request, to: node, replica)
                return
            }
            replica.reads.append(Replica.PendingRead(context: context, index: nil, node: node, request: request))
            mark(replica)
        } else {
            answer(request, to: node, replica)
        }
    }

    /// Linearizable fetches whose read index is applied.
    func serveReads(_ replica: Replica) {
        var index = 0
        while index < replica.reads.count {
            let read = replica.reads[index]
            if let at = read.index, at <= replica.raft.appliedIndex {
                replica.reads.remove(at: index)
                if replica.isServing {
                    answer(read.request, to: read.node, replica)
                } else {
                    refuse(read.request, to: read.node, replica)
                }
            } else {
                index += 1
            }
        }
    }

    private func answer(_ request: FetchRequest, to node: NodeID, _ replica: Replica) {
        guard let state = replica.state else { return }
        let head = state.head(of: request.room)
        var reply = FetchReply(
            partition: request.partition,
            token: request.token,
            room: request.room,
            status: .ok,
            head: head
        )
        reply.mayBeOvertaken = !request.register
        if !request.consumer.isEmpty {
            reply.cursor = state.cursor(request.consumer, in: request.room)
            reply.isCursorOfFormerEpoch = state.isCursorOfFormerEpoch(request.consumer, in: request.room)
        }
        if request.register {
            setInterest(of: node, in: request.room, subscribers: request.subscribers, replica)
        }
        guard request.from > 0, request.from < head.next, request.limit > 0,
            request.epoch == 0 || request.epoch == head.epoch
        else {
            send(.fetched(reply), to: node)
            return
        }
        let limit = min(Int(request.limit), settings.historyLimit)
        switch state.read(request.room, from: request.from, limit: limit, maxBytes: settings.fetchBytes) {
        case .publications(let publications):
            reply.publications = publications
            send(.fetched(reply), to: node)
        case .log(let scan):
            readScan(replica, scan, upTo: state.applied, node: node, request, reply)
        }
    }

    private func readScan(
        _ replica: Replica,
        _ scan: LogScan,
        upTo: LogIndex,
        node: NodeID,
        _ request: FetchRequest,
        _ reply: FetchReply
    ) {
        let token = nextStorageToken
        nextStorageToken += 1
        storageReads[token] = .scan(replica, scan, upTo: upTo, node: node, request, reply)
        outbox.storage.append(
            .read(token: token, group: replica.group, from: scan.index, upTo: upTo, maxBytes: 512 << 10)
        )
    }

    func continueScan(
        _ replica: Replica,
        _ scan: LogScan,
        upTo: LogIndex,
        node: NodeID,
        _ request: FetchRequest,
        _ reply: FetchReply,
        _ entries: [Entry]?
    ) {
        var scan = scan
        var reply = reply
        guard replica.isServing, let entries else {
            reply.status = .busy
            send(.fetched(reply), to: node)
            return
        }
        do throws(DecodeError) {
            for entry in entries where !scan.isComplete && entry.index == scan.index { try scan.consume(entry) }
        } catch {
            outbox.events.append(.fatal(replica.group, index: scan.index, reason: "log read: \(error)"))
            return
        }
        if !scan.isComplete, !entries.isEmpty, scan.index <= upTo {
            readScan(replica, scan, upTo: upTo, node: node, request, reply)
            return
        }
        // The floor may have moved while the disk was read: the head says where retention is now.
        if let state = replica.state { reply.head = state.head(of: request.room) }
        reply.publications = scan.publications.filter { $0.offset >= reply.head.first }
        if reply.publications.isEmpty, entries.isEmpty { reply.status = .busy }
        send(.fetched(reply), to: node)
    }
}
