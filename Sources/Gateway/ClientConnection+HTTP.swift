import Broker
import ClientProtocol
import EventLoops
import NIOCore
import Primitives
import Rooms
import SystemOpenSSL
import WebSocket

extension ClientConnection {
    private static let centrifugoPath = "/connection/websocket"
    private static let plainPath = "/ws"
    private static let publishPath = "/api/publish"

    // MARK: Requests

    /// Takes a request head from the front of `raw`; nil when it is not complete.
    func consumeHead(_ raw: UnsafeRawBufferPointer) -> Int? {
        guard !raw.isEmpty else { return nil }
        if isResting {
            isResting = false
            deadline = shard.now + shard.configuration.handshakeTimeout
            shard.arm(self, at: deadline)
        }
        do throws(HTTPError) {
            guard let head = try requestParser.parse(raw) else { return nil }
            route(head)
            return head.byteCount
        } catch {
            refuse(error.status, error.reason)
            return raw.count
        }
    }

    private func route(_ head: HTTPRequestHead) {
        let isUpgrade = head.isPath(ClientConnection.centrifugoPath) || head.isPath(ClientConnection.plainPath)
        // Who was here before the drain may still publish.
        if admission == .redirected || admission == .refused || isUpgrade && shard.isDraining {
            if let target = shard.redirectTarget() { return redirect(head, to: target) }
            if admission != .redirected || shard.isDraining { return refuseAdmission() }
        }
        if isUpgrade { return upgrade(head) }
        guard head.isPath(ClientConnection.publishPath) else { return refuse(.notFound, "no such address") }
        guard head.method == .post else { return refuse(.methodNotAllowed, "POST only", headers: [("Allow", "POST")]) }
        guard let length = head.contentLength else { return refuse(.lengthRequired, "Content-Length is missing") }
        guard length <= shard.configuration.httpBody else {
            return refuse(.contentTooLarge, "the body's limit is \(shard.configuration.httpBody) bytes")
        }
        guard isAuthorized(head) else { return refuse(.unauthorized, "a valid X-API-Key is needed") }
        if head.expectsContinue {
            stream.write(shard.allocator.buffer(string: "HTTP/1.1 100 Continue\r\n\r\n"))
            stream.flush()
        }
        phase = .body(head)
    }

    private func isAuthorized(_ head: HTTPRequestHead) -> Bool {
        let key = shard.configuration.apiKey
        isTrusted = false
        if key.isEmpty { return stream.remoteAddress.map(ClientConnection.isLoopback) ?? false }
        guard let given = head.fields.first("x-api-key") else { return false }
        isTrusted = Digest.constantTimeEqual(Array(given), key)
        return isTrusted
    }

    private static func isLoopback(_ address: SocketAddress) -> Bool {
        guard let host = address.ipAddress else { return address.port == nil }
        return host.hasPrefix("127.") || host == "::1" || host.hasPrefix("::ffff:127.")
    }

    /// Takes the request's body; nil when it is not complete.
    func consumeBody(_ raw: UnsafeRawBufferPointer, _ head: HTTPRequestHead) -> Int? {
        let length = head.contentLength ?? 0
        guard raw.count >= length else { return nil }
        publish(body: Array(raw[..<length]), keepAlive: head.isKeepAlive)
        return length
    }

    private func publish(body: [UInt8], keepAlive: Bool) {
        let request: PublishRequest?
        do throws(JSONError) {
            request = try ServerAPI.decodePublish(body[...], limits: shard.protocolLimits)
        } catch {
            return answer(.badRequest, .badRequest, keepAlive: keepAlive)
        }
        guard let request else { return answer(.badRequest, .badRequest, keepAlive: keepAlive) }
        guard request.unsupported.isEmpty else {
            let names = request.unsupported.map(\.description)
            return answer(.badRequest, PublishRequest.refusal(of: names), keepAlive: keepAlive)
        }
        let room = RoomName(request.channel)
        if let refusal = publishRefusal(of: room, bytes: request.data.count, isTrusted: isTrusted) {
            return answer(refusal.status, refusal.error, keepAlive: keepAlive)
        }
        if session == nil, let opened = shard.broker.openSession() {
            session = opened
            shard.begin(self, opened, isPlain: nil)
        }
        guard let session else {
            return answer(.serviceUnavailable, .tooManyRequests, keepAlive: keepAlive)
        }
        phase = .answering(keepAlive: keepAlive)
        nextRequest &+= 1
        shard.metrics.publishes += 1
        shard.broker.publish(
            RequestToken(session: session, command: Request.http(nextRequest).token),
            room: room,
            body: request.encodedBody,
            producer: request.producerStamp,
            idempotencyKey: request.idempotencyKey
        )
        shard.calledBroker()
    }

