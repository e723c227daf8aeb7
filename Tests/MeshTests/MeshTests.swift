import Cluster
import EventLoops
import Glibc
import OwnThread
import PeerProtocol
import Primitives
import Rooms
import Testing

@Suite(.ownThread) struct MeshTests {
    /// Sends `count` numbers from `node`, a thousand a tick.
    private func sendNumbers(_ node: TestNode, to: NodeID, count: UInt64) async throws {
        for start in stride(from: 0, to: count, by: 1000) {
            try await node.onLoop { mesh in
                for value in start..<min(count, start + 1000) { mesh.send(to: to, number(value)) }
            }
        }
    }

    @Test("CL-18 two nodes connect, 100,000 small messages cross each way in order, and the figures agree")
    func twoNodes() async throws {
        let (a, b, _) = try await pair()
        #expect(try await bothUp(a, b))
        let count: UInt64 = 100_000
        async let forth: Void = sendNumbers(a, to: b.identity.node, count: count)
        async let back: Void = sendNumbers(b, to: a.identity.node, count: count)
        _ = try await (forth, back)
        let all = Array(0..<count)
        #expect(await eventually { b.seen { $0.numbers[NodeID(97)]?.count ?? 0 } == count })
        #expect(await eventually { a.seen { $0.numbers[NodeID(98)]?.count ?? 0 } == count })
        #expect(b.seen { $0.numbers[NodeID(97)] } == all)
        #expect(a.seen { $0.numbers[NodeID(98)] } == all)

        let out = try await a.onLoop { $0.linkStatistics }[0]
        let inward = try await b.onLoop { $0.linkStatistics }[0]
        #expect(out.name == "b" && out.node == b.identity.node && out.connects == 1)
        #expect(out.messagesOut == count && inward.messagesIn == count)
        #expect(out.messagesIn == count && inward.messagesOut == count)
        var writer = ByteWriter()
        for value in 0..<count { number(value).encode(into: &writer) }
        let payload = UInt64(writer.count)
        // The dialler counts the handshake, the acceptor does not know yet whose it is.
        #expect(out.bytesOut >= payload && out.bytesOut < payload + 512)
        #expect(inward.bytesIn >= payload && inward.bytesIn <= out.bytesOut)
        #expect(out.queuedBytes == 0)
        try await a.stop()
        try await b.stop()
    }

    @Test("three nodes form a full mesh, whoever starts first")
    func threeNodes() async throws {
        let ports = freePorts(3)
        let names = ["x1", "x2", "x3"]
        let peers = zip(names, ports).map { peer($0, $1) }
        var nodes: [TestNode] = []
        for index in [2, 0, 1] {
            let node = TestNode(identity(names[index], node: UInt64(index + 1)), port: ports[index], peers: peers)
            _ = try await node.mesh.start()
            nodes.append(node)
        }
        for a in nodes {
            for b in nodes where a !== b { #expect(try await bothUp(a, b)) }
        }
        for a in nodes {
            for b in nodes where a !== b { try await sendNumbers(a, to: b.identity.node, count: 500) }
        }
        for a in nodes {
            for b in nodes where a !== b {
                let from = b.identity.node
                #expect(await eventually { a.seen { $0.numbers[from]?.count } == 500 })
            }
        }
        for node in nodes {
            #expect(node.seen { $0.ups.sorted() } == names.filter { $0 != node.identity.name })
            try await node.stop()
        }
    }

    @Test(
        "CL-19 a wrong secret, cluster or version is refused with its reason on both sides",
        arguments: ["secret", "cluster", "version"]
    )
    func refusals(_ what: String) async throws {
        let other: MeshIdentity
        let reason: String
        switch what {
        case "secret":
            other = identity("b", secret: "another secret")
            reason = "the cluster secret of 'a' is not this node's"
        case "cluster":
            other = identity("b", cluster: "elsewhere")
            reason = "cluster 'test', this node belongs to 'elsewhere'"
        default:
            let (mine, later) = (PeerFrame.version, PeerFrame.version + 1)
            other = identity("b", version: later)
            reason = "protocol version \(mine), this node speaks \(later)"
        }
        let (a, b, _) = try await pair(identity("a"), other)
        #expect(await eventually { b.seen { $0.refusals.contains(reason) } })
        #expect(await eventually { a.seen { $0.refusals.contains("refused by the peer: \(reason)") } })
        #expect(a.seen { $0.ups }.isEmpty && b.seen { $0.ups }.isEmpty)
        try await a.stop()
        try await b.stop()
    }

    @Test("an unknown name, an identity that is the node's own, and a node that does not admit refuse with a reason")
    func moreRefusals() async throws {
        let ports = freePorts(2)
        let a = TestNode(identity("a"), port: ports[0], peers: [peer("b", ports[1])])
        let b = TestNode(identity("b"), port: ports[1], peers: [peer("c", 1)])
        _ = try await a.mesh.start()
        _ = try await b.mesh.start()
        #expect(await eventually { b.seen { $0.refusals.contains("no node 'a' is known here") } })
        #expect(
            await eventually { a.seen { $0.refusals.contains("refused by the peer: no node 'a' is known here") } }
        )
        try await a.stop()
        try await b.stop()

        let (c, d, _) = try await pair(identity("c", node: 5), identity("d", node: 5))
        let copied = "identity 5 is this node's own: a data directory was copied"
        #expect(await eventually { d.seen { $0.refusals.contains(copied) } })
        #expect(await eventually { c.seen { $0.refusals.contains("refused by the peer: \(copied)") } })
        try await c.stop()
        try await d.stop()

        let (e, f, _) = try await pair(identity("e"), identity("f")) { name, node in
            "the identity of '\(name)' changed to \(node)"
        }
        let changed = "the identity of 'e' changed to 101"
        #expect(await eventually { f.seen { $0.refusals.contains(changed) } })
        #expect(await eventually { e.seen { $0.refusals.contains("refused by the peer: \(changed)") } })
        #expect(e.seen { $0.ups }.isEmpty && f.seen { $0.ups }.isEmpty)
        try await e.stop()
        try await f.stop()
    }

