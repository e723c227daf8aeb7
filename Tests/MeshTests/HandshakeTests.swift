import Cluster
import OwnThread
import PeerProtocol
import Primitives
import Testing

@Suite(.ownThread) struct HandshakeTests {
    private func hello(_ nonce: UInt8 = 1, version: UInt16 = 1) -> Hello {
        Hello(
            protocolVersion: version,
            cluster: "test",
            name: "a",
            node: NodeID(1),
            incarnation: 7,
            features: 0,
            nonce: [UInt8](repeating: nonce, count: Hello.nonceBytes)
        )
    }

    private func decode(_ bytes: [UInt8]) throws -> HandshakeFrame {
        try bytes.withUnsafeBytes { try HandshakeFrame(decoding: $0, version: 1) }
    }

    @Test("every handshake frame survives the wire")
    func roundTrip() throws {
        for frame in [
            HandshakeFrame.hello(hello()), .proof([UInt8](repeating: 9, count: 32)), .ready, .refusal("because"),
        ] {
            let bytes = frame.encoded()
            #expect(try bytes.withUnsafeBytes { try HandshakeFrame.size(at: $0) } == bytes.count)
            #expect(try decode(bytes) == frame)
            for length in 2..<bytes.count { #expect(throws: DecodeError.self) { try decode(Array(bytes[..<length])) } }
        }
    }

    @Test("a longer hello is read when its version differs, so that the refusal can name the version")
    func newerHello() throws {
        var newer = HandshakeFrame.hello(hello(version: 2)).encoded() + [1, 2, 3]
        newer[0] += 3
        #expect(try decode(newer) == .hello(hello(version: 2)))
        var same = HandshakeFrame.hello(hello()).encoded() + [1, 2, 3]
        same[0] += 3
        #expect(throws: DecodeError.trailingBytes(3)) { try decode(same) }
    }

    @Test("handshake frames above 512 bytes are refused by their length alone")
    func limits() {
        let long: [UInt8] = [0x01, 0x02]
        #expect(throws: DecodeError.tooLong(field: "handshake frame", length: 513, limit: 512)) {
            try long.withUnsafeBytes { try HandshakeFrame.size(at: $0) }
        }
        #expect(HandshakeFrame.refusal(String(repeating: "x", count: 5000)).encoded().count <= 514)
    }

    @Test("CL-19 a proof depends on the secret, the role and every byte of both hellos")
    func proofs() throws {
        let secret = Array("secret".utf8)
        let one = HandshakeFrame.hello(hello(1)).encoded()
        let two = HandshakeFrame.hello(hello(2)).encoded()
        let three = HandshakeFrame.hello(hello(3)).encoded()
        let proofs = try [
            LinkRole.dialler.proof(secret: secret, diallerHello: one, acceptorHello: two),
            LinkRole.acceptor.proof(secret: secret, diallerHello: one, acceptorHello: two),
            LinkRole.dialler.proof(secret: secret, diallerHello: two, acceptorHello: one),
            LinkRole.dialler.proof(secret: secret, diallerHello: one, acceptorHello: three),
            LinkRole.dialler.proof(secret: Array("Secret".utf8), diallerHello: one, acceptorHello: two),
        ]
        #expect(Set(proofs).count == proofs.count)
        #expect(proofs.allSatisfy { $0.count == 32 })
    }
}
