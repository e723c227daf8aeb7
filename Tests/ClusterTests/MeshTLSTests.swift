import Certificates
import Foundation
import HistoryChecker
import Testing

@testable import vencejo

extension RealProcesses {
    /// `[mesh]` with certificates.
    @Suite(.enabled(if: Certificates.canBeMade, "needs openssl")) struct MeshTLSTests {
        /// Three nodes whose certificates are `node.crt` of the authority.
        private func options(_ certificates: Certificates) -> ProcessCluster.Options {
            var options = ProcessCluster.Options()
            options.sections = """
                [mesh]
                tls_ca = "\(certificates.path("ca.crt"))"
                tls_certificate = "\(certificates.path("node.crt"))"
                tls_key = "\(certificates.path("node.key"))"
                """
            return options
        }

        private func failedHandshakes(_ cluster: ProcessCluster, _ index: Int) async throws -> Int {
            let text = try await cluster.admin(index).get("/metrics").text
            let line = text.split(separator: "\n").first { $0.hasPrefix("mesh_handshakes_failed_total{") }
            return try #require(line?.split(separator: " ").last.flatMap { Int($0) })
        }

        /// Lines of a node's log from `start` on that have all these words.
        private func lines(_ cluster: ProcessCluster, _ index: Int, from start: Int = 0, _ words: String...) -> Int {
            cluster.log(index).dropFirst(start).count { line in words.allSatisfy { line.contains($0) } }
        }

        @Test(
            """
            CL-19 three processes form a cluster over TLS, and their certificates are changed one by one under load: \
            nothing acknowledged is lost, repeated or reordered
            """,
            .timeLimit(.minutes(10))
        )
        func rotation() async throws {
            let certificates = try Certificates()
            try certificates.issue("node", "subjectAltName=DNS:one")
            try await ProcessCluster.run(options(certificates)) { cluster in
                try await cluster.startAndAwaitReady()
                let load = try await Load.start(cluster, ["tls:a", "tls:b"])
                try await Task.sleep(for: .seconds(1))
                try certificates.issue("node", "subjectAltName=DNS:two")
                for index in cluster.nodes.indices {
                    #expect(await cluster.stop(index) == .code(0))
                    try cluster.start(index)
                    try await cluster.awaitReady()
                }
                let report = try await load.finish()
                print("over TLS: \(Load.summary(report))")
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(load.recorder.failures == [])
                #expect(report.statistics.unknownOutcome == 0 && report.statistics.acknowledged > 100)
                for index in cluster.nodes.indices {
                    #expect(lines(cluster, index, "link up", "TLSv1.3") >= 2)
                    #expect(lines(cluster, index, "link up", "tls=none") == 0)
                }
            }
        }

        @Test(
            "CL-19 a node without TLS, or with a stranger's certificate, stays out; logs and metric say so",
            .timeLimit(.minutes(5)),
            arguments: ["plain", "stranger"]
        )
        func refused(_ fault: String) async throws {
            let certificates = try Certificates()
            try certificates.issue("node", "subjectAltName=DNS:one")
            let strangers = try Certificates()
            try strangers.issue("node", "subjectAltName=DNS:other")
            var environment: [String: String] = [:]
            for (name, file) in [("CA", "ca.crt"), ("CERTIFICATE", "node.crt"), ("KEY", "node.key")] {
                environment["VENCEJO_MESH_TLS_\(name)"] = fault == "plain" ? "" : strangers.path(file)
            }
            try await ProcessCluster.run(options(certificates)) { cluster in
                try await cluster.startAndAwaitReady()
                await cluster.kill(2)
                let (before, start) = (try await failedHandshakes(cluster, 0), cluster.log(2).count)
                let up = lines(cluster, 0, "link up", "n3")
                try cluster.start(2, environment: environment)
                // n1 and n2 have the smaller names: they dial.
                let (there, here) =
                    fault == "plain"
                    ? ("it speaks TLS and this node does not", "the peer does not speak TLS")
                    : ("alert", "certificate of the peer")
                #expect(
                    try await eventually(within: 30) {
                        let told = lines(cluster, 0, "handshake refused", "n3", here) > 0
                        return told && lines(cluster, 2, from: start, "handshake refused", there) > 0
                    }
                )
                #expect(try await failedHandshakes(cluster, 0) > before)
                #expect(lines(cluster, 0, "link up", "n3") == up)
                #expect(await cluster.admin(2).unreadiness() != nil)
                // With the right ones it is let in again.
                await cluster.kill(2)
                try cluster.start(2)
                try await cluster.awaitReady()
            }
        }

        @Test("CL-19 a start with a file that does not fit ends, and names the key of the configuration")
        func files() async throws {
            let certificates = try Certificates()
            try certificates.issue("node", "subjectAltName=DNS:one")
            try await ProcessCluster.run(options(certificates)) { cluster in
                for (name, file, wanted) in [
                    ("KEY", certificates.path("server.key"), "mesh.tls_key = "),
                    ("CERTIFICATE", "/nowhere/node.crt", "mesh.tls_certificate = "),
                    ("CA", "/nowhere/ca.crt", "mesh.tls_ca = "), ("KEY", "", "mesh.tls_key: missing"),
                ] {
                    let start = cluster.log(0).count
                    let child = try cluster.start(0, environment: ["VENCEJO_MESH_TLS_\(name)": file])
                    #expect(await child.wait() != .code(0))
                    let text = cluster.log(0).dropFirst(start).joined(separator: "\n")
                    #expect(text.contains(wanted) && (file.isEmpty || text.contains(file)), "\(text)")
                }
            }
        }
    }
}
