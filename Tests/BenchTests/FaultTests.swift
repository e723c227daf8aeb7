import Foundation
import Primitives
import Testing

@testable import bench

@Suite("The matrix of faults")
struct FaultTests {
    @Test("CL-10 every cell cuts what its name says, and nothing else")
    func drops() {
        typealias Drop = FaultNetwork.Drop
        #expect(FaultCell.kill.drops(victim: 1, nodes: 3) == [])
        // The victim's packets arrive, and it receives nothing.
        #expect(FaultCell.sendOnly.drops(victim: 1, nodes: 3) == [Drop(from: 0, to: 1), Drop(from: 2, to: 1)])
        #expect(FaultCell.receiveOnly.drops(victim: 1, nodes: 3) == [Drop(from: 1, to: 0), Drop(from: 1, to: 2)])
        #expect(FaultCell.pair.drops(victim: 4, nodes: 5) == [Drop(from: 4, to: 0), Drop(from: 0, to: 4)])
        let blackhole = FaultCell.blackhole.drops(victim: 0, nodes: 5)
        #expect(blackhole.count == 8 && blackhole.allSatisfy { ($0.from == 0) != ($0.to == 0) && $0.percent == 100 })
        #expect(FaultCell.loss.drops(victim: 0, nodes: 5).allSatisfy { $0.percent == 20 })
        // Two of five, one of three; what stays on one side is not cut.
        #expect(FaultCell.split.side(of: 4, nodes: 5) == [4, 0])
        #expect(FaultCell.split.side(of: 2, nodes: 3) == [2])
        let split = FaultCell.split.drops(victim: 4, nodes: 5)
        #expect(split.count == 12)
        #expect(split.allSatisfy { [4, 0].contains($0.from) != [4, 0].contains($0.to) })
    }

    @Test("the rules of a node drop what is for it, replace all earlier ones, and end with none")
    func rules() {
        let hosts = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
        let drops = [FaultNetwork.Drop(from: 0, to: 1), FaultNetwork.Drop(from: 2, to: 1, percent: 20)]
        let text = FaultNetwork.rules(of: 1, hosts: hosts, drops)
        #expect(text.contains("flush chain ip faults input; add rule ip faults input ip saddr 10.77.0.1 drop; "))
        #expect(text.hasSuffix("add rule ip faults input ip saddr 10.77.0.3 numgen random mod 100 < 20 drop"))
        #expect(FaultNetwork.rules(of: 0, hosts: hosts, drops).hasSuffix("flush chain ip faults input"))
    }

    @Test("CL-12 a silence counts from its beginning, and to the end of the window")
    func silences() {
        let milliseconds: [UInt64] = [10, 20, 30, 130, 140].map { $0 * 1_000_000 }
        func longest(_ began: UInt64, _ end: UInt64) -> Double {
            FaultSilence.longest(milliseconds, began * 1_000_000, end * 1_000_000)
        }
        #expect(longest(0, 50) == 20)
        #expect(longest(60, 135) == 100)
        #expect(longest(135, 400) == 260)
        #expect(FaultSilence.longest([], 5_000_000, 7_000_000) == 2)
        #expect(percentile(99, of: []) == nil)
        #expect(percentile(50, of: [3, 1, 2]) == 2)
        #expect(percentile(99, of: (1...200).map(Double.init)) == 198)
        #expect(percentile(100, of: [3, 1, 2]) == 3)
    }

    @Test("CL-13 what nodes recorded is counted by its kind")
    func incidents() {
        var count = IncidentCount()
        for (kind, text) in [
            ("peer", "n1 is suspected after 401 ms of silence"), ("peer", "n1 is heard again"),
            ("owner", "n2 owns p7 in term 3, 431 ms after its last owner was heard"),
            ("owner", "n2 owns p8 in term 3, 77 ms after its last owner was heard"),
            ("owner", "n2 no longer owns p7 (term 4); n1 leads"),
            ("quorum", "p3 has no owner: guaranteed publishes are refused"), ("quorum", "p3 has an owner again"),
        ] { count.add(NodeStatus.Event(time: 1, kind: kind, text: text)) }
        #expect(count.suspected == 1 && count.heardAgain == 1 && count.quorumLost == 1)
        #expect(count.takeovers == 2 && count.slowestTakeover == 431)
    }

    @Test("CL-10 ownerships are counted over nodes that answer, that do not, and that begin anew")
    func ownerships() {
        var before = OwnershipCount([])
        var after = before
        before.won = [10, 20, 30, nil]
        after.won = [12, nil, 4, 7]
        #expect(after.since(before) == 2 + 4)
        #expect(NodeStatus.ownershipsWon(in: "# HELP x\nvencejo_ownerships_won_total{node=\"n1\"} 41\n") == 41)
        #expect(NodeStatus.ownershipsWon(in: "nothing") == nil)
    }

    @Test("CL-11 a placement has settled when every node has what it gives it, and nothing else")
    func settled() throws {
        func status(
            _ node: String,
            epoch: Int = 2,
            names: [String],
            replicas: [String],
            role: String
        ) throws -> NodeStatus {
            let members = names.map { #"{"name":"\#($0)"}"# }.joined(separator: ",")
            let list = replicas.map { #""\#($0)""# }.joined(separator: ",")
            let text = #"""
                {"node":"\#(node)","degraded":false,"placementEpoch":\#(epoch),"nodes":[\#(members)],"events":[],
                "partitions":[{"id":0,"owner":"n1","replicas":[\#(list)],"role":"\#(role)","degraded":false}]}
                """#
            return try JSONDecoder().decode(NodeStatus.self, from: Data(text.utf8))
        }
        let both = ["n1", "n2"]
        let old = try status("n1", epoch: 1, names: ["n1"], replicas: ["n1"], role: "leader")
        let first = try status("n1", names: both, replicas: both, role: "leader")
        let second = try status("n2", names: both, replicas: both, role: "follower")
        #expect(NodeStatus.isSettled([first, second], "n2", isMember: true))
        #expect(!NodeStatus.isSettled([first, second], "n2", isMember: false))
        #expect(NodeStatus.isSettled([old], "n2", isMember: false))
        #expect(!NodeStatus.isSettled([old, second], "n2", isMember: true))
        let empty = try status("n2", names: both, replicas: both, role: "none")
        #expect(!NodeStatus.isSettled([first, empty], "n2", isMember: true))
        let surplus = try status("n3", names: both, replicas: both, role: "follower")
        #expect(!NodeStatus.isSettled([first, second, surplus], "n2", isMember: true))

        let change = PlacementChange(from: old, to: first, seconds: 1)
        #expect(change.moved == 1 && change.replicas == 2 && change.share == 0.5 && change.mostToMean == 1)
    }

    @Test("CL-21 an isolated node that acknowledges, refuses for good or says nothing is found out")
    func isolation() {
        var finding = IsolationProbe.Finding()
        finding.degradedAfter = 1.7
        (finding.refusedForNow, finding.bestEffortRooms, finding.bestEffortDelivered) = (8, 8, 8)
        #expect(finding.faults == [])
        finding.acknowledged = 1
        #expect(finding.faults.count == 1)
        finding = IsolationProbe.Finding()
        finding.bestEffortRooms = 8
        #expect(finding.faults.count == 3)
    }
}
