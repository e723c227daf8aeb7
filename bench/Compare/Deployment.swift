/// What a load is put on: where its clients connect, what they speak, and every process that works for them.
struct Deployment {
    var ports: [UInt16]
    /// RESP; else the Centrifugo client protocol over WebSocket.
    var speaksRedis: Bool
    var servers: [ServerProcess]

    init(ports: [UInt16], speaksRedis: Bool, servers: [ServerProcess]) {
        self.ports = ports
        self.speaksRedis = speaksRedis
        self.servers = servers
    }

    init(redis: RedisServer) { self.init(ports: [redis.port], speaksRedis: true, servers: [redis.server]) }

    /// Clients connect to `nodes` of the cluster, by default to all; `others` work for it too.
    init(_ cluster: VencejoCluster, nodes: Range<Int>? = nil, and others: [ServerProcess] = []) {
        let nodes = nodes ?? cluster.file.nodes.indices
        self.init(
            ports: cluster.file.nodes[nodes].map(\.gatewayPort),
            speaksRedis: false,
            servers: cluster.servers + others
        )
    }

    func processorMicroseconds() -> UInt64 { servers.map { $0.processorMicroseconds() }.reduce(0, +) }

    /// Resident memory of all processes; what they share counts for each.
    func residentBytes() -> UInt64 { servers.map { $0.residentBytes() }.reduce(0, +) }

    func descriptorCount() -> Int { servers.map { $0.descriptorCount() }.reduce(0, +) }

    /// The answer to a publish says that it was not done.
    func isRefusal(_ answer: UnsafeRawBufferPointer) -> Bool {
        speaksRedis ? answer.first == UInt8(ascii: "-") : Scan.contains("\"error\":", in: answer)
    }
}
