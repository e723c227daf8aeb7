import Locks
import NIOCore

/// Messages to a shard from any thread, delivered on its loop in batches and in the order of each sender.
///
/// Senders append under a lock; only the one that finds the inbox empty wakes the loop, so a burst costs one wake-up.
/// Bounded: `post` refuses above `capacity` and counts it, and the sender decides what that means.
package final class Inbox<Message: Sendable>: @unchecked Sendable {
    @usableFromInline
    struct State {
        @usableFromInline var pending: [Message] = []
        @usableFromInline var refused: UInt64 = 0
        @usableFromInline var isClosed = false

        @usableFromInline init() {}
    }

    @usableFromInline let state = RankedLock(.inbox, State())
    /// The most messages that may wait.
    package let capacity: Int
    private let shard: Shard
    private let receive: ([Message]) -> Void
    // Loop-confined: the array that the next batch is swapped into, so that both keep their storage.
    private var batch: [Message] = []

    /// `receive` runs on the shard's loop with everything that waited; it must not keep the array.
    package init(shard: Shard, capacity: Int, receive: @escaping ([Message]) -> Void) {
        precondition(capacity > 0)
        self.shard = shard
        self.capacity = capacity
        self.receive = receive
    }

    /// Leaves a message, from any thread. False when the inbox is full or closed: nothing was left.
    @inlinable
    package func post(_ message: Message) -> Bool {
        let outcome = state.withLock { state -> (accepted: Bool, wasEmpty: Bool) in
            guard !state.isClosed, state.pending.count < capacity else {
                state.refused += 1
                return (false, false)
            }
            state.pending.append(message)
            return (true, state.pending.count == 1)
        }
        if outcome.wasEmpty { wake() }
        return outcome.accepted
    }

    /// Leaves several messages in order, all or none.
    @inlinable
    package func post(contentsOf messages: [Message]) -> Bool {
        guard !messages.isEmpty else { return true }
        let outcome = state.withLock { state -> (accepted: Bool, wasEmpty: Bool) in
            guard !state.isClosed, state.pending.count + messages.count <= capacity else {
                state.refused += UInt64(messages.count)
                return (false, false)
            }
            let wasEmpty = state.pending.isEmpty
            state.pending.append(contentsOf: messages)
            return (true, wasEmpty)
        }
        if outcome.wasEmpty { wake() }
        return outcome.accepted
    }

    /// Messages that were refused because the inbox was full or closed.
    package var refused: UInt64 { state.withLock { $0.refused } }

    /// Messages that wait.
    package var depth: Int { state.withLock { $0.pending.count } }

    /// Refuses everything from here on and drops what waits.
    package func close() {
        state.withLock { state in
            state.isClosed = true
            state.pending = []
        }
    }

    // The closure captures one reference, which the loop stores without allocating.
    @usableFromInline
    func wake() { shard.loop.execute { self.drain() } }

    private func drain() {
        let spare = batch
        batch = []
        batch = state.withLock { state in
            let waiting = state.pending
            state.pending = spare
            return waiting
        }
        if !batch.isEmpty { receive(batch) }
        batch.removeAll(keepingCapacity: batch.capacity <= 16384)
    }
}
