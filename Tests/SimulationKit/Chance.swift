import Primitives

extension Xoshiro256 {
    /// A number in `range`, ends included.
    mutating func pick(_ range: ClosedRange<UInt64>) -> UInt64 {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }

    mutating func pick(_ range: ClosedRange<Int>) -> Int {
        Int(pick(UInt64(range.lowerBound)...UInt64(range.upperBound)))
    }

    mutating func pick<T>(_ values: [T]) -> T { values[Int(below(UInt64(values.count)))] }

    /// A span of so many microseconds, ends included.
    mutating func microseconds(_ range: ClosedRange<UInt64>) -> Interval { .microseconds(pick(range)) }

    mutating func milliseconds(_ range: ClosedRange<UInt64>) -> Interval {
        .microseconds(pick(range.lowerBound * 1000...range.upperBound * 1000))
    }

    /// A span around `mean` with a long tail: mostly below twice the mean, one in sixteen up to eight times as long.
    mutating func around(_ mean: Interval) -> Interval {
        let span = Interval(nanoseconds: below(2 * mean.nanoseconds + 1))
        return chance(1, in: 16) ? span * 4 : span
    }

    /// A generator of its own, so that one part's draws do not move another's.
    mutating func split() -> Xoshiro256 { Xoshiro256(seed: next()) }

    mutating func shuffle<T>(_ values: inout [T]) {
        guard values.count > 1 else { return }
        for last in (1..<values.count).reversed() { values.swapAt(last, Int(below(UInt64(last + 1)))) }
    }
}

extension Interval {
    static func + (a: Interval, b: Interval) -> Interval { Interval(nanoseconds: a.nanoseconds &+ b.nanoseconds) }
}
