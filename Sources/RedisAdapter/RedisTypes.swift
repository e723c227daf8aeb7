import Primitives
import RedisBackplane
import SystemOpenSSL

/// How the adapter reaches Redis.
package struct RedisAdapterSettings: Sendable {
    /// Where a server or a peer is.
    package struct Address: Hashable, Sendable {
        package var host: String
        package var port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    /// The server, when no Sentinel names it.
    package var server = Address(host: "localhost", port: 6379)
    /// Empty: the default user.
    package var user = ""
    /// Empty: no AUTH.
    package var password = ""
    package var database = 0
    /// For servers and Sentinels; nil: plain TCP.
    package var tls: TLSContext?
    /// Sentinels that know the master; empty: `server` is it.
    package var sentinels: [Address] = []
    package var sentinelMaster = "mymaster"
    package var sentinelPassword = ""
    /// Rooms go through Redis; false: only commands of the pool do (RA-03).
    package var isPubSubEnabled = true
    /// Connections that the pool keeps open although nobody uses them, and that it keeps at most (RA-21).
    package var poolMinimum = 0
    package var poolSize = 10
    /// Connections of all kinds.
    package var maxConnections = 50
    package var connectTimeout = Interval.seconds(5)
    /// Of a command, and of waiting for a connection of the pool.
    package var socketTimeout = Interval.seconds(5)
    package var retryOnTimeout = true
    package var retryAttempts = 3
    /// Requests that may wait for a connection of the pool.
    package var poolQueue = 4096
    /// Where the gateways of the other nodes are, by node name.
    package var peers: [String: Address] = [:]
    package var backplane = BackplaneSettings()

    package init() {}

    /// Connections of the backplane itself: publisher, subscriber, readers, and the writer that waits for replicas.
    var dedicated: Int {
        isPubSubEnabled ? 2 + backplane.readers + (backplane.waitReplicas > 0 ? 1 : 0) : 0
    }
}

/// Why Redis did not do what it was asked.
package enum RedisError: Error, Equatable, Sendable, CustomStringConvertible {
    case connect(String)
    /// No answer in time. The command may have been carried out.
    case timeout
    case closed(String)
    /// The server's own words during the handshake.
    case refused(String)
    /// No connection became free in time, or too many requests waited for one.
    case exhausted
    /// The command could hold a connection that others share.
    case blocking(String)
    /// Not tried: the circuit breaker is open.
    case unavailable(String)

    package var description: String {
        switch self {
        case .connect(let reason): "cannot connect to Redis: \(reason)"
        case .timeout: "Redis did not answer in time"
        case .closed(let reason): "the connection to Redis ended: \(reason)"
        case .refused(let reason): "Redis refuses: \(reason)"
        case .exhausted: "no connection to Redis became free in time"
        case .blocking(let name): "\(name) blocks its connection, and the pool's are shared"
        case .unavailable(let reason): "Redis is not available: \(reason)"
        }
    }
}

/// What the adapter knows about itself, for status and metrics.
package struct RedisAdapterStatus: Sendable {
    package var isUp = false
    package var isFallback = false
    package var breaker = CircuitBreaker.State.closed
    package var breakerOpenings: UInt64 = 0
    package var attempts: UInt64 = 0
    /// Why it is not up.
    package var reason = ""
    /// Where the master is, as far as is known.
    package var server = ""
    /// Open connections by kind: `pool`, `publisher`, `subscriber`, `reader`, `writer`, `sentinel`.
    package var connections: [String: Int] = [:]
    package var poolRequests: UInt64 = 0
    package var poolWaiting = 0
    package var poolRetries: UInt64 = 0
    package var probeLatency: Interval?
    package var switches: UInt64 = 0
    package var foreignPeers: [String] = []
    package var counters = BackplaneCounters()

    package init() {}
}
