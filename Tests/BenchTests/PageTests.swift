import Foundation
import Testing

@testable import bench

@Suite("Templates, timelines and the page")
struct PageTests {
    private func report() -> BenchmarkReport {
        var ours = Measurement(scenario: "a <b> & \"c\"", target: CompareTarget.cluster.label)
        ours.connections = 1000
        ours.rate = 500
        ours.attempted = 200
        ours.failed = 1
        ours.cpuMicroseconds = 2
        ours.silenceMilliseconds = 40
        ours.latency = LatencySummary(nanoseconds: (UInt64(1)...1000).map { $0 * 1_000_000 })
        ours.remarks = "rounds 1 to 2"
        let theirs = Measurement.notRun(
            scenario: "a <b> & \"c\"",
            target: CompareTarget.redis.label,
            because: "no redis-server found"
        )
        return BenchmarkReport(
            benchmark: "compare",
            machine: "2 x <processor>",
            parameters: [.init(name: "size", value: "128")],
            measurements: [ours, theirs],
            goals: [
                Goal(name: "one", required: "1.5 x", limit: 1.5, isMinimum: true, measured: 1.6, remarks: "r"),
                Goal(name: "two", required: "0.2 x", limit: 0.2, isMinimum: false, measured: 0.3, remarks: "r"),
                Goal(name: "three", required: "x", limit: 1, isMinimum: true, measured: nil, remarks: "r"),
            ],
            timelines: [Timeline(title: "acknowledged", target: "cluster mode", rates: [10, 10, 0, 90])],
            details: BenchmarkReport.Detail.templates([ours, theirs]),
            breaches: ["<broken>"]
        )
    }

    @Test("BN-03 the columns are those of the two templates: seven and five")
    func columns() {
        let tables = BenchmarkReport.Detail.templates(report().measurements)
        #expect(
            tables[0].columns == ["scenario", "success rate", "mean", "p95", "p99", "error rate", "remarks"]
        )
        #expect(
            tables[1].columns == [
                "case", "concurrent connections", "throughput (msgs/s)", "latency p95/p99", "remarks",
            ]
        )
    }

    @Test("BN-03 each cell is the figure of its column, and what was not run says so")
    func cells() {
        let tables = BenchmarkReport.Detail.templates(report().measurements)
        let name = "a <b> & \"c\": cluster mode"
        #expect(tables[0].rows[0][0] == name)
        #expect(tables[0].rows[0][1] == "99.5 %" && tables[0].rows[0][5] == "0.500 %")
        #expect(tables[0].rows[0][2].hasSuffix(" ms"))
        #expect(tables[1].rows[0][1] == "1000" && tables[1].rows[0][2] == "500")
        #expect(tables[1].rows[0][3].contains(" ms / "))
        for table in tables {
            #expect(table.rows.allSatisfy { $0.count == table.columns.count })
            #expect(table.rows[1].last == "not run: no redis-server found")
            #expect(table.rows[1].dropFirst().dropLast().allSatisfy { $0 == "not run" })
        }
    }

    @Test("BN-03 BN-07 Markdown and JSON carry the templates, the targets and the verdicts")
    func outputs() throws {
        let report = report()
        #expect(report.markdown().contains("| scenario | success rate | mean | p95 | p99 | error rate | remarks |"))
        for verdict in ["met", "not met", "not measured"] { #expect(report.markdown().contains("| \(verdict) |")) }
        let read = try JSONDecoder().decode(BenchmarkReport.self, from: Data(try report.json().utf8))
        #expect(read == report)
    }

    @Test("BN-01 the page is well-formed, loads nothing from elsewhere, and shows every line and verdict")
    func page() throws {
        let page = HTMLReport.page(report())
        for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
            #expect(!page.contains(outside), "\(outside)")
        }
        #expect(page.contains("prefers-color-scheme: dark") && page.contains("tabular-nums"))
        for text in ["met", "not met", "not measured", "not run: no redis-server found", "&lt;broken&gt;"] {
            #expect(page.contains(text), "\(text)")
        }
        #expect(!page.contains("<broken>") && !page.contains("<processor>"))
        #expect(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"))
        // Rate, CPU, silence, latency and the timeline.
        #expect(page.components(separatedBy: "<svg ").count == 1 + 5)
        #expect(unbalanced(page).isEmpty, "\(unbalanced(page))")
    }

    /// Elements that are opened and not closed in their place; the page is written as XML, apart from its first line.
    private func unbalanced(_ page: String) -> [String] {
        var open: [String] = []
        var wrong: [String] = []
        var rest = page[...]
        while let start = rest.firstIndex(of: "<") {
            guard let end = rest[start...].firstIndex(of: ">") else { return ["<"] }
            let tag = rest[rest.index(after: start)..<end]
            rest = rest[rest.index(after: end)...]
            if tag.hasPrefix("!") || tag.hasSuffix("/") { continue }
            let name = String(tag.split(separator: " ")[0])
            if name.hasPrefix("/") {
                if open.popLast() != String(name.dropFirst()) { wrong.append(name) }
            } else {
                open.append(name)
            }
        }
        return wrong + open
    }

    @Test("a timeline counts events by tenths of a second around the fault, and drops what is outside")
    func timeline() {
        let fault: UInt64 = 100_000_000_000
        let rates = Timeline.rates(
            of: [
                98_000_000_000, 99_050_000_000, 99_950_000_000, 100_050_000_000, 100_060_000_000, 112_000_000_000,
            ],
            around: fault,
            until: 200_000_000_000
        )
        #expect(rates.count == 120)
        #expect(rates.filter { $0 > 0 } == [10, 10, 20])
        #expect(rates[0] == 10 && rates[9] == 10 && rates[10] == 20)
        let short = Timeline.rates(of: [fault], around: fault, until: fault + 2_050_000_000)
        #expect(short.count == 30, "what was not waited for is no silence")
    }

    @Test("plots stay within their frame, whatever the values are", arguments: [0.0, 1e-9, 1, 1e12, .infinity])
    func plots(_ value: Double) {
        let bars = Plot.bars([.init(label: "cluster mode", value: value, absence: nil)], title: "t")
        let ranges = Plot.ranges([.init(label: "redis", low: value, middle: value, high: value)], title: "t")
        for svg in [bars, ranges] {
            #expect(!svg.contains("nan") && !svg.contains("inf\""))
            for part in svg.components(separatedBy: "\"").compactMap(Double.init) {
                #expect(abs(part) <= 600, "\(svg)")
            }
        }
    }
}
