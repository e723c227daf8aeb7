import Glibc
import LogFormat
import Primitives

/// Reads a data directory and says what the log holds, without changing anything: opening and the check tool share it.
///
/// 1. Every write-ahead file is scanned in order. What cannot be read is damage, but for the end of the last file above
///    the highest position known durable: that is a torn tail.
/// 2. The last incarnation of every group is found, and its segments and newest snapshot are opened.
/// 3. The records are applied in order, as they were when they were appended, but for what later ones replaced.
/// 4. What does not add up (holes, logs that end before where a checkpoint says they did) is damage too.
struct Recoverer<D: Disk> {
    let disk: D
    let directory: DataDirectory
    let settings: LogSettings

    var state = LogState()
    var report = RecoveryReport()
    /// What each slot's newest snapshot holds.
    var snapshots: [(descriptor: SnapshotDescriptor, state: [UInt8])?] = []
    var lastSequence: UInt64 = 0
    var nextLSN: UInt64 = 1
    /// Readable records of the last file that are not known to be durable, to be made so.
    var suspect: (name: String, offset: Int, bytes: [UInt8])?

    /// Directories of incarnations that a later one has replaced.
    var replaced: [String] = []

    private var events: [Event] = []
    private var expectedLast: [LogIndex] = []
    /// By slot: the group's files are damaged as they lie there, whatever the log says of their past.
    private var filesAreDamaged: [Bool] = []
    private var incarnations: [GroupID: UInt64] = [:]
    private var everyoneIsFaulty = false
    private var sawCheckpoint = false

    private enum Event {
        case file(SealedFile)
        case checkpoint([GroupCheckpoint])
        case items([StoredItem])
        /// nil: all groups.
        case damage([GroupID]?)
    }

    init(_ disk: D, _ directory: DataDirectory, _ settings: LogSettings) {
        self.disk = disk
        self.directory = directory
        self.settings = settings
    }

    mutating func run() throws(StorageError) -> Recovery {
        try readWAL()
        try replay()
        try checkDirectories()
        state.writtenLSN = nextLSN - 1
        state.durableLSN = nextLSN - 1
        report.isIncomplete = everyoneIsFaulty
        var recovery = Recovery()
        var budget = settings.restoreBudget
        let order = state.groups.indices.sorted { state.groups[$0].group < state.groups[$1].group }
        for slot in order {
            try settle(slot)
            let replica = try restore(slot, budget: &budget)
            recovery.replicas.append((state.groups[slot].group, replica))
        }
        recovery.report = report
        return recovery
    }

    private func attempt<T>(_ body: () throws(DiskError) -> T) throws(StorageError) -> T {
        do throws(DiskError) { return try body() } catch { throw StorageError(error) }
    }

    // MARK: - Write-ahead files

    private mutating func readWAL() throws(StorageError) {
        let names = try attempt { () throws(DiskError) in try disk.list(directory.wal) }
        let sequences = names.compactMap { DataDirectory.parseWAL($0) }
        var heads: [(WALFileHeader, isSalvaged: Bool)?] = []
        for sequence in sequences { heads.append(try head(sequence)) }
        for (index, sequence) in sequences.enumerated() {
            if index > 0, sequence != sequences[index - 1] + 1 {
                damage(Damage(.missingFile, file: "wal/" + DataDirectory.walName(sequences[index - 1] + 1)), nil)
            }
            let next = index + 1 < heads.count ? heads[index + 1] : nil
            let isLast = index + 1 == sequences.count
            let followsDirectly = !isLast && sequences[index + 1] == sequence + 1
            try readFile(sequence, heads[index], limit: next?.0.firstLSN, isLast, mustReachLimit: followsDirectly)
            lastSequence = sequence
        }
    }

    private func head(_ sequence: UInt64) throws(StorageError) -> (WALFileHeader, isSalvaged: Bool)? {
        let name = DataDirectory.walName(sequence)
        let path = "\(directory.wal)/\(name)"
        var bytes = try attempt { () throws(DiskError) in
            let file = try disk.open(path, creating: false)
            defer { disk.close(file) }
            return try disk.readUpTo(file, count: WALFileHeader.size, at: 0)
        }
        do throws(DecodeError) {
            let found = try bytes.withBytes { (raw) throws(DecodeError) in
                try WALScan.head(raw, sequence: sequence)
            }
            if let found { return found }
        } catch {
            throw unsupported(error, name)
        }
        bytes = try contents(path)
        return try? bytes.withBytes { (raw) throws(DecodeError) in try WALScan.head(raw, sequence: sequence) }
    }

