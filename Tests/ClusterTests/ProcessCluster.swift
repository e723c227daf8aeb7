import Admin
import ClusterConfiguration
import Foundation
import Glibc
import Locks
import Primitives
import RedisProcess
import Testing
import VencejoClient

@testable import vencejo

/// Nodes as real processes on loopback, with a configuration and data directories of their own. Made by `run`, which
/// leaves nothing behind: no process, no file, no mount.
final class ProcessCluster: Sendable {
    struct Node: Sendable {
        var id: String
        var gateway: Int
        var mesh: Int
        var gossip: Int
        var admin: Int
        /// Redis clients, those of a Redis Cluster, and those that ask Sentinels; 0: none.
        var resp: Int
        var respCluster: Int
        var sentinel: Int
        var data: String
        var zone: String
        var host = "127.0.0.1"
        var url: String { "ws://127.0.0.1:\(gateway)/connection/websocket" }
    }

    /// What differs between tests.
    struct Options: Sendable {
        var nodes = 3
        /// How many of them, the first ones, are in the file that forms the cluster; nil: all. The others join it.
        var founders: Int?
        /// `cluster`, `standalone`, `redis`, for which `run` starts a server, or `shim`: the server is a cluster.
        var mode = "cluster"
        /// Where somebody else's server listens.
        var redisPort: Int?
        /// Keys of `[redis]`.
        var redisKeys = ""
        /// Of redis-server.
        var redisArguments: [String] = []
        var partitions = 8
        var secret = "a-secret-of-the-tests-only"
        /// TOML after `[cluster]`'s own keys, e.g. `threads = 2`.
        var clusterKeys = "threads = 1"
        /// TOML of further sections.
        var sections = ""
        /// Where each node keeps its data; nil = in the test's directory.
        var dataDirectories: [Int: String] = [:]
        /// Same zone for all nodes.
        var zones = ["a", "b", "c", "d", "e"]
        var minFreeDisk = "0"
        var hasRedisClients = false
        /// Of the keys of Redis clients.
        var keyPartitions = 1
        var environment: [String: String] = [:]
        var logLevel = "info"
    }

    private struct Running {
        var child: ChildProcess?
        var lines: [String] = []
    }

    let directory: String
    let options: Options
    let nodes: [Node]
    /// In Redis mode.
    let redis: RedisProcess?
    let configurationPath: String
    private let running: Lock<[Running]>

    private init(_ options: Options) throws {
        self.options = options
        directory =
            FileManager.default.temporaryDirectory.path
            + "/vencejo-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        configurationPath = directory + "/cluster.toml"
        let ports = try FreePorts.take(options.nodes * 7)
        var nodes: [Node] = []
        for index in 0..<options.nodes {
            nodes.append(
                Node(
                    id: "n\(index + 1)",
                    gateway: ports[index * 7],
                    mesh: ports[index * 7 + 1],
                    gossip: ports[index * 7 + 6],
                    admin: ports[index * 7 + 2],
                    resp: options.hasRedisClients ? ports[index * 7 + 3] : 0,
                    respCluster: options.hasRedisClients ? ports[index * 7 + 4] : 0,
                    sentinel: options.hasRedisClients ? ports[index * 7 + 5] : 0,
                    data: options.dataDirectories[index] ?? "\(directory)/data/n\(index + 1)",
                    zone: options.zones[index % options.zones.count]
                )
            )
        }
        self.nodes = nodes
        let needsServer = options.mode == "redis" && options.redisPort == nil
        redis = needsServer ? try RedisProcess(port: FreePorts.take(1)[0], options.redisArguments) : nil
        running = Lock(nodes.map { _ in Running() })
        try toml().write(toFile: configurationPath, atomically: true, encoding: .utf8)
    }

    /// The nodes of the file that forms the cluster.
    var founders: [Node] { Array(nodes.prefix(options.founders ?? nodes.count)) }

