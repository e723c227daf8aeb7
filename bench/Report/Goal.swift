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
}
