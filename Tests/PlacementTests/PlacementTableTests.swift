import Placement
import Primitives
import Testing

/// Nodes with scattered identities, as random UUIDs are.
private func nodes(_ count: Int, zones: Int = 1, first: Int = 0) -> [PlacementNode] {
    (first..<first + count).map { index in
        PlacementNode(id: NodeID(SplitMix64.mix(UInt64(index) &+ 77)), zone: "zone\(index % zones)")
    }
}

private func repair(_ nodes: [PlacementNode], partitions: Int = 64, factor: Int = 3) throws -> PlacementTable {
    try repair(nil, nodes, partitions: partitions, factor: factor)
}

private func repair(
    _ previous: PlacementTable?,
    _ nodes: [PlacementNode],
    partitions: Int = 64,
    factor: Int = 3
) throws -> PlacementTable {
    try PlacementTable.repair(previous: previous, nodes: nodes, partitions: partitions, replicationFactor: factor)
}

/// What every table must satisfy.
private func checkInvariants(_ table: PlacementTable, _ nodes: [PlacementNode], partitions: Int, factor: Int) {
    #expect(table.replicas.count == partitions)
    let zoneCount = Set(nodes.map(\.zone)).count
    for list in table.replicas {
        #expect(list.count == min(factor, nodes.count))
        #expect(Set(list).count == list.count)
        let zones = list.compactMap { id in nodes.first { $0.id == id }?.zone }
        #expect(zones.count == list.count, "only living nodes keep replicas")
        if zoneCount >= factor { #expect(Set(zones).count == list.count, "each copy has a zone of its own") }
    }
}

@Suite struct SlotMapTests {
    @Test("CL-24 partitions are contiguous equal ranges of the 16384 slots")
    func ranges() throws {
        for partitions in [1, 2, 64, 1024, 16384] {
            let map = try #require(SlotMap(partitions: partitions))
            var next: UInt32 = 0
            for partition in 0..<UInt32(partitions) {
                let slots = map.slots(of: PartitionID(partition))
                #expect(slots.lowerBound == next)
                #expect(slots.count == 16384 / partitions)
                #expect(map.partition(ofSlot: slots.lowerBound) == PartitionID(partition))
                #expect(map.partition(ofSlot: slots.upperBound - 1) == PartitionID(partition))
                next = slots.upperBound
            }
            #expect(next == 16384)
        }
        for wrong in [0, -1, 3, 65, 32768] { #expect(SlotMap(partitions: wrong) == nil) }
    }

    @Test("a room goes where Redis Cluster's slot says, its hash tag honoured")
    func rooms() throws {
        let map = try #require(SlotMap(partitions: 64))
        #expect(map.partition(ofRoom: Array("123456789".utf8)) == PartitionID(0x31c3 / 256))
        #expect(map.partition(ofRoom: Array("{user1}.a".utf8)) == map.partition(ofRoom: Array("b{user1}".utf8)))
        let hits = (0..<1000).map { map.partition(ofRoom: Array("room-\($0)".utf8)).rawValue }
        #expect(Set(hits).count == 64)
    }
}

@Suite struct PlacementRepairTests {
    @Test(
        "a new table is balanced to one replica and one owner",
        arguments: [(64, 3), (64, 5), (64, 10), (256, 30), (1024, 100), (1, 3), (2, 7)]
    )
    func fresh(partitions: Int, count: Int) throws {
        let nodes = nodes(count)
        let table = try repair(nodes, partitions: partitions)
        #expect(table.epoch == 1)
        checkInvariants(table, nodes, partitions: partitions, factor: 3)
        let balance = table.balance(over: nodes.map(\.id))
        let copies = partitions * 3
        #expect(balance.replicas.max() == (copies + count - 1) / count)
        #expect(balance.replicas.min() == copies / count)
        #expect(balance.owners.max() == (partitions + count - 1) / count)
        #expect(balance.owners.reduce(0, +) == partitions)
        #expect(try repair(table, nodes, partitions: partitions) == table, "a good table is left alone")
    }

    @Test("CL-05 all nodes compute the same table, whatever order they know each other in")
    func orderDoesNotMatter() throws {
        let nodes = nodes(9, zones: 4)
        var random = Xoshiro256(seed: 9)
        let reference = try repair(nodes)
        let grown = try repair(reference, nodes + [PlacementNode(id: NodeID(5), zone: "zone9")])
        for _ in 0..<20 {
            #expect(try repair(nodes.shuffled(using: &random)) == reference)
            let more = (nodes + [PlacementNode(id: NodeID(5), zone: "zone9")]).shuffled(using: &random)
            #expect(try repair(reference, more) == grown)
        }
        #expect(grown.epoch == 2)
    }

    @Test(
        "CL-05 a join moves about one part in N, all of it to the new node",
        arguments: [(64, 3), (64, 5), (64, 9), (256, 29), (1024, 99)]
    )
    func join(partitions: Int, count: Int) throws {
        let before = try repair(nodes(count), partitions: partitions)
        let all = nodes(count + 1)
        let after = try repair(before, all, partitions: partitions)
        checkInvariants(after, all, partitions: partitions, factor: 3)
        let changes = after.changes(from: before)
        let ideal = Double(partitions * 3) / Double(count + 1)
        let moved = changes.reduce(0) { $0 + $1.added.count }
        let newcomer = all[count].id
        #expect(changes.allSatisfy { $0.added == [newcomer] })
        #expect(Double(moved) <= ideal + 1)
        #expect(Double(moved) >= ideal - 1)
        let balance = after.balance(over: all.map(\.id))
        #expect(balance.replicas.max() == (partitions * 3 + count) / (count + 1))
        #expect(balance.owners.max() == (partitions + count) / (count + 1))
    }

    @Test(
        "CL-05 a leave moves what the node had and little more",
        arguments: [(64, 5), (64, 10), (256, 30), (1024, 100)]
    )
    func leave(partitions: Int, count: Int) throws {
        let all = nodes(count)
        let before = try repair(all, partitions: partitions)
        for gone in [0, count / 2, count - 1] {
            let rest = all.filter { $0.id != all[gone].id }
            let after = try repair(before, rest, partitions: partitions)
            checkInvariants(after, rest, partitions: partitions, factor: 3)
            let had = before.partitions(of: all[gone].id).count
            let moved = after.changes(from: before).reduce(0) { $0 + $1.added.count }
            #expect(moved >= had)
            #expect(Double(moved) <= 1.15 * Double(had) + 1)
            let balance = after.balance(over: rest.map(\.id))
            #expect(balance.replicas.max() == (partitions * 3 + count - 2) / (count - 1))
            #expect(balance.owners.max() == (partitions + count - 2) / (count - 1))
        }
    }

    @Test("owners stay where they are, apart from what a new node takes and what evenness asks")
    func stickyOwners() throws {
        let before = try repair(nodes(5))
        let after = try repair(before, nodes(6))
        let kept = (0..<64).count { after.replicas[$0][0] == before.replicas[$0][0] }
        #expect(kept >= 64 - 2 * 11)
    }

    @Test("RM-10 ten thousand rooms spread over the nodes within 20% of the mean", arguments: [3, 4, 5, 8])
    func rooms(count: Int) throws {
        let nodes = nodes(count)
        let table = try repair(nodes)
        let map = try #require(SlotMap(partitions: 64))
        for name in ["room-%", "gov:alerts:%", "user:%:inbox"] {
            var owned: [NodeID: Int] = [:]
            for index in 0..<10_000 {
                let room = Array(name.replacing("%", with: String(index)).utf8)
                owned[table.preferredOwner(of: map.partition(ofRoom: room)), default: 0] += 1
            }
            let mean = 10_000.0 / Double(count)
            #expect(owned.count == count)
            for (node, rooms) in owned { #expect(abs(Double(rooms) - mean) <= 0.2 * mean, "\(node): \(rooms)") }
        }
    }

    @Test("CL-24 another partition count or weight changes the table in proportion")
    func weights() throws {
        var nodes = nodes(4)
        let even = try repair(nodes, partitions: 256, factor: 1)
        nodes[2].weight = 3
        let uneven = try repair(even, nodes, partitions: 256, factor: 1)
        let loads = uneven.balance(over: nodes.map(\.id))
        for (id, load) in zip(loads.nodes, loads.replicas) {
            let expected = id == nodes[2].id ? 128.0 : 128.0 / 3
            #expect(abs(Double(load) - expected) < 1)
        }
        nodes[2].weight = 100
        let heavy = try repair(uneven, nodes, partitions: 256, factor: 3)
        checkInvariants(heavy, nodes, partitions: 256, factor: 3)
        #expect(heavy.partitions(of: nodes[2].id).count == 256, "a node keeps at most one copy of each")
        #expect(throws: PlacementError.partitionsChanged(from: 256, to: 128)) {
            try repair(heavy, nodes, partitions: 128)
        }
    }

    @Test("copies go to different zones, evenly where the zones allow it", arguments: [3, 4, 5, 7, 10])
    func zones(count: Int) throws {
        let all = nodes(count, zones: 3)
        let table = try repair(all)
        checkInvariants(table, all, partitions: 64, factor: 3)
        for zone in ["zone0", "zone1", "zone2"] {
            let members = all.filter { $0.zone == zone }.map(\.id)
            let loads = table.balance(over: members).replicas
            #expect(loads.reduce(0, +) == 64)
            #expect((loads.max() ?? 0) - (loads.min() ?? 0) <= 1)
        }
    }

    @Test("with fewer zones than copies no zone keeps more than it must")
    func fewZones() throws {
        let all = nodes(6, zones: 2)
        let table = try repair(all)
        checkInvariants(table, all, partitions: 64, factor: 3)
        for list in table.replicas {
            let zones = list.compactMap { id in all.first { $0.id == id }?.zone }
            #expect(Set(zones).count == 2)
        }
        let lost = all.filter { $0.zone == "zone0" }
        let after = try repair(table, lost)
        checkInvariants(after, lost, partitions: 64, factor: 3)
    }

    @Test("a long history of joins, leaves and zone moves keeps every invariant and the balance")
    func history() throws {
        var random = Xoshiro256(seed: 4)
        for run in 0..<6 {
            let factor = 1 + run % 3
            var alive = nodes(3, zones: 4)
            var nextNode = 3
            var table = try repair(alive, factor: factor)
            for _ in 0..<60 {
                switch random.below(5) {
                case 0, 1: alive += nodes(1, zones: 4, first: nextNode)
                case 2, 3: if alive.count > 2 { alive.remove(at: Int(random.below(UInt64(alive.count)))) }
                default: alive[Int(random.below(UInt64(alive.count)))].zone = "zone\(random.below(4))"
                }
                nextNode += 1
                let previous = table
                table = try repair(previous, alive, factor: factor)
                checkInvariants(table, alive, partitions: 64, factor: factor)
                #expect(table.epoch == previous.epoch + (table == previous ? 0 : 1))
                if Set(alive.map(\.zone)).count == 1 || factor == 1 {
                    let balance = table.balance(over: alive.map(\.id))
                    #expect((balance.replicas.max() ?? 0) - (balance.replicas.min() ?? 0) <= 1)
                }
                let owners = table.balance(over: alive.map(\.id)).owners
                #expect((owners.max() ?? 0) <= 64)
                #expect(try repair(table, alive, factor: factor) == table)
            }
        }
    }

    @Test("fewer nodes than copies keep everything, and a later node takes its part")
    func smallClusters() throws {
        let one = try repair(nodes(1))
        #expect(one.replicas.allSatisfy { $0 == [nodes(1)[0].id] })
        let two = try repair(one, nodes(2))
        checkInvariants(two, nodes(2), partitions: 64, factor: 3)
        #expect(two.balance(over: nodes(2).map(\.id)).owners == [32, 32])
        let three = try repair(two, nodes(3))
        checkInvariants(three, nodes(3), partitions: 64, factor: 3)
    }

    @Test("nonsense is refused with its reason")
    func refusals() {
        #expect(throws: PlacementError.noNodes) { try repair([]) }
        #expect(throws: PlacementError.partitionsOutOfRange(0)) { try repair(nodes(3), partitions: 0) }
        #expect(throws: PlacementError.replicationFactorOutOfRange(0)) { try repair(nodes(3), factor: 0) }
        #expect(throws: PlacementError.replicationFactorOutOfRange(8)) { try repair(nodes(3), factor: 8) }
        let twice = nodes(2) + nodes(1)
        #expect(throws: PlacementError.duplicateNode(nodes(1)[0].id)) { try repair(twice) }
        #expect(throws: PlacementError.tooManyNodes(1025)) { try repair(nodes(1025)) }
        let heavy = [PlacementNode(id: NodeID(1), weight: 101)]
        #expect(throws: PlacementError.weightOutOfRange(NodeID(1), 101)) { try repair(heavy) }
    }
}

@Suite struct PlacementCodecTests {
    private func decode(_ bytes: [UInt8]) throws -> PlacementTable {
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            let table = try reader.readPlacementTable()
            try reader.expectEnd()
            return table
        }
    }

    @Test("a table survives its encoding, in about six bytes a partition")
    func roundTrip() throws {
        for (partitions, count) in [(1, 1), (64, 5), (1024, 200)] {
            let table = try repair(nodes(count), partitions: partitions)
            var writer = ByteWriter()
            writer.write(table)
            #expect(try decode(writer.bytes) == table)
            #expect(writer.count < 32 + 9 * count + 7 * partitions)
        }
    }

    @Test("every truncation and every damaged byte is an error or another valid table, never a trap")
    func damage() throws {
        let table = try repair(nodes(4), partitions: 8)
        var writer = ByteWriter()
        writer.write(table)
        for count in 0..<writer.count {
            #expect(throws: DecodeError.self) { try decode(Array(writer.bytes.prefix(count))) }
        }
        for index in writer.bytes.indices {
            for flip in [UInt8(1), 0x80, 0xff] {
                var damaged = writer.bytes
                damaged[index] ^= flip
                guard let other = try? decode(damaged) else { continue }
                #expect(other != table)
                #expect(other.replicas.allSatisfy { !$0.isEmpty && Set($0).count == $0.count })
                _ = try repair(other, nodes(4), partitions: other.replicas.count)
            }
        }
    }
}
