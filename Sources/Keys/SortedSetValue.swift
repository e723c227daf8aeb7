import Primitives

/// A sorted set: the score of each member, and the rows in order.
package struct SortedSetValue: ContainerValue {
    private(set) var scores: KeyTable<Double>
    private(set) var rows = SortedRows()
    private var memberBytes = 0
    private var longestMember = 0

    package init(seed: UInt64) { scores = KeyTable(seed: seed) }

    /// Of many members at once.
    init(_ scores: KeyTable<Double>) {
        self.scores = scores
        var unsorted: [SortedRows.Row] = []
        unsorted.reserveCapacity(scores.count)
        scores.forEach { _, member, score in
            unsorted.append(SortedRows.Row(score: score, member: member))
            return true
        }
        for row in unsorted { measure(row.member) }
        unsorted.sort(by: SortedRows.Row.precedes)
        rows = SortedRows(sorted: unsorted)
    }

    package static func unwrap(_ value: Value) -> SortedSetValue? {
        if case .sortedSet(let held) = value { held } else { nil }
    }
    package var wrapped: Value { .sortedSet(self) }

    package var isEmpty: Bool { scores.isEmpty }
    package var count: Int { scores.count }

    /// `OBJECT ENCODING`: the compact one up to the bounds of the configuration. A member that was too long counts as
    /// long as the set lives, as in Redis.
    package func encodingName(_ configuration: KeyspaceConfiguration) -> String {
        count <= configuration.zsetMaxListpackEntries && longestMember <= configuration.zsetMaxListpackValue
            ? "listpack" : "skiplist"
    }

    /// About how much memory it takes.
    package var byteEstimate: Int { 128 + count * 104 + memberBytes }

    /// All rows, in order.
    var all: [SortedRows.Row] {
        var all: [SortedRows.Row] = []
        all.reserveCapacity(count)
        rows.forEach(0..<count) { all.append($0) }
        return all
    }

    /// What `set` did.
    enum Change {
        case added
        case changed
        case unchanged
    }

    func score(of member: [UInt8]) -> Double? { scores[member] }

    /// Places from the lowest score.
    func rank(of member: [UInt8]) -> Int? {
        guard let score = scores[member] else { return nil }
        return rows.rank(of: SortedRows.Row(score: score, member: member))
    }

    @discardableResult
    mutating func set(_ member: [UInt8], _ score: Double) -> Change {
        guard let slot = scores.find(member) else {
            scores.insert(member, score)
            rows.insert(SortedRows.Row(score: score, member: member))
            measure(member)
            return .added
        }
        let old = scores[slot]
        if old == score { return .unchanged }
        scores[slot] = score
        rows.move(SortedRows.Row(score: old, member: member), to: score)
        return .changed
    }

    private mutating func measure(_ member: [UInt8]) {
        memberBytes += member.count
        longestMember = max(longestMember, member.count)
    }

    mutating func remove(_ member: [UInt8]) -> Bool {
        guard let score = scores.remove(member) else { return false }
        rows.remove(SortedRows.Row(score: score, member: member))
        memberBytes -= member.count
        return true
    }

    /// Removes and returns the rows of these ranks.
    @discardableResult
    mutating func remove(ranks: Range<Int>) -> [SortedRows.Row] {
        let removed = rows.remove(ranks)
        for row in removed {
            scores.remove(row.member)
            memberBytes -= row.member.count
        }
        return removed
    }

    // MARK: Snapshot

    /// The rows' order follows from the scores.
    package func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(longestMember))
        scores.encode(into: &writer) { score, writer in writer.write(score.bitPattern) }
    }

    package init(from reader: inout ByteReader) throws(DecodeError) {
        let longest = try reader.readCount(limit: Int(Int32.max), "sorted set")
        self.init(
            try KeyTable(from: &reader) { (reader) throws(DecodeError) in
                let score = Double(bitPattern: try reader.read(UInt64.self))
                if score.isNaN { throw .malformed("sorted set") }
                return score
            }
        )
        longestMember = max(longestMember, longest)
    }
}
