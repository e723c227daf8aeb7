import Glibc
import LogFormat
import Primitives

/// Opens the segments and the newest readable snapshot of one incarnation of a group.
struct GroupLoader<D: Disk> {
    let disk: D
    let directory: DataDirectory
    var log: GroupLog
    var snapshot: (descriptor: SnapshotDescriptor, state: [UInt8])?
    var damages: [Damage] = []

    init(_ disk: D, _ directory: DataDirectory, group: GroupID, incarnation: UInt64) {
        self.disk = disk
        self.directory = directory
        log = GroupLog(group: group, incarnation: incarnation)
    }

    private var folderName: String { "groups/\(DataDirectory.groupName(log.group, log.incarnation))" }

    mutating func run() throws(StorageError) {
        let names: [String]
        do throws(DiskError) {
            names = try disk.list(directory.group(log.group, log.incarnation))
        } catch {
            if error.code == ENOENT { return }
            throw StorageError(error)
        }
        try loadSnapshot(names)
        try loadSegments(names)
    }

    private mutating func loadSnapshot(_ names: [String]) throws(StorageError) {
        // Sorted names are sorted indices; the newest is last.
        for name in names.reversed() {
            guard let named = DataDirectory.parseSnapshot(name) else { continue }
            if snapshot != nil {
                log.snapshots.append(named)
                continue
            }
            switch disk.readSnapshot(directory, name, group: log.group, incarnation: log.incarnation) {
            case .success(let found):
                snapshot = found
                log.snapshots.append(named)
            case .failure(.disk(let error)): throw StorageError(error)
            case .failure(.unsupported(let value)): throw .unsupported(file: name, value: value)
            case .failure(.damaged(let offset)):
                damages.append(snapshotDamage(name, offset, group: log.group, incarnation: log.incarnation))
            }
        }
    }

    private mutating func loadSegments(_ names: [String]) throws(StorageError) {
        var named: [(name: String, sequence: UInt64, first: LogIndex, last: LogIndex)] = []
        for name in names {
            guard let parsed = DataDirectory.parseSegment(name) else { continue }
            named.append((name, parsed.sequence, parsed.first, parsed.last))
            log.nextSequence = max(log.nextSequence, parsed.sequence + 1)
        }
        // A later segment replaces the log from its first index on; of two with one sequence the wider is the merged.
        named.sort { a, b in
            if a.sequence != b.sequence { return a.sequence < b.sequence }
            return a.first != b.first ? a.first > b.first : a.last < b.last
        }
        var live: [(name: String, first: LogIndex, end: LogIndex)] = []
        for segment in named {
            while let tail = live.last, tail.first >= segment.first {
                log.obsolete.append(tail.name)
                live.removeLast()
            }
            if let tail = live.indices.last { live[tail].end = min(live[tail].end, segment.first - 1) }
            live.append((segment.name, segment.first, segment.last))
        }
        for segment in live {
            guard try open(segment.name, segment.first, segment.end) else { break }
        }
        finish()
    }

    /// Adds one segment to the log; false when the log cannot go on behind it.
    private mutating func open(_ name: String, _ first: LogIndex, _ end: LogIndex) throws(StorageError) -> Bool {
        let snapshotIndex = snapshot?.descriptor.index ?? 0
        if let tail = log.segments.last, tail.end + 1 != first {
            if first <= snapshotIndex + 1 {
                // The log began anew behind a snapshot that was ahead of it.
                log.obsolete.append(contentsOf: log.segments.map(\.name))
                log.segments = []
                log.floor = max(log.floor, first)
            } else {
                log.isFaulty = true
                damages.append(
                    Damage(
                        .missingEntries,
                        file: folderName,
                        groups: [log.group],
                        indices: (tail.end + 1)...(first - 1)
                    )
                )
                return false
            }
        }
        do throws(FileReadError) {
            let reader = try SegmentReader(disk, path: "\(directory.root)/\(folderName)/\(name)")
            var (segment, rebuilt) = try reader.open(name: name, group: log.group, incarnation: log.incarnation)
            segment.end = end
            log.segments.append(segment)
            if rebuilt {
                damages.append(
                    Damage(
                        .segment,
                        file: "\(folderName)/\(name)",
                        offset: segment.footerOffset,
                        groups: []
                    )
                )
            }
            return true
        } catch {
            switch error {
            case .disk(let error): throw StorageError(error)
            case .unsupported(let value): throw .unsupported(file: name, value: value)
            case .damaged(let offset):
                log.isFaulty = true
                damages.append(
                    Damage(
                        .segment,
                        file: "\(folderName)/\(name)",
                        offset: offset,
                        groups: [log.group],
                        indices: first...end
                    )
                )
                guard end <= snapshotIndex else { return false }
                // Already in the snapshot: the log goes on behind it, only readers of history see the damage.
                log.segments.append(damagedSegment(name, first, end))
                return true
            }
        }
    }

    private func damagedSegment(_ name: String, _ first: LogIndex, _ end: LogIndex) -> Segment {
        let sequence = DataDirectory.parseSegment(name)?.sequence ?? 0
        return Segment(
            name: name,
            header: SegmentHeader(
                group: log.group,
                incarnation: log.incarnation,
                sequence: sequence,
                first: first,
                last: end,
                previousTerm: 0
            ),
            footer: SegmentFooter(),
            footerOffset: 0,
            fileBytes: 0,
            end: end,
            isDamaged: true
        )
    }

    private mutating func finish() {
        guard let head = log.segments.first, let tail = log.segments.last else { return }
        log.first = head.first
        log.flushedUpTo = tail.end
        var before = head.header.previousTerm
        if before == 0, let snapshot, snapshot.descriptor.index == head.first - 1 { before = snapshot.descriptor.term }
        log.termStarts = [TermStart(index: head.first - 1, term: before)]
        for segment in log.segments {
            for start in segment.footer.termStarts
            where start.index <= segment.end && log.termStarts.last?.term != start.term {
                log.termStarts.append(start)
            }
        }
    }
}
