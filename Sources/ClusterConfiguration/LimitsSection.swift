import Primitives

extension ClusterConfiguration {
    /// `[limits]`: the bound of everything that a client or a peer could make grow.
    package struct Limits: Sendable, Equatable {
        /// Client connections per node.
        package var maxConnections = 50_000
        /// Part of them from which on new clients are sent to nodes with room; 0: not before all are taken.
        package var redirectAbove = 0.0
        /// Bytes of one inbound client message.
        package var maxSize = 64 << 10
        /// Requests of a connection that wait for their answer.
        package var maxQueue = 64
        /// Outbound bytes waiting per connection.
        package var writeLimit = 256 << 10
        /// Outbound messages waiting per connection.
        package var writeMessages = 4096
        /// SO_SNDBUF of a client socket; 0: the kernel's choice.
        package var socketSendBuffer = 128 << 10
        /// SO_RCVBUF of a client socket; 0: the kernel's choice.
        package var socketReceiveBuffer = 0
        package var roomNameBytes = 255
        /// Rooms that one connection may subscribe to.
        package var roomsPerConnection = 128
        /// Subscriptions of all connections of a node.
        package var subscriptions = 2_000_000
        /// Rooms with state in one partition.
        package var roomsPerPartition = 65_536
        /// Bytes of an HTTP request's head.
        package var httpHead = 16 << 10
        /// Bytes of an HTTP request's body.
        package var httpBody = 1 << 20
        /// From accept to a usable connection.
        package var handshakeTimeout = Interval.seconds(10)
        /// Without a byte from the client, pongs included; zero: never.
        package var idleTimeout = Interval.seconds(300)
        /// Without progress of a client's outbound queue.
        package var slowTimeout = Interval.seconds(60)
        /// For the client's half of a close.
        package var closeTimeout = Interval.seconds(1)
        /// Unacknowledged publications per subscription.
        package var ackWindow = 256
        /// Publications in one history or recovery reply.
        package var historyPage = 300
        /// Publishes of all clients of a node waiting for their acknowledgement.
        package var pendingPublishes = 65_536
        /// Producers remembered per room.
        package var producersPerRoom = 1024
        /// How long a producer's message id is remembered.
        package var idempotencyWindow = Interval.seconds(300)
        /// Message ids remembered per room.
        package var idempotencyEntries = 10_000

        package init() {}
    }
}

extension ClusterConfiguration.Limits {
    static let settings: [Setting<Self>] = [
        .integer(
            "max_connections",
            \.maxConnections,
            1...10_000_000,
            "Client connections per node; one more is refused."
        ),
        .number(
            "redirect_above",
            \.redirectAbove,
            0...1,
            "Part of max_connections from which on new clients are sent to nodes with room, as far as other nodes' "
                + "loads are known; 0: not before max_connections are there."
        ),
        .size(
            "max_size",
            \.maxSize,
            128...(64 << 20),
            "Largest inbound client message; a larger one closes with 1009."
        ),
        .integer(
            "max_queue",
            \.maxQueue,
            1...65536,
            "Requests of one connection that wait for their answer; beyond it reading stops and TCP pushes back."
        ),
        .size(
            "write_limit",
            \.writeLimit,
            (4 << 10)...(1 << 30),
            "Outbound bytes waiting per connection, beyond the kernel's buffer; at least twice max_size."
        ),
        .integer("write_messages", \.writeMessages, 1...1_000_000, "Outbound messages waiting per connection."),
        .size(
            "socket_send_buffer",
            \.socketSendBuffer,
            (4 << 10)...(64 << 20),
            zero: "the kernel's choice, which grows to megabytes",
            "Kernel send buffer of a client socket (SO_SNDBUF)."
        ),
        .size(
            "socket_receive_buffer",
            \.socketReceiveBuffer,
            (4 << 10)...(64 << 20),
            zero: "the kernel's choice",
            "Kernel receive buffer of a client socket (SO_RCVBUF)."
        ),
        .integer("room_name_bytes", \.roomNameBytes, 1...255, "Longest room name in UTF-8 bytes."),
        .integer(
            "rooms_per_connection",
            \.roomsPerConnection,
            1...65536,
            "Rooms that one connection may subscribe to."
        ),
        .integer("subscriptions", \.subscriptions, 1...100_000_000, "Subscriptions of all connections of a node."),
        .integer(
            "rooms_per_partition",
            \.roomsPerPartition,
            16...10_000_000,
            "Rooms with state in one partition; beyond it a publish to a new room is refused."
        ),
        .size("http_head", \.httpHead, 1024...(1 << 20), "Head of an HTTP request; a larger one gets 431."),
        .size("http_body", \.httpBody, 1024...(64 << 20), "Body of an HTTP request; a larger one gets 413."),
        .duration(
            "handshake_timeout",
            \.handshakeTimeout,
            .milliseconds(100)...(.seconds(300)),
            "From accept to a usable connection; a slower one is closed."
        ),
        .duration(
            "idle_timeout",
            \.idleTimeout,
            .milliseconds(500)...(.seconds(86400)),
            zero: "never",
            "A connection that sends nothing, pongs included, is closed: an HTTP connection between two "
                + "requests, and a "
                + "WebSocket as a last resort behind its heartbeat; longer than every heartbeat profile's interval and "
                + "timeout together."
        ),
        .duration(
            "slow_timeout",
            \.slowTimeout,
            .milliseconds(100)...(.seconds(3600)),
            "A client that takes nothing while messages wait for it is closed after this, with code 3008."
        ),
        .duration(
            "close_timeout",
            \.closeTimeout,
            .milliseconds(100)...(.seconds(60)),
            "A client that does not answer a close is cut off after this."
        ),
        .integer(
            "ack_window",
            \.ackWindow,
            1...65536,
            "Unacknowledged publications per subscription of a guaranteed room."
        ),
        .integer("history_page", \.historyPage, 1...10_000, "Publications in one history or recovery reply."),
        .integer(
            "pending_publishes",
            \.pendingPublishes,
            1...10_000_000,
            "Publishes of a whole node that wait for their acknowledgement; beyond it a publish is refused for now."
        ),
        .integer("producers_per_room", \.producersPerRoom, 1...1_000_000, "Idempotent producers remembered per room."),
        .duration(
            "idempotency_window",
            \.idempotencyWindow,
            .seconds(1)...(.seconds(7 * 86400)),
            "How long a message id is remembered, so that a repeated publish takes effect once."
        ),
        .integer("idempotency_entries", \.idempotencyEntries, 1...10_000_000, "Message ids remembered per room."),
    ]
}
