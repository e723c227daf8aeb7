import Broker
import DequeModule
import DiskSimulation
import LogFormat
import LogStorage
import Primitives

/// The shell around the real log: a writer that commits in groups, and a queue for everything that may take long.
extension Simulation {
    func store(_ request: StorageRequest, shard: Int, at node: SimulatedNode) {
        switch request {
        case .append(let ticket, let items, _):
            for item in items {
                oracle.handedOut(item, node, simulation: self)
                trace.line(now) { "node \(node.id) ticket \(ticket): \(Simulation.summary(item))" }
            }
            node.appends.append(SimulatedNode.Append(shard: shard, ticket: ticket, items: items))
        case .read, .saveSnapshot, .installSnapshot, .dropLog, .discard:
            node.jobs.append(SimulatedNode.Job(shard: shard, request: request))
            if !node.isWorking {
                node.isWorking = true
                schedule(node, .work, after: diskDelay(node))
            }
        }
    }

    private func diskDelay(_ node: SimulatedNode) -> Interval {
        let delay = diskChance.around(swarm.syncTime) + .microseconds(10)
        return node.stalledUntil > now ? (node.stalledUntil - now) + delay : delay
    }

    private static func summary(_ item: StorageRequest.Item) -> String {
        var text = "\(item.group)"
        if let state = item.hardState {
            text += " term \(state.term) vote \(state.vote.map { "\($0)" } ?? "none") commit \(state.commit)"
        }
        if let first = item.entries.first, let last = item.entries.last {
            text += " entries \(first.index)...\(last.index) of term \(last.term)"
        }
        return text
    }

    // MARK: The writer

    /// Writes whatever has gathered while the last sync was under way.
    func pumpWriter(_ node: SimulatedNode) {
        guard node.isRunning, !node.isWriting, !node.appends.isEmpty, let store = node.store else { return }
        var batch: [SimulatedNode.Append] = []
        var items: [LogItem] = []
        let most = diskChance.chance(1, in: 4) ? 1 : 64
        while batch.count < most, batch.count < node.appends.count {
            let append = node.appends[batch.count]
            batch.append(append)
            for item in append.items {
                items.append(LogItem(group: item.group, hardState: item.hardState, entries: item.entries))
            }
        }
        do throws(StorageError) {
            try store.append(items)
        } catch {
            guard case .full = error else { return storageFailed(error, node, "append") }
            sometimes.note(.diskFull)
            trace.line(now) { "node \(node.id): disk full" }
            if !node.isDiskFull {
                node.isDiskFull = true
                for broker in node.brokers { broker.onDiskHealth(false) }
            }
            node.isWriting = true
            schedule(node, .retryAppend, after: .milliseconds(20))
            return
        }
        if node.isDiskFull {
            node.isDiskFull = false
            sometimes.note(.diskRecovered)
            for broker in node.brokers { broker.onDiskHealth(true) }
        }
        node.appends.removeFirst(batch.count)
        node.writing = batch
        node.isWriting = true
        schedule(node, .synced, after: diskDelay(node))
    }

    func finishWrite(_ node: SimulatedNode) {
        guard let store = node.store else { return }
        if options.planted != .skipFsync {
            do throws(StorageError) { try store.sync() } catch { return storageFailed(error, node, "sync") }
        }
        trace.note(6, now.nanoseconds, UInt64(node.index))
        let batch = node.writing
        node.writing = []
        node.isWriting = false
        for append in batch {
            for item in append.items { oracle.becameDurable(item, node) }
            trace.line(now) { "node \(node.id) ticket \(append.ticket) durable" }
            node.brokers[append.shard].onDurable(ticket: append.ticket)
        }
        if node.appends.isEmpty, options.planted != .skipFsync {
            do throws(StorageError) { try store.noteDurable() } catch {
                if case .full = error { return }
                storageFailed(error, node, "mark")
            }
        }
    }

    /// The log says that it cannot go on: the process ends, as the real one does.
    private func storageFailed(_ error: StorageError, _ node: SimulatedNode, _ doing: String) {
        trace.line(now) { "node \(node.id): \(doing): \(error)" }
        switch error {
        case .poisoned, .disk, .full:
            guard node.disk.faults.powerOffAt != nil || node.disk.faults.failSyncAfter != nil || node.isSyncBroken
            else {
                return fail("node \(node.id), \(doing): \(error), and nobody broke the disk")
            }
            sometimes.note(.diedInStorage)
            // Not from within the node's own event.
            let life = node.life
            node.isPaused = true
            after(.microseconds(1)) { [unowned self] in
                guard node.life == life else { return }
                crash(node, .powerCut)
                restart(node, after: faultChance.milliseconds(50...800))
            }
        default: fail("node \(node.id), \(doing): \(error)")
        }
    }