    /// The broker's answer to the publish of an HTTP request.
    func answerHTTP(_ number: UInt32, _ result: Result<PublishOutcome, RequestError>) {
        guard case .answering(let keepAlive) = phase, number == nextRequest else { return }
        var body: [UInt8] = []
        switch result {
        case .success(let outcome):
            guard let accepted = outcome.accepted else {
                return answer(.badRequest, outcome.clientError, keepAlive: keepAlive)
            }
            ServerAPI.appendPublishResult(
                epoch: accepted.position?.epoch,
                offset: accepted.position?.offset ?? 0,
                isDuplicate: accepted.isDuplicate,
                to: &body
            )
            respond(.ok, body: body, keepAlive: keepAlive)
        case .failure(let error):
            let status: HTTPStatus =
                switch error {
                case .busy: .tooManyRequests
                case .noQuorum, .timeout: .serviceUnavailable
                default: .badRequest
                }
            answer(status, error.clientError, keepAlive: keepAlive)
        }
    }

    private func answer(_ status: HTTPStatus, _ error: ClientError, keepAlive: Bool) {
        shard.metrics.refusedByStatus[status.rawValue, default: 0] += 1
        var body: [UInt8] = []
        ServerAPI.appendError(error, to: &body)
        respond(status, body: body, keepAlive: keepAlive)
    }

    // MARK: Responses

    /// Refuses a request; the connection closes after the response.
    func refuse(_ status: HTTPStatus, _ reason: String, headers: [(name: String, value: String)] = []) {
        shard.metrics.refusedByStatus[status.rawValue, default: 0] += 1
        var body: [UInt8] = []
        ServerAPI.appendError(ClientError(code: UInt32(status.rawValue), message: reason), to: &body)
        respond(status, headers: headers, body: body, keepAlive: false)
    }

    private func refuseAdmission() {
        refuse(
            .serviceUnavailable,
            shard.isDraining ? "the node is draining" : "the node is at its limit of connections",
            headers: [("Retry-After", String(shard.retryAfter()))]
        )
    }

    /// To a node with room. A Centrifugo client gets a session that ends at once: its SDKs do not look at statuses, and
    /// the code tells them to connect again.
    private func redirect(_ head: HTTPRequestHead, to target: RedirectTargets.Target) {
        shard.metrics.redirects += 1
        if head.isPath(ClientConnection.centrifugoPath) {
            return upgrade(head, only: shard.isDraining ? .shutdown : .forceReconnect)
        }
        // Libraries take the scheme that they were called with.
        var location = head.isPath(ClientConnection.plainPath) ? target.url : "http" + target.url.dropFirst(2)
        location += String(decoding: head.rawPath, as: UTF8.self)
        if let query = head.rawQuery { location += "?" + String(decoding: query, as: UTF8.self) }
        refuse(
            .temporaryRedirect,
            "\(target.name) has room",
            headers: [("Location", location), ("Retry-After", "1")]
        )
    }

    private func respond(
        _ status: HTTPStatus,
        headers: [(name: String, value: String)] = [],
        body: [UInt8],
        keepAlive: Bool
    ) {
        let keepAlive = keepAlive && !shard.isDraining
        var out: [UInt8] = []
        HTTPResponse.append(
            status,
            headers: [("Content-Type", "application/json")] + headers,
            body: body[...],
            keepAlive: keepAlive,
            to: &out
        )
        shard.metrics.bytesOut &+= UInt64(out.count)
        stream.write(shard.allocator.buffer(bytes: out))
        stream.flush()
        if keepAlive {
            phase = .head
            requestParser = HTTPRequestParser(byteLimit: shard.configuration.httpHead)
            // Between requests a connection may rest longer than a request may take.
            isResting = true
            lastHeard = shard.now
            deadline = idleDeadline
            shard.arm(self, at: deadline)
            updateReading()
        } else {
            end()
        }
    }

