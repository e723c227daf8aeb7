import ArgumentParser
import Primitives
import SimulationKit

@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the whole cluster in a deterministic simulation, one seed after another.",
        discussion: "Ends with status 1 at the first seed that breaks a promise, and prints how to see it again."
    )

    @Option(help: "How many seeds to run.")
    var seeds: UInt64 = 1000

    @Option(help: "The first seed.")
    var from: UInt64 = 0

    @Option(help: "Run this one seed only.")
    var seed: UInt64?

    @Flag(help: "Print every event.")
    var trace = false

    @Flag(help: "Faults end only in a core of the nodes.")
    var liveness = false

    @Option(help: "Plant a bug: \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")).")
    var plant: String?

    @Flag(help: "Go on after a failure.")
    var keepGoing = false

    @Flag(help: "Print each seed before it runs.")
    var verbose = false

    @Flag(help: "Run every seed twice and compare.")
    var twice = false

    func validate() throws {
        if let plant, PlantedBug(rawValue: plant) == nil { throw ValidationError("no such bug: \(plant)") }
    }

    func run() throws {
        let options = SimulationOptions(
            isLiveness: liveness,
            planted: plant.flatMap { PlantedBug(rawValue: $0) },
            isTraced: trace
        )
        if let seed {
            let result = Simulation(seed: seed, options: options).run()
            for line in result.trace { print(line) }
            print(summary(result))
            if !result.isGood { throw ExitCode(1) }
            return
        }
        var total = SometimesCounts()
        var failed = 0
        var virtual: UInt64 = 0
        var events: UInt64 = 0
        var acknowledged = 0
        var abandoned = 0
        var changing = 0
        for seed in from..<(from + seeds) {
            if verbose { print("seed \(seed)") }
            let result = Simulation(seed: seed, options: options).run()
            total.merge(result.sometimes)
            virtual += result.virtualTime.milliseconds
            events += result.events
            acknowledged += result.acknowledged
            abandoned += result.abandoned
            if result.wasChanging { changing += 1 }
            if twice, Simulation(seed: seed, options: options).run().traceHash != result.traceHash {
                print("seed \(seed) is not deterministic")
                throw ExitCode(1)
            }
            if !result.isGood {
                failed += 1
                print(result.report)
                if !keepGoing { throw ExitCode(1) }
            }
        }
        print(
            "\(seeds) seeds, \(failed) failed, \(virtual / 1000) virtual seconds, \(events) events, "
                + "\(acknowledged) acknowledged publishes"
        )
        if liveness { print("  nodes left broken: \(abandoned), with changes of members under way: \(changing)") }
        for event in Sometimes.allCases { print("  \(event.rawValue): \(total[event])") }
        if failed > 0 { throw ExitCode(1) }
    }

    private func summary(_ result: SimulationResult) -> String {
        let verdict = result.isGood ? "good" : result.report
        return """
            seed \(result.seed): \(result.shape)
            \(result.virtualTime.seconds) virtual seconds, \(result.events) events, \(result.records) records, \
            \(result.acknowledged) acknowledged publishes, trace \(String(result.traceHash, radix: 16))
            \(verdict)
            """
    }
}
