import Locks
import LogFormat
import Primitives

extension LogStore {
    /// Stores a state-machine snapshot, durable on return, then removes all but the newest `snapshotsKept`.
    package func saveSnapshot(
        group: GroupID,
        descriptor: SnapshotDescriptor,
        state content: [UInt8]
    ) throws(StorageError) {
        guard content.count <= LogLimits.snapshotState else {
            throw .tooLarge(field: "snapshot", size: content.count, limit: LogLimits.snapshotState)
        }
        let (slot, incarnation) = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            let slot = try state.known(group)
            return (slot, state.groups[slot].incarnation)
        }
        let folder = try groupDirectory(group, incarnation)
        try writeSnapshot(descriptor, content, group: group, incarnation: incarnation, folder: folder)
        let kept = max(1, settings.snapshotsKept)
        let removable = shared.withLock { state -> [String] in
            guard state.groups[slot].incarnation == incarnation else { return [] }
            return state.groups[slot].addSnapshot(descriptor.index, descriptor.term, keeping: kept)
        }
        removeFiles(removable, in: folder)
    }

    func writeSnapshot(
        _ descriptor: SnapshotDescriptor,
        _ content: [UInt8],
        group: GroupID,
        incarnation: UInt64,
        folder: String
    ) throws(StorageError) {
        let bytes = SnapshotFormat.encode(
            group: group,
            incarnation: incarnation,
            descriptor: descriptor,
            state: content
        )
        let name = DataDirectory.snapshotName(descriptor.index, descriptor.term)
        try maintain { () throws(DiskError) in
            try disk.replace("\(folder)/\(name)", in: folder, with: bytes)
        }
        shared.withLock { $0.statistics.snapshotsWritten += 1 }
    }

    /// The newest readable snapshot of a group; nil when there is none. A damaged one is passed over for the one before
    /// it; `.corrupt` when only damaged ones are left.
    package func newestSnapshot(
        group: GroupID
    ) throws(StorageError) -> (descriptor: SnapshotDescriptor, state: [UInt8])? {
        let (incarnation, names) = shared.withLock { state -> (UInt64, [String]) in
            guard let slot = state.slots[group] else { return (0, []) }
            let log = state.groups[slot]
            return (log.incarnation, log.snapshots.map { DataDirectory.snapshotName($0.index, $0.term) })
        }
        var damage: Damage?
        for name in names {
            switch disk.readSnapshot(directory, name, group: group, incarnation: incarnation) {
            case .success(let snapshot): return snapshot
            case .failure(.disk(let error)): throw StorageError(error)
            case .failure(.unsupported(let value)): throw .unsupported(file: name, value: value)
            case .failure(.damaged(let offset)):
                damage = damage ?? snapshotDamage(name, offset, group: group, incarnation: incarnation)
            }
        }
        if let damage { throw .corrupt(damage) }
        return nil
    }
}

func snapshotDamage(_ name: String, _ offset: Int, group: GroupID, incarnation: UInt64) -> Damage {
    Damage(
        .snapshot,
        file: "groups/\(DataDirectory.groupName(group, incarnation))/\(name)",
        offset: offset,
        groups: [group]
    )
}

extension Disk {
    /// Reads and verifies one snapshot file.
    func readSnapshot(
        _ directory: DataDirectory,
        _ name: String,
        group: GroupID,
        incarnation: UInt64
    ) -> Result<(descriptor: SnapshotDescriptor, state: [UInt8]), FileReadError> {
        let bytes: [UInt8]
        do throws(DiskError) {
            let limit = LogLimits.snapshotState + LogLimits.snapshotState / 64 + LogLimits.meta
            bytes = try contents(of: "\(directory.group(group, incarnation))/\(name)", limit: limit)
        } catch {
            return .failure(.disk(error))
        }
        do throws(DecodeError) {
            let read = try bytes.withBytes { (raw) throws(DecodeError) in
                try SnapshotFormat.decode(raw, group: group)
            }
            guard let named = DataDirectory.parseSnapshot(name), read.incarnation == incarnation,
                named.index == read.descriptor.index, named.term == read.descriptor.term
            else { return .failure(.damaged(offset: 0)) }
            return .success((read.descriptor, read.state))
        } catch {
            return .failure(FileReadError(error, at: 0))
        }
    }
}

extension GroupLog {
    /// Adds a durable snapshot; returns the names of those that are no longer kept.
    mutating func addSnapshot(_ index: LogIndex, _ term: Term, keeping count: Int) -> [String] {
        snapshots.removeAll { $0.index == index && $0.term == term }
        let place = snapshots.firstIndex { $0.index < index } ?? snapshots.count
        snapshots.insert((index, term), at: place)
        let removed = snapshots.dropFirst(count).map { DataDirectory.snapshotName($0.index, $0.term) }
        snapshots.removeLast(removed.count)
        return removed
    }
}
