/// Why the server ends a connection; `code` and `reason` go into the WebSocket close frame.
package struct Disconnect: Error, Equatable, Sendable {
    package let code: UInt16
    /// At most 123 bytes, so that it fits a close frame.
    package let reason: String

    package init(code: UInt16, reason: String) {
        self.code = code
        self.reason = reason
    }

    /// The protocol's rule by range: 3500-3999 and 4500-4999 are terminal, others reconnect; 1009 would only repeat.
    package var reconnects: Bool {
        switch code {
        case 1009, 3500...3999, 4500...4999: false
        default: true
        }
    }

    package static let connectionClosed = Disconnect(code: 3000, reason: "connection closed")
    package static let shutdown = Disconnect(code: 3001, reason: "shutdown")
    package static let serverError = Disconnect(code: 3004, reason: "internal server error")
    package static let expired = Disconnect(code: 3005, reason: "connection expired")
    package static let subscriptionExpired = Disconnect(code: 3006, reason: "subscription expired")
    package static let slow = Disconnect(code: 3008, reason: "slow")
    package static let writeError = Disconnect(code: 3009, reason: "write error")
    package static let insufficientState = Disconnect(code: 3010, reason: "insufficient state")
    package static let forceReconnect = Disconnect(code: 3011, reason: "force reconnect")
    package static let noPong = Disconnect(code: 3012, reason: "no pong")
    package static let tooManyRequests = Disconnect(code: 3013, reason: "too many requests")
    package static let stateInvalidated = Disconnect(code: 3014, reason: "state invalidated")
    package static let invalidToken = Disconnect(code: 3500, reason: "invalid token")
    package static let badRequest = Disconnect(code: 3501, reason: "bad request")
    package static let stale = Disconnect(code: 3502, reason: "stale")
    package static let forceDisconnect = Disconnect(code: 3503, reason: "force disconnect")
    package static let connectionLimit = Disconnect(code: 3504, reason: "connection limit")
    package static let channelLimit = Disconnect(code: 3505, reason: "channel limit")
    package static let inappropriateProtocol = Disconnect(code: 3506, reason: "inappropriate protocol")
    package static let permissionDenied = Disconnect(code: 3507, reason: "permission denied")
    package static let notAvailable = Disconnect(code: 3508, reason: "not available")
    package static let tooManyErrors = Disconnect(code: 3509, reason: "too many errors")

    package static let all: [Disconnect] = [
        connectionClosed, shutdown, serverError, expired, subscriptionExpired, slow, writeError, insufficientState,
        forceReconnect, noPong, tooManyRequests, stateInvalidated, invalidToken, badRequest, stale, forceDisconnect,
        connectionLimit, channelLimit, inappropriateProtocol, permissionDenied, notAvailable, tooManyErrors,
    ]
}
