import ArgumentParser
import ClusterConfiguration
import Glibc
import NIOCore

/// Keeps the nodes of one configuration running as child processes: starts them, hands out their logs, restarts what
/// dies, stops all.
actor ClusterSupervisor {
    private struct Member {
        let node: ClusterConfiguration.Node
        var child: ChildProcess?
        var hasBeenReady = false
        var failures = 0
        /// Not restarted while it is set: the demonstration has killed it.
        var isHeld = false
        /// It has ended for good: nobody waits for it.
        var hasEnded = false
    }

    /// Ends in a row before a node was ever ready, after which starting it again is pointless.
    private static let attempts = 3

    private let configuration: ClusterConfiguration
    private let arguments: [String]
    private let executable: String
    private let report: @Sendable (_ node: Int?, _ line: String) -> Void
    private var members: [Member]
    private var isStopping = false
    private var keepers: [Task<Void, Never>] = []
    /// Why the cluster cannot go on: the exit code that the command ends with.
    private(set) var failure: ExitCode?

    /// `arguments` go to every node besides its name. `report` gets the nodes' lines, and the supervisor's own with
    /// nil.
    init(
        _ configuration: ClusterConfiguration,
        arguments: [String],
        report: @escaping @Sendable (_ node: Int?, _ line: String) -> Void
    ) {
        self.configuration = configuration
        self.arguments = arguments
        self.report = report
        executable = ClusterSupervisor.ownExecutable
        members = configuration.nodes.map { Member(node: $0) }
    }

    /// The path of this program.
    static var ownExecutable: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard count > 0 else { return CommandLine.arguments[0] }
        return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    func start() {
        for index in members.indices { keepers.append(Task { await keep(index) }) }
    }

    /// Runs one node again and again until the supervisor stops.
    private func keep(_ index: Int) async {
        let name = members[index].node.id
        while !isStopping, failure == nil {
            let began = NIODeadline.now()
            let report = report
            let child: ChildProcess
            do throws(ChildProcess.Failure) {
                child = try ChildProcess.start(
                    executable,
                    ["serve", "--node", name, "--stop-with-input"] + arguments,
                    onLine: { report(index, $0) }
                )
            } catch {
                report(nil, "\(error)")
                failure = .failure
                return
            }
            members[index].child = child
            let exit = await child.wait()
            members[index].child = nil
            if isStopping || failure != nil { return }
            if members[index].isHeld {
                report(nil, "\(name) is gone: \(exit)")
                while members[index].isHeld, !isStopping { try? await Task.sleep(for: .milliseconds(20)) }
                continue
            }
            if exit == .code(0) {
                report(nil, "\(name) has ended: it has left the cluster or was stopped, and is not started again")
                members[index].hasEnded = true
                return
            }
            if exit == .code(ServeCommand.left.rawValue) {
                report(nil, "\(name) has left this cluster: it is not started")
                members[index].hasEnded = true
                return
            }
            members[index].failures = NIODeadline.now() - began > .seconds(30) ? 1 : members[index].failures + 1
            if exit == .code(78) {
                report(nil, "\(name) refuses its configuration (\(exit)): stopping")
                failure = ExitCode(78)
                return
            }
            if !members[index].hasBeenReady, members[index].failures >= ClusterSupervisor.attempts {
                report(nil, "\(name) does not start (\(exit)): giving up")
                failure = .failure
                return
            }
            let seconds = min(30, 1 << min(members[index].failures - 1, 5))
            report(nil, "\(name) has ended with \(exit); starting it again in \(seconds) s")
            for _ in 0..<seconds * 10 where !isStopping { try? await Task.sleep(for: .milliseconds(100)) }
        }
    }

    func markReady(_ index: Int) { members[index].hasBeenReady = true }

    func hasEnded(_ index: Int) -> Bool { members[index].hasEnded }

    func isRunning(_ index: Int) -> Bool { members[index].child != nil }

    /// Ends a node without warning and keeps it down until `release`.
    func killHard(_ index: Int) {
        members[index].isHeld = true
        members[index].child?.signal(SIGKILL)
    }

    /// Lets a killed node start again.
    func release(_ index: Int) { members[index].isHeld = false }

    /// Asks all nodes to stop and waits for their end.
    func stop() async {
        isStopping = true
        signalAll(SIGTERM)
        for keeper in keepers { await keeper.value }
    }

    /// Ends what is still there, now.
    func killAll() { signalAll(SIGKILL) }

    private func signalAll(_ number: Int32) {
        for member in members { member.child?.signal(number) }
    }
}
