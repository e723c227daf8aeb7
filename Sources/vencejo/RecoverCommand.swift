import ArgumentParser
import Broker
import ClusterConfiguration
import Glibc
import LogStorage
import Node
import Primitives

/// `vencejo recover`.
struct RecoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "Go on after the permanent loss of a majority: what only the lost disks had is given up.",
        discussion: """
            For when the disks of so many nodes are gone that groups have no majority any more. All nodes that are \
            left must be stopped. With several of them, each writes a report first, and each is then recovered with \
            the reports of all others. Exit codes: 0 done, or nothing to do; 1 not done. See docs/operations.md.
            """
    )

    @Option(name: .long, help: "Which [[node]] of the file this is. Default: $VENCEJO_NODE.")
    var node: String?

    @OptionGroup var configurationOptions: ConfigurationOptions

    @Option(name: .long, help: "Keep the node's data in DIR/<node> instead of its data_dir.")
    var data: String?

    @Option(name: .long, help: ArgumentHelp("Nodes whose disks are gone for good.", valueName: "n2,n3"))
    var lost: String = ""

    @Option(name: .customLong("with"), help: ArgumentHelp("Another survivor's report; repeatable.", valueName: "f"))
    var others: [String] = []

    @Option(name: .long, help: ArgumentHelp("Only write this node's report, for the other survivors.", valueName: "f"))
    var report: String?

    @Flag(name: .long, help: "Only show what would be done.")
    var dryRun = false

    @Flag(name: .long, help: "Do it, and lose for ever what only the lost disks had.")
    var acceptDataLoss = false

    func validate() throws {
        guard report != nil || !lost.isEmpty else { throw ValidationError("which nodes are lost? --lost n2,n3") }
    }

    func run() async throws {
        var configuration = try configurationOptions.load()
        let known = configuration.nodes.map(\.id)
        guard let name = node ?? ProcessEnvironment.all["VENCEJO_NODE"] ?? (known.count == 1 ? known[0] : nil),
            let index = configuration.nodes.firstIndex(where: { $0.id == name })
        else { throw ValidationError("which node? --node \(known.joined(separator: "|"))") }
        guard configuration.mode == .cluster else {
            Output.error("vencejo: only a cluster has a majority to lose; this is mode \(configuration.mode.rawValue)")
            throw ExitCode.failure
        }
        if let data { configuration.nodes[index].dataDirectory = "\(data)/\(name)" }
        let directory = configuration.nodes[index].dataDirectory
        // Opening makes a directory that is not there.
        guard let names = try? PosixDisk().list(directory), names.contains("wal"), names.contains("meta") else {
            Output.error("vencejo: \(directory) is not a data directory: it has no wal and meta")
            throw ExitCode.failure
        }
        do {
            let recovery = try NodeRecovery(configuration: configuration, node: name)
            defer { try? recovery.close() }
            if let report { return try write(recovery.report, to: report) }
            try recover(recovery)
        } catch let exit as ExitCode {
            throw exit
        } catch {
            Output.error("vencejo: \(name) is not recovered: \(error)")
            if case StorageError.locked = error { Output.error("Stop the node first.") }
            throw ExitCode.failure
        }
    }

    private func write(_ report: SurvivorReport, to path: String) throws {
        guard let file = fopen(path, "we") else { throw Failure("\(path): \(String(cString: strerror(errno)))") }
        let bytes = report.encoded()
        let written = fwrite(bytes, 1, bytes.count, file)
        guard fclose(file) == 0, written == bytes.count else { throw Failure("cannot write \(path)") }
        Output.line("\(report.name): \(report.copies.count) groups, reported in \(path)")
    }

    private func recover(_ recovery: NodeRecovery) throws {
        var reports = [recovery.report]
        for path in others {
            do {
                reports.append(try SurvivorReport(decoding: try PosixDisk().contents(of: path, limit: 64 << 20)))
            } catch {
                throw Failure("\(path) is not a survivor's report: \(error)")
            }
        }
        let plan = try RecoveryPlan(reports: reports, lost: lost.split { $0 == "," || $0 == " " }.map(String.init))
        for line in RecoveryText.lines(plan) { Output.line(line) }
        Output.line()
        if plan.isEmpty { return }
        if dryRun { return Output.line("Nothing was done (--dry-run).") }
        guard acceptDataLoss else {
            Output.error("Nothing was done. If the disks of the lost nodes are gone for good: --accept-data-loss")
            throw ExitCode.failure
        }
        try recovery.carryOut(plan)
        Output.line("\(recovery.report.name) is recovered: start it when all survivors are.")
    }

    private struct Failure: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }
}

/// A plan in words.
enum RecoveryText {
    static func lines(_ plan: RecoveryPlan) -> [String] {
        let nodes = plan.survivors + plan.lost
        func name(_ id: NodeID) -> String {
            nodes.first { $0.id == id }?.name ?? plan.control.formerNodes.first { $0.id == id }?.name ?? "\(id)"
        }
        func names(_ ids: [NodeID]) -> String { ids.isEmpty ? "-" : ids.map(name).sorted().joined(separator: " ") }
        var rows = [["GROUP", "MEMBERS", "COPIES HERE", "LAST ENTRY", "TERM", "THEN", "WHAT MAY BE LOST"]]
        for group in plan.groups {
            let then: String
            var loss = "nothing"
            let gone = names(group.members.filter { !group.holders.contains($0) })
            switch group.outcome {
            case .unchanged: then = "unchanged"
            case .goesOn(let node):
                then = "goes on at \(name(node))"
                loss = "what only \(gone) had after it"
                if group.members.allSatisfy({ group.holders.contains($0) }) { loss = "nothing" }
            case .beginsEmpty(let node):
                then = "begins empty at \(name(node))"
                loss = "everything"
            }
            rows.append([
                "\(group.id)", names(group.members), names(group.holders), group.copy.map { "\($0.lastIndex)" } ?? "-",
                group.copy.map { "\($0.lastTerm)" } ?? "-", then, loss,
            ])
        }
        var lines = TextTable.format(rows, right: [3, 4])
        lines.append("")
        if plan.isEmpty {
            let lost = plan.lost.map(\.name).joined(separator: ", ")
            lines.append("Every group has a majority without the lost nodes, or goes on already: nothing is rewritten.")
            if !lost.isEmpty { lines.append("Start the others, then: vencejo forget (\(lost))") }
            return lines
        }
        let count = plan.groups.count { $0.outcome != .unchanged }
        lines.append(
            "\(count) of \(plan.groups.count) groups go on in term \(plan.term), "
                + "\(plan.partitions.count) of them partitions."
        )
        if !plan.lost.isEmpty {
            let lost = plan.lost.map(\.name).sorted().joined(separator: ", ")
            lines.append("\(lost): given up for ever, even should a disk turn up again.")
        }
        return lines
    }
}
