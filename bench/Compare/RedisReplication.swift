import Glibc

/// Redis as the guide runs it for high availability: a master and its replicas, appendonly, under three Sentinels.
final class RedisReplication {
    static let masterName = "mymaster"
    private let binary: String
    private let workspace: Workspace
    private let fsync: RedisFsync
    private(set) var servers: [RedisServer] = []
    private(set) var sentinels: [(process: ServerProcess, port: UInt16)] = []

    init(binary: String, workspace: Workspace, fsync: RedisFsync, replicas: Int) throws {
        self.binary = binary
        self.workspace = workspace
        self.fsync = fsync
        try addServer(replicaOf: nil)
        for _ in 0..<replicas { try addServer(replicaOf: servers[0].port) }
        for (index, port) in try freePorts(count: 3).enumerated() {
            let directory = try workspace.subdirectory("sentinel-\(index + 1)")
            let file = try workspace.write(
                Self.sentinelFile(port: port, master: servers[0].port, directory: directory),
                to: "sentinel-\(index + 1)/sentinel.conf"
            )
            let process = try ServerProcess(
                name: "sentinel-\(index + 1)",
                arguments: [binary, file, "--sentinel"],
                logPath: "\(directory)/sentinel.log"
            )
            sentinels.append((process, port))
        }
    }

    /// The guide's settings: quorum 2, down after 5 s, one replica copies at a time, failover timeout 10 s.
    static func sentinelFile(port: UInt16, master: UInt16, directory: String) -> String {
        """
        port \(port)
        bind 127.0.0.1
        dir \(directory)
        sentinel monitor \(masterName) 127.0.0.1 \(master) 2
        sentinel down-after-milliseconds \(masterName) 5000
        sentinel parallel-syncs \(masterName) 1
        sentinel failover-timeout \(masterName) 10000

        """
    }

    /// One more copy of what the master holds.
    func addReplica() throws { try addServer(replicaOf: master().port) }

    private func addServer(replicaOf master: UInt16?) throws {
        servers.append(
            try RedisServer(
                binary: binary,
                workspace: workspace,
                name: "redis-\(servers.count + 1)",
                isAppendOnly: true,
                fsync: fsync,
                replicaOf: master
            )
        )
    }

    var processes: [ServerProcess] { servers.map(\.server) + sentinels.map(\.process) }

    /// The server that most Sentinels call the master.
    func master() throws -> RedisServer {
        for sentinel in sentinels {
            if let port = Self.masterPort(sentinel: sentinel.port),
                let found = servers.first(where: { $0.port == port })
            {
                return found
            }
        }
        return servers[0]
    }

    /// What one Sentinel answers; nil when it does not.
    static func masterPort(sentinel port: UInt16) -> UInt16? {
        guard let link = try? RedisLink(port: port, timeoutMilliseconds: 1000),
            let reply = try? link.call(["SENTINEL", "get-master-addr-by-name", masterName])
        else { return nil }
        return reply.last.flatMap { UInt16($0) }
    }

    /// Waits until the master has all other servers as replicas that are in step, and every Sentinel knows of all this:
    /// only then does a failover show what the settings promise.
    func awaitHealth(seconds: Double) throws {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        var missing = ""
        while Clock.now() < deadline {
            missing = illness()
            if missing.isEmpty { return }
            Clock.sleep(milliseconds: 100)
        }
        throw BenchError("Redis and its Sentinels are not whole after \(format(seconds)) s: \(missing)")
    }

    private func illness() -> String {
        guard let master = try? master(), let link = try? RedisLink(port: master.port, timeoutMilliseconds: 1000),
            let info = try? link.call(["INFO", "replication"])
        else { return "no master" }
        let online = info.filter { $0.hasPrefix("slave") && $0.contains("state=online") }.count
        guard info.contains("role:master"), online == servers.count - 1 else {
            return "\(online) of \(servers.count - 1) replicas"
        }
        for sentinel in sentinels {
            guard let link = try? RedisLink(port: sentinel.port, timeoutMilliseconds: 1000),
                let lines = try? link.call(["INFO", "sentinel"]),
                let line = lines.first(where: { $0.hasPrefix("master0:") })
            else { return "a Sentinel does not answer" }
            let wanted = "status=ok,address=127.0.0.1:\(master.port),slaves=\(servers.count - 1),sentinels=3"
            guard line.hasSuffix(wanted) else { return line }
        }
        return ""
    }
}

/// A blocking connection to a Redis server, for what is not load.
final class RedisLink {
    let descriptor: Int32
    private var buffer: [UInt8] = []

    init(port: UInt16, timeoutMilliseconds: Int) throws {
        descriptor = try connectBlocking(port: port, timeoutMilliseconds: timeoutMilliseconds)
    }

    deinit { close(descriptor) }

    /// Sends a command and returns the lines of its reply: without those that only tell lengths, and without the marks
    /// of types.
    func call(_ words: [String]) throws -> [String] {
        try send(words)
        guard let reply = try receive() else { throw BenchError("no answer to \(words[0])") }
        return reply
    }

    func send(_ words: [String]) throws {
        var request = "*\(words.count)\r\n"
        for word in words { request += "$\(word.utf8.count)\r\n\(word)\r\n" }
        let bytes = Array(request.utf8)
        guard Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw BenchError("cannot send to Redis: \(lastError())")
        }
    }

    /// The next value; nil when the time is over first. Throws when the connection is gone.
    func receive() throws -> [String]? {
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            if let cut = try buffer.withUnsafeBytes({ try Cut.first(.resp, in: $0) }) {
                let text = String(decoding: buffer[..<cut.length], as: UTF8.self)
                buffer.removeFirst(cut.length)
                return text.split(whereSeparator: \.isNewline).compactMap { line in
                    switch line.first {
                    case "$", "*": nil
                    case ":", "+": String(line.dropFirst())
                    default: String(line)
                    }
                }
            }
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { return nil }
            guard count > 0 else { throw BenchError("Redis closed the connection") }
            buffer += chunk[..<count]
        }
    }
}
