import Admin
import ArgumentParser
import ClusterConfiguration

/// `vencejo hot`.
struct HotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hot",
        abstract: "Show the busiest partitions and rooms, and how even the load is.",
        discussion: """
            Asks every node what it does for the partitions that it owns. HOT: a partition with a large part of its \
            node's load for some time (cluster.hot_share, hot_rate, hot_after). Rates of rooms are estimates.
            """
    )

    @Option(name: .long, help: "Partitions at most.")
    var last = 10

    @Flag(name: .long, help: "A JSON object: node to its load, null for one that does not answer.")
    var json = false

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let answers = await ClusterSurvey.ask(try configurationOptions.load())
        guard answers.contains(where: { $0.report != nil }) else {
            Output.error("vencejo: no node answers")
            throw ExitCode.failure
        }
        if json {
            let nodes = answers.map { "\(JSONPayload.quote($0.node.id)):\($0.report?.load?.json() ?? "null")" }
            return Output.line("{\(nodes.joined(separator: ","))}")
        }
        var rows: [(node: String, load: StatusReport.Load.Partition)] = []
        for answer in answers { rows += (answer.report?.load?.partitions ?? []).map { (answer.node.id, $0) } }
        rows.sort { ($1.load.operations, $1.load.bytes, $0.load.id) < ($0.load.operations, $0.load.bytes, $1.load.id) }
        var table = [["PARTITION", "OWNER", "", "OPERATIONS/S", "BYTES/S", "OF ITS NODE", "ROOMS"]]
        for (node, load) in rows.prefix(max(0, last)) {
            table.append([
                load.isKeys ? "\(load.id) (keys)" : "\(load.id)", node, load.hot ? "HOT" : "", "\(load.operations)",
                SizeText.short(Int(clamping: load.bytes)), "\(Int((load.share * 100).rounded())) %",
                load.rooms.map { "\($0.name) \($0.rate)/s" }.joined(separator: ", "),
            ])
        }
        for line in TextTable.format(table, right: [3, 4, 5]) { Output.line(line) }
        if let imbalance = answers.compactMap({ $0.report?.load?.imbalance }).first {
            Output.line()
            Output.line("The most loaded node is \(Int((imbalance * 100).rounded())) % above the mean.")
        }
    }
}
