import Primitives

/// Keys by deadline: a binary heap. A key whose deadline changed leaves its old row behind; who pops it looks at the
/// key itself, and the heap is built anew when most of it is stale.
struct ExpiryQueue: Sendable {
    private var rows: [(deadline: Int64, key: [UInt8])] = []
    /// Keys that have a deadline; the other rows are stale.
    private(set) var count = 0

    var isMostlyStale: Bool { rows.count > 1024 && count * 2 < rows.count }
    var firstDeadline: Int64? { rows.first?.deadline }

    mutating func add(_ deadline: Int64, _ key: [UInt8]) {
        rows.append((deadline, key))
        count += 1
        var child = rows.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard rows[child].deadline < rows[parent].deadline else { break }
            rows.swapAt(child, parent)
            child = parent
        }
    }

    init() {}

    /// All rows, stale ones too.
    var rowCount: Int { rows.count }
    subscript(_ place: Int) -> (deadline: Int64, key: [UInt8]) { rows[place] }

    /// A row that was added counts no more.
    mutating func cancelled() { count -= 1 }

    /// Takes the first key whose deadline is not after `now`.
    mutating func popDue(_ now: Int64) -> [UInt8]? {
        guard let first = rows.first, first.deadline <= now else { return nil }
        let last = rows.removeLast()
        if !rows.isEmpty {
            rows[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < rows.count {
                    if rows[child].deadline < rows[least].deadline { least = child }
                }
                guard least != parent else { break }
                rows.swapAt(parent, least)
                parent = least
            }
        }
        return first.key
    }

    /// Writes the heap as it stands: keys with one deadline come out in the same order on every replica. A key that is
    /// in the table is written as its place there.
    func encode<V>(into writer: inout ByteWriter, _ table: KeyTable<V>) {
        writer.writeVarint(UInt64(count))
        writer.writeVarint(UInt64(rows.count))
        for row in rows {
            writer.writeVarint(UInt64(bitPattern: row.deadline))
            if let slot = table.find(row.key) {
                writer.writeVarint(UInt64(slot) + 1)
            } else {
                writer.writeVarint(0)
                writer.writeBytes(row.key)
            }
        }
    }

    init<V>(from reader: inout ByteReader, _ table: KeyTable<V>) throws(DecodeError) {
        let count = try reader.readCount(limit: reader.remaining, "deadlines")
        let rowCount = try reader.readCount(limit: reader.remaining, "deadlines")
        guard count <= rowCount else { throw .malformed("deadlines") }
        rows.reserveCapacity(rowCount)
        for _ in 0..<rowCount {
            let deadline = Int64(bitPattern: try reader.readVarint())
            let place = try reader.readCount(limit: Int(Int32.max), "deadlines")
            if place == 0 {
                rows.append((deadline, try reader.readBytes(limit: reader.remaining, "deadlines")))
            } else {
                guard table.isPlace(Int32(place - 1)) else { throw .malformed("deadlines") }
                rows.append((deadline, table.key(at: Int32(place - 1))))
            }
        }
        self.count = count
    }
}
