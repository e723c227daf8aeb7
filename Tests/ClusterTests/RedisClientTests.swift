import Admin
import Foundation
import Glibc
import RESP
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// Redis clients, unmodified, at the shim of a real cluster.
    @Suite struct RedisClientTests {
        @Test(
            "P-05 RS-01 RS-02 RS-03 RS-04 RS-07 RS-11 RS-12 RS-13 RS-14 RS-15 RS-24 redis-py at three nodes",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3)),
            arguments: [2, 3]
        )
        func redisPy(_ version: Int) async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Python.run("redis_shim.py", ports + [String(version)])
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
            }
        }

        @Test(
            "P-05 RS-01 RS-13 RS-14 RS-15 redis-py's asyncio client at three nodes: tasks, streams, groups, Pub/Sub",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3)),
            arguments: [2, 3]
        )
        func asyncio(_ version: Int) async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Python.run("redis_asyncio.py", ports + [String(version)])
                #expect(result.exit == .code(0) && result.lines.last == "good", "\(result.lines)")
            }
        }

        @Test(
            "RS-01 RS-11 RS-12 RS-18 redis-benchmark with pipelines, at a node and over the cluster ports",
            .enabled(if: installed("redis-benchmark") != nil, "needs redis-benchmark (redis-tools)"),
            .timeLimit(.minutes(5)),
            arguments: [false, true]
        )
        func benchmark(_ isCluster: Bool) async throws {
            try await ProcessCluster.run(redisClients(keyPartitions: isCluster ? 4 : 1)) { cluster in
                try await cluster.startAndAwaitReady()
                let tests =
                    isCluster
                    ? [
                        "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd",
                        "zpopmin",
                    ]
                    : [
                        "ping", "set", "get", "incr", "lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd",
                        "zpopmin", "lrange", "mset",
                    ]
                let node = cluster.nodes[1]
                let requests = 2000
                if isCluster {
                    // It asks once who has which slots, of every node.
                    for node in cluster.nodes {
                        let face = try await RedisSocket.connect(node.respCluster)
                        #expect(
                            try await eventually(within: 30) {
                                try await face.call("CLUSTER", "SLOTS").elements?.isEmpty == false
                            }
                        )
                    }
                }
                let result = try await Executable.run(
                    try #require(installed("redis-benchmark")),
                    ["-p", String(isCluster ? node.respCluster : node.resp)] + (isCluster ? ["--cluster"] : [])
                        + ["-t", tests.joined(separator: ","), "-n", "\(requests)", "-r", "1000", "-P", "16", "--csv"],
                    within: 240
                )
                #expect(result.exit == .code(0), "\(result.lines.suffix(5))")
                let rows = result.lines.filter { $0.hasPrefix("\"") && !$0.hasPrefix("\"test\"") }
                #expect(rows.count >= tests.count, "\(result.lines)")
                #expect(!result.lines.contains { $0.lowercased().contains("error") }, "\(result.lines)")
                // What was answered was done: each test ran its requests to the end, as a counter tells.
                var commands = 0
                for node in cluster.nodes {
                    let socket = try await RedisSocket.connect(node.resp)
                    let text = try await socket.call("INFO", "commandstats").text ?? ""
                    for line in text.split(separator: "\r\n") where line.hasPrefix("cmdstat_hset:calls=") {
                        commands += Int(line.dropFirst(19).prefix { $0 != "," }) ?? 0
                    }
                    socket.close()
                }
                #expect(commands >= requests && commands < requests + 16 * 50, "\(commands) of \(requests)")
            }
        }

        @Test(
            "RS-08 prometheus-redis-exporter scrapes a node: up, without an error, with the fields it knows",
            .enabled(if: installed("prometheus-redis-exporter") != nil, "needs prometheus-redis-exporter"),
            .timeLimit(.minutes(3))
        )
        func exporter() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let socket = try await RedisSocket.connect(cluster.nodes[0].resp)
                for number in 0..<7 { try await socket.call("SET", "key:\(number)", "v") }
                for _ in 0..<3 { try await socket.call("GET", "key:0") }
                try await socket.call("GET", "missing")
                try await socket.call("SUBSCRIBE", "news")
                let port = try FreePorts.take(1)[0]
                let lines = Lines()
                let exporter = try ChildProcess.start(
                    try #require(installed("prometheus-redis-exporter")),
                    [
                        "-redis.addr", "redis://127.0.0.1:\(cluster.nodes[0].resp)", "-web.listen-address",
                        "127.0.0.1:\(port)",
                    ],
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { exporter.signal(SIGKILL) }
                let scraper = AdminClient(host: "127.0.0.1", port: port)
                var text = ""
                let isScraped = try await eventually(within: 30) {
                    text = (try? await scraper.get("/metrics").text) ?? ""
                    return text.contains("\nredis_up ")
                }
                #expect(isScraped, "\(lines.all)")
                let samples = Dictionary(
                    text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
                        line.lastIndex(of: " ").map { (String(line[..<$0]), Double(line[$0...].dropFirst()) ?? -1) }
                    },
                    uniquingKeysWith: { first, _ in first }
                )
                func value(_ name: String) -> Double { samples[name] ?? -1 }
                #expect(value("redis_up") == 1)
                #expect(value(#"redis_exporter_last_scrape_error{err=""}"#) == 0, "\(text)")
                #expect(value(#"redis_db_keys{db="db0"}"#) == 7)
                #expect(value("redis_connected_clients") >= 2, "the exporter and the subscriber")
                #expect(value("redis_pubsub_channels") == 1)
                #expect(value("redis_keyspace_hits_total") >= 3 && value("redis_keyspace_misses_total") >= 1)
                #expect(value(#"redis_commands_total{cmd="set"}"#) == 7)
                #expect(value("redis_connected_slaves") == 2)
                for name in [
                    "redis_blocked_clients", "redis_memory_used_bytes", "redis_commands_processed_total",
                    "redis_evicted_keys_total", "redis_expired_keys_total", "redis_pubsub_patterns",
                    "redis_uptime_in_seconds", "redis_net_input_bytes_total", "redis_net_output_bytes_total",
                    "redis_rdb_last_bgsave_status", "redis_aof_enabled", "redis_master_repl_offset",
                    "redis_slowlog_length", "redis_rejected_connections_total", "redis_memory_max_bytes",
                ] {
                    #expect(value(name) >= 0, "\(name) is missing")
                }
                let info = samples.keys.first { $0.hasPrefix("redis_instance_info{") } ?? ""
                #expect(info.contains(#"role="master""#) && info.contains(#"redis_version="7.2.4""#), "\(info)")
                socket.close()
            }
        }

        @Test(
            "P-05 RS-03 redis-cli and a browser talk to each other through different nodes",
            .enabled(if: installed("redis-cli") != nil, "needs redis-cli"),
            .timeLimit(.minutes(3))
        )
        func bridged() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                func port(_ index: Int) -> [String] { ["-p", String(cluster.nodes[index].resp)] }
                let lines = Lines()
                let cli = try ChildProcess.start(
                    "/usr/bin/redis-cli",
                    port(0) + ["SUBSCRIBE", "news"],
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { cli.signal(SIGKILL) }
                #expect(try await eventually(within: 20) { lines.all.contains("subscribe") })

                let browser = try await cluster.client(1, alone: true)
                _ = try await browser.publish("news", Array("{\"from\":\"browser\"}".utf8))
                #expect(try await eventually(within: 20) { lines.all.contains("{\"from\":\"browser\"}") })

                let published = try await Executable.run(
                    "/usr/bin/redis-cli",
                    port(2) + ["PUBLISH", "news", "{\"from\":\"cli\"}"]
                )
                #expect(published.lines == ["1"], "the one subscriber")
                let history = try await browser.history("news", limit: 10)
                #expect(
                    history.messages.map { String(decoding: $0.data, as: UTF8.self) }
                        == ["{\"from\":\"browser\"}", "{\"from\":\"cli\"}"]
                )
                await browser.close()
            }
        }

        @Test(
            "RS-11 redis-py at three nodes whose keys are answered by their owner alone",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func ownerAck() async throws {
            var options = redisClients()
            options.sections = "[keys]\nack = \"owner\"\n"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Python.run("redis_shim.py", ports + ["3"])
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
                let metrics = try await cluster.admin(0).get("/metrics").text
                #expect(metrics.contains("keys_unconfirmed_entries_total{"))
            }
        }

        @Test(
            "CA-13 CA-14 RS-09 RB-07 X-27 keys leave when memory is short, and rooms keep their log",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func memory() async throws {
            var options = redisClients()
            options.sections = "[keys]\nmax_memory = \"1mb\"\nmax_memory_policy = \"allkeys-lru\"\n"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let browser = try await cluster.client(1, alone: true)
                for number in 0..<50 { _ = try await browser.publish("kept", Array("\(number)".utf8)) }
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Python.run("redis_memory.py", ports)
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
                let history = try await browser.history("kept", limit: 100)
                #expect(history.messages.map { String(decoding: $0.data, as: UTF8.self) } == (0..<50).map(String.init))
                await browser.close()
                let metrics = try await cluster.admin(0).get("/metrics").text.split(separator: "\n")
                func value(_ name: String) -> Int? {
                    metrics.first { $0.hasPrefix("\(name){") }?.split(separator: " ").last.flatMap { Int($0) }
                }
                #expect(value("keys_memory_limit_bytes") == 1 << 30)
                #expect(try #require(value("keys_memory_bytes")) > 1 << 20)
                #expect(try #require(value("keys_evicted_total")) > 1500)
            }
        }
    }
}
