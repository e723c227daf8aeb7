import Admin
import ArgumentParser
import ClusterConfiguration
import Primitives

/// `vencejo status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Ask every node how the cluster is.",
        discussion: "Exit code 0 when all nodes are ready, 1 when one is not or does not answer."
    )

    @Flag(name: .long, help: "A JSON object: node to its report, null for one that does not answer.")
    var json = false

    @Flag(name: .long, help: "Also what happened lately: take-overs, suspicions, losses of quorum.")
    var events = false

    @OptionGroup var configurationOptions: ConfigurationOptions

    func run() async throws {
        let configuration = try configurationOptions.load()
        let answers = await ClusterSurvey.ask(configuration)
        if json {
            let members = answers.map { answer in
                "\(JSONPayload.quote(answer.node.id)):\(answer.report?.json() ?? "null")"
            }
            Output.line("{\(members.joined(separator: ","))}")
        } else {
            printReport(configuration, answers)
        }
        guard answers.allSatisfy({ $0.report?.ready == true }) else { throw ExitCode.failure }
    }

    private func printReport(_ configuration: ClusterConfiguration, _ answers: [ClusterSurvey.Answer]) {
        let reports = answers.compactMap(\.report)
        guard let best = reports.first(where: \.ready) ?? reports.first else {
            for answer in answers { Output.error("\(answer.node.id) does not answer: \(answer.reason)") }
            Output.error("Is the cluster running? Try: vencejo cluster")
            return
        }
        let owned = best.partitions.count { $0.owner != nil }
        Output.line(
            "Cluster \(best.cluster), mode \(best.mode), version \(best.version): \(owned) of "
                + "\(best.partitions.count) partitions have an owner, placement epoch \(best.placementEpoch), "
                + "control leader \(best.controlLeader ?? "unknown")"
                + (best.featureLevel.map { ", feature level \($0)" } ?? "")
        )
        Output.line()
        for line in TextTable.format(ClusterSurvey.rows(answers), right: ClusterSurvey.numberColumns) {
            Output.line(line)
        }
        for answer in answers {
            if let report = answer.report {
                if !report.ready { Output.line("\n\(answer.node.id) is not ready: \(report.reason)") }
                if !report.diskHealthy { Output.line("\n\(answer.node.id): the log cannot be written") }
            } else {
                Output.line("\n\(answer.node.id) does not answer: \(answer.reason)")
            }
        }
        var warnings: [String] = []
        for warning in reports.flatMap(\.warnings) where !warnings.contains(warning) { warnings.append(warning) }
        for warning in warnings { Output.line("warning: \(warning)") }
        if events { printEvents(answers) }
    }

    private func printEvents(_ answers: [ClusterSurvey.Answer]) {
        var rows: [(time: UInt64, line: [String])] = []
        for answer in answers {
            for event in answer.report?.events ?? [] {
                rows.append((event.time, [TimeText.utc(event.time), answer.node.id, event.kind, event.text]))
            }
        }
        rows.sort { $0.time < $1.time }
        Output.line()
        for line in TextTable.format(rows.map(\.line)) { Output.line(line) }
    }
}

/// What all nodes say about themselves at one moment.
struct ClusterSurvey {
    struct Answer: Sendable {
        var node: ClusterConfiguration.Node
        var report: StatusReport?
        /// Why there is no report.
        var reason = ""
    }

    /// Asks every node at once: those of the configuration in its order, then those that have joined them, by name.
    static func ask(_ configuration: ClusterConfiguration, timeout: Interval = .seconds(3)) async -> [Answer] {
        let listed = await ask(configuration.nodes.map { ($0, AdminClient(configuration, $0)) }, timeout)
        var joined: [(node: ClusterConfiguration.Node, admin: AdminClient?)] = []
        for member in listed.flatMap({ $0.report?.nodes ?? [] }) {
            guard configuration.node(id: member.name) == nil, !joined.contains(where: { $0.node.id == member.name })
            else { continue }
            var node = ClusterConfiguration.Node()
            node.id = member.name
            node.host = member.host
            node.zone = member.zone
            node.gatewayPort = member.gatewayPort
            joined.append((node, member.admin.flatMap(AdminClient.init(address:))))
        }
        return listed + (await ask(joined.sorted { $0.node.id < $1.node.id }, timeout))
    }

    private static func ask(
        _ nodes: [(node: ClusterConfiguration.Node, admin: AdminClient?)],
        _ timeout: Interval
    ) async -> [Answer] {
        await withTaskGroup(of: (Int, Answer).self) { group in
            for (index, row) in nodes.enumerated() {
                group.addTask { (index, await ask(row.node, row.admin, timeout)) }
            }
            var answers = nodes.map { Answer(node: $0.node) }
            for await (index, answer) in group { answers[index] = answer }
            return answers
        }
    }

    private static func ask(
        _ node: ClusterConfiguration.Node,
        _ admin: AdminClient?,
        _ timeout: Interval
    ) async -> Answer {
        guard let admin else {
            return Answer(node: node, reason: "its admin_port is 0 or not known")
        }
        do {
            return Answer(node: node, report: try await admin.status(timeout: timeout))
        } catch {
            return Answer(node: node, reason: "\(AdminClient.explain(error)) (\(admin.host):\(admin.port))")
        }
    }

    private static func state(_ report: StatusReport) -> String {
        if let drain = report.drain { return drain.state == "empty" ? "drained" : "draining" }
        if report.degraded { return "degraded" }
        return !report.diskHealthy ? "disk full" : report.ready ? "ready" : "starting"
    }

    static let numberColumns: Set<Int> = [2, 3, 4, 5, 6, 7]

    /// A table with a head; `earlier` gives the rates, `seconds` apart.
    static func rows(_ answers: [Answer], earlier: [Answer] = [], seconds: Double = 0) -> [[String]] {
        let hasRates = !earlier.isEmpty && seconds > 0
        let head = [
            "NODE", "STATE", "OWNS", "REPLICAS", "CONNECTIONS", hasRates ? "PUBLISHES/S" : "PUBLISHES",
            hasRates ? "MESSAGES/S" : "MESSAGES", "LOG", "ZONE", "GATEWAY",
        ]
        return [head]
            + answers.map { answer in
                let tail = [answer.node.zone, "\(answer.node.host):\(answer.node.gatewayPort)"]
                guard let report = answer.report else {
                    return [answer.node.id, "no answer", "-", "-", "-", "-", "-", "-"] + tail
                }
                func rate(_ now: UInt64, _ value: KeyPath<StatusReport, UInt64>) -> String {
                    guard hasRates else { return String(now) }
                    guard let then = earlier.first(where: { $0.node.id == answer.node.id })?.report else { return "-" }
                    let before = then[keyPath: value]
                    return now < before ? "-" : String(Int((Double(now - before) / seconds).rounded()))
                }
                return [
                    answer.node.id, state(report), String(report.partitions.count { $0.owner == report.node }),
                    String(report.partitions.count { $0.role != "none" }), String(report.connections),
                    rate(report.publishesAccepted, \.publishesAccepted), rate(report.messagesSent, \.messagesSent),
                    SizeText.short(report.logBytes),
                ] + tail
            }
    }
}

/// Bytes in the unit that suits them.
enum SizeText {
    static func short(_ bytes: Int) -> String {
        var value = Double(bytes)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 { return unit == "B" ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(unit)" }
            value /= 1024
        }
        return "\((value * 10).rounded() / 10) TiB"
    }
}
