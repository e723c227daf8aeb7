import ClusterConfiguration
import Foundation
import Primitives
import Testing

/// The problems that loading reports.
private func problems(_ load: () throws -> ClusterConfiguration) throws -> [String] {
    do {
        _ = try load()
        return []
    } catch let error as ConfigurationError {
        return error.problems.map(\.description)
    }
}

@Suite struct RefusalTests {
    @Test(
        "P-10 a bad value is refused with the file, the key, the value and what is allowed",
        arguments: [
            ("mode = \"cluster\"", "mode = \"kluster\"", "cluster.mode = \"kluster\": must be one of \"cluster\", "),
            ("mode = \"cluster\"", "mode = 3", "cluster.mode = 3: must be one of"),
            ("mode = \"cluster\"", "mode = \"redis\"", "cluster.mode = \"redis\": say backplane = \"redis\" instead"),
            ("name = \"vencejo\"", "nam = \"v\"", "cluster.nam = \"v\": unknown key; [cluster] has name, mode,"),
            ("name = \"vencejo\"", "name = \"a\\nb\"", "cluster.name = \"a\\nb\": must be 1...64 bytes of text"),
            ("partitions = 64", "partitions = 65", "cluster.partitions = 65: must be a power of two"),
            ("partitions = 64", "partitions = 32768", "cluster.partitions = 32768: must be 1...16384"),
            ("partitions = 64", "partitions = \"64\"", "cluster.partitions = \"64\": must be an integer, 1...16384"),
            ("partitions = 64", "partitions = 64.0", "cluster.partitions = 64.0: must be an integer"),
            ("replication_factor = 3", "replication_factor = 8", "cluster.replication_factor = 8: must be 1...7"),
            ("threads = \"auto\"", "threads = 0", "cluster.threads = 0: must be \"auto\" or 1...256"),
            ("gateway_port = 8020", "gateway_port = 99999", "node[2].gateway_port = 99999: must be 1...65535"),
            ("gateway_port = 8020", "gateway_port = 8010", "node[2].gateway_port = 8010: already node[1].gateway_port"),
            ("gateway_port = 8020", "gateway_port = 7946", "node[2].gateway_port = 7946: already node[0].mesh"),
            ("id = \"n2\"", "id = \"n1\"", "node[1].id = \"n1\": already the id of node[0]"),
            ("id = \"n2\"", "id = \"n 2\"", "node[1].id = \"n 2\": must be letters, digits"),
            ("id = \"n2\"", "", "node[1].id: missing; string, 1...64 bytes"),
            ("./data/n2", "./data/n1", "node[1].data_dir = \"./data/n1\": already the directory of node[0]"),
            ("host = \"127.0.0.1\"", "host = \"0.0.0.0\"", "node[0].host = \"0.0.0.0\": peers cannot dial it"),
            (
                "class = \"guaranteed\"", "class = \"exactly_once\"",
                "].class = \"exactly_once\": must be one of \"best_e"
            ),
            ("heartbeat = \"relaxed\"", "heartbeat = \"lazy\"", ".heartbeat = \"lazy\": must be one of \"critical\", "),
            (
                "prefix = \"chat_system\"", "prefix = \"ws_broadcast\"",
                "namespace[prefix \"ws_broadcast\"].prefix: there"
            ),
            ("time = \"7d\"", "time = \"7x\"", ".retention.time = \"7x\": must be a duration such as \"5s\""),
            (
                "time = \"7d\"", "tim = \"7d\"",
                ".retention.tim = \"7d\": unknown key; this table has time, count, bytes"
            ),
            (
                "message_ttl = \"60s\"", "retention = { count = 5 }",
                "namespace[prefix \"citizen:notifications\"].retention: best_effort publications are not stored"
            ),
            ("# compression = false", "compression = true", "compression = true: not built in this version"),
            ("spread = 0.4", "spread = 2", "drain.spread = 2: must be 0.0...1.0"),
            ("budget = \"30s\"", "budget = \"2h\"", "drain.budget = \"2h\": must be 0s (at once) or 100ms...1h"),
            ("redirect_above = 0.0", "redirect_above = -0.5", "limits.redirect_above = -0.5: must be 0.0...1.0"),
            ("token_secret = \"\"", "token_secret = \"quetzal\"", "auth.token_secret: tokens are not verified by this"),
            ("sync = \"always\"", "sync = \"often\"", "log.sync = \"often\": must be one of \"always\", \"everysec\""),
            ("sync = \"always\"", "sync_guaranteed = \"always\"", "log.sync_guaranteed = \"always\": unknown key"),
            ("# compression = false", "history = 3", ".history = 3: unknown key"),
            ("ack_window = 256", "ack_timeout = \"30s\"", "limits.ack_timeout = \"30s\": unknown key"),
            (
                "broadcast_room = \"ws_broadcast\"", "accept_rate = 1",
                "gateway.accept_rate = 1: unknown key; [gateway] has listen_backlog, broadcast_room"
            ),
            (
                "room_name_bytes = 255", "room_name_bytes = 8",
                "gateway.broadcast_room = \"ws_broadcast\": must be at most"
            ),
            (
                "# max_message_size = 0", "max_message_size = \"65KiB\"",
                "max_message_size = \"65KiB\": must be at most lim"
            ),
            (
                "ping_timeout = \"10s\"", "ping_timeout = \"16s\"",
                "heartbeat.standard: ping_interval + ping_timeout = 31s"
            ),
            ("[heartbeat.relaxed]", "[heartbeat]\nrelaxed = 3\n[x]", "heartbeat.relaxed = 3: must be a table"),
            ("max_size = \"64KiB\"", "max_size = \"64KB\"", "limits.max_size = \"64KB\": must be a size such as"),
            ("max_size = \"64KiB\"", "max_size = -1", "limits.max_size = -1: must be 128B...64MiB"),
            (
                "max_size = \"64KiB\"", "max_size = \"1MiB\"",
                "write_limit = \"256KiB\": must be at least twice limits.max"
            ),
            ("idle_timeout = \"300s\"", "idle_timeout = \"20s\"", "limits.idle_timeout = \"20s\": must be longer than"),
            ("origins = []", "origins = [\"a\", 3]", "auth.origins = [\"a\", 3]: must be at most 64 different strings"),
            ("api_key = \"\"", "api_key = [\"hidden\"]", "auth.api_key: must be a string"),
            (
                "election_ms = 600", "election_ms = 200",
                "raft.election_ms = 200: must be at least 3 x raft.heartbeat_ms"
            ),
            ("suspect_ms = 400", "suspect_ms = 150", "liveness.suspect_ms = 150: must be at least 2 x liveness.keepal"),
            ("error_ratio = 0.001", "error_ratio = 1.5", "slo.error_ratio = 1.5: must be 0.0...1.0"),
            ("error_ratio = 0.001", "error_ratio = 2020-01-01", "slo.error_ratio = 2020-01-01: must be a number"),
            ("[slo]", "[slow]", "slow = a table: unknown key; there are [cluster], "),
            (
                "allow_anonymous_on_public = false", "allow_anonymous_on_public = 0",
                "_public = 0: must be true or false"
            ),
        ]
    )
    func badValue(line: String, replacement: String, message: String) throws {
        let found = try problems { try SampleFile.load(replacing: line, with: replacement) }
        #expect(found.contains { $0.hasPrefix("cluster.toml: ") && $0.contains(message) }, "reported: \(found)")
    }

