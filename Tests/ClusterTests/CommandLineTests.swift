import Admin
import ClusterConfiguration
import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct CommandLineTests {
        @Test("publish, subscribe, history and status work from the command line", .timeLimit(.minutes(3)))
        func everyday() async throws {
            try await ProcessCluster.run { cluster in
                let config = ["--config", cluster.configurationPath]
                let alone = try await Executable.run(["publish", "cli:room", "hello"] + config)
                #expect(alone.exit == .code(1))
                #expect(alone.lines.joined().contains("vencejo cluster"), "\(alone.lines)")
                let silent = try await Executable.run(["status"] + config)
                #expect(silent.exit == .code(1))
                #expect(silent.lines.contains { $0.contains("n2 does not answer: connection refused") })

                try await cluster.startAndAwaitReady()
                let lines = Lines()
                let reader = try cluster.launch(["subscribe", "cli:room", "--from-start", "--count", "4"] + config) {
                    lines.append($0)
                }
                let first = try await Executable.run(["publish", "cli:room", "hello", "--key", "k"] + config)
                #expect(first.exit == .code(0))
                #expect(first.lines.joined().contains("offset 1"), "\(first.lines)")
                let again = try await Executable.run(["publish", "cli:room", "hello", "--key", "k", "--json"] + config)
                #expect(again.lines.joined().contains(#""duplicate":true"#), "\(again.lines)")
                for text in ["{\"a\":1}", "say \"x\"", "7"] {
                    let url = "ws://127.0.0.1:\(cluster.nodes[2].gateway)"
                    #expect(try await Executable.run(["publish", "cli:room", text, "--url", url]).exit == .code(0))
                }
                #expect(await reader.wait() == .code(0))
                let wanted = ["1\t\"hello\"", "2\t{\"a\":1}", "3\t\"say \\\"x\\\"\"", "4\t7"]
                #expect(lines.all.filter { !$0.hasPrefix("--") } == wanted)

                let history = try await Executable.run(["history", "cli:room", "--limit", "2"] + config)
                #expect(history.lines.filter { !$0.hasPrefix("--") } == Array(wanted.suffix(2)))
                let json = try await Executable.run(["history", "cli:room", "--json"] + config)
                #expect(json.lines.count == 4)
                for line in json.lines {
                    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                    #expect(object?["room"] as? String == "cli:room" && object?["offset"] is Int)
                }
                let resumed = try await Executable.run(
                    ["subscribe", "cli:room", "--from", "2", "--count", "2", "--json"] + config
                )
                #expect(resumed.lines.count == 2 && resumed.lines[0].contains(#""offset":3"#), "\(resumed.lines)")

                let status = try await Executable.run(["status", "--events"] + config)
                #expect(status.exit == .code(0), "\(status.lines)")
                #expect(status.lines.contains { $0.contains("9 of 9 partitions") })
                for node in cluster.nodes {
                    #expect(status.lines.contains { $0.hasPrefix(node.id) && $0.contains("ready") })
                }
                let report = try await Executable.run(["status", "--json"] + config)
                let object = try JSONSerialization.jsonObject(with: Data(report.lines.joined().utf8)) as? [String: Any]
                #expect(Set(object.map(\.keys).map(Array.init) ?? []) == ["n1", "n2", "n3"])
            }
        }

        @Test("PS-09 log check: good, damaged, not a log, in use", .timeLimit(.minutes(3)))
        func logCheck() async throws {
            var options = ProcessCluster.Options()
            options.nodes = 1
            options.mode = "standalone"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let client = try await cluster.client(0)
                for number in 1...50 { _ = try await client.publish("check:room", Array("\(number)".utf8)) }
                await client.close()
                let data = cluster.nodes[0].data
                #expect(try await Executable.run(["log", "check", data]).exit == .code(2), "in use")
                await cluster.kill(0)
                let good = try await Executable.run(["log", "check", data, "--repair"])
                #expect(good.exit == .code(0), "\(good.lines)")

                let folder = data + "/wal"
                let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".wal") }
                let path = folder + "/" + (try #require(files.sorted().last))
                var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
                let used = try #require(bytes.lastIndex { $0 != 0 })
                bytes[used / 3] ^= 0x40
                try Data(bytes).write(to: URL(fileURLWithPath: path))
                let damaged = try await Executable.run(["log", "check", data])
                #expect(damaged.exit == .code(1), "\(damaged.lines)")
                #expect(damaged.lines.contains { $0.contains("damaged") && $0.contains("at byte") }, "\(damaged.lines)")
                let json = try await Executable.run(["log", "check", data, "--json"])
                #expect(json.exit == .code(1) && json.lines.joined().contains(#""clean":false"#))
                #expect(try await Executable.run(["log", "check", cluster.directory]).exit == .code(2))
            }
        }

        @Test("vencejo cluster runs all nodes, restarts one that dies, and Ctrl-C stops them", .timeLimit(.minutes(3)))
        func clusterCommand() async throws {
            try await ProcessCluster.run { cluster in
                let lines = Lines()
                let command = try cluster.launch(
                    [
                        "cluster", "--config", cluster.configurationPath, "--no-table", "--data",
                        cluster.directory + "/d",
                    ]
                ) { lines.append($0) }
                defer { command.signal(SIGKILL) }
                #expect(try await eventually(within: 60) { lines.contains("ready after") }, "\(lines.all.suffix(9))")
                #expect(lines.contains(cluster.nodes[1].url))
                #expect(FileManager.default.fileExists(atPath: cluster.directory + "/d/n1/wal"))

                let victim = try #require(Self.childProcesses(of: command.pid).first)
                Glibc.kill(victim, SIGKILL)
                #expect(try await eventually(within: 20) { lines.contains("has ended with signal 9") })
                let isBack = try await eventually(within: 60) {
                    let children = Self.childProcesses(of: command.pid)
                    guard children.count == 3, !children.contains(victim) else { return false }
                    for index in cluster.nodes.indices {
                        if await cluster.admin(index).unreadiness() != nil { return false }
                    }
                    return true
                }
                #expect(isBack)
                let children = Self.childProcesses(of: command.pid)
                command.signal(SIGINT)
                #expect(await command.wait() == .code(0), "\(lines.all.suffix(9))")
                for child in children { #expect(Glibc.kill(child, 0) != 0, "no child is left") }
            }
        }

        @Test("the nodes of vencejo cluster end with it, even when it is killed", .timeLimit(.minutes(3)))
        func orphans() async throws {
            try await ProcessCluster.run { cluster in
                let lines = Lines()
                let command = try cluster.launch(
                    ["cluster", "--config", cluster.configurationPath, "--no-table"]
                ) { lines.append($0) }
                #expect(try await eventually(within: 60) { lines.contains("ready after") })
                let children = Self.childProcesses(of: command.pid)
                #expect(children.count == 3)
                command.signal(SIGKILL)
                let areGone = try await eventually(within: 60) { children.allSatisfy { Glibc.kill($0, 0) != 0 } }
                #expect(areGone)
                for child in children { Glibc.kill(child, SIGKILL) }
            }
        }

        @Test("P-04 vencejo cluster --kill-demo shows a failover in which nothing is lost", .timeLimit(.minutes(3)))
        func killDemo() async throws {
            try await ProcessCluster.run { cluster in
                let config = cluster.configurationPath
                let result = try await Executable.run(
                    ["cluster", "--config", config, "--kill-demo", "--fresh"],
                    within: 150
                )
                for line in result.lines where line.contains("demo |") { print(line) }
                #expect(result.exit == .code(0), "\(result.lines.suffix(15))")
                #expect(result.lines.contains { $0.contains("demo | Held:") })
            }
        }

        @Test("P-04 a file is made wider by nodes whose ports, zones and directories follow its own")
        func widerCluster() throws {
            let path = Checkout.root + "/cluster.toml"
            let three = try ClusterConfiguration.load(path: path, environment: [:])
            let text = WiderCluster.text(try ClusterConfiguration.readFile(path), three.nodes, count: 5)
            let five = try ClusterConfiguration.load(text: text, path: "five", environment: [:])
            #expect(Array(five.nodes.prefix(3)) == three.nodes)
            let last = try #require(five.nodes.last)
            #expect(five.nodes.map(\.id) == ["n1", "n2", "n3", "n4", "n5"])
            #expect(five.nodes.map(\.zone) == ["a", "b", "c", "d", "e"])
            #expect(last.gatewayPort == 8040 && last.respPort == 6383 && last.sentinelPort == 26383)
            #expect(last.meshPort == 7986 && last.gossipPort == 7987 && last.adminPort == 9040)
            #expect(last.clusterPort == 0 && last.dataDirectory == "./data/n5")
        }

        /// Processes whose parent is `pid`.
        private static func childProcesses(of pid: pid_t) -> [pid_t] {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            return names.compactMap { pid_t($0) }.filter { candidate in
                guard let stat = try? String(contentsOfFile: "/proc/\(candidate)/stat", encoding: .utf8),
                    let close = stat.lastIndex(of: ")")
                else { return false }
                let fields = stat[close...].split(separator: " ")
                return fields.count > 2 && fields[1] != "Z" && pid_t(fields[2]) == pid
            }.sorted()
        }
    }
}
