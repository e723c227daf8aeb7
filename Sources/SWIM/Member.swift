import Primitives

/// Where a node's gossip socket is: one port for datagrams and for streams.
package struct GossipAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// A literal IPv4 or IPv6 address as `inet_ntop` writes it: addresses are compared by their text.
    package let host: String
    package let port: UInt16

    /// The longest literal IPv6 address, one with an IPv4 tail.
    package static let maxHostBytes = 45

    /// Nil for anything but digits, colons and dots: a name, an address with a scope, an empty text or port 0.
    package init?(host: String, port: UInt16) {
        let utf8 = host.utf8
        guard port != 0, !utf8.isEmpty, utf8.count <= GossipAddress.maxHostBytes else { return nil }
        var hasSeparator = false
        for byte in utf8 {
            switch byte {
            case UInt8(ascii: "."), UInt8(ascii: ":"): hasSeparator = true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                UInt8(ascii: "A")...UInt8(ascii: "F"):
                break
            default: return nil
            }
        }
        guard hasSeparator else { return nil }
        self.host = host
        self.port = port
    }

    package static func < (a: GossipAddress, b: GossipAddress) -> Bool { (a.host, a.port) < (b.host, b.port) }

    package var description: String { host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// What travels with a member. `connections`, `load` and `placementEpoch` are hints: they come with a member's own
/// pings and acks, and nothing is gossiped when they change; in a cluster of n nodes they come every n / 4 s, on
/// average. Everything else is gossiped at once.
package struct MemberMetadata: Equatable, Sendable {
    package let node: NodeID
    /// Unique in a cluster by agreement of its operators; two live nodes with one name are a conflict.
    package let name: String
    /// Where clients and peers reach the node's other ports.
    package let host: String
    package let meshPort: UInt16
    package let gatewayPort: UInt16
    /// Redis clients, by face; 0: the node has no such listener.
    package let respPort: UInt16
    package let clusterPort: UInt16
    package let sentinelPort: UInt16
    package let adminPort: UInt16
    package let zone: String
    /// The share of partitions, 1...100.
    package let weight: UInt8
    /// The program's version, for people.
    package let version: String
    /// The newest wire and disk formats that the node understands.
    package let featureLevel: UInt16
    /// Client connections.
    package var connections: UInt32
    /// How busy the node is, in percent.
    package var load: UInt8 { didSet { load = min(load, 100) } }
    /// The newest placement that the node knows.
    package var placementEpoch: UInt64
    /// The node gives its owners and clients away and takes no new ones.
    package var isDraining: Bool
    /// The node belongs to no cluster yet and asks to be taken in.
    package var isJoining: Bool

    package static let maxNameBytes = 64
    package static let maxHostBytes = 255
    package static let maxZoneBytes = 64
    package static let maxVersionBytes = 32
    /// Every metadata that passes the bounds above is shorter encoded.
    package static let maxEncodedBytes = 512

    /// Throws `.tooLong` or `.malformed` with the name of the field that is out of its bounds.
    package init(
        node: NodeID,
        name: String,
        host: String,
        meshPort: UInt16,
        gatewayPort: UInt16 = 0,
        respPort: UInt16 = 0,
        clusterPort: UInt16 = 0,
        sentinelPort: UInt16 = 0,
        adminPort: UInt16 = 0,
        zone: String = "",
        weight: UInt8 = 1,
        version: String = "",
        featureLevel: UInt16 = 0,
        connections: UInt32 = 0,
        load: UInt8 = 0,
        placementEpoch: UInt64 = 0,
        isDraining: Bool = false,
        isJoining: Bool = false
    ) throws(DecodeError) {
        func check(_ text: String, _ limit: Int, _ field: StaticStringName) throws(DecodeError) {
            guard text.utf8.count <= limit else {
                throw .tooLong(field: field, length: text.utf8.count, limit: limit)
            }
        }
        try check(name, MemberMetadata.maxNameBytes, "member name")
        try check(host, MemberMetadata.maxHostBytes, "member host")
        try check(zone, MemberMetadata.maxZoneBytes, "member zone")
        try check(version, MemberMetadata.maxVersionBytes, "member version")
        guard !name.isEmpty else { throw .malformed("member name") }
        guard (1...100).contains(weight) else { throw .malformed("member weight") }
        guard load <= 100 else { throw .malformed("member load") }
        self.node = node
        self.name = name
        self.host = host
        self.meshPort = meshPort
        self.gatewayPort = gatewayPort
        self.respPort = respPort
        self.clusterPort = clusterPort
        self.sentinelPort = sentinelPort
        self.adminPort = adminPort
        self.zone = zone
        self.weight = weight
        self.version = version
        self.featureLevel = featureLevel
        self.connections = connections
        self.load = load
        self.placementEpoch = placementEpoch
        self.isDraining = isDraining
        self.isJoining = isJoining
    }

    var hints: MemberHints {
        get { MemberHints(connections: connections, load: load, placementEpoch: placementEpoch) }
        set {
            connections = newValue.connections
            load = newValue.load
            placementEpoch = newValue.placementEpoch
        }
    }

    /// The same but for the hints: nothing that anyone has to know at once.
    func isEqualButForHints(to other: MemberMetadata) -> Bool {
        var copy = self
        copy.hints = other.hints
        return copy == other
    }
}

/// The part of the metadata that changes all the time.
struct MemberHints: Equatable, Sendable {
    var connections: UInt32
    var load: UInt8
    var placementEpoch: UInt64
}

/// What a node believes of a member.
package enum MemberState: UInt8, Sendable {
    case alive = 0
    /// A probe failed, nobody has heard a refutation yet; still a member in every respect.
    case suspect = 1
    /// Failed: the suspicion was not refuted in time.
    case down = 2
    /// Said goodbye.
    case left = 3

    package var isLive: Bool { self == .alive || self == .suspect }
}

/// A member as one node sees it.
package struct Member: Equatable, Sendable {
    package internal(set) var metadata: MemberMetadata
    package internal(set) var address: GossipAddress
    /// The member's own clock of what it says of itself: only the member raises it, and a later one always wins.
    package internal(set) var incarnation: UInt64
    package internal(set) var state: MemberState
    /// Since when it has been in this state, as this node knows it.
    package internal(set) var since: Instant

    package var node: NodeID { metadata.node }
}

/// What changed in the list of members. A node has no events about itself, but for conflicts.
package enum MemberEvent: Equatable, Sendable {
    /// A member that was unknown, down or left is alive.
    case joined(Member)
    /// Other metadata; new hints alone are no event.
    case updated(Member)
    case suspected(Member)
    /// The suspicion was refuted.
    case recovered(Member)
    case down(Member)
    case left(Member)
    /// Two live nodes share an identity or a name. `mine` is what this node holds and goes on holding, `theirs` what it
    /// was told.
    ///
    /// Same `node`: `theirs` has another address and is ignored until `mine` is down. A process that restarted at a new
    /// address causes this about itself once; a real duplicate causes it again every `conflictInterval`.
    /// Different `node`: the same name. Both are members, since the id is the identity. A node that has lost its disk,
    /// and so its id, causes this when it comes back before its old id is down.
    case conflict(name: String, mine: Member, theirs: Member)
}
