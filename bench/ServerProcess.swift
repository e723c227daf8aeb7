import CPosixShims
import Foundation
import Glibc

/// A server under test: a child process with its output in a file, killed when this process ends.
final class ServerProcess {
    let name: String
    let logPath: String
    private(set) var pid: pid_t
    private let arguments: [String]

    /// Starts `arguments[0]` with standard output and error appended to `logPath`.
    init(name: String, arguments: [String], logPath: String) throws {
        self.name = name
        self.logPath = logPath
        // Where util-linux has setpriv, the kernel kills the server even when this process is killed itself.
        if let setpriv = findExecutable("setpriv") {
            self.arguments = [setpriv, "--pdeathsig", "KILL"] + arguments
        } else {
            self.arguments = arguments
        }
        pid = 0
        try start()
    }

    deinit { kill() }

    /// Starts again after `kill()` or `strike()`, in the same directory; this time with `additions` to its arguments.
    func start(adding additions: [String] = []) throws {
        kill()
        ChildProcesses.installCleanUp()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        vencejo_spawn_close_from(&actions, STDERR_FILENO + 1)
        // A group of its own: a terminal's interrupt reaches the children only through our clean-up.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)

        let pointers: [UnsafeMutablePointer<CChar>?] = (arguments + additions).map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, arguments[0], &actions, &attributes, pointers, environ)
        guard error == 0 else {
            throw BenchError("cannot start \(arguments[0]): \(String(cString: strerror(error)))")
        }
        pid = child
        ChildProcesses.add(child)
    }

    /// SIGKILL, as a power failure of the process; returns when it is gone.
    func kill() {
        guard pid > 0 else { return }
        _ = Glibc.kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        ChildProcesses.remove(pid)
        pid = 0
    }

    /// SIGKILL, without waiting until it is gone: whoever keeps a load going cannot wait.
    func strike() {
        guard pid > 0 else { return }
        _ = Glibc.kill(pid, SIGKILL)
    }

    /// SIGTERM, SIGSTOP or SIGCONT.
    func signal(_ number: Int32) {
        guard pid > 0 else { return }
        _ = Glibc.kill(pid, number)
    }

    /// Whether it still runs; reaps it when it does not.
    var isRunning: Bool {
        guard pid > 0 else { return false }
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return true }
        ChildProcesses.remove(pid)
        pid = 0
        return false
    }

    /// The end of the log, for error messages.
    func logTail(lines: Int = 15) -> String {
        guard let text = try? String(contentsOfFile: logPath, encoding: .utf8) else { return "(no log)" }
        return text.split(separator: "\n").suffix(lines).joined(separator: "\n")
    }

    /// User and system time of all threads so far, in microseconds (fields 14 and 15 of /proc/PID/stat).
    func processorMicroseconds() -> UInt64 {
        guard pid > 0, let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return 0 }
        // The command name may hold spaces; fields are counted after its parenthesis, where field 3 comes first.
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = UInt64(fields[11]), let system = UInt64(fields[12]) else { return 0 }
        return (user + system) * 1_000_000 / UInt64(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// VmRSS in bytes.
    func residentBytes() -> UInt64 { kibibytes("VmRSS:", in: "/proc/\(pid)/status") * 1024 }

    /// Pss in bytes: pages shared with other processes count in parts.
    func proportionalBytes() -> UInt64 { kibibytes("Pss:", in: "/proc/\(pid)/smaps_rollup") * 1024 }

    func descriptorCount() -> Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? 0
    }

    private func kibibytes(_ field: String, in path: String) -> UInt64 {
        guard pid > 0, let text = try? String(contentsOfFile: path, encoding: .utf8) else { return 0 }
        for line in text.split(separator: "\n") where line.hasPrefix(field) {
            return line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { UInt64($0) } ?? 0
        }
        return 0
    }
}

/// What stopped a benchmark.
struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// The program of that name on the PATH.
func findExecutable(_ name: String) -> String? {
    if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    for directory in path.split(separator: ":") {
        let candidate = "\(directory)/\(name)"
        if access(candidate, X_OK) == 0 { return candidate }
    }
    return nil
}

/// The running children, in a table that a signal handler may read.
enum ChildProcesses {
    private static let capacity = 64
    // Safe: one thread adds and removes; the signal handler only reads whole words.
    nonisolated(unsafe) private static let table: UnsafeMutablePointer<pid_t> = {
        let table = UnsafeMutablePointer<pid_t>.allocate(capacity: capacity)
        table.initialize(repeating: 0, count: capacity)
        return table
    }()
    // Safe: touched by the main thread only.
    nonisolated(unsafe) private static var isInstalled = false

    static func add(_ pid: pid_t) {
        for slot in 0..<capacity where table[slot] == 0 {
            table[slot] = pid
            return
        }
    }

    static func remove(_ pid: pid_t) {
        for slot in 0..<capacity where table[slot] == pid { table[slot] = 0 }
    }

    static func killAll() {
        for slot in 0..<capacity where table[slot] != 0 { _ = Glibc.kill(table[slot], SIGKILL) }
    }

    /// Kills the children at exit and on the signals that end a process. Main thread only.
    static func installCleanUp() {
        guard !isInstalled else { return }
        isInstalled = true
        _ = table
        atexit { ChildProcesses.killAll() }
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                ChildProcesses.killAll()
                _exit(128 + number)
            }
        }
        signal(SIGPIPE, SIG_IGN)
    }
}
