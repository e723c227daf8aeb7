import DequeModule
import RESP

/// Connections that wait for a key. A waiter is a command to run again when a key of it changes, as Redis 7.2 does it.
struct Waiters: Sendable {
    struct Waiter: Sendable {
        var call: Call
        var version: UInt8
        var keys: [Keyspace.DatabaseKey]
        /// Milliseconds since 1970; 0: for ever.
        var deadline: Int64
        /// What the client gets when the time is up.
        var onTimeout: Timeout
        /// Order of arrival: first blocked, first served.
        var arrival: UInt64
        /// A key that is removed or gets another type wakes it too (XREADGROUP).
        var wakesOnRemoval: Bool
    }

    enum Timeout: Sendable {
        case null
        case nullArray
    }

    private(set) var waiters: [WaiterID: Waiter] = [:]
    private var byKey: [Keyspace.DatabaseKey: Deque<WaiterID>] = [:]
    private var arrivals: UInt64 = 0

    var isEmpty: Bool { waiters.isEmpty }
    var count: Int { waiters.count }

    func isWaited(_ key: Keyspace.DatabaseKey) -> Bool { byKey[key] != nil }
    /// First come, first served.
    func waiting(at key: Keyspace.DatabaseKey) -> Deque<WaiterID> { byKey[key] ?? [] }

    mutating func add(_ id: WaiterID, _ waiter: Waiter) {
        var waiter = waiter
        if let known = waiters[id] {
            // The same command still waits: it keeps its place, and its time runs on.
            waiter.arrival = known.arrival
            waiter.deadline = known.deadline
            waiters[id] = waiter
            return
        }
        arrivals += 1
        waiter.arrival = arrivals
        waiters[id] = waiter
        var seen: Set<Keyspace.DatabaseKey> = []
        for key in waiter.keys where seen.insert(key).inserted { byKey[key, default: []].append(id) }
    }

    @discardableResult
    mutating func remove(_ id: WaiterID) -> Waiter? {
        guard let waiter = waiters.removeValue(forKey: id) else { return nil }
        for key in waiter.keys {
            byKey[key]?.removeAll { $0 == id }
            if byKey[key]?.isEmpty == true { byKey[key] = nil }
        }
        return waiter
    }

    /// Those whose time is up, in order of arrival.
    func due(_ now: Int64) -> [WaiterID] {
        waiters.filter { $0.value.deadline != 0 && $0.value.deadline <= now }.sorted {
            $0.value.arrival < $1.value.arrival
        }
        .map(\.key)
    }

    func of(gateway: UInt64) -> [WaiterID] { waiters.keys.filter { $0.gateway == gateway }.sorted() }

    var nextDeadline: Int64? { waiters.values.lazy.map(\.deadline).filter { $0 != 0 }.min() }
}

/// The reply to a command that had waited.
package struct ServedWaiter: Sendable {
    package var waiter: WaiterID
    package var reply: [UInt8]
}
