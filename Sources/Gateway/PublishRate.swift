import Primitives

/// A token bucket in the form of the generic cell rate algorithm (ITU-T I.371): the whole state of one bucket is the
/// time at which it will be full again.
struct PublishRate: Equatable {
    /// Nanoseconds in which one token comes back.
    let interval: UInt64
    /// Nanoseconds in which an empty bucket but for one token fills.
    let tolerance: UInt64

    init(perSecond: Int, burst: Int) {
        interval = max(1, 1_000_000_000 / UInt64(max(1, perSecond)))
        tolerance = interval * UInt64(max(1, burst) - 1)
    }

    /// Takes a token from the bucket that is full at `fullAt`; false, and nothing is taken, when there is none.
    func take(_ fullAt: inout UInt64, now: Instant) -> Bool {
        let base = max(fullAt, now.nanoseconds)
        guard base - now.nanoseconds <= tolerance else { return false }
        fullAt = base + interval
        return true
    }
}

/// The buckets of one connection, one for each namespace with a rate in which it published.
struct PublishAllowance {
    private var buckets: [(namespace: Int32, fullAt: UInt64)] = []

    mutating func take(_ rate: PublishRate, namespace: Int32, now: Instant) -> Bool {
        var row = 0
        while row < buckets.count, buckets[row].namespace != namespace { row += 1 }
        if row == buckets.count { buckets.append((namespace, 0)) }
        return rate.take(&buckets[row].fullAt, now: now)
    }
}
