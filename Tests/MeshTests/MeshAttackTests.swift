import Cluster
import EventLoops
import Glibc
import OwnThread
import PeerProtocol
import Primitives
import Testing

/// What a stranger on the mesh port can do: nothing to anyone but itself.
@Suite(.ownThread) struct MeshAttackTests {
    private func hello(_ name: String, cluster: String = "test") -> Hello {
        Hello(
            protocolVersion: PeerFrame.version,
            cluster: cluster,
            name: name,
            node: NodeID(77),
            incarnation: 1,
            features: 0,
            nonce: [UInt8](repeating: 5, count: Hello.nonceBytes)
        )
    }

    private func decode(_ frame: [UInt8]) throws -> HandshakeFrame {
        try frame.withUnsafeBytes { try HandshakeFrame(decoding: $0, version: PeerFrame.version) }
    }

    @Test("CL-19 a refusal from a stranger is told as a stranger's: nobody acts on it")
    func strangersRefusal() async throws {
        let ports = freePorts(2)
        let b = TestNode(identity("b"), port: ports[1], peers: [peer("a", ports[0])])
        _ = try await b.mesh.start()
        let socket = try RawSocket(port: ports[1])
        socket.send(HandshakeFrame.refusal("you are not needed any more").encoded())
        #expect(await eventually { b.seen { !$0.refusals.isEmpty } })
        #expect(b.seen { $0.strangersRefusals } == 1)
        try await b.stop()
    }

