import Admin
import ArgumentParser
import ClusterConfiguration
import Glibc
import Primitives

/// `vencejo keys`: the keys that the gossip between nodes is encrypted with.
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Show and change the keys of the gossip, on every node, without a restart.",
        discussion: """
            A new key comes into use in three steps: `vencejo keys install` gives it to every node, `vencejo keys use \
            FINGERPRINT` makes every node encrypt with it, `vencejo keys remove FINGERPRINT` takes the old one away. \
            Each step can be repeated. A node that is away keeps its old keys: use and remove wait for it, unless \
            --force says that it will not come back. Exit code 1 when a node was not reached or refused.
            """,
        subcommands: [ListKeys.self, InstallKey.self, UseKey.self, RemoveKey.self],
        defaultSubcommand: ListKeys.self
    )
}

/// `vencejo keys list`.
struct ListKeys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Show every node's keys by fingerprint; the first one encrypts."
    )

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        try await KeysRound(try configurationOptions.load()).run(.list, force: false).print()
    }
}

/// `vencejo keys install`.
struct InstallKey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install",
        abstract: "Give a key to every node, which decrypt with it from then on.",
        discussion: "Without --key-file a key is drawn and shown. Keep it: a node that joins later needs it in "
            + "VENCEJO_GOSSIP_KEYS."
    )

    @Option(name: .long, help: "A file with the key, 64 hexadecimal digits; - reads it from standard input.")
    var keyFile: String?

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let configuration = try configurationOptions.load()
        let key = try keyFile.map(read) ?? draw()
        let outcome = await KeysRound(configuration).run(.install(key: key), force: false)
        if keyFile == nil, outcome.done > 0 { Output.line("key \(key)") }
        try outcome.print()
    }

    /// From the kernel's generator.
    private func draw() -> String {
        var generator = SystemRandomNumberGenerator()
        return (0..<32).map { _ in
            let byte = UInt8.random(in: 0...255, using: &generator)
            return (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    private func read(_ path: String) throws -> String {
        guard let file = fopen(path == "-" ? "/dev/stdin" : path, "re") else {
            Output.error("vencejo: cannot read \(path): \(String(cString: strerror(errno)))")
            throw ExitCode.failure
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count].filter { !" \r\n\t".utf8.contains($0) }, as: UTF8.self)
    }
}

/// `vencejo keys use`.
struct UseKey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "use",
        abstract: "Make every node encrypt with an installed key."
    )

    @Argument(help: "As `vencejo keys list` shows it.") var fingerprint: String
    @Flag(name: .long, help: "Even though a node is away or has not got the key: it will not understand the others.")
    var force = false
    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let round = KeysRound(try configurationOptions.load())
        try await round.run(.use(fingerprint: fingerprint.lowercased()), force: force).print()
    }
}

/// `vencejo keys remove`.
struct RemoveKey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Take a key that nobody encrypts with from every node."
    )

    @Argument(help: "As `vencejo keys list` shows it.") var fingerprint: String
    @Flag(name: .long, help: "Even though a node is away or encrypts with it: the others will not understand it.")
    var force = false
    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let round = KeysRound(try configurationOptions.load())
        try await round.run(.remove(fingerprint: fingerprint.lowercased()), force: force).print()
    }
}

/// One request to the keyring of every node of the cluster.
struct KeysRound: Sendable {
    /// What came of it.
    struct Outcome: Sendable {
        /// Nodes that did it.
        var done = 0
        var lines: [String] = []
        var problems: [String] = []

        func print() throws {
            for line in lines { Output.line(line) }
            for problem in problems { Output.error(problem) }
            if !problems.isEmpty { throw ExitCode.failure }
        }
    }

    private struct Target: Sendable {
        var name: String
        var admin: AdminClient?
    }

    private struct Answer: Sendable {
        var name: String
        var report: GossipKeysReport?
        /// Why there is no report.
        var reason = ""
        /// The node was reached, and said no.
        var isRefusal = false
    }

    let configuration: ClusterConfiguration

    /// For each answer of a node.
    private let timeout: Interval

