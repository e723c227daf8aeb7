import DiskSimulation
import LogFormat
import LogStorage
import Primitives

/// What one group's log must hold.
struct ModelLog: Equatable, Sendable {
    var hardState = HardState()
    /// Terms by index; `terms[0]` is index 1.
    var terms: [Term] = []
    /// Entries below this may be gone.
    var mayStartAt: LogIndex = 1
    var isDiscarded = false

    var last: LogIndex { LogIndex(terms.count) }
}

/// Drives a store and remembers every state that a crash may leave: the last synced one and all that came after it.
struct CrashModel: Sendable {
    /// The states since the last sync, oldest first.
    var versions: [[GroupID: ModelLog]] = [[:]]
    /// The index of the newest snapshot that a call has acknowledged.
    var snapshots: [GroupID: LogIndex] = [:]

    var current: [GroupID: ModelLog] { versions[versions.count - 1] }

    mutating func begin(_ change: (inout [GroupID: ModelLog]) -> Void) {
        var next = current
        change(&next)
        versions.append(next)
    }

    mutating func synced() { versions = [current] }

    /// Why `recovery` is not a state that a crash may leave; nil when it is.
    func refusal(of recovery: Recovery, _ store: Store) throws -> String? {
        guard recovery.report.damages.isEmpty else { return "damage: \(recovery.report.damages)" }
        var reasons: [String] = []
        for version in versions.reversed() {
            guard let reason = try mismatch(version, recovery, store) else { return nil }
            reasons.append(reason)
        }
        return reasons.joined(separator: "; ")
    }

    private func mismatch(
        _ version: [GroupID: ModelLog],
        _ recovery: Recovery,
        _ store: Store
    ) throws -> String? {
        for number in UInt32(0)..<8 {
            let group = GroupID(rawValue: number)
            let replica = recovery.replica(number)
            let log = version[group] ?? ModelLog()
            guard let replica else {
                if version[group] == nil || log.isDiscarded || log == ModelLog() { continue }
                return "\(group) is missing"
            }
            if replica.isFaulty != log.isDiscarded { return "\(group) is\(log.isDiscarded ? " not" : "") faulty" }
            if replica.hardState != log.hardState { return "\(group) has \(replica.hardState), not \(log.hardState)" }
            if replica.lastIndex != log.last { return "\(group) ends at \(replica.lastIndex), not \(log.last)" }
            if replica.firstIndex > log.mayStartAt { return "\(group) begins at \(replica.firstIndex)" }
            if let reason = try mismatch(log, group, replica, store) { return reason }
        }
        return nil
    }

    private func mismatch(
        _ log: ModelLog,
        _ group: GroupID,
        _ replica: RestoredReplica,
        _ store: Store
    ) throws -> String? {
        let snapshot = replica.snapshot?.index ?? 0
        if snapshot < snapshots[group] ?? 0 { return "\(group) lost its snapshot" }
        if snapshot > 0, replica.snapshotState != sampleState(group, snapshot) { return "\(group) snapshot differs" }
        if replica.firstIndex > snapshot + 1 { return "\(group) cannot be rebuilt" }
        for entry in try store.readAll(group) {
            let term = log.terms[Int(entry.index) - 1]
            if entry != sampleEntry(group, entry.index, term: term) { return "\(group) entry \(entry.index) differs" }
        }
        guard let first = replica.entries.first else {
            return replica.lastIndex == snapshot || replica.lastIndex < replica.firstIndex
                ? nil : "\(group): no entries"
        }
        if first.index > snapshot + 1 { return "\(group) entries begin at \(first.index)" }
        for (offset, entry) in replica.entries.enumerated() {
            let index = first.index + LogIndex(offset)
            guard entry == sampleEntry(group, index, term: log.terms[Int(index) - 1]) else {
                return "\(group) restored entry \(index) differs"
            }
        }
        for index in replica.firstIndex...replica.lastIndex {
            let term = replica.termStarts.last { $0.index <= index }?.term
            if term != log.terms[Int(index) - 1] { return "\(group) term of \(index) is \(term ?? 0)" }
        }
        return nil
    }
}

/// A seeded life of a store, as Raft and the broker lead it.
struct Workload {
    var random: Xoshiro256
    var model: CrashModel
    var seed: UInt64

    init(seed: UInt64, model: CrashModel = CrashModel()) {
        self.seed = seed
        random = Xoshiro256(seed: seed)
        self.model = model
    }

