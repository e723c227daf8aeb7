import LocalRESP
import OwnThread
import RESPServer
import Testing

@Suite("Faces", .ownThread)
struct FaceTests {
    /// Three nodes, of which the first is this one.
    static func topology(owners: [Int?]) -> RESPTopology {
        let nodes = (0..<3).map { number in
            RESPTopology.Node(
                id: String(repeating: "\(number)", count: 40),
                host: "10.0.0.\(number + 1)",
                port: 6379,
                clusterPort: 6479,
                sentinelPort: 26379,
                isAlive: true
            )
        }
        let partitions = owners.map { owner in
            RESPTopology.KeyPartition(
                owner: owner,
                replicas: (0..<3).filter { $0 != owner },
                epoch: 7
            )
        }
        return RESPTopology(nodes: nodes, me: 0, partitions: partitions, epoch: 9)
    }

    @Test("RS-18 The cluster face: topology, MOVED, CROSSSLOT, a slot without an owner")
    func cluster() async throws {
        let server = try await LocalRESPServer.start(keyPartitions: 3, faces: [.cluster])
        let client = try RESPClient(server)
        #expect(client("CLUSTER SLOTS").hasPrefix("-CLUSTERDOWN"))
        server.node.setTopology(FaceTests.topology(owners: [0, 1, nil]))
        let me = String(repeating: "0", count: 40)
        #expect(client("CLUSTER MYID") == me)
        #expect(client("CLUSTER KEYSLOT {a}b") == client("CLUSTER KEYSLOT a"))
        // Clients take a node for either a master or a replica: the second is a master, and nobody's replica.
        let second = "[10.0.0.2 :6479 \(String(repeating: "1", count: 40)) []]"
        let third = "[10.0.0.3 :6479 \(String(repeating: "2", count: 40)) []]"
        #expect(
            client("CLUSTER SLOTS") == "[[:0 :5461 [10.0.0.1 :6479 \(me) []] \(third)] [:5462 :10922 \(second)]]"
        )
        #expect(client("CLUSTER SHARDS").hasPrefix("[[slots [:0 :5461] nodes [[id \(me) port :6479 ip 10.0.0.1"))
        #expect(client("CLUSTER NODES").hasPrefix("\(me) 10.0.0.1:6479@16479 myself,master - 0 0 7 connected 0-5461\n"))
        #expect(client("CLUSTER INFO").contains("cluster_state:fail"))
        #expect(client("SET b 1") == "OK")  // slot 3300
        #expect(client("SET c 1") == "-MOVED 7365 10.0.0.2:6479")
        #expect(client("SET a 1") == "-CLUSTERDOWN Hash slot not served")  // slot 15495
        #expect(client("MSET b 1 f 2") == "-CROSSSLOT Keys in request don't hash to the same slot")
        #expect(client("MSET {b}1 1 {b}2 2") == "OK")
        #expect(client("DBSIZE") == ":3")
        #expect(client("CLUSTER COUNTKEYSINSLOT 3300") == ":3")
        #expect(client("SELECT 1") == "-ERR SELECT is not allowed in cluster mode")
        #expect(client("READONLY") == "OK")
        #expect(client("SSUBSCRIBE a b") == "-CROSSSLOT Keys in request don't hash to the same slot")
        _ = client("MULTI")
        #expect(client("SET c 1").hasPrefix("-MOVED"))
        #expect(client("EXEC").hasPrefix("-EXECABORT"))
        _ = client("MULTI")
        _ = client("SET b 2")
        _ = client("SET f 2")
        #expect(client("EXEC").hasPrefix("-CROSSSLOT"))
        await server.stop()
    }

    /// CRC-16/XMODEM, bit by bit; source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    private static func crc16(_ bytes: [UInt8]) -> UInt16 {
        bytes.reduce(0) { crc, byte in
            (0..<8).reduce(crc ^ UInt16(byte) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
        }
    }

    @Test("CL-17 CLUSTER KEYSLOT is CRC16 modulo 16384, and keys of one {tag} share a slot")
    func slots() async throws {
        let server = try await LocalRESPServer.start(keyPartitions: 3, faces: [.cluster], proxiesKeys: true)
        server.node.setTopology(FaceTests.topology(owners: [0, 1, 2]))
        let client = try RESPClient(server)
        #expect(FaceTests.crc16(Array("123456789".utf8)) == 0x31C3, "the specification's own check value")
        func slot(_ key: [UInt8]) -> String { client.call([Array("CLUSTER".utf8), Array("KEYSLOT".utf8), key]) }
        func expected(_ hashed: [UInt8]) -> String { ":\(FaceTests.crc16(hashed) % 16384)" }
        for number in 0..<300 {
            let key = (0..<(number % 41)).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ number &* 7) }
                .map { $0 == UInt8(ascii: "{") ? 0 : $0 }
            #expect(slot(key) == expected(key), "\(key)")
        }
        // The specification's examples: the first non-empty pair of braces counts, and only that.
        let hashed = [
            "{user1000}.following": "user1000", "{user1000}.followers": "user1000", "foo{}{bar}": "foo{}{bar}",
            "foo{{bar}}zap": "{bar", "foo{bar}{zap}": "bar", "foo{bar": "foo{bar", "foo}bar{": "foo}bar{",
        ]
        for (key, part) in hashed { #expect(slot(Array(key.utf8)) == expected(Array(part.utf8)), "\(key)") }
        // Commands go by the same map.
        #expect(client("MSET {t}a 1 b{t} 2 {t} 3 t 4") == "OK")
        #expect(client("MSET {t}a 1 {u}a 2") == "-CROSSSLOT Keys in request don't hash to the same slot")
        let home = slot(Array("t".utf8)).dropFirst()
        #expect(client("CLUSTER COUNTKEYSINSLOT \(home)") == ":4")
        await server.stop()
    }

    @Test("RS-18 With proxying a cluster face answers for all keys; several key partitions look like one server")
    func proxying() async throws {
        let server = try await LocalRESPServer.start(
            keyPartitions: 3,
            faces: [.cluster, .standalone],
            proxiesKeys: true
        )
        server.node.setTopology(FaceTests.topology(owners: [1, 1, 2]))
        let client = try RESPClient(server)
        for number in 0..<100 { #expect(client("SET k\(number) \(number)") == "OK") }
        #expect(client("DBSIZE") == ":100")
        var seen: Set<String> = []
        var cursor = "0"
        repeat {
            client.send("SCAN \(cursor) COUNT 7")
            let reply = client.reply().dropFirst().dropLast()
            let words = reply.split(separator: " ").map { $0.filter { $0 != "[" && $0 != "]" } }
            cursor = words[0]
            for key in words.dropFirst() where !key.isEmpty { #expect(seen.insert(key).inserted) }
        } while cursor != "0"
        #expect(seen.count == 100)
        // A pipeline over partitions keeps its order.
        let bytes = (0..<100).flatMap { RESPClient.encoded([Array("get".utf8), Array("k\($0)".utf8)]) }
        client.raw(bytes)
        for number in 0..<100 { #expect(client.reply() == "\(number)") }
        let standalone = try RESPClient(server.port(1))
        #expect(standalone("KEYS k9*").split(separator: " ").count == 11)
        #expect(standalone("CONFIG SET hash-max-listpack-entries 5") == "OK")
        #expect(standalone("WATCH k1 k2") == "OK")
        #expect(standalone("FLUSHALL") == "OK")
        #expect(standalone("DBSIZE") == ":0")
        await server.stop()
    }

    @Test("RS-19 CLUSTER FAILOVER and SENTINEL FAILOVER ask the node to hand over")
    func failover() async throws {
        let server = try await LocalRESPServer.start(keyPartitions: 3, faces: [.cluster, .sentinel])
        try await server.onLoop { broker, _ in broker.replicas = 2 }
        server.node.setTopology(FaceTests.topology(owners: [1, 0, 0]))
        let (cluster, sentinel) = (try RESPClient(server), try RESPClient(server.port(1)))
        #expect(cluster("CLUSTER FAILOVER") == "OK")
        #expect(cluster("CLUSTER FAILOVER TAKEOVER") == "OK")
        #expect(cluster("CLUSTER FAILOVER NOPE") == "-ERR syntax error")
        #expect(sentinel("SENTINEL FAILOVER mymaster") == "OK")
        #expect(try await server.onLoop { broker, _ in broker.handedOver } == [1, 1, 0])
        try await server.onLoop { broker, _ in broker.replicas = 0 }
        #expect(sentinel("SENTINEL FAILOVER mymaster") == "-NOGOODSLAVE No suitable replica to promote")
        await server.stop()
    }

    @Test("RS-17 The Sentinel face names the owner and tells of a new one")
    func sentinel() async throws {
        let server = try await LocalRESPServer.start(faces: [.sentinel])
        server.node.setTopology(FaceTests.topology(owners: [0]))
        let (client, listener) = (try RESPClient(server), try RESPClient(server))
        #expect(client("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster") == "[10.0.0.1 6379]")
        #expect(client("SENTINEL GET-PRIMARY-ADDR-BY-NAME mymaster") == "[10.0.0.1 6379]")
        #expect(client("SENTINEL GET-MASTER-ADDR-BY-NAME other") == "nil")
        #expect(client("SENTINEL MASTER other") == "-ERR No such master with that name")
        #expect(client("SENTINEL MASTERS").hasPrefix("[[name mymaster ip 10.0.0.1 port 6379 runid"))
        #expect(client("SENTINEL REPLICAS mymaster").contains("role-reported slave"))
        #expect(client("SENTINEL SENTINELS mymaster").contains("port 26379"))
        #expect(client("SENTINEL CKQUORUM mymaster").hasPrefix("OK 3 usable"))
        #expect(client("SENTINEL IS-MASTER-DOWN-BY-ADDR a 1 2 3").hasPrefix("-ERR Unknown sentinel subcommand"))
        #expect(client("ROLE") == "[sentinel [mymaster]]")
        #expect(client("INFO").contains("master0:name=mymaster,status=ok"))
        #expect(client("SET a 1").hasPrefix("-ERR unknown command"))
        #expect(client("HELLO 2").contains("mode sentinel modules"))
        #expect(listener("SUBSCRIBE +switch-master") == "[subscribe +switch-master :1]")
        #expect(listener("PSUBSCRIBE *") == "[psubscribe * :2]")
        server.node.setTopology(FaceTests.topology(owners: [1]))
        #expect(listener.reply() == "[message +switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379]")
        #expect(listener.reply() == "[pmessage * +switch-master mymaster 10.0.0.1 6379 10.0.0.2 6379]")
        #expect(client("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster") == "[10.0.0.2 6379]")
        await server.stop()
    }
}
