import Locks
import Synchronization

/// A counter that many threads raise: every increment counts, none waits (CN-03). For what one shard alone counts, use
/// a plain integer of the shard and publish it with `Published`.
package final class SharedCounter: Sendable {
    @usableFromInline let count = Atomic<UInt64>(0)

    @inlinable package init() {}

    @inlinable package func increment(by amount: UInt64 = 1) { count.wrappingAdd(amount, ordering: .relaxed) }

    /// Everything that was counted before this call on this thread, and perhaps more.
    @inlinable package var value: UInt64 { count.load(ordering: .relaxed) }
}

/// A shard's figures, copied out about once a tick so that other threads can read a consistent set without touching the
/// shard.
package final class Published<Value: Sendable>: Sendable {
    @usableFromInline let latest: RankedLock<Value>

    @inlinable package init(_ value: Value) { latest = RankedLock(.metrics, value) }

    @inlinable package func store(_ value: Value) { latest.withLock { $0 = value } }

    /// Changes the figures in place; `change` is short and calls nothing.
    @inlinable package func update(_ change: (inout Value) -> Void) { latest.withLock { change(&$0) } }

    @inlinable package func load() -> Value { latest.withLock { $0 } }
}
