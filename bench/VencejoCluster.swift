import Foundation
import Glibc

/// A running cluster of the server under test.
final class VencejoCluster {
    let file: ClusterFile
    private(set) var servers: [ServerProcess] = []

    /// The binary beside this program, unless another one was named; nil when there is none.
    static func findBinary(_ named: String?) -> String? {
        if let named { return access(named, X_OK) == 0 ? named : nil }
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard length > 0 else { return nil }
        let own = String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let slash = own.lastIndex(of: "/") else { return nil }
        let candidate = own[..<slash] + "/vencejo"
        return access(String(candidate), X_OK) == 0 ? String(candidate) : nil
    }

    /// Where a node runs.
    struct Place {
        var host = loopbackHost
        /// What starts the program there, before its own arguments.
        var launcher: [String] = []
        /// nil: a directory of the workspace.
        var dataDirectory: String?
    }

    /// Starts `nodeCount` nodes and waits until each of them is ready.
    init(
        name: String,
        nodeCount: Int,
        binary: String,
        workspace: Workspace,
        places: [Place] = [],
        hasRedisClients: Bool = false,
        redis: ClusterFile.Redis? = nil,
        threads: Int? = nil,
        adjust: (inout ClusterFile) -> Void = { _ in }
    ) throws {
        var nodes: [ClusterFile.Node] = []
        let ports = try freePorts(count: nodeCount * 5)
        for index in 0..<nodeCount {
            let place = index < places.count ? places[index] : Place()
            nodes.append(
                ClusterFile.Node(
                    id: "n\(index + 1)",
                    host: place.host,
                    gatewayPort: ports[index * 5],
                    meshPort: ports[index * 5 + 1],
                    gossipPort: ports[index * 5 + 4],
                    adminPort: ports[index * 5 + 2],
                    respPort: hasRedisClients ? ports[index * 5 + 3] : 0,
                    dataDirectory: try place.dataDirectory ?? workspace.subdirectory("\(name)/n\(index + 1)")
                )
            )
        }
        var file = ClusterFile(nodes: nodes, redis: redis)
        file.threads = threads
        adjust(&file)
        self.file = file
        _ = try workspace.subdirectory(name)
        let configuration = try workspace.write(file.text(), to: "\(name)/cluster.toml")
        for (index, node) in nodes.enumerated() {
            let launcher = index < places.count ? places[index].launcher : []
            servers.append(
                try ServerProcess(
                    name: node.id,
                    arguments: launcher + [binary, "serve", "--config", configuration, "--node", node.id],
                    logPath: "\(workspace.path)/\(name)/\(node.id).log"
                )
            )
        }
        for index in nodes.indices { try waitUntilReady(index, seconds: 60) }
    }

    func waitUntilReady(_ index: Int, seconds: Double) throws {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        while !AdminPort.isReady(file.nodes[index]) {
            guard servers[index].isRunning else {
                throw BenchError("node \(servers[index].name) ended at its start:\n\(servers[index].logTail())")
            }
            guard Clock.now() < deadline else {
                throw BenchError("node \(servers[index].name) is not ready:\n\(servers[index].logTail())")
            }
            Clock.sleep(milliseconds: 50)
        }
    }

    func stop() { for server in servers { server.kill() } }

    func processorMicroseconds() -> [UInt64] { servers.map { $0.processorMicroseconds() } }
}
