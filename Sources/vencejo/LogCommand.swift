import ArgumentParser
import Glibc
import LogStorage

/// `vencejo log`.
struct LogCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Look after a node's log on disk.",
        subcommands: [Check.self, Compare.self]
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

    /// `vencejo log compare`.
    struct Compare: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "compare",
            abstract: "Compare the logs of several nodes, entry by entry.",
            discussion: """
                Replicas of a partition must have the same entry at every committed index. The nodes must not be \
                running. Exit codes: 0 nothing committed differs, 1 something does, 2 a directory cannot be read.
                """
        )

        @Argument(help: "The nodes' data directories.")
        var directories: [String]

        func validate() throws {
            guard directories.count > 1 else { throw ValidationError("name at least two directories") }
        }

        func run() async throws {
            var logs: [LogMarks] = []
            for directory in directories {
                let names = try? PosixDisk().list(directory)
                guard let names, names.contains("wal"), names.contains("meta") else {
                    Output.error("vencejo: \(directory) is not a data directory: it has no wal and meta")
                    throw ExitCode(2)
                }
                do throws(StorageError) {
                    logs.append(try LogMarks.read(disk: PosixDisk(), directory: directory))
                } catch {
                    Output.error("vencejo: \(directory): \(error)")
                    throw ExitCode(2)
                }
            }
            let comparison = LogComparison(logs)
            for line in comparison.lines(directories) { Output.line(line) }
            if !comparison.isEqual { throw ExitCode(1) }
        }
    }
}
