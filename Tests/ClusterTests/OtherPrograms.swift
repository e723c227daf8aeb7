import Foundation

@testable import vencejo

/// A Python with other people's clients. See `.ci/run` for what it installs, and where.
enum Python {
    static let executable =
        ProcessInfo.processInfo.environment["VENCEJO_PYTHON"] ?? Checkout.root + "/.build/venv/bin/python"

    /// Whether it is there with the named modules.
    static func has(_ modules: String) -> Bool {
        guard FileManager.default.isExecutableFile(atPath: executable) else { return false }
        let check = Process()
        check.executableURL = URL(fileURLWithPath: executable)
        check.arguments = ["-c", "import \(modules)"]
        check.standardError = FileHandle.nullDevice
        guard (try? check.run()) != nil else { return false }
        check.waitUntilExit()
        return check.terminationStatus == 0
    }

    static let hasRedis = has("redis")

    static func script(_ name: String) -> String { Checkout.root + "/Tests/ClusterTests/Clients/" + name }

    /// Runs one of the scripts to its end.
    static func run(_ script: String, _ arguments: [String], within seconds: Double = 120) async throws
        -> (exit: ChildProcess.Exit, lines: [String])
    {
        try await Executable.run(executable, [Self.script(script)] + arguments, within: seconds)
    }

    /// Starts one of the scripts; it is killed when `body` ends.
    static func with<Result>(
        _ script: String,
        _ arguments: [String],
        environment: [String: String] = [:],
        _ body: (ChildProcess, Lines) async throws -> Result
    ) async throws -> Result {
        let lines = Lines()
        let child = try ChildProcess.start(
            executable,
            [Self.script(script)] + arguments,
            environment: Executable.environment(environment)
        ) { lines.append($0) }
        defer { child.signal(SIGKILL) }
        return try await body(child, lines)
    }
}

/// A program of Debian's; nil where it is not installed.
func installed(_ name: String) -> String? {
    ["/usr/bin/", "/usr/local/bin/"].map { $0 + name }.first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// The options of a cluster that Redis clients reach.
func redisClients(keyPartitions: Int = 1, sections: String = "") -> ProcessCluster.Options {
    var options = ProcessCluster.Options()
    options.hasRedisClients = true
    options.keyPartitions = keyPartitions
    options.sections = sections
    return options
}
