import Certificates
import OwnThread
import Primitives
import RESP
import RedisAdapter
import RedisProcess
import SystemOpenSSL
import Testing

/// The adapter and a redis-server that speaks TLS and wants to see a certificate. Not against the shim, which speaks no
/// TLS in this version.
@Suite(
    .ownThread,
    .enabled(if: RedisProcess.isInstalled && Certificates.canBeMade, "needs redis-server and openssl")
)
struct TLSTests {
    /// A server with a plain port for the test and a TLS port for the adapter.
    private func withServer(
        _ arguments: [String] = [],
        _ body: (RedisProcess, Int, Certificates) async throws -> Void
    ) async throws {
        let certificates = try Certificates()
        let port = FreePort.take()
        let server = try RedisProcess(
            port: FreePort.take(),
            [
                "--tls-port", String(port), "--tls-cert-file", certificates.path("server.crt"), "--tls-key-file",
                certificates.path("server.key"), "--tls-ca-cert-file", certificates.path("ca.crt"),
                "--tls-auth-clients", "yes",
            ] + arguments
        )
        try server.start()
        do {
            try await body(server, port, certificates)
        } catch {
            server.stop()
            throw error
        }
        server.stop()
    }

    @Test("RA-29 TLS with a client certificate, a password and an ACL user: rooms and large values")
    func encrypted() async throws {
        try await withServer(["--requirepass", "open-sesame"]) { _, port, certificates in
            let context = try certificates.context()
            try await AdapterScene.run(port: port) {
                $0.tls = context
                $0.password = "open-sesame"
            } _: { scene in
                try await scene.awaitUp()
                let large = String(repeating: "x", count: 3 << 20)
                let set = await scene.request([
                    RESPCommand("ACL", "SETUSER", "vencejo", "on", ">hunter2", "~*", "&*", "+@all"),
                    RESPCommand("SET", "chat_system:large", RESPArgument(large)),
                    RESPCommand("GET", "chat_system:large"),
                ])
                #expect(try set.get().last?.bytes?.count == large.utf8.count)
            }
            try await AdapterScene.run(port: port) {
                $0.tls = context
                $0.user = "vencejo"
                $0.password = "hunter2"
            } _: { scene in
                try await scene.awaitUp()
                try await scene.tell(register("r"), publish("r", 1), register("best:b"))
                #expect(try await eventually { scene.outcomes == ["1 at 1"] && scene.payloads == ["1"] })
                for number in 0..<500 { try await scene.tell(announce("best:b", "[\(number)]")) }
                let wanted = ["1"] + (0..<500).map { "[\($0)]" }
                #expect(try await eventually { scene.payloads.count >= wanted.count })
                #expect(scene.payloads == wanted)
            }
        }
    }

    @Test(
        "RA-29 what cannot be trusted is not spoken to, and the reason is told",
        arguments: ["no certificate", "another authority", "another name", "no TLS"]
    )
    func refused(_ fault: String) async throws {
        try await withServer { server, port, certificates in
            let strangers = try Certificates()
            let context: TLSContext? =
                switch fault {
                case "no certificate": try TLSContext(authorities: certificates.path("ca.crt"))
                case "another authority": try strangers.context()
                case "no TLS": nil
                default: try certificates.context()
                }
            try await AdapterScene.run(port: port) {
                if fault == "another name" { $0.server.host = "localhost" }
                $0.tls = context
                $0.retryAttempts = 0
                $0.connectTimeout = .seconds(2)
                $0.socketTimeout = .seconds(2)
            } _: { scene in
                #expect(try await eventually { try await scene.status.isFallback })
                let reason = try await scene.status.reason
                switch fault {
                case "another authority": #expect(reason.contains("certificate"), "\(reason)")
                case "another name": #expect(reason.contains("hostname mismatch"), "\(reason)")
                default: break
                }
            }
            // Nobody came as far as a command.
            let clients = try server.command(["INFO", "commandstats"])
            #expect(!clients.contains("cmdstat_hello"), "\(clients)")
        }
    }

    @Test("RA-29 a file that cannot be read is named when the node starts")
    func files() throws {
        let certificates = try Certificates()
        #expect(throws: OpenSSLError.self) { try TLSContext(authorities: "/nowhere/ca.pem") }
        do {
            _ = try TLSContext(certificate: certificates.path("client.crt"), key: certificates.path("ca.crt"))
            Issue.record("a certificate was taken for a key")
        } catch {
            #expect(error.description.contains("ca.crt"), "\(error)")
        }
        // The key of another certificate.
        #expect(throws: OpenSSLError.self) {
            try TLSContext(certificate: certificates.path("client.crt"), key: certificates.path("server.key"))
        }
    }
}

extension Certificates {
    func context() throws -> TLSContext {
        try TLSContext(authorities: path("ca.crt"), certificate: path("client.crt"), key: path("client.key"))
    }
}
