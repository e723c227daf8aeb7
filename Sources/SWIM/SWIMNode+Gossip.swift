import Primitives

/// An address to join by.
struct Seed: Equatable, Sendable {
    let address: GossipAddress
    /// Whoever is there is known by its own address now.
    var hasAnswered = false
}

extension SWIMNode {
    var retransmits: Int { settings.retransmits(members: liveCount) }

    /// No other live member is known.
    var isAlone: Bool { liveCount == (isLeaving ? 0 : 1) }

    // MARK: - Datagrams

    /// Piggybacks as much gossip as fits.
    mutating func send(_ messages: [SWIMMessage], to address: GossipAddress) {
        var writer = ByteWriter(capacity: 256)
        SWIMPacket.writeHeader(sender: id, to: &writer)
        for message in messages { message.write(to: &writer) }
        queue.write(to: &writer, maxBytes: settings.maxPacketBytes, limit: retransmits)
        counters.packetsOut += 1
        counters.packetBytesOut += UInt64(writer.count)
        directives.append(.send(writer.bytes, to: address, over: .datagram))
    }

    /// Tells a few random members what is new. Those that went down a short while ago are among them, so that they can
    /// refute; nothing is sent when nothing is new.
    mutating func gossip(_ now: Instant) {
        guard now >= nextGossipAt else { return }
        nextGossipAt = now + settings.gossipInterval
        guard !queue.isEmpty else { return }
        var targets = records.indices.filter {
            guard records[$0].member.node != id else { return false }
            let isFresh = now - records[$0].member.since < settings.gossipToTheDead
            return records[$0].member.state.isLive || (records[$0].member.state == .down && isFresh)
        }
        random.choose(settings.gossipNodes, of: &targets)
        for target in targets where !queue.isEmpty { send([], to: records[target].member.address) }
    }

    /// Nobody is left who could be told, or enough have been, or the time is over.
    mutating func finishLeaving(_ now: Instant) {
        guard isLeaving, !isLeft else { return }
        if isAlone || !queue.contains(id) || now >= leaveBy { isLeft = true }
    }

    // MARK: - Streams

    mutating func sendFrame(_ messages: [SWIMMessage], to address: GossipAddress) {
        directives.append(.send(frame(messages), to: address, over: .stream))
    }

    /// A request that came without a connection to answer on is counted.
    mutating func reply(_ messages: [SWIMMessage], to stream: UInt64?) {
        guard let stream else { return counters.misdirected += 1 }
        directives.append(.reply(frame(messages), to: stream))
    }

    private mutating func frame(_ messages: [SWIMMessage]) -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        SWIMPacket.writeHeader(sender: id, to: &writer)
        for message in messages { message.write(to: &writer) }
        counters.framesOut += 1
        counters.frameBytesOut += UInt64(writer.count)
        return writer.bytes
    }

    // MARK: - Push-pull

    func pushPullMessage(isReply: Bool, _ now: Instant) -> SWIMMessage {
        .pushPull(isReply: isReply, snapshots(now))
    }

    mutating func pushPull(with address: GossipAddress, _ now: Instant) {
        counters.pushPulls += 1
        sendFrame([pushPullMessage(isReply: false, now)], to: address)
    }

    /// Now and then with a random member: repairs whatever gossip has missed.
    mutating func pushPull(_ now: Instant) {
        guard now >= nextPushPullAt else { return }
        nextPushPullAt = now + settings.pushPullInterval(members: liveCount)
        var targets = records.indices.filter { records[$0].member.state == .alive && records[$0].member.node != id }
        random.choose(1, of: &targets)
        for target in targets { pushPull(with: records[target].member.address, now) }
    }

    /// With all seeds, while this node knows nobody.
    mutating func joinIfAlone(_ now: Instant) {
        guard isAlone, !isLeaving else { return joinBackoff = settings.joinBackoff }
        guard !seeds.isEmpty, now >= nextJoinAt else { return }
        for seed in seeds { pushPull(with: seed.address, now) }
        // Between a half and the whole of the backoff: nodes that start together do not try together.
        let half = joinBackoff.nanoseconds / 2
        nextJoinAt = now + Interval(nanoseconds: half + random.below(half + 1))
        joinBackoff = min(joinBackoff * 2, settings.reconnectInterval)
    }

    mutating func seedAnswered(_ address: GossipAddress) {
        for index in seeds.indices where seeds[index].address == address { seeds[index].hasAnswered = true }
    }

    /// With a random one of the down members and of the seeds that nobody has heard from. All nodes together try about
    /// as many as there are, each interval.
    mutating func reconnect(_ now: Instant) {
        guard now >= nextReconnectAt else { return }
        nextReconnectAt = now + settings.reconnectInterval
        var addresses = records.filter { $0.member.state == .down }.map(\.member.address)
        for seed in seeds where !seed.hasAnswered && !isAlone {
            if !records.contains(where: { $0.member.address == seed.address }) { addresses.append(seed.address) }
        }
        guard !addresses.isEmpty else { return }
        let others = UInt64(max(1, liveCount - 1))
        guard random.chance(UInt64(addresses.count), in: others) else { return }
        random.choose(1, of: &addresses)
        pushPull(with: addresses[0], now)
    }
}
