import Broker
import OwnThread
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms
import Testing

/// Nodes that come and go while messages flow; on a perfect network, so that only the rules are watched.
@Suite(.ownThread(nice: 5)) struct MembershipTests {
    /// Publishes to some rooms all the time, and knows what must come of it.
    private final class Load {
        let cluster: MiniCluster
        let publisher: MiniClient
        let reader: MiniClient
        let rooms = (0..<8).map { "room-\($0)" }
        private var commands: [UInt64] = []
        private var rounds = 0

        init(_ cluster: MiniCluster, from: Int, to: Int) {
            self.cluster = cluster
            publisher = MiniClient(cluster, on: from)
            reader = MiniClient(cluster, on: to)
            for room in rooms { reader.subscribe(room) }
            cluster.run(milliseconds: 20)
        }

        func run(milliseconds: Int, until done: () -> Bool = { false }) {
            for _ in 0..<(milliseconds / 20) where !done() {
                for room in rooms { commands.append(publisher.publish(room, "\(rounds)")) }
                rounds += 1
                cluster.run(milliseconds: 20)
            }
        }

        /// Everything was acknowledged once, and was read in order.
        func check() {
            cluster.run(milliseconds: 1500)
            MiniClient.deliver(cluster, [publisher, reader])
            for command in commands {
                guard case .success = publisher.published[command] else {
                    Issue.record("publish \(command): \(String(describing: publisher.published[command]))")
                    return
                }
            }
            for room in rooms {
                #expect(reader.received[room]?.map(\.text) == (0..<rounds).map(String.init), "\(room)")
                #expect(reader.received[room]?.map(\.offset) == (0..<rounds).map { UInt64($0 + 1) }, "\(room)")
            }
        }
    }

    private func replicas(_ table: PlacementTable, of number: Int) -> Int {
        table.partitions(of: NodeID(UInt64(number))).count
    }

    @Test("CL-01 CL-05 CL-06 LB-08 RC-08 a fourth node takes a quarter of the replicas over while messages flow")
    func fourth() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 64)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        load.run(milliseconds: 200)
        let before = try #require(cluster.broker(1).placement)
        try cluster.join(4)
        load.run(milliseconds: 60_000) { cluster.hasPlaced(4) && cluster.isPlaced(on: [1, 2, 3, 4]) }
        #expect(cluster.isPlaced(on: [1, 2, 3, 4]))
        let after = try #require(cluster.broker(4).placement)
        let moved = after.changes(from: before).reduce(0) { $0 + $1.added.count }
        #expect(Double(moved) <= 1.2 * 64 * 3 / 4, "\(moved) replicas moved")
        let balance = after.balance(over: (1...4).map { NodeID(UInt64($0)) })
        #expect(balance.replicaMaxOverMean <= 1.1)
        // What was given away is gone, and the preferred owners serve.
        load.run(milliseconds: 120_000) {
            (1...4).allSatisfy { number in
                cluster.broker(number).status().partitions.count { $0.isLocal } == replicas(after, of: number)
            }
                && after.replicas.indices.allSatisfy { row in
                    cluster.brokers[after.replicas[row][0]]?.isServing(PartitionID(UInt32(row))) == true
                }
        }
        for number in 1...4 {
            let status = cluster.broker(number).status()
            #expect(status.partitions.count { $0.isLocal } == replicas(after, of: number), "node \(number)")
        }
        #expect(after.replicas.filter { $0[0] == NodeID(4) }.count == 16)
        for row in after.replicas.indices {
            #expect(cluster.brokers[after.replicas[row][0]]?.isServing(PartitionID(UInt32(row))) == true, "\(row)")
        }
        load.check()
    }

    @Test("CL-13 what is left of a replica that was removed is not called damaged, and is filled where it is needed")
    func remains() throws {
        var left = RestoredReplica(hardState: HardState(term: 3, vote: NodeID(1), commit: 0), isFaulty: true)
        let damaged = left
        left.isRemoved = true
        let groups = (0..<2).map { GroupID(partition: PartitionID(UInt32($0))) }
        let cluster = try MiniCluster(restored: [(groups[0], left), (groups[1], damaged)])
        cluster.run(milliseconds: 10_000)
        var told: [GroupID: String] = [:]
        for (_, event) in cluster.events {
            switch event {
            case .replicaRemains(let group): told[group, default: ""] += "remains"
            case .replicaFaulty(let group): told[group, default: ""] += "damaged"
            case .snapshotInstalled(let group, _): told[group, default: ""] += ", filled"
            default: break
            }
        }
        #expect(told == [groups[0]: "remains, filled", groups[1]: "damaged, filled"])
    }

    @Test("CL-01 a single node grows into three, and three into five, without a restart")
    func growth() throws {
        let cluster = try MiniCluster(nodes: 1, partitions: 8) { $0.replicationFactor = 3 }
        cluster.run(milliseconds: 500)
        let load = Load(cluster, from: 1, to: 1)
        load.run(milliseconds: 200)
        for number in 2...5 {
            try cluster.join(number)
            load.run(milliseconds: 60_000) {
                cluster.hasPlaced(number) && cluster.isPlaced(on: Array(1...number))
            }
            #expect(cluster.isPlaced(on: Array(1...number)), "\(number) nodes")
            let table = try #require(cluster.broker(number).placement)
            #expect(table.replicas.allSatisfy { $0.count == min(3, number) })
        }
        cluster.run(milliseconds: 2000)
        let control = try #require(cluster.broker(1).raftNode(.control))
        #expect(control.membership.voters.count == 5)
        load.check()
    }

    @Test("CL-06 a node that leaves hands everything over, and is let go when nobody counts on it")
    func leaving() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 16)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 3)
        #expect(cluster.request(1, .forget(NodeID(2))) == .refused("it is up: let it leave instead"))
        #expect(cluster.request(1, .setLeaving(NodeID(2), true)) == .accepted)
        load.run(milliseconds: 60_000) {
            cluster.events.contains { event in
                guard case (NodeID(2), .left) = event else { return false }
                return true
            }
        }
        #expect(cluster.isPlaced(on: [1, 3, 4]))
        #expect(cluster.broker(1).placement?.nodes == [NodeID(1), NodeID(3), NodeID(4)])
        #expect(cluster.broker(1).control.member(NodeID(2)) == nil)
        #expect(cluster.broker(2).status().partitions.allSatisfy { !$0.isLocal })
        for number in [1, 3, 4] {
            #expect(cluster.broker(number).raftNode(.control)?.membership.members.contains(NodeID(2)) == false)
        }
        load.check()
    }

    @Test("CL-06 a node that has joined leaves in the same life")
    func joinedAndLeaving() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 16)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 3)
        try cluster.join(4)
        load.run(milliseconds: 60_000) { cluster.hasPlaced(4) && cluster.isPlaced(on: [1, 2, 3, 4]) }
        #expect(cluster.isPlaced(on: [1, 2, 3, 4]))
        func hasLeft(_ number: Int) -> Bool {
            cluster.events.contains { event in
                guard case (NodeID(UInt64(number)), .left) = event else { return false }
                return true
            }
        }
        #expect(!hasLeft(4), "it waited to be admitted")
        #expect(cluster.request(1, .setLeaving(NodeID(4), true)) == .accepted)
        load.run(milliseconds: 60_000) { hasLeft(4) }
        #expect(hasLeft(4))
        #expect(cluster.isPlaced(on: [1, 2, 3]))
        load.check()
    }

    @Test(
        "CL-08 a node that stays away is replaced after the delay, not before, and takes its part again when it returns"
    )
    func replaced() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 16) { $0.replaceAfter = .seconds(5) }
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        cluster.kill(3)
        load.run(milliseconds: 4000)
        #expect(cluster.broker(1).placement?.nodes.contains(NodeID(3)) == true, "a blip must not move data")
        load.run(milliseconds: 60_000) {
            cluster.broker(1).placement?.nodes.contains(NodeID(3)) == false && cluster.isPlaced(on: [1, 2, 4])
        }
        #expect(cluster.isPlaced(on: [1, 2, 4]))
        // The next control leader does not know how long it has been away, and has no reason to count on it.
        let leader = try #require(cluster.controlLeader)
        cluster.broker(leader).resign()
        load.run(milliseconds: 3000)
        #expect(cluster.controlLeader != leader)
        #expect(cluster.broker(1).placement?.nodes.contains(NodeID(3)) == false)
        load.check()
    }

    @Test("CL-08 whom only the control leader does not reach is neither forgotten nor loses its name")
    func oneLink() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 8)
        cluster.run(milliseconds: 1500)
        let leader = try #require(cluster.controlLeader)
        let other = leader == 4 ? 3 : 4
        cluster.disconnect(leader, other)
        try cluster.join(14, as: "n\(other)")
        cluster.run(milliseconds: 10_000)
        #expect(cluster.controlLeader == leader)
        #expect(cluster.broker(leader).control.member(NodeID(UInt64(other))) != nil)
        #expect(cluster.request(leader, .forget(NodeID(UInt64(other)))) == .refused("it is up: let it leave instead"))
    }

    @Test("DL-06 a replica whose records were lost without a trace gives no vote before it is filled")
    func lostRecords() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 8)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        load.run(milliseconds: 1000)
        // What 1 and 2 have acknowledged is on no other disk: 3 heard nothing of it.
        cluster.blackhole(3)
        load.run(milliseconds: 1000)
        cluster.kill(2)
        _ = try cluster.restart(1, hasLostRecords: true)
        cluster.heal()
        for _ in 0..<100 {
            cluster.run(milliseconds: 100)
            for partition in (0..<8).map({ PartitionID($0) }) {
                #expect(!cluster.broker(1).isServing(partition), "elected without its entries")
                #expect(!cluster.broker(3).isServing(partition), "elected by one that has forgotten its entries")
            }
        }
    }

    @Test("CL-06 a joiner that dies before it knows who votes still does not know it in its next life")
    func joinerDies() throws {
        var settings = BrokerSettings(
            node: NodeID(4),
            nodes: [ClusterNode(id: NodeID(4), name: "n4")],
            controlVoters: [],
            partitions: 8,
            replicationFactor: 3,
            namespaces: MiniCluster.namespaces,
            seed: 4
        )
        settings.isJoining = true
        // A heartbeat has raised its term.
        let kept = RestoredReplica(hardState: HardState(term: 7, vote: nil, commit: 0))
        let broker = try Broker(settings: settings, restored: [(.control, kept)], now: .zero, wall: 0)
        #expect(broker.raftNode(.control)?.status().isFaulty == true)
    }

    @Test("CL-05 a name whose disk was wiped comes back as a new learner; one that is up keeps its name")
    func wiped() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 8)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        try cluster.join(13, as: "n3")
        load.run(milliseconds: 2000)
        #expect(cluster.broker(1).control.member(NodeID(13)) == nil)
        #expect(
            cluster.events.contains { _, event in
                if case .joinRefused(NodeID(13), "n3", .nameIsTaken) = event { true } else { false }
            }
        )
        cluster.kill(3)
        load.run(milliseconds: 4000)
        #expect(cluster.broker(1).control.member(NodeID(13)) == nil, "a restart does not cost a node its name")
        load.run(milliseconds: 60_000) { cluster.hasPlaced(13) && cluster.isPlaced(on: [1, 2, 13]) }
        #expect(cluster.isPlaced(on: [1, 2, 13]))
        #expect(cluster.broker(13).control.members.map(\.id) == [NodeID(1), NodeID(2), NodeID(13)])
        load.check()
    }

    @Test("CL-06 DL-11 a damaged voter that the table names no more is filled while its group still counts on it")
    func damagedAndMoved() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 1)
        cluster.run(milliseconds: 1500)
        let group = GroupID(partition: PartitionID(0))
        let table = try #require(cluster.broker(1).placement)
        let absent = try #require((1...4).first { !table.replicas[0].contains(NodeID(UInt64($0))) })
        let owner = Int(table.replicas[0][0].rawValue)
        let other = try #require((1...4).first { $0 != owner && $0 != absent })
        let load = Load(cluster, from: other, to: other)
        load.run(milliseconds: 200)
        // The partition is to move to a node that nothing reaches: the voters stay who they were.
        cluster.blackhole(absent)
        #expect(cluster.request(other, .move(PartitionID(0), NodeID(UInt64(absent)))) == .accepted)
        load.run(milliseconds: 1000)
        #expect(cluster.broker(other).placement?.replicas[0].contains(NodeID(UInt64(owner))) == false)
        let raft = try #require(cluster.broker(owner).raftNode(group))
        #expect(raft.membership.voters == table.replicas[0].sorted())
        // What is left of its disk is damaged.
        let vote = HardState(term: raft.term, vote: raft.vote, commit: 0)
        try cluster.restart(
            owner,
            restored: [
                (.control, RestoredReplica(isFaulty: true)), (group, RestoredReplica(hardState: vote, isFaulty: true)),
            ]
        )
        load.run(milliseconds: 30_000) {
            cluster.broker(owner).raftNode(group).map { !$0.isFaulty && $0.commitIndex > raft.commitIndex } == true
        }
        let filled = try #require(cluster.broker(owner).raftNode(group))
        #expect(!filled.isFaulty && filled.membership.voters == table.replicas[0].sorted())
        load.check()
    }

    @Test("LB-04 LB-05 T-20 a node's weight changes its share, a few copies at a time, while messages flow")
    func weights() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 32) { $0.replicationFactor = 2 }
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        let before = try #require(cluster.broker(1).placement)
        #expect(replicas(before, of: 3) == 16)
        #expect(cluster.request(2, .setWeight(NodeID(3), 0)) == .refused("a weight is 1 to 100"))
        #expect(cluster.request(2, .setWeight(NodeID(3), 3)) == .accepted)
        var filling = 0
        load.run(milliseconds: 120_000) {
            let new = (1...4).map { number in
                cluster.broker(number).status().partitions.count { $0.isFaulty && $0.commit > 0 }
            }
            filling = max(filling, new.max() ?? 0)
            return cluster.broker(1).placement != before && cluster.isPlaced(on: [1, 2, 3, 4])
        }
        let after = try #require(cluster.broker(1).placement)
        // Half of 64 copies, but never two of one partition.
        #expect(replicas(after, of: 3) == 32)
        #expect(replicas(after, of: 1) <= 11)
        #expect(filling <= 1)
        load.check()
    }

    @Test("CL-14 CL-16 a partition moves by command and stays there; rebalance says first what it would move")
    func moves() throws {
        let cluster = try MiniCluster(nodes: 4, partitions: 16)
        cluster.run(milliseconds: 1500)
        let load = Load(cluster, from: 1, to: 2)
        let before = try #require(cluster.broker(1).placement)
        let partition = PartitionID(3)
        let target = try #require(
            (1...4).map { NodeID(UInt64($0)) }.first { !before.replicas(of: partition).contains($0) }
        )
        #expect(cluster.request(2, .plan) == .plan([]))
        #expect(cluster.request(2, .move(partition, target)) == .accepted)
        load.run(milliseconds: 30_000) { cluster.brokers[target]?.isServing(partition) == true }
        #expect(cluster.brokers[target]?.isServing(partition) == true)
        #expect(cluster.request(2, .move(PartitionID(99), target)) == .refused("there is no \(PartitionID(99))"))
        // Give the target more than its share, until a rebalance has something to do.
        for row in 4...9 {
            _ = cluster.request(1, .move(PartitionID(UInt32(row)), target))
            load.run(milliseconds: 1000)
        }
        guard case .plan(let planned) = cluster.request(3, .plan) else {
            Issue.record("no plan")
            return
        }
        #expect(!planned.isEmpty)
        #expect(cluster.request(3, .rebalance) == .plan(planned))
        load.run(milliseconds: 60_000) { cluster.isPlaced(on: [1, 2, 3, 4]) }
        #expect(cluster.request(3, .plan) == .plan([]))
        load.check()
    }
}
