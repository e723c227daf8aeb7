import Admin
import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// The disks of a majority are gone for good.
    @Suite struct RecoveryTests {
        private static let rooms = ["recover:a", "recover:b", "kept:c"]

        /// `vencejo recover` for a node that does not run.
        private static func recover(_ cluster: ProcessCluster, _ index: Int, _ arguments: String...) async throws
            -> (exit: ChildProcess.Exit, text: String)
        {
            let fixed = ["recover", "--node", cluster.nodes[index].id, "--config", cluster.configurationPath]
            let result = try await Executable.run(fixed + arguments)
            return (result.exit, result.lines.joined(separator: "\n"))
        }

        /// Offsets and payloads that were acknowledged, by room.
        private typealias Acknowledged = [String: [UInt64: String]]

        /// Publishes `count` messages to each room by way of a node.
        private static func publish(
            _ cluster: ProcessCluster,
            by index: Int,
            _ count: Int,
            _ acknowledged: inout Acknowledged
        ) async throws {
            let client = try await cluster.client(index, alone: true) { $0.requestMilliseconds = 20_000 }
            for number in 0..<count {
                for room in rooms {
                    let text = "\"\(room) \(index) \(number)\""
                    let position = try await client.publish(room, Array(text.utf8)).position
                    acknowledged[room, default: [:]][try #require(position).offset] = text
                }
            }
            await client.close()
        }

        @Test(
            """
            CL-09 RB-11 T-19 two of three disks are lost under load: the third goes on with all that it has, whoever \
            resumes is told of the gap, an old disk is refused, wiped nodes join again
            """,
            .timeLimit(.minutes(5))
        )
        func twoOfThree() async throws {
            var options = ProcessCluster.Options()
            options.clusterKeys = "threads = 1\nparallel_syncs = 8"
            try await ProcessCluster.run(options) { cluster in
                try await cluster.startAndAwaitReady()
                var acknowledged = Acknowledged()
                try await Self.publish(cluster, by: 1, 30, &acknowledged)
                let before = acknowledged
                let hasAll = try await eventually(within: 60) {
                    let (one, two) = (try await cluster.status(0).partitions, try await cluster.status(1).partitions)
                    return zip(one, two).allSatisfy { $0.commit >= $1.commit }
                }
                #expect(hasAll)
                // Under load n1 dies first, then the others: these have what it lacks.
                let load = try await Load.start(cluster, ["recover:load"])
                let goal = load.acknowledged + 50
                #expect(try await eventually(within: 60) { load.acknowledged >= goal })
                await cluster.kill(0)
                try await Self.publish(cluster, by: 1, 10, &acknowledged)
                let client = try await cluster.client(1, alone: true)
                var positions: [String: RoomPosition] = [:]
                for room in Self.rooms { positions[room] = try await client.history(room).top }
                await client.close()
                for index in [1, 2] { cluster.child(index)?.signal(SIGKILL) }
                for index in [1, 2] { await cluster.kill(index) }
                await load.abandon()
                let old = cluster.nodes[1].data + ".old"
                try FileManager.default.moveItem(atPath: cluster.nodes[1].data, toPath: old)
                try FileManager.default.removeItem(atPath: cluster.nodes[2].data)

                let dry = try await Self.recover(cluster, 0, "--lost", "n2,n3", "--dry-run")
                #expect(dry.exit == .code(0) && dry.text.contains("Nothing was done"), "\(dry)")
                #expect(dry.text.contains("goes on at n1"), "\(dry)")
                let one = try await Self.recover(cluster, 0, "--lost", "n2", "--accept-data-loss")
                #expect(one.exit == .code(1) && one.text.contains("n3: neither said to be lost"), "\(one)")
                let unasked = try await Self.recover(cluster, 0, "--lost", "n2,n3")
                #expect(unasked.exit == .code(1) && unasked.text.contains("--accept-data-loss"), "\(unasked)")
                let done = try await Self.recover(cluster, 0, "--lost", "n2,n3", "--accept-data-loss")
                #expect(done.exit == .code(0) && done.text.contains("n1 is recovered"), "\(done)")
                let again = try await Self.recover(cluster, 0, "--lost", "n2,n3", "--accept-data-loss")
                #expect(again.exit == .code(0) && again.text.contains("nothing is rewritten"), "\(again)")

                try cluster.start(0)
                try await cluster.awaitReady([0])
                let running = try await Self.recover(cluster, 0, "--lost", "n2,n3", "--dry-run")
                #expect(running.exit == .code(1) && running.text.contains("Stop the node first"), "\(running)")
                let reader = try await cluster.client(0, alone: true)
                for room in Self.rooms {
                    let page = try await reader.history(room)
                    let position = try #require(positions[room])
                    #expect(page.top.epoch != position.epoch, "a new epoch tells of the gap")
                    #expect(page.top.offset < position.offset, "the others had more")
                    #expect(page.top.offset >= UInt64(before[room]?.count ?? 0), "its disk has it")
                    for message in page.messages {
                        #expect(String(decoding: message.data, as: UTF8.self) == acknowledged[room]?[message.offset])
                    }
                    #expect(page.messages.map(\.offset) == Array(1...page.top.offset))
                    for await event in reader.subscribe(room, SubscriptionOptions(start: .after(position))) {
                        guard case .subscribed(let now, let wasRecovering, let recovered) = event else { continue }
                        #expect(wasRecovering && !recovered, "\(room): a resuming client is told")
                        #expect(now?.epoch == page.top.epoch)
                        break
                    }
                }
                try await Self.publish(cluster, by: 0, 5, &acknowledged)
                let events = try await Executable.run([
                    "events", "--config", cluster.configurationPath, "--last", "1000",
                ])
                let said = events.lines.first { $0.contains("  recovery  ") } ?? ""
                #expect(said.contains("n2, n3 given up") && said.contains("p0-p8"), "\(said)")

                // A disk of the past.
                try FileManager.default.moveItem(atPath: old, toPath: cluster.nodes[1].data)
                try cluster.start(1)
                let hasEnded = try await eventually(within: 60) { cluster.child(1)?.exit != nil }
                #expect(hasEnded && cluster.child(1)?.exit != .code(0))
                #expect(cluster.log(1).contains { $0.contains("was given up when its cluster was recovered") })
                await cluster.kill(1)
                #expect(try await cluster.status(0).nodes.map(\.name) == ["n1"])

                try FileManager.default.removeItem(atPath: cluster.nodes[1].data)
                try cluster.start(1, join: 0)
                try cluster.start(2, join: 0)
                let isWhole = try await eventually(within: 90) {
                    guard let report = try? await cluster.status(0) else { return false }
                    return report.ready && report.nodes.count == 3
                        && report.partitions.allSatisfy { $0.replicas.count == 3 && $0.owner != nil }
                }
                #expect(isWhole, "the cluster has three copies of everything again")
                try await cluster.awaitReady()
                await reader.close()
                let isFilled = try await eventually(within: 90) {
                    for index in [1, 2] {
                        guard let report = try? await cluster.status(index) else { return false }
                        if report.partitions.contains(where: { $0.faulty || $0.role == "none" }) { return false }
                    }
                    return true
                }
                #expect(isFilled)
                try await Self.publish(cluster, by: 2, 5, &acknowledged)
                let other = try await cluster.client(1, alone: true)
                for room in Self.rooms {
                    let page = try await other.history(room)
                    #expect(page.messages.map(\.offset) == Array(1...page.top.offset))
                }
                await other.close()
                for index in cluster.nodes.indices { await cluster.stop(index) }
                let compared = try await Executable.run(["log", "compare"] + cluster.nodes.map(\.data))
                #expect(compared.exit == .code(0), "\(compared.lines.suffix(5))")
            }
        }
    }
}
