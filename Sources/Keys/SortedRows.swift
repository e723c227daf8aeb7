/// A sorted set's rows in the order of their scores, then of their members' bytes: sorted chunks, and how many rows
/// each of them has. A place in the order is its rank; a range of scores or of members is a range of ranks.
///
/// Every operation looks at O(log n) rows. Ranks add up the chunks' counts, which lie side by side: some microseconds
/// for a million rows.
struct SortedRows: Sendable {
    struct Row: Sendable {
        var score: Double
        var member: [UInt8]

        static func precedes(_ a: Row, _ b: Row) -> Bool {
            a.score != b.score ? a.score < b.score : SortedRows.precedes(a.member, b.member)
        }
    }

    private static let chunkMax = 128
    /// Rows per chunk when many are built at once, or when a chunk is divided.
    private static let chunkFill = 96

    /// None is empty.
    private var chunks: [[Row]] = []
    private var counts: [Int32] = []
    private(set) var count = 0

    init() {}

    /// Of rows in order.
    init(sorted rows: [Row]) {
        var start = 0
        while start < rows.count {
            let end = min(rows.count, start + SortedRows.chunkFill)
            chunks.append(Array(rows[start..<end]))
            counts.append(Int32(end - start))
            start = end
        }
        count = rows.count
    }

