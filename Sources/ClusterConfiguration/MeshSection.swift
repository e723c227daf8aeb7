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
        /// Files in PEM: all three, or none.
        package var tlsAuthorities = ""
        package var tlsCertificate = ""
        package var tlsKey = ""

        /// Links speak TLS.
        package var isEncrypted: Bool { !tlsCertificate.isEmpty }

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
        .text(
            "tls_ca",
            \.tlsAuthorities,
            limit: 4096,
            mayBeEmpty: true,
            "File (PEM) with the certificate of the authority that signs the nodes' certificates, and only those. "
                + "With tls_certificate and tls_key links speak TLS 1.3, and who shows no such certificate "
                + "is refused."
        ),
        .text(
            "tls_certificate",
            \.tlsCertificate,
            limit: 4096,
            mayBeEmpty: true,
            "File (PEM) with the node's certificate, and those between it and tls_ca. Empty on all nodes: no TLS."
        ),
        .text("tls_key", \.tlsKey, limit: 4096, mayBeEmpty: true, "File (PEM) with the key of tls_certificate."),
    ]
}

extension ClusterConfiguration {
    func validateMesh(_ problems: inout ProblemList) {
        let files = [
            ("tls_ca", mesh.tlsAuthorities), ("tls_certificate", mesh.tlsCertificate), ("tls_key", mesh.tlsKey),
        ]
        guard files.contains(where: { !$0.1.isEmpty }) else { return }
        for (key, path) in files where path.isEmpty {
            problems.add("mesh.\(key)", "missing; TLS needs mesh.tls_ca, mesh.tls_certificate and mesh.tls_key")
        }
    }
}
