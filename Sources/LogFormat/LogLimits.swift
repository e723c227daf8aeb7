/// The bounds that every decoder of the log enforces before it allocates, and every encoder before it writes.
package enum LogLimits {
    /// Bytes of one entry's data.
    package static let entryData = 16 << 20
    /// Bytes of one write-ahead record's body, unpacked.
    package static let recordBody = 32 << 20
    /// Bytes of body after which an appender closes a record and starts the next one.
    package static let batchBytes = 4 << 20
    /// Groups named in one record.
    package static let groupsPerRecord = 65_535
    /// Bytes of one segment block, unpacked: a target-sized block plus the one entry that overflows it.
    package static let segmentBlock = 17 << 20
    /// Bytes of a segment file; merging stops well below.
    package static let segmentFile = 256 << 20
    /// Bytes of a state-machine snapshot, unpacked.
    package static let snapshotState = 1 << 30
    /// Bytes of one snapshot chunk, unpacked.
    package static let snapshotChunk = 1 << 20
    /// Bytes of a small file under `meta/`.
    package static let meta = 1 << 20
}