    /// The configuration file. `secret` and `nodes` may differ for one that joins, or that must be refused.
    func toml(secret: String? = nil, nodes: [Node]? = nil) -> String {
        var text = """
            [cluster]
            name = "test"
            mode = "\(options.mode == "redis" ? "cluster" : options.mode)"
            backplane = "\(options.mode == "redis" ? "redis" : "cluster")"
            partitions = \(options.partitions)
            replication_factor = \(min(3, options.nodes))
            secret = "\(secret ?? options.secret)"
            \(options.clusterKeys)

            """
        for node in nodes ?? founders {
            text += """
                [[node]]
                id = "\(node.id)"
                host = "\(node.host)"
                zone = "\(node.zone)"
                gateway_port = \(node.gateway)
                resp_port = \(node.resp)
                cluster_port = \(node.respCluster)
                sentinel_port = \(node.sentinel)
                mesh_port = \(node.mesh)
                gossip_port = \(node.gossip)
                admin_port = \(node.admin)
                data_dir = "\(node.data)"

                """
        }
        let namespaces = [
            ("", "guaranteed"), ("best:", "best_effort"), ("ws_broadcast", "best_effort"), ("kept:", "retained"),
        ]
        for (prefix, deliveryClass) in namespaces {
            text += """
                [[namespace]]
                prefix = "\(prefix)"
                class = "\(deliveryClass)"
                publish_rate = 0
                anonymous_subscribe = true
                anonymous_publish = true

                """
        }
        if let port = options.redisPort ?? redis?.port {
            text += """
                [redis]
                url = "redis://127.0.0.1:\(port)/0"
                retry_max = "500ms"
                probe_interval = "500ms"
                \(options.redisKeys)

                """
        }
        return text + """
            [log]
            wal_file_size = "4MiB"
            min_free_disk = \(options.minFreeDisk)
            \(options.keyPartitions == 1 ? "" : "[keys]\npartitions = \(options.keyPartitions)")
            \(options.sections)
            """
    }

    // MARK: Life

    /// Runs `body` with a cluster that is not started yet. Whatever happens, its processes are killed and its files
    /// deleted afterwards; when `body` throws or records an issue, the nodes' last lines are printed.
    static func run(
        _ options: Options = Options(),
        _ body: (ProcessCluster) async throws -> Void
    ) async throws {
        if options.mode == "shim" {
            return try await run(redisClients()) { base in
                try await base.startAndAwaitReady()
                var over = options
                over.mode = "redis"
                over.redisPort = base.nodes[1].resp
                try await run(over, body)
            }
        }
        let cluster = try ProcessCluster(options)
        do {
            try cluster.redis?.start()
            try await body(cluster)
        } catch {
            await cluster.end(showingLogs: true)
            throw error
        }
        await cluster.end(showingLogs: false)
    }

    private func end(showingLogs: Bool) async {
        for index in nodes.indices { _ = await kill(index) }
        redis?.stop()
        if showingLogs { printLogs(25) }
        if ProcessInfo.processInfo.environment["VENCEJO_TEST_KEEP"] == nil {
            try? FileManager.default.removeItem(atPath: directory)
        } else {
            print("kept: \(directory)")
        }
    }

    /// Prints the last lines of every node.
    func printLogs(_ count: Int) {
        for (index, node) in nodes.enumerated() {
            for line in log(index).suffix(count) { print("\(node.id) | \(line)") }
        }
    }

    /// Starts one node. `arguments` replace `serve --node … --config …` when given.
    @discardableResult
    func start(_ index: Int, environment: [String: String] = [:], arguments: [String]? = nil) throws -> ChildProcess {
        let child = try launch(
            arguments
                ?? [
                    "serve", "--node", nodes[index].id, "--config", configurationPath, "--log-level", options.logLevel,
                ],
            environment: environment
        ) { line in
            self.running.withLock { running in
                if running[index].lines.count >= 20_000 { running[index].lines.removeFirst(10_000) }
                running[index].lines.append(line)
            }
        }
        running.withLock { $0[index].child = child }
        return child
    }

