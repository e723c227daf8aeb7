import Primitives

/// A set. Members that are all integers are kept as sorted integers while they are few (`set-max-intset-entries`), so
/// that they come out in their order, as in Redis; else they are in a hash table.
package struct SetValue: ContainerValue {
    private enum Members: Sendable {
        case integers([Int64])
        case table(KeyTable<Void>)
    }

    private var members = Members.integers([])
    private let seed: UInt64
    /// Bytes of the members in the table.
    private var tableBytes = 0

    package init(seed: UInt64) { self.seed = seed }

    package static func unwrap(_ value: Value) -> SetValue? { if case .set(let held) = value { held } else { nil } }
    package var wrapped: Value { .set(self) }

    package var isEmpty: Bool { count == 0 }

    package var count: Int {
        switch members {
        case .integers(let integers): integers.count
        case .table(let table): table.count
        }
    }

    /// `OBJECT ENCODING`.
    package var encodingName: String {
        switch members {
        case .integers: "intset"
        case .table: "hashtable"
        }
    }

    /// About how much memory it takes.
    package var byteEstimate: Int {
        switch members {
        case .integers(let integers): 48 + integers.count * 8
        case .table(let table): 96 + table.count * 76 + tableBytes
        }
    }

    package func contains(_ member: [UInt8]) -> Bool {
        switch members {
        case .integers(let integers):
            guard let number = Decimal.integer(member) else { return false }
            return SetValue.place(of: number, in: integers).isThere
        case .table(let table):
            return table.find(member) != nil
        }
    }

    /// The first index whose number is not less.
    private static func place(of number: Int64, in integers: [Int64]) -> (index: Int, isThere: Bool) {
        var low = 0
        var high = integers.count
        while low < high {
            let middle = (low + high) / 2
            if integers[middle] < number { low = middle + 1 } else { high = middle }
        }
        return (low, low < integers.count && integers[low] == number)
    }

    // MARK: Change

    /// Adds a member; false when it is there already. More than `integersMax` integers go into a table.
    mutating func insert(_ member: [UInt8], integersMax: Int64) -> Bool {
        if case .integers(var integers) = members {
            if let number = Decimal.integer(member) {
                let place = SetValue.place(of: number, in: integers)
                if place.isThere { return false }
                if integers.count < integersMax {
                    // Only one reference may be left, or the insertion would copy.
                    members = .integers([])
                    integers.insert(number, at: place.index)
                    members = .integers(integers)
                    return true
                }
            }
            becomeTable(integers)
        }
        guard case .table(var table) = members else { return false }
        if table.find(member) != nil { return false }
        members = .integers([])
        table.insert(member, ())
        members = .table(table)
        tableBytes += member.count
        return true
    }

    private mutating func becomeTable(_ integers: [Int64]) {
        var table = KeyTable<Void>(seed: seed)
        for number in integers {
            let member = Decimal.bytes(of: number)
            table.insert(member, ())
            tableBytes += member.count
        }
        members = .table(table)
    }

    /// Removes a member; false when it is not there.
    mutating func remove(_ member: [UInt8]) -> Bool {
        switch members {
        case .integers(var integers):
            guard let number = Decimal.integer(member) else { return false }
            let place = SetValue.place(of: number, in: integers)
            guard place.isThere else { return false }
            members = .integers([])
            integers.remove(at: place.index)
            members = .integers(integers)
        case .table(var table):
            members = .integers([])
            let isThere = table.remove(member) != nil
            members = .table(table)
            guard isThere else { return false }
            tableBytes -= member.count
        }
        return true
    }

    mutating func removeAll() -> [[UInt8]] {
        let removed = all
        self = SetValue(seed: seed)
        return removed
    }

    // MARK: Walks

    /// In order for integers, else in the table's order; stops when `body` returns false.
    func forEach(_ body: ([UInt8]) throws(CommandError) -> Bool) throws(CommandError) {
        switch members {
        case .integers(let integers):
            for number in integers { guard try body(Decimal.bytes(of: number)) else { return } }
        case .table(let table):
            for member in table.keys { guard try body(member) else { return } }
        }
    }

    var all: [[UInt8]] {
        switch members {
        case .integers(let integers): integers.map { Decimal.bytes(of: $0) }
        case .table(let table): table.keys
        }
    }

    /// See `KeyTable.scan`; integers come all at once, as Redis gives them.
    func scan(_ cursor: UInt64, _ wanted: Int, _ body: ([UInt8]) -> Void) -> UInt64 {
        switch members {
        case .integers:
            for member in all { body(member) }
            return 0
        case .table(let table):
            return table.scan(cursor, wanted) { body(table.key(at: $0)) }
        }
    }

    /// The member at a place below `count`, in the order of `all`.
    func member(at place: Int) -> [UInt8] {
        switch members {
        case .integers(let integers): Decimal.bytes(of: integers[place])
        case .table(let table): table.key(at: Int32(place))
        }
    }

    // MARK: Snapshot

    package func encode(into writer: inout ByteWriter) {
        writer.write(seed)
        switch members {
        case .integers(let integers):
            writer.write(UInt8(0))
            writer.writeVarint(UInt64(integers.count))
            for number in integers { writer.write(UInt64(bitPattern: number)) }
        case .table(let table):
            writer.write(UInt8(1))
            table.encode(into: &writer) { _, _ in }
        }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        seed = try reader.read(UInt64.self)
        switch try reader.readByte() {
        case 0:
            let count = try reader.readCount(limit: reader.remaining / 8, "set")
            var integers: [Int64] = []
            integers.reserveCapacity(count)
            for _ in 0..<count {
                let number = Int64(bitPattern: try reader.read(UInt64.self))
                if let last = integers.last, last >= number { throw .malformed("set") }
                integers.append(number)
            }
            members = .integers(integers)
        case 1:
            let table = try KeyTable<Void>(from: &reader) { (_) throws(DecodeError) in }
            table.forEach { _, key, _ in
                tableBytes += key.count
                return true
            }
            members = .table(table)
        case let kind: throw .unknown(field: "set", value: UInt64(kind))
        }
    }
}
