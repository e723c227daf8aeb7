import Primitives

/// A conflict that the shell knows of.
struct ReportedConflict: Equatable, Sendable {
    let node: NodeID
    let address: GossipAddress
    let reportAgainAt: Instant
}

extension Interval {
    /// Zero when `b` is longer.
    fileprivate static func - (a: Interval, b: Interval) -> Interval {
        Interval(nanoseconds: a.nanoseconds - min(a.nanoseconds, b.nanoseconds))
    }
}

extension Member {
    /// Mixes what all nodes should agree on. Suspicions are not among it: they come and go.
    var mark: UInt64 {
        let word = incarnation &* 4 &+ (state.isLive ? 0 : UInt64(state.rawValue))
        return SplitMix64.mix(node.rawValue ^ SplitMix64.mix(word))
    }
}

extension AliveClaim {
    init(_ member: Member) {
        self.init(metadata: member.metadata, address: member.address, incarnation: member.incarnation)
    }
}

extension SWIMNode {
    // MARK: - Alive

    mutating func onAlive(_ claim: AliveClaim, _ now: Instant) {
        let node = claim.metadata.node
        guard node != id else { return onAliveMyself(claim, now) }
        guard let index = find(node) else { return insert(claim, state: .alive, now) }
        let known = records[index].member
        if claim.address != known.address, known.state.isLive {
            if claim.incarnation >= known.incarnation { reportIdentityConflict(known, claim, now) }
            return
        }
        guard claim.incarnation > known.incarnation else { return }
        guard known.state.isLive || liveCount < settings.maxMembers else { return counters.droppedForBounds += 1 }
        records[index].member.metadata = claim.metadata
        records[index].member.address = claim.address
        suspicions.removeAll { $0.node == node }
        change(index, to: .alive, incarnation: claim.incarnation, now)
        queue.queue(.alive(claim), about: node)
        let member = records[index].member
        if known.state.isLive {
            if known.state == .suspect { directives.append(.event(.recovered(member))) }
            if !claim.metadata.isEqualButForHints(to: known.metadata) {
                directives.append(.event(.updated(member)))
            }
        } else {
            addToProbeOrder(node)
            directives.append(.event(.joined(member)))
        }
        if !known.state.isLive || claim.metadata.name != known.metadata.name { reportNameConflict(member, now) }
    }

    private mutating func onAliveMyself(_ claim: AliveClaim, _ now: Instant) {
        guard !isLeaving, claim.incarnation >= me.incarnation else { return }
        guard claim.address == me.address else { return reportIdentityConflict(me, claim, now) }
        let isMine = claim.incarnation == me.incarnation && claim.metadata.isEqualButForHints(to: me.metadata)
        if !isMine { refute(claim.incarnation) }
    }

    private mutating func insert(_ claim: AliveClaim, state: MemberState, age: Interval = .zero, _ now: Instant) {
        let node = claim.metadata.node
        guard !state.isLive || liveCount < settings.maxMembers else { return counters.droppedForBounds += 1 }
        let member = Member(
            metadata: claim.metadata,
            address: claim.address,
            incarnation: claim.incarnation,
            state: state,
            since: Instant(nanoseconds: now.nanoseconds - min(now.nanoseconds, age.nanoseconds))
        )
        records.insert(Record(member: member), at: insertionIndex(node))
        digest &+= member.mark
        guard state.isLive else {
            if let index = find(node) {
                records[index].forgetAt = now + (settings.deadRetention - age)
            }
            directives.append(.event(state == .left ? .left(member) : .down(member)))
            return forgetDead(now)
        }
        liveCount += 1
        addToProbeOrder(node)
        queue.queue(.alive(claim), about: node)
        directives.append(.event(.joined(member)))
        reportNameConflict(member, now)
    }

    /// At a random place, so that a new member does not wait for the end of the round (SWIM, 4.3).
    private mutating func addToProbeOrder(_ node: NodeID) {
        let position = Int(random.below(UInt64(probeOrder.count + 1)))
        probeOrder.insert(node, at: position)
        if position < probePosition { probePosition += 1 }
    }

    private mutating func removeFromProbeOrder(_ node: NodeID) {
        guard let position = probeOrder.firstIndex(of: node) else { return }
        probeOrder.remove(at: position)
        if position < probePosition { probePosition -= 1 }
        if probe?.target == node { probe = nil }
    }

