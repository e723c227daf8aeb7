import ArgumentParser
import HistoryChecker

/// Quorum publishes, and the proof that what was acknowledged is kept.
struct Publish: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Publishes to guaranteed rooms, then reads everything back and checks it.",
        discussion: "Each connection keeps a window of publishes in flight; connections are spread over the nodes."
    )

    @Option(help: "Publishing connections.")
    var connections = 4
    @Option(help: "Publishes in flight on each connection.")
    var window = 64
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Nodes of the cluster.")
    var nodes = 3
    @Option(help: "Rooms that are published to in turn.")
    var rooms = 64
    @Option(help: "Seconds of load, after one second of warm-up.")
    var seconds = 5.0
    @Option(help: "Write the history that was checked to a file.")
    var history: String?
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (1...1024).contains(connections), (1...1024).contains(window), (1...60_000).contains(size),
            (1...9).contains(nodes), (1...65_536).contains(rooms), seconds > 0
        else { throw ValidationError("a number is out of range") }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let cluster = try VencejoCluster(
            name: "publish",
            nodeCount: nodes,
            binary: try servers.findVencejo(),
            workspace: workspace
        )
        let load = PublishLoad(
            cluster: cluster,
            connections: connections,
            window: window,
            size: size,
            rooms: (0..<rooms).map { "publish-\($0)" }
        )
        var line = try load.run(seconds: seconds)
        let logs = try ReadBack(cluster: cluster).read(load.roomNumbers, epochs: &load.history.epochs)
        let checked = HistoryChecker.check(load.history, finalLogs: logs)
        line.delivery = DeliveryCounts(checked)
        line.remarks += ", \(checked.statistics.acknowledged) acknowledged read back from \(nodes) nodes"
        if let path = history { try writeHistory(load.history, to: path) }
        var report = BenchmarkReport(
            benchmark: "publish",
            machine: describeMachine(),
            parameters: [
                .init(name: "nodes", value: "\(nodes)"), .init(name: "rooms", value: "\(rooms)"),
                .init(name: "window", value: "\(window)"), .init(name: "size", value: "\(size)"),
            ],
            measurements: [line]
        )
        report.breaches = breaches(of: checked)
        try output.finish(report, limits.thresholds)
    }
}
