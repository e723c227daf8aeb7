import ArgumentParser
import Histogram

/// One room with subscribers on every node: how long a message takes to each of them.
struct Propagation: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Publishes to a room with subscribers on every node, and reports the latency of each node.",
        discussion: """
            Each round has a new room, so that owners differ, and publishes at the next node, so that no node has an \
            advantage: what is left between the nodes is the spread.
            """
    )

    @Option(help: "Nodes of the cluster.")
    var nodes = 3
    @Option(help: "Subscribers of the room, the same number on every node.")
    var subscribers = 300
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Messages in flight.")
    var inFlight = 1
    @Option(help: "Seconds of a round.")
    var seconds = 2.0
    @Option(help: "Rounds of each delivery class: as often as this does each node publish.")
    var rounds = 2
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (2...9).contains(nodes) else { throw ValidationError("--nodes is 2 to 9") }
        guard (nodes...19_000).contains(subscribers), subscribers % nodes == 0 else {
            throw ValidationError("--subscribers is a multiple of --nodes, at most 19000")
        }
        guard (1...60_000).contains(size), (1...1024).contains(inFlight), rounds > 0, seconds > 0 else {
            throw ValidationError("a number is out of range")
        }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let cluster = try VencejoCluster(
            name: "propagation",
            nodeCount: nodes,
            binary: try servers.findVencejo(),
            workspace: workspace
        )
        var progress = Progress()
        var results: [(label: String, rounds: [FanoutRound.Result])] = [("best effort", []), ("guaranteed", [])]
        for round in 0..<(rounds * nodes) {
            for row in results.indices {
                progress.show(
                    "\(results[row].label), round \(round + 1)",
                    Double(2 * round + row) / Double(2 * rounds * nodes)
                )
                let load = FanoutRound(
                    backend: Deployment(cluster),
                    room: ClusterFile.room("propagation-\(round)", bestEffort: row == 0),
                    subscribers: subscribers,
                    size: size,
                    inFlight: inFlight,
                    messages: nil,
                    seconds: seconds,
                    publisherPort: round % nodes
                )
                results[row].rounds.append(try load.run())
            }
        }
        progress.finish()
        var measurements: [Measurement] = []
        var spreads: [[String]] = []
        for (label, rounds) in results {
            let scenario = "\(label) to \(subscribers) on \(nodes) nodes, \(inFlight) in flight"
            let lines = Self.lines(scenario, rounds, nodes: cluster.file.nodes.map(\.id), subscribers: subscribers)
            measurements += lines
            spreads += Self.spread(scenario, lines)
        }
        let report = BenchmarkReport(
            benchmark: "propagation",
            machine: describeMachine(),
            parameters: [
                .init(name: "nodes", value: "\(nodes)"), .init(name: "subscribers", value: "\(subscribers)"),
                .init(name: "size", value: "\(size)"), .init(name: "rounds", value: "\(rounds * nodes)"),
                .init(name: "load average", value: loadAverage()),
            ],
            measurements: measurements,
            details: [
                BenchmarkReport.Detail(
                    title: "Spread between nodes",
                    columns: ["scenario", "figure", "fastest node ms", "slowest node ms", "slowest / fastest"],
                    rows: spreads
                )
            ]
        )
        try output.finish(report, limits.thresholds)
    }

    /// A line for all nodes together, which counts what was lost, and one for each.
    static func lines(
        _ scenario: String,
        _ rounds: [FanoutRound.Result],
        nodes: [String],
        subscribers: Int
    ) -> [Measurement] {
        let all = Fanout.summary(scenario, "all nodes", subscribers: subscribers, inFlight: 0, rounds)
        var lines = [all]
        lines[0].inFlight = nil
        for (index, node) in nodes.enumerated() {
            var latency = LatencySummary.makeHistogram()
            for round in rounds { latency.add(round.latencies[index]) }
            var line = Measurement(scenario: scenario, target: node)
            line.connections = subscribers / nodes.count
            line.rounds = rounds.count
            line.rate = all.rate.map { $0 / Double(nodes.count) }
            line.latency = LatencySummary(latency)
            lines.append(line)
        }
        return lines
    }

    /// How far the nodes' lines, all but the first, are apart.
    static func spread(_ scenario: String, _ lines: [Measurement]) -> [[String]] {
        let figures: [(name: String, path: KeyPath<LatencySummary, Double>)] = [
            ("p50", \.p50), ("p99", \.p99), ("p99.9", \.p999),
        ]
        return figures.map { name, path in
            let values = lines.dropFirst().compactMap { $0.latency?[keyPath: path] }
            let (least, most) = (values.min() ?? 0, values.max() ?? 0)
            return [scenario, name, format(least), format(most), least > 0 ? format(most / least) : ""]
        }
    }
}
