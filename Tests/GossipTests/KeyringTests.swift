import Cluster
import Primitives
import SWIM
import Testing

func key(_ byte: UInt8) throws -> GossipKey { try GossipKey([UInt8](repeating: byte, count: 32)) }

@Suite struct KeyringTests {
    @Test("the first key encrypts, all decrypt: install, use, remove, in any order that leaves a key")
    func changes() throws {
        let (a, b, c) = (try key(1), try key(2), try key(3))
        var ring = GossipKeyring(primary: a)
        #expect(try ring.install(b))
        #expect(try !ring.install(b), "installing twice changes nothing")
        #expect(try ring.apply(.install(c)))
        #expect(ring.primary == a && ring.keys == [a, b, c])
        #expect(throws: KeyringError.isPrimary(a.fingerprint)) { try ring.remove(a.fingerprint) }
        #expect(try ring.apply(.use(c.fingerprint)))
        #expect(try !ring.use(c.fingerprint), "using twice changes nothing")
        #expect(ring.keys == [c, a, b])
        #expect(try ring.apply(.remove(a.fingerprint)))
        #expect(try !ring.remove(a.fingerprint), "removing twice changes nothing")
        #expect(ring.keys == [c, b])
        #expect(throws: KeyringError.unknown(a.fingerprint)) { try ring.use(a.fingerprint) }
        #expect(ring[b.fingerprint] == b && ring[a.fingerprint] == nil)
    }

    @Test("a keyring has at most eight keys of 32 bytes")
    func bounds() throws {
        var ring = GossipKeyring(primary: try key(0))
        for byte: UInt8 in 1..<8 { #expect(try ring.install(key(byte))) }
        #expect(throws: KeyringError.full) { try ring.install(key(8)) }
        #expect(ring.keys.count == GossipKeyring.capacity)
        #expect(throws: KeyringError.keyLength(31)) { try GossipKey([UInt8](repeating: 0, count: 31)) }
        #expect(throws: KeyringError.notHexadecimal) { try GossipKey(hex: "0g") }
        #expect(throws: KeyringError.notHexadecimal) { try GossipKey(hex: "000") }
        #expect(throws: KeyringError.keyLength(2)) { try GossipKey(hex: "00Ff") }
        #expect(throws: KeyringError.empty) { try GossipKeyring([]) }
        let digits = String(repeating: "0a", count: 32)
        #expect(try GossipKey(hex: digits) == key(0x0a) && GossipKey(hex: digits.uppercased()) == key(0x0a))
    }

    @Test("two keys of one fingerprint are not held together, as packets name keys by it")
    func collision() throws {
        // Found by search: 4 bytes of fingerprint have their birthday at about 2^16 keys.
        var seen: [KeyFingerprint: GossipKey] = [:]
        var pair: (GossipKey, GossipKey)?
        var random = Xoshiro256(seed: 3)
        for _ in 0..<400_000 {
            let bytes = (0..<4).flatMap { _ in
                let word = random.next()
                return (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) }
            }
            let drawn = try GossipKey(bytes)
            if let other = seen.updateValue(drawn, forKey: drawn.fingerprint) {
                pair = (other, drawn)
                break
            }
        }
        let (a, b) = try #require(pair)
        var ring = GossipKeyring(primary: a)
        #expect(throws: KeyringError.sameFingerprint(a.fingerprint)) { try ring.install(b) }
    }

    @Test("without a keyring the key follows from the secret and the cluster's name")
    func derived() throws {
        func ring(_ secret: String, _ cluster: String, _ configured: String = "") throws -> GossipKeyring {
            try GossipKeyring(configured: configured, secret: Array(secret.utf8), cluster: cluster)
        }
        #expect(try ring("one", "x") == ring("one", "x"))
        #expect(try ring("one", "x").primary != ring("one", "y").primary)
        #expect(try ring("one", "x").primary != ring("two", "x").primary)
        let texts = [String(repeating: "01", count: 32), String(repeating: "02", count: 32)]
        #expect(try ring("one", "x", texts.joined(separator: ",")).keys == [key(1), key(2)])
        #expect(throws: KeyringError.keyLength(0)) { try ring("one", "x", texts[0] + ",") }
    }

    @Test("a keyring survives its file; a damaged one is refused by what is wrong with it")
    func file() throws {
        let ring = try GossipKeyring([key(5), key(6), key(7)])
        let bytes = ring.encoded()
        #expect(try GossipKeyring(decoding: bytes) == ring)
        for length in 0..<bytes.count {
            #expect(throws: KeyringError.damaged(.truncated)) {
                try GossipKeyring(decoding: Array(bytes.prefix(length)))
            }
        }
        #expect(throws: KeyringError.damaged(.trailingBytes(1))) { try GossipKeyring(decoding: bytes + [0]) }
        #expect(throws: KeyringError.damaged(.unknown(field: "keyring version", value: 9))) {
            try GossipKeyring(decoding: [9] + bytes.dropFirst())
        }
        #expect(throws: KeyringError.damaged(.tooLong(field: "keyring", length: 9, limit: 8))) {
            try GossipKeyring(decoding: [1, 9])
        }
        #expect(throws: KeyringError.empty) { try GossipKeyring(decoding: [1, 0]) }
    }

    @Test("SE-21 a key is never shown, whatever prints it")
    func secrecy() throws {
        let ring = try GossipKeyring([GossipKey(Array("quetzal-quetzal-quetzal-quetzal!".utf8))])
        var dumped = ""
        dump(ring, to: &dumped)
        let fingerprint = ring.primary.fingerprint.description
        #expect(KeyFingerprint(hex: fingerprint) == ring.primary.fingerprint && fingerprint.utf8.count == 8)
        for text in [dumped, "\(ring)", String(reflecting: ring), "\(KeyringChange.install(ring.primary))"] {
            // 113 is the first byte of the key.
            #expect(!text.contains("quetzal") && !text.contains("113"))
        }
    }
}

