import OwnThread
import Primitives
import SWIM
import Testing

@Suite("Simulated clusters", .ownThread(nice: 5))
struct ClusterSimulationTests {
    private func cluster(_ count: Int, seed: UInt64, settings: SWIMSettings = SWIMSettings()) -> VirtualNetwork {
        let network = VirtualNetwork(count, seed: seed, settings: settings)
        network.startAll()
        return network
    }

    /// All nodes know each other, and nothing of the beginning is still gossiped.
    private func settled(_ count: Int, seed: UInt64, settings: SWIMSettings = SWIMSettings()) -> VirtualNetwork {
        let network = cluster(count, seed: seed, settings: settings)
        expect(network.run(within: .seconds(60)) { network.allAgree() } != nil)
        network.run(for: .seconds(10))
        return network
    }

    @Test("CL-01 five nodes that join by one seed agree in less than 5 s, whoever starts first")
    func join() throws {
        var slowest = Interval.zero
        for seed in UInt64(1)...30 {
            let network = VirtualNetwork(5, seed: seed)
            network.loss = seed % 3 * 5
            network.repeats = seed % 2 * 10
            // The seed itself comes third.
            for place in [3, 1, 0, 2, 4] {
                network.start(place, seeds: [0])
                network.run(for: .milliseconds(200))
            }
            let took = try #require(network.run(within: .seconds(5)) { network.allAgree() }, "seed \(seed)")
            slowest = max(slowest, took)
            #expect(network.downs().isEmpty)
        }
        #expect(slowest < .seconds(5))
    }

    @Test("CL-01 a node that leaves has left for everyone at once, and comes back under the same identity")
    func leaveAndRejoin() {
        for seed in UInt64(1)...10 {
            let network = settled(5, seed: seed)
            network.enter(4) { [now = network.now] in $0.leave(now: now) }
            expect(network.run(within: .seconds(5)) { network.node(4).isLeft } != nil)
            network.kill(4)
            expect(
                network.run(within: .seconds(2)) { (0...3).allSatisfy { network.state(of: 4, at: $0) == .left } } != nil
            )
            network.run(for: .seconds(20))
            // A lower incarnation than the last: it finds out.
            network.start(4, seeds: [2], incarnation: 0)
            expect(network.run(within: .seconds(5)) { network.allAgree() } != nil)
            #expect(network.downs().isEmpty && network.suspicions() == 0)
        }
    }

    @Test("CL-02 a frozen node is down everywhere after about 5 s; it comes back when it goes on")
    func freeze() throws {
        for seed in UInt64(1)...20 {
            let network = settled(5, seed: seed)
            let begin = network.now
            network.freeze(4)
            let isDown = { (0...3).allSatisfy { network.state(of: 4, at: $0) == .down } }
            let took = try #require(network.run(within: .seconds(10), until: isDown), "seed \(seed)")
            let first = try #require(network.downs(since: begin).first)
            #expect(first.at - begin >= .milliseconds(4_790) && took <= .milliseconds(7_500), "seed \(seed): \(took)")
            network.run(for: .seconds(10))
            network.resume(4)
            expect(network.run(within: .seconds(5)) { network.allAgree() } != nil)
            #expect(Set(network.downs(since: begin).map(\.place)) == [4])
            #expect(network.node(4).counters.pauses >= 1)
        }
    }

    @Test("CL-02 a pause of 1 s never marks anybody down, however often")
    func pauses() {
        for seed in UInt64(1)...10 {
            var random = Xoshiro256(seed: seed)
            let network = settled(5, seed: seed)
            for _ in 0..<60 {
                network.pause(Int(random.below(5)), for: .seconds(1))
                network.run(for: .milliseconds(1_000 + random.below(1_500)))
            }
            #expect(network.downs().isEmpty, "seed \(seed)")
            expect(network.run(within: .seconds(10)) { network.allAgree() } != nil)
        }
    }

    @Test("CL-10 one-way loss between two nodes is bridged by the others: no suspicion, no flapping")
    func oneWay() {
        for seed in UInt64(1)...10 {
            let network = settled(5, seed: seed)
            network.cut(from: 1, to: 3)
            if seed % 2 == 0 { network.cut(from: 3, to: 1) }
            let before = network.observations.count
            network.run(for: .seconds(120))
            #expect(network.observations.count == before, "seed \(seed)")
            #expect(network.allAgree())
            #expect(network.node(1).counters.indirectProbes > 0 && network.node(1).counters.failedProbes == 0)
        }
    }

    @Test("CL-10 a node that only sends, or only receives, goes down once, takes nobody along, and comes back")
    func deafOrMute() {
        for seed in UInt64(1)...10 {
            let network = settled(5, seed: seed)
            let begin = network.now
            for place in 0...3 {
                if seed % 2 == 0 { network.cut(from: place, to: 4) } else { network.cut(from: 4, to: place) }
            }
            network.run(for: .seconds(60))
            #expect((0...3).allSatisfy { network.state(of: 4, at: $0) == .down }, "seed \(seed)")
            let downs = network.downs(since: begin).filter { $0.observer != 4 }
            #expect(downs.count == 4 && downs.allSatisfy { $0.place == 4 }, "seed \(seed): \(downs)")
            let before = network.observations.count
            network.run(for: .seconds(60))
            #expect(network.observations.count == before, "seed \(seed)")
            network.heal()
            expect(network.run(within: .seconds(30)) { network.allAgree() } != nil)
        }
    }

