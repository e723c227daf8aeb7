import Admin
import Cluster
import EventLoops
import Locks
import OwnThread
import Primitives
import SWIM
import Testing

@testable import Node

@Suite(.ownThread) struct GossipTests {
    @Test("CL-01 five nodes that know one seed list five; news of each reach all; a goodbye is no failure")
    func fiveNodes() async throws {
        try await withGossip(["a", "b", "c", "d", "e"]) { nodes in
            let draining = try metadata("b", isDraining: true)
            try await nodes[1].onLoop { $0.update(draining) }
            for node in [nodes[0]] + nodes[2...] {
                #expect(await eventually { node.events.contains("updated b") })
                let seen = try await node.onLoop { $0.node.member(draining.node)?.metadata }
                #expect(seen == draining)
            }
            try await nodes[4].onLoop { $0.leave() }
            #expect(try await eventually { try await nodes[4].onLoop { $0.node.isLeft } })
            #expect(try await agree(Array(nodes[..<4]), on: ["a", "b", "c", "d"]))
            for node in nodes[..<4] {
                #expect(node.events.contains("left e"))
                #expect(!node.events.contains { $0.hasPrefix("suspected") || $0.hasPrefix("down") })
            }
            // Of what was sealed, all was opened.
            for node in nodes { #expect(try await node.statistics().refused == 0) }
        }
    }

    @Test("CL-01 a node that is killed is down for all, and joins again in its next life")
    func killed() async throws {
        try await withGossip(["a", "b", "c"], swim: .quick) { nodes in
            let started = MonotonicClock.now()
            try await nodes[2].stop()
            for node in nodes[..<2] {
                #expect(await eventually { node.events.contains("down c") })
                #expect(node.events.contains("suspected c"))
                #expect(try await node.live() == ["a", "b"])
            }
            #expect(MonotonicClock.now() - started >= .milliseconds(900), "down_after is the least")
            let again = try TestGossip("c", port: nodes[2].port, incarnation: 2, swim: .quick)
            try await again.start(seeds: ["127.0.0.1:\(nodes[1].port)"])
            #expect(try await agree([nodes[0], nodes[1], again], on: ["a", "b", "c"]))
            for node in nodes[..<2] {
                // The last word on it, after its death.
                let last = node.events.last { $0.hasSuffix(" c") }
                #expect(last == "joined c" || last == "recovered c" || last == "updated c")
            }
            try await again.stop()
        }
    }

    @Test("a seed may be a name, all of whose addresses are asked, and nodes that start before it find it")
    func names() async throws {
        let ports = freePorts(2)
        let a = try TestGossip("a", port: ports[0])
        let b = try TestGossip("b", port: ports[1])
        // localhost is ::1 too in most places, where nobody listens; nowhere.invalid is not at all (RFC 6761).
        let seeds = ["nowhere.invalid:1", "localhost:\(ports[0])"]
        try await b.start(seeds: seeds)
        let dialled = await eventually { (try? await b.statistics().streamsFailed) ?? 0 > 0 }
        #expect(dialled, "b asked before a was there")
        try await a.start(seeds: seeds)
        #expect(try await agree([a, b], on: ["a", "b"]))
        await #expect(throws: GossipError.address("a:b")) { try await a.onLoop { try $0.join(seeds: ["a:b"]) } }
        try await a.stop()
        try await b.stop()
    }

    @Test("over IPv6, and from a socket of both families to IPv4", arguments: [false, true])
    func families(isMixed: Bool) async throws {
        let ports = freePorts(2)
        let host = isMixed ? "127.0.0.1" : "::1"
        let a = try TestGossip("a", port: ports[0], host: host, bind: isMixed ? "::" : host, swim: .quick)
        let b = try TestGossip("b", port: ports[1], host: host, swim: .quick)
        for node in [a, b] { try await node.start(seeds: [isMixed ? "\(host):\(ports[0])" : "[::1]:\(ports[0])"]) }
        #expect(try await agree([a, b], on: ["a", "b"]))
        for node in [a, b] {
            let before = try await node.statistics().datagramsIn
            #expect(try await eventually { try await node.statistics().datagramsIn >= before + 10 })
            let other = GossipAddress(host: host, port: UInt16(ports[node === a ? 1 : 0]))
            #expect(try await node.onLoop { $0.members.contains { $0.address == other } })
        }
        try await a.stop()
        try await b.stop()
    }

    @Test("CL-19 a node with another secret, or of another cluster, gets in nowhere and is counted")
    func strangers() async throws {
        let ports = freePorts(4)
        let ring = try GossipKeyring([key(1)])
        let a = try TestGossip("a", port: ports[0], keyring: ring)
        let friend = try TestGossip("f", port: ports[1], keyring: ring)
        let thief = try TestGossip("t", port: ports[2], secret: "a guess")
        let other = try TestGossip("o", port: ports[3], label: "other", keyring: ring)
        for node in [a, friend, thief, other] { try await node.start(seeds: ["127.0.0.1:\(ports[0])"]) }
        #expect(try await agree([a, friend], on: ["a", "f"]))
        #expect(
            try await eventually {
                let counted = try await a.statistics()
                return counted[.unknownKey] >= 3 && counted[.foreign] >= 3
            },
            "they go on trying"
        )
        #expect(try await thief.live() == ["t"])
        #expect(try await other.live() == ["o"])
        #expect(try await a.live() == ["a", "f"])
        #expect(a.events == ["joined f"] && friend.events == ["joined a"])
        #expect(thief.events.isEmpty && other.events.isEmpty)
        let counters = try await a.counters()
        #expect(counters.decodeErrors == 0, "nothing of theirs was decoded")
        #expect(try await a.statistics()[.forged] == 0)
        // The keys are right, and the name is not: the other cluster does not listen either.
        let intruder = try RawSocket(port: ports[3], isDatagram: true)
        intruder.send(try GossipSeal(keyring: ring, label: "test").seal([1, 2, 3], for: .datagram))
        #expect(try await eventually { try await other.statistics()[.foreign] == 1 })
        for node in [a, friend, thief, other] { try await node.stop() }
    }