    @Test("check 5: of two processes of one name the newer incarnation stays, the older is refused")
    func duplicateName() async throws {
        let ports = freePorts(3)
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])])
        _ = try await b.mesh.start()
        let older = TestNode(identity("a", incarnation: 10), port: ports[1], peers: [peer("b", ports[0])])
        _ = try await older.mesh.start()
        #expect(try await bothUp(older, b))
        let newer = TestNode(identity("a", incarnation: 11), port: ports[2], peers: [peer("b", ports[0])])
        _ = try await newer.mesh.start()
        #expect(try await bothUp(newer, b))
        let reason = "duplicate: a newer incarnation of 'a' is connected"
        #expect(await eventually { older.seen { $0.refusals.contains("refused by the peer: \(reason)") } })
        #expect(await eventually { b.seen { $0.refusals.contains(reason) } })
        #expect(b.seen { $0.downs } == ["a: replaced by a newer link"])
        #expect(b.seen { $0.ups } == ["a", "a"])
        try await older.stop()
        try await newer.stop()
        try await b.stop()
    }

    @Test("CL-19 check 5: a process that is heard keeps its link against a newer one, which runs on a copy of its disk")
    func copiedDirectory() async throws {
        // On a busy machine the real one may be silent for so long that it is not heard: then nothing was tested.
        for _ in 0..<4 where try await keepsItsLink() { return }
        Issue.record("the newer process was let in each time")
    }

    /// False when the real process lost its link, as a silent one does.
    private func keepsItsLink() async throws -> Bool {
        let ports = freePorts(3)
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])])
        _ = try await b.mesh.start()
        let real = TestNode(identity("a", incarnation: 10), port: ports[1], peers: [peer("b", ports[0])])
        _ = try await real.mesh.start()
        #expect(try await bothUp(real, b))
        try await sendNumbers(real, to: b.identity.node, count: 1)
        #expect(await eventually { b.seen { $0.numbers[real.identity.node]?.count } == 1 })
        let copy = TestNode(identity("a", incarnation: 11), port: ports[2], peers: [peer("b", ports[0])])
        _ = try await copy.mesh.start()
        let reason = "duplicate: 'a' is connected and was heard just now; was a data directory copied?"
        let isRefused = try await eventually {
            try await sendNumbers(real, to: b.identity.node, count: 1)
            return copy.seen { $0.refusals.contains("refused by the peer: \(reason)") }
        }
        let isKept = b.seen { $0.ups } == ["a"] && b.seen { $0.downs } == []
        for node in [real, copy, b] { try await node.stop() }
        return isRefused && isKept
    }

    @Test("check 5: one identity under two names is refused with a reason on both sides")
    func duplicateIdentity() async throws {
        let ports = freePorts(3)
        let c = TestNode(identity("c"), port: ports[0], peers: [peer("a", ports[1]), peer("b", ports[2])])
        _ = try await c.mesh.start()
        let a = TestNode(identity("a", node: 40), port: ports[1], peers: [peer("c", ports[0])])
        _ = try await a.mesh.start()
        #expect(try await bothUp(a, c))
        let b = TestNode(identity("b", node: 40), port: ports[2], peers: [peer("c", ports[0])])
        _ = try await b.mesh.start()
        let reason = "duplicate identity: 40 is connected as 'a'"
        #expect(await eventually { c.seen { $0.refusals.contains(reason) } })
        #expect(await eventually { b.seen { $0.refusals.contains("refused by the peer: \(reason)") } })
        #expect(c.seen { $0.ups } == ["a"])
        for node in [a, b, c] { try await node.stop() }
    }

    @Test("a node that stops is down at once, and up again with its next incarnation", arguments: ["a", "b"])
    func restart(_ restarted: String) async throws {
        let (a, b, ports) = try await pair()
        #expect(try await bothUp(a, b))
        let (staying, leaving) = restarted == "a" ? (b, a) : (a, b)
        try await leaving.stop()
        #expect(await eventually { staying.seen { $0.downs.count } == 1 })
        #expect(staying.seen { $0.downs }[0].hasPrefix("\(restarted): "))
        let back = TestNode(
            identity(restarted, incarnation: 2),
            port: restarted == "a" ? ports[0] : ports[1],
            peers: [peer(staying.identity.name, restarted == "a" ? ports[1] : ports[0])]
        )
        try await back.restart()
        #expect(try await bothUp(staying, back))
        try await sendNumbers(staying, to: back.identity.node, count: 10)
        let from = staying.identity.node
        #expect(await eventually { back.seen { $0.numbers[from] } == Array(0..<10) })
        #expect(staying.seen { $0.ups } == [restarted, restarted])
        try await staying.stop()
        try await back.stop()
    }

    @Test("a full outbound queue resets the link, which then comes up again")
    func overflow() async throws {
        var settings = MeshSettings()
        settings.maxQueue = 1 << 20
        let (a, b, _) = try await pair(settings: settings)
        #expect(try await bothUp(a, b))
        let to = b.identity.node
        try await a.onLoop { mesh in
            let body = [UInt8](repeating: 1, count: 100_000)[...]
            for _ in 0..<20 { mesh.send(to: to, .announce(PartitionID(1), RoomName("r"), body: body)) }
        }
        #expect(await eventually { a.seen { $0.downs } == ["b: the outbound queue is above 1048576 bytes"] })
        #expect(await eventually { b.seen { $0.downs.count } == 1 })
        #expect(await eventually { a.seen { $0.ups } == ["b", "b"] })
        #expect(try await bothUp(a, b))
        let row = try await a.onLoop { $0.linkStatistics }[0]
        #expect(row.overflows == 1 && row.connects == 2)
        try await a.stop()
        try await b.stop()
    }

    @Test("a link that brought messages, and then none for too long, is reset and comes up again; a quiet one stays")
    func silence() async throws {
        var settings = MeshSettings()
        settings.maxSilence = .milliseconds(1500)
        let (a, b, _) = try await pair(settings: settings)
        #expect(try await bothUp(a, b))
        let to = b.identity.node
        try await a.onLoop { _ = $0.send(to: to, .snapshotProgress(.control, index: 1, received: 0)) }
        #expect(await eventually { b.seen { $0.downs } == ["a: nothing was heard for 1500 ms"] })
        #expect(await eventually { b.seen { $0.ups } == ["a", "a"] })
        // The new link brings nothing, as those of nodes that still wait for others: longer than the bound.
        try await Task.sleep(for: .milliseconds(2000))
        #expect(b.seen { $0.downs.count } == 1)
        try await a.stop()
        try await b.stop()
    }

    @Test("LB-07 a node that was let go is told so over its link, which ends after the farewell")
    func farewell() async throws {
        var settings = MeshSettings()
        settings.farewell = .milliseconds(1500)
        let (a, b, ports) = try await pair(settings: settings)
        #expect(try await bothUp(a, b))
        let to = b.identity.node
        let begin = MonotonicClock.now()
        try await a.onLoop { mesh in
            mesh.setPeers([])
            mesh.send(to: to, number(7))
        }
        #expect(await eventually { b.seen { $0.numbers[NodeID(97)] } == [7] })
        #expect(try await a.onLoop { $0.linkStatistics }.isEmpty, "it is no peer any more")
        #expect(await eventually { b.seen { $0.downs.count } == 1 })
        #expect(MonotonicClock.now() - begin >= .milliseconds(1490))
        // Whoever dials, it does not come up.
        try await Task.sleep(for: .milliseconds(1000))
        #expect(b.seen { $0.ups } == ["a"])
        try await a.onLoop { $0.setPeers([peer("b", ports[1])]) }
        #expect(await eventually { b.seen { $0.ups } == ["a", "a"] })
        try await a.stop()
        try await b.stop()
    }

    @Test("a message of megabytes arrives whole; one above the frame limit is not sent; without a link none is")
    func bigMessages() async throws {
        let (a, b, _) = try await pair()
        let to = b.identity.node
        #expect(try await bothUp(a, b))
        let sent = try await a.onLoop { mesh in
            [1, 70_000, 20 << 20, 33 << 20, 3].map { size in
                mesh.send(
                    to: to,
                    .announce(PartitionID(1), RoomName("r"), body: [UInt8](repeating: 1, count: size)[...])
                )
            }
        }
        #expect(sent == [true, true, true, false, true])
        #expect(await eventually { b.seen { $0.bodies } == [1, 70_000, 20 << 20, 3] })
        #expect(a.seen { $0.downs }.isEmpty)
        let unsent = try await a.onLoop { mesh in
            mesh.send(to: NodeID(12345), .keepalive)
            return mesh.unsent
        }
        #expect(unsent == 1)
        try await a.stop()
        try await b.stop()
    }
}
