import Glibc

/// When Redis's log of writes is synced to the disk; Redis's own default is every second.
enum RedisFsync: String, CaseIterable {
    case everysec
    case always
}

/// A redis-server of our own, on a free port; without persistence unless asked for: Pub/Sub has none either.
final class RedisServer {
    let server: ServerProcess
    let port: UInt16

    init(
        binary: String,
        workspace: Workspace,
        name: String = "redis",
        isAppendOnly: Bool = false,
        fsync: RedisFsync = .everysec,
        replicaOf master: UInt16? = nil
    ) throws {
        port = try freePorts(count: 1)[0]
        let directory = try workspace.subdirectory(name)
        var arguments = [
            binary, "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly",
            isAppendOnly ? "yes" : "no", "--appendfsync", fsync.rawValue, "--maxclients", "19000",
            "--client-output-buffer-limit", "pubsub", "0", "0",
            // A replica's first copy begins at once instead of after 5 s, in which others might join it.
            "0", "--repl-diskless-sync-delay", "0", "--dir", directory,
        ]
        if let master { arguments += ["--replicaof", "127.0.0.1 \(master)"] }
        server = try ServerProcess(name: name, arguments: arguments, logPath: "\(directory)/redis.log")
        try awaitAnswer()
    }

    /// Returns when it takes connections.
    func awaitAnswer() throws {
        let deadline = Clock.now() + 10_000_000_000
        while true {
            if let descriptor = try? connectBlocking(port: port, timeoutMilliseconds: 500) {
                close(descriptor)
                return
            }
            guard server.isRunning, Clock.now() < deadline else {
                throw BenchError("redis-server did not start:\n\(server.logTail())")
            }
            Clock.sleep(milliseconds: 20)
        }
    }
}
