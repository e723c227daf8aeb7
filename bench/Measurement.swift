import Histogram

/// A latency distribution in milliseconds.
struct LatencySummary: Codable, Equatable, Sendable {
    var count: UInt64
    var mean: Double
    var p50: Double
    var p95: Double
    var p99: Double
    var p999: Double
    var max: Double

    /// `histogram` counts nanoseconds.
    init(_ histogram: Histogram<UInt64>) {
        func milliseconds(_ percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) / 1e6 }
        count = histogram.totalCount
        guard count > 0 else {
            (mean, p50, p95, p99, p999, max) = (0, 0, 0, 0, 0, 0)
            return
        }
        mean = histogram.mean / 1e6
        p50 = milliseconds(50)
        p95 = milliseconds(95)
        p99 = milliseconds(99)
        p999 = milliseconds(99.9)
        max = Double(histogram.max) / 1e6
    }

    /// The distribution of these nanoseconds.
    init(nanoseconds: some Sequence<UInt64>) {
        var histogram = Self.makeHistogram()
        for value in nanoseconds { histogram.record(value) }
        self.init(histogram)
    }

    /// 1 microsecond to 5 minutes with two significant digits: small enough to stay in the cache.
    static func makeHistogram() -> Histogram<UInt64> {
        Histogram<UInt64>(
            lowestDiscernibleValue: 1000,
            highestTrackableValue: 300_000_000_000,
            numberOfSignificantValueDigits: .two
        )
    }
}

/// One line of a report: what was done to which server, and what came of it. What was not measured is nil.
struct Measurement: Codable, Equatable, Sendable {
    var scenario: String
    var target: String
    /// Why there are no figures; nil when the scenario was run.
    var notRun: String?
    var connections: Int?
    var inFlight: Int?
    var rounds: Int?
    /// Operations that were tried, and how many of them failed.
    var attempted: UInt64?
    var failed: UInt64?
    /// Successful operations a second.
    var rate: Double?
    var latency: LatencySummary?
    /// Processor time of the server per operation, user and system, in microseconds: of all its processes together.
    var cpuMicroseconds: Double?
    /// The same for each node.
    var cpuMicrosecondsPerNode: [Double]?
    var residentBytes: UInt64?
    var proportionalBytes: UInt64?
    var bytesPerConnection: Double?
    var descriptors: Int?
    var silenceMilliseconds: Double?
    var delivery: DeliveryCounts?
    /// This target's median over the Redis median of the same scenario.
    var cpuRatioToRedis: Double?
    var rateRatioToRedis: Double?
    var remarks: String = ""

    init(scenario: String, target: String) {
        self.scenario = scenario
        self.target = target
    }

    static func notRun(scenario: String, target: String, because reason: String) -> Measurement {
        var measurement = Measurement(scenario: scenario, target: target)
        measurement.notRun = reason
        return measurement
    }

    var isRedis: Bool { target == "redis" }

    var successRate: Double? {
        guard let attempted, attempted > 0, let failed else { return nil }
        return 1 - Double(failed) / Double(attempted)
    }
}

/// The middle value; the mean of the middle two of an even number.
func median(_ values: [Double]) -> Double? {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// Sets the ratios to Redis within each scenario that has a Redis line with figures.
func compareToRedis(_ measurements: inout [Measurement]) {
    for index in measurements.indices where !measurements[index].isRedis {
        let scenario = measurements[index].scenario
        guard let redis = measurements.first(where: { $0.scenario == scenario && $0.isRedis }) else { continue }
        if let ours = measurements[index].cpuMicroseconds, let theirs = redis.cpuMicroseconds, theirs > 0 {
            measurements[index].cpuRatioToRedis = ours / theirs
        }
        if let ours = measurements[index].rate, let theirs = redis.rate, theirs > 0 {
            measurements[index].rateRatioToRedis = ours / theirs
        }
    }
}
