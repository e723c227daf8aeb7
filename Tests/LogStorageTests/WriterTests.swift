import DiskSimulation
import Glibc
import Locks
import LogFormat
import LogStorage
import Primitives
import Testing

/// A directory of the real file system that is removed when the test ends.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/vencejo-log-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) }
        path = String(cString: try #require(made))
    }

    deinit {
        func remove(_ path: String) {
            for name in (try? PosixDisk().list(path)) ?? [] {
                if unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
            }
            rmdir(path)
        }
        remove(path)
    }
}

/// Waits for a number of completions.
final class Countdown: Sendable {
    let left: Lock<Int>
    let failures = Lock<[StorageError]>([])

    init(_ count: Int) { left = Lock(count) }

    func done(_ result: Result<Void, StorageError>) {
        if case .failure(let error) = result { failures.withLock { $0.append(error) } }
        left.withLock { $0 -= 1 }
    }

    func wait() async throws {
        for _ in 0..<60_000 {
            if left.withLock({ $0 }) <= 0 { return }
            try await Task.sleep(for: .milliseconds(1))
        }
        Issue.record("completions are missing")
    }
}

@Suite("Log writer", .timeLimit(.minutes(5)))
struct WriterTests {
    static func settings() -> LogSettings {
        var settings = LogSettings()
        settings.walFileSize = 64 << 10
        settings.mergeFanIn = 3
        return settings
    }

