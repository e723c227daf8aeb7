import Histogram

/// More clients dial one node than it takes. Whoever it sends away tries the next node, as SDKs with a list of
/// endpoints do; then everybody is there, and messages are delivered to all.
final class OverloadRound {
    struct Load {
        var clients = 300
        var rooms = 10
        var size = 128
        /// Publishes without a delivery to everybody.
        var inFlight = 8
        var seconds = 2.0
    }

    struct Result {
        /// Clients of each node in the end.
        var clients: [Int]
        /// How often a client was sent away.
        var redirected: Int
        /// From the first connection until everybody was subscribed.
        var seconds: Double
        /// Deliveries a second, afterwards.
        var rate: Double
        /// From the publisher's write to each subscriber's read, in nanoseconds.
        var latency: Histogram<UInt64>
        var cpuPerDelivery: Double
        var delivery: DeliveryCounts
    }

    private struct Client {
        var node = 0
        var connection: Connection?
        var isSubscribed = false
        var openAt: UInt64 = 0
        var counter = DeliveryCounter()
    }

    private struct Room {
        var name: String
        var published: UInt64 = 0
        var sentAt = [UInt64](repeating: 0, count: ringSize)
    }

    /// More than what can be in flight, a power of two.
    private static let ringSize = 1024
    private static let publisherTag = -1

    private let deployment: Deployment
    private let load: Load
    private var clients: [Client]
    private var rooms: [Room]
    private var redirected = 0
    private var subscribed = 0
    private var delivered: UInt64 = 0
    private var expected: UInt64 = 0
    private var refused = 0
    private var latency = LatencySummary.makeHistogram()
    private var isMeasuring = false

    init(deployment: Deployment, name: String, load: Load) {
        self.deployment = deployment
        self.load = load
        clients = Array(repeating: Client(), count: load.clients)
        rooms = (0..<load.rooms).map { Room(name: "\(name)-\($0)") }
    }

    func run() throws -> Result {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        loop.onReady = { [unowned self, unowned loop] connection in
            guard connection.tag >= 0 else { return }
            loop.subscribe(connection, room: rooms[connection.tag % rooms.count].name)
        }
        loop.onClose = { [unowned self] in isClosed($0) }
        loop.onMessage = { [unowned self] connection, payload in receive(connection, payload) }
        let begin = Clock.now()
        try connectAll(loop)
        let seconds = Double(Clock.now() - begin) / 1e9

        // The publisher is at the last node: the first one has no room for it.
        let publisher = try loop.openWebSocket(port: deployment.ports.last!, tag: Self.publisherTag)
        guard loop.turn(seconds: 10, until: { publisher.state == .ready }) else {
            throw BenchError("the publisher is not connected")
        }
        isMeasuring = true
        let cpuBefore = deployment.processorMicroseconds()
        let start = Clock.now()
        let deadline = start + UInt64(load.seconds * 1e9)
        while Clock.now() < deadline, refused == 0 {
            while expected < delivered + UInt64(load.inFlight * subscribersPerRoom) { publish(loop, publisher) }
            loop.turn(milliseconds: 20)
        }
        _ = loop.turn(seconds: 5) { self.delivered >= self.expected }
        let elapsed = Double(Clock.now() - start) / 1e9
        let cpu = Double(deployment.processorMicroseconds() - cpuBefore)
        // What comes twice comes soon after.
        _ = loop.turn(seconds: 0.2) { false }
        guard refused == 0 else { throw BenchError("\(refused) publishes were refused") }
        var delivery = DeliveryCounts()
        for (tag, client) in clients.enumerated() {
            delivery += client.counter.total(through: rooms[tag % rooms.count].published)
        }
        return Result(
            clients: deployment.ports.indices.map { node in clients.count { $0.node == node } },
            redirected: redirected,
            seconds: seconds,
            rate: Double(delivered) / elapsed,
            latency: latency,
            cpuPerDelivery: cpu / max(1, Double(delivered)),
            delivery: delivery
        )
    }

    private var subscribersPerRoom: Int { max(1, load.clients / load.rooms) }

    /// Everybody dials the first node; returns when all are subscribed somewhere.
    private func connectAll(_ loop: LoadLoop) throws {
        let deadline = Clock.now() + 60_000_000_000
        while subscribed < clients.count {
            let now = Clock.now()
            guard now < deadline else { throw BenchError("\(subscribed) of \(clients.count) found a node") }
            // No more at once than a server's listen backlog.
            for tag in clients.indices where clients[tag].connection == nil && clients[tag].openAt <= now {
                guard loop.opening < 64 else { break }
                clients[tag].connection = try loop.openWebSocket(port: deployment.ports[clients[tag].node], tag: tag)
            }
            loop.turn(milliseconds: 5)
        }
    }

    private func isClosed(_ connection: Connection) {
        guard connection.tag >= 0 else { return }
        if clients[connection.tag].isSubscribed { subscribed -= 1 }
        redirected += 1
        clients[connection.tag].isSubscribed = false
        clients[connection.tag].connection = nil
        clients[connection.tag].node = (clients[connection.tag].node + 1) % deployment.ports.count
        clients[connection.tag].openAt = Clock.now() + 20_000_000
    }

    private func publish(_ loop: LoadLoop, _ publisher: Connection) {
        let room = Int(publisher.lastCommand) % rooms.count
        rooms[room].published += 1
        let number = rooms[room].published
        rooms[room].sentAt[Int(number) & (Self.ringSize - 1)] = Clock.now()
        expected += UInt64(clients.indices.count { $0 % rooms.count == room })
        loop.publish(publisher, room: Array(rooms[room].name.utf8), message: number, size: load.size)
    }

    private func receive(_ connection: Connection, _ payload: UnsafeRawBufferPointer) {
        guard connection.tag >= 0 else {
            if deployment.isRefusal(payload) { refused += 1 }
            return
        }
        let now = Clock.now()
        if !clients[connection.tag].isSubscribed, Scan.contains("\"subscribe\":", in: payload) {
            clients[connection.tag].isSubscribed = true
            subscribed += 1
            return
        }
        let room = connection.tag % rooms.count
        var position = 0
        while let number = Payload.next(in: payload, &position) {
            clients[connection.tag].counter.receive(number)
            delivered += 1
            if isMeasuring { latency.record(now &- rooms[room].sentAt[Int(number) & (Self.ringSize - 1)]) }
        }
    }
}
