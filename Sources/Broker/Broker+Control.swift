import PeerProtocol
import Placement
import Primitives
import Raft

/// What the control group agrees: the cluster's nodes, its shape, and the placement table.
package struct ControlState: Sendable {
    package private(set) var nodes: [ClusterNode] = []
    package private(set) var partitions = 0
    package private(set) var keyPartitions = 0
    package private(set) var replicationFactor = 0
    package private(set) var placement: PlacementTable?

    init() {}

    private enum Tag: UInt8 {
        case initialize = 1
    }

    static func initialize(
        nodes: [ClusterNode],
        partitions: Int,
        keyPartitions: Int,
        replicationFactor: Int,
        placement: PlacementTable
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.write(Tag.initialize.rawValue)
        writeBody(nodes, partitions, keyPartitions, replicationFactor, placement, to: &writer)
        return writer.bytes
    }

    private static func writeBody(
        _ nodes: [ClusterNode],
        _ partitions: Int,
        _ keyPartitions: Int,
        _ replicationFactor: Int,
        _ placement: PlacementTable,
        to writer: inout ByteWriter
    ) {
        writer.writeVarint(UInt64(nodes.count))
        for node in nodes {
            writer.write(node.id.rawValue)
            writer.writeString(node.name)
            writer.writeString(node.zone)
            writer.writeVarint(UInt64(node.weight))
        }
        writer.writeVarint(UInt64(partitions))
        writer.writeVarint(UInt64(keyPartitions))
        writer.writeVarint(UInt64(replicationFactor))
        writer.write(placement)
    }

    /// True when the command changed the placement.
    mutating func apply(_ data: [UInt8]) throws(DecodeError) -> Bool {
        var changed = self
        let outcome = data.withUnsafeBytes { raw -> Result<Bool, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                let tag = try reader.readByte()
                switch Tag(rawValue: tag) {
                case .initialize:
                    // Two leaders in a row may both propose it; the first one stands.
                    if changed.placement != nil { return .success(false) }
                    try changed.readBody(&reader)
                    return .success(true)
                case nil: throw .unknown(field: "control command", value: UInt64(tag))
                }
            } catch {
                return .failure(error)
            }
        }
        let didChange = try outcome.get()
        self = changed
        return didChange
    }

    private mutating func readBody(_ reader: inout ByteReader) throws(DecodeError) {
        nodes = []
        for _ in 0..<(try reader.readCount(limit: 4096, "nodes")) {
            nodes.append(
                ClusterNode(
                    id: NodeID(try reader.read(UInt64.self)),
                    name: try reader.readString(limit: 255, "node name"),
                    zone: try reader.readString(limit: 255, "zone"),
                    weight: try reader.readCount(limit: 100, "weight")
                )
            )
        }
        partitions = try reader.readCount(limit: 16384, "partitions")
        keyPartitions = try reader.readCount(limit: 16384, "key partitions")
        replicationFactor = try reader.readCount(limit: 16, "replication factor")
        placement = try reader.readPlacementTable()
        try reader.expectEnd()
    }

    func encodeSnapshot() -> [UInt8] {
        guard let placement else { return [] }
        var writer = ByteWriter(capacity: 256)
        ControlState.writeBody(nodes, partitions, keyPartitions, replicationFactor, placement, to: &writer)
        return writer.bytes
    }

    init(snapshot: [UInt8]) throws(DecodeError) {
        guard !snapshot.isEmpty else { return }
        var decoded = ControlState()
        let outcome = snapshot.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                try decoded.readBody(&reader)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        self = decoded
    }
}

extension Broker {
    /// A new control leader of an empty cluster says how it is laid out.
    func leadControl(_ replica: Replica) {
        guard control.placement == nil else { return }
        let table: PlacementTable
        do throws(PlacementError) {
            table = try PlacementTable.repair(
                previous: nil,
                nodes: settings.nodes.map { PlacementNode(id: $0.id, zone: $0.zone, weight: $0.weight) },
                partitions: settings.allPartitions,
                replicationFactor: settings.replicationFactor
            )
        } catch {
            outbox.events.append(.fatal(.control, index: 0, reason: "placement: \(error)"))
            return
        }
        _ = replica.raft.propose(
            ControlState.initialize(
                nodes: settings.nodes,
                partitions: settings.partitions,
                keyPartitions: settings.keyPartitions,
                replicationFactor: settings.replicationFactor,
                placement: table
            )
        )
        mark(replica)
    }

