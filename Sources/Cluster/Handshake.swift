import Primitives
import SystemOpenSSL

/// What each side says first.
package struct Hello: Equatable, Sendable {
    package static let magic: [UInt8] = Array("VMSH".utf8)
    package static let nonceBytes = 32
    package static let nameLimit = 64

    package var protocolVersion: UInt16
    package var cluster: String
    package var name: String
    package var node: NodeID
    package var incarnation: UInt64
    package var features: UInt64
    package var nonce: [UInt8]

    package init(
        protocolVersion: UInt16,
        cluster: String,
        name: String,
        node: NodeID,
        incarnation: UInt64,
        features: UInt64,
        nonce: [UInt8]
    ) {
        self.protocolVersion = protocolVersion
        self.cluster = cluster
        self.name = name
        self.node = node
        self.incarnation = incarnation
        self.features = features
        self.nonce = nonce
    }
}

/// The handshake of a link. Nothing else is read before it is done, and its frames are small.
///
///     dialler                              acceptor
///       hello(version, cluster, name, …)     →
///                                            ←   hello, or refusal(reason)
///       proof(HMAC of both hellos)           →
///                                            ←   proof, or refusal
///       ready, or refusal                    →
///
/// A proof is HMAC-SHA256 under the cluster's secret of the prover's role and both hellos, byte for byte. The nonces
/// make every transcript new, the role keeps a proof from being sent back to its maker, and the hellos bind the names.
/// Without TLS the link is neither encrypted nor authenticated beyond this point, and the network between nodes must be
/// trusted. With it all of this travels inside, and the proof covers what is this connection's alone: who has a
/// certificate but not the secret cannot pass on the proofs of two others between whom it stands.
///
/// A frame: length u16 little-endian, then tag u8 and content.
package enum HandshakeFrame: Equatable, Sendable {
    package static let prefixBytes = 2
    /// The most that a frame may hold, tag included.
    package static let limit = 512
    package static let reasonLimit = 300

    case hello(Hello)
    case proof([UInt8])
    case ready
    case refusal(String)

    /// Appends the frame, prefix included.
    package func encode(into writer: inout ByteWriter) {
        let start = writer.count
        writer.write(UInt16(0))
        switch self {
        case .hello(let hello):
            writer.write(UInt8(1))
            writer.writeRaw(Hello.magic)
            writer.write(hello.protocolVersion)
            writer.writeString(hello.cluster)
            writer.writeString(hello.name)
            writer.write(hello.node.rawValue)
            writer.write(hello.incarnation)
            writer.write(hello.features)
            writer.writeRaw(hello.nonce)
        case .proof(let code):
            writer.write(UInt8(2))
            writer.writeRaw(code)
        case .ready: writer.write(UInt8(3))
        case .refusal(let reason):
            writer.write(UInt8(4))
            writer.writeBytes(Array(reason.utf8.prefix(HandshakeFrame.reasonLimit)))
        }
        let length = writer.count - start - HandshakeFrame.prefixBytes
        writer.bytes[start] = UInt8(truncatingIfNeeded: length)
        writer.bytes[start + 1] = UInt8(truncatingIfNeeded: length >> 8)
    }

    /// The frame alone, prefix included.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.bytes
    }

    /// The size of the frame that begins here, prefix included; nil while the prefix is not there.
    package static func size(at start: UnsafeRawBufferPointer) throws(DecodeError) -> Int? {
        guard start.count >= prefixBytes else { return nil }
        let length = Int(start[0]) | Int(start[1]) << 8
        guard length > 0 else { throw .malformed("frame length") }
        guard length <= limit else { throw .tooLong(field: "handshake frame", length: length, limit: limit) }
        return length + prefixBytes
    }

    /// Decodes a whole frame, prefix included, for a node that speaks `version`.
    package init(decoding frame: UnsafeRawBufferPointer, version: UInt16) throws(DecodeError) {
        var reader = ByteReader(frame)
        _ = try reader.readRaw(count: HandshakeFrame.prefixBytes)
        switch try reader.readByte() {
        case 1:
            let magic = try reader.readRaw(count: Hello.magic.count)
            guard magic.elementsEqual(Hello.magic) else { throw .malformed("magic") }
            let spoken = try reader.read(UInt16.self)
            let cluster = try reader.readString(limit: Hello.nameLimit, "cluster name")
            let name = try reader.readString(limit: Hello.nameLimit, "node name")
            let node = NodeID(try reader.read(UInt64.self))
            let incarnation = try reader.read(UInt64.self)
            let features = try reader.read(UInt64.self)
            let nonce = [UInt8](try reader.readRaw(count: Hello.nonceBytes))
            self = .hello(
                Hello(
                    protocolVersion: spoken,
                    cluster: cluster,
                    name: name,
                    node: node,
                    incarnation: incarnation,
                    features: features,
                    nonce: nonce
                )
            )
        case 2: self = .proof([UInt8](try reader.readRaw(count: 32)))
        case 3: self = .ready
        case 4: self = .refusal(try reader.readString(limit: HandshakeFrame.reasonLimit, "reason"))
        case let other: throw .unknown(field: "handshake frame", value: UInt64(other))
        }
        // Another version's hello may be longer: it is to be refused by its version, with a reason.
        if case .hello(let hello) = self, hello.protocolVersion != version { return }
        try reader.expectEnd()
    }
}

/// Which side of a link someone is on.
package enum LinkRole: String, Sendable {
    case dialler
    case acceptor

    package var other: LinkRole { self == .dialler ? .acceptor : .dialler }

    /// The proof that the holder of this role owes: over the label, then the dialler's hello, then the acceptor's, and
    /// with TLS its channel binding.
    package func proof(
        secret: [UInt8],
        channel: [UInt8] = [],
        diallerHello: [UInt8],
        acceptorHello: [UInt8]
    ) throws(OpenSSLError) -> [UInt8] {
        var transcript = Array("vencejo mesh \(rawValue)\n".utf8)
        transcript += diallerHello
        transcript += acceptorHello
        transcript += channel
        return try Digest.hmacSHA256(key: secret, message: transcript)
    }
}
