import OwnThread
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms
import Testing

@testable import Broker

/// A cluster that has lost the majority of some groups for good goes on from what the survivors have.
@Suite(.ownThread(nice: 5)) struct RecoveryTests {
    private static let ids = (1...5).map { NodeID(UInt64($0)) }
    private static let nodes = ids.map { ClusterNode(id: $0, name: "n\($0)") }

    private static func control(_ replicas: [[Int]]) -> ControlState {
        var state = ControlState()
        let table = PlacementTable(epoch: 1, replicas: replicas.map { $0.map { NodeID(UInt64($0)) } })
        _ = state.apply(
            .initialize(
                nodes: nodes,
                partitions: replicas.count,
                keyPartitions: 0,
                replicationFactor: 3,
                placement: table
            )
        )
        return state
    }

    private static func membership(_ voters: [Int], outgoing: [Int] = []) -> Membership {
        Membership(voters: voters.map { NodeID(UInt64($0)) }, outgoing: outgoing.map { NodeID(UInt64($0)) })
    }

    private static func copy(_ group: Int, _ memberships: Membership..., last: LogIndex, term: Term) -> SurvivingCopy {
        SurvivingCopy(
            group: GroupID(rawValue: UInt32(group)),
            memberships: memberships,
            commit: last,
            lastIndex: last,
            lastTerm: term,
            term: term + 1
        )
    }

    private static func report(_ number: Int, _ control: ControlState, _ copies: [SurvivingCopy]) -> SurvivorReport {
        SurvivorReport(cluster: "c", node: ids[number - 1], name: "n\(number)", control: control, copies: copies)
    }

    // MARK: The plan

    @Test("CL-09 RB-11 of several survivors the most complete log goes on: the higher last term, then the longer log")
    func mostComplete() throws {
        let all = Self.membership([1, 2, 3, 4, 5])
        let control = Self.control([[1, 2, 3], [1, 3, 4], [3, 4, 5], [1, 2, 5]])
        let first = Self.report(
            1,
            control,
            [
                Self.copy(0, all, last: 90, term: 5), Self.copy(1, Self.membership([1, 2, 3]), last: 9, term: 3),
                Self.copy(2, Self.membership([1, 3, 4]), last: 7, term: 2),
                Self.copy(4, Self.membership([1, 2, 5]), last: 5, term: 1),
            ]
        )
        let second = Self.report(
            2,
            control,
            [
                Self.copy(0, all, last: 80, term: 6), Self.copy(1, Self.membership([1, 2, 3]), last: 8, term: 3),
                Self.copy(4, Self.membership([1, 2, 5]), last: 6, term: 1),
            ]
        )
        let plan = try RecoveryPlan(reports: [second, first], lost: ["n3", "n4", "n5"])
        #expect(plan == (try RecoveryPlan(reports: [first, second], lost: ["n5", "n4", "n3"])))
        #expect(
            plan.groups.map(\.outcome) == [
                .goesOn(Self.ids[1]), .unchanged, .goesOn(Self.ids[0]), .beginsEmpty(Self.ids[1]), .unchanged,
            ]
        )
        #expect(plan.partitions == [PartitionID(1), PartitionID(2)])
        #expect(plan.term > 1 << 20)
        #expect(plan.survivors.map(\.name) == ["n1", "n2"] && plan.lost.map(\.name) == ["n3", "n4", "n5"])

        var random = Xoshiro256(seed: 1)
        let one = plan.rewrite(of: first, at: 5, random: &random)
        #expect(one.items.map(\.group.rawValue) == [2])
        #expect(one.discarded == [.control], "with three others of the old voters it could elect without n2")
        #expect(one.items[0].hardState == HardState(term: plan.term, vote: Self.ids[0], commit: 9))
        #expect(one.items[0].entries.map(\.index) == [8, 9])
        #expect(one.items[0].entries.allSatisfy { $0.term == plan.term })
        let two = plan.rewrite(of: second, at: 5, random: &random)
        #expect(two.items.map(\.group.rawValue) == [0, 3])
        #expect(two.items[1].entries.map(\.index) == [1, 2])
    }

    @Test("CL-09 RB-11 a group with a majority stays as it is; a damaged copy or half of a joint step does not count")
    func majorities() throws {
        let all = Self.membership([1, 2, 3, 4, 5])
        let control = Self.control([[1, 2, 3]])
        func plan(_ memberships: Membership..., faulty: Bool = false) throws -> RecoveryPlan {
            let reports = (1...3).map { number in
                var copy = Self.copy(1, memberships[0], last: 9, term: 3)
                copy.memberships = memberships
                copy.isFaulty = faulty && number == 2
                return Self.report(number, control, [Self.copy(0, all, last: 4, term: 3), copy])
            }
            return try RecoveryPlan(reports: reports, lost: ["n4", "n5"])
        }
        #expect(try plan(Self.membership([1, 2, 4])).isEmpty)
        #expect(try plan(Self.membership([1, 2, 4]), faulty: true).groups[1].outcome == .goesOn(Self.ids[0]))
        // Not committed as far as is known here, but it will be: a leader would then need both halves.
        let joint = Self.membership([1, 2, 3], outgoing: [3, 4, 5])
        #expect(try plan(Self.membership([1, 2, 3]), joint).groups[1].outcome == .goesOn(Self.ids[0]))
        // The lost must be forgotten, or they are a majority of {1, 4, 5} when they come back.
        let lost = try plan(Self.membership([1, 4, 5]))
        #expect(lost.groups.map(\.outcome) == [.goesOn(Self.ids[0]), .goesOn(Self.ids[0])])
    }

    @Test("CL-09 RB-11 a plan needs a word on every node, and refuses what does not fit")
    func refusals() throws {
        let control = Self.control([[1, 2, 3]])
        let copy = Self.copy(0, Self.membership([1, 2, 3, 4, 5]), last: 4, term: 3)
        let one = Self.report(1, control, [copy])
        var two = Self.report(2, control, [copy])
        #expect(throws: RecoveryRefusal.unreported(["n2"])) {
            try RecoveryPlan(reports: [one], lost: ["n3", "n4", "n5"])
        }
        #expect(throws: RecoveryRefusal.lostButReported("n2")) {
            try RecoveryPlan(reports: [one, two], lost: ["n2", "n3", "n4", "n5"])
        }
        #expect(throws: RecoveryRefusal.unknownNode("n9", known: ["n1", "n2", "n3", "n4", "n5"])) {
            try RecoveryPlan(reports: [one, two], lost: ["n3", "n4", "n9"])
        }
        #expect(throws: RecoveryRefusal.twoReports("n2")) { try RecoveryPlan(reports: [one, two, two], lost: []) }
        two.cluster = "other"
        #expect(throws: RecoveryRefusal.foreignReport("n2", cluster: "other")) {
            try RecoveryPlan(reports: [one, two], lost: ["n3"])
        }
        #expect(throws: RecoveryRefusal.noControlGroup) {
            try RecoveryPlan(reports: [Self.report(1, ControlState(), [])], lost: ["n2"])
        }
    }

    @Test("CL-09 RB-11 a report is read as it was written, and refused when a bit of it is not")
    func coding() throws {
        let copies = [Self.copy(0, Self.membership([1, 2]), Self.membership([1], outgoing: [2]), last: 7, term: 3)]
        let report = Self.report(1, Self.control([[1, 2, 3]]), copies)
        let bytes = report.encoded()
        #expect(try SurvivorReport(decoding: bytes) == report)
        for position in bytes.indices {
            var broken = bytes
            broken[position] ^= 1 << UInt8(position % 8)
            #expect(throws: DecodeError.self) { try SurvivorReport(decoding: broken) }
            #expect(throws: DecodeError.self) { try SurvivorReport(decoding: Array(bytes[..<position])) }
        }
    }

    // MARK: The control group's state

    @Test("CL-09 RB-11 a node that was given up is never admitted again; the former snapshot format is still read")
    func formerNodes() throws {
        var state = Self.control([[1, 2, 3]])
        let old = Array(state.encodeSnapshot().dropFirst(2).dropLast(2))
        #expect(try ControlState(snapshot: old) == state)
        let recovery = QuorumRecovery(time: 7, lost: [NodeID(2), NodeID(3)], partitions: [PartitionID(0)])
        let command = try ControlCommand(decoding: ControlCommand.recover(recovery).encoded())
        #expect(command == .recover(recovery))
        let isRecovered = state.apply(command)
        #expect(isRecovered)
        #expect(state.members.map(\.name) == ["n1", "n4", "n5"])
        #expect(state.formerNodes.map(\.name) == ["n2", "n3"])
        let isBack = state.apply(.admit(Self.nodes[1], replacing: nil))
        let isNew = state.apply(.admit(ClusterNode(id: NodeID(12), name: "n2"), replacing: nil))
        #expect(!isBack && isNew)
        #expect(try ControlState(snapshot: state.encodeSnapshot()) == state)
        var later = state.encodeSnapshot()
        later[1] = 99
        #expect(throws: DecodeError.self) { try ControlState(snapshot: later) }
    }

    // MARK: A whole cluster

    /// The node's report, as its disk has it.
    private func report(_ number: Int, _ disk: [(GroupID, RestoredReplica)]) throws -> SurvivorReport {
        var control: ControlState?
        var copies: [SurvivingCopy] = []
        for (group, restored) in disk {
            let genesis = group.partition.flatMap { control?.genesis?.replicas(of: $0) }
            var reader = try CopyReader(group, restored, base: Membership(voters: genesis ?? Self.ids))
            try reader.read(restored.entries)
            #expect(reader.isAtEnd)
            if group == .control { control = reader.control }
            copies.append(reader.copy)
        }
        let state = try #require(control)
        return Self.report(number, state, copies)
    }

    private func write(
        _ rewrite: RecoveryPlan.Rewrite,
        to disk: [(GroupID, RestoredReplica)]
    ) -> [(GroupID, RestoredReplica)] {
        disk.map { group, restored in
            guard let item = rewrite.items.first(where: { $0.group == group }) else { return (group, restored) }
            var entries = restored.entries
            entries.append(contentsOf: item.entries)
            return (group, make(entries, item.hardState ?? restored.hardState))
        }
    }

    private func make(_ entries: [Entry], _ state: HardState) -> RestoredReplica {
        var starts = [TermStart(index: 0, term: 0)]
        for entry in entries where starts.last?.term != entry.term {
            starts.append(TermStart(index: entry.index, term: entry.term))
        }
        return RestoredReplica(
            hardState: state,
            lastIndex: entries.last?.index ?? 0,
            termStarts: starts,
            entries: entries
        )
    }

    @Test(
        """
        CL-09 RB-11 two of five survive, one of them behind: all that either has is there, with new epochs; three old \
        disks, a majority once, change nothing when they come back; new nodes join
        """
    )
    func wholeCluster() throws {
        let cluster = try MiniCluster(nodes: 5, partitions: 4) { $0.replicationFactor = 5 }
        cluster.run(milliseconds: 2000)
        let writer = MiniClient(cluster, on: 3)
        let rooms = (0..<8).map { "room-\($0)" }
        for round in 0..<5 { for room in rooms { writer.publish(room, "\(round)") } }
        cluster.run(milliseconds: 300)
        cluster.blackhole(1)
        cluster.run(milliseconds: 3000)
        var commands: [UInt64] = []
        for round in 5..<9 { for room in rooms { commands.append(writer.publish(room, "\(round)")) } }
        cluster.run(milliseconds: 1000)
        MiniClient.deliver(cluster, [writer])
        for command in commands {
            guard case .success = writer.published[command] else { throw Failure("not acknowledged") }
        }
        let heads = rooms.map { room in state(cluster, 3, room)?.head(of: RoomName(room)) }

        var disks: [Int: [(GroupID, RestoredReplica)]] = [:]
        for number in 1...5 { disks[number] = cluster.disk(number) }
        for number in 1...5 { cluster.kill(number) }
        cluster.heal()
        let reports = try [1, 2].map { try report($0, disks[$0] ?? []) }
        let plan = try RecoveryPlan(reports: reports, lost: ["n3", "n4", "n5"])
        #expect(plan.groups.allSatisfy { $0.outcome == .goesOn(NodeID(2)) }, "n1 is behind in all of them")
        var random = Xoshiro256(seed: 9)
        for (row, number) in [1, 2].enumerated() {
            let rewrite = plan.rewrite(of: reports[row], at: 1, random: &random)
            disks[number] = write(rewrite, to: disks[number] ?? [])
            // Once more is nothing to do.
            let again = try [1, 2].map { try report($0, disks[$0] ?? []) }
            if number == 2 { #expect(try RecoveryPlan(reports: again, lost: ["n3", "n4", "n5"]).isEmpty) }
        }
        for number in [1, 2] { try cluster.revive(number, disks[number] ?? []) }
        cluster.run(milliseconds: 10_000)
        #expect(cluster.isPlaced(on: [1, 2]))
        #expect(cluster.broker(1).control.members.map(\.name) == ["n1", "n2"])
        for (row, room) in rooms.enumerated() {
            let now = try #require(state(cluster, 1, room))
            #expect(now.digest == state(cluster, 2, room)?.digest)
            let head = now.head(of: RoomName(room))
            #expect(head.next == heads[row]?.next && head.next == 10 && head.epoch != heads[row]?.epoch)
        }
        #expect(cluster.events.contains { if case (_, .recovered) = $0 { true } else { false } })

        // The others return: among themselves they are a majority of the members that they know.
        for number in 3...5 { try cluster.revive(number, disks[number] ?? []) }
        cluster.run(milliseconds: 5000)
        let client = MiniClient(cluster, on: 1)
        let command = client.publish("room-0", "after")
        cluster.run(milliseconds: 500)
        MiniClient.deliver(cluster, [client])
        guard case .success(.appended(let position)) = client.published[command] else { throw Failure("no publish") }
        #expect(position.offset == 10)
        #expect(cluster.isPlaced(on: [1, 2]))
        for number in 3...5 { cluster.kill(number) }

        try cluster.join(6, as: "n3")
        for _ in 0..<60 where !(cluster.hasPlaced(6) && cluster.isPlaced(on: [1, 2, 6])) {
            cluster.run(milliseconds: 1000)
        }
        #expect(cluster.isPlaced(on: [1, 2, 6]))
        #expect(state(cluster, 6, "room-0")?.digest == state(cluster, 1, "room-0")?.digest)
    }

    @Test("CL-09 RB-11 whoever resumes by an old position or a cursor is told of a gap; what survived is delivered")
    func resuming() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 1)
        cluster.run(milliseconds: 1500)
        let client = MiniClient(cluster, on: 1)
        for round in 0..<5 { client.publish("room", "\(round)") }
        let options = SubscribeOptions(fromBeginning: true, ackWindow: 64, consumer: Array("worker".utf8))
        client.subscribe("room", options)
        cluster.run(milliseconds: 200)
        MiniClient.deliver(cluster, [client])
        guard case .success(let before) = client.subscribed["room"] else { throw Failure("not subscribed") }
        try cluster.broker(1).acknowledge(
            client.session,
            room: RoomName("room"),
            position: Position(epoch: before.epoch, offset: 3)
        )
        cluster.run(milliseconds: 3000)

        let disk = cluster.disk(1)
        for number in 1...3 { cluster.kill(number) }
        let own = try report(1, disk)
        let plan = try RecoveryPlan(reports: [own], lost: ["n2", "n3"])
        var random = Xoshiro256(seed: 9)
        try cluster.revive(1, write(plan.rewrite(of: own, at: 1, random: &random), to: disk))
        cluster.run(milliseconds: 5000)

        let resumed = MiniClient(cluster, on: 1)
        var recover = SubscribeOptions()
        recover.recover = Position(epoch: before.epoch, offset: 5)
        resumed.subscribe("room", recover)
        let worker = MiniClient(cluster, on: 1)
        worker.subscribe("room", options)
        cluster.run(milliseconds: 500)
        MiniClient.deliver(cluster, [resumed, worker])
        guard case .success(let told) = resumed.subscribed["room"],
            case .success(let cursor) = worker.subscribed["room"]
        else { throw Failure("not subscribed: \(resumed.subscribed), \(worker.subscribed)") }
        #expect(!told.recovered && told.gap?.reason == .epoch && told.epoch != before.epoch)
        #expect(!cursor.recovered && cursor.gap?.reason == .epoch)
        #expect(worker.received["room"]?.map(\.offset) == [4, 5])
        // Once it has acknowledged something of the new epoch it is not told again.
        try cluster.broker(1).acknowledge(
            worker.session,
            room: RoomName("room"),
            position: Position(epoch: cursor.epoch, offset: 5)
        )
        cluster.run(milliseconds: 3000)
        let next = MiniClient(cluster, on: 1)
        next.subscribe("room", options)
        cluster.run(milliseconds: 500)
        MiniClient.deliver(cluster, [next])
        guard case .success(let again) = next.subscribed["room"] else { throw Failure("not subscribed") }
        #expect(again.recovered && again.gap == nil)
    }

    private func state(_ cluster: MiniCluster, _ number: Int, _ room: String) -> PartitionState? {
        let broker = cluster.broker(number)
        return broker.partitionState(broker.partition(of: RoomName(room)))
    }

    private struct Failure: Error { init(_ reason: String) { Issue.record("\(reason)") } }
}