    @Test("garbage on the port costs nobody: the link of the others stays up and their messages flow")
    func garbage() async throws {
        let ports = freePorts(2)
        let a = TestNode(identity("a"), port: ports[0], peers: [peer("b", ports[1])])
        let b = TestNode(identity("b"), port: ports[1], peers: [peer("a", ports[0])])
        _ = try await a.mesh.start()
        _ = try await b.mesh.start()
        let node = b.identity.node
        #expect(try await eventually { try await a.onLoop { $0.isUp(node) } })

        var random = Xoshiro256(seed: 1)
        let valid = HandshakeFrame.hello(hello("a")).encoded()
        let connections = 2000
        for round in 0..<connections {
            let socket = try RawSocket(port: ports[1])
            var bytes: [UInt8]
            switch random.below(4) {
            case 0: bytes = (0..<random.below(2000)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            case 1: bytes = Array(valid.prefix(Int(random.below(UInt64(valid.count)))))
            case 2:
                bytes = valid
                bytes[Int(random.below(UInt64(bytes.count)))] ^= 1 << UInt8(random.below(8))
                bytes += HandshakeFrame.proof([UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: 32))
                    .encoded()
            default: bytes = HandshakeFrame.ready.encoded() + [UInt8](repeating: 0, count: 100)
            }
            socket.send(bytes)
            if round % 100 == 0 {
                try await a.onLoop { mesh in _ = mesh.send(to: node, number(UInt64(round))) }
            }
        }
        let expected = stride(from: 0, to: connections, by: 100).map { UInt64($0) }
        #expect(await eventually { b.seen { $0.numbers[NodeID(97)] } == expected })
        #expect(try await eventually { try await b.onLoop { $0.failedHandshakes } >= UInt64(connections) })
        #expect(a.seen { $0.downs }.isEmpty && b.seen { $0.downs }.isEmpty)
        #expect(b.seen { $0.ups } == ["a"])
        // Events are throttled, however many refusals there are.
        #expect(b.seen { $0.refusals.count } < 1000)
        try await a.stop()
        try await b.stop()
    }

    @Test("CL-19 without the secret neither a guess, nor the acceptor's own proof, nor none at all gets in")
    func withoutSecret() async throws {
        let ports = freePorts(2)
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])])
        _ = try await b.mesh.start()
        for attempt in 0..<3 {
            let socket = try RawSocket(port: ports[0])
            socket.send(HandshakeFrame.hello(hello("a")).encoded())
            guard case .hello(let answer) = try decode(socket.receiveFrame()) else {
                Issue.record("no hello")
                continue
            }
            #expect(answer.name == "b")
            switch attempt {
            case 0: socket.send(HandshakeFrame.proof([UInt8](repeating: 0, count: 32)).encoded())
            case 1: socket.send(HandshakeFrame.ready.encoded())
            default:
                // A peer message, as if the link were up.
                var writer = ByteWriter()
                number(1).encode(into: &writer)
                socket.send(writer.bytes)
            }
            let last = socket.receiveAll()
            if attempt == 0 {
                #expect(try decode(last) == .refusal("the cluster secret of 'a' is not this node's"))
            } else if attempt == 1 {
                #expect(try decode(last) == .refusal("a handshake message out of order"))
            }
        }
        #expect(b.seen { $0.ups.isEmpty && $0.numbers.isEmpty })
        try await b.stop()
    }

    @Test("a recorded handshake cannot be played again: the nonce is new each time")
    func replay() async throws {
        let ports = freePorts(2)
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])])
        _ = try await b.mesh.start()
        let own = HandshakeFrame.hello(hello("a")).encoded()
        let first = try RawSocket(port: ports[0])
        first.send(own)
        let answer = first.receiveFrame()
        let secret = Array("a secret of the cluster".utf8)
        let proof = try LinkRole.dialler.proof(secret: secret, diallerHello: own, acceptorHello: answer)
        first.send(HandshakeFrame.proof(proof).encoded())
        guard case .proof(let theirs) = try decode(first.receiveFrame()) else {
            Issue.record("the right proof was not taken")
            return
        }
        #expect(
            try theirs == LinkRole.acceptor.proof(secret: secret, diallerHello: own, acceptorHello: answer)
        )

        let second = try RawSocket(port: ports[0])
        second.send(own)
        #expect(second.receiveFrame() != answer)
        second.send(HandshakeFrame.proof(proof).encoded())
        #expect(try decode(second.receiveAll()) == .refusal("the cluster secret of 'a' is not this node's"))
        try await b.stop()
    }

    @Test("a silent connection is closed after the handshake time-out, and a flood of them pushes out only itself")
    func silence() async throws {
        let ports = freePorts(2)
        var settings = MeshSettings()
        settings.handshakeTimeout = .milliseconds(300)
        settings.maxHandshakes = 8
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])], settings: settings)
        _ = try await b.mesh.start()
        let silent = try RawSocket(port: ports[0])
        #expect(silent.receiveAll().isEmpty)

        var flood: [RawSocket] = []
        for _ in 0..<100 { flood.append(try RawSocket(port: ports[0])) }
        let a = TestNode(identity("a"), port: ports[1], peers: [peer("b", ports[0])])
        _ = try await a.mesh.start()
        let node = b.identity.node
        #expect(try await eventually { try await a.onLoop { $0.isUp(node) } })
        // 92 were pushed out at once; the rest ran into the time-out or were pushed out by the honest one.
        #expect(try await eventually { try await b.onLoop { $0.failedHandshakes } >= 100 })
        for socket in flood { #expect(socket.receiveAll().isEmpty) }
        try await a.stop()
        try await b.stop()
    }

    @Test("bad bytes on a proven link end it with a reason; it comes up again")
    func badMessage() async throws {
        let ports = freePorts(2)
        let b = TestNode(identity("b"), port: ports[0], peers: [peer("a", ports[1])])
        _ = try await b.mesh.start()
        let own = HandshakeFrame.hello(hello("a")).encoded()
        for bad: [UInt8] in [[1, 0, 0, 0, 99], [0, 0, 0, 0], [0xff, 0xff, 0xff, 0x7f], [2, 0, 0, 0, 12, 0]] {
            let count = b.seen { $0.downs.count }
            let socket = try RawSocket(port: ports[0])
            socket.send(own)
            let answer = socket.receiveFrame()
            let secret = Array("a secret of the cluster".utf8)
            let proof = try LinkRole.dialler.proof(secret: secret, diallerHello: own, acceptorHello: answer)
            socket.send(HandshakeFrame.proof(proof).encoded())
            _ = socket.receiveFrame()
            socket.send(HandshakeFrame.ready.encoded() + bad)
            #expect(socket.receiveAll().isEmpty)
            #expect(await eventually { b.seen { $0.downs.count } == count + 1 })
            #expect(b.seen { $0.downs }[count].hasPrefix("a: bad message: "))
        }
        try await b.stop()
    }
}
