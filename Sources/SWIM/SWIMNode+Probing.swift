import Primitives

/// The probe under way.
struct Probe: Equatable, Sendable {
    let target: NodeID
    let sequence: UInt32
    let startedAt: Instant
    /// Others are asked from here on.
    let timeoutAt: Instant
    var isIndirect = false
    /// Members that were asked to ping, and those of them that said that they got no answer either.
    var helpers: [NodeID] = []
    var nacks: [NodeID] = []
}

/// A ping for another member.
struct Relay: Equatable, Sendable {
    let sequence: UInt32
    let requestSequence: UInt32
    let requester: GossipAddress
    var nackAt: Instant
    var expiresAt: Instant
    var hasNacked = false

    var deadline: Instant { hasNacked ? expiresAt : nackAt }

    mutating func shift(by pause: Interval) {
        nackAt = nackAt + pause
        expiresAt = expiresAt + pause
    }
}

extension SWIMNode {
    // MARK: - The own probe

    mutating func advanceProbe(_ now: Instant) {
        if let probe {
            if !probe.isIndirect, now >= probe.timeoutAt { probeIndirectly(now) }
            if now >= nextProbeAt { failProbe(now) }
        }
        guard now >= nextProbeAt else { return }
        if let target = nextTarget() {
            startProbe(of: target, now)
        } else {
            nextProbeAt = now + settings.probeInterval
        }
    }

    /// Round robin over a list that is shuffled after each round: nobody waits for longer than two rounds (SWIM, 4.3).
    private mutating func nextTarget() -> NodeID? {
        if probePosition >= probeOrder.count {
            random.choose(probeOrder.count, of: &probeOrder)
            probePosition = 0
        }
        guard probePosition < probeOrder.count else { return nil }
        defer { probePosition += 1 }
        return probeOrder[probePosition]
    }

    mutating func startProbe(of target: NodeID, _ now: Instant) {
        guard let index = find(target) else { return probe = nil }
        let member = records[index].member
        let multiplier = UInt64(healthScore + 1)
        probe = Probe(
            target: target,
            sequence: takeSequence(),
            startedAt: now,
            timeoutAt: now + settings.pingTimeout * multiplier
        )
        nextProbeAt = now + settings.probeInterval * multiplier
        counters.probes += 1
        send(ping(target, probe?.sequence ?? 0) + [status], to: member.address)
    }

    /// Asks others to ping, and pings over a stream meanwhile: the target is alive if any of these succeeds. The stream
    /// tells a network that loses datagrams from a member that has failed.
    private mutating func probeIndirectly(_ now: Instant) {
        guard var running = probe, let index = find(running.target) else { return probe = nil }
        let target = records[index].member
        var helpers = records.indices.filter {
            records[$0].member.state == .alive && ![id, running.target].contains(records[$0].member.node)
        }
        random.choose(settings.indirectProbes, of: &helpers)
        running.isIndirect = true
        running.helpers = helpers.map { records[$0].member.node }
        probe = running
        for helper in helpers {
            counters.indirectProbes += 1
            let request = SWIMMessage.pingRequest(
                sequence: running.sequence,
                target: running.target,
                address: target.address
            )
            send([request], to: records[helper].member.address)
        }
        counters.streamProbes += 1
        sendFrame(ping(running.target, running.sequence), to: target.address)
    }

    /// What the target is accused of comes first, so that the ack carries what it says to that.
    private func ping(_ target: NodeID, _ sequence: UInt32) -> [SWIMMessage] {
        accusations(of: target) + [.ping(sequence: sequence, target: target)]
    }

    mutating func onAck(_ sequence: UInt32, over transport: GossipTransport, _ now: Instant) {
        if let running = probe, running.sequence == sequence {
            probe = nil
            changeHealth(by: -1)
            if transport == .stream { counters.streamAcks += 1 }
            return
        }
        guard let index = relays.firstIndex(where: { $0.sequence == sequence }) else { return }
        let relay = relays.remove(at: index)
        send([.ack(sequence: relay.requestSequence)], to: relay.requester)
    }

    mutating func onNack(_ sequence: UInt32, from sender: NodeID) {
        guard let running = probe, running.sequence == sequence else { return }
        guard running.helpers.contains(sender), !running.nacks.contains(sender) else { return }
        probe?.nacks.append(sender)
    }

    /// A helper that did not even send a nack hints that the fault is here (Lifeguard's local health probe).
    private mutating func failProbe(_ now: Instant) {
        guard let failed = probe else { return }
        probe = nil
        counters.failedProbes += 1
        changeHealth(by: failed.helpers.isEmpty ? 1 : failed.helpers.count - failed.nacks.count)
        guard let index = find(failed.target) else { return }
        let incarnation = records[index].member.incarnation
        onSuspect(
            Accusation(node: failed.target, incarnation: incarnation, from: id),
            firstMissed: failed.startedAt,
            now
        )
    }

    // MARK: - Pings for others

    mutating func relayPing(
        sequence: UInt32,
        target: NodeID,
        at address: GossipAddress,
        for requester: GossipAddress,
        _ now: Instant
    ) {
        guard relays.count < settings.maxRelays else { return counters.droppedForBounds += 1 }
        let relay = Relay(
            sequence: takeSequence(),
            requestSequence: sequence,
            requester: requester,
            // The requester has as long for all of this as a ping takes and a little more: the nack comes early enough.
            nackAt: now + Interval(nanoseconds: settings.pingTimeout.nanoseconds / 5 * 4),
            expiresAt: now + settings.probeInterval
        )
        relays.append(relay)
        send([.ping(sequence: relay.sequence, target: target)], to: address)
    }

    mutating func expireRelays(_ now: Instant) {
        for index in relays.indices where !relays[index].hasNacked && now >= relays[index].nackAt {
            relays[index].hasNacked = true
            counters.nacks += 1
            send([.nack(sequence: relays[index].requestSequence)], to: relays[index].requester)
        }
        relays.removeAll { now >= $0.expiresAt }
    }

    private mutating func takeSequence() -> UInt32 {
        defer { nextSequence &+= 1 }
        return nextSequence
    }
}

extension Xoshiro256 {
    /// Leaves `count` random elements in random order, or all of them.
    mutating func choose<Element>(_ count: Int, of elements: inout [Element]) {
        let chosen = min(count, elements.count)
        for index in 0..<chosen {
            elements.swapAt(index, index + Int(below(UInt64(elements.count - index))))
        }
        elements.removeLast(elements.count - chosen)
    }
}
