/// Why the server ends a subscription: below 2500 the client stops, from 2500 on it subscribes again.
package struct UnsubscribeCode: Equatable, Sendable {
    package let code: UInt32
    package let reason: String

    package init(code: UInt32, reason: String) {
        self.code = code
        self.reason = reason
    }

    package var resubscribes: Bool { code >= 2500 }

    package static let server = UnsubscribeCode(code: 2000, reason: "server unsubscribe")
    package static let insufficientState = UnsubscribeCode(code: 2500, reason: "insufficient state")
    package static let expired = UnsubscribeCode(code: 2501, reason: "subscription expired")
    package static let stateInvalidated = UnsubscribeCode(code: 2502, reason: "state invalidated")

    package static let all: [UnsubscribeCode] = [server, insufficientState, expired, stateInvalidated]
}
