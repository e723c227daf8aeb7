import Glibc

/// Opens connections, leaves them alone, bursts, leaves them alone again, and reads the server's memory in between.
final class IdleLoad {
    private let server: ServerProcess
    private let port: UInt16
    private let isRedis: Bool
    private let connectionCount: Int
    private let burst: Int
    private let settle: Double
    private let room = "be:idle"
    private var subscribed = 0
    private var received = 0
    private var pongs = 0
    private var closed = 0
    private var errors = 0

    init(server: ServerProcess, port: UInt16, isRedis: Bool, connections: Int, burst: Int, settle: Double) {
        self.server = server
        self.port = port
        self.isRedis = isRedis
        connectionCount = connections
        self.burst = burst
        self.settle = settle
    }

    func run() throws -> [Measurement] {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        var progress = Progress()
        let residentBefore = server.residentBytes()
        loop.onClose = { [unowned self] _ in closed += 1 }
        loop.onReady = { [unowned self, unowned loop] in
            if $0.tag < connectionCount { loop.subscribe($0, room: room) }
        }
        loop.onMessage = { [unowned self] _, payload in receive(payload) }

        let begin = Clock.now()
        var connections: [Connection] = []
        for tag in 0..<connectionCount {
            connections.append(try open(loop, tag))
            // No more at once than the listen backlog holds.
            while (isRedis ? tag - subscribed : loop.opening) >= 256, closed == 0, errors == 0 {
                loop.turn(milliseconds: 5)
            }
            progress.show("connecting \(tag + 1)", Double(tag) / Double(connectionCount))
            if closed > 0 || errors > 0 { break }
        }
        let isUp = loop.turn(seconds: 30) {
            self.subscribed == self.connectionCount || self.closed > 0 || self.errors > 0
        }
        guard isUp, closed == 0, errors == 0 else {
            throw BenchError("\(subscribed) of \(connectionCount) subscribed, \(closed) closed, \(errors) refused")
        }
        let connectSeconds = Double(Clock.now() - begin) / 1e9
        wait(loop)
        var idle = line("idle", residentBefore)
        idle.rate = Double(connectionCount) / connectSeconds
        idle.remarks = "rate is connections/s, handshake to subscribed"

        progress.show("burst", 0.5)
        let publisher = try open(loop, connectionCount)
        _ = loop.turn(seconds: 10) { publisher.state == .ready }
        let number: UInt64 = 1
        if isRedis {
            loop.redisPublish(publisher, room: Array(room.utf8), message: number, size: burst)
        } else {
            loop.publish(publisher, room: Array(room.utf8), message: number, size: burst)
            for connection in connections {
                ClientFrame.append(String(repeating: "p", count: 120), opcode: 9, to: &connection.output)
                loop.markDirty(connection)
            }
        }
        let isDone = loop.turn(seconds: 60) { self.received == self.connectionCount || self.closed > 0 }
        loop.close(publisher)
        wait(loop)
        progress.finish()
        var after = line("idle after a burst", residentBefore)
        after.attempted = UInt64(connectionCount)
        after.failed = UInt64(connectionCount - received)
        after.remarks = "each received \(burst) bytes" + (isRedis ? "" : " and sent a ping")
        if !isDone || closed > 0 { after.remarks += "; \(received) received, \(closed) closed" }
        return [idle, after]
    }

    private func open(_ loop: LoadLoop, _ tag: Int) throws -> Connection {
        // 20,000 connections from each loopback address stay below the range of ephemeral ports.
        let source = UInt8(1 + tag / 20_000)
        guard isRedis else { return try loop.openWebSocket(port: port, tag: tag, source: source) }
        let connection = try loop.openRedis(port: port, tag: tag, source: source)
        if tag < connectionCount { loop.redisSubscribe(connection, room: room) }
        return connection
    }

    private func receive(_ payload: UnsafeRawBufferPointer) {
        var position = 0
        if Payload.next(in: payload, &position) != nil {
            received += 1
        } else if isRedis {
            if payload.starts(with: "*3\r\n$9\r\nsubscribe".utf8) { subscribed += 1 }
        } else if Scan.contains("\"subscribe\":", in: payload) {
            subscribed += 1
        } else if Scan.contains("\"error\":", in: payload) {
            errors += 1
        }
    }

    private func wait(_ loop: LoadLoop) { _ = loop.turn(seconds: settle) { false } }

    private func line(_ scenario: String, _ residentBefore: UInt64) -> Measurement {
        var line = Measurement(scenario: scenario, target: isRedis ? "redis" : "vencejo")
        line.connections = connectionCount
        line.residentBytes = server.residentBytes()
        line.proportionalBytes = server.proportionalBytes()
        line.descriptors = server.descriptorCount()
        let growth = Double(line.residentBytes ?? 0) - Double(residentBefore)
        line.bytesPerConnection = growth / Double(connectionCount)
        return line
    }
}
