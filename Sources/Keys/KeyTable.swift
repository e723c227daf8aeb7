import Primitives

/// A hash table for keys, fields and members: linear hashing over a slab of entries in chunks.
///
/// - The slab has no holes: the last entry moves to where one was removed. So memory follows the count, a random place
///   is a fair pick, and places are numbers below `count`.
/// - It grows and shrinks by one bucket at a time: no rehash stops the loop.
/// - `scan` walks in the order of bit-reversed hashes. A bucket is an interval of that order and splitting it halves
///   the interval, so a cursor keeps its meaning whatever happens meanwhile: what stays in the table throughout a scan
///   is returned at least once, as Redis promises.
/// - A copy shares everything; writing to one of them copies the chunks that are touched. So a snapshot is a copy.
/// - The order depends on the seed, the keys and their history alone, so replicas agree on it.
package struct KeyTable<Value: Sendable>: Sendable {
    package struct Entry: Sendable {
        // What a look-up reads first lies together.
        package let key: [UInt8]
        let hash: UInt64
        var next: Int32
        package var value: Value
    }

    private static var chunkBits: Int { 6 }
    private static var chunkSize: Int { 1 << chunkBits }
    /// Entries per bucket, at which a bucket is split.
    private static var load: Int { 1 }

    private(set) var seed: UInt64
    private var chunks: [[Entry]] = []
    /// First entry of each bucket, or -1. There are `1 << level` + `split` buckets.
    private(set) var heads: [Int32] = [-1]
    private(set) var level = 0
    private(set) var split = 0
    package private(set) var count = 0

    package init(seed: UInt64) { self.seed = seed }

    package var isEmpty: Bool { count == 0 }

    // MARK: Look-up

    func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        // FNV over words with a strong finish; the seed is drawn at creation, so that clients cannot choose collisions.
        var state = seed ^ UInt64(truncatingIfNeeded: key.count) &* 0x9e37_79b9_7f4a_7c15
        var position = 0
        while position + 8 <= key.count {
            let word = key.loadUnaligned(fromByteOffset: position, as: UInt64.self)
            state = SplitMix64.mix(state ^ word)
            position += 8
        }
        var rest: UInt64 = 0
        var shift: UInt64 = 0
        while position < key.count {
            rest |= UInt64(key[position]) << shift
            shift += 8
            position += 1
        }
        return SplitMix64.mix(state ^ rest)
    }

    func bucket(_ hash: UInt64) -> Int {
        let low = Int(truncatingIfNeeded: hash & ((1 << UInt64(level)) - 1))
        if low >= split { return low }
        return Int(truncatingIfNeeded: hash & ((1 << UInt64(level + 1)) - 1))
    }

    /// The entry's place, good until the next insertion or removal.
    package func find(_ key: [UInt8]) -> Int32? {
        guard count > 0 else { return nil }
        let hash = key.withUnsafeBytes { self.hash($0) }
        var slot = heads[bucket(hash)]
        while slot >= 0 {
            // Looked at in its place: a copy would count references to the key and the value.
            let (chunk, index) = (Int(slot) >> Self.chunkBits, Int(slot) & (Self.chunkSize - 1))
            if chunks[chunk][index].hash == hash, chunks[chunk][index].key == key { return slot }
            slot = chunks[chunk][index].next
        }
        return nil
    }

    /// Bytes of the key and, by `valueSize`, of the value.
    func size(at slot: Int32, _ valueSize: (Value) -> Int) -> Int {
        let (chunk, index) = (Int(slot) >> Self.chunkBits, Int(slot) & (Self.chunkSize - 1))
        return chunks[chunk][index].key.count + valueSize(chunks[chunk][index].value)
    }

    /// The same place when its entry has this hash, else the next place of its chain.
    func next(_ slot: Int32, unless hash: UInt64) -> Int32 {
        let (chunk, index) = (Int(slot) >> Self.chunkBits, Int(slot) & (Self.chunkSize - 1))
        return chunks[chunk][index].hash == hash ? slot : chunks[chunk][index].next
    }

    package func key(at slot: Int32) -> [UInt8] {
        chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)].key
    }

    /// The value at a place that `find`, `insert` or `scan` gave.
    package subscript(slot: Int32) -> Value {
        get { chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)].value }
        _modify {
            yield &chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)].value
        }
    }

    package subscript(key: [UInt8]) -> Value? { find(key).map { self[$0] } }

    // MARK: Change

    /// Adds a key that is not there; returns its place.
    @discardableResult
    package mutating func insert(_ key: [UInt8], _ value: Value) -> Int32 {
        let hash = key.withUnsafeBytes { self.hash($0) }
        let slot = Int32(count)
        let bucket = bucket(hash)
        append(Entry(key: key, hash: hash, next: heads[bucket], value: value))
        heads[bucket] = slot
        if count > heads.count * Self.load { grow() }
        return slot
    }

    /// Sets the value of a key, whether or not it was there; true when it is new.
    @discardableResult
    package mutating func set(_ key: [UInt8], _ value: Value) -> Bool {
        if let slot = find(key) {
            self[slot] = value
            return false
        }
        insert(key, value)
        return true
    }

    @discardableResult
    package mutating func remove(_ key: [UInt8]) -> Value? {
        guard let slot = find(key) else { return nil }
        let removed = entry(slot)
        relink(slot, to: removed.next, from: bucket(removed.hash))
        count -= 1
        let last = chunks[chunks.count - 1].removeLast()
        if chunks[chunks.count - 1].isEmpty { chunks.removeLast() }
        if Int(slot) != count {
            relink(Int32(count), to: slot, from: bucket(last.hash))
            chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)] = last
        }
        if count == 0 {
            self = KeyTable(seed: seed)
        } else {
            // Up to four buckets go with one entry, so that the buckets keep up with removals.
            for _ in 0..<4 where heads.count > 4 && count < heads.count * Self.load / 4 { shrink() }
        }
        return removed.value
    }

    package mutating func removeAll() { self = KeyTable(seed: seed) }

    private func entry(_ slot: Int32) -> Entry {
        chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)]
    }

    private mutating func setNext(_ slot: Int32, _ next: Int32) {
        chunks[Int(slot) >> Self.chunkBits][Int(slot) & (Self.chunkSize - 1)].next = next
    }

    /// Whatever points at `slot` in the bucket's chain points at `other` from now on.
    private mutating func relink(_ slot: Int32, to other: Int32, from bucket: Int) {
        if heads[bucket] == slot {
            heads[bucket] = other
            return
        }
        var at = heads[bucket]
        while at >= 0 {
            let next = entry(at).next
            if next == slot {
                setNext(at, other)
                return
            }
            at = next
        }
    }

    private mutating func grow() {
        let from = split
        heads.append(-1)
        let bit = UInt64(1) << UInt64(level)
        split += 1
        if split == 1 << level {
            split = 0
            level += 1
        }
        var slot = heads[from]
        heads[from] = -1
        // Chains keep their order, so that a split says nothing new about history.
        var tails: (Int32, Int32) = (-1, -1)
        let to = heads.count - 1
        while slot >= 0 {
            let entry = entry(slot)
            let next = entry.next
            setNext(slot, -1)
            if entry.hash & bit == 0 {
                if tails.0 < 0 { heads[from] = slot } else { setNext(tails.0, slot) }
                tails.0 = slot
            } else {
                if tails.1 < 0 { heads[to] = slot } else { setNext(tails.1, slot) }
                tails.1 = slot
            }
            slot = next
        }
    }

    private mutating func shrink() {
        if split == 0 {
            level -= 1
            split = 1 << level
        }
        split -= 1
        var slot = heads.removeLast()
        while slot >= 0 {
            let next = entry(slot).next
            setNext(slot, heads[split])
            heads[split] = slot
            slot = next
        }
    }

    // MARK: Coding, see KeyTable+Coding.swift

    /// An entry is at this place.
    func isPlace(_ slot: Int32) -> Bool { slot >= 0 && slot < count }

    func next(of slot: Int32) -> Int32 { entry(slot).next }

    /// Takes the shape of an encoded table; its entries follow by `append`, in order.
    mutating func adopt(level: Int, split: Int, heads: [Int32]) {
        self.level = level
        self.split = split
        self.heads = heads
    }

    mutating func append(_ entry: Entry) {
        if count >> Self.chunkBits == chunks.count { chunks.append([]) }
        chunks[chunks.count - 1].append(entry)
        count += 1
    }

    // MARK: Walks

    /// Calls `body` for the entries of at least one bucket and until about `wanted` were seen; returns the cursor to go
    /// on from, 0 at the end. Any cursor is valid.
    package func scan(_ cursor: UInt64, _ wanted: Int, _ body: (Int32) -> Void) -> UInt64 {
        guard count > 0 else { return 0 }
        var position = cursor
        var seen = 0
        var visited = 0
        // Empty buckets count for a tenth, as in Redis, so that a call ends.
        while seen < max(1, wanted), visited < max(1, wanted) * 10 {
            let hash = KeyTable.reversed(position)
            let bucket = bucket(hash)
            let depth = bucket < split || bucket >= 1 << level ? level + 1 : level
            var slot = heads[bucket]
            while slot >= 0 {
                body(slot)
                seen += 1
                slot = entry(slot).next
            }
            visited += 1
            guard depth > 0 else { return 0 }
            // The bucket is the interval of reversed hashes that begin with its reversed number.
            let width = UInt64(1) << UInt64(64 - depth)
            position = (position & ~(width - 1)) &+ width
            if position == 0 { return 0 }
        }
        return position
    }

    private static func reversed(_ value: UInt64) -> UInt64 {
        var v = value
        v = (v >> 1) & 0x5555_5555_5555_5555 | (v & 0x5555_5555_5555_5555) << 1
        v = (v >> 2) & 0x3333_3333_3333_3333 | (v & 0x3333_3333_3333_3333) << 2
        v = (v >> 4) & 0x0f0f_0f0f_0f0f_0f0f | (v & 0x0f0f_0f0f_0f0f_0f0f) << 4
        return v.byteSwapped
    }

    /// Calls `body` for every entry, in the order of their places; stops when it returns false.
    package func forEach(_ body: (_ slot: Int32, _ key: [UInt8], _ value: Value) throws -> Bool) rethrows {
        for (row, chunk) in chunks.enumerated() {
            for (column, entry) in chunk.enumerated() {
                let slot = Int32(row << Self.chunkBits | column)
                guard try body(slot, entry.key, entry.value) else { return }
            }
        }
    }

    package var keys: [[UInt8]] {
        var keys: [[UInt8]] = []
        keys.reserveCapacity(count)
        forEach { _, key, _ in
            keys.append(key)
            return true
        }
        return keys
    }

    /// Any entry, each as likely as the others; the table must not be empty.
    package func randomSlot(_ random: inout Xoshiro256) -> Int32 {
        precondition(count > 0)
        return Int32(random.below(UInt64(count)))
    }
}
