import Primitives

/// A replica at a glance, for status pages and metrics.
package struct RaftStatus: Equatable, Sendable {
    /// One member as the leader sees it.
    package struct Peer: Equatable, Sendable {
        package var id: NodeID
        package var isLearner: Bool
        package var state: Progress.State
        package var match: LogIndex
        package var next: LogIndex
        package var inflightMessages: Int
        package var inflightBytes: Int
        package var isRecentlyActive: Bool
    }

    package var id: NodeID
    package var group: GroupID
    package var role: Role
    package var term: Term
    package var vote: NodeID?
    package var leader: NodeID?
    package var firstIndex: LogIndex
    package var lastIndex: LogIndex
    package var stableIndex: LogIndex
    package var commitIndex: LogIndex
    package var appliedIndex: LogIndex
    package var membership: Membership
    package var transferTarget: NodeID?
    package var uncommittedBytes: Int
    package var pendingReads: Int
    package var isFaulty: Bool
    package var anomalies: RaftAnomalies
    /// Sorted by id; empty unless leader.
    package var peers: [Peer]
}

extension RaftNode {
    package func status() -> RaftStatus {
        RaftStatus(
            id: id,
            group: group,
            role: role,
            term: term,
            vote: vote,
            leader: leader,
            firstIndex: log.firstIndex,
            lastIndex: log.lastIndex,
            stableIndex: log.stable,
            commitIndex: log.commit,
            appliedIndex: log.applied,
            membership: membership,
            transferTarget: transferTarget,
            uncommittedBytes: uncommittedBytes,
            pendingReads: reads.count,
            isFaulty: isFaulty,
            anomalies: anomalies,
            peers: progress.map { peer in
                RaftStatus.Peer(
                    id: peer.id,
                    isLearner: !peer.isVoter && !peer.isOutgoingVoter,
                    state: peer.state,
                    match: peer.match,
                    next: peer.next,
                    inflightMessages: peer.inflights.count,
                    inflightBytes: peer.inflights.bytes,
                    isRecentlyActive: peer.isRecentlyActive
                )
            }
        )
    }
}
