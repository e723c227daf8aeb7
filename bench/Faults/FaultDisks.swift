import CPosixShims
import Foundation
import Glibc

/// A small file system of its own for each node, which can be filled up or made slow.
///
/// Images of ext4 on loop devices, in this process's mount namespace: unmounted, and their devices freed, when the last
/// process in it is gone.
struct FaultDisks: Sendable {
    let paths: [String]
    /// `major:minor` of each.
    private let devices: [String]

    private static let imageBytes = 1 << 30
    /// Writes a second that a slow disk takes: each fsync waits for at least one.
    static let slowWrites = 20
    private static let controller = "/sys/fs/cgroup/blkio"

    init(nodes: Int, workspace: Workspace) throws {
        var paths: [String] = []
        var devices: [String] = []
        let folder = try workspace.subdirectory("disks")
        for node in 1...nodes {
            let image = "\(folder)/n\(node).ext4"
            guard FileManager.default.createFile(atPath: image, contents: nil), truncate(image, Self.imageBytes) == 0
            else { throw BenchError("cannot make \(image): \(lastError())") }
            try SystemTool.run("mkfs.ext4", "-q", "-m", "0", image)
            let path = try workspace.subdirectory("disks/n\(node)")
            try SystemTool.run("mount", "-o", "loop", image, path)
            var status = stat()
            guard stat(path, &status) == 0 else { throw BenchError("\(path): \(lastError())") }
            // Device numbers as the kernel's `new_encode_dev` packs them.
            let device = UInt64(status.st_dev)
            devices.append("\(device >> 8 & 0xfff):\(device & 0xff | device >> 12 & 0xfff00)")
            paths.append(path)
        }
        self.paths = paths
        self.devices = devices
    }

    /// Why a disk cannot be made slow here; nil when it can.
    static var slownessIsMissing: String? {
        let file = controller + "/blkio.throttle.write_iops_device"
        return access(file, W_OK) == 0 ? nil : "no blkio controller (cgroup v1) at \(controller)"
    }

    func data(_ node: Int) throws -> String {
        let path = paths[node] + "/data"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    private func filler(_ node: Int) -> String { paths[node] + "/filler" }

    /// Leaves no free byte.
    func fill(_ node: Int) throws {
        let descriptor = vencejo_open(filler(node), O_WRONLY | O_CREAT, 0o600)
        guard descriptor >= 0 else { throw BenchError("\(filler(node)): \(lastError())") }
        defer { close(descriptor) }
        var end: Int64 = 0
        // Whatever fits, in halves: space that others need for their metadata cannot be had in one piece.
        var piece = Int64(vencejo_free_bytes(paths[node])) & ~4095
        while piece >= 4096 {
            if vencejo_preallocate(descriptor, off_t(end), off_t(piece)) == 0 {
                end += piece
            } else {
                piece = piece / 2 & ~4095
            }
        }
    }

    func empty(_ node: Int) { unlink(filler(node)) }

    private static func group(of pid: pid_t) -> String { "\(controller)/vencejo-\(pid)" }

    /// From now on the process's writes to its disk take turns of a twentieth of a second.
    func slow(_ node: Int, process: pid_t) throws {
        let group = Self.group(of: getpid())
        guard mkdir(group, 0o755) == 0 || errno == EEXIST else { throw BenchError("\(group): \(lastError())") }
        try ControlGroup.write("\(devices[node]) \(Self.slowWrites)", to: group + "/blkio.throttle.write_iops_device")
        try ControlGroup.write("\(process)", to: group + "/cgroup.procs")
    }

    func hasten(_ node: Int, process: pid_t) throws {
        let group = Self.group(of: getpid())
        if process > 0 { try? ControlGroup.write("\(process)", to: Self.controller + "/cgroup.procs") }
        try ControlGroup.write("\(devices[node]) 0", to: group + "/blkio.throttle.write_iops_device")
        rmdir(group)
    }

    /// What a killed process has left behind.
    static func removeGroup(of pid: pid_t) { ControlGroup.remove(group(of: pid)) }
}
