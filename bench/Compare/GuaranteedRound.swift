import Histogram

/// One round of guaranteed publishes to rooms that have subscribers on every node.
///
/// Each publishing connection keeps a window of publishes without an answer, spread over rooms of its own, so that a
/// room has one publisher and its subscribers can tell loss, repeats and disorder by the message's number.
final class GuaranteedRound {
    struct Load {
        var publishers = 24
        var subscribersPerRoom = 3
        /// Below the server's limit of 64 for one connection.
        var window = 48
        var size = 128
        var warmUp = 0.5
        var seconds = 3.0
        /// At least one for each publisher.
        var rooms: Int { max(24, publishers) }
    }

    struct Result {
        var acknowledgedRate: Double
        var deliveredRate: Double
        /// Of all servers, per acknowledged publish and per delivery.
        var cpuPerPublish: Double
        var cpuPerDelivery: Double
        var generatorCPU: Double
        /// From the write to the acknowledgement, and to each subscriber's read, in nanoseconds.
        var acknowledgement: Histogram<UInt64>
        var arrival: Histogram<UInt64>
        var delivery: DeliveryCounts
        var acknowledged: UInt64
        var refused: UInt64
    }

    private struct Room {
        var name: [UInt8]
        var published: UInt64 = 0
        var refused: [UInt64] = []
        /// When each of the last messages was sent, by its number modulo the ring's size.
        var sentAt = [UInt64](repeating: 0, count: ringSize)
    }

    private struct Pending {
        var command: UInt64 = 0
        var room = 0
        var number: UInt64 = 0
    }

    /// More than a connection's window, a power of two.
    private static let ringSize = 4096

    private let deployment: Deployment
    private let load: Load
    private var rooms: [Room]
    private var counters: [DeliveryCounter]
    private var pending: [[Pending]]
    private var inFlight: [Int]
    private var nextRoom: [Int]
    private var acknowledgement = LatencySummary.makeHistogram()
    private var arrival = LatencySummary.makeHistogram()
    private var isMeasuring = false
    private var acknowledged: UInt64 = 0
    private var delivered: UInt64 = 0
    private var refused: UInt64 = 0
    private var closed = 0
    private var subscribed = 0
    private var lastProgress: UInt64 = 0

    /// `name` begins the names of the round's rooms.
    init(deployment: Deployment, name: String, load: Load) {
        self.deployment = deployment
        self.load = load
        rooms = (0..<load.rooms).map { Room(name: Array("\(name)-\($0)".utf8)) }
        counters = Array(repeating: DeliveryCounter(), count: load.rooms * load.subscribersPerRoom)
        pending = Array(repeating: Array(repeating: Pending(), count: Self.ringSize), count: load.publishers)
        inFlight = Array(repeating: 0, count: load.publishers)
        nextRoom = Array(0..<load.publishers)
    }

    func run() throws -> Result {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        let publishers = try connect(loop)
        loop.onMessage = { [unowned self] connection, payload in receive(connection, payload) }
        publish(loop, publishers, seconds: load.warmUp)

        let before = (
            acknowledged: acknowledged, delivered: delivered, cpu: deployment.processorMicroseconds(),
            own: ownProcessorMicroseconds(), time: Clock.now()
        )
        isMeasuring = true
        publish(loop, publishers, seconds: load.seconds)
        isMeasuring = false
        let elapsed = Double(Clock.now() - before.time) / 1e9
        let cpu = Double(deployment.processorMicroseconds() - before.cpu)
        let own = Double(ownProcessorMicroseconds() - before.own)
        let publishes = Double(acknowledged - before.acknowledged)
        let deliveries = Double(delivered - before.delivered)

        lastProgress = Clock.now()
        while inFlight.contains(where: { $0 > 0 }) || !isDelivered, closed == 0,
            Clock.now() - lastProgress < 5_000_000_000
        { loop.turn(milliseconds: 20) }
        var delivery = DeliveryCounts()
        for (tag, counter) in counters.enumerated() {
            let room = rooms[tag % load.rooms]
            delivery += counter.total(through: room.published, except: room.refused)
        }
        guard closed == 0 else { throw BenchError("the server closed \(closed) connections") }
        guard publishes > 0 else { throw BenchError("nothing was acknowledged, \(refused) refused") }
        return Result(
            acknowledgedRate: publishes / elapsed,
            deliveredRate: deliveries / elapsed,
            cpuPerPublish: cpu / publishes,
            cpuPerDelivery: cpu / max(1, deliveries),
            generatorCPU: own / publishes,
            acknowledgement: acknowledgement,
            arrival: arrival,
            delivery: delivery,
            acknowledged: acknowledged,
            refused: refused
        )
    }

