import Primitives
import SystemOpenSSL

/// A key of the gossip's AES-256-GCM. Never shown: its description is its fingerprint.
package struct GossipKey: Equatable, Sendable, CustomStringConvertible, CustomReflectable {
    package static let byteCount = AES256GCM.keyBytes

    package let bytes: [UInt8]
    package let fingerprint: KeyFingerprint

    /// Throws `.keyLength` unless there are 32 bytes.
    package init(_ bytes: [UInt8]) throws(KeyringError) {
        guard bytes.count == GossipKey.byteCount else { throw .keyLength(bytes.count) }
        self.bytes = bytes
        fingerprint = try KeyFingerprint(of: bytes)
    }

    /// 64 hexadecimal digits.
    package init(hex: String) throws(KeyringError) {
        guard let bytes = HexText.bytes(hex) else { throw .notHexadecimal }
        try self.init(bytes)
    }

    /// The key of a cluster that nobody has given another one: HKDF-SHA256 (RFC 5869) of the secret, for the cluster's
    /// name. Two clusters with one secret have different keys.
    package init(secret: [UInt8], cluster: String) throws(KeyringError) {
        let derived: [UInt8]
        do throws(OpenSSLError) {
            derived = try HKDF.sha256(secret: secret, info: Array(cluster.utf8), count: GossipKey.byteCount)
        } catch {
            throw .openSSL(error)
        }
        try self.init(derived)
    }

    package var description: String { "key \(fingerprint)" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Four bytes by which operators and packets name a key: the beginning of SHA-256 over a label and the key. It tells
/// nothing about the key, and 8 keys rarely share one; a keyring refuses to hold two that do.
package struct KeyFingerprint: Hashable, Sendable, CustomStringConvertible {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    init(of key: [UInt8]) throws(KeyringError) {
        do throws(OpenSSLError) {
            let digest = try Digest.sha256(Array("vencejo gossip key\n".utf8) + key)
            rawValue = digest.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
        } catch {
            throw .openSSL(error)
        }
    }

    /// 8 hexadecimal digits.
    package init?(hex: String) {
        guard let bytes = HexText.bytes(hex), bytes.count == 4 else { return nil }
        rawValue = bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }

    package var description: String {
        HexText.text((0..<4).map { UInt8(truncatingIfNeeded: rawValue >> UInt32(24 - 8 * $0)) })
    }
}

/// Why a keyring was not made or changed.
package enum KeyringError: Error, Equatable, CustomStringConvertible {
    case keyLength(Int)
    case notHexadecimal
    case notAFingerprint
    case empty
    case full
    /// Another key has this fingerprint already.
    case sameFingerprint(KeyFingerprint)
    case unknown(KeyFingerprint)
    case isPrimary(KeyFingerprint)
    case damaged(DecodeError)
    case openSSL(OpenSSLError)

    package var description: String {
        switch self {
        case .keyLength(let count): "a key of \(count) bytes; must be \(GossipKey.byteCount)"
        case .notHexadecimal: "a key must be \(2 * GossipKey.byteCount) hexadecimal digits"
        case .notAFingerprint: "a key's fingerprint must be 8 hexadecimal digits"
        case .empty: "a keyring without a key"
        case .full: "the keyring has \(GossipKeyring.capacity) keys, which is all that it may have: remove one first"
        case .sameFingerprint(let fingerprint): "another key has the fingerprint \(fingerprint): draw a new one"
        case .unknown(let fingerprint): "no key \(fingerprint) is installed here"
        case .isPrimary(let fingerprint): "key \(fingerprint) is the one that encrypts: use another one first"
        case .damaged(let error): "the keyring's file is damaged: \(error)"
        case .openSSL(let error): error.description
        }
    }
}

/// The keys of the gossip: the first one encrypts, all decrypt. So a new key comes into use without a pause, as in
/// memberlist: install it on every node, use it on every node, remove the old one from every node.
package struct GossipKeyring: Equatable, Sendable {
    package static let capacity = 8

    /// 1...8 keys with different fingerprints.
    package private(set) var keys: [GossipKey]

    package init(primary: GossipKey) { keys = [primary] }

    /// The first one encrypts.
    package init(_ keys: [GossipKey]) throws(KeyringError) {
        guard let first = keys.first else { throw .empty }
        self.init(primary: first)
        for key in keys.dropFirst() { _ = try install(key) }
    }

    /// What a node without a keyring of its own begins with: the configured keys, or the one that the secret gives.
    package init(configured: String, secret: [UInt8], cluster: String) throws(KeyringError) {
        guard !configured.isEmpty else {
            self.init(primary: try GossipKey(secret: secret, cluster: cluster))
            return
        }
        var keys: [GossipKey] = []
        for text in configured.split(separator: ",", omittingEmptySubsequences: false) {
            keys.append(try GossipKey(hex: String(text)))
        }
        try self.init(keys)
    }

    package var primary: GossipKey { keys[0] }

    package subscript(fingerprint: KeyFingerprint) -> GossipKey? { keys.first { $0.fingerprint == fingerprint } }

    /// Adds a key that decrypts. False: it was there.
    package mutating func install(_ key: GossipKey) throws(KeyringError) -> Bool {
        if let known = self[key.fingerprint] {
            guard known == key else { throw .sameFingerprint(key.fingerprint) }
            return false
        }
        guard keys.count < GossipKeyring.capacity else { throw .full }
        keys.append(key)
        return true
    }

    /// Encrypts with an installed key from now on. False: it did already.
    package mutating func use(_ fingerprint: KeyFingerprint) throws(KeyringError) -> Bool {
        guard let index = keys.firstIndex(where: { $0.fingerprint == fingerprint }) else { throw .unknown(fingerprint) }
        guard index != 0 else { return false }
        keys.insert(keys.remove(at: index), at: 0)
        return true
    }

    /// Forgets a key. False: it was not there, so that a removal can be repeated.
    package mutating func remove(_ fingerprint: KeyFingerprint) throws(KeyringError) -> Bool {
        guard primary.fingerprint != fingerprint else { throw .isPrimary(fingerprint) }
        let before = keys.count
        keys.removeAll { $0.fingerprint == fingerprint }
        return keys.count < before
    }

    /// Applies a change by its name. False: nothing was to be changed.
    package mutating func apply(_ change: KeyringChange) throws(KeyringError) -> Bool {
        switch change {
        case .install(let key): try install(key)
        case .use(let fingerprint): try use(fingerprint)
        case .remove(let fingerprint): try remove(fingerprint)
        }
    }

    // MARK: File

    /// The name of the meta file in a node's data directory, whose format has the checksum.
    package static let file = "keyring"
    private static let version: UInt8 = 1

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(GossipKeyring.version)
        writer.write(UInt8(keys.count))
        for key in keys { writer.writeRaw(key.bytes) }
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(KeyringError) {
        guard bytes.count >= 2 else { throw .damaged(.truncated) }
        guard bytes[0] == GossipKeyring.version else {
            throw .damaged(.unknown(field: "keyring version", value: UInt64(bytes[0])))
        }
        let count = Int(bytes[1])
        guard count <= GossipKeyring.capacity else {
            throw .damaged(.tooLong(field: "keyring", length: count, limit: GossipKeyring.capacity))
        }
        let extra = bytes.count - 2 - count * GossipKey.byteCount
        guard extra >= 0 else { throw .damaged(.truncated) }
        guard extra == 0 else { throw .damaged(.trailingBytes(extra)) }
        var keys: [GossipKey] = []
        for index in 0..<count {
            let start = 2 + index * GossipKey.byteCount
            keys.append(try GossipKey(Array(bytes[start..<start + GossipKey.byteCount])))
        }
        try self.init(keys)
    }
}

/// What an operator does with a keyring.
package enum KeyringChange: Equatable, Sendable {
    case install(GossipKey)
    case use(KeyFingerprint)
    case remove(KeyFingerprint)
}

/// Bytes as hexadecimal digits.
enum HexText {
    static func text(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Nil unless there are pairs of digits and nothing else.
    static func bytes(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var high: UInt8?
        for unit in text.utf8 {
            let digit: UInt8
            switch unit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = unit - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = unit - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = unit - UInt8(ascii: "A") + 10
            default: return nil
            }
            if let first = high {
                bytes.append(first << 4 | digit)
                high = nil
            } else {
                high = digit
            }
        }
        return high == nil ? bytes : nil
    }
}
