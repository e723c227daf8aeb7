import ArgumentParser
import Histogram

/// One room, one node, many subscribers.
struct Fanout: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delivers messages of one room to many subscribers.",
        discussion: "A message is done when every subscriber has it; so many are kept in flight."
    )

    enum Target: String, CaseIterable, ExpressibleByArgument {
        case redis
        case bestEffort = "best-effort"
        case guaranteed
        /// The shipped topology: three nodes, three copies; the subscribers are on one node.
        case guaranteed3 = "guaranteed-3"

        var label: String {
            switch self {
            case .redis: "redis"
            case .bestEffort: "vencejo best effort"
            case .guaranteed: "vencejo guaranteed, 1 node"
            case .guaranteed3: "vencejo guaranteed, 3 nodes"
            }
        }
    }

    @Option(help: "Subscribers of the room.")
    var subscribers = 1000
    @Option(help: "Bytes of a message.")
    var size = 128
    @Option(help: "Messages in flight; several numbers separated by commas are measured one after the other.")
    var inFlight = "1,64"
    @Option(help: "Messages of a round; by default as many as fit in --seconds.")
    var messages: Int?
    @Option(help: "Seconds of a round.")
    var seconds = 3.0
    @Option(help: "Rounds; targets alternate within each, and medians are reported.")
    var rounds = 3
    @Option(help: "Targets separated by commas: \(Target.allCases.map(\.rawValue).joined(separator: ", ")).")
    var targets = Target.allCases.map(\.rawValue).joined(separator: ",")
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (1...19_000).contains(subscribers) else { throw ValidationError("--subscribers is 1 to 19000") }
        guard (1...60_000).contains(size) else { throw ValidationError("--size is 1 to 60000") }
        guard rounds > 0, seconds > 0, messages ?? 1 > 0 else { throw ValidationError("nothing to run") }
        _ = try depths()
        _ = try chosenTargets()
    }

    private func depths() throws -> [Int] {
        try inFlight.split(separator: ",").map {
            guard let depth = Int($0), (1...1024).contains(depth) else {
                throw ValidationError("--in-flight takes numbers from 1 to 1024")
            }
            return depth
        }
    }

    private func chosenTargets() throws -> [Target] {
        try targets.split(separator: ",").map {
            guard let target = Target(rawValue: String($0)) else { throw ValidationError("no target named \($0)") }
            return target
        }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let depths = try depths()
        var running: [(target: Target, backend: Deployment)] = []
        var missing: [(target: Target, reason: String)] = []
        var single: VencejoCluster?
        for target in try chosenTargets() {
            switch target {
            case .redis:
                if let reason = servers.redisIsMissing {
                    missing.append((target, reason))
                } else {
                    let binary = findExecutable(servers.redisServer)!
                    let redis = try RedisServer(binary: binary, workspace: workspace)
                    running.append((target, Deployment(redis: redis)))
                }
            case .bestEffort, .guaranteed:
                do {
                    let cluster =
                        try single
                        ?? VencejoCluster(
                            name: "single",
                            nodeCount: 1,
                            binary: try servers.findVencejo(),
                            workspace: workspace
                        )
                    single = cluster
                    running.append((target, Deployment(cluster, nodes: 0..<1)))
                } catch let error as BenchError { missing.append((target, error.description)) }
            case .guaranteed3:
                do {
                    let cluster = try VencejoCluster(
                        name: "triple",
                        nodeCount: 3,
                        binary: try servers.findVencejo(),
                        workspace: workspace
                    )
                    running.append((target, Deployment(cluster, nodes: 0..<1)))
                } catch let error as BenchError { missing.append((target, error.description)) }
            }
        }

        var measurements: [Measurement] = []
        var broken = [String?](repeating: nil, count: running.count)
        var progress = Progress()
        var done = 0.0
        for depth in depths {
            let scenario = "fan-out to \(subscribers), \(depth) in flight"
            var results = [[FanoutRound.Result]](repeating: [], count: running.count)
            for round in 0..<rounds {
                for (index, entry) in running.enumerated() {
                    progress.show(
                        "\(scenario): \(entry.target.label), round \(round + 1)",
                        done / Double(depths.count * rounds * max(1, running.count))
                    )
                    let load = FanoutRound(
                        backend: entry.backend,
                        room: ClusterFile.room(
                            "fan-\(depth)-\(round)",
                            bestEffort: entry.target == .bestEffort
                        ),
                        subscribers: subscribers,
                        size: size,
                        inFlight: depth,
                        messages: messages,
                        seconds: seconds
                    )
                    done += 1
                    guard broken[index] == nil else { continue }
                    do {
                        results[index].append(try load.run())
                    } catch let error as BenchError {
                        // The other targets still have figures to give.
                        broken[index] = error.description
                    }
                }
            }
            for (index, entry) in running.enumerated() {
                if let reason = broken[index] {
                    measurements.append(.notRun(scenario: scenario, target: entry.target.label, because: reason))
                } else {
                    measurements.append(
                        Self.summary(
                            scenario,
                            entry.target.label,
                            subscribers: subscribers,
                            inFlight: depth,
                            results[index]
                        )
                    )
                }
            }
            for (target, reason) in missing {
                measurements.append(.notRun(scenario: scenario, target: target.label, because: reason))
            }
        }
        progress.finish()
        compareToRedis(&measurements)
        var report = BenchmarkReport(
            benchmark: "fanout",
            machine: describeMachine(),
            parameters: [
                .init(name: "subscribers", value: "\(subscribers)"), .init(name: "size", value: "\(size)"),
                .init(name: "rounds", value: "\(rounds)"),
            ],
            measurements: measurements
        )
        report.breaches = missing.filter { $0.target != .redis }.map { "\($0.target.label): \($0.reason)" }
        for (entry, reason) in zip(running, broken) {
            if let reason { report.breaches.append("\(entry.target.label): \(reason)") }
        }
        try output.finish(report, limits.thresholds)
    }

    /// The line of a scenario and target: medians of the rounds.
    static func summary(
        _ scenario: String,
        _ target: String,
        subscribers: Int,
        inFlight: Int,
        _ results: [FanoutRound.Result]
    ) -> Measurement {
        var line = Measurement(scenario: scenario, target: target)
        line.connections = subscribers
        line.inFlight = inFlight
        line.rounds = results.count
        line.rate = median(results.map(\.rate))
        line.cpuMicroseconds = median(results.map(\.cpuMicroseconds))
        line.residentBytes = results.map(\.residentBytes).max()
        line.descriptors = results.map(\.descriptors).max()
        var latency = LatencySummary.makeHistogram()
        var delivery = DeliveryCounts()
        for result in results {
            latency.add(result.latency)
            delivery += result.delivery
        }
        line.latency = LatencySummary(latency)
        line.delivery = delivery
        line.attempted = delivery.delivered + delivery.lost
        line.failed = delivery.lost
        let rates = results.map(\.rate)
        line.remarks =
            "load generator \(format(median(results.map(\.generatorCPU)) ?? 0)) us/op, "
            + "rounds \(format(rates.min() ?? 0)) to \(format(rates.max() ?? 0))/s"
        let refused = results.map(\.refused).reduce(0, +)
        if refused > 0 { line.remarks += ", \(refused) publishes refused" }
        return line
    }
}
