/// What a valid upgrade request asks for (RFC 6455, 4.2.1).
package struct UpgradeRequest: Equatable, Sendable {
    /// Sec-WebSocket-Key as it was sent: 24 characters of base64.
    package let key: [UInt8]
    /// The offered subprotocols in the client's order of preference. Answer with one of them or with none.
    package let subprotocols: [String]
    /// The page's origin; nil outside browsers.
    package let origin: String?
}

/// Why an upgrade request was refused; the request's framing is sound, so the connection could go on.
package enum HandshakeRefusal: Error, Equatable {
    case methodNotAllowed
    case notHTTP11
    /// No `Upgrade: websocket`, or no `Connection: upgrade`: somebody opened the address in a browser.
    case upgradeRequired
    case unsupportedVersion
    case invalidKey
    case invalidSubprotocols
    case invalidOrigin
    case unexpectedBody

    package var status: HTTPStatus {
        switch self {
        case .methodNotAllowed: .methodNotAllowed
        case .upgradeRequired, .unsupportedVersion: .upgradeRequired
        default: .badRequest
        }
    }

    package var reason: String {
        switch self {
        case .methodNotAllowed: "a WebSocket handshake is a GET"
        case .notHTTP11: "a WebSocket handshake needs HTTP/1.1"
        case .upgradeRequired: "this address speaks WebSocket"
        case .unsupportedVersion: "WebSocket version 13 only"
        case .invalidKey: "invalid Sec-WebSocket-Key"
        case .invalidSubprotocols: "invalid Sec-WebSocket-Protocol"
        case .invalidOrigin: "invalid Origin"
        case .unexpectedBody: "a WebSocket handshake has no body"
        }
    }
}

/// The opening handshake. SHA-1 is the caller's, because the process has one crypto library and it is not in here.
package enum Handshake {
    /// The most subprotocols that a client may offer.
    package static let subprotocolLimit = 16

    /// Checks an upgrade request. The path and the origin's acceptability are the caller's affair.
    package static func evaluate(_ head: HTTPRequestHead) throws(HandshakeRefusal) -> UpgradeRequest {
        guard head.method == .get else { throw .methodNotAllowed }
        guard head.minorVersion == 1 else { throw .notHTTP11 }
        guard (head.contentLength ?? 0) == 0 else { throw .unexpectedBody }
        let fields = head.fields
        guard fields.hasToken("websocket", in: "upgrade"), fields.hasToken("upgrade", in: "connection") else {
            throw .upgradeRequired
        }
        guard fields.count(of: "sec-websocket-version") == 1,
            let version = fields.first("sec-websocket-version"), version.elementsEqual("13".utf8)
        else { throw .unsupportedVersion }
        guard fields.count(of: "sec-websocket-key") == 1, let key = fields.first("sec-websocket-key"),
            Base64.isSixteenBytes(key)
        else { throw .invalidKey }
        guard fields.count(of: "origin") <= 1 else { throw .invalidOrigin }
        let origin = fields.text("origin")
        guard fields.first("origin") == nil || origin != nil else { throw .invalidOrigin }
        return UpgradeRequest(key: Array(key), subprotocols: try subprotocols(fields), origin: origin)
    }

    private static func subprotocols(_ fields: HTTPFields) throws(HandshakeRefusal) -> [String] {
        var offered: [String] = []
        for member in fields.list("sec-websocket-protocol") {
            guard offered.count < subprotocolLimit, member.allSatisfy(Octet.isToken) else { throw .invalidSubprotocols }
            let name = String(decoding: member, as: UTF8.self)
            guard !offered.contains(name) else { throw .invalidSubprotocols }
            offered.append(name)
        }
        return offered
    }

    /// Sec-WebSocket-Accept for `key` (RFC 6455, 4.2.2): base64 of the 20 bytes that `sha1` makes of key and GUID.
    package static func acceptValue(forKey key: [UInt8], sha1: ([UInt8]) -> [UInt8]) -> String {
        let digest = sha1(key + Array("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
        return String(decoding: Base64.encode(digest), as: UTF8.self)
    }

    /// The 101 response. `subprotocol` is one of `request.subprotocols` or nil.
    package static func appendAccept(
        _ request: UpgradeRequest,
        subprotocol: String? = nil,
        headers: [(name: String, value: String)] = [],
        sha1: ([UInt8]) -> [UInt8],
        to out: inout [UInt8]
    ) {
        precondition(
            subprotocol.map(request.subprotocols.contains) ?? true,
            "an unoffered subprotocol cannot be chosen"
        )
        HTTPResponse.appendHead(.switchingProtocols, to: &out)
        HTTPResponse.appendHeader("Upgrade", "websocket", to: &out)
        HTTPResponse.appendHeader("Connection", "Upgrade", to: &out)
        HTTPResponse.appendHeader("Sec-WebSocket-Accept", acceptValue(forKey: request.key, sha1: sha1), to: &out)
        if let subprotocol { HTTPResponse.appendHeader("Sec-WebSocket-Protocol", subprotocol, to: &out) }
        for header in headers { HTTPResponse.appendHeader(header.name, header.value, to: &out) }
        out.append(contentsOf: "\r\n".utf8)
    }

    /// The response that refuses an upgrade; the connection closes after it.
    package static func appendRefusal(_ refusal: HandshakeRefusal, to out: inout [UInt8]) {
        var headers: [(name: String, value: String)] = [("Content-Type", "text/plain")]
        switch refusal {
        case .methodNotAllowed: headers.append(("Allow", "GET"))
        case .unsupportedVersion, .upgradeRequired:
            // RFC 9110, 15.5.22: a 426 says what to upgrade to; RFC 6455, 4.4: and which versions there are.
            headers += [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
        default: break
        }
        HTTPResponse.append(
            refusal.status,
            headers: headers,
            body: Array("\(refusal.reason)\n".utf8)[...],
            keepAlive: false,
            to: &out
        )
    }
}
