import Locks
import LogFormat
import Primitives

/// The log of one node: a write-ahead log shared by all groups, and per group segments and snapshots.
///
/// wal/0000000000000007.wal                                   batches of all groups, synced before any
/// acknowledgement
/// groups/3.0/<sequence>-<first>-<last>.seg                   entries of group 3 in its incarnation 0, packed,
/// indexed
///     groups/3.0/<index>-<term>.snap                             state-machine snapshots, the newest two
///     meta/<name>                                                small files replaced as a whole
///
/// The file names and heads are the manifest: every file says what it is and where it belongs, so nothing has to be
/// kept in step with them.
///
/// - Important: two sides, each used by one thread at a time. The *writer's side* is `append`, `stage`, `writeStaged`,
///   `sync`, `noteDurable` and the commit steps of changes; the *maintenance side* is everything that may take long:
///   `flushStep`, `read`, snapshots, `backup`. What they share is under one lock that is never held during I/O. A
///   simulator calls both from one thread; `LogWriter` gives each its own.
package final class LogStore<D: Disk>: @unchecked Sendable {
    // `@unchecked`: `writer` belongs to the writer's side, the rest is immutable or under `shared`.
    let disk: D
    let directory: DataDirectory
    package let settings: LogSettings
    let shared: Lock<LogState>
    var writer: WriteAheadFile

    /// The active write-ahead file, as its writer sees it.
    struct WriteAheadFile {
        var file: DiskFile?
        var header = WALFileHeader(salt: 1, sequence: 0, firstLSN: 1)
        var offset = 0
        var capacity = 0
        /// Bytes of bodies in this file, unpacked.
        var plainBytes = 0
        var nextLSN: UInt64
        var durableLSN: UInt64
        /// The newest durable position that is itself in a written record.
        var notedLSN: UInt64 = 0
        var encoder = RecordEncoder()
        var staged: [(slot: Int, item: StoredItem, entries: ArraySlice<Entry>)] = []
        /// By slot: where the log ends once what is staged is written; meaningful when `stagedMark` is current.
        var stagedLast: [LogIndex] = []
        var stagedMark: [UInt64] = []
        var mark: UInt64 = 1
        var salts: Xoshiro256
    }

    init(
        disk: D,
        directory: DataDirectory,
        settings: LogSettings,
        state: consuming sending LogState,
        nextLSN: UInt64,
        salts: Xoshiro256
    ) {
        self.disk = disk
        self.directory = directory
        self.settings = settings
        writer = WriteAheadFile(nextLSN: nextLSN, durableLSN: nextLSN - 1, salts: salts)
        shared = Lock(state)
    }

    deinit {
        if let file = writer.file { disk.close(file) }
    }

    /// Marks the durable position, syncs, and releases the data directory. The store must not be used afterwards.
    package func close() throws(StorageError) {
        defer {
            if let file = writer.file { disk.close(file) }
            writer.file = nil
            disk.unlock(directory: directory.root)
        }
        guard writer.file != nil else { return }
        _ = try sync()
        try noteDurable()
        _ = try sync()
    }

    // MARK: - Figures

    package var statistics: LogStatistics {
        shared.withLock { state in
            var figures = state.statistics
            figures.walFiles = state.sealed.count + (state.active == nil ? 0 : 1)
            for group in state.groups {
                figures.segmentFiles += group.segments.count
                for segment in group.segments { figures.segmentBytes += segment.fileBytes }
            }
            figures.unflushedBytes = state.sealed.reduce(state.active?.end ?? 0) { $0 + $1.bytes }
            return figures
        }
    }

    /// The highest LSN that is durable.
    package var durableLSN: UInt64 { shared.withLock { $0.durableLSN } }

    /// Sealed write-ahead files that wait for `flushStep`.
    package var sealedFiles: Int { shared.withLock { $0.sealed.count } }

    /// The indices that a group's log holds, and the bytes of its segment files. `(1, 0, 0)` for an unknown group.
    package func retained(group: GroupID) -> (firstIndex: LogIndex, lastIndex: LogIndex, bytes: Int) {
        shared.withLock { state in
            guard let slot = state.slots[group] else { return (1, 0, 0) }
            let log = state.groups[slot]
            return (log.first, log.last, log.segments.reduce(0) { $0 + $1.fileBytes })
        }
    }

    /// What was last appended for a group; kept when its log is replaced or discarded.
    package func hardState(group: GroupID) -> HardState? {
        shared.withLock { state in state.slots[group].map { state.groups[$0].hardState } }
    }

    // MARK: - Errors

    /// An error of the write-ahead log after which what is on disk is unknown.
    func poison(_ error: DiskError) -> StorageError {
        shared.withLock { $0.poison = $0.poison ?? error }
        return .poisoned(error)
    }

    func attempt<T>(_ body: () throws(DiskError) -> T) throws(StorageError) -> T {
        do throws(DiskError) { return try body() } catch { throw StorageError(error) }
    }

    func locked<T: Sendable>(_ body: (inout LogState) throws(StorageError) -> T) throws(StorageError) -> T {
        try shared.withLock { (state) throws(StorageError) in try body(&state) }
    }
}
