import ArgumentParser
import ClusterConfiguration
import Glibc
import NIOCore
import Primitives

/// `vencejo cluster`: every node of the configuration, as child processes of this one.
struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Run every node of cluster.toml on this machine, and watch them.",
        discussion: """
            Ctrl-C stops all nodes cleanly, a second one at once. A node that dies is started again; one that has left \
            the cluster, or was stopped, is not.
            """
    )

    @OptionGroup var configurationOptions: ConfigurationOptions

    @Flag(name: .long, help: "Show a failover: publish, kill the room's owner, prove that nothing is lost.")
    var killDemo = false

    @Option(
        name: .long,
        help: "Run so many nodes, more than the file has, by a file that is written beside their data directories."
    )
    var nodes: Int?

    @Flag(name: .long, help: "No live table, only lines.")
    var noTable = false

    @Option(name: .long, help: "Keep the nodes' data under this directory instead of their data_dir.")
    var data: String?

    @Flag(name: .long, help: "Delete the nodes' data first.")
    var fresh = false

    @Option(name: .long, help: "Log level of the nodes.")
    var logLevel = "notice"

    func run() async throws {
        var configuration = try configurationOptions.load()
        var path = configurationOptions.path
        if let nodes, nodes != configuration.nodes.count {
            guard (configuration.nodes.count...WiderCluster.nodesMax).contains(nodes) else {
                throw ValidationError(
                    "--nodes is \(configuration.nodes.count), which \(path) has, to \(WiderCluster.nodesMax)"
                )
            }
            path = try WiderCluster.write(configuration, from: path, count: nodes, data: data)
            configuration = try ConfigurationOptions.load(path)
            Output.line("\(nodes) nodes by \(path); other commands find them with --config \(path)")
        }
        if fresh { try deleteData(configuration) }
        let terminal = Terminal(interactive: !noTable && !killDemo)
        var arguments = ["--config", path, "--log-level", logLevel]
        if let data { arguments += ["--data", data] }
        let reporter = ClusterReporter(configuration, terminal)
        let supervisor = ClusterSupervisor(configuration, arguments: arguments) { reporter.line($0, $1) }

        let interrupts = Interrupts.stream()
        let began = NIODeadline.now()
        await supervisor.start()
        let work = Task { () -> ExitCode in
            guard await waitUntilReady(configuration, supervisor, terminal, began) else {
                return await supervisor.failure ?? .failure
            }
            if killDemo { return await KillDemo(configuration, supervisor, terminal).run() ? .success : .failure }
            await watch(configuration, supervisor, terminal)
            return await supervisor.failure ?? .success
        }
        let signals = Task {
            var count = 0
            for await _ in interrupts {
                count += 1
                if count == 1 {
                    terminal.line(terminal.style.paint("stopping; again to stop at once", .bold))
                    work.cancel()
                } else {
                    await supervisor.killAll()
                }
            }
        }
        let code = await work.value
        terminal.setFooter([])
        await supervisor.stop()
        signals.cancel()
        terminal.line("stopped")
        if code != .success { throw code }
    }

    private func deleteData(_ configuration: ClusterConfiguration) throws {
        for node in configuration.nodes {
            let path = data.map { "\($0)/\(node.id)" } ?? node.dataDirectory
            guard DirectoryTree.removeData(path) else {
                Output.error("vencejo: \(path) does not look like a node's data directory: not deleted")
                throw ExitCode.failure
            }
        }
    }

    /// False when the nodes cannot start or the user does not want them any more.
    private func waitUntilReady(
        _ configuration: ClusterConfiguration,
        _ supervisor: ClusterSupervisor,
        _ terminal: Terminal,
        _ began: NIODeadline
    ) async -> Bool {
        var waiting = Array(configuration.nodes.indices)
        var complained = NIODeadline.now()
        while !waiting.isEmpty {
            if Task.isCancelled { return false }
            if await supervisor.failure != nil { return false }
            var reasons: [String] = []
            for index in waiting {
                let node = configuration.nodes[index]
                guard !(await supervisor.hasEnded(index)), let admin = AdminClient(configuration, node) else {
                    waiting.removeAll { $0 == index }
                    continue
                }
                if let reason = await admin.unreadiness() {
                    reasons.append("\(node.id): \(reason)")
                } else {
                    waiting.removeAll { $0 == index }
                    await supervisor.markReady(index)
                }
            }
            if NIODeadline.now() - complained > .seconds(10) {
                complained = .now()
                for reason in reasons { terminal.line("not ready: \(reason)") }
            }
            if !waiting.isEmpty { try? await Task.sleep(for: .milliseconds(50)) }
        }
        let milliseconds = (NIODeadline.now() - began).nanoseconds / 1_000_000
        for line in ClusterReporter.welcome(configuration, milliseconds: milliseconds) { terminal.line(line) }
        return true
    }

    /// Shows the cluster until it ends: as a table that renews itself, or as a line for each change.
    private func watch(
        _ configuration: ClusterConfiguration,
        _ supervisor: ClusterSupervisor,
        _ terminal: Terminal
    ) async {
        var earlier: [ClusterSurvey.Answer] = []
        var at = NIODeadline.now()
        var shown = ""
        while !Task.isCancelled {
            if await supervisor.failure != nil { return }
            let answers = await ClusterSurvey.ask(configuration, timeout: .seconds(1))
            let now = NIODeadline.now()
            if terminal.isInteractive {
                let seconds = Double((now - at).nanoseconds) / 1e9
                let rows = ClusterSurvey.rows(answers, earlier: earlier, seconds: seconds)
                let width = Terminal.columns
                let lines = TextTable.format(rows, right: ClusterSurvey.numberColumns).map { String($0.prefix(width)) }
                terminal.setFooter([""] + lines.enumerated().map { terminal.style.paint($1, $0 == 0 ? .bold : .dim) })
            } else {
                let rows = ClusterSurvey.rows(answers).dropFirst().map { "\($0[0]) \($0[1]), owns \($0[2])" }
                let line = rows.joined(separator: "; ")
                if line != shown { terminal.line(line) }
                shown = line
            }
            earlier = answers
            at = now
            try? await Task.sleep(for: .seconds(1))
        }
    }
}