    func applyControl(_ entry: Entry) throws(DecodeError) {
        if try control.apply(entry.data), let table = control.placement {
            for (setting, made, wanted) in [
                ("cluster.partitions", control.partitions, settings.partitions),
                ("keys.partitions", control.keyPartitions, settings.keyPartitions),
            ] where made != wanted {
                outbox.events.append(
                    .fatal(
                        .control,
                        index: entry.index,
                        reason: "the cluster was made with \(setting) = \(made), the file says \(wanted): set it back, "
                            + "the number is fixed at creation"
                    )
                )
                return
            }
            adopt(table)
        }
    }

    /// Takes the table up here and on the other shards; makes the replicas that it gives this node.
    func adopt(_ table: PlacementTable) {
        var writer = ByteWriter(capacity: 1024)
        writer.write(table)
        for shard in 0..<settings.shards where shard != settings.shard {
            outbox.shards.append((shard, .placement(writer.bytes)))
        }
        install(table)
    }

    func adoptPlacement(_ bytes: [UInt8]) {
        let table = bytes.withUnsafeBytes { raw -> PlacementTable? in
            var reader = ByteReader(raw)
            return try? reader.readPlacementTable()
        }
        if let table { install(table) }
    }

    private func install(_ table: PlacementTable) {
        guard table.replicas.count == settings.allPartitions, table.epoch > (placement?.epoch ?? 0) else { return }
        placement = table
        outbox.events.append(.placementApplied(epoch: table.epoch, partitions: table.replicas.count))
        for partition in 0..<settings.allPartitions {
            let group = GroupID(partition: PartitionID(UInt32(partition)))
            guard isLocal(group), replicas[Int(group.rawValue)] == nil else { continue }
            let members = table.replicas[partition]
            let orphan = orphans.firstIndex { $0.0 == group }.map { orphans.remove(at: $0).1 }
            guard members.contains(settings.node) || orphan != nil else { continue }
            do {
                try makeReplica(group, membership: Membership(voters: members), restored: orphan)
            } catch {
                outbox.events.append(.fatal(group, index: 0, reason: "\(error)"))
                continue
            }
            if let replica = replica(group) { firstCampaign(replica, members) }
        }
    }

    /// At the start nobody has heard of a leader: the preferred owner campaigns at once, the others wait their turn.
    private func firstCampaign(_ replica: Replica, _ members: [NodeID]) {
        guard !replica.isFaulty, let rank = members.firstIndex(of: settings.node) else { return }
        replica.campaignAt = now + settings.rankDelay * 3 * UInt64(rank)
    }

    /// Gives leaderships back to their preferred owners, a few at a time, when those have caught up.
    func returnLeaderships() {
        guard let placement, !hasResigned else { return }
        var moves = 0
        for case let replica? in replicas where replica.raft.role == .leader && moves < 4 && replica.nextReturn <= now {
            guard let partition = replica.group.partition,
                let preferred = placement.replicas[Int(partition.rawValue)].first, preferred != settings.node,
                peers.contains(where: { $0.id == preferred && $0.isUp && !$0.isSuspected && $0.mayLead }),
                replica.raft.membership.voters.contains(preferred)
            else { continue }
            let status = replica.raft.status()
            guard let progress = status.peers.first(where: { $0.id == preferred }),
                progress.match + 64 >= replica.raft.lastIndex
            else { continue }
            // Publishes wait while a transfer is under way: a node that follows but cannot win must not stop the room.
            replica.nextReturn = now + settings.rebalanceInterval * (UInt64(4) << min(replica.returnAttempts, 6))
            replica.returnAttempts += 1
            replica.raft.transferLeadership(to: preferred)
            mark(replica)
            moves += 1
        }
    }

    func ownedPartitions() -> [PeerMessage.Ownership] {
        var list: [PeerMessage.Ownership] = []
        for case let replica? in replicas where replica.isServing {
            if let partition = replica.group.partition {
                list.append(PeerMessage.Ownership(partition: partition, term: replica.servingTerm))
            }
        }
        return list
    }

    /// A node says that it serves a partition; the highest term is right.
    func noteOwner(_ partition: PartitionID, node: NodeID, term: Term) {
        let row = Int(partition.rawValue)
        guard row < owners.count, isLocal(GroupID(partition: partition)) else { return }
        if let known = owners[row], known.term > term || (known.term == term && known.node != node) { return }
        owners[row] = Owner(node: node, term: term)
        if let relay = relays[row] { relayOwner(relay, node: node, term: term) }
    }
}
