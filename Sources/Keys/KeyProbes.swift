import Primitives

/// Keys that are about to be looked up, and how far each look-up has come.
///
/// In a large table a look-up waits for memory at each step: bucket, entry, key, value. The steps of one key have to
/// wait for each other, those of several keys need not: taken together, their waits overlap. It is a hint: nothing
/// changes, and what it leaves out is found all the same.
/// Source: Valkey 8 does so for the commands of a batch, `src/memory_prefetch.c`.
package struct KeyProbes {
    /// More would push each other out of the nearest cache.
    package static let limit = 32
    /// Entries of a table that stays in the caches anyway.
    static let smallTable = 2048

    struct Probe {
        var hash: UInt64
        /// -1: the chain has ended.
        var slot: Int32 = -1
        /// Of key and value: nobody needs it, but who knows it has read both.
        var size = 0
    }

    /// All keys are in the first one's database.
    fileprivate(set) var database = 0
    fileprivate(set) var rows: [Probe] = []

    package init() {}

    package var isFull: Bool { rows.count >= KeyProbes.limit }
}

extension KeyPartition {
    /// There is a table so large that look-ups wait for memory.
    package var isWorthProbing: Bool {
        keyspace.databases.contains { $0.objects.count >= KeyProbes.smallTable }
    }

    /// Notes the first key of each command of a unit. What cannot be read is left to who runs it.
    package func note(_ unit: UnsafeRawBufferPointer, in probes: inout KeyProbes) {
        guard unit.first == KeyUnit.Kind.commands.rawValue else { return }
        var reader = ByteReader(unit)
        do throws(DecodeError) {
            _ = try reader.readByte()
            _ = try KeyUnit.readHead(&reader)
            while !reader.isAtEnd, !probes.isFull {
                guard try reader.readByte() == KeyUnit.ItemTag.command.rawValue else { return }
                let database = try KeyUnit.readDatabase(&reader)
                let count = try reader.readCount(limit: KeyUnit.argumentsMax, "arguments")
                for index in 0..<count {
                    let argument = try reader.readRaw(count: try reader.readCount(limit: .max, "argument"))
                    if index == 1 { keyspace.note(database, argument, in: &probes) }
                }
            }
        } catch {}
    }

    /// Fetches what the look-ups of these keys will read, and forgets them.
    package func prefetch(_ probes: inout KeyProbes) {
        defer { probes.rows.removeAll(keepingCapacity: true) }
        // One alone has nobody to wait with.
        if probes.rows.count > 1 { keyspace.databases[probes.database].objects.touch(&probes.rows) }
    }
}

extension Keyspace {
    fileprivate func note(_ database: Int, _ key: UnsafeRawBufferPointer, in probes: inout KeyProbes) {
        if probes.rows.isEmpty { probes.database = database }
        guard probes.database == database, databases[database].objects.count >= KeyProbes.smallTable else { return }
        probes.rows.append(KeyProbes.Probe(hash: databases[database].objects.hash(key)))
    }
}

extension KeyTable where Value == Keyspace.Object {
    /// Reads what look-ups of these hashes will read, one step of all of them after the other. The processor goes on
    /// while a line is on its way, as long as nothing depends on it: so no step uses what it reads itself.
    fileprivate func touch(_ rows: inout [KeyProbes.Probe]) {
        for row in rows.indices { rows[row].slot = heads[bucket(rows[row].hash)] }
        // A bucket has one entry on average: two steps along its chain find most keys.
        for _ in 0..<2 {
            for row in rows.indices where rows[row].slot >= 0 {
                rows[row].slot = next(rows[row].slot, unless: rows[row].hash)
            }
        }
        for row in rows.indices where rows[row].slot >= 0 { rows[row].size = size(at: rows[row].slot) }
    }

    private func size(at slot: Int32) -> Int {
        size(at: slot) { object in
            // Other types' insides are too far away.
            if case .string(let bytes) = object.value { bytes.count } else { 0 }
        }
    }
}
