import Glibc
import Locks
import LogFormat
import Primitives

/// Entries of a group that a flush has moved into segments: they need not be kept in memory for storage's sake.
package struct FlushedGroup: Equatable, Sendable {
    package var group: GroupID
    package var upTo: LogIndex
}

/// The maintenance side: from write-ahead files to segments, from small segments to large ones.
extension LogStore {
    /// Whether `flushStep` has something to do now.
    package var needsFlush: Bool {
        shared.withLock { state in
            guard let oldest = state.sealed.first else { return state.mayMerge }
            return state.mayMerge || state.hasUnflushed(oldest) || state.active != nil && state.replacementsAreDurable
        }
    }

    /// Does a bounded piece of work: moves up to `flushStepBytes` of the oldest sealed file into segments; or frees
    /// that file; or merges one run of small segments. Returns which entries are now in segments.
    ///
    /// Fails with `.full` when the disk is full: nothing is lost, try again later. With `.corrupt` when a segment to be
    /// merged cannot be read: it is left alone from then on.
    package func flushStep() throws(StorageError) -> [FlushedGroup] {
        let step = try locked { (state) throws(StorageError) in
            try state.checkUsable()
            return state.nextStep(self.settings)
        }
        switch step {
        case .none: return []
        case .flush(let parts): return try write(parts)
        case .retire(let file): try retire(file)
        case .merge(let run): try merge(run)
        }
        return []
    }

    // MARK: - Flush

    private func write(_ parts: [FlushPart]) throws(StorageError) -> [FlushedGroup] {
        var made: [(segment: Segment, file: WholeFile)] = []
        for part in parts {
            var builder = SegmentBuilder(
                group: part.group,
                incarnation: part.incarnation,
                sequence: part.sequence,
                first: part.entries[0].index,
                previousTerm: part.previousTerm
            )
            for entry in part.entries { builder.append(entry) }
            made.append(try finish(&builder, group: part.group, incarnation: part.incarnation))
        }
        try write(made)
        var flushed: [FlushedGroup] = []
        for (part, (segment, _)) in zip(parts, made) {
            let (upTo, removable) = shared.withLock { state -> (LogIndex?, [String]) in
                guard state.groups[part.slot].incarnation == part.incarnation else { return (nil, []) }
                state.groups[part.slot].adopt(segment)
                state.mayMerge = true
                return (state.groups[part.slot].flushedUpTo, state.takeObsolete(part.slot))
            }
            removeFiles(removable, in: directory.group(part.group, part.incarnation))
            if let upTo { flushed.append(FlushedGroup(group: part.group, upTo: upTo)) }
        }
        return flushed
    }

    /// Writes a segment file durably.
    func write(
        _ builder: inout SegmentBuilder,
        group: GroupID,
        incarnation: UInt64
    ) throws(StorageError) -> Segment {
        let made = try finish(&builder, group: group, incarnation: incarnation)
        try write([made])
        return made.segment
    }

    private func write(_ made: [(segment: Segment, file: WholeFile)]) throws(StorageError) {
        try maintain { () throws(DiskError) in try disk.replace(made.map(\.file)) }
        shared.withLock { state in
            for (segment, file) in made {
                state.statistics.segmentsWritten += 1
                state.statistics.segmentPlainBytes += UInt64(segment.footer.plainBytes)
                state.statistics.segmentStoredBytes += UInt64(file.bytes.count)
            }
        }
    }

    private func finish(
        _ builder: inout SegmentBuilder,
        group: GroupID,
        incarnation: UInt64
    ) throws(StorageError) -> (segment: Segment, file: WholeFile) {
        let (bytes, header, footer) = builder.finish()
        let name = DataDirectory.segmentName(header.sequence, header.first, header.last)
        let folder = try groupDirectory(group, incarnation)
        let last = footer.blocks.count - 1
        let footerOffset =
            footer.blocks[last].offset
            + bytes.withBytes { raw in
                (try? SegmentBlock.decode(raw, at: footer.blocks[last].offset, of: header))?.totalLength ?? 0
            }
        let segment = Segment(
            name: name,
            header: header,
            footer: footer,
            footerOffset: footerOffset,
            fileBytes: bytes.count,
            end: header.last
        )
        return (segment, WholeFile(path: "\(folder)/\(name)", directory: folder, bytes: bytes))
    }

