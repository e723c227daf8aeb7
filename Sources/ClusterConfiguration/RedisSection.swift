import Primitives
import RESP

extension ClusterConfiguration {
    /// What carries rooms from node to node.
    package enum Backplane: String, CaseIterable, Sendable {
        /// The built-in replicated log.
        case cluster
        /// An external Redis.
        case redis
    }

    /// Which channels a node in Redis mode listens to.
    package enum RedisSubscription: String, CaseIterable, Sendable {
        case pattern, channels
    }

    /// `[redis]`: the external Redis of `backplane = "redis"`.
    package struct Redis: Sendable, Equatable {
        /// False: no connection to Redis; the node works alone.
        package var enabled = true
        /// False: rooms stay on this node; only the pool's commands use Redis.
        package var pubsubEnabled = true
        /// May hold a password.
        package var url = Secret(Redis.defaultURL)
        package var channelPrefix = "chat_system"
        package var subscribe = RedisSubscription.pattern
        package var poolMinimum = 0
        package var poolSize = 10
        package var maxConnections = 50
        package var socketTimeout = Interval.seconds(5)
        package var connectTimeout = Interval.seconds(5)
        package var retryOnTimeout = true
        package var retryAttempts = 3
        package var retryBase = Interval.milliseconds(100)
        package var retryCeiling = Interval.seconds(30)
        package var probeInterval = Interval.seconds(5)
        package var streamReaders = 1
        package var waitReplicas = 0
        package var waitTimeout = Interval.seconds(1)
        /// `host:port` each; empty: `url` names the server.
        package var sentinels: [String] = []
        package var sentinelMaster = "mymaster"
        package var sentinelPassword = Secret("")
        /// Files in PEM, for a `rediss` url; empty: the system's authorities, no certificate of one's own.
        package var tlsAuthorities = ""
        package var tlsCertificate = ""
        package var tlsKey = ""

        package init() {}

        package static let defaultURL = "redis://localhost:6379/0"

        /// The sentinels' hosts and ports; nil when one of them is no `host:port`.
        package var sentinelAddresses: [(host: String, port: Int)]? {
            var addresses: [(host: String, port: Int)] = []
            for sentinel in sentinels {
                guard let parsed = try? RedisURL("redis://\(sentinel)"), sentinel.contains(":"), parsed.user.isEmpty,
                    parsed.password.isEmpty, !sentinel.contains("/")
                else { return nil }
                addresses.append((parsed.host, parsed.port))
            }
            return addresses
        }

        /// Connections that are not the pool's: publisher, subscriber, readers, and one that waits for replicas.
        package var dedicatedConnections: Int { 2 + streamReaders + (waitReplicas > 0 ? 1 : 0) }
    }

    /// How the node runs. A node whose backplane is a Redis that is switched off works alone.
    package var mode: Mode {
        guard cluster.backplane == .redis else { return cluster.mode }
        return redisPubSubEnabled ? .redis : .standalone
    }

    /// Redis is used at all (RA-01, RA-10).
    package var redisEnabled: Bool { cluster.backplane == .redis && redis.enabled }
    /// Rooms go through Redis (RA-03, RA-10).
    package var redisPubSubEnabled: Bool { redisEnabled && redis.pubsubEnabled }
    /// Where Redis is (RA-02, RA-10).
    package var redisURL: String { redis.url.text }
}

