import ArgumentParser
import Foundation
import Histogram
import Testing

@testable import bench

@Suite("The comparison")
struct CompareTests {
    // MARK: Schedule

    @Test("BN-01 P-07 every target gets every round of every load, and each round begins with another target")
    func schedule() {
        let schedule = CompareSchedule(
            workloads: CompareWorkload.allCases,
            targets: CompareTarget.allCases,
            size: .full
        )
        for target in CompareTarget.allCases {
            for depth in CompareSize.full.inFlight {
                let rounds = schedule.steps.filter {
                    $0.workload == .fanOut && $0.target == target && $0.inFlight == depth
                }
                #expect(rounds.map(\.round) == Array(0..<CompareSize.full.rounds))
            }
            let storms = schedule.steps.filter { $0.workload == .resumeStorm && $0.target == target }
            #expect(storms.map(\.round) == Array(0..<CompareSize.full.stormRounds))
        }
        let guaranteed = schedule.steps.filter { $0.workload == .guaranteed }
        #expect(Set(guaranteed.map(\.target)) == [.cluster, .redisMode], "Pub/Sub keeps nothing")
        #expect(guaranteed.count == 2 * CompareSize.full.guaranteedRounds)
        // Never the same target twice in a row within a round, and the first of a round changes.
        let first = guaranteed.enumerated().filter { $0.offset % 2 == 0 }.map(\.element.target)
        for (one, next) in zip(first, first.dropFirst()) { #expect(one != next) }
    }

    @Test(
        "BN-01 kills of both kinds are mixed, and none is missing",
        arguments: [(4, 2), (9, 3), (0, 2), (3, 0), (1, 5)]
    )
    func kills(_ owners: Int, _ masters: Int) {
        var size = CompareSize.quick
        (size.kills, size.redisKills) = (owners, masters)
        let steps = CompareSchedule(workloads: [.failover], targets: CompareTarget.allCases, size: size).steps
        #expect(steps.filter { $0.target == .cluster }.map(\.round) == Array(0..<owners))
        #expect(steps.filter { $0.target == .redisMode }.map(\.round) == Array(0..<masters))
        if owners >= 2 * masters, masters > 0 {
            #expect(steps.first?.target == .cluster)
            for (one, next) in zip(steps, steps.dropFirst()) {
                #expect(one.target == .cluster || next.target == .cluster, "masters' kills are apart")
            }
        }
    }

    @Test("BN-02 without redis-server only cluster mode is run")
    func alone() {
        let schedule = CompareSchedule(workloads: CompareWorkload.allCases, targets: [.cluster], size: .quick)
        #expect(!schedule.steps.isEmpty)
        #expect(schedule.steps.allSatisfy { $0.target == .cluster })
    }

    // MARK: Summary

    private func histogram(_ milliseconds: UInt64) -> Histogram<UInt64> {
        var histogram = LatencySummary.makeHistogram()
        for _ in 0..<100 { histogram.record(milliseconds * 1_000_000) }
        return histogram
    }

    private func guaranteed(_ rate: Double, lost: UInt64 = 0) -> GuaranteedRound.Result {
        GuaranteedRound.Result(
            acknowledgedRate: rate,
            deliveredRate: 3 * rate,
            cpuPerPublish: 20,
            cpuPerDelivery: 7,
            generatorCPU: 1,
            acknowledgement: histogram(5),
            arrival: histogram(6),
            delivery: DeliveryCounts(delivered: 3000, lost: lost),
            acknowledged: 1000,
            refused: 0
        )
    }

    private func fanOut(_ rate: Double) -> FanoutRound.Result {
        FanoutRound.Result(
            rate: rate,
            cpuMicroseconds: 1_000_000 / rate,
            generatorCPU: 0.2,
            latencies: [histogram(3)],
            delivery: DeliveryCounts(delivered: 1000),
            refused: 0,
            residentBytes: 3 << 20,
            descriptors: 1017
        )
    }

    private func kill(_ silence: Double, raw: Double? = nil) -> FailoverRound.Result {
        FailoverRound.Result(
            victim: "n1, owner",
            longest: silence,
            medianRoom: silence / 2,
            roomsOver100: 0,
            readySeconds: 1,
            attempted: 100,
            acknowledged: 100,
            latency: histogram(2),
            delivery: DeliveryCounts(delivered: 100),
            violations: [],
            remarks: "",
            timeline: [1, 2, 3],
            raw: raw.map { FailoverRound.Raw(longest: $0, delivery: DeliveryCounts(delivered: 7), timeline: [4]) }
        )
    }

    private func results() -> CompareResults {
        var results = CompareResults()
        results.fanOut[.cluster] = [64: [fanOut(300), fanOut(100), fanOut(200)]]
        results.fanOut[.redisMode] = [64: [fanOut(100)]]
        results.fanOut[.redis] = [64: [fanOut(50)]]
        results.guaranteed[.cluster] = [guaranteed(1000), guaranteed(3000), guaranteed(1600)]
        results.guaranteed[.redisMode] = [guaranteed(1000)]
        results.failovers[.cluster] = [kill(50), kill(60), kill(70)]
        results.failovers[.redisMode] = [kill(7000, raw: 6500)]
        return results
    }

    private func summary(_ results: CompareResults, missing: String? = nil) -> CompareSummary {
        CompareSummary(
            results: results,
            workloads: [.fanOut, .guaranteed, .failover],
            amount: .quick,
            missing: missing,
            peers: [("nats", "no nats-server found")]
        )
    }

    @Test("BN-01 BN-06 P-07 one report has cluster mode, redis mode and Redis in columns, figure by figure")
    func sideBySide() throws {
        let table = BenchmarkReport.Detail.sideBySide(summary(results()).measurements)
        #expect(
            table.columns == [
                "scenario", "figure", "cluster mode", "redis mode", "redis", "cluster / redis mode",
                "cluster / redis",
            ]
        )
        let scenario = CompareScenario.fanOut(CompareSize.quick.subscribers, 64)
        let rate = try #require(table.rows.first { $0[0] == scenario && $0[1] == "op/s" })
        #expect(Array(rate[2...]) == ["200", "100", "50.0", "2.00", "4.00"], "medians and their ratios")
        let publish = try #require(table.rows.first { $0[0] == CompareScenario.guaranteed && $0[1] == "op/s" })
        #expect(Array(publish[2...]) == ["1600", "1000", "not run", "1.60", ""])
        let memory = try #require(table.rows.first { $0[0] == scenario && $0[1] == "RSS MiB" })
        #expect(memory[2] == "3.00")
        for figure in ["mean ms", "p95 ms", "p99 ms", "CPU us/op", "descriptors", "lost", "duplicated", "reordered"] {
            #expect(table.rows.contains { $0[1] == figure }, "\(figure)")
        }
        #expect(table.rows.contains { $0[0] == CompareScenario.failover && $0[1] == "silence ms" })
    }

