import Glibc
import Histogram

/// All clients lose their connections at once, miss messages, and come back all at once.
///
/// Over WebSocket they resume from their positions and are done when they have what they missed. Redis's Pub/Sub keeps
/// nothing: its clients are done when they are subscribed again, and what they missed is lost.
final class ResumeStorm {
    struct Load {
        var clients = 1000
        var rooms = 10
        /// Messages that each room gets while its clients are away.
        var missed = 50
        var size = 128
        /// Clients come back to the node that they were at; otherwise to the next one.
        var isSticky = false
    }

    struct Result {
        /// From the first new connection to the last client that is done.
        var seconds: Double
        var recovered: Int
        /// Of each client, from its connection's start, in nanoseconds.
        var latency: Histogram<UInt64>
        var cpuMicroseconds: Double
        var delivery: DeliveryCounts
        var retries: Int
        var firstError: String?
    }

    private struct Client {
        var epoch = ""
        var offset: UInt64 = 0
        var counter = DeliveryCounter()
        var startedAt: UInt64 = 0
        var retryAt = UInt64.max
        var connection: Connection?
        var isDone = false
    }

    private let deployment: Deployment
    private let load: Load
    private let rooms: [String]
    private var clients: [Client]
    private var done = 0
    private var closed = 0
    private var retries = 0
    private var firstError: String?
    private var acknowledged = 0
    private var refused = 0
    private var latency = LatencySummary.makeHistogram()
    private var isStorming = false

    init(deployment: Deployment, name: String, load: Load) {
        self.deployment = deployment
        self.load = load
        rooms = (0..<load.rooms).map { "\(name)-\($0)" }
        clients = Array(repeating: Client(), count: load.clients)
    }

    private func room(_ tag: Int) -> String { rooms[tag % rooms.count] }

    func run() throws -> Result {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        loop.onClose = { [unowned self] _ in closed += 1 }
        loop.onReady = { [unowned self, unowned loop] in if $0.tag >= 0 { subscribe(loop, $0) } }
        loop.onMessage = { [unowned self] connection, payload in receive(connection, payload) }

        try connectAll(loop, shift: 0)
        guard closed == 0 else { throw BenchError("the server closed \(closed) connections") }
        for index in clients.indices {
            if let connection = clients[index].connection { loop.close(connection) }
            clients[index].isDone = false
        }
        try publishMissed(loop)

        done = 0
        isStorming = true
        let cpuBefore = deployment.processorMicroseconds()
        let begin = Clock.now()
        try connectAll(loop, shift: load.isSticky ? 0 : 1)
        let seconds = Double(Clock.now() - begin) / 1e9
        let cpu = Double(deployment.processorMicroseconds() - cpuBefore)
        // What comes twice comes soon after.
        _ = loop.turn(seconds: 0.2) { false }
        var delivery = DeliveryCounts()
        for client in clients { delivery += client.counter.total(through: UInt64(load.missed)) }
        return Result(
            seconds: seconds,
            recovered: done,
            latency: latency,
            cpuMicroseconds: cpu,
            delivery: delivery,
            retries: retries,
            firstError: firstError
        )
    }

    /// Connects and subscribes everyone; returns when all are done, or nothing more comes of it.
    private func connectAll(_ loop: LoadLoop, shift: Int) throws {
        for tag in clients.indices {
            clients[tag].startedAt = Clock.now()
            let port = deployment.ports[(tag + shift) % deployment.ports.count]
            let connection: Connection
            if deployment.speaksRedis {
                connection = try loop.openRedis(port: port, tag: tag)
                loop.redisSubscribe(connection, room: room(tag))
            } else {
                connection = try loop.openWebSocket(port: port, tag: tag)
            }
            clients[tag].connection = connection
            // No more at once than a server's listen backlog.
            while closed == 0, deployment.speaksRedis ? tag - done >= 256 : loop.opening >= 256 {
                loop.turn(milliseconds: 5)
            }
        }
        let deadline = Clock.now() + 30_000_000_000
        while done < clients.count, case let now = Clock.now(), now < deadline {
            for tag in clients.indices where clients[tag].retryAt <= now {
                clients[tag].retryAt = .max
                if let connection = clients[tag].connection { subscribe(loop, connection) }
            }
            loop.turn(milliseconds: 5)
        }
        guard isStorming || done == clients.count else {
            throw BenchError("\(done) of \(clients.count) subscribed: \(firstError ?? "no answer")")
        }
    }

    private func subscribe(_ loop: LoadLoop, _ connection: Connection) {
        let client = clients[connection.tag]
        let position = isStorming ? (epoch: client.epoch, offset: client.offset) : nil
        loop.subscribe(connection, room: room(connection.tag), after: position)
    }

    private func publishMissed(_ loop: LoadLoop) throws {
        let port = deployment.ports[0]
        let publisher =
            deployment.speaksRedis
            ? try loop.openRedis(port: port, tag: -1) : try loop.openWebSocket(port: port, tag: -1)
        _ = loop.turn(seconds: 10) { publisher.state == .ready }
        for number in 1...UInt64(load.missed) {
            for room in rooms {
                if deployment.speaksRedis {
                    loop.redisPublish(publisher, room: Array(room.utf8), message: number, size: load.size)
                } else {
                    loop.publish(publisher, room: Array(room.utf8), message: number, size: load.size)
                }
            }
            let sent = Int(number) * rooms.count
            guard loop.turn(seconds: 10, until: { self.acknowledged + self.refused + 32 > sent }) else { break }
        }
        let all = load.missed * rooms.count
        _ = loop.turn(seconds: 10) { self.acknowledged + self.refused == all }
        guard acknowledged == all else {
            throw BenchError("\(acknowledged) of \(all) publishes were acknowledged, \(refused) refused")
        }
        loop.close(publisher)
    }

    // MARK: Answers

    private func receive(_ connection: Connection, _ payload: UnsafeRawBufferPointer) {
        if connection.tag < 0 {
            if deployment.speaksRedis {
                if deployment.isRefusal(payload) { refused += 1 } else { acknowledged += 1 }
            } else {
                Scan.forEachLine(payload) { line in
                    guard let reply = PublishReply(line) else { return }
                    if case .acknowledged = reply.outcome { acknowledged += 1 } else { refused += 1 }
                }
            }
        } else if deployment.speaksRedis {
            if payload.starts(with: "*3\r\n$9\r\nsubscribe".utf8) { finish(connection.tag) }
        } else {
            Scan.forEachLine(payload) { line in receive(connection.tag, line) }
        }
    }

    private func receive(_ tag: Int, _ line: UnsafeRawBufferPointer) {
        if Scan.contains("\"error\":", in: line) {
            if firstError == nil { firstError = String(decoding: line.prefix(200), as: UTF8.self) }
            retries += 1
            clients[tag].retryAt = Clock.now() + 40_000_000
            return
        }
        if !isStorming {
            guard Scan.contains("\"subscribe\":", in: line), let page = HistoryPage(line) else { return }
            clients[tag].epoch = page.epoch
            clients[tag].offset = page.top
            finish(tag)
            return
        }
        var position = 0
        while let number = Payload.next(in: line, &position) { clients[tag].counter.receive(number) }
        if clients[tag].counter.expected > UInt64(load.missed) { finish(tag) }
    }

    private func finish(_ tag: Int) {
        guard !clients[tag].isDone else { return }
        clients[tag].isDone = true
        done += 1
        if isStorming { latency.record(Clock.now() &- clients[tag].startedAt) }
    }
}
