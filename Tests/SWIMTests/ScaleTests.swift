import OwnThread
import Primitives
import SWIM
import Testing

/// What a node sends per second, in the mean of all nodes.
private struct Traffic {
    let datagramBytes: Double
    let packets: Double
    let frameBytes: Double
    let mostDatagramBytes: Double

    /// Runs the network for `interval` and looks at what that adds.
    static func measure(_ network: VirtualNetwork, for interval: Interval, each step: (Interval, () -> Void)? = nil)
        -> Traffic
    {
        let before = network.running.map { network.node($0).counters }
        let end = network.now + interval
        while network.now < end {
            step?.1()
            network.run(for: step?.0 ?? interval)
        }
        let after = network.running.map { network.node($0).counters }
        func rates(_ count: (SWIMCounters) -> UInt64) -> [Double] {
            zip(before, after).map { Double(count($1) - count($0)) / interval.seconds }
        }
        func mean(_ count: (SWIMCounters) -> UInt64) -> Double { rates(count).reduce(0, +) / Double(before.count) }
        return Traffic(
            datagramBytes: mean(\.packetBytesOut),
            packets: mean(\.packetsOut),
            frameBytes: mean(\.frameBytesOut),
            mostDatagramBytes: rates(\.packetBytesOut).max() ?? 0
        )
    }
}

@Suite("Clusters by size", .serialized, .ownThread(nice: 5))
struct ScaleTests {
    private func settled(_ count: Int, seed: UInt64, settings: SWIMSettings = SWIMSettings()) -> VirtualNetwork {
        let network = VirtualNetwork(count, seed: seed, settings: settings)
        network.startAll()
        expect(network.run(within: .seconds(60)) { network.allAgree() } != nil)
        network.run(for: .seconds(15))
        return network
    }

    @Test("gossip bytes per node do not grow with the cluster: 3, 5, 9 and 100 nodes at rest and with changing load")
    func traffic() {
        for count in [3, 5, 9, 100] {
            let network = settled(count, seed: 7)
            let rest = Traffic.measure(network, for: .seconds(60))
            var random = Xoshiro256(seed: 5)
            // Every node has other hints each second.
            let busy = Traffic.measure(
                network,
                for: .seconds(60),
                each: (
                    .seconds(1),
                    {
                        for place in network.running {
                            let connections = UInt32(random.below(100_000))
                            network.enter(place) { [now = network.now] node in
                                var metadata = node.me.metadata
                                metadata.connections = connections
                                node.update(metadata, now: now)
                            }
                        }
                    }
                )
            )
            func text(_ value: Double) -> String { String(Int(value.rounded())) }
            print(
                """
                gossip per node and second, \(count) nodes: at rest \(text(rest.datagramBytes)) bytes in \
                \(text(rest.packets)) datagrams (most of a node: \(text(rest.mostDatagramBytes))), push-pull \
                \(text(rest.frameBytes)) bytes; with changing load \(text(busy.datagramBytes)) bytes in \
                \(text(busy.packets)) datagrams, push-pull \(text(busy.frameBytes)) bytes
                """
            )
            #expect(network.suspicions() == 0)
            // The same bounds whatever the size: two pings of 34 bytes and two acks of 26, more with larger numbers.
            #expect(rest.datagramBytes < 130 && rest.mostDatagramBytes < 150)
            #expect(busy.datagramBytes < 140 && busy.mostDatagramBytes < 160)
            // Rare and proportional to the list: measured apart.
            #expect(rest.frameBytes < 20 * Double(count))
        }
    }

    @Test("CL-01 CL-02 a hundred nodes agree after joining by one seed, and know of a death within a bound")
    func hundred() throws {
        let network = VirtualNetwork(100, seed: 3)
        network.loss = 1
        network.startAll()
        let joined = try #require(network.run(within: .seconds(20)) { network.allAgree() })
        network.run(for: .seconds(5))
        let begin = network.now
        network.kill(57)
        let others = network.running
        let took = try #require(
            network.run(within: .seconds(20)) { others.allSatisfy { network.state(of: 57, at: $0) == .down } }
        )
        let downs = network.downs(since: begin)
        let first = try #require(downs.first)
        print(
            "100 nodes: joined in \(joined.milliseconds) ms; a death is known to the first after "
                + "\((first.at - begin).milliseconds) ms and to all after \(took.milliseconds) ms"
        )
        #expect(first.at - begin >= .milliseconds(4_700) && took <= .seconds(12))
        #expect(downs.count == 99 && Set(downs.map(\.place)) == [57])
    }

    @Test("Lifeguard: a hundred nodes, 10 % loss and slow nodes: nobody is down, and local health spares the healthy")
    func falsePositives() {
        func run(_ settings: SWIMSettings) -> (downs: Int, suspicions: Int, network: VirtualNetwork) {
            let network = settled(100, seed: 11, settings: settings)
            network.loss = 10
            let slow = [10, 30, 50, 70, 90]
            for place in slow { network.slowness[place] = 200_000...900_000 }
            // They need a while to notice.
            network.run(for: .seconds(15))
            let begin = network.now
            var random = Xoshiro256(seed: 2)
            for _ in 0..<12 {
                // Some of the slow ones do not run at all for a while.
                network.pause(slow[Int(random.below(5))], for: .milliseconds(300 + random.below(1_200)))
                network.run(for: .seconds(3))
            }
            let accused = network.running.filter { !slow.contains($0) }
            let blamed = network.observations.count {
                guard case .suspected(let member) = $0.event, $0.at >= begin else { return false }
                return accused.contains(Int(member.node.rawValue) - 1)
            }
            return (network.downs(since: begin).count, blamed, network)
        }
        let withLifeguard = run(SWIMSettings())
        var planted = SWIMSettings()
        planted.maxHealthMultiplier = 1
        let without = run(planted)
        print(
            "100 nodes, 10 % loss, 5 slow, 36 s: \(withLifeguard.downs) down and \(withLifeguard.suspicions) "
                + "suspicions of healthy nodes with local health, \(without.downs) and \(without.suspicions) without"
        )
        #expect(withLifeguard.downs == 0)
        #expect(withLifeguard.suspicions * 2 < without.suspicions)
    }
}
