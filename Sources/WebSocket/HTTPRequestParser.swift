/// Reads one request head from bytes that arrive piecemeal; use a new one for each request.
package struct HTTPRequestParser: Sendable {
    package static let defaultHeaderLimit = 64
    package static let defaultByteLimit = 8192

    private let headerLimit: Int
    private var scanner: HTTPHeadScanner

    /// `byteLimit` bounds the whole head, first line and empty line included.
    package init(headerLimit: Int = defaultHeaderLimit, byteLimit: Int = defaultByteLimit) {
        self.headerLimit = headerLimit
        self.scanner = HTTPHeadScanner(byteLimit: byteLimit)
    }

    /// The head that begins at the start of `buffer`, or nil when it is not complete. Offer all of the unfinished
    /// head's bytes again with the new ones.
    package mutating func parse(_ buffer: UnsafeRawBufferPointer) throws(HTTPError) -> HTTPRequestHead? {
        guard let end = try scanner.end(in: buffer) else { return nil }
        let storage = [UInt8](buffer[..<end])
        let line = storage[..<storage.firstIndex(of: Octet.carriageReturn)!]
        guard let firstSpace = line.firstIndex(of: 0x20), let lastSpace = line.lastIndex(of: 0x20),
            firstSpace < lastSpace
        else { throw .malformedStartLine }
        let method = try HTTPRequestParser.method(line[..<firstSpace])
        let minorVersion = try HTTPVersion.minor(line[(lastSpace + 1)...])
        let target = line[(firstSpace + 1)..<lastSpace]
        let (path, query) = try HTTPRequestParser.split(target)
        let fields = try HTTPFields(storage: storage, from: line.endIndex + 2, limit: headerLimit)

        let hosts = fields.count(of: "host")
        if hosts > 1 { throw .duplicateHost }
        if hosts == 0 && minorVersion == 1 { throw .missingHost }
        if fields.first("transfer-encoding") != nil { throw .transferEncoding }
        let expectation = fields.first("expect")
        if let expectation, !Octet.equalsIgnoringCase(expectation, "100-continue") || fields.count(of: "expect") > 1 {
            throw .unsupportedExpectation
        }
        return HTTPRequestHead(
            method: method,
            rawPath: path,
            rawQuery: query,
            minorVersion: minorVersion,
            fields: fields,
            contentLength: try HTTPVersion.contentLength(fields),
            expectsContinue: expectation != nil && minorVersion == 1,
            byteCount: end
        )
    }

    private static func method(_ bytes: ArraySlice<UInt8>) throws(HTTPError) -> HTTPMethod {
        guard !bytes.isEmpty, bytes.count <= 20, bytes.allSatisfy(Octet.isToken) else { throw .malformedStartLine }
        // Methods are case-sensitive (RFC 9110, 9.1).
        if bytes.elementsEqual("GET".utf8) { return .get }
        if bytes.elementsEqual("POST".utf8) { return .post }
        if bytes.elementsEqual("HEAD".utf8) { return .head }
        if bytes.elementsEqual("OPTIONS".utf8) { return .options }
        if bytes.elementsEqual("PUT".utf8) { return .put }
        if bytes.elementsEqual("DELETE".utf8) { return .delete }
        return .other
    }

    private static func split(
        _ target: ArraySlice<UInt8>
    ) throws(HTTPError) -> (path: ArraySlice<UInt8>, query: ArraySlice<UInt8>?) {
        guard target.first == UInt8(ascii: "/") else {
            throw target.isEmpty ? .malformedStartLine : .unsupportedTarget
        }
        for byte in target {
            // Blanks, non-ASCII and fragments never stand in a target; `<>"` and friends are tolerated as browsers do.
            guard byte > 0x20, byte < 0x7F, byte != UInt8(ascii: "#") else { throw .malformedStartLine }
        }
        guard let mark = target.firstIndex(of: UInt8(ascii: "?")) else { return (target, nil) }
        return (target[..<mark], target[(mark + 1)...])
    }
}

/// What requests and responses have in common.
enum HTTPVersion {
    /// 0 or 1, from `HTTP/1.0` or `HTTP/1.1`.
    static func minor(_ bytes: ArraySlice<UInt8>) throws(HTTPError) -> Int {
        if bytes.elementsEqual("HTTP/1.1".utf8) { return 1 }
        if bytes.elementsEqual("HTTP/1.0".utf8) { return 0 }
        throw bytes.starts(with: "HTTP/".utf8) ? .unsupportedVersion : .malformedStartLine
    }

    static func contentLength(_ fields: HTTPFields) throws(HTTPError) -> Int? {
        guard let value = fields.first("content-length") else { return nil }
        guard fields.count(of: "content-length") == 1 else { throw .duplicateContentLength }
        // 18 digits always fit, and no body of ours comes near; a list such as "5, 5" is not digits.
        guard !value.isEmpty, value.count <= 18 else { throw .invalidContentLength }
        var length = 0
        for byte in value {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw .invalidContentLength }
            length = length * 10 + Int(byte - UInt8(ascii: "0"))
        }
        return length
    }
}
