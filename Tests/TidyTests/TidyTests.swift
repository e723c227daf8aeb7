import Foundation
import Testing

@Suite struct LayoutTests {
    @Test("P-01 the top level holds Package.swift, Sources, Tests, cluster.toml and bench")
    func topLevel() {
        for entry in ["Package.swift", "Sources", "Tests", "cluster.toml", "bench"] {
            #expect(Repository.exists(entry), "\(entry) is missing")
        }
    }

    @Test("P-02 OpenSSL and LZ4 are the only system packages besides zlib")
    func systemPackages() throws {
        let manifest = try Repository.text("Package.swift")
        let libraries = try Manifest.targets().filter { target in
            manifest.contains(".systemLibrary(name: \"\(target.name)\"")
        }
        #expect(Set(libraries.map(\.name)).isSubset(of: ["COpenSSL", "CLZ4", "CZlib"]))
        #expect(Set(libraries.map(\.name)).isSuperset(of: ["COpenSSL", "CLZ4"]))
        #expect(manifest.components(separatedBy: ".systemLibrary(").count - 1 == libraries.count)
        for part in manifest.components(separatedBy: ".apt([").dropFirst() {
            let names = part.prefix { $0 != "]" }.split(separator: ",").map { $0.filter { !"\" ".contains($0) } }
            for name in names { #expect(["libssl-dev", "liblz4-dev", "zlib1g-dev"].contains(name), "\(name)") }
        }
        // The unsafe flags concern code generation, not what is linked.
        #expect(manifest.components(separatedBy: "unsafeFlags").count == 2)
        let flags = "[\"-enforce-exclusivity=unchecked\", \"-cross-module-optimization\"]"
        #expect(manifest.contains(".unsafeFlags(\(flags), .when(configuration: .release))"))
        for forbidden in ["linkedLibrary", "linkedFramework", ".plugin("] {
            #expect(!manifest.contains(forbidden), "the manifest has \(forbidden)")
        }
        for library in libraries {
            let map = try Repository.text("Sources/\(library.name)/module.modulemap")
            for line in map.split(separator: "\n") where line.contains("link ") {
                let name = line.split(separator: "\"")[1]
                #expect(["ssl", "crypto", "lz4", "z"].contains(name), "\(library.name) links \(name)")
            }
        }
    }

    @Test("every target of the manifest has its floor, and its dependencies point down")
    func manifestPointsDown() throws {
        let targets = try Manifest.targets()
        #expect(targets.count > 30)
        let names = Set(targets.map(\.name))
        for target in targets where !target.isTest && !isProof(target.name) {
            guard let floor = Floor.of(target.name) else {
                Issue.record("\(target.name) has no floor: add it to Tests/TidyTests/Floors.swift and ARCHITECTURE.md")
                continue
            }
            for dependency in target.dependencies where names.contains(dependency) && dependency != target.name {
                guard let lower = Floor.of(dependency) else {
                    Issue.record("\(target.name) depends on \(dependency), which is for tests")
                    continue
                }
                #expect(
                    lower.level < floor.level,
                    "\(target.name), floor \(floor.level), depends on \(dependency), floor \(lower.level)"
                )
            }
        }
        for floor in Floor.all { #expect(names.contains(floor.target), "\(floor.target) is not in the manifest") }
    }

    @Test("ARCHITECTURE.md shows the floors as the tests know them")
    func architecture() throws {
        guard Repository.exists("ARCHITECTURE.md") else {
            Issue.record("ARCHITECTURE.md is missing; it shows this table:\n\(Floor.table)")
            return
        }
        let text = try Repository.text("ARCHITECTURE.md")
        #expect(text.contains(Floor.table), "ARCHITECTURE.md must show this table:\n\(Floor.table)")
    }
}

/// The simulator: it runs everything, and only tests import it.
private func isProof(_ target: String) -> Bool {
    [
        "Certificates", "DiskSimulation", "LocalRESP", "OwnThread", "RESPTestServer", "RedisProcess", "SimulationKit",
        "Simulate",
        "resp-test-server", "simulate",
    ].contains(target)
}

@Suite struct ImportTests {
    @Test("imports point down, and pure targets import nothing from outside but collections")
    func imports() throws {
        let own = Set(Floor.all.map(\.target))
        for file in try Repository.swiftFiles(["Sources", "bench"]) {
            guard let floor = Floor.of(file.target) else {
                Issue.record("\(file.path): target \(file.target) has no floor")
                continue
            }
            for (module, line) in file.imports where module != "Swift" {
                if own.contains(module) {
                    #expect(
                        Floor.of(module)?.level ?? 99 < floor.level,
                        "\(file.path):\(line) imports \(module), which is not on a lower floor"
                    )
                } else {
                    #expect(
                        floor.outside.contains(module),
                        "\(file.path):\(line) imports \(module); \(file.target) may import \(floor.outside)"
                    )
                }
            }
        }
    }

    @Test("a target imports only what the manifest says that it depends on")
    func declared() throws {
        let own = Set(Floor.all.map(\.target))
        var declared: [String: Set<String>] = [:]
        for target in try Manifest.targets() { declared[target.name] = Set(target.dependencies) }
        for file in try Repository.swiftFiles(["Sources", "bench"]) {
            for (module, line) in file.imports where own.contains(module) {
                #expect(
                    declared[file.target]?.contains(module) == true,
                    "\(file.path):\(line) imports \(module), which its target does not declare"
                )
            }
        }
    }

    @Test("P-06 nothing but Sources/Node/Redis knows the Redis adapter")
    func redisAdapter() throws {
        let adapter: Set<String> = ["RedisAdapter", "RedisBackplane"]
        var users: Set<String> = []
        for file in try Repository.swiftFiles() where !adapter.contains(file.target) {
            guard file.imports.contains(where: { adapter.contains($0.module) }) else { continue }
            users.insert(file.path.split(separator: "/").dropLast().joined(separator: "/"))
        }
        #expect(users == ["Sources/Node/Redis", "Tests/RedisAdapterTests", "Tests/RedisBackplaneTests"])
    }

    @Test("P-06 with VENCEJO_WITHOUT_REDIS the package has no Redis adapter, and all else as before")
    func withoutRedis() throws {
        func targets(_ environment: [String: String]) throws -> [String: [String: Any]] {
            // SwiftPM keeps a lock for each path: always the same one.
            let scratch = Repository.root.appending(path: ".build/dump")
            let swift = Process()
            swift.executableURL = URL(filePath: "/usr/bin/env")
            swift.arguments = [
                "swift", "package", "--ignore-lock", "--package-path", Repository.root.path(), "--scratch-path",
                scratch.path(), "dump-package",
            ]
            var own = ProcessInfo.processInfo.environment
            own["VENCEJO_WITHOUT_REDIS"] = nil
            swift.environment = own.merging(environment) { $1 }
            let output = Pipe()
            swift.standardOutput = output
            swift.standardError = FileHandle.nullDevice
            try swift.run()
            let data = output.fileHandleForReading.readDataToEndOfFile()
            swift.waitUntilExit()
            let package = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
            let rows = try #require(package["targets"] as? [[String: Any]])
            return Dictionary(uniqueKeysWithValues: rows.map { ($0["name"] as? String ?? "", $0) })
        }
        /// Its dependencies by name, in order.
        func dependencies(_ target: [String: Any]?) -> [String] {
            (target?["dependencies"] as? [[String: Any]] ?? []).compactMap { row in
                (row.values.first as? [Any])?.first as? String
            }
        }
        let whole = try targets([:])
        let lean = try targets(["VENCEJO_WITHOUT_REDIS": "1"])
        let optional: Set<String> = ["RedisBackplane", "RedisAdapter", "RedisBackplaneTests", "RedisAdapterTests"]
        #expect(Set(whole.keys).subtracting(lean.keys) == optional && Set(lean.keys).isSubset(of: whole.keys))
        #expect(dependencies(whole["Node"]).contains("RedisAdapter"))
        for (name, target) in lean {
            #expect(dependencies(target) == dependencies(whole[name]).filter { !optional.contains($0) }, "\(name)")
        }
        #expect(whole["Node"]?["exclude"] as? [String] == ["WithoutRedis"])
        #expect(lean["Node"]?["exclude"] as? [String] == ["Redis"])
    }
}

