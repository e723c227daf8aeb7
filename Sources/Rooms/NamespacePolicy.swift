import Primitives

/// How messages of a namespace are kept.
package enum DeliveryClass: UInt8, Sendable {
    /// Ordered by the owner, not stored.
    case bestEffort = 0
    /// Quorum log, replay, acknowledgements.
    case guaranteed = 1
    /// Guaranteed, with long retention and an audit trail.
    case retained = 2

    package var isLogged: Bool { self != .bestEffort }
}

/// Delivery order between rooms when a connection or a link is congested; smaller is served first.
package enum RoomPriority: UInt8, Sendable, Comparable {
    case critical = 0
    case high = 1
    case normal = 2
    case low = 3

    package static func < (a: RoomPriority, b: RoomPriority) -> Bool { a.rawValue < b.rawValue }
}

/// The policy of a room-name prefix (DESIGN 2: longest match wins; the empty prefix is the default).
package struct NamespacePolicy: Equatable, Sendable {
    package var prefix: [UInt8]
    package var deliveryClass: DeliveryClass
    package var priority: RoomPriority
    /// The newest messages kept per room; 0 = no limit by count.
    package var retentionCount: UInt64
    /// Bytes of message bodies kept per room; 0 = no limit by size.
    package var retentionBytes: UInt64
    /// Milliseconds that a message is kept; 0 = no limit by time.
    package var retentionMilliseconds: UInt64
    /// The time to live given to messages that name none; 0 = none.
    package var messageTimeToLive: UInt64

    package init(
        prefix: [UInt8] = [],
        deliveryClass: DeliveryClass = .guaranteed,
        priority: RoomPriority = .normal,
        retentionCount: UInt64 = 0,
        retentionBytes: UInt64 = 0,
        retentionMilliseconds: UInt64 = 0,
        messageTimeToLive: UInt64 = 0
    ) {
        self.prefix = prefix
        self.deliveryClass = deliveryClass
        self.priority = priority
        self.retentionCount = retentionCount
        self.retentionBytes = retentionBytes
        self.retentionMilliseconds = retentionMilliseconds
        self.messageTimeToLive = messageTimeToLive
    }
}

/// What a partition remembers at most. Replicated with the namespaces, because every replica must forget alike.
package struct RoomLimits: Equatable, Sendable {
    package var roomsPerPartition: Int
    /// Idempotent producers per room.
    package var producersPerRoom: Int
    /// Idempotency keys per room.
    package var keysPerRoom: Int
    /// Milliseconds that an idempotency key is remembered.
    package var keyWindow: UInt64

    package init(
        roomsPerPartition: Int = 65_536,
        producersPerRoom: Int = 1024,
        keysPerRoom: Int = 10_000,
        keyWindow: UInt64 = 5 * 60 * 1000
    ) {
        self.roomsPerPartition = roomsPerPartition
        self.producersPerRoom = producersPerRoom
        self.keysPerRoom = keysPerRoom
        self.keyWindow = keyWindow
    }
}

/// All namespaces, found by longest prefix, and the bounds that go with them.
package struct NamespaceTable: Equatable, Sendable {
    /// Longest prefix first; the last one is the default with the empty prefix.
    package let policies: [NamespacePolicy]
    package let limits: RoomLimits

    package init(_ policies: [NamespacePolicy], limits: RoomLimits = RoomLimits()) {
        self.limits = limits
        var sorted = policies.sorted {
            $0.prefix.count != $1.prefix.count
                ? $0.prefix.count > $1.prefix.count : $0.prefix.lexicographicallyPrecedes($1.prefix)
        }
        if sorted.last?.prefix.isEmpty != true { sorted.append(NamespacePolicy()) }
        self.policies = sorted
    }

    package func policy(for room: RoomName) -> NamespacePolicy {
        for policy in policies where room.bytes.starts(with: policy.prefix) { return policy }
        return NamespacePolicy()
    }

    /// Of `policy(for:)`, without a copy of the policy.
    package func deliveryClass(of room: RoomName) -> DeliveryClass {
        room.bytes.withUnsafeBytes { name in
            for index in policies.indices where name.starts(with: policies[index].prefix) {
                return policies[index].deliveryClass
            }
            return NamespacePolicy().deliveryClass
        }
    }

    package func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(policies.count))
        for policy in policies {
            writer.writeBytes(policy.prefix)
            writer.write(policy.deliveryClass.rawValue)
            writer.write(policy.priority.rawValue)
            writer.writeVarint(policy.retentionCount)
            writer.writeVarint(policy.retentionBytes)
            writer.writeVarint(policy.retentionMilliseconds)
            writer.writeVarint(policy.messageTimeToLive)
        }
        writer.writeVarint(UInt64(limits.roomsPerPartition))
        writer.writeVarint(UInt64(limits.producersPerRoom))
        writer.writeVarint(UInt64(limits.keysPerRoom))
        writer.writeVarint(limits.keyWindow)
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        let count = try reader.readCount(limit: 4096, "namespaces")
        var policies: [NamespacePolicy] = []
        for _ in 0..<count {
            let prefix = try reader.readBytes(limit: 255, "prefix")
            let classTag = try reader.readByte()
            guard let deliveryClass = DeliveryClass(rawValue: classTag) else {
                throw .unknown(field: "delivery class", value: UInt64(classTag))
            }
            let priorityTag = try reader.readByte()
            guard let priority = RoomPriority(rawValue: priorityTag) else {
                throw .unknown(field: "priority", value: UInt64(priorityTag))
            }
            policies.append(
                NamespacePolicy(
                    prefix: prefix,
                    deliveryClass: deliveryClass,
                    priority: priority,
                    retentionCount: try reader.readVarint(),
                    retentionBytes: try reader.readVarint(),
                    retentionMilliseconds: try reader.readVarint(),
                    messageTimeToLive: try reader.readVarint()
                )
            )
        }
        let limits = RoomLimits(
            roomsPerPartition: try reader.readCount(limit: 1 << 30, "rooms per partition"),
            producersPerRoom: try reader.readCount(limit: ProducerTable.decodedMax, "producers per room"),
            keysPerRoom: try reader.readCount(limit: ProducerTable.decodedMax, "keys per room"),
            keyWindow: try reader.readVarint()
        )
        self.init(policies, limits: limits)
    }
}
