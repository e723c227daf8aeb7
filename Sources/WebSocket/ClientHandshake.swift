/// Why a server's answer to our upgrade request was refused (RFC 6455, 4.1).
package enum ClientHandshakeError: Error, Equatable {
    case http(HTTPError)
    /// The server did not switch protocols; its body, if any, says why.
    case status(HTTPStatus)
    case notUpgraded
    case wrongAccept
    /// A subprotocol that was not offered, or more than one.
    case wrongSubprotocol
    /// An extension that was not offered; none is.
    case unexpectedExtension
}

/// The client's side of the opening handshake.
package enum ClientHandshake {
    /// The upgrade request. `nonce` is 16 random bytes; returns the key to check the answer with.
    package static func appendRequest(
        host: String,
        target: String,
        nonce: [UInt8],
        subprotocols: [String] = [],
        headers: [(name: String, value: String)] = [],
        to out: inout [UInt8]
    ) -> [UInt8] {
        precondition(nonce.count == 16, "the nonce has 16 bytes")
        precondition(
            target.utf8.first == UInt8(ascii: "/") && target.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F },
            "the target is an encoded path"
        )
        let key = Base64.encode(nonce)
        out.append(contentsOf: "GET \(target) HTTP/1.1\r\n".utf8)
        HTTPResponse.appendHeader("Host", host, to: &out)
        HTTPResponse.appendHeader("Upgrade", "websocket", to: &out)
        HTTPResponse.appendHeader("Connection", "Upgrade", to: &out)
        HTTPResponse.appendHeader("Sec-WebSocket-Key", String(decoding: key, as: UTF8.self), to: &out)
        HTTPResponse.appendHeader("Sec-WebSocket-Version", "13", to: &out)
        if !subprotocols.isEmpty {
            HTTPResponse.appendHeader("Sec-WebSocket-Protocol", subprotocols.joined(separator: ", "), to: &out)
        }
        for header in headers { HTTPResponse.appendHeader(header.name, header.value, to: &out) }
        out.append(contentsOf: "\r\n".utf8)
        return key
    }

    /// Checks the answer to a request with `key`; returns the subprotocol that the server chose.
    package static func check(
        _ head: HTTPResponseHead,
        key: [UInt8],
        offered: [String] = [],
        sha1: ([UInt8]) -> [UInt8]
    ) throws(ClientHandshakeError) -> String? {
        guard head.status == .switchingProtocols else { throw .status(head.status) }
        guard head.fields.hasToken("websocket", in: "upgrade"), head.fields.hasToken("upgrade", in: "connection") else {
            throw .notUpgraded
        }
        guard head.fields.count(of: "sec-websocket-accept") == 1,
            head.fields.text("sec-websocket-accept") == Handshake.acceptValue(forKey: key, sha1: sha1)
        else { throw .wrongAccept }
        guard head.fields.list("sec-websocket-extensions").isEmpty else { throw .unexpectedExtension }
        let chosen = head.fields.list("sec-websocket-protocol")
        guard let first = chosen.first else { return nil }
        let name = String(decoding: first, as: UTF8.self)
        guard chosen.count == 1, offered.contains(name) else { throw .wrongSubprotocol }
        return name
    }
}