    /// Starts one node with a file that has no other in it, to join by the gossip of the node `seed`.
    @discardableResult
    func start(_ index: Int, join seed: Int, secret: String? = nil) throws -> ChildProcess {
        let path = "\(directory)/\(nodes[index].id).toml"
        try toml(secret: secret, nodes: [nodes[index]]).write(toFile: path, atomically: true, encoding: .utf8)
        return try start(
            index,
            arguments: [
                "serve", "--config", path, "--log-level", options.logLevel, "--join", "127.0.0.1:\(nodes[seed].gossip)",
            ]
        )
    }

    /// Starts `vencejo` with any arguments; it dies with this process.
    func launch(
        _ arguments: [String],
        environment: [String: String] = [:],
        onLine: @escaping @Sendable (String) -> Void
    ) throws -> ChildProcess {
        var arguments = arguments
        if arguments.first == "serve" { arguments.append("--stop-with-input") }
        return try ChildProcess.start(
            try Executable.vencejo(),
            arguments,
            environment: Executable.environment(options.environment.merging(environment) { $1 }),
            onLine: onLine
        )
    }

    func startAll() throws { for index in nodes.indices { try start(index) } }

    /// Starts all nodes and waits until they are ready.
    func startAndAwaitReady(within seconds: Double = 60) async throws {
        try startAll()
        try await awaitReady(within: seconds)
    }

    func child(_ index: Int) -> ChildProcess? { running.withLock { $0[index].child } }

    /// kill -9; returns when the process is gone.
    @discardableResult
    func kill(_ index: Int) async -> ChildProcess.Exit? {
        guard let child = child(index) else { return nil }
        child.signal(SIGKILL)
        let exit = await child.wait()
        running.withLock { $0[index].child = nil }
        return exit
    }

    /// SIGTERM; returns how it ended.
    @discardableResult
    func stop(_ index: Int) async -> ChildProcess.Exit? {
        guard let child = child(index) else { return nil }
        child.signal(SIGTERM)
        let exit = await child.wait()
        running.withLock { $0[index].child = nil }
        return exit
    }

    func pause(_ index: Int) { child(index)?.signal(SIGSTOP) }
    func resume(_ index: Int) { child(index)?.signal(SIGCONT) }

    /// All that the node has printed, over its restarts.
    func log(_ index: Int) -> [String] { running.withLock { $0[index].lines } }

    // MARK: Questions

    func admin(_ index: Int) -> AdminClient { AdminClient(host: "127.0.0.1", port: nodes[index].admin) }

    func status(_ index: Int) async throws -> StatusReport { try await admin(index).status() }

    /// Waits until these nodes (all) are ready; a node that ends meanwhile is an error at once.
    func awaitReady(_ indices: [Int]? = nil, within seconds: Double = 60) async throws {
        var reasons = ""
        let isReady = try await eventually(within: seconds) {
            var missing: [String] = []
            for index in indices ?? Array(nodes.indices) {
                if let exit = child(index)?.exit { throw ClusterFailure("\(nodes[index].id) ended with \(exit)") }
                if let reason = await admin(index).unreadiness() { missing.append("\(nodes[index].id): \(reason)") }
            }
            reasons = missing.joined(separator: "; ")
            return missing.isEmpty
        }
        if !isReady { throw ClusterFailure("not ready within \(seconds) s: \(reasons)") }
    }

    func partition(of room: String) -> Int {
        Int(HashSlot.slot(of: Array(room.utf8))) * options.partitions / Int(HashSlot.count)
    }

    /// The index of the room's owner as the nodes that answer see it, by the highest term; nil when nobody owns it.
    func owner(of room: String, asking: [Int]? = nil) async -> Int? {
        var best: (term: UInt64, owner: String)?
        for index in asking ?? Array(nodes.indices) where child(index) != nil {
            guard let report = try? await admin(index).status(timeout: .milliseconds(800)) else { continue }
            guard let row = report.partitions.first(where: { $0.id == partition(of: room) }), let owner = row.owner
            else { continue }
            if best.map({ row.term > $0.term }) ?? true { best = (row.term, owner) }
        }
        return best.flatMap { found in nodes.firstIndex { $0.id == found.owner } }
    }

