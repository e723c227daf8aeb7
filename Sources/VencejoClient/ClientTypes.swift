/// A position in a room's history: everything up to `offset` is known.
package struct RoomPosition: Equatable, Sendable {
    package var epoch: UInt64
    package var offset: UInt64

    package init(epoch: UInt64, offset: UInt64) {
        self.epoch = epoch
        self.offset = offset
    }
}

/// Why a request or a connection failed.
package enum ClientFailure: Error, Equatable, Sendable {
    /// Not `ws://host:port/path`.
    case invalidURL(String)
    /// No node could be reached; with the last one's reason.
    case unreachable(String)
    /// The node refused the upgrade or broke the protocol.
    case protocolViolation(String)
    /// The server's error reply.
    case server(code: UInt32, message: String, isTemporary: Bool)
    /// The connection ended before the reply: the request may have taken effect.
    case connectionLost
    /// This client was closed.
    case closed
    /// Too many requests are unanswered.
    case tooManyRequests
    /// No reply in time: the request may have taken effect.
    case timeout
}

/// A message as it was received.
package struct ReceivedMessage: Equatable, Sendable {
    package var room: String
    /// 0 in rooms that are not stored.
    package var offset: UInt64
    /// 0 in rooms that are not stored.
    package var epoch: UInt64
    /// The payload: JSON as it was published.
    package var data: [UInt8]
    package var id: [UInt8]
    /// Milliseconds since 1970 at which the room's owner accepted it.
    package var time: UInt64
    package var tags: [UInt8]
}

/// What happens in a subscription, in order.
package enum ClientEvent: Equatable, Sendable {
    /// It began, or began again after a reconnect. `recovered` false while `wasRecovering`: something is missing.
    case subscribed(position: RoomPosition?, wasRecovering: Bool, recovered: Bool)
    case message(ReceivedMessage)
    /// Messages `from...to` are lost for this client.
    case gap(from: UInt64, to: UInt64, reason: String)
    /// The server dropped best-effort messages because this client read too slowly.
    case dropped(count: UInt64)
    /// The connection ended; the client connects again by itself unless `reconnects` is false.
    case disconnected(code: UInt16, reconnects: Bool)
    /// The subscription failed or was ended by the server; nothing follows.
    case ended(ClientFailure?)
}

/// Where a publish stands.
package struct PublishReceipt: Equatable, Sendable {
    /// Nil in rooms that are not stored, and for a repeat whose place is no longer remembered.
    package var position: RoomPosition?
    /// It had been accepted before, under the same idempotency key.
    package var isDuplicate: Bool
}

/// A page of a room's history.
package struct HistoryPage: Equatable, Sendable {
    package var messages: [ReceivedMessage]
    /// The room's newest position.
    package var top: RoomPosition
}

/// How a subscription begins and whether it acknowledges.
package struct SubscriptionOptions: Sendable {
    package enum Start: Equatable, Sendable {
        case now
        /// Everything that is retained.
        case beginning
        case after(RoomPosition)
    }

    package struct Acknowledgement: Sendable {
        /// A durable cursor; empty = for the session's life.
        package var cursor: String
        /// Unacknowledged messages at most; 0 = the server's choice.
        package var window: UInt32

        package init(cursor: String = "", window: UInt32 = 0) {
            self.cursor = cursor
            self.window = window
        }
    }

    package var start = Start.now
    package var acknowledgement: Acknowledgement?
    /// Events that wait for the reader; when it falls further behind the subscription ends.
    package var buffer = 65_536

    package init(start: Start = .now, acknowledgement: Acknowledgement? = nil) {
        self.start = start
        self.acknowledgement = acknowledgement
    }
}

/// How a client behaves.
package struct ClientSettings: Sendable {
    package var name = "vencejo-swift"
    package var connectMilliseconds: Int64 = 5000
    package var requestMilliseconds: Int64 = 15_000
    /// Bounds of the random wait before another attempt, doubling from one to the other.
    package var backoffMilliseconds: ClosedRange<Int64> = 100...5000
    package var reconnects = true
    package var maxMessageSize = 16 << 20
    package var requestsInFlight = 65_536
    package var duplicateWindow = DuplicateWindow()

    package init() {}
}
