/// `ws://host:port/path`, the address of a node's gateway.
struct NodeURL: Equatable, Sendable {
    var host: String
    var port: Int
    var target: String

    /// Port 8000 and `/connection/websocket` when they are not given.
    init(_ text: String) throws(ClientFailure) {
        guard text.hasPrefix("ws://") else { throw .invalidURL(text) }
        let rest = text.dropFirst(5)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        var path = String(rest.dropFirst(authority.count))
        if path.isEmpty || path == "/" { path = "/connection/websocket" }
        if path.hasPrefix("?") { path = "/connection/websocket" + path }
        guard path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .invalidURL(text) }
        var host = String(authority)
        var port = 8000
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65535).contains(number) else {
                throw .invalidURL(text)
            }
            port = number
            host = String(authority[..<colon])
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty, !host.contains("@") else { throw .invalidURL(text) }
        self.host = host
        self.port = port
        target = path
    }
}