    // MARK: - Accused

    /// `firstMissed` is when the failed probe began, as far as it is known.
    mutating func onSuspect(_ accusation: Accusation, firstMissed: Instant, _ now: Instant) {
        let node = accusation.node
        guard node != id else { return onAccusedMyself(accusation.incarnation) }
        guard let index = find(node), accusation.incarnation >= records[index].member.incarnation else { return }
        if let running = suspicions.firstIndex(where: { $0.node == node }) {
            change(index, to: .suspect, incarnation: accusation.incarnation, now)
            if suspicions[running].confirm(by: accusation.from) { queue.queue(.suspect(accusation), about: node) }
            return
        }
        guard records[index].member.state == .alive else { return }
        change(index, to: .suspect, incarnation: accusation.incarnation, now)
        suspicions.append(
            Suspicion(accusation, firstMissed: firstMissed, now: now, members: liveCount, settings: settings)
        )
        counters.suspicions += 1
        queue.queue(.suspect(accusation), about: node)
        directives.append(.event(.suspected(records[index].member)))
    }

    mutating func expireSuspicions(_ now: Instant) {
        while let index = suspicions.firstIndex(where: { $0.deadline <= now }) {
            let node = suspicions.remove(at: index).node
            guard let known = find(node).map({ records[$0].member }) else { continue }
            onDown(Accusation(node: node, incarnation: known.incarnation, from: id), now)
        }
    }

    mutating func onDown(_ accusation: Accusation, _ now: Instant) {
        let node = accusation.node
        guard node != id else { return onAccusedMyself(accusation.incarnation) }
        guard let index = find(node), accusation.incarnation >= records[index].member.incarnation else { return }
        guard records[index].member.state.isLive else { return }
        counters.downs += 1
        end(index, as: .down, incarnation: accusation.incarnation, .down(accusation), now)
    }

    mutating func onLeft(_ node: NodeID, incarnation: UInt64, _ now: Instant) {
        // Said by this node in its last life.
        guard node != id else { return onAccusedMyself(incarnation) }
        guard let index = find(node), incarnation >= records[index].member.incarnation else { return }
        guard records[index].member.state != .left else { return }
        end(index, as: .left, incarnation: incarnation, .left(node: node, incarnation: incarnation), now)
    }

    private mutating func end(
        _ index: Int,
        as state: MemberState,
        incarnation: UInt64,
        _ message: SWIMMessage,
        _ now: Instant
    ) {
        change(index, to: state, incarnation: incarnation, now)
        let member = records[index].member
        suspicions.removeAll { $0.node == member.node }
        reportedConflicts.removeAll { $0.node == member.node }
        removeFromProbeOrder(member.node)
        queue.queue(message, about: member.node)
        directives.append(.event(state == .left ? .left(member) : .down(member)))
        forgetDead(now)
    }

    private mutating func onAccusedMyself(_ incarnation: UInt64) {
        guard !isLeaving else { return }
        guard incarnation >= me.incarnation else {
            // Somebody has missed the refutation, or refused it because it came from another address: once more.
            if !queue.contains(id) { queue.queue(.alive(AliveClaim(me)), about: id) }
            return
        }
        // Whoever is accused was probably slow.
        changeHealth(by: 1)
        refute(incarnation)
    }

    private mutating func refute(_ incarnation: UInt64) {
        counters.refutations += 1
        raiseIncarnation(above: incarnation)
    }

    mutating func raiseIncarnation(above incarnation: UInt64) {
        // Only a liar with the key gets there. Nobody would read what is above it.
        change(myIndex, to: .alive, incarnation: min(incarnation &+ 1, maxIncarnation), me.since)
        queue.queue(.alive(AliveClaim(me)), about: id)
    }

    /// What this node holds against another, to be told to it: Lifeguard's buddy system.
    func accusations(of node: NodeID) -> [SWIMMessage] {
        guard node != id, let index = find(node) else { return [] }
        let accusation = Accusation(node: node, incarnation: records[index].member.incarnation, from: id)
        switch records[index].member.state {
        case .suspect: return [.suspect(accusation)]
        case .down: return [.down(accusation)]
        case .alive, .left: return []
        }
    }

    // MARK: - State sync

