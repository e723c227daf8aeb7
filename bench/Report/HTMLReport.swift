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
        for table in report.tables() where table.title != BenchmarkReport.Detail.goals([]).title {
            body += self.table(table)
        }
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

    private static let style = """

        :root { color-scheme: light dark; --ground: #fbfaf8; --card: #fff; --ink: #1d2126; --soft: #646b75;
          --line: #e2e0da; --good: #1a7f4b; --bad: #b3261e; --cluster: #1f6feb; --mode: #d9730d; --redis: #8b8f98;
          --other: #b9a44c; }
        @media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1b1f25; --ink: #e6e8eb;
          --soft: #98a1ad; --line: #2d333b; --good: #4cc38a; --bad: #ff7b72; --cluster: #6aa8ff; --mode: #f2a65a;
          --redis: #8f98a5; --other: #d8c26a; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 60px; background: var(--ground); color: var(--ink);
          font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
        h1 { margin: 0; font-size: 26px; } h2 { margin: 34px 0 10px; font-size: 18px; } h3 { margin: 0; font-size: 15px; }
        header p { margin: 4px 0 12px; color: var(--soft); }
        dl { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 0; } dl div { display: flex; gap: 6px; }
        dt { color: var(--soft); } dd { margin: 0; }
        .goals { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px; margin-top: 22px; }
        .goals article { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--soft);
          border-radius: 8px; padding: 14px 16px; }
        .goals p { margin: 4px 0; color: var(--soft); } .goals .value { font-size: 30px; color: var(--ink); }
        .goals .met { border-left-color: var(--good); } .goals .met b { color: var(--good); }
        .goals .unmet { border-left-color: var(--bad); } .goals .unmet b { color: var(--bad); }
        .failed h2 { color: var(--bad); } svg .c-cut { stroke: var(--bad); }
        .plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 14px; }
        .plots.wide { grid-template-columns: 1fr; }
        figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
        figcaption { color: var(--soft); font-size: 13px; margin-bottom: 6px; min-height: 38px; }
        .wide figcaption { min-height: 0; }
        svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
        svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
        .c-cluster { fill: var(--cluster); stroke: var(--cluster); } .c-mode { fill: var(--mode); stroke: var(--mode); }
        .c-redis { fill: var(--redis); stroke: var(--redis); } .c-other { fill: var(--other); stroke: var(--other); }
        .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
        table { border-collapse: collapse; width: 100%; font-size: 13px; }
        th, td { padding: 5px 10px; text-align: left; vertical-align: top; } thead th { color: var(--soft); font-weight: 600; }
        td:first-child, td:nth-child(2), th { white-space: nowrap; } td.r { min-width: 320px; }
        tbody tr.first td { border-top: 1px solid var(--line); } .n { text-align: right; white-space: nowrap; }
        .absent { color: var(--soft); font-style: italic; }
        @media print { body { max-width: none; } figure, article, tr { break-inside: avoid; } }

        """
}
