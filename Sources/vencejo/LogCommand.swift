import ArgumentParser
import Glibc
import LogStorage

/// `vencejo log`.
struct LogCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Look after a node's log on disk.",
        subcommands: [Check.self]
    )

    /// `vencejo log check`.
    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Read everything in a data directory and say what is damaged and what is lost.",
            discussion: """
                The node must not be running. Exit codes: 0 all good, 1 damage, 2 not a data directory, in use, or \
                unreadable.
                """
        )

        @Argument(help: "The node's data directory.")
        var directory: String

        @Flag(name: .long, help: "Cut what was never acknowledged as durable (a torn tail); nothing else is changed.")
        var repair = false

        @Flag(name: .long, help: "Print a JSON object.")
        var json = false

        func run() async throws {
            let disk = PosixDisk()
            // Before anything is locked, and so made, in a directory that is not ours.
            guard let names = try? disk.list(directory), names.contains("wal"), names.contains("meta") else {
                Output.error("vencejo: \(directory) is not a data directory: it has no wal and meta")
                throw ExitCode(2)
            }
            let report: CheckReport
            do throws(StorageError) {
                report = try LogCheck.run(disk: disk, directory: directory, repair: repair)
            } catch {
                Output.error("vencejo: \(directory): \(error)")
                if case .locked = error {
                    Output.error("Stop the node first: the check needs the directory to itself.")
                }
                throw ExitCode(2)
            }
            if json {
                Output.line(Self.json(report))
            } else {
                for line in report.lines { Output.line(line) }
            }
            let isGood = report.isClean || (report.damages.isEmpty && !report.repairs.isEmpty)
            if !isGood { throw ExitCode(1) }
        }

        private static func json(_ report: CheckReport) -> String {
            func list(_ texts: [String]) -> String { "[\(texts.joined(separator: ","))]" }
            let groups = report.groups.map { group in
                """
                {"group":\(JSONPayload.quote("\(group.group)")),"incarnation":\(group.incarnation),\
                "first":\(group.firstIndex),"last":\(group.lastIndex),"snapshot":\(group.snapshotIndex),\
                "faulty":\(group.isFaulty)}
                """
            }
            let tail = report.recovery.tornTail.map { JSONPayload.quote("\($0)") } ?? "null"
            return """
                {"clean":\(report.isClean),"needs_peers":\(report.needsPeers),"files":\(report.recovery.files),\
                "records":\(report.recovery.records),"segments":\(report.segments),"blocks":\(report.blocks),\
                "entries":\(report.entries),"snapshots":\(report.snapshots),"bytes":\(report.bytes),\
                "torn_tail":\(tail),"damages":\(list(report.damages.map { JSONPayload.quote("\($0)") })),\
                "repairs":\(list(report.repairs.map(JSONPayload.quote))),"groups":\(list(groups))}
                """
        }
    }
}
