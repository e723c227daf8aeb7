import DequeModule

/// Rows by stream ID, in order: what was delivered and not acknowledged.
///
/// Sorted chunks of at most `chunkSize` rows. New entries come at the end and acknowledgements mostly at the front, so
/// both cost little; anything in between moves one chunk.
struct PendingTable<Row: Sendable>: Sendable {
    struct Element: Sendable {
        let id: StreamID
        var row: Row
    }

    /// A row's place, good until the next insertion or removal.
    struct Place {
        fileprivate(set) var chunk: Int
        fileprivate(set) var index: Int
    }

    private static var chunkSize: Int { 128 }

    /// None is empty.
    private var chunks: Deque<[Element]> = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    var firstID: StreamID? { chunks.first?.first?.id }
    var lastID: StreamID? { chunks.last?.last?.id }

    subscript(place: Place) -> Element { chunks[place.chunk][place.index] }

    subscript(row place: Place) -> Row {
        _read { yield chunks[place.chunk][place.index].row }
        _modify { yield &chunks[place.chunk][place.index].row }
    }

    // MARK: Finding

    /// The first row at or after an ID.
    func place(from id: StreamID) -> Place? {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = (low + high) / 2
            if chunks[middle][chunks[middle].count - 1].id < id { low = middle + 1 } else { high = middle }
        }
        guard low < chunks.count else { return nil }
        return Place(chunk: low, index: PendingTable.index(of: id, in: chunks[low]))
    }

    func find(_ id: StreamID) -> Place? {
        guard let place = place(from: id), self[place].id == id else { return nil }
        return place
    }

    func next(_ place: Place) -> Place? {
        if place.index + 1 < chunks[place.chunk].count { return Place(chunk: place.chunk, index: place.index + 1) }
        return place.chunk + 1 < chunks.count ? Place(chunk: place.chunk + 1, index: 0) : nil
    }

    /// Where `id` is or would be.
    private static func index(of id: StreamID, in chunk: [Element]) -> Int {
        var low = 0
        var high = chunk.count
        while low < high {
            let middle = (low + high) / 2
            if chunk[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Calls `body` for rows from an ID on, in order, until it returns false.
    func forEach(from id: StreamID = .zero, _ body: (Element) -> Bool) {
        guard let start = place(from: id) else { return }
        var index = start.index
        for chunk in start.chunk..<chunks.count {
            while index < chunks[chunk].count {
                guard body(chunks[chunk][index]) else { return }
                index += 1
            }
            index = 0
        }
    }

    // MARK: Change

    /// Adds a row; false, and nothing changes, when the ID is there already.
    @discardableResult
    mutating func insert(_ id: StreamID, _ row: Row) -> Bool {
        let element = Element(id: id, row: row)
        guard let place = place(from: id) else {
            if let last = chunks.last, last.count < PendingTable.chunkSize {
                chunks[chunks.count - 1].append(element)
            } else {
                chunks.append([element])
            }
            count += 1
            return true
        }
        if self[place].id == id { return false }
        count += 1
        if chunks[place.chunk].count < PendingTable.chunkSize {
            chunks[place.chunk].insert(element, at: place.index)
            return true
        }
        let half = PendingTable.chunkSize / 2
        var upper = Array(chunks[place.chunk][half...])
        chunks[place.chunk].removeSubrange(half...)
        if place.index > half {
            upper.insert(element, at: place.index - half)
        } else {
            chunks[place.chunk].insert(element, at: place.index)
        }
        chunks.insert(upper, at: place.chunk + 1)
        return true
    }

    @discardableResult
    mutating func remove(_ id: StreamID) -> Row? {
        guard let place = find(id) else { return nil }
        let row = self[place].row
        chunks[place.chunk].remove(at: place.index)
        if chunks[place.chunk].isEmpty { chunks.remove(at: place.chunk) }
        count -= 1
        return row
    }
}
