import Foundation

/// An authority, and certificates of a server at 127.0.0.1 and of a client, made by the `openssl` program in a
/// directory of their own, which goes with this.
package final class Certificates: Sendable {
    /// `openssl` refused, or is not there.
    struct Refused: Error {
        let arguments: [String]
    }

    static let executable = ["/usr/bin/openssl", "/usr/local/bin/openssl"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }
    package static var canBeMade: Bool { executable != nil }

    private let directory: String
    private static let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    package init() throws {
        directory = FileManager.default.temporaryDirectory.path + "/vencejo-tls-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try openssl(
            ["req", "-x509"] + Certificates.key + ["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"]
        )
        try issue("server", "subjectAltName=IP:127.0.0.1")
        try issue("client", "subjectAltName=DNS:node")
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// A certificate of the authority and its key: `name.crt` and `name.key`.
    package func issue(_ name: String, _ alternative: String) throws {
        try openssl(
            ["req", "-x509"] + Certificates.key
                + [
                    "-subj", "/CN=\(name)", "-addext", alternative, "-CA", "ca.crt", "-CAkey", "ca.key", "-addext",
                    "basicConstraints=critical,CA:FALSE", "-keyout", "\(name).key", "-out", "\(name).crt",
                ]
        )
    }

    package func path(_ name: String) -> String { "\(directory)/\(name)" }

    private func openssl(_ arguments: [String]) throws {
        guard let executable = Certificates.executable else { throw Refused(arguments: arguments) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Refused(arguments: arguments) }
    }
}
