import Primitives
import Testing

@testable import SWIM

@Suite("Membership")
struct MembershipTests {
    @Test("within an incarnation alive < suspect < down < left, and a higher incarnation always wins")
    func precedence() {
        let states: [MemberState] = [.alive, .suspect, .down, .left]
        func message(_ state: MemberState, _ incarnation: UInt64) -> SWIMMessage {
            switch state {
            case .alive: .alive(claim(2, incarnation: incarnation))
            case .suspect: .suspect(accusation(2, incarnation: incarnation, from: 3))
            case .down: .down(accusation(2, incarnation: incarnation, from: 3))
            case .left: .left(node: NodeID(2), incarnation: incarnation)
            }
        }
        for before in states {
            for after in states {
                for incarnation in UInt64(4)...6 {
                    var conversation = Conversation(members: 3)
                    conversation.hear([.alive(claim(2, incarnation: 5)), message(before, 5)], from: 3)
                    #expect(conversation.state(2) == before)
                    conversation.hear([message(after, incarnation)], from: 3)
                    // A failed member cannot fail again: only it can bring itself back first.
                    let isRevived = after == .alive || before.isLive || after == .left
                    let wins = incarnation == 5 ? after.rawValue > before.rawValue : incarnation > 5 && isRevived
                    let expected = wins ? after : before
                    #expect(conversation.state(2) == expected, "\(before) then \(after) \(incarnation)")
                }
            }
        }
    }

    @Test("CL-01 joined, updated, suspected, recovered, down and left are told once each, in order, and gossiped")
    func events() {
        var conversation = Conversation(members: 3)
        func names(_ events: [MemberEvent]) -> [String] { events.map { String("\($0)".prefix { $0 != "(" }) } }
        func hear(_ message: SWIMMessage, _ expected: [String], gossiped: Bool = true) {
            conversation.clearQueue()
            for _ in 0..<2 { conversation.hear([message], from: 3) }
            #expect(names(conversation.events) == expected, "\(message)")
            #expect(conversation.node.queue.contains(NodeID(4)) == gossiped, "\(message)")
            conversation.forget()
        }
        hear(.suspect(accusation(4, from: 3)), [], gossiped: false)
        hear(.alive(claim(4)), ["joined"])
        hear(
            .alive(AliveClaim(metadata: metadata(4, draining: true), address: address(4), incarnation: 2)),
            ["updated"]
        )
        hear(.alive(claim(4, incarnation: 3)), ["updated"])
        hear(.suspect(accusation(4, incarnation: 3, from: 3)), ["suspected"])
        hear(.alive(claim(4, incarnation: 4)), ["recovered"])
        hear(.down(accusation(4, incarnation: 4, from: 3)), ["down"])
        hear(.alive(claim(4, incarnation: 4)), [], gossiped: false)
        hear(.alive(claim(4, incarnation: 5)), ["joined"])
        hear(.left(node: NodeID(4), incarnation: 5), ["left"])
        hear(.down(accusation(4, incarnation: 5, from: 3)), [], gossiped: false)
        hear(.alive(claim(4, incarnation: 6)), ["joined"])
        #expect(conversation.node.members.map(\.node) == [NodeID(1), NodeID(2), NodeID(3), NodeID(4)])
    }

    @Test("Lifeguard: a suspicion is longest alone, and shorter along a logarithm with each confirmation")
    func suspicionTimeout() {
        var settings = SWIMSettings()
        settings.downAfter = nil
        settings.suspicionMultiplier = 5
        func milliseconds(_ suspicion: Suspicion) -> UInt64 { (suspicion.deadline.nanoseconds + 500_000) / 1_000_000 }
        func suspicion(_ members: Int) -> Suspicion {
            Suspicion(accusation(2, from: 3), firstMissed: .zero, now: .zero, members: members, settings: settings)
        }
        // 5 * log10(100) * 500 ms is the least, six times that the most; 3 confirmations are wanted.
        var running = suspicion(100)
        #expect(running.confirmations == 3)
        #expect(milliseconds(running) == 30_000)
        expect(running.confirm(by: NodeID(3)) == false)
        expect(running.confirm(by: NodeID(4)))
        #expect(milliseconds(running) == 17_500)  // log 2 / log 4 is a half.
        expect(running.confirm(by: NodeID(4)) == false)
        expect(running.confirm(by: NodeID(5)))
        #expect(milliseconds(running) == 10_188)  // log 3 / log 4
        expect(running.confirm(by: NodeID(6)))
        #expect(milliseconds(running) == 5_000)
        expect(running.confirm(by: NodeID(7)) == false)
        // Too few could confirm: at once the least.
        #expect(suspicion(4).confirmations == 0 && milliseconds(suspicion(4)) == 2_500)
        #expect(suspicion(5).confirmations == 3)
        settings.downAfter = .milliseconds(5_000)
        #expect(milliseconds(suspicion(4)) == 5_000)
        for (value, expected) in [(1, 0.0), (2, 1), (8, 3), (10, 3.321_928_094_887_362), (1000, 9.965_784_284_662_087)]
        {
            #expect(abs(binaryLogarithm(value) - expected) < 1e-12)
        }
    }

