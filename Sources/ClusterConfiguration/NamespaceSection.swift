import Primitives

extension ClusterConfiguration {
    /// `[[namespace]]`: the policy of a room-name prefix.
    package struct Namespace: Sendable, Equatable {
        /// Empty: the default policy.
        package var prefix = "" {
            didSet { prefixBytes = Array(prefix.utf8) }
        }
        /// `prefix` as bytes, for matching.
        package private(set) var prefixBytes: [UInt8] = []
        package var deliveryClass = DeliveryClass.guaranteed
        package var priority = Priority.normal
        /// Of each room; ignored for best effort.
        package var retention = Retention()
        /// Age beyond which a publication is dropped instead of delivered; zero: never.
        package var messageTTL = Interval.zero
        /// Name of a heartbeat profile; it exists.
        package var heartbeat = HeartbeatProfile.standard.name
        /// Publications per second and connection; 0: unlimited.
        package var publishRate = 0
        /// Publications that may come at once.
        package var publishBurst = 200
        /// Whoever has one of these roles may subscribe; empty: everyone who is admitted.
        package var subscribeRoles: [String] = []
        /// Whoever has one of these roles may publish; empty: everyone who is admitted.
        package var publishRoles: [String] = []
        /// Clients without a token may subscribe.
        package var anonymousSubscribe = false
        /// Clients without a token may publish.
        package var anonymousPublish = false
        /// permessage-deflate for the rooms' frames, where negotiated.
        package var compression = false
        /// Payload bytes of one publication; 0: `limits.max_size`. Readers want `maxPublicationBytes`.
        package var maxMessageSize = 0

        /// The one role of a client without a token.
        package static let anonymousRole = "anonymous"

        package init() {}
        package init(prefix: String) {
            self.prefix = prefix
            prefixBytes = Array(prefix.utf8)
        }

        /// Bytes of one publication.
        package func maxPublicationBytes(limits: Limits) -> Int {
            maxMessageSize == 0 ? limits.maxSize : maxMessageSize
        }

        /// Whether the room's name begins with the prefix, whatever other prefixes do.
        package func governs(_ room: some Collection<UInt8>) -> Bool { room.starts(with: prefixBytes) }
    }

    /// What a publication is promised. `docs/semantics.md` says it exactly.
    package enum DeliveryClass: String, CaseIterable, Sendable {
        /// Ordered by the room's owner, not stored.
        case bestEffort = "best_effort"
        /// Acknowledged when a quorum has it on disk; replayed.
        case guaranteed
        /// Guaranteed, kept long, audited.
        case retained
    }

    /// Who goes first when there is not room for all.
    package enum Priority: String, CaseIterable, Sendable, Comparable {
        case critical, high, normal, low

        /// 0 is the most urgent.
        package var rank: Int {
            switch self {
            case .critical: 0
            case .high: 1
            case .normal: 2
            case .low: 3
            }
        }

        /// Less is more urgent.
        package static func < (a: Priority, b: Priority) -> Bool { a.rank < b.rank }
    }

    /// How long a room's publications stay readable; whichever bound is met first trims. Zero: that bound is off.
    package struct Retention: Sendable, Equatable {
        package var time = Interval.seconds(24 * 3600)
        package var count = 100_000
        package var bytes = 64 << 20

        package init() {}
    }

    /// `[heartbeat.<name>]`: how often a connection is asked whether it is alive.
    package struct HeartbeatProfile: Sendable, Equatable {
        package var name: String
        package var pingInterval: Interval
        package var pingTimeout: Interval

        package init(name: String, pingInterval: Interval, pingTimeout: Interval) {
            self.name = name
            self.pingInterval = pingInterval
            self.pingTimeout = pingTimeout
        }

        package static let standard = HeartbeatProfile(
            name: "standard",
            pingInterval: .seconds(15),
            pingTimeout: .seconds(10)
        )
        /// Sorted by name.
        package static let builtIn = [
            HeartbeatProfile(name: "critical", pingInterval: .seconds(5), pingTimeout: .seconds(5)),
            HeartbeatProfile(name: "relaxed", pingInterval: .seconds(20), pingTimeout: .seconds(10)),
            standard,
        ]

        /// The longest that a dead connection may go unnoticed.
        package static let longestDetection = Interval.seconds(30)
        /// The longest that this profile lets a dead connection go unnoticed.
        package var detection: Interval { pingInterval + pingTimeout }
    }
}