extension ClusterConfiguration.Redis {
    static let settings: [Setting<Self>] = [
        .boolean(
            "enabled",
            \.enabled,
            "Whether backplane = \"redis\" connects to Redis; false: the node works alone, as in mode standalone. "
                + "REDIS_ENABLED."
        ),
        .boolean(
            "pubsub_enabled",
            \.pubsubEnabled,
            "Whether rooms go through Redis; false: they stay on each node, and only health and statistics ask Redis. "
                + "REDIS_PUBSUB_ENABLED."
        ),
        .secret(
            "url",
            \.url,
            "redis://[[user]:password@]host[:port][/database], by default redis://localhost:6379/0; rediss:// for TLS. "
                + "REDIS_URL."
        ),
        .text(
            "channel_prefix",
            \.channelPrefix,
            limit: 64,
            "The global room's channel; other rooms are channels prefix:room, and keys begin so. REDIS_CHANNEL_PREFIX."
        ),
        .choice(
            "subscribe",
            \.subscribe,
            "pattern: one subscription to prefix:* per node, which hears every room. channels: one per room that has "
                + "members on the node."
        ),
        .integer("pool_min", \.poolMinimum, 0...1000, "Connections that the pool opens before anybody needs them."),
        .integer("pool_size", \.poolSize, 1...1000, "Connections that the pool keeps open. REDIS_POOL_SIZE."),
        .integer(
            "max_connections",
            \.maxConnections,
            4...10_000,
            "Connections of all kinds: the pool's, and the backplane's own. REDIS_MAX_CONNECTIONS."
        ),
        .duration(
            "socket_timeout",
            \.socketTimeout,
            Interval.milliseconds(10)...Interval.seconds(300),
            "For the answer to a command, and for a connection of the pool. REDIS_SOCKET_TIMEOUT, in seconds."
        ),
        .duration(
            "connect_timeout",
            \.connectTimeout,
            Interval.milliseconds(10)...Interval.seconds(300),
            "For a connection to be made."
        ),
        .boolean(
            "retry_on_timeout",
            \.retryOnTimeout,
            "Send again what was not answered in time; other nodes may then hear a best-effort message twice. "
                + "REDIS_RETRY_ON_TIMEOUT."
        ),
        .integer(
            "retry_attempts",
            \.retryAttempts,
            0...100,
            "Retries after a failure before the circuit breaker opens and rooms are served locally. "
                + "REDIS_RETRY_ATTEMPTS."
        ),
        .duration(
            "retry_base",
            \.retryBase,
            Interval.milliseconds(1)...Interval.seconds(60),
            "The first pause between two attempts; each is about twice as long as the one before, with jitter."
        ),
        .duration(
            "retry_max",
            \.retryCeiling,
            Interval.milliseconds(1)...Interval.seconds(3600),
            "The longest pause between two attempts."
        ),
        .duration(
            "probe_interval",
            \.probeInterval,
            Interval.milliseconds(100)...Interval.seconds(3600),
            "Between two messages that a node publishes to itself; one that is not heard within socket_timeout ends "
                + "the connections."
        ),
        .integer(
            "stream_readers",
            \.streamReaders,
            1...16,
            "Connections that wait in XREAD for messages of guaranteed rooms."
        ),
        .integer(
            "wait_replicas",
            \.waitReplicas,
            0...100,
            "Replicas that must have a guaranteed message before it is acknowledged (WAIT); 0: the master's word is "
                + "enough, and a failover may lose what it acknowledged last."
        ),
        .duration(
            "wait_timeout",
            \.waitTimeout,
            Interval.milliseconds(1)...Interval.seconds(60),
            "How long WAIT waits; a publish that too few replicas have is answered with an unknown outcome."
        ),
        .list(
            "sentinels",
            \.sentinels,
            "host:port of Sentinels, at least three, which name the master and its successor; empty: url names the "
                + "server."
        ),
        .text("sentinel_master", \.sentinelMaster, limit: 255, "The master's name at the Sentinels."),
        .secret("sentinel_password", \.sentinelPassword, "The Sentinels' own password; empty: none."),
        .text(
            "tls_ca_file",
            \.tlsAuthorities,
            limit: 4096,
            mayBeEmpty: true,
            "Certificates (PEM) that a rediss:// server's must lead to; empty: the system's."
        ),
        .text(
            "tls_cert_file",
            \.tlsCertificate,
            limit: 4096,
            mayBeEmpty: true,
            "This node's own certificate (PEM); empty: none."
        ),
        .text("tls_key_file", \.tlsKey, limit: 4096, mayBeEmpty: true, "The key of tls_cert_file (PEM)."),
    ]

    // MARK: Environment

    /// The guide's variables, by name. Each is read like the setting that it stands for.
    private static let variables: [(name: String, key: String)] = [
        ("REDIS_ENABLED", "enabled"), ("REDIS_PUBSUB_ENABLED", "pubsub_enabled"), ("REDIS_URL", "url"),
        ("REDIS_POOL_SIZE", "pool_size"), ("REDIS_SOCKET_TIMEOUT", "socket_timeout"),
        ("REDIS_MAX_CONNECTIONS", "max_connections"), ("REDIS_CHANNEL_PREFIX", "channel_prefix"),
        ("REDIS_RETRY_ON_TIMEOUT", "retry_on_timeout"), ("REDIS_RETRY_ATTEMPTS", "retry_attempts"),
    ]

