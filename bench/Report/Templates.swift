/// Tables in other people's columns.
extension BenchmarkReport.Detail {
    /// The templates of the test plan that this project began with (its "Resultados de concurrencia" and "Plantilla de
    /// resultados de escalabilidad"), filled.
    static func templates(_ measurements: [Measurement]) -> [Self] {
        [concurrency(measurements), scalability(measurements)]
    }

    /// Seven columns.
    static func concurrency(_ measurements: [Measurement]) -> Self {
        Self(
            title: "Concurrency",
            columns: ["scenario", "success rate", "mean", "p95", "p99", "error rate", "remarks"],
            rows: measurements.map { line in
                [
                    name(line), line.successRate.map { format($0 * 100) + " %" } ?? absent(line),
                    milliseconds(line, \.mean), milliseconds(line, \.p95), milliseconds(line, \.p99),
                    line.successRate.map { format((1 - $0) * 100) + " %" } ?? absent(line), remarks(line),
                ]
            }
        )
    }

    /// Five columns.
    static func scalability(_ measurements: [Measurement]) -> Self {
        Self(
            title: "Scalability",
            columns: ["case", "concurrent connections", "throughput (msgs/s)", "latency p95/p99", "remarks"],
            rows: measurements.map { line in
                [
                    name(line), line.connections.map(String.init) ?? absent(line),
                    line.rate.map(format) ?? absent(line),
                    line.latency == nil
                        ? absent(line) : "\(milliseconds(line, \.p95)) / \(milliseconds(line, \.p99))",
                    remarks(line),
                ]
            }
        )
    }

    private static func name(_ line: Measurement) -> String { "\(line.scenario): \(line.target)" }
    private static func absent(_ line: Measurement) -> String { line.notRun == nil ? "" : "not run" }
    private static func milliseconds(_ line: Measurement, _ path: KeyPath<LatencySummary, Double>) -> String {
        line.latency.map { format($0[keyPath: path]) + " ms" } ?? absent(line)
    }
    private static func remarks(_ line: Measurement) -> String {
        line.notRun.map { "not run: \($0)" } ?? line.remarks
    }

    static func goals(_ goals: [Goal]) -> Self {
        Self(
            title: "Targets",
            columns: ["target", "required", "measured", "verdict", "remarks"],
            rows: goals.map { [$0.name, $0.required, $0.measured.map(format) ?? "", $0.verdict, $0.remarks] }
        )
    }

    /// Each figure of each scenario in one row, the modes in columns, with their ratios.
    static func sideBySide(_ measurements: [Measurement]) -> Self {
        typealias Figure = (name: String, value: (Measurement) -> Double?)
        let figures: [Figure] = [
            ("op/s", { $0.rate }),
            ("mean ms", { $0.latency?.mean }),
            ("p95 ms", { $0.latency?.p95 }),
            ("p99 ms", { $0.latency?.p99 }),
            ("CPU us/op", { $0.cpuMicroseconds }),
            ("RSS MiB", { $0.residentBytes.map { Double($0) / 1_048_576 } }),
            ("descriptors", { $0.descriptors.map(Double.init) }),
            ("silence ms", { $0.silenceMilliseconds }),
            ("success %", { $0.successRate.map { $0 * 100 } }),
            ("lost", { $0.delivery.map { Double($0.lost) } }),
            ("duplicated", { $0.delivery.map { Double($0.duplicated) } }),
            ("reordered", { $0.delivery.map { Double($0.reordered) } }),
        ]
        var scenarios: [String] = []
        for line in measurements where !scenarios.contains(line.scenario) { scenarios.append(line.scenario) }
        var rows: [[String]] = []
        for scenario in scenarios {
            let lines = CompareTarget.allCases.map { target in
                measurements.first { $0.scenario == scenario && $0.target == target.label }
            }
            for figure in figures {
                let values = lines.map { $0.flatMap(figure.value) }
                guard values.contains(where: { $0 != nil }) else { continue }
                func ratio(_ other: Double?) -> String {
                    guard let ours = values[0], let other, other > 0 else { return "" }
                    return format(ours / other)
                }
                let cells = zip(values, lines).map { value, line in
                    value.map(format) ?? (line?.notRun == nil ? "" : "not run")
                }
                rows.append([scenario, figure.name] + cells + [ratio(values[1]), ratio(values[2])])
            }
        }
        return Self(
            title: "Side by side",
            columns: ["scenario", "figure"] + CompareTarget.allCases.map(\.label)
                + ["cluster / redis mode", "cluster / redis"],
            rows: rows
        )
    }
}
