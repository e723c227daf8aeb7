import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// What the leader of a key partition does: puts units into the log, answers them when they are applied, and answers
/// those that only read once a majority has confirmed that it still leads.
extension Broker {
    func isKeys(_ partition: PartitionID) -> Bool { Int(partition.rawValue) >= settings.partitions }

    /// Adds commands to the entry that this tick will propose, with this moment's time and chance.
    func gatherKeys(_ replica: Replica, _ add: (inout KeyBatchWriter) -> Void) {
        if replica.keyBatch == nil {
            var batch = KeyBatchWriter(timestamp: wall, chance: random.next())
            if let uses = replica.withKeys({ $0.takeUses() }), !uses.isEmpty { batch.uses(uses) }
            replica.keyBatch = batch
        }
        add(&replica.keyBatch!)
        if let batch = replica.keyBatch, batch.byteCount >= settings.batchBytes {
            replica.queued.append(batch.bytes)
            replica.keyBatch = nil
        }
        mark(replica)
    }

    /// Does what the log has here up to `index`, and answers it: `keys.ack = "owner"`. When it is committed it is done
    /// again, to the state that stays.
    func runAhead(_ replica: Replica, written index: LogIndex) {
        guard replica.isServing, replica.raft.role == .leader else { return }
        keyEffects.removeAll(keepingCapacity: true)
        while let entry = replica.unwritten.first, entry.index <= index {
            replica.unwritten.removeFirst()
            do throws(DecodeError) {
                try replica.ahead?.apply(index: entry.index, data: entry.data, into: &keyEffects)
            } catch {
                fatal(replica, entry.index, "command: \(error)")
                return
            }
        }
        tellKeyEffects(replica)
    }

    /// Entries that this node has answered and that no majority is known to have.
    package var keyEntriesAhead: UInt64 { replicas.reduce(0) { $0 + ($1?.unconfirmed ?? 0) } }

    /// Tells gateways what the entries that were just applied did: one message per gateway, and more of them when
    /// replies are long, so that each fits into a frame.
    func tellKeyEffects(_ replica: Replica) {
        guard let partition = replica.group.partition else { return }
        replica.isExpiring = false
        var results: [KeyResults] = []
        var served: [KeyServed] = []
        var bytes = 0
        var (firstOpenResults, firstOpenServed) = (0, 0)
        /// Begins new messages when those that are open become too long.
        func makeRoom(for size: Int) {
            if bytes > 0, bytes + size > 1 << 20 {
                bytes = 0
                (firstOpenResults, firstOpenServed) = (results.count, served.count)
            }
            bytes += size + 32
        }
        for effect in keyEffects {
            switch effect {
            case .decided(let gateway, let sequence, let outcome):
                let result = KeyResults.Result(sequence: sequence, outcome: outcome)
                makeRoom(for: outcome.byteCount)
                if let row = results[firstOpenResults...].firstIndex(where: { $0.gateway == gateway }) {
                    results[row].results.append(result)
                } else {
                    results.append(KeyResults(partition: partition, gateway: gateway, results: [result]))
                }
            case .served(let gateway, let ticket, let reply):
                let row = KeyServed.Reply(ticket: ticket, bytes: reply)
                makeRoom(for: reply.count)
                if let index = served[firstOpenServed...].firstIndex(where: { $0.gateway == gateway }) {
                    served[index].replies.append(row)
                } else {
                    served.append(KeyServed(partition: partition, gateway: gateway, replies: [row]))
                }
            case .notified(let notification): announce(notification)
            }
        }
        // The result "it waits" goes before the reply to the wait.
        for var message in results {
            guard let node = replica.streams[message.gateway]?.node else { continue }
            if node != settings.node {
                for row in message.results.indices where !message.results[row].outcome.fitsFrame {
                    message.results[row].outcome = .unknown
                }
            }
            send(.keyResults(message), to: node)
        }
        for var message in served {
            // A gateway may have sent nothing yet to this owner, or its greeting may be on its way.
            let home = (replica.ahead ?? replica.keys)?.node(of: message.gateway).map { NodeID($0) }
            guard let node = home ?? replica.streams[message.gateway]?.node else { continue }
            if node != settings.node {
                for row in message.replies.indices where message.replies[row].bytes.count > PeerFrame.repliesLimit {
                    message.replies[row].bytes = Broker.errors(1, "the reply is too long to pass between nodes")
                }
            }
            send(.keyServed(message), to: node)
        }
    }

