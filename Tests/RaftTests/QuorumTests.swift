import Primitives
import Raft
import Testing

@Suite("Quorum")
struct QuorumTests {
    @Test(
        "a majority has reached the middle value",
        arguments: [
            ([], UInt64.max), ([7], 7), ([7, 3], 3), ([1, 9, 5], 5), ([1, 2, 3, 4], 2), ([9, 1, 8, 2, 5], 5),
            ([0, 0, 4, 4, 4], 4), ([0, 0, 0, 4, 4], 0),
        ] as [([UInt64], UInt64)]
    )
    func majority(values: [UInt64], expected: UInt64) { #expect(Quorum.majorityValue(values) == expected) }

    @Test("the majority value is what counting says, for random values")
    func counting() {
        var random = Xoshiro256(seed: 3)
        for _ in 0..<500 {
            let values = (0..<(1 + random.below(7))).map { _ in random.below(6) }
            let result = Quorum.majorityValue(values)
            let majority = values.count / 2 + 1
            #expect(values.filter { $0 >= result }.count >= majority)
            #expect(values.filter { $0 > result }.count < majority)
        }
    }

    private func vote(_ membership: Membership, yes: [UInt64], no: [UInt64]) -> Quorum.VoteResult {
        Quorum.voteResult(membership, granted: yes.map { NodeID($0) }, rejected: no.map { NodeID($0) })
    }

    @Test("an election needs a majority and is lost when none is possible any more")
    func votes() {
        let three = Membership(voters: [NodeID(1), NodeID(2), NodeID(3)])
        #expect(vote(three, yes: [1], no: []) == .pending)
        #expect(vote(three, yes: [1, 2], no: []) == .won)
        #expect(vote(three, yes: [1], no: [2, 3]) == .lost)
        #expect(vote(three, yes: [1, 8, 9], no: []) == .pending)
        let four = Membership(voters: (1...4).map { NodeID($0) })
        #expect(vote(four, yes: [1, 2], no: []) == .pending)
        #expect(vote(four, yes: [1, 2], no: [3, 4]) == .lost)
    }

    @Test("a joint membership needs both majorities")
    func jointVotes() {
        let joint = Membership(voters: (4...6).map { NodeID($0) }, outgoing: (1...3).map { NodeID($0) })
        #expect(vote(joint, yes: [1, 2, 3], no: []) == .pending)
        #expect(vote(joint, yes: [4, 5, 6], no: []) == .pending)
        #expect(vote(joint, yes: [1, 2, 4, 5], no: []) == .won)
        #expect(vote(joint, yes: [1, 2, 3], no: [4, 5]) == .lost)
    }

    @Test("a joint value is the smaller of both majorities' values, learners aside")
    func jointValue() {
        func progress(_ id: UInt64, _ value: LogIndex, isVoter: Bool, isOutgoing: Bool) -> Progress {
            var progress = Progress(id: NodeID(id), next: 1, settings: RaftSettings())
            progress.isVoter = isVoter
            progress.isOutgoingVoter = isOutgoing
            _ = progress.acceptedThrough(value)
            return progress
        }
        let all = [
            progress(1, 9, isVoter: true, isOutgoing: true), progress(2, 9, isVoter: false, isOutgoing: true),
            progress(3, 9, isVoter: false, isOutgoing: true), progress(4, 5, isVoter: true, isOutgoing: false),
            progress(5, 2, isVoter: true, isOutgoing: false), progress(6, 99, isVoter: false, isOutgoing: false),
        ]
        #expect(Quorum.jointValue(all) { $0.match } == 5)
        let mirrored = all.map { member in
            progress(member.id.rawValue, member.match, isVoter: member.isOutgoingVoter, isOutgoing: member.isVoter)
        }
        #expect(Quorum.jointValue(mirrored) { $0.match } == 5)
        #expect(Quorum.jointValue(Array(all.filter { $0.isOutgoingVoter })) { $0.match } == 9)
    }
}