    func restart(_ node: SimulatedNode, after delay: Interval) {
        let life = node.life
        after(delay) { [unowned self] in
            if node.life == life { start(node) }
        }
    }

    // MARK: Slower jobs

    func work(_ node: SimulatedNode) {
        guard let job = node.jobs.popFirst() else { return }
        trace.note(7, now.nanoseconds, UInt64(node.index))
        carryOut(job, node)
        if node.jobs.isEmpty {
            node.isWorking = false
        } else {
            schedule(node, .work, after: diskDelay(node))
        }
    }

    private func carryOut(_ job: SimulatedNode.Job, _ node: SimulatedNode) {
        guard let store = node.store else { return }
        let broker = node.brokers[job.shard]
        switch job.request {
        case .append: break
        case .read(let token, let group, let from, let upTo, let maxBytes):
            do throws(StorageError) {
                let entries = try store.read(group: group, from: from, upTo: upTo, maxBytes: maxBytes)
                sometimes.note(.readFromDisk)
                oracle.check(entries, of: group, at: node, simulation: self)
                broker.onEntriesRead(token: token, entries)
            } catch {
                if case .corrupt = error {
                    sometimes.note(.readFailed)
                    if !node.wasTampered { fail("node \(node.id), read: \(error), and nobody broke it") }
                    broker.onEntriesRead(token: token, nil)
                } else {
                    storageFailed(error, node, "read")
                }
            }
        case .saveSnapshot(let group, let descriptor, let state):
            do throws(StorageError) {
                try store.saveSnapshot(group: group, descriptor: descriptor, state: state.encoded())
                sometimes.note(.snapshotSaved)
                // Its entries may be dropped now: the last chance to see them.
                oracle.examine(node, simulation: self)
                broker.onSnapshotSaved(group: group, index: descriptor.index, succeeded: true)
            } catch {
                guard case .full = error else { return storageFailed(error, node, "snapshot") }
                broker.onSnapshotSaved(group: group, index: descriptor.index, succeeded: false)
            }
        case .installSnapshot(let group, let descriptor, let state, let entries):
            do throws(StorageError) {
                oracle.check(entries, of: group, at: node, simulation: self)
                try store.installSnapshot(group: group, descriptor: descriptor, state: state, entries: entries)
                oracle.installed(group, descriptor.index, node)
                broker.onSnapshotInstalled(group: group, index: descriptor.index, succeeded: true)
            } catch {
                guard case .full = error else { return storageFailed(error, node, "install") }
                broker.onSnapshotInstalled(group: group, index: descriptor.index, succeeded: false)
            }
        case .dropLog(let group, let below):
            do throws(StorageError) {
                let before = store.retained(group: group).firstIndex
                if try store.dropLog(group: group, below: below) > before { sometimes.note(.logDropped) }
            } catch {
                if case .full = error { return }
                storageFailed(error, node, "drop")
            }
        case .discard(let group):
            do throws(StorageError) {
                try store.discardGroup(group: group)
                oracle.discarded(group, node)
                broker.onDiscarded(group: group, succeeded: true)
            } catch {
                switch error {
                // Nothing of it was ever written here.
                case .unknownGroup: broker.onDiscarded(group: group, succeeded: true)
                case .full: broker.onDiscarded(group: group, succeeded: false)
                default: storageFailed(error, node, "discard")
                }
            }
        }
    }

    func flush(_ node: SimulatedNode) {
        defer { if node.isRunning { schedule(node, .flush, after: diskChance.milliseconds(5...60)) } }
        guard let store = node.store, store.needsFlush, node.stalledUntil <= now else { return }
        do throws(StorageError) {
            for flushed in try store.flushStep() {
                sometimes.note(.segmentsWritten)
                node.broker(of: flushed.group).onFlushed(group: flushed.group, upTo: flushed.upTo)
            }
        } catch {
            switch error {
            case .full: break
            case .corrupt where node.wasTampered: break
            default: storageFailed(error, node, "flush")
            }
        }
    }
}
