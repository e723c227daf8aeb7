import Primitives

/// When an append is acknowledged, and when it is synced.
package enum SyncPolicy: String, Sendable, CaseIterable {
    /// Acknowledged after fdatasync. What guaranteed rooms and Raft need.
    case always
    /// Acknowledged after the write; synced within a second. A power cut loses up to a second.
    case everysecond = "everysec"
    /// Acknowledged after the write; synced when something else is, or when the system likes.
    case never
}

/// The sizes that shape the log on disk.
package struct LogSettings: Sendable {
    /// Bytes of a write-ahead file, preallocated.
    package var walFileSize = 64 << 20
    /// A file is also full when its bodies add up to this many times its size unpacked: entries wait in memory for the
    /// flush, and LZ4 must not let them outgrow it.
    package var walPlainFactor = 2
    /// Sealed write-ahead files that may wait for the flush before writers are held back.
    package var sealedFileLimit = 4
    /// Emptied write-ahead files kept for the next one, so that syncs need not allocate.
    package var spareFiles = 1
    /// Bytes of entries that one `flushStep` moves.
    package var flushStepBytes = 8 << 20
    /// Segments that one `flushStep` makes, all open at once.
    package var flushStepFiles = 64
    /// Adjacent segments of like size that are merged into one.
    package var mergeFanIn = 8
    /// Bytes of the largest merged segment, and so of the work of one merge. Below it, a merged segment is at most an
    /// eighth of its group's log, because retention drops whole segments.
    package var mergeLimit = 32 << 20
    /// Bytes up to which segments are merged whatever the size of the log.
    package var mergeFloor = 64 << 10
    /// Bytes of entries that recovery loads from segments for all groups together; what lies only in write-ahead files
    /// is always loaded.
    package var restoreBudget = 64 << 20
    /// Snapshots kept per group.
    package var snapshotsKept = 2

    /// Least time between the beginnings of two syncs while many wait; zero: none.
    package var commitDelay = Interval.microseconds(1000)

    package init() {}
}

/// Counters since the log was opened.
package struct LogStatistics: Equatable, Sendable {
    package var records: UInt64 = 0
    package var items: UInt64 = 0
    package var entries: UInt64 = 0
    /// Bytes of record bodies before and after packing.
    package var plainBytes: UInt64 = 0
    package var storedBytes: UInt64 = 0
    package var syncs: UInt64 = 0
    package var rotations: UInt64 = 0
    package var recycledFiles: UInt64 = 0
    package var segmentsWritten: UInt64 = 0
    package var segmentPlainBytes: UInt64 = 0
    package var segmentStoredBytes: UInt64 = 0
    package var merges: UInt64 = 0
    package var snapshotsWritten: UInt64 = 0
    package var segmentsDropped: UInt64 = 0
    /// Now, not since the start: files and bytes on disk.
    package var walFiles = 0
    package var segmentFiles = 0
    package var segmentBytes = 0
    /// Bytes of write-ahead records that are not yet in segments.
    package var unflushedBytes = 0

    package init() {}

    /// Bytes in per byte on disk, over segments and write-ahead records; 1 when nothing was written.
    package var compressionRatio: Double {
        let stored = storedBytes + segmentStoredBytes
        return stored == 0 ? 1 : Double(plainBytes + segmentPlainBytes) / Double(stored)
    }
}
