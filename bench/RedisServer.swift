import Glibc

/// A redis-server of our own, on a free port; without persistence unless asked for: Pub/Sub has none either.
final class RedisServer {
    let server: ServerProcess
    let port: UInt16

    init(binary: String, workspace: Workspace, isAppendOnly: Bool = false) throws {
        port = try freePorts(count: 1)[0]
        let directory = try workspace.subdirectory("redis")
        server = try ServerProcess(
            name: "redis",
            arguments: [
                binary, "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly",
                isAppendOnly ? "yes" : "no", "--maxclients",
                "19000", "--client-output-buffer-limit", "pubsub", "0", "0", "0", "--dir", directory,
            ],
            logPath: "\(directory)/redis.log"
        )
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
