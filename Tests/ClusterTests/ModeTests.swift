import Admin
import ClusterConfiguration
import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct ModeTests {
        @Test(
            """
            P-08 P-09 HC-03 RA-01 RA-16 RA-17 standalone: one node publishes, delivers, keeps history over a restart \
            and names its mode
            """,
            .timeLimit(.minutes(3)),
            // A Redis that is switched off makes a standalone node, too.
            arguments: [("standalone", [:]), ("redis", ["REDIS_ENABLED": "false", "REDIS_URL": "redis://nowhere:1"])]
        )
        func standalone(_ mode: String, _ environment: [String: String]) async throws {
            var options = ProcessCluster.Options()
            options.nodes = 1
            options.mode = mode
            options.environment = environment
            try await ProcessCluster.run(options) { cluster in
                let clock = ContinuousClock()
                let began = clock.now
                try cluster.start(0)
                try await cluster.awaitReady()
                let client = try await cluster.client(0)
                let first = try await client.publish("alone:room", Array("1".utf8), idempotencyKey: "one")
                print("standalone, start to first acknowledged publish: \(clock.now - began)")
                #expect(first.position?.offset == 1)
                let again = try await client.publish("alone:room", Array("1".utf8), idempotencyKey: "one")
                #expect(again.isDuplicate && again.position == first.position)

                let status = try await cluster.status(0)
                #expect(status.mode == "standalone")
                #expect(status.redis?.status.isFallback == true && status.redis?.stats == .disabled)
                #expect(
                    try await cluster.admin(0).get("/health/redis").text
                        == #"{"status":"disabled","fallback_mode":true,"#
                        + #""message":"Redis is disabled, using single-instance mode"}"#
                )
                #expect(try await cluster.admin(0).get("/metrics").text.contains("standalone"))
                #expect(try await cluster.admin(0).get("/health/cluster").text.contains("standalone"))

                let plain = try PlainSocket.connect(cluster.nodes[0].gateway, "/ws")
                plain.send(#"{"content":"hi","user":"ana"}"#)
                _ = try await plain.await { $0["type"] as? String == "message" && $0["content"] as? String == "hi" }
                plain.close()
                let answer = try await cluster.post(0, "/api/publish", #"{"channel":"alone:room","data":{"n":2}}"#)
                #expect(answer.status == 200)

                await cluster.kill(0)
                try cluster.start(0)
                try await cluster.awaitReady()
                // The same client, back by itself.
                let page = try await client.history("alone:room")
                #expect(page.messages.map(\.offset) == [1, 2])
                #expect(page.top.epoch == first.position?.epoch)
                await client.close()
                #expect(await cluster.stop(0) == .code(0))
            }
        }

        @Test(
            "P-08 P-10 what is wrong in the configuration stops the start with its key, its value and a reason",
            arguments: [
                ("mode = \"cluster\"", "mode = \"redis\"", ["cluster.mode", "redis", "backplane"]),
                ("mode = \"cluster\"", "mode = \"swarm\"", ["cluster.mode", "swarm", "standalone"]),
                ("partitions = 8", "partitions = 12", ["cluster.partitions", "12", "power of two"]),
                ("partitions = 8", "partitions = \"8\"", ["cluster.partitions", "integer"]),
                ("wal_file_size", "wal_file_sise", ["wal_file_sise", "unknown key"]),
                ("zone = \"b\"", "zone = 7", ["node[1].zone", "7", "string"]),
                ("[log]", "[log", ["cluster.toml:", "not TOML"]),
            ]
        )
        func refusals(_ old: String, _ new: String, _ wanted: [String]) async throws {
            try await ProcessCluster.run { cluster in
                let text = cluster.toml()
                #expect(text.contains(old))
                try text.replacingOccurrences(of: old, with: new)
                    .write(toFile: cluster.configurationPath, atomically: true, encoding: .utf8)
                for command in [["serve", "--node", "n1"], ["config", "check"]] {
                    let result = try await Executable.run(command + ["--config", cluster.configurationPath])
                    #expect(result.exit == .code(78))
                    let said = result.lines.joined(separator: "\n")
                    for word in wanted { #expect(said.contains(word), "\(said)") }
                }
            }
        }

        @Test("P-10 an environment variable overrides the file, and a misspelt one stops the start")
        func overrides() async throws {
            var options = ProcessCluster.Options()
            options.nodes = 1
            options.mode = "standalone"
            options.environment = ["VENCEJO_LIMITS_MAX_SIZE": "2KiB", "VENCEJO_LOG_SNAPSHOT_EVERY_ENTRIES": "999"]
            try await ProcessCluster.run(options) { cluster in
                let printed = try await Executable.run(
                    ["config", "check", "--print", "--config", cluster.configurationPath],
                    environment: options.environment
                )
                #expect(printed.exit == .code(0))
                #expect(printed.lines.contains("limits.max_size = 2048"))
                #expect(printed.lines.contains("log.snapshot_every_entries = 999"))

                let wrong = try await Executable.run(
                    ["config", "check", "--config", cluster.configurationPath],
                    environment: ["VENCEJO_LIMITS_MAX_SISE": "2KiB"]
                )
                #expect(wrong.exit == .code(78))
                #expect(wrong.lines.contains { $0.contains("VENCEJO_LIMITS_MAX_SISE") })

                try cluster.start(0)
                try await cluster.awaitReady()
                let socket = try PlainSocket.connect(cluster.nodes[0].gateway, "/ws")
                socket.send(#"{"content":"\#(String(repeating: "x", count: 3000))","user":"ana"}"#)
                #expect(try await eventually(within: 10) { socket.isEnded }, "a larger message closes the connection")
            }
        }

        @Test("DL-03 DL-04 the shipped cluster.toml is valid and gives the namespaces their classes")
        func shipped() async throws {
            let path = Checkout.root + "/cluster.toml"
            let result = try await Executable.run(["config", "check", "--config", path])
            #expect(result.exit == .code(0), "\(result.lines)")
            let configuration = try ClusterConfiguration.load(path: path, environment: [:])
            func deliveryClass(_ room: String) -> ClusterConfiguration.DeliveryClass {
                configuration.namespace(for: Array(room.utf8)).deliveryClass
            }
            #expect(deliveryClass("citizen:notifications:4711") == .bestEffort)
            #expect(deliveryClass("gov:alerts:critical") == .guaranteed)
            #expect(deliveryClass("ops:system:health") == .retained)
        }

        private static let hasSockets =
            FileManager.default.isExecutableFile(atPath: "/usr/bin/ss")
            || FileManager.default.isExecutableFile(atPath: "/bin/ss")

        @Test(
            "P-03 the nodes' only connections are to each other",
            .enabled(if: hasSockets, "needs ss (iproute2)"),
            .timeLimit(.minutes(3))
        )
        func sockets() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let client = try await cluster.client(0)
                _ = try await client.publish("sockets:room", Array("1".utf8))
                let result = try await Executable.run("ss", ["-tunpH", "state", "connected"])
                let mesh = Set(cluster.nodes.map { ":\($0.mesh)" })
                let own = mesh.union(cluster.nodes.flatMap { [":\($0.gateway)", ":\($0.admin)"] })
                var links = 0
                for index in cluster.nodes.indices {
                    let pid = try #require(cluster.child(index)?.pid)
                    for line in result.lines where line.contains("pid=\(pid),") {
                        let addresses = line.split(separator: " ").filter { $0.contains("127.0.0.1:") }
                        try #require(addresses.count == 2, "\(line)")
                        let toPeer = mesh.contains { addresses[1].hasSuffix($0) }
                        let fromClient = own.contains { addresses[0].hasSuffix($0) }
                        #expect(toPeer || fromClient, "\(line)")
                        if toPeer { links += 1 }
                    }
                }
                #expect(links >= 3, "three nodes have at least three links")
                await client.close()
            }
        }
    }
}
