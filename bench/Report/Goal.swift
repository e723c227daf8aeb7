/// A bound that a comparison has to keep, and what was measured.
struct Goal: Codable, Equatable, Sendable {
    var name: String
    /// In words.
    var required: String
    var limit: Double
    /// `measured` must not be below the limit; otherwise not above it.
    var isMinimum: Bool
    /// nil: it could not be measured, and `remarks` say why.
    var measured: Double?
    var remarks: String

    /// nil when nothing was measured.
    var isMet: Bool? { measured.map { isMinimum ? $0 >= limit : $0 <= limit } }

    var verdict: String {
        switch isMet {
        case true?: "met"
        case false?: "not met"
        case nil: "not measured"
        }
    }

    /// The two that cluster mode has to reach beside Redis mode.
    static func comparing(_ measurements: [Measurement]) -> [Goal] {
        func line(_ scenario: String, _ target: CompareTarget) -> Measurement? {
            measurements.first { $0.scenario == scenario && $0.target == target.label && $0.notRun == nil }
        }
        var throughput = Goal(
            name: "guaranteed rooms",
            required: "cluster mode acknowledges at least 1.5 x what redis mode does (streams, WAIT 1, a replica)",
            limit: 1.5,
            isMinimum: true,
            measured: nil,
            remarks: "needs figures of cluster mode and redis mode"
        )
        let ours = line(CompareScenario.guaranteed, .cluster)?.rate
        if let ours, let theirs = line(CompareScenario.guaranteed, .redisMode)?.rate, theirs > 0 {
            throughput.measured = ours / theirs
            throughput.remarks = "\(format(ours)) against \(format(theirs)) acknowledged/s"
        }
        var silence = Goal(
            name: "silence at failover",
            required: "cluster mode's is at most 0.2 x that of Sentinel with the guide's settings (down after 5 s)",
            limit: 0.2,
            isMinimum: false,
            measured: nil,
            remarks: "needs figures of cluster mode and redis mode"
        )
        // The shorter of what Redis mode's clients saw and what Redis's own saw.
        let sentinel = [CompareTarget.redisMode, .redis].compactMap {
            line(CompareScenario.failover, $0)?.silenceMilliseconds
        }.min()
        if let ours = line(CompareScenario.failover, .cluster)?.silenceMilliseconds, let sentinel, sentinel > 0 {
            silence.measured = ours / sentinel
            silence.remarks = "\(format(ours)) against \(format(sentinel)) ms, medians of the longest silence of a kill"
        }
        return [throughput, silence]
    }

    /// What the shim has to reach beside redis-server: the slowest command counts.
    static func ofShim(_ measurements: [Measurement], depths: [Int], subscribers: Int, inFlight: Int) -> [Goal] {
        func slowest(_ depth: Int) -> (ratio: Double, scenario: String)? {
            let scenarios = RedisWorkload.allCases.filter(\.hasTarget).map { RedisCommands.scenario($0, depth) }
            return measurements.filter { scenarios.contains($0.scenario) }
                .compactMap { line in line.rateRatioToRedis.map { ($0, line.scenario) } }
                .min { $0.0 < $1.0 }
        }
        var goals: [Goal] = []
        for (depth, limit) in [(1, 0.85), (16, 0.5)] where depths.contains(depth) {
            let found = slowest(depth)
            goals.append(
                Goal(
                    name: depth == 1 ? "commands without a pipeline" : "commands with \(depth) in a pipeline",
                    required: "each at least \(format(limit)) x as many a second as redis-server",
                    limit: limit,
                    isMinimum: true,
                    measured: found?.ratio,
                    remarks: found.map { "the slowest is \($0.scenario)" } ?? "needs figures of redis-server"
                )
            )
        }
        if subscribers > 0 {
            let scenario = RedisCommands.pubSubScenario(subscribers, inFlight)
            let ratio = measurements.lazy.filter { $0.scenario == scenario }.compactMap(\.cpuRatioToRedis).first
            goals.append(
                Goal(
                    name: scenario,
                    required: "at most 1.2 x of redis-server's CPU per delivery",
                    limit: 1.2,
                    isMinimum: false,
                    measured: ratio,
                    remarks: ratio == nil ? "needs figures of redis-server" : "medians of the rounds"
                )
            )
        }
        return goals
    }
}
