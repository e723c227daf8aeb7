import Glibc
import Locks
import LogFormat
import Primitives

/// The writer's side.
extension LogStore {
    /// Writes a batch. Nothing of it is durable before `sync`; after an error nothing of it may be acknowledged.
    ///
    /// Returns the LSN of the last record written. Fails with `.notContiguous` or `.tooLarge` before anything is
    /// written, with `.full` when the disk is full (try again when space returns).
    @discardableResult
    package func append(_ items: [LogItem]) throws(StorageError) -> UInt64 {
        try stage(items)
        return try writeStaged()
    }

    /// Whether the active file has room for a record of some items, with `bytes` of entries: then writing it makes no
    /// file and syncs nothing.
    package func hasRoom(bytes: Int, items: Int) -> Bool {
        let bound = RecordHeader.size * 2 + bytes + items * 80
        return writer.file != nil && writer.plainBytes < writer.capacity * settings.walPlainFactor
            && writer.offset + bound <= writer.capacity
    }

    /// Checks items and puts them into the record to be written next. Items that were refused leave no trace, so many
    /// callers' items can share a record.
    package func stage(_ items: [LogItem]) throws(StorageError) {
        for item in items {
            for entry in item.entries where entry.data.count > LogLimits.entryData {
                throw .tooLarge(field: "entry", size: entry.data.count, limit: LogLimits.entryData)
            }
        }
        let slots = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            return try self.place(items, in: &state)
        }
        for (item, placed) in zip(items, slots) {
            try stage(
                StoredItem(group: item.group, incarnation: placed.incarnation, hardState: item.hardState),
                entries: item.entries,
                slot: placed.slot
            )
        }
    }

    /// Writes what is staged as one record and shows it to readers. Returns the LSN of the last record written.
    @discardableResult
    package func writeStaged() throws(StorageError) -> UInt64 {
        let lsn = try emit()
        writer.mark += 1
        return lsn
    }

    /// Writes the staged record but keeps the ends of the staged logs: the rest of the batch may follow.
    private func emit() throws(StorageError) -> UInt64 {
        guard !writer.encoder.isEmpty else { return writer.nextLSN - 1 }
        do throws(StorageError) {
            try locked { (state) throws(StorageError) in try state.checkUsable() }
            // The unpacked size decides, so that whether a record fits does not depend on how well it packs.
            let bound = RecordHeader.size * 2 + writer.encoder.bodyLength + writer.encoder.groupCount * 4
            let isFull = writer.plainBytes >= writer.capacity * settings.walPlainFactor
            if writer.file == nil || isFull || writer.offset + bound > writer.capacity {
                try rotate(reserving: bound)
            }
            try write(type: .batch)
        } catch {
            forgetStaged()
            writer.mark += 1
            throw error
        }
        let staged = writer.staged
        let (lsn, end) = (writer.nextLSN - 1, writer.offset)
        shared.withLock { state in
            state.writtenLSN = lsn
            for part in staged {
                state.apply(part.item, entries: part.entries, slot: part.slot)
                state.statistics.entries += UInt64(part.entries.count)
            }
            state.statistics.items += UInt64(staged.count)
            state.active?.end = end
        }
        forgetStaged()
        return lsn
    }

    /// Makes everything written so far durable (fdatasync) and returns its LSN. An error poisons the log: the caller
    /// must end the process.
    @discardableResult
    package func sync() throws(StorageError) -> UInt64 {
        try locked { (state) throws(StorageError) in try state.checkUsable() }
        guard let file = writer.file, writer.durableLSN < writer.nextLSN - 1 else { return writer.durableLSN }
        do throws(DiskError) { try disk.synchronize(file) } catch { throw poison(error) }
        let lsn = writer.nextLSN - 1
        writer.durableLSN = lsn
        shared.withLock { state in
            state.durableLSN = lsn
            state.statistics.syncs += 1
        }
        return lsn
    }

    /// Whether the newest durable position is not yet written down: see `noteDurable`.
    package var hasUnnotedDurable: Bool { writer.notedLSN < writer.durableLSN }

    /// Writes the durable position as a record of its own, without syncing it. Called in a pause: until a later record
    /// says that the last batch was durable, damage to that batch could be taken for a torn tail.
    package func noteDurable() throws(StorageError) {
        try locked { (state) throws(StorageError) in try state.checkUsable() }
        guard hasUnnotedDurable, writer.file != nil, writer.encoder.isEmpty,
            writer.offset + RecordHeader.size <= writer.capacity
        else { return }
        defer { forgetStaged() }
        try write(type: .mark)
        let (lsn, end) = (writer.nextLSN - 1, writer.offset)
        shared.withLock { state in
            state.writtenLSN = lsn
            state.active?.end = end
        }
    }

    // MARK: - Staging

    func place(_ items: [LogItem], in state: inout LogState) throws(StorageError) -> [(slot: Int, incarnation: UInt64)]
    {
        var placed: [(slot: Int, incarnation: UInt64)] = []
        placed.reserveCapacity(items.count)
        // Where each group's log ends while these items are checked; adopted only when all of them are good.
        var ends: [(slot: Int, last: LogIndex)] = []
        for item in items {
            let slot = state.slot(of: item.group)
            placed.append((slot, state.groups[slot].incarnation))
            guard let first = item.entries.first?.index else { continue }
            let before = ends.last { $0.slot == slot }?.last ?? stagedEnd(slot) ?? state.groups[slot].last
            guard state.groups[slot].accepts(first, after: before) else {
                throw refusal(state.groups[slot], before, first)
            }
            var next = first
            for entry in item.entries {
                guard entry.index == next, next < .max else { throw refusal(state.groups[slot], before, entry.index) }
                next += 1
            }
            ends.append((slot, next - 1))
        }
        for end in ends { setStagedEnd(end.slot, end.last) }
        return placed
    }

    private func refusal(_ log: GroupLog, _ last: LogIndex, _ given: LogIndex) -> StorageError {
        .notContiguous(group: log.group, first: log.first, last: last, given: given)
    }

    private func stagedEnd(_ slot: Int) -> LogIndex? {
        guard slot < writer.stagedMark.count, writer.stagedMark[slot] == writer.mark else { return nil }
        return writer.stagedLast[slot]
    }

    private func setStagedEnd(_ slot: Int, _ last: LogIndex) {
        while writer.stagedMark.count <= slot {
            writer.stagedMark.append(0)
            writer.stagedLast.append(0)
        }
        writer.stagedMark[slot] = writer.mark
        writer.stagedLast[slot] = last
    }

    /// Adds one item, in parts when it is larger than a record should be.
    func stage(_ item: StoredItem, entries: [Entry], slot: Int) throws(StorageError) {
        var part = item
        var from = 0
        repeat {
            var to = from
            var size = 64
            while to < entries.count, to == from || size < LogLimits.batchBytes {
                size += entries[to].data.count + 16
                to += 1
            }
            if !writer.encoder.isEmpty,
                writer.encoder.bodyLength + size > LogLimits.batchBytes
                    || writer.encoder.groupCount >= LogLimits.groupsPerRecord
            {
                _ = try emit()
            }
            let slice = entries[from..<to]
            writer.encoder.add(part, entries: slice)
            writer.staged.append((slot, part, slice))
            part.hardState = nil
            part.floor = nil
            part.change = nil
            from = to
        } while from < entries.count
    }

    func forgetStaged() {
        writer.encoder.begin()
        writer.staged.removeAll(keepingCapacity: true)
    }

    // MARK: - Files

    /// Writes the encoder's record at the end of the active file. On an error nothing has moved: the next record takes
    /// the same place and the same LSN, over whatever part of this one was written.
    private func write(type: RecordType) throws(StorageError) {
        guard let file = writer.file else { return }
        let header = writer.encoder.finish(
            type: type,
            salt: writer.header.salt,
            lsn: writer.nextLSN,
            durable: writer.durableLSN
        )
        do throws(DiskError) {
            try disk.writeAll(file, writer.encoder.record, at: writer.offset)
        } catch {
            let failure = StorageError(error)
            guard case .full = failure else { throw poison(error) }
            // Best effort: a record that was never acknowledged should not even look like one.
            try? disk.writeAll(file, [UInt8](repeating: 0, count: RecordHeader.size), at: writer.offset)
            throw failure
        }
        writer.offset += header.totalLength
        writer.plainBytes += header.plainLength
        writer.notedLSN = writer.durableLSN
        writer.nextLSN += 1
        shared.withLock { state in
            state.statistics.records += 1
            state.statistics.plainBytes += UInt64(header.plainLength)
            state.statistics.storedBytes += UInt64(header.storedLength)
        }
    }

    /// Seals the active file and makes the next one, which begins with the state of every group.
    ///
    /// The old file is durable before the new one has its name, and the new one's head and first record are durable
    /// before that too: so whatever lies below a file's first LSN was durable, and a named file always has a head.
    func rotate(reserving bound: Int = 0) throws(StorageError) {
        _ = try sync()
        let sequence = writer.header.sequence + 1
        let header = WALFileHeader(salt: writer.salts.next() | 1, sequence: sequence, firstLSN: writer.nextLSN)
        var encoder = RecordEncoder()
        encoder.add(checkpoint: shared.withLock { $0.groups.map(\.checkpoint) }, fileSequence: sequence)
        let record = encoder.finish(
            type: .checkpoint,
            salt: header.salt,
            lsn: header.firstLSN,
            durable: writer.durableLSN
        )
        let start = WALFileHeader.size + record.totalLength
        let capacity = max(settings.walFileSize, start + bound)
        let (file, isRecycled) = try makeFile(
            header.encode() + encoder.record,
            capacity: capacity,
            name: DataDirectory.walName(sequence)
        )
        if let old = writer.file { disk.close(old) }
        writer.file = file
        writer.header = header
        writer.offset = start
        writer.capacity = capacity
        writer.plainBytes = 0
        writer.notedLSN = header.firstLSN
        writer.nextLSN += 1
        writer.durableLSN = header.firstLSN
        let durable = writer.durableLSN
        shared.withLock { state in
            state.seal()
            state.active = (DataDirectory.walName(sequence), sequence, start)
            state.writtenLSN = durable
            state.durableLSN = durable
            state.statistics.rotations += 1
            state.statistics.recycledFiles += isRecycled ? 1 : 0
        }
    }

    private func makeFile(
        _ start: [UInt8],
        capacity: Int,
        name: String
    ) throws(StorageError) -> (DiskFile, isRecycled: Bool) {
        let path = "\(directory.wal)/\(name)"
        var isRecycled = false
        var file: DiskFile?
        do throws(DiskError) {
            // A spare keeps its old records; the new salt makes them unreadable.
            do throws(DiskError) {
                try disk.rename(directory.spare, to: directory.newFile)
                isRecycled = true
            } catch  where error.code == ENOENT {}
            let made = try disk.open(directory.newFile, creating: true)
            file = made
            try disk.preallocate(made, length: capacity)
            try disk.writeAll(made, start, at: 0)
        } catch {
            if let file { disk.close(file) }
            try? disk.remove(directory.newFile)
            throw StorageError(error)
        }
        guard let file else { throw .stopped }
        do throws(DiskError) {
            try disk.synchronize(file)
            try disk.rename(directory.newFile, to: path)
            try disk.synchronizeDirectory(directory.wal)
        } catch {
            disk.close(file)
            throw poison(error)
        }
        return (DiskFile(descriptor: file.descriptor, path: path), isRecycled)
    }
}
