import DiskSimulation
import Glibc
import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Full and failing disks", .ownThread(nice: 5))
struct FullDiskTests {
    @Test("PS-13 a full disk acknowledges nothing that is not there, serves reads, and goes on when space returns")
    func fullDisk() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        var faults = SimulatedDisk.Faults()
        faults.capacity = disk.usedBytes + 9000
        disk.faults = faults
        var acknowledged: LogIndex = 0
        var refused = 0
        for _ in 0..<200 where refused < 5 {
            let entries = sampleEntries(group(1), (acknowledged + 1)...(acknowledged + 4))
            do {
                try store.append([LogItem(group: group(1), entries: entries)])
                try store.sync()
                acknowledged += 4
            } catch StorageError.full {
                refused += 1
            }
            do { try store.settle() } catch StorageError.full {}
        }
        #expect(refused == 5 && acknowledged > 0)
        #expect(try store.readAll(group(1)).count == Int(acknowledged))
        // The disk as a crash finds it now.
        let crashed = disk.fork()
        crashed.crash(keeping: .everything)
        let (_, recovery) = try openStore(crashed, seed: 7)
        #expect(recovery.replica(1)?.lastIndex == acknowledged)
        #expect(recovery.report.damages.isEmpty)
        // Space returns.
        disk.faults = SimulatedDisk.Faults()
        try store.append([
            LogItem(group: group(1), entries: sampleEntries(group(1), (acknowledged + 1)...(acknowledged + 4)))
        ])
        try store.sync()
        try store.settle()
        #expect(try store.readAll(group(1)).count == Int(acknowledged + 4))
    }

    @Test("PS-13 the disk may be full when the log is opened")
    func fullAtOpening() throws {
        let disk = SimulatedDisk()
        do {
            let (store, _) = try openStore(disk)
            try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 1...9))])
            try store.sync()
        }
        disk.crash(keeping: .nothing)
        var faults = SimulatedDisk.Faults()
        faults.capacity = disk.usedBytes
        disk.faults = faults
        let (store, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.report.isFull)
        #expect(try store.readAll(group(1)).count == 9)
        let next = [LogItem(group: group(1), entries: sampleEntries(group(1), 10...12))]
        #expect(throws: StorageError.self) { try store.append(next) }
        disk.faults = SimulatedDisk.Faults()
        try store.append(next)
        try store.sync()
        try store.close()
        let (_, second) = try openStore(disk, seed: 3)
        #expect(second.replica(1)?.lastIndex == 12)
    }

    @Test("PS-13 a snapshot or a flush that does not fit leaves everything as it was")
    func fullMaintenance() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        for round in LogIndex(0)..<20 {
            try store.append([
                LogItem(group: group(1), entries: sampleEntries(group(1), (round * 4 + 1)...(round * 4 + 4)))
            ])
            try store.sync()
        }
        var faults = SimulatedDisk.Faults()
        faults.capacity = disk.usedBytes + 100
        disk.faults = faults
        #expect(throws: StorageError.self) { try store.flushStep() }
        #expect(throws: StorageError.self) {
            try store.saveSnapshot(group: group(1), descriptor: sampleDescriptor(8), state: sampleState(group(1), 8))
        }
        #expect(try store.newestSnapshot(group: group(1)) == nil)
        #expect(!disk.files.contains { $0.hasSuffix(".tmp") })
        #expect(try store.readAll(group(1)).count == 80)
        disk.faults = SimulatedDisk.Faults()
        try store.settle()
        #expect(try store.readAll(group(1)).count == 80)
        #expect(try openStoreAfterCrash(disk).recovery.replica(1)?.lastIndex == 80)
    }

    private func openStoreAfterCrash(_ disk: SimulatedDisk) throws -> (store: Store, recovery: Recovery) {
        let copy = disk.fork()
        copy.crash(keeping: .nothing)
        return try openStore(copy, seed: 11)
    }

    @Test("PS-13 short writes are completed, or leave no record")
    func shortWrites() throws {
        let disk = SimulatedDisk()
        var faults = SimulatedDisk.Faults()
        faults.longestWrite = 33
        disk.faults = faults
        let (store, _) = try openStore(disk)
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 1...20))])
        try store.sync()
        #expect(try openStoreAfterCrash(disk).recovery.replica(1)?.lastIndex == 20)
    }

    @Test("PS-13 after a failed sync nothing succeeds any more, and what was not synced is not trusted at the restart")
    func failedSync() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 1...3))])
        try store.sync()
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 4...6))])
        disk.faults.failSyncAfter = 0
        func isPoisoned(_ body: () throws -> Void) -> Bool {
            do {
                try body()
                return false
            } catch StorageError.poisoned(let error) {
                return error.code == EIO
            } catch {
                return false
            }
        }
        #expect(isPoisoned { try store.sync() })
        // The disk would say yes now, to data that it has dropped.
        #expect(isPoisoned { try store.sync() })
        #expect(isPoisoned { try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 7...8))]) })
        #expect(isPoisoned { try store.writeMeta("node", [1]) })
        #expect(isPoisoned { _ = try store.flushStep() })
        // The process restarts; the page cache still shows the entries, which never reached the disk.
        disk.unlock(directory: dataDirectory)
        let (_, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.replica(1)?.lastIndex == 6)
        // So recovery has written them again: now they survive a power cut.
        let copy = disk.fork()
        copy.crash(keeping: .nothing)
        let (_, second) = try openStore(copy, seed: 3)
        #expect(second.replica(1)?.lastIndex == 6)
    }

    @Test("PS-13 a sync that fails anywhere never loses what was acknowledged", arguments: 0..<40)
    func failedSyncs(number: Int) throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        disk.faults.failSyncAfter = number
        var acknowledged: LogIndex = 0
        func live() throws {
            for _ in 0..<60 {
                let entries = sampleEntries(group(1), (acknowledged + 1)...(acknowledged + 3))
                try store.append([LogItem(group: group(1), entries: entries)])
                try store.sync()
                acknowledged += 3
                while store.needsFlush { _ = try store.flushStep() }
            }
        }
        do { try live() } catch StorageError.poisoned {}
        disk.crash(keeping: number % 2 == 0 ? .nothing : .anySectors(seed: UInt64(number)))
        let (_, recovery) = try openStore(disk, seed: 2)
        #expect((recovery.replica(1)?.lastIndex ?? 0) >= acknowledged)
        #expect(recovery.report.damages.isEmpty)
    }
}