    /// After the last bytes of a connection without a session.
    private func end() {
        phase = .closing
        leaveShard()
        // Not a plain close: the response must reach a client that is still sending.
        stream.finish(linger: shard.closeLinger)
    }

    /// The head or body did not come in time.
    func timeOutRequest() {
        refuse(.requestTimeout, "the request took too long")
    }

    // MARK: Upgrade

    /// `farewell`: the session is refused by it as soon as the client can read it.
    private func upgrade(_ head: HTTPRequestHead, only farewell: Disconnect? = nil) {
        let request: UpgradeRequest
        do throws(HandshakeRefusal) {
            request = try Handshake.evaluate(head)
        } catch {
            switch error {
            case .methodNotAllowed: return refuse(error.status, error.reason, headers: [("Allow", "GET")])
            case .unsupportedVersion:
                return refuse(error.status, error.reason, headers: [("Sec-WebSocket-Version", "13")])
            case .upgradeRequired: return refuse(error.status, error.reason, headers: [("Upgrade", "websocket")])
            default: return refuse(error.status, error.reason)
            }
        }
        let configuration = shard.configuration
        if let origin = request.origin, !configuration.origins.isEmpty, !configuration.origins.contains(origin) {
            return refuse(.forbidden, "this origin is not allowed")
        }
        guard configuration.allowsAnonymous else {
            return refuse(.unauthorized, "anonymous clients are not allowed, and this build knows no tokens")
        }
        let isPlain = head.isPath(ClientConnection.plainPath)
        var subprotocol: String?
        if !isPlain, !request.subprotocols.isEmpty {
            guard request.subprotocols.contains("centrifuge-json") else {
                return refuse(.badRequest, "subprotocols: centrifuge-json or none; centrifuge-protobuf is not built")
            }
            subprotocol = "centrifuge-json"
        }
        let user: [UInt8]
        let room: [UInt8]
        do throws(HTTPError) {
            user = try head.queryValue("user") ?? []
            room = isPlain ? try head.queryValue("room") ?? [] : []
        } catch {
            return refuse(error.status, error.reason)
        }
        guard isName(user, limit: configuration.roomNameBytes - 1), isName(room, limit: configuration.roomNameBytes)
        else {
            return refuse(.badRequest, "user and room are names without control characters")
        }
        var out: [UInt8] = []
        Handshake.appendAccept(
            request,
            subprotocol: subprotocol,
            sha1: { (try? Digest.sha1($0)) ?? [] },
            to: &out
        )
        if let farewell {
            FrameWriter.appendClose(CloseCode(farewell.code), reason: farewell.reason, to: &out)
            shard.metrics.bytesOut &+= UInt64(out.count)
            stream.write(shard.allocator.buffer(bytes: out))
            return end()
        }
        guard let opened = session ?? shard.broker.openSession() else { return refuseAdmission() }
        shard.metrics.bytesOut &+= UInt64(out.count)
        stream.write(shard.allocator.buffer(bytes: out))
        stream.flush()

        session = opened
        dialect = isPlain ? .plain : .centrifugo
        self.user = user
        phase = .webSocket
        frameParser = FrameParser(role: .server, maxMessageSize: configuration.maxSize)
        shard.begin(self, opened, isPlain: isPlain)
        deadline = shard.now + configuration.handshakeTimeout
        nextPing = isPlain ? shard.firstPing(heartbeat) : .distantFuture
        shard.arm(self, at: min(deadline, nextPing, idleDeadline))
        if isPlain { beginPlain(room: room) }
    }

    private func isName(_ bytes: [UInt8], limit: Int) -> Bool {
        bytes.count <= limit && !bytes.contains { $0 < 0x20 || $0 == 0x7F }
    }
}