@Suite struct GossipSealTests {
    private func seal(_ ring: GossipKeyring, label: String = "test") throws -> GossipSeal {
        try GossipSeal(keyring: ring, label: label)
    }

    private func open(
        _ packet: [UInt8],
        _ seal: GossipSeal,
        _ transport: GossipTransport = .datagram
    ) throws -> [UInt8] {
        try packet.withUnsafeBytes { try seal.open($0, from: transport) }
    }

    @Test("what one member seals another one opens, with any of its keys, over the transport that it was sealed for")
    func members() throws {
        let (old, new) = (try key(1), try key(2))
        let before = try seal(GossipKeyring([old]))
        let between = try seal(GossipKeyring([old, new]))
        let after = try seal(GossipKeyring([new, old]))
        let message = Array("n3 is alive".utf8)
        for sender in [before, between, after] {
            let packet = try sender.seal(message, for: .datagram)
            #expect(packet.count == message.count + GossipSeal.overhead)
            #expect(try open(packet, between) == message && open(packet, after) == message)
            #expect(throws: GossipRefusal.forged) { try open(packet, between, .stream) }
        }
        #expect(throws: GossipRefusal.unknownKey) { try open(after.seal(message, for: .datagram), before) }
    }

    @Test("CL-19 another secret is an unknown key, another cluster foreign even if it has the same keys")
    func strangers() throws {
        let ring = GossipKeyring(primary: try key(1))
        let own = try seal(ring)
        let packet = try seal(ring, label: "other").seal([1, 2, 3], for: .datagram)
        #expect(throws: GossipRefusal.foreign) { try open(packet, own) }
        // With a forged hint it is opened, and is not authentic: the whole name is part of what is authenticated.
        var hinted = packet
        hinted.replaceSubrange(2..<6, with: try own.seal([], for: .datagram)[2..<6])
        #expect(throws: GossipRefusal.forged) { try open(hinted, own) }
        let secret = try seal(GossipKeyring(configured: "", secret: Array("another".utf8), cluster: "test"))
        #expect(throws: GossipRefusal.unknownKey) { try open(secret.seal([], for: .datagram), own) }
    }

    @Test("every flipped bit and every cut is refused")
    func tampering() throws {
        let own = try seal(GossipKeyring(primary: try key(1)))
        let packet = try own.seal(Array("n3 is down".utf8), for: .stream)
        for bit in 0..<packet.count * 8 {
            var changed = packet
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let expected: GossipRefusal =
                switch bit / 8 {
                case 0: .malformed
                case 1: .version
                case 2..<6: .foreign
                case 6..<10: .unknownKey
                default: .forged
                }
            #expect(throws: expected) { try open(changed, own, .stream) }
        }
        for length in 0..<packet.count {
            let expected: GossipRefusal = length < GossipSeal.overhead ? .malformed : .forged
            #expect(throws: expected) { try open(Array(packet.prefix(length)), own, .stream) }
        }
    }
}

@Suite struct GossipSeedTests {
    @Test("a seed is an address, an address in brackets, or a name, with or without a port")
    func forms() throws {
        for (text, host, port) in [
            ("127.0.0.1:7", "127.0.0.1", 7), ("n1.example", "n1.example", 7947), ("n1.example:80", "n1.example", 80),
            ("[2001:db8::1]:80", "2001:db8::1", 80), ("[::1]", "::1", 7947), ("2001:db8::1", "2001:db8::1", 7947),
        ] {
            let seed = try GossipSeed(text, defaultPort: 7947)
            #expect(seed.host == host && seed.port == port, "\(text)")
        }
        for text in ["", ":7", "a:", "a:0", "a:65536", "[::1]:", "[::1]7", "a:b"] {
            #expect(throws: GossipError.address(text)) { try GossipSeed(text, defaultPort: 7947) }
        }
    }

    @Test("a literal address resolves to itself, a name that does not exist to nothing")
    func resolution() throws {
        #expect(
            try GossipSeed("127.0.0.1:7", defaultPort: 1).resolve().compactMap { GossipAddress($0)?.description }
                == ["127.0.0.1:7"]
        )
        #expect(
            try GossipSeed("[::1]:7", defaultPort: 1).resolve().compactMap { GossipAddress($0)?.description }
                == ["[::1]:7"]
        )
        #expect(try GossipSeed("nowhere.invalid:7", defaultPort: 1).resolve().isEmpty)
    }
}
