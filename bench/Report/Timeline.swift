/// How often something happened around a fault.
struct Timeline: Codable, Equatable, Sendable {
    var title: String
    var target: String
    /// Events a second in steps of `step` seconds, the first of them beginning at `start`, where 0 is the fault.
    var start: Double
    var step: Double
    var rates: [Double]

    static let defaultStart = -1.0
    static let defaultStep = 0.1
    static let defaultEnd = 11.0

    init(title: String, target: String, rates: [Double]) {
        self.title = title
        self.target = target
        start = Self.defaultStart
        step = Self.defaultStep
        self.rates = rates
    }

    /// When the last step ends.
    var end: Double { start + Double(rates.count) * step }

    /// Counts `times` (nanoseconds) around `fault`, from one second before it until the load ended.
    static func rates(of times: [UInt64], around fault: UInt64, until end: UInt64) -> [Double] {
        let length = min(defaultEnd, (Double(end) - Double(fault)) / 1e9) - defaultStart
        let count = max(0, Int(length / defaultStep))
        var rates = [Double](repeating: 0, count: count)
        for time in times {
            let seconds = (Double(time) - Double(fault)) / 1e9 - defaultStart
            guard seconds >= 0 else { continue }
            let index = Int(seconds / defaultStep)
            if index < count { rates[index] += 1 / defaultStep }
        }
        return rates
    }
}
