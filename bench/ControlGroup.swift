import Glibc

/// Files of the kernel's control groups (version 1), by which processes get a share of a machine.
enum ControlGroup {
    static func write(_ text: String, to file: String) throws {
        let descriptor = open(file, O_WRONLY)
        guard descriptor >= 0 else { throw BenchError("\(file): \(lastError())") }
        defer { close(descriptor) }
        guard Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count else {
            throw BenchError("\(file): \(lastError())")
        }
    }

    /// Goes when its last member is gone.
    static func remove(_ group: String) {
        for _ in 0..<100 where access(group, F_OK) == 0 && rmdir(group) != 0 { Clock.sleep(milliseconds: 20) }
    }
}

/// A part of a core for each process: nodes beside each other that stand for machines of their own.
struct ProcessorShares {
    private static let controller = "/sys/fs/cgroup/cpu"
    /// Microseconds in which a process gets its share: far below any timeout of a node.
    private static let period = 10_000
    private var groups: [String] = []

    /// Why processes cannot be limited here; nil when they can.
    static var isMissing: String? {
        access(controller + "/cpu.shares", W_OK) == 0 ? nil : "no cpu controller (cgroup v1) at \(controller)"
    }

    init(cores: Double, processes: [pid_t]) throws {
        for process in processes {
            let group = "\(Self.controller)/vencejo-\(process)"
            guard mkdir(group, 0o755) == 0 || errno == EEXIST else { throw BenchError("\(group): \(lastError())") }
            groups.append(group)
            try ControlGroup.write("\(Self.period)", to: group + "/cpu.cfs_period_us")
            try ControlGroup.write("\(Int(cores * Double(Self.period)))", to: group + "/cpu.cfs_quota_us")
            try ControlGroup.write("\(process)", to: group + "/cgroup.procs")
        }
    }

    /// The processes must have ended.
    func remove() { for group in groups { ControlGroup.remove(group) } }
}