    /// One action; `publish` sees the model before anything is written.
    mutating func step(_ store: Store, publish: (CrashModel) -> Void) throws {
        switch random.below(100) {
        case 0..<50: try append(store, publish)
        case 50..<70:
            try store.sync()
            model.synced()
        case 70..<84: if store.needsFlush { _ = try store.flushStep() }
        case 84..<90: try snapshot(store, publish)
        case 90..<94: try drop(store, publish)
        case 94..<97: try install(store, publish)
        case 97..<98: try discard(store, publish)
        default: try store.noteDurable()
        }
        publish(model)
    }

    private mutating func anyGroup() -> GroupID { GroupID(rawValue: UInt32(random.below(4))) }

    private mutating func append(_ store: Store, _ publish: (CrashModel) -> Void) throws {
        var items: [LogItem] = []
        for _ in 0..<(1 + random.below(3)) {
            let group = anyGroup()
            guard !items.contains(where: { $0.group == group }) else { continue }
            var item = LogItem(group: group)
            let log = model.current[group] ?? ModelLog()
            var state = log.hardState
            if random.chance(1, in: 3) || log.terms.isEmpty {
                state.term += 1
                state.vote = NodeID(1 + random.below(3))
                item.hardState = state
            }
            var first = log.last + 1
            // A new leader may replace what was not committed; never what a snapshot holds.
            let floor = max(model.snapshots[group] ?? 0, log.mayStartAt) + 1
            if item.hardState != nil, first > floor + 3, random.chance(1, in: 4) { first -= 1 + random.below(3) }
            let count = random.below(6)
            if count > 0 { item.entries = sampleEntries(group, first...(first + count - 1), term: state.term) }
            if item.hardState != nil || !item.entries.isEmpty { items.append(item) }
        }
        model.begin { logs in
            for item in items {
                var log = logs[item.group] ?? ModelLog()
                if log.isDiscarded, !item.entries.isEmpty { log = ModelLog(hardState: log.hardState) }
                if let state = item.hardState { log.hardState = state }
                if let first = item.entries.first?.index {
                    log.terms.removeLast(Int(log.last + 1 - first))
                    log.terms.append(contentsOf: item.entries.map(\.term))
                }
                logs[item.group] = log
            }
        }
        publish(model)
        try store.append(items)
    }

    private mutating func snapshot(_ store: Store, _ publish: (CrashModel) -> Void) throws {
        let group = anyGroup()
        guard let log = model.current[group], !log.isDiscarded, log.last > 2 else { return }
        // Raft takes snapshots of what is committed, which is durable here in this single-node life.
        try store.sync()
        model.synced()
        publish(model)
        let index = log.last - random.below(2)
        guard index > model.snapshots[group] ?? 0 else { return }
        try store.saveSnapshot(
            group: group,
            descriptor: sampleDescriptor(index, term: log.terms[Int(index) - 1]),
            state: sampleState(group, index)
        )
        model.snapshots[group] = index
    }

    private mutating func drop(_ store: Store, _ publish: (CrashModel) -> Void) throws {
        let group = anyGroup()
        guard let snapshot = model.snapshots[group], snapshot > 1 else { return }
        for version in model.versions.indices { model.versions[version][group]?.mayStartAt = snapshot + 1 }
        publish(model)
        try store.dropLog(group: group, below: 1 + random.below(snapshot))
    }

    private mutating func install(_ store: Store, _ publish: (CrashModel) -> Void) throws {
        let group = anyGroup()
        let log = model.current[group] ?? ModelLog()
        let term = log.hardState.term + 1
        let index = log.last + 3
        let last = index + random.below(4)
        let first = index - random.below(3)
        model.begin { logs in
            var next = ModelLog(hardState: log.hardState)
            next.terms = Array(repeating: term, count: Int(last))
            next.mayStartAt = first
            logs[group] = next
        }
        publish(model)
        try store.installSnapshot(
            group: group,
            descriptor: sampleDescriptor(index, term: term),
            state: sampleState(group, index),
            entries: first <= last ? sampleEntries(group, first...last, term: term) : []
        )
        model.synced()
        model.snapshots[group] = index
    }

    private mutating func discard(_ store: Store, _ publish: (CrashModel) -> Void) throws {
        let group = anyGroup()
        guard let log = model.current[group], !log.isDiscarded else { return }
        model.snapshots[group] = nil
        model.begin { logs in
            var kept = log.hardState
            kept.commit = 0
            logs[group] = ModelLog(hardState: kept, isDiscarded: true)
        }
        publish(model)
        try store.discardGroup(group: group)
        model.synced()
    }
}
