import NIOCore
import NIOPosix
import Primitives

/// The shards of a process: one event loop and thread each.
package final class Shards: Sendable {
    package let all: [Shard]
    private let group: MultiThreadedEventLoopGroup

    /// `pinned` binds shard i's thread to processor `i + firstCPU`, for machines that the node has to itself.
    package init(count: Int, pinned: Bool = false, firstCPU: Int = 0) {
        precondition(count > 0)
        group = MultiThreadedEventLoopGroup(numberOfThreads: count)
        var shards: [Shard] = []
        for loop in group.makeIterator() { shards.append(Shard(index: shards.count, loop: loop, group: group)) }
        all = shards
        if pinned {
            for shard in all { _ = shard.pin(toCPU: firstCPU + shard.index) }
        }
    }

    package var count: Int { all.count }

    package subscript(index: Int) -> Shard { all[index] }

    /// The indices of shards whose loop has not ticked for longer than `limit`: what a liveness probe asks, from a
    /// thread that is not a shard's.
    package func stalled(longerThan limit: Interval, at now: Instant) -> [Int] {
        all.filter { $0.pulse.silence(at: now) > limit }.map(\.index)
    }

    /// Closes every channel and ends the threads.
    package func shutDown() async throws { try await group.shutdownGracefully() }

    /// The same for callers without a task. Not from a shard's thread.
    package func shutDownBlocking() throws { try group.syncShutdownGracefully() }
}
