import LogFormat
import Primitives

/// What storage knows about one group: which indices it has, where they are, and what still lies only in the
/// write-ahead log (and therefore in memory).
///
/// Indices `first...flushedUpTo` are in segments, `flushedUpTo + 1...last` in `memory`.
struct GroupLog: Sendable {
    let group: GroupID
    var incarnation: UInt64
    var hardState = HardState()
    var floor: LogIndex = 1
    var isFaulty = false
    var isDiscarded = false

    var first: LogIndex = 1
    var flushedUpTo: LogIndex = 0
    var memory: [Entry] = []
    /// From `first - 1` to `last`; empty when nothing was ever appended.
    var termStarts: [TermStart] = []
    /// In index order, contiguous by `end`.
    var segments: [Segment] = []
    var nextSequence: UInt64 = 1
    /// Names of segment files that newer content has replaced; removed after the next segment is durable.
    var obsolete: [String] = []
    /// Newest first; `descriptor` of the newest readable one.
    var snapshots: [(index: LogIndex, term: Term)] = []
    /// The lowest index replaced since the running flush took its entries.
    var lowestReplaced: LogIndex = .max

    init(group: GroupID, incarnation: UInt64 = 0) {
        self.group = group
        self.incarnation = incarnation
    }

    var last: LogIndex { flushedUpTo + LogIndex(memory.count) }

    var snapshotIndex: LogIndex { snapshots.first?.index ?? 0 }

    var checkpoint: GroupCheckpoint {
        GroupCheckpoint(
            group: group,
            incarnation: incarnation,
            hardState: hardState,
            floor: floor,
            lastIndex: last,
            isFaulty: isFaulty,
            isDiscarded: isDiscarded
        )
    }

    /// Whether entries from `index` on may follow a log that ends at `last`.
    func accepts(_ index: LogIndex, after last: LogIndex) -> Bool {
        if index == last + 1 { return true }
        if index <= last { return index >= first && index > 0 }
        // The snapshot is ahead of the log: the log starts over behind it.
        return snapshotIndex > last && index == snapshotIndex + 1
    }

    /// Appends entries that `accepts` allowed, replacing the log from their first index on.
    mutating func accept(_ entries: ArraySlice<Entry>) {
        guard let from = entries.first?.index else { return }
        if from > last + 1 {
            restart(at: from)
        } else if from <= last {
            truncate(to: from - 1)
        }
        if termStarts.isEmpty { termStarts.append(TermStart(index: first - 1, term: 0)) }
        for entry in entries where termStarts[termStarts.count - 1].term != entry.term {
            termStarts.append(TermStart(index: entry.index, term: entry.term))
        }
        memory.append(contentsOf: entries)
        isDiscarded = false
    }

    /// Drops everything above `index` from view. Files stay until something durable replaces them.
    mutating func truncate(to index: LogIndex) {
        guard index < last else { return }
        lowestReplaced = min(lowestReplaced, index + 1)
        if index >= flushedUpTo {
            memory.removeSubrange(Int(index - flushedUpTo)...)
        } else {
            memory.removeAll(keepingCapacity: true)
            flushedUpTo = index
            while let tail = segments.last, tail.first > index {
                obsolete.append(tail.name)
                segments.removeLast()
            }
            if let tail = segments.indices.last { segments[tail].end = min(segments[tail].end, index) }
        }
        while let start = termStarts.last, start.index > index, termStarts.count > 1 { termStarts.removeLast() }
    }

    /// Begins an empty log at `index`, behind a snapshot that is ahead of it.
    mutating func restart(at index: LogIndex) {
        lowestReplaced = 0
        obsolete.append(contentsOf: segments.map(\.name))
        segments = []
        memory = []
        first = index
        floor = max(floor, index)
        flushedUpTo = index - 1
        let covered = snapshots.first { $0.index == index - 1 }
        termStarts = [TermStart(index: index - 1, term: covered?.term ?? 0)]
    }

    /// The term of an index in `first - 1...last`; nil outside, 0 when it is not known.
    func term(at index: LogIndex) -> Term? {
        guard index + 1 >= first, index <= last, !termStarts.isEmpty else { return nil }
        var low = 0
        var high = termStarts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if termStarts[middle].index <= index { low = middle } else { high = middle }
        }
        return termStarts[low].term
    }

    /// How many of the first of `entries` need no replay: in segments already, or below what retention left. An index
    /// and a term name one entry.
    func countStored(_ entries: [Entry]) -> Int {
        var count = 0
        for entry in entries {
            let isFlushed = entry.index <= flushedUpTo && term(at: entry.index) == entry.term
            guard entry.index < first || isFlushed else { break }
            count += 1
        }
        return count
    }

    /// Takes over the entries of `memory` up to the segment's end, unless they were replaced meanwhile.
    mutating func adopt(_ written: Segment) {
        var segment = written
        nextSequence = max(nextSequence, segment.header.sequence + 1)
        segment.end = min(segment.end, lowestReplaced == 0 ? 0 : lowestReplaced - 1)
        guard segment.end >= segment.first, segment.first == flushedUpTo + 1, segment.end <= last else {
            obsolete.append(segment.name)
            return
        }
        memory.removeSubrange(0..<Int(segment.end - flushedUpTo))
        flushedUpTo = segment.end
        segments.append(segment)
    }

    /// Drops whole segments below `index` from view and returns their names.
    mutating func drop(below index: LogIndex) -> [String] {
        var names: [String] = []
        while let head = segments.first, head.end < index {
            let next = head.end + 1
            let term = term(at: head.end) ?? 0
            names.append(head.name)
            segments.removeFirst()
            first = next
            termStarts.removeAll { $0.index < next }
            termStarts.insert(TermStart(index: next - 1, term: term), at: 0)
        }
        return names
    }
}
