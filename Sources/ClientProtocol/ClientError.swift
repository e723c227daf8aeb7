/// An error in a reply of the Centrifugo client protocol and of the server API.
/// Source: centrifugal.dev, "Client protocol codes"; applications' own codes are 400-1999.
package struct ClientError: Error, Equatable, Sendable {
    package let code: UInt32
    package let message: String
    /// The client may try again later.
    package let isTemporary: Bool

    package init(code: UInt32, message: String, isTemporary: Bool = false) {
        self.code = code
        self.message = message
        self.isTemporary = isTemporary
    }

    package static let internalError = ClientError(code: 100, message: "internal server error", isTemporary: true)
    package static let unauthorized = ClientError(code: 101, message: "unauthorized")
    package static let unknownChannel = ClientError(code: 102, message: "unknown channel")
    package static let permissionDenied = ClientError(code: 103, message: "permission denied")
    package static let methodNotFound = ClientError(code: 104, message: "method not found")
    package static let alreadySubscribed = ClientError(code: 105, message: "already subscribed")
    package static let limitExceeded = ClientError(code: 106, message: "limit exceeded")
    package static let badRequest = ClientError(code: 107, message: "bad request")
    package static let notAvailable = ClientError(code: 108, message: "not available")
    package static let tokenExpired = ClientError(code: 109, message: "token expired")
    package static let expired = ClientError(code: 110, message: "expired")
    package static let tooManyRequests = ClientError(code: 111, message: "too many requests", isTemporary: true)
    package static let unrecoverablePosition = ClientError(code: 112, message: "unrecoverable position")
    package static let concurrentPagination = ClientError(
        code: 113,
        message: "concurrent pagination",
        isTemporary: true
    )

    /// 100 to 113, in order.
    package static let all: [ClientError] = [
        internalError, unauthorized, unknownChannel, permissionDenied, methodNotFound, alreadySubscribed, limitExceeded,
        badRequest, notAvailable, tokenExpired, expired, tooManyRequests, unrecoverablePosition, concurrentPagination,
    ]
}
