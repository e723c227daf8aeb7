import ArgumentParser
import CPosixShims
import Foundation
import Glibc

/// The benchmark program: starts the servers, loads them, checks what they delivered, and says what it cost.
@main
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures Vencejo, and a Redis server beside it, under the same load.",
        discussion: """
            Every subcommand starts the servers it measures on free loopback ports and kills them at the end. The exit \
            code is 1 when a threshold is broken or anything was lost, duplicated or reordered.
            """,
        subcommands: [
            Fanout.self, Propagation.self, Publish.self, Failover.self, Faults.self, Idle.self, RedisCommands.self,
            Compare.self, Scale.self, Hot.self, List.self,
        ]
    )
}

/// Which servers to start.
struct ServerOptions: ParsableArguments {
    @Option(help: "The vencejo program; by default the one beside this program.")
    var vencejo: String?
    @Option(help: "The redis-server program.")
    var redisServer = "redis-server"
    @Flag(help: "Do not run Redis.")
    var noRedis = false
    @Flag(help: "Keep the servers' configuration, data and logs.")
    var keep = false

    func makeWorkspace() throws -> Workspace {
        var soft: UInt64 = 0
        var hard: UInt64 = 0
        _ = vencejo_raise_descriptor_limit(&soft, &hard)
        ChildProcesses.installCleanUp()
        let workspace = try Workspace(keep: keep)
        if keep { try? FileHandle.standardError.write(contentsOf: Data("servers' files: \(workspace.path)\n".utf8)) }
        return workspace
    }

    /// Why there is no Redis to measure; nil when there is one.
    var redisIsMissing: String? {
        if noRedis { return "switched off" }
        return findExecutable(redisServer) == nil ? "no \(redisServer) found" : nil
    }

    /// The vencejo program, or why it cannot be measured.
    func findVencejo() throws -> String {
        guard let binary = VencejoCluster.findBinary(vencejo) else {
            throw BenchError("no vencejo program\(vencejo.map { " at \($0)" } ?? " beside this one")")
        }
        return binary
    }
}

/// Where the report goes.
struct OutputOptions: ParsableArguments {
    @Option(help: "Write the report as JSON to a file, or - for standard output.")
    var json: String?
    @Option(help: "Write the report as Markdown to a file, or - for standard output.")
    var markdown: String?
    @Option(help: "Write the report as one HTML page with plots to a file, or - for standard output.")
    var html: String?

    /// Writes everything that was asked for; the table only where nothing else goes to standard output.
    func write(_ report: BenchmarkReport) throws {
        if ![json, markdown, html].contains("-") { print(report.text(), terminator: "") }
        for (path, text) in [
            (json, try report.json() + "\n"), (markdown, report.markdown()), (html, HTMLReport.page(report)),
        ] {
            guard let path else { continue }
            if path == "-" {
                print(text, terminator: "")
            } else {
                try text.write(toFile: path, atomically: true, encoding: .utf8)
            }
        }
    }

    /// Judges, writes, and ends with exit code 1 when something is broken.
    func finish(_ report: BenchmarkReport, _ thresholds: Thresholds) throws {
        var report = report
        report.breaches += thresholds.breaches(of: report.measurements)
        try write(report)
        if !report.breaches.isEmpty { throw ExitCode(1) }
    }
}

/// Processor model, number of processors and kernel.
func describeMachine() -> String {
    var model = "processor"
    if let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) {
        for line in text.split(separator: "\n") where line.hasPrefix("model name") {
            model = line.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? model
            break
        }
    }
    var kernel = "Linux"
    if let text = try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8) {
        kernel += " " + text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
    return "\(sysconf(Int32(_SC_NPROCESSORS_ONLN))) x \(model), \(kernel)"
}
