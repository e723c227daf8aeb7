import Primitives

extension KeyTable {
    /// Writes everything that the table's behaviour depends on: places and the order in chains. A table read
    /// back gives the same cursors, the same walks and the same random picks from then on.
    package func encode(into writer: inout ByteWriter, _ value: (Value, inout ByteWriter) -> Void) {
        writer.write(seed)
        writer.write(UInt8(level))
        writer.writeVarint(UInt64(split))
        // Each bucket's chain: places plus one, then 0.
        for head in heads {
            var slot = head
            while slot >= 0 {
                writer.writeVarint(UInt64(slot) + 1)
                slot = next(of: slot)
            }
            writer.writeVarint(0)
        }
        forEach { _, key, held in
            writer.writeBytes(key)
            value(held, &writer)
            return true
        }
    }

    /// Reads what `encode` wrote. Chains that share a place, miss one or hold a key of another bucket are refused.
    package init(
        from reader: inout ByteReader,
        _ value: (inout ByteReader) throws(DecodeError) -> Value
    ) throws(DecodeError) {
        self.init(seed: try reader.read(UInt64.self))
        let depth = Int(try reader.readByte())
        guard depth < 31 else { throw .malformed("hash table") }
        let split = try reader.readCount(limit: (1 << depth) - 1, "hash table")
        let buckets = 1 << depth + split
        // Each bucket takes a byte at least.
        guard buckets <= reader.remaining else { throw .truncated }
        var chains: [(bucket: Int32, slot: Int32)] = []
        for bucket in 0..<buckets {
            while true {
                let slot = try reader.readCount(limit: Int(Int32.max), "hash table")
                if slot == 0 { break }
                chains.append((Int32(bucket), Int32(slot - 1)))
            }
        }
        let used = chains.count
        guard used < Int(Int32.max) else { throw .malformed("hash table") }

        // Every place is in one chain.
        var bucketOf: [Int32] = Array(repeating: -1, count: used)
        var heads: [Int32] = Array(repeating: -1, count: buckets)
        var next: [Int32] = Array(repeating: -1, count: used)
        for row in chains.reversed() {
            guard row.slot < used, bucketOf[Int(row.slot)] == -1 else { throw .malformed("hash table") }
            bucketOf[Int(row.slot)] = row.bucket
            next[Int(row.slot)] = heads[Int(row.bucket)]
            heads[Int(row.bucket)] = row.slot
        }
        adopt(level: depth, split: split, heads: heads)
        for slot in 0..<used {
            let key = try reader.readBytes(limit: reader.remaining, "key")
            let hash = key.withUnsafeBytes { self.hash($0) }
            guard bucket(hash) == Int(bucketOf[slot]) else { throw .malformed("hash table") }
            append(Entry(key: key, hash: hash, next: next[slot], value: try value(&reader)))
        }
    }
}
