import Admin
import Foundation
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// What an operator is told of load that is in one place.
    @Suite struct HotTests {
        @Test(
            "CL-16 T-20 a hot room is told of by its owner: events, status, metrics and vencejo hot name it",
            .timeLimit(.minutes(3))
        )
        func hotRoom() async throws {
            var options = ProcessCluster.Options()
            options.partitions = 16
            options.clusterKeys = "threads = 2\nhot_rate = 20\nhot_after = \"2s\""
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                let room = "match:final"
                var ended: [Task<Void, Never>] = []
                for index in cluster.nodes.indices {
                    let client = try await cluster.client(index)
                    ended.append(
                        Task {
                            // Seldom elsewhere: every partition has some load.
                            var number = 0
                            while !Task.isCancelled {
                                let other = number % 20 == 0
                                _ = try? await client.publish(other ? "other:\(number)" : room, Array("\(number)".utf8))
                                number += 1
                            }
                            await client.close()
                        }
                    )
                }
                defer { for task in ended { task.cancel() } }
                let partition = cluster.partition(of: room)
                var hot: StatusReport.Load.Partition?
                var owner = -1
                let isFlagged = try await eventually(within: 60) {
                    owner = await cluster.owner(of: room) ?? -1
                    guard owner >= 0 else { return false }
                    hot = try await cluster.status(owner).load?.partitions.first { $0.id == partition && $0.hot }
                    return hot != nil
                }
                #expect(isFlagged)
                let found = try #require(hot)
                print("hot: \(found.operations) operations/s, \(found.bytes) bytes/s, \(found.rooms)")
                #expect(found.operations >= 20 && found.bytes > 0 && found.share >= 0.5 && !found.isKeys)
                #expect(found.rooms.first?.name == room)
                // Estimates are never above what was published: the partition's rate, but for sampling's chance.
                #expect(Double(found.rooms.first?.rate ?? 0) < 2 * Double(found.operations))

                let name = cluster.nodes[owner].id
                let config = ["--config", cluster.configurationPath]
                let events = try await Executable.run(["events", "--kind", "load"] + config)
                let told = events.lines.filter { $0.contains("p\(partition) is hot") && $0.contains(" \(name) ") }
                #expect(told.count == 1 && told[0].contains(room), "\(events.lines)")
                let table = try await Executable.run(["hot"] + config)
                #expect(table.exit == .code(0))
                let row = table.lines.first { $0.contains("HOT") } ?? ""
                #expect(row.hasPrefix("\(partition) ") || row.contains(" \(partition) "), "\(table.lines)")
                #expect(row.contains(name) && row.contains(room), "\(table.lines)")
                let metrics = try await cluster.admin(owner).get("/metrics").text
                #expect(metrics.contains("partitions_hot{node=\"\(name)\"} 1\n"))

                // It ends, and so does the alarm.
                for task in ended { task.cancel() }
                let isCool = try await eventually(within: 60) {
                    try await cluster.status(owner).load?.partitions.contains { $0.hot } == false
                }
                #expect(isCool)
                let after = try await cluster.status(owner).events
                #expect(after.contains { $0.kind == "load" && $0.text == "p\(partition) is not hot any more" })
            }
        }
    }
}
