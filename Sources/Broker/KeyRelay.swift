import DequeModule
import Keys
import PeerProtocol
import Primitives

/// The relay of a key partition: units to the owner, by the same stream as publishes, so that a change of owner neither
/// loses nor repeats one; reads beside it; and the waits of this node's connections, which outlive owners.
extension Broker {
    /// Of all hubs of a node at once, so that a ticket names its hub.
    static let hubsMax: UInt64 = 64

    func relayKeyUnit(
        _ partition: PartitionID,
        _ unit: ArraySlice<UInt8>,
        hub: Int,
        token: RequestToken,
        deadline: Instant
    ) {
        guard let relay = relay(partition), relay.isKeys else { return }
        if let refusal = refusal(of: unit, relay) {
            post(.keys(token, .failure(refusal)), to: hub)
            return
        }
        append(unit, relay, hub: hub, token: token, deadline: deadline)
    }

    private func append(
        _ unit: ArraySlice<UInt8>,
        _ relay: Relay,
        hub: Int,
        token: RequestToken,
        deadline: Instant,
        isAnswered: Bool = false
    ) {
        if relay.pending.isEmpty { relay.lastProgress = now }
        relay.pending.append(
            Relay.PendingPublish(
                command: unit,
                hub: hub,
                token: token,
                deadline: deadline,
                isAnswered: isAnswered,
                isDecided: false
            )
        )
        relay.pendingBytes += unit.count
        pendingPublishes += 1
        mark(relay)
    }

    /// A unit of the relay's own, which nobody waits for.
    private func append(_ unit: KeyUnit, _ relay: Relay) {
        append(
            unit.encoded()[...],
            relay,
            hub: settings.shard,
            token: RequestToken(session: SessionID(slot: .max, generation: 0), command: 0),
            deadline: .distantFuture,
            isAnswered: true
        )
    }

    func receiveKeyResults(_ results: KeyResults) {
        guard let relay = relay(results.partition), relay.isKeys, relay.gateway == results.gateway else { return }
        relay.lastProgress = now
        for result in results.results {
            guard result.sequence >= relay.base else { continue }
            let row = Int(result.sequence - relay.base)
            guard row < relay.pending.count, !relay.pending[row].isDecided else { continue }
            relay.pending[row].isDecided = true
            let pending = relay.pending[row]
            if case .waits = result.outcome { noteWait(relay, pending) }
            guard !pending.isAnswered else { continue }
            relay.pending[row].isAnswered = true
            post(.keys(pending.token, .success(result.outcome)), to: pending.hub)
        }
        forgetDecided(relay)
    }

    private func noteWait(_ relay: Relay, _ pending: Relay.PendingPublish) {
        let unit = pending.command.withUnsafeBytes { try? KeyUnit(decoding: $0) }
        guard let ticket = unit?.ticket, relay.cancelled.remove(ticket) == nil else { return }
        relay.tickets[ticket] = pending.hub
    }

    // MARK: Reads

    func relayKeyRead(_ partition: PartitionID, _ unit: ArraySlice<UInt8>, hub: Int, token: RequestToken) {
        guard let relay = relay(partition), relay.isKeys else { return }
        if let replica = ownedHere(partition) {
            let read = Replica.PendingKeyRead(
                context: 0,
                asker: .hub(hub, token),
                deadline: now + settings.requestTimeout,
                gateway: relay.gateway,
                unit: unit
            )
            return take(read, replica, partition)
        }
        askForKeys(partition, unit, hub: hub, token: token)
    }

    /// By a request that is sent again until there is an owner who answers.
    func askForKeys(_ partition: PartitionID, _ unit: ArraySlice<UInt8>, hub: Int, token: RequestToken) {
        guard let relay = relay(partition) else { return }
        if relay.isDegraded || relay.fetches.count >= settings.pendingFetches {
            post(.keys(token, .failure(relay.isDegraded ? .noQuorum : .busy)), to: hub)
            return
        }
        ask(relay, keyRead(relay, unit), .keys(hub: hub, token))
    }

    private func keyRead(_ relay: Relay, _ unit: ArraySlice<UInt8>) -> Relay.PendingFetch.Request {
        .keys(KeyRead(partition: relay.partition, token: relay.nextToken, gateway: relay.gateway, unit: unit))
    }

    /// Sends a request to the owner, now or when there is one, and again until it is answered.
    func ask(_ relay: Relay, _ request: Relay.PendingFetch.Request, _ purpose: Relay.PendingFetch.Purpose) {
        let token = relay.nextToken
        relay.nextToken += 1
        relay.fetches[token] = Relay.PendingFetch(
            purpose: purpose,
            request: request,
            deadline: now + settings.requestTimeout,
            isSent: false,
            sentAt: now
        )
        sendFetch(token, relay)
    }