    /// `count` error replies.
    static func errors(_ count: Int, _ text: String) -> [UInt8] {
        Array(repeatElement(Array("-ERR \(text)\r\n".utf8), count: count).joined())
    }

    /// A key's event is a best-effort message of one or two channels.
    /// Source: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/
    private func announce(_ notification: KeyNotification) {
        for (channel, message) in notification.messages {
            let name = RoomName(channel[...])
            let partition = partition(of: name)
            var body = ByteWriter(capacity: message.count + 1)
            MessageBody(payload: message[...], isJSON: false).encode(into: &body)
            post(.announce(partition, name, body: body.bytes[...]), to: shard(of: partition))
        }
    }

    /// Keys and waits whose time is up, and waits of nodes that are gone.
    func housekeepKeys(_ replica: Replica) {
        // A question that got lost is asked again by the heartbeats.
        if replica.keyReads.contains(where: { $0.deadline <= now }) {
            for row in replica.keyReads where row.deadline <= now {
                if case .hub(let hub, let token) = row.asker { post(.keys(token, .failure(.timeout)), to: hub) }
            }
            replica.keyReads.removeAll { $0.deadline <= now }
        }
        guard replica.isServing, let keys = replica.ahead ?? replica.keys else { return }
        if !replica.isExpiring, keys.isDue(wall) {
            replica.isExpiring = true
            gatherKeys(replica) { $0.expire() }
        }
        for peer in peers where !peer.isUp && now - peer.lastHeard > settings.waiterLease {
            let gone = keys.gateways(of: peer.id.rawValue)
            if !gone.isEmpty, replica.forgotten != gone {
                replica.forgotten = gone
                gatherKeys(replica) { $0.forget(gone) }
            }
        }
    }

    // MARK: For the shim

    /// What the owner of a key partition knows beside the keys. Never inlined: with its look at Raft's state in it,
    /// every read would copy that state.
    @inline(never)
    private func answerAsOwner(_ replica: Replica, _ row: Replica.PendingKeyRead) -> KeyOutcome? {
        switch row.unit.first {
        case KeyUnit.Kind.replicas.rawValue:
            // Who answers before the others have it promises nothing of them.
            guard replica.ahead == nil else { return Broker.number(0) }
            // What was committed when this was asked, and not what has been since: under load nobody has that.
            let index = row.index ?? replica.raft.commitIndex
            let peers = replica.raft.status().peers
            return Broker.number(peers.count { $0.id != settings.node && $0.match >= index })
        case KeyUnit.Kind.handOver.rawValue:
            guard let target = bestFollower(replica) else { return Broker.number(0) }
            replica.raft.transferLeadership(to: target)
            mark(replica)
            return Broker.number(1)
        default: return nil
        }
    }

    private static func number(_ value: Int) -> KeyOutcome { .replied(Array(":\(value)\r\n".utf8)) }

    /// Saves the key partitions that are here, whether or not a snapshot is due.
    package func saveKeys() {
        for case let replica? in replicas where replica.keys != nil && !replica.isSavingSnapshot && !replica.isFaulty {
            saveSnapshot(replica)
        }
    }

    /// Who owns this shard's key partitions, as far as is known here.
    package func keyOwnerships() -> [KeyOwnership] {
        var list: [KeyOwnership] = []
        for number in 0..<settings.keyPartitions {
            let row = settings.partitions + number
            guard let relay = relays[row] else { continue }
            list.append(
                KeyOwnership(
                    partition: number,
                    owner: relay.owner,
                    term: relay.ownerTerm,
                    replicas: placement?.replicas[row] ?? []
                )
            )
        }
        return list
    }

    // MARK: Reads

    /// This replica cannot answer: it does not lead.
    private func refuse(_ read: Replica.PendingKeyRead, _ partition: PartitionID) {
        switch read.asker {
        case .relay(let node, let token):
            let hint = owners[Int(partition.rawValue)]?.node
            let status = KeyReadReply.Status.notOwner(hint == settings.node ? nil : hint)
            send(.keyReadReply(KeyReadReply(partition: partition, token: token, status: status)), to: node)
        case .hub(let hub, let token): askForKeys(partition, read.unit, hub: hub, token: token)
        }
    }

    private func reply(_ outcome: KeyOutcome, to asker: Replica.PendingKeyRead.Asker, _ partition: PartitionID) {
        switch asker {
        case .relay(let node, let token):
            send(.keyReadReply(KeyReadReply(partition: partition, token: token, status: .ok(outcome))), to: node)
        case .hub(let hub, let token): post(.keys(token, .success(outcome)), to: hub)
        }
    }

