import DiskSimulation
import Locks
import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Crashes", .ownThread(nice: 5))
struct CrashTests {
    /// A disk as it was before one operation, and what may be found on it.
    struct Boundary: Sendable {
        var operation: Int
        var disk: SimulatedDisk
        var model: CrashModel
    }

    final class Recorder: Sendable {
        let model = Lock(CrashModel())
        let boundaries = Lock<[Boundary]>([])
    }

    /// Every boundary of one workload.
    static func boundaries(seed: UInt64, steps: Int) throws -> [Boundary] {
        let disk = SimulatedDisk()
        let recorder = Recorder()
        disk.beforeOperation = { operation in
            let model = recorder.model.withLock { $0 }
            let boundary = Boundary(operation: operation, disk: disk.fork(), model: model)
            recorder.boundaries.withLock { $0.append(boundary) }
        }
        let (store, _) = try openStore(disk, seed: seed)
        var workload = Workload(seed: seed)
        for _ in 0..<steps {
            try workload.step(store) { model in recorder.model.withLock { $0 = model } }
        }
        return recorder.boundaries.withLock { $0 }
    }

    static func survivals(_ seed: UInt64) -> [SimulatedDisk.Survival] {
        [.nothing, .everything, .prefix(seed: seed), .anySectors(seed: seed)]
    }

    @Test("PS-02 what was synced survives a crash at every write, sync and rename", arguments: [UInt64](1...3))
    func everyBoundary(seed: UInt64) throws {
        for boundary in try CrashTests.boundaries(seed: seed, steps: 80) {
            let number = UInt64(boundary.operation) &* 31 &+ seed
            // Two of the four kinds at each boundary; the neighbours get the others.
            for survival in CrashTests.survivals(number)[boundary.operation % 2 == 0 ? 0..<2 : 2..<4] {
                let label = "seed \(seed), operation \(boundary.operation), \(survival)"
                let disk = boundary.disk.fork()
                disk.crash(keeping: survival)
                try CrashTests.verifyAndGoOn(disk, boundary.model, seed: number, label)
            }
        }
    }

    /// Opens, checks, goes on, and crashes again: a cut tail must stay cut, and what is appended behind it must stay.
    static func verifyAndGoOn(_ disk: SimulatedDisk, _ model: CrashModel, seed: UInt64, _ label: String) throws {
        do {
            let (store, recovery) = try openStore(disk, seed: seed)
            let refusal = try model.refusal(of: recovery, store)
            try #require(refusal == nil, "\(label): \(refusal ?? "")")
            let number: UInt32 = 5
            try store.append([
                LogItem(
                    group: group(number),
                    hardState: HardState(term: 1),
                    entries: sampleEntries(group(number), 1...3)
                )
            ])
            try store.sync()
            try store.append([LogItem(group: group(number), entries: sampleEntries(group(number), 4...6))])
        }
        disk.crash(keeping: .anySectors(seed: seed))
        var next = model
        for version in next.versions.indices {
            next.versions[version][group(5)] = ModelLog(hardState: HardState(term: 1), terms: [1, 1, 1])
        }
        for version in next.versions {
            var version = version
            version[group(5)]?.terms = [1, 1, 1, 1, 1, 1]
            next.versions.append(version)
        }
        let (store, recovery) = try openStore(disk, seed: seed + 1)
        let refusal = try next.refusal(of: recovery, store)
        try #require(refusal == nil, "\(label), second crash: \(refusal ?? "")")
    }

    @Test("a store that crashes again and again keeps every synced entry", arguments: [UInt64](1...4))
    func manyLives(seed: UInt64) throws {
        let disk = SimulatedDisk()
        var workload = Workload(seed: seed)
        for life in 0..<10 {
            let (store, recovery) = try openStore(disk, seed: seed &* 100 &+ UInt64(life))
            let refusal = try workload.model.refusal(of: recovery, store)
            try #require(refusal == nil, "seed \(seed), life \(life): \(refusal ?? "")")
            // Go on from what was found.
            try workload.adopt(recovery, store)
            for _ in 0..<40 { try workload.step(store) { _ in } }
            disk.crash(keeping: CrashTests.survivals(seed &+ UInt64(life))[life % 4])
        }
    }
}

extension Workload {
    /// Continues from the state that a crash left.
    mutating func adopt(_ recovery: Recovery, _ store: Store) throws {
        for version in model.versions.reversed() {
            var only = model
            only.versions = [version]
            if try only.refusal(of: recovery, store) == nil {
                model.versions = [version]
                break
            }
        }
        for (group, replica) in recovery.replicas {
            model.snapshots[group] = replica.snapshot?.index
        }
    }
}
