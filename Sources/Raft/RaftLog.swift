import DequeModule
import Primitives

/// A replica's view of its log: the newest entries in memory, the terms of all retained ones, and how far the log is
/// handed to storage, durable, committed and applied.
///
///     firstIndex - 1 <= applied <= applying <= commit <= lastIndex
///     stable <= handed <= lastIndex
///
/// Retained entries below `memoryFirst` are on disk only. Entries at or below `commit` never change.
package struct RaftLog: Sendable {
    /// The first retained entry; `lastIndex + 1` when the log is empty.
    package private(set) var firstIndex: LogIndex
    package private(set) var lastIndex: LogIndex
    package private(set) var commit: LogIndex
    /// Handed out to be applied.
    package private(set) var applying: LogIndex
    package private(set) var applied: LogIndex
    /// Handed out to storage.
    package private(set) var handed: LogIndex
    /// Durable.
    package private(set) var stable: LogIndex
    /// Runs of equal terms, covering `firstIndex - 1 ... lastIndex`.
    package private(set) var termStarts: [TermStart]
    private var memory: Deque<Entry>

    /// Takes what is consistent of the restored state: a suffix that does not end at `lastIndex` is read from disk
    /// instead, a log that ends before the snapshot is replaced by it.
    package init(_ restored: RestoredReplica) {
        firstIndex = max(restored.firstIndex, 1)
        lastIndex = max(restored.lastIndex, firstIndex - 1)
        termStarts = restored.termStarts
        memory = []
        if let snapshot = restored.snapshot, lastIndex < snapshot.index {
            firstIndex = snapshot.index + 1
            lastIndex = snapshot.index
            termStarts = [TermStart(index: snapshot.index, term: snapshot.term)]
        } else if let snapshot = restored.snapshot, termStarts.isEmpty {
            termStarts = [TermStart(index: snapshot.index, term: snapshot.term)]
        }
        applied = min(restored.snapshot?.index ?? (firstIndex - 1), lastIndex)
        applying = applied
        commit = max(min(restored.hardState.commit, lastIndex), applied)
        handed = lastIndex
        stable = lastIndex
        if Self.isSuffix(restored.entries, of: lastIndex) {
            for entry in restored.entries where entry.index >= firstIndex { memory.append(entry) }
            let isTermless = termStarts.isEmpty
            for entry in memory where isTermless && termStarts.last?.term != entry.term {
                termStarts.append(TermStart(index: entry.index, term: entry.term))
            }
        }
    }

    private static func isSuffix(_ entries: [Entry], of lastIndex: LogIndex) -> Bool {
        guard let last = entries.last, let first = entries.first, last.index == lastIndex else { return false }
        return last.index - first.index + 1 == LogIndex(entries.count)
            && entries.indices.allSatisfy { entries[$0].index == first.index + LogIndex($0) }
    }

    /// The first entry that is in memory; `lastIndex + 1` when none is.
    package var memoryFirst: LogIndex { lastIndex + 1 - LogIndex(memory.count) }

    package var lastTerm: Term { term(at: lastIndex) ?? 0 }

    /// The term of an entry in `firstIndex - 1 ... lastIndex`, nil outside. Index 0 has term 0.
    package func term(at index: LogIndex) -> Term? {
        guard index <= lastIndex, index + 1 >= firstIndex else { return nil }
        if index == 0 { return 0 }
        if let last = termStarts.last, last.index <= index { return last.term }
        var low = 0
        var high = termStarts.count
        while low < high {
            let middle = (low + high) / 2
            if termStarts[middle].index <= index { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : termStarts[low - 1].term
    }

    /// The log of a candidate with this last entry is at least as complete (Raft, 5.4.1).
    package func isUpToDate(lastIndex: LogIndex, lastTerm: Term) -> Bool {
        lastTerm > self.lastTerm || (lastTerm == self.lastTerm && lastIndex >= self.lastIndex)
    }

    /// The largest index at or below `index` whose term is at most `term`, with its term: where two logs may still
    /// agree. Term 0 when the answer lies below the retained log.
    package func lastPossibleMatch(index: LogIndex, term limit: Term) -> (index: LogIndex, term: Term) {
        var index = min(index, lastIndex)
        let floor = firstIndex >= 2 ? firstIndex - 2 : 0
        for start in termStarts.reversed() where start.index <= index {
            if index + 1 < firstIndex { break }
            if start.term <= limit { return (index, start.term) }
            index = max(start.index == 0 ? 0 : start.index - 1, floor)
        }
        return (index, 0)
    }

    /// Appends contiguous entries after `lastIndex`.
    package mutating func append(_ entries: ArraySlice<Entry>) {
        for entry in entries { append(entry) }
    }

    /// Appends the entry `lastIndex + 1`.
    package mutating func append(_ entry: Entry) {
        precondition(entry.index == lastIndex + 1, "entries must be contiguous")
        if termStarts.last?.term != entry.term {
            termStarts.append(TermStart(index: entry.index, term: entry.term))
        }
        memory.append(entry)
        lastIndex = entry.index
    }

    /// Removes everything above `index`, which must not be below the commit index.
    package mutating func truncate(after index: LogIndex) {
        precondition(index >= commit, "committed entries never change")
        guard index < lastIndex else { return }
        memory.removeLast(min(memory.count, Int(lastIndex - index)))
        while let last = termStarts.last, last.index > index { termStarts.removeLast() }
        lastIndex = index
        handed = min(handed, index)
        stable = min(stable, index)
    }

    /// Entries from `from` that are in memory, as many as fit into `maxBytes` but at least one.
    package func entries(from: LogIndex, maxBytes: Int) -> [Entry] {
        guard from >= memoryFirst, from <= lastIndex else { return [] }
        let start = Int(from - memoryFirst)
        var end = start
        var bytes = 0
        while end < memory.count {
            bytes += memory[end].footprint
            if bytes > maxBytes, end > start { break }
            end += 1
        }
        return Array(memory[start..<end])
    }

    /// Moves what storage has not seen into `ready`.
    package mutating func takeUnwritten(into ready: inout [Entry]) {
        guard handed < lastIndex else { return }
        ready.append(contentsOf: memory[Int(handed + 1 - memoryFirst)...])
        handed = lastIndex
    }

    package mutating func stableTo(_ index: LogIndex) { stable = max(stable, min(index, handed)) }

    /// Raises the commit index; false when nothing changes. `index` above the log is cut.
    @discardableResult
    package mutating func commitTo(_ index: LogIndex) -> Bool {
        let index = min(index, lastIndex)
        guard index > commit else { return false }
        commit = index
        return true
    }

    /// The end of what may be applied: committed, and durable here, so that a snapshot never runs ahead of the log.
    package var appliableEnd: LogIndex { min(commit, stable) }

    /// Moves the next batch to apply into `ready`, from memory.
    package mutating func takeCommitted(into ready: inout [Entry], maxBytes: Int) {
        let end = appliableEnd
        guard applying < end, applying + 1 >= memoryFirst else { return }
        var position = Int(applying + 1 - memoryFirst)
        var bytes = 0
        while applying < end {
            bytes += memory[position].footprint
            if bytes > maxBytes, !ready.isEmpty { return }
            ready.append(memory[position])
            position += 1
            applying += 1
        }
    }

    /// Entries up to `index` were handed out to be applied by another way than memory.
    package mutating func applyingTo(_ index: LogIndex) { applying = max(applying, min(index, commit)) }

    package mutating func appliedTo(_ index: LogIndex) { applied = max(applied, min(index, applying)) }

    /// An entry in `applied + 1 ... commit` changes the membership, or may do so because it is not in memory.
    package var hasUnappliedMembership: Bool {
        guard applied < commit else { return false }
        guard applied + 1 >= memoryFirst else { return true }
        let start = Int(applied + 1 - memoryFirst)
        let end = Int(commit + 1 - memoryFirst)
        return memory[start..<end].contains { $0.kind == .membership }
    }

    /// Bytes of the entries of `term` in `from ... through` that are in memory.
    package func footprint(from: LogIndex, through: LogIndex, term: Term) -> Int {
        var bytes = 0
        var index = max(from, memoryFirst)
        while index <= through {
            let entry = memory[Int(index - memoryFirst)]
            if entry.term == term { bytes += entry.footprint }
            index += 1
        }
        return bytes
    }

    /// Forgets the content of durable, committed entries up to `index`; their terms stay.
    package mutating func evict(upTo index: LogIndex) {
        let end = min(index, stable, commit)
        guard end >= memoryFirst else { return }
        memory.removeFirst(Int(end + 1 - memoryFirst))
    }

    /// The retained log begins after `index`, which is cut to what is applied and durable.
    package mutating func compact(upTo index: LogIndex) {
        let index = min(index, applied, stable)
        guard index >= firstIndex else { return }
        evict(upTo: index)
        let covering = termStarts.lastIndex { $0.index <= index } ?? 0
        termStarts.removeFirst(covering)
        firstIndex = index + 1
    }

    /// Replaces the log by a durable snapshot and the retained entries before its end.
    package mutating func restore(_ descriptor: SnapshotDescriptor, firstRetained: LogIndex, termStarts: [TermStart]) {
        let isCovered =
            firstRetained >= 1 && firstRetained <= descriptor.index
            && (termStarts.first.map { $0.index <= firstRetained } ?? false)
        firstIndex = isCovered ? firstRetained : descriptor.index + 1
        lastIndex = descriptor.index
        self.termStarts = isCovered ? termStarts.filter { $0.index <= descriptor.index } : []
        if self.termStarts.last?.term != descriptor.term {
            self.termStarts.append(TermStart(index: descriptor.index, term: descriptor.term))
        }
        memory.removeAll()
        commit = lastIndex
        applying = lastIndex
        handed = lastIndex
        stable = lastIndex
    }
}

extension Entry {
    /// What limits and windows count: the data and an allowance for the rest.
    package var footprint: Int { data.count + 24 }
}
