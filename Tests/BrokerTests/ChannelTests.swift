import Broker
import OwnThread
import Primitives
import Rooms
import Testing

@Suite(.ownThread(nice: 5))
struct ChannelTests {
    /// A cluster where every partition has an owner, and one client per node.
    static func start(_ adjust: (inout BrokerSettings) -> Void = { _ in }) throws -> (MiniCluster, [MiniClient]) {
        let cluster = try MiniCluster(adjust: adjust)
        cluster.run(milliseconds: 3000)
        return (cluster, (1...3).map { MiniClient(cluster, on: $0) })
    }

    @Test(
        "RS-03 RS-07 counts are exact in the whole cluster, as soon as a subscribe is answered",
        arguments: ["be:x", "x"]
    )
    func counts(room: String) throws {
        let (cluster, clients) = try ChannelTests.start()
        let others = (1...3).map { MiniClient(cluster, on: $0) }
        let all = clients + others
        for (number, client) in all.enumerated() {
            client.subscribe(room, SubscribeOptions(isCounted: true))
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, all)
            #expect(client.subscribed[room] != nil)
            let publish = clients[number % 3].publishCounted(room, "\(number)")
            let query = clients[(number + 1) % 3].ask(.counts([RoomName(room), RoomName("be:nobody")]))
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, all)
            #expect(clients[number % 3].counted[publish] == .success(number + 1))
            #expect(clients[(number + 1) % 3].channels[query] == .success(.counts([UInt64(number + 1), 0])))
        }
        for (number, client) in all.enumerated() {
            client.unsubscribe(room)
            cluster.run(milliseconds: 20)
            let publish = clients[0].publishCounted(room, "bye")
            let query = clients[2].ask(.names(nil))
            cluster.run(milliseconds: 10)
            MiniClient.deliver(cluster, all)
            #expect(clients[0].counted[publish] == .success(5 - number))
            #expect(clients[2].channels[query] == .success(.names(number == 5 ? [] : [RoomName(room)])))
        }
        #expect(all[0].received[room]?.count == 6, "from its own subscribe on")
        #expect(all[5].received[room]?.map(\.text) == ["5", "bye", "bye", "bye", "bye", "bye"])
    }

    @Test(
        "RS-04 RS-03 a pattern's subscriber gets what is published on any node, and is counted",
        arguments: ["be:", ""]
    )
    func patterns(prefix: String) throws {
        let (cluster, clients) = try ChannelTests.start()
        clients[1].subscribePattern(prefix + "news.*")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        #expect(clients[1].patterns.count == 1)
        clients[1].subscribe(prefix + "news.b", SubscribeOptions(isCounted: true))
        cluster.run(milliseconds: 20)
        let rooms = ["news.a", "news.b", "weather"].map { prefix + $0 }
        let commands = rooms.map { clients[0].publishCounted($0, "hello") }
        let query = clients[2].ask(.patterns)
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        #expect(commands.map { clients[0].counted[$0] } == [.success(1), .success(2), .success(0)])
        #expect(clients[2].channels[query] == .success(.patterns([Glob(Array((prefix + "news.*").utf8))])))
        #expect(clients[1].received["pattern " + prefix + "news.a"]?.count == 1)
        #expect(clients[1].received["pattern " + prefix + "news.b"]?.count == 1)
        #expect(clients[1].received[prefix + "news.b"]?.count == 1)
        #expect(clients[1].received["pattern " + prefix + "weather"] == nil)
    }

    @Test("RS-04 patterns are bounded, and a tick's changes of them are told once")
    func manyPatterns() throws {
        let (cluster, clients) = try ChannelTests.start { $0.maxPatterns = 100 }
        let client = clients[0]
        for number in 0..<100 { #expect(client.subscribePattern("be:\(number)*")) }
        #expect(!client.subscribePattern("be:more"))
        #expect(client.subscribePattern("be:1*"), "a pattern that is there already costs nothing")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        #expect(client.patterns.count == 101)
        let counted = client.publishCounted("be:17", "hello")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        #expect(client.counted[counted] == .success(3), "be:17*, and be:1* twice")
    }

    @Test("RS-06 no pattern reaches a shard channel: it is not counted, and its messages go nowhere for it")
    func shardChannel() throws {
        let (cluster, clients) = try ChannelTests.start()
        clients[1].subscribePattern("*")
        clients[2].subscribe("\u{1}shard:x", SubscribeOptions(isCounted: true))
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        let command = clients[0].publishCounted("\u{1}shard:x", "hello")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, clients)
        #expect(clients[0].counted[command] == .success(1))
        #expect(clients[2].received["\u{1}shard:x"]?.count == 1)
        #expect(clients[1].received.isEmpty)
    }

    @Test("RS-03 counts and patterns are told to the next owner")
    func ownerLost() throws {
        let (cluster, clients) = try ChannelTests.start()
        let owner = try #require(cluster.owner(of: "be:x"))
        let left = (1...3).filter { $0 != owner }.map { clients[$0 - 1] }
        left[0].subscribe("be:x", SubscribeOptions(isCounted: true))
        left[1].subscribe("be:x", SubscribeOptions(isCounted: true))
        left[1].subscribePattern("be:*")
        cluster.run(milliseconds: 50)
        cluster.kill(owner)
        cluster.run(milliseconds: 3000)
        let publish = left[0].publishCounted("be:x", "after")
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, left)
        #expect(left[0].counted[publish] == .success(3))
        #expect(left[1].received["be:x"]?.count == 1)
        #expect(left[1].received["pattern be:x"]?.count == 1)
    }
}
