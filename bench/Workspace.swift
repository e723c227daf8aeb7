import Foundation
import Glibc

/// A temporary directory for configuration, data and logs; removed at the end unless it is to be kept.
final class Workspace {
    let path: String
    private let isKept: Bool

    init(keep: Bool) throws {
        isKept = keep
        let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(base)/vencejo-bench-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw BenchError("cannot make a directory in \(base)") }
        path = String(cString: made)
    }

    /// A directory that somebody else has made, and will remove.
    init(existing path: String) throws {
        isKept = true
        guard access(path, W_OK) == 0 else { throw BenchError("cannot write to \(path)") }
        self.path = path
    }

    deinit { if !isKept { try? FileManager.default.removeItem(atPath: path) } }

    func subdirectory(_ name: String) throws -> String {
        let directory = "\(path)/\(name)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        return directory
    }

    func write(_ text: String, to name: String) throws -> String {
        let file = "\(path)/\(name)"
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        return file
    }
}