    func receiveKeyReadReply(_ reply: KeyReadReply, from node: NodeID) {
        guard let relay = relay(reply.partition), relay.owner == node, let fetch = relay.fetches[reply.token] else {
            return
        }
        switch (fetch.purpose, reply.status) {
        case (.keys, .notOwner), (.poll, .notOwner): relay.fetches[reply.token]?.isSent = false
        case (.keys(let hub, let token), .ok(let outcome)):
            relay.fetches[reply.token] = nil
            post(.keys(token, .success(outcome)), to: hub)
        case (.keys(let hub, let token), .busy):
            relay.fetches[reply.token] = nil
            post(.keys(token, .failure(.busy)), to: hub)
        case (.poll(let tickets), .ok(.replied(let bytes))):
            relay.fetches[reply.token] = nil
            polled(relay, tickets, bytes)
        case (.poll, _): relay.fetches[reply.token] = nil
        default: return
        }
    }

    // MARK: Waits

    func receiveKeyServed(_ served: KeyServed) {
        guard let relay = relay(served.partition), relay.isKeys, relay.gateway == served.gateway else { return }
        for reply in served.replies { end(relay, reply.ticket, reply.bytes) }
    }

    private func end(_ relay: Relay, _ ticket: UInt64, _ reply: [UInt8]?) {
        guard let hub = relay.tickets.removeValue(forKey: ticket) else { return }
        relay.doneTickets.append(ticket)
        post(.served(ticket: ticket, reply: reply), to: hub)
    }

    func relayCancel(_ partition: PartitionID, ticket: UInt64) {
        guard let relay = relay(partition), relay.isKeys else { return }
        if relay.tickets.removeValue(forKey: ticket) == nil { relay.cancelled.insert(ticket) }
        // Behind the unit that may begin the wait, so that it ends whatever comes first.
        var unit = KeyUnit(kind: .cancel)
        unit.tickets = [ticket]
        append(unit, relay)
    }

    /// There is an owner (anew): it learns who we are, and says what became of the waits while there was none.
    func greetKeys(_ relay: Relay) {
        // An owner that answers early may have lost the greeting.
        if !relay.hasSaidHello || settings.keyAck == .owner {
            relay.hasSaidHello = true
            var unit = KeyUnit(kind: .hello)
            unit.node = settings.node.rawValue
            unit.shard = UInt32(settings.shard)
            append(unit, relay)
        }
        relay.nextPoll = now
    }

    func tickKeyRelay(_ relay: Relay) {
        guard relay.owner != nil else { return }
        if !relay.doneTickets.isEmpty {
            var unit = KeyUnit(kind: .done)
            unit.tickets = relay.doneTickets
            relay.doneTickets.removeAll(keepingCapacity: true)
            append(unit, relay)
        }
        guard relay.nextPoll <= now else { return }
        relay.nextPoll = now + settings.pollInterval
        // Cancelled waits that never began: their units are decided by now.
        if relay.pending.isEmpty { relay.cancelled.removeAll() }
        guard !relay.tickets.isEmpty else { return }
        var unit = KeyUnit(kind: .poll)
        unit.tickets = Array(relay.tickets.keys.sorted().prefix(4096))
        ask(relay, keyRead(relay, unit.encoded()[...]), .poll(unit.tickets))
    }

    private func polled(_ relay: Relay, _ tickets: [UInt64], _ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            for ticket in tickets {
                guard let status = (try? reader.readByte()).flatMap(KeyPartition.PollReply.init(rawValue:)) else {
                    return
                }
                switch status {
                case .served:
                    guard let reply = try? reader.readBytes(limit: .max, "reply") else { return }
                    end(relay, ticket, reply)
                    // There may be more than a reply has room for.
                    relay.nextPoll = now
                case .waits: break
                case .unknown: end(relay, ticket, nil)
                }
            }
        }
    }

    // MARK: From the shim

    /// Runs a unit in a key partition; answered by `.keys`.
    package func execute(_ token: RequestToken, keyPartition: Int, unit: [UInt8], isReadOnly: Bool) {
        guard keyPartition >= 0, keyPartition < settings.keyPartitions else {
            outbox.edge.append(.keys(token, .failure(.noQuorum)))
            return
        }
        guard unit.count <= KeyUnit.byteLimit else {
            outbox.edge.append(.keys(token, .failure(.tooLong)))
            return
        }
        let partition = PartitionID(UInt32(settings.partitions + keyPartition))
        if isReadOnly {
            post(.keyRead(hub: settings.shard, token, partition, unit: unit[...]), to: shard(of: partition))
        } else {
            post(
                .keyUnit(
                    hub: settings.shard,
                    token,
                    partition,
                    unit: unit[...],
                    deadline: now + settings.requestTimeout
                ),
                to: shard(of: partition)
            )
        }
    }

    package var keyPartitions: Int { settings.keyPartitions }

    /// A number for a unit whose last command may wait.
    package func nextTicket() -> UInt64 {
        lastTicket += 1
        return lastTicket * Broker.hubsMax + UInt64(settings.shard)
    }

    package func cancel(ticket: UInt64, keyPartition: Int) {
        let partition = PartitionID(UInt32(settings.partitions + keyPartition))
        post(.cancelWait(partition, ticket: ticket), to: shard(of: partition))
    }

    package func unblock(_ token: RequestToken, ticket: UInt64, keyPartition: Int, error: [UInt8]) {
        var unit = KeyUnit(kind: .unblock)
        unit.tickets = [ticket]
        unit.error = error
        execute(token, keyPartition: keyPartition, unit: unit.encoded(), isReadOnly: false)
    }
}