@Suite struct CodeTests {
    /// What a pure target must not say, as a regular expression, with the reason.
    private static let banned: [(pattern: String, reason: String)] = [
        (#"\bDate\("#, "time is an input"),
        (#"\b(ContinuousClock|SuspendingClock|DispatchTime|clock_gettime)\b"#, "time is an input"),
        (#"\bUUID\("#, "randomness is an input"),
        (#"\bSystemRandomNumberGenerator\b"#, "randomness is an input"),
        (#"\.(random|randomElement|shuffle|shuffled)\("#, "randomness is an input"),
        (#"\bHasher\(|\.hashValue\b"#, "hashes are seeded per process"),
        (#"\b(print|debugPrint|dump)\("#, "output goes to the caller"),
        (#"\bTask\s*(\{|\.|<|\()"#, "no tasks"),
        (#"(^|\s)actor\s+[A-Z]"#, "no actors"),
        (#"\b(async|await)\b"#, "no suspension"),
        (#"\b(Mutex|Lock|NSLock|DispatchQueue|Thread)\b"#, "no threads, no locks"),
        (#"\btry!|\bas!"#, "bad input gets a typed error"),
    ]

    @Test("pure targets have no clock, chance, output, tasks or locks")
    func pureTargets() throws {
        for file in try Repository.swiftFiles(["Sources"]) {
            guard let floor = Floor.of(file.target), floor.isPure else { continue }
            for (pattern, reason) in CodeTests.banned {
                let expression = try NSRegularExpression(pattern: pattern)
                for (index, line) in file.code.enumerated() {
                    let found = expression.firstMatch(in: line, range: NSRange(line.startIndex..., in: line)) != nil
                    #expect(!found, "\(file.path):\(index + 1): \(reason): \(file.lines[index])")
                }
            }
        }
    }

    @Test("CN-06 the gate runs every suite with threads under the thread sanitizer, and no lock is hidden from it")
    func threadSanitizer() throws {
        #expect(try Repository.text(".ci/run").contains("\n.ci/thread-sanitizer\n"))
        let command = try Repository.text(".ci/thread-sanitizer")
        #expect(command.contains("--sanitize=thread"))
        #expect(!command.contains("suppressions"), "no report is hidden")
        // Suites of programs, of the tests themselves and of configuration have one thread; so have the pure ones.
        let single = ["BenchTests", "ClusterConfigurationTests", "SimulationTests", "TidyTests", "VencejoTests"]
        for target in try Manifest.targets() where target.isTest && !single.contains(target.name) {
            let hasThreads = target.dependencies.contains { Floor.of($0)?.isPure == false }
            #expect(!hasThreads || command.contains(target.name), "\(target.name) is missing from .ci/thread-sanitizer")
        }
        for file in try Repository.swiftFiles() {
            for (index, line) in file.code.enumerated() where line.contains("Mutex<") || line.contains("Mutex(") {
                Issue.record("\(file.path):\(index + 1): the sanitizer does not see Mutex; use Lock")
            }
        }
    }

    @Test("no type is called manager, helper or utility")
    func names() throws {
        let pattern = #"\b(struct|class|enum|actor|protocol|typealias)\s+\w*(Manager|Helper|Util|Utility|Utilitie)s?\b"#
        let expression = try NSRegularExpression(pattern: pattern)
        for file in try Repository.swiftFiles() {
            for (index, line) in file.code.enumerated() {
                let found = expression.firstMatch(in: line, range: NSRange(line.startIndex..., in: line)) != nil
                #expect(!found, "\(file.path):\(index + 1): \(file.lines[index])")
            }
        }
    }

    @Test("what the compiler does not check has a comment that says why it is right")
    func unchecked() throws {
        for file in try Repository.swiftFiles() {
            for (index, line) in file.code.enumerated()
            where line.contains("@unchecked Sendable") || line.contains("nonisolated(unsafe)") {
                let here = file.lines[index].contains("//")
                let above = index > 0 && file.lines[index - 1].trimmingCharacters(in: .whitespaces).hasPrefix("//")
                #expect(here || above, "\(file.path):\(index + 1): why is this safe?")
            }
        }
    }

    @Test("files have at most 700 lines, lines at most 120 characters")
    func lengths() throws {
        for file in try Repository.swiftFiles() {
            #expect(file.lines.count <= 701, "\(file.path) has \(file.lines.count) lines")
            for (index, line) in file.lines.enumerated() where line.count > 120 {
                Issue.record("\(file.path):\(index + 1) has \(line.count) characters")
            }
        }
    }

    @Test("nothing unfinished is left behind")
    func unfinished() throws {
        for file in try Repository.swiftFiles() {
            #expect(!file.path.hasSuffix("Placeholder.swift"), "\(file.path)")
            for (index, line) in file.lines.enumerated() where !file.path.hasPrefix("Tests/TidyTests/") {
                #expect(!line.contains("TODO") && !line.contains("FIXME"), "\(file.path):\(index + 1)")
            }
        }
    }
}

@Suite struct SourceFileTests {
    @Test("code is seen without comments and strings, line by line")
    func stripping() {
        let text = """
            import A // print(
            /* print( /* nested */
            print( */ let a = "print(\\(b("x)"))" + #"a"b print("# ; c
            let d = \"\"\"
                print( " quoted
                \"\"\"; e // f
            @testable import struct Foundation.Date
            """
        let file = SourceFile(path: "Sources/X/Y.swift", text: text)
        #expect(file.code.count == file.lines.count)
        #expect(!file.code.joined().contains("print"))
        #expect(file.code[2].hasSuffix("; c"))
        #expect(file.code[5].hasSuffix("; e "))
        #expect(file.imports.map(\.module) == ["A", "Foundation"])
        #expect(file.target == "X")
    }
}
