import ClusterConfiguration
import Primitives
import Testing

@Suite struct OverrideTests {
    @Test("P-10 environment variables override the file, by section and key")
    func overrides() throws {
        let configuration = try SampleFile.load([
            "PATH": "/bin",
            "REDIS_ENABLED": "false",
            "VENCEJO_SEED": "42",
            "VENCEJO_REWRITE": "1",
            "VENCEJO_WARNINGS_AS_ERRORS": "1",
            "VENCEJO_CLUSTER_MODE": "standalone",
            "VENCEJO_CLUSTER_THREADS": "3",
            "VENCEJO_LIMITS_MAX_CONNECTIONS": "20000",
            "VENCEJO_LIMITS_MAX_SIZE": "32KiB",
            "VENCEJO_LIMITS_WRITE_LIMIT": "131072",
            "VENCEJO_RAFT_ELECTION_MS": "900",
            "VENCEJO_HEARTBEAT_CRITICAL_PING_INTERVAL": "2s",
            "VENCEJO_AUTH_ORIGINS": "https://a.example,https://b.example",
            "VENCEJO_AUTH_ALLOW_ANONYMOUS_ON_PUBLIC": "true",
            "VENCEJO_LOG_RETENTION_COUNT": "7",
            "VENCEJO_LOG_COMMIT_DELAY": "0s",
            "VENCEJO_LOG_SYNC": "everysec",
            "VENCEJO_LIMITS_SLOW_TIMEOUT": "7s",
            "VENCEJO_LIMITS_CLOSE_TIMEOUT": "300ms",
            "VENCEJO_GATEWAY_BROADCAST_ROOM": "",
            "VENCEJO_SLO_ERROR_RATIO": "0.5",
        ])
        #expect(configuration.cluster.mode == .standalone)
        #expect(configuration.replicationFactor == 1)
        #expect(configuration.cluster.threads == .count(3))
        #expect(configuration.limits.maxConnections == 20_000)
        #expect(configuration.limits.maxSize == 32 << 10)
        #expect(configuration.limits.writeLimit == 128 << 10)
        #expect(configuration.raft.election == .milliseconds(900))
        #expect(configuration.heartbeats.first { $0.name == "critical" }?.pingInterval == .seconds(2))
        #expect(configuration.auth.origins == ["https://a.example", "https://b.example"])
        #expect(configuration.auth.allowAnonymousOnPublic)
        #expect(configuration.slo.errorRatio == 0.5)
        #expect(configuration.log.commitDelay == .zero)
        #expect(configuration.log.sync == .everysec)
        #expect(configuration.warnings.contains { $0.hasPrefix("log.sync = \"everysec\": ") })
        #expect(configuration.limits.slowTimeout == .seconds(7))
        #expect(configuration.limits.closeTimeout == .milliseconds(300))
        #expect(configuration.gateway.broadcastRoom.isEmpty)
        let inherited = configuration.namespace(for: Array("other".utf8))
        #expect(inherited.retention.count == 7, "a namespace inherits the overridden default")
        #expect(configuration.namespace(for: Array("ops:system:health".utf8)).retention.count == 1_000_000)
    }

    @Test("P-08 the three run modes are known, and a single node needs no quorum in standalone mode")
    func modes() throws {
        #expect(ClusterConfiguration.Mode.allCases.map(\.rawValue) == ["cluster", "standalone", "redis"])
        let alone = try ClusterConfiguration.load(
            text: "cluster.mode = 'standalone'\nnode = [{ id = 'solo', data_dir = 'd' }]",
            path: "solo",
            environment: [:]
        )
        #expect(alone.replicationFactor == 1)
        #expect(alone.warnings.isEmpty)
        #expect(alone.members(asSeenBy: alone.nodes[0]).map(\.id) == ["solo"])
        #expect(alone.node(id: "solo")?.gatewayPort == 8000)
        #expect(alone.node(id: "other") == nil)
        #expect(alone.namespaces.map(\.prefix) == [""])
    }

    @Test("automatic threads share the cores among the nodes of one machine")
    func threads() throws {
        let configuration = try SampleFile.load()
        let node = configuration.nodes[0]
        #expect(configuration.threads(for: node, cores: 12) == 4)
        #expect(configuration.threads(for: node, cores: 2) == 1)
        let standalone = try SampleFile.load(["VENCEJO_CLUSTER_MODE": "standalone"])
        #expect(standalone.threads(for: node, cores: 12) == 12)
        let redis = try SampleFile.load(["VENCEJO_CLUSTER_BACKPLANE": "redis"])
        #expect(redis.mode == .redis)
        #expect(redis.threads(for: node, cores: 12) == 4)
        let fixed = try SampleFile.load(["VENCEJO_CLUSTER_THREADS": "5"])
        #expect(fixed.threads(for: node, cores: 12) == 5)
    }
}

