/// The floors of the house. `ARCHITECTURE.md` shows the same table, and a test compares them.
///
/// A target imports targets of lower floors only. Pure targets know no I/O, no clock, no chance and no task.
struct Floor {
    let level: Int
    let isPure: Bool
    let target: String
    /// Modules from outside the package that the target may import.
    let outside: [String]

    static let all: [Floor] = [
        Floor(0, "CPosixShims", pure: false),
        Floor(0, "COpenSSL", pure: false),
        Floor(0, "CLZ4", pure: false),

        Floor(1, "Primitives", pure: true),
        Floor(1, "Locks", pure: false, "Glibc"),

        Floor(2, "WebSocket", pure: true),
        Floor(2, "ClientProtocol", pure: true),
        Floor(2, "LogFormat", pure: true),
        Floor(2, "RESP", pure: true),
        Floor(2, "HistoryChecker", pure: true),

        Floor(3, "Raft", pure: true),
        Floor(3, "Placement", pure: true),
        Floor(3, "SWIM", pure: true),
        Floor(3, "Rooms", pure: true),
        Floor(3, "Keys", pure: true),

        Floor(4, "PeerProtocol", pure: true),

        Floor(5, "Broker", pure: true),
        Floor(5, "SystemOpenSSL", pure: false, "Glibc"),
        Floor(5, "LogStorage", pure: false, "Glibc", "Synchronization"),
        Floor(5, "EventLoops", pure: false, "Dispatch", "Glibc", "NIOCore", "NIOPosix", "Synchronization"),

        Floor(6, "RedisBackplane", pure: true),
        Floor(6, "ClusterConfiguration", pure: false, "Glibc", "TOMLKit"),
        Floor(6, "Cluster", pure: false, "Glibc", "NIOCore", "NIOPosix", "Synchronization", "Logging"),
        Floor(6, "Gateway", pure: false, "DequeModule", "Glibc", "NIOCore", "NIOPosix", "Synchronization", "Logging"),
        Floor(
            6,
            "Admin",
            pure: false,
            "Foundation",
            "Hummingbird",
            "HummingbirdCore",
            "HTTPTypes",
            "NIOCore",
            "ServiceLifecycle",
            "Logging"
        ),
        Floor(6, "RESPServer", pure: false, "DequeModule", "Glibc", "NIOCore", "Logging"),
        Floor(6, "VencejoClient", pure: false, "NIOCore", "NIOPosix", "Synchronization"),

        Floor(7, "RedisAdapter", pure: false, "DequeModule", "NIOCore"),

        Floor(8, "Node", pure: false, "Glibc", "NIOCore", "NIOPosix", "Synchronization", "Logging", "UnixSignals"),
        Floor(
            9,
            "vencejo",
            pure: false,
            "Glibc",
            "NIOCore",
            "NIOPosix",
            "Synchronization",
            "Logging",
            "ArgumentParser"
        ),
        Floor(9, "bench", pure: false, "Foundation", "Glibc", "Histogram", "Synchronization", "ArgumentParser"),
    ]

    private init(_ level: Int, _ target: String, pure: Bool, _ outside: String...) {
        self.level = level
        self.isPure = pure
        self.target = target
        self.outside = pure ? outside + ["DequeModule", "OrderedCollections"] : outside
    }

    static func of(_ target: String) -> Floor? { all.first { $0.target == target } }

    /// The table as it stands in `ARCHITECTURE.md`, from the roof down.
    static var table: String {
        var text = "| Floor | Targets |\n|---|---|\n"
        for level in stride(from: all.map(\.level).max() ?? 0, through: 0, by: -1) {
            let names = all.filter { $0.level == level }.map { "`\($0.target)`" + ($0.isPure ? " (pure)" : "") }
            text += "| \(level) | \(names.joined(separator: ", ")) |\n"
        }
        return text
    }
}
