import Glibc

/// The lock order of the whole process (CN-05). A thread may only take a lock of a higher rank than every lock that it
/// holds; two locks of one rank are never held together. So no cycle of waiting threads can form.
///
/// Shards own their data and take no locks for it. What is left, outermost first:
///
/// | Rank | Guards | Held for |
/// |---|---|---|
/// | `lifecycle` | start, drain and stop of a node | control plane only |
/// | `registry` | tables read by several threads: listeners, status | a copy in or out |
/// | `storage` | the queue in front of the log's writer thread | an append or a swap |
/// | `inbox` | a shard's inbox | an append or a swap |
/// | `metrics` | published figures | a copy in or out |
///
/// No lock is held while code of another module runs, while waiting for I/O, or across a tick.
package enum LockRank: UInt8, CaseIterable, Sendable {
    case lifecycle = 1
    case registry = 2
    case storage = 3
    case inbox = 4
    case metrics = 5
}

/// The ranks that a thread holds, as bits in one thread-specific word: no allocation, and nothing at all in release
/// builds.
package enum HeldRanks {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        guard pthread_key_create(&key, nil) == 0 else { preconditionFailure("no thread-specific key is left") }
        return key
    }()

    package static func acquire(_ rank: LockRank) {
        let held = UInt(bitPattern: pthread_getspecific(key))
        let bit = UInt(1) << UInt(rank.rawValue)
        precondition(held < bit, "lock order: \(rank) taken while a lock of its rank or a higher one is held")
        pthread_setspecific(key, UnsafeRawPointer(bitPattern: held | bit))
    }

    package static func release(_ rank: LockRank) {
        let held = UInt(bitPattern: pthread_getspecific(key))
        let bit = UInt(1) << UInt(rank.rawValue)
        pthread_setspecific(key, UnsafeRawPointer(bitPattern: held & ~bit))
    }
}

/// A lock with a place in the lock order. Debug builds stop the process at the first acquisition out of order, whether
/// or not another thread is there to make it a deadlock; release builds are a plain `Lock`.
package struct RankedLock<Value>: ~Copyable, Sendable {
    @usableFromInline let lock: Lock<Value>
    package let rank: LockRank

    @inlinable
    package init(_ rank: LockRank, _ value: consuming sending Value) {
        self.rank = rank
        lock = Lock(value)
    }

    /// Runs `body` with the lock held; `body` must be short and must not call out.
    @inlinable
    package borrowing func withLock<Result, E: Error>(
        _ body: (inout sending Value) throws(E) -> sending Result
    ) throws(E) -> sending Result {
        #if DEBUG
            HeldRanks.acquire(rank)
            defer { HeldRanks.release(rank) }
        #endif
        return try lock.withLock(body)
    }
}
