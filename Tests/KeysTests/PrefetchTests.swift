import Primitives
import Testing

@testable import Keys

/// What is fetched ahead of the commands of a batch.
@Suite struct PrefetchTests {
    private static let gateway = GatewayID(rawValue: 7)

    private func key(_ number: UInt64) -> [UInt8] { Array("key:\(number)".utf8) }

    private func command(_ words: [UInt8]...) -> KeyUnit.Item { .command(database: 0, arguments: words) }

    /// A partition that holds `count` keys, with what is written by the way.
    private func partition(holding count: UInt64) throws -> KeyPartition {
        var partition = KeyPartition(partition: PartitionID(0))
        var unit = KeyUnit(kind: .commands)
        unit.items = (0..<count).map { command(Array("set".utf8), key($0), Array("value \($0)".utf8)) }
        _ = try apply([unit], to: &partition, at: 1, from: 0)
        return partition
    }

    /// One entry; the outcomes of its units.
    private func apply(
        _ units: [KeyUnit],
        to partition: inout KeyPartition,
        at index: LogIndex,
        from sequence: UInt64
    ) throws -> [KeyOutcome] {
        var batch = KeyBatchWriter(timestamp: 1_700_000_000_000, chance: index)
        if index == 1 { batch.begin(seed: 11) }
        for (offset, unit) in units.enumerated() {
            let number = sequence + UInt64(offset)
            batch.unit(
                gateway: PrefetchTests.gateway,
                sequence: number,
                acknowledgedBelow: number,
                unit.encoded()[...]
            )
        }
        var effects: [KeyPartition.Effect] = []
        try partition.apply(index: index, data: batch.bytes, into: &effects)
        return effects.compactMap { if case .decided(_, _, let outcome) = $0 { outcome } else { nil } }
    }

    private func probed(_ unit: [UInt8], _ partition: KeyPartition) -> [KeyProbes.Probe] {
        var probes = KeyProbes()
        unit.withUnsafeBytes { partition.note($0, in: &probes) }
        return probes.rows
    }

    @Test("RS-11 the commands of a batch are probed by their first keys, up to a limit, in large tables alone")
    func probesKeys() throws {
        let large = try partition(holding: 3000)
        var unit = KeyUnit(kind: .commands)
        unit.items = [
            command(Array("get".utf8), key(5)), command(Array("ping".utf8)),
            command(Array("mget".utf8), key(6), key(7)), command(Array("get".utf8), key(9999)),
        ]
        let table = large.keyspace.databases[0].objects
        let expected = [5, 6, 9999].map { number in key(number).withUnsafeBytes { table.hash($0) } }
        #expect(probed(unit.encoded(), large).map(\.hash) == expected)
        #expect(probed(unit.encoded(), try partition(holding: 100)).isEmpty)

        unit.items = (0..<100).map { command(Array("get".utf8), key($0)) }
        #expect(probed(unit.encoded(), large).count == KeyProbes.limit)

        // A chain is followed to its end, whatever is in it.
        for _ in 0..<3 {
            var probes = KeyProbes()
            unit.encoded().withUnsafeBytes { large.note($0, in: &probes) }
            large.prefetch(&probes)
            #expect(probes.rows.isEmpty)
        }
    }

    @Test("RS-11 what cannot be read is left to who runs it")
    func leavesDamage() throws {
        let large = try partition(holding: 3000)
        var unit = KeyUnit(kind: .commands)
        unit.items = (0..<5).map { command(Array("set".utf8), key($0), [], []) }
        let bytes = unit.encoded()
        for length in 0...bytes.count {
            var probes = KeyProbes()
            bytes[..<length].withUnsafeBytes { large.note($0, in: &probes) }
            large.prefetch(&probes)
        }
        var random = Xoshiro256(seed: 3)
        for _ in 0..<2000 {
            var damaged = bytes
            damaged[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            var probes = KeyProbes()
            damaged.withUnsafeBytes { large.note($0, in: &probes) }
            large.prefetch(&probes)
        }
    }

    @Test("RS-11 units in one entry do what they do in entries of their own", arguments: [1, 2, 3] as [UInt64])
    func changesNothing(seed: UInt64) throws {
        var random = Xoshiro256(seed: seed)
        var together = try partition(holding: 3000)
        var apart = try partition(holding: 3000)
        var units: [KeyUnit] = []
        for number in 0..<200 {
            var unit = KeyUnit(kind: .commands)
            for _ in 0...random.below(3) {
                let name = key(random.below(3200))
                switch random.below(4) {
                case 0: unit.items.append(command(Array("get".utf8), name))
                case 1: unit.items.append(command(Array("del".utf8), name, key(random.below(3200))))
                case 2: unit.items.append(command(Array("append".utf8), name, Array("\(number)".utf8)))
                default: unit.items.append(command(Array("set".utf8), name, Array("\(number)".utf8)))
                }
            }
            if number % 50 == 49 {
                unit = KeyUnit(kind: .hello)
                unit.node = 1
            }
            units.append(unit)
        }
        let all = try apply(units, to: &together, at: 2, from: 1)
        var each: [KeyOutcome] = []
        for (offset, unit) in units.enumerated() {
            each += try apply([unit], to: &apart, at: LogIndex(2 + offset), from: UInt64(1 + offset))
        }
        #expect(all.count == units.count)
        #expect(all == each)
        #expect(together.keyspace.databases[0].objects.keys == apart.keyspace.databases[0].objects.keys)
    }
}
