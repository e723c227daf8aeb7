/// Where the admin service gets its answers: every closure is called once per request and must return soon.
package struct AdminRoutes: Sendable {
    /// Prometheus text, made with `PrometheusText`.
    package var metrics: @Sendable () async -> String
    /// Whether the process works at all; false is a reason to restart it.
    package var live: @Sendable () async -> HealthReport
    /// Whether the node should get traffic: false while it starts, drains or has no quorum.
    package var ready: @Sendable () async -> HealthReport
    /// Members, owners, quorum and lag, as a JSON object.
    package var cluster: @Sendable () async -> String
    /// The state of the external Redis, as a JSON object; `AdminRoutes.redisDisabled` where there is none.
    package var redis: @Sendable () async -> String
    /// Everything about the node, as a JSON object.
    package var status: @Sendable () async -> String
    /// The gossip's keyring; nil where nobody gossips.
    package var gossipKeys: (@Sendable (GossipKeysRequest) async -> GossipKeysAnswer)?
    /// Begins to empty the node, within the duration that was asked for (nil: the configured one); a drain that is
    /// under way goes on. Answers soon: progress is in the status.
    package var drain: @Sendable (_ budget: String?) async -> CommandOutcome
    /// Puts the node back into service.
    package var undrain: @Sendable () async -> CommandOutcome
    /// One of `ControlCommands.all`, with its parameters, for the control group's leader.
    package var control: @Sendable (_ command: String, _ parameters: [String: String]) async -> CommandOutcome

    package init(
        metrics: @escaping @Sendable () async -> String,
        live: @escaping @Sendable () async -> HealthReport,
        ready: @escaping @Sendable () async -> HealthReport,
        cluster: @escaping @Sendable () async -> String,
        redis: @escaping @Sendable () async -> String,
        status: @escaping @Sendable () async -> String,
        drain: @escaping @Sendable (_ budget: String?) async -> CommandOutcome,
        undrain: @escaping @Sendable () async -> CommandOutcome,
        control: @escaping @Sendable (String, [String: String]) async -> CommandOutcome = { _, _ in
            .refused("there is no control group: this node does not run in cluster mode")
        },
        gossipKeys: (@Sendable (GossipKeysRequest) async -> GossipKeysAnswer)? = nil
    ) {
        self.metrics = metrics
        self.live = live
        self.ready = ready
        self.cluster = cluster
        self.redis = redis
        self.status = status
        self.gossipKeys = gossipKeys
        self.drain = drain
        self.undrain = undrain
        self.control = control
    }

    /// What `/health/redis` says where no Redis belongs: in standalone mode the node works alone by design, and says so
    /// in the words that existing monitors know.
    package static func redisDisabled(standalone: Bool) -> String {
        standalone
            ? #"{"status":"disabled","fallback_mode":true,"message":"Redis is disabled, using single-instance mode"}"#
            : #"{"status":"disabled","fallback_mode":false,"message":"Redis is not used in cluster mode"}"#
    }
}

/// What operators may ask of the control group, at any node.
package enum ControlCommands {
    package static let all = ["move", "rebalance", "leave", "stay", "forget", "weight"]
}

/// What came of a command to the node.
package enum CommandOutcome: Sendable, Equatable {
    /// A JSON object.
    case done(String)
    /// What is wrong with the request.
    case invalid(String)
    /// Why it cannot be done now.
    case refused(String)
    /// Why this node cannot do it; another one may.
    case unavailable(String)
}

/// The answer to a health check.
package struct HealthReport: Sendable, Equatable {
    package var isHealthy: Bool
    /// For people: why not; empty when healthy.
    package var reason: String

    package init(isHealthy: Bool, reason: String = "") {
        self.isHealthy = isHealthy
        self.reason = reason
    }

    package static let healthy = HealthReport(isHealthy: true)
    package static func unhealthy(_ reason: String) -> HealthReport { HealthReport(isHealthy: false, reason: reason) }
}
