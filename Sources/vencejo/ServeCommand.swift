import ArgumentParser
import ClusterConfiguration
import Glibc
import LogStorage
import Logging
import Node

/// `vencejo serve`: one node in the foreground.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run one node in the foreground.",
        discussion: """
            SIGTERM or Ctrl-C stops it: leadership is handed over, clients are told to go within [drain] budget, the \
            log is synced. A second one ends it at once.
            """
    )

    @Option(name: .long, help: "Which [[node]] of the file this is. Default: $VENCEJO_NODE.")
    var node: String?

    @OptionGroup var configurationOptions: ConfigurationOptions

    @Option(name: .long, help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel: Logger.Level = .info

    @Option(name: .long, help: "Keep the node's data in DIR/<node> instead of its data_dir.")
    var data: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Join the cluster of this node instead of forming one: host:gossip_port. May be repeated.",
            valueName: "host:port"
        )
    )
    var join: [String] = []

    /// How a node that was let go by its cluster ends when it is started again.
    static let left = ExitCode(3)

    @Flag(name: .long, help: .hidden)
    var stopWithInput = false

    func run() async throws {
        var configuration = try configurationOptions.load()
        let known = configuration.nodes.map(\.id)
        guard let name = node ?? ProcessEnvironment.all["VENCEJO_NODE"] ?? (known.count == 1 ? known[0] : nil) else {
            throw ValidationError("which node? --node \(known.joined(separator: "|"))")
        }
        guard let index = configuration.nodes.firstIndex(where: { $0.id == name }) else {
            Output.error(
                "\(configuration.path): no [[node]] has id = \"\(name)\"; there are \(known.joined(separator: ", "))"
            )
            throw ExitCode(78)
        }
        if let data { configuration.nodes[index].dataDirectory = "\(data)/\(name)" }
        try DirectoryTree.make(configuration.nodes[index].dataDirectory)
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var logger = Logger(label: name)
        logger.logLevel = logLevel
        do {
            try await serve(configuration, name, logger)
        } catch is CancellationError {
            return
        } catch NodeError.left(let name) {
            Output.error("vencejo: \(NodeError.left(name))")
            throw ServeCommand.left
        } catch {
            Output.error("vencejo: \(name) does not start: \(error)")
            if let hint = ServeCommand.hint(for: error, configuration.nodes[index]) { Output.error(hint) }
            throw ExitCode.failure
        }
    }

    private func serve(_ configuration: ClusterConfiguration, _ name: String, _ logger: Logger) async throws {
        guard stopWithInput else {
            return try await run(configuration, name, logger)
        }
        let service = Task { try await run(configuration, name, logger) }
        // The parent holds the other end of standard input and is gone when it closes.
        BackgroundThread.detach {
            LineReader.read(STDIN_FILENO) { _ in }
            service.cancel()
        }
        try await service.value
    }

    private func run(_ configuration: ClusterConfiguration, _ name: String, _ logger: Logger) async throws {
        try await NodeService.run(configuration: configuration, node: name, join: join, logger: logger)
    }

    /// What to try, where that is not in the error itself.
    static func hint(for error: any Error, _ node: ClusterConfiguration.Node) -> String? {
        switch error {
        case StorageError.locked:
            "Is \(node.id) already running? One process at a time may have \(node.dataDirectory)."
        case StorageError.full: "Make room on the disk of \(node.dataDirectory), then start again."
        case StorageError.corrupt, StorageError.unsupported:
            "Try: vencejo log check \(node.dataDirectory)"
        case NodeError.listen: "Another process has the port: stop it, or give the node another one in cluster.toml."
        default: nil
        }
    }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// Directories with their parents.
enum DirectoryTree {
    /// Makes `path` and what leads to it; what is there stays. A failure is left to whoever uses the directory next.
    static func make(_ path: String) throws {
        var made = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            made += part + "/"
            mkdir(made, 0o750)
        }
    }

    /// Removes `path` and everything in it, if it looks like a data directory of ours or is empty. False when it does
    /// not and was left alone.
    static func removeData(_ path: String) -> Bool {
        let disk = PosixDisk()
        guard let names = try? disk.list(path) else { return true }
        guard names.isEmpty || (names.contains("wal") && names.contains("meta")) else { return false }
        return remove(path)
    }

    private static func remove(_ path: String) -> Bool {
        // A link is removed, never followed: unlink(2) fails only for directories.
        if unlink(path) == 0 || errno == ENOENT { return true }
        guard errno == EISDIR else { return false }
        guard let names = try? PosixDisk().list(path) else { return false }
        for name in names where !remove("\(path)/\(name)") { return false }
        return rmdir(path) == 0
    }
}
