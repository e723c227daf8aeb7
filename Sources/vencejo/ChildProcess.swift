import CPosixShims
import Glibc
import Locks

/// A process that this one started. It is told to stop when this one ends: its standard input is a pipe that then
/// closes.
package final class ChildProcess: Sendable {
    /// How a process ended.
    package enum Exit: Equatable, Sendable, CustomStringConvertible {
        case code(Int32)
        case signal(Int32)

        package var description: String {
            switch self {
            case .code(let code): "exit code \(code)"
            case .signal(let number): "signal \(number) (\(String(cString: strsignal(number))))"
            }
        }
    }

    /// Why it could not be started.
    package struct Failure: Error, CustomStringConvertible {
        package let executable: String
        package let code: Int32
        package var description: String { "cannot run \(executable): \(String(cString: strerror(code)))" }
    }

    private struct State {
        var exit: Exit?
        var waiters: [CheckedContinuation<Exit, Never>] = []
    }

    package let pid: pid_t
    private let state = Lock(State())

    private init(pid: pid_t) { self.pid = pid }

    /// Starts `executable` in a process group of its own, so that the terminal's Ctrl-C is this process's to pass on.
    /// `onLine` gets each line of its standard output and error, in order, on a thread of its own.
    package static func start(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String] = ProcessEnvironment.all,
        onLine: @escaping @Sendable (String) -> Void
    ) throws(Failure) -> ChildProcess {
        try spawn(executable, arguments, environment, onLine).get()
    }

    private static func spawn(
        _ executable: String,
        _ arguments: [String],
        _ environment: [String: String],
        _ onLine: @escaping @Sendable (String) -> Void
    ) -> Result<ChildProcess, Failure> {
        var input: [Int32] = [-1, -1]
        var output: [Int32] = [-1, -1]
        guard pipe(&input) == 0 else { return .failure(Failure(executable: executable, code: errno)) }
        guard pipe(&output) == 0 else {
            let code = errno
            for end in input { close(end) }
            return .failure(Failure(executable: executable, code: code))
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO)
        // Nothing else of ours: a pipe of one child would keep another's open, and NIO's sockets are not close-on-exec.
        vencejo_spawn_close_from(&actions, STDERR_FILENO + 1)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP
        posix_spawnattr_setflags(&attributes, Int16(flags))

        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") }
        argv.append(nil)
        envp.append(nil)
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, executable, &actions, &attributes, argv, envp)
        close(input[0])
        close(output[1])
        guard code == 0 else {
            close(input[1])
            close(output[0])
            return .failure(Failure(executable: executable, code: code))
        }
        let child = ChildProcess(pid: pid)
        let (reading, lifeline) = (output[0], input[1])
        BackgroundThread.detach {
            LineReader.read(reading, onLine)
            close(reading)
            child.reap()
            close(lifeline)
        }
        return .success(child)
    }

    /// Nil while it runs.
    package var exit: Exit? { state.withLock { $0.exit } }

    /// Waits for its end; all its output has then been handed out.
    package func wait() async -> Exit {
        await withCheckedContinuation { continuation in
            let exit = state.withLock { state -> Exit? in
                if state.exit == nil { state.waiters.append(continuation) }
                return state.exit
            }
            if let exit { continuation.resume(returning: exit) }
        }
    }

    /// Sends a signal; nothing happens after its end, when the number may be another process's.
    package func signal(_ number: Int32) {
        state.withLock { if $0.exit == nil { kill(pid, number) } }
    }

    private func reap() {
        // Wait without taking the status first, so that `signal` never meets a number that is free again.
        var information = siginfo_t()
        while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        let (exit, waiters) = state.withLock { state -> (Exit, [CheckedContinuation<Exit, Never>]) in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            let exit: Exit = status & 0x7f == 0 ? .code(status >> 8 & 0xff) : .signal(status & 0x7f)
            state.exit = exit
            defer { state.waiters = [] }
            return (exit, state.waiters)
        }
        for waiter in waiters { waiter.resume(returning: exit) }
    }
}

/// Splits what comes out of a pipe into lines.
enum LineReader {
    /// The longest line; more is handed out in pieces.
    private static let limit = 64 << 10

    /// Reads until the end.
    static func read(_ descriptor: Int32, _ onLine: (String) -> Void) {
        var line: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            for byte in chunk[..<count] {
                if byte == UInt8(ascii: "\n") || line.count == limit {
                    onLine(String(decoding: line, as: UTF8.self))
                    line.removeAll(keepingCapacity: true)
                }
                if byte != UInt8(ascii: "\n") { line.append(byte) }
            }
        }
        if !line.isEmpty { onLine(String(decoding: line, as: UTF8.self)) }
    }
}
