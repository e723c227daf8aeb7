import Primitives
import Raft
import Testing

@Suite("RaftNode")
struct RaftNodeTests {
    private let one = NodeID(1)
    private let two = NodeID(2)
    private let three = NodeID(3)

    private func node(
        _ restored: RestoredReplica = RestoredReplica(),
        voters: [UInt64] = [1, 2, 3],
        settings: RaftSettings = RaftSettings(electionTicks: 10)
    ) -> RaftNode {
        RaftNode(
            id: NodeID(2),
            group: .control,
            membership: Membership(voters: voters.map { NodeID($0) }),
            restored: restored,
            settings: settings,
            seed: 4
        )
    }

    /// A follower of node 1 in term 1 whose log is 1...`last`, durable.
    private func restored(last: LogIndex, term: Term = 1, commit: LogIndex = 0) -> RestoredReplica {
        RestoredReplica(
            hardState: HardState(term: term, commit: commit),
            lastIndex: last,
            termStarts: [TermStart(index: 1, term: 1)],
            entries: (1...max(last, 1)).filter { $0 <= last }.map { Entry(term: 1, index: $0) }
        )
    }

    private func append(
        term: Term = 1,
        after index: LogIndex,
        _ previousTerm: Term,
        commit: LogIndex = 0,
        _ entries: [Entry] = []
    ) -> RaftMessage {
        let request = AppendRequest(
            previousIndex: index,
            previousTerm: previousTerm,
            commit: commit,
            entries: entries
        )
        return RaftMessage(from: one, to: two, term: term, body: .append(request))
    }

    // MARK: - Fencing

