/// Why a request or response head was refused. The connection cannot be used further: where one message ends and the
/// next begins is in doubt.
package enum HTTPError: Error, Equatable {
    /// NUL or another control character, anywhere in the head.
    case controlCharacter
    /// A carriage return or line feed that is not part of CR LF.
    case bareLineBreak
    case malformedStartLine
    case unsupportedVersion
    /// The request target is not a path: absolute, authority and asterisk forms are for proxies.
    case unsupportedTarget
    case malformedHeader
    /// A header continued on the next line (RFC 9112, 5.2).
    case obsoleteFolding
    case tooManyHeaders(limit: Int)
    case headTooLarge(limit: Int)
    /// The limit was reached before the end of the first line.
    case targetTooLong(limit: Int)
    case missingHost
    case duplicateHost
    case invalidContentLength
    /// Content-Length more than once, even when the values agree: a way to smuggle requests past proxies.
    case duplicateContentLength
    case transferEncoding
    case unsupportedExpectation
    /// `%` without two hexadecimal digits.
    case malformedPercentEncoding
    /// The decoded text is not UTF-8, or holds a forbidden control character.
    case forbiddenText
    /// A query parameter that was asked for stands there twice.
    case duplicateQueryParameter

    /// The status of the response that refuses the request.
    package var status: HTTPStatus {
        switch self {
        case .unsupportedVersion: .versionNotSupported
        case .tooManyHeaders, .headTooLarge: .headersTooLarge
        case .targetTooLong: .uriTooLong
        case .transferEncoding: .notImplemented
        case .unsupportedExpectation: .expectationFailed
        default: .badRequest
        }
    }

    /// A short reason for the response body and the log; never contains the peer's bytes.
    package var reason: String {
        switch self {
        case .controlCharacter: "control character in head"
        case .bareLineBreak: "bare CR or LF"
        case .malformedStartLine: "malformed start line"
        case .unsupportedVersion: "HTTP version not supported"
        case .unsupportedTarget: "request target must be a path"
        case .malformedHeader: "malformed header"
        case .obsoleteFolding: "folded header"
        case .tooManyHeaders: "too many headers"
        case .headTooLarge: "head too large"
        case .targetTooLong: "request target too long"
        case .missingHost: "missing Host"
        case .duplicateHost: "duplicate Host"
        case .invalidContentLength: "invalid Content-Length"
        case .duplicateContentLength: "duplicate Content-Length"
        case .transferEncoding: "Transfer-Encoding not supported"
        case .unsupportedExpectation: "expectation not supported"
        case .malformedPercentEncoding: "malformed percent-encoding"
        case .forbiddenText: "forbidden text in target"
        case .duplicateQueryParameter: "duplicate query parameter"
        }
    }
}
