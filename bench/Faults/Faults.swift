import ArgumentParser
import Foundation

/// Faults of processes, wires and disks, under load.
struct Faults: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a matrix of faults on nodes in network namespaces, and checks what the clients got.",
        discussion: """
            Each node runs in a network namespace of its own; a bridge joins them. Every room has publishers at two \
            nodes, which send on schedule whether or not they are answered, and a resuming subscriber at every node; \
            all of them stay with their node. A silence is what clients at healthy nodes notice of a fault. Cells are \
            \(FaultCell.names); victims are \
            \(FaultVictim.names). Needs Linux, root, ip and, to drop \
            packets, nft. Namespaces, mounts and processes are gone when this program is, however it ends.
            """
    )

    @Option(help: "Cells separated by commas; all by default.")
    var cells = FaultCell.allCases.map(\.rawValue).joined(separator: ",")
    @Option(help: "Victims separated by commas; all by default.")
    var victims = FaultVictim.choices.map(\.rawValue).joined(separator: ",")
    @Option(help: "Nodes of the cluster.")
    var nodes = 5
    @Option(help: "Rounds of each cell and victim.")
    var rounds: Int?
    @Option(name: .customLong("interval-ms"), help: "Milliseconds between two bursts of a publisher.")
    var interval: Double?
    @Option(help: "Messages of a burst.")
    var burst: UInt64 = 2
    @Option(help: "Bytes of a message.")
    var size = 128
    @Flag(help: "One round, and faults of half the length.")
    var quick = false
    @Option(help: .hidden)
    var inside: String?
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        let size = amount
        guard (3...9).contains(nodes), (1...1000).contains(size.rounds), (1...1000).contains(size.interval),
            (1...32).contains(burst), (1...60_000).contains(self.size)
        else { throw ValidationError("a number is out of range") }
        _ = try chosen()
    }

    private var amount: FaultMatrix.Size {
        var amount = FaultMatrix.Size(interval: interval ?? 20, burst: burst, size: size)
        if quick { (amount.rounds, amount.pace) = (1, 0.5) }
        if let rounds { amount.rounds = rounds }
        return amount
    }

    private func chosen() throws -> (cells: [FaultCell], victims: [FaultVictim]) {
        let cells = try self.cells.split(separator: ",").map {
            guard let cell = FaultCell(rawValue: String($0)) else { throw ValidationError("no cell named \($0)") }
            return cell
        }
        let victims = try self.victims.split(separator: ",").map {
            guard let victim = FaultVictim(rawValue: String($0)), victim != .newcomer else {
                throw ValidationError("no victim named \($0)")
            }
            return victim
        }
        return (cells, victims)
    }

    func run() throws {
        guard let inside else { throw ExitCode(try NamespaceSupervisor(keep: servers.keep).run()) }
        let begin = Clock.now()
        ChildProcesses.installCleanUp()
        let workspace = try Workspace(existing: inside)
        let (cells, victims) = try chosen()
        let binary = try servers.findVencejo()
        let scene = try FaultScene(
            nodeCount: nodes,
            hasNewcomer: cells.contains(.join),
            hasDisks: cells.contains { $0.needsDisks && $0.isMissing == nil },
            binary: binary,
            workspace: workspace
        )
        let matrix = FaultMatrix(scene: scene, size: amount)
        let outcomes = matrix.run(cells, victims)
        let summary = FaultSummary(outcomes: outcomes, logs: matrix.compareLogs(binary: binary))
        var report = BenchmarkReport(
            benchmark: "faults",
            machine: describeMachine(),
            parameters: [
                .init(name: "nodes", value: "\(nodes)"), .init(name: "rounds", value: "\(amount.rounds)"),
                .init(name: "interval", value: "\(format(amount.interval))ms"),
                .init(name: "burst", value: "\(burst)"), .init(name: "size", value: "\(size)"),
                .init(name: "length of faults", value: format(amount.pace)),
                .init(name: "load average", value: loadAverage()),
                .init(name: "took", value: "\(Int(Double(Clock.now() - begin) / 1e9))s"),
            ],
            measurements: summary.measurements,
            goals: summary.goals
        )
        report.details = summary.details
        report.breaches = summary.breaches
        report.breaches += report.goals.filter { $0.isMet == false }.map {
            "target missed: \($0.name): \($0.required); it was \($0.measured.map(format) ?? "")"
        }
        try output.finish(report, limits.thresholds)
    }
}
