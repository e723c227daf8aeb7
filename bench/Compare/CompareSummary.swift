import Histogram

/// What the runs of a comparison brought.
struct CompareResults {
    var fanOut: [CompareTarget: [Int: [FanoutRound.Result]]] = [:]
    var guaranteed: [CompareTarget: [GuaranteedRound.Result]] = [:]
    var storms: [CompareTarget: [ResumeStorm.Result]] = [:]
    var failovers: [CompareTarget: [FailoverRound.Result]] = [:]
    private var failures: [(workload: CompareWorkload, target: CompareTarget, reason: String)] = []

    mutating func fail(_ workload: CompareWorkload, _ target: CompareTarget, _ reason: String) {
        failures.append((workload, target, reason))
    }

    /// Why a workload broke off on a target.
    func failure(_ workload: CompareWorkload, _ target: CompareTarget) -> String? {
        failures.first { $0.workload == workload && $0.target == target }?.reason
    }

    var failureLines: [String] { failures.map { "\($0.workload.rawValue), \($0.target.label): \($0.reason)" } }
}

/// The names of the scenarios, by which lines of one scenario find each other.
enum CompareScenario {
    static func fanOut(_ subscribers: Int, _ depth: Int) -> String {
        "best-effort fan-out to \(subscribers), \(depth) in flight"
    }
    static let guaranteed = "guaranteed publish, acknowledged"
    static let guaranteedDelivery = "guaranteed publish, delivered"
    static func storm(_ clients: Int) -> String { "resume storm of \(clients) clients" }
    static let failover = "kill -9 of the owner or master"
}

/// Results turned into lines of a report: medians of rounds, sums of counts.
struct CompareSummary {
    var measurements: [Measurement] = []
    var timelines: [Timeline] = []
    var details: [BenchmarkReport.Detail] = []
    var breaches: [String] = []
    private let results: CompareResults
    private let amount: CompareSize
    private let missing: String?

    /// `missing` says why there is no Redis, `peers` which other servers there might have been.
    init(
        results: CompareResults,
        workloads: [CompareWorkload],
        amount: CompareSize,
        missing: String?,
        peers: [(name: String, reason: String)]
    ) {
        self.results = results
        self.amount = amount
        self.missing = missing
        breaches = results.failureLines
        for workload in CompareWorkload.allCases where workloads.contains(workload) {
            switch workload {
            case .fanOut:
                for depth in amount.inFlight {
                    let scenario = CompareScenario.fanOut(amount.subscribers, depth)
                    measurements += lines(workload, scenario) { fanOut($0, $1, depth) }
                    measurements += peers.map { .notRun(scenario: scenario, target: $0.name, because: $0.reason) }
                }
            case .guaranteed:
                measurements += lines(workload, CompareScenario.guaranteed) { guaranteed($0, $1) }
                measurements += lines(workload, CompareScenario.guaranteedDelivery) { delivered($0, $1) }
            case .resumeStorm:
                measurements += lines(workload, CompareScenario.storm(amount.storm.clients)) { storm($0, $1) }
            case .failover:
                measurements += lines(workload, CompareScenario.failover) { failover($0, $1) }
                describeKills()
            }
        }
        compareToRedis(&measurements)
    }

    /// One line for each target, whether there are figures or not.
    private func lines(
        _ workload: CompareWorkload,
        _ scenario: String,
        _ line: (String, CompareTarget) -> Measurement?
    ) -> [Measurement] {
        CompareTarget.allCases.map { target in
            // Redis itself is hit by the same kills as Redis mode.
            let source = workload == .failover && target == .redis ? .redisMode : target
            let reason =
                workload.isImpossible(target) ?? (target.needsRedis ? missing : nil)
                ?? results.failure(workload, source)
            if reason == nil, let made = line(scenario, target) { return made }
            return .notRun(scenario: scenario, target: target.label, because: reason ?? "no round of it")
        }
    }