    /// Applies them. `REDIS_ENABLED=true` alone makes a deployment one with Redis, and then what the environment leaves
    /// out has the guide's defaults: Pub/Sub is off until `REDIS_PUBSUB_ENABLED` says otherwise.
    static func apply(
        _ environment: [String: String],
        to configuration: inout ClusterConfiguration,
        _ problems: inout ProblemList
    ) {
        for (name, key) in variables {
            guard let text = environment[name], let setting = settings.first(where: { $0.key == key }) else { continue }
            guard let refusal = setting.assign(value(text, of: setting, key), &configuration.redis) else { continue }
            problems.add(
                ConfigurationProblem(
                    source: "environment",
                    keyPath: name,
                    value: setting.isSecret ? nil : SettingText.quote(text),
                    reason: refusal.reason
                )
            )
        }
        guard environment["REDIS_ENABLED"] != nil, configuration.redis.enabled,
            configuration.cluster.backplane == .cluster
        else { return }
        configuration.cluster.backplane = .redis
        if environment["REDIS_PUBSUB_ENABLED"] == nil { configuration.redis.pubsubEnabled = false }
    }

    /// As the guide's programs write them: `true`, `True`, `1`; seconds as a bare number, also with a fraction.
    private static func value(_ text: String, of setting: Setting<Self>, _ key: String) -> TOMLNode {
        if setting.type == "boolean" {
            switch text.lowercased() {
            case "true", "1", "yes", "on": return .boolean(true)
            case "false", "0", "no", "off", "": return .boolean(false)
            default: return .string(text)
            }
        }
        if key == "socket_timeout", let seconds = Double(text), seconds >= 0, seconds < 1_000_000 {
            return .string("\(Int(seconds * 1000))ms")
        }
        return setting.parse(text)
    }
}

extension ClusterConfiguration {
    func validateRedis(_ problems: inout ProblemList) {
        guard cluster.backplane == .redis else { return }
        if cluster.mode == .standalone {
            problems.add("cluster.backplane", value: .string("redis"), "a standalone node has no backplane")
        }
        guard redisEnabled else { return }
        do throws(RedisURL.Malformed) {
            let isTLS = try RedisURL(redis.url.text).isTLS
            let files = [redis.tlsAuthorities, redis.tlsCertificate, redis.tlsKey]
            if !isTLS, !files.allSatisfy(\.isEmpty) {
                problems.add("redis.url", "must begin with rediss:// when tls_ca_file or tls_cert_file is given")
            }
            if redis.tlsCertificate.isEmpty != redis.tlsKey.isEmpty {
                problems.add("redis.tls_cert_file", "needs tls_key_file, and the other way round")
            }
        } catch {
            problems.add("redis.url", error.reason)
        }
        if redis.sentinelAddresses == nil {
            problems.add(
                "redis.sentinels",
                value: .array(redis.sentinels.map(TOMLNode.string)),
                "must be host:port each"
            )
        }
        if redis.maxConnections <= redis.dedicatedConnections {
            problems.add(
                "redis.max_connections",
                value: .integer(redis.maxConnections),
                "must be more than the backplane's own connections, \(redis.dedicatedConnections)"
            )
        }
        if redis.poolSize > redis.maxConnections {
            problems.add(
                "redis.pool_size",
                value: .integer(redis.poolSize),
                "must be at most redis.max_connections, \(redis.maxConnections)"
            )
        }
        if redis.poolMinimum > redis.poolSize {
            problems.add(
                "redis.pool_min",
                value: .integer(redis.poolMinimum),
                "must be at most redis.pool_size, \(redis.poolSize)"
            )
        }
        if redis.retryCeiling < redis.retryBase {
            problems.add(
                "redis.retry_max",
                value: .string(SettingText.duration(redis.retryCeiling)),
                "must be at least redis.retry_base, \(SettingText.duration(redis.retryBase))"
            )
        }
    }

    /// What is allowed in Redis mode but unwise.
    var redisWarnings: [String] {
        guard redisEnabled else { return [] }
        var warnings: [String] = []
        if (1...2).contains(redis.sentinels.count) {
            warnings.append(
                "redis.sentinels: \(redis.sentinels.count) cannot agree by majority when one is lost; name at least 3"
            )
        }
        if redisPubSubEnabled, redis.waitReplicas == 0, namespaces.contains(where: { $0.deliveryClass != .bestEffort })
        {
            warnings.append(
                "backplane = \"redis\": guaranteed rooms are as durable as this Redis's appendonly file and its "
                    + "asynchronous replication; a failover may lose what was acknowledged last (redis.wait_replicas)"
            )
        }
        return warnings
    }
}
