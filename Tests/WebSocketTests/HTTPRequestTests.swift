import Primitives
import Testing

@testable import WebSocket

@Suite("HTTP/1.1 request heads")
struct HTTPRequestTests {
    private func parse(_ text: String, headerLimit: Int = 64, byteLimit: Int = 8192) throws(HTTPError)
        -> HTTPRequestHead?
    {
        var parser = HTTPRequestParser(headerLimit: headerLimit, byteLimit: byteLimit)
        let bytes = ascii(text)
        return try bytes.withUnsafeBytes { raw in
            Result { () throws(HTTPError) in try parser.parse(raw) }
        }.get()
    }

    private func error(_ text: String, headerLimit: Int = 64, byteLimit: Int = 8192) -> HTTPError? {
        do throws(HTTPError) {
            _ = try parse(text, headerLimit: headerLimit, byteLimit: byteLimit)
            return nil
        } catch {
            return error
        }
    }

    private func get(_ lines: String...) -> String {
        (["GET / HTTP/1.1", "Host: a"] + lines).map { $0 + "\r\n" }.joined() + "\r\n"
    }

    @Test("method, path, query and headers are read")
    func basics() throws {
        let text =
            "POST /api/publish?a=1&b=x%20y+z HTTP/1.1\r\nHost: example.org\r\nX-Api-KEY:  secret \t\r\n"
            + "Content-Length: 42\r\nConnection: keep-alive, Upgrade\r\nConnection: foo\r\nEmpty:\r\n\r\nbody"
        let head = try #require(try parse(text))
        #expect(head.method == .post)
        #expect(try head.path() == "/api/publish")
        #expect(head.isPath("/api/publish") && !head.isPath("/api"))
        #expect(try head.queryValue("a") == ascii("1"))
        #expect(try head.queryValue("b") == ascii("x y z"))
        #expect(try head.queryValue("c") == nil)
        #expect(head.fields.text("x-api-key") == "secret")
        #expect(head.fields.text("empty") == "")
        #expect(head.fields.text("absent") == nil)
        #expect(head.fields.hasToken("upgrade", in: "connection") && head.fields.hasToken("FOO", in: "Connection"))
        #expect(!head.fields.hasToken("keep", in: "connection"))
        #expect(head.contentLength == 42)
        #expect(head.byteCount == text.utf8.count - 4)
        #expect(head.isKeepAlive && !head.expectsContinue)
        #expect(head.fields.count == 6)
        #expect(head.fields[0].name.elementsEqual(ascii("Host")))
    }

