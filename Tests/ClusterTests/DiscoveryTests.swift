import Admin
import Foundation
import Glibc
import RESP
import Testing

@testable import vencejo

extension RealProcesses {
    /// What Redis clients are told of nodes that came and went while the cluster ran.
    @Suite struct DiscoveryTests {
        /// By the ports that one node names: its cluster face and its Sentinel face.
        private struct Told: Equatable {
            var slots: Set<Int>
            var shards: Set<Int>
            var nodes: Set<Int>
            var sentinels: Set<Int>
            var master: Int
            var replicas: Set<Int>
        }

        private static func ask(_ node: ProcessCluster.Node) async throws -> Told {
            let face = try await RedisSocket.connect(node.respCluster)
            defer { face.close() }
            var slots: Set<Int> = []
            for row in try await face.call("CLUSTER", "SLOTS").elements ?? [] {
                for node in (row.elements ?? []).dropFirst(2) {
                    if let port = node.elements?[1].number { slots.insert(Int(port)) }
                }
            }
            var shards: Set<Int> = []
            for shard in try await face.call("CLUSTER", "SHARDS").elements ?? [] {
                for row in field("nodes", of: shard)?.elements ?? [] {
                    if let port = field("port", of: row)?.number { shards.insert(Int(port)) }
                }
            }
            let lines = try await face.call("CLUSTER", "NODES").text ?? ""
            let nodes = lines.split(separator: "\n").compactMap { line in
                line.split(separator: " ").dropFirst().first?.split(separator: "@").first?.split(separator: ":").last
                    .flatMap { Int($0) }
            }
            let sentinel = try await RedisSocket.connect(node.sentinel)
            defer { sentinel.close() }
            func ports(_ question: String) async throws -> Set<Int> {
                let rows = try await sentinel.call("SENTINEL", question, "mymaster").elements ?? []
                return Set(rows.compactMap { field("port", of: $0)?.text.flatMap { Int($0) } })
            }
            let master = try await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
            return Told(
                slots: slots,
                shards: shards,
                nodes: Set(nodes),
                sentinels: try await ports("SENTINELS"),
                master: master.elements?.last?.text.flatMap { Int($0) } ?? 0,
                replicas: try await ports("REPLICAS")
            )
        }

        private static func field(_ name: String, of map: RESPValue) -> RESPValue? {
            let row = map.elements ?? []
            for index in stride(from: 0, to: row.count - 1, by: 2) where row[index].text == name {
                return row[index + 1]
            }
            return nil
        }

        /// Waits until what each of the nodes `indices` tells is as `isRight` wants it.
        private static func await(
            _ cluster: ProcessCluster,
            _ indices: [Int],
            _ what: String,
            _ isRight: (Int, Told) -> Bool
        ) async throws {
            var last = ""
            // A leadership that a busy target could not take is offered again, ever more seldom.
            let isTold = try await eventually(within: 150) {
                for index in indices {
                    guard let told = try? await ask(cluster.nodes[index]) else {
                        last = "\(cluster.nodes[index].id) does not answer"
                        return false
                    }
                    last = "\(cluster.nodes[index].id): \(told)"
                    guard isRight(index, told) else { return false }
                }
                return true
            }
            if !isTold { throw ClusterFailure("not told: \(what); \(last)") }
        }

        private static func move(_ cluster: ProcessCluster, _ partition: Int, to node: String) async throws {
            let done = try await eventually(within: 30) {
                let result = try await Executable.run(
                    ["move", "\(partition)", node, "--config", cluster.configurationPath]
                )
                return result.exit == .code(0) || result.lines.contains { $0.contains("there already") }
            }
            if !done { throw ClusterFailure("partition \(partition) does not go to \(node)") }
        }

        @Test(
            """
            CL-22 RS-17 RS-18 a fourth node that none of the other files names: every node's CLUSTER SLOTS, SHARDS and \
            NODES and the Sentinel face list it, as master and as replica, and list it no more when it has left; \
            redis-py's RedisCluster works all the while
            """,
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(10))
        )
        func comesAndGoes() async throws {
            var options = redisClients(keyPartitions: 4)
            options.nodes = 4
            options.founders = 3
            try await ProcessCluster.run(options) { cluster in
                let founders = [0, 1, 2]
                for index in founders { try cluster.start(index) }
                try await cluster.awaitReady(founders)
                let fourth = cluster.nodes[3]
                try await Self.await(cluster, founders, "three nodes") { _, told in
                    told.nodes.count == 3 && told.slots.count == 3 && told.replicas.count == 2
                }

                let ports = founders.map { String(cluster.nodes[$0].respCluster) }
                try await Python.with("redis_increments.py", ["240", "cluster"] + ports) { client, lines in
                    #expect(try await eventually(within: 30) { lines.all.contains("started") }, "\(lines.all)")
                    try cluster.start(3, join: 1)
                    try await cluster.awaitReady([0, 1, 2, 3])
                    let first = cluster.options.partitions
                    try await Self.move(cluster, first, to: fourth.id)
                    try await Self.await(cluster, [0, 1, 2, 3], "the fourth is the master") { index, told in
                        told.nodes.count == 4 && told.slots.contains(fourth.respCluster)
                            && told.shards.contains(fourth.respCluster) && told.nodes.contains(fourth.respCluster)
                            && told.master == fourth.resp
                            && told.sentinels.contains(fourth.sentinel) == (index != 3)
                            && told.sentinels.count == 3
                    }
                    // Another one that has a copy leads again, and the fourth is one of its replicas.
                    let row = try #require(try await cluster.status(0).partitions.first { $0.id == first })
                    let heir = try #require(row.replicas.first { $0 != fourth.id })
                    try await Self.move(cluster, first, to: heir)
                    let port = try #require(cluster.nodes.first { $0.id == heir }?.resp)
                    try await Self.await(cluster, [0, 1, 2, 3], "the fourth is a replica") { _, told in
                        told.master == port && told.replicas.contains(fourth.resp)
                    }

                    let left = try await Executable.run(["leave", fourth.id, "--config", cluster.configurationPath])
                    #expect(left.exit == .code(0), "\(left.lines)")
                    #expect(try await eventually(within: 90) { cluster.child(3)?.exit != nil })
                    try await Self.await(cluster, founders, "the fourth is gone") { _, told in
                        told.nodes.count == 3 && told.slots.count == 3 && told.sentinels.count == 2
                            && !told.nodes.contains(fourth.respCluster) && !told.slots.contains(fourth.respCluster)
                            && !told.shards.contains(fourth.respCluster) && !told.replicas.contains(fourth.resp)
                            && !told.sentinels.contains(fourth.sentinel)
                    }
                    client.signal(SIGTERM)
                    #expect(await client.wait() == .code(0), "\(lines.all.suffix(5))")
                    let report = try #require(
                        try JSONSerialization.jsonObject(with: Data((lines.all.last ?? "").utf8)) as? [String: Any]
                    )
                    print("a node comes and goes under INCR: \(lines.all.last ?? "")")
                    let acknowledged = try #require(report["acknowledged"] as? Int)
                    let errors = try #require(report["errors"] as? Int)
                    let final = try #require(report["final"] as? Int)
                    #expect(acknowledged > 500)
                    #expect(report["distinct"] as? Int == acknowledged, "each value is told once")
                    #expect(final >= acknowledged && final <= acknowledged + errors, "\(report)")
                    #expect(try #require(report["silence"] as? Double) < 15)
                }
            }
        }
    }
}
