import Certificates
import Cluster
import OwnThread
import PeerProtocol
import Primitives
import Rooms
import SystemOpenSSL
import Testing

@Suite(.ownThread, .enabled(if: Certificates.canBeMade, "needs openssl")) struct MeshTLSTests {
    private func settings(_ certificates: Certificates, _ name: String) throws -> MeshSettings {
        var settings = MeshSettings()
        settings.tls = try TLSContext(
            mutual: certificates.path("ca.crt"),
            certificate: certificates.path("\(name).crt"),
            key: certificates.path("\(name).key")
        )
        return settings
    }

    @Test("CL-19 with certificates links speak TLS: small and large messages, both lanes, in order, and figures agree")
    func encrypted() async throws {
        let certificates = try Certificates()
        let ports = freePorts(2)
        let a = TestNode(
            identity("a"),
            port: ports[0],
            peers: [peer("b", ports[1])],
            settings: try settings(certificates, "server")
        )
        let b = TestNode(
            identity("b"),
            port: ports[1],
            peers: [peer("a", ports[0])],
            settings: try settings(certificates, "client")
        )
        _ = try await a.mesh.start()
        _ = try await b.mesh.start()
        #expect(try await bothUp(a, b))
        let count: UInt64 = 20_000
        let (x, y) = (a.identity.node, b.identity.node)
        for start in stride(from: 0, to: count, by: 1000) {
            try await a.onLoop { mesh in for value in start..<start + 1000 { mesh.send(to: y, number(value)) } }
            try await b.onLoop { mesh in for value in start..<start + 1000 { mesh.send(to: x, number(value)) } }
        }
        try await a.onLoop { mesh in
            for size in [1, 70_000, 20 << 20, 3] {
                mesh.send(
                    to: y,
                    .announce(PartitionID(1), RoomName("r"), body: [UInt8](repeating: 1, count: size)[...])
                )
            }
            for _ in 0..<8 { mesh.send(to: y, LaneTests.chunk(1 << 20)) }
        }
        #expect(await eventually { b.seen { $0.numbers[x]?.count ?? 0 } == count })
        #expect(await eventually { a.seen { $0.numbers[y]?.count ?? 0 } == count })
        #expect(b.seen { $0.numbers[x] } == Array(0..<count))
        #expect(a.seen { $0.numbers[y] } == Array(0..<count))
        #expect(await eventually { b.seen { $0.bodies } == [1, 70_000, 20 << 20, 3] })
        #expect(await eventually { b.seen { $0.chunks } == 8 })
        let out = try await a.onLoop { $0.linkStatistics[0] }
        let inward = try await b.onLoop { $0.linkStatistics[0] }
        // What crosses the network is counted, and the records of TLS are part of it; of its handshake the acceptor
        // does not know yet whose it is.
        #expect(out.bytesOut > 28 << 20 && out.bytesOut >= inward.bytesIn && out.bytesOut - inward.bytesIn < 8192)
        #expect(out.connects == 1 && out.bulkMessagesOut == 8)
        #expect(a.seen { $0.downs }.isEmpty && b.seen { $0.downs }.isEmpty)
        try await a.stop()
        try await b.stop()
    }

    /// Who must not get in, by what it has; the second node is as it should be. `a` dials.
    enum Stranger: String, CaseIterable {
        case dialsWithoutTLS, acceptsWithoutTLS, otherAuthority, otherAuthorityAccepts, wrongSecret, clientOnly
    }

    @Test(
        "CL-19 without a certificate of the authority, or without the secret, nobody gets in; both sides say why",
        arguments: Stranger.allCases
    )
    func refused(_ stranger: Stranger) async throws {
        let certificates = try Certificates()
        let good = try settings(certificates, "client")
        var (first, second) = (good, good)
        let reasons: (String, String)
        switch stranger {
        case .dialsWithoutTLS:
            first = MeshSettings()
            reasons = ("refused by the peer: this node speaks TLS only", "this node speaks TLS only")
        case .acceptsWithoutTLS:
            second = MeshSettings()
            reasons = ("the peer does not speak TLS", "it speaks TLS and this node does not")
        case .otherAuthority:
            first = try settings(try Certificates(), "client")
            // The dialler looks first: it does not trust the other side either.
            reasons = ("certificate of the peer", "alert")
        case .otherAuthorityAccepts:
            second = try settings(try Certificates(), "client")
            reasons = ("certificate of the peer", "alert")
        case .wrongSecret:
            reasons = ("refused by the peer: the cluster secret", "the cluster secret of 'a' is not this node's")
        case .clientOnly:
            // It trusts the authority, and has no certificate to show.
            first.tls = try TLSContext(authorities: certificates.path("ca.crt"))
            reasons = ("alert", "peer did not return a certificate")
        }
        let ports = freePorts(2)
        let a = TestNode(
            identity("a", secret: stranger == .wrongSecret ? "another secret" : "a secret of the cluster"),
            port: ports[0],
            peers: [peer("b", ports[1])],
            settings: first
        )
        let b = TestNode(identity("b"), port: ports[1], peers: [peer("a", ports[0])], settings: second)
        _ = try await a.mesh.start()
        _ = try await b.mesh.start()
        #expect(await eventually { a.seen { $0.refusals.contains { $0.contains(reasons.0) } } })
        #expect(await eventually { b.seen { $0.refusals.contains { $0.contains(reasons.1) } } })
        #expect(try await eventually { try await b.onLoop { $0.failedHandshakes } > 0 })
        #expect(try await eventually { try await a.onLoop { $0.failedHandshakes } > 0 })
        #expect(a.seen { $0.ups }.isEmpty && b.seen { $0.ups }.isEmpty)
        let said = (a.seen { Set($0.refusals) }, b.seen { Set($0.refusals) })
        #expect(said.0.allSatisfy { $0.contains(reasons.0) }, "\(said.0)")
        #expect(said.1.allSatisfy { $0.contains(reasons.1) }, "\(said.1)")
        try await a.stop()
        try await b.stop()
    }

    @Test("CL-19 a proof is good for the TLS connection that it was made on alone")
    func binding() throws {
        let hellos = ([UInt8](repeating: 1, count: 70), [UInt8](repeating: 2, count: 70))
        func proof(_ channel: [UInt8]) throws -> [UInt8] {
            try LinkRole.dialler.proof(
                secret: [1, 2, 3],
                channel: channel,
                diallerHello: hellos.0,
                acceptorHello: hellos.1
            )
        }
        let certificates = try Certificates()
        let context = try settings(certificates, "client").tls
        var bindings: [[UInt8]] = []
        for _ in 0..<2 {
            let client = try TLSSession(connecting: try #require(context))
            let server = try TLSSession(accepting: try #require(context))
            try client.start()
            var plain: [UInt8] = []
            for _ in 0..<3 {
                try client.takeOutput().withUnsafeBytes { try server.receive($0, into: &plain) }
                try server.takeOutput().withUnsafeBytes { try client.receive($0, into: &plain) }
            }
            #expect(client.isConnected && server.isConnected && client.version == "TLSv1.3")
            #expect(try client.binding() == server.binding())
            bindings.append(try client.binding())
        }
        #expect(bindings[0] != bindings[1])
        #expect(try proof(bindings[0]) != proof(bindings[1]))
        #expect(try proof(bindings[0]) != proof([]))
    }

    @Test("CL-19 a file that does not fit is named")
    func files() throws {
        let certificates = try Certificates()
        let (ca, crt, key) = (
            certificates.path("ca.crt"), certificates.path("client.crt"), certificates.path("client.key")
        )
        for (authorities, certificate, itsKey, wanted) in [
            ("/nowhere/ca.crt", crt, key, OpenSSLError.File.authorities), (ca, "/nowhere/a.crt", key, .certificate),
            (ca, crt, "/nowhere/a.key", .key), (ca, crt, certificates.path("server.key"), .key),
            (ca, key, key, .certificate), (key, crt, key, .authorities),
        ] {
            do {
                _ = try TLSContext(mutual: authorities, certificate: certificate, key: itsKey)
                Issue.record("taken: \(authorities), \(certificate), \(itsKey)")
            } catch {
                #expect(error.file == wanted, "\(error)")
            }
        }
    }
}
