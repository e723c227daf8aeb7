import Foundation
import Glibc
import Locks

/// A redis-server of a test's own, without persistence unless it is asked for, or a node of Vencejo whose shim stands
/// in for one (`shims`). `stop` leaves nothing behind; a process that dies takes its server with it.
public final class RedisProcess: Sendable {
    /// Why there is no server.
    public struct Failure: Error, CustomStringConvertible {
        /// For people.
        public let description: String
    }

    /// Where it listens, on loopback.
    public let port: Int
    /// Where it answers as a Sentinel; 0: nowhere.
    public let sentinelPort: Int
    /// Its own, for what it writes.
    public let directory: String
    private let program: [String]
    /// What it answers, with `answer` in the reply, when it serves.
    private let question: (command: [String], answer: String)
    private let running = Lock<Process?>(nil)

    /// Nil where none is installed.
    public static let executable = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }
    /// What tests that need one ask first.
    public static var isInstalled: Bool { executable != nil }

    /// A redis-server. `arguments` follow the port; the first may be a configuration file.
    public convenience init(port: Int, _ arguments: [String] = []) throws {
        guard let executable = RedisProcess.executable else { throw Failure(description: "no redis-server") }
        let hasFile = arguments.first?.hasSuffix(".conf") == true
        let directory = RedisProcess.directory(port)
        try self.init(
            port: port,
            sentinelPort: arguments.contains("--sentinel") ? port : 0,
            program: [executable] + arguments.prefix(hasFile ? 1 : 0)
                + ["--port", String(port), "--dir", directory, "--save", ""] + arguments.dropFirst(hasFile ? 1 : 0),
            question: (["PING"], "PONG")
        )
    }

    init(port: Int, sentinelPort: Int, program: [String], question: (command: [String], answer: String)) throws {
        self.port = port
        self.sentinelPort = sentinelPort
        self.program = program
        self.question = question
        directory = RedisProcess.directory(port)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }

    static func directory(_ port: Int) -> String {
        FileManager.default.temporaryDirectory.path + "/vencejo-redis-\(getpid())-\(port)"
    }

    deinit { stop() }

    /// Returns when it answers.
    public func start() throws { try RedisProcess.start([self]) }

    /// Starts them all, which may need each other to serve; returns when each of them answers.
    public static func start(_ all: [RedisProcess]) throws {
        for server in all { try server.launch() }
        for server in all { try server.awaitAnswer() }
    }

    private func launch() throws {
        let process = Process()
        // The shell waits for the end of its input, which is this process's end too, and then ends the server.
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let script = #""$@" >log 2>&1 & pid=$!; trap 'kill -9 $pid' TERM; cat; kill -9 $pid; wait $pid"#
        process.arguments = ["-c", script, "redis"] + program
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        let input = Pipe()
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        // Where the shell says that it was killed.
        process.standardError = FileHandle.nullDevice
        // A node would take the tests' own variables for settings.
        process.environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("VENCEJO_") }
        try process.run()
        running.withLock { $0 = process }
        inputs.withLock { $0 = input }
    }

    private func awaitAnswer() throws {
        for _ in 0..<3000 {
            // With a password it answers, too.
            if let reply = try? command(question.command),
                reply.contains(question.answer) || reply.contains("NOAUTH")
            {
                return
            }
            usleep(20_000)
        }
        throw Failure(description: "\(program[0]) on \(port) does not answer: \((try? log()) ?? "")")
    }

    private let inputs = Lock<Pipe?>(nil)

    /// What it has printed.
    public func log() throws -> String { try String(contentsOfFile: directory + "/log", encoding: .utf8) }

    /// kill -9, as a crash: returns when it is gone.
    public func kill() {
        let process = running.withLock { process -> Process? in
            defer { process = nil }
            return process
        }
        inputs.withLock { pipe in
            try? pipe?.fileHandleForWriting.close()
            pipe = nil
        }
        process?.waitUntilExit()
    }

    /// Ends it and deletes what it left.
    public func stop() {
        kill()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// One command over a connection of its own; the raw reply.
    @discardableResult
    public func command(_ words: [String]) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw Failure(description: "nobody listens on \(port)") }
        var text = ""
        // QUIT ends the connection behind the reply, so that its end is known.
        for words in [words, ["QUIT"]] {
            text += "*\(words.count)\r\n" + words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        }
        let request = Array(text.utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw Failure(description: "the connection to \(port) broke")
        }
        var reply: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            reply += chunk[..<count]
        }
        let said = String(decoding: reply, as: UTF8.self)
        return said.hasSuffix("+OK\r\n") ? String(said.dropLast(5)) : said
    }
}