    private func fanOut(_ scenario: String, _ target: CompareTarget, _ depth: Int) -> Measurement? {
        guard let rounds = results.fanOut[target]?[depth], !rounds.isEmpty else { return nil }
        return Fanout.summary(
            scenario,
            target.label,
            subscribers: amount.subscribers,
            inFlight: depth,
            rounds
        )
    }

    private func guaranteed(_ scenario: String, _ target: CompareTarget) -> Measurement? {
        guard let rounds = results.guaranteed[target], !rounds.isEmpty else { return nil }
        let load = GuaranteedRound.Load(publishers: amount.publishers)
        var line = Measurement(scenario: scenario, target: target.label)
        line.connections = load.publishers + load.rooms * load.subscribersPerRoom
        line.inFlight = load.publishers * load.window
        line.rounds = rounds.count
        line.rate = median(rounds.map(\.acknowledgedRate))
        line.cpuMicroseconds = median(rounds.map(\.cpuPerPublish))
        var latency = LatencySummary.makeHistogram()
        for round in rounds { latency.add(round.acknowledgement) }
        line.latency = LatencySummary(latency)
        line.attempted = rounds.map { $0.acknowledged + $0.refused }.reduce(0, +)
        line.failed = rounds.map(\.refused).reduce(0, +)
        line.remarks =
            "op: acknowledged publish; " + spread(rounds.map(\.acknowledgedRate))
            + generator(rounds.map(\.generatorCPU))
        return line
    }

    private func delivered(_ scenario: String, _ target: CompareTarget) -> Measurement? {
        guard let rounds = results.guaranteed[target], !rounds.isEmpty else { return nil }
        let load = GuaranteedRound.Load(publishers: amount.publishers)
        var line = Measurement(scenario: scenario, target: target.label)
        line.connections = load.publishers + load.rooms * load.subscribersPerRoom
        line.inFlight = load.publishers * load.window
        line.rounds = rounds.count
        line.rate = median(rounds.map(\.deliveredRate))
        line.cpuMicroseconds = median(rounds.map(\.cpuPerDelivery))
        var latency = LatencySummary.makeHistogram()
        for round in rounds { latency.add(round.arrival) }
        line.latency = LatencySummary(latency)
        let delivery = sum(rounds.map(\.delivery))
        line.delivery = delivery
        line.attempted = delivery.delivered + delivery.lost
        line.failed = delivery.lost
        line.remarks = "op: delivery to one of \(load.subscribersPerRoom) subscribers of each of \(load.rooms) rooms"
        return line
    }

    private func storm(_ scenario: String, _ target: CompareTarget) -> Measurement? {
        guard let rounds = results.storms[target], !rounds.isEmpty else { return nil }
        var line = Measurement(scenario: scenario, target: target.label)
        line.connections = amount.storm.clients
        line.rounds = rounds.count
        line.rate = median(rounds.map { Double($0.recovered) / max($0.seconds, 1e-9) })
        let delivered = rounds.map { $0.cpuMicroseconds / Double(max(1, $0.delivery.delivered)) }
        line.cpuMicroseconds = median(rounds.map { $0.cpuMicroseconds / Double(max(1, $0.recovered)) })
        var latency = LatencySummary.makeHistogram()
        for round in rounds { latency.add(round.latency) }
        line.latency = LatencySummary(latency)
        let delivery = sum(rounds.map(\.delivery))
        line.delivery = delivery
        line.attempted = UInt64(amount.storm.clients * rounds.count)
        line.failed = line.attempted! - UInt64(rounds.map(\.recovered).reduce(0, +))
        line.remarks = "op: a client that is back; all back after \(format(median(rounds.map(\.seconds)) ?? 0)) s"
        if target == .redis {
            line.remarks += "; Pub/Sub keeps nothing: lost is what was published meanwhile"
        } else {
            line.remarks +=
                " with \(amount.storm.missed) messages each, CPU \(format(median(delivered) ?? 0)) us/message"
        }
        let retries = rounds.map(\.retries).reduce(0, +)
        if retries > 0 {
            line.remarks += "; \(retries) subscribes repeated: \(rounds.compactMap(\.firstError).first ?? "")"
        }
        return line
    }

