import Broker
import OwnThread
import PeerProtocol
import Primitives
import Rooms
import Testing

@Suite(.ownThread(nice: 5)) struct BrokerTests {
    @Test("P-04 a message published on one node reaches a subscriber on another, with its place in the room")
    func publishAcrossNodes() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let a = MiniClient(cluster, on: 1)
        let c = MiniClient(cluster, on: 3)
        c.subscribe("lobby")
        cluster.run(milliseconds: 20)
        let first = a.publish("lobby", "one")
        let second = a.publish("lobby", "two")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [a, c])
        #expect(c.received["lobby"]?.map(\.offset) == [1, 2])
        #expect(c.received["lobby"]?.map(\.text) == ["one", "two"])
        guard case .success(.appended(let position)) = a.published[first] else {
            Issue.record("\(String(describing: a.published[first]))")
            return
        }
        #expect(position.offset == 1)
        #expect(a.published[second] != nil)
    }

    @Test("CL-04 CL-06 a campaign that a voter refused who had not noticed yet is tried again, before the timers are")
    func refusedCampaign() throws {
        for swapped in [false, true] {
            let cluster = try MiniCluster()
            cluster.run(milliseconds: 500)
            let room = "room-1"
            let owner = try #require(cluster.owner(of: room))
            let others = (1...3).filter { $0 != owner }
            // One that may vote and must not lead, so that all depends on the other one's campaign.
            let (candidate, voter) = swapped ? (others[1], others[0]) : (others[0], others[1])
            cluster.broker(voter).onDiskHealth(false)
            cluster.run(milliseconds: 100)
            let partition = cluster.broker(candidate).partition(of: RoomName(room))
            cluster.blackhole(owner)
            cluster.broker(candidate).onPeerDown(NodeID(UInt64(owner)))
            cluster.run(milliseconds: 70)
            #expect(!cluster.broker(candidate).isServing(partition), "the other voter still follows the owner")
            cluster.broker(voter).onPeerDown(NodeID(UInt64(owner)))
            // Below the election timeout, after which it would be tried anyway.
            cluster.run(milliseconds: 400)
            #expect(cluster.broker(candidate).isServing(partition), "\(candidate) after \(owner)")
        }
    }

    @Test("CL-06 CL-07 DL-11 the owner dies with publishes in flight: all are acknowledged once, in order, after it")
    func ownerDies() throws {
        for victim in 1...3 {
            let cluster = try MiniCluster()
            cluster.run(milliseconds: 500)
            let survivors = (1...3).filter { $0 != victim }
            let publisher = MiniClient(cluster, on: survivors[0])
            let reader = MiniClient(cluster, on: survivors[1])
            let rooms = (0..<8).map { "room-\($0)" }
            for room in rooms { reader.subscribe(room) }
            cluster.run(milliseconds: 20)
            var commands: [UInt64] = []
            for round in 0..<50 {
                for room in rooms { commands.append(publisher.publish(room, "\(round)")) }
                if round == 20 {
                    cluster.broker(victim).settle()
                    cluster.kill(victim)
                }
                cluster.run(milliseconds: 10)
            }
            cluster.run(milliseconds: 1500)
            MiniClient.deliver(cluster, [publisher, reader])
            for command in commands {
                guard case .success = publisher.published[command] else {
                    Issue.record("publish \(command): \(String(describing: publisher.published[command]))")
                    continue
                }
            }
            for room in rooms {
                #expect(reader.received[room]?.map(\.text) == (0..<50).map(String.init), "\(room), \(victim) killed")
                #expect(reader.received[room]?.map(\.offset) == (1...50).map { UInt64($0) })
            }
        }
    }

    @Test("RM-14 messages go only to nodes that hold subscribers")
    func interestOnly() throws {
        let cluster = try MiniCluster(nodes: 5)
        cluster.run(milliseconds: 800)
        let owner = try #require(cluster.owner(of: "quiet"))
        let publisher = MiniClient(cluster, on: owner)
        let other = owner == 1 ? 2 : 1
        let reader = MiniClient(cluster, on: other)
        reader.subscribe("quiet")
        cluster.run(milliseconds: 20)
        for n in 0..<100 { publisher.publish("quiet", "\(n)") }
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [publisher, reader])
        #expect(reader.received["quiet"]?.count == 100)
        for node in 1...5 where node != other {
            #expect(cluster.publicationFrames[NodeID(UInt64(node))] == nil, "node \(node)")
        }
    }

    @Test("DL-12 RM-13 best effort: everything while subscribed, nothing of before or while away")
    func bestEffort() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let publisher = MiniClient(cluster, on: 1)
        let reader = MiniClient(cluster, on: 2)
        publisher.publish("be:news", "early")
        cluster.run(milliseconds: 20)
        reader.subscribe("be:news", SubscribeOptions(recover: Position(epoch: 0, offset: 0)))
        cluster.run(milliseconds: 20)
        for n in 0..<10 { publisher.publish("be:news", "\(n)") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [publisher, reader])
        #expect(reader.received["be:news"]?.map(\.text) == (0..<10).map(String.init))
        #expect(cluster.broker(2).unsubscribe(reader.session, room: RoomName("be:news")))
        publisher.publish("be:news", "unheard")
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [reader])
        #expect(reader.received["be:news"]?.count == 10)
    }

    @Test("DL-10 RC-03 a session resumes from its position on another node, without a gap")
    func resume() throws {
        let cluster = try MiniCluster(adjust: { $0.historyLimit = 7 })
        cluster.run(milliseconds: 500)
        let publisher = MiniClient(cluster, on: 1)
        let first = MiniClient(cluster, on: 2)
        first.subscribe("log")
        cluster.run(milliseconds: 20)
        for n in 0..<5 { publisher.publish("log", "\(n)") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [publisher, first])
        guard case .success(let answer) = first.subscribed["log"] else { Issue.record("not subscribed"); return }
        cluster.broker(2).closeSession(first.session)
        for n in 5..<60 { publisher.publish("log", "\(n)") }
        cluster.run(milliseconds: 20)
        let second = MiniClient(cluster, on: 3)
        second.subscribe("log", SubscribeOptions(recover: Position(epoch: answer.epoch, offset: 5)))
        cluster.run(milliseconds: 50)
        for n in 60..<70 { publisher.publish("log", "\(n)") }
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [publisher, second])
        guard case .success(let resumed) = second.subscribed["log"] else { Issue.record("not resumed"); return }
        #expect(resumed.recovered)
        #expect(second.received["log"]?.map(\.text) == (5..<70).map(String.init))
        #expect(second.gaps.isEmpty)
    }

    @Test("DL-10 a position that retention has passed is answered by a gap, and the rest in order")
    func retentionGap() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let publisher = MiniClient(cluster, on: 1)
        for n in 1...100 { publisher.publish("few:x", "\(n)") }
        cluster.run(milliseconds: 50)
        let late = MiniClient(cluster, on: 2)
        late.subscribe("few:x", SubscribeOptions(recover: Position(epoch: 0, offset: 3)))
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [publisher, late])
        guard case .success(let answer) = late.subscribed["few:x"] else { Issue.record("not subscribed"); return }
        #expect(!answer.recovered)
        #expect(answer.gap == Gap(from: 4, to: 90, reason: .trimmed))
        #expect(late.received["few:x"]?.map(\.offset) == (91...100).map { UInt64($0) })
    }

    @Test("DL-10 a node that was cut off until all that it missed had expired tells its subscribers at once")
    func expiredWhileCutOff() throws {
        let cluster = try MiniCluster(adjust: { $0.housekeeping = .milliseconds(100) })
        cluster.run(milliseconds: 500)
        let owner = try #require(cluster.owner(of: "short:x"))
        let other = owner == 1 ? 2 : 1
        let publisher = MiniClient(cluster, on: owner)
        let live = MiniClient(cluster, on: other)
        let worker = MiniClient(cluster, on: other)
        live.subscribe("short:x")
        worker.subscribe("short:x", SubscribeOptions(ackWindow: 4, consumer: Array("w".utf8)))
        cluster.run(milliseconds: 20)
        for n in 1...2 { publisher.publish("short:x", "\(n)") }
        cluster.run(milliseconds: 20)
        cluster.disconnect(owner, other)
        for n in 3...20 { publisher.publish("short:x", "\(n)") }
        cluster.run(milliseconds: 1000)
        cluster.connect(owner, other)
        cluster.run(milliseconds: 1000)
        MiniClient.deliver(cluster, [live, worker])
        for client in [live, worker] {
            #expect(client.gaps == [Gap(from: 3, to: 20, reason: .trimmed)], "nothing new has to come for that")
        }
        for n in 21...24 { publisher.publish("short:x", "\(n)") }
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [live, worker])
        for client in [live, worker] {
            #expect(client.received["short:x"]?.map(\.offset) == [1, 2, 21, 22, 23, 24], "a gap fills no window")
        }
    }

    @Test("DL-08 the same idempotency key or producer sequence takes effect once, on every node")
    func idempotence() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let one = MiniClient(cluster, on: 1)
        let two = MiniClient(cluster, on: 2)
        let first = one.publish("orders", "a", key: "k1")
        cluster.run(milliseconds: 20)
        let again = two.publish("orders", "a", key: "k1")
        let stamp = ProducerStamp(id: Array("p".utf8)[...], epoch: 1, sequence: 0)
        let third = two.publish("orders", "b", producer: stamp)
        cluster.run(milliseconds: 20)
        let fourth = one.publish("orders", "b", producer: stamp)
        let history = one.history("orders", limit: 10)
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [one, two])
        guard case .success(.appended(let at)) = one.published[first] else { Issue.record("first"); return }
        #expect(two.published[again] == .success(.duplicate(at)))
        guard case .success(.appended(let second)) = two.published[third] else { Issue.record("third"); return }
        #expect(one.published[fourth] == .success(.duplicate(second)))
        guard case .success(let log) = one.histories[history] else { Issue.record("history"); return }
        #expect(log.publications.map(\.offset) == [1, 2])
    }

    @Test(
        "DL-02 a consumer's cursor is durable: it outlives its session and the owner"
    )
    func cursors() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let owner = try #require(cluster.owner(of: "jobs"))
        let others = (1...3).filter { $0 != owner }
        let publisher = MiniClient(cluster, on: others[0])
        let worker = MiniClient(cluster, on: others[1])
        worker.subscribe("jobs", SubscribeOptions(ackWindow: 4, consumer: Array("w".utf8)))
        cluster.run(milliseconds: 20)
        for n in 1...20 { publisher.publish("jobs", "\(n)") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [publisher, worker])
        #expect(worker.received["jobs"]?.map(\.offset) == [1, 2, 3, 4], "the window holds back the rest")
        guard case .success(let answer) = worker.subscribed["jobs"] else { Issue.record("not subscribed"); return }
        let broker = cluster.broker(others[1])
        try broker.acknowledge(
            worker.session,
            room: RoomName("jobs"),
            position: Position(epoch: answer.epoch, offset: 3)
        )
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [worker])
        #expect(worker.received["jobs"]?.map(\.offset) == [1, 2, 3, 4, 5, 6, 7])
        cluster.run(milliseconds: 1200)
        broker.closeSession(worker.session)
        cluster.kill(owner)
        cluster.run(milliseconds: 1500)
        let next = MiniClient(cluster, on: others[0])
        next.subscribe("jobs", SubscribeOptions(ackWindow: 100, consumer: Array("w".utf8)))
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [next])
        #expect(next.received["jobs"]?.map(\.offset) == (4...20).map { UInt64($0) })
    }

    @Test("DL-02 an acknowledgement that is lost with the owner is sent to the next one while the consumer stays")
    func acknowledgementLostWithOwner() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let owner = try #require(cluster.owner(of: "jobs"))
        let others = (1...3).filter { $0 != owner }
        let publisher = MiniClient(cluster, on: others[0])
        let worker = MiniClient(cluster, on: others[1])
        worker.subscribe("jobs", SubscribeOptions(ackWindow: 4, consumer: Array("w".utf8)))
        cluster.run(milliseconds: 20)
        for n in 1...10 { publisher.publish("jobs", "\(n)") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [publisher, worker])
        guard case .success(let answer) = worker.subscribed["jobs"] else { Issue.record("not subscribed"); return }
        cluster.cut.insert([NodeID(UInt64(others[1])), NodeID(UInt64(owner))])
        try cluster.broker(others[1]).acknowledge(
            worker.session,
            room: RoomName("jobs"),
            position: Position(epoch: answer.epoch, offset: 3)
        )
        cluster.run(milliseconds: 1200)
        cluster.kill(owner)
        cluster.run(milliseconds: 3000)
        cluster.broker(others[1]).closeSession(worker.session)
        let next = MiniClient(cluster, on: others[0])
        next.subscribe("jobs", SubscribeOptions(ackWindow: 100, consumer: Array("w".utf8)))
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [next])
        #expect(next.received["jobs"]?.map(\.offset) == (4...10).map { UInt64($0) })
    }

    @Test("DL-02 a consumer that comes with a place of its own has a cursor from then on")
    func placeWithoutCursor() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let owner = try #require(cluster.owner(of: "jobs"))
        let publisher = MiniClient(cluster, on: owner)
        for n in 1...10 { publisher.publish("jobs", "\(n)") }
        cluster.run(milliseconds: 20)
        // Its gateway died before it had passed the first acknowledgement on.
        let worker = MiniClient(cluster, on: owner == 1 ? 2 : 1)
        let consumer = Array("w".utf8)
        let place = Position(epoch: 0, offset: 3)
        worker.subscribe("jobs", SubscribeOptions(recover: place, ackWindow: 4, consumer: consumer))
        cluster.run(milliseconds: 1200)
        MiniClient.deliver(cluster, [worker])
        #expect(worker.received["jobs"]?.map(\.offset) == [4, 5, 6, 7])
        cluster.broker(worker.number).closeSession(worker.session)
        let next = MiniClient(cluster, on: owner)
        next.subscribe("jobs", SubscribeOptions(ackWindow: 100, consumer: consumer))
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [next])
        #expect(next.received["jobs"]?.map(\.offset) == (4...10).map { UInt64($0) })
    }

    @Test(
        "CL-21 CL-09 a minority refuses guaranteed publishes and goes on locally; healed, all agree"
    )
    func minority() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let alone = MiniClient(cluster, on: 1)
        let neighbour = MiniClient(cluster, on: 1)
        neighbour.subscribe("be:chat")
        cluster.run(milliseconds: 20)
        cluster.blackhole(1)
        for other in 2...3 {
            cluster.broker(1).onPeerDown(NodeID(UInt64(other)))
            cluster.broker(other).onPeerDown(NodeID(1))
        }
        cluster.run(milliseconds: 4000)
        #expect(cluster.broker(1).isDegraded)
        let refused = alone.publish("lobby", "x")
        alone.publish("be:chat", "hello")
        cluster.run(milliseconds: 20)
        let majority = MiniClient(cluster, on: 2)
        let kept = majority.publish("lobby", "y")
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [alone, neighbour, majority])
        #expect(alone.published[refused] == .failure(.noQuorum))
        #expect(neighbour.received["be:chat"]?.map(\.text) == ["hello"])
        guard case .success = majority.published[kept] else { Issue.record("the majority goes on"); return }
        cluster.heal()
        for other in 2...3 {
            cluster.broker(1).onPeerUp(NodeID(UInt64(other)))
            cluster.broker(other).onPeerUp(NodeID(1))
        }
        cluster.run(milliseconds: 5000)
        #expect(!cluster.broker(1).isDegraded)
        for partition in 0..<4 {
            let digests = (1...3).map { cluster.broker($0).partitionState(PartitionID(UInt32(partition)))?.digest }
            #expect(Set(digests).count == 1, "partition \(partition)")
        }
    }

    @Test(
        "CL-12 CL-13 while a node is away the others' rooms go on; the takeover is recorded"
    )
    func othersGoOn() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let rooms = (0..<24).map { "room-\($0)" }
        let victim = try #require(cluster.owner(of: rooms[0]))
        let survivors = (1...3).filter { $0 != victim }
        let publisher = MiniClient(cluster, on: survivors[0])
        let reader = MiniClient(cluster, on: survivors[1])
        for room in rooms { reader.subscribe(room) }
        cluster.run(milliseconds: 20)
        let unaffected = rooms.filter { cluster.owner(of: $0) != victim }
        #expect(!unaffected.isEmpty && unaffected.count < rooms.count)
        cluster.kill(victim)
        for room in rooms { publisher.publish(room, "during") }
        cluster.settle()
        MiniClient.deliver(cluster, [publisher, reader])
        for room in unaffected {
            #expect(reader.received[room]?.map(\.text) == ["during"], "\(room) did not have to wait")
        }
        cluster.run(milliseconds: 1000)
        MiniClient.deliver(cluster, [publisher, reader])
        for room in rooms { #expect(reader.received[room]?.map(\.text) == ["during"]) }
        let takeovers = cluster.events.compactMap { node, event -> (NodeID, Term, Interval?)? in
            guard case .becameOwner(_, let term, let silence) = event, term > 1 else { return nil }
            return (node, term, silence)
        }
        #expect(!takeovers.isEmpty)
        for (node, _, silence) in takeovers {
            #expect(node != NodeID(UInt64(victim)))
            #expect((silence?.milliseconds).map { $0 < 1000 } ?? false, "the time without an owner is recorded")
        }
    }

    @Test("DL-06 a session that catches up in the same turn as a broadcast never gets a message twice or out of order")
    func catchUpMeetsBroadcast() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        let owner = try #require(cluster.owner(of: "busy"))
        let publisher = MiniClient(cluster, on: owner)
        for n in 1...20 { publisher.publish("busy", "\(n)") }
        cluster.run(milliseconds: 20)
        let other = owner == 1 ? 2 : 1
        let resident = MiniClient(cluster, on: other)
        resident.subscribe("busy")
        cluster.run(milliseconds: 20)
        var readers: [MiniClient] = []
        for n in 21...60 {
            // The message and the answer to the resume come in one turn: the message was sent first and is in both.
            let reader = MiniClient(cluster, on: other)
            cluster.hold(other)
            publisher.publish("busy", "\(n)")
            cluster.settle()
            reader.subscribe("busy", SubscribeOptions(recover: Position(epoch: 0, offset: UInt64(n % 20))))
            cluster.settle()
            cluster.release()
            readers.append(reader)
        }
        cluster.run(milliseconds: 100)
        MiniClient.deliver(cluster, readers + [publisher, resident])
        #expect(resident.received["busy"]?.map(\.offset) == (21...60).map { $0 })
        for (index, reader) in readers.enumerated() {
            let first = UInt64((index + 21) % 20) + 1
            #expect(reader.received["busy"]?.map(\.offset) == (first...60).map { $0 }, "reader \(index)")
        }
    }

    @Test("DL-10 an owner's late answer to a node's earlier life is not taken for an answer to this one")
    func answersToAnEarlierLife() throws {
        let cluster = try MiniCluster(nodes: 9, partitions: 1)
        cluster.run(milliseconds: 1000)
        // Neither a control voter nor a replica: it may begin anew with an empty disk.
        let group = GroupID(partition: cluster.broker(1).partition(of: RoomName("log")))
        let number = try #require((6...9).first { cluster.broker($0).raftNode(group) == nil })
        let publisher = MiniClient(cluster, on: number)
        for n in 1...20 { publisher.publish("log", "\(n)") }
        cluster.run(milliseconds: 100)
        /// The owner has answered the subscriber, but the answer is held.
        func resume(from offset: UInt64) -> MiniClient {
            MiniClient(cluster, on: number).subscribe("log")
            cluster.run(milliseconds: 20)
            cluster.hold(number)
            let client = MiniClient(cluster, on: number)
            client.subscribe("log", SubscribeOptions(recover: Position(epoch: 0, offset: offset)))
            cluster.settle()
            return client
        }
        _ = resume(from: 10)
        let late = try cluster.restart(number)
        cluster.run(milliseconds: 1000)
        let reader = resume(from: 5)
        for (from, message) in late {
            if case .fetched = message { cluster.broker(number).onPeerMessage(from: from, message) }
        }
        cluster.release()
        cluster.run(milliseconds: 50)
        MiniClient.deliver(cluster, [reader])
        #expect(late.contains { if case .fetched = $0.message { true } else { false } })
        #expect(reader.received["log"]?.map(\.offset) == (6...20).map { UInt64($0) })
    }

    @Test("CL-21 an owner that stands still without closing its connections stops counting as one")
    func stoppedOwner() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 500)
        for other in 2...3 { cluster.blackhole(other) }
        cluster.run(milliseconds: 5000)
        #expect(cluster.broker(1).isDegraded)
        let client = MiniClient(cluster, on: 1)
        let neighbour = MiniClient(cluster, on: 1)
        for n in 0..<8 { neighbour.subscribe("be:room\(n)") }
        cluster.run(milliseconds: 20)
        for n in 0..<8 { client.publish("be:room\(n)", "local") }
        let refused = (0..<8).map { client.publish("room\($0)", "x") }
        cluster.run(milliseconds: 20)
        MiniClient.deliver(cluster, [client, neighbour])
        for n in 0..<8 { #expect(neighbour.received["be:room\(n)"]?.map(\.text) == ["local"]) }
        for command in refused { #expect(client.published[command] == .failure(.noQuorum)) }
        cluster.heal()
        cluster.run(milliseconds: 5000)
        #expect(!cluster.broker(1).isDegraded)
        let kept = client.publish("room1", "y")
        cluster.run(milliseconds: 100)
        MiniClient.deliver(cluster, [client])
        guard case .success = client.published[kept] else { Issue.record("not healed"); return }
    }

    @Test("RC-08 CL-07 an owner of the past that goes on cannot end a history that went on without it")
    func staleOwner() throws {
        let cluster = try MiniCluster()
        cluster.run(milliseconds: 3000)
        let room = "lobby:stale"
        let former = try #require(cluster.owner(of: room))
        let publishers = (1...3).map { MiniClient(cluster, on: $0) }
        func publish(_ number: Int) {
            for text in 1...5 { publishers[number - 1].publish(room, "\(text)") }
            cluster.run(milliseconds: 300)
        }
        publish(former)
        cluster.pause(former)
        cluster.run(milliseconds: 4000)
        let owner = try #require(cluster.owner(of: room))
        let left = 6 - former - owner
        publish(left)
        let reader = MiniClient(cluster, on: left)
        reader.subscribe(room)
        cluster.run(milliseconds: 300)
        MiniClient.deliver(cluster, [reader])
        let first = try #require(try reader.subscribed[room]?.get())
        try #require(first.offset == 10)
        cluster.kill(owner)
        cluster.resume(former)
        var options = SubscribeOptions()
        options.recover = Position(epoch: first.epoch, offset: 9)
        let again = MiniClient(cluster, on: left)
        again.subscribe(room, options)
        cluster.settle()
        cluster.run(milliseconds: 4000)
        MiniClient.deliver(cluster, [again])
        let second = try #require(try again.subscribed[room]?.get())
        #expect(second.gap == nil && second.recovered)
        #expect(second.publications.map(\.offset) == [10] || again.received[room]?.map(\.offset) == [10])
    }
}
