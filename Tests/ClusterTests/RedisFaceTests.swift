import Admin
import Foundation
import Glibc
import Primitives
import RESP
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// What Redis clients use to find their way: Sentinel and Cluster clients, unmodified, while owners die.
    @Suite struct RedisFaceTests {
        enum Client: String, CaseIterable, CustomTestStringConvertible {
            case direct, sentinel, cluster
            var testDescription: String { rawValue }
        }

        @Test(
            """
            RS-11 RS-17 RS-18 CL-06 T-18 kill -9 of the keys' owner under INCR, by a client that keeps to its node, by \
            Sentinel.master_for and by RedisCluster: nothing acknowledged is lost or done twice
            """,
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(5)),
            arguments: Client.allCases
        )
        func increments(_ client: Client) async throws {
            try await ProcessCluster.run(redisClients(keyPartitions: client == .cluster ? 4 : 1)) { cluster in
                try await cluster.startAndAwaitReady()
                let first = cluster.options.partitions
                let partition = try #require(try await cluster.status(0).partitions.first { $0.id == first })
                let owner = try #require(cluster.nodes.firstIndex { $0.id == partition.owner })
                let ports: [Int] =
                    switch client {
                    // A client of the node that dies would have to go elsewhere by itself.
                    case .direct: cluster.nodes.indices.filter { $0 != owner }.map { cluster.nodes[$0].resp }
                    case .sentinel: cluster.nodes.map(\.sentinel)
                    case .cluster: cluster.nodes.map(\.respCluster)
                    }
                let arguments = ["6", client.rawValue] + ports.map { String($0) }
                try await Python.with("redis_increments.py", arguments) { _, lines in
                    #expect(try await eventually(within: 30) { lines.all.contains("started") }, "\(lines.all)")
                    try await Task.sleep(for: .seconds(2))
                    await cluster.kill(owner)
                    #expect(try await eventually(within: 90) { lines.all.count >= 2 }, "\(lines.all)")
                    let report = try #require(
                        try JSONSerialization.jsonObject(with: Data((lines.all.last ?? "").utf8)) as? [String: Any]
                    )
                    let acknowledged = try #require(report["acknowledged"] as? Int)
                    let final = try #require(report["final"] as? Int)
                    let errors = try #require(report["errors"] as? Int)
                    print("kill -9 of the owner under INCR, \(client): \(lines.all.last ?? "")")
                    #expect(acknowledged > 100)
                    #expect(report["distinct"] as? Int == acknowledged, "each value is told once")
                    #expect(final >= acknowledged && final <= acknowledged + errors, "\(report)")
                    #expect(try #require(report["silence"] as? Double) < 10)
                }
                let survivor = try #require(cluster.nodes.indices.first { $0 != owner })
                let now = try #require(try await cluster.status(survivor).partitions.first { $0.id == first })
                #expect(now.owner != nil && now.owner != partition.owner, "the owner was killed, another took over")
            }
        }

        @Test(
            "RS-17 T-18 redis-py's Sentinel client: masters, replicas, +switch-master, master_for after kill -9",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func sentinel() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                try await Python.with("redis_sentinel.py", cluster.nodes.map { String($0.sentinel) }) { child, lines in
                    #expect(try await eventually(within: 60) { lines.contains("following ") }, "\(lines.all)")
                    let port = try #require(lines.all.last?.split(separator: " ").last.flatMap { Int($0) })
                    let master = try #require(cluster.nodes.firstIndex { $0.resp == port })
                    await cluster.kill(master)
                    #expect(await child.wait() == .code(0), "\(lines.all)")
                    #expect(lines.all.last?.hasPrefix("good \(port) ") == true, "\(lines.all)")
                }
            }
        }

        @Test(
            "RS-18 redis-py's RedisCluster, sync and asyncio: slots, MOVED, CROSSSLOT, pipelines, shard channels",
            .enabled(if: Python.hasRedis, "needs a Python with redis; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3)),
            arguments: [2, 3]
        )
        func redisCluster(_ version: Int) async throws {
            try await ProcessCluster.run(redisClients(keyPartitions: 4)) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = cluster.nodes.map { String($0.respCluster) }
                let result = try await Python.run("redis_cluster.py", ports + [String(version)])
                #expect(result.exit == .code(0) && result.lines.last == "good", "\(result.lines)")
            }
        }

        @Test(
            "RS-16 RS-19 WAIT counts replicas at any node, and FAILOVER moves the keys whichever node is asked",
            .timeLimit(.minutes(3))
        )
        func waitAndFailover() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                func owner() async throws -> Int? {
                    let name = try await cluster.status(0).partitions.last?.owner
                    return cluster.nodes.firstIndex { $0.id == name }
                }
                #expect(try await eventually(within: 30) { try await owner() != nil })
                for node in cluster.nodes {
                    let client = try await RedisSocket.connect(node.resp)
                    defer { client.close() }
                    #expect(try await client.call("SET", "key", node.id) == .simple("OK"))
                    #expect(try await client.call("WAIT", "2", "20000").number == 2)
                    #expect(try await client.call("WAIT", "3", "20").number == 2, "there are two besides the owner")
                }
                let before = try #require(try await owner())
                let asked = cluster.nodes[(before + 1) % 3]
                let sentinel = try await RedisSocket.connect(asked.sentinel)
                defer { sentinel.close() }
                #expect(try await sentinel.call("SENTINEL", "FAILOVER", "mymaster") == .simple("OK"))
                let isMoved = try await eventually(within: 30) {
                    let now = try await owner()
                    return now != nil && now != before
                }
                #expect(isMoved)
                let client = try await RedisSocket.connect(asked.resp)
                defer { client.close() }
                #expect(try await client.call("INCR", "counter").number == 1)
            }
        }

        @Test(
            "CL-22 any node says who owns what, and after a failover it is the live owner",
            .timeLimit(.minutes(3))
        )
        func discovery() async throws {
            try await ProcessCluster.run(redisClients(keyPartitions: 4)) { cluster in
                try await cluster.startAndAwaitReady()
                let first = cluster.options.partitions
                /// By key partition: the owner's cluster port, as one node's admin port and CLUSTER SLOTS say.
                func said(by index: Int) async throws -> (admin: [Int], slots: [Int], master: Int) {
                    let node = cluster.nodes[index]
                    let status = try await cluster.status(index)
                    let admin = (0..<4).map { key in
                        let name = status.partitions.first { $0.id == first + key }?.owner
                        return cluster.nodes.first { $0.id == name }?.respCluster ?? 0
                    }
                    let face = try await RedisSocket.connect(node.respCluster)
                    defer { face.close() }
                    var slots = [Int](repeating: 0, count: 4)
                    for row in try await face.call("CLUSTER", "SLOTS").elements ?? [] {
                        let parts = row.elements ?? []
                        guard parts.count > 2, let low = parts[0].number, let high = parts[1].number else { continue }
                        let port = parts[2].elements?[1].number ?? 0
                        for key in 0..<4 where low <= key * 4096 && high >= key * 4096 + 4095 { slots[key] = Int(port) }
                    }
                    let sentinel = try await RedisSocket.connect(node.sentinel)
                    defer { sentinel.close() }
                    let master = try await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
                    let port = master.elements?.last?.number ?? 0
                    return (admin, slots, cluster.nodes.first { $0.resp == Int(port) }?.respCluster ?? 0)
                }
                /// All of `nodes` name the same owners by all three ways, and these are among `nodes`.
                func agree(_ nodes: [Int]) async throws -> [Int]? {
                    var owners: [Int]?
                    for index in nodes {
                        let (admin, slots, master) = try await said(by: index)
                        guard admin == slots, master == admin[0], owners == nil || owners == admin else { return nil }
                        owners = admin
                    }
                    let ports = nodes.map { cluster.nodes[$0].respCluster }
                    return owners.flatMap { owners in owners.allSatisfy(ports.contains) ? owners : nil }
                }
                var owners: [Int] = []
                let isKnown = try await eventually(within: 30) {
                    owners = try await agree([0, 1, 2]) ?? []
                    return !owners.isEmpty
                }
                #expect(isKnown)
                let killed = try #require(cluster.nodes.firstIndex { $0.respCluster == owners[0] })
                await cluster.kill(killed)
                let survivors = [0, 1, 2].filter { $0 != killed }
                var heirs: [Int] = []
                let isTold = try await eventually(within: 30) {
                    heirs = try await agree(survivors) ?? []
                    return !heirs.isEmpty
                }
                #expect(isTold)
                // What they name serves: a key of each partition is written there without being sent on.
                for (key, port) in heirs.enumerated() {
                    let name = try #require(
                        (0..<1000).map { "k\($0)" }.first { Int(HashSlot.slot(of: Array($0.utf8))) / 4096 == key }
                    )
                    let client = try await RedisSocket.connect(port)
                    let reply = try await client.call("SET", name, "1")
                    #expect(reply == .simple("OK"), "\(port) of \(heirs): \(reply)")
                    client.close()
                }
            }
        }

        @Test(
            """
            RA-32 RA-23 RA-14 nodes whose Redis is a cluster's shim follow its Sentinel face over kill -9 of an owner, \
            and guaranteed rooms lose nothing
            """,
            .timeLimit(.minutes(3))
        )
        func adapterOverShim() async throws {
            try await ProcessCluster.run(redisClients()) { base in
                try await base.startAndAwaitReady()
                var options = ProcessCluster.Options()
                options.mode = "redis"
                options.nodes = 2
                options.redisPort = base.nodes[0].resp
                let sentinels = base.nodes.map { "\"127.0.0.1:\($0.sentinel)\"" }.joined(separator: ", ")
                options.redisKeys = "sentinels = [\(sentinels)]"
                try await ProcessCluster.run(options) { cluster in
                    try await cluster.startAndAwaitReady()
                    let subscriber = try await cluster.client(0)
                    let heard = Shared<[Int]>([])
                    let events = subscriber.subscribe("kept:over")
                    Task {
                        for await case .message(let message) in events {
                            heard.change { $0.append(Int(String(decoding: message.data, as: UTF8.self)) ?? -1) }
                        }
                    }
                    let publisher = try await cluster.client(1)
                    for number in 1...60 {
                        if number == 21 {
                            let owner = try await base.status(0).partitions.last?.owner
                            await base.kill(try #require(base.nodes.firstIndex { $0.id == owner }))
                        }
                        let isDone = try await eventually(within: 60) {
                            (try? await publisher.publish(
                                "kept:over",
                                Array("\(number)".utf8),
                                idempotencyKey: "\(number)"
                            )) != nil
                        }
                        #expect(isDone)
                    }
                    #expect(try await eventually(within: 30) { heard.value.count >= 60 })
                    #expect(heard.value == Array(1...60))
                    await subscriber.close()
                    await publisher.close()
                }
            }
        }
    }
}
