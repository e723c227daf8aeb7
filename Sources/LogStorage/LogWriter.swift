import Locks
import LogFormat
import Primitives
import Synchronization

/// The two threads that drive a `LogStore` in production.
///
/// The *writer* takes whatever was submitted during the last fsync as one batch (at most 8192 items or 4 MiB), writes
/// it as one record, syncs once, and then calls the completions: group commit. The *keeper* does everything that may
/// take long (flushing, snapshots, reads, backups), so that no fsync waits for it.
///
/// Completions run on these threads, in order of submission for appends; they must be short and must not call `stop`.
/// When the write-ahead log fails, `onFailure` is called once: the process must exit.
package final class LogWriter: Sendable {
    package typealias Completion<T> = @Sendable (Result<T, StorageError>) -> Void

    static let batchItems = 8192
    static let batchBytes = LogLimits.batchBytes
    /// How long the writer pauses before it writes down the durable position.
    static let pause = Interval.milliseconds(100)
    /// Submissions in one batch that show that others are on their way.
    static let companions = 4
    static let everySecond = Interval.seconds(1)
    /// Bytes of entries above which an append is always the writer's work.
    package static let bytesAtOnce = 64 << 10

    struct Submission: Sendable {
        var work: Work
        var policy: SyncPolicy
        var arrived: Instant
        var bytes: Int
        var completion: Completion<Void>
    }

    enum Work: Sendable {
        case items([LogItem])
        /// A change that the keeper has prepared: it syncs by itself.
        case change(@Sendable (any LogBackend) -> Result<Void, StorageError>)
    }

    struct Inbox: Sendable {
        var submissions: [Submission] = []
        var isStopping = false
        /// When the oldest submission that the writer holds arrived.
        var oldestInFlight: Instant?
        /// Why the keeper cannot free write-ahead files.
        var keeperFailure: StorageError?
        /// The keeper waits for the writer, so the writer must not wait for the keeper.
        var keeperWaits = false
        /// Who uses the writer's side of the store now; one at a time.
        var turn = Turn.nobodys
        /// The writer waits for the end of a caller's turn.
        var writerWaits = false
        /// When what was written without a sync is to be synced.
        var syncBy: Instant?
    }

    enum Turn: Sendable {
        case nobodys
        case writers
        case callers
    }

    struct Chores: Sendable {
        var requests: [@Sendable (any LogBackend) -> Void] = []
        var mayFlush = true
        var isStopping = false
    }

    let store: any LogBackend
    let inbox = Monitor(Inbox())
    let chores = Monitor(Chores())
    private let threads = Lock<[WorkerThread]>([])
    private let onFailure: @Sendable (StorageError) -> Void
    let onFlush: @Sendable ([FlushedGroup]) -> Void
    let syncTimes = Lock(SyncTimes())
    private let hasFailed = Atomic<Bool>(false)

    /// How long syncs took.
    package struct SyncTimes: Equatable, Sendable {
        package var count: UInt64 = 0
        package var total = Interval.zero
        package var longest = Interval.zero
    }

    /// Takes over the store: nobody else may use it from now on. `onFlush` tells which entries are now in segments, on
    /// the keeper's thread.
    package init<D: Disk>(
        store: LogStore<D>,
        onFlush: @escaping @Sendable ([FlushedGroup]) -> Void = { _ in },
        onFailure: @escaping @Sendable (StorageError) -> Void
    ) {
        self.store = store
        self.onFlush = onFlush
        self.onFailure = onFailure
        threads.withLock { threads in
            threads.append(WorkerThread { self.write() })
            threads.append(WorkerThread { self.keep() })
        }
    }

    // MARK: - Requests

    /// Appends items; the completion comes when they are as durable as `sync` says. After a failure nothing of them may
    /// be acknowledged; after `.full` they may be submitted again.
    package func submit(_ items: [LogItem], sync: SyncPolicy, completion: @escaping Completion<Void>) {
        var bytes = 0
        for item in items { for entry in item.entries { bytes += entry.data.count + 16 } }
        submit(.items(items), sync, bytes: bytes, completion)
    }

    private func submit(_ work: Work, _ policy: SyncPolicy, bytes: Int, _ completion: @escaping Completion<Void>) {
        let submission = Submission(
            work: work,
            policy: policy,
            arrived: monotonicNow(),
            bytes: bytes,
            completion: completion
        )
        let mayWrite = policy != .always && bytes <= LogWriter.bytesAtOnce
        let outcome = inbox.with { inbox -> (Taken, Bool) in
            guard !inbox.isStopping else { return (.refused, false) }
            if mayWrite, inbox.submissions.isEmpty, inbox.turn == .nobodys {
                inbox.turn = .callers
                inbox.oldestInFlight = submission.arrived
                return (.callersTurn, false)
            }
            inbox.submissions.append(submission)
            return (.queued, inbox.submissions.count == 1)
        }
        switch outcome {
        case .queued: break
        case .refused: completion(.failure(.stopped))
        case .callersTurn: writeAtOnce(submission)
        }
    }

    private enum Taken {
        case queued
        case callersTurn
        case refused
    }

    /// See `LogStore.read`.
    package func read(
        group: GroupID,
        from: LogIndex,
        upTo: LogIndex,
        maxBytes: Int,
        completion: @escaping Completion<[Entry]>
    ) {
        request(completion) { (store) throws(StorageError) in
            try store.read(group: group, from: from, upTo: upTo, maxBytes: maxBytes)
        }
    }

    /// See `LogStore.saveSnapshot`. `state` is encoded on the log's thread, so that a large one does not stop a loop.
    package func saveSnapshot(
        group: GroupID,
        descriptor: SnapshotDescriptor,
        state: @escaping @Sendable () -> [UInt8],
        completion: @escaping Completion<Void>
    ) {
        request(completion) { (store) throws(StorageError) in
            try store.saveSnapshot(group: group, descriptor: descriptor, state: state())
        }
    }

    /// See `LogStore.newestSnapshot`.
    package func newestSnapshot(
        group: GroupID,
        completion: @escaping Completion<(descriptor: SnapshotDescriptor, state: [UInt8])?>
    ) {
        request(completion) { (store) throws(StorageError) in try store.newestSnapshot(group: group) }
    }

    /// See `LogStore.installSnapshot`. Submissions for the group must wait for the completion.
    package func installSnapshot(
        group: GroupID,
        descriptor: SnapshotDescriptor,
        state: [UInt8],
        entries: [Entry],
        previousTerm: Term = 0,
        completion: @escaping Completion<Void>
    ) {
        request(completion) { (store) throws(StorageError) in
            let prepared = try store.prepareInstall(group, descriptor, state, entries, previousTerm: previousTerm)
            do throws(StorageError) {
                try self.onWriter { (store) throws(StorageError) in try store.commitInstall(prepared) }
            } catch {
                store.abandon(prepared, error)
                throw error
            }
            try store.removeOtherIncarnations(group, than: prepared.log.incarnation)
        }
    }

    /// See `LogStore.discardGroup`. Submissions for the group must wait for the completion.
    package func discardGroup(group: GroupID, completion: @escaping Completion<Void>) {
        request(completion) { (store) throws(StorageError) in
            let incarnation = try self.onWriter { (store) throws(StorageError) in try store.commitDiscard(group) }
            try store.removeOtherIncarnations(group, than: incarnation)
        }
    }

    /// See `LogStore.dropLog`. Completes with the first index that is still there.
    package func dropLog(group: GroupID, below: LogIndex, completion: @escaping Completion<LogIndex>) {
        request(completion) { (store) throws(StorageError) in
            let isDue = try self.onWriter { (store) throws(StorageError) in try store.commitFloor(group, below) }
            if isDue { try store.removeDropped(group) }
            return store.retained(group: group).firstIndex
        }
    }

    /// See `LogStore.markRepaired`.
    package func markRepaired(group: GroupID, completion: @escaping Completion<Void>) {
        submit(
            .change { store in
                do throws(StorageError) {
                    return .success(try store.markRepaired(group: group))
                } catch {
                    return .failure(error)
                }
            },
            .always,
            bytes: 0,
            completion
        )
    }

    /// See `LogStore.writeMeta`.
    package func writeMeta(_ name: String, _ content: [UInt8], completion: @escaping Completion<Void>) {
        request(completion) { (store) throws(StorageError) in try store.writeMeta(name, content) }
    }

    /// See `LogStore.backup`.
    package func backup(to target: String, completion: @escaping Completion<Void>) {
        request(completion) { (store) throws(StorageError) in try store.backup(to: target) }
    }

    // MARK: - Figures

    /// How long the oldest submission has waited for the disk; zero when none waits. Above an election timeout a leader
    /// should hand over; above 10 s the process should end.
    package func oldestUnsyncedAge() -> Interval {
        let oldest = inbox.with { inbox in (inbox.oldestInFlight ?? inbox.submissions.first?.arrived, false) }
        return oldest.map { monotonicNow() - $0 } ?? .zero
    }

    package var statistics: LogStatistics { store.statistics }

    /// How long syncs took since the start; `reset` begins a new count, for figures per interval.
    package func syncTimes(reset: Bool = false) -> SyncTimes {
        syncTimes.withLock { times in
            defer { if reset { times = SyncTimes() } }
            return times
        }
    }

    // MARK: - Life

    /// Completes what was submitted, syncs, ends the threads and releases the data directory. Must not be called from a
    /// completion.
    package func stop() {
        let running = threads.withLock { threads -> [WorkerThread] in
            defer { threads = [] }
            return threads
        }
        guard !running.isEmpty else { return }
        // The keeper first: its chores may need the writer.
        chores.with { chores in
            chores.isStopping = true
            return ((), true)
        }
        running[1].join()
        inbox.with { inbox in
            inbox.isStopping = true
            return ((), true)
        }
        running[0].join()
    }

    func fail(_ error: StorageError) {
        guard case .poisoned = error else { return }
        let isFirst = hasFailed.exchange(true, ordering: .acquiringAndReleasing) == false
        if isFirst { onFailure(error) }
    }

    func request<T>(
        _ completion: @escaping Completion<T>,
        _ body: @escaping @Sendable (any LogBackend) throws(StorageError) -> T
    ) {
        let isTaken = chores.with { chores in
            guard !chores.isStopping else { return (false, false) }
            chores.requests.append { store in
                do throws(StorageError) {
                    completion(.success(try body(store)))
                } catch {
                    self.fail(error)
                    completion(.failure(error))
                }
            }
            return (true, true)
        }
        if !isTaken { completion(.failure(.stopped)) }
    }

    private func setKeeperWaits(_ waits: Bool) {
        inbox.with { inbox in
            inbox.keeperWaits = waits
            return ((), true)
        }
    }

    /// Runs one step of a keeper's chore on the writer, and waits for it.
    func onWriter<T: Sendable>(
        _ body: @escaping @Sendable (any LogBackend) throws(StorageError) -> T
    ) throws(StorageError) -> T {
        let answer = Monitor<Result<T, StorageError>?>(nil)
        setKeeperWaits(true)
        defer { setKeeperWaits(false) }
        submit(
            .change { store in
                let result: Result<T, StorageError>
                do throws(StorageError) { result = .success(try body(store)) } catch { result = .failure(error) }
                answer.with { answer in
                    answer = result
                    return ((), true)
                }
                return result.map { _ in }
            },
            .always,
            bytes: 0
        ) { outcome in
            // A submission that was never run has to be answered too.
            answer.with { answer in
                if answer == nil, case .failure(let error) = outcome { answer = .failure(error) }
                return ((), true)
            }
        }
        guard let result = answer.wait(until: nil, { $0 }) else { throw .stopped }
        return try result.get()
    }
}
