import Primitives
import SWIM
import SystemOpenSSL

/// Why a packet or a frame was thrown away.
package enum GossipRefusal: String, Error, CaseIterable, Sendable {
    /// Too short, too long, or not of this protocol.
    case malformed
    /// Of another version of the format.
    case version
    /// Of another cluster: never decrypted, so that two clusters cannot merge.
    case foreign
    /// Sealed with a key that is not in the keyring: another secret, or a key that was removed.
    case unknownKey = "unknown_key"
    /// The key is known, but the bytes were not sealed with it as they are: forged, or changed on the way.
    case forged
    /// From an address that no member can have.
    case address
}

/// How messages travel between members, as datagrams and as frames of streams:
///
///     magic u8 | version u8 | label u32 | key u32 | nonce 12 bytes | ciphertext | tag 16 bytes
///
/// `label` is the beginning of SHA-256 over the cluster's name, `key` the fingerprint of the key: hints that keep a
/// stranger's packet from being decrypted, and spare trying all keys. Both are in the clear and can be forged; what
/// counts is that the whole head, the cluster's full name and the transport are authenticated together with the message
/// (the associated data of AES-256-GCM).
///
/// A packet that is played again is taken again. Every claim about a member carries the member's incarnation, and one
/// that is not newer than what is known changes nothing; an acknowledgement counts only for the probe whose number it
/// has, while that is under way; a probe or a comparison of all that is known is answered once more, to the address
/// that it came from, in about as many bytes. What remains: a member's load and newest placement, which nothing is
/// decided by but where new clients go, may be old for a second; and a member that was forgotten may be listed until it
/// is found dead. So a window of numbers per sender, which would have to survive restarts, is not kept.
package struct GossipSeal: Sendable {
    package static let magic: UInt8 = 0xb6
    package static let version: UInt8 = 1
    package static let headBytes = 10
    /// What is added to a message.
    package static let overhead = headBytes + AES256GCM.overhead

    package var keyring: GossipKeyring
    private let label: [UInt8]
    private let labelHint: [UInt8]

    /// `label` is the cluster's name.
    package init(keyring: GossipKeyring, label: String) throws(OpenSSLError) {
        self.keyring = keyring
        self.label = Array(label.utf8)
        labelHint = Array(try Digest.sha256(self.label).prefix(4))
    }

    /// Seals a message with the primary key.
    package func seal(
        _ message: [UInt8],
        for transport: GossipTransport
    ) throws(AES256GCMError) -> [UInt8] {
        let key = keyring.primary
        let hint = key.fingerprint.rawValue
        var packet = [GossipSeal.magic, GossipSeal.version] + labelHint
        packet += (0..<4).map { UInt8(truncatingIfNeeded: hint >> UInt32(24 - 8 * $0)) }
        packet += try AES256GCM.seal(message, key: key.bytes, associatedData: associatedData(packet, transport))
        return packet
    }

    /// The message of a packet, if a member of this cluster sealed it.
    package func open(
        _ packet: UnsafeRawBufferPointer,
        from transport: GossipTransport
    ) throws(GossipRefusal) -> [UInt8] {
        let key = try key(of: packet)
        guard packet.count >= GossipSeal.overhead else { throw .malformed }
        let head = [UInt8](packet.prefix(GossipSeal.headBytes))
        do throws(AES256GCMError) {
            return try AES256GCM.open(
                UnsafeRawBufferPointer(rebasing: packet[GossipSeal.headBytes...]),
                key: key.bytes,
                associatedData: associatedData(head, transport)
            )
        } catch {
            throw .forged
        }
    }

    /// The key that the head of a packet names: enough to refuse most of what is not a member's before the rest of a
    /// frame is there.
    package func key(of head: UnsafeRawBufferPointer) throws(GossipRefusal) -> GossipKey {
        guard head.count >= GossipSeal.headBytes, head[0] == GossipSeal.magic else { throw .malformed }
        guard head[1] == GossipSeal.version else { throw .version }
        guard head[2..<6].elementsEqual(labelHint) else { throw .foreign }
        let hint = head[6..<10].reduce(0) { $0 << 8 | UInt32($1) }
        guard let key = keyring[KeyFingerprint(rawValue: hint)] else { throw .unknownKey }
        return key
    }

    /// A frame of a stream is nothing as a datagram, nor the other way round. Every part but the last has a fixed
    /// length: no two different things look alike.
    private func associatedData(_ head: [UInt8], _ transport: GossipTransport) -> [UInt8] {
        head + [transport == .datagram ? 1 : 2] + label
    }
}
