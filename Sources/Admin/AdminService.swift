import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// The node's admin port: metrics, health and status over plain HTTP, to be kept on a private address.
///
/// | Route | Answer |
/// |---|---|
/// | `GET /metrics` | Prometheus text |
/// | `GET /health/live` | 200, or 503 with the reason |
/// | `GET /health/ready` | 200, or 503 with the reason |
/// | `GET /health/cluster`, `/health/redis`, `/status` | JSON |
/// | `GET /gossip/keys`, `POST /gossip/keys` | JSON: the keyring after the request; see `GossipKeysRequest` |
/// | `POST /drain?budget=30s`, `/undrain` | JSON: how far the drain is; 400, 409 with the reason |
/// | `POST /move?partition=3&node=n2`, `/rebalance`, `/rebalance?dry-run`, `/leave?node=n2`, `/stay?node=n2`, |
/// | `/forget?node=n2`, `/weight?node=n2&weight=2` | JSON: what was agreed or would be; 400, 409 with the reason |
///
/// `HEAD` answers like `GET` without the body, another method 405, another path 404; errors are JSON objects with the
/// key `error`. A `POST` that a web page sends (it has an `Origin`) gets 403: an operator's browser can reach this
/// port, and pages of others run in it.
/// At most 64 connections at a time, closed after 30 idle seconds; heads of at most 16 KiB.
package actor AdminService {
    /// Why the service did not start.
    package enum StartError: Error, Equatable {
        case alreadyStarted
        /// It ended before it listened.
        case ended
    }

    private let host: String
    private let port: Int
    private let routes: AdminRoutes
    private let logger: Logger
    private var running: (group: ServiceGroup, task: Task<Void, Never>)?

    /// `port` 0 takes a free one.
    package init(host: String, port: Int, routes: AdminRoutes, logger: Logger) {
        self.host = host
        self.port = port
        self.routes = routes
        self.logger = logger
    }

    /// Listens and returns the port. Throws the system's error when the address cannot be had.
    package func start() async throws -> Int {
        guard running == nil else { throw StartError.alreadyStarted }
        let (ports, continuation) = AsyncThrowingStream<Int, any Error>.makeStream()
        let requested = port
        let application = Application(
            responder: AdminResponder(routes: routes),
            server: .http1(
                configuration: HTTP1Channel.Configuration(
                    idleTimeout: .seconds(30),
                    httpDecoderConfiguration: HTTP1Channel.Configuration.DecoderConfiguration(
                        maxHeaderFieldSize: 8 << 10,
                        maxHeaderListSize: 16 << 10,
                        maxHeaderFieldCount: 100
                    )
                )
            ),
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: port),
                availableConnectionsDelegate: MaximumAvailableConnections(64)
            ),
            onServerRunning: { channel in
                continuation.yield(channel.localAddress?.port ?? requested)
            },
            logger: logger
        )
        var lifecycle = ServiceGroupConfiguration(services: [application], logger: logger)
        // A client that keeps reading a reply is cut off rather than holding up the node's end.
        lifecycle.maximumGracefulShutdownDuration = .seconds(2)
        let group = ServiceGroup(configuration: lifecycle)
        let task = Task {
            do {
                try await group.run()
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        running = (group, task)
        do {
            for try await port in ports { return port }
        } catch {
            running = nil
            throw error
        }
        running = nil
        throw StartError.ended
    }

    /// Stops listening, closes what is open and returns when that is done, after 2 seconds at the latest.
    package func stop() async {
        guard let (group, task) = running else { return }
        running = nil
        await group.triggerGracefulShutdown()
        await task.value
    }
}

/// Finds the route of a request.
private struct AdminResponder: HTTPResponder {
    typealias Context = BasicRequestContext

    let routes: AdminRoutes