    @Test("CL-02 however many confirm, nobody is down before downAfter; unrefuted, it is down then")
    func downAfter() {
        var conversation = Conversation(members: 9)
        conversation.hear((4...9).map { .suspect(accusation(3, from: $0)) }, from: 4)
        conversation.pass(.milliseconds(4_990), answering: true)
        #expect(conversation.state(3) == .suspect)
        conversation.pass(.milliseconds(20), answering: true)
        #expect(conversation.state(3) == .down)
        #expect(conversation.node.counters.downs == 1)
        conversation.pass(.milliseconds(300), answering: true)
        #expect(conversation.messages.contains(.down(accusation(3, from: 1))))
    }

    @Test("confirmations are passed on as long as they count, and a refutation ends the suspicion")
    func confirmations() {
        var conversation = Conversation(members: 9)
        conversation.hear([.suspect(accusation(3, from: 4))], from: 4)
        conversation.clearQueue()
        conversation.hear([.suspect(accusation(3, from: 4))], from: 4)
        #expect(conversation.node.queue.isEmpty)
        for accuser in 5...6 {
            conversation.hear([.suspect(accusation(3, from: accuser))], from: accuser)
            #expect(!conversation.node.queue.isEmpty)
            conversation.clearQueue()
        }
        conversation.hear([.suspect(accusation(3, from: 7))], from: 7)
        #expect(conversation.node.queue.isEmpty)
        conversation.hear([.alive(claim(3, incarnation: 2))], from: 3)
        #expect(conversation.state(3) == .alive && conversation.node.suspicions.isEmpty)
        conversation.hear([.suspect(accusation(3, from: 8))], from: 8)
        #expect(conversation.state(3) == .alive)
    }

    @Test("an accused node refutes with a higher incarnation and trusts itself less")
    func refutation() {
        for (message, expected): (SWIMMessage, UInt64) in [
            (.suspect(accusation(1, incarnation: 7, from: 3)), 8),
            (.down(accusation(1, incarnation: 9, from: 3)), 10),
            (.left(node: NodeID(1), incarnation: 7), 8),
            (.pushPull(isReply: false, [snapshot(claim(1, incarnation: 7), .down)]), 8),
            (.pushPull(isReply: false, [snapshot(claim(1, incarnation: 12), .left)]), 13),
        ] {
            var conversation = Conversation(members: 3, incarnation: 7)
            conversation.hear([message], from: 3, over: .stream, replyTo: 1)
            #expect(conversation.node.me.incarnation == expected && conversation.node.me.state == .alive)
            #expect(conversation.node.healthScore == 1 && conversation.node.counters.refutations == 1)
            conversation.pass(.milliseconds(400))
            #expect(conversation.messages.contains(.alive(AliveClaim(conversation.node.me))))
            // The past does not matter.
            conversation.hear([.suspect(accusation(1, incarnation: expected - 1, from: 3))], from: 3)
            #expect(conversation.node.me.incarnation == expected)
        }
        // An alive of an earlier run with a higher incarnation.
        var conversation = Conversation(members: 3)
        conversation.hear([.alive(claim(1, incarnation: 30))], from: 2)
        #expect(conversation.node.me.incarnation == 31 && conversation.node.healthScore == 0)
        // Somebody still holds what was refuted before: once more, in the ack, without a new incarnation.
        for message: SWIMMessage in [
            .suspect(accusation(1, incarnation: 5, from: 2)), .down(accusation(1, incarnation: 5, from: 2)),
        ] {
            conversation.clearQueue()
            conversation.forget()
            conversation.hear([message, .ping(sequence: 3, target: NodeID(1))], from: 2)
            #expect(conversation.sent.map(\.to) == [address(2)])
            #expect(conversation.messages == [.ack(sequence: 3), .alive(AliveClaim(conversation.node.me))])
            #expect(conversation.node.me.incarnation == 31)
        }
    }

