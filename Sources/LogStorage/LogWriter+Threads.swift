import Glibc
import Locks
import LogFormat
import Primitives

/// The writer's thread, and the turns of callers in its place.
extension LogWriter {
    /// What the writer does next.
    private enum Next {
        case batch([Submission])
        /// Something is due.
        case timers
        /// Somebody else's append changed what is due.
        case again
        case stop
    }

    func write() {
        var pauseUntil: Instant?
        var gatherUntil = Instant.zero
        var syncBy: Instant?
        while true {
            gather(until: gatherUntil)
            let deadline = [syncBy, pauseUntil].compactMap { $0 }.min()
            let next = inbox.wait(until: deadline) { inbox -> Next? in
                if inbox.turn == .writers { inbox.turn = .nobodys }
                // The caller says when its turn is over.
                inbox.writerWaits = inbox.turn == .callers
                if inbox.writerWaits { return nil }
                if inbox.syncBy != syncBy {
                    syncBy = inbox.syncBy
                    return .again
                }
                let next: Next
                if !inbox.submissions.isEmpty {
                    next = .batch(LogWriter.takeBatch(&inbox))
                } else if inbox.isStopping {
                    next = .stop
                } else if [syncBy, pauseUntil].contains(where: { $0.map { $0 <= monotonicNow() } ?? false }) {
                    next = .timers
                } else {
                    return nil
                }
                inbox.turn = .writers
                return next
            }
            switch next {
            case .stop:
                do throws(StorageError) { try store.close() } catch { fail(error) }
                return
            case .batch(let batch):
                holdBack()
                // Many came while the last sync ran: then a sync that begins a little later carries many more.
                gatherUntil =
                    batch.count >= LogWriter.companions ? monotonicNow() + store.settings.commitDelay : .zero
                let (left, outcomes) = write(batch, isDirty: syncBy != nil)
                switch left {
                case .nothing: syncBy = nil
                case .dirty: syncBy = syncBy ?? monotonicNow() + LogWriter.everySecond
                case .unpromised: break
                }
                pauseUntil = monotonicNow() + LogWriter.pause
                // The disk is done with them, whatever the completions go on to do.
                inbox.with { inbox in
                    inbox.oldestInFlight = nil
                    inbox.syncBy = syncBy
                    return ((), false)
                }
                for (submission, outcome) in zip(batch, outcomes) { submission.completion(outcome) }
                if store.needsFlush { wakeKeeper() }
            case .timers:
                let now = monotonicNow()
                if let due = syncBy, due <= now {
                    syncBy = nil
                    do throws(StorageError) { try timedSync() } catch { fail(error) }
                    inbox.with { inbox in
                        inbox.syncBy = nil
                        return ((), false)
                    }
                }
                if let due = pauseUntil, due <= now {
                    pauseUntil = nil
                    // Nothing depends on it, so a full disk does not matter here.
                    do throws(StorageError) { try store.noteDurable() } catch { fail(error) }
                }
            case .again: break
            case nil:
                // Something is due, but a caller has its turn, which may take as long as a write does.
                _ = inbox.wait(until: nil) { inbox -> Void? in
                    inbox.writerWaits = inbox.turn == .callers
                    return inbox.writerWaits ? nil : ()
                }
            }
        }
    }

    /// Writes a submission that asks for no sync, in the caller's turn; what would need more than a write is queued.
    func writeAtOnce(_ submission: Submission) {
        var outcome: Result<Void, StorageError>?
        var left = Leftover.unpromised
        if case .items(let items) = submission.work, store.hasRoom(bytes: submission.bytes, items: items.count),
            store.sealedFiles <= store.settings.sealedFileLimit
        {
            let written = write([submission], isDirty: false)
            left = written.left
            outcome = written.outcomes[0]
        }
        inbox.with { inbox in
            inbox.turn = .nobodys
            inbox.oldestInFlight = nil
            // Others may have come meanwhile, but not of the same group: its submissions come from one thread.
            if outcome == nil { inbox.submissions.insert(submission, at: 0) }
            let isFirst = left == .dirty && inbox.syncBy == nil
            if isFirst { inbox.syncBy = monotonicNow() + LogWriter.everySecond }
            return ((), isFirst || inbox.writerWaits || !inbox.submissions.isEmpty)
        }
        guard let outcome else { return }
        submission.completion(outcome)
        if store.needsFlush { wakeKeeper() }
    }

    /// Lets a busy log's next batch grow (PostgreSQL's commit_delay and commit_siblings); a lone publish never waits.
    private func gather(until instant: Instant) {
        let left = instant - monotonicNow()
        guard left > .zero else { return }
        var time = timespec(tv_sec: 0, tv_nsec: Int(min(left.nanoseconds, 100_000_000)))
        nanosleep(&time, nil)
    }

