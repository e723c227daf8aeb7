import Primitives
import Testing

@testable import SWIM

@Suite("Probes")
struct ProbeTests {
    /// A probe that nobody has answered yet, its helpers asked.
    private func asking(_ conversation: inout Conversation) throws -> (sequence: UInt32, target: Int, helpers: [Int]) {
        let ping = try conversation.nextPing()
        conversation.pass(.milliseconds(250))
        let helpers = conversation.sent.compactMap { sent -> Int? in
            guard
                case .pingRequest(ping.sequence, NodeID(UInt64(ping.target)), address(ping.target))? = sent.messages
                    .first
            else { return nil }
            return (2...9).first { address($0) == sent.to }
        }
        return (ping.sequence, ping.target, helpers)
    }

    @Test("one member is probed each interval, each once a round, in another order each round")
    func roundRobin() throws {
        var conversation = Conversation(members: 8)
        var rounds: [[Int]] = []
        var times: [Instant] = []
        for _ in 0..<4 {
            var round: [Int] = []
            for _ in 0..<7 {
                let ping = try conversation.nextPing()
                round.append(ping.target)
                times.append(ping.sent.at)
                conversation.hear([.ack(sequence: ping.sequence)], from: ping.target)
                conversation.sent = []
            }
            rounds.append(round)
        }
        for round in rounds.dropFirst() { #expect(round.sorted() == [2, 3, 4, 5, 6, 7, 8]) }
        #expect(Set(rounds.dropFirst()).count > 1)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == .milliseconds(500) })
        #expect(conversation.node.counters.failedProbes == 0 && conversation.node.healthScore == 0)
        #expect(conversation.events.isEmpty)
    }

    @Test("a ping without answer asks three others and a stream; an ack by any of them saves the member")
    func indirect() throws {
        for way in ["helper", "stream", "late"] {
            var conversation = Conversation(members: 6)
            let probe = try asking(&conversation)
            try #require(probe.helpers.count == 3)
            #expect(!probe.helpers.contains(probe.target) && !probe.helpers.contains(1))
            let stream = try #require(conversation.sent.first { $0.transport == .stream })
            #expect(stream.to == address(probe.target))
            #expect(stream.messages == [.ping(sequence: probe.sequence, target: NodeID(UInt64(probe.target)))])
            switch way {
            case "helper": conversation.hear([.ack(sequence: probe.sequence)], from: probe.helpers[0])
            case "stream": conversation.hear([.ack(sequence: probe.sequence)], from: probe.target, over: .stream)
            default: conversation.hear([.ack(sequence: probe.sequence)], from: probe.target)
            }
            conversation.pass(.milliseconds(240))
            #expect(conversation.state(probe.target) == .alive && conversation.node.counters.failedProbes == 0)
            #expect(conversation.node.counters.streamAcks == (way == "stream" ? 1 : 0))
        }
    }

    @Test("nobody answers: suspect; each missing nack makes the own health worse, received ones do not")
    func nacks() throws {
        for received in 0...3 {
            var conversation = Conversation(members: 6)
            let probe = try asking(&conversation)
            for helper in probe.helpers.prefix(received) {
                // Repeated datagrams count once.
                conversation.hear([.nack(sequence: probe.sequence)], from: helper)
                conversation.hear([.nack(sequence: probe.sequence)], from: helper)
            }
            conversation.pass(.milliseconds(250))
            #expect(conversation.state(probe.target) == .suspect)
            #expect(conversation.node.healthScore == 3 - received)
            #expect(conversation.node.counters.failedProbes == 1 && conversation.node.counters.suspicions == 1)
            guard case .suspected(let member)? = conversation.events.first else {
                Issue.record("\(conversation.events)")
                continue
            }
            #expect(member.node == NodeID(UInt64(probe.target)))
        }
    }

    @Test("Lifeguard: the health score stretches the interval and the timeout, and successes bring it back")
    func health() throws {
        var conversation = Conversation(members: 5)
        conversation.node.healthScore = 3
        let first = try conversation.nextPing()
        conversation.pass(until: first.sent.at + .milliseconds(799))
        #expect(!conversation.messages.contains { if case .pingRequest = $0 { true } else { false } })
        conversation.pass(until: first.sent.at + .milliseconds(800))
        #expect(conversation.messages.contains { if case .pingRequest = $0 { true } else { false } })
        conversation.hear([.ack(sequence: first.sequence)], from: first.target)
        #expect(conversation.node.healthScore == 2)
        conversation.sent = []
        let second = try conversation.nextPing()
        #expect(second.sent.at - first.sent.at == .milliseconds(2_000))
        for _ in 0..<10 where conversation.node.healthScore > 0 {
            let ping = try conversation.nextPing()
            conversation.hear([.ack(sequence: ping.sequence)], from: ping.target)
        }
        #expect(conversation.node.healthScore == 0)
        conversation.node.changeHealth(by: 100)
        #expect(conversation.node.healthScore == 7)
    }

    @Test("a ping for another: the ack is passed on, a nack comes at four fifths of the timeout")
    func relay() throws {
        for isAnswered in [true, false] {
            var conversation = Conversation(members: 4)
            conversation.hear([.pingRequest(sequence: 99, target: NodeID(3), address: address(3))], from: 2)
            let ping = try #require(conversation.sent.first)
            #expect(ping.to == address(3))
            guard case .ping(let sequence, NodeID(3))? = ping.messages.first else {
                Issue.record("\(ping)")
                return
            }
            if isAnswered { conversation.hear([.ack(sequence: sequence)], from: 3) }
            conversation.pass(.milliseconds(159))
            let toRequester = { (c: Conversation) in c.sent.filter { $0.to == address(2) }.flatMap(\.messages) }
            #expect(toRequester(conversation).contains(.ack(sequence: 99)) == isAnswered)
            #expect(!toRequester(conversation).contains(.nack(sequence: 99)))
            conversation.pass(.milliseconds(2))
            #expect(toRequester(conversation).contains(.nack(sequence: 99)) != isAnswered)
            // The ack is still worth something when it comes after the nack.
            if !isAnswered { conversation.hear([.ack(sequence: sequence)], from: 3) }
            #expect(toRequester(conversation).contains(.ack(sequence: 99)))
            conversation.pass(.seconds(1))
            #expect(conversation.node.relays.isEmpty)
        }
    }

    @Test(
        "a ping is answered where it came from, on the connection it came by, and only when it was meant for this node"
    )
    func answers() {
        var conversation = Conversation(members: 3)
        conversation.hear([.ping(sequence: 5, target: NodeID(1))], from: 2)
        #expect(conversation.sent.map(\.to) == [address(2)] && conversation.messages == [.ack(sequence: 5)])
        conversation.hear([.ping(sequence: 6, target: NodeID(1))], from: 2, over: .stream, replyTo: 77)
        #expect(conversation.replies.map(\.token) == [77])
        #expect(conversation.replies.first?.messages == [.ack(sequence: 6)])
        conversation.forget()
        conversation.hear([.ping(sequence: 7, target: NodeID(9))], from: 2)
        conversation.hear([.ping(sequence: 8, target: NodeID(1))], from: 2, over: .stream)
        conversation.hear([.pushPull(isReply: false, [])], from: 2)
        #expect(conversation.sent.isEmpty && conversation.replies.isEmpty)
        #expect(conversation.node.counters.misdirected == 3)
    }

    @Test("the buddy system: a suspect is told so in the ping and in the ack")
    func buddy() throws {
        var conversation = Conversation(members: 2)
        conversation.hear([.suspect(accusation(2, from: 3))], from: 3)
        conversation.clearQueue()
        let mine = SWIMMessage.suspect(accusation(2, from: 1))
        let ping = try conversation.nextPing()
        #expect(ping.sent.messages.contains(mine))
        conversation.pass(.milliseconds(210))
        #expect(conversation.sent.contains { $0.transport == .stream && $0.messages.contains(mine) })
        conversation.forget()
        conversation.hear([.ping(sequence: 5, target: NodeID(1))], from: 2)
        #expect(conversation.messages.contains(mine))
        conversation.pass(.seconds(40))
        #expect(conversation.state(2) == .down)
        conversation.forget()
        conversation.hear([.ping(sequence: 6, target: NodeID(1))], from: 2)
        #expect(conversation.messages.contains(.down(accusation(2, from: 1))))
    }

    @Test("CL-02 a late tick blames nobody: probes begin anew, suspicions run longer, the own health gets worse")
    func pause() throws {
        var conversation = Conversation(members: 5)
        conversation.hear([.suspect(accusation(5, from: 2))], from: 2)
        conversation.hear([.suspect(accusation(5, from: 3)), .suspect(accusation(5, from: 4))], from: 3)
        let deadline = try #require(conversation.node.suspicions.first?.deadline)
        var ping = try conversation.nextPing()
        if ping.target == 5 { ping = try conversation.nextPing() }
        let failed = conversation.node.counters.failedProbes
        let score = conversation.node.healthScore
        conversation.sent = []
        conversation.now = conversation.now + .seconds(30)
        conversation.node.tick(now: conversation.now)
        conversation.collect()
        #expect(conversation.node.counters.pauses == 1 && conversation.node.healthScore == score + 1)
        #expect(conversation.node.counters.failedProbes == failed)
        #expect(conversation.state(5) == .suspect && conversation.state(ping.target) == .alive)
        let shifted = try #require(conversation.node.suspicions.first?.deadline)
        #expect(shifted > deadline + .seconds(29) && shifted > conversation.now)
        #expect(
            conversation.sent.contains {
                guard case .ping(let sequence, let target)? = $0.ping else { return false }
                return sequence != ping.sequence && target == NodeID(UInt64(ping.target))
            }
        )
        // Reading the sockets first makes no difference.
        conversation.now = conversation.now + .seconds(30)
        conversation.hear([.ack(sequence: 1)], from: 2)
        #expect(conversation.node.counters.pauses == 2 && conversation.state(5) == .suspect)
        #expect(conversation.node.nextDeadline >= conversation.now)
    }

