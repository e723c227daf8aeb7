import ArgumentParser

/// Bounds that turn a report into an exit code; nil for no bound.
struct Thresholds: Equatable {
    var maxCPURatio: Double?
    var minRate: Double?
    var maxP99Milliseconds: Double?
    var maxSilenceMilliseconds: Double?
    var maxBytesPerConnection: Double?

    /// What is broken, in words; empty when all is well.
    ///
    /// Loss, duplicates and reordering always count. A threshold for which nothing was measured is broken too: a gate
    /// that measures nothing must not be green.
    func breaches(of measurements: [Measurement]) -> [String] {
        let ours = measurements.filter { !$0.isRedis }
        var breaches: [String] = []
        for line in ours {
            guard let delivery = line.delivery, !delivery.isClean else { continue }
            breaches.append(
                "\(line.scenario), \(line.target): \(delivery.lost) lost, \(delivery.duplicated) duplicated, "
                    + "\(delivery.reordered) reordered"
            )
        }
        func bound(
            _ name: String,
            _ limit: Double?,
            isMinimum: Bool = false,
            _ value: (Measurement) -> Double?
        ) {
            guard let limit else { return }
            var isMeasured = false
            for line in ours {
                guard let value = value(line) else { continue }
                isMeasured = true
                guard isMinimum ? value < limit : value > limit else { continue }
                breaches.append("\(line.scenario), \(line.target): \(name) \(format(value)), limit \(format(limit))")
            }
            if !isMeasured { breaches.append("\(name) was not measured") }
        }
        bound("CPU ratio to redis", maxCPURatio) { $0.cpuRatioToRedis }
        bound("rate", minRate, isMinimum: true) { $0.rate }
        bound("p99 ms", maxP99Milliseconds) { $0.latency?.p99 }
        bound("silence ms", maxSilenceMilliseconds) { $0.silenceMilliseconds }
        bound("bytes per connection", maxBytesPerConnection) { $0.bytesPerConnection }
        return breaches
    }
}

/// The thresholds on the command line.
struct ThresholdOptions: ParsableArguments {
    @Option(help: "Fail when our processor time per operation exceeds Redis's by this factor.")
    var maxCpuRatio: Double?
    @Option(help: "Fail when fewer operations a second succeed.")
    var minRate: Double?
    @Option(name: .customLong("max-p99-ms"), help: "Fail when the 99th percentile of latency is above this.")
    var maxP99Milliseconds: Double?
    @Option(name: .customLong("max-silence-ms"), help: "Fail when a room acknowledges nothing for longer than this.")
    var maxSilenceMilliseconds: Double?
    @Option(help: "Fail when an idle connection costs more memory than this.")
    var maxBytesPerConnection: Double?

    var thresholds: Thresholds {
        Thresholds(
            maxCPURatio: maxCpuRatio,
            minRate: minRate,
            maxP99Milliseconds: maxP99Milliseconds,
            maxSilenceMilliseconds: maxSilenceMilliseconds,
            maxBytesPerConnection: maxBytesPerConnection
        )
    }
}
