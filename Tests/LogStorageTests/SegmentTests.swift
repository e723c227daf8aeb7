import DiskSimulation
import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Segments, snapshots, retention", .ownThread(nice: 5))
struct SegmentTests {
    /// Appends `count` entries in batches of four, syncing each, and flushing whenever there is something to flush.
    static func fill(_ store: Store, _ number: UInt32, _ count: LogIndex, term: Term = 1) throws {
        let from = store.retained(group: group(number)).lastIndex
        var next = from + 1
        while next <= from + count {
            let last = min(next + 3, from + count)
            try store.append([
                LogItem(
                    group: group(number),
                    hardState: HardState(term: term),
                    entries: sampleEntries(group(number), next...last, term: term)
                )
            ])
            try store.sync()
            while store.needsFlush { _ = try store.flushStep() }
            next = last + 1
        }
    }

    @Test("PS-03 entries move into segments that survive without the write-ahead files that held them")
    func flush() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 300)
        try SegmentTests.fill(store, 2, 50)
        #expect(store.statistics.segmentsWritten > 3)
        #expect(store.statistics.walFiles == 1)
        #expect(try store.readAll(group(1)) == sampleEntries(group(1), 1...300))
        #expect(try store.read(group: group(1), from: 17, upTo: 17, maxBytes: 1).map(\.index) == [17])
        #expect(try store.read(group: group(1), from: 301, upTo: 400, maxBytes: 1000).isEmpty)
        #expect(try store.read(group: group(9), from: 1, upTo: 400, maxBytes: 1000).isEmpty)
        try store.close()
        let (again, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.replica(1)?.lastIndex == 300)
        #expect(recovery.replica(1)?.entries.count == 300)
        #expect(try again.readAll(group(1), maxBytes: 100_000) == sampleEntries(group(1), 1...300))
        #expect(try again.readAll(group(2)) == sampleEntries(group(2), 1...50))
    }

    @Test("flushed entries are announced once they are in segments, in order")
    func flushReports() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        for round in LogIndex(0)..<60 {
            try store.append([
                LogItem(group: group(1), entries: sampleEntries(group(1), (round * 4 + 1)...(round * 4 + 4)))
            ])
            try store.sync()
        }
        var upTo: LogIndex = 0
        while store.needsFlush {
            for flushed in try store.flushStep() {
                #expect(flushed.group == group(1) && flushed.upTo > upTo)
                upTo = flushed.upTo
            }
        }
        #expect(upTo > 100 && upTo <= 240)
    }

    @Test("small segments are merged, so that their number grows like the logarithm of the log")
    func merging() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 1200)
        let figures = store.statistics
        #expect(figures.merges > 5)
        #expect(figures.segmentFiles < 24 && figures.segmentFiles < Int(figures.segmentsWritten) / 2)
        #expect(disk.files.filter { $0.hasSuffix(".seg") }.count == figures.segmentFiles)
        #expect(try store.readAll(group(1), maxBytes: 50_000) == sampleEntries(group(1), 1...1200))
    }

    @Test("a later leader's entries replace what segments hold")
    func replacement() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 200)
        let replaced = sampleEntries(group(1), 120...130, term: 2)
        try store.append([LogItem(group: group(1), hardState: HardState(term: 2), entries: replaced)])
        try store.sync()
        #expect(store.retained(group: group(1)).lastIndex == 130)
        try SegmentTests.fill(store, 1, 200, term: 2)
        try store.settle()
        let expected = sampleEntries(group(1), 1...119) + sampleEntries(group(1), 120...330, term: 2)
        #expect(try store.readAll(group(1)) == expected)
        try store.close()
        let (again, recovery) = try openStore(disk, seed: 2)
        #expect(try again.readAll(group(1)) == expected)
        #expect(
            recovery.replica(1)?.termStarts == [
                TermStart(index: 0, term: 0), TermStart(index: 1, term: 1), TermStart(index: 120, term: 2),
            ]
        )
    }

    @Test("a replaced tail is not missed when the file in which it began is gone", arguments: [false, true])
    func replacedTail(hasSnapshot: Bool) throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        while store.sealedFiles == 0 {
            let next = store.retained(group: group(1)).lastIndex + 1
            try store.append([LogItem(group: group(1), entries: [sampleEntry(group(1), next)])])
        }
        // The second file begins with the entry `split`, and replaces from before it on.
        let split = store.retained(group: group(1)).lastIndex
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), (split + 1)...(split + 3)))])
        let replaced = sampleEntries(group(1), (split - 1)...(split + 1), term: 2)
        try store.append([LogItem(group: group(1), hardState: HardState(term: 2), entries: replaced)])
        try store.sync()
        try store.settle()
        #expect(store.sealedFiles == 0)
        if hasSnapshot {
            let descriptor = sampleDescriptor(split, term: 2)
            try store.saveSnapshot(group: group(1), descriptor: descriptor, state: sampleState(group(1), split))
        }
        disk.crash(keeping: .nothing)
        let (again, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.report.damages.isEmpty)
        #expect(recovery.replica(1)?.isFaulty == false)
        #expect(recovery.replica(1)?.lastIndex == split + 1)
        try again.settle()
        #expect(try again.readAll(group(1)) == sampleEntries(group(1), 1...(split - 2)) + replaced)
    }

    @Test("entries that do not continue the log are refused before anything is written")
    func contiguity() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let written = disk.operations
        #expect(throws: StorageError.notContiguous(group: group(1), first: 1, last: 0, given: 2)) {
            try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 2...3))])
        }
        #expect(throws: StorageError.self) {
            try store.append([LogItem(group: group(1), entries: [sampleEntry(group(1), 1), sampleEntry(group(1), 3)])])
        }
        #expect(disk.operations == written)
        try store.append([
            LogItem(group: group(1), entries: sampleEntries(group(1), 1...3)),
            LogItem(group: group(1), entries: sampleEntries(group(1), 4...5)),
        ])
        #expect(store.retained(group: group(1)).lastIndex == 5)
        let huge = Entry(term: 1, index: 6, data: [UInt8](repeating: 0, count: LogLimits.entryData + 1))
        #expect(throws: StorageError.self) { try store.append([LogItem(group: group(1), entries: [huge])]) }
    }

    @Test("a batch larger than a record or a file is written in parts and read back whole")
    func largeBatches() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let entries = (1...9).map {
            Entry(term: 1, index: LogIndex($0), data: CodecTests.noise(700_000, seed: UInt64($0)))
        }
        try store.append([
            LogItem(group: group(1), entries: entries), LogItem(group: group(2), entries: [sampleEntry(group(2), 1)]),
        ])
        try store.sync()
        #expect(store.statistics.records >= 2)
        #expect(try store.readAll(group(1)) == entries)
        disk.crash(keeping: .nothing)
        let (again, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.replica(1)?.entries == entries)
        #expect(recovery.replica(2)?.lastIndex == 1)
        try again.settle()
        #expect(try again.readAll(group(1)) == entries)
    }

    @Test("PS-04 retention removes segments: disk use stays bounded while the log grows, and the restart stays small")
    func retention() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        var highest = 0
        for round in 0..<20 {
            try SegmentTests.fill(store, 1, 150)
            let last = store.retained(group: group(1)).lastIndex
            try store.saveSnapshot(
                group: group(1),
                descriptor: sampleDescriptor(last - 20),
                state: sampleState(group(1), last - 20)
            )
            let first = try store.dropLog(group: group(1), below: last > 200 ? last - 200 : 1)
            #expect(first <= max(1, last > 200 ? last - 200 : 1))
            if round == 9 { highest = disk.usedBytes }
            if round > 9 { #expect(disk.usedBytes < highest * 2, "round \(round)") }
        }
        #expect(store.statistics.segmentsDropped > 5)
        #expect(store.retained(group: group(1)).firstIndex > 2200)
        #expect(try store.read(group: group(1), from: 5, upTo: 9, maxBytes: 1000).isEmpty)
        #expect(disk.files.filter { $0.hasSuffix(".snap") }.count == 2)
        try store.close()
        let (_, recovery) = try openStore(disk, seed: 2)
        let replica = try #require(recovery.replica(1))
        #expect(replica.lastIndex == 3000 && !replica.isFaulty)
        #expect(replica.entries.first.map { $0.index > 2800 && $0.index <= 2981 } == true)
        #expect(replica.termStarts.first.map { $0.index < replica.firstIndex && $0.term == 1 } == true)
        #expect(recovery.report.bytes < 20_000)
    }

    @Test("retention never removes what the newest snapshot does not hold")
    func retentionBound() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 300)
        #expect(try store.dropLog(group: group(1), below: 250) == 1)
        try store.saveSnapshot(group: group(1), descriptor: sampleDescriptor(60), state: sampleState(group(1), 60))
        #expect(try store.dropLog(group: group(1), below: 250) <= 61)
    }

    @Test("PS-02 segments that outlive their removal in a crash are not counted on, whatever the next drop names")
    func droppedComesBack() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 300)
        try store.append([LogItem(group: group(1), hardState: HardState(term: 1, vote: nil, commit: 300))])
        try store.settle()
        try store.saveSnapshot(group: group(1), descriptor: sampleDescriptor(250), state: sampleState(group(1), 250))
        let before = disk.files.filter { $0.hasSuffix(".seg") }.count
        let first = try store.dropLog(group: group(1), below: 200)
        #expect(first > 100 && first <= 200)
        try store.sync()
        disk.crash(keeping: .nothing)
        try #require(disk.files.filter { $0.hasSuffix(".seg") }.count == before, "no directory was synced")
        let (again, recovery) = try openStore(disk, seed: 2)
        let replica = try #require(recovery.replica(1))
        #expect(replica.firstIndex == 200)
        #expect(again.retained(group: group(1)).firstIndex == 1)
        try again.dropLog(group: group(1), below: 100)
        #expect(again.retained(group: group(1)).firstIndex <= replica.firstIndex)
        let read = try again.read(group: group(1), from: replica.firstIndex, upTo: 300, maxBytes: 1 << 20)
        #expect(read == sampleEntries(group(1), 200...300))
    }

    @Test("an installed snapshot replaces the log with its history, durably, and the old one is gone")
    func install() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 100)
        try store.append([LogItem(group: group(1), hardState: HardState(term: 5, vote: NodeID(2), commit: 90))])
        try store.installSnapshot(
            group: group(1),
            descriptor: sampleDescriptor(500, term: 4),
            state: sampleState(group(1), 500),
            entries: sampleEntries(group(1), 450...520, term: 4),
            previousTerm: 3
        )
        #expect(!disk.files.contains { $0.contains("/1.0/") })
        disk.crash(keeping: .nothing)
        let (again, recovery) = try openStore(disk, seed: 2)
        let replica = try #require(recovery.replica(1))
        #expect(replica.firstIndex == 450 && replica.lastIndex == 520)
        #expect(replica.hardState == HardState(term: 5, vote: NodeID(2), commit: 90))
        #expect(replica.snapshot == sampleDescriptor(500, term: 4))
        #expect(replica.entries.map(\.index) == Array(501...520))
        #expect(replica.termStarts.first == TermStart(index: 449, term: 3))
        try SegmentTests.fill(again, 1, 100, term: 5)
        #expect(try again.readAll(group(1)).count == 171)
    }

    @Test("a snapshot ahead of the log begins the log anew behind it")
    func snapshotAhead() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 40)
        try store.saveSnapshot(group: group(1), descriptor: sampleDescriptor(60), state: sampleState(group(1), 60))
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 61...64))])
        try store.sync()
        for seed in UInt64(2)...4 {
            disk.crash(keeping: .nothing)
            let (again, recovery) = try openStore(disk, seed: seed)
            #expect(recovery.report.damages.isEmpty)
            #expect(recovery.replica(1)?.firstIndex == 61 && recovery.replica(1)?.lastIndex == 64)
            #expect(recovery.replica(1)?.termStarts.first == TermStart(index: 60, term: 1))
            try again.settle()
        }
    }

    @Test("a discarded group is gone, but its term and vote are not")
    func discard() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 100, term: 8)
        try store.discardGroup(group: group(1))
        #expect(!disk.files.contains { $0.contains("/1.") })
        try store.close()
        let (again, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.replica(1)?.lastIndex == 0 && recovery.replica(1)?.hardState.term == 8)
        #expect(recovery.replica(1)?.isFaulty == true, "it must not vote before a leader has filled it")
        #expect(recovery.replica(1)?.isRemoved == true, "nobody counts on it")
        #expect(again.hardState(group: group(1))?.term == 8)
        try again.append([LogItem(group: group(1), entries: sampleEntries(group(1), 1...3, term: 9))])
        try again.close()
        let (_, third) = try openStore(disk, seed: 3)
        #expect(third.replica(1)?.lastIndex == 3 && third.replica(1)?.hardState.term == 8)
        #expect(third.replica(1)?.isFaulty == false && third.replica(1)?.isRemoved == false)
    }

    @Test("meta files are replaced as a whole and verified")
    func meta() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        #expect(try store.readMeta("node") == nil)
        try store.writeMeta("node", [1, 2, 3])
        try store.writeMeta("node", [4, 5])
        #expect(throws: StorageError.invalidName("../x")) { try store.writeMeta("../x", []) }
        disk.crash(keeping: .nothing)
        let (again, _) = try openStore(disk, seed: 2)
        #expect(try again.readMeta("node") == [4, 5])
        disk.flipBit(of: "data/meta/node", byte: 21)
        #expect(throws: StorageError.self) { try again.readMeta("node") }
    }

    @Test("PS-03 a backup made while the log is in use opens as the log was, and compaction does not disturb it")
    func backup() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try SegmentTests.fill(store, 1, 200)
        try store.saveSnapshot(group: group(1), descriptor: sampleDescriptor(150), state: sampleState(group(1), 150))
        try store.writeMeta("node", [7])
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 201...210))])
        try store.backup(to: "backup")
        try SegmentTests.fill(store, 1, 800)
        try store.dropLog(group: group(1), below: 140)
        let (copy, recovery) = try Store.open(disk: disk, directory: "backup", settings: smallSettings(), seed: 4)
        #expect(recovery.report.damages.isEmpty)
        #expect(try copy.readAll(group(1)) == sampleEntries(group(1), 1...210))
        #expect(recovery.replica(1)?.snapshot?.index == 150)
        #expect(try copy.readMeta("node") == [7])
    }

    @Test("the directory belongs to one process at a time")
    func locking() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        #expect(throws: StorageError.locked("data")) { try openStore(disk) }
        try store.close()
        _ = try openStore(disk)
    }

    @Test("CL-20 text takes less room on disk than it has bytes")
    func compression() throws {
        let disk = SimulatedDisk()
        var settings = smallSettings()
        settings.walFileSize = 1 << 16
        let (store, _) = try openStore(disk, settings: settings)
        for index in LogIndex(1)...80 {
            try store.append([LogItem(group: group(1), entries: [Entry(term: 1, index: index, data: CodecTests.text)])])
            try store.sync()
            try store.settle()
        }
        #expect(store.statistics.compressionRatio > 3)
        #expect(store.statistics.segmentPlainBytes > store.statistics.segmentStoredBytes)
    }
}
