import EventLoops
import Locks
import NIOCore
import Primitives

/// What all shards of a node's shim share: settings, the topology, ids of clients, SLOWLOG, and who is subscribed to
/// what. Locked, and asked for seldom: shards keep copies of what they look at for each command.
package final class RESPNode: Sendable {
    struct State {
        var settings: RESPSettings
        /// Parameters of `CONFIG` that nothing here acts on, as they were set.
        var stored: [String: String] = [:]
        var topology: RESPTopology?
        var shards: [RESPShard] = []
        var lastClient: UInt64 = 0
        var clients = 0
        var peakClients = 0
        var pause: Pause?
        var slowlog: [SlowCommand] = []
        var slowlogID: UInt64 = 0
        var channels: [[UInt8]: Int] = [:]
        var shardChannels: [[UInt8]: Int] = [:]
        var patterns: [[UInt8]: Int] = [:]
        var statisticsReset: Timestamp
        var monitors = 0
    }

    /// CLIENT PAUSE.
    struct Pause: Sendable {
        var until: Instant
        /// False: only what writes waits.
        var isAll: Bool
    }

    struct SlowCommand: Sendable {
        var id: UInt64
        var time: Timestamp
        var microseconds: UInt64
        var arguments: [[UInt8]]
        var address: String
        var name: [UInt8]
    }

    enum ChannelKind: Sendable {
        case channel
        case shard
    }

    private let state: RankedLock<State>
    let actions: RESPActions
    let started: Timestamp

    package init(settings: RESPSettings, actions: RESPActions) {
        started = WallClock.now()
        self.actions = actions
        state = RankedLock(.registry, State(settings: settings, statisticsReset: started))
    }

    // MARK: Shards

    func join(_ shard: RESPShard) { state.withLock { $0.shards.append(shard) } }

    var shards: [RESPShard] { state.withLock { $0.shards } }

    /// Runs `query` on the loop of every shard and gives `done` the answers, on the loop of `origin`.
    func gather<Answer: Sendable>(
        from origin: RESPShard,
        _ query: @escaping @Sendable (RESPShard) -> Answer,
        _ done: @escaping ([Answer]) -> Void
    ) {
        let shards = self.shards
        let answers = Answers(count: shards.count, done)
        for (index, shard) in shards.enumerated() {
            if shard === origin {
                answers.add(index, query(shard))
            } else {
                shard.loop.loop.execute {
                    let answer = query(shard)
                    origin.loop.loop.execute { answers.add(index, answer) }
                }
            }
        }
    }

    /// Confined to the loop of the shard that asks.
    private final class Answers<Answer>: @unchecked Sendable {
        private var answers: [Answer?]
        private var missing: Int
        private let done: ([Answer]) -> Void

        init(count: Int, _ done: @escaping ([Answer]) -> Void) {
            answers = Array(repeating: nil, count: count)
            missing = count
            self.done = done
        }

        func add(_ index: Int, _ answer: Answer) {
            answers[index] = answer
            missing -= 1
            if missing == 0 { done(answers.compactMap { $0 }) }
        }
    }

    // MARK: Settings

    package var settings: RESPSettings { state.withLock { $0.settings } }

    /// Changes the settings; every shard has them soon after, `origin` at once.
    func change(from origin: RESPShard, _ body: (inout RESPSettings, inout [String: String]) -> Void) {
        let (settings, shards) = state.withLock { state in
            body(&state.settings, &state.stored)
            while state.slowlog.count > state.settings.slowlogLength { state.slowlog.removeFirst() }
            return (state.settings, state.shards)
        }
        for shard in shards {
            if shard === origin {
                shard.settings = settings
            } else {
                shard.loop.loop.execute { shard.settings = settings }
            }
        }
    }

    var storedParameters: [String: String] { state.withLock { $0.stored } }

    func resetStatistics() { state.withLock { $0.statisticsReset = WallClock.now() } }

    // MARK: Topology

    package var topology: RESPTopology? { state.withLock { $0.topology } }

    /// Called by the node, from any thread, when ownership or membership has changed. Sentinel clients are told when
    /// the owner of the first key partition is another.
    package func setTopology(_ topology: RESPTopology) {
        let (old, shards) = state.withLock { state in
            let old = state.topology
            state.topology = topology
            return (old, state.shards)
        }
        guard old != topology else { return }
        for shard in shards { shard.loop.loop.execute { shard.topologyChanged(from: old, to: topology) } }
    }

    // MARK: Clients

    /// A number for a new client; nil above `maxclients`.
    func admitClient() -> UInt64? {
        state.withLock { state in
            guard state.clients < state.settings.maxClients else { return nil }
            state.clients += 1
            state.peakClients = max(state.peakClients, state.clients)
            state.lastClient += 1
            return state.lastClient
        }
    }

    func clientLeft() { state.withLock { $0.clients -= 1 } }

    var pause: Pause? { state.withLock { $0.pause } }

    /// The later end and the stricter kind of an earlier pause stay, as in Redis.
    func pause(_ pause: Pause?) {
        let (effective, shards) = state.withLock { state -> (Pause?, [RESPShard]) in
            if let pause, let known = state.pause, known.until > MonotonicClock.now() {
                state.pause = Pause(until: max(known.until, pause.until), isAll: known.isAll || pause.isAll)
            } else {
                state.pause = pause
            }
            return (state.pause, state.shards)
        }
        for shard in shards { shard.loop.loop.execute { shard.pauseChanged(effective) } }
    }

    /// Shards look for monitors only while there are some.
    func monitorsChanged(by change: Int) {
        let shards = state.withLock { state in
            state.monitors += change
            return state.shards
        }
        for shard in shards { shard.loop.loop.execute { shard.isMonitored = self.state.withLock { $0.monitors > 0 } } }
    }

    // MARK: SLOWLOG

    func addSlow(_ command: SlowCommand) {
        state.withLock { state in
            guard state.settings.slowlogLength > 0 else { return }
            var command = command
            command.id = state.slowlogID
            state.slowlogID += 1
            if state.slowlog.count >= state.settings.slowlogLength { state.slowlog.removeFirst() }
            state.slowlog.append(command)
        }
    }

    var slowlog: [SlowCommand] { state.withLock { $0.slowlog } }

    func resetSlowlog() { state.withLock { $0.slowlog = [] } }

    // MARK: Subscriptions of this node

    func subscribed(_ kind: ChannelKind, _ name: [UInt8]) {
        state.withLock { state in
            if kind == .channel {
                state.channels[name, default: 0] += 1
            } else {
                state.shardChannels[name, default: 0] += 1
            }
        }
    }

    func unsubscribed(_ kind: ChannelKind, _ name: [UInt8]) {
        state.withLock { state in
            if kind == .channel {
                RESPNode.decrease(&state.channels, name)
            } else {
                RESPNode.decrease(&state.shardChannels, name)
            }
        }
    }

    func subscribedPattern(_ pattern: [UInt8]) { state.withLock { $0.patterns[pattern, default: 0] += 1 } }
    func unsubscribedPattern(_ pattern: [UInt8]) { state.withLock { RESPNode.decrease(&$0.patterns, pattern) } }

    private static func decrease(_ counts: inout [[UInt8]: Int], _ name: [UInt8]) {
        guard let count = counts[name] else { return }
        counts[name] = count > 1 ? count - 1 : nil
    }

    /// Names with at least one subscriber on this node, in the order of their bytes.
    func names(_ kind: ChannelKind, matching pattern: Glob?) -> [[UInt8]] {
        let all = state.withLock { kind == .channel ? $0.channels : $0.shardChannels }
        return all.keys.filter { pattern?.matches($0) ?? true }.sorted { $0.lexicographicallyPrecedes($1) }
    }

    func count(_ kind: ChannelKind, _ name: [UInt8]) -> Int {
        state.withLock { (kind == .channel ? $0.channels[name] : $0.shardChannels[name]) ?? 0 }
    }

    struct SubscriptionCounts {
        var channels: Int
        var shardChannels: Int
        var patterns: Int
        var clients: Int
    }

    var subscriptionCounts: SubscriptionCounts {
        state.withLock {
            SubscriptionCounts(
                channels: $0.channels.count,
                shardChannels: $0.shardChannels.count,
                patterns: $0.patterns.count,
                clients: $0.clients
            )
        }
    }
}
