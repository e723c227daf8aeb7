import Rooms

/// Why a message did not reach a connection.
package enum DropReason: Int, CaseIterable, Sendable {
    /// The connection reads too slowly.
    case slow
    /// Its time to live had passed (DL-09).
    case stale
}

/// Counts of one shard since start. A plain value: the admin gets a copy.
package struct GatewayMetrics: Sendable {
    /// Upper bounds of the latency buckets in milliseconds; one more bucket takes the rest.
    package static let latencyBounds: [UInt64] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000]

    package var activeConnections = 0
    package var activeSessions = 0
    package var connectionsTotal: UInt64 = 0
    package var sessionsTotal: UInt64 = 0
    /// Sessions closed, by close code (1006 = broken).
    package var closedByCode: [UInt16: UInt64] = [:]
    /// Refused HTTP requests and upgrades, by status.
    package var refusedByStatus: [UInt16: UInt64] = [:]
    /// New clients sent to a node with room.
    package var redirects: UInt64 = 0
    /// Sessions that a drain told to go elsewhere, and clients that it cut off when its time was over.
    package var moved: UInt64 = 0
    package var cut: UInt64 = 0
    package var messagesSent: UInt64 = 0
    package var messagesReceived: UInt64 = 0
    package var broadcasts: UInt64 = 0
    package var publishes: UInt64 = 0
    package var sendErrors: UInt64 = 0
    package var flushes: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    /// Bytes in the connections' own queues now.
    package var queuedBytes = 0
    /// Stored rooms that a full queue paused.
    package var pauses: UInt64 = 0
    /// Times that reading stopped because too many requests were unanswered.
    package var readPauses: UInt64 = 0
    /// Publish timestamp to socket write, in the bounds of `latencyBounds`.
    package var latencyBuckets = [UInt64](repeating: 0, count: latencyBounds.count + 1)
    package var latencySumMilliseconds: UInt64 = 0
    package var latencyCount: UInt64 = 0
    package var cleanups: UInt64 = 0
    package var cleanupNanoseconds: UInt64 = 0
    private var drops = [UInt64](repeating: 0, count: 3 * DropReason.allCases.count)
    private var policyRefusals = [UInt64](repeating: 0, count: PolicyRefusal.allCases.count)

    package init() {}

    package func dropped(_ deliveryClass: DeliveryClass, _ reason: DropReason) -> UInt64 {
        drops[Int(deliveryClass.rawValue) * DropReason.allCases.count + reason.rawValue]
    }

    mutating func drop(_ deliveryClass: DeliveryClass, _ reason: DropReason, _ count: UInt64 = 1) {
        drops[Int(deliveryClass.rawValue) * DropReason.allCases.count + reason.rawValue] += count
    }

    /// Requests that a namespace's policy refused.
    package func refused(_ reason: PolicyRefusal) -> UInt64 { policyRefusals[reason.rawValue] }

    mutating func refuse(_ reason: PolicyRefusal) { policyRefusals[reason.rawValue] += 1 }

    mutating func latency(milliseconds: UInt64, count: Int) {
        guard count > 0 else { return }
        var bucket = 0
        while bucket < GatewayMetrics.latencyBounds.count, milliseconds > GatewayMetrics.latencyBounds[bucket] {
            bucket += 1
        }
        latencyBuckets[bucket] += UInt64(count)
        latencySumMilliseconds += milliseconds &* UInt64(count)
        latencyCount += UInt64(count)
    }

    /// The sum of two shards.
    package static func + (a: GatewayMetrics, b: GatewayMetrics) -> GatewayMetrics {
        var sum = a
        sum.activeConnections += b.activeConnections
        sum.activeSessions += b.activeSessions
        sum.connectionsTotal += b.connectionsTotal
        sum.sessionsTotal += b.sessionsTotal
        sum.closedByCode.merge(b.closedByCode, uniquingKeysWith: +)
        sum.refusedByStatus.merge(b.refusedByStatus, uniquingKeysWith: +)
        sum.redirects += b.redirects
        sum.moved += b.moved
        sum.cut += b.cut
        sum.messagesSent += b.messagesSent
        sum.messagesReceived += b.messagesReceived
        sum.broadcasts += b.broadcasts
        sum.publishes += b.publishes
        sum.sendErrors += b.sendErrors
        sum.flushes += b.flushes
        sum.bytesIn += b.bytesIn
        sum.bytesOut += b.bytesOut
        sum.queuedBytes += b.queuedBytes
        sum.pauses += b.pauses
        sum.readPauses += b.readPauses
        for index in sum.latencyBuckets.indices { sum.latencyBuckets[index] += b.latencyBuckets[index] }
        sum.latencySumMilliseconds += b.latencySumMilliseconds
        sum.latencyCount += b.latencyCount
        sum.cleanups += b.cleanups
        sum.cleanupNanoseconds += b.cleanupNanoseconds
        for index in sum.drops.indices { sum.drops[index] += b.drops[index] }
        for index in sum.policyRefusals.indices { sum.policyRefusals[index] += b.policyRefusals[index] }
        return sum
    }
}