    @Test("without UDP members reach each other by TCP: nobody is marked down")
    func withoutDatagrams() async throws {
        var swim = SWIMSettings.quick
        swim.probeInterval = .milliseconds(600)
        swim.pingTimeout = .milliseconds(100)
        swim.downAfter = .seconds(5)
        try await withGossip(["a", "b", "c"], swim: swim) { nodes in
            try await nodes[2].onLoop { $0.closeDatagramSocket() }
            let c = try metadata("c").node
            #expect(
                try await eventually {
                    for node in nodes {
                        let needed: UInt64 = node.name == "c" ? 8 : 4
                        if try await node.counters().streamAcks < needed { return false }
                    }
                    return true
                }
            )
            for node in nodes {
                #expect(!node.events.contains { $0.hasPrefix("down") })
                #expect(try await node.live() == ["a", "b", "c"])
            }
            #expect(try await nodes[2].statistics().datagramsUnsent > 0)
            #expect(try await nodes[0].onLoop { $0.node.member(c)?.state.isLive } == true)
        }
    }

    @Test("a UDP socket that broke is opened again")
    func reopened() async throws {
        try await withGossip(["a", "b"], swim: .quick) { nodes in
            try await nodes[0].onLoop { $0.closeDatagramSocket(forGood: false) }
            let before = try await nodes[0].statistics().datagramsIn
            #expect(try await eventually { try await nodes[0].statistics().datagramsIn >= before + 10 })
            #expect(!nodes.contains { $0.events.contains { $0.hasPrefix("down") } })
        }
    }

    @Test("CL-18 what one counts as sent the other counts as received")
    func figures() async throws {
        try await withGossip(["a", "b"]) { nodes in
            let (a, b) = (nodes[0], nodes[1])
            #expect(try await eventually { try await a.statistics().datagramsOut >= 5 })
            await a.gossip.stop()
            let sent = try await a.statistics()
            let arriving = sent.datagramsOut - sent.datagramsUnsent
            #expect(try await eventually { try await b.statistics().datagramsIn == arriving })
            let received = try await b.statistics()
            #expect(received.datagramBytesIn == sent.datagramBytesOut)
            #expect(received.framesIn == sent.framesOut && received.streamBytesIn == sent.streamBytesOut)
            #expect(sent.framesOut > 0 && sent.datagramsIn > 0)
            let counters = try await a.counters()
            #expect(counters.packetsOut == sent.datagramsOut)
            let overhead = UInt64(GossipSeal.overhead)
            #expect(sent.datagramBytesOut == counters.packetBytesOut + overhead * counters.packetsOut)

            let figures = try await b.onLoop { NodeReport.GossipFigures($0) }
            var text = PrometheusText()
            NodeReport.gossipFamilies(&text, node: "b", figures)
            let lines = text.text.split(separator: "\n")
            let bytes = figures.statistics.datagramBytesIn
            #expect(lines.contains("gossip_bytes_in_total{node=\"b\",over=\"datagram\"} \(bytes)"))
            #expect(lines.contains("gossip_refused_total{node=\"b\",reason=\"unknown_key\"} 0"))
            #expect(figures.members.count == 2 && lines.contains { $0.hasPrefix("gossip_members{node=\"b\"") })
        }
    }
}

