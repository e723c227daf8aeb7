/// A report as one page: nothing is loaded from elsewhere, and it reads in light, in dark and on paper.
enum HTMLReport {
    static func page(_ report: BenchmarkReport) -> String {
        var body = "<header><h1>bench \(escape(report.benchmark))</h1><p>\(escape(report.machine))</p>"
        if !report.parameters.isEmpty {
            body += "<dl>"
            for parameter in report.parameters {
                body += "<div><dt>\(escape(parameter.name))</dt><dd>\(escape(parameter.value))</dd></div>"
            }
            body += "</dl>"
        }
        body += "</header>\n"
        body += goals(report.goals)
        if !report.breaches.isEmpty {
            body += "<section class=\"failed\"><h2>Failed</h2><ul>"
            body += report.breaches.map { "<li>\(escape($0))</li>" }.joined() + "</ul></section>\n"
        }
        body += plots(report)
        let tables = report.tables().filter { $0.title != BenchmarkReport.Detail.goals([]).title }
        // The table of everything, which has no title of its own, comes last.
        for table in tables.filter({ !$0.title.isEmpty }) + tables.filter(\.title.isEmpty) { body += self.table(table) }
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8"/>
            <meta name="viewport" content="width=device-width, initial-scale=1"/>
            <title>bench \(escape(report.benchmark))</title>
            <style>\(style)</style>
            </head>
            <body>
            \(body)</body>
            </html>

            """
    }

    static func escape(_ text: String) -> String {
        var out = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.unicodeScalars.append(character)
            }
        }
        return out
    }

    private static func goals(_ goals: [Goal]) -> String {
        guard !goals.isEmpty else { return "" }
        var out = "<section class=\"goals\">"
        for goal in goals {
            let kind = goal.isMet.map { $0 ? "met" : "unmet" } ?? "unknown"
            out += "<article class=\"\(kind)\"><h3>\(escape(goal.name))</h3>"
            out += "<p class=\"value\">\(goal.measured.map(format) ?? "–")<small> ×</small></p>"
            out += "<p><b>\(goal.verdict)</b> · \(goal.isMinimum ? "at least" : "at most") \(format(goal.limit)) ×</p>"
            out += "<p>\(escape(goal.required))</p><p>\(escape(goal.remarks))</p></article>"
        }
        return out + "</section>\n"
    }

    private static func plots(_ report: BenchmarkReport) -> String {
        var scenarios: [String] = []
        for line in report.measurements where !scenarios.contains(line.scenario) { scenarios.append(line.scenario) }
        func lines(_ scenario: String) -> [Measurement] { report.measurements.filter { $0.scenario == scenario } }
        var out = ""
        for scenario in scenarios {
            let lines = lines(scenario)
            var figures: [String] = []
            func bars(_ title: String, _ value: (Measurement) -> Double?) {
                guard lines.contains(where: { value($0) != nil }) else { return }
                let rows = lines.map { Plot.Bar(label: $0.target, value: value($0), absence: $0.notRun) }
                figures.append(figure(title, Plot.bars(rows, title: "\(scenario): \(title)")))
            }
            bars("Operations per second, more is better") { $0.rate }
            bars("Server CPU per operation in µs, all processes, less is better") { $0.cpuMicroseconds }
            bars("Longest silence in ms, median of kills, less is better") { $0.silenceMilliseconds }
            if lines.contains(where: { ($0.latency?.count ?? 0) > 0 }) {
                let rows = lines.compactMap { line in
                    line.latency.map {
                        Plot.Range(label: line.target, low: $0.p50, middle: $0.p95, high: $0.p99)
                    }
                }
                figures.append(
                    figure(
                        "Latency in ms: p50, p95 and p99, logarithmic",
                        Plot.ranges(rows, title: "\(scenario): latency")
                    )
                )
            }
            guard !figures.isEmpty else { continue }
            out += "<section><h2>\(escape(scenario))</h2><div class=\"plots\">\(figures.joined())</div></section>\n"
        }
        guard !report.timelines.isEmpty else { return out }
        out += "<section><h2>Around the first kill</h2><div class=\"plots wide\">"
        let end = report.timelines.map(\.end).max() ?? 0
        for timeline in report.timelines {
            out += figure(
                "\(timeline.target): \(timeline.title) per second, seconds from the kill",
                Plot.timeline(timeline, to: end)
            )
        }
        return out + "</div></section>\n"
    }

    private static func figure(_ caption: String, _ svg: String) -> String {
        "<figure><figcaption>\(escape(caption))</figcaption>\(svg)</figure>"
    }

    private static func table(_ detail: BenchmarkReport.Detail) -> String {
        let title = detail.title.isEmpty ? "All figures" : detail.title
        let numeric = detail.columns.indices.map { column in
            detail.rows.allSatisfy { row in
                let text = row[column]
                return text.isEmpty || text == "not run" || Double(text) != nil
            }
        }
        var out = "<section><h2>\(escape(title))</h2><div class=\"scroll\"><table><thead><tr>"
        for (column, name) in detail.columns.enumerated() {
            out += "<th\(numeric[column] ? " class=\"n\"" : "")>\(escape(name))</th>"
        }
        out += "</tr></thead><tbody>"
        var group = ""
        for row in detail.rows {
            // A new scenario begins with a line above it.
            out += row[0] == group ? "<tr>" : "<tr class=\"first\">"
            group = row[0]
            for (column, text) in row.enumerated() {
                let isAbsent = text.hasPrefix("not run")
                let isRemark = detail.columns[column] == "remarks"
                let kinds = [numeric[column] ? "n" : nil, isRemark ? "r" : nil, isAbsent ? "absent" : nil]
                    .compactMap { $0 }
                let kind = kinds.isEmpty ? "" : " class=\"\(kinds.joined(separator: " "))\""
                out += "<td\(kind)>\(escape(text))</td>"
            }
            out += "</tr>"
        }
        return out + "</tbody></table></div></section>\n"
    }
}
