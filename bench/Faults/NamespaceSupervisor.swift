import Foundation
import Glibc

/// Runs this program again in namespaces of its own, and cleans up behind it, whatever became of it.
struct NamespaceSupervisor {
    // Safe: written before the handlers are installed.
    nonisolated(unsafe) private static var child: pid_t = 0

    var keep: Bool

    /// Returns the exit code.
    func run() throws -> Int32 {
        guard geteuid() == 0 else { throw BenchError("needs root, to make network namespaces") }
        guard SystemTool.find("ip") != nil, SystemTool.find("nsenter") != nil, let unshare = SystemTool.find("unshare")
        else { throw BenchError("needs ip (iproute2), unshare and nsenter (util-linux)") }
        // Not the link itself, which names whichever program looks at it.
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let workspace = try Workspace(keep: keep)
        if keep { FaultProgress.say("servers' files: \(workspace.path)") }
        var arguments = [unshare, "--net", "--mount", "--propagation", "private", own]
        if let setpriv = findExecutable("setpriv") { arguments = [setpriv, "--pdeathsig", "KILL"] + arguments }
        arguments += CommandLine.arguments.dropFirst() + ["--inside", workspace.path]
        let pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own: a terminal's interrupt comes to this process, which tells the other one.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)
        let error = posix_spawn(&Self.child, arguments[0], nil, &attributes, pointers, environ)
        guard error == 0 else { throw BenchError("cannot start \(arguments[0]): \(String(cString: strerror(error)))") }
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { _ in _ = Glibc.kill(NamespaceSupervisor.child, SIGTERM) }
        }
        var status: Int32 = 0
        while waitpid(Self.child, &status, 0) < 0, errno == EINTR {}
        FaultDisks.removeGroup(of: Self.child)
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }
}
