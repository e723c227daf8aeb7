import Primitives

/// What a run did, as one number and, when asked for, as text: two runs of one seed must agree to the last bit.
struct Trace {
    private(set) var hash: UInt64 = 0
    private(set) var events: UInt64 = 0
    let isKept: Bool
    private(set) var lines: [String] = []

    init(isKept: Bool) { self.isKept = isKept }

    mutating func note(_ a: UInt64, _ b: UInt64 = 0, _ c: UInt64 = 0) {
        events += 1
        hash = SplitMix64.mix(hash ^ SplitMix64.mix(a &+ 0x9e37 &* SplitMix64.mix(b &+ 0x79b9 &* c)))
    }

    mutating func line(_ time: Instant, _ text: () -> String) {
        guard isKept else { return }
        let microseconds = time.nanoseconds / 1000
        let digits = String(microseconds % 1_000_000)
        let padding = String(repeating: "0", count: 6 - digits.count)
        lines.append("\(microseconds / 1_000_000).\(padding)\(digits) \(text())")
    }
}