    /// Bytes compared as unsigned numbers; a prefix comes first.
    static func precedes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.withUnsafeBytes { a in
            b.withUnsafeBytes { b in
                let common = min(a.count, b.count)
                var position = 0
                while position + 8 <= common {
                    let x = UInt64(bigEndian: a.loadUnaligned(fromByteOffset: position, as: UInt64.self))
                    let y = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: position, as: UInt64.self))
                    if x != y { return x < y }
                    position += 8
                }
                while position < common {
                    if a[position] != b[position] { return a[position] < b[position] }
                    position += 1
                }
                return a.count < b.count
            }
        }
    }

    // MARK: Places

    /// The first place whose row does not come `before`; `before` holds for the first rows and for none after them.
    private func place(_ before: (Row) -> Bool) -> (chunk: Int, index: Int) {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = (low + high) / 2
            if before(chunks[middle][chunks[middle].count - 1]) { low = middle + 1 } else { high = middle }
        }
        guard low < chunks.count else { return (low, 0) }
        let chunk = low
        low = 0
        high = chunks[chunk].count - 1
        while low < high {
            let middle = (low + high) / 2
            if before(chunks[chunk][middle]) { low = middle + 1 } else { high = middle }
        }
        return (chunk, low)
    }

    /// How many rows come `before`.
    func rank(_ before: (Row) -> Bool) -> Int {
        let place = place(before)
        return rowsBefore(chunk: place.chunk) + place.index
    }

    func rank(of row: Row) -> Int { rank { Row.precedes($0, row) } }

    private func rowsBefore(chunk: Int) -> Int {
        // The shorter way round.
        if chunk > counts.count / 2 {
            var sum = 0
            for index in chunk..<counts.count { sum += Int(counts[index]) }
            return count - sum
        }
        var sum = 0
        for index in 0..<chunk { sum += Int(counts[index]) }
        return sum
    }

    /// The place of a rank below `count`.
    private func place(rank: Int) -> (chunk: Int, index: Int) {
        if rank >= count / 2 {
            var chunk = counts.count - 1
            var start = count - Int(counts[chunk])
            while start > rank {
                chunk -= 1
                start -= Int(counts[chunk])
            }
            return (chunk, rank - start)
        }
        var left = rank
        var chunk = 0
        while left >= Int(counts[chunk]) {
            left -= Int(counts[chunk])
            chunk += 1
        }
        return (chunk, left)
    }

    subscript(rank: Int) -> Row {
        let place = place(rank: rank)
        return chunks[place.chunk][place.index]
    }

    /// Calls `body` for the rows of these ranks, last first when `reversed`.
    func forEach<Failure: Error>(
        _ ranks: Range<Int>,
        reversed: Bool = false,
        _ body: (Row) throws(Failure) -> Void
    ) throws(Failure) {
        guard !ranks.isEmpty else { return }
        var left = ranks.count
        var (chunk, index) = place(rank: reversed ? ranks.upperBound - 1 : ranks.lowerBound)
        while left > 0 {
            try body(chunks[chunk][index])
            left -= 1
            if reversed {
                index -= 1
                if index < 0, left > 0 {
                    chunk -= 1
                    index = chunks[chunk].count - 1
                }
            } else {
                index += 1
                if index == chunks[chunk].count {
                    chunk += 1
                    index = 0
                }
            }
        }
    }

    // MARK: Change

    /// Adds a row that is not there.
    mutating func insert(_ row: Row) {
        count += 1
        guard !chunks.isEmpty else {
            chunks = [[row]]
            counts = [1]
            return
        }
        var (chunk, index) = place { Row.precedes($0, row) }
        if chunk == chunks.count {
            // After the last row: chunks that are filled in order stay full.
            chunk -= 1
            if counts[chunk] >= SortedRows.chunkMax {
                chunks.append([row])
                counts.append(1)
                return
            }
            index = chunks[chunk].count
        }
        chunks[chunk].insert(row, at: index)
        counts[chunk] += 1
        if counts[chunk] > SortedRows.chunkMax { divide(chunk) }
    }

    private mutating func divide(_ chunk: Int) {
        let half = chunks[chunk].count / 2
        let upper = Array(chunks[chunk][half...])
        chunks[chunk].removeSubrange(half...)
        counts[chunk] = Int32(half)
        chunks.insert(upper, at: chunk + 1)
        counts.insert(Int32(upper.count), at: chunk + 1)
    }

    /// Removes a row that is there.
    mutating func remove(_ row: Row) {
        let place = place { Row.precedes($0, row) }
        chunks[place.chunk].remove(at: place.index)
        counts[place.chunk] -= 1
        count -= 1
        join(place.chunk)
    }

    /// Gives a row that is there another score.
    mutating func move(_ row: Row, to score: Double) {
        let place = place { Row.precedes($0, row) }
        let moved = Row(score: score, member: row.member)
        if fits(moved, place.chunk, place.index) {
            chunks[place.chunk][place.index].score = score
        } else {
            remove(row)
            insert(moved)
        }
    }

    /// The row may stand at that place of the chunk, between its neighbours there.
    private func fits(_ row: Row, _ chunk: Int, _ index: Int) -> Bool {
        let rows = chunks[chunk]
        let follows = index > 0 ? Row.precedes(rows[index - 1], row) : chunk == 0
        return follows && (index + 1 < rows.count ? Row.precedes(row, rows[index + 1]) : chunk == chunks.count - 1)
    }

    /// Removes and returns the rows of these ranks.
    mutating func remove(_ ranks: Range<Int>) -> [Row] {
        guard !ranks.isEmpty else { return [] }
        var removed: [Row] = []
        removed.reserveCapacity(ranks.count)
        var left = ranks.count
        var (chunk, index) = place(rank: ranks.lowerBound)
        let first = chunk
        var emptied = 0
        while left > 0 {
            let taken = min(left, chunks[chunk].count - index)
            removed.append(contentsOf: chunks[chunk][index..<(index + taken)])
            chunks[chunk].removeSubrange(index..<(index + taken))
            counts[chunk] -= Int32(taken)
            if counts[chunk] == 0 { emptied += 1 }
            left -= taken
            chunk += 1
            index = 0
        }
        count -= ranks.count
        if emptied > 0 {
            // All but the first and the last that were touched are empty.
            let from = counts[first] == 0 ? first : first + 1
            chunks.removeSubrange(from..<(from + emptied))
            counts.removeSubrange(from..<(from + emptied))
        }
        if first < chunks.count { join(first) }
        return removed
    }

    /// Keeps chunks from becoming many and small: an empty one goes, and two that fill half of one become one.
    private mutating func join(_ chunk: Int) {
        if counts[chunk] == 0 {
            chunks.remove(at: chunk)
            counts.remove(at: chunk)
            return
        }
        guard counts[chunk] < SortedRows.chunkMax / 4 else { return }
        for lower in [chunk - 1, chunk] where lower >= 0 && lower + 1 < chunks.count {
            guard Int(counts[lower] + counts[lower + 1]) <= SortedRows.chunkMax / 2 else { continue }
            chunks[lower].append(contentsOf: chunks[lower + 1])
            counts[lower] += counts[lower + 1]
            chunks.remove(at: lower + 1)
            counts.remove(at: lower + 1)
            return
        }
    }
}
