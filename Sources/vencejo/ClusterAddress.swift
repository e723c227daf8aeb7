import ArgumentParser
import ClusterConfiguration
import VencejoClient

/// Which nodes a client command talks to.
struct ClusterAddress: ParsableArguments {
    @Option(
        name: .long,
        help: "A node's address, e.g. ws://127.0.0.1:8000; may be repeated. Default: all nodes of the configuration."
    )
    var url: [String] = []

    @OptionGroup var configurationOptions: ConfigurationOptions

    /// The addresses to try in order.
    func urls() throws -> [String] {
        url.isEmpty ? try configurationOptions.load().gatewayURLs : url
    }

    /// A connected client. When nobody answers, says what to try and ends with exit code 1.
    func connect() async throws -> VencejoClient {
        let urls = try urls()
        do {
            return try await VencejoClient.connect(urls)
        } catch let failure as ClientFailure {
            switch failure {
            case .unreachable(let reason) where reason.contains("refused"):
                Output.error("vencejo: connection refused by \(urls.joined(separator: ", "))")
                Output.error("Is the cluster running? Try: vencejo cluster")
            case .unreachable(let reason):
                Output.error("vencejo: cannot reach \(urls.joined(separator: ", ")): \(reason)")
                Output.error("Is the cluster running? Try: vencejo status")
            case .invalidURL(let url):
                Output.error("vencejo: \"\(url)\" is not an address like ws://127.0.0.1:8000")
                throw ExitCode(64)
            default: Output.error("vencejo: \(FailureText.describe(failure))")
            }
            throw ExitCode.failure
        }
    }
}

extension ClusterConfiguration {
    /// The WebSocket address of every node, in the file's order.
    package var gatewayURLs: [String] { nodes.map(ClusterConfiguration.gatewayURL) }

    /// `ws://host:port/connection/websocket` of one node.
    package static func gatewayURL(of node: Node) -> String {
        let host = node.host.contains(":") ? "[\(node.host)]" : node.host
        return "ws://\(host):\(node.gatewayPort)/connection/websocket"
    }
}

/// A client's errors in words.
enum FailureText {
    static func describe(_ error: any Error) -> String {
        guard let failure = error as? ClientFailure else { return "\(error)" }
        switch failure {
        case .invalidURL(let url): return "\"\(url)\" is not an address like ws://127.0.0.1:8000"
        case .unreachable(let reason): return "cannot reach the cluster: \(reason)"
        case .protocolViolation(let reason): return "the server broke the protocol or refused: \(reason)"
        case .server(let code, let message, let isTemporary):
            return "error \(code): \(message)" + (isTemporary ? " (temporary: try again)" : "")
        case .connectionLost: return "the connection was lost; the request may have taken effect"
        case .closed: return "the client is closed"
        case .tooManyRequests: return "too many unanswered requests"
        case .timeout: return "no answer in time; the request may have taken effect"
        }
    }
}