    /// Frees a write-ahead file all of whose entries are in segments. The directory is synced each time: if an older
    /// file could come back after a newer one is gone, it would roll the logs back.
    private func retire(_ file: SealedFile) throws(StorageError) {
        let path = "\(directory.wal)/\(file.name)"
        try maintain { () throws(DiskError) in
            do throws(DiskError) {
                if file.isDamaged {
                    try disk.rename(path, to: path + ".damaged")
                } else if settings.spareFiles > 0, try !disk.exists("spare", in: directory.wal) {
                    try disk.rename(path, to: directory.spare)
                } else {
                    try disk.remove(path)
                }
            } catch  where error.code == ENOENT {}
            try disk.synchronizeDirectory(directory.wal)
        }
        shared.withLock { state in
            if state.sealed.first?.sequence == file.sequence { state.sealed.removeFirst() }
        }
    }

    // MARK: - Merge

    private func merge(_ run: MergeRun) throws(StorageError) {
        let folder = directory.group(run.group, run.incarnation)
        let lastSegment = run.segments[run.segments.count - 1]
        var builder = SegmentBuilder(
            group: run.group,
            incarnation: run.incarnation,
            sequence: lastSegment.header.sequence,
            first: run.segments[0].first,
            previousTerm: run.segments[0].header.previousTerm
        )
        for segment in run.segments {
            do throws(FileReadError) {
                let reader = try SegmentReader(disk, path: "\(folder)/\(segment.name)")
                for position in segment.footer.blocks.indices {
                    for entry in try reader.block(position, of: segment) where entry.index <= segment.end {
                        builder.append(entry)
                    }
                }
            } catch {
                throw report(error, reading: segment, group: run.group, slot: run.slot)
            }
        }
        let merged = try write(&builder, group: run.group, incarnation: run.incarnation)
        let removable = shared.withLock { state -> [String] in
            guard state.groups[run.slot].incarnation == run.incarnation else { return [] }
            state.mayMerge = true
            state.statistics.merges += 1
            return state.groups[run.slot].replace(run.segments, with: merged)
        }
        removeFiles(removable, in: folder)
    }

    // MARK: - Shared by the maintenance side

    /// Notes that a segment cannot be read, and makes the error that says so.
    func report(_ error: FileReadError, reading segment: Segment, group: GroupID, slot: Int) -> StorageError {
        switch error {
        case .disk(let error): return StorageError(error)
        case .unsupported(let value): return .unsupported(file: segment.name, value: value)
        case .damaged(let offset):
            let incarnation = segment.header.incarnation
            shared.withLock { state in
                for index in state.groups[slot].segments.indices
                where state.groups[slot].segments[index].name == segment.name {
                    state.groups[slot].segments[index].isDamaged = true
                }
            }
            return .corrupt(
                Damage(
                    .block,
                    file: "groups/\(DataDirectory.groupName(group, incarnation))/\(segment.name)",
                    offset: offset,
                    groups: [group],
                    indices: segment.first...segment.header.last
                )
            )
        }
    }

    /// The directory of a group's incarnation, made when it is not there.
    func groupDirectory(_ group: GroupID, _ incarnation: UInt64) throws(StorageError) -> String {
        let path = directory.group(group, incarnation)
        try maintain { () throws(DiskError) in
            if try !disk.exists(DataDirectory.groupName(group, incarnation), in: directory.groups) {
                try disk.makeDirectory(path)
                try disk.synchronizeDirectory(directory.groups)
            }
        }
        return path
    }

    /// Runs disk operations of the maintenance side. A failed sync is as bad here as in the write-ahead log, but for a
    /// full disk, which a file system may notice only then: the temporary file is gone and nothing depends on it.
    func maintain<T>(_ body: () throws(DiskError) -> T) throws(StorageError) -> T {
        do throws(DiskError) {
            return try body()
        } catch {
            let failure = StorageError(error)
            if case .full = failure { throw failure }
            switch error.operation {
            case .synchronize, .synchronizeDirectory: throw poison(error)
            default: throw failure
            }
        }
    }

    /// Removes files that nothing needs. A failure leaves a file that the next opening recognises as replaced.
    func removeFiles(_ names: [String], in folder: String) {
        for name in names { try? disk.remove("\(folder)/\(name)") }
    }
}

/// Entries on their way into a segment.
struct FlushPart: Sendable {
    var slot: Int
    var group: GroupID
    var incarnation: UInt64
    var sequence: UInt64
    var previousTerm: Term
    var entries: [Entry]
}

/// Adjacent segments to become one.
struct MergeRun: Sendable {
    var slot: Int
    var group: GroupID
    var incarnation: UInt64
    var segments: [Segment]
}

