import Primitives
import Rooms

/// Why a namespace's policy refused a client.
package enum PolicyRefusal: Int, CaseIterable, Sendable {
    /// `anonymous_subscribe` is false.
    case anonymousSubscribe
    /// `subscribe_roles` does not have the client's role.
    case subscribeRole
    /// `anonymous_publish` is false.
    case anonymousPublish
    /// `publish_roles` does not have the client's role.
    case publishRole
    /// `max_message_size`.
    case messageSize
    /// `publish_rate`.
    case publishRate
}

/// A namespace's policy in the form in which it is asked: plain numbers, so that a look costs no retain.
struct NamespaceRules {
    /// Why subscribing is refused; nil = it is not.
    var subscribeRefusal: PolicyRefusal?
    /// Why publishing is refused; nil = it is not.
    var publishRefusal: PolicyRefusal?
    /// Payload bytes of one publication.
    var maxMessageSize = Int.max
    /// Nil = unlimited.
    var rate: PublishRate?
    /// Nil = the connection's own.
    var heartbeat: Heartbeat?

    init() {}

    init(_ namespace: GatewayNamespace) {
        func excludes(_ roles: [String]) -> Bool {
            !roles.isEmpty && !roles.contains(GatewayNamespace.anonymousRole)
        }
        if !namespace.anonymousSubscribe {
            subscribeRefusal = .anonymousSubscribe
        } else if excludes(namespace.subscribeRoles) {
            subscribeRefusal = .subscribeRole
        }
        if !namespace.anonymousPublish {
            publishRefusal = .anonymousPublish
        } else if excludes(namespace.publishRoles) {
            publishRefusal = .publishRole
        }
        if namespace.maxMessageSize > 0 { maxMessageSize = namespace.maxMessageSize }
        if namespace.publishRate > 0 {
            rate = PublishRate(perSecond: namespace.publishRate, burst: namespace.publishBurst)
        }
        heartbeat = namespace.heartbeat
    }
}

/// The rules of all namespaces, found by a room's name.
struct NamespaceIndex {
    /// Longest prefix first; the last one governs whatever no other does.
    private let prefixes: ContiguousArray<[UInt8]>
    private let rules: ContiguousArray<NamespaceRules>
    /// For each first byte the row at which the search begins, so that it passes over no prefix of another letter that
    /// is longer than any of this one.
    private let first: ContiguousArray<Int32>

    init(_ namespaces: [GatewayNamespace]) {
        var sorted = namespaces.sorted { $0.prefix.count > $1.prefix.count }
        if sorted.last?.prefix.isEmpty != true { sorted.append(GatewayNamespace()) }
        prefixes = ContiguousArray(sorted.map(\.prefix))
        rules = ContiguousArray(sorted.map(NamespaceRules.init))
        first = ContiguousArray(
            (0..<256).map { byte in
                Int32(sorted.firstIndex { $0.prefix.first.map { Int($0) == byte } ?? true } ?? sorted.count - 1)
            }
        )
    }

    var count: Int { rules.count }

    subscript(row: Int32) -> NamespaceRules { rules[Int(row)] }

    /// The row of the namespace with the longest prefix of the name.
    func row(of room: RoomName) -> Int32 {
        room.bytes.withUnsafeBytes { name in
            guard let byte = name.first else { return Int32(prefixes.count - 1) }
            var row = Int(first[Int(byte)])
            while row < prefixes.count - 1 {
                let matches = prefixes[row].withUnsafeBytes { prefix in
                    prefix.count <= name.count && name.prefix(prefix.count).elementsEqual(prefix)
                }
                if matches { break }
                row += 1
            }
            return Int32(row)
        }
    }
}