/// What a stranger on the gossip's port can do: nothing to anyone but itself.
@Suite(.ownThread) struct GossipAttackTests {
    /// Datagrams as a member would send them, before they are sealed.
    private func genuine(to port: Int) throws -> [[UInt8]] {
        var now = Instant.zero + .seconds(100)
        var node = SWIMNode(
            metadata: try metadata("z"),
            address: try required(GossipAddress(host: "127.0.0.1", port: 9)),
            incarnation: 1,
            seed: 1,
            now: now
        )
        node.join([try required(GossipAddress(host: "127.0.0.1", port: UInt16(port)))], now: now)
        var packets: [[UInt8]] = []
        for _ in 0..<100 {
            now = now + .milliseconds(50)
            node.tick(now: now)
            for case .send(let bytes, _, _) in node.directives { packets.append(bytes) }
            node.directives.removeAll()
        }
        return packets
    }

    @Test("garbage, cut and changed packets are counted, and nobody notices them", arguments: [true, false])
    func garbage(isDatagram: Bool) async throws {
        try await withGossip(["a", "b"]) { nodes in
            let target = nodes[1]
            let before = nodes.map(\.events)
            let seal = try GossipSeal(
                keyring: GossipKeyring(configured: "", secret: Array("a secret of the cluster".utf8), cluster: "test"),
                label: "test"
            )
            let messages = try genuine(to: target.port)
            #expect(!messages.isEmpty)
            var random = Xoshiro256(seed: 7)
            let rounds = isDatagram ? 3000 : 300
            var datagrams = try RawSocket(port: target.port, isDatagram: true)
            for round in 1...rounds {
                var packet = try seal.seal(
                    messages[Int(random.below(UInt64(messages.count)))],
                    for: isDatagram ? .datagram : .stream
                )
                switch random.below(4) {
                case 0: packet = (0..<random.below(1500)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                case 1: packet.removeLast(Int(random.below(UInt64(packet.count)) + 1))
                case 2: packet += [UInt8](repeating: 0, count: 2000)
                default: packet[Int(random.below(UInt64(packet.count)))] ^= 1 << UInt8(random.below(8))
                }
                if isDatagram {
                    datagrams.send(packet)
                    // The kernel drops what does not fit into the socket's buffer.
                    if round % 50 == 0 {
                        #expect(try await eventually { try await target.statistics().refused >= UInt64(round) })
                        datagrams = try RawSocket(port: target.port, isDatagram: true)
                    }
                } else {
                    var frame = ByteWriter()
                    frame.write(UInt32(packet.count))
                    frame.writeRaw(packet)
                    // Long enough to be judged.
                    frame.writeRaw([UInt8](repeating: 0, count: 64))
                    let socket = try RawSocket(port: target.port, isDatagram: false)
                    socket.send(frame.bytes)
                    #expect(socket.receiveAll().isEmpty)
                }
            }
            #expect(try await eventually { try await target.statistics().refused == UInt64(rounds) })
            let counted = try await target.statistics()
            #expect(counted[.malformed] > 0 && counted[.forged] > 0)
            #expect(try await target.counters().decodeErrors == 0)
            for (node, events) in zip(nodes, before) {
                #expect(node.events == events)
                #expect(try await node.live() == ["a", "b"])
            }
            // What is sealed and means nothing does not get further than the core's decoder.
            try RawSocket(port: target.port, isDatagram: true).send(try seal.seal([2, 2, 3], for: .datagram))
            #expect(try await eventually { try await target.counters().decodeErrors == 1 })
        }
    }

    @Test("silent connections are dropped, a flood of them pushes out only itself, and others join meanwhile")
    func flood() async throws {
        var settings = GossipSettings()
        settings.maxStreams = 8
        settings.streamTimeout = .milliseconds(1500)
        try await withGossip(["a"], settings: settings) { nodes in
            var flood: [RawSocket] = []
            for _ in 0..<60 { flood.append(try RawSocket(port: nodes[0].port, isDatagram: false)) }
            let b = try TestGossip("b", port: freePorts(1)[0])
            try await b.start(seeds: ["127.0.0.1:\(nodes[0].port)"])
            #expect(try await agree([nodes[0], b], on: ["a", "b"]))
            for socket in flood { #expect(socket.receiveAll().isEmpty) }
            #expect(try await eventually { try await nodes[0].statistics().streamsDropped >= 60 })
            try await b.stop()
        }
    }
}

@Suite(.ownThread) struct RotationTests {
    @Test("CL-19 keys are changed on live nodes: no packet is refused, nobody is suspected")
    func rotation() async throws {
        try await withGossip(["a", "b", "c"]) { nodes in
            let old = await nodes[0].gossip.keyring().primary
            let new = try key(9)
            var connections: UInt32 = 0
            /// Something that every node must hear from every other one, sealed as it is now.
            func talk() async throws {
                connections += 1
                for node in nodes {
                    let news = try metadata(node.name, connections: connections, isDraining: connections % 2 == 1)
                    try await node.onLoop { $0.update(news) }
                }
                let expected = connections
                #expect(
                    try await eventually {
                        for node in nodes {
                            let heard = try await node.onLoop { $0.members.map(\.metadata.connections) }
                            if heard != [expected, expected, expected] { return false }
                        }
                        return true
                    }
                )
            }
            try await talk()
            for node in nodes {
                #expect(try await node.gossip.change(.install(new)).keys == [old, new])
                try await talk()
            }
            for node in nodes {
                #expect(try await node.gossip.change(.use(new.fingerprint)).primary == new)
                try await talk()
            }
            for node in nodes {
                #expect(try await node.gossip.change(.remove(old.fingerprint)).keys == [new])
                try await talk()
            }
            for node in nodes {
                #expect(try await node.statistics().refused == 0)
                #expect(!node.events.contains { $0.hasPrefix("suspected") || $0.hasPrefix("down") })
                // Each step is in the file before it is in use.
                let kept = try node.seen { $0.kept }.map { try GossipKeyring(decoding: $0).keys }
                #expect(kept == [[old, new], [new, old], [new]])
            }
            // Who missed it has the old key only, and is a stranger.
            let late = try TestGossip("d", port: freePorts(1)[0])
            try await late.start(seeds: ["127.0.0.1:\(nodes[0].port)"])
            #expect(try await eventually { try await nodes[0].statistics()[.unknownKey] > 0 })
            #expect(try await late.live() == ["d"])
            _ = try await late.gossip.change(.install(new))
            _ = try await late.gossip.change(.use(new.fingerprint))
            #expect(try await agree(nodes + [late], on: ["a", "b", "c", "d"]))
            try await late.stop()
        }
    }

    @Test("a keyring that cannot be written stays as it was, and changes come one by one")
    func files() async throws {
        let a = try TestGossip("a", port: freePorts(1)[0])
        try await a.start()
        let old = await a.gossip.keyring()
        a.seen { $0.mustFailToKeep = true }
        await #expect(throws: GossipError.notKept("FullDisk()")) { try await a.gossip.change(.install(key(2))) }
        #expect(await a.gossip.keyring() == old)
        a.seen {
            $0.mustFailToKeep = false
            $0.mustHold = true
        }
        async let first = a.gossip.change(.install(key(2)))
        #expect(await eventually { a.seen { $0.held.count } == 1 })
        await #expect(throws: GossipError.busy) { try await a.gossip.change(.install(key(3))) }
        let done = try #require(a.seen { $0.held.first })
        done(nil)
        #expect(try await first.keys.count == 2)
        await #expect(throws: GossipError.keyring(.isPrimary(old.primary.fingerprint))) {
            try await a.gossip.change(.remove(old.primary.fingerprint))
        }
        await a.gossip.stop()
        await #expect(throws: GossipError.stopped) { try await a.gossip.change(.install(key(4))) }
        try await a.stop()
    }
}