    @Test("CL-09 a partition heals: the lists merge, whatever each side believed")
    func partition() throws {
        for seed in UInt64(1)...20 {
            let network = settled(5, seed: seed)
            network.partition([[0, 1, 2], [3, 4]])
            network.run(for: .seconds(seed % 2 == 0 ? 20 : 120))
            #expect((0...2).allSatisfy { network.state(of: 3, at: $0) == .down })
            #expect((3...4).allSatisfy { network.state(of: 0, at: $0) == .down })
            #expect(network.state(of: 4, at: 3) == .alive && network.state(of: 1, at: 2) == .alive)
            network.heal()
            let healed = network.now
            let took = try #require(network.run(within: .seconds(60)) { network.allAgree() }, "seed \(seed)")
            #expect(took <= .seconds(30))
            #expect(network.downs(since: healed).isEmpty, "seed \(seed)")
        }
    }

    @Test("CL-01 two clusters whose seeds could not reach each other find together")
    func separateBeginnings() {
        for seed in UInt64(1)...10 {
            let network = VirtualNetwork(6, seed: seed)
            network.partition([[0, 1, 2], [3, 4, 5]])
            for place in 0..<6 { network.start(place, seeds: [0, 3]) }
            network.run(for: .seconds(40))
            #expect(!network.allAgree())
            network.heal()
            expect(network.run(within: .seconds(30)) { network.allAgree() } != nil)
        }
    }

    @Test("CL-02 a process that dies is down everywhere, and returns with a lower incarnation than it had")
    func restart() {
        for seed in UInt64(1)...10 {
            let network = settled(5, seed: seed)
            network.kill(2)
            expect(
                network.run(within: .seconds(10)) { [0, 1, 3, 4].allSatisfy { network.state(of: 2, at: $0) == .down } }
                    != nil
            )
            network.start(2, seeds: [0])
            expect(network.run(within: .seconds(5)) { network.allAgree() } != nil)
            #expect(network.node(0).member(NodeID(3))?.incarnation ?? 0 > 1)
            // Gone for a shorter time than anyone notices.
            network.kill(2)
            network.run(for: .milliseconds(300))
            network.start(2, seeds: [0])
            expect(network.run(within: .seconds(10)) { network.allAgree() } != nil)
        }
    }

    @Test("CL-23 any node answers for all: metadata at once, hints after two rounds of probes at the latest")
    func metadata() {
        for seed in UInt64(1)...10 {
            let network = settled(9, seed: seed)
            func change(_ body: (inout MemberMetadata) -> Void) {
                for place in 0..<9 {
                    network.enter(place) { [now = network.now] node in
                        var metadata = node.me.metadata
                        body(&metadata)
                        node.update(metadata, now: now)
                    }
                }
            }
            func knows(_ condition: (MemberMetadata) -> Bool) -> Bool {
                (0..<9).allSatisfy { network.node($0).members.allSatisfy { condition($0.metadata) } }
            }
            change { $0.isDraining = true }
            expect(network.run(within: .seconds(3)) { knows { $0.isDraining } } != nil)
            change { metadata in
                metadata.connections = UInt32(metadata.node.rawValue) * 1_000
                metadata.placementEpoch = 7
            }
            expect(
                network.run(within: .milliseconds(2 * 8 * 500 + 100)) {
                    knows { $0.connections == UInt32($0.node.rawValue) * 1_000 && $0.placementEpoch == 7 }
                } != nil
            )
        }
    }

    @Test("CL-10 random faults together, then quiet: all agree again and the same seed gives the same run")
    func swarm() {
        func run(_ seed: UInt64) -> (VirtualNetwork, Bool) {
            var random = Xoshiro256(seed: seed)
            let network = settled(7, seed: seed)
            for _ in 0..<25 {
                let place = Int(random.below(7))
                switch random.below(8) {
                case 0: network.loss = random.below(40)
                case 1: network.repeats = random.below(40)
                case 2: network.delay = 100...(1_000 + random.below(150_000))
                case 3: network.pause(place, for: .milliseconds(random.below(9_000)))
                case 4: network.cut(from: place, to: Int(random.below(7)))
                case 5: network.partition([[0, 1, 2, 3, 4, 5, 6].filter { _ in random.chance(1, in: 2) }, [place]])
                case 6:
                    network.kill(place)
                    network.run(for: .milliseconds(random.below(9_000)))
                    network.start(place, seeds: [0, 1, 2])
                default: network.heal()
                }
                network.run(for: .milliseconds(random.below(4_000)))
            }
            network.heal()
            network.loss = 0
            network.delay = 100...2_000
            network.run(for: .seconds(10))
            return (network, network.run(within: .seconds(90)) { network.allAgree() } != nil)
        }
        for seed in UInt64(1)...25 {
            let (network, isHealed) = run(seed)
            #expect(isHealed, "seed \(seed)")
            guard seed == 1 else { continue }
            let again = run(seed).0
            #expect(network.observations.map { "\($0)" } == again.observations.map { "\($0)" })
            #expect((0..<7).allSatisfy { network.node($0).counters == again.node($0).counters })
        }
    }
}