    mutating func merge(_ snapshot: MemberSnapshot, from sender: NodeID, _ now: Instant) {
        let claim = snapshot.claim
        let node = claim.metadata.node
        let accusation = Accusation(node: node, incarnation: claim.incarnation, from: sender)
        switch snapshot.state {
        case .alive: onAlive(claim, now)
        case .suspect:
            onAlive(claim, now)
            onSuspect(accusation, firstMissed: now, now)
        case .down, .left:
            guard node == id || find(node) != nil else {
                let age = Interval.seconds(min(snapshot.ageSeconds, 1 << 32))
                if age < settings.deadRetention { insert(claim, state: snapshot.state, age: age, now) }
                return
            }
            if snapshot.state == .left {
                onLeft(node, incarnation: claim.incarnation, now)
            } else {
                // Only suspected here, so that it can refute what another part of the cluster believes.
                onSuspect(accusation, firstMissed: now, now)
            }
        }
    }

    func snapshots(_ now: Instant) -> [MemberSnapshot] {
        records.map { record in
            let member = record.member
            let age = member.state.isLive ? .zero : settings.deadRetention - (record.forgetAt - now)
            return MemberSnapshot(
                claim: AliveClaim(member),
                state: member.state,
                ageSeconds: age.nanoseconds / 1_000_000_000
            )
        }
    }

    // MARK: - Records

    /// `digest` is from a member that is heard from. Gossip that is under way may settle the difference by itself.
    mutating func compare(_ other: UInt64, with member: Member, _ now: Instant) {
        guard other != digest else { return differsSince = nil }
        let longest = settings.pushPullInterval(members: liveCount)
        if differsSince == nil, lastRepairAt.map({ now - $0 > longest }) ?? true {
            repairPause = settings.repairInterval
        }
        let since = differsSince ?? now
        differsSince = since
        guard now - since >= repairPause, queue.isEmpty, member.state.isLive, !isLeaving else { return }
        differsSince = now
        lastRepairAt = now
        repairPause = min(repairPause * 2, longest)
        counters.repairs += 1
        pushPull(with: member.address, now)
    }

    mutating func change(_ index: Int, to state: MemberState, incarnation: UInt64, _ now: Instant) {
        let before = records[index].member.state
        digest &-= records[index].member.mark
        records[index].member.incarnation = incarnation
        records[index].member.state = state
        digest &+= records[index].member.mark
        guard before != state else { return }
        records[index].member.since = now
        guard before.isLive != state.isLive else { return }
        liveCount += state.isLive ? 1 : -1
        records[index].forgetAt = state.isLive ? .distantFuture : now + settings.deadRetention
    }

    mutating func forgetDead(_ now: Instant) {
        let live = liveCount + (isLeaving ? 1 : 0)
        while records.count > live {
            let dead = records.indices.filter { !records[$0].member.state.isLive && records[$0].member.node != id }
            guard let oldest = dead.min(by: { records[$0].forgetAt < records[$1].forgetAt }) else { return }
            guard records[oldest].forgetAt <= now || records.count - live > settings.maxDeadMembers else { return }
            digest &-= records[oldest].member.mark
            records.remove(at: oldest)
        }
    }

    // MARK: - Conflicts

    private mutating func reportIdentityConflict(_ mine: Member, _ claim: AliveClaim, _ now: Instant) {
        reportedConflicts.removeAll { $0.reportAgainAt <= now }
        guard !reportedConflicts.contains(where: { $0.node == mine.node && $0.address == claim.address }) else {
            return
        }
        if reportedConflicts.count >= settings.maxConflicts { reportedConflicts.removeFirst() }
        reportedConflicts.append(
            ReportedConflict(
                node: mine.node,
                address: claim.address,
                reportAgainAt: now + settings.conflictInterval
            )
        )
        var theirs = mine
        theirs.metadata = claim.metadata
        theirs.address = claim.address
        theirs.incarnation = claim.incarnation
        theirs.state = .alive
        theirs.since = now
        counters.conflicts += 1
        directives.append(.event(.conflict(name: claim.metadata.name, mine: mine, theirs: theirs)))
    }

    /// `member` has just come, or taken its name.
    private mutating func reportNameConflict(_ member: Member, _ now: Instant) {
        for record in records
        where record.member.state.isLive && record.member.node != member.node
            && record.member.metadata.name == member.metadata.name
        {
            counters.conflicts += 1
            directives.append(.event(.conflict(name: member.metadata.name, mine: record.member, theirs: member)))
        }
    }
}