    private func contents(_ path: String) throws(StorageError) -> [UInt8] {
        try attempt { () throws(DiskError) in try disk.contents(of: path, limit: Int(Int32.max)) }
    }

    private func unsupported(_ error: DecodeError, _ name: String) -> StorageError {
        if case .unknown(_, let value) = error { return .unsupported(file: name, value: value) }
        return .unsupported(file: name, value: 0)
    }

    private mutating func readFile(
        _ sequence: UInt64,
        _ head: (WALFileHeader, isSalvaged: Bool)?,
        limit: UInt64?,
        _ isLast: Bool,
        mustReachLimit: Bool
    ) throws(StorageError) {
        let name = DataDirectory.walName(sequence)
        report.files += 1
        guard let head else {
            damage(Damage(.file, file: "wal/" + name, offset: 0), nil)
            events.append(.file(SealedFile(sequence: sequence, name: name, bytes: 0, lastIndices: [], isDamaged: true)))
            return
        }
        let bytes = try contents("\(directory.wal)/\(name)")
        report.bytes += bytes.count
        let scan: WALScan
        do throws(DecodeError) {
            scan = try bytes.withBytes { (raw) throws(DecodeError) in
                try WALScan(raw, header: head.0, isSalvaged: head.isSalvaged, limit: limit)
            }
        } catch {
            throw unsupported(error, name)
        }
        if head.isSalvaged { report.damages.append(Damage(.file, file: "wal/" + name, offset: 0, groups: [])) }
        let before = report.damages.count
        let end = try take(scan, bytes, name: name, isLast: isLast)
        if mustReachLimit, let limit, nextLSN < limit {
            damage(Damage(.file, file: "wal/" + name, offset: end, lsns: nextLSN...(limit - 1)), nil)
            nextLSN = limit
        }
        let isDamaged = report.damages.count > before
        events.append(
            .file(SealedFile(sequence: sequence, name: name, bytes: end, lastIndices: [], isDamaged: isDamaged))
        )
    }

    /// Turns the pieces of a scan into events; returns where the good part ends.
    private mutating func take(
        _ scan: WALScan,
        _ bytes: [UInt8],
        name: String,
        isLast: Bool
    ) throws(StorageError) -> Int {
        let durable = isLast ? scan.durable : UInt64.max
        var unproven: Int?
        nextLSN = scan.header.firstLSN
        for piece in scan.pieces {
            switch piece {
            case .gap(let offset, let lsns):
                let found = Damage(.record, file: "wal/" + name, offset: offset, lsns: lsns)
                guard lsns.lowerBound <= durable else { return cut(found, scan, bytes, name, offset, unproven) }
                damage(found, nil)
                nextLSN = lsns.upperBound + 1
            case .record(let offset, let header, let isIntact, let groups):
                let items = isIntact ? try event(header, bytes, at: offset, name) : nil
                guard let items else {
                    let found = Damage(
                        .record,
                        file: "wal/" + name,
                        offset: offset,
                        lsns: header.lsn...header.lsn,
                        groups: header.type == .batch ? groups?.sorted() : nil
                    )
                    guard header.lsn <= durable else { return cut(found, scan, bytes, name, offset, unproven) }
                    damage(found, found.groups)
                    nextLSN = header.lsn + 1
                    continue
                }
                if header.lsn > durable, unproven == nil { unproven = offset }
                events.append(items)
                report.records += 1
                nextLSN = header.lsn + 1
            }
        }
        if isLast {
            if scan.tailIsTorn {
                let torn = Damage(.tornTail, file: "wal/" + name, offset: scan.end, lsns: nextLSN...nextLSN)
                return cut(torn, scan, bytes, name, scan.end, unproven)
            }
            keep(unproven, upTo: scan.end, bytes, name)
        }
        return scan.end
    }

