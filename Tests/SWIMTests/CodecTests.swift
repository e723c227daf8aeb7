import Primitives
import Testing

@testable import SWIM

@Suite("Codec")
struct CodecTests {
    private func randomText(_ random: inout Xoshiro256, upTo limit: Int, atLeast least: Int = 0) -> String {
        String(
            (0..<least + Int(random.below(UInt64(limit - least + 1)))).map { _ in
                "abcdefgh0-".randomElement(using: &random)!
            }
        )
    }

    private func randomClaim(_ random: inout Xoshiro256) throws -> AliveClaim {
        let metadata = try MemberMetadata(
            node: NodeID(random.next()),
            name: randomText(&random, upTo: 64, atLeast: 1),
            host: randomText(&random, upTo: 255),
            meshPort: UInt16(truncatingIfNeeded: random.next()),
            gatewayPort: UInt16(truncatingIfNeeded: random.next()),
            respPort: UInt16(truncatingIfNeeded: random.next()),
            clusterPort: UInt16(truncatingIfNeeded: random.next()),
            sentinelPort: UInt16(truncatingIfNeeded: random.next()),
            adminPort: UInt16(truncatingIfNeeded: random.next()),
            zone: randomText(&random, upTo: 64),
            weight: UInt8(random.below(100) + 1),
            version: randomText(&random, upTo: 32),
            featureLevel: UInt16(truncatingIfNeeded: random.next()),
            connections: UInt32(truncatingIfNeeded: random.next()),
            load: UInt8(random.below(101)),
            placementEpoch: random.next(),
            isDraining: random.chance(1, in: 2)
        )
        return AliveClaim(
            metadata: metadata,
            address: VirtualNetwork.address(Int(random.below(1_000))),
            incarnation: random.below(1 << 62)
        )
    }

    private func randomMessage(_ random: inout Xoshiro256) throws -> SWIMMessage {
        let sequence = UInt32(truncatingIfNeeded: random.next())
        let node = NodeID(random.below(12))
        let accusation = Accusation(node: node, incarnation: random.below(20), from: NodeID(random.below(12)))
        switch random.below(11) {
        case 9:
            return .status(
                MemberHints(
                    connections: UInt32(truncatingIfNeeded: random.next()),
                    load: UInt8(random.below(101)),
                    placementEpoch: random.next()
                ),
                digest: random.next()
            )
        case 0: return .ping(sequence: sequence, target: node)
        case 1: return .pingRequest(sequence: sequence, target: node, address: VirtualNetwork.address(3))
        case 2: return .ack(sequence: sequence)
        case 3: return .nack(sequence: sequence)
        case 4: return .alive(try randomClaim(&random))
        case 5: return .alive(claim(Int(random.below(12)), incarnation: random.below(20), at: Int(random.below(20))))
        case 6: return .suspect(accusation)
        case 7: return .down(accusation)
        case 8: return .left(node: node, incarnation: random.below(20))
        default:
            var snapshots: [MemberSnapshot] = []
            for _ in 0..<random.below(6) {
                let state = MemberState(rawValue: UInt8(random.below(4)))!
                snapshots.append(snapshot(try randomClaim(&random), state, age: random.next() >> random.below(64)))
            }
            return .pushPull(isReply: random.chance(1, in: 2), snapshots)
        }
    }

