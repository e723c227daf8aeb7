/// Limits and timers of a Raft group. Time is counted in ticks; the shell decides how long a tick is.
package struct RaftSettings: Equatable, Sendable {
    /// Election timeout in ticks: a follower campaigns after a random `electionTicks ..< 2 * electionTicks` of silence.
    /// Also the length of the vote lease, of the CheckQuorum window and of a leadership transfer.
    package var electionTicks: Int
    /// Ticks between two heartbeats of a leader; must be well below `electionTicks`.
    package var heartbeatTicks: Int
    /// Bytes of entries in one AppendEntries; one entry always fits.
    package var maxEntriesBytesPerMessage: Int
    /// AppendEntries with entries that a follower may leave unanswered.
    package var maxInflightMessages: Int
    /// Bytes of entries that a follower may leave unanswered; the message that crosses the limit still goes out.
    package var maxInflightBytes: Int
    /// Bytes of a leader's own proposals that are not committed yet; above it `propose` answers `.busy`.
    package var maxUncommittedBytes: Int
    /// Bytes of entries in one `Ready.committed`; one entry always fits.
    package var maxCommittedBytesPerReady: Int
    /// Reads that wait for a quorum; above it `readIndex` answers false.
    package var maxPendingReads: Int
    /// The leader proposes `.leaveJoint` by itself once the joint membership is applied, also after a leader change.
    package var leavesJointAutomatically: Bool
    /// PLANTED BUG, for the simulator's proof of itself; never true elsewhere: commits by counting old terms' entries.
    package var countsOldTerms = false

    package init(
        electionTicks: Int = 12,
        heartbeatTicks: Int = 2,
        maxEntriesBytesPerMessage: Int = 256 << 10,
        maxInflightMessages: Int = 256,
        maxInflightBytes: Int = 4 << 20,
        maxUncommittedBytes: Int = 16 << 20,
        maxCommittedBytesPerReady: Int = 1 << 20,
        maxPendingReads: Int = 65_536,
        leavesJointAutomatically: Bool = true
    ) {
        precondition(heartbeatTicks > 0 && electionTicks > heartbeatTicks, "electionTicks must exceed heartbeatTicks")
        precondition(maxInflightMessages > 0 && maxInflightBytes > 0, "a follower needs at least one message in flight")
        self.electionTicks = electionTicks
        self.heartbeatTicks = heartbeatTicks
        self.maxEntriesBytesPerMessage = maxEntriesBytesPerMessage
        self.maxInflightMessages = maxInflightMessages
        self.maxInflightBytes = maxInflightBytes
        self.maxUncommittedBytes = maxUncommittedBytes
        self.maxCommittedBytesPerReady = maxCommittedBytesPerReady
        self.maxPendingReads = maxPendingReads
        self.leavesJointAutomatically = leavesJointAutomatically
    }
}