    @Test("CL-07 the writes of a paused leader are rejected once a newer term exists, and its reads with them")
    func pausedLeaderIsFenced() {
        let cluster = TestCluster(voters: [1, 2, 3], settings: RaftSettings(electionTicks: 10))
        cluster.with(one) { $0.campaign() }
        cluster.stabilize()
        // Node 1 stops in the middle of a proposal; the others elect node 2 and go on.
        let paused = cluster.with(one) { $0.propose(Array("old".utf8)) }
        #expect(paused == .accepted(term: 1, index: 2))
        cluster.tick(2, 12)
        cluster.tick(3, 12)
        cluster.with(two) { $0.campaign() }
        cluster.stabilize(only: [two, three])
        cluster.packets.removeAll()
        #expect(cluster.node(2).role == .leader)
        let current = cluster.with(two) { $0.propose(Array("new".utf8)) }
        #expect(current == .accepted(term: 2, index: 3))
        cluster.stabilize(only: [two, three])
        cluster.packets.removeAll()
        // It resumes and still believes to lead: what it sends is refused, what it asks is not confirmed.
        #expect(cluster.node(1).role == .leader)
        let acceptsRead = cluster.with(one) { $0.readIndex(context: 1) }
        #expect(acceptsRead)
        cluster.stabilize()
        #expect(cluster.node(1).role == .follower)
        #expect(cluster.node(1).term == 2)
        #expect(cluster.replicas[0].readStates.isEmpty)
        let late = cluster.with(one) { $0.propose(Array("late".utf8)) }
        #expect(late == .notLeader(nil) || late == .notLeader(two))
        cluster.tick(2, 2)
        cluster.stabilize()
        for replica in cluster.replicas { #expect(replica.commands == [Array("new".utf8)]) }
        #expect(cluster.violations.isEmpty)
    }

    @Test(
        "CL-09 the minority side commits nothing, the majority goes on, and after healing the logs are equal",
        arguments: [3, 5] as [UInt64]
    )
    func splitBrain(size: UInt64) {
        let cluster = TestCluster(voters: Array(1...size), settings: RaftSettings(electionTicks: 10))
        cluster.with(one) { $0.campaign() }
        cluster.stabilize()
        let minority = (1...(size / 2)).map { NodeID($0) }
        let majority = (size / 2 + 1...size).map { NodeID($0) }
        for a in minority {
            for b in majority { cluster.cuts += [(a, b), (b, a)] }
        }
        // The old leader is on the minority side: it takes proposals, but none is ever committed.
        for number in 0..<5 { _ = cluster.with(one) { $0.propose([UInt8(number)]) } }
        cluster.stabilize()
        for id in majority { cluster.tick(id.rawValue, 12) }
        cluster.with(majority[0]) { $0.campaign() }
        cluster.stabilize()
        #expect(cluster.node(majority[0].rawValue).role == .leader)
        for number in 100..<110 { _ = cluster.with(majority[0]) { $0.propose([UInt8(number)]) } }
        cluster.stabilize()
        for id in minority { #expect(cluster.replicas[cluster.position(id)].commands.isEmpty) }
        for id in majority { #expect(cluster.replicas[cluster.position(id)].commands.count == 10) }
        // Without a quorum the old leader stops taking any.
        cluster.tick(1, 20)
        cluster.stabilize()
        let refused = cluster.with(one) { $0.propose([9]) }
        #expect(refused == .notLeader(nil))
        cluster.cuts.removeAll()
        for _ in 0..<6 {
            cluster.tick(majority[0].rawValue)
            cluster.stabilize()
        }
        let reference = cluster.replicas[cluster.position(majority[0])].disk.entries
        for replica in cluster.replicas {
            #expect(replica.disk.entries == reference)
            #expect(replica.commands == (100..<110).map { [UInt8($0)] })
        }
        #expect(cluster.violations.isEmpty)
    }

    @Test("a vote is given once a term, also after a step-down within the term and after a restart")
    func oneVote() {
        var voter = node()
        var ready = Ready()
        func ask(_ from: NodeID, term: Term) -> Bool? {
            let request = VoteRequest(lastIndex: 9, lastTerm: 9)
            voter.step(RaftMessage(from: from, to: two, term: term, body: .vote(request)))
            voter.takeReady(into: &ready)
            for message in ready.messages + ready.messagesAfterAppend {
                if case .voteReply(let granted) = message.body { return granted }
            }
            return nil
        }
        #expect(ask(one, term: 5) == true)
        #expect(ready.mustSync)
        #expect(ready.hardState == HardState(term: 5, vote: one, commit: 0))
        #expect(ask(three, term: 5) == false)
        #expect(ask(one, term: 5) == true)
        // A pre-vote round in the same term, lost, must not clear the vote.
        voter.campaign()
        for peer in [one, three] {
            voter.step(RaftMessage(from: peer, to: two, term: 5, body: .preVoteReply(granted: false)))
        }
        #expect(voter.role == .follower)
        #expect(ask(three, term: 5) == false)
        voter = node(RestoredReplica(hardState: HardState(term: 5, vote: one)))
        #expect(ask(three, term: 5) == false)
        #expect(ask(three, term: 6) == true)
    }

    @Test("votes of an earlier candidacy do not count")
    func staleVotes() {
        var candidate = node()
        var ready = Ready()
        func campaign() {
            candidate.campaign()
            let term = candidate.term + 1
            candidate.step(RaftMessage(from: one, to: two, term: term, body: .preVoteReply(granted: true)))
            candidate.takeReady(into: &ready)
            candidate.onAppended(term: candidate.term, index: candidate.lastIndex)
        }
        campaign()
        #expect(candidate.role == .candidate)
        campaign()
        #expect(candidate.term == 2)
        candidate.step(RaftMessage(from: one, to: two, term: 1, body: .voteReply(granted: true)))
        #expect(candidate.role == .candidate)
        candidate.step(RaftMessage(from: one, to: two, term: 2, body: .voteReply(granted: true)))
        #expect(candidate.role == .leader)
    }

    // MARK: - Storage contract

    @Test("a reply that depends on an unfinished write waits in line behind it")
    func replyInLine() {
        var follower = node()
        var ready = Ready()
        follower.step(append(after: 0, 0, [Entry(term: 1, index: 1)]))
        follower.takeReady(into: &ready)
        #expect(ready.mustSync)
        // The same append again, while the first write is under way: nothing to write, and yet not to be answered now.
        follower.step(append(after: 0, 0, [Entry(term: 1, index: 1)]))
        follower.takeReady(into: &ready)
        #expect(ready.entries.isEmpty)
        #expect(ready.messagesAfterAppend.count == 1)
        #expect(ready.mustSync)
        follower.onAppended(term: 1, index: 1)
        follower.onAppended(term: 1, index: 1)
        follower.step(append(after: 0, 0, [Entry(term: 1, index: 1)]))
        follower.takeReady(into: &ready)
        #expect(ready.messagesAfterAppend.count == 1)
        #expect(!ready.mustSync)
        #expect(follower.anomalies == RaftAnomalies())
    }

    @Test("a late answer of storage does not vouch for entries that left the log and came back")
    func appendABA() {
        var replica = restored(last: 1)
        replica.hardState.commit = 1
        var follower = node(replica)
        var ready = Ready()
        let x = Entry(term: 1, index: 2, data: [1])
        let y = Entry(term: 1, index: 3, data: [2])
        follower.step(append(term: 1, after: 1, 1, [x, y]))
        follower.takeReady(into: &ready)
        follower.step(append(term: 2, after: 1, 1, [Entry(term: 2, index: 2)]))
        follower.takeReady(into: &ready)
        follower.step(append(term: 3, after: 1, 1, [x, y, Entry(term: 3, index: 4)]))
        follower.takeReady(into: &ready)
        #expect(ready.entries.map(\.index) == [2, 3, 4])
        // On disk: x and y, to be overwritten by the second write.
        follower.onAppended(term: 1, index: 3)
        #expect(follower.stableIndex == 1)
        follower.onAppended(term: 2, index: 2)
        #expect(follower.stableIndex == 1)
        follower.onAppended(term: 3, index: 4)
        #expect(follower.stableIndex == 4)
        // An answer too many is counted and ignored.
        follower.onAppended(term: 3, index: 4)
        #expect(follower.anomalies.unknownWrites == 1)
    }

    @Test("a commit index alone needs no sync")
    func commitNeedsNoSync() {
        var follower = node(restored(last: 3))
        var ready = Ready()
        follower.step(append(after: 3, 1, commit: 2))
        follower.takeReady(into: &ready)
        #expect(ready.hardState?.commit == 2)
        #expect(!ready.mustSync)
        #expect(ready.committed.map(\.index) == [1, 2])
        #expect(!follower.hasReady)
    }

    @Test("nothing is handed out twice")
    func once() {
        var follower = node()
        var ready = Ready()
        follower.step(append(after: 0, 0, commit: 1, [Entry(term: 1, index: 1)]))
        follower.takeReady(into: &ready)
        #expect(!ready.isEmpty)
        follower.takeReady(into: &ready)
        #expect(ready.isEmpty)
        follower.onAppended(term: 1, index: 1)
        follower.takeReady(into: &ready)
        #expect(ready.committed.map(\.index) == [1])
        follower.takeReady(into: &ready)
        #expect(ready.isEmpty)
    }

    @Test("a candidate's own vote counts only when that vote is durable, not an earlier write")
    func ownVoteDurable() {
        var candidate = node(voters: [2])
        var ready = Ready()
        candidate.step(append(after: 0, 0, [Entry(term: 1, index: 1)]))
        candidate.takeReady(into: &ready)
        candidate.campaign()
        candidate.takeReady(into: &ready)
        #expect(candidate.role == .candidate)
        candidate.onAppended(term: 1, index: 1)
        #expect(candidate.role == .candidate)
        candidate.onAppended(term: 2, index: 1)
        #expect(candidate.role == .leader)
    }

    @Test("CL-07 a candidate asks for votes at once, but not for a log that is still being written")
    func asksForDurableLog() {
        for isWritten in [false, true] {
            var candidate = node(voters: [1, 2, 3])
            var ready = Ready()
            candidate.step(append(after: 0, 0, [Entry(term: 1, index: 1)]))
            candidate.takeReady(into: &ready)
            if isWritten { candidate.onAppended(term: 1, index: 1) }
            candidate.step(RaftMessage(from: one, to: two, term: 1, body: .timeoutNow))
            candidate.takeReady(into: &ready)
            #expect(candidate.role == .candidate)
            func votes(_ messages: [RaftMessage]) -> Int {
                messages.count { if case .vote = $0.body { true } else { false } }
            }
            #expect(votes(ready.messages) == (isWritten ? 2 : 0))
            #expect(votes(ready.messagesAfterAppend) == (isWritten ? 0 : 2))
        }
    }

    @Test("the new leader's no-op counts only when it is durable")
    func noopDurable() {
        var leader = node(voters: [2])
        var ready = Ready()
        leader.campaign()
        leader.takeReady(into: &ready)
        leader.onAppended(term: 1, index: 0)
        #expect(leader.role == .leader)
        leader.takeReady(into: &ready)
        #expect(leader.commitIndex == 0)
        expect(!leader.readIndex(context: 1))
        leader.onAppended(term: 1, index: 1)
        #expect(leader.commitIndex == 1)
        expect(leader.readIndex(context: 1))
        leader.takeReady(into: &ready)
        #expect(ready.readStates == [ReadState(context: 1, index: 1)])
    }

    @Test("committed entries below the memory are asked for and applied")
    func applyFromDisk() {
        var replica = restored(last: 5, commit: 4)
        let all = replica.entries
        replica.entries = Array(all.suffix(2))
        var follower = node(replica)
        var ready = Ready()
        follower.takeReady(into: &ready)
        let read = ready.logReads.first
        #expect(read?.peer == two)
        #expect(read?.from == 1)
        #expect(ready.committed.isEmpty)
        #expect(!follower.hasReady)
        // Nothing yet: asked again at the next tick.
        follower.onEntriesRead(read!, entries: [])
        #expect(!follower.hasReady)
        follower.tick()
        follower.takeReady(into: &ready)
        #expect(ready.logReads == [read!])
        follower.onEntriesRead(read!, entries: all)
        follower.takeReady(into: &ready)
        #expect(ready.committed.map(\.index) == [1, 2, 3])
        follower.onApplied(3)
        follower.takeReady(into: &ready)
        #expect(ready.committed.map(\.index) == [4])
    }

    @Test("a replica with membership changes left to apply does not campaign")
    func unappliedMembership() {
        var replica = restored(last: 2, commit: 2)
        replica.entries[1] = Entry(
            term: 1,
            index: 2,
            kind: .membership,
            data: MembershipChange.setLearners([NodeID(9)]).encoded()
        )
        var follower = node(replica)
        var ready = Ready()
        #expect(!follower.isPromotable)
        follower.takeReady(into: &ready)
        let membership = try? follower.applyMembership(ready.committed[1].data)
        #expect(membership?.learners == [NodeID(9)])
        follower.onApplied(2)
        #expect(follower.isPromotable)
    }

    // MARK: - Snapshots

    private func descriptor(_ index: LogIndex, _ term: Term) -> SnapshotDescriptor {
        SnapshotDescriptor(index: index, term: term, membership: Membership(voters: [one, two, three]))
    }

    @Test("a snapshot inside the log moves the commit index and keeps the suffix")
    func snapshotInsideLog() {
        var follower = node(restored(last: 5, commit: 1))
        follower.step(RaftMessage(from: one, to: two, term: 1, body: .snapshot(descriptor(3, 1))))
        #expect(follower.commitIndex == 3)
        #expect(follower.lastIndex == 5)
        expect(!follower.prepareSnapshot(descriptor(4, 1)))
        expect(!follower.restoreSnapshot(descriptor(4, 1), firstRetained: 5, termStarts: []))
        #expect(follower.commitIndex == 4)
        #expect(follower.lastIndex == 5)
        var ready = Ready()
        follower.takeReady(into: &ready)
        #expect(ready.snapshot == nil)
    }

    @Test("a snapshot at or below the commit index is refused, and the leader is told how far we are")
    func staleSnapshot() {
        var follower = node(restored(last: 5, commit: 4))
        follower.step(RaftMessage(from: one, to: two, term: 1, body: .snapshot(descriptor(4, 1))))
        expect(!follower.restoreSnapshot(descriptor(2, 9), firstRetained: 3, termStarts: []))
        var ready = Ready()
        follower.takeReady(into: &ready)
        #expect(ready.messagesAfterAppend.allSatisfy { $0.body == .appendReply(AppendReply(index: 4)) })
        #expect(ready.messagesAfterAppend.count == 2)
        #expect(follower.commitIndex == 4)
        #expect(follower.lastIndex == 5)
    }

    @Test("a snapshot of another history replaces the log; appends are ignored until it is installed")
    func conflictingSnapshot() {
        var follower = node(restored(last: 5, commit: 1))
        var ready = Ready()
        follower.step(append(term: 3, after: 5, 1))
        follower.takeReady(into: &ready)
        expect(follower.prepareSnapshot(descriptor(4, 3)))
        follower.step(append(term: 3, after: 5, 1, commit: 5, [Entry(term: 3, index: 6)]))
        #expect(follower.lastIndex == 5)
        let starts = [TermStart(index: 2, term: 1), TermStart(index: 4, term: 3)]
        expect(follower.restoreSnapshot(descriptor(4, 3), firstRetained: 3, termStarts: starts))
        #expect(follower.lastIndex == 4)
        #expect(follower.firstIndex == 3)
        #expect(follower.term(at: 3) == 1)
        // The write from before the snapshot is confirmed late: it says nothing about the new log.
        follower.onAppended(term: 3, index: 5)
        #expect(follower.stableIndex == 4)
        follower.takeReady(into: &ready)
        #expect(ready.snapshot == descriptor(4, 3))
        #expect(!follower.isPromotable)
        follower.onApplied(4)
        #expect(follower.isPromotable)
    }

    // MARK: - Peers that misbehave

    @Test("a committed entry is never replaced, whatever a leader sends")
    func committedStays() {
        var follower = node(restored(last: 5, commit: 4))
        follower.step(append(term: 9, after: 4, 1, [Entry(term: 9, index: 5)]))
        #expect(follower.term(at: 5) == 9)
        var other = node(restored(last: 5, commit: 4))
        other.step(append(term: 9, after: 2, 1, [Entry(term: 8, index: 3), Entry(term: 9, index: 4)]))
        #expect(other.term(at: 3) == 1)
        #expect(other.lastIndex == 5)
    }

    @Test("random messages trap nothing, change nothing committed, and never lower the term")
    func garbage() {
        var random = Xoshiro256(seed: 11)
        for _ in 0..<400 {
            var victim = node(restored(last: 6, term: 2, commit: 3))
            var ready = Ready()
            var term: Term = 0
            for _ in 0..<60 {
                let message = randomMessage(&random)
                victim.step(message)
                #expect(victim.term >= term)
                term = victim.term
                #expect((1...3).allSatisfy { victim.term(at: $0) == 1 })
                #expect(victim.commitIndex >= 3 && victim.commitIndex <= victim.lastIndex)
                switch random.below(4) {
                case 0: victim.tick()
                case 1:
                    victim.takeReady(into: &ready)
                    if ready.mustSync { victim.onAppended(term: victim.term, index: victim.lastIndex) }
                    if let last = ready.committed.last { victim.onApplied(last.index) }
                case 2: victim.campaign()
                default: break
                }
            }
        }
    }

    private func randomMessage(_ random: inout Xoshiro256) -> RaftMessage {
        func number() -> UInt64 {
            switch random.below(12) {
            case 0: .max
            case 1: .max - random.below(3)
            case 2: .max / 2
            default: random.below(9)
            }
        }
        let body: RaftMessage.Body
        switch random.below(10) {
        case 0: body = .preVote(VoteRequest(lastIndex: number(), lastTerm: number()))
        case 1: body = .preVoteReply(granted: random.chance(1, in: 2))
        case 2: body = .vote(VoteRequest(lastIndex: number(), lastTerm: number(), isTransfer: random.chance(1, in: 2)))
        case 3: body = .voteReply(granted: random.chance(1, in: 2))
        case 4:
            let previous = number()
            var entries: [Entry] = []
            for offset in 0..<random.below(4) {
                let index = random.chance(1, in: 9) ? number() : previous &+ 1 &+ offset
                entries.append(Entry(term: number(), index: index))
            }
            let previousTerm = number()
            if random.chance(3, in: 4) { entries.sort { $0.term < $1.term } }
            body = .append(
                AppendRequest(
                    previousIndex: previous,
                    previousTerm: previousTerm,
                    commit: number(),
                    entries: entries
                )
            )
        case 5:
            body = .appendReply(
                AppendReply(
                    index: number(),
                    rejected: random.chance(1, in: 2),
                    hintIndex: number(),
                    hintTerm: number()
                )
            )
        case 6: body = .heartbeat(commit: number(), context: number())
        case 7: body = .heartbeatReply(context: number())
        case 8: body = .snapshot(descriptor(number(), number()))
        default: body = .timeoutNow
        }
        let term = random.chance(1, in: 20) ? number() : 1 + random.below(9)
        return RaftMessage(from: NodeID(random.below(5)), to: NodeID(2), term: term, body: body)
    }

    // MARK: - Timers

    @Test("election timeouts lie within one and two election times, differ by seed, and stretch with local health")
    func timeouts() {
        func timeout(seed: UInt64, health: Int) -> Int {
            var node = RaftNode(
                id: two,
                group: .control,
                membership: Membership(voters: [one, two, three]),
                restored: RestoredReplica(),
                settings: RaftSettings(electionTicks: 10),
                seed: seed
            )
            node.localHealth = health
            var ticks = 0
            while node.role == .follower {
                node.tick()
                ticks += 1
            }
            return ticks
        }
        let plain = (0..<50).map { timeout(seed: $0, health: 1) }
        #expect(plain.allSatisfy { (10..<20).contains($0) })
        #expect(Set(plain).count > 5)
        #expect((0..<50).map { timeout(seed: $0, health: 3) } == plain.map { $0 * 3 })
    }

    @Test("ranks are a permutation of the surviving voters, rotated by the group")
    func ranks() {
        for group in 0..<4 as Range<UInt32> {
            var ranks: [Int] = []
            for id in [two, three] {
                var node = RaftNode(
                    id: id,
                    group: GroupID(rawValue: group),
                    membership: Membership(voters: [one, two, three]),
                    restored: RestoredReplica(),
                    settings: RaftSettings(),
                    seed: 1
                )
                node.step(
                    RaftMessage(from: one, to: id, term: 1, body: .heartbeat(commit: 0, context: 0))
                )
                ranks.append(node.campaignRank ?? -1)
            }
            #expect(ranks.sorted() == [0, 1])
            #expect(ranks[0] == Int(group % 2))
        }
    }
}
