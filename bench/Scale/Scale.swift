import ArgumentParser
import Histogram

/// The table of scalability of the test plan that this project began with.
struct Scale: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Fills the scalability table: affinity and none, an overloaded node, one partition and all.",
        discussion: """
            Resumes: all clients of a three-node cluster lose their connections, miss messages, and come back at once, \
            to the node that they were at (sticky) or to the next one (round-robin). Overload: all clients dial one \
            node, which sends those away that it has no room for. Sharded Pub/Sub: as many publishers, to rooms of one \
            partition and to rooms of all. Cases take turns within each round.
            """
    )

    @Option(help: "Clients that resume, and that dial one node.")
    var clients = 300
    @Option(help: "Rooms of those clients.")
    var rooms = 30
    @Option(help: "Messages that each room gets while its clients are away.")
    var missed = 50
    @Option(help: "Publishers to partitions.")
    var publishers = 24
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Seconds of a round with publishes.")
    var seconds = 2.0
    @Option(help: "Rounds of each case.")
    var rounds = 5
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (3...10_000).contains(clients), (1...1000).contains(rooms), rooms <= clients,
            (1...1000).contains(missed), (1...1000).contains(publishers), (1...60_000).contains(size), seconds > 0,
            rounds > 0
        else { throw ValidationError("a number is out of range") }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let binary = try servers.findVencejo()
        let cluster = try VencejoCluster(name: "scale", nodeCount: 3, binary: binary, workspace: workspace)
        // Together they have room for all, the first alone for less than half.
        let small = try VencejoCluster(name: "small", nodeCount: 3, binary: binary, workspace: workspace) { file in
            file.maxConnections = clients
            file.redirectAbove = 0.4
        }
        var results = ScaleResults()
        var progress = Progress()
        let loadBefore = loadAverage()
        for round in 0..<rounds {
            progress.show("round \(round + 1)", Double(round) / Double(rounds))
            // Who begins a round changes.
            for isSticky in round % 2 == 0 ? [true, false] : [false, true] {
                let load = ResumeStorm.Load(
                    clients: clients,
                    rooms: rooms,
                    missed: missed,
                    size: size,
                    isSticky: isSticky
                )
                let name = "resume-\(round)-\(isSticky ? "sticky" : "anywhere")"
                let storm = try ResumeStorm(deployment: Deployment(cluster), name: name, load: load).run()
                if isSticky { results.sticky.append(storm) } else { results.anywhere.append(storm) }
            }
            for isSharded in round % 2 == 0 ? [true, false] : [false, true] {
                var load = GuaranteedRound.Load()
                load.publishers = publishers
                load.size = size
                load.seconds = seconds
                // A tag in braces is what is hashed: all of those rooms are in one partition.
                let name = isSharded ? "shards-\(round)" : "{shard-\(round)}"
                let result = try GuaranteedRound(deployment: Deployment(cluster), name: name, load: load).run()
                if isSharded { results.sharded.append(result) } else { results.single.append(result) }
            }
            let load = OverloadRound.Load(clients: clients, rooms: rooms, size: size, seconds: seconds)
            results.overload.append(
                try OverloadRound(deployment: Deployment(small), name: "overload-\(round)", load: load).run()
            )
        }
        progress.finish()
        if let status = AdminPort.get("/status", cluster.file.nodes[0])?.body {
            let owners = (0..<rooms).map { room in
                AdminPort.owner(
                    of: "resume-0-sticky-\(room)",
                    status: status,
                    nodes: cluster.file.nodes.map(\.id),
                    partitions: cluster.file.partitions
                )
            }
            results.owners = cluster.file.nodes.indices.map { node in owners.count { $0 == node } }
        }
        let summary = ScaleSummary(results: results, scale: self)
        var report = BenchmarkReport(
            benchmark: "scale",
            machine: describeMachine(),
            parameters: [
                .init(name: "clients", value: "\(clients)"), .init(name: "rooms", value: "\(rooms)"),
                .init(name: "missed", value: "\(missed)"), .init(name: "publishers", value: "\(publishers)"),
                .init(name: "size", value: "\(size)"), .init(name: "rounds", value: "\(rounds)"),
                .init(name: "load average before", value: loadBefore),
                .init(name: "after", value: loadAverage()),
            ],
            measurements: summary.measurements,
            details: [.scalability(summary.measurements), summary.affinity]
        )
        report.breaches = summary.breaches
        try output.finish(report, limits.thresholds)
    }
}

/// What the rounds brought.
struct ScaleResults {
    var sticky: [ResumeStorm.Result] = []
    var anywhere: [ResumeStorm.Result] = []
    var overload: [OverloadRound.Result] = []
    var sharded: [GuaranteedRound.Result] = []
    var single: [GuaranteedRound.Result] = []
    /// Of the sticky clients' rooms, by the node that owns them.
    var owners: [Int] = []
}

/// The rounds as lines of the table: medians of rates, latencies of all rounds together, sums of counts.
struct ScaleSummary {
    var measurements: [Measurement] = []
    var affinity: BenchmarkReport.Detail
    var breaches: [String] = []