/// Writes what the nodes and the supervisor say.
struct ClusterReporter: Sendable {
    private let prefixes: [String]
    private let terminal: Terminal

    init(_ configuration: ClusterConfiguration, _ terminal: Terminal) {
        let width = configuration.nodes.map(\.id.count).max() ?? 0
        prefixes = configuration.nodes.enumerated().map { index, node in
            let padding = String(repeating: " ", count: width - node.id.count)
            return terminal.style.paint("\(node.id)\(padding) |", Style.ink(ofNode: index))
        }
        self.terminal = terminal
    }

    /// A line of the `node`-th node, or of the supervisor.
    func line(_ node: Int?, _ text: String) {
        terminal.line(node.map { "\(prefixes[$0]) \(text)" } ?? terminal.style.paint(text, .bold))
    }

    /// What a user can do with a cluster that is ready.
    static func welcome(_ configuration: ClusterConfiguration, milliseconds: Int64) -> [String] {
        guard let first = configuration.nodes.first else { return [] }
        let base = "\(first.host):\(first.gatewayPort)"
        var lines = ["", "ready after \(milliseconds) ms", ""]
        for node in configuration.nodes {
            let admin = AdminClient(configuration, node).map { "   admin http://\($0.host):\($0.port)/status" } ?? ""
            lines.append("  \(node.id)   \(ClusterConfiguration.gatewayURL(of: node))\(admin)")
        }
        lines += [
            "  plain JSON    ws://\(base)/ws",
            "  publish       curl -d '{\"channel\":\"news\",\"data\":\"hello\"}' http://\(base)/api/publish",
            "  or            vencejo publish news hello      vencejo subscribe news --from-start", "",
        ]
        return lines
    }
}