    @Sendable func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
        var response =
            if request.uri.path == "/gossip/keys", let keys = routes.gossipKeys {
                request.method == .get || request.method == .head
                    ? keyring(await keys(.list)) : await change(request, keys)
            } else {
                await answer(request)
            }
        if request.method == .head {
            let length = response.body.contentLength ?? 0
            response.body = ResponseBody()
            response.headers[.contentLength] = String(length)
        }
        return response
    }

    private func answer(_ request: Request) async -> Response {
        let path = request.uri.path
        let reads = ["/metrics", "/health/live", "/health/ready", "/health/cluster", "/health/redis", "/status"]
        let control = ControlCommands.all.first { "/\($0)" == path }
        let isCommand = control != nil || ["/drain", "/undrain"].contains(path)
        guard isCommand || reads.contains(path) else { return json(.notFound, #"{"error":"no such path"}"#) }
        let isAllowed = isCommand ? request.method == .post : request.method == .get || request.method == .head
        guard isAllowed else {
            let use = isCommand ? "POST" : "GET"
            var response = json(.methodNotAllowed, #"{"error":"method not allowed; use \#(use)"}"#)
            response.headers[.allow] = isCommand ? "POST" : "GET, HEAD"
            return response
        }
        if isCommand, request.headers[.origin] != nil {
            return json(.forbidden, #"{"error":"commands are not taken from web pages"}"#)
        }
        if let control {
            var parameters: [String: String] = [:]
            for (name, value) in request.uri.queryParameters { parameters[String(name)] = String(value) }
            return outcome(await routes.control(control, parameters))
        }
        switch path {
        case "/drain": return outcome(await routes.drain(request.uri.queryParameters["budget"].map { String($0) }))
        case "/undrain": return outcome(await routes.undrain())
        case "/metrics": return text(.ok, PrometheusText.contentType, await routes.metrics())
        case "/health/live": return health(await routes.live())
        case "/health/ready": return health(await routes.ready())
        case "/health/cluster": return json(.ok, await routes.cluster())
        case "/health/redis": return json(.ok, await routes.redis())
        default: return json(.ok, await routes.status())
        }
    }

    /// A change of the keyring. Its content type makes a browser ask first (CORS), so that no page that somebody looks
    /// at on this machine can send one.
    private func change(
        _ request: Request,
        _ keys: @Sendable (GossipKeysRequest) async -> GossipKeysAnswer
    ) async -> Response {
        guard request.method == .post else {
            var response = json(.methodNotAllowed, #"{"error":"method not allowed; use GET or POST"}"#)
            response.headers[.allow] = "GET, HEAD, POST"
            return response
        }
        guard request.headers[.contentType]?.hasPrefix("application/json") == true else {
            return json(.unsupportedMediaType, #"{"error":"the content type must be application/json"}"#)
        }
        guard let body = try? await request.body.collect(upTo: GossipKeysRequest.maxBytes) else {
            return json(.contentTooLarge, #"{"error":"the body is above \#(GossipKeysRequest.maxBytes) bytes"}"#)
        }
        guard let wanted = GossipKeysRequest(json: Array(body.readableBytesView)) else {
            return json(
                .badRequest,
                #"{"error":"the body must be an operation: install with a key, use or remove with a fingerprint"}"#
            )
        }
        return keyring(await keys(wanted))
    }

    private func keyring(_ answer: GossipKeysAnswer) -> Response {
        switch answer {
        case .keys(let report): json(.ok, report.json())
        case .refused(let reason): json(.conflict, #"{"error":\#(JSONText.quote(reason))}"#)
        }
    }

    private func outcome(_ outcome: CommandOutcome) -> Response {
        switch outcome {
        case .done(let body): json(.ok, body)
        case .invalid(let reason): json(.badRequest, #"{"error":\#(JSONText.quote(reason))}"#)
        case .refused(let reason): json(.conflict, #"{"error":\#(JSONText.quote(reason))}"#)
        case .unavailable(let reason): json(.serviceUnavailable, #"{"error":\#(JSONText.quote(reason))}"#)
        }
    }

    private func health(_ report: HealthReport) -> Response {
        report.isHealthy
            ? json(.ok, #"{"status":"ok"}"#)
            : json(.serviceUnavailable, #"{"status":"unavailable","reason":\#(JSONText.quote(report.reason))}"#)
    }

    private func json(_ status: HTTPResponse.Status, _ body: String) -> Response {
        text(status, "application/json", body)
    }

    private func text(_ status: HTTPResponse.Status, _ contentType: String, _ body: String) -> Response {
        Response(
            status: status,
            headers: [.contentType: contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: body))
        )
    }
}