    @Test("every message comes back as it was written")
    func roundTrip() throws {
        var random = Xoshiro256(seed: 11)
        for _ in 0..<2_000 {
            var messages: [SWIMMessage] = []
            for _ in 0..<random.below(8) { messages.append(try randomMessage(&random)) }
            let bytes = encoded(messages, sender: 5)
            let packet = try bytes.withUnsafeBytes { try SWIMPacket.read($0, maxMembers: 100) }
            #expect(packet.messages == messages && packet.sender == NodeID(5))
            for end in 0..<bytes.count where random.chance(1, in: 40) {
                // A shorter packet is an error, or the same with fewer messages.
                let cut = try? bytes[..<end].withUnsafeBytes { try SWIMPacket.read($0, maxMembers: 100) }
                if let cut { #expect(messages.starts(with: cut.messages) && cut.messages.count < messages.count) }
            }
        }
    }

    @Test("metadata has bounds by field, and the longest is shorter than 512 bytes")
    func metadataBounds() throws {
        func encodedBytes(_ metadata: MemberMetadata) -> Int {
            var writer = ByteWriter()
            metadata.write(to: &writer)
            return writer.count
        }
        func make(name: Int = 1, host: Int = 1, zone: Int = 1, version: Int = 1, weight: UInt8 = 1, load: UInt8 = 0)
            throws(DecodeError)
            -> MemberMetadata
        {
            try MemberMetadata(
                node: NodeID(.max),
                name: String(repeating: "n", count: name),
                host: String(repeating: "h", count: host),
                meshPort: .max,
                zone: String(repeating: "z", count: zone),
                weight: weight,
                version: String(repeating: "v", count: version),
                connections: .max,
                load: load,
                placementEpoch: .max
            )
        }
        let longest = try make(name: 64, host: 255, zone: 64, version: 32, weight: 100, load: 100)
        #expect(encodedBytes(longest) <= MemberMetadata.maxEncodedBytes)
        #expect(throws: DecodeError.tooLong(field: "member name", length: 65, limit: 64)) { try make(name: 65) }
        #expect(throws: DecodeError.tooLong(field: "member host", length: 256, limit: 255)) { try make(host: 256) }
        #expect(throws: DecodeError.tooLong(field: "member zone", length: 65, limit: 64)) { try make(zone: 65) }
        #expect(throws: DecodeError.tooLong(field: "member version", length: 33, limit: 32)) { try make(version: 33) }
        #expect(throws: DecodeError.malformed("member name")) { try make(name: 0) }
        #expect(throws: DecodeError.malformed("member weight")) { try make(weight: 0) }
        #expect(throws: DecodeError.malformed("member weight")) { try make(weight: 101) }
        #expect(throws: DecodeError.malformed("member load")) { try make(load: 101) }
        var writer = ByteWriter()
        snapshot(AliveClaim(metadata: longest, address: address(1), incarnation: 1 << 62), .left, age: .max)
            .write(to: &writer)
        #expect(writer.count <= MemberSnapshot.maxEncodedBytes)
        #expect(SWIMSettings().maxFrameBytes == 64 + 1280 * MemberSnapshot.maxEncodedBytes)
    }

    @Test("gossip addresses are literal")
    func addresses() {
        for host in ["127.0.0.1", "::1", "2001:db8::ff00:42:8329", "ABCD:EF01:2345:6789:ABCD:EF01:192.168.158.190"] {
            #expect(GossipAddress(host: host, port: 1)?.host == host)
        }
        for host in ["", "localhost", "abc", "fe80::1%eth0", "10.0.0.1 ", String(repeating: "1.", count: 23)] {
            #expect(GossipAddress(host: host, port: 1) == nil)
        }
        #expect(GossipAddress(host: "127.0.0.1", port: 0) == nil)
        #expect(GossipAddress(host: "::1", port: 7946)?.description == "[::1]:7946")
        #expect(address(1).description == "10.0.0.2:7946" && address(1) < address(2))
    }

    @Test("another version of the protocol is refused and counted, and so is what cannot be read")
    func refused() {
        var conversation = Conversation(members: 3)
        var bytes = encoded([.down(accusation(2, from: 3))], sender: 3)
        bytes[0] = SWIMPacket.version + 1
        conversation.receive(bytes, from: address(3))
        #expect(conversation.node.counters.unknownVersions == 1 && conversation.node.counters.decodeErrors == 0)
        bytes[0] = SWIMPacket.version
        conversation.receive(bytes + [0], from: address(3))
        conversation.receive(Array(bytes.dropLast()), from: address(3))
        conversation.receive([], from: address(3))
        #expect(conversation.node.counters.decodeErrors == 3 && conversation.state(2) == .alive)
        conversation.receive([UInt8](repeating: 1, count: 65_536), from: address(3))
        #expect(conversation.node.counters.droppedForBounds == 1)
        // A count that the bytes do not bear out.
        var writer = ByteWriter()
        SWIMPacket.writeHeader(sender: NodeID(3), to: &writer)
        writer.writeRaw([10, 0])
        writer.writeVarint(1_281)
        conversation.receive(writer.bytes, from: address(3), over: .stream, replyTo: 1)
        #expect(conversation.node.counters.decodeErrors == 4 && conversation.replies.isEmpty)
    }

    @Test("arbitrary and mutated bytes never crash a node, and its bounds hold")
    func fuzz() throws {
        var random = Xoshiro256(seed: 2_026)
        var settings = SWIMSettings()
        settings.maxMembers = 12
        settings.maxDeadMembers = 6
        var conversation = Conversation(members: 6, settings: settings)
        var counters: [SWIMCounters] = []
        for round in 0..<20_000 {
            // Mutated incarnations get ever higher, until nobody has anything to say: begin anew.
            if round % 200 == 0 {
                counters.append(conversation.node.counters)
                conversation = Conversation(members: 6, settings: settings)
            }
            var bytes: [UInt8] = []
            if random.chance(1, in: 5) {
                bytes = (0..<random.below(120)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                if random.chance(3, in: 4), !bytes.isEmpty { bytes[0] = 1 }
            } else {
                var messages: [SWIMMessage] = []
                for _ in 0...random.below(4) { messages.append(try randomMessage(&random)) }
                bytes = encoded(messages, sender: Int(random.below(12)))
                for _ in 0..<random.below(4) {
                    switch random.below(3) {
                    case 0: bytes[Int(random.below(UInt64(bytes.count)))] ^= 1 << UInt8(random.below(8))
                    case 1:
                        bytes.insert(
                            UInt8(truncatingIfNeeded: random.next()),
                            at: Int(random.below(UInt64(bytes.count)))
                        )
                    default: if bytes.count > 1 { bytes.remove(at: Int(random.below(UInt64(bytes.count)))) }
                    }
                }
            }
            let isStream = random.chance(1, in: 3)
            conversation.receive(
                bytes,
                from: VirtualNetwork.address(Int(random.below(12))),
                over: isStream ? .stream : .datagram,
                replyTo: isStream && random.chance(1, in: 2) ? random.next() : nil
            )
            if round % 10 == 0 { conversation.pass(.milliseconds(random.below(100))) }
            let node = conversation.node
            let marks = node.members.map(\.mark).reduce(0, &+)
            let live = node.members.count { $0.state.isLive }
            guard live == node.liveCount, marks == node.digest, live <= 12, node.members.count <= 18,
                node.suspicions.count <= live,
                node.relays.count <= settings.maxRelays, node.me.state == .alive,
                zip(node.members, node.members.dropFirst()).allSatisfy({ $0.node < $1.node }),
                node.queue.broadcasts.count <= 18, node.probeOrder.count == live - 1
            else {
                Issue.record("round \(round): \(node.members.count) members, \(live) live, counted \(node.liveCount)")
                return
            }
            #expect(conversation.sent.allSatisfy { $0.transport == .stream || $0.bytes <= 1_400 })
            conversation.forget()
        }
        func total(_ count: (SWIMCounters) -> UInt64) -> UInt64 { counters.map(count).reduce(0, +) }
        #expect(total(\.decodeErrors) > 1_000 && total(\.unknownVersions) > 100 && total(\.suspicions) > 100)
        #expect(total(\.downs) > 100 && total(\.refutations) > 100 && total(\.nacks) > 100)
    }
}
