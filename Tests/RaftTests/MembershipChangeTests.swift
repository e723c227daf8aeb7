import Primitives
import Raft
import Testing

@Suite("MembershipChange")
struct MembershipChangeTests {
    private func ids(_ raw: UInt64...) -> [NodeID] { raw.map { NodeID($0) } }

    @Test("every change survives encoding")
    func roundTrip() throws {
        let changes: [MembershipChange] = [
            .setLearners([]), .setLearners(ids(9, 4)), .enterJoint(voters: ids(1, .max), learners: ids(7)), .leaveJoint,
        ]
        for change in changes { #expect(try MembershipChange(decoding: change.encoded()) == change) }
    }

    @Test("cut, padded and unknown encodings are refused")
    func malformed() {
        let good = MembershipChange.enterJoint(voters: ids(1, 2), learners: ids(3)).encoded()
        for count in 0..<good.count {
            #expect(throws: DecodeError.truncated) { try MembershipChange(decoding: Array(good.prefix(count))) }
        }
        #expect(throws: DecodeError.trailingBytes(1)) { try MembershipChange(decoding: good + [0]) }
        #expect(throws: DecodeError.unknown(field: "membership change", value: 9)) {
            try MembershipChange(decoding: [9])
        }
        #expect(throws: DecodeError.tooLong(field: "members", length: 2000, limit: 1024)) {
            try MembershipChange(decoding: [1, 0xD0, 0x0F])
        }
    }

    @Test("CL-01 a group takes in every node of the largest cluster, as the control group must")
    func largest() throws {
        let learners = (4...1024).map { NodeID($0) }
        let change = MembershipChange.setLearners(learners)
        #expect(try MembershipChange(decoding: change.encoded()) == change)
        #expect(change.applied(to: Membership(voters: ids(1, 2, 3)))?.learners == learners)
    }

    @Test("a move goes through a joint membership and drops the outgoing voters at its end")
    func move() throws {
        let old = Membership(voters: ids(1, 2, 3), learners: ids(4))
        let joint = try #require(
            MembershipChange.enterJoint(voters: ids(4, 3, 5, 5), learners: ids(2, 4)).applied(to: old)
        )
        #expect(joint == Membership(voters: ids(3, 4, 5), outgoing: ids(1, 2, 3), learners: ids(2)))
        let new = try #require(MembershipChange.leaveJoint.applied(to: joint))
        #expect(new == Membership(voters: ids(3, 4, 5), learners: ids(2)))
    }

    @Test("what does not fit changes nothing")
    func unfit() {
        let plain = Membership(voters: ids(1, 2, 3))
        let joint = Membership(voters: ids(1), outgoing: ids(1, 2, 3))
        #expect(MembershipChange.leaveJoint.applied(to: plain) == nil)
        #expect(MembershipChange.enterJoint(voters: [], learners: []).applied(to: plain) == nil)
        #expect(MembershipChange.enterJoint(voters: ids(1), learners: []).applied(to: joint) == nil)
        #expect(MembershipChange.setLearners(ids(9)).applied(to: joint) == nil)
        #expect(MembershipChange.setLearners(ids(1, 9)).applied(to: plain)?.learners == ids(9))
    }
}