    @Test("what nobody can top is not believed: incarnations have an end far below that of their type")
    func highestIncarnation() {
        var conversation = Conversation(members: 3)
        conversation.hear([.suspect(accusation(1, incarnation: .max, from: 3))], from: 3)
        #expect(conversation.node.counters.decodeErrors == 1 && conversation.node.me.incarnation == 1)
    }

    @Test("CL-01 leaving: members are told, pings are still answered, nothing said against it is refuted")
    func leave() {
        var conversation = Conversation(members: 5)
        conversation.node.leave(now: conversation.now)
        #expect(!conversation.node.isLeft && conversation.node.isLeaving)
        conversation.hear([.suspect(accusation(1, from: 3))], from: 3)
        conversation.hear([.ping(sequence: 4, target: NodeID(1))], from: 3)
        #expect(conversation.messages.contains(.ack(sequence: 4)))
        conversation.pass(.seconds(1))
        let goodbyes = conversation.sent.filter { $0.messages.contains(.left(node: NodeID(1), incarnation: 1)) }
        #expect(goodbyes.count == conversation.node.retransmits && conversation.node.isLeft)
        #expect(conversation.node.me.state == .left && conversation.node.nextDeadline == .distantFuture)
        #expect(!conversation.messages.contains { if case .alive = $0 { true } else { false } })

        var alone = Conversation()
        alone.node.leave(now: alone.now)
        #expect(alone.node.isLeft)
    }

    @Test("CL-10 two nodes with one identity: a conflict now and then, the first stays, nothing flaps")
    func identityConflict() {
        var conversation = Conversation(members: 4)
        func conflicts() -> Int { conversation.events.count { if case .conflict = $0 { true } else { false } } }
        for round in 0..<50 {
            conversation.hear([.alive(claim(2, incarnation: UInt64(round + 1), at: 77))], from: 77)
            conversation.hear([.alive(claim(2, incarnation: UInt64(round + 1)))], from: 2)
            conversation.pass(.seconds(1), answering: true)
        }
        #expect(conversation.state(2) == .alive)
        #expect(conversation.node.member(NodeID(2))?.address == address(2))
        #expect(conflicts() == 2 && conversation.events.count == 2, "\(conversation.events)")
        guard case .conflict("n2", let mine, let theirs)? = conversation.events.first else {
            Issue.record("\(conversation.events)")
            return
        }
        #expect(mine.address == address(2) && theirs.address == address(77) && theirs.node == mine.node)
        #expect(
            !conversation.messages.contains {
                if case .alive(let claim) = $0 { claim.address == address(77) } else { false }
            }
        )

        // What is older than what is known is no conflict but a late message.
        conversation.forget()
        conversation.hear([.alive(claim(3, incarnation: 9))], from: 3)
        conversation.hear([.alive(claim(3, incarnation: 8, at: 78))], from: 3)
        #expect(conversation.events.isEmpty)