    @Test("a head reads the same however the reads are cut")
    func splits() throws {
        let text = get("Upgrade: websocket", "Cookie: a=b; c=d")
        let bytes = ascii(text)
        for cut in 0..<bytes.count {
            var parser = HTTPRequestParser()
            #expect(try bytes[..<cut].withUnsafeBytes { try parser.parse($0) } == nil)
            let head = try #require(try bytes.withUnsafeBytes { try parser.parse($0) })
            #expect(head.fields.count == 3 && head.byteCount == bytes.count)
        }
        var drip = HTTPRequestParser()
        for count in 0..<bytes.count { #expect(try bytes[..<count].withUnsafeBytes { try drip.parse($0) } == nil) }
        #expect(try bytes.withUnsafeBytes { try drip.parse($0) } != nil)
    }

    @Test(
        "GW-01 malformed heads get a 4xx or 5xx",
        arguments: [
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HTTPError.unsupportedTarget),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", .malformedStartLine),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET /\r\n\r\n", .malformedStartLine),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .unsupportedTarget),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .unsupportedTarget),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .unsupportedTarget),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", .unsupportedVersion),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", .malformedStartLine),
            ("GET / HTTP/1.1\r\n\r\n", .missingHost),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost),
            ("GET / HTTP/1.1\nHost: a\n\n", .bareLineBreak),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", .bareLineBreak),
            ("GET / HTTP/1.1\r\nHost: a\u{0}b\r\n\r\n", .controlCharacter),
            ("GET / HTTP/1.1\r\nHost: a\u{7F}\r\n\r\n", .controlCharacter),
            ("GET /\u{1B}[2J HTTP/1.1\r\nHost: a\r\n\r\n", .controlCharacter),
            ("\u{16}\u{3}\u{1}", .controlCharacter),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", .obsoleteFolding),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .obsoleteFolding),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", .malformedHeader),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", .malformedHeader),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", .malformedHeader),
            ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: b\r\n\r\n", .malformedHeader),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", .duplicateContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n", .invalidContentLength),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncoding),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: identity\r\n\r\n",
                .transferEncoding
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", .unsupportedExpectation),
        ]
    )
    func refusals(text: String, expected: HTTPError) {
        let found = error(text)
        #expect(found == expected, "\(text.debugDescription)")
        #expect((400..<600).contains(found?.status.rawValue ?? 0))
    }

    @Test("SE-09 heads are bounded in bytes and headers")
    func bounds() throws {
        #expect(try parse(get("A: 1"), headerLimit: 2) != nil)
        #expect(error(get("A: 1", "B: 2"), headerLimit: 2) == .tooManyHeaders(limit: 2))
        let text = get()
        #expect(try parse(text, byteLimit: text.utf8.count) != nil)
        #expect(error(text, byteLimit: text.utf8.count - 1) == .headTooLarge(limit: text.utf8.count - 1))
        #expect(error("GET /" + String(repeating: "a", count: 9000)) == .targetTooLong(limit: 8192))
        #expect(HTTPError.targetTooLong(limit: 1).status == .uriTooLong)
        #expect(HTTPError.headTooLarge(limit: 1).status == .headersTooLarge)
        #expect(HTTPError.transferEncoding.status == .notImplemented)
        // An unfinished head below the limit just waits.
        #expect(try parse(String(text.dropLast(2))) == nil)
    }

    @Test("SE-07 percent-encoding is decoded once and checked")
    func percentEncoding() throws {
        func head(_ target: String) throws -> HTTPRequestHead {
            try #require(try parse("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n"))
        }
        #expect(try head("/caf%C3%A9%2Fx+y").path() == "/café/x+y")
        #expect(try head("/%2561").path() == "/%61")
        for bad in ["/%", "/%2", "/%zz", "/%-1"] {
            #expect(throws: HTTPError.malformedPercentEncoding) { try head(bad).path() }
        }
        for bad in ["/%00", "/%0d%0aSet-Cookie:x", "/%7F", "/%FF", "/%C0%AF"] {
            #expect(throws: HTTPError.forbiddenText) { try head(bad).path() }
        }
        let json = try head("/s?cf_connect=%7B%22a%22%3A%0A1%7D&x")
        #expect(try json.queryValue("cf_connect") == ascii("{\"a\":\n1}"))
        #expect(try json.queryValue("x") == [])
        #expect(throws: HTTPError.duplicateQueryParameter) { try head("/?a=1&b=2&%61=3").queryValue("a") }
        #expect(throws: HTTPError.forbiddenText) { try head("/?a=%00").queryValue("a") }
        #expect(throws: HTTPError.forbiddenText) { try head("/?a=%80").queryValue("a") }
        #expect(try head("/").queryValue("a") == nil)
    }

    @Test("keep-alive and expectations")
    func connectionHandling() throws {
        #expect(try parse(get("Connection: Close"))?.isKeepAlive == false)
        #expect(try parse("GET / HTTP/1.0\r\n\r\n")?.isKeepAlive == false)
        #expect(try parse(get("Expect: 100-Continue"))?.expectsContinue == true)
        #expect(try parse(get())?.contentLength == nil)
    }

    @Test("SE-07 a header value cannot add a header to a response")
    func responses() throws {
        var out: [UInt8] = []
        HTTPResponse.append(
            .ok,
            headers: [("X", "a\r\nSet-Cookie: b")],
            body: ascii("hi")[...],
            keepAlive: true,
            to: &out
        )
        #expect(
            String(decoding: out, as: UTF8.self)
                == "HTTP/1.1 200 OK\r\nX: a  Set-Cookie: b\r\nContent-Length: 2\r\n\r\nhi"
        )
        out = []
        HTTPResponse.append(HTTPError.tooManyHeaders(limit: 3), to: &out)
        var parser = HTTPResponseParser()
        let head = try #require(try out.withUnsafeBytes { try parser.parse($0) })
        #expect(head.status == .headersTooLarge)
        #expect(head.contentLength == out.count - head.byteCount)
        #expect(head.fields.hasToken("close", in: "connection"))
    }

    @Test("SE-07 mutated heads never trap and never yield more than the limit")
    func fuzz() {
        let seed = ascii(
            "GET /ws?a=%41 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                + "Content-Length: 0\r\n\r\n"
        )
        let interesting = ascii("\r\n\0:% \t,=") + [0x7F, 0x80, 0xFF]
        var random = Xoshiro256(seed: 7)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = seed
            for _ in 0...random.below(3) {
                let index = Int(random.below(UInt64(bytes.count)))
                switch random.below(4) {
                case 0: bytes[index] = interesting[Int(random.below(UInt64(interesting.count)))]
                case 1: bytes.remove(at: index)
                case 2: bytes.insert(interesting[Int(random.below(UInt64(interesting.count)))], at: index)
                default: bytes[index] = UInt8(truncatingIfNeeded: random.next())
                }
            }
            var parser = HTTPRequestParser(headerLimit: 8, byteLimit: 300)
            guard let head = try? bytes.withUnsafeBytes({ try parser.parse($0) }) else { continue }
            accepted += 1
            #expect(head.byteCount <= 300 && head.fields.count <= 8)
            #expect(head.rawPath.first == UInt8(ascii: "/"))
            _ = try? head.path()
            _ = try? head.queryValue("a")
            _ = try? Handshake.evaluate(head)
        }
        #expect(accepted > 0)
    }
}
