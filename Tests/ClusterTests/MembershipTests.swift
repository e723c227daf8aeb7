import Admin
import Foundation
import Glibc
import HistoryChecker
import Primitives
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// Members that come and go while messages flow.
    @Suite struct MembershipTests {
        private static let rooms = ["member:a", "member:b", "member:c"]

        /// Where copies are: the nodes of each partition.
        private typealias Table = [Int: [String]]

        /// `founders` of `nodes` form the cluster; the others are there to join it.
        private static func options(_ founders: Int, of nodes: Int, partitions: Int = 16) -> ProcessCluster.Options {
            var options = ProcessCluster.Options()
            options.nodes = nodes
            options.founders = founders
            options.partitions = partitions
            options.clusterKeys = "threads = 1\nparallel_syncs = 8"
            return options
        }

        private static func form(_ cluster: ProcessCluster) async throws {
            let founders = Array(cluster.founders.indices)
            for index in founders { try cluster.start(index) }
            try await cluster.awaitReady(founders)
        }

        /// Waits until the nodes `indices` are ready, list each other and nobody else, agree on one placement, and hold
        /// the copies that it gives them and no others.
        @discardableResult
        private static func settle(
            _ cluster: ProcessCluster,
            _ indices: [Int],
            within seconds: Double = 90
        ) async throws -> Table {
            let names = indices.map { cluster.nodes[$0].id }.sorted()
            var table: Table = [:]
            var why = ""
            let isSettled = try await eventually(within: seconds) {
                var tables: [Int: Table] = [:]
                var epochs: Set<UInt64> = []
                for index in indices {
                    let name = cluster.nodes[index].id
                    if let exit = cluster.child(index)?.exit { throw ClusterFailure("\(name) ended with \(exit)") }
                    guard let report = try? await cluster.status(index) else {
                        why = "\(name) does not answer"
                        return false
                    }
                    why = "\(name): " + (problem(report, names) ?? "another placement than the others'")
                    if problem(report, names) != nil { return false }
                    let alive = try? await metric(cluster, index, "gossip_members", #"state="alive""#)
                    if alive != Double(names.count) {
                        why = "\(name) hears gossip of \(alive ?? -1) nodes"
                        return false
                    }
                    epochs.insert(report.placementEpoch)
                    tables[index] = Table(uniqueKeysWithValues: report.partitions.map { ($0.id, $0.replicas) })
                }
                table = tables[indices[0]] ?? [:]
                return epochs.count == 1 && tables.values.allSatisfy { $0 == table }
            }
            guard isSettled else { throw ClusterFailure("not settled within \(seconds) s: \(why)") }
            return table
        }

        /// What is missing at the node that says so; nil: nothing.
        private static func problem(_ report: StatusReport, _ names: [String]) -> String? {
            if !report.ready { return report.reason }
            if report.nodes.map(\.name) != names { return "lists \(report.nodes.map(\.name))" }
            if let away = report.nodes.first(where: { $0.state != "up" && $0.state != "self" }) {
                return "\(away.name) is \(away.state)"
            }
            // Members are admitted first, and placed then.
            if let new = names.first(where: { name in !report.partitions.contains { $0.replicas.contains(name) } }) {
                return "\(new) has no copies"
            }
            for row in report.partitions {
                if row.owner == nil { return "partition \(row.id) has no owner" }
                if row.faulty || row.replicas.contains(report.node) != (row.role != "none") {
                    return "its copy of partition \(row.id) is \(row.faulty ? "being filled" : row.role)"
                }
            }
            return nil
        }

        /// Copies at each node.
        private static func shares(_ table: Table) -> [String: Int] {
            table.values.reduce(into: [:]) { shares, row in for node in row { shares[node, default: 0] += 1 } }
        }

        /// `vencejo` with a command to the cluster; its output.
        @discardableResult
        private static func command(_ cluster: ProcessCluster, _ arguments: String...) async throws -> [String] {
            let result = try await Executable.run(arguments + ["--config", cluster.configurationPath])
            guard result.exit == .code(0) else { throw ClusterFailure("\(arguments): \(result)") }
            return result.lines
        }

        /// Waits until so many more publishes are acknowledged.
        private static func flow(_ load: Load, _ count: Int = 50) async throws {
            let goal = load.acknowledged + count
            #expect(try await eventually(within: 60) { load.acknowledged >= goal }, "publishes go on")
        }

        private static func judge(_ load: Load, _ what: String) async throws {
            let report = try await load.finish()
            print("\(what): \(Load.summary(report))")
            #expect(report.isValid, "\(report.violations.prefix(10))")
            #expect(load.recorder.failures == [])
            #expect(report.statistics.declaredGaps == 0 && report.statistics.acknowledged > 100)
        }

        /// The sum of a counter's samples that have `label`.
        private static func metric(_ cluster: ProcessCluster, _ index: Int, _ name: String, _ label: String = "")
            async throws -> Double
        {
            let text = try await cluster.admin(index).get("/metrics").text
            return text.split(separator: "\n").reduce(0) { sum, line in
                guard line.hasPrefix(name + "{"), label.isEmpty || line.contains(label) else { return sum }
                return sum + (line.split(separator: " ").last.flatMap { Double($0) } ?? 0)
            }
        }

        // MARK: Join

        @Test(
            """
            CL-01 RC-08 CL-05 a fourth node joins three under load: all agree, about a quarter moves, nothing is lost, \
            nobody is disconnected
            """,
            .timeLimit(.minutes(5))
        )
        func fourth() async throws {
            try await ProcessCluster.run(Self.options(3, of: 4, partitions: 64)) { cluster in
                try await Self.form(cluster)
                let before = try await Self.settle(cluster, [0, 1, 2])
                let load = try await Load.start(cluster, Self.rooms, at: [0, 1, 2])
                try await Self.flow(load)
                let clock = ContinuousClock()
                let began = clock.now
                try cluster.start(3, join: 1)
                let after = try await Self.settle(cluster, [0, 1, 2, 3])
                print("a fourth node carries its share after \(clock.now - began)")
                try await Self.flow(load)
                #expect(load.recorder.disconnects == 0, "subscribers' connections stay open")
                try await Self.judge(load, "a fourth node joins")

                let shares = Self.shares(after)
                let total = shares.values.reduce(0, +)
                let moved = after.reduce(0) { sum, row in
                    sum + row.value.count { before[row.key]?.contains($0) != true }
                }
                print("3 to 4 nodes: \(moved) of \(total) replicas moved; then \(shares.sorted { $0.key < $1.key })")
                #expect(after.count == before.count && total == 3 * after.count)
                #expect(shares.count == 4)
                #expect(shares.values.allSatisfy { Double($0) <= 1.1 * Double(total) / 4 }, "\(shares)")
                #expect(Double(moved) <= 1.2 * Double(total) / 4)
            }
        }

        @Test(
            "CL-01 one node grows into three without a restart; then any one may die and publishes go on",
            .timeLimit(.minutes(5))
        )
        func growth() async throws {
            try await ProcessCluster.run(Self.options(1, of: 3, partitions: 8)) { cluster in
                try await Self.form(cluster)
                let load = try await Load.start(cluster, Self.rooms, at: [0])
                try await Self.flow(load)
                try cluster.start(1, join: 0)
                try await Self.settle(cluster, [0, 1])
                try cluster.start(2, join: 1)
                let table = try await Self.settle(cluster, [0, 1, 2])
                #expect(table.values.allSatisfy { $0.count == 3 }, "\(table)")
                try await Self.flow(load)
                #expect(load.recorder.disconnects == 0)
                for victim in [0, 1, 2] {
                    await cluster.kill(victim)
                    try await Self.flow(load)
                    try cluster.start(victim, join: (victim + 1) % 3)
                    try await Self.settle(cluster, [0, 1, 2])
                }
                try await Self.judge(load, "one node grows into three, each dies once")
            }
        }

        @Test(
            "CL-01 CL-11 nodes whose files list only themselves find each other's gossip after all were down",
            .timeLimit(.minutes(3))
        )
        func strangersToTheirFiles() async throws {
            try await ProcessCluster.run(Self.options(1, of: 2, partitions: 4)) { cluster in
                try await Self.form(cluster)
                try cluster.start(1, join: 0)
                try await Self.settle(cluster, [0, 1])
                for index in [0, 1] { await cluster.kill(index) }
                // `--join` was for the first start. Neither file names the other node.
                let own = cluster.directory + "/n2.toml"
                try cluster.start(1, arguments: ["serve", "--config", own])
                try cluster.start(0)
                try await Self.settle(cluster, [0, 1])
            }
        }

        // MARK: Leave

        @Test(
            """
            CL-06 a node leaves under load: it ends by itself and nothing is lost; it comes back only with a wiped \
            directory, as a new node
            """,
            .timeLimit(.minutes(5))
        )
        func leave() async throws {
            try await ProcessCluster.run(Self.options(4, of: 4)) { cluster in
                try await Self.form(cluster)
                try await Self.settle(cluster, [0, 1, 2, 3])
                let load = try await Load.start(cluster, Self.rooms)
                try await Self.flow(load)
                let clock = ContinuousClock()
                let began = clock.now
                try await Self.command(cluster, "leave", "n4")
                let hasEnded = try await eventually(within: 90) { cluster.child(3)?.exit != nil }
                #expect(hasEnded, "n4 stops when it is empty")
                #expect(cluster.child(3)?.exit == .code(0))
                print("leave: n4 is gone after \(clock.now - began)")
                await cluster.kill(3)
                try await Self.settle(cluster, [0, 1, 2])
                try await Self.flow(load)
                try await Self.judge(load, "a node leaves")

                let again = try await Executable.run(["serve", "--node", "n4", "--config", cluster.configurationPath])
                #expect(again.exit == .code(3))
                let said = again.lines.joined(separator: "\n")
                #expect(said.contains("does not belong to its cluster any more") && said.contains("--join"), "\(said)")

                try FileManager.default.removeItem(atPath: cluster.nodes[3].data)
                try cluster.start(3, join: 0)
                let table = try await Self.settle(cluster, [0, 1, 2, 3])
                #expect((Self.shares(table)["n4"] ?? 0) > 0)
            }
        }

        @Test(
            "CL-05 a node with a wiped disk is refused with a reason, and joins as a new member under its name",
            .timeLimit(.minutes(5))
        )
        func wiped() async throws {
            try await ProcessCluster.run(Self.options(3, of: 3)) { cluster in
                try await Self.form(cluster)
                try await Self.settle(cluster, [0, 1, 2])
                let formerly = try await cluster.status(0).nodes.first { $0.name == "n3" }?.id
                let load = try await Load.start(cluster, Self.rooms)
                try await Self.flow(load)
                await cluster.kill(2)
                try FileManager.default.removeItem(atPath: cluster.nodes[2].data)
                try cluster.start(2)
                for index in [0, 2] {
                    let isSaid = try await eventually(within: 30) {
                        cluster.log(index).contains { $0.contains("data directory was replaced") }
                            && cluster.log(index).contains { $0.contains("--join") }
                    }
                    #expect(isSaid, "\(cluster.nodes[index].id) says what to do")
                }
                #expect(await cluster.admin(2).unreadiness() != nil)
                #expect(try await cluster.status(0).nodes.first { $0.name == "n3" }?.id == formerly)
                await cluster.kill(2)

                try cluster.start(2, join: 0)
                let table = try await Self.settle(cluster, [0, 1, 2])
                #expect(table.values.allSatisfy { $0.contains("n3") }, "its replicas are filled again")
                let now = try await cluster.status(0).nodes.first { $0.name == "n3" }?.id
                #expect(now != nil && now != formerly)
                try await Self.flow(load)
                try await Self.judge(load, "a wiped node joins again")
            }
        }

        // MARK: Strangers

        @Test(
            """
            CL-19 a node with another secret does not get in; one with a copied data directory is reported as a conflict
            """,
            .timeLimit(.minutes(5))
        )
        func strangers() async throws {
            try await ProcessCluster.run(Self.options(3, of: 5)) { cluster in
                try await Self.form(cluster)
                try await Self.settle(cluster, [0, 1, 2])
                let load = try await Load.start(cluster, Self.rooms, at: [0, 1, 2])
                try await Self.flow(load)

                try cluster.start(3, join: 0, secret: "a-secret-that-nobody-else-has")
                let isCounted = try await eventually(within: 30) {
                    try await Self.metric(cluster, 0, "gossip_refused_total", #"reason="unknown_key""#) > 2
                }
                #expect(isCounted, "its seed throws its packets away and says so")
                for index in [0, 1, 2] {
                    let report = try await cluster.status(index)
                    #expect(report.nodes.map(\.name) == ["n1", "n2", "n3"])
                    #expect(!report.events.contains { $0.text.contains("n4") })
                }
                #expect(await cluster.admin(3).unreadiness() != nil)
                await cluster.kill(3)

                // n1's directory as it is at this moment. The mesh takes the copy for a restart of n1, whose links it
                // gets: that n1 is back at the end is what is checked, not that it was never cut off.
                let copy = cluster.nodes[4]
                try FileManager.default.copyItem(atPath: cluster.nodes[0].data, toPath: copy.data)
                try? FileManager.default.removeItem(atPath: copy.data + "/lock")
                var double = copy
                double.id = "n1"
                let path = cluster.directory + "/double.toml"
                try cluster.toml(nodes: [double]).write(toFile: path, atomically: true, encoding: .utf8)
                try cluster.start(
                    4,
                    arguments: ["serve", "--config", path, "--join", "127.0.0.1:\(cluster.nodes[1].gossip)"]
                )
                let isReported = try await eventually(within: 30) {
                    cluster.founders.indices.contains { index in
                        cluster.log(index).contains { $0.contains("two nodes share a name or an identity") }
                    }
                }
                #expect(isReported, "somebody says that there are two of them")
                try await Self.flow(load, 200)
                await cluster.kill(4)
                try await Self.settle(cluster, [0, 1, 2])
                try await Self.flow(load)
                #expect(load.recorder.disconnects == 0)
                try await Self.judge(load, "strangers")
            }
        }

        // MARK: Commands

        @Test(
            "CL-14 a partition moves by command to a node without a copy, under load; the events tell of it",
            .timeLimit(.minutes(5))
        )
        func move() async throws {
            try await ProcessCluster.run(Self.options(3, of: 4)) { cluster in
                try await Self.form(cluster)
                try cluster.start(3, join: 2)
                let table = try await Self.settle(cluster, [0, 1, 2, 3])
                let room = try #require(
                    (0..<1000).lazy.map { "move:\($0)" }.first { room in
                        table[cluster.partition(of: room)]?.contains("n4") == false
                    }
                )
                let partition = cluster.partition(of: room)
                let load = try await Load.start(cluster, [room])
                try await Self.flow(load)
                try await Self.command(cluster, "move", "\(partition)", "n4")
                let isMoved = try await eventually(within: 60) { await cluster.owner(of: room) == 3 }
                #expect(isMoved, "n4 owns partition \(partition)")
                try await Self.flow(load)
                let report = try await load.finish()
                print("move: \(Load.summary(report))")
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(load.recorder.failures == [] && load.recorder.disconnects == 0)
                #expect((report.statistics.silences.map(\.length.milliseconds).max() ?? .max) < 2000)

                let after = try await Self.settle(cluster, [0, 1, 2, 3])
                #expect(after[partition]?.first == "n4" && after[partition]?.count == 3)
                let answer = try await Self.command(cluster, "rebalance", "--dry-run", "--json").joined()
                let plan = try PlacementPlan(json: Array(answer.utf8))
                #expect(plan.moves.allSatisfy { after[$0.partition] == $0.from }, "\(plan)")

                let lines = try await Self.command(cluster, "events", "--last", "1000")
                #expect(lines.contains { $0.contains("  member  n4 belongs to the cluster") }, "\(lines)")
                // Told by n4, which is not in the file.
                #expect(lines.contains { $0.contains("  n4  owner  n4 owns p\(partition) in term") }, "\(lines)")
            }
        }

        // MARK: Nine

        @Test(
            "CL-01 nine nodes settle, and the gossip of each does not grow with the cluster",
            .timeLimit(.minutes(5))
        )
        func nine() async throws {
            try await ProcessCluster.run(Self.options(3, of: 9)) { cluster in
                try await Self.form(cluster)
                var rates: [Int: Double] = [:]
                let clock = ContinuousClock()
                for count in [3, 5, 9] {
                    let nodes = Array(0..<count)
                    for index in nodes where cluster.child(index) == nil { try cluster.start(index, join: index % 3) }
                    let began = clock.now
                    try await Self.settle(cluster, nodes)
                    print("\(count) nodes settle in \(clock.now - began)")
                    #expect(clock.now - began < .seconds(60))
                    #expect(try await Self.hasNoNews(cluster, nodes), "the news of who joined has been told")
                    let name = "gossip_bytes_out_total"
                    let (start, before) = (clock.now, try await Self.sum(cluster, nodes, name))
                    let streams = try await Self.sum(cluster, nodes, name, #"over="stream""#)
                    try await Task.sleep(for: .seconds(10))
                    let divisor = Double(count) * ((clock.now - start) / .seconds(1))
                    let rate = (try await Self.sum(cluster, nodes, name) - before) / divisor
                    let compared = (try await Self.sum(cluster, nodes, name, #"over="stream""#) - streams) / divisor
                    print("\(count) nodes: each sends \(Int(rate)) bytes of gossip a second, \(Int(compared)) by TCP")
                    rates[count] = rate
                }
                let (few, many) = (try #require(rates[3]), try #require(rates[9]))
                #expect(few > 0 && many <= 1.5 * few)
            }
        }

        /// A counter over these nodes.
        private static func sum(_ cluster: ProcessCluster, _ nodes: [Int], _ name: String, _ label: String = "")
            async throws -> Double
        {
            var sum = 0.0
            for index in nodes { sum += try await metric(cluster, index, name, label) }
            return sum
        }

        /// Waits for a second in which nearly all datagrams were probes and their answers; news travel in others.
        private static func hasNoNews(_ cluster: ProcessCluster, _ nodes: [Int]) async throws -> Bool {
            try await eventually(within: 30) {
                var counts: [Double] = []
                for round in 0..<2 {
                    if round == 1 { try await Task.sleep(for: .seconds(1)) }
                    counts.append(try await sum(cluster, nodes, "gossip_messages_out_total", #"over="datagram""#))
                    counts.append(try await sum(cluster, nodes, "gossip_probes_total", #"kind="sent""#))
                }
                return counts[2] - counts[0] < 2.5 * (counts[3] - counts[1])
            }
        }
    }
}
