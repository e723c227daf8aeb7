import Foundation

/// The servers of a comparison, and one step of its schedule on them.
final class CompareScene {
    private let cluster: VencejoCluster
    private let replication: RedisReplication?
    private let redisMode: VencejoCluster?
    private let redis: RedisServer?
    private var hasSecondReplica = false

    /// `redis` is the program; nil when there is none.
    init(vencejo: String, redis binary: String?, fsync: RedisFsync, workspace: Workspace) throws {
        cluster = try VencejoCluster(name: "cluster", nodeCount: 3, binary: vencejo, workspace: workspace)
        guard let binary else {
            (replication, redisMode, redis) = (nil, nil, nil)
            return
        }
        let replication = try RedisReplication(binary: binary, workspace: workspace, fsync: fsync, replicas: 1)
        try replication.awaitHealth(seconds: 60)
        redisMode = try VencejoCluster(
            name: "redis-mode",
            nodeCount: 3,
            binary: vencejo,
            workspace: workspace,
            redis: ClusterFile.Redis(
                port: replication.servers[0].port,
                sentinels: replication.sentinels.map(\.port),
                waitReplicas: 1
            )
        )
        self.replication = replication
        redis = try RedisServer(binary: binary, workspace: workspace, name: "redis-alone")
    }

    private func deployment(_ target: CompareTarget) throws -> Deployment {
        switch target {
        case .cluster: return Deployment(cluster)
        case .redisMode:
            guard let redisMode, let replication else { break }
            return Deployment(redisMode, and: replication.processes)
        case .redis:
            guard let redis else { break }
            return Deployment(redis: redis)
        }
        throw BenchError("no redis-server")
    }

    func run(
        _ step: CompareSchedule.Step,
        _ size: CompareSize,
        messageSize: Int,
        isSticky: Bool,
        into results: inout CompareResults
    ) throws {
        let name = "\(step.workload.rawValue)-\(step.inFlight)-\(step.round)"
        switch step.workload {
        case .fanOut:
            let round = FanoutRound(
                backend: try deployment(step.target),
                room: ClusterFile.room(name, bestEffort: true),
                subscribers: size.subscribers,
                size: messageSize,
                inFlight: step.inFlight,
                messages: nil,
                seconds: size.seconds
            )
            results.fanOut[step.target, default: [:]][step.inFlight, default: []].append(try round.run())
        case .guaranteed:
            var load = GuaranteedRound.Load()
            load.publishers = size.publishers
            load.size = messageSize
            load.seconds = size.seconds
            let round = GuaranteedRound(deployment: try deployment(step.target), name: name, load: load)
            results.guaranteed[step.target, default: []].append(try round.run())
        case .resumeStorm:
            let load = ResumeStorm.Load(
                clients: size.storm.clients,
                rooms: size.storm.rooms,
                missed: size.storm.missed,
                size: messageSize,
                isSticky: isSticky
            )
            let storm = ResumeStorm(deployment: try deployment(step.target), name: name, load: load)
            results.storms[step.target, default: []].append(try storm.run())
        case .failover:
            let round = FailoverRound(name: name, load: FailoverRound.Load(size: messageSize))
            if step.target == .cluster {
                results.failovers[.cluster, default: []].append(try round.killOwner(cluster, round: step.round))
            } else if let redisMode, let replication {
                // With one replica nothing could be acknowledged between the master's death and its return.
                if !hasSecondReplica {
                    try replication.addReplica()
                    hasSecondReplica = true
                }
                results.failovers[.redisMode, default: []].append(try round.killMaster(replication, redisMode))
            }
        }
    }
}

/// The version that redis-server says it has.
func redisVersion(_ binary: String) -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: binary)
    process.arguments = ["--version"]
    let pipe = Pipe()
    process.standardOutput = pipe
    guard (try? process.run()) != nil else { return "unknown" }
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return text.split(separator: " ").first { $0.hasPrefix("v=") }.map { String($0.dropFirst(2)) } ?? "unknown"
}

/// The machine's load averages now: what else ran while this was measured.
func loadAverage() -> String {
    guard let text = try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8) else { return "unknown" }
    return text.split(separator: " ").prefix(3).joined(separator: " ")
}
