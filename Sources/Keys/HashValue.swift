import Primitives

/// A hash. A small one is its pairs in the order in which they came, as Redis's listpacks are; one that has outgrown
/// the bounds is a hash table, and stays one.
package struct HashValue: ContainerValue {
    struct Pair: Sendable {
        let field: [UInt8]
        var value: [UInt8]
    }

    private var pairs: [Pair] = []
    /// None, or one: the array is its box, so that a keyspace's rows stay narrow.
    private var table: [KeyTable<[UInt8]>] = []
    private let seed: UInt64
    /// Bytes of all fields and values.
    private(set) var payload = 0

    package init(seed: UInt64) { self.seed = seed }

    package var isEmpty: Bool { count == 0 }
    package static func unwrap(_ value: Value) -> HashValue? { if case .hash(let held) = value { held } else { nil } }
    package var wrapped: Value { .hash(self) }

    package var isCompact: Bool { table.isEmpty }
    package var count: Int { isCompact ? pairs.count : table[0].count }
    /// About the memory that the hash takes: fields and values are arrays, which have headers.
    package var byteEstimate: Int { payload + count * (isCompact ? 80 : 112) + 96 }
    /// `OBJECT ENCODING`'s word.
    package var encoding: String { isCompact ? "listpack" : "hashtable" }

    // MARK: Fields

    private func place(_ field: [UInt8]) -> Int? { pairs.firstIndex { $0.field == field } }

    subscript(_ field: [UInt8]) -> [UInt8]? {
        isCompact ? place(field).map { pairs[$0].value } : table[0][field]
    }

    /// Sets a field; true when it is new.
    @discardableResult
    mutating func set(_ field: [UInt8], _ value: [UInt8], _ configuration: KeyspaceConfiguration) -> Bool {
        if isCompact {
            let bound = configuration.hashMaxListpackValue
            let known = place(field)
            if field.count > bound || value.count > bound
                || (known == nil && pairs.count >= configuration.hashMaxListpackEntries)
            {
                convert()
            } else if let known {
                payload += value.count - pairs[known].value.count
                pairs[known].value = value
                return false
            } else {
                payload += field.count + value.count
                pairs.append(Pair(field: field, value: value))
                return true
            }
        }
        if let slot = table[0].find(field) {
            payload += value.count - table[0][slot].count
            table[0][slot] = value
            return false
        }
        payload += field.count + value.count
        table[0].insert(field, value)
        return true
    }

    /// True when the field was there.
    mutating func remove(_ field: [UInt8]) -> Bool {
        let value: [UInt8]
        if isCompact {
            guard let place = place(field) else { return false }
            value = pairs.remove(at: place).value
        } else {
            guard let removed = table[0].remove(field) else { return false }
            value = removed
        }
        payload -= field.count + value.count
        return true
    }

    private mutating func convert() {
        var table = KeyTable<[UInt8]>(seed: seed)
        for pair in pairs { table.insert(pair.field, pair.value) }
        pairs = []
        self.table = [table]
    }

    // MARK: Walks

    func forEach(_ body: (_ field: [UInt8], _ value: [UInt8]) -> Void) {
        guard isCompact else {
            return table[0].forEach { _, field, value in
                body(field, value)
                return true
            }
        }
        for pair in pairs { body(pair.field, pair.value) }
    }

    /// A field and its value at a place that `randomPlace` or `places` gave.
    subscript(_ place: Int) -> Pair {
        if isCompact { return pairs[place] }
        return Pair(field: table[0].key(at: Int32(place)), value: table[0][Int32(place)])
    }

    /// The hash must not be empty.
    func randomPlace(_ random: inout Xoshiro256) -> Int {
        isCompact ? Int(random.below(UInt64(pairs.count))) : Int(table[0].randomSlot(&random))
    }

    var places: [Int] {
        if isCompact { return Array(pairs.indices) }
        var places: [Int] = []
        places.reserveCapacity(count)
        table[0].forEach { slot, _, _ in
            places.append(Int(slot))
            return true
        }
        return places
    }

    /// As `KeyTable.scan`; a small hash is seen at once.
    func scan(_ cursor: UInt64, _ wanted: Int, _ body: (_ field: [UInt8], _ value: [UInt8]) -> Void) -> UInt64 {
        if isCompact {
            forEach(body)
            return 0
        }
        return table[0].scan(cursor, wanted) { slot in body(table[0].key(at: slot), table[0][slot]) }
    }

    // MARK: Snapshots

    package func encode(into writer: inout ByteWriter) {
        writer.write(seed)
        writer.write(UInt8(isCompact ? 0 : 1))
        if !isCompact {
            return table[0].encode(into: &writer) { value, writer in writer.writeBytes(value) }
        }
        writer.writeVarint(UInt64(pairs.count))
        for pair in pairs {
            writer.writeBytes(pair.field)
            writer.writeBytes(pair.value)
        }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        self.seed = try reader.read(UInt64.self)
        switch try reader.readByte() {
        case 0:
            // A pair takes two bytes at least.
            let count = try reader.readCount(limit: reader.remaining / 2, "hash")
            pairs.reserveCapacity(count)
            for _ in 0..<count {
                let field = try reader.readBytes(limit: reader.remaining, "hash field")
                pairs.append(Pair(field: field, value: try reader.readBytes(limit: reader.remaining, "hash value")))
            }
        case 1:
            table = [
                try KeyTable(from: &reader) { (reader) throws(DecodeError) in
                    try reader.readBytes(limit: reader.remaining, "hash value")
                }
            ]
        case let other: throw .unknown(field: "hash", value: UInt64(other))
        }
        var payload = 0
        forEach { field, value in payload += field.count + value.count }
        self.payload = payload
    }
}