    private static func takeBatch(_ inbox: inout Inbox) -> [Submission] {
        var items = 0
        var bytes = 0
        var count = 0
        for submission in inbox.submissions {
            if case .items(let list) = submission.work { items += list.count }
            bytes += submission.bytes
            if count > 0, items > batchItems || bytes > batchBytes { break }
            count += 1
        }
        inbox.oldestInFlight = inbox.submissions.first?.arrived
        if count == inbox.submissions.count {
            let batch = inbox.submissions
            inbox.submissions = []
            return batch
        }
        let batch = Array(inbox.submissions[..<count])
        inbox.submissions.removeFirst(count)
        return batch
    }

    /// Waits while too many write-ahead files wait for the keeper: what they hold is in memory. When the keeper cannot
    /// go on (full disk), the writer must: it will find the disk full itself.
    private func holdBack() {
        guard store.sealedFiles > store.settings.sealedFileLimit else { return }
        while store.sealedFiles > store.settings.sealedFileLimit {
            wakeKeeper()
            let isStuck = inbox.wait(until: monotonicNow() + .milliseconds(20)) { inbox -> Bool? in
                inbox.keeperFailure != nil || inbox.keeperWaits ? true : nil
            }
            if isStuck == true { return }
        }
    }

    private enum Leftover {
        /// Everything written is synced.
        case nothing
        /// Something is to be synced within a second.
        case dirty
        /// Only appends that asked for no sync were added.
        case unpromised
    }

    private func write(
        _ batch: [Submission],
        isDirty: Bool
    ) -> (left: Leftover, outcomes: [Result<Void, StorageError>]) {
        var outcomes = [Result<Void, StorageError>](repeating: .success(()), count: batch.count)
        var mustSync = false
        var isDirty = isDirty
        var staged: [Int] = []
        func flushStaged() {
            do throws(StorageError) {
                try store.writeStaged()
            } catch {
                for index in staged { outcomes[index] = .failure(error) }
                fail(error)
            }
            staged.removeAll(keepingCapacity: true)
        }
        for (index, submission) in batch.enumerated() {
            switch submission.work {
            case .items(let items):
                do throws(StorageError) {
                    try store.stage(items)
                    staged.append(index)
                    if submission.policy == .always { mustSync = true }
                    if submission.policy == .everysecond { isDirty = true }
                } catch {
                    outcomes[index] = .failure(error)
                    switch error {
                    case .notContiguous, .tooLarge: break
                    default:
                        // The record under construction is gone, with all that was staged.
                        for other in staged { outcomes[other] = .failure(error) }
                        staged.removeAll(keepingCapacity: true)
                        fail(error)
                    }
                }
            case .change(let run):
                flushStaged()
                outcomes[index] = run(store)
                if case .failure(let error) = outcomes[index] { fail(error) }
            }
        }
        flushStaged()
        if mustSync {
            do throws(StorageError) {
                try timedSync()
            } catch {
                for index in batch.indices where batch[index].policy == .always { outcomes[index] = .failure(error) }
                fail(error)
            }
            isDirty = false
        }
        return (mustSync ? .nothing : isDirty ? .dirty : .unpromised, outcomes)
    }

    private func timedSync() throws(StorageError) {
        let start = monotonicNow()
        try store.sync()
        let took = monotonicNow() - start
        syncTimes.withLock { times in
            times.count += 1
            times.total = Interval(nanoseconds: times.total.nanoseconds &+ took.nanoseconds)
            times.longest = max(times.longest, took)
        }
    }

    private func wakeKeeper() {
        chores.with { chores in
            chores.mayFlush = true
            return ((), true)
        }
    }
}

/// The keeper's thread.
extension LogWriter {
    private enum Chore {
        case requests([@Sendable (any LogBackend) -> Void])
        case flush
        case stop
    }

    func keep() {
        var retryAt: Instant?
        while true {
            let now = monotonicNow()
            let mayTry = retryAt.map { $0 <= now } ?? true
            let chore = chores.wait(until: mayTry ? nil : retryAt) { chores -> Chore? in
                if !chores.requests.isEmpty {
                    defer { chores.requests = [] }
                    return .requests(chores.requests)
                }
                if chores.isStopping { return .stop }
                return chores.mayFlush && mayTry ? .flush : nil
            }
            switch chore {
            case .stop: return
            case .requests(let requests): for run in requests { run(store) }
            case .flush: retryAt = flush()
            case nil: retryAt = nil
            }
        }
    }

    /// One step; returns when to try again after a failure.
    private func flush() -> Instant? {
        guard store.needsFlush else {
            chores.with { chores in
                chores.mayFlush = false
                return ((), false)
            }
            // Something may have come between the question and the answer.
            if store.needsFlush {
                chores.with { chores in
                    chores.mayFlush = true
                    return ((), false)
                }
            }
            return nil
        }
        do throws(StorageError) {
            let flushed = try store.flushStep()
            if !flushed.isEmpty { onFlush(flushed) }
            inbox.with { inbox in
                inbox.keeperFailure = nil
                return ((), true)
            }
            return nil
        } catch {
            fail(error)
            inbox.with { inbox in
                inbox.keeperFailure = error
                return ((), true)
            }
            // A damaged segment is passed over from now on; anything else needs time.
            if case .corrupt = error { return nil }
            return monotonicNow() + .seconds(1)
        }
    }
}
