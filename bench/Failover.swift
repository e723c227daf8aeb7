import ArgumentParser
import Histogram
import HistoryChecker
import Primitives

/// kill -9, again and again, under load.
struct Failover: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Kills owners under open-loop load; reports silences and checks that nothing acknowledged is lost.",
        discussion: """
            Every room has a publisher that sends on schedule whether or not it is answered, repeats what was not \
            answered with the same idempotency key, and moves to another node when its own is gone; and a subscriber \
            that resumes. A silence is the time between two acknowledgements of a room.
            """
    )

    @Option(help: "Nodes of the cluster.")
    var nodes = 3
    @Option(help: "How often a node is killed.")
    var kills = 10
    @Option(help: "Rooms, each with a publisher and a subscriber.")
    var rooms = 32
    @Option(name: .customLong("interval-ms"), help: "Milliseconds between two messages of a room.")
    var interval = 10.0
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Seconds of calm before each kill.")
    var settle = 2.0
    @Option(help: "Seconds between a kill and the restart.")
    var restartAfter = 2.0
    @Option(help: "Write the history that was checked to a file.")
    var history: String?
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (2...9).contains(nodes), (1...10_000).contains(kills), (1...5000).contains(rooms), interval >= 0.1,
            (1...60_000).contains(size), settle >= 0, restartAfter >= 0
        else { throw ValidationError("a number is out of range") }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let cluster = try VencejoCluster(
            name: "failover",
            nodeCount: nodes,
            binary: try servers.findVencejo(),
            workspace: workspace
        )
        let load = try FailoverLoad(cluster: cluster, roomCount: rooms, interval: UInt64(interval * 1e6), size: size)
        let faults = try FailoverSchedule(
            kills: kills,
            settle: settle,
            restartAfter: restartAfter
        ).run(load, cluster)
        try load.drain()

        var history = load.history()
        for fault in faults {
            history.records.append(
                HistoryRecord(
                    invoked: fault.killed,
                    returned: fault.ready ?? .distantFuture,
                    process: UInt32(fault.node + 1),
                    kind: .fault,
                    message: 1
                )
            )
        }
        if let path = self.history { try writeHistory(history, to: path) }
        let logs = try ReadBack(cluster: cluster).read(load.roomNumbers, epochs: &history.epochs)
        var options = CheckOptions()
        options.sessionsReadToEnd = true
        // Retention is switched off in the generated configuration, so no gap has an excuse.
        options.gapPolicy = .belowFloor
        let checked = HistoryChecker.check(history, finalLogs: logs, options: options)
        try output.finish(report(load, faults, history, checked), limits.thresholds)
    }

    private func report(
        _ load: FailoverLoad,
        _ faults: [FailoverSchedule.Fault],
        _ history: History,
        _ checked: CheckReport
    ) -> BenchmarkReport {
        var rows: [[String]] = []
        var everySilence = LatencySummary.makeHistogram()
        var worst = 0.0
        for (index, fault) in faults.enumerated() {
            let end = index + 1 < faults.count ? faults[index + 1].killed : Instant.distantFuture
            let silences = HistoryChecker.longestSilences(of: history, window: fault.killed..<end)
            let lengths = silences.map { Double($0.length.nanoseconds) / 1e6 }
            for silence in silences { everySilence.record(max(1000, silence.length.nanoseconds)) }
            worst = max(worst, lengths.max() ?? 0)
            let acknowledged = history.records.filter {
                $0.kind == .publish && $0.outcome == .ok && $0.returned >= fault.killed && $0.returned < end
            }
            rows.append([
                "\(index + 1)", "n\(fault.node + 1)", fault.wasOwner ? "owner" : "rotation",
                format(lengths.max() ?? 0), format(median(lengths) ?? 0),
                "\(lengths.filter { $0 > 100 }.count)", "\(acknowledged.count)",
                fault.ready.map { format(($0 - fault.restarted).seconds) } ?? "never",
            ])
        }
        var line = Measurement(scenario: "kill -9 of an owner", target: "vencejo, \(nodes) nodes")
        line.connections = 2 * rooms
        line.rounds = faults.count
        line.attempted = UInt64(load.publishCount)
        line.failed = UInt64(load.publishCount - checked.statistics.acknowledged)
        line.latency = LatencySummary(load.latency)
        line.silenceMilliseconds = worst
        line.delivery = DeliveryCounts(checked)
        line.remarks =
            "latency from the due time, \(load.repeats) repeats, \(load.reconnects) reconnects, "
            + "\(checked.statistics.received) received, \(checked.statistics.declaredGaps) gaps declared"
        let summary = LatencySummary(everySilence)
        var report = BenchmarkReport(
            benchmark: "failover",
            machine: describeMachine(),
            parameters: [
                .init(name: "nodes", value: "\(nodes)"), .init(name: "rooms", value: "\(rooms)"),
                .init(name: "interval", value: "\(format(interval))ms"), .init(name: "kills", value: "\(kills)"),
            ],
            measurements: [line],
            details: [
                BenchmarkReport.Detail(
                    title: "Kills",
                    columns: [
                        "kill", "node", "chosen as", "longest silence ms", "median room ms", "rooms over 100 ms",
                        "acknowledged until the next kill", "ready after restart s",
                    ],
                    rows: rows
                ),
                BenchmarkReport.Detail(
                    title: "Longest silence of each room after each kill",
                    columns: ["count", "mean ms", "p50 ms", "p95 ms", "p99 ms", "max ms"],
                    rows: [
                        [
                            "\(summary.count)", format(summary.mean), format(summary.p50), format(summary.p95),
                            format(summary.p99), format(summary.max),
                        ]
                    ]
                ),
            ]
        )
        report.breaches = breaches(of: checked)
        for fault in faults where fault.ready == nil {
            report.breaches.append("node n\(fault.node + 1) did not become ready again")
        }
        return report
    }
}
