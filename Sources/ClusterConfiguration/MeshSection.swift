import Primitives

extension ClusterConfiguration {
    /// `[mesh]`: the links between the nodes.
    package struct Mesh: Sendable, Equatable {
        /// Bytes of live messages that may wait for one peer; above it the link is reset.
        package var queue = 64 << 20
        /// Bytes of snapshots, catch-up and histories that may wait for one peer; what comes above it is dropped.
        package var bulkQueue = 64 << 20
        /// What of them may be in front of a live message.
        package var bulkAhead = 256 << 10

        package init() {}
    }
}

extension ClusterConfiguration.Mesh {
    static let settings: [Setting<Self>] = [
        .size(
            "queue",
            \.queue,
            (32 << 20)...(1 << 30),
            "Live messages that may wait for one node: votes, heartbeats, publications, answers. Above it the link is "
                + "reset, and both sides begin again from their positions."
        ),
        .size(
            "bulk_queue",
            \.bulkQueue,
            (32 << 20)...(1 << 30),
            "Snapshots, entries for a follower that is behind, and pages of history that may wait for one node. What "
                + "comes above it is dropped, and asked for again."
        ),
        .size(
            "bulk_ahead",
            \.bulkAhead,
            (16 << 10)...(16 << 20),
            "How much of these may stand in front of the socket, and so before a live message, with one message more. "
                + "Smaller: calmer live messages beside a snapshot; larger: faster snapshots."
        ),
    ]
}
