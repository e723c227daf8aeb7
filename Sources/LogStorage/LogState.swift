import LogFormat
import Primitives

/// A write-ahead file that is complete and durable, and waits until all that it holds is in segments.
struct SealedFile: Sendable {
    var sequence: UInt64
    var name: String
    var bytes: Int
    /// By slot: the last index that this file holds of the group, 0 for none.
    var lastIndices: [LogIndex]
    /// Damaged files are kept under another name instead of being removed.
    var isDamaged = false
}

/// What the writer's and the maintenance's sides of a `LogStore` share, under its lock.
struct LogState: Sendable {
    /// In the order in which they appeared, which is the same in every run; `slots` finds them.
    var groups: [GroupLog] = []
    var slots: [GroupID: Int] = [:]
    /// Oldest first.
    var sealed: [SealedFile] = []
    /// By slot: the last index that the active file holds of the group.
    var activeIndices: [LogIndex] = []
    /// The active write-ahead file, its length in use; nil when none could be made (full disk).
    var active: (name: String, sequence: UInt64, end: Int)?
    var writtenLSN: UInt64 = 0
    var durableLSN: UInt64 = 0
    /// The record that last replaced entries of some log. Until it is durable, what it replaced may have to come back,
    /// so no file that holds it may go.
    var replacedLSN: UInt64 = 0
    /// A segment was written since the last search for a merge found nothing.
    var mayMerge = false
    var poison: DiskError?
    var statistics = LogStatistics()

    /// The slot of a group, made when it is new.
    mutating func slot(of group: GroupID, isFaulty: Bool = false) -> Int {
        if let slot = slots[group] { return slot }
        slots[group] = groups.count
        groups.append(GroupLog(group: group))
        groups[groups.count - 1].isFaulty = isFaulty
        activeIndices.append(0)
        return groups.count - 1
    }

    func known(_ group: GroupID) throws(StorageError) -> Int {
        guard let slot = slots[group] else { throw .unknownGroup(group) }
        return slot
    }

    func checkUsable() throws(StorageError) {
        if let poison { throw .poisoned(poison) }
    }

    /// Applies a part of a record that was just written (or is replayed): the log, and which file pins it.
    mutating func apply(_ item: StoredItem, entries: ArraySlice<Entry>, slot: Int) {
        if let state = item.hardState { groups[slot].hardState = state }
        if let floor = item.floor { groups[slot].floor = max(groups[slot].floor, floor) }
        switch item.change {
        case .repaired: groups[slot].isFaulty = false
        case .discarded:
            var empty = GroupLog(group: item.group, incarnation: item.incarnation)
            empty.isDiscarded = true
            replaceLog(slot, with: empty)
        case .newIncarnation, nil: break
        }
        guard let from = entries.first?.index, let to = entries.last?.index else { return }
        if from <= groups[slot].last || from > groups[slot].last + 1 { unpin(slot, from: from) }
        groups[slot].accept(entries)
        activeIndices[slot] = to
    }

    /// Entries from `from` on were replaced: sealed files no longer have to see them into segments.
    mutating func unpin(_ slot: Int, from: LogIndex) {
        replacedLSN = writtenLSN
        for file in sealed.indices where slot < sealed[file].lastIndices.count {
            if sealed[file].lastIndices[slot] >= from { sealed[file].lastIndices[slot] = from - 1 }
        }
        if activeIndices[slot] >= from { activeIndices[slot] = from - 1 }
    }

    /// A whole new log in place of the old one.
    mutating func replaceLog(_ slot: Int, with log: GroupLog) {
        for file in sealed.indices where slot < sealed[file].lastIndices.count { sealed[file].lastIndices[slot] = 0 }
        activeIndices[slot] = 0
        let state = groups[slot].hardState
        groups[slot] = log
        groups[slot].hardState = state
    }

    /// The active file is complete.
    mutating func seal() {
        guard let active else { return }
        sealed.append(
            SealedFile(
                sequence: active.sequence,
                name: active.name,
                bytes: active.end,
                lastIndices: activeIndices
            )
        )
        self.active = nil
        for slot in activeIndices.indices { activeIndices[slot] = 0 }
    }
}

extension LogState {
    /// Whether everything that was replaced is replaced durably.
    var replacementsAreDurable: Bool { replacedLSN <= durableLSN }
}
