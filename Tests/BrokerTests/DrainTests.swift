import Broker
import OwnThread
import Primitives
import Rooms
import Testing

@Suite struct DrainTests {
    private static func at(_ milliseconds: UInt64) -> Instant {
        Instant(nanoseconds: 5_000_000_000) + .milliseconds(milliseconds)
    }

    private static let plan = Drain.Plan(budget: .seconds(30), spread: .seconds(12))

    /// A node whose clients go as soon as they are told; with the time of each directive.
    private static func run(
        _ plan: Drain.Plan,
        clients: Int,
        stubborn: Int = 0,
        ledUntil: UInt64 = 0
    ) -> (drain: Drain, log: [(UInt64, Drain.Directive)], peak: Int) {
        var drain = Drain()
        var directives: [Drain.Directive] = []
        drain.begin(plan, now: at(0), into: &directives)
        var log = directives.map { (UInt64(0), $0) }
        var left = clients
        var perSecond: [UInt64: Int] = [:]
        for time in stride(from: UInt64(0), through: plan.budget.milliseconds + 1000, by: 20) {
            guard drain.phase != .empty else { break }
            directives = []
            let load = Drain.Load(leaderships: time < ledUntil ? 3 : 0, clients: left)
            drain.step(load, now: at(time), into: &directives)
            for directive in directives {
                log.append((time, directive))
                switch directive {
                case .move(let count):
                    let gone = min(count, left - stubborn)
                    left -= gone
                    perSecond[time / 1000, default: 0] += gone
                case .cut: left = 0
                case .retire, .serve: break
                }
            }
        }
        return (drain, log, perSecond.values.max() ?? 0)
    }

    @Test("LB-07 leaderships go first, then clients evenly over the spread, and the node is empty within the budget")
    func order() throws {
        let (drain, log, peak) = Self.run(Self.plan, clients: 48_000, ledUntil: 500)
        #expect(drain.phase == .empty && !drain.wasCut)
        #expect(log.first?.1 == .retire)
        let moves = log.filter { if case .move = $0.1 { true } else { false } }
        #expect(moves.first!.0 > 500, "nobody goes while something is led")
        #expect(moves.last!.0 >= 12_000 && moves.last!.0 <= 12_600)
        #expect(peak <= 4200, "48,000 over 12 s are 4,000 a second, not \(peak)")
    }

    @Test("LB-07 few clients do not wait for the spread")
    func few() throws {
        let (drain, log, _) = Self.run(Self.plan, clients: 10)
        #expect(drain.phase == .empty)
        #expect(log.last!.0 <= 100)
    }

    @Test("LB-07 leaderships that nobody takes hold clients up for half the budget")
    func stuckLeaderships() throws {
        let (drain, log, _) = Self.run(Self.plan, clients: 100, ledUntil: .max)
        #expect(drain.phase == .empty && !drain.wasCut)
        let first = try #require(log.dropFirst().first)
        #expect((15_000...15_100).contains(first.0))
    }

    @Test("LB-07 GW-09 who is still there when the budget is over is cut, once")
    func cut() throws {
        let (drain, log, _) = Self.run(Self.plan, clients: 100, stubborn: 2)
        #expect(drain.phase == .empty && drain.wasCut)
        #expect(log.filter { $0.1 == .cut }.map(\.0) == [30_000])
    }

    @Test("LB-07 the node's end does not wait for a long drain: from then on the usual budget is all there is")
    func hastened() {
        var drain = Drain()
        var directives: [Drain.Directive] = []
        drain.begin(Drain.Plan(budget: .seconds(3600), spread: .seconds(1800)), now: Self.at(0), into: &directives)
        drain.step(Drain.Load(clients: 10_000), now: Self.at(1000), into: &directives)
        drain.hasten(within: .seconds(30), now: Self.at(60_000))
        drain.step(Drain.Load(clients: 5), now: Self.at(89_000), into: &directives)
        #expect(!drain.wasCut)
        drain.step(Drain.Load(clients: 5), now: Self.at(90_000), into: &directives)
        #expect(drain.wasCut)
    }

    @Test("a budget of nothing cuts at once, and an empty node is empty at once")
    func nothing() throws {
        let (drain, log, _) = Self.run(Drain.Plan(budget: .zero, spread: .zero), clients: 5)
        #expect(drain.phase == .empty && log.map(\.1) == [.retire, .cut])
        #expect(Self.run(Self.plan, clients: 0).drain.phase == .empty)
    }

