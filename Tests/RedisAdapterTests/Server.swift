import Foundation
import Glibc
import RedisProcess
import Testing

/// What the adapter speaks to. What holds over one holds over the other (RA-32).
enum Server: String, CaseIterable, CustomTestStringConvertible {
    case redis = "redis-server"
    /// Real nodes of Vencejo, with their key partition in a log on disk.
    case shim = "Vencejo's shim"

    var testDescription: String { rawValue }

    /// Those that this machine can run.
    static var here: [Server] { RedisProcess.isInstalled ? allCases : [.shim] }

    /// One that is not started.
    func make(password: String = "") throws -> RedisProcess {
        switch self {
        case .redis: try RedisProcess(port: FreePort.take(), password.isEmpty ? [] : ["--requirepass", password])
        case .shim: try RedisProcess.shims(password: password, port: FreePort.take)[0]
        }
    }

    /// Starts them, runs `body`, and stops them whatever happens.
    static func run(_ servers: [RedisProcess], _ body: () async throws -> Void) async throws {
        defer { for server in servers { server.stop() } }
        try RedisProcess.start(servers)
        try await body()
    }

    /// Runs `body` with a server of its own.
    func run(password: String = "", _ body: (RedisProcess) async throws -> Void) async throws {
        let server = try make(password: password)
        try await Server.run([server]) { try await body(server) }
    }

    /// Runs `body` with a redis-server and its replica, or with a cluster of three nodes.
    func runReplicated(_ body: ([RedisProcess]) async throws -> Void) async throws {
        switch self {
        case .redis:
            let master = try make()
            let replica = try RedisProcess(
                port: FreePort.take(),
                ["--replicaof", "127.0.0.1 \(master.port)", "--repl-diskless-sync-delay", "0"]
            )
            try await Server.run([master, replica]) {
                let isLinked = try await eventually {
                    try replica.command(["INFO", "replication"]).contains("master_link_status:up")
                }
                #expect(isLinked)
                try await body([master, replica])
            }
        case .shim:
            let nodes = try RedisProcess.shims(3, port: FreePort.take)
            try await Server.run(nodes) { try await body(nodes) }
        }
    }

    /// Runs `body` with three Sentinels that know each other and the replicas. A node of Vencejo is one itself.
    func runSentinels(of nodes: [RedisProcess], _ body: ([RedisProcess]) async throws -> Void) async throws {
        guard self == .redis else { return try await body(nodes) }
        var files: [String] = []
        defer { for file in files { try? FileManager.default.removeItem(atPath: file) } }
        var sentinels: [RedisProcess] = []
        for _ in 0..<3 {
            let port = FreePort.take()
            let file = NSTemporaryDirectory() + "vencejo-sentinel-\(getpid())-\(port).conf"
            files.append(file)
            try """
            sentinel monitor mymaster 127.0.0.1 \(nodes[0].port) 2
            sentinel down-after-milliseconds mymaster 1000
            sentinel parallel-syncs mymaster 1
            sentinel failover-timeout mymaster 10000

            """.write(toFile: file, atomically: true, encoding: .utf8)
            sentinels.append(try RedisProcess(port: port, [file, "--sentinel"]))
        }
        try await Server.run(sentinels) {
            let isAgreed = try await eventually(within: 60) {
                try sentinels.allSatisfy {
                    let said = try $0.command(["SENTINEL", "MASTER", "mymaster"])
                    return said.contains("num-other-sentinels\r\n$1\r\n2") && said.contains("num-slaves\r\n$1\r\n1")
                }
            }
            #expect(isAgreed, "the Sentinels have found each other and the replica")
            try await body(sentinels)
        }
    }
}
