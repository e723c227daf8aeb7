import Primitives
import Testing

@testable import WebSocket

@Suite("Opening handshake (RFC 6455)")
struct HandshakeTests {
    /// The SHA-1 of the example in RFC 6455, section 1.3.
    private static let digest: [UInt8] = [
        0xb3, 0x7a, 0x4f, 0x2c, 0xc0, 0x62, 0x4f, 0x16, 0x90, 0xf6, 0x46, 0x06, 0xcf, 0x38, 0x59, 0x45, 0xb2, 0xbe,
        0xc4, 0xea,
    ]
    private static let key = "dGhlIHNhbXBsZSBub25jZQ=="

    private func sha1(_ bytes: [UInt8]) -> [UInt8] {
        #expect(bytes == ascii(Self.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
        return Self.digest
    }

    private func evaluate(_ text: String) throws -> UpgradeRequest {
        var parser = HTTPRequestParser()
        let head = try #require(try ascii(text).withUnsafeBytes { try parser.parse($0) })
        return try Handshake.evaluate(head)
    }

    private func request(
        _ start: String = "GET /ws HTTP/1.1",
        replacing name: String? = nil,
        with lines: [String] = []
    ) -> String {
        var headers = [
            "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: \(Self.key)",
            "Sec-WebSocket-Version: 13",
        ]
        if let name { headers.removeAll { $0.hasPrefix(name + ":") } }
        return ([start] + headers + lines).map { $0 + "\r\n" }.joined() + "\r\n"
    }