    init(_ configuration: ClusterConfiguration, timeout: Interval = .seconds(3)) {
        self.configuration = configuration
        self.timeout = timeout
    }

    /// Looks at all nodes; `use` and `remove` go on only if no node would be cut off, or by force.
    func run(_ request: GossipKeysRequest, force: Bool) async -> Outcome {
        let targets = await targets()
        let before = await ask(.list, targets)
        var outcome = Outcome()
        if !force {
            outcome.problems = objections(to: request, before)
            guard outcome.problems.isEmpty else {
                outcome.problems.append("Nothing was changed. When this is what you want: --force")
                return outcome
            }
        }
        let answers = request == .list ? before : await ask(request, targets)
        let rows =
            [["NODE", "ENCRYPTS WITH", "DECRYPTS WITH"]]
            + answers.map { answer in
                let keys = answer.report?.keys ?? []
                return [answer.name, keys.first ?? "-", keys.isEmpty ? "-" : keys.joined(separator: " ")]
            }
        outcome.lines = TextTable.format(rows)
        outcome.done = answers.count { $0.report != nil }
        let keeps = request == .list ? "" : " and keeps the keys that it had"
        for answer in answers where answer.report == nil {
            outcome.problems.append(
                answer.isRefusal
                    ? "\(answer.name) refused: \(answer.reason)"
                    : "\(answer.name) does not answer\(keeps): \(answer.reason)"
            )
        }
        return outcome
    }

    /// Why a change would part nodes that can understand each other now.
    private func objections(to request: GossipKeysRequest, _ answers: [Answer]) -> [String] {
        var objections: [String] = []
        switch request {
        case .list, .install: return []
        case .use(let key):
            for answer in answers where answer.report.map({ !$0.keys.contains(key) }) ?? false {
                objections.append("\(answer.name) has no key \(key): install it there first")
            }
        case .remove(let key):
            for answer in answers where answer.report?.keys.first == key {
                objections.append("\(answer.name) encrypts with \(key): use another key first")
            }
        }
        for answer in answers where answer.report == nil {
            objections.append(
                "\(answer.name) does not answer (\(answer.reason)): nobody knows which keys it has and encrypts with"
            )
        }
        return objections
    }

    /// The nodes of cluster.toml, and those that a node's status lists besides.
    private func targets() async -> [Target] {
        var targets = configuration.nodes.map { Target(name: $0.id, admin: AdminClient(configuration, $0)) }
        for answer in await ClusterSurvey.ask(configuration) {
            for node in answer.report?.nodes ?? [] where !targets.contains(where: { $0.name == node.name }) {
                targets.append(Target(name: node.name, admin: node.admin.flatMap(AdminClient.init(address:))))
            }
        }
        return targets
    }

    private func ask(_ request: GossipKeysRequest, _ targets: [Target]) async -> [Answer] {
        await withTaskGroup(of: (Int, Answer).self) { group in
            for (index, target) in targets.enumerated() {
                group.addTask { (index, await ask(request, target)) }
            }
            var answers = targets.map { Answer(name: $0.name) }
            for await (index, answer) in group { answers[index] = answer }
            return answers
        }
    }

    private func ask(_ request: GossipKeysRequest, _ target: Target) async -> Answer {
        guard let admin = target.admin else { return Answer(name: target.name, reason: "its admin port is not known") }
        do {
            let response =
                request == .list
                ? try await admin.get("/gossip/keys", timeout: timeout)
                : try await admin.post("/gossip/keys", json: request.json(), timeout: timeout)
            guard response.status == 200 else {
                let reason = AdminRefusal(json: response.body)?.error ?? "HTTP status \(response.status)"
                return Answer(
                    name: target.name,
                    reason: response.status == 404 ? "it does not gossip" : reason,
                    isRefusal: true
                )
            }
            return Answer(name: target.name, report: try GossipKeysReport(json: response.body))
        } catch {
            return Answer(name: target.name, reason: "\(AdminClient.explain(error)) (\(admin.host):\(admin.port))")
        }
    }
}
