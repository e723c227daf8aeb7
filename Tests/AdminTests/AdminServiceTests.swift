import Admin
import Foundation
import FoundationNetworking
import Logging
import Testing

private struct Answer {
    let status: Int
    let body: String
    let contentType: String?
    let allow: String?
}

private func ask(
    _ port: Int,
    _ path: String,
    method: String = "GET",
    body: String? = nil,
    type: String? = nil,
    origin: String? = nil
) async throws -> Answer {
    var request = URLRequest(url: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
    request.httpMethod = method
    request.httpBody = body.map { Data($0.utf8) }
    if let type { request.setValue(type, forHTTPHeaderField: "Content-Type") }
    if let origin { request.setValue(origin, forHTTPHeaderField: "Origin") }
    let (data, response) = try await URLSession.shared.data(for: request)
    let http = try #require(response as? HTTPURLResponse)
    return Answer(
        status: http.statusCode,
        body: String(decoding: data, as: UTF8.self),
        contentType: http.value(forHTTPHeaderField: "Content-Type"),
        allow: http.value(forHTTPHeaderField: "Allow")
    )
}

private func service(port: Int = 0, ready: HealthReport = .healthy, standalone: Bool = false) -> AdminService {
    let routes = AdminRoutes(
        metrics: { "up 1\n" },
        live: { .healthy },
        ready: { ready },
        cluster: { #"{"members":3}"# },
        redis: { AdminRoutes.redisDisabled(standalone: standalone) },
        status: { #"{"mode":"cluster"}"# },
        drain: { $0 == "never" ? .invalid("no such budget") : .done(#"{"budget":"\#($0 ?? "default")"}"#) },
        undrain: { .refused("the node is stopping") }
    )
    var logger = Logger(label: "admin")
    logger.logLevel = .critical
    return AdminService(host: "127.0.0.1", port: port, routes: routes, logger: logger)
}

@Suite struct AdminServiceTests {
    @Test("every route answers with its content and type")
    func routes() async throws {
        let admin = service()
        let port = try await admin.start()
        let metrics = try await ask(port, "/metrics")
        #expect(metrics.status == 200 && metrics.body == "up 1\n")
        #expect(metrics.contentType == "text/plain; version=0.0.4; charset=utf-8")
        for (path, body) in [
            ("/health/live", #"{"status":"ok"}"#), ("/health/ready", #"{"status":"ok"}"#),
            ("/health/cluster", #"{"members":3}"#), ("/status?verbose=1", #"{"mode":"cluster"}"#),
        ] {
            let answer = try await ask(port, path)
            #expect(answer.status == 200 && answer.body == body && answer.contentType == "application/json", "\(path)")
        }
        await admin.stop()
    }

    @Test("a node that is not ready says 503 and why")
    func notReady() async throws {
        let admin = service(ready: .unhealthy("no \"quorum\""))
        let port = try await admin.start()
        let answer = try await ask(port, "/health/ready")
        #expect(answer.status == 503)
        #expect(answer.body == #"{"status":"unavailable","reason":"no \"quorum\""}"#)
        #expect(try await ask(port, "/health/live").status == 200)
        let head = try await ask(port, "/health/ready", method: "HEAD")
        #expect(head.status == 503 && head.body.isEmpty)
        await admin.stop()
    }

    @Test("HC-03 X-26 without Redis its health is disabled, in the documented words in standalone mode")
    func redis() async throws {
        let alone = service(standalone: true)
        let body = try await ask(try await alone.start(), "/health/redis").body
        #expect(
            body == #"{"status":"disabled","fallback_mode":true,"#
                + #""message":"Redis is disabled, using single-instance mode"}"#
        )
        await alone.stop()
        let cluster = service()
        let other = try await ask(try await cluster.start(), "/health/redis").body
        #expect(
            other == #"{"status":"disabled","fallback_mode":false,"message":"Redis is not used in cluster mode"}"#
        )
        await cluster.stop()
    }

    @Test("unknown paths and methods are refused in JSON")
    func refusals() async throws {
        let admin = service()
        let port = try await admin.start()
        let unknown = try await ask(port, "/nothing")
        #expect(unknown.status == 404 && unknown.body == #"{"error":"no such path"}"#)
        let post = try await ask(port, "/status", method: "POST")
        #expect(post.status == 405 && post.allow == "GET, HEAD" && post.contentType == "application/json")
        await admin.stop()
    }

    @Test("the gossip's keyring is shown and changed by JSON; anything else is refused with a reason")
    func gossipKeys() async throws {
        let plain = service()
        let without = try await ask(try await plain.start(), "/gossip/keys")
        #expect(without.status == 404)
        await plain.stop()

        var logger = Logger(label: "admin")
        logger.logLevel = .critical
        let routes = AdminRoutes(
            metrics: { "" },
            live: { .healthy },
            ready: { .healthy },
            cluster: { "{}" },
            redis: { "{}" },
            status: { "{}" },
            drain: { _ in .done("{}") },
            undrain: { .done("{}") },
            gossipKeys: { request in
                switch request {
                case .list: .keys(GossipKeysReport(node: "n1", keys: ["0a0b0c0d", "01020304"]))
                case .install(let key): .keys(GossipKeysReport(node: "n1", keys: [key]))
                case .use(let fingerprint): .refused("no \"\(fingerprint)\" here")
                case .remove(let fingerprint): .keys(GossipKeysReport(node: fingerprint, keys: []))
                }
            }
        )
        let admin = AdminService(host: "127.0.0.1", port: 0, routes: routes, logger: logger)
        let port = try await admin.start()
        let list = try await ask(port, "/gossip/keys")
        #expect(list.status == 200 && list.body == #"{"keys":["0a0b0c0d","01020304"],"node":"n1"}"#)
        #expect(try GossipKeysReport(json: Array(list.body.utf8)).keys == ["0a0b0c0d", "01020304"])
        func post(_ body: String, type: String? = "application/json", method: String = "POST") async throws -> Answer {
            try await ask(port, "/gossip/keys", method: method, body: body, type: type)
        }
        for request in [GossipKeysRequest.install(key: "ab"), .use(fingerprint: "cd"), .remove(fingerprint: "ef")] {
            #expect(GossipKeysRequest(json: request.json()) == request)
        }
        let installed = try await post(#"{"operation":"install","key":"ab"}"#)
        #expect(installed.status == 200 && installed.body == #"{"keys":["ab"],"node":"n1"}"#)
        let refused = try await post(#"{"operation":"use","fingerprint":"cd"}"#)
        #expect(refused.status == 409 && refused.body == #"{"error":"no \"cd\" here"}"#)
        #expect(AdminRefusal(json: Array(refused.body.utf8))?.error == #"no "cd" here"#)
        #expect(try await post(#"{"operation":"remove","fingerprint":"ef"}"#).status == 200)
        for bad in ["", "{}", "[]", #"{"operation":"use","key":"ab"}"#, #"{"operation":"burn","key":"ab"}"#] {
            #expect(try await post(bad).status == 400, "\(bad)")
        }
        // What a page in a browser may send without being asked first.
        #expect(try await post(#"{"operation":"install","key":"ab"}"#, type: "text/plain").status == 415)
        #expect(try await post(String(repeating: " ", count: 5000)).status == 413)
        let put = try await post("{}", method: "PUT")
        #expect(put.status == 405 && put.allow == "GET, HEAD, POST")
        await admin.stop()
    }

    @Test("LB-07 commands are taken by POST, with their reasons when they are not, and never from a web page")
    func commands() async throws {
        let admin = service()
        let port = try await admin.start()
        let plain = try await ask(port, "/drain", method: "POST")
        #expect(plain.status == 200 && plain.body == #"{"budget":"default"}"#)
        #expect(try await ask(port, "/drain?budget=30s", method: "POST").body == #"{"budget":"30s"}"#)
        let invalid = try await ask(port, "/drain?budget=never", method: "POST")
        #expect(invalid.status == 400 && invalid.body == #"{"error":"no such budget"}"#)
        let refused = try await ask(port, "/undrain", method: "POST")
        #expect(refused.status == 409 && refused.body == #"{"error":"the node is stopping"}"#)
        let read = try await ask(port, "/drain")
        #expect(read.status == 405 && read.allow == "POST")
        let page = try await ask(port, "/drain", method: "POST", origin: "https://example.org")
        #expect(page.status == 403)
        await admin.stop()
    }

    @Test("a taken port is an error, a stopped service frees its port")
    func lifecycle() async throws {
        let first = service()
        let port = try await first.start()
        let second = service(port: port)
        await #expect(throws: (any Error).self) { try await second.start() }
        await #expect(throws: AdminService.StartError.alreadyStarted) { try await first.start() }
        _ = try await ask(port, "/status")
        await first.stop()
        await #expect(throws: (any Error).self) { try await ask(port, "/status") }
        #expect(try await second.start() == port)
        await second.stop()
    }
}