    private mutating func cut(
        _ found: Damage,
        _ scan: WALScan,
        _ bytes: [UInt8],
        _ name: String,
        _ offset: Int,
        _ unproven: Int?
    ) -> Int {
        let lsn = found.lsns?.lowerBound ?? nextLSN
        report.tornTail = Damage(
            .tornTail,
            file: found.file,
            offset: offset,
            lsns: lsn...max(lsn, scan.nextLSN - 1),
            groups: found.groups
        )
        keep(unproven, upTo: offset, bytes, name)
        return offset
    }

    /// Records behind the durable position were read back through the page cache, which may hold what a failed sync
    /// never wrote: they are written once more before they are trusted.
    private mutating func keep(_ from: Int?, upTo end: Int, _ bytes: [UInt8], _ name: String) {
        guard let from, from < end else { return }
        suspect = (name, from, Array(bytes[from..<end]))
    }

    private mutating func event(
        _ header: RecordHeader,
        _ bytes: [UInt8],
        at offset: Int,
        _ name: String
    ) throws(StorageError) -> Event? {
        do throws(DecodeError) {
            let body = try bytes.withBytes { (raw) throws(DecodeError) in try header.body(raw, at: offset) }
            switch header.type {
            case .mark: return .items([])
            case .batch: return .items(try RecordDecoder.items(body))
            case .checkpoint:
                sawCheckpoint = true
                return .checkpoint(try RecordDecoder.checkpoint(body).groups)
            }
        } catch {
            if case .unknown = error { throw unsupported(error, name) }
            return nil
        }
    }

    private mutating func damage(_ damage: Damage, _ groups: [GroupID]?) {
        report.damages.append(damage)
        events.append(.damage(groups))
    }

    // MARK: - Replay

    private mutating func replay() throws(StorageError) {
        for event in events {
            switch event {
            case .checkpoint(let groups):
                for group in groups { note(group.group, group.incarnation) }
            case .items(let items):
                for item in items { note(item.group, item.incarnation) }
            case .file, .damage: break
            }
        }
        dropReplaced()
        for event in events {
            switch event {
            case .file(var file):
                file.lastIndices = state.activeIndices
                state.sealed.append(file)
                for slot in state.activeIndices.indices { state.activeIndices[slot] = 0 }
            case .damage(let groups):
                if let groups {
                    for group in groups { state.groups[try slot(group)].isFaulty = true }
                } else {
                    everyoneIsFaulty = true
                    for slot in state.groups.indices { state.groups[slot].isFaulty = true }
                }
            case .checkpoint(let groups): for group in groups { try apply(group) }
            case .items(let items): for item in items { try apply(item) }
            }
        }
        events = []
    }

    /// Takes from the records what later ones replaced. The file in which a replaced tail began may be gone, freed as
    /// soon as the replacement was durable; what is left of the tail would then look like the far side of a hole.
    private mutating func dropReplaced() {
        var replacedFrom: [GroupID: LogIndex] = [:]
        for event in events.indices.reversed() {
            guard case .items(var items) = events[event] else { continue }
            var isChanged = false
            for index in items.indices.reversed() {
                let item = items[index]
                guard item.incarnation == incarnations[item.group], let first = item.entries.first?.index else {
                    continue
                }
                let from = replacedFrom[item.group] ?? .max
                replacedFrom[item.group] = min(from, first)
                guard item.entries[item.entries.count - 1].index >= from else { continue }
                items[index].entries.removeAll { $0.index >= from }
                isChanged = true
            }
            if isChanged { events[event] = .items(items) }
        }
    }

    private mutating func note(_ group: GroupID, _ incarnation: UInt64) {
        incarnations[group] = max(incarnations[group] ?? 0, incarnation)
    }

    private mutating func slot(_ group: GroupID) throws(StorageError) -> Int {
        if let slot = state.slots[group] { return slot }
        let slot = state.slot(of: group, isFaulty: everyoneIsFaulty)
        expectedLast.append(0)
        filesAreDamaged.append(false)
        snapshots.append(nil)
        let incarnation = incarnations[group] ?? 0
        state.groups[slot].incarnation = incarnation
        var loader = GroupLoader(disk, directory, group: group, incarnation: incarnation)
        try loader.run()
        report.damages.append(contentsOf: loader.damages)
        report.segments += loader.log.segments.count
        report.snapshots += loader.snapshot == nil ? 0 : 1
        filesAreDamaged[slot] = loader.log.isFaulty
        let isFaulty = state.groups[slot].isFaulty || loader.log.isFaulty
        state.groups[slot] = loader.log
        state.groups[slot].isFaulty = isFaulty
        snapshots[slot] = loader.snapshot
        return slot
    }