    /// A connected client whose first choice is node `index`; `alone` keeps it from going elsewhere.
    func client(_ index: Int, alone: Bool = false, _ change: (inout ClientSettings) -> Void = { _ in }) async throws
        -> VencejoClient
    {
        var settings = ClientSettings()
        settings.backoffMilliseconds = 20...500
        change(&settings)
        let order = alone ? [index] : nodes.indices.map { (index + $0) % nodes.count }
        return try await VencejoClient.connect(order.map { nodes[$0].url }, settings: settings)
    }

    /// One request to the node's gateway.
    func post(_ index: Int, _ path: String, _ body: String) async throws -> HTTPExchange.Response {
        try await HTTPExchange.send(
            "POST",
            host: "127.0.0.1",
            port: nodes[index].gateway,
            path: path,
            headers: [("Content-Type", "application/json")],
            body: Array(body.utf8),
            timeout: .seconds(20)
        )
    }
}

/// Why a cluster did not do what a test needs.
struct ClusterFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Asks every 20 ms until `condition` holds; false after `seconds`.
func eventually(within seconds: Double, _ condition: () async throws -> Bool) async throws -> Bool {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    while true {
        if try await condition() { return true }
        if clock.now >= end { return false }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// The program under test.
enum Executable {
    /// `VENCEJO_BIN`, else the one that was built with these tests.
    static func vencejo() throws -> String {
        if let named = ProcessInfo.processInfo.environment["VENCEJO_BIN"] { return named }
        let root = Checkout.root
        var candidates = [URL(fileURLWithPath: ClusterSupervisor.ownExecutable).deletingLastPathComponent().path]
        for argument in CommandLine.arguments {
            candidates.append(URL(fileURLWithPath: argument).deletingLastPathComponent().path)
        }
        candidates += ["\(root)/.build/debug", "\(root)/.build/release"]
        for folder in candidates where FileManager.default.isExecutableFile(atPath: folder + "/vencejo") {
            return folder + "/vencejo"
        }
        throw ClusterFailure("no vencejo beside the tests; build it or name it by VENCEJO_BIN")
    }

    /// This process's environment without the variables that a node would take for settings, and `more`.
    static func environment(_ more: [String: String] = [:]) -> [String: String] {
        ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("VENCEJO_") }.merging(more) { $1 }
    }

    /// Runs a program to its end; its lines and its exit.
    static func run(
        _ executable: String,
        _ arguments: [String],
        environment: [String: String] = environment(),
        within seconds: Double = 60
    ) async throws -> (exit: ChildProcess.Exit, lines: [String]) {
        let lines = Lines()
        let child = try ChildProcess.start(executable, arguments, environment: environment) { lines.append($0) }
        guard try await eventually(within: seconds, { child.exit != nil }) else {
            child.signal(SIGKILL)
            _ = await child.wait()
            throw ClusterFailure("\(executable) \(arguments) did not end: \(lines.all.suffix(5))")
        }
        return (await child.wait(), lines.all)
    }

    /// Runs `vencejo` to its end.
    static func run(_ arguments: [String], environment: [String: String] = [:], within seconds: Double = 60)
        async throws -> (exit: ChildProcess.Exit, lines: [String])
    {
        try await run(
            vencejo(),
            arguments,
            environment: Executable.environment(environment),
            within: seconds
        )
    }
}

/// Where the sources are.
enum Checkout {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
}

/// Lines collected from a thread.
final class Lines: Sendable {
    private let list = Lock<[String]>([])
    func append(_ line: String) { list.withLock { $0.append(line) } }
    var all: [String] { list.withLock { $0 } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
}

/// Ports that nobody listens on.
enum FreePorts {
    private static let next = Lock(Int.random(in: 18_000..<26_000))

    /// Below the range from which the kernel takes the ports of outgoing connections; free at this moment.
    static func take(_ count: Int) throws -> [Int] {
        try next.withLock { next in
            var ports: [Int] = []
            for _ in 0..<10_000 where ports.count < count {
                next = next >= 31_000 ? 18_000 : next + 1
                if isFree(next) { ports.append(next) }
            }
            guard ports.count == count else { throw ClusterFailure("no free ports") }
            return ports
        }
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
