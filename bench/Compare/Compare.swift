import ArgumentParser

/// Cluster mode, Redis mode and Redis itself, side by side.
struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Puts cluster mode, redis mode and redis-server side by side under the same loads.",
        discussion: """
            Cluster mode: three nodes. Redis mode: three nodes with backplane = "redis" over a master, a replica and \
            three Sentinels, appendonly, wait_replicas = 1; a second replica joins before failovers. redis: one \
            redis-server's Pub/Sub. All run at the same time; the one under load alternates.
            """
    )

    @Flag(help: "Less of everything: two to three minutes.")
    var quick = false
    @Option(help: "Workloads separated by commas: \(CompareWorkload.allCases.map(\.rawValue).joined(separator: ", ")).")
    var workloads = CompareWorkload.allCases.map(\.rawValue).joined(separator: ",")
    @Option(help: "Rounds of each load.")
    var rounds: Int?
    @Option(help: "Seconds of a round.")
    var seconds: Double?
    @Option(help: "Subscribers of the fan-out.")
    var subscribers: Int?
    @Option(help: "Publishing connections of the guaranteed load, each with 48 publishes without an answer.")
    var publishers: Int?
    @Option(help: "Clients of the resume storm.")
    var clients: Int?
    @Option(help: "Owners killed.")
    var kills: Int?
    @Option(help: "Redis masters killed.")
    var redisKills: Int?
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(
        help: "When redis mode's Redis syncs: everysec, its default, or always, as cluster mode does before it answers."
    )
    var redisFsync = RedisFsync.everysec
    @Flag(help: "In the resume storm clients return to the node that they were at; otherwise to the next one.")
    var sticky = false
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        let size = amount
        guard (1...100).contains(size.rounds), (0.1...3600).contains(size.seconds),
            (1...19_000).contains(size.subscribers), (1...1000).contains(size.publishers),
            (1...19_000).contains(size.storm.clients),
            (0...1000).contains(size.kills), (0...100).contains(size.redisKills), (1...60_000).contains(self.size)
        else { throw ValidationError("a number is out of range") }
        _ = try chosenWorkloads()
    }

    private var amount: CompareSize {
        var amount = quick ? CompareSize.quick : .full
        if let rounds { (amount.rounds, amount.guaranteedRounds, amount.stormRounds) = (rounds, rounds, rounds) }
        if let seconds { amount.seconds = seconds }
        if let subscribers { amount.subscribers = subscribers }
        if let publishers { amount.publishers = publishers }
        if let clients { amount.storm.clients = clients }
        if let kills { amount.kills = kills }
        if let redisKills { amount.redisKills = redisKills }
        return amount
    }

    private func chosenWorkloads() throws -> [CompareWorkload] {
        try workloads.split(separator: ",").map {
            guard let workload = CompareWorkload(rawValue: String($0)) else {
                throw ValidationError("no workload named \($0)")
            }
            return workload
        }
    }

    func run() throws {
        let begin = Clock.now()
        let workspace = try servers.makeWorkspace()
        let workloads = try chosenWorkloads()
        let vencejo = try servers.findVencejo()
        let redis = servers.redisIsMissing == nil ? findExecutable(servers.redisServer) : nil
        let scene = try CompareScene(vencejo: vencejo, redis: redis, fsync: redisFsync, workspace: workspace)
        let targets = CompareTarget.allCases.filter { redis != nil || !$0.needsRedis }
        let schedule = CompareSchedule(workloads: workloads, targets: targets, size: amount)
        var results = CompareResults()
        var progress = Progress()
        for (index, step) in schedule.steps.enumerated() {
            progress.show(
                "\(step.workload.rawValue): \(step.target.label), round \(step.round + 1)",
                Double(index) / Double(schedule.steps.count)
            )
            // One that has failed is not asked again: the others still have figures to give.
            guard results.failure(step.workload, step.target) == nil else { continue }
            do {
                try scene.run(step, amount, messageSize: size, isSticky: sticky, into: &results)
            } catch let error as BenchError {
                results.fail(step.workload, step.target, error.description)
            }
        }
        progress.finish()

        let summary = CompareSummary(
            results: results,
            workloads: workloads,
            amount: amount,
            missing: servers.redisIsMissing,
            peers: ComparePeer.absent()
        )
        var report = BenchmarkReport(
            benchmark: "compare",
            machine: describeMachine(),
            parameters: [
                .init(name: "size", value: "\(size)"), .init(name: "subscribers", value: "\(amount.subscribers)"),
                .init(name: "publishers", value: "\(amount.publishers)"),
                .init(name: "clients", value: "\(amount.storm.clients)"),
                .init(name: "rounds", value: "\(amount.rounds)"), .init(name: "seconds", value: format(amount.seconds)),
                .init(name: "sticky", value: "\(sticky)"),
                .init(name: "redis", value: redis.map(redisVersion) ?? "none"),
                .init(name: "redis fsync", value: redisFsync.rawValue),
                .init(name: "load average", value: loadAverage()),
                .init(name: "took", value: "\(Int(Double(Clock.now() - begin) / 1e9))s"),
            ],
            measurements: summary.measurements,
            goals: Goal.comparing(summary.measurements),
            timelines: summary.timelines
        )
        report.details =
            [.sideBySide(report.measurements)]
            + BenchmarkReport.Detail.templates(report.measurements) + summary.details
        report.breaches = summary.breaches
        report.breaches += report.goals.filter { $0.isMet == false }.map { "\($0.name): \($0.required); \($0.remarks)" }
        try output.finish(report, limits.thresholds)
    }
}

/// Servers of other makers that a comparison would like to show.
enum ComparePeer {
    /// Each with the reason why there are no figures.
    static func absent() -> [(name: String, reason: String)] {
        [("nats", "nats-server"), ("nchan", "nginx")].map { name, program in
            let isThere = findExecutable(program) != nil
            return (name, isThere ? "bench has no client for \(program) yet" : "no \(program) found")
        }
    }
}

extension RedisFsync: ExpressibleByArgument {}
