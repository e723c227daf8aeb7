import Foundation

/// Everything that one run of a benchmark found out.
struct BenchmarkReport: Codable, Equatable, Sendable {
    struct Parameter: Codable, Equatable, Sendable {
        var name: String
        var value: String
    }

    /// A table of its own, such as one line per kill.
    struct Detail: Codable, Equatable, Sendable {
        var title: String
        var columns: [String]
        var rows: [[String]]
    }

    var benchmark: String
    var machine: String
    var parameters: [Parameter]
    var measurements: [Measurement]
    var goals: [Goal] = []
    var timelines: [Timeline] = []
    var details: [Detail] = []
    /// Broken thresholds and anything else that makes the exit code 1.
    var breaches: [String] = []

    /// Pretty-printed, with sorted keys, so that two reports can be compared line by line.
    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }

    /// For terminals.
    func text() -> String {
        var out = "\(benchmark)  (\(machine))\n"
        if !parameters.isEmpty {
            out += parameters.map { "\($0.name)=\($0.value)" }.joined(separator: " ") + "\n"
        }
        for detail in tables() { out += "\n" + (detail.title.isEmpty ? "" : detail.title + "\n") + detail.aligned() }
        if !breaches.isEmpty { out += "\nFAILED\n" + breaches.map { "  " + $0 + "\n" }.joined() }
        return out
    }

    func markdown() -> String {
        var out = "# bench \(benchmark)\n\n\(machine)\n"
        if !parameters.isEmpty {
            out += "\n" + parameters.map { "`\($0.name)=\($0.value)`" }.joined(separator: " ") + "\n"
        }
        for detail in tables() {
            out += "\n" + (detail.title.isEmpty ? "" : "## \(detail.title)\n\n") + detail.markdown()
        }
        if !breaches.isEmpty { out += "\n## Failed\n\n" + breaches.map { "- \($0)\n" }.joined() }
        return out
    }

    func tables() -> [Detail] {
        let tables = [.goals(goals), Detail(title: "", measurements: measurements)] + details
        return tables.filter { !$0.rows.isEmpty }
    }
}

extension BenchmarkReport.Detail {
    /// The columns of the field's load-test templates (scenario, success and error rate, mean, p95, p99, remarks, and
    /// connections, messages a second) and ours; a column that no line fills is left out.
    init(title: String, measurements: [Measurement]) {
        typealias Column = (name: String, value: (Measurement) -> String?)
        func milliseconds(_ path: KeyPath<LatencySummary, Double>) -> (Measurement) -> String? {
            { $0.latency.map { format($0[keyPath: path]) } }
        }
        let columns: [Column] = [
            ("scenario", { $0.scenario }),
            ("target", { $0.target }),
            ("connections", { $0.connections.map(String.init) }),
            ("in flight", { $0.inFlight.map(String.init) }),
            ("rounds", { $0.rounds.map(String.init) }),
            ("msgs/s", { $0.rate.map(format) }),
            ("success %", { $0.successRate.map { format($0 * 100) } }),
            ("error %", { $0.successRate.map { format((1 - $0) * 100) } }),
            ("mean ms", milliseconds(\.mean)),
            ("p50 ms", milliseconds(\.p50)),
            ("p95 ms", milliseconds(\.p95)),
            ("p99 ms", milliseconds(\.p99)),
            ("p99.9 ms", milliseconds(\.p999)),
            ("max ms", milliseconds(\.max)),
            ("CPU us/op", { $0.cpuMicroseconds.map(format) }),
            ("CPU us/op by node", { $0.cpuMicrosecondsPerNode.map { $0.map(format).joined(separator: " ") } }),
            ("CPU / redis", { $0.cpuRatioToRedis.map(format) }),
            ("rate / redis", { $0.rateRatioToRedis.map(format) }),
            ("RSS MiB", { $0.residentBytes.map { format(Double($0) / 1_048_576) } }),
            ("PSS MiB", { $0.proportionalBytes.map { format(Double($0) / 1_048_576) } }),
            ("bytes/connection", { $0.bytesPerConnection.map(format) }),
            ("fds", { $0.descriptors.map(String.init) }),
            ("silence ms", { $0.silenceMilliseconds.map(format) }),
            ("lost", { $0.delivery.map { String($0.lost) } }),
            ("duplicated", { $0.delivery.map { String($0.duplicated) } }),
            ("reordered", { $0.delivery.map { String($0.reordered) } }),
            (
                "remarks",
                { line in
                    if let reason = line.notRun { return "not run: \(reason)" }
                    return line.remarks.isEmpty ? nil : line.remarks
                }
            ),
        ]
        let used = columns.filter { column in measurements.contains { column.value($0) != nil } }
        self.title = title
        self.columns = used.map(\.name)
        rows = measurements.map { line in
            used.map { column in column.value(line) ?? (line.notRun != nil ? "not run" : "") }
        }
    }

    /// Columns padded with spaces; numbers to the right.
    func aligned() -> String {
        let lines = [columns] + rows
        let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        var out = ""
        for (index, line) in lines.enumerated() {
            let cells = line.enumerated().map { column, text in
                let padding = String(repeating: " ", count: widths[column] - text.count)
                let isNumber = rows.allSatisfy {
                    $0[column].isEmpty || $0[column] == "not run" || Double($0[column]) != nil
                }
                return isNumber ? padding + text : text + padding
            }
            var text = cells.joined(separator: "  ")
            while text.last == " " { text.removeLast() }
            out += text + "\n"
            if index == 0 { out += widths.map { String(repeating: "-", count: $0) }.joined(separator: "  ") + "\n" }
        }
        return out
    }

    func markdown() -> String {
        func line(_ cells: [String]) -> String {
            "| " + cells.map { $0.replacingOccurrences(of: "|", with: "\\|") }.joined(separator: " | ") + " |\n"
        }
        return line(columns) + line(columns.map { _ in "---" }) + rows.map(line).joined()
    }
}

/// Three significant digits below a thousand, whole numbers above.
func format(_ value: Double) -> String {
    let magnitude = abs(value)
    guard magnitude.isFinite else { return "-" }
    if magnitude == 0 { return "0" }
    if magnitude >= 100 { return String(Int(value.rounded())) }
    if magnitude >= 10 { return String(format: "%.1f", value) }
    if magnitude >= 1 { return String(format: "%.2f", value) }
    return String(format: "%.3f", value)
}
