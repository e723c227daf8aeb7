import Admin
import ClusterConfiguration
import NIOCore
import NIOPosix
import Primitives

/// Asks one node's admin port.
package struct AdminClient: Sendable {
    package let host: String
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// The admin port of `node`; nil when it has none. An admin address of all interfaces is reached as the node is.
    package init?(_ configuration: ClusterConfiguration, _ node: ClusterConfiguration.Node) {
        guard node.adminPort != 0 else { return nil }
        let own = configuration.admin.host
        self.init(host: ["0.0.0.0", "::", "*"].contains(own) ? node.host : own, port: node.adminPort)
    }

    package func get(_ path: String, timeout: Interval = .seconds(3)) async throws -> HTTPExchange.Response {
        try await HTTPExchange.send(host: host, port: port, path: path, timeout: timeout)
    }

    package func post(
        _ path: String,
        json: [UInt8],
        timeout: Interval = .seconds(3)
    ) async throws -> HTTPExchange.Response {
        try await HTTPExchange.send(
            "POST",
            host: host,
            port: port,
            path: path,
            headers: [("Content-Type", "application/json")],
            body: json,
            timeout: timeout
        )
    }

    /// A command; returns the node's answer, or throws `Refusal` with its reason when it is not taken.
    @discardableResult
    package func post(_ path: String, timeout: Interval = .seconds(5)) async throws -> [UInt8] {
        let response = try await HTTPExchange.send("POST", host: host, port: port, path: path, timeout: timeout)
        if response.status == 200 { return response.body }
        throw Refusal(
            description: AdminRefusal(json: response.body)?.error ?? "\(response.status) \(response.text)",
            mayAskOthers: response.status == 503
        )
    }

    package struct Refusal: Error, CustomStringConvertible {
        package let description: String
        /// This node cannot do it; another one may.
        package var mayAskOthers = false
    }

    /// The node's view of itself and of the cluster.
    package func status(timeout: Interval = .seconds(3)) async throws -> StatusReport {
        try StatusReport(json: try await get("/status", timeout: timeout).body)
    }

    /// Nil when the node is ready, else why it is not.
    package func unreadiness() async -> String? {
        do {
            let response = try await get("/health/ready", timeout: .seconds(2))
            return response.status == 200 ? nil : response.text
        } catch {
            return AdminClient.explain(error)
        }
    }

    /// Why nobody answered, in a few words.
    package static func explain(_ error: any Error) -> String {
        if let failure = error as? NIOConnectionError {
            for attempt in failure.connectionErrors {
                if let reason = attempt.error as? IOError { return explain(reason) }
                if attempt.error is ChannelError { return "no answer in time" }
            }
        }
        if let reason = error as? IOError { return explain(reason) }
        return "\(error)"
    }

    private static func explain(_ error: IOError) -> String {
        error.errnoCode == 111 ? "connection refused" : String(describing: error)
    }
}

extension AdminClient {
    /// `host:port` or `[address]:port`, as a status report has it.
    init?(address: String) {
        guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]),
            (1...65535).contains(port)
        else { return nil }
        self.init(host: String(address[..<colon].filter { !"[]".contains($0) }), port: port)
    }
}
