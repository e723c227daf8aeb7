import Admin
import ArgumentParser
import ClusterConfiguration
import Primitives

/// `vencejo drain`.
struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Empty a node: its leaderships and its clients go to other nodes.",
        discussion: """
            Shows how many are left until the node is empty; it stays so, and runs, until `vencejo undrain`. Exit \
            code 0 when everybody went by themselves, 1 when clients were cut off at the end of the budget, the node \
            kept leaderships or went away.
            """
    )

    @Argument(help: "Which [[node]] of the file.")
    var node: String

    @Option(name: .long, help: "E.g. 30s or 2m; who is left then is cut off. Default: drain.budget of its file.")
    var budget: String?

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        var path = "/drain"
        if let budget {
            guard let interval = SettingText.duration(budget) else {
                throw ValidationError("--budget is a duration such as 30s, 500ms or 2m")
            }
            path += "?budget=\(SettingText.duration(interval))"
        }
        let admin = try NodeAdmin.find(node, configurationOptions)
        try await NodeAdmin.post(admin, node, path)
        var shown = ""
        while true {
            let drain: StatusReport.Drain?
            do {
                drain = try await admin.status().drain
            } catch {
                Output.error("vencejo: \(node) does not answer any more: \(AdminClient.explain(error))")
                throw ExitCode.failure
            }
            guard let drain else {
                Output.error("vencejo: \(node) was told to serve again")
                throw ExitCode.failure
            }
            let seconds = drain.elapsedMilliseconds / 1000
            if drain.state == "empty" { return try report(drain) }
            let left = "\(drain.state): \(drain.owners) leaderships, \(drain.clients) clients left"
            if left != shown { Output.line("\(node) \(left), \(seconds) s of \(drain.budgetMilliseconds / 1000) s") }
            shown = left
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private func report(_ drain: StatusReport.Drain) throws {
        Output.line(
            "\(node) is empty after \(drain.elapsedMilliseconds) ms: \(drain.moved) clients went, "
                + "\(drain.cut) were cut off, \(drain.owners) leaderships left"
        )
        if drain.cut > 0 || drain.owners > 0 { throw ExitCode.failure }
    }
}

/// `vencejo undrain`.
struct UndrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "undrain",
        abstract: "Put a drained node back into service."
    )

    @Argument(help: "Which [[node]] of the file.")
    var node: String

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        try await NodeAdmin.post(try NodeAdmin.find(node, configurationOptions), node, "/undrain")
        Output.line("\(node) serves again")
    }
}

/// The admin port of a node named on the command line.
private enum NodeAdmin {
    static func find(_ name: String, _ options: ConfigurationOptions) throws -> AdminClient {
        let configuration = try options.load()
        guard let node = configuration.node(id: name) else {
            throw ValidationError("which node? \(configuration.nodes.map(\.id).joined(separator: ", "))")
        }
        guard let admin = AdminClient(configuration, node) else {
            Output.error("vencejo: admin_port of \(name) is 0 in \(configuration.path)")
            throw ExitCode.failure
        }
        return admin
    }

    static func post(_ admin: AdminClient, _ name: String, _ path: String) async throws {
        do {
            try await admin.post(path)
        } catch {
            Output.error("vencejo: \(name): \(AdminClient.explain(error)) (\(admin.host):\(admin.port))")
            throw ExitCode.failure
        }
    }
}