/// What a `flushStep` does.
enum FlushWork: Sendable {
    case none
    case flush([FlushPart])
    case retire(SealedFile)
    case merge(MergeRun)
}

extension LogState {
    func hasUnflushed(_ file: SealedFile) -> Bool {
        for slot in file.lastIndices.indices where file.lastIndices[slot] > groups[slot].flushedUpTo { return true }
        return false
    }

    mutating func nextStep(_ settings: LogSettings) -> FlushWork {
        if let file = sealed.first {
            let parts = takeUnflushed(file, settings)
            if !parts.isEmpty { return .flush(parts) }
            // The state at the start of the active file stands in for what the oldest one said about votes and terms.
            if active != nil, replacementsAreDurable { return .retire(file) }
        }
        guard mayMerge, replacementsAreDurable else { return .none }
        if let run = mergeRun(settings) { return .merge(run) }
        mayMerge = false
        return .none
    }

    private mutating func takeUnflushed(_ file: SealedFile, _ settings: LogSettings) -> [FlushPart] {
        var parts: [FlushPart] = []
        var left = settings.flushStepBytes
        for slot in file.lastIndices.indices where file.lastIndices[slot] > groups[slot].flushedUpTo {
            guard left > 0, parts.count < settings.flushStepFiles else { break }
            let log = groups[slot]
            let available = Int(min(file.lastIndices[slot], log.last) - log.flushedUpTo)
            var count = 0
            while count < available, count == 0 || left > 0 {
                left -= log.memory[count].data.count + 16
                count += 1
            }
            guard count > 0 else { continue }
            groups[slot].lowestReplaced = .max
            parts.append(
                FlushPart(
                    slot: slot,
                    group: log.group,
                    incarnation: log.incarnation,
                    sequence: log.nextSequence,
                    previousTerm: log.term(at: log.flushedUpTo) ?? 0,
                    entries: Array(log.memory[0..<count])
                )
            )
            // Never used again, even if this step fails with its file renamed.
            groups[slot].nextSequence += 1
        }
        return parts
    }

    /// Files that newer segments have replaced, once that is durable.
    mutating func takeObsolete(_ slot: Int) -> [String] {
        guard replacementsAreDurable else { return [] }
        defer { groups[slot].obsolete = [] }
        return groups[slot].obsolete
    }

    /// A run of at least `mergeFanIn` adjacent readable segments of like size, small sizes first, so that an entry is
    /// rewritten about log(size) times.
    private func mergeRun(_ settings: LogSettings) -> MergeRun? {
        for slot in groups.indices where groups[slot].segments.count >= settings.mergeFanIn {
            let segments = groups[slot].segments
            let total = segments.reduce(0) { $0 + $1.fileBytes }
            let limit = min(settings.mergeLimit, max(settings.mergeFloor, total / 8))
            var ceiling = min(settings.mergeFloor, limit)
            while ceiling <= limit {
                var run: [Segment] = []
                var bytes = 0
                for segment in segments {
                    let fits = segment.fileBytes < ceiling && !segment.isDamaged
                    if fits, bytes + segment.fileBytes <= limit {
                        run.append(segment)
                        bytes += segment.fileBytes
                    } else if run.count >= settings.mergeFanIn {
                        break
                    } else {
                        run = fits ? [segment] : []
                        bytes = fits ? segment.fileBytes : 0
                    }
                }
                if run.count >= settings.mergeFanIn {
                    return MergeRun(
                        slot: slot,
                        group: groups[slot].group,
                        incarnation: groups[slot].incarnation,
                        segments: run
                    )
                }
                ceiling *= 8
            }
        }
        return nil
    }
}

extension GroupLog {
    /// Puts `merged` in the place of `old`, unless the log has changed there meanwhile; returns the files to remove.
    mutating func replace(_ old: [Segment], with merged: Segment) -> [String] {
        guard let from = segments.firstIndex(where: { $0.name == old[0].name }), segments.count - from >= old.count,
            (0..<old.count).allSatisfy({ segments[from + $0].name == old[$0].name })
        else {
            // Some of it is gone from view; the merged file holds the same entries as its sources and may stay until
            // the log's next segment, which outranks it.
            obsolete.append(merged.name)
            return []
        }
        var merged = merged
        merged.end = min(merged.end, segments[from + old.count - 1].end)
        segments.replaceSubrange(from..<(from + old.count), with: [merged])
        return old.map(\.name)
    }
}
