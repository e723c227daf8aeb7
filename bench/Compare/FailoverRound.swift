import Histogram
import HistoryChecker
import Primitives

/// One kill under open-loop load, with rooms of its own: the owner of a room in cluster mode, Redis's master in Redis
/// mode. Ends when what was killed is back, everything is acknowledged, and the history is checked.
struct FailoverRound {
    struct Load {
        var rooms = 16
        /// Nanoseconds between two messages of a room.
        var interval: UInt64 = 20_000_000
        var size = 128
        var settle = 1.0
        /// Seconds between the kill, or the return of the traffic after it, and the restart.
        var restartAfter = 1.0
    }

    struct Result {
        var victim: String
        /// The longest silence of any room, and the median room's.
        var longest: Double
        var medianRoom: Double
        var roomsOver100: Int
        var readySeconds: Double?
        var attempted: UInt64
        var acknowledged: UInt64
        var latency: Histogram<UInt64>
        var delivery: DeliveryCounts
        var violations: [String]
        var remarks: String
        /// Acknowledgements around the kill.
        var timeline: [Double]
        /// The same kill, seen by a publisher and a subscriber at Redis itself.
        var raw: Raw?
    }

    struct Raw {
        var longest: Double
        var delivery: DeliveryCounts
        var timeline: [Double]
    }

    var name: String
    var load: Load

    func killOwner(_ cluster: VencejoCluster, round: Int) throws -> Result {
        let load = try makeLoad(cluster)
        try load.start()
        load.run(seconds: self.load.settle) { false }
        let schedule = FailoverSchedule(kills: 1, settle: 0, restartAfter: self.load.restartAfter)
        let room = load.roomNumbers[round % load.roomNumbers.count].name
        let fault = try schedule.strike(ownerOf: room, orNode: round % cluster.servers.count, load, cluster)
        load.run(seconds: 0.5) { false }
        let end = Clock.now()
        let kind = fault.wasOwner ? "owner" : "not the owner"
        return try finish(load, cluster, fault, victim: "n\(fault.node + 1), \(kind)", end: end, raw: nil)
    }

    func killMaster(_ redis: RedisReplication, _ cluster: VencejoCluster) throws -> Result {
        try redis.awaitHealth(seconds: 60)
        let load = try makeLoad(cluster)
        let probe = SentinelProbe(sentinels: redis.sentinels.map(\.port), interval: self.load.interval)
        try load.start()
        load.run(seconds: 10) { probe.isRunning }
        load.run(seconds: self.load.settle) { false }
        let victim = try redis.master()
        load.run(seconds: 0.2) { false }
        var fault = FailoverSchedule.Fault(node: 0, wasOwner: true, killed: Clock.instant(), restarted: .zero)
        victim.server.strike()
        load.run(seconds: 90) { load.isAcknowledged(since: fault.killed) }
        load.run(seconds: self.load.restartAfter) { false }
        fault.restarted = Clock.instant()
        try victim.server.start()
        try victim.awaitAnswer()
        fault.ready = Clock.instant()
        load.run(seconds: 0.5) { false }
        let heard = probe.stop()
        guard !heard.heard.isEmpty else { throw BenchError("nothing was heard at Redis itself") }
        let end = Clock.now()
        var longest: UInt64 = 0
        var last = heard.heard.last { $0 <= fault.killed.nanoseconds } ?? fault.killed.nanoseconds
        for time in heard.heard + [end] where time > last {
            longest = max(longest, time - last)
            last = time
        }
        let raw = Raw(
            longest: Double(longest) / 1e6,
            delivery: heard.delivery,
            timeline: Timeline.rates(of: heard.heard, around: fault.killed.nanoseconds, until: end)
        )
        return try finish(load, cluster, fault, victim: victim.server.name, end: end, raw: raw)
    }

    private func makeLoad(_ cluster: VencejoCluster) throws -> FailoverLoad {
        try FailoverLoad(
            cluster: cluster,
            name: name,
            roomCount: load.rooms,
            interval: load.interval,
            size: load.size
        )
    }

    private func finish(
        _ load: FailoverLoad,
        _ cluster: VencejoCluster,
        _ fault: FailoverSchedule.Fault,
        victim: String,
        end: UInt64,
        raw: Raw?
    ) throws -> Result {
        try load.drain()
        var history = load.history()
        let silences = HistoryChecker.longestSilences(of: history, window: fault.killed..<Instant.distantFuture)
        let lengths = silences.map { Double($0.length.nanoseconds) / 1e6 }
        let acknowledgements = history.records.filter { $0.kind == .publish && $0.outcome == .ok }
        let timeline = Timeline.rates(
            of: acknowledgements.map(\.returned.nanoseconds).sorted(),
            around: fault.killed.nanoseconds,
            until: end
        )
        let logs = try ReadBack(cluster: cluster).read(load.roomNumbers, epochs: &history.epochs)
        var options = CheckOptions()
        options.sessionsReadToEnd = true
        options.gapPolicy = .belowFloor
        let checked = HistoryChecker.check(history, finalLogs: logs, options: options)
        return Result(
            victim: victim,
            longest: lengths.max() ?? 0,
            medianRoom: median(lengths) ?? 0,
            roomsOver100: lengths.filter { $0 > 100 }.count,
            readySeconds: fault.ready.map { ($0 - fault.restarted).seconds },
            attempted: UInt64(load.publishCount),
            acknowledged: UInt64(checked.statistics.acknowledged),
            latency: load.latency,
            delivery: DeliveryCounts(checked),
            violations: breaches(of: checked),
            remarks: "\(checked.statistics.received) received, \(load.repeats) repeats, \(load.reconnects) reconnects",
            timeline: timeline,
            raw: raw
        )
    }
}
