import Primitives

/// How something travels.
package enum GossipTransport: Equatable, Sendable {
    /// One encrypted UDP datagram; may be lost, repeated and overtaken.
    case datagram
    /// One frame on a TCP connection of its own.
    case stream
}

/// What the shell has to do.
package enum SWIMDirective: Equatable, Sendable {
    /// Over `.datagram`: send it. Over `.stream`: open a connection, send the bytes as one frame, hand the frame that
    /// the other side answers on the same connection to `receive(over: .stream)` with `from` being `to` and no
    /// `replyTo`, and close. When no connection or no answer comes about: `streamFailed(to:)`.
    case send([UInt8], to: GossipAddress, over: GossipTransport)
    /// Send the bytes as one frame on the connection by which the request with this `replyTo` came.
    case reply([UInt8], to: UInt64)
    case event(MemberEvent)
}

/// One node's view of a SWIM group with Lifeguard's extensions: a pure state machine.
///
/// Inputs are `tick`, `receive`, `streamFailed` and a few commands; everything to be done is appended to `directives`,
/// which the shell takes and empties after each call. There is no I/O, clock or thread in here, and chance comes from
/// the seed.
///
/// Sources: Das, Gupta and Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership
/// Protocol" (2002); Dadgar, Phillips and Currey, "Lifeguard: Local Health Awareness for More Accurate Failure
/// Detection" (2017); hashicorp/memberlist for gossip apart from probes, push-pull and the ping over a stream.
///
/// Choices and deviations:
/// - A member is its `NodeID`. Its address changes only when it is down or has left; see `MemberEvent.conflict`.
/// - Within one incarnation alive < suspect < down < left, and the greater wins. A higher incarnation always wins.
/// - A node that is accused learns it from whoever it talks to: in the ping (Lifeguard's buddy system) and in the ack.
/// - `downAfter` keeps a member from being down too early however many confirm, so that a pause is no failure.
/// - Down members and silent seeds are tried again for ever (Serf's reconnect), by push-pull: healed partitions merge.
/// - Pings and acks carry a digest of the list, because gossip misses a member now and then, most of all in a small
///   cluster: 4 sends by each of 9 nodes leave one of 72 pairs out every other time. Whoever differs asks.
/// - A push-pull carries down and left members with their age, so that all nodes list and forget the same ones.
/// - A late tick shows that this process did not run. The time does not count against anyone: a probe under way begins
///   anew, suspicions run longer by it, and the local health gets worse.
/// - It says who is there and never who owns what.
package struct SWIMNode: Sendable {
    package let id: NodeID
    package let settings: SWIMSettings
    /// Appended to by every call; the shell takes them and empties this.
    package var directives: [SWIMDirective] = []
    package internal(set) var counters = SWIMCounters()
    /// Lifeguard's local health multiplier less one: 0 when this node trusts itself, up to `maxHealthMultiplier - 1`.
    package internal(set) var healthScore = 0
    package internal(set) var isLeaving = false
    /// The goodbye was said often enough: the shell may close its sockets.
    package internal(set) var isLeft = false

    struct Record: Sendable {
        var member: Member
        /// Only for down and left members.
        var forgetAt = Instant.distantFuture
    }

    /// Sorted by id, this node included.
    var records: [Record]
    /// Alive and suspect members, this node included.
    var liveCount = 1
    /// The sum of all records' marks.
    var digest: UInt64
    var random: Xoshiro256
    var queue: BroadcastQueue
    var suspicions: [Suspicion] = []
    var reportedConflicts: [ReportedConflict] = []
    var leaveBy = Instant.distantFuture

    // Probing.
    /// The other live members; those from `probePosition` on are still to be probed in this round.
    var probeOrder: [NodeID] = []
    var probePosition = 0
    var probe: Probe?
    var nextProbeAt: Instant
    var relays: [Relay] = []
    var nextSequence: UInt32

    // Gossip and push-pull.
    var nextGossipAt: Instant
    var nextPushPullAt: Instant
    var nextReconnectAt: Instant
    /// Since when no other list was like this one.
    var differsSince: Instant?
    var lastRepairAt: Instant?
    var repairPause: Interval
    var seeds: [Seed] = []
    var nextJoinAt = Instant.zero
    var joinBackoff: Interval

    /// `incarnation` should be higher than that of the last run if that is known; a node finds out when it is not.
    package init(
        metadata: MemberMetadata,
        address: GossipAddress,
        incarnation: UInt64,
        settings: SWIMSettings = SWIMSettings(),
        seed: UInt64,
        now: Instant
    ) {
        settings.check()
        self.settings = settings
        id = metadata.node
        random = Xoshiro256(seed: seed)
        queue = BroadcastQueue(capacity: settings.maxMembers + settings.maxDeadMembers)
        let me = Member(metadata: metadata, address: address, incarnation: incarnation, state: .alive, since: now)
        records = [Record(member: me)]
        digest = me.mark
        repairPause = settings.repairInterval
        nextSequence = UInt32(truncatingIfNeeded: random.next())
        joinBackoff = settings.joinBackoff
        // Nodes that start together do not act together.
        nextProbeAt = now + Interval(nanoseconds: random.below(settings.probeInterval.nanoseconds))
        nextGossipAt = now + Interval(nanoseconds: random.below(settings.gossipInterval.nanoseconds))
        nextPushPullAt = now + Interval(nanoseconds: random.below(settings.pushPullInterval.nanoseconds))
        nextReconnectAt = now + Interval(nanoseconds: random.below(settings.reconnectInterval.nanoseconds))
        queue.queue(.alive(AliveClaim(me)), about: id)
    }

    // MARK: - What is known

    /// Sorted by id, this node included; down and left ones until they are forgotten.
    package var members: [Member] { records.map(\.member) }

    package func member(_ node: NodeID) -> Member? { find(node).map { records[$0].member } }

    /// This node as it tells others.
    package var me: Member { records[myIndex].member }

    // `id` is in `records` from `init` on and never leaves them.
    var myIndex: Int { find(id) ?? 0 }

    func find(_ node: NodeID) -> Int? {
        let index = insertionIndex(node)
        return index < records.count && records[index].member.node == node ? index : nil
    }

    func insertionIndex(_ node: NodeID) -> Int {
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].member.node < node { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: - Commands

    /// Exchanges the state with each of these, again with growing pauses until one member is known, and with those that
    /// have not answered now and then for ever.
    package mutating func join(_ addresses: [GossipAddress], now: Instant) {
        noticePause(now)
        for address in addresses where address != me.address && !seeds.contains(where: { $0.address == address }) {
            guard seeds.count < settings.maxSeeds else {
                counters.droppedForBounds += 1
                continue
            }
            seeds.append(Seed(address: address))
        }
        joinBackoff = settings.joinBackoff
        nextJoinAt = now
        joinIfAlone(now)
    }

    /// Says goodbye; goes on until `isLeft`.
    package mutating func leave(now: Instant) {
        noticePause(now)
        guard !isLeaving else { return }
        isLeaving = true
        probe = nil
        leaveBy = now + settings.leaveTimeout
        change(myIndex, to: .left, incarnation: me.incarnation, now)
        queue.queue(.left(node: id, incarnation: me.incarnation), about: id)
        nextGossipAt = now
        finishLeaving(now)
    }

    /// What this node says of itself from now on.
    package mutating func update(_ metadata: MemberMetadata, now: Instant) {
        precondition(metadata.node == id, "a node keeps its identity")
        noticePause(now)
        guard !isLeaving else { return }
        let isNews = !metadata.isEqualButForHints(to: me.metadata)
        records[myIndex].member.metadata = metadata
        if isNews { raiseIncarnation(above: me.incarnation) }
    }

    var status: SWIMMessage { .status(me.metadata.hints, digest: digest) }

    // MARK: - Time

    /// When `tick` must be called at the latest.
    package var nextDeadline: Instant {
        guard !isLeft else { return .distantFuture }
        if isLeaving { return min(nextGossipAt, leaveBy) }
        var deadline = min(nextGossipAt, nextPushPullAt, nextReconnectAt)
        if let probe, !probe.isIndirect { deadline = min(deadline, probe.timeoutAt) }
        deadline = min(deadline, nextProbeAt)
        for relay in relays { deadline = min(deadline, relay.deadline) }
        for suspicion in suspicions { deadline = min(deadline, suspicion.deadline) }
        if isAlone && !seeds.isEmpty { deadline = min(deadline, nextJoinAt) }
        return deadline
    }

    package mutating func tick(now: Instant) {
        guard !isLeft else { return }
        noticePause(now)
        if !isLeaving {
            expireRelays(now)
            advanceProbe(now)
            expireSuspicions(now)
            joinIfAlone(now)
            pushPull(now)
            reconnect(now)
            forgetDead(now)
        }
        gossip(now)
        finishLeaving(now)
    }

    /// Called with every input, since a process that wakes up may read its sockets before it looks at its timers.
    /// Measured by the timer of the gossip, which is the shortest that always runs.
    mutating func noticePause(_ now: Instant) {
        let delay = now - nextGossipAt
        guard !isLeft, delay > settings.maxTickDelay else { return }
        counters.pauses += 1
        changeHealth(by: 1)
        for index in suspicions.indices { suspicions[index].shift(by: delay) }
        for index in relays.indices { relays[index].shift(by: delay) }
        nextProbeAt = nextProbeAt + delay
        nextGossipAt = nextGossipAt + delay
        nextPushPullAt = nextPushPullAt + delay
        nextReconnectAt = nextReconnectAt + delay
        nextJoinAt = nextJoinAt + delay
        leaveBy = leaveBy + delay
        if let probe { startProbe(of: probe.target, now) }
    }

    mutating func changeHealth(by delta: Int) {
        healthScore = min(max(healthScore + delta, 0), settings.maxHealthMultiplier - 1)
    }

    // MARK: - Input

    /// A decrypted datagram, or a frame of a stream. `replyTo` is the shell's token of a connection that the other side
    /// opened, and comes back in `.reply`; it is nil for datagrams and for answers on own connections. `from` is where
    /// a datagram's answer goes, or which address an own connection was opened to.
    package mutating func receive(
        _ bytes: UnsafeRawBufferPointer,
        from: GossipAddress,
        over transport: GossipTransport,
        replyTo: UInt64? = nil,
        now: Instant
    ) {
        guard !isLeft else { return }
        noticePause(now)
        switch transport {
        case .datagram:
            counters.packetsIn += 1
            counters.packetBytesIn += UInt64(bytes.count)
        case .stream:
            counters.framesIn += 1
            counters.frameBytesIn += UInt64(bytes.count)
        }
        // Another node's settings may allow longer packets, but no datagram is longer than this.
        guard bytes.count <= (transport == .datagram ? 65_535 : settings.maxFrameBytes) else {
            counters.droppedForBounds += 1
            return
        }
        let packet: SWIMPacket
        do {
            packet = try SWIMPacket.read(bytes, maxMembers: settings.maxMembers + settings.maxDeadMembers)
        } catch .unknown(field: "gossip version", value: _) {
            counters.unknownVersions += 1
            return
        } catch {
            counters.decodeErrors += 1
            return
        }
        for message in packet.messages {
            step(message, sender: packet.sender, from: from, over: transport, replyTo: replyTo, now: now)
        }
    }

    private mutating func step(
        _ message: SWIMMessage,
        sender: NodeID,
        from: GossipAddress,
        over transport: GossipTransport,
        replyTo: UInt64?,
        now: Instant
    ) {
        switch message {
        case .ping(let sequence, let target):
            guard target == id else { return counters.misdirected += 1 }
            switch transport {
            case .datagram: send([.ack(sequence: sequence), status] + accusations(of: sender), to: from)
            case .stream: reply([.ack(sequence: sequence)] + accusations(of: sender), to: replyTo)
            }
        case .pingRequest(let sequence, let target, let address):
            relayPing(sequence: sequence, target: target, at: address, for: from, now)
        case .ack(let sequence): onAck(sequence, over: transport, now)
        case .nack(let sequence): onNack(sequence, from: sender)
        case .alive(let claim): onAlive(claim, now)
        case .suspect(let accusation): onSuspect(accusation, firstMissed: now, now)
        case .down(let accusation): onDown(accusation, now)
        case .left(let node, let incarnation): onLeft(node, incarnation: incarnation, now)
        case .status(let hints, let digest):
            guard sender != id, let index = find(sender) else { return }
            records[index].member.metadata.hints = hints
            compare(digest, with: records[index].member, now)
        case .pushPull(let isReply, let snapshots):
            guard transport == .stream else { return counters.misdirected += 1 }
            for snapshot in snapshots { merge(snapshot, from: sender, now) }
            if isReply {
                seedAnswered(from)
            } else {
                // After merging, so that the other side learns at once what this node says to its accusations.
                reply([pushPullMessage(isReply: true, now)], to: replyTo)
            }
        }
    }

    /// A connection to `address` could not be opened, or brought no answer. What it was for has timers of its own.
    package mutating func streamFailed(to address: GossipAddress, now: Instant) {
        noticePause(now)
        counters.streamFailures += 1
    }
}
