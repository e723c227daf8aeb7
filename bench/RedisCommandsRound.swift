import Histogram

/// One round of one command against one server: so many connections, each with so many commands under way.
struct RedisCommandsRound {
    struct Result {
        var rate: Double
        /// Of the server, per command.
        var cpuMicroseconds: Double
        var latency: Histogram<UInt64>
        var commands: UInt64
        var errors: UInt64
        var generatorCPU: Double
    }

    var server: ServerProcess
    var port: UInt16
    var workload: RedisWorkload
    var connections: Int
    var pipeline: Int
    var seconds: Double
    var size: Int

    func run() throws -> Result {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        var latency = LatencySummary.makeHistogram()
        var commands: UInt64 = 0
        var errors: UInt64 = 0
        var waiting = [Int](repeating: 0, count: connections)
        var sentAt = [UInt64](repeating: 0, count: connections)
        var isStopping = false
        var failure: String?
        let batches = workload.batches(pipeline: pipeline, size: size)
        var next = 0

        func send(_ connection: Connection) {
            connection.output.append(contentsOf: batches[next])
            next = next + 1 == batches.count ? 0 : next + 1
            waiting[connection.tag] = pipeline
            sentAt[connection.tag] = Clock.now()
            loop.markDirty(connection)
        }

        loop.onMessage = { connection, value in
            commands += 1
            if value.first == UInt8(ascii: "-") { errors += 1 }
            waiting[connection.tag] -= 1
            guard waiting[connection.tag] == 0 else { return }
            latency.record(Clock.now() - sentAt[connection.tag])
            if !isStopping { send(connection) }
        }
        loop.onClose = { _ in failure = "the server closed a connection" }
        for tag in 0..<connections { send(try loop.openRedis(port: port, tag: tag)) }

        // A tenth of the time to get warm.
        _ = loop.turn(seconds: seconds / 10) { failure != nil }
        latency = LatencySummary.makeHistogram()
        let before = (commands, server.processorMicroseconds(), ownProcessorMicroseconds(), Clock.now())
        _ = loop.turn(seconds: seconds) { failure != nil }
        let done = commands - before.0
        let elapsed = Double(Clock.now() - before.3) / 1e9
        let cpu = Double(server.processorMicroseconds() - before.1)
        let own = Double(ownProcessorMicroseconds() - before.2)
        isStopping = true
        _ = loop.turn(seconds: 5) { failure != nil || waiting.allSatisfy { $0 == 0 } }
        if let failure { throw BenchError("\(workload.rawValue): \(failure)") }
        guard done > 0 else { throw BenchError("\(workload.rawValue): no reply in \(seconds) s") }
        return Result(
            rate: Double(done) / elapsed,
            cpuMicroseconds: cpu / Double(done),
            latency: latency,
            commands: done,
            errors: errors,
            generatorCPU: own / Double(done)
        )
    }
}

/// What redis-benchmark measures, with a thousand keys; and what a cache does: a hit, a miss, and the direct way to the
/// record without the cache, which is a hash of sixteen fields.
enum RedisWorkload: String, CaseIterable {
    case set = "SET"
    case get = "GET"
    case getMiss = "GET-MISS"
    case direct = "HGETALL"
    case incr = "INCR"
    case lpush = "LPUSH"
    case hset = "HSET"
    case xadd = "XADD"
    case publish = "PUBLISH"

    private func arguments(_ key: Int, _ value: String) -> [String] {
        switch self {
        case .set: ["SET", "key:\(key)", value]
        case .get: ["GET", "key:\(key)"]
        case .getMiss: ["GET", "nobody:\(key)"]
        case .direct: ["HGETALL", "record:\(key)"]
        case .incr: ["INCR", "counter:\(key)"]
        case .lpush: ["LPUSH", "list:\(key)", value]
        case .hset: ["HSET", "hash:\(key)", "field:\(key % 16)", value]
        case .xadd: ["XADD", "stream:\(key)", "MAXLEN", "~", "1000", "*", "field", value]
        case .publish: ["PUBLISH", "\(ClusterFile.bestEffortPrefix):channel:\(key)", value]
        }
    }

    /// As reports name it.
    var label: String {
        switch self {
        case .get: "GET (cache hit)"
        case .getMiss: "GET (cache miss)"
        case .direct: "HGETALL (direct)"
        default: rawValue
        }
    }

    /// Of the commands that the shim's targets name.
    var hasTarget: Bool { self != .getMiss && self != .direct }

    /// Writes what the reads are to find.
    func prepare(port: UInt16, size: Int) throws {
        let value = String(repeating: "x", count: size)
        func command(_ key: Int) -> [String]? {
            switch self {
            case .get: ["SET", "key:\(key)", value]
            case .direct: ["HSET", "record:\(key)"] + (0..<16).flatMap { ["field:\($0)", value] }
            default: nil
            }
        }
        let link = try RedisLink(port: port, timeoutMilliseconds: 10_000)
        for key in 0..<1000 {
            guard let command = command(key) else { return }
            let reply = try link.call(command).first ?? ""
            guard !reply.hasPrefix("-") else { throw BenchError("\(rawValue) cannot be prepared: \(reply)") }
        }
    }

    /// A thousand batches of commands, as they go over the wire.
    func batches(pipeline: Int, size: Int) -> [[UInt8]] {
        let value = String(repeating: "x", count: size)
        return (0..<1000).map { batch in
            var bytes: [UInt8] = []
            for row in 0..<pipeline {
                let list = arguments((batch * 7919 + row * 104_729) % 1000, value)
                bytes += Array("*\(list.count)\r\n".utf8)
                for argument in list { bytes += Array("$\(argument.utf8.count)\r\n\(argument)\r\n".utf8) }
            }
            return bytes
        }
    }
}
