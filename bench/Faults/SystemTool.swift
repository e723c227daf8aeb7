import Foundation
import Glibc

/// A program of the system that faults are made with: ip, nft, mount.
enum SystemTool {
    /// Runs it to its end and returns what it printed.
    @discardableResult
    static func run(_ arguments: String...) throws -> String { try run(arguments) }

    @discardableResult
    static func run(_ arguments: [String]) throws -> String {
        guard let program = find(arguments[0]) else { throw BenchError("no \(arguments[0]) found") }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = Array(arguments.dropFirst())
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        do {
            try process.run()
        } catch {
            throw BenchError("\(arguments[0]) does not start: \(error)")
        }
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw BenchError(
                "\(arguments.joined(separator: " ")): \(text.trimmingCharacters(in: .whitespacesAndNewlines))"
            )
        }
        return text
    }

    /// On the PATH, or where administrators' programs are.
    static func find(_ name: String) -> String? {
        for folder in ["", "/usr/sbin/", "/sbin/"] {
            if let found = findExecutable(folder + name) { return found }
        }
        return nil
    }
}
