import Broker
import Primitives
import RESP
import Rooms

/// What the core is told at start.
package struct BackplaneSettings: Sendable {
    /// This node's name, and the names of the others of the same deployment.
    package var node = "n1"
    package var peers: [String] = []
    /// Prefix of channels and keys (RA-07).
    package var prefix = "chat_system"
    /// The room of everyone: the channel `prefix` itself.
    package var broadcastRoom = "ws_broadcast"
    package var namespaces = NamespaceTable([])
    /// True: one pattern for all rooms; false: the channels of the rooms that have members here.
    package var usesPattern = true
    package var retryOnTimeout = true
    /// Retries before the fallback (RA-09).
    package var retryAttempts = 3
    package var socketTimeout = Interval.seconds(5)
    package var retryBase = Interval.milliseconds(100)
    package var retryCeiling = Interval.seconds(30)
    /// Between two publish-to-receive probes.
    package var probeInterval = Interval.seconds(5)
    /// Dedicated connections that read streams.
    package var readers = 1
    package var readCount = 256
    package var readBlock = Interval.seconds(5)
    /// Replicas that must have an entry before it is acknowledged (WAIT); 0: the master's word is enough.
    package var waitReplicas = 0
    package var waitTimeout = Interval.seconds(1)
    package var idempotencyWindow = Interval.seconds(300)
    /// Publishes to streams that have no answer yet.
    package var pendingPublishes = 65_536
    package var queueCount = 65_536
    package var queueBytes = 32 << 20
    package var window = 4096
    package var historyLimit = 300
    package var rooms = 100_000
    package var seed: UInt64 = 1

    package init() {}
}

/// A connection that belongs to the backplane alone.
package enum BackplaneConnection: Hashable, Sendable {
    /// Everything that is published, pipelined.
    case publisher
    case subscriber
    /// Appends that wait for replicas: WAIT holds its connection back.
    case writer
    /// A blocking reader of streams.
    case reader(Int)
}

/// What the core wants done, in order.
package enum BackplaneDirective: Sendable {
    /// Make the dedicated connections; then `onConnected` or `onLinkLost`.
    case connect
    /// Close them; `onLinkLost` follows.
    case disconnect(String)
    /// On a dedicated connection. Replies come by `onReply`, in order. `patience` is added to the usual time limit.
    case send(BackplaneConnection, RESPCommand, patience: Interval)
    /// On any connection of the pool: `onPoolReply` with as many values as commands.
    case pool(UInt64, [RESPCommand])
    /// To a shard's hub.
    case hub(Int, ShardMessage)
    /// Does this node's gateway answer? `onPeerProbed` follows.
    case probePeer(String)
    case event(BackplaneEvent)
}

/// For the log and the event list.
package enum BackplaneEvent: Equatable, Sendable {
    case up(attempts: UInt64)
    case lost(String)
    case fallback(String)
    case recovered
    case breaker(CircuitBreaker.State)
    /// A message on the channel of a room whose class keeps messages: it has no place in the stream.
    case unplaced(String)
    /// Redis refused something that it should not.
    case refused(String)
    /// A room's stream began anew: positions in it are void.
    case roomReset(String)
    /// This peer answers, and is not registered in the same Redis.
    case foreignPeer(String)
}

/// Counts since start.
package struct BackplaneCounters: Equatable, Sendable {
    package var published: UInt64 = 0
    package var received: UInt64 = 0
    package var appended: UInt64 = 0
    package var read: UInt64 = 0
    package var localBroadcasts: UInt64 = 0
    package var retried: UInt64 = 0
    package var unplaced: UInt64 = 0
    package var resets: UInt64 = 0

    package init() {}
}
