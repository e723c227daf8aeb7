import Foundation

/// What a node says about Redis: the guide's two objects by their exact keys (RA-16, RA-17), and the link.
package struct RedisReport: Codable, Sendable {
    /// The guide's `get_status`.
    package struct Status: Codable, Sendable, Equatable {
        package struct Configuration: Codable, Sendable, Equatable {
            package var enabled: Bool
            package var pubSubEnabled: Bool
            /// `configured` or `not configured`: it may hold a password.
            package var url: String

            enum CodingKeys: String, CodingKey {
                case enabled = "REDIS_ENABLED"
                case pubSubEnabled = "REDIS_PUBSUB_ENABLED"
                case url = "REDIS_URL"
            }
        }

        package var isEnabled: Bool
        package var localConnections: Int
        package var isFallback: Bool
        package var configuration: Configuration

        enum CodingKeys: String, CodingKey {
            case isEnabled = "redis_enabled"
            case localConnections = "local_connections"
            case isFallback = "fallback_mode"
            case configuration
        }

        package init(isEnabled: Bool, isPubSubEnabled: Bool, localConnections: Int, isFallback: Bool) {
            self.isEnabled = isEnabled
            self.localConnections = localConnections
            self.isFallback = isFallback
            configuration = Configuration(
                enabled: isEnabled,
                pubSubEnabled: isPubSubEnabled,
                url: isEnabled ? "configured" : "not configured"
            )
        }
    }

    /// The guide's `get_redis_stats`: five fields of INFO, or only a status.
    package struct Stats: Codable, Sendable, Equatable {
        package var status: String?
        package var connectedClients: Int?
        package var usedMemory: String?
        package var pubSubChannels: Int?
        package var pubSubPatterns: Int?
        package var totalCommandsProcessed: Int?

        enum CodingKeys: String, CodingKey {
            case status
            case connectedClients = "connected_clients"
            case usedMemory = "used_memory"
            case pubSubChannels = "pubsub_channels"
            case pubSubPatterns = "pubsub_patterns"
            case totalCommandsProcessed = "total_commands_processed"
        }

        package static let disabled = Stats(status: "disabled")
        /// Redis does not answer; the link says why.
        package static let unavailable = Stats(status: "unavailable")

        private init(status: String) { self.status = status }

        /// From the fields of INFO.
        package init(info: [String: String]) {
            connectedClients = info["connected_clients"].flatMap { Int($0) } ?? 0
            usedMemory = info["used_memory_human"] ?? ""
            pubSubChannels = info["pubsub_channels"].flatMap { Int($0) } ?? 0
            pubSubPatterns = info["pubsub_patterns"].flatMap { Int($0) } ?? 0
            totalCommandsProcessed = info["total_commands_processed"].flatMap { Int($0) } ?? 0
        }
    }

    /// The connections and how they are.
    package struct Link: Codable, Sendable {
        package var isUp: Bool
        /// `closed`, `open` or `half-open`.
        package var breaker: String
        package var breakerOpenings: UInt64
        package var attempts: UInt64
        /// Why it is not up; empty while it is.
        package var reason: String
        /// Open connections by kind.
        package var connections: [String: Int]
        /// PING on a connection of the pool.
        package var pingMicroseconds: UInt64?
        /// From publishing to hearing it.
        package var publishToReceiveMicroseconds: UInt64?
        package var failovers: UInt64

        package init(
            isUp: Bool,
            breaker: String,
            breakerOpenings: UInt64,
            attempts: UInt64,
            reason: String,
            connections: [String: Int],
            pingMicroseconds: UInt64?,
            publishToReceiveMicroseconds: UInt64?,
            failovers: UInt64
        ) {
            self.isUp = isUp
            self.breaker = breaker
            self.breakerOpenings = breakerOpenings
            self.attempts = attempts
            self.reason = reason
            self.connections = connections
            self.pingMicroseconds = pingMicroseconds
            self.publishToReceiveMicroseconds = publishToReceiveMicroseconds
            self.failovers = failovers
        }
    }

    package var status: Status
    package var stats: Stats
    /// Nil where no Redis is used.
    package var link: Link?

    package init(status: Status, stats: Stats, link: Link? = nil) {
        self.status = status
        self.stats = stats
        self.link = link
    }
}

extension AdminRoutes {
    /// What `/health/redis` says when Redis answers (HC-04).
    package static let redisHealthy = #"{"status":"healthy"}"#

    /// What it says when it does not (HC-05).
    package static func redisUnhealthy(_ error: String) -> String {
        #"{"status":"unhealthy","error":\#(JSONText.quote(error)),"fallback_mode":true}"#
    }
}
