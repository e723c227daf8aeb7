import LogFormat
import Primitives

extension LogStore {
    /// Entries `from...upTo` of a group, from memory or segments: at least one when there is any, and no more after
    /// `maxBytes` of data. Empty when `from` was compacted away or lies beyond the log.
    ///
    /// Fails with `.corrupt` when what is stored does not match its checksum: wrong bytes are never returned.
    package func read(
        group: GroupID,
        from: LogIndex,
        upTo: LogIndex,
        maxBytes: Int
    ) throws(StorageError) -> [Entry] {
        var entries: [Entry] = []
        var left = maxBytes
        var next = from
        while next <= upTo, entries.isEmpty || left > 0 {
            let place = try locked { (state) throws(StorageError) in
                state.locate(group, next, upTo: upTo, maxBytes: entries.isEmpty ? max(1, left) : left)
            }
            switch place {
            case .nowhere: return entries
            case .memory(let found):
                entries.append(contentsOf: found)
                return entries
            case .segment(let segment, let slot):
                try read(segment, slot: slot, group: group, &next, upTo: upTo, &left, into: &entries)
            }
        }
        return entries
    }

    private func read(
        _ segment: Segment,
        slot: Int,
        group: GroupID,
        _ next: inout LogIndex,
        upTo: LogIndex,
        _ left: inout Int,
        into entries: inout [Entry]
    ) throws(StorageError) {
        do throws(FileReadError) {
            guard !segment.isDamaged else { throw .damaged(offset: 0) }
            let path = "\(directory.group(group, segment.header.incarnation))/\(segment.name)"
            let reader = try SegmentReader(disk, path: path)
            let end = min(upTo, segment.end)
            var position = segment.blockPosition(of: next)
            while next <= end, entries.isEmpty || left > 0 {
                for entry in try reader.block(position, of: segment) where entry.index == next && next <= end {
                    guard entries.isEmpty || left > 0 else { return }
                    left -= entry.data.count
                    entries.append(entry)
                    next += 1
                }
                position += 1
            }
        } catch {
            throw report(error, reading: segment, group: group, slot: slot)
        }
    }
}

/// Where an entry is.
enum EntryPlace: Sendable {
    case nowhere
    case memory([Entry])
    case segment(Segment, slot: Int)
}

extension LogState {
    func locate(_ group: GroupID, _ index: LogIndex, upTo: LogIndex, maxBytes: Int) -> EntryPlace {
        guard let slot = slots[group] else { return .nowhere }
        let log = groups[slot]
        guard index >= log.first, index > 0, index <= log.last else { return .nowhere }
        if index > log.flushedUpTo {
            let from = Int(index - log.flushedUpTo - 1)
            let end = Int(min(upTo, log.last) - log.flushedUpTo)
            var left = maxBytes
            var to = from
            while to < end, to == from || left > 0 {
                left -= log.memory[to].data.count
                to += 1
            }
            return .memory(Array(log.memory[from..<to]))
        }
        var low = 0
        var high = log.segments.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if log.segments[middle].first <= index { low = middle } else { high = middle }
        }
        guard low < log.segments.count, log.segments[low].first <= index, index <= log.segments[low].end else {
            return .nowhere
        }
        return .segment(log.segments[low], slot: slot)
    }
}