    @Test("BN-02 what was not run says so and why, and has no figures")
    func notRun() throws {
        var results = results()
        (results.fanOut[.redis], results.fanOut[.redisMode], results.guaranteed[.redisMode]) = (nil, nil, nil)
        results.failovers[.redisMode] = nil
        let lines = summary(results, missing: "no redis-server found").measurements
        for line in lines where line.target.hasPrefix("redis") {
            #expect(line.notRun != nil && line.rate == nil && line.latency == nil, "\(line.scenario)")
        }
        #expect(lines.contains { $0.target == "redis mode" && $0.notRun == "no redis-server found" })
        #expect(lines.contains { $0.target == "nats" && $0.notRun == "no nats-server found" })
        let goals = Goal.comparing(lines)
        #expect(goals.allSatisfy { $0.isMet == nil && $0.verdict == "not measured" }, "nothing is invented")
    }

    @Test("BN-02 a load that broke off is told, with the reason, and fails the run")
    func brokenOff() {
        var results = results()
        results.guaranteed[.cluster] = nil
        results.fail(.guaranteed, .cluster, "the server closed 2 connections")
        let summary = summary(results)
        #expect(summary.breaches == ["guaranteed, cluster mode: the server closed 2 connections"])
        let line = summary.measurements.first {
            $0.scenario == CompareScenario.guaranteed && $0.target == "cluster mode"
        }
        #expect(line?.notRun == "the server closed 2 connections")
    }

