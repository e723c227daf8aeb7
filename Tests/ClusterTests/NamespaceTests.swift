import Foundation
import Testing

@testable import vencejo

/// Network namespaces, for tests that need them.
enum Namespaces {
    /// Why there can be no namespaces here; nil when there can.
    static let areMissing: String? = {
        guard geteuid() == 0 else { return "needs root, to make network namespaces" }
        for name in ["ip", "nft", "nsenter", "unshare", "mount"] where path(of: name) == nil {
            return "needs \(name)"
        }
        // Root in a container may lack the right.
        let check = Process()
        check.executableURL = URL(fileURLWithPath: path(of: "unshare") ?? "")
        check.arguments = ["--net", "--mount", "--propagation", "private", "/bin/true"]
        check.standardError = FileHandle.nullDevice
        guard (try? check.run()) != nil else { return "unshare does not start" }
        check.waitUntilExit()
        return check.terminationStatus == 0 ? nil : "this machine lets nobody make network namespaces"
    }()

    private static func path(of name: String) -> String? {
        ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].map { $0 + name }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

extension RealProcesses {
    /// Real nodes in network namespaces of their own, with faults on the wires between them: small runs of `bench
    /// faults`, which makes the namespaces.
    @Suite(.enabled(if: Namespaces.areMissing == nil, "\(Namespaces.areMissing ?? "")"))
    struct NamespaceTests {
        private static func arguments(_ cells: String, victims: String = "owner") -> [String] {
            [
                "faults", "--nodes", "3", "--cells", cells, "--victims", victims, "--quick", "--interval-ms", "60",
            ]
        }

        private func run(_ cells: String, victims: String = "owner", within seconds: Double = 150) async throws
            -> BenchProgram.Report
        {
            try await BenchProgram.run(Self.arguments(cells, victims: victims), within: seconds).report
        }

        /// Nothing lost, doubled or reordered, everything acknowledged, and the logs of all nodes equal.
        private func expectIntact(_ report: BenchProgram.Report, cells: Int) {
            #expect(report.faults == [])
            #expect(report.measurements.count == cells)
            for line in report.measurements {
                #expect(line.notRun == nil, "\(line.scenario): \(line.notRun ?? "")")
                #expect(line.attempted ?? 0 > 100 && line.failed == 0, "\(line)")
                let delivery = line.delivery
                #expect(delivery?.lost == 0 && delivery?.duplicated == 0 && delivery?.reordered == 0, "\(line)")
                #expect(delivery?.delivered == line.attempted)
                #expect(line.silenceMilliseconds ?? 0 > 0 && line.silenceMilliseconds ?? 1e9 < 20_000, "\(line)")
            }
            let comparison = report.cell("The nodes' logs").first ?? ""
            #expect(comparison.contains(" groups, ") && comparison.contains(": 0 pairs differ"), "\(comparison)")
            #expect(!comparison.contains(" 0 entries compared"), "\(comparison)")
        }

        @Test(
            "CL-09 T-19 a cluster that was split acknowledges on one side only, heals, and has one history",
            .timeLimit(.minutes(4))
        )
        func split() async throws {
            let report = try await run("split", victims: "control")
            expectIntact(report, cells: 1)
            #expect(report.number("What the checker", "acknowledged without a majority") == 0)
            #expect(report.number("Ownerships won", "suspicions") ?? 0 > 0, "the incident is recorded")
            #expect(report.number("Ownerships won", "heard again") ?? 0 > 0, "and its end")
            #expect(report.number("Longest silence", "its clients served s") ?? 1e9 < 60)
        }

        @Test(
            "CL-10 T-21 a node that is heard and hears nothing, or the reverse, does not make owners change endlessly",
            .timeLimit(.minutes(5))
        )
        func oneWay() async throws {
            let report = try await run("send-only,receive-only")
            expectIntact(report, cells: 2)
            for row in 0..<2 {
                // 64 partitions: each is taken over at most once, and then there is rest.
                let early = try #require(report.number("Ownerships won", "in the first 60 % of the fault", row: row))
                let rest = try #require(report.number("Ownerships won", "in the rest", row: row))
                #expect(early <= 128)
                #expect(rest <= 64, "\(report.cell("Ownerships won", row: row))")
                #expect(report.number("Longest silence", "its clients served s", row: row) ?? 1e9 < 60)
            }
        }

        @Test(
            "CL-21 an isolated node says degraded, refuses guaranteed publishes for now, and serves local best effort",
            .timeLimit(.minutes(4))
        )
        func isolated() async throws {
            let report = try await run("blackhole")
            expectIntact(report, cells: 1)
            let title = "The isolated node"
            #expect(report.number(title, "degraded after s") ?? 1e9 < 20)
            #expect(report.number(title, "guaranteed: acknowledged") == 0)
            #expect(report.number(title, "refused for now") == 8)
            #expect(report.number(title, "refused for good") == 0)
            #expect(report.number(title, "not answered") == 0)
            #expect(report.cell(title).last == "8 of 8")
            #expect(report.number("What the checker", "acknowledged without a majority") == 0)
        }

        @Test("an interrupted run leaves no process, file or namespace behind", .timeLimit(.minutes(3)))
        func interrupted() async throws {
            let folder = FileManager.default.temporaryDirectory.path + "/faults-\(getpid())-\(UUID())"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            func left() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder) }
            let namespaces = try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")
            let lines = Lines()
            let child = try ChildProcess.start(
                try BenchProgram.path(),
                Self.arguments("full-disk") + ["--vencejo", Executable.vencejo()],
                environment: Executable.environment(["TMPDIR": folder])
            ) { lines.append($0) }
            defer { child.signal(SIGKILL) }
            #expect(try await eventually(within: 60) { lines.contains("1/1 ") || child.exit != nil })
            #expect(try left().count == 1, "\(lines.all)")
            #expect(!Self.processes(naming: folder).isEmpty)
            child.signal(SIGINT)
            #expect(try await eventually(within: 30) { child.exit != nil })
            #expect(child.exit != .code(0))
            #expect(try left() == [])
            #expect(try await eventually(within: 10) { Self.processes(naming: folder).isEmpty })
            #expect((try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")) == namespaces)
        }

        /// Whose command lines contain `text`.
        private static func processes(naming text: String) -> [String] {
            let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            return all.filter { entry in
                Int(entry) != nil
                    && FileManager.default.contents(atPath: "/proc/\(entry)/cmdline")
                        .map { String(decoding: $0, as: UTF8.self).contains(text) } ?? false
            }
        }
    }
}
