import Foundation
import Testing

@testable import bench

@Suite("Reports and thresholds")
struct ReportTests {
    private func sample() -> BenchmarkReport {
        var redis = Measurement(scenario: "fan-out", target: "redis")
        redis.rate = 50_000
        redis.cpuMicroseconds = 4
        var ours = Measurement(scenario: "fan-out", target: "vencejo")
        ours.connections = 1000
        ours.rate = 100_000
        ours.cpuMicroseconds = 3
        ours.latency = LatencySummary(nanoseconds: (UInt64(1)...1000).map { $0 * 1_000_000 })
        ours.delivery = DeliveryCounts(delivered: 7)
        ours.attempted = 1000
        ours.failed = 10
        ours.residentBytes = 64 << 20
        ours.descriptors = 1012
        ours.bytesPerConnection = 4321
        ours.remarks = "a | b"
        var measurements = [redis, ours]
        compareToRedis(&measurements)
        return BenchmarkReport(
            benchmark: "fanout",
            machine: "2 x processor",
            parameters: [.init(name: "size", value: "128")],
            measurements: measurements
        )
    }

    @Test("BN-07 a report survives JSON")
    func json() throws {
        let report = sample()
        let text = try report.json()
        let read = try JSONDecoder().decode(BenchmarkReport.self, from: Data(text.utf8))
        #expect(read == report)
        #expect(try read.json() == text)
    }

    @Test("BN-07 Markdown has one row a measurement, escaped, with as many cells as the header")
    func markdown() {
        let lines = sample().markdown().split(separator: "\n").filter { $0.hasPrefix("|") }
        #expect(lines.count == 4)
        func cells(_ line: Substring) -> Int {
            line.replacingOccurrences(of: "\\|", with: "").filter { $0 == "|" }.count
        }
        #expect(Set(lines.map(cells)).count == 1)
        #expect(lines[3].contains("a \\| b"))
    }

    @Test("BN-07 the table lines up and leaves out what nobody measured")
    func table() {
        let text = sample().text()
        #expect(text.contains("scenario"))
        #expect(text.contains("p99 ms"))
        #expect(!text.contains("silence ms"))
        let lines = text.split(separator: "\n")
        let header = lines.first { $0.hasPrefix("scenario") }!
        let row = lines.first { $0.contains("vencejo") }!
        let column = header.range(of: "target")!.lowerBound.utf16Offset(in: header)
        #expect(row.dropFirst(column).hasPrefix("vencejo"))
    }

    @Test("BN-06 the report has CPU, memory and descriptors, per operation and per connection")
    func resources() {
        let text = sample().text()
        for column in ["CPU us/op", "RSS MiB", "bytes/connection", "fds"] { #expect(text.contains(column)) }
        #expect(text.contains("4321"))
        #expect(text.contains("1012"))
    }

    @Test("BN-06 a process's CPU time, memory and descriptors are read from the system")
    func ownResources() throws {
        let workspace = try Workspace(keep: false)
        let log = "\(workspace.path)/log"
        let shell = try #require(findExecutable("sh"))
        let server = try ServerProcess(name: "busy", arguments: [shell, "-c", "while :; do :; done"], logPath: log)
        defer { server.kill() }
        let deadline = Clock.now() + 60_000_000_000
        while server.processorMicroseconds() < 50_000, Clock.now() < deadline { Clock.sleep(milliseconds: 20) }
        #expect(server.processorMicroseconds() >= 50_000)
        #expect(server.residentBytes() > 100_000)
        #expect(server.descriptorCount() >= 3)
        let pid = server.pid
        server.kill()
        #expect(!server.isRunning)
        #expect(kill(pid, 0) != 0)
    }

    @Test("BN-05 the delivery columns are in the report")
    func deliveryColumns() {
        for column in ["lost", "duplicated", "reordered"] { #expect(sample().text().contains(column)) }
    }

    @Test("BN-02 a column without figures says that it was not run")
    func notRun() {
        var report = sample()
        report.measurements[0] = .notRun(scenario: "fan-out", target: "redis", because: "no redis-server found")
        #expect(report.text().contains("not run: no redis-server found"))
    }

    @Test("ratios compare with Redis in the same scenario")
    func ratios() {
        let ours = sample().measurements[1]
        #expect(ours.cpuRatioToRedis == 0.75)
        #expect(ours.rateRatioToRedis == 2)
    }

    @Test("BN-07 nothing is broken without thresholds and loss")
    func clean() {
        #expect(Thresholds().breaches(of: sample().measurements).isEmpty)
    }

    @Test("BN-07 each threshold is broken by a worse figure and kept by a better one", arguments: 0..<5)
    func threshold(number: Int) {
        let cases: [(broken: Thresholds, kept: Thresholds)] = [
            (Thresholds(maxCPURatio: 0.7), Thresholds(maxCPURatio: 0.8)),
            (Thresholds(minRate: 100_001), Thresholds(minRate: 99_999)),
            (Thresholds(maxP99Milliseconds: 900), Thresholds(maxP99Milliseconds: 1100)),
            (Thresholds(maxSilenceMilliseconds: 10), Thresholds(maxSilenceMilliseconds: 30)),
            (Thresholds(maxBytesPerConnection: 4000), Thresholds(maxBytesPerConnection: 5000)),
        ]
        var measurements = sample().measurements
        measurements[1].silenceMilliseconds = 20
        #expect(cases[number].broken.breaches(of: measurements).count == 1)
        #expect(cases[number].kept.breaches(of: measurements).isEmpty)
    }

    @Test("BN-07 a threshold for which nothing was measured is broken")
    func unmeasured() {
        #expect(Thresholds(maxSilenceMilliseconds: 1000).breaches(of: sample().measurements).count == 1)
    }

    @Test("BN-05 BN-07 anything lost, duplicated or reordered breaks the run")
    func lossBreaks() {
        for change in [\DeliveryCounts.lost, \.duplicated, \.reordered] {
            var measurements = sample().measurements
            measurements[1].delivery?[keyPath: change] = 1
            #expect(Thresholds().breaches(of: measurements).count == 1)
        }
    }

    @Test("percentiles are those of the recorded values")
    func percentiles() {
        let latency = sample().measurements[1].latency!
        #expect(latency.count == 1000)
        #expect(abs(latency.p50 - 500) < 10)
        #expect(abs(latency.p99 - 990) < 15)
    }

    @Test("the median is the middle value")
    func medians() {
        #expect(median([3, 1, 2]) == 2)
        #expect(median([4, 1, 2, 3]) == 2.5)
        #expect(median([]) == nil)
    }
}