    func receiveKeyRead(_ read: KeyRead, from node: NodeID) {
        guard Int(read.partition.rawValue) < settings.allPartitions else { return }
        let row = Replica.PendingKeyRead(
            context: 0,
            asker: .relay(node, token: read.token),
            gateway: read.gateway,
            unit: read.unit
        )
        guard let replica = replica(GroupID(partition: read.partition)), replica.keys != nil, replica.isServing else {
            return refuse(row, read.partition)
        }
        take(row, replica, read.partition)
    }

    /// A read waits for a majority's word that this replica still leads.
    func take(_ read: Replica.PendingKeyRead, _ replica: Replica, _ partition: PartitionID) {
        guard replica.keyReads.count < settings.pendingFetches else {
            switch read.asker {
            case .relay(let node, let token):
                send(.keyReadReply(KeyReadReply(partition: partition, token: token, status: .busy)), to: node)
            case .hub(let hub, let token): post(.keys(token, .failure(.busy)), to: hub)
            }
            return
        }
        var read = read
        replica.meter.count(1, bytes: read.unit.count)
        // Reads of one tick share the question to the majority.
        if replica.isReadContextOpen, let last = replica.keyReads.last, last.index == nil {
            read.context = last.context
            replica.keyReads.append(read)
            return
        }
        read.context = replica.nextReadContext
        replica.nextReadContext += 1
        guard replica.raft.readIndex(context: read.context) else { return refuse(read, partition) }
        replica.isReadContextOpen = true
        replica.keyReads.append(read)
        mark(replica)
    }

    /// Answers the reads that a majority has confirmed and whose index is applied.
    func serveKeyReads(_ replica: Replica, _ states: [ReadState]) {
        for state in states {
            for row in replica.keyReads.indices where replica.keyReads[row].context == state.context {
                replica.keyReads[row].index = state.index
            }
        }
        let applied = replica.raft.appliedIndex
        guard replica.keyReads.contains(where: { ($0.index ?? .max) <= applied }) else { return }
        let rows = replica.keyReads
        replica.keyReads.removeAll(keepingCapacity: true)
        var probes = KeyProbes()
        for (place, row) in rows.enumerated() {
            if place % KeyProbes.limit == 0 { prefetch(rows[place...].prefix(KeyProbes.limit), replica, &probes) }
            guard let index = row.index, index <= applied else {
                replica.keyReads.append(row)
                continue
            }
            answer(row, replica)
        }
    }

    private func prefetch(_ rows: ArraySlice<Replica.PendingKeyRead>, _ replica: Replica, _ probes: inout KeyProbes) {
        replica.withKeys { keys in
            guard keys.isWorthProbing else { return }
            for place in rows.indices { rows[place].unit.withUnsafeBytes { keys.note($0, in: &probes) } }
            keys.prefetch(&probes)
        }
    }

    private func answer(_ row: Replica.PendingKeyRead, _ replica: Replica) {
        guard let partition = replica.group.partition else { return }
        guard replica.isServing else { return refuse(row, partition) }
        if let outcome = answerAsOwner(replica, row) { return reply(outcome, to: row.asker, partition) }
        // What this node's shim encoded it can decode; a peer of another version is told that nobody knows.
        let read = row.unit.withUnsafeBytes { unit in
            replica.withKeys { try? $0.read(unit, from: row.gateway, now: wall) }
        }
        var outcome = read.flatMap { $0 } ?? .unknown
        if case .relay(let node, _) = row.asker, node != settings.node, !outcome.fitsFrame {
            let unit = row.unit.withUnsafeBytes { try? KeyUnit(decoding: $0) }
            let text = "\(outcome.byteCount) bytes of replies are too many to pass between nodes at once"
            outcome = .replied(Broker.errors(unit?.items.count ?? 0, text))
        }
        reply(outcome, to: row.asker, partition)
    }
}

extension KeyOutcome {
    /// It can be told to another node.
    var fitsFrame: Bool { byteCount <= PeerFrame.repliesLimit }
}

/// Who owns a key partition.
package struct KeyOwnership: Equatable, Sendable {
    /// From 0.
    package var partition: Int
    package var owner: NodeID?
    package var term: Term
    package var replicas: [NodeID]

    package init(partition: Int, owner: NodeID?, term: Term, replicas: [NodeID]) {
        self.partition = partition
        self.owner = owner
        self.term = term
        self.replicas = replicas
    }
}
