import CPosixShims
import Foundation
import Glibc

/// A program of the system that faults are made with: ip, nft, mount.
///
/// Not by Foundation's `Process`, whose run loop needs a loopback device to begin with.
enum SystemTool {
    /// Runs it to its end and returns what it printed.
    @discardableResult
    static func run(_ arguments: String...) throws -> String { try run(arguments) }

    @discardableResult
    static func run(_ arguments: [String]) throws -> String {
        guard let program = find(arguments[0]) else { throw BenchError("no \(arguments[0]) found") }
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw BenchError("no pipe: \(lastError())") }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)
        vencejo_spawn_close_from(&actions, STDERR_FILENO + 1)
        let pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, program, &actions, nil, pointers, environ)
        close(ends[1])
        guard error == 0 else {
            throw BenchError("\(arguments[0]) does not start: \(String(cString: strerror(error)))")
        }
        let text = output(ends[0])
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else {
            throw BenchError(
                "\(arguments.joined(separator: " ")): \(text.trimmingCharacters(in: .whitespacesAndNewlines))"
            )
        }
        return text
    }

    private static func output(_ descriptor: Int32) -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count > 0 {
                bytes.append(contentsOf: buffer[..<count])
            } else if count == 0 || errno != EINTR {
                return String(decoding: bytes, as: UTF8.self)
            }
        }
    }

    /// On the PATH, or where administrators' programs are.
    static func find(_ name: String) -> String? {
        for folder in ["", "/usr/sbin/", "/sbin/"] {
            if let found = findExecutable(folder + name) { return found }
        }
        return nil
    }
}
