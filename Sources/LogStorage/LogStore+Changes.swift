import Glibc
import Locks
import LogFormat
import Primitives

/// A new incarnation of a group's log: on disk, but not yet named by the write-ahead log.
struct PreparedLog: Sendable {
    var log: GroupLog
}

/// Changes of a whole log. Each is prepared on the maintenance side, becomes true by one write-ahead record that is
/// durable before anything is removed, and is cleaned up on the maintenance side.
extension LogStore {
    /// Replaces a group's log by a leader's snapshot and the entries shipped with it; durable on return.
    ///
    /// `entries` are consecutive and end where the leader's log was; they may begin below the snapshot's index (history
    /// for readers) and must reach up to it, or be empty. `previousTerm` is the term of the entry before the first one,
    /// 0 when unknown. The group is no longer faulty afterwards.
    package func installSnapshot(
        group: GroupID,
        descriptor: SnapshotDescriptor,
        state content: [UInt8],
        entries: [Entry],
        previousTerm: Term = 0
    ) throws(StorageError) {
        let prepared = try prepareInstall(group, descriptor, content, entries, previousTerm: previousTerm)
        do throws(StorageError) {
            try commitInstall(prepared)
        } catch {
            abandon(prepared, error)
            throw error
        }
        try removeOtherIncarnations(group, than: prepared.log.incarnation)
    }

    /// Removes a group's log and snapshots: the replica has left this node by a committed command. Term and vote stay.
    package func discardGroup(group: GroupID) throws(StorageError) {
        let incarnation = try commitDiscard(group)
        try removeOtherIncarnations(group, than: incarnation)
    }

    /// Retention: drops the segments that lie wholly below `below`, which the newest snapshot bounds. Returns the first
    /// index that is still there.
    @discardableResult
    package func dropLog(group: GroupID, below: LogIndex) throws(StorageError) -> LogIndex {
        if try commitFloor(group, below) { try removeDropped(group) }
        return retained(group: group).firstIndex
    }

