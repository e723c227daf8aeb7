import LocalRESP
import RESPServer

// resp-test-server PORT [standalone|cluster] [KEY PARTITIONS]: the shim alone, for Redis's own suites and benchmarks.
let arguments = CommandLine.arguments
let port = arguments.count > 1 ? Int(arguments[1]) ?? 0 : 0
let face: RESPFace = arguments.count > 2 && arguments[2] == "cluster" ? .cluster : .standalone
let partitions = arguments.count > 3 ? Int(arguments[3]) ?? 1 : 1
var settings = RESPSettings()
settings.runID = String(repeating: "a", count: 40)
let server = try await LocalRESPServer.start(
    settings: settings,
    keyPartitions: partitions,
    faces: [face],
    ports: [port]
)
if face == .cluster {
    let me = RESPTopology.Node(
        id: String(repeating: "a", count: 40),
        host: "127.0.0.1",
        port: 0,
        clusterPort: server.port,
        sentinelPort: 0,
        isAlive: true
    )
    let owned = RESPTopology.KeyPartition(owner: 0, replicas: [], epoch: 1)
    server.node.setTopology(
        RESPTopology(nodes: [me], me: 0, partitions: Array(repeating: owned, count: partitions), epoch: 1)
    )
}
print("ready on \(server.port)")
try await Task.sleep(for: .seconds(86_400))
