import Foundation
import OwnThread
import SimulationKit
import Testing

/// The whole cluster under faults, each run determined by its seed. `VENCEJO_SEED` runs one seed only,
/// `VENCEJO_SIMULATION_SEEDS` sets how many.
@Suite("Simulation", .serialized, .ownThread(nice: 15))
struct SimulationTests {
    /// Runs seeds on two threads.
    static func run(_ seeds: [UInt64], _ options: SimulationOptions) async -> [SimulationResult] {
        await withTaskGroup(of: SimulationResult.self) { group in
            var results: [SimulationResult] = []
            var rest = seeds[...]
            for seed in rest.prefix(2) { group.addTask { Simulation(seed: seed, options: options).run() } }
            rest = rest.dropFirst(2)
            while let result = await group.next() {
                results.append(result)
                if let seed = rest.popFirst() { group.addTask { Simulation(seed: seed, options: options).run() } }
            }
            return results.sorted { $0.seed < $1.seed }
        }
    }

    static func seeds(_ count: Int) -> [UInt64] {
        let environment = ProcessInfo.processInfo.environment
        if let one = environment["VENCEJO_SEED"].flatMap({ UInt64($0) }) { return [one] }
        let wanted = environment["VENCEJO_SIMULATION_SEEDS"].flatMap { Int($0) } ?? count
        return (0..<UInt64(wanted)).map { $0 }
    }

    @Test("DL-02 DL-06 DL-11 DL-14 CL-06 CL-07 CL-09 no seed of faults loses, doubles, reorders or hides a message")
    func safety() async {
        let seeds = SimulationTests.seeds(200)
        var seen = SometimesCounts()
        var acknowledged = 0
        for result in await SimulationTests.run(seeds, SimulationOptions()) {
            #expect(result.isGood, "\(result.report)")
            seen.merge(result.sometimes)
            acknowledged += result.acknowledged
        }
        guard seeds.count >= 200 else { return }
        // The runs must have met what they are there for.
        #expect(acknowledged > 100 * seeds.count)
        for event in seen.missing { Issue.record("never in \(seeds.count) seeds: \(event.rawValue)") }
    }

    @Test("CL-01 CL-06 CL-09 DL-14 a core with a quorum goes on, and ends its changes, while all the rest stays broken")
    func liveness() async {
        let seeds = SimulationTests.seeds(35)
        var seen = SometimesCounts()
        var (abandoned, changing) = (0, 0)
        for result in await SimulationTests.run(seeds, SimulationOptions(isLiveness: true)) {
            #expect(result.isGood, "\(result.report)")
            seen.merge(result.sometimes)
            abandoned += result.abandoned
            if result.wasChanging { changing += 1 }
        }
        guard seeds.count >= 35 else { return }
        #expect(abandoned > seeds.count / 2 && changing > seeds.count / 4)
        for event in [Sometimes.nodeJoined, .replaced, .replicaAdded, .replicaRemoved] {
            #expect(seen[event] > 0, "never in \(seeds.count) seeds: \(event.rawValue)")
        }
    }

    @Test("a bug that is planted is found", arguments: PlantedBug.allCases)
    func planted(bug: PlantedBug) async {
        let limit: UInt64 = 80
        var from: UInt64 = 0
        while from < limit {
            let results = await SimulationTests.run(Array(from..<(from + 4)), SimulationOptions(planted: bug))
            if results.contains(where: { !$0.isGood }) { return }
            from += 4
        }
        Issue.record("\(bug.rawValue) was not found in \(limit) seeds")
    }

    @Test("a seed runs alike twice, to the last bit")
    func determinism() async {
        for options in [SimulationOptions(), SimulationOptions(isLiveness: true)] {
            let seeds: [UInt64] = [3, 10, 27, 64]
            let first = await SimulationTests.run(seeds, options)
            let second = await SimulationTests.run(seeds, options)
            for (a, b) in zip(first, second) {
                #expect(a.traceHash == b.traceHash, "seed \(a.seed)")
                #expect(a.events == b.events)
                #expect(a.events > 1000)
            }
        }
    }

    @Test("different seeds are different runs")
    func variety() async {
        let results = await SimulationTests.run([1, 2, 3, 4], SimulationOptions())
        #expect(Set(results.map(\.traceHash)).count == 4)
        #expect(Set(results.map(\.shape)).count == 4)
    }
}
