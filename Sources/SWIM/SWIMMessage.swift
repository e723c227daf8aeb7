import Primitives

/// "I am alive": a member's own statement, or a repetition of it.
struct AliveClaim: Equatable, Sendable {
    var metadata: MemberMetadata
    var address: GossipAddress
    var incarnation: UInt64
}

/// "I believe that `node` has failed": the statement of another member, `from`.
struct Accusation: Equatable, Sendable {
    var node: NodeID
    var incarnation: UInt64
    var from: NodeID
}

/// One member in a push-pull.
struct MemberSnapshot: Equatable, Sendable {
    var claim: AliveClaim
    var state: MemberState
    /// Seconds since it is down or has left, so that all nodes forget it at about the same time.
    var ageSeconds: UInt64

    static let maxEncodedBytes = MemberMetadata.maxEncodedBytes + 80
}

/// What members say to each other.
enum SWIMMessage: Equatable, Sendable {
    /// `target` is who should answer: the address may have passed to another node.
    case ping(sequence: UInt32, target: NodeID)
    /// SWIM's ping-req: ping `target` for me, and send me an ack, or a nack when it does not answer.
    case pingRequest(sequence: UInt32, target: NodeID, address: GossipAddress)
    case ack(sequence: UInt32)
    /// Lifeguard: the target did not answer me, but I answer you.
    case nack(sequence: UInt32)
    case alive(AliveClaim)
    case suspect(Accusation)
    case down(Accusation)
    case left(node: NodeID, incarnation: UInt64)
    /// Rides on the sender's pings and acks: its hints, and a digest of its list of members.
    case status(MemberHints, digest: UInt64)
    /// All members that the sender knows; only over a stream.
    case pushPull(isReply: Bool, [MemberSnapshot])
}

extension GossipAddress {
    func write(to writer: inout ByteWriter) {
        writer.writeString(host)
        writer.write(port)
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> GossipAddress {
        let host = try reader.readString(limit: maxHostBytes, "gossip host")
        guard let address = GossipAddress(host: host, port: try reader.read(UInt16.self)) else {
            throw .malformed("gossip address")
        }
        return address
    }
}

extension MemberHints {
    func write(to writer: inout ByteWriter) {
        writer.writeVarint(UInt64(connections))
        writer.write(load)
        writer.writeVarint(placementEpoch)
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> MemberHints {
        let connections = UInt32(truncatingIfNeeded: try reader.readCount(limit: Int(UInt32.max), "connections"))
        let load = try reader.readByte()
        guard load <= 100 else { throw .malformed("member load") }
        return MemberHints(connections: connections, load: load, placementEpoch: try reader.readVarint())
    }
}

extension MemberMetadata {
    func write(to writer: inout ByteWriter) {
        writer.write(node.rawValue)
        writer.writeString(name)
        writer.writeString(host)
        writer.write(meshPort)
        writer.write(gatewayPort)
        writer.write(respPort)
        writer.write(clusterPort)
        writer.write(sentinelPort)
        writer.write(adminPort)
        writer.writeString(zone)
        writer.write(weight)
        writer.writeString(version)
        writer.write(featureLevel)
        hints.write(to: &writer)
        writer.write(UInt8((isDraining ? 1 : 0) | (isJoining ? 2 : 0)))
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> MemberMetadata {
        let node = NodeID(rawValue: try reader.read(UInt64.self))
        let name = try reader.readString(limit: maxNameBytes, "member name")
        let host = try reader.readString(limit: maxHostBytes, "member host")
        let meshPort = try reader.read(UInt16.self)
        let gatewayPort = try reader.read(UInt16.self)
        let respPort = try reader.read(UInt16.self)
        let clusterPort = try reader.read(UInt16.self)
        let sentinelPort = try reader.read(UInt16.self)
        let adminPort = try reader.read(UInt16.self)
        let zone = try reader.readString(limit: maxZoneBytes, "member zone")
        let weight = try reader.readByte()
        let version = try reader.readString(limit: maxVersionBytes, "member version")
        let featureLevel = try reader.read(UInt16.self)
        let hints = try MemberHints.read(from: &reader)
        let flags = try reader.readByte()
        guard flags <= 3 else { throw .malformed("member flags") }
        return try MemberMetadata(
            node: node,
            name: name,
            host: host,
            meshPort: meshPort,
            gatewayPort: gatewayPort,
            respPort: respPort,
            clusterPort: clusterPort,
            sentinelPort: sentinelPort,
            adminPort: adminPort,
            zone: zone,
            weight: weight,
            version: version,
            featureLevel: featureLevel,
            connections: hints.connections,
            load: hints.load,
            placementEpoch: hints.placementEpoch,
            isDraining: flags & 1 != 0,
            isJoining: flags & 2 != 0
        )
    }
}

/// The largest incarnation that is believed.
let maxIncarnation: UInt64 = 1 << 62

private func readIncarnation(_ reader: inout ByteReader) throws(DecodeError) -> UInt64 {
    let incarnation = try reader.readVarint()
    guard incarnation <= maxIncarnation else { throw .malformed("incarnation") }
    return incarnation
}

extension AliveClaim {
    func write(to writer: inout ByteWriter) {
        metadata.write(to: &writer)
        address.write(to: &writer)
        writer.writeVarint(incarnation)
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> AliveClaim {
        AliveClaim(
            metadata: try MemberMetadata.read(from: &reader),
            address: try GossipAddress.read(from: &reader),
            incarnation: try readIncarnation(&reader)
        )
    }
}

extension Accusation {
    func write(to writer: inout ByteWriter) {
        writer.write(node.rawValue)
        writer.writeVarint(incarnation)
        writer.write(from.rawValue)
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> Accusation {
        Accusation(
            node: NodeID(rawValue: try reader.read(UInt64.self)),
            incarnation: try readIncarnation(&reader),
            from: NodeID(rawValue: try reader.read(UInt64.self))
        )
    }
}

extension MemberSnapshot {
    func write(to writer: inout ByteWriter) {
        claim.write(to: &writer)
        writer.write(state.rawValue)
        writer.writeVarint(ageSeconds)
    }

