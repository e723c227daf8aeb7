/// The request methods that the gateway tells apart.
package enum HTTPMethod: Sendable {
    case get
    case head
    case post
    case put
    case delete
    case options
    case other
}

/// The head of an HTTP/1.1 request on the gateway's port.
///
/// This is our own small parser rather than a library's because one handler serves a connection from its first byte on,
/// upgrade included, and the heads are tiny. It knows what the gateway needs and refuses the rest: paths only as
/// targets, bodies only by Content-Length, no folding, no bare line breaks, no control characters (RFC 9112).
package struct HTTPRequestHead: Sendable {
    package let method: HTTPMethod
    /// The path as it was sent, percent-encoding included; begins with `/`.
    package let rawPath: ArraySlice<UInt8>
    /// What follows the first `?`; nil without one.
    package let rawQuery: ArraySlice<UInt8>?
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    package let minorVersion: Int
    package let fields: HTTPFields
    /// The body's length; nil when the request has none.
    package let contentLength: Int?
    /// The client waits for `100 Continue` before it sends its body.
    package let expectsContinue: Bool
    /// The head's own length, empty line included: the body or the next message begins there.
    package let byteCount: Int

    /// True when another request may follow on this connection.
    package var isKeepAlive: Bool { minorVersion == 1 && !fields.hasToken("close", in: "connection") }

    /// The decoded path. Control characters are refused, encoded ones too, so that it can be logged as it is.
    package func path() throws(HTTPError) -> String {
        let bytes = try PercentDecoding.decode(rawPath, plusIsSpace: false)
        guard !bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { throw .forbiddenText }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .forbiddenText }
        return text
    }

    /// True when the path is exactly `path`, which has no percent-encoding. The cheap way to route.
    package func isPath(_ path: String) -> Bool { rawPath.elementsEqual(path.utf8) }

    /// The decoded value of the query parameter `name` (`+` is a space), or nil. Only NUL is forbidden in it: values
    /// may be whole JSON documents.
    package func queryValue(_ name: String) throws(HTTPError) -> [UInt8]? {
        guard let rawQuery else { return nil }
        var found: [UInt8]?
        for pair in rawQuery.split(separator: UInt8(ascii: "&")) {
            let equals = pair.firstIndex(of: UInt8(ascii: "="))
            let key = try PercentDecoding.decode(pair[..<(equals ?? pair.endIndex)], plusIsSpace: true)
            guard key.elementsEqual(name.utf8) else { continue }
            guard found == nil else { throw .duplicateQueryParameter }
            found =
                try equals.map { index throws(HTTPError) -> [UInt8] in
                    try PercentDecoding.decode(pair[(index + 1)...], plusIsSpace: true)
                } ?? []
        }
        guard let found else { return nil }
        guard !found.contains(0), found.withUnsafeBytes(UTF8Validation.isValid) else { throw .forbiddenText }
        return found
    }
}

/// Percent-decoding of RFC 3986, 2.1.
enum PercentDecoding {
    static func decode(_ bytes: ArraySlice<UInt8>, plusIsSpace: Bool) throws(HTTPError) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "%") {
                guard index + 2 <= bytes.endIndex, let high = Octet.hexValue(bytes[index]),
                    let low = Octet.hexValue(bytes[index + 1])
                else { throw .malformedPercentEncoding }
                out.append(high << 4 | low)
                index += 2
            } else {
                out.append(plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte)
            }
        }
        return out
    }
}