    private var isDelivered: Bool {
        counters.enumerated().allSatisfy { tag, counter in
            let room = rooms[tag % load.rooms]
            return counter.total(through: room.published, except: room.refused).lost == 0
        }
    }

    private func connect(_ loop: LoadLoop) throws -> [Connection] {
        loop.onClose = { [unowned self] _ in closed += 1 }
        loop.onReady = { [unowned self, unowned loop] connection in
            guard connection.tag >= 0 else { return }
            loop.subscribe(connection, room: String(decoding: rooms[connection.tag % load.rooms].name, as: UTF8.self))
        }
        loop.onMessage = { [unowned self] _, payload in
            if Scan.contains("\"subscribe\":", in: payload) { subscribed += 1 } else { closed += 1 }
        }
        let ports = deployment.ports
        for tag in counters.indices {
            // Consecutive subscribers of one room are on consecutive nodes.
            let node = (tag + tag / load.rooms) % ports.count
            _ = try loop.openWebSocket(port: ports[node], tag: tag)
        }
        let publishers = try (0..<load.publishers).map { index in
            try loop.openWebSocket(port: ports[index % ports.count], tag: -index - 1)
        }
        let isUp = loop.turn(seconds: 30) {
            self.subscribed == self.counters.count && loop.opening == 0 || self.closed > 0
        }
        guard isUp, closed == 0 else {
            throw BenchError("\(subscribed) of \(counters.count) subscribed, \(closed) closed or refused")
        }
        return publishers
    }

    private func publish(_ loop: LoadLoop, _ publishers: [Connection], seconds: Double) {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        while case let now = Clock.now(), now < deadline, closed == 0 {
            for (index, connection) in publishers.enumerated() {
                while inFlight[index] < load.window { send(loop, connection, index, now) }
            }
            loop.turn(milliseconds: 20)
        }
    }

    private func send(_ loop: LoadLoop, _ connection: Connection, _ publisher: Int, _ now: UInt64) {
        let room = nextRoom[publisher]
        nextRoom[publisher] = room + load.publishers < load.rooms ? room + load.publishers : publisher
        rooms[room].published += 1
        let number = rooms[room].published
        rooms[room].sentAt[Int(number) & (Self.ringSize - 1)] = now
        let command = loop.publish(connection, room: rooms[room].name, message: number, size: load.size)
        pending[publisher][Int(command) & (Self.ringSize - 1)] = Pending(command: command, room: room, number: number)
        inFlight[publisher] += 1
    }

    private func receive(_ connection: Connection, _ payload: UnsafeRawBufferPointer) {
        let now = Clock.now()
        lastProgress = now
        guard connection.tag < 0 else {
            var position = 0
            let room = connection.tag % load.rooms
            while let number = Payload.next(in: payload, &position) {
                counters[connection.tag].receive(number)
                delivered += 1
                if isMeasuring { arrival.record(now &- rooms[room].sentAt[Int(number) & (Self.ringSize - 1)]) }
            }
            return
        }
        let publisher = -connection.tag - 1
        Scan.forEachLine(payload) { line in
            guard let reply = PublishReply(line) else { return }
            let entry = pending[publisher][Int(reply.command) & (Self.ringSize - 1)]
            guard entry.command == reply.command else { return }
            inFlight[publisher] -= 1
            if case .acknowledged = reply.outcome {
                acknowledged += 1
                guard isMeasuring else { return }
                acknowledgement.record(now &- rooms[entry.room].sentAt[Int(entry.number) & (Self.ringSize - 1)])
            } else {
                refused += 1
                rooms[entry.room].refused.append(entry.number)
            }
        }
    }
}
