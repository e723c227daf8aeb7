import Primitives

/// A change of a group's membership, carried by an entry of kind `.membership` and effective when applied.
package enum MembershipChange: Equatable, Sendable {
    /// Replaces the learners. Refused in a joint membership; voters among them are left out.
    case setLearners([NodeID])
    /// Begins the move to new voters and learners: until `.leaveJoint` both majorities must agree. An outgoing voter
    /// may be named as a learner; it becomes one when the joint membership is left.
    case enterJoint(voters: [NodeID], learners: [NodeID])
    /// Ends the move: the outgoing voters are dropped.
    case leaveJoint
    /// These vote from here on, whoever did before: written into the log on disk when a majority is lost for good, and
    /// never proposed, because it asks no former majority.
    case recover(voters: [NodeID])

    /// Members of each kind that a change may name: the control group has every node of the largest cluster.
    package static let maxMembers = 1024

    /// The membership after this change; nil when it does not fit, in which case applying it changes nothing.
    package func applied(to membership: Membership) -> Membership? {
        switch self {
        case .setLearners(let learners):
            guard !membership.isJoint, learners.count <= Self.maxMembers else { return nil }
            let kept = Self.unique(learners).filter { !membership.isVoter($0) }
            return Membership(voters: membership.voters, learners: kept)
        case .enterJoint(let voters, let learners):
            let voters = Self.unique(voters)
            guard !membership.isJoint, !voters.isEmpty, voters.count <= Self.maxMembers,
                learners.count <= Self.maxMembers
            else { return nil }
            let kept = Self.unique(learners).filter { !voters.contains($0) }
            return Membership(voters: voters, outgoing: membership.voters, learners: kept)
        case .leaveJoint:
            guard membership.isJoint else { return nil }
            return Membership(voters: membership.voters, learners: membership.learners)
        case .recover(let voters):
            let voters = Self.unique(voters)
            guard !voters.isEmpty, voters.count <= Self.maxMembers else { return nil }
            return Membership(voters: voters)
        }
    }

    /// Layout: tag byte (1 learners, 2 enter, 3 leave, 4 recover), then each list as a varint count and u64 ids.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        switch self {
        case .setLearners(let learners):
            writer.write(UInt8(1))
            Self.write(learners, to: &writer)
        case .enterJoint(let voters, let learners):
            writer.write(UInt8(2))
            Self.write(voters, to: &writer)
            Self.write(learners, to: &writer)
        case .leaveJoint:
            writer.write(UInt8(3))
        case .recover(let voters):
            writer.write(UInt8(4))
            Self.write(voters, to: &writer)
        }
        return writer.bytes
    }

    package init(decoding data: [UInt8]) throws(DecodeError) {
        let result: Result<MembershipChange, DecodeError> = data.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                let change = try Self.read(&reader)
                try reader.expectEnd()
                return .success(change)
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    private static func read(_ reader: inout ByteReader) throws(DecodeError) -> MembershipChange {
        let tag = try reader.readByte()
        switch tag {
        case 1: return .setLearners(try readList(&reader))
        case 2:
            let voters = try readList(&reader)
            return .enterJoint(voters: voters, learners: try readList(&reader))
        case 3: return .leaveJoint
        case 4: return .recover(voters: try readList(&reader))
        default: throw .unknown(field: "membership change", value: UInt64(tag))
        }
    }

    private static func readList(_ reader: inout ByteReader) throws(DecodeError) -> [NodeID] {
        let count = try reader.readCount(limit: maxMembers, "members")
        var list: [NodeID] = []
        list.reserveCapacity(count)
        for _ in 0..<count { list.append(NodeID(try reader.read(UInt64.self))) }
        return list
    }

    private static func write(_ list: [NodeID], to writer: inout ByteWriter) {
        writer.writeVarint(UInt64(list.count))
        for id in list { writer.write(id.rawValue) }
    }

    private static func unique(_ list: [NodeID]) -> [NodeID] {
        var result: [NodeID] = []
        for id in list.sorted() where result.last != id { result.append(id) }
        return result
    }
}