    static func answer<T: Sendable>(_ call: (@escaping LogWriter.Completion<T>) -> Void) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            call { result in
                switch result {
                case .success(let value): continuation.resume(returning: value)
                case .failure(let error): continuation.resume(throwing: error)
                }
            }
        }
    }

    @Test("PS-02 many threads submit under every policy: one sync serves many, order is kept, a restart finds it all")
    func groupCommit() async throws {
        let directory = try TemporaryDirectory()
        let (store, _) = try LogStore.open(
            disk: PosixDisk(),
            directory: directory.path,
            settings: WriterTests.settings(),
            seed: 1
        )
        let flushes = Shared(Lock<[GroupID: LogIndex]>([:]))
        let writer = LogWriter(
            store: store,
            onFlush: { parts in flushes.value.withLock { for part in parts { $0[part.group] = part.upTo } } },
            onFailure: { Issue.record("\($0)") }
        )
        let perGroup: LogIndex = 600
        let countdown = Countdown(6 * Int(perGroup))
        await withTaskGroup(of: Void.self) { tasks in
            for number in UInt32(0)..<6 {
                tasks.addTask {
                    let policy = SyncPolicy.allCases[Int(number) % 3]
                    for index in 1...perGroup {
                        let item = LogItem(
                            group: group(number),
                            hardState: index == 1 ? HardState(term: 1) : nil,
                            entries: [Entry(term: 1, index: index, data: Array(CodecTests.text.prefix(200)))]
                        )
                        writer.submit([item], sync: policy) { countdown.done($0) }
                        if index % 50 == 0 { await Task.yield() }
                    }
                }
            }
        }
        try await countdown.wait()
        #expect(countdown.failures.withLock { $0 }.isEmpty)
        #expect(writer.oldestUnsyncedAge() == .zero)
        let figures = writer.statistics
        #expect(figures.items == 6 * UInt64(perGroup))
        // Two of the six asked for a sync each time.
        #expect(figures.syncs < UInt64(perGroup))
        let entries = try await WriterTests.answer { done in
            writer.read(group: group(3), from: 1, upTo: perGroup, maxBytes: 1 << 30, completion: done)
        }
        #expect(entries.map(\.index) == Array(1...perGroup))
        try await WriterTests.answer { done in
            writer.saveSnapshot(
                group: group(3),
                descriptor: sampleDescriptor(400),
                state: { sampleState(group(3), 400) },
                completion: done
            )
        }
        _ = try await WriterTests.answer { done in writer.dropLog(group: group(3), below: 300, completion: done) }
        try await WriterTests.answer { done in
            writer.installSnapshot(
                group: group(5),
                descriptor: sampleDescriptor(900),
                state: sampleState(group(5), 900),
                entries: [],
                completion: done
            )
        }
        try await WriterTests.answer { done in writer.discardGroup(group: group(4), completion: done) }
        try await WriterTests.answer { done in writer.backup(to: directory.path + "/copy", completion: done) }
        writer.stop()
        await #expect(throws: StorageError.stopped) {
            try await WriterTests.answer { done in writer.submit([], sync: .always, completion: done) }
        }
        for path in [directory.path, directory.path + "/copy"] {
            let (again, recovery) = try LogStore.open(disk: PosixDisk(), directory: path, seed: 2)
            #expect(recovery.report.damages.isEmpty && recovery.report.tornTail == nil)
            #expect(recovery.replicas.map(\.group) == (0...5).map { group($0) })
            #expect(recovery.replica(4)?.isFaulty == true && recovery.replica(4)?.lastIndex == 0)
            for number in UInt32(0)...3 { #expect(recovery.replica(number)?.lastIndex == perGroup) }
            #expect(recovery.replica(5)?.snapshot?.index == 900)
            try again.close()
            let report = try LogCheck.run(disk: PosixDisk(), directory: path)
            #expect(report.isClean)
        }
    }

    @Test("two processes cannot have one directory")
    func locking() throws {
        let directory = try TemporaryDirectory()
        let (store, _) = try LogStore.open(disk: PosixDisk(), directory: directory.path, seed: 1)
        #expect(throws: StorageError.locked(directory.path + "/LOCK")) {
            try LogStore.open(disk: PosixDisk(), directory: directory.path, seed: 1)
        }
        try store.close()
        // A process that another test is just starting has the descriptor, and with it the lock, until its exec.
        var reopened: LogStore<PosixDisk>?
        for _ in 0..<3000 where reopened == nil {
            reopened = try? LogStore.open(disk: PosixDisk(), directory: directory.path, seed: 1).store
            if reopened == nil { usleep(10_000) }
        }
        let again = try #require(reopened)
        try again.close()
    }

    @Test("PS-13 a submission that is refused, or finds the disk full, fails alone and at once")
    func refusals() async throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let writer = LogWriter(store: store, onFailure: { Issue.record("\($0)") })
        await #expect(throws: StorageError.self) {
            try await WriterTests.answer { (done: @escaping LogWriter.Completion<Void>) in
                writer.submit(
                    [LogItem(group: group(1), entries: sampleEntries(group(1), 5...6))],
                    sync: .always,
                    completion: done
                )
            }
        }
        try await WriterTests.answer { done in
            writer.submit(
                [LogItem(group: group(1), entries: sampleEntries(group(1), 1...6))],
                sync: .always,
                completion: done
            )
        }
        var faults = SimulatedDisk.Faults()
        faults.capacity = disk.usedBytes
        disk.faults = faults
        let big = (7...60).map { Entry(term: 1, index: LogIndex($0), data: CodecTests.noise(200, seed: UInt64($0))) }
        await #expect(throws: StorageError.self) {
            try await WriterTests.answer { (done: @escaping LogWriter.Completion<Void>) in
                writer.submit([LogItem(group: group(1), entries: big)], sync: .always, completion: done)
            }
        }
        disk.faults = SimulatedDisk.Faults()
        try await WriterTests.answer { done in
            writer.submit([LogItem(group: group(1), entries: big)], sync: .always, completion: done)
        }
        writer.stop()
        let (_, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.replica(1)?.lastIndex == 60)
    }

    @Test("PS-13 a failed sync fails its submissions and all later ones, and is reported once")
    func poisoned() async throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let reports = Shared(Lock(0))
        let writer = LogWriter(store: store, onFailure: { _ in reports.value.withLock { $0 += 1 } })
        disk.faults.failSyncAfter = 0
        for index in LogIndex(1)...3 {
            await #expect(throws: StorageError.self) {
                try await WriterTests.answer { (done: @escaping LogWriter.Completion<Void>) in
                    writer.submit(
                        [LogItem(group: group(1), entries: [sampleEntry(group(1), index)])],
                        sync: .always,
                        completion: done
                    )
                }
            }
        }
        writer.stop()
        #expect(reports.value.withLock { $0 } == 1)
    }

    @Test("PS-02 what asks for no sync is written before submit returns when nobody is before it, and else in its turn")
    func atOnce() async throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let writer = LogWriter(store: store, onFailure: { Issue.record("\($0)") })
        func item(_ index: LogIndex, bytes: Int = 10) -> LogItem {
            LogItem(group: group(1), entries: [Entry(term: 1, index: index, data: [UInt8](repeating: 1, count: bytes))])
        }
        // The first makes the file: the writer's work.
        try await WriterTests.answer { done in writer.submit([item(1)], sync: .always, completion: done) }
        let order = Shared(Lock<[LogIndex]>([]))
        func submit(_ index: LogIndex, _ policy: SyncPolicy, bytes: Int = 10) {
            writer.submit([item(index, bytes: bytes)], sync: policy) { result in
                #expect(throws: Never.self) { try result.get() }
                order.value.withLock { $0.append(index) }
            }
        }
        var next: LogIndex = 2
        let atOnces = Shared(Lock(0))
        for _ in 0..<20 {
            // The writer is idle but for the notes that it makes when it has been idle for a while.
            try await Task.sleep(for: .milliseconds(5))
            let caller = pthread_self()
            writer.submit([item(next)], sync: next % 2 == 0 ? .everysecond : .never) { [index = next] result in
                #expect(throws: Never.self) { try result.get() }
                order.value.withLock { $0.append(index) }
                if pthread_equal(pthread_self(), caller) != 0 { atOnces.value.withLock { $0 += 1 } }
            }
            next += 1
        }
        #expect(atOnces.value.withLock { $0 } >= 15)
        // Behind a sync, or too large, it is queued; the order is that of submission.
        for _ in 0..<200 {
            submit(next, SyncPolicy.allCases[Int(next % 3)], bytes: next % 7 == 0 ? LogWriter.bytesAtOnce + 1 : 10)
            next += 1
        }
        try await WriterTests.answer { done in writer.submit([item(next)], sync: .always, completion: done) }
        #expect(order.value.withLock { $0 } == Array(2..<next))
        writer.stop()
        #expect(try openStore(disk, seed: 4).recovery.replica(1)?.lastIndex == next)
    }

    @Test("PS-02 everysec is acknowledged before its sync, which follows within a second")
    func everySecond() async throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        let writer = LogWriter(store: store, onFailure: { Issue.record("\($0)") })
        let before = store.statistics.syncs
        // Asked on the thread that wrote it, before anybody can have synced.
        let atAcknowledgement: LogStatistics = try await WriterTests.answer { done in
            let items = [LogItem(group: group(1), entries: [sampleEntry(group(1), 1)])]
            writer.submit(items, sync: .everysecond) { result in done(result.map { store.statistics }) }
        }
        #expect(atAcknowledgement.syncs == before)
        #expect(atAcknowledgement.entries == 1)
        for _ in 0..<10_000 where store.statistics.syncs == before { try await Task.sleep(for: .milliseconds(1)) }
        #expect(store.statistics.syncs == before + 1)
        let copy = disk.fork()
        copy.crash(keeping: .nothing)
        #expect(try openStore(copy, seed: 3).recovery.replica(1)?.lastIndex == 1)
        writer.stop()
    }
}

/// A reference to something that only moves by reference.
final class Shared<Value: ~Copyable & Sendable>: Sendable {
    let value: Value

    init(_ value: consuming Value) { self.value = value }
}