    private func failover(_ scenario: String, _ target: CompareTarget) -> Measurement? {
        var line = Measurement(scenario: scenario, target: target.label)
        if target == .redis {
            let raws = (results.failovers[.redisMode] ?? []).compactMap(\.raw)
            guard !raws.isEmpty else { return nil }
            line.connections = 2
            line.rounds = raws.count
            line.silenceMilliseconds = median(raws.map(\.longest))
            line.delivery = sum(raws.map(\.delivery))
            line.remarks =
                "Pub/Sub through Sentinels beside redis mode, "
                + "kills \(raws.map { format($0.longest) }.joined(separator: ", ")) ms"
            return line
        }
        guard let rounds = results.failovers[target], !rounds.isEmpty else { return nil }
        line.connections = 2 * FailoverRound.Load().rooms
        line.rounds = rounds.count
        line.attempted = rounds.map(\.attempted).reduce(0, +)
        line.failed = line.attempted! - min(line.attempted!, rounds.map(\.acknowledged).reduce(0, +))
        line.silenceMilliseconds = median(rounds.map(\.longest))
        var latency = LatencySummary.makeHistogram()
        for round in rounds { latency.add(round.latency) }
        line.latency = LatencySummary(latency)
        line.delivery = sum(rounds.map(\.delivery))
        line.remarks = "latency from the due time; longest silence of each kill "
        line.remarks += rounds.map { format($0.longest) }.joined(separator: ", ") + " ms"
        return line
    }

    private mutating func describeKills() {
        var rows: [[String]] = []
        for target in [CompareTarget.cluster, .redisMode] {
            for (index, kill) in (results.failovers[target] ?? []).enumerated() {
                rows.append([
                    target.label, "\(index + 1)", kill.victim, format(kill.longest), format(kill.medianRoom),
                    "\(kill.roomsOver100)", kill.readySeconds.map(format) ?? "never", kill.remarks,
                ])
                // What Redis has acknowledged and lost is its way of working, and stands in the table.
                if target == .cluster { breaches += kill.violations }
                if kill.readySeconds == nil { breaches.append("\(target.label): \(kill.victim) did not come back") }
            }
            if let kill = results.failovers[target]?.first {
                timelines.append(Timeline(title: "acknowledged", target: target.label, rates: kill.timeline))
                if let raw = kill.raw {
                    timelines.append(
                        Timeline(title: "heard", target: CompareTarget.redis.label, rates: raw.timeline)
                    )
                }
            }
        }
        details.append(
            BenchmarkReport.Detail(
                title: "Kills",
                columns: [
                    "target", "kill", "killed", "longest silence ms", "median room ms", "rooms over 100 ms",
                    "ready after restart s", "remarks",
                ],
                rows: rows
            )
        )
        let violations = (results.failovers[.redisMode] ?? []).flatMap(\.violations)
        guard !violations.isEmpty else { return }
        details.append(
            BenchmarkReport.Detail(
                title: "What redis mode's clients saw of the failovers",
                columns: ["kind"],
                rows: violations.map { [$0] }
            )
        )
    }

    private func sum(_ counts: [DeliveryCounts]) -> DeliveryCounts {
        var total = DeliveryCounts()
        for count in counts { total += count }
        return total
    }

    private func spread(_ rates: [Double]) -> String {
        "rounds \(format(rates.min() ?? 0)) to \(format(rates.max() ?? 0))/s"
    }

    private func generator(_ cpu: [Double]) -> String { ", load generator \(format(median(cpu) ?? 0)) us/op" }
}