    /// The leader has made good what was damaged: the group is no longer faulty, durably.
    package func markRepaired(group: GroupID) throws(StorageError) {
        let (slot, log) = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            let slot = try state.known(group)
            return (slot, state.groups[slot])
        }
        try commit(
            StoredItem(group: group, incarnation: log.incarnation, hardState: log.hardState, change: .repaired),
            slot: slot
        )
    }

    // MARK: - Prepare (maintenance side)

    func prepareInstall(
        _ group: GroupID,
        _ descriptor: SnapshotDescriptor,
        _ content: [UInt8],
        _ entries: [Entry],
        previousTerm: Term
    ) throws(StorageError) -> PreparedLog {
        guard content.count <= LogLimits.snapshotState else {
            throw .tooLarge(field: "snapshot", size: content.count, limit: LogLimits.snapshotState)
        }
        let first = entries.first?.index ?? descriptor.index + 1
        var next = first
        for entry in entries {
            guard entry.index == next, next > 0, next < .max else {
                throw .notContiguous(group: group, first: first, last: next, given: entry.index)
            }
            guard entry.data.count <= LogLimits.entryData else {
                throw .tooLarge(field: "entry", size: entry.data.count, limit: LogLimits.entryData)
            }
            next += 1
        }
        guard first <= descriptor.index + 1, next > descriptor.index else {
            throw .notContiguous(group: group, first: first, last: next - 1, given: descriptor.index + 1)
        }
        // Above every number ever used, whether or not its install was completed.
        let current = try locked { (state) throws(StorageError) -> UInt64 in
            try state.checkUsable()
            return state.slots[group].map { state.groups[$0].incarnation } ?? 0
        }
        let found = try attempt { () throws(DiskError) in try disk.list(directory.groups) }
        let used = found.compactMap { DataDirectory.parseGroup($0) }.filter { $0.group == group }.map(\.incarnation)
        let incarnation = max(current, used.max() ?? 0) + 1
        return try write(group, incarnation, descriptor, content, entries, first, previousTerm)
    }

    private func write(
        _ group: GroupID,
        _ incarnation: UInt64,
        _ descriptor: SnapshotDescriptor,
        _ content: [UInt8],
        _ entries: [Entry],
        _ first: LogIndex,
        _ previousTerm: Term
    ) throws(StorageError) -> PreparedLog {
        let folder = try groupDirectory(group, incarnation)
        var log = GroupLog(group: group, incarnation: incarnation)
        log.snapshots = [(descriptor.index, descriptor.term)]
        log.first = first
        log.floor = first
        log.flushedUpTo = first - 1
        let before = first == descriptor.index + 1 ? descriptor.term : previousTerm
        log.termStarts = [TermStart(index: first - 1, term: before)]
        try writeSnapshot(descriptor, content, group: group, incarnation: incarnation, folder: folder)
        var from = 0
        while from < entries.count {
            var builder = SegmentBuilder(
                group: group,
                incarnation: incarnation,
                sequence: log.nextSequence,
                first: entries[from].index,
                previousTerm: log.term(at: entries[from].index - 1) ?? 0
            )
            while from < entries.count, builder.length < settings.mergeLimit {
                builder.append(entries[from])
                from += 1
            }
            let segment = try write(&builder, group: group, incarnation: incarnation)
            for start in segment.footer.termStarts where log.termStarts.last?.term != start.term {
                log.termStarts.append(start)
            }
            log.segments.append(segment)
            log.flushedUpTo = segment.end
            log.nextSequence += 1
        }
        return PreparedLog(log: log)
    }

    // MARK: - Commit (writer's side)

    func commitInstall(_ prepared: PreparedLog) throws(StorageError) {
        let log = prepared.log
        let (slot, hardState) = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            let slot = state.slot(of: log.group)
            return (slot, state.groups[slot].hardState)
        }
        try writeStaged()
        // Term and vote outlive the log, and must survive even when older records cannot be read.
        let item = StoredItem(
            group: log.group,
            incarnation: log.incarnation,
            hardState: hardState,
            floor: log.floor,
            change: .newIncarnation
        )
        try stage(item, entries: [], slot: slot)
        try writeStaged()
        shared.withLock { $0.replaceLog(slot, with: log) }
        _ = try sync()
    }

    func commitDiscard(_ group: GroupID) throws(StorageError) -> UInt64 {
        try writeStaged()
        let (slot, log) = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            let slot = try state.known(group)
            return (slot, state.groups[slot])
        }
        var kept = log.hardState
        kept.commit = 0
        let incarnation = log.incarnation + 1
        try commit(
            StoredItem(group: group, incarnation: incarnation, hardState: kept, change: .discarded),
            slot: slot
        )
        return incarnation
    }

    /// Makes a retention floor durable; false when no segment lies below it.
    func commitFloor(_ group: GroupID, _ below: LogIndex) throws(StorageError) -> Bool {
        let (slot, log) = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            let slot = try state.known(group)
            return (slot, state.groups[slot])
        }
        let floor = min(below, log.snapshotIndex + 1)
        guard let head = log.segments.first, head.end < floor else { return false }
        guard floor > log.floor else { return true }
        try commit(StoredItem(group: group, incarnation: log.incarnation, floor: floor), slot: slot)
        return true
    }

    private func commit(_ item: StoredItem, slot: Int) throws(StorageError) {
        try writeStaged()
        try stage(item, entries: [], slot: slot)
        try writeStaged()
        _ = try sync()
    }

    // MARK: - Clean up (maintenance side)

    /// Removes what was prepared for a record that could not be written. When it is not known what was written, the
    /// directory stays: the next opening knows.
    func abandon(_ prepared: PreparedLog, _ error: StorageError) {
        guard case .full = error else { return }
        try? disk.removeTree(directory.group(prepared.log.group, prepared.log.incarnation))
    }

    func removeDropped(_ group: GroupID) throws(StorageError) {
        let (folder, names) = try locked { (state) throws(StorageError) in
            let slot = try state.known(group)
            // A segment that was cut may still be needed for what replaced its end; the flush knows when not.
            guard state.replacementsAreDurable else { return ("", [String]()) }
            let names = state.groups[slot].drop(below: state.groups[slot].floor)
            state.statistics.segmentsDropped += UInt64(names.count)
            return (self.directory.group(group, state.groups[slot].incarnation), names)
        }
        // Oldest first, so that what a crash leaves is still one run.
        for name in names {
            try maintain { () throws(DiskError) in
                do throws(DiskError) {
                    try disk.remove("\(folder)/\(name)")
                } catch  where error.code == ENOENT {}
            }
        }
    }

    func removeOtherIncarnations(_ group: GroupID, than incarnation: UInt64) throws(StorageError) {
        try maintain { () throws(DiskError) in
            for name in try disk.list(directory.groups) {
                guard let found = DataDirectory.parseGroup(name), found.group == group,
                    found.incarnation < incarnation
                else { continue }
                try disk.removeTree("\(directory.groups)/\(name)")
            }
            try disk.synchronizeDirectory(directory.groups)
        }
    }
}

extension Disk {
    /// Removes a directory and the files in it.
    func removeTree(_ path: String) throws(DiskError) {
        for name in try list(path) { try remove("\(path)/\(name)") }
        try removeDirectory(path)
    }
}
