import Primitives
import Testing

@testable import SWIM

@Suite("Gossip")
struct GossipTests {
    @Test("a message is sent multiplier * ceil(log10(members + 1)) times, to three members each interval")
    func retransmits() {
        let settings = SWIMSettings()
        #expect([1, 9, 10, 99, 100, 1_000].map { settings.retransmits(members: $0) } == [4, 4, 8, 8, 12, 16])
        var conversation = Conversation(members: 8)
        conversation.hear([.alive(claim(50))], from: 2)
        conversation.pass(.seconds(3), answering: true)
        let carriers = conversation.sent.filter { $0.messages.contains(.alive(claim(50))) }
        #expect(carriers.count == 4 && conversation.node.queue.isEmpty)
        let gossip = conversation.sent.filter { if case .alive? = $0.messages.first { true } else { false } }
        let byTime = Dictionary(grouping: gossip, by: \.at).mapValues { Set($0.map(\.to)).count }
        #expect(byTime.values.allSatisfy { $0 <= 3 } && byTime.values.contains(3))
    }

    @Test("packets are filled and never longer than 1400 bytes; what was sent least goes first; the newest word counts")
    func packing() throws {
        var conversation = Conversation(members: 4)
        let long = String(repeating: "x", count: 64)
        for number in 10..<60 {
            let metadata = try MemberMetadata(
                node: NodeID(UInt64(number)),
                name: "\(long.dropLast(2))\(number)",
                host: long,
                meshPort: 1
            )
            conversation.hear(
                [.alive(AliveClaim(metadata: metadata, address: address(number), incarnation: 1))],
                from: 2
            )
        }
        conversation.hear([.suspect(accusation(10, from: 2))], from: 2)
        conversation.forget()
        conversation.pass(.seconds(20), answering: true)
        let datagrams = conversation.sent.filter { $0.transport == .datagram }
        #expect(datagrams.allSatisfy { $0.bytes <= 1400 })
        #expect(datagrams.prefix(6).allSatisfy { $0.bytes > 1150 })
        #expect(conversation.node.queue.isEmpty)
        var seen: [UInt64: Int] = [:]
        var first: [UInt64] = []
        for case .alive(let claim) in datagrams.flatMap(\.messages) {
            seen[claim.metadata.node.rawValue, default: 0] += 1
            if seen[claim.metadata.node.rawValue] == 1 { first.append(claim.metadata.node.rawValue) }
        }
        #expect(first.prefix(5) == [59, 58, 57, 56, 55])
        // Each of them as often as a cluster of 54 wants it; the suspicion has replaced what was said about 10.
        #expect((11..<60).allSatisfy { seen[UInt64($0)] == 8 } && seen[10] == nil)
    }

    @Test("nothing new, no gossip: between probes there is silence")
    func silence() {
        var conversation = Conversation(members: 5)
        conversation.pass(.seconds(20), answering: true)
        let datagrams = conversation.sent.filter { $0.transport == .datagram }
        #expect(datagrams.flatMap(\.messages).allSatisfy { if case .ping = $0 { true } else { false } })
        #expect((39...41).contains(datagrams.count) && datagrams.allSatisfy { $0.bytes == 34 })
    }

    @Test(
        "changed metadata is a new incarnation and gossiped at once; hints come with pings and acks, and are no event"
    )
    func updates() throws {
        var conversation = Conversation(members: 5)
        var changed = conversation.node.me.metadata
        changed.connections = 70_000
        changed.load = 200
        changed.placementEpoch = 12
        conversation.node.update(changed, now: conversation.now)
        let hints = MemberHints(connections: 70_000, load: 100, placementEpoch: 12)
        conversation.pass(.seconds(10), answering: true)
        conversation.hear([.ping(sequence: 1, target: NodeID(1))], from: 3)
        let datagrams = conversation.sent.filter { $0.transport == .datagram }
        #expect(datagrams.count > 19 && datagrams.allSatisfy { $0.hints == hints })
        #expect(conversation.node.me.incarnation == 1 && conversation.node.queue.isEmpty)

        conversation.forget()
        changed.isDraining = true
        conversation.node.update(changed, now: conversation.now)
        conversation.node.update(changed, now: conversation.now)
        conversation.pass(.milliseconds(300), answering: true)
        #expect(conversation.messages.contains(.alive(AliveClaim(conversation.node.me))))
        #expect(conversation.node.me.incarnation == 2 && conversation.node.me.metadata == changed)

        conversation.hear([.ack(sequence: 1), .status(hints, digest: 0)], from: 3)
        #expect(conversation.node.member(NodeID(3))?.metadata.hints == hints && conversation.events.isEmpty)
        conversation.hear([.status(hints, digest: 0)], from: 9)
        #expect(conversation.node.member(NodeID(9)) == nil)
        // What others still hold of this node's hints is no reason to refute.
        var old = AliveClaim(conversation.node.me)
        old.metadata.connections = 5
        conversation.hear([.alive(old)], from: 3)
        #expect(conversation.node.me.incarnation == 2)
    }