    @Test("P-10 without gossip no other nodes come: copies are at most as many as nodes")
    func copiesWithoutGossip() throws {
        let lines = try ClusterConfiguration.readFile(SampleFile.path).split(
            separator: "replication_factor = 3",
            omittingEmptySubsequences: false
        )
        let text = lines.joined(separator: "replication_factor = 5")
        let found = try problems {
            try ClusterConfiguration.load(
                text: text,
                path: "cluster.toml",
                environment: ["VENCEJO_GOSSIP_ENABLED": "false"]
            )
        }
        #expect(found.contains { $0.contains("replication_factor = 5: must be at most the number of") })
    }

    @Test("P-10 all problems of a file are reported together")
    func together() throws {
        let found = try problems {
            try ClusterConfiguration.load(
                text: """
                    colour = "red"
                    [cluster]
                    mode = "both"
                    partitions = 0
                    [limits]
                    max_queue = "many"
                    [[node]]
                    id = "a"
                    port = 5
                    """,
                path: "bad.toml",
                environment: ["VENCEJO_LIMITS_MAX_QEUE": "1", "VENCEJO_RAFT_TICK_MS": "soon"]
            )
        }
        let keys = [
            "colour", "cluster.mode", "cluster.partitions", "limits.max_queue", "node[0].port", "node[0].data_dir",
        ]
        for key in keys { #expect(found.contains { $0.hasPrefix("bad.toml: \(key)") }, "\(key) in \(found)") }
        #expect(found.contains { $0.hasPrefix("environment: VENCEJO_LIMITS_MAX_QEUE: no such setting") })
        #expect(found.contains { $0.hasPrefix("environment: VENCEJO_RAFT_TICK_MS = \"soon\": must be an integer") })
        #expect(found.count == 8)
    }

    @Test("P-10 a file that is not there, not TOML, not text or without a node is refused")
    func unusable() throws {
        func found(_ text: String) throws -> [String] {
            try problems { try ClusterConfiguration.load(text: text, path: "c.toml", environment: [:]) }
        }
        let missing = try problems { try ClusterConfiguration.load(path: "/nonexistent/c.toml", environment: [:]) }
        #expect(missing == ["/nonexistent/c.toml: No such file or directory"])
        #expect(try found("[cluster]\nname = \n")[0].hasPrefix("c.toml:2:8: not TOML: "))
        #expect(try found("[cluster]\nname = 'a'\nname = 'b'\n")[0].contains("not TOML: "))
        #expect(try found("cluster.mode = 'standalone'") == ["c.toml: node: at least one [[node]] is needed"])
        #expect(try found("node = 3")[0] == "c.toml: node = 3: must be an array of tables, [[node]]")
        #expect(try found("cluster = 3")[0] == "c.toml: cluster = 3: must be a table")
        #expect(try found("node = [3]")[0] == "c.toml: node[0] = 3: must be a table")

        let file = FileManager.default.temporaryDirectory.appending(path: "vencejo-\(UUID()).toml")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data([0x61, 0, 0x62]).write(to: file)
        #expect(
            try problems { try ClusterConfiguration.load(path: file.path(), environment: [:]) }[0].contains("zero byte")
        )
        try Data([0x23, 0xff]).write(to: file)
        #expect(
            try problems { try ClusterConfiguration.load(path: file.path(), environment: [:]) }[0].contains("not UTF-8")
        )
        try Data(repeating: 0x20, count: ClusterConfiguration.maxFileBytes + 1).write(to: file)
        #expect(
            try problems { try ClusterConfiguration.load(path: file.path(), environment: [:]) }[0].contains("larger")
        )
    }

    @Test("the sample secret and a short one are refused beyond loopback, and never shown")
    func secret() throws {
        func found(_ secret: String, bind: String = "") throws -> [String] {
            try problems {
                try ClusterConfiguration.load(
                    text: """
                        [cluster]
                        replication_factor = 1
                        [[node]]
                        id = "a"
                        host = "127.0.0.1"
                        bind = "\(bind)"
                        resp_port = 0
                        data_dir = "d"
                        """,
                    path: "c.toml",
                    environment: ["VENCEJO_CLUSTER_SECRET": secret]
                )
            }
        }
        let sample = ClusterConfiguration.Cluster.sampleSecret
        #expect(try found(sample).isEmpty)
        #expect(try found("short").isEmpty)
        #expect(try found("short", bind: "0.0.0.0")[0].contains("cluster.secret: must have at least 16 bytes"))
        #expect(try found(sample, bind: "0.0.0.0")[0].contains("cluster.secret: is the sample value"))
        #expect(try found("sixteen bytes ok", bind: "0.0.0.0").isEmpty)
        let refused = try found("bad\u{1}secret", bind: "0.0.0.0")
        #expect(refused.count == 1 && !refused[0].contains("secret\"") && !refused[0].contains("bad"))
        let configuration = try SampleFile.load(["VENCEJO_AUTH_API_KEY": "quetzal-key"])
        #expect(configuration.auth.apiKey.text == "quetzal-key")
        #expect(!String(describing: configuration).contains("quetzal"))
        #expect(!String(reflecting: configuration).contains("quetzal"))
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(!dumped.contains("quetzal"))
    }

    @Test("Redis clients beyond loopback need a password, and ports of the three faces must differ")
    func redisClients() throws {
        func found(_ node: String, _ environment: [String: String] = [:]) throws -> [String] {
            try problems {
                try ClusterConfiguration.load(
                    text: """
                        [cluster]
                        replication_factor = 1
                        secret = "0123456789abcdef"
                        [[node]]
                        id = "a"
                        host = "192.0.2.1"
                        data_dir = "d"
                        \(node)
                        """,
                    path: "c.toml",
                    environment: environment
                )
            }
        }
        #expect(try found("")[0].contains("resp.password: must be set"))
        #expect(try found("resp_port = 0").isEmpty)
        #expect(try found("", ["VENCEJO_RESP_PASSWORD": "geheim"]).isEmpty)
        let password = ["VENCEJO_RESP_PASSWORD": "geheim"]
        #expect(try found("cluster_port = 6379", password)[0].contains("already node[0].resp_port"))
        #expect(try found("sentinel_port = 9000", password)[0].contains("already node[0].admin_port"))
    }

    @Test("P-11 a role that nobody can have is warned of: this version verifies no tokens")
    func unknownRoles() throws {
        let meant = try SampleFile.load(replacing: "# subscribe_roles = []", with: "subscribe_roles = [\"operator\"]")
        #expect(meant.warnings.contains { $0.hasPrefix("namespace[prefix \"\"].subscribe_roles: ") })
        let open = try SampleFile.load(replacing: "# publish_roles = []", with: "publish_roles = [\"anonymous\"]")
        #expect(!open.warnings.contains { $0.contains("_roles") })
    }

    @Test("anonymous clients are refused beyond loopback unless the file says that it is meant")
    func anonymous() throws {
        func load(_ auth: String, namespace: String) throws -> ClusterConfiguration {
            try ClusterConfiguration.load(
                text: """
                    [cluster]
                    replication_factor = 1
                    secret = "0123456789abcdef"
                    \(auth)
                    [[node]]
                    id = "a"
                    host = "192.0.2.1"
                    resp_port = 0
                    data_dir = "d"
                    [[namespace]]
                    prefix = "news"
                    \(namespace)
                    """,
                path: "c.toml",
                environment: [:]
            )
        }
        #expect(try problems { try load("", namespace: "") }.isEmpty)
        for key in ["anonymous_subscribe", "anonymous_publish"] {
            let found = try problems { try load("", namespace: "\(key) = true") }
            #expect(found.count == 1)
            #expect(found[0].contains("namespace[prefix \"news\"].\(key) = true: must be false"))
        }
        let meant = try load("[auth]\nallow_anonymous_on_public = true", namespace: "anonymous_subscribe = true")
        #expect(meant.warnings.contains { $0.contains("allow_anonymous_on_public") })
    }
}
