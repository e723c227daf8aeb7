import Admin
import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct RestartTests {
        private static func fill(_ cluster: ProcessCluster, _ rooms: [String], _ count: Int) async throws {
            let client = try await cluster.client(0)
            for room in rooms {
                for number in 1...count { _ = try await client.publish(room, Array("\(number)".utf8)) }
            }
            await client.close()
        }

        private static func histories(_ cluster: ProcessCluster, _ rooms: [String]) async throws -> [HistoryPage] {
            let client = try await cluster.client(1)
            var pages: [HistoryPage] = []
            for room in rooms { pages.append(try await client.history(room)) }
            await client.close()
            return pages
        }

        @Test(
            "DL-10 PS-04 CL-11 after a restart of all nodes, clean or not, history, positions and epochs are unchanged",
            .timeLimit(.minutes(5))
        )
        func restartAll() async throws {
            try await ProcessCluster.run { cluster in
                let rooms = ["restart:a", "restart:b", "kept:c"]
                try await cluster.startAndAwaitReady()
                try await Self.fill(cluster, rooms, 40)
                let before = try await Self.histories(cluster, rooms)
                #expect(before.map(\.messages.count) == [40, 40, 40])
                #expect(before.allSatisfy { $0.top.offset == 40 })

                for index in cluster.nodes.indices {
                    let exit = await cluster.stop(index)
                    #expect(exit == .code(0), "SIGTERM ends \(cluster.nodes[index].id) cleanly")
                }
                let clock = ContinuousClock()
                let began = clock.now
                try await cluster.startAndAwaitReady()
                print("restart of three nodes until ready: \(clock.now - began)")
                #expect(try await Self.histories(cluster, rooms) == before)

                try await Self.fill(cluster, rooms, 10)
                let more = try await Self.histories(cluster, rooms)
                #expect(more.allSatisfy { $0.top.offset == 50 })
                #expect(more.map(\.top.epoch) == before.map(\.top.epoch))
                for index in cluster.nodes.indices { cluster.child(index)?.signal(SIGKILL) }
                for index in cluster.nodes.indices { await cluster.kill(index) }
                try await cluster.startAndAwaitReady()
                #expect(try await Self.histories(cluster, rooms) == more)
                let since = RoomPosition(epoch: more[0].top.epoch, offset: 45)
                let client = try await cluster.client(2)
                #expect(
                    try await client.history(rooms[0], since: since).messages.map(\.offset) == [46, 47, 48, 49, 50]
                )
                await client.close()
            }
        }

        @Test(
            "a data directory belongs to one process, and a wiped one is refused with a reason",
            .timeLimit(.minutes(5))
        )
        func directories() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                try await Self.fill(cluster, ["wipe:a"], 20)

                let second = try await Executable.run([
                    "serve", "--node", "n1", "--config", cluster.configurationPath,
                ])
                #expect(second.exit == .code(1))
                let said = second.lines.joined(separator: "\n")
                #expect(said.contains("already running") && said.contains(cluster.nodes[0].data), "\(said)")

                await cluster.kill(0)
                try FileManager.default.removeItem(atPath: cluster.nodes[0].data)
                try cluster.start(0)
                let isExplained = try await eventually(within: 30) {
                    let lines = cluster.log(0) + cluster.log(1) + cluster.log(2)
                    return lines.contains { $0.contains("data directory was replaced") }
                }
                #expect(isExplained)
                let isSaid = try await eventually(within: 30) { cluster.log(0).contains { $0.contains("refused") } }
                #expect(isSaid, "n1 itself says why it waits")
                #expect(await cluster.admin(0).unreadiness() != nil)
                // The others are a majority and go on.
                try await cluster.awaitReady([1, 2])
                let client = try await cluster.client(1, alone: true)
                #expect(try await client.history("wipe:a").top.offset == 20)
                _ = try await client.publish("wipe:a", Array("21".utf8))
                await client.close()
            }
        }

        @Test("a node with another secret does not get in", .timeLimit(.minutes(5)))
        func foreignSecret() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                await cluster.kill(2)
                let path = cluster.directory + "/foreign.toml"
                try cluster.toml(secret: "a-secret-that-nobody-else-has")
                    .write(toFile: path, atomically: true, encoding: .utf8)
                try cluster.start(2, arguments: ["serve", "--node", "n3", "--config", path])
                let isRefused = try await eventually(within: 20) {
                    (cluster.log(0) + cluster.log(1)).contains { $0.contains("refused") && !$0.contains("Connection") }
                }
                #expect(isRefused, "the others say so")
                try await Task.sleep(for: .seconds(1))
                let rows = try await cluster.status(0).nodes
                #expect(rows.first { $0.name == "n3" }?.state == "down")
                #expect(await cluster.admin(2).unreadiness() != nil)
                try await cluster.awaitReady([0, 1])
            }
        }

        @Test("CL-03 two nodes, and nodes in one zone, start with a warning", .timeLimit(.minutes(3)))
        func warnings() async throws {
            var options = ProcessCluster.Options()
            options.nodes = 2
            options.zones = ["only"]
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                for index in cluster.nodes.indices {
                    let isSaid = try await eventually(within: 30) {
                        let lines = cluster.log(index)
                        return lines.contains { $0.contains("at least 3") }
                            && lines.contains { $0.contains("zone") && $0.contains("only") }
                    }
                    #expect(isSaid)
                    #expect(try await cluster.status(index).warnings.contains { $0.contains("at least 3") })
                }
                let client = try await cluster.client(0)
                _ = try await client.publish("two:room", Array("1".utf8))
                await client.close()
            }
        }
    }
}
