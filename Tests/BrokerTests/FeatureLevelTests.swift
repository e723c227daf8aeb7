import OwnThread
import Placement
import Primitives
import Raft
import Testing

@testable import Broker

/// The formats that a cluster may use: those that all of its nodes can read.
@Suite(.ownThread(nice: 5)) struct FeatureLevelTests {
    private func levels(_ cluster: MiniCluster, _ numbers: [Int]) -> [UInt16] {
        numbers.map { cluster.broker($0).control.featureLevel }
    }

    @Test("CL-15 a feature level only goes up; a snapshot of before levels is of level 1")
    func state() throws {
        let nodes = [ClusterNode(id: NodeID(1), name: "n1")]
        let table = PlacementTable(epoch: 1, replicas: [[NodeID(1)]])
        var state = ControlState()
        let begin = ControlCommand.initialize(
            nodes: nodes,
            partitions: 1,
            keyPartitions: 0,
            replicationFactor: 1,
            placement: table
        )
        var applied = [state.apply(.setFeatureLevel(2)), state.apply(begin)]
        let former = Array(state.encodeSnapshot().dropFirst(2).dropLast(2))
        #expect(try ControlState(snapshot: former) == state && state.featureLevel == 1)
        let command = try ControlCommand(decoding: ControlCommand.setFeatureLevel(3).encoded())
        applied += [state.apply(command), state.apply(.setFeatureLevel(3)), state.apply(.setFeatureLevel(2))]
        #expect(applied == [false, true, true, false, false])
        #expect(state.featureLevel == 3)
        #expect(try ControlState(snapshot: state.encodeSnapshot()) == state)
    }

    @Test("CL-15 the level is raised, one by one, when every member has told that it can follow, reachable or not")
    func raising() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 2) { $0.featureLevel = 3 }
        cluster.run(milliseconds: 2000)
        #expect(levels(cluster, [1, 2, 3]) == [1, 1, 1], "nobody has told anything")
        cluster.tell([1: 3, 2: 3])
        cluster.run(milliseconds: 2000)
        #expect(levels(cluster, [1, 2, 3]) == [1, 1, 1], "n3 has not told")
        cluster.tell([1: 3, 2: 3, 3: 1])
        cluster.run(milliseconds: 2000)
        #expect(levels(cluster, [1, 2, 3]) == [1, 1, 1], "n3 cannot follow")
        cluster.tell([1: 3, 2: 1, 3: 2])
        cluster.run(milliseconds: 500)
        // n3 goes, and what it told last stands. Whoever leads then knows it.
        cluster.kill(3)
        cluster.run(milliseconds: 3000)
        #expect(levels(cluster, [1, 2]) == [1, 1], "n2 cannot follow")
        cluster.tell([1: 3, 2: 3])
        cluster.run(milliseconds: 2000)
        #expect(levels(cluster, [1, 2]) == [2, 2], "n3 can follow to 2, not to 3")
    }

    @Test("CL-15 CL-19 who asks to join and cannot read the cluster's formats is refused, with both levels")
    func joining() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 2) { $0.featureLevel = 2 }
        cluster.run(milliseconds: 2000)
        cluster.tell([1: 2, 2: 2, 3: 2])
        cluster.run(milliseconds: 3000)
        #expect(levels(cluster, [1, 2, 3]) == [2, 2, 2])
        cluster.tell([1: 2, 2: 2, 3: 2, 4: 1])
        try cluster.join(4)
        cluster.run(milliseconds: 3000)
        #expect(cluster.broker(1).control.member(NodeID(4)) == nil)
        let refusals = cluster.events.filter {
            if case .joinRefused(NodeID(4), "n4", .featureLevel(1, cluster: 2)) = $0.1 { true } else { false }
        }
        #expect(refusals.count == 1, "said once, by the leader")
        cluster.tell([1: 2, 2: 2, 3: 2, 4: 2])
        cluster.run(milliseconds: 3000)
        #expect(cluster.broker(1).control.member(NodeID(4)) != nil)
        #expect(cluster.broker(4).control.featureLevel == 2, "a joiner takes it with the state")
    }

    @Test("CL-15 a program that cannot follow the level on its disk stops with both levels")
    func olderProgram() throws {
        let cluster = try MiniCluster(nodes: 3, partitions: 2) { $0.featureLevel = 2 }
        cluster.run(milliseconds: 2000)
        cluster.tell([1: 2, 2: 2, 3: 2])
        cluster.run(milliseconds: 3000)
        #expect(levels(cluster, [1, 2, 3]) == [2, 2, 2])
        let disk = cluster.disk(3)
        cluster.kill(3)
        try cluster.revive(3, disk) { $0.featureLevel = 1 }
        cluster.run(milliseconds: 2000)
        let reasons = cluster.events.compactMap { node, event in
            if case .fatal(.control, _, let reason) = event, node == NodeID(3) { reason as String? } else { nil }
        }
        #expect(reasons.first?.contains("agreed on feature level 2, and this program supports 1") == true)
    }
}