    private mutating func apply(_ checkpoint: GroupCheckpoint) throws(StorageError) {
        let slot = try slot(checkpoint.group)
        state.groups[slot].hardState = checkpoint.hardState
        if checkpoint.isFaulty { state.groups[slot].isFaulty = true }
        guard checkpoint.incarnation == state.groups[slot].incarnation else { return }
        state.groups[slot].isDiscarded = checkpoint.isDiscarded
        state.groups[slot].floor = max(state.groups[slot].floor, checkpoint.floor)
        expectedLast[slot] = checkpoint.lastIndex
    }

    private mutating func apply(_ item: StoredItem) throws(StorageError) {
        let slot = try slot(item.group)
        if let hardState = item.hardState {
            state.groups[slot].hardState = hardState
        }
        guard item.incarnation == state.groups[slot].incarnation else { return }
        if let floor = item.floor { state.groups[slot].floor = max(state.groups[slot].floor, floor) }
        switch item.change {
        case .repaired: state.groups[slot].isFaulty = filesAreDamaged[slot]
        case .discarded:
            state.groups[slot].isFaulty = false
            state.groups[slot].isDiscarded = true
            expectedLast[slot] = 0
        case .newIncarnation:
            state.groups[slot].isFaulty = snapshots[slot] == nil || filesAreDamaged[slot]
            expectedLast[slot] = 0
        case nil: break
        }
        if !item.entries.isEmpty { try replay(item.entries, slot) }
    }

    /// Applies appended entries as they were, passing over what the segments hold already: an index and a term name one
    /// entry.
    private mutating func replay(_ entries: [Entry], _ slot: Int) throws(StorageError) {
        let from = state.groups[slot].countStored(entries)
        let before = expectedLast[slot]
        expectedLast[slot] = entries[entries.count - 1].index
        guard from < entries.count else {
            state.activeIndices[slot] = max(state.activeIndices[slot], entries[entries.count - 1].index)
            return
        }
        let first = entries[from].index
        let last = state.groups[slot].last
        if first > last + 1 {
            // Behind a hole. A snapshot covers it when the log began there anew; otherwise entries are missing.
            guard first <= state.groups[slot].snapshotIndex + 1 else {
                missing(slot, (last + 1)...(first - 1))
                return
            }
            let floor = state.groups[slot].floor
            state.groups[slot].restart(at: first)
            if before + 1 >= first { state.groups[slot].floor = floor }
        }
        let item = StoredItem(group: state.groups[slot].group, incarnation: state.groups[slot].incarnation)
        state.apply(item, entries: entries[from...], slot: slot)
    }

    private mutating func missing(_ slot: Int, _ indices: ClosedRange<LogIndex>) {
        state.groups[slot].isFaulty = true
        let log = state.groups[slot]
        report.damages.append(
            Damage(
                .missingEntries,
                file: "groups/\(DataDirectory.groupName(log.group, log.incarnation))",
                groups: [log.group],
                indices: indices
            )
        )
    }

    // MARK: - What adds up

    /// Directories of groups that no record names: not ours to remove. Without any record they are all that is left.
    private mutating func checkDirectories() throws(StorageError) {
        let names = try attempt { () throws(DiskError) in try disk.list(directory.groups) }
        for name in names {
            guard let found = DataDirectory.parseGroup(name) else { continue }
            let known = incarnations[found.group]
            if known == nil, !sawCheckpoint || !report.damages.isEmpty {
                if !sawCheckpoint, report.files == 0, !everyoneIsFaulty {
                    damage(Damage(.missingFile, file: "wal/"), nil)
                    everyoneIsFaulty = true
                }
                incarnations[found.group] = names.compactMap { DataDirectory.parseGroup($0) }
                    .filter { $0.group == found.group }.map(\.incarnation).max()
                state.groups[try slot(found.group)].isFaulty = true
            } else if let known, found.incarnation < known {
                replaced.append(name)
            } else if known != found.incarnation {
                report.unreferenced.append(name)
            }
        }
        events = []
    }

