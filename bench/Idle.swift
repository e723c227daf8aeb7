import ArgumentParser

/// What a connection costs when nothing happens, and whether a burst's memory comes back.
struct Idle: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures memory per idle connection, before and after a burst to each of them."
    )

    @Option(help: "Idle connections, each subscribed to one best-effort room.")
    var connections = 10_000
    @Option(help: "Bytes of the message that every connection then receives.")
    var burst = 65_536
    @Option(help: "Seconds to wait before each reading.")
    var settle = 3.0
    @OptionGroup var servers: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var limits: ThresholdOptions

    func validate() throws {
        guard (1...18_900).contains(connections) else { throw ValidationError("--connections is 1 to 18900") }
        guard (1024...65_536).contains(burst) else { throw ValidationError("--burst is 1024 to 65536") }
    }

    func run() throws {
        let workspace = try servers.makeWorkspace()
        var measurements: [Measurement] = []
        var failures: [String] = []
        do {
            let cluster = try VencejoCluster(
                name: "idle",
                nodeCount: 1,
                binary: try servers.findVencejo(),
                workspace: workspace
            )
            let load = IdleLoad(
                server: cluster.servers[0],
                port: cluster.file.nodes[0].gatewayPort,
                isRedis: false,
                connections: connections,
                // The largest inbound message is 64 KiB with the command around the payload.
                burst: burst - 256,
                settle: settle
            )
            measurements += try load.run()
            cluster.stop()
        } catch let error as BenchError {
            failures.append(error.description)
            measurements.append(.notRun(scenario: "idle", target: "vencejo", because: error.description))
        }
        if let reason = servers.redisIsMissing {
            measurements.append(.notRun(scenario: "idle", target: "redis", because: reason))
        } else {
            let redis = try RedisServer(binary: findExecutable(servers.redisServer)!, workspace: workspace)
            let load = IdleLoad(
                server: redis.server,
                port: redis.port,
                isRedis: true,
                connections: connections,
                burst: burst - 256,
                settle: settle
            )
            measurements += try load.run()
        }
        var report = BenchmarkReport(
            benchmark: "idle",
            machine: describeMachine(),
            parameters: [
                .init(name: "connections", value: "\(connections)"), .init(name: "burst", value: "\(burst)"),
            ],
            measurements: measurements
        )
        report.breaches = failures
        try output.finish(report, limits.thresholds)
    }
}
