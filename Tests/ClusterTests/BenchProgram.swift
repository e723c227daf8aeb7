import Foundation
import Testing

@testable import vencejo

/// The bench program as an operator starts it, beside the tested `vencejo`.
enum BenchProgram {
    /// What the tests read of a report.
    struct Report: Decodable {
        struct Line: Decodable {
            struct Delivery: Decodable {
                var delivered: UInt64
                var lost: UInt64
                var duplicated: UInt64
                var reordered: UInt64

                var isClean: Bool { lost == 0 && duplicated == 0 && reordered == 0 }
            }

            struct Latency: Decodable {
                var count: UInt64
                var p50: Double
                var p95: Double
                var p99: Double
                var p999: Double
            }

            var scenario: String
            var target: String
            var notRun: String?
            var connections: Int?
            var attempted: UInt64?
            var failed: UInt64?
            var rate: Double?
            var cpuMicroseconds: Double?
            var silenceMilliseconds: Double?
            var latency: Latency?
            var delivery: Delivery?
        }

        struct Goal: Decodable {
            var name: String
            var measured: Double?
        }

        struct Table: Decodable {
            var title: String
            var columns: [String]
            var rows: [[String]]
        }

        var measurements: [Line]
        var goals: [Goal]
        var details: [Table]
        var breaches: [String]

        /// The number in a column of a table's row; tables are named by how their titles begin.
        func number(_ title: String, _ column: String, row: Int = 0) -> Double? {
            guard let table = details.first(where: { $0.title.hasPrefix(title) }), row < table.rows.count,
                let at = table.columns.firstIndex(of: column)
            else { return nil }
            return Double(table.rows[row][at])
        }

        func cell(_ title: String, row: Int = 0) -> [String] {
            details.first { $0.title.hasPrefix(title) }.flatMap { row < $0.rows.count ? $0.rows[row] : nil } ?? []
        }

        /// A debug build on a busy machine may miss the figures that a release build has to reach.
        var faults: [String] { breaches.filter { !$0.hasPrefix("target missed") } }
    }

    static func path() throws -> String {
        URL(fileURLWithPath: try Executable.vencejo()).deletingLastPathComponent().path + "/bench"
    }

    /// Runs it; its exit code, what it printed, its report, and the same as a page.
    static func run(
        _ arguments: [String],
        within seconds: Double
    ) async throws -> (exit: ChildProcess.Exit, lines: [String], report: Report, page: String) {
        let file = FileManager.default.temporaryDirectory.path + "/bench-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer { for kind in ["json", "html"] { try? FileManager.default.removeItem(atPath: "\(file).\(kind)") } }
        let result = try await Executable.run(
            try path(),
            arguments + ["--vencejo", try Executable.vencejo(), "--json", file + ".json", "--html", file + ".html"],
            within: seconds
        )
        let data = try #require(FileManager.default.contents(atPath: file + ".json"), "\(result.lines.suffix(20))")
        let page = try String(contentsOfFile: file + ".html", encoding: .utf8)
        return (result.exit, result.lines, try JSONDecoder().decode(Report.self, from: data), page)
    }
}