    /// Ends the replay of one group.
    private mutating func settle(_ slot: Int) throws(StorageError) {
        let snapshotIndex = snapshots[slot]?.descriptor.index ?? 0
        if expectedLast[slot] > state.groups[slot].last, expectedLast[slot] > snapshotIndex {
            missing(slot, (state.groups[slot].last + 1)...expectedLast[slot])
        }
        if snapshotIndex > state.groups[slot].last {
            let floor = state.groups[slot].floor
            let hadEntries = expectedLast[slot] > state.groups[slot].last
            state.groups[slot].restart(at: snapshotIndex + 1)
            if hadEntries { state.groups[slot].floor = floor }
        }
        let log = state.groups[slot]
        if log.first > log.floor {
            missing(slot, log.floor...(log.first - 1))
        } else if log.first > snapshotIndex + 1 {
            missing(slot, (snapshotIndex + 1)...(log.first - 1))
        }
        // What a lost snapshot held is needed again.
        state.groups[slot].floor = min(log.floor, snapshotIndex + 1)
        state.replacedLSN = 0
    }

    /// The replica as Raft and the state machine begin from it. Entries above the snapshot are loaded from segments
    /// too, because they are applied again, as long as the node's budget lasts; beyond it `entries` begin where the
    /// write-ahead log does, and the rest is read through `LogStore.read`.
    private mutating func restore(_ slot: Int, budget: inout Int) throws(StorageError) -> RestoredReplica {
        var entries: [Entry] = []
        let snapshot = snapshots[slot]
        snapshots[slot] = nil
        let from = max((snapshot?.descriptor.index ?? 0) + 1, state.groups[slot].first)
        for segment in state.groups[slot].segments where segment.end >= from && budget > 0 {
            guard let loaded = try load(segment, slot, from: from, budget: &budget) else { break }
            entries.append(contentsOf: loaded)
        }
        let log = state.groups[slot]
        if entries.last.map({ $0.index != log.flushedUpTo }) ?? false { entries = [] }
        entries.append(contentsOf: log.memory)
        return RestoredReplica(
            hardState: log.hardState,
            snapshot: snapshot?.descriptor,
            snapshotState: snapshot?.state ?? [],
            // Segments below the floor may have outlived the crash: they go with the next drop, whatever it names.
            firstIndex: max(log.first, log.floor),
            lastIndex: log.last,
            termStarts: log.termStarts,
            entries: entries,
            isFaulty: log.isFaulty || log.isDiscarded,
            isRemoved: log.isDiscarded && !log.isFaulty
        )
    }

    private mutating func load(
        _ segment: Segment,
        _ slot: Int,
        from: LogIndex,
        budget: inout Int
    ) throws(StorageError) -> [Entry]? {
        let group = state.groups[slot].group
        let folder = "groups/\(DataDirectory.groupName(group, segment.header.incarnation))"
        var entries: [Entry] = []
        do throws(FileReadError) {
            let reader = try SegmentReader(disk, path: "\(directory.root)/\(folder)/\(segment.name)")
            var position = segment.blockPosition(of: max(from, segment.first))
            while position < segment.footer.blocks.count, budget > 0 {
                for entry in try reader.block(position, of: segment)
                where entry.index >= from && entry.index <= segment.end {
                    budget -= entry.data.count + 24
                    entries.append(entry)
                }
                position += 1
            }
            return entries
        } catch {
            switch error {
            case .disk(let error): throw StorageError(error)
            case .unsupported(let value): throw .unsupported(file: segment.name, value: value)
            case .damaged(let offset):
                let next = (entries.last?.index).map { $0 + 1 } ?? max(from, segment.first)
                report.damages.append(
                    Damage(
                        .block,
                        file: "\(folder)/\(segment.name)",
                        offset: offset,
                        groups: [group],
                        indices: next...segment.end
                    )
                )
                // What follows cannot be applied: the log ends here until the leader has sent it again.
                state.groups[slot].isFaulty = true
                state.groups[slot].truncate(to: next - 1)
                return entries
            }
        }
    }
}
