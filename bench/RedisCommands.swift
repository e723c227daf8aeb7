import ArgumentParser
import Histogram

/// The shim of one node beside redis-server.
struct RedisCommands: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Measures Redis commands at one node's shim and at redis-server with appendonly, fsync every second."
    )

    @Option(help: "Client connections.")
    var connections = 50
    @Option(help: "Commands under way on each connection; several numbers separated by commas.")
    var pipeline = "1,16"
    @Option(help: "Bytes of a value.")
    var size = 32
    @Option(help: "Seconds of a round.")
    var seconds = 2.0
    @Option(help: "Rounds; the servers alternate within each, and medians are reported.")
    var rounds = 3
    @Option(help: "Commands separated by commas.")
    var commands = RedisWorkload.allCases.map(\.rawValue).joined(separator: ",")
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (1...10_000).contains(connections), (1...1_000_000).contains(size) else {
            throw ValidationError("--connections is 1 to 10000, --size 1 to 1000000")
        }
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
            hasRedisClients: true
        )
        var targets: [(label: String, server: ServerProcess, port: UInt16)] = []
        if servers.redisIsMissing == nil {
            let binary = findExecutable(servers.redisServer)!
            let redis = try RedisServer(binary: binary, workspace: workspace, isAppendOnly: true)
            targets.append(("redis", redis.server, redis.port))
        }
        targets.append(("vencejo", cluster.servers[0], cluster.file.nodes[0].respPort))

        var measurements: [Measurement] = []
        var errors: UInt64 = 0
        var progress = Progress()
        let workloads = try workloads()
        let depths = try depths()
        let total = Double(workloads.count * depths.count * rounds * targets.count)
        var done = 0.0
        for depth in depths {
            for workload in workloads {
                let scenario = depth == 1 ? workload.rawValue : "\(workload.rawValue), \(depth) in a pipeline"
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
        progress.finish()
        cluster.stop()
        compareToRedis(&measurements)
        var report = BenchmarkReport(
            benchmark: "redis",
            machine: describeMachine(),
            parameters: [
                .init(name: "connections", value: "\(connections)"), .init(name: "size", value: "\(size)"),
                .init(name: "rounds", value: "\(rounds)"),
            ],
            measurements: measurements
        )
        if errors > 0 { report.breaches.append("\(errors) commands were answered by an error") }
        try output.finish(report, limits.thresholds)
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
