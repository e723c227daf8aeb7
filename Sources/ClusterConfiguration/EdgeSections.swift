import Primitives

extension ClusterConfiguration {
    /// `[gateway]`: how clients are received and seen off.
    package struct Gateway: Sendable, Equatable {
        /// Connections that the kernel completes before they are accepted, per listener.
        package var listenBacklog = 4096
        /// Connections accepted per second and node; 0: unlimited.
        package var acceptRate = 0
        /// From the request to stop until the last connection is closed.
        package var drainTimeout = Interval.seconds(30)
        /// Clients of a stopping or overloaded node are told to come back after a random part of this.
        package var reconnectSpread = Interval.seconds(10)

        package init() {}
    }

    /// `[admin]`: metrics, health and status.
    package struct Admin: Sendable, Equatable {
        /// The address on which each node's admin port listens.
        package var host = "127.0.0.1"

        package init() {}
    }

    /// `[auth]`: who may come in.
    package struct Auth: Sendable, Equatable {
        /// Namespaces may admit clients without a token although the gateway listens beyond loopback.
        package var allowAnonymousOnPublic = false
        /// Values of `Origin` that browsers may come from; empty: any.
        package var origins: [String] = []
        /// Key of the clients' HS256 tokens; empty: no token is accepted.
        package var tokenSecret = Secret("")
        /// What a backend sends in `X-API-Key` to the server API; empty: the server API answers loopback only.
        package var apiKey = Secret("")

        package init() {}
    }

    /// `[slo]`: the thresholds by which metrics, alerts and the bench judge.
    package struct ServiceLevels: Sendable, Equatable {
        /// 95th percentile from accept to 101.
        package var handshakeP95 = Interval.milliseconds(250)
        /// 95th percentile from an accepted publish to the socket write.
        package var messageP95 = Interval.milliseconds(500)
        /// 95th percentile of ping to pong.
        package var pingP95 = Interval.milliseconds(30)
        /// A client is back after its node died.
        package var clientRecovery = Interval.seconds(10)
        /// The cluster is whole again after a node died.
        package var clusterRecovery = Interval.seconds(60)
        /// Part of requests that may fail.
        package var errorRatio = 0.001
        /// Part of sends that may fail.
        package var sendErrorRatio = 0.01
        /// Part of connections that may come or go per minute.
        package var churnRatio = 0.05

        package init() {}
    }
}

extension ClusterConfiguration.Gateway {
    static let settings: [Setting<Self>] = [
        .integer("listen_backlog", \.listenBacklog, 1...65535, "Connections waiting to be accepted, per listener."),
        .integer("accept_rate", \.acceptRate, 0...1_000_000, "Connections accepted per second and node; 0: unlimited."),
        .duration(
            "drain_timeout",
            \.drainTimeout,
            .milliseconds(100)...(.seconds(3600)),
            "From SIGTERM until the last client is closed: queues are written out first."
        ),
        .duration(
            "reconnect_spread",
            \.reconnectSpread,
            .milliseconds(1)...(.seconds(300)),
            zero: "at once",
            "Clients that are sent away are told to come back after a random part of this."
        ),
    ]
}

extension ClusterConfiguration.Admin {
    static let settings: [Setting<Self>] = [
        .text(
            "host",
            \.host,
            limit: 253,
            "Address of every node's admin port; it has no authentication: keep it private."
        )
    ]
}

extension ClusterConfiguration.Auth {
    static let settings: [Setting<Self>] = [
        .boolean(
            "allow_anonymous_on_public",
            \.allowAnonymousOnPublic,
            "Without it, start-up is refused when a namespace admits anonymous clients and a node listens beyond "
                + "loopback."
        ),
        .list(
            "origins",
            \.origins,
            "Origins that browsers may connect from, e.g. \"https://example.org\"; empty: any."
        ),
        .secret(
            "token_secret",
            \.tokenSecret,
            "Key of the clients' tokens (JWT, HS256; claims sub, exp, roles); empty: no token is accepted. Better set "
                + "by VENCEJO_AUTH_TOKEN_SECRET."
        ),
        .secret(
            "api_key",
            \.apiKey,
            "What backends send in X-API-Key to the server API; empty: it answers on loopback only. Better set by "
                + "VENCEJO_AUTH_API_KEY."
        ),
    ]
}

extension ClusterConfiguration.ServiceLevels {
    private static let range = Interval.milliseconds(1)...Interval.seconds(3600)

    static let settings: [Setting<Self>] = [
        .duration("handshake_p95", \.handshakeP95, range, "95th percentile from accept to the 101 reply."),
        .duration("message_p95", \.messageP95, range, "95th percentile from an accepted publish to the socket write."),
        .duration("ping_p95", \.pingP95, range, "95th percentile of ping to pong inside a region."),
        .duration("client_recovery", \.clientRecovery, range, "A client is back after its node died."),
        .duration("cluster_recovery", \.clusterRecovery, range, "The cluster is whole again after a node died."),
        .number("error_ratio", \.errorRatio, 0...1, "Part of requests that may fail."),
        .number("send_error_ratio", \.sendErrorRatio, 0...1, "Part of sends that may fail."),
        .number("churn_ratio", \.churnRatio, 0...1, "Part of connections that may close or reconnect per minute."),
    ]
}
