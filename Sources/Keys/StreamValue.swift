import DequeModule
import Primitives
import RESP

/// A stream.
///
/// Entries lie in nodes of at most `stream-node-max-entries`, as in Redis, where `MAXLEN ~` removes whole nodes. A node
/// is one array of bytes: its entries as RESP, so that reading one is copying it. Sources of the rules on IDs, trimming
/// and the arithmetic of groups: https://redis.io/docs/latest/develop/data-types/streams/ and Redis 7.0's t_stream.c.
package struct StreamValue: ContainerValue {
    /// Entries that are neighbours. None is empty.
    struct Node: Sendable {
        private(set) var ids: [StreamID] = []
        /// Where each entry ends in `content`.
        private(set) var ends: [Int] = []
        /// Per entry an array of fields and values, in RESP.
        private(set) var content: [UInt8] = []
        /// Entries that are gone; they count for the node's bounds.
        private(set) var deletedCount = 0
        /// The ID of the last entry that was added, be it deleted or not: what trimming by ID looks at.
        private(set) var lastID = StreamID.zero

        var count: Int { ids.count }
        var byteEstimate: Int { content.count + ids.count * 24 + 128 }

        mutating func append(_ id: StreamID, _ entry: [UInt8]) {
            ids.append(id)
            content.append(contentsOf: entry)
            ends.append(content.count)
            lastID = id
        }

        subscript(index: Int) -> ArraySlice<UInt8> { content[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }

        /// Index of the first entry at or after an ID.
        func index(from id: StreamID) -> Int {
            var low = 0
            var high = ids.count
            while low < high {
                let middle = (low + high) / 2
                if ids[middle] < id { low = middle + 1 } else { high = middle }
            }
            return low
        }

        mutating func remove(_ range: Range<Int>) {
            guard !range.isEmpty else { return }
            let start = range.lowerBound == 0 ? 0 : ends[range.lowerBound - 1]
            let length = ends[range.upperBound - 1] - start
            content.removeSubrange(start..<(start + length))
            ids.removeSubrange(range)
            ends.removeSubrange(range)
            for index in range.lowerBound..<ends.count { ends[index] -= length }
            deletedCount += range.count
        }

        init() {}

        init(ids: [StreamID], ends: [Int], content: [UInt8], deletedCount: Int, lastID: StreamID) {
            self.ids = ids
            self.ends = ends
            self.content = content
            self.deletedCount = deletedCount
            self.lastID = lastID
        }
    }

    private(set) var nodes: Deque<Node> = []
    private(set) var length = 0
    /// The greatest ID ever added, or as XSETID says.
    var lastID = StreamID.zero
    /// The greatest ID that XDEL has removed.
    var maxDeletedID = StreamID.zero
    /// How many entries were ever added, or as XSETID says.
    var entriesAdded: Int64 = 0
    /// By name.
    private(set) var groups: [StreamGroup] = []
    private var entryBytes = 0
    private var groupBytes = 0

    package init(seed: UInt64) {}

    package var isEmpty: Bool { length == 0 }
    package static var staysWhenEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> StreamValue? {
        if case .stream(let held) = value { held } else { nil }
    }
    package var wrapped: Value { .stream(self) }

    /// Approximate memory.
    package var byteEstimate: Int { 96 + entryBytes + groupBytes }

    /// The first entry that is there; 0-0 when there is none.
    var firstEntryID: StreamID { nodes.first?.ids.first ?? .zero }
    /// The last entry that is there.
    var lastEntryID: StreamID? { nodes.last?.ids.last }

    // MARK: Entries

    /// Appends an entry whose ID is greater than `lastID`.
    mutating func append(_ id: StreamID, _ entry: [UInt8], _ configuration: KeyspaceConfiguration) {
        if !fitsLast(entry.count, configuration) {
            nodes.append(Node())
            entryBytes += nodes[nodes.count - 1].byteEstimate
        }
        change(nodes.count - 1) { $0.append(id, entry) }
        length += 1
        lastID = id
        entriesAdded &+= 1
    }

    private func fitsLast(_ bytes: Int, _ configuration: KeyspaceConfiguration) -> Bool {
        guard let last = nodes.last else { return false }
        let entries = configuration.streamNodeMaxEntries
        if entries > 0, last.count + last.deletedCount >= entries { return false }
        let bound = configuration.streamNodeMaxBytes
        return last.content.count + bytes < (bound > 0 ? min(Int(bound), 1 << 30) : 1 << 30)
    }

    private mutating func change(_ node: Int, _ body: (inout Node) -> Void) {
        entryBytes -= nodes[node].byteEstimate
        body(&nodes[node])
        entryBytes += nodes[node].byteEstimate
    }

    private mutating func removeNode(_ node: Int) {
        entryBytes -= nodes[node].byteEstimate
        length -= nodes[node].count
        nodes.remove(at: node)
    }

    /// The first node that has an entry at or after an ID.
    private func nodeIndex(from id: StreamID) -> Int {
        var low = 0
        var high = nodes.count
        while low < high {
            let middle = (low + high) / 2
            let node = nodes[middle]
            if node.ids[node.count - 1] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func find(_ id: StreamID) -> (node: Int, index: Int)? {
        let node = nodeIndex(from: id)
        guard node < nodes.count else { return nil }
        let index = nodes[node].index(from: id)
        return index < nodes[node].count && nodes[node].ids[index] == id ? (node, index) : nil
    }

    func contains(_ id: StreamID) -> Bool { find(id) != nil }

    /// The entry's fields and values as a RESP array.
    func entry(_ id: StreamID) -> ArraySlice<UInt8>? { find(id).map { nodes[$0.node][$0.index] } }

    /// Removes an entry; false when there is none.
    mutating func remove(_ id: StreamID) -> Bool {
        guard let (node, index) = find(id) else { return false }
        if nodes[node].count == 1 {
            removeNode(node)
        } else {
            change(node) { $0.remove(index..<(index + 1)) }
            length -= 1
        }
        if maxDeletedID < id { maxDeletedID = id }
        return true
    }

    /// Calls `body` for the entries between two IDs, both included, until it returns false.
    func forEach(
        from start: StreamID,
        to end: StreamID,
        reversed: Bool = false,
        _ body: (StreamID, ArraySlice<UInt8>) -> Bool
    ) {
        guard start <= end else { return }
        guard reversed else {
            for place in nodeIndex(from: start)..<nodes.count {
                let node = nodes[place]
                for index in node.index(from: start)..<node.count {
                    let id = node.ids[index]
                    guard id <= end, body(id, node[index]) else { return }
                }
            }
            return
        }
        for place in stride(from: min(nodeIndex(from: end), nodes.count - 1), through: 0, by: -1) {
            let node = nodes[place]
            var index = node.index(from: end)
            if index == node.count || node.ids[index] > end { index -= 1 }
            while index >= 0 {
                let id = node.ids[index]
                guard id >= start, body(id, node[index]) else { return }
                index -= 1
            }
        }
    }

    // MARK: Trimming

    /// How far to trim.
    struct Trim {
        enum Bound {
            case length(Int64)
            case id(StreamID)
        }
        var bound: Bound
        /// Whole nodes only (`~`).
        var isApproximate = false
        /// Entries to remove at most; 0: no limit.
        var limit: Int64 = 0
    }

    /// Removes entries at the front; returns how many.
    mutating func trim(_ trim: Trim) -> Int {
        var removed = 0
        // Nothing here holds the node itself, so that it changes in place.
        while !nodes.isEmpty {
            let count = nodes[0].count
            if case .length(let wanted) = trim.bound, length <= wanted { break }
            if trim.limit > 0, removed + count > trim.limit { break }
            let isWhole =
                switch trim.bound {
                case .length(let wanted): length - count >= wanted
                case .id(let id): nodes[0].lastID < id
                }
            if isWhole {
                removed += count
                removeNode(0)
                continue
            }
            if trim.isApproximate { break }
            let excess =
                switch trim.bound {
                case .length(let wanted): length - Int(wanted)
                case .id(let id): nodes[0].index(from: id)
                }
            removed += excess
            if excess == count {
                removeNode(0)
            } else {
                change(0) { $0.remove(0..<excess) }
                length -= excess
            }
            break
        }
        return removed
    }

    // MARK: Groups

    private func groupIndex(_ name: [UInt8]) -> Int {
        var low = 0
        var high = groups.count
        while low < high {
            let middle = (low + high) / 2
            if groups[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The group's place in `groups`.
    func find(group name: [UInt8]) -> Int? {
        let index = groupIndex(name)
        return index < groups.count && groups[index].name == name ? index : nil
    }

    /// Adds a group; false when one has its name.
    mutating func add(_ group: StreamGroup) -> Bool {
        if find(group: group.name) != nil { return false }
        groups.insert(group, at: groupIndex(group.name))
        groupBytes += group.byteEstimate
        return true
    }

    mutating func removeGroup(_ name: [UInt8]) -> Bool {
        guard let index = find(group: name) else { return false }
        groupBytes -= groups.remove(at: index).byteEstimate
        return true
    }

    subscript(group index: Int) -> StreamGroup {
        _read { yield groups[index] }
        _modify {
            groupBytes -= groups[index].byteEstimate
            defer { groupBytes += groups[index].byteEstimate }
            yield &groups[index]
        }
    }

    /// A delivery moves the group on to `id`, which is greater than where it is.
    mutating func advance(_ group: Int, to id: StreamID) {
        if let read = groups[group].entriesRead, !mayMiss(from: id) {
            groups[group].entriesRead = read &+ 1
        } else if entriesAdded != 0 {
            groups[group].entriesRead = entriesBefore(id)
        }
        groups[group].lastID = id
    }

    /// XDEL may have removed an entry at or after an ID.
    private func mayMiss(from id: StreamID) -> Bool {
        guard length > 0, maxDeletedID != .zero, firstEntryID <= maxDeletedID else { return false }
        return id <= maxDeletedID
    }

    /// How many entries were ever added up to an ID, where that is known.
    func entriesBefore(_ id: StreamID) -> Int64? {
        if entriesAdded == 0 { return 0 }
        if length == 0, id <= lastID { return entriesAdded }
        if id == lastID { return entriesAdded }
        if id > lastID { return nil }
        guard maxDeletedID == .zero || maxDeletedID < firstEntryID else { return nil }
        if id < firstEntryID { return entriesAdded &- Int64(length) }
        if id == firstEntryID { return entriesAdded &- Int64(length) &+ 1 }
        return nil
    }

    /// How many entries the group has not read, where that is known.
    func lag(_ group: StreamGroup) -> Int64? {
        if entriesAdded == 0 { return 0 }
        if let read = group.entriesRead, !mayMiss(from: group.lastID) { return entriesAdded &- read }
        return entriesBefore(group.lastID).map { entriesAdded &- $0 }
    }

    // MARK: Snapshot

    init(nodes: Deque<Node>, groups: [StreamGroup]) {
        self.nodes = nodes
        self.groups = groups
        length = nodes.reduce(0) { $0 + $1.count }
        entryBytes = nodes.reduce(0) { $0 + $1.byteEstimate }
        groupBytes = groups.reduce(0) { $0 + $1.byteEstimate }
    }
}