extension Interval {
    /// The sum; saturates.
    static func + (a: Interval, b: Interval) -> Interval {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.nanoseconds)
        return Interval(nanoseconds: overflow ? .max : sum)
    }
}

extension ClusterConfiguration.Namespace {
    static let settings: [Setting<Self>] = [
        .text(
            "prefix",
            \.prefix,
            limit: 255,
            mayBeEmpty: true,
            required: true,
            "Rooms whose name begins so; the longest prefix wins; empty: the default."
        ),
        .choice(
            "class",
            \.deliveryClass,
            "best_effort: ordered, not stored. guaranteed: acknowledged when a majority has it on disk, replayed. "
                + "retained: guaranteed, kept long, audited."
        ),
        .choice("priority", \.priority, "Who goes first under load; each priority has queues of its own."),
        .group(
            "retention",
            \.retention,
            default: ClusterConfiguration.Retention(),
            ClusterConfiguration.Retention.settings,
            "How long publications stay readable; refused for best_effort."
        ),
        .duration(
            "message_ttl",
            \.messageTTL,
            .milliseconds(1)...(.seconds(30 * 86400)),
            zero: "never",
            "Age beyond which a publication is dropped and counted instead of being delivered late."
        ),
        .text(
            "heartbeat",
            \.heartbeat,
            limit: 64,
            "Heartbeat profile of connections that subscribe here, where it is tighter than the profile standard and "
                + "those of their other rooms."
        ),
        .integer(
            "publish_rate",
            \.publishRate,
            0...1_000_000,
            "Publications per second and connection into these rooms; more are refused. 0: unlimited."
        ),
        .integer("publish_burst", \.publishBurst, 1...1_000_000, "Publications that one connection may send at once."),
        .list(
            "subscribe_roles",
            \.subscribeRoles,
            "Roles that may subscribe and read history; empty: everyone who is admitted. A client without a token has "
                + "the role \"anonymous\"."
        ),
        .list("publish_roles", \.publishRoles, "Roles that may publish; empty: everyone who is admitted."),
        .boolean(
            "anonymous_subscribe",
            \.anonymousSubscribe,
            "Clients without a token may subscribe and read history."
        ),
        .boolean(
            "anonymous_publish",
            \.anonymousPublish,
            "Clients without a token may publish; the server API needs auth.api_key otherwise."
        ),
        .boolean("compression", \.compression, "permessage-deflate for these rooms (not built in this version)."),
        .size(
            "max_message_size",
            \.maxMessageSize,
            1...(64 << 20),
            zero: "the same as limits.max_size",
            "Largest payload of a publication; at most limits.max_size."
        ),
    ]
}

extension ClusterConfiguration.Retention {
    static let timeRange = Interval.seconds(1)...Interval.seconds(3650 * 86400)

    static let settings: [Setting<Self>] = [
        .duration("time", \.time, timeRange, zero: "unlimited", "Age of the oldest; default: log.retention_time."),
        .integer("count", \.count, 0...1_000_000_000, "Per room; 0: unlimited; default: log.retention_count."),
        .size(
            "bytes",
            \.bytes,
            1024...(1 << 44),
            zero: "unlimited",
            "Payload bytes per room; default: log.retention_bytes."
        ),
    ]
}

extension ClusterConfiguration.HeartbeatProfile {
    static let settings: [Setting<Self>] = [
        .duration(
            "ping_interval",
            \.pingInterval,
            .milliseconds(100)...(.seconds(30)),
            "Time between two pings of the server."
        ),
        .duration(
            "ping_timeout",
            \.pingTimeout,
            .milliseconds(100)...(.seconds(30)),
            "A connection whose pong takes longer is closed. Together with ping_interval at most 30s."
        ),
    ]
}