    @Test("BN-05 losses of all rounds are added up")
    func losses() throws {
        var results = results()
        results.guaranteed[.cluster]![0] = guaranteed(1000, lost: 2)
        results.guaranteed[.cluster]![2] = guaranteed(1000, lost: 3)
        let line = try #require(
            summary(results).measurements.first {
                $0.scenario == CompareScenario.guaranteedDelivery && $0.target == "cluster mode"
            }
        )
        #expect(line.delivery?.lost == 5)
        #expect(!Thresholds().breaches(of: [line]).isEmpty)
    }

    @Test("BN-05 what the server refused is not lost, what it took and did not deliver is")
    func refused() {
        var counter = DeliveryCounter()
        for number in [1, 2, 4, 6] { counter.receive(UInt64(number)) }
        #expect(counter.total(through: 8).lost == 4)
        #expect(counter.total(through: 8, except: [3, 8]).lost == 2)
        #expect(counter.total(through: 8, except: [4]).lost == 4, "it came all the same")
    }

    // MARK: Targets

    @Test("P-07 the targets are met or not met by the figures, at their limits too")
    func goals() throws {
        var results = results()
        var goals = Goal.comparing(summary(results).measurements)
        #expect(goals.map(\.name) == ["guaranteed rooms", "silence at failover"])
        #expect(goals[0].measured == 1.6 && goals[0].verdict == "met")
        // The shorter of what redis mode and Redis itself showed: the harder comparison.
        #expect(goals[1].measured == 60.0 / 6500 && goals[1].isMet == true)
        results.guaranteed[.cluster] = [guaranteed(1500)]
        results.failovers[.cluster] = [kill(1300)]
        goals = Goal.comparing(summary(results).measurements)
        #expect(goals.map(\.verdict) == ["met", "met"])
        results.guaranteed[.cluster] = [guaranteed(1499)]
        results.failovers[.cluster] = [kill(1301)]
        goals = Goal.comparing(summary(results).measurements)
        #expect(goals.map(\.verdict) == ["not met", "not met"])
    }

    @Test("BN-08 the shim's targets look at the slowest command of each depth, and at Pub/Sub's CPU")
    func shimGoals() {
        func lines(_ scenario: String, _ ours: Double, cpu: Double = 1) -> [bench.Measurement] {
            var lines = [
                bench.Measurement(scenario: scenario, target: "redis"),
                bench.Measurement(scenario: scenario, target: "vencejo"),
            ]
            (lines[0].rate, lines[0].cpuMicroseconds) = (100, 1)
            (lines[1].rate, lines[1].cpuMicroseconds) = (ours, cpu)
            return lines
        }
        var measurements: [bench.Measurement] = []
        measurements += lines(RedisCommands.scenario(.set, 1), 90)
        measurements += lines(RedisCommands.scenario(.incr, 1), 84)
        measurements += lines(RedisCommands.scenario(.get, 16), 51)
        measurements += lines(RedisCommands.scenario(.getMiss, 1), 1)
        measurements += lines(RedisCommands.pubSubScenario(1000, 64), 100, cpu: 1.3)
        compareToRedis(&measurements)
        let goals = Goal.ofShim(measurements, depths: [1, 16], subscribers: 1000, inFlight: 64)
        #expect(goals.map(\.verdict) == ["not met", "met", "not met"])
        #expect(goals[0].measured == 0.84 && goals[0].remarks.contains("INCR"))
    }

    @Test("BN-08 cache hit, miss and direct reads, and every command with a target, go out as RESP in any depth")
    func cacheWorkloads() throws {
        let names = Set(RedisWorkload.allCases.filter(\.hasTarget).map(\.rawValue))
        #expect(names == ["SET", "GET", "INCR", "LPUSH", "HSET", "XADD", "PUBLISH"])
        #expect(
            RedisWorkload.allCases.filter { !$0.hasTarget }.map(\.label) == ["GET (cache miss)", "HGETALL (direct)"]
        )
        for workload in RedisWorkload.allCases {
            for depth in [1, 16] {
                let batch = workload.batches(pipeline: depth, size: 8)[7]
                var at = 0
                var commands = 0
                while at < batch.count {
                    let cut = try batch[at...].withUnsafeBytes { try Cut.first(.resp, in: $0) }
                    at += try #require(cut).length
                    commands += 1
                }
                #expect(commands == depth, "\(workload)")
            }
        }
    }

    // MARK: Settings

    @Test("BN-01 the Sentinels and the nodes of redis mode have the guide's settings and WAIT 1")
    func settings() {
        let sentinel = RedisReplication.sentinelFile(port: 1, master: 2, directory: "/tmp")
        for line in [
            "sentinel monitor mymaster 127.0.0.1 2 2", "sentinel down-after-milliseconds mymaster 5000",
            "sentinel parallel-syncs mymaster 1", "sentinel failover-timeout mymaster 10000",
        ] { #expect(sentinel.contains(line + "\n")) }
        let node = ClusterFile.Node(id: "n1", gatewayPort: 1, meshPort: 2, adminPort: 3, dataDirectory: "/tmp")
        var file = ClusterFile(nodes: [node])
        #expect(file.text().contains("backplane = \"cluster\"") && !file.text().contains("[redis]"))
        file.redis = ClusterFile.Redis(port: 7, sentinels: [8, 9], waitReplicas: 1)
        for line in [
            "backplane = \"redis\"", "url = \"redis://127.0.0.1:7/0\"",
            "sentinels = [\"127.0.0.1:8\", \"127.0.0.1:9\"]", "wait_replicas = 1",
        ] { #expect(file.text().contains(line)) }
    }
}

@Suite("Profiles")
struct ProfileTests {
    @Test("BN-04 the twelve profiles are listed")
    func names() {
        #expect(
            Profile.all.map(\.name) == [
                "connect surge", "sustained", "flood", "burst", "fan-out by room size",
                "single channel vs partitioned", "batch vs single", "compression on/off", "JSON vs binary",
                "sticky vs not", "failover", "resume storm",
            ]
        )
    }

    @Test("BN-04 each profile has commands that this program takes, or says why there is none", arguments: 0..<12)
    func commands(_ index: Int) throws {
        let profile = Profile.all[index]
        let listed = try #require(List.tables()[1].rows.first { $0[0] == profile.name })
        if profile.commands.isEmpty {
            #expect(!profile.absence.isEmpty)
            #expect(listed[2] == "not there: \(profile.absence)")
        }
        for command in profile.commands {
            #expect(listed[2].contains("bench " + command.joined(separator: " ")))
            // Parses the options and validates them, as a run does first.
            let parsed = try Bench.parseAsRoot(command)
            #expect(type(of: parsed).configuration.commandName ?? type(of: parsed)._commandName == command[0])
        }
    }

    @Test("BN-04 every benchmark of the program is listed")
    func benchmarks() {
        let listed = Set(List.tables()[0].rows.map { $0[0] })
        let there = Set(Bench.configuration.subcommands.map { $0._commandName }).subtracting(["list"])
        #expect(listed == there)
    }
}
