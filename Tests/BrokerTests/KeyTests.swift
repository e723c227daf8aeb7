import Broker
import Keys
import OwnThread
import Primitives
import Testing

@Suite(.ownThread(nice: 5))
struct KeyTests {
    static func start() throws -> (MiniCluster, [MiniClient]) {
        try ChannelTests.start { $0.keyPartitions = 1 }
    }

    @Test("RS-11 every node proxies to the owner of the keys, and reads see what was acknowledged")
    func proxied() throws {
        let (cluster, clients) = try KeyTests.start()
        for number in 0..<3 {
            let set = clients[number].execute("SET key value\(number)")
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, clients)
            #expect(clients[number].reply(set) == "+OK\r\n")
            let reads = clients.map { $0.execute("GET key", isReadOnly: true) }
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, clients)
            for (client, read) in zip(clients, reads) { #expect(client.reply(read) == "$6\r\nvalue\(number)\r\n") }
        }
    }

    @Test("RS-11 what no frame has room for is refused, and nothing waits behind it")
    func tooLong() throws {
        let (cluster, clients) = try KeyTests.start()
        let owner = try #require(cluster.keyOwner())
        let other = clients[owner % 3]
        func replies(_ line: String, isReadOnly: Bool = false) -> [String] {
            let asked = [clients[owner - 1], other].map { ($0, $0.execute(line, isReadOnly: isReadOnly)) }
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, clients)
            return asked.map { $0.0.reply($0.1) }
        }
        let long = String(repeating: "x", count: KeyUnit.byteLimit)
        #expect(replies("SET key \(long)") == ["tooLong", "tooLong"])
        #expect(replies("APPEND key x") == [":1\r\n", ":2\r\n"], "in either order of the two nodes")
        // Replies of several clients at once are more than a frame holds, too.
        #expect(replies("SETRANGE key 19999999 x") == [":20000000\r\n", ":20000000\r\n"])
        let both = [other.execute("GETEX key PERSIST"), other.execute("GETEX key PERSIST")]
        cluster.run(milliseconds: 10)
        MiniClient.deliver(cluster, clients)
        #expect(both.map { other.reply($0).utf8.count } == [20_000_013, 20_000_013])
        #expect(replies("SETRANGE key 39999999 x").last == ":40000000\r\n")
        let read = replies("GET key", isReadOnly: true)
        #expect(read[0].utf8.count == 40_000_013, "the owner's own client has it")
        #expect(read[1] == "-ERR 40000013 bytes of replies are too many to pass between nodes at once\r\n")
        let written = other.execute("GETDEL key")
        cluster.run(milliseconds: 10)
        MiniClient.deliver(cluster, clients)
        #expect(other.reply(written) == "unknown", "it is done, and nobody can say what it was")
        #expect(replies("EXISTS key", isReadOnly: true) == [":0\r\n", ":0\r\n"])
    }

    @Test("RS-19 FAILOVER moves the keys away from whoever owns them, and says so when there is nobody to take them")
    func handOver() throws {
        let (cluster, clients) = try KeyTests.start()
        var owners: Set<Int> = []
        for _ in 0..<6 {
            let owner = try #require(cluster.keyOwner())
            owners.insert(owner)
            let command = clients[owner % 3].handOver()
            cluster.run(milliseconds: 3000)
            MiniClient.deliver(cluster, clients)
            #expect(clients[owner % 3].reply(command) == ":1\r\n")
            #expect(cluster.keyOwner() != owner)
        }
        #expect(owners.count > 1)
        let single = try MiniCluster(nodes: 1, partitions: 4) { $0.keyPartitions = 1 }
        single.run(milliseconds: 3000)
        let client = MiniClient(single, on: 1)
        let command = client.handOver()
        single.run(milliseconds: 100)
        MiniClient.deliver(single, [client])
        #expect(client.reply(command) == ":0\r\n")
    }

    @Test("RS-19 FAILOVER is asked for once: without an answer the client hears so, and nobody moves the keys again")
    func handOverOnce() throws {
        let (cluster, clients) = try KeyTests.start()
        let owner = try #require(cluster.keyOwner())
        let client = clients[owner % 3]
        cluster.hold(owner)
        let command = client.handOver()
        let read = client.execute("GET key", isReadOnly: true)
        // The owner hears nothing, and another one follows it.
        cluster.run(milliseconds: 2500)
        MiniClient.deliver(cluster, clients)
        #expect(cluster.keyOwner() != owner)
        #expect(client.reply(command) == "timeout")
        #expect(client.reply(read) == "$-1\r\n", "reads are asked again, of the next owner")
    }

    @Test("RS-11 CL-06 the owner of the keys dies in the middle of increments: none is lost, none is done twice")
    func failover() throws {
        let (cluster, clients) = try KeyTests.start()
        let owner = try #require(cluster.keyOwner())
        let left = (1...3).filter { $0 != owner }.map { clients[$0 - 1] }
        var commands: [(MiniClient, UInt64)] = []
        for round in 0..<20 {
            for client in left { commands.append((client, client.execute("INCR counter"))) }
            if round == 10 { cluster.kill(owner) }
            // Fewer turns than an answer takes: some are under way whenever the owner dies.
            cluster.settle(times: 1)
        }
        cluster.run(milliseconds: 4000)
        MiniClient.deliver(cluster, left)
        let replies = commands.map { $0.0.reply($0.1) }
        #expect(Set(replies) == Set((1...40).map { ":\($0)\r\n" }), "each number once")
    }

    @Test("RS-13 a wait outlives the owner, is served once, and ends with its time or its connection")
    func waits() throws {
        let (cluster, clients) = try KeyTests.start()
        let owner = try #require(cluster.keyOwner())
        let left = (1...3).filter { $0 != owner }.map { clients[$0 - 1] }
        let other = MiniClient(cluster, on: left[0].number)
        let all = left + [other]
        let pop = left[0].execute("BLPOP list 0", waits: true)
        let gone = other.execute("BLPOP list 0", waits: true)
        let timed = left[1].execute("BLPOP other 0.2", waits: true)
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, all)
        #expect([left[0].reply(pop), other.reply(gone), left[1].reply(timed)] == ["waits", "waits", "waits"])
        let ticket = try #require(left[0].tickets.first)
        cluster.broker(other.number).cancel(ticket: try #require(other.tickets.first), keyPartition: 0)
        cluster.run(milliseconds: 400)
        MiniClient.deliver(cluster, all)
        #expect(left[1].served[try #require(left[1].tickets.first)] == Array("*-1\r\n".utf8))
        cluster.kill(owner)
        cluster.run(milliseconds: 3000)
        let push = left[1].execute("RPUSH list a b")
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, all)
        #expect(left[1].reply(push) == ":2\r\n")
        #expect(left[0].served[ticket] == Array("*2\r\n$4\r\nlist\r\n$1\r\na\r\n".utf8))
        #expect(other.served.isEmpty)
        let rest = left[1].execute("LRANGE list 0 -1", isReadOnly: true)
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, all)
        #expect(left[1].reply(rest) == "*1\r\n$1\r\nb\r\n")
    }

    @Test("CA-13 RS-09 the file's memory limit is in the log; reads at the owner count; CONFIG SET outlives the owner")
    func memory() throws {
        let (cluster, clients) = try ChannelTests.start {
            $0.keyPartitions = 1
            $0.keyMemory = MemoryLimit(bytes: 60 << 10, policy: .allKeysLRU)
        }
        let partition = PartitionID(UInt32(cluster.broker(1).settings.partitions))
        func keyspace(_ number: Int) -> Keyspace? { cluster.broker(number).keyPartition(partition)?.keyspace }
        func run(_ line: String, isReadOnly: Bool = false) -> String {
            let command = clients[0].execute(line, isReadOnly: isReadOnly)
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, clients)
            return clients[0].reply(command)
        }
        #expect(keyspace(1)?.configuration.maxMemory == 60 << 10)
        #expect(run(".configure maxmemory-samples 64") == "+OK\r\n")
        for number in 0..<100 { #expect(run("SET key\(number) value") == "+OK\r\n") }
        cluster.run(milliseconds: 3000)
        for number in 0..<20 { #expect(run("GET key\(number)", isReadOnly: true) == "$5\r\nvalue\r\n") }
        for number in 0..<90 { #expect(run("SET more\(number) value") == "+OK\r\n") }
        for number in 0..<20 { #expect(run("EXISTS key\(number)", isReadOnly: true) == ":1\r\n") }
        cluster.run(milliseconds: 200)
        for number in 1...3 {
            let keys = try #require(keyspace(number))
            #expect(keys.statistics.evicted > 20)
            #expect(keys.keyCount(0) < 170)
            #expect(keys.memoryEstimate < 61 << 10)
        }
        #expect(run(".configure maxmemory 5mb") == "+OK\r\n")
        let owner = try #require(cluster.keyOwner())
        if owner != 1 { cluster.kill(owner) } else { _ = clients[0].handOver() }
        cluster.run(milliseconds: 4000)
        #expect(cluster.keyOwner() != owner)
        #expect(run("SET after value") == "+OK\r\n")
        #expect(keyspace(1)?.configuration.maxMemory == 5 << 20)
        #expect(cluster.broker(1).status().keys.maxMemory == 5 << 20)
    }

    @Test(
        "RS-11 with keys.ack owner a write is answered before a majority has it; with quorum it is not",
        arguments: [false, true]
    )
    func answeredEarly(isEarly: Bool) throws {
        let (cluster, clients) = try ChannelTests.start {
            $0.keyPartitions = 1
            $0.keyAck = isEarly ? .owner : .quorum
        }
        let owner = try #require(cluster.keyOwner())
        let client = clients[owner - 1]
        let before = client.execute("SET key before")
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, clients)
        #expect(client.reply(before) == "+OK\r\n")
        #expect(cluster.broker(owner).keyEntriesAhead == 0, "a majority has it by now")
        cluster.blackhole(owner)
        let writes = (0..<3).map { client.execute("RPUSH list \($0)") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        if isEarly {
            #expect(writes.map { client.reply($0) } == [":1\r\n", ":2\r\n", ":3\r\n"])
            #expect(cluster.broker(owner).keyEntriesAhead > 0)
        } else {
            for write in writes { #expect(client.keys[write] == nil) }
        }
    }

    @Test("RS-11 CL-06 what an owner answered early is lost with it, nothing else: states agree, clients go on")
    func lostEarly() throws {
        let (cluster, clients) = try ChannelTests.start {
            $0.keyPartitions = 1
            $0.keyAck = .owner
        }
        let partition = PartitionID(UInt32(cluster.broker(1).settings.partitions))
        let owner = try #require(cluster.keyOwner())
        let client = clients[owner - 1]
        let other = clients[owner % 3]
        func run(_ client: MiniClient, _ line: String, isReadOnly: Bool = false) -> String {
            let command = client.execute(line, isReadOnly: isReadOnly)
            cluster.run(milliseconds: 20)
            MiniClient.deliver(cluster, clients)
            return client.keys[command] == nil ? "nothing" : client.reply(command)
        }
        func version(_ number: Int) -> UInt64? {
            cluster.broker(number).keyPartition(partition)?.keyspace.watchVersion(0, Array("key".utf8))
        }
        #expect(run(client, "SET key before") == "+OK\r\n")
        #expect(run(other, "SET key again") == "+OK\r\n")
        let versionBefore = try #require(version(owner))
        cluster.blackhole(owner)
        for number in 0..<5 { #expect(run(client, "SET key lost\(number)") == "+OK\r\n") }
        #expect(version(owner) == versionBefore, "what stays is what a majority has")
        cluster.run(milliseconds: 5000)
        #expect(cluster.broker(owner).counters.keyEntriesUnconfirmed > 0)
        #expect(cluster.keyOwner().map { $0 != owner } == true)
        #expect(run(other, "GET key", isReadOnly: true) == "$5\r\nagain\r\n")
        #expect(run(other, "SET key after") == "+OK\r\n")
        let now = try #require(version(owner % 3 + 1))
        #expect(now > versionBefore + 1 << 32, "no version of a lost change comes again")
        cluster.heal()
        cluster.run(milliseconds: 3000)
        // Its gateway goes on behind what was answered and is lost.
        for number in 0..<3 { #expect(run(client, "RPUSH list \(number)") == ":\(number + 1)\r\n") }
        #expect(run(client, "GET key", isReadOnly: true) == "$5\r\nafter\r\n")
        cluster.run(milliseconds: 500)
        let states = (1...3).map { cluster.broker($0).keyPartition(partition)?.encodeSnapshot() }
        #expect(states[0] != nil && states[0] == states[1] && states[1] == states[2])
    }

    @Test("RS-13 the waits of a node that is gone for good take nothing")
    func deadNode() throws {
        let (cluster, clients) = try KeyTests.start()
        let owner = try #require(cluster.keyOwner())
        let left = (1...3).filter { $0 != owner }.map { clients[$0 - 1] }
        left[0].execute("BLPOP list 0", waits: true)
        cluster.run(milliseconds: 50)
        cluster.kill(left[0].number)
        cluster.run(milliseconds: 7000)
        let push = left[1].execute("RPUSH list a")
        let length = left[1].execute("LLEN list")
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [left[1]])
        #expect(left[1].reply(push) == ":1\r\n")
        #expect(left[1].reply(length) == ":1\r\n")
    }
}