    @Test("the deadline is never in the past after a tick, whatever happened")
    func deadlines() {
        var conversation = Conversation(members: 12, seed: 9)
        var random = Xoshiro256(seed: 3)
        for step in 0..<3_000 {
            let number = Int(random.below(12)) + 2
            let incarnation = random.below(4)
            switch random.below(6) {
            case 0: conversation.hear([.suspect(accusation(number, incarnation: incarnation, from: 3))], from: 3)
            case 1: conversation.hear([.down(accusation(number, incarnation: incarnation, from: 4))], from: 4)
            case 2: conversation.hear([.alive(claim(number, incarnation: incarnation + 1))], from: 5)
            case 3: conversation.hear([.left(node: NodeID(UInt64(number)), incarnation: incarnation)], from: number)
            case 4:
                conversation.hear([.pingRequest(sequence: 1, target: NodeID(3), address: address(3))], from: number)
            default: conversation.pass(.milliseconds(random.below(600)))
            }
            if step == 2_900 { conversation.node.leave(now: conversation.now) }
            conversation.node.tick(now: conversation.now)
            conversation.collect()
            guard conversation.node.nextDeadline > conversation.now else {
                Issue.record("step \(step): \(conversation.node.nextDeadline) at \(conversation.now)")
                return
            }
        }
        #expect(conversation.node.counters.pauses == 0)
    }
}
