import Primitives

/// What the client edge of one shard is told at start. Node fills it from `[gateway]`, `[limits]`, `[auth]` and
/// `[heartbeat]`; limits that count for the whole node are divided by the number of shards there.
package struct GatewayConfiguration: Sendable {
    /// Shown to clients in the connect reply.
    package var nodeName = "vencejo"
    /// Makes the ids of unstored messages, clients and sessions unique in the cluster.
    package var node = NodeID(0)
    package var shard = 0
    package var version = "vencejo 0.1"

    // Admission.
    /// Client connections of this shard, HTTP requests included; one more gets 503 (GW-20).
    package var maxConnections = 50_000
    /// From so many on a new one is sent to a node with room, where one is known; 0: not before `maxConnections`.
    package var redirectAbove = 0
    /// Seconds that a refused client is told to wait, at least; at most twice as many, so that they do not come back
    /// together.
    package var retryAfter = 5

    // Inbound.
    /// Bytes of one inbound message (SE-09); a larger one closes with 1009.
    package var maxSize = 64 << 10
    /// Requests of one connection waiting for their replies; beyond it reading stops (BP-04).
    package var maxQueue = 64
    package var roomNameBytes = 255
    package var roomsPerConnection = 128
    package var httpHead = 16 << 10
    package var httpBody = 1 << 20
    /// The acknowledgement window of clients that ask for none in particular, and the largest that they get.
    package var ackWindow: UInt32 = 256
    /// Publications in one history reply.
    package var historyPage = 300

    // Outbound.
    /// Bytes waiting per connection outside the kernel, NIO's pending writes included (BP-01).
    package var writeLimit = 256 << 10
    /// Messages waiting per connection.
    package var writeMessages = 4096
    /// SO_SNDBUF of a client socket; 0 = the kernel's choice.
    package var socketSendBuffer = 128 << 10
    /// SO_RCVBUF of a client socket; 0 = the kernel's choice.
    package var socketReceiveBuffer = 0
    /// A connection whose outbound queue did not drain for so long is closed with 3008 (BP-12).
    package var slowTimeout = Interval.seconds(60)
    /// For the client's half of a close; then the socket is cut off.
    package var closeTimeout = Interval.seconds(1)

    // Time.
    /// From accept to the end of the HTTP head, and from the upgrade to the connect command.
    package var handshakeTimeout = Interval.seconds(10)
    /// The heartbeat of a connection none of whose rooms wants a tighter one.
    package var pingInterval = Interval.seconds(15)
    /// From a ping to the pong; together with the interval at most 30 s.
    package var pingTimeout = Interval.seconds(10)
    /// Without any byte from the client, pongs included; zero = never. For an HTTP connection: between two requests.
    package var idleTimeout = Interval.seconds(300)

    // Rooms and access.
    /// What the rooms' namespaces allow; rooms that none of them governs allow everything.
    package var namespaces: [GatewayNamespace] = []
    /// The room of everyone whom its namespace lets in; empty = none.
    package var broadcastRoom = "ws_broadcast"
    /// Whether clients without a token may connect.
    package var allowsAnonymous = true
    /// What backends send in `X-API-Key`; empty = the server API answers loopback only.
    package var apiKey: [UInt8] = []
    /// Allowed values of `Origin`; empty = any.
    package var origins: [String] = []

    package init() {}

    /// NIO's part of `writeLimit`: what may be handed to the channel before it counts as not writable.
    var highWatermark: Int { max(1024, min(64 << 10, writeLimit / 2)) }
    /// What may wait in the connection's own queue.
    var queueBytes: Int { max(1024, writeLimit - highWatermark) }
}
