import SystemOpenSSL
import Testing

private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

private func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.compactMap { $0.hexDigitValue.map { UInt8($0) } }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

private func open(_ sealed: [UInt8], key: [UInt8], _ data: [UInt8] = []) throws -> [UInt8] {
    try sealed.withUnsafeBytes { try AES256GCM.open($0, key: key, associatedData: data) }
}

@Suite struct SealTests {
    private struct Vector {
        var key: String
        var nonce: String
        var plaintext: String
        var data: String
        var ciphertext: String
        var tag: String
    }

    private static let text =
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    private static let sealedText =
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        + "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
    private static let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"

    /// Test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B.
    private static let vectors = [
        Vector(
            key: String(repeating: "00", count: 32),
            nonce: String(repeating: "00", count: 12),
            plaintext: "",
            data: "",
            ciphertext: "",
            tag: "530f8afbc74536b9a963b4f1c4cb738b"
        ),
        Vector(
            key: String(repeating: "00", count: 32),
            nonce: String(repeating: "00", count: 12),
            plaintext: String(repeating: "00", count: 16),
            data: "",
            ciphertext: "cea7403d4d606b6e074ec5d3baf39d18",
            tag: "d0d1c8a799996bf0265b98b5d48ab919"
        ),
        Vector(
            key: key,
            nonce: "cafebabefacedbaddecaf888",
            plaintext: text,
            data: "",
            ciphertext: sealedText,
            tag: "b094dac5d93471bdec1a502270e3cc6c"
        ),
        Vector(
            key: key,
            nonce: "cafebabefacedbaddecaf888",
            plaintext: String(text.prefix(120)),
            data: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            ciphertext: String(sealedText.prefix(120)),
            tag: "76fc6ece0f4e1768cddf8853bb2d551b"
        ),
    ]

    @Test("AES-256-GCM gives the published ciphertexts and tags, and opens them")
    func vectors() throws {
        for vector in SealTests.vectors {
            let sealed = try AES256GCM.seal(
                bytes(vector.plaintext),
                key: bytes(vector.key),
                nonce: bytes(vector.nonce),
                associatedData: bytes(vector.data)
            )
            #expect(hex(sealed) == vector.nonce + vector.ciphertext + vector.tag)
            #expect(try open(sealed, key: bytes(vector.key), bytes(vector.data)) == bytes(vector.plaintext))
        }
    }

    @Test("a flipped bit anywhere, a cut, another key and other associated data are told from what was sealed")
    func tampering() throws {
        let key = [UInt8](repeating: 7, count: 32)
        let data = Array("label".utf8)
        let sealed = try AES256GCM.seal(Array("who is alive".utf8), key: key, associatedData: data)
        #expect(try open(sealed, key: key, data) == Array("who is alive".utf8))
        for bit in 0..<sealed.count * 8 {
            var changed = sealed
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: AES256GCMError.notAuthentic) { try open(changed, key: key, data) }
        }
        for length in 0..<sealed.count {
            let expected = length < 28 ? AES256GCMError.truncated(length) : .notAuthentic
            #expect(throws: expected) { try open(Array(sealed.prefix(length)), key: key, data) }
        }
        #expect(throws: AES256GCMError.notAuthentic) { try open(sealed + [0], key: key, data) }
        #expect(throws: AES256GCMError.notAuthentic) { try open(sealed, key: key, Array("Label".utf8)) }
        #expect(throws: AES256GCMError.notAuthentic) { try open(sealed, key: key) }
        var other = key
        other[31] ^= 1
        #expect(throws: AES256GCMError.notAuthentic) { try open(sealed, key: other, data) }
    }

    @Test("keys and nonces of another length are refused by their length, and say so")
    func lengths() throws {
        #expect(throws: AES256GCMError.keyLength(16)) {
            try AES256GCM.seal([], key: [UInt8](repeating: 0, count: 16), associatedData: [])
        }
        #expect(throws: AES256GCMError.keyLength(0)) { try open([UInt8](repeating: 0, count: 40), key: []) }
        #expect(throws: AES256GCMError.nonceLength(8)) {
            try AES256GCM.seal(
                [],
                key: [UInt8](repeating: 0, count: 32),
                nonce: [UInt8](repeating: 0, count: 8),
                associatedData: []
            )
        }
        #expect("\(AES256GCMError.keyLength(16))" == "a key of 16 bytes; AES-256 takes 32")
        #expect("\(AES256GCMError.truncated(3))" == "3 bytes; nonce and tag alone take 28")
    }

    @Test("two seals of the same text differ: the nonce is drawn anew")
    func nonces() throws {
        let key = [UInt8](repeating: 1, count: 32)
        var seen: Set<[UInt8]> = []
        for _ in 0..<200 {
            let sealed = try AES256GCM.seal([], key: key, associatedData: [])
            #expect(try open(sealed, key: key).isEmpty)
            seen.insert(Array(sealed.prefix(AES256GCM.nonceBytes)))
        }
        #expect(seen.count == 200)
    }

    @Test("HKDF-SHA-256 gives the keys of RFC 5869, appendix A.1 to A.3")
    func derivation() throws {
        let basic = try HKDF.sha256(
            secret: [UInt8](repeating: 0x0b, count: 22),
            salt: bytes("000102030405060708090a0b0c"),
            info: bytes("f0f1f2f3f4f5f6f7f8f9"),
            count: 42
        )
        #expect(
            hex(basic) == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        )
        let long = try HKDF.sha256(
            secret: Array(0x00...0x4f),
            salt: Array(0x60...0xaf),
            info: Array(0xb0...0xff),
            count: 82
        )
        #expect(
            hex(long) == "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                + "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                + "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        )
        let empty = try HKDF.sha256(secret: [UInt8](repeating: 0x0b, count: 22), info: [], count: 42)
        #expect(
            hex(empty) == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        )
    }
}
