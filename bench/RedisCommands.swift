import ArgumentParser
import Histogram

/// The shim of one node beside redis-server.
struct RedisCommands: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Measures Redis commands at one node's shim and at redis-server with appendonly, fsync every second.",
        discussion: "GET finds its key, GET-MISS does not, HGETALL reads the record itself: cache hit, miss and direct."
    )

    @Option(help: "Client connections.")
    var connections = 50
    @Option(help: "Commands under way on each connection; several numbers separated by commas.")
    var pipeline = "1,16"
    @Option(help: "Bytes of a value.")
    var size = 32
    @Option(help: "Event loops of the node; redis-server has one.")
    var threads = 1
    @Option(help: "Seconds of a round.")
    var seconds = 2.0
    @Option(help: "Rounds; the servers alternate within each, and medians are reported.")
    var rounds = 3
    @Option(help: "Commands separated by commas.")
    var commands = RedisWorkload.allCases.map(\.rawValue).joined(separator: ",")
    @Option(help: "Subscribers of one channel in the Pub/Sub load; 0: none.")
    var subscribers = 1000
    @Option(help: "Messages in flight in the Pub/Sub load.")
    var inFlight = 64
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (1...10_000).contains(connections), (1...1_000_000).contains(size) else {
            throw ValidationError("--connections is 1 to 10000, --size 1 to 1000000")
        }
        guard (0...19_000).contains(subscribers), (1...1024).contains(inFlight) else {
            throw ValidationError("--subscribers is 0 to 19000, --in-flight 1 to 1024")
        }
        guard (1...64).contains(threads) else { throw ValidationError("--threads is 1 to 64") }
        guard rounds > 0, seconds > 0 else { throw ValidationError("nothing to run") }
        _ = try depths()
        _ = try workloads()
    }

    private func depths() throws -> [Int] {
        try pipeline.split(separator: ",").map {
            guard let depth = Int($0), (1...1000).contains(depth) else {
                throw ValidationError("--pipeline takes numbers from 1 to 1000")
            }
            return depth
        }
    }

    private func workloads() throws -> [RedisWorkload] {
        try commands.split(separator: ",").map {
            guard let workload = RedisWorkload(rawValue: $0.uppercased()) else {
                throw ValidationError("no command named \($0)")
            }
            return workload
        }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        let cluster = try VencejoCluster(
            name: "shim",
            nodeCount: 1,
            binary: try servers.findVencejo(),
            workspace: workspace,
            hasRedisClients: true,
            threads: threads
        )
        var targets: [Target] = []
        if servers.redisIsMissing == nil {
            let binary = findExecutable(servers.redisServer)!
            let redis = try RedisServer(binary: binary, workspace: workspace, isAppendOnly: true)
            targets.append(Target(label: "redis", server: redis.server, port: redis.port))
        }
        targets.append(
            Target(label: "vencejo", server: cluster.servers[0], port: cluster.file.nodes[0].respPort)
        )

        var measurements: [Measurement] = []
        var errors: UInt64 = 0
        var progress = Progress()
        let workloads = try workloads()
        let depths = try depths()
        let total = Double(workloads.count * depths.count * rounds * targets.count)
        var done = 0.0
        for depth in depths {
            for workload in workloads {
                let scenario = Self.scenario(workload, depth)
                for target in targets { try workload.prepare(port: target.port, size: size) }
                var results = [[RedisCommandsRound.Result]](repeating: [], count: targets.count)
                for _ in 0..<rounds {
                    for (index, target) in targets.enumerated() {
                        progress.show("\(scenario): \(target.label)", done / total)
                        done += 1
                        let round = RedisCommandsRound(
                            server: target.server,
                            port: target.port,
                            workload: workload,
                            connections: connections,
                            pipeline: depth,
                            seconds: seconds,
                            size: size
                        )
                        results[index].append(try round.run())
                    }
                }
                for (index, target) in targets.enumerated() {
                    measurements.append(summary(scenario, target.label, results[index]))
                    errors += results[index].map(\.errors).reduce(0, +)
                }
                if let reason = servers.redisIsMissing {
                    measurements.append(.notRun(scenario: scenario, target: "redis", because: reason))
                }
            }
        }
        if subscribers > 0 { measurements += try publishAndSubscribe(targets, &progress) }
        progress.finish()
        cluster.stop()
        compareToRedis(&measurements)
        var report = BenchmarkReport(
            benchmark: "redis",
            machine: describeMachine(),
            parameters: [
                .init(name: "connections", value: "\(connections)"), .init(name: "size", value: "\(size)"),
                .init(name: "threads", value: "\(threads)"),
                .init(name: "rounds", value: "\(rounds)"),
            ],
            measurements: measurements,
            goals: Goal.ofShim(measurements, depths: depths, subscribers: subscribers, inFlight: inFlight)
        )
        report.breaches += report.goals.filter { $0.isMet == false }.map { "\($0.name): \($0.required); \($0.remarks)" }
        if errors > 0 { report.breaches.append("\(errors) commands were answered by an error") }
        try output.finish(report, limits.thresholds)
    }

    private struct Target {
        var label: String
        var server: ServerProcess
        var port: UInt16
    }

    static func scenario(_ workload: RedisWorkload, _ depth: Int) -> String {
        depth == 1 ? workload.label : "\(workload.label), \(depth) in a pipeline"
    }

    static func pubSubScenario(_ subscribers: Int, _ inFlight: Int) -> String {
        "Pub/Sub to \(subscribers), \(inFlight) in flight"
    }

    /// One channel, many subscribers that speak RESP.
    private func publishAndSubscribe(_ targets: [Target], _ progress: inout Progress) throws -> [Measurement] {
        let scenario = Self.pubSubScenario(subscribers, inFlight)
        var results = [[FanoutRound.Result]](repeating: [], count: targets.count)
        for round in 0..<rounds {
            for (index, target) in targets.enumerated() {
                progress.show("\(scenario): \(target.label)", Double(round) / Double(rounds))
                let load = FanoutRound(
                    backend: Deployment(ports: [target.port], speaksRedis: true, servers: [target.server]),
                    room: ClusterFile.room("pubsub-\(round)", bestEffort: true),
                    subscribers: subscribers,
                    size: 128,
                    inFlight: inFlight,
                    messages: nil,
                    seconds: seconds
                )
                results[index].append(try load.run())
            }
        }
        var lines = zip(targets, results).map {
            Fanout.summary(scenario, $0.label, subscribers: subscribers, inFlight: inFlight, $1)
        }
        if let reason = servers.redisIsMissing {
            lines.append(.notRun(scenario: scenario, target: "redis", because: reason))
        }
        return lines
    }

    private func summary(
        _ scenario: String,
        _ target: String,
        _ results: [RedisCommandsRound.Result]
    ) -> Measurement {
        var line = Measurement(scenario: scenario, target: target)
        line.connections = connections
        line.rounds = results.count
        line.rate = median(results.map(\.rate))
        line.cpuMicroseconds = median(results.map(\.cpuMicroseconds))
        var latency = LatencySummary.makeHistogram()
        for result in results { latency.add(result.latency) }
        line.latency = LatencySummary(latency)
        line.attempted = results.map(\.commands).reduce(0, +)
        line.failed = results.map(\.errors).reduce(0, +)
        let rates = results.map(\.rate)
        line.remarks =
            "load generator \(format(median(results.map(\.generatorCPU)) ?? 0)) us/op, "
            + "rounds \(format(rates.min() ?? 0)) to \(format(rates.max() ?? 0))/s"
        return line
    }
}
