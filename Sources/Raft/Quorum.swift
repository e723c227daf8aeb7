import Primitives

/// Majorities of one membership, or of both halves of a joint one (Raft thesis, 4.3).
package enum Quorum {
    package enum VoteResult: Equatable, Sendable {
        case pending
        case won
        case lost
    }

    /// The largest value that a majority has reached. An empty half of a joint membership agrees to everything.
    package static func majorityValue(_ values: UnsafeMutableBufferPointer<UInt64>) -> UInt64 {
        guard !values.isEmpty else { return .max }
        // Insertion sort: memberships are small, and this must not allocate.
        for end in 1..<max(values.count, 1) {
            let value = values[end]
            var hole = end
            while hole > 0, values[hole - 1] > value {
                values[hole] = values[hole - 1]
                hole -= 1
            }
            values[hole] = value
        }
        return values[values.count - (values.count / 2 + 1)]
    }

    package static func majorityValue(_ values: [UInt64]) -> UInt64 {
        var copy = values
        return copy.withUnsafeMutableBufferPointer { majorityValue($0) }
    }

    /// The largest value that both majorities have reached, `value` being asked once for each voter of each half.
    package static func jointValue(_ progress: [Progress], _ value: (borrowing Progress) -> UInt64) -> UInt64 {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: progress.count) { buffer in
            var count = 0
            for index in progress.indices where progress[index].isVoter {
                buffer.initializeElement(at: count, to: value(progress[index]))
                count += 1
            }
            let incoming = majorityValue(UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
            count = 0
            for index in progress.indices where progress[index].isOutgoingVoter {
                buffer.initializeElement(at: count, to: value(progress[index]))
                count += 1
            }
            let outgoing = majorityValue(UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
            return min(incoming, outgoing)
        }
    }

    /// The outcome of an election so far.
    package static func voteResult(_ membership: Membership, granted: [NodeID], rejected: [NodeID]) -> VoteResult {
        let incoming = voteResult(membership.voters, granted: granted, rejected: rejected)
        guard membership.isJoint else { return incoming }
        let outgoing = voteResult(membership.outgoing, granted: granted, rejected: rejected)
        if incoming == .lost || outgoing == .lost { return .lost }
        return incoming == .won && outgoing == .won ? .won : .pending
    }

    private static func voteResult(_ voters: [NodeID], granted: [NodeID], rejected: [NodeID]) -> VoteResult {
        var yes = 0
        var no = 0
        for voter in voters {
            if granted.contains(voter) { yes += 1 } else if rejected.contains(voter) { no += 1 }
        }
        let majority = voters.count / 2 + 1
        if yes >= majority { return .won }
        return voters.count - no < majority ? .lost : .pending
    }
}
