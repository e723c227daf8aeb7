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

    /// Tells gateways what the entries that were just applied did: one message per gateway.
    func tellKeyEffects(_ replica: Replica) {
        guard let partition = replica.group.partition else { return }
        replica.isExpiring = false
        var results: [KeyResults] = []
        var served: [KeyServed] = []
        for effect in keyEffects {
            switch effect {
            case .decided(let gateway, let sequence, let outcome):
                let result = KeyResults.Result(sequence: sequence, outcome: outcome)
                if let row = results.firstIndex(where: { $0.gateway == gateway }) {
                    results[row].results.append(result)
                } else {
                    results.append(KeyResults(partition: partition, gateway: gateway, results: [result]))
                }
            case .served(let gateway, let ticket, let reply):
                let row = KeyServed.Reply(ticket: ticket, bytes: reply)
                if let index = served.firstIndex(where: { $0.gateway == gateway }) {
                    served[index].replies.append(row)
                } else {
                    served.append(KeyServed(partition: partition, gateway: gateway, replies: [row]))
                }
            case .notified(let notification): announce(notification)
            }
        }
        // The result "it waits" goes before the reply to the wait.
        for result in results {
            if let stream = replica.streams[result.gateway] { send(.keyResults(result), to: stream.node) }
        }
        for message in served {
            // A gateway may have sent nothing yet to this owner.
            let node = (replica.ahead ?? replica.keys)?.node(of: message.gateway)
            if let node { send(.keyServed(message), to: NodeID(node)) }
        }
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
        for index in replica.keyReads.indices.reversed() where replica.keyReads[index].index == nil {
            // A ReadIndex attempt that got lost with a heartbeat is made again, with a context of its own.
            replica.keyReads[index].context = replica.nextReadContext
            replica.nextReadContext += 1
            if !replica.raft.readIndex(context: replica.keyReads[index].context) {
                let row = replica.keyReads.remove(at: index)
                refuse(row.read, to: row.node)
            }
            mark(replica)
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

    /// Gives the leadership of a key partition to another replica.
    package func handOver(keyPartition: Int) {
        let group = GroupID(partition: PartitionID(UInt32(settings.partitions + keyPartition)))
        guard let replica = replica(group), replica.raft.role == .leader, let target = bestFollower(replica) else {
            return
        }
        // The placement's first choice does not take it back at once.
        replica.nextReturn = now + settings.rebalanceInterval * 30
        replica.raft.transferLeadership(to: target)
        mark(replica)
    }

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
            let replica = replicas[row + 1]
            var inSync = 0
            // Who answers before the others have it promises nothing of them.
            if let replica, replica.isServing, replica.ahead == nil {
                inSync = replica.raft.status().peers.count {
                    $0.id != settings.node && $0.match >= replica.raft.commitIndex
                }
            }
            list.append(
                KeyOwnership(
                    partition: number,
                    owner: relay.owner,
                    term: relay.ownerTerm,
                    replicas: placement?.replicas[row] ?? [],
                    inSync: inSync
                )
            )
        }
        return list
    }

    // MARK: Reads

    private func refuse(_ read: KeyRead, to node: NodeID) {
        let hint = owners[Int(read.partition.rawValue)]?.node
        let status = KeyReadReply.Status.notOwner(hint == settings.node ? nil : hint)
        send(.keyReadReply(KeyReadReply(partition: read.partition, token: read.token, status: status)), to: node)
    }

    func receiveKeyRead(_ read: KeyRead, from node: NodeID) {
        guard Int(read.partition.rawValue) < settings.allPartitions else { return }
        guard let replica = replica(GroupID(partition: read.partition)), replica.keys != nil, replica.isServing else {
            refuse(read, to: node)
            return
        }
        guard replica.keyReads.count < settings.pendingFetches else {
            send(.keyReadReply(KeyReadReply(partition: read.partition, token: read.token, status: .busy)), to: node)
            return
        }
        // Reads of one tick share the question to the majority.
        if let last = replica.keyReads.last, last.index == nil, replica.readContextTick == settling {
            replica.keyReads.append(Replica.PendingKeyRead(context: last.context, index: nil, node: node, read: read))
            return
        }
        let context = replica.nextReadContext
        replica.nextReadContext += 1
        guard replica.raft.readIndex(context: context) else {
            refuse(read, to: node)
            return
        }
        replica.readContextTick = settling
        replica.keyReads.append(Replica.PendingKeyRead(context: context, index: nil, node: node, read: read))
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
        for row in rows {
            guard let index = row.index, index <= applied else {
                replica.keyReads.append(row)
                continue
            }
            answer(row, replica)
        }
    }

    private func answer(_ row: Replica.PendingKeyRead, _ replica: Replica) {
        guard replica.isServing else {
            refuse(row.read, to: row.node)
            return
        }
        let unit = row.read.unit.withUnsafeBytes { try? KeyUnit(decoding: $0) }
        // What this node's shim encoded it can decode; a peer of another version is told that nobody knows.
        let outcome =
            unit.flatMap { unit in replica.withKeys { $0.read(unit, from: row.read.gateway, now: wall) } } ?? .unknown
        let reply = KeyReadReply(partition: row.read.partition, token: row.read.token, status: .ok(outcome))
        send(.keyReadReply(reply), to: row.node)
    }
}

/// Who owns a key partition.
package struct KeyOwnership: Equatable, Sendable {
    /// From 0.
    package var partition: Int
    package var owner: NodeID?
    package var term: Term
    package var replicas: [NodeID]
    /// Replicas besides the owner that hold all that is committed; known at the owner only.
    package var inSync: Int
}
