import Primitives
import Testing

@Suite struct ByteTests {
    @Test("integers, varints, bytes and strings come back as they were written")
    func roundTrip() throws {
        var random = Xoshiro256(seed: 1)
        for _ in 0..<2000 {
            let wide = random.next() >> random.below(64)
            let narrow = UInt32(truncatingIfNeeded: random.next())
            let bytes = (0..<Int(random.below(300))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            var writer = ByteWriter()
            writer.writeVarint(wide)
            writer.write(narrow)
            writer.writeBytes(bytes)
            writer.writeString("añil \(wide)")
            try writer.bytes.withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                #expect(try reader.readVarint() == wide)
                #expect(try reader.read(UInt32.self) == narrow)
                #expect(try reader.readBytes(limit: 300) == bytes)
                #expect(try reader.readString(limit: 100) == "añil \(wide)")
                try reader.expectEnd()
            }
        }
    }

    @Test("a count above its limit is refused before anything is allocated")
    func lyingCount() {
        var writer = ByteWriter()
        writer.writeVarint(.max)
        writer.bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(throws: DecodeError.tooLong(field: "bytes", length: .max, limit: 10)) {
                try reader.readBytes(limit: 10)
            }
        }
    }

    @Test("every prefix of valid bytes is an error, never a trap", arguments: 0..<14)
    func prefixes(count: Int) {
        var writer = ByteWriter()
        writer.writeVarint(300)
        writer.write(UInt64(7))
        writer.writeBytes([1, 2, 3])
        #expect(writer.count == 14)
        writer.bytes[..<count].withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(throws: DecodeError.self) {
                _ = try reader.readVarint()
                _ = try reader.read(UInt64.self)
                _ = try reader.readBytes(limit: 3)
            }
        }
    }

    @Test("a varint longer than 64 bits is malformed")
    func longVarint() {
        [UInt8](repeating: 0xff, count: 11).withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(throws: DecodeError.malformed("varint")) { try reader.readVarint() }
        }
    }
}

@Suite struct ChecksumTests {
    @Test(
        "CRC32C gives the published check values",
        arguments: [
            ("123456789", UInt32(0xe306_9283)), ("", 0), ("a", 0xc1d0_4330),
        ]
    )
    func crc32c(text: String, expected: UInt32) {
        #expect(CRC32C.checksum(Array(text.utf8)) == expected)
    }

    @Test("CRC32C of 32 zero bytes is that of RFC 3720, B.4")
    func crc32cOfZeros() { #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa) }

    @Test(
        "slots are Redis Cluster's",
        arguments: [
            // Values from redis-cli: CLUSTER KEYSLOT.
            ("foo", UInt32(12182)), ("bar", 5061), ("somekey", 11058), ("123456789", 12739),
        ]
    )
    func slots(key: String, slot: UInt32) { #expect(HashSlot.slot(of: Array(key.utf8)) == slot) }

    @Test("only the first non-empty tag counts")
    func tags() {
        func slot(_ key: String) -> UInt32 { HashSlot.slot(of: Array(key.utf8)) }
        #expect(slot("{user1000}.following") == slot("{user1000}.followers"))
        #expect(slot("{user1000}.following") == slot("user1000"))
        #expect(slot("foo{}{bar}") == HashSlot.slot(of: Array("foo{}{bar}".utf8)))
        #expect(slot("foo{}{bar}") != slot("bar"))
        #expect(slot("foo{{bar}}zap") == slot("{bar"))
        #expect(slot("foo{bar}{zap}") == slot("bar"))
    }
}

@Suite struct RandomTests {
    @Test("the same seed gives the same numbers, another one gives others")
    func seeds() {
        var a = Xoshiro256(seed: 42)
        var b = Xoshiro256(seed: 42)
        var c = Xoshiro256(seed: 43)
        let first = (0..<100).map { _ in a.next() }
        #expect(first == (0..<100).map { _ in b.next() })
        #expect(first != (0..<100).map { _ in c.next() })
    }

    @Test("below(n) stays below n and reaches all of it")
    func bounds() {
        var random = Xoshiro256(seed: 7)
        var seen = Set<UInt64>()
        for _ in 0..<1000 { seen.insert(random.below(10)) }
        #expect(seen == Set(0..<10))
    }
}

@Suite struct MembershipTests {
    @Test("equal memberships are equal values, whatever the order they were given in; members are listed once")
    func normal() throws {
        let a = Membership(voters: [NodeID(3), NodeID(1)], outgoing: [NodeID(1), NodeID(2)], learners: [NodeID(4)])
        let b = Membership(voters: [NodeID(1), NodeID(3)], outgoing: [NodeID(2), NodeID(1)], learners: [NodeID(4)])
        #expect(a == b)
        #expect(a.members == [1, 2, 3, 4].map { NodeID($0) })
        #expect(a.isJoint && a.isVoter(NodeID(2)) && !a.isVoter(NodeID(4)))
        var writer = ByteWriter()
        writer.write(a)
        let decoded = try writer.bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            return try reader.readMembership()
        }
        #expect(decoded == a)
    }
}