    init(results: ScaleResults, scale: Scale) {
        let owners = results.owners.map(String.init).joined(separator: "/")
        var sticky = ScaleSummary.resumes("sticky + consistent hash", results.sticky, scale)
        sticky.remarks += ", rooms by owner \(owners)"
        let anywhere = ScaleSummary.resumes("no affinity, round-robin", results.anywhere, scale)
        measurements = [
            sticky, anywhere, ScaleSummary.redistribution(results.overload, scale),
            ScaleSummary.partitions("all partitions", results.sharded, scale),
            ScaleSummary.partitions("one partition", results.single, scale),
            .notRun(scenario: "multi-region", target: "standby region", because: "not built"),
        ]
        for (line, rounds) in [(sticky, results.sticky), (anywhere, results.anywhere)] {
            let missing = rounds.reduce(0) { $0 + scale.clients - $1.recovered }
            if missing > 0 { breaches.append("\(line.target): \(missing) clients did not come back") }
        }
        let figures: [(name: String, value: (Measurement) -> Double?)] = [
            ("clients back/s", { line in line.rate.map { $0 / Double(scale.missed) } }),
            ("mean ms", { $0.latency?.mean }), ("p50 ms", { $0.latency?.p50 }), ("p95 ms", { $0.latency?.p95 }),
            ("p99 ms", { $0.latency?.p99 }), ("CPU us/client", { $0.cpuMicroseconds }),
            ("lost", { $0.delivery.map { Double($0.lost) } }),
            ("duplicated", { $0.delivery.map { Double($0.duplicated) } }),
            ("reordered", { $0.delivery.map { Double($0.reordered) } }),
        ]
        affinity = BenchmarkReport.Detail(
            title: "Resume at another node against resume at the same",
            columns: ["figure", "same node", "next node", "next / same"],
            rows: figures.map { name, value in
                let (same, next) = (value(sticky) ?? 0, value(anywhere) ?? 0)
                return [name, format(same), format(next), same > 0 ? format(next / same) : ""]
            }
        )
    }

    /// Messages a second are those that the clients had missed.
    private static func resumes(_ target: String, _ rounds: [ResumeStorm.Result], _ scale: Scale) -> Measurement {
        var line = Measurement(scenario: "resume", target: target)
        line.connections = scale.clients
        line.rounds = rounds.count
        line.rate = median(rounds.map { Double($0.recovered * scale.missed) / $0.seconds })
        line.cpuMicroseconds = median(rounds.map { $0.cpuMicroseconds / Double(max(1, $0.recovered)) })
        line.latency = latency(rounds.map(\.latency))
        line.delivery = sum(rounds.map(\.delivery))
        line.attempted = UInt64(rounds.count * scale.clients)
        line.failed = UInt64(rounds.reduce(0) { $0 + scale.clients - $1.recovered })
        line.remarks = "until all \(scale.missed) missed messages are there"
        let retries = rounds.map(\.retries).reduce(0, +)
        if retries > 0 { line.remarks += ", \(retries) retries" }
        return line
    }

    private static func redistribution(_ rounds: [OverloadRound.Result], _ scale: Scale) -> Measurement {
        var line = Measurement(scenario: "overload redistribution", target: "one node dialled by all")
        line.connections = scale.clients
        line.rounds = rounds.count
        line.rate = median(rounds.map(\.rate))
        line.cpuMicroseconds = median(rounds.map(\.cpuPerDelivery))
        line.latency = latency(rounds.map(\.latency))
        line.delivery = sum(rounds.map(\.delivery))
        let spread = rounds.last?.clients.map(String.init).joined(separator: "/") ?? ""
        line.remarks =
            "clients by node \(spread), all subscribed after \(format(median(rounds.map(\.seconds)) ?? 0)) s, "
            + "\(rounds.map(\.redirected).reduce(0, +)) sent on in all rounds"
        return line
    }

    private static func partitions(
        _ target: String,
        _ rounds: [GuaranteedRound.Result],
        _ scale: Scale
    ) -> Measurement {
        let load = GuaranteedRound.Load(publishers: scale.publishers)
        var line = Measurement(scenario: "sharded Pub/Sub", target: target)
        line.connections = load.publishers + load.rooms * load.subscribersPerRoom
        line.rounds = rounds.count
        line.rate = median(rounds.map(\.acknowledgedRate))
        line.cpuMicroseconds = median(rounds.map(\.cpuPerPublish))
        line.latency = latency(rounds.map(\.arrival))
        line.delivery = sum(rounds.map(\.delivery))
        line.attempted = rounds.reduce(0) { $0 + $1.acknowledged + $1.refused }
        line.failed = rounds.reduce(0) { $0 + $1.refused }
        line.remarks = "acknowledged publishes; latency from the write to each subscriber's read"
        return line
    }

    private static func latency(_ rounds: [Histogram<UInt64>]) -> LatencySummary {
        var all = LatencySummary.makeHistogram()
        for round in rounds { all.add(round) }
        return LatencySummary(all)
    }

    private static func sum(_ rounds: [DeliveryCounts]) -> DeliveryCounts {
        rounds.reduce(into: DeliveryCounts()) { $0 += $1 }
    }
}