    @Test("GW-01 the example of RFC 6455 gets its 101")
    func example() throws {
        let upgrade = try evaluate(
            request(with: [
                "Origin: http://example.com", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: x",
            ])
        )
        #expect(upgrade.origin == "http://example.com")
        #expect(upgrade.subprotocols == ["chat", "superchat", "x"])
        var out: [UInt8] = []
        Handshake.appendAccept(upgrade, subprotocol: "chat", sha1: sha1, to: &out)
        #expect(
            String(decoding: out, as: UTF8.self)
                == "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
        #expect(throws: Never.self) {
            try evaluate(request(replacing: "Connection", with: ["Connection: keep-alive, UPGRADE"]))
        }
    }

    @Test("GW-01 every malformed upgrade gets its status")
    func refusals() {
        func refusal(_ text: String) -> HandshakeRefusal? {
            do {
                _ = try evaluate(text)
                return nil
            } catch {
                return error as? HandshakeRefusal
            }
        }
        #expect(refusal(request("POST /ws HTTP/1.1")) == .methodNotAllowed)
        #expect(refusal(request("GET /ws HTTP/1.0")) == .notHTTP11)
        #expect(refusal(request(replacing: "Upgrade")) == .upgradeRequired)
        #expect(refusal(request(replacing: "Upgrade", with: ["Upgrade: h2c"])) == .upgradeRequired)
        #expect(refusal(request(replacing: "Connection")) == .upgradeRequired)
        #expect(refusal(request(replacing: "Connection", with: ["Connection: close"])) == .upgradeRequired)
        #expect(refusal(request(replacing: "Sec-WebSocket-Version")) == .unsupportedVersion)
        #expect(
            refusal(request(replacing: "Sec-WebSocket-Version", with: ["Sec-WebSocket-Version: 8"]))
                == .unsupportedVersion
        )
        #expect(refusal(request(with: ["Sec-WebSocket-Version: 13"])) == .unsupportedVersion)
        #expect(refusal(request(replacing: "Sec-WebSocket-Key")) == .invalidKey)
        #expect(refusal(request(with: ["Sec-WebSocket-Key: \(Self.key)"])) == .invalidKey)
        for key in [
            "", "abc", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25j!Q==",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let text = request(replacing: "Sec-WebSocket-Key", with: ["Sec-WebSocket-Key: \(key)"])
            #expect(refusal(text) == .invalidKey, "\(key)")
        }
        #expect(refusal(request(with: ["Sec-WebSocket-Protocol: a, a"])) == .invalidSubprotocols)
        #expect(refusal(request(with: ["Sec-WebSocket-Protocol: a b"])) == .invalidSubprotocols)
        let many = (0..<17).map { "p\($0)" }.joined(separator: ",")
        #expect(refusal(request(with: ["Sec-WebSocket-Protocol: \(many)"])) == .invalidSubprotocols)
        #expect(refusal(request(with: ["Origin: a", "Origin: b"])) == .invalidOrigin)
        #expect(refusal(request(with: ["Content-Length: 3"])) == .unexpectedBody)
        #expect(refusal(request(with: ["Content-Length: 0"])) == nil)
    }

    @Test("GW-01 refusals say how to do better")
    func refusalResponses() throws {
        func head(_ refusal: HandshakeRefusal) throws -> HTTPResponseHead {
            var out: [UInt8] = []
            Handshake.appendRefusal(refusal, to: &out)
            var parser = HTTPResponseParser()
            return try #require(try out.withUnsafeBytes { try parser.parse($0) })
        }
        let version = try head(.unsupportedVersion)
        #expect(version.status == .upgradeRequired)
        #expect(version.fields.text("sec-websocket-version") == "13")
        #expect(version.fields.hasToken("close", in: "connection"))
        #expect(try head(.upgradeRequired).fields.text("upgrade") == "websocket")
        #expect(try head(.methodNotAllowed).fields.text("allow") == "GET")
        #expect(try head(.invalidKey).status == .badRequest)
    }

    @Test("client and server agree")
    func clientSide() throws {
        var out: [UInt8] = []
        let nonce = ascii("the sample nonce")
        let key = ClientHandshake.appendRequest(
            host: "h:8000",
            target: "/ws?x=1",
            nonce: nonce,
            subprotocols: ["a", "b"],
            headers: [("Authorization", "Bearer t")],
            to: &out
        )
        #expect(key == ascii(Self.key))
        let upgrade = try evaluate(String(decoding: out, as: UTF8.self))
        #expect(upgrade.subprotocols == ["a", "b"])

        func check(_ response: String) throws -> String? {
            var parser = HTTPResponseParser()
            let head = try #require(try ascii(response).withUnsafeBytes { try parser.parse($0) })
            return try ClientHandshake.check(head, key: key, offered: ["a", "b"], sha1: sha1)
        }
        var accept: [UInt8] = []
        Handshake.appendAccept(upgrade, subprotocol: "b", sha1: sha1, to: &accept)
        let good = String(decoding: accept, as: UTF8.self)
        #expect(try check(good) == "b")
        #expect(throws: ClientHandshakeError.status(.forbidden)) { try check("HTTP/1.1 403 Forbidden\r\n\r\n") }
        #expect(throws: ClientHandshakeError.notUpgraded) { try check("HTTP/1.1 101 X\r\n\r\n") }
        let prefix = "HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: "
        #expect(throws: ClientHandshakeError.wrongAccept) { try check(prefix + "nope\r\n\r\n") }
        let accepted = prefix + "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        #expect(try check(accepted + "\r\n") == nil)
        #expect(throws: ClientHandshakeError.wrongSubprotocol) {
            try check(accepted + "Sec-WebSocket-Protocol: c\r\n\r\n")
        }
        #expect(throws: ClientHandshakeError.wrongSubprotocol) {
            try check(accepted + "Sec-WebSocket-Protocol: a, b\r\n\r\n")
        }
        #expect(throws: ClientHandshakeError.unexpectedExtension) {
            try check(accepted + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        }
    }

    @Test("base64 is RFC 4648's")
    func base64() {
        let vectors = [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ]
        for (plain, encoded) in vectors { #expect(Base64.encode(ascii(plain)) == ascii(encoded)) }
    }
}
