import Admin
import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// Redis clients, unmodified, at the shim of a real cluster.
    @Suite struct RedisClientTests {
        private static let python =
            ProcessInfo.processInfo.environment["VENCEJO_PYTHON"] ?? Checkout.root + "/.build/venv/bin/python"
        private static let hasPython = FileManager.default.isExecutableFile(atPath: python)
        private static let hasCLI = FileManager.default.isExecutableFile(atPath: "/usr/bin/redis-cli")
        private static let clients = Checkout.root + "/Tests/ClusterTests/Clients"

        private static var options: ProcessCluster.Options {
            var options = ProcessCluster.Options()
            options.hasRedisClients = true
            return options
        }

        @Test(
            "P-05 RS-01 RS-02 RS-03 RS-04 RS-07 RS-11 RS-12 RS-13 RS-14 RS-15 RS-24 redis-py at three nodes",
            .enabled(if: hasPython, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3)),
            arguments: [2, 3]
        )
        func redisPy(_ version: Int) async throws {
            try await ProcessCluster.run(Self.options) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Executable.run(
                    Self.python,
                    [Self.clients + "/redis_shim.py"] + ports + [String(version)]
                )
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
            }
        }

        @Test(
            "P-05 RS-03 redis-cli and a browser talk to each other through different nodes",
            .enabled(if: hasCLI, "needs redis-cli"),
            .timeLimit(.minutes(3))
        )
        func bridged() async throws {
            try await ProcessCluster.run(Self.options) { cluster in
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
            .enabled(if: hasPython, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func ownerAck() async throws {
            var options = Self.options
            options.sections = "[keys]\nack = \"owner\"\n"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Executable.run(Self.python, [Self.clients + "/redis_shim.py"] + ports + ["3"])
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
                let metrics = try await cluster.admin(0).get("/metrics").text
                #expect(metrics.contains("keys_unconfirmed_entries_total{"))
            }
        }

        @Test(
            "CA-13 CA-14 RS-09 RB-07 X-27 keys leave when memory is short, and rooms keep their log",
            .enabled(if: hasPython, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func memory() async throws {
            var options = Self.options
            options.sections = "[keys]\nmax_memory = \"1mb\"\nmax_memory_policy = \"allkeys-lru\"\n"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let browser = try await cluster.client(1, alone: true)
                for number in 0..<50 { _ = try await browser.publish("kept", Array("\(number)".utf8)) }
                let ports = cluster.nodes.map { String($0.resp) }
                let result = try await Executable.run(Self.python, [Self.clients + "/redis_memory.py"] + ports)
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

        @Test(
            "RS-11 CL-06 T-18 kill -9 of the keys' owner under INCR: nothing acknowledged is lost or done twice",
            .enabled(if: hasPython, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(5))
        )
        func increments() async throws {
            try await ProcessCluster.run(Self.options) { cluster in
                try await cluster.startAndAwaitReady()
                let partition = try #require(try await cluster.status(0).partitions.last)
                let owner = try #require(cluster.nodes.firstIndex { $0.id == partition.owner })
                let ports = cluster.nodes.indices.filter { $0 != owner }.map { String(cluster.nodes[$0].resp) }
                let lines = Lines()
                let python = try ChildProcess.start(
                    Self.python,
                    [Self.clients + "/redis_increments.py", "6"] + ports,
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { python.signal(SIGKILL) }
                #expect(try await eventually(within: 30) { lines.all.contains("started") }, "\(lines.all)")
                try await Task.sleep(for: .seconds(2))
                await cluster.kill(owner)
                #expect(try await eventually(within: 60) { lines.all.count >= 2 }, "\(lines.all)")
                let report = try #require(
                    try JSONSerialization.jsonObject(with: Data(lines.all[1].utf8)) as? [String: Any]
                )
                let acknowledged = try #require(report["acknowledged"] as? Int)
                let final = try #require(report["final"] as? Int)
                let errors = try #require(report["errors"] as? Int)
                print("kill -9 of the owner under INCR: \(lines.all[1])")
                #expect(acknowledged > 100)
                #expect(report["distinct"] as? Int == acknowledged, "each value is told once")
                #expect(final >= acknowledged && final <= acknowledged + errors, "\(report)")
                #expect(try #require(report["silence"] as? Double) < 10)
                let survivor = try #require(cluster.nodes.indices.first { $0 != owner })
                let now = try #require(try await cluster.status(survivor).partitions.last)
                #expect(now.owner != nil && now.owner != partition.owner, "the owner was killed, and another took over")
            }
        }
    }
}