@Suite struct NamespaceTests {
    @Test("RM-16 the longest prefix of a name governs the room")
    func longestPrefix() throws {
        let configuration = try ClusterConfiguration.load(
            text: """
                cluster.mode = 'standalone'
                node = [{ id = 'solo', data_dir = 'd' }]
                namespace = [
                    { prefix = 'a' }, { prefix = 'a:b:c' }, { prefix = 'a:b' }, { prefix = 'x:' }, { prefix = 'é' },
                ]
                """,
            path: "n",
            environment: [:]
        )
        let expectations = [
            "a": "a", "a:": "a", "ab": "a", "a:b": "a:b", "a:bc": "a:b", "a:b:c": "a:b:c", "a:b:c:d": "a:b:c", "x": "",
            "x:": "x:", "x:y": "x:", "": "", ":": "", "é:1": "é", "A": "",
        ]
        for (room, prefix) in expectations {
            #expect(configuration.namespace(for: Array(room.utf8)).prefix == prefix, "room \(room)")
        }
    }

    @Test("RM-16 each key of a namespace changes what a reader sees")
    func everyKey() throws {
        let configuration = try ClusterConfiguration.load(
            text: """
                cluster.mode = 'standalone'
                [[node]]
                id = 'solo'
                data_dir = 'd'
                [[namespace]]
                prefix = 'p'
                class = 'retained'
                priority = 'high'
                retention = { time = '2h', count = 3, bytes = '4KiB' }
                message_ttl = '5s'
                heartbeat = 'fast'
                publish_rate = 7
                publish_burst = 8
                subscribe_roles = ['r']
                publish_roles = ['s', 't']
                anonymous_subscribe = true
                anonymous_publish = true
                max_message_size = 512
                [heartbeat.fast]
                ping_interval = '100ms'
                ping_timeout = '200ms'
                """,
            path: "n",
            environment: [:]
        )
        let namespace = configuration.namespace(for: Array("p".utf8))
        #expect(namespace.deliveryClass == .retained)
        #expect(namespace.priority == .high)
        #expect(namespace.retention.time == .seconds(7200))
        #expect(namespace.retention.count == 3)
        #expect(namespace.retention.bytes == 4096)
        #expect(namespace.messageTTL == .seconds(5))
        #expect(configuration.heartbeat(of: namespace).detection == .milliseconds(300))
        #expect(namespace.publishRate == 7)
        #expect(namespace.publishBurst == 8)
        #expect(namespace.subscribeRoles == ["r"])
        #expect(namespace.publishRoles == ["s", "t"])
        #expect(namespace.anonymousSubscribe && namespace.anonymousPublish)
        #expect(namespace.maxPublicationBytes(limits: configuration.limits) == 512)
        let other = configuration.namespace(for: Array("q".utf8))
        #expect(other == configuration.namespaces.last)
        #expect(other.maxPublicationBytes(limits: configuration.limits) == 64 << 10)
        #expect(ClusterConfiguration.Priority.critical < .high)
    }
}

@Suite struct SettingTextTests {
    @Test("durations and sizes are read exactly and written in their shortest form")
    func forms() {
        let durations: [(String, UInt64?)] = [
            ("5s", 5_000_000_000), ("100ms", 100_000_000), ("24h", 86_400_000_000_000), ("7d", 604_800_000_000_000),
            ("10m", 600_000_000_000), ("250us", 250_000), ("0", 0), ("0s", 0), ("5 s", 5_000_000_000), ("5", nil),
            ("", nil), ("s", nil), ("-5s", nil), ("1.5s", nil), ("5S", nil), ("99999999999999d", nil), ("٥s", nil),
        ]
        for (text, nanoseconds) in durations {
            #expect(SettingText.duration(text)?.nanoseconds == nanoseconds, "\(text)")
        }
        let sizes: [(String, Int?)] = [
            ("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40), ("512B", 512), ("512", 512),
            ("64KB", nil), ("64K", nil), ("-1", nil), ("", nil), ("9999999999GiB", nil),
        ]
        for (text, bytes) in sizes { #expect(SettingText.size(text) == bytes, "\(text)") }
        for text in ["5s", "100ms", "1d", "36h", "90s", "250us", "0s"] {
            #expect(SettingText.duration(text).map(SettingText.duration) == text)
        }
        for text in ["64KiB", "1MiB", "1000B", "3GiB", "0"] {
            #expect(SettingText.size(text).map(SettingText.size) == text)
        }
        #expect(SettingText.quote("a\"b\\c\n\u{1}é") == "\"a\\\"b\\\\c\\n\\u0001é\"")
    }

    @Test("P-11 the settings table has one row per key, with type, bounds, default and meaning")
    func reference() {
        let settings = ClusterConfiguration.settings
        #expect(Set(settings.map(\.keyPath)).count == settings.count)
        let row = settings.first { $0.keyPath == "limits.max_size" }
        #expect(row?.type == "size")
        #expect(row?.allowed == "128B...64MiB")
        #expect(row?.defaultValue == "\"64KiB\"")
        #expect(settings.first { $0.keyPath == "node[].id" }?.defaultValue == nil)
        #expect(settings.contains { $0.keyPath == "namespace[].retention.time" })
        #expect(settings.contains { $0.keyPath == "heartbeat.<name>.ping_interval" })
        #expect(ClusterConfiguration.settingsReference.contains("| `limits.max_size` | size | 128B...64MiB |"))
    }
}
