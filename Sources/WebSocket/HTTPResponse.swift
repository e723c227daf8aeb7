/// Writes HTTP/1.1 responses.
package enum HTTPResponse {
    /// A complete response. `Content-Length` is written for every status that may have a body, `Connection: close`
    /// unless `keepAlive`. Control characters in header values are replaced by spaces, so that no value can add a
    /// header.
    package static func append(
        _ status: HTTPStatus,
        headers: [(name: String, value: String)] = [],
        body: ArraySlice<UInt8> = [],
        keepAlive: Bool,
        to out: inout [UInt8]
    ) {
        appendHead(status, headers: headers, to: &out)
        if status.rawValue >= 200 && status != .noContent {
            appendHeader("Content-Length", String(body.count), to: &out)
        }
        if !keepAlive { appendHeader("Connection", "close", to: &out) }
        out.append(contentsOf: "\r\n".utf8)
        out.append(contentsOf: body)
    }

    /// The plain-text response for a request whose head was refused; the connection closes after it.
    package static func append(_ error: HTTPError, to out: inout [UInt8]) {
        append(
            error.status,
            headers: [("Content-Type", "text/plain")],
            body: Array("\(error.reason)\n".utf8)[...],
            keepAlive: false,
            to: &out
        )
    }

    /// The status line and `headers`, without the empty line.
    package static func appendHead(
        _ status: HTTPStatus,
        headers: [(name: String, value: String)] = [],
        to out: inout [UInt8]
    ) {
        out.append(contentsOf: "HTTP/1.1 ".utf8)
        out.append(contentsOf: String(status.rawValue).utf8)
        out.append(0x20)
        out.append(contentsOf: status.phrase.utf8)
        out.append(contentsOf: "\r\n".utf8)
        for header in headers { appendHeader(header.name, header.value, to: &out) }
    }

    /// One header line.
    package static func appendHeader(_ name: String, _ value: String, to out: inout [UInt8]) {
        out.append(contentsOf: name.utf8)
        out.append(contentsOf: ": ".utf8)
        for byte in value.utf8 { out.append(byte < 0x20 || byte == 0x7F ? 0x20 : byte) }
        out.append(contentsOf: "\r\n".utf8)
    }
}