        // The first is down: the other place is taken.
        conversation.hear([.down(accusation(2, incarnation: 50, from: 3))], from: 3)
        conversation.hear([.alive(claim(2, incarnation: 51, at: 77))], from: 77)
        #expect(conversation.state(2) == .alive && conversation.node.member(NodeID(2))?.address == address(77))
    }

    @Test("CL-10 the own identity at another address is a conflict and not a reason to outbid it")
    func ownIdentityConflict() {
        var conversation = Conversation(members: 3)
        for incarnation in UInt64(1)...5 {
            conversation.hear([.alive(claim(1, incarnation: incarnation, at: 9))], from: 2)
        }
        #expect(conversation.node.me.incarnation == 1 && conversation.events.count == 1)
        guard case .conflict(_, let mine, let theirs)? = conversation.events.first else { return }
        #expect(mine.address == address(1) && theirs.address == address(9))
        // The old process is down: this one takes over its name.
        conversation.hear([.down(accusation(1, incarnation: 5, from: 2))], from: 2)
        #expect(conversation.node.me.incarnation == 6)
    }

    @Test("CL-10 two nodes with one name are both members, and a conflict")
    func nameConflict() {
        var conversation = Conversation(members: 3)
        conversation.hear([.alive(claim(8, name: "n2"))], from: 8)
        #expect(conversation.events.count == 2 && conversation.state(8) == .alive && conversation.state(2) == .alive)
        guard case .conflict("n2", let mine, let theirs)? = conversation.events.last else {
            Issue.record("\(conversation.events)")
            return
        }
        #expect(mine.node == NodeID(2) && theirs.node == NodeID(8))
        conversation.forget()
        conversation.hear([.alive(claim(8, incarnation: 2, name: "n2"))], from: 8)
        #expect(conversation.events.isEmpty)
        // Of a node that is gone the name is free.
        conversation.hear([.left(node: NodeID(3), incarnation: 1), .alive(claim(9, name: "n3"))], from: 9)
        #expect(conversation.events.count == 2, "\(conversation.events)")
    }

    @Test("bounds: live members, dead members, conflicts and seeds")
    func bounds() {
        var settings = SWIMSettings()
        settings.maxMembers = 10
        settings.maxDeadMembers = 4
        settings.maxConflicts = 3
        settings.maxSeeds = 5
        settings.maxRelays = 6
        var conversation = Conversation(members: 8, settings: settings)
        for number in 20..<40 { conversation.hear([.alive(claim(number))], from: 2) }
        #expect(conversation.node.members.count == 10 && conversation.node.counters.droppedForBounds == 18)
        for number in 3...8 {
            conversation.now = conversation.now + .milliseconds(1)
            conversation.hear([.down(accusation(number, from: 2))], from: 2)
        }
        #expect(conversation.node.members.count { $0.state == .down } == 4)
        #expect(conversation.state(3) == nil && conversation.state(8) == .down)
        for place in 50..<60 { conversation.hear([.alive(claim(2, incarnation: 5, at: place))], from: 2) }
        #expect(conversation.node.reportedConflicts.count == 3)
        conversation.node.join((100..<120).map(address), now: conversation.now)
        #expect(conversation.node.seeds.count == 5)
        for _ in 0..<20 {
            conversation.hear([.pingRequest(sequence: 1, target: NodeID(2), address: address(2))], from: 2)
        }
        #expect(conversation.node.relays.count == 6)
        // Dead ones that come back find no room either.
        for number in 20..<40 { conversation.hear([.alive(claim(number))], from: 2) }
        conversation.hear([.alive(claim(8, incarnation: 2))], from: 8)
        #expect(conversation.state(8) == .down)
    }

    @Test("down members are forgotten by all at about the same time, and do not come back by hearsay")
    func forgetting() {
        var settings = SWIMSettings()
        settings.deadRetention = .seconds(100)
        var conversation = Conversation(members: 3, settings: settings)
        conversation.hear([.down(accusation(2, from: 3))], from: 3)
        conversation.pass(.seconds(60), answering: true)
        #expect(conversation.state(2) == .down)
        // One that was down for 60 s elsewhere, and one that should be forgotten.
        conversation.hear(
            [.pushPull(isReply: false, [snapshot(claim(7), .down, age: 60), snapshot(claim(8), .left, age: 100)])],
            from: 3,
            over: .stream,
            replyTo: 1
        )
        #expect(conversation.state(7) == .down && conversation.state(8) == nil)
        guard case .pushPull(true, let told)? = conversation.replies.first?.messages.first else {
            Issue.record("\(conversation.replies)")
            return
        }
        #expect(told.map(\.claim.metadata.node.rawValue) == [1, 2, 3, 7])
        #expect((59...60).contains(told[1].ageSeconds) && told[3].ageSeconds == 60 && told[0].ageSeconds == 0)
        conversation.pass(.seconds(41), answering: true)
        #expect(conversation.state(2) == nil && conversation.state(7) == nil)
    }

    @Test("push-pull: what another part believes to be down is only suspected; unknown suspects are learned")
    func pushPullMerge() {
        var conversation = Conversation(members: 4)
        conversation.hear(
            [
                .pushPull(
                    isReply: false,
                    [
                        snapshot(claim(2), .down), snapshot(claim(3), .left),
                        snapshot(claim(4, incarnation: 3), .suspect),
                        snapshot(claim(5), .suspect), snapshot(claim(6), .alive), snapshot(claim(7), .down),
                    ]
                )
            ],
            from: 9,
            over: .stream,
            replyTo: 12
        )
        #expect((2...7).map { conversation.state($0) } == [.suspect, .left, .suspect, .suspect, .alive, .down])
        #expect(conversation.incarnation(4) == 3)
        #expect(conversation.replies.count == 1 && conversation.replies.first?.token == 12)
        // An answer is not answered.
        conversation.hear([.pushPull(isReply: true, [])], from: 9, over: .stream)
        #expect(conversation.replies.count == 1)
    }
}