    static func read(from reader: inout ByteReader) throws(DecodeError) -> MemberSnapshot {
        let claim = try AliveClaim.read(from: &reader)
        let rawState = try reader.readByte()
        guard let state = MemberState(rawValue: rawState) else {
            throw .unknown(field: "member state", value: UInt64(rawState))
        }
        return MemberSnapshot(claim: claim, state: state, ageSeconds: try reader.readVarint())
    }
}

extension SWIMMessage {
    private enum Tag: UInt8 {
        case ping = 1
        case pingRequest, ack, nack, alive, suspect, down, left, status, pushPull
    }

    func write(to writer: inout ByteWriter) {
        switch self {
        case .ping(let sequence, let target):
            writer.write(Tag.ping.rawValue)
            writer.write(sequence)
            writer.write(target.rawValue)
        case .pingRequest(let sequence, let target, let address):
            writer.write(Tag.pingRequest.rawValue)
            writer.write(sequence)
            writer.write(target.rawValue)
            address.write(to: &writer)
        case .ack(let sequence):
            writer.write(Tag.ack.rawValue)
            writer.write(sequence)
        case .nack(let sequence):
            writer.write(Tag.nack.rawValue)
            writer.write(sequence)
        case .alive(let claim):
            writer.write(Tag.alive.rawValue)
            claim.write(to: &writer)
        case .suspect(let accusation):
            writer.write(Tag.suspect.rawValue)
            accusation.write(to: &writer)
        case .down(let accusation):
            writer.write(Tag.down.rawValue)
            accusation.write(to: &writer)
        case .left(let node, let incarnation):
            writer.write(Tag.left.rawValue)
            writer.write(node.rawValue)
            writer.writeVarint(incarnation)
        case .status(let hints, let digest):
            writer.write(Tag.status.rawValue)
            hints.write(to: &writer)
            writer.write(digest)
        case .pushPull(let isReply, let members):
            writer.write(Tag.pushPull.rawValue)
            writer.write(UInt8(isReply ? 1 : 0))
            writer.writeVarint(UInt64(members.count))
            for member in members { member.write(to: &writer) }
        }
    }

    /// `maxMembers` bounds a push-pull.
    static func read(from reader: inout ByteReader, maxMembers: Int) throws(DecodeError) -> SWIMMessage {
        let rawTag = try reader.readByte()
        guard let tag = Tag(rawValue: rawTag) else { throw .unknown(field: "gossip message", value: UInt64(rawTag)) }
        switch tag {
        case .ping:
            return .ping(
                sequence: try reader.read(UInt32.self),
                target: NodeID(rawValue: try reader.read(UInt64.self))
            )
        case .pingRequest:
            return .pingRequest(
                sequence: try reader.read(UInt32.self),
                target: NodeID(rawValue: try reader.read(UInt64.self)),
                address: try GossipAddress.read(from: &reader)
            )
        case .ack: return .ack(sequence: try reader.read(UInt32.self))
        case .nack: return .nack(sequence: try reader.read(UInt32.self))
        case .alive: return .alive(try AliveClaim.read(from: &reader))
        case .suspect: return .suspect(try Accusation.read(from: &reader))
        case .down: return .down(try Accusation.read(from: &reader))
        case .left:
            return .left(
                node: NodeID(rawValue: try reader.read(UInt64.self)),
                incarnation: try readIncarnation(&reader)
            )
        case .status: return .status(try MemberHints.read(from: &reader), digest: try reader.read(UInt64.self))
        case .pushPull:
            let isReply = try reader.readByte()
            guard isReply <= 1 else { throw .malformed("push-pull") }
            let count = try reader.readCount(limit: maxMembers, "members")
            // Nothing is reserved for a count that the bytes do not bear out.
            var members: [MemberSnapshot] = []
            for _ in 0..<count { members.append(try MemberSnapshot.read(from: &reader)) }
            return .pushPull(isReply: isReply == 1, members)
        }
    }
}

/// A datagram or a stream frame: a version, the sender, and messages up to the end.
struct SWIMPacket: Equatable, Sendable {
    /// What this build speaks. Anything else is refused as a whole.
    static let version: UInt8 = 2

    var sender: NodeID
    var messages: [SWIMMessage]

    static func writeHeader(sender: NodeID, to writer: inout ByteWriter) {
        writer.write(version)
        writer.write(sender.rawValue)
    }

    static func read(_ bytes: UnsafeRawBufferPointer, maxMembers: Int) throws(DecodeError) -> SWIMPacket {
        var reader = ByteReader(bytes)
        let version = try reader.readByte()
        guard version == SWIMPacket.version else { throw .unknown(field: "gossip version", value: UInt64(version)) }
        var packet = SWIMPacket(sender: NodeID(rawValue: try reader.read(UInt64.self)), messages: [])
        while !reader.isAtEnd {
            packet.messages.append(try SWIMMessage.read(from: &reader, maxMembers: maxMembers))
        }
        return packet
    }
}
