import ArgumentParser
import Histogram
import HistoryChecker
import Primitives

/// One node owns all that is busy, until the cluster mends that.
struct Hot: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts all load on one owner of three; compares latency before and after leaderships moved.",
        discussion: """
            The rooms are of partitions that the first node owns. Each has a publisher at every node, which sends on \
            schedule whether or not it is answered, and a resuming subscriber at every node. Nodes may use a part of a \
            core each, as machines of their own could (cgroup v1's cpu controller; without it they have to share). The \
            load is even again when the control leader says so.
            """
    )

    @Option(help: "Rooms with traffic, each of a partition of its own.")
    var rooms = 6
    @Option(name: .customLong("interval-ms"), help: "Milliseconds between two messages of a publisher.")
    var interval = 10.0
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Part of a core that a node may use; 0: no limit.")
    var processor = 0.4
    @Option(help: "Seconds of the measurement when the load is even.")
    var seconds = 15.0
    @Option(help: "Seconds for the load to become even.")
    var patience = 180.0
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    private static let nodes = 3

    func validate() throws {
        guard (2...16).contains(rooms), (0.1...1000).contains(interval), (1...60_000).contains(size),
            processor == 0 || (0.05...1).contains(processor), seconds > 0, patience > 0
        else { throw ValidationError("a number is out of range") }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let cluster = try VencejoCluster(
            name: "hot",
            nodeCount: Self.nodes,
            binary: try servers.findVencejo(),
            workspace: workspace,
            threads: 1
        ) { $0.autoBalance = true }
        let load = try FailoverLoad(
            cluster: cluster,
            layout: try layout(cluster),
            interval: UInt64(interval * 1e6),
            size: size
        )
        let isLimited = processor > 0 && ProcessorShares.isMissing == nil
        let shares = isLimited ? try ProcessorShares(cores: processor, processes: cluster.servers.map(\.pid)) : nil
        defer {
            cluster.stop()
            shares?.remove()
        }
        let watch = LoadWatch(cluster.file.nodes)
        defer { watch.stop() }
        var progress = Progress()
        try load.start()
        let start = Clock.now()
        progress.show("all load at one node", 0.1)
        load.run(seconds: patience) { watch.first("the load is uneven") != nil }
        let uneven = watch.first("the load is uneven") ?? Clock.now()
        progress.show("leaderships move", 0.4)
        load.run(seconds: patience) { watch.first("the load is even") != nil }
        let isEven = watch.first("the load is even") != nil
        let even = Clock.now()
        progress.show("even", 0.8)
        load.run(seconds: seconds) { false }
        let end = Clock.now()
        try load.drain()
        progress.finish()

        var history = load.history()
        let logs = try ReadBack(cluster: cluster).read(load.roomNumbers, epochs: &history.epochs)
        var options = CheckOptions()
        options.sessionsReadToEnd = true
        options.gapPolicy = .belowFloor
        let checked = HistoryChecker.check(history, finalLogs: logs, options: options)

        let before = measurement("all load at one owner", load, start..<uneven)
        var after = measurement("after leaderships moved", load, even..<end)
        after.delivery = DeliveryCounts(checked)
        var report = BenchmarkReport(
            benchmark: "hot",
            machine: describeMachine(),
            parameters: [
                .init(name: "nodes", value: "\(Self.nodes)"), .init(name: "rooms", value: "\(rooms)"),
                .init(name: "interval", value: "\(format(interval))ms"), .init(name: "size", value: "\(size)"),
                .init(
                    name: "processor of a node",
                    value: isLimited ? "\(format(processor)) of a core" : ProcessorShares.isMissing ?? "not limited"
                ),
                .init(name: "load average", value: loadAverage()),
            ],
            measurements: [before, after]
        )
        if let slow = before.latency?.p95, let fast = after.latency?.p95, isEven {
            report.goals = [
                Goal(
                    name: "hot node (CL-16)",
                    required: "p95 after the moves below that before",
                    limit: 1,
                    isMinimum: false,
                    measured: fast / slow,
                    remarks: "p95 \(format(slow)) ms before, \(format(fast)) ms after"
                )
            ]
        }
        report.details = [
            BenchmarkReport.Detail(
                title: "What the nodes said of their load",
                columns: ["after s", "event"],
                rows: watch.events.map { [format(Double($0.at - min(start, $0.at)) / 1e9), $0.text] }
            )
        ]
        report.breaches = breaches(of: checked)
        if !isEven { report.breaches.append("the load did not become even in \(format(patience)) s") }
        report.breaches += report.goals.filter { $0.isMet == false }.map { "\($0.name): \($0.remarks)" }
        try output.finish(report, limits.thresholds)
    }

    /// Rooms of the first node, each of another partition, with clients at all nodes.
    private func layout(_ cluster: VencejoCluster) throws -> LoadLayout {
        // Every partition has to be with its preferred owner first.
        Clock.sleep(milliseconds: 3000)
        let file = cluster.file
        guard let status = AdminPort.get("/status", file.nodes[0])?.body else { throw BenchError("n1 has no status") }
        var names: [String] = []
        var taken: Set<Int> = []
        for number in 0..<10_000 where names.count < rooms {
            let name = "hot-\(number)"
            let partition = AdminPort.partition(of: name, of: file.partitions)
            let owner = AdminPort.owner(
                of: name,
                status: status,
                nodes: file.nodes.map(\.id),
                partitions: file.partitions
            )
            if owner == 0, taken.insert(partition).inserted { names.append(name) }
        }
        guard names.count == rooms else { throw BenchError("the first node owns \(names.count) partitions only") }
        let clients = names.indices.flatMap { room in
            (0..<Self.nodes).map { LoadLayout.Client(room: room, node: $0) }
        }
        return LoadLayout(rooms: names, publishers: clients, subscribers: clients)
    }

    private func measurement(_ scenario: String, _ load: FailoverLoad, _ window: Range<UInt64>) -> Measurement {
        var line = Measurement(scenario: scenario, target: "vencejo, \(Self.nodes) nodes")
        line.connections = load.layout.publishers.count + load.layout.subscribers.count
        let latency = load.latencies(dueIn: window)
        line.latency = latency
        line.attempted = latency.count
        line.rate = Double(latency.count) / (Double(window.upperBound - window.lowerBound) / 1e9)
        line.remarks = "from the due time to the acknowledgement"
        return line
    }
}
