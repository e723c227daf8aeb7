import Admin
import ArgumentParser
import ClusterConfiguration
import Primitives

/// Commands to the control group: any node that answers passes them on to its leader.
private enum AnyNode {
    static func post(_ path: String, _ options: ConfigurationOptions) async throws -> [UInt8] {
        let configuration = try options.load()
        var failures: [String] = []
        for node in configuration.nodes {
            guard let admin = AdminClient(configuration, node) else { continue }
            do {
                return try await admin.post(path, timeout: .seconds(12))
            } catch let refusal as AdminClient.Refusal where !refusal.mayAskOthers {
                Output.error("vencejo: \(node.id): \(refusal)")
                throw ExitCode.failure
            } catch {
                failures.append("\(node.id): \(AdminClient.explain(error))")
            }
        }
        Output.error("vencejo: no node can do it: \(failures.joined(separator: "; "))")
        throw ExitCode.failure
    }
}

/// `vencejo rebalance`.
struct RebalanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebalance",
        abstract: "Level the partitions over the nodes, or show what that would move.",
        discussion: """
            The cluster does this by itself when nodes come, go or change their weight. It is for what was moved by \
            hand. Copies are sent a few at a time; `vencejo status` shows how far it is.
            """
    )

    @Flag(name: .long, help: "Only show what would move, and what it costs.")
    var dryRun = false

    @Flag(name: .long, help: "A JSON object.")
    var json = false

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let body = try await AnyNode.post("/rebalance" + (dryRun ? "?dry-run=1" : ""), configurationOptions)
        if json { return Output.line(String(decoding: body, as: UTF8.self)) }
        let plan = try PlacementPlan(json: body)
        guard !plan.moves.isEmpty else { return Output.line("Nothing to move: the partitions are level.") }
        var rows = [["PARTITION", "NOW", "THEN", "COPIES TO"]]
        for move in plan.moves {
            let added = move.added.isEmpty ? "-" : move.added.joined(separator: " ")
            rows.append(["\(move.partition)", move.from.joined(separator: " "), move.to.joined(separator: " "), added])
        }
        for line in TextTable.format(rows, right: [0]) { Output.line(line) }
        Output.line()
        Output.line(
            "\(plan.moves.count) partitions: \(plan.copies) copies to send, \(plan.owners) owners to change"
                + (dryRun ? " (nothing was done)" : "")
        )
    }
}

/// `vencejo move`.
struct MoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "move",
        abstract: "Make a node the owner of a partition.",
        discussion: "A node that has no copy of it gets one first, in the place of the owner so far."
    )

    @Argument(help: "The partition's number, as `vencejo status` shows it.")
    var partition: UInt32

    @Argument(help: "The node's name.")
    var node: String

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        _ = try await AnyNode.post("/move?partition=\(partition)&node=\(node)", configurationOptions)
        Output.line("partition \(partition) goes to \(node)")
    }
}

/// `vencejo leave`.
struct LeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave",
        abstract: "Take a node out of the cluster for good.",
        discussion: """
            Its partitions are copied to the others first; when it carries nothing any more, it stops by itself. For a \
            restart use `vencejo drain`, or just stop it.
            """
    )

    @Argument(help: "The node's name.")
    var node: String

    @Flag(name: .long, help: "It stays after all.")
    var cancel = false

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        _ = try await AnyNode.post("/\(cancel ? "stay" : "leave")?node=\(node)", configurationOptions)
        Output.line(cancel ? "\(node) stays" : "\(node) leaves when the others have its partitions")
    }
}

/// `vencejo forget`.
struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Remove a node that does not come back.",
        discussion: "Its partitions are copied to others at once, instead of after cluster.replace_after."
    )

    @Argument(help: "The node's name.")
    var node: String

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        _ = try await AnyNode.post("/forget?node=\(node)", configurationOptions)
        Output.line("\(node) is removed from the cluster: `vencejo status` lists it until that is committed")
    }
}

/// `vencejo weight`.
struct WeightCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weight",
        abstract: "Change a node's share of the partitions."
    )

    @Argument(help: "The node's name.")
    var node: String

    @Argument(help: "1 to 100: a node of weight 2 carries twice as many as one of weight 1.")
    var weight: UInt8

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        _ = try await AnyNode.post("/weight?node=\(node)&weight=\(weight)", configurationOptions)
        Output.line("\(node) gets weight \(weight): `vencejo status` shows how far the copies are")
    }
}

/// `vencejo events`.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "What happened lately, on all nodes, oldest first.",
        discussion: "Take-overs with their durations, suspicions, losses of quorum, members, placements, drains."
    )

    @Option(name: .long, help: "At most so many, the newest.")
    var last = 100

    @Option(name: .long, help: "Of this kind only: owner, control, peer, gossip, quorum, member, placement, drain, …")
    var kind: String?

    @Flag(name: .long, help: "A JSON object per line.")
    var json = false

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let answers = await ClusterSurvey.ask(try configurationOptions.load())
        var rows: [(node: String, event: StatusReport.Event)] = []
        for answer in answers {
            for event in answer.report?.events ?? [] where kind == nil || event.kind == kind {
                rows.append((answer.node.id, event))
            }
        }
        rows.sort { ($0.event.time, $0.node) < ($1.event.time, $1.node) }
        for row in rows.suffix(max(0, last)) {
            if json {
                Output.line(
                    "{\"time\":\(row.event.time),\"node\":\(JSONPayload.quote(row.node)),"
                        + "\"kind\":\(JSONPayload.quote(row.event.kind)),\"text\":\(JSONPayload.quote(row.event.text))}"
                )
            } else {
                Output.line("\(TimeText.utc(row.event.time))  \(row.node)  \(row.event.kind)  \(row.event.text)")
            }
        }
        guard answers.contains(where: { $0.report != nil }) else {
            Output.error("vencejo: no node answers")
            throw ExitCode.failure
        }
    }
}