    @Test("a drain can be called off at any moment and begun again; one under way keeps its plan")
    func cancel() throws {
        var drain = Drain()
        var directives: [Drain.Directive] = []
        drain.cancel(into: &directives)
        #expect(directives.isEmpty)
        drain.begin(Self.plan, now: Self.at(0), into: &directives)
        drain.begin(Drain.Plan(budget: .zero, spread: .zero), now: Self.at(10), into: &directives)
        #expect(drain.plan == Self.plan && directives == [.retire])
        drain.step(Drain.Load(clients: 9), now: Self.at(20), into: &directives)
        #expect(drain.phase == .movingClients)
        drain.cancel(into: &directives)
        #expect(drain.phase == .serving && directives.last == .serve)
        let count = directives.count
        drain.step(Drain.Load(clients: 9), now: Self.at(30), into: &directives)
        #expect(directives.count == count)
        drain.begin(Self.plan, now: Self.at(40), into: &directives)
        #expect(drain.phase == .handingOver && directives.last == .retire)
    }
}

@Suite(.ownThread(nice: 5)) struct ResignationTests {
    @Test("LB-07 a node that resigns soon leads nothing, is given nothing back, and all that is published is kept")
    func resign() throws {
        let cluster = try MiniCluster(partitions: 8)
        cluster.run(milliseconds: 500)
        let rooms = (0..<16).map { "room-\($0)" }
        let leaver = try #require(cluster.owner(of: rooms[0]))
        let publisher = MiniClient(cluster, on: leaver % 3 + 1)
        let reader = MiniClient(cluster, on: (leaver + 1) % 3 + 1)
        for room in rooms { reader.subscribe(room) }
        cluster.run(milliseconds: 50)
        let led = cluster.broker(leaver).leadershipsToHandOver
        #expect(led > 0)

        cluster.broker(leaver).resign()
        var commands: [UInt64] = []
        for round in 0..<30 {
            for room in rooms { commands.append(publisher.publish(room, "\(round)")) }
            cluster.run(milliseconds: 10)
        }
        #expect(cluster.broker(leaver).leadershipsToHandOver == 0)
        #expect(rooms.allSatisfy { cluster.owner(of: $0) ?? leaver != leaver })
        // Long enough for the others to want to give back what it is preferred for.
        cluster.run(milliseconds: 70_000)
        #expect(rooms.allSatisfy { cluster.owner(of: $0) ?? leaver != leaver })
        MiniClient.deliver(cluster, [publisher, reader])
        for command in commands {
            guard case .success = publisher.published[command] else {
                Issue.record("publish \(command): \(String(describing: publisher.published[command]))")
                continue
            }
        }
        for room in rooms { #expect(reader.received[room]?.map(\.text) == (0..<30).map(String.init)) }

        cluster.broker(leaver).standAgain()
        cluster.run(milliseconds: 10_000)
        #expect(cluster.broker(leaver).leadershipsToHandOver >= led / 2, "its own come back")
    }

    @Test("LB-07 nodes that leave at the same time do not hand over to each other")
    func together() throws {
        let cluster = try MiniCluster(partitions: 8)
        cluster.run(milliseconds: 500)
        cluster.broker(1).resign()
        cluster.broker(2).resign()
        cluster.run(milliseconds: 2000)
        #expect(cluster.broker(1).leadershipsToHandOver == 0 && cluster.broker(2).leadershipsToHandOver == 0)
        #expect((0..<16).allSatisfy { cluster.owner(of: "room-\($0)") == 3 })
        // The last one has nobody left and keeps what it has.
        cluster.broker(3).resign()
        cluster.run(milliseconds: 2000)
        #expect(cluster.broker(3).leadershipsToHandOver == 0)
        #expect((0..<16).allSatisfy { cluster.owner(of: "room-\($0)") == 3 })
    }

    @Test("LB-07 a node that comes back is told who has resigned")
    func told() throws {
        let cluster = try MiniCluster(partitions: 8)
        cluster.run(milliseconds: 500)
        cluster.broker(1).resign()
        cluster.run(milliseconds: 500)
        cluster.disconnect(1, 2)
        cluster.run(milliseconds: 200)
        cluster.connect(1, 2)
        cluster.run(milliseconds: 20_000)
        #expect((0..<16).allSatisfy { cluster.owner(of: "room-\($0)") ?? 1 != 1 })
    }
}
