import Primitives

extension ClusterConfiguration {
    /// `[gateway]`: how clients are received.
    package struct Gateway: Sendable, Equatable {
        /// Connections that the kernel completes before they are accepted, per listener.
        package var listenBacklog = 4096
        /// The room that every connection is in; empty: none.
        package var broadcastRoom = "ws_broadcast"

        package init() {}
    }

    /// `[admin]`: metrics, health and status.
    package struct Admin: Sendable, Equatable {
        /// The address on which each node's admin port listens.
        package var host = "127.0.0.1"

        package init() {}
    }

    /// `[drain]`: how a node is emptied, at SIGTERM and by `vencejo drain`.
    package struct Drain: Sendable, Equatable {
        /// For everything; what is left then is cut off.
        package var budget = Interval.seconds(30)
        /// Part of the budget over which clients are told to go.
        package var spread = 0.4

        package init() {}
    }

    /// `[auth]`: who may come in.
    package struct Auth: Sendable, Equatable {
        /// Namespaces may admit clients without a token although the gateway listens beyond loopback.
        package var allowAnonymousOnPublic = false
        /// Values of `Origin` that browsers may come from; empty: any.
        package var origins: [String] = []
        /// Key of the clients' HS256 tokens; empty: no token is accepted. Anything else is refused by this build.
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
        .text(
            "broadcast_room",
            \.broadcastRoom,
            limit: 255,
            mayBeEmpty: true,
            "Room that every connection is in from the start, where its namespace lets it, and to which a message of "
                + "/ws without a room goes; empty: none."
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

extension ClusterConfiguration.Drain {
    static let settings: [Setting<Self>] = [
        .duration(
            "budget",
            \.budget,
            .milliseconds(100)...(.seconds(3600)),
            zero: "at once",
            "From SIGTERM or vencejo drain to an empty node; clients that are left then are cut off. Leaderships may "
                + "take half of it."
        ),
        .number(
            "spread",
            \.spread,
            0...1,
            "Part of the budget over which clients are told to go, so that they do not arrive elsewhere together; few "
                + "of them go faster."
        ),
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
            "Key of the clients' tokens; this version verifies none, so that anything but \"\" is refused."
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
