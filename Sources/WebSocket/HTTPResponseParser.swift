/// The head of an HTTP/1.1 response, for our own client.
package struct HTTPResponseHead: Sendable {
    package let status: HTTPStatus
    package let fields: HTTPFields
    /// The body's length; nil when the head does not say.
    package let contentLength: Int?
    /// The head's own length, empty line included.
    package let byteCount: Int
}

/// Reads one response head from bytes that arrive piecemeal, with the rules of `HTTPRequestParser`.
package struct HTTPResponseParser: Sendable {
    private let headerLimit: Int
    private var scanner: HTTPHeadScanner

    package init(
        headerLimit: Int = HTTPRequestParser.defaultHeaderLimit,
        byteLimit: Int = HTTPRequestParser.defaultByteLimit
    ) {
        self.headerLimit = headerLimit
        self.scanner = HTTPHeadScanner(byteLimit: byteLimit)
    }

    /// The head that begins at the start of `buffer`, or nil when it is not complete.
    package mutating func parse(_ buffer: UnsafeRawBufferPointer) throws(HTTPError) -> HTTPResponseHead? {
        guard let end = try scanner.end(in: buffer) else { return nil }
        let storage = [UInt8](buffer[..<end])
        let line = storage[..<storage.firstIndex(of: Octet.carriageReturn)!]
        guard line.count >= 12, line[8] == 0x20, line.count == 12 || line[12] == 0x20 else { throw .malformedStartLine }
        _ = try HTTPVersion.minor(line[..<8])
        var code: UInt16 = 0
        for byte in line[9..<12] {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw .malformedStartLine }
            code = code * 10 + UInt16(byte - UInt8(ascii: "0"))
        }
        guard code >= 100 else { throw .malformedStartLine }
        let fields = try HTTPFields(storage: storage, from: line.endIndex + 2, limit: headerLimit)
        if fields.first("transfer-encoding") != nil { throw .transferEncoding }
        return HTTPResponseHead(
            status: HTTPStatus(code),
            fields: fields,
            contentLength: try HTTPVersion.contentLength(fields),
            byteCount: end
        )
    }
}