    @Test(
        "a list that differs from all others for a while is repaired by push-pull, ever more rarely if that is in vain"
    )
    func repair() {
        func repairs(seconds: Int, digest: (Int, SWIMNode) -> UInt64) -> [Instant] {
            var settings = SWIMSettings()
            settings.pushPullInterval = .seconds(30)
            var conversation = Conversation(members: 3, settings: settings)
            var times: [Instant] = []
            for round in 0..<4 * seconds {
                let before = conversation.node.counters.repairs
                let hints = conversation.node.me.metadata.hints
                conversation.hear([.status(hints, digest: digest(round, conversation.node))], from: 2 + round % 2)
                if conversation.node.counters.repairs > before {
                    times.append(conversation.now)
                    let last = conversation.sent.last
                    #expect(last?.to == address(2 + round % 2) && last?.transport == .stream)
                }
                conversation.pass(.milliseconds(250), answering: true)
            }
            return times
        }
        #expect(repairs(seconds: 60) { $1.digest }.isEmpty)
        // One other disagrees all the time, one never.
        #expect(repairs(seconds: 60) { $0 % 2 == 0 ? 1 : $1.digest }.isEmpty)
        let vain = repairs(seconds: 100) { _, _ in 1 }.map { $0.nanoseconds / 1_000_000 }
        #expect(vain == [1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000])
        let solved = repairs(seconds: 60) { round, node in (8..<14).contains(round % 200) ? 1 : node.digest }
        #expect(solved.map { $0.nanoseconds / 1_000_000 } == [3_000, 53_000])
    }

    @Test("push-pull every 30 s, twice as rarely from 33 members on, three times from 65 on")
    func pushPullInterval() {
        let settings = SWIMSettings()
        let seconds = [2, 32, 33, 64, 65, 128, 129].map {
            settings.pushPullInterval(members: $0).nanoseconds / 1_000_000_000
        }
        #expect(seconds == [30, 30, 60, 60, 90, 90, 120])
        var conversation = Conversation(members: 5)
        conversation.pass(.seconds(301), answering: true)
        let pushPulls = conversation.sent.filter {
            if case .pushPull(false, _)? = $0.messages.first { true } else { false }
        }
        #expect((10...11).contains(pushPulls.count) && pushPulls.allSatisfy { $0.transport == .stream })
        #expect(Set(pushPulls.map(\.to)).count > 2)
        #expect(conversation.node.counters.pushPulls == UInt64(pushPulls.count))
    }

    @Test("CL-01 joining: every seed, again with growing pauses, until a member is known; silent seeds now and then")
    func join() {
        var conversation = Conversation()
        conversation.node.join([address(1), address(2), address(3), address(2)], now: conversation.now)
        conversation.collect()
        conversation.pass(.seconds(30))
        let attempts = conversation.sent.filter { $0.to == address(2) && $0.transport == .stream }.map(\.at)
        #expect(conversation.sent.allSatisfy { $0.to == address(2) || $0.to == address(3) })
        let pauses = zip(attempts, attempts.dropFirst()).map { $1 - $0 }.prefix(5)
        #expect(
            zip(pauses, [125, 250, 500, 1_000, 2_000]).allSatisfy {
                $0 >= .milliseconds($1) && $0 <= .milliseconds(2 * $1)
            }
        )
        #expect((8...20).contains(attempts.count), "\(attempts.count)")
        conversation.node.streamFailed(to: address(3), now: conversation.now)
        #expect(conversation.node.counters.streamFailures == 1)
        conversation.receive(
            encoded([.pushPull(isReply: true, [snapshot(claim(7), .alive)])], sender: 7),
            from: address(2),
            over: .stream
        )
        #expect(conversation.state(7) == .alive)
        conversation.forget()
        conversation.pass(.seconds(60), answering: true)
        let later = conversation.sent.filter { if case .pushPull? = $0.messages.first { true } else { false } }
        #expect(!later.contains { $0.to == address(2) })
        // The only other member tries the silent seed as well: each interval one of them, on average, or more.
        #expect((6...14).contains(later.count { $0.to == address(3) }), "\(later.count)")
    }

    @Test(
        "CL-09 a down member is tried again, by one node of the cluster per interval on average; one that left is not"
    )
    func reconnect() {
        var attempts = 0
        for seed in UInt64(1)...20 {
            var conversation = Conversation(members: 11, seed: seed)
            conversation.hear([.down(accusation(2, from: 3)), .left(node: NodeID(3), incarnation: 1)], from: 3)
            conversation.pass(.seconds(100), answering: true)
            for sent in conversation.sent where sent.transport == .stream {
                #expect(sent.to != address(3))
                if sent.to == address(2) { attempts += 1 }
            }
        }
        // 20 nodes, 20 intervals, one in eight.
        #expect((25...80).contains(attempts), "\(attempts)")
    }

    @Test("a member that has just gone down goes on getting gossip")
    func gossipToTheDead() {
        var conversation = Conversation(members: 3)
        conversation.hear([.down(accusation(2, from: 3))], from: 3)
        conversation.pass(.seconds(2), answering: true)
        #expect(
            conversation.sent.contains { $0.to == address(2) && $0.messages.contains(.down(accusation(2, from: 3))) }
        )
        conversation.pass(.seconds(30), answering: true)
        conversation.forget()
        conversation.hear([.alive(claim(9))], from: 3)
        conversation.pass(.seconds(3), answering: true)
        #expect(!conversation.sent.contains { $0.to == address(2) && $0.transport == .datagram })
    }
}
