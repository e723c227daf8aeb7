import Glibc
import Histogram

/// One round of the fan-out benchmark against one deployment: its subscribers are spread over the ports.
final class FanoutRound {
    struct Result {
        /// Deliveries a second.
        var rate: Double
        /// Of the server, per delivery.
        var cpuMicroseconds: Double
        var generatorCPU: Double
        /// From the publisher's write to each subscriber's read, in nanoseconds, by the subscriber's port.
        var latencies: [Histogram<UInt64>]
        var delivery: DeliveryCounts
        var refused: Int
        /// Of all servers at the end, with everybody connected.
        var residentBytes: UInt64
        var descriptors: Int

        /// Of all ports together.
        var latency: Histogram<UInt64> {
            var sum = LatencySummary.makeHistogram()
            for latency in latencies { sum.add(latency) }
            return sum
        }
    }

    private let backend: Deployment
    private let room: String
    private let subscribers: Int
    private let size: Int
    private let inFlight: Int
    private let messages: Int?
    private let seconds: Double
    /// The index of the port that the publisher uses.
    private let publisherPort: Int

    private static let publisherTag = -1
    /// More than what can be in flight at once, a power of two.
    private static let ringSize = 2048
    private var remaining = [Int](repeating: 0, count: ringSize)
    private var sentAt = [UInt64](repeating: 0, count: ringSize)
    private var counters: [DeliveryCounter]
    private var latencies: [Histogram<UInt64>]
    private var completed = 0
    private var published: UInt64 = 0
    private var isMeasuring = false
    private var subscribed = 0
    private var refused = 0

    init(
        backend: Deployment,
        room: String,
        subscribers: Int,
        size: Int,
        inFlight: Int,
        messages: Int?,
        seconds: Double,
        publisherPort: Int = 0
    ) {
        self.backend = backend
        self.room = room
        self.subscribers = subscribers
        self.size = size
        self.inFlight = inFlight
        self.messages = messages
        self.seconds = seconds
        self.publisherPort = publisherPort
        latencies = backend.ports.map { _ in LatencySummary.makeHistogram() }
        counters = Array(repeating: DeliveryCounter(), count: subscribers)
    }

    func run() throws -> Result {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        let publisher = try connect(loop)
        loop.onMessage = { [unowned self] connection, payload in receive(connection, payload) }
        let roomBytes = Array(room.utf8)

        // The warm-up opens the room, fills caches and lets buffers grow.
        let warmUp = max(20, 2 * inFlight)
        try drive(loop, publisher, roomBytes, until: { self.published >= warmUp }, what: "warm-up")
        let messagesBefore = published
        let cpuBefore = backend.processorMicroseconds()
        let ownBefore = ownProcessorMicroseconds()
        let begin = Clock.now()
        isMeasuring = true
        let deadline = begin + UInt64(seconds * 1e9)
        if let messages {
            try drive(loop, publisher, roomBytes, until: { self.published >= messagesBefore + UInt64(messages) })
        } else {
            try drive(loop, publisher, roomBytes, until: { Clock.now() >= deadline })
        }
        let elapsed = Double(Clock.now() - begin) / 1e9
        let cpu = backend.processorMicroseconds() - cpuBefore
        let own = ownProcessorMicroseconds() - ownBefore
        var delivery = DeliveryCounts()
        for counter in counters { delivery += counter.total(through: published) }
        let deliveries = max(1, Double(published - messagesBefore) * Double(subscribers))
        return Result(
            rate: deliveries / elapsed,
            cpuMicroseconds: Double(cpu) / deliveries,
            generatorCPU: Double(own) / deliveries,
            latencies: latencies,
            delivery: delivery,
            refused: refused,
            residentBytes: backend.residentBytes(),
            descriptors: backend.descriptorCount()
        )
    }

    /// Opens the publisher and all subscribers.
    private func connect(_ loop: LoadLoop) throws -> Connection {
        var closed = 0
        loop.onClose = { _ in closed += 1 }
        let publisher: Connection
        let ports = backend.ports
        if backend.speaksRedis {
            loop.onMessage = { [unowned self] _, _ in subscribed += 1 }
            for tag in 0..<subscribers {
                let connection = try loop.openRedis(port: ports[tag % ports.count], tag: tag)
                loop.redisSubscribe(connection, room: room)
                if tag % 128 == 127 { loop.turn(milliseconds: 1) }
            }
            publisher = try loop.openRedis(port: ports[publisherPort], tag: Self.publisherTag)
        } else {
            loop.onReady = { [unowned self, unowned loop] connection in
                if connection.tag >= 0 { loop.subscribe(connection, room: room) }
            }
            loop.onMessage = { [unowned self] _, payload in
                if Scan.contains("\"subscribe\":", in: payload) { subscribed += 1 } else { refused += 1 }
            }
            for tag in 0..<subscribers {
                _ = try loop.openWebSocket(port: ports[tag % ports.count], tag: tag)
                // No more than the server's listen backlog at once.
                while loop.opening >= 256 { loop.turn(milliseconds: 5) }
            }
            publisher = try loop.openWebSocket(port: ports[publisherPort], tag: Self.publisherTag)
        }
        let isUp = loop.turn(seconds: 30) {
            self.subscribed == self.subscribers && publisher.state == .ready || closed > 0 || self.refused > 0
        }
        guard isUp, closed == 0, refused == 0 else {
            throw BenchError(
                "\(room): \(subscribed) of \(subscribers) subscribed, \(closed) closed, \(refused) refused"
            )
        }
        loop.onClose = { [unowned self] _ in refused += 1 }
        return publisher
    }

    /// Keeps so many messages in flight until `isOver`, then waits for the last ones.
    private func drive(
        _ loop: LoadLoop,
        _ publisher: Connection,
        _ roomBytes: [UInt8],
        until isOver: () -> Bool,
        what: String = "run"
    ) throws {
        var lastCompleted = completed
        var lastProgress = Clock.now()
        while true {
            let isEnding = isOver()
            if isEnding, completed == Int(published) { return }
            if !isEnding {
                while Int(published) - completed < inFlight, !isOver() { send(loop, publisher, roomBytes) }
            }
            loop.turn(milliseconds: 100)
            let now = Clock.now()
            if completed != lastCompleted {
                lastCompleted = completed
                lastProgress = now
            } else if now - lastProgress > 5_000_000_000 {
                if what == "warm-up" { throw BenchError("\(room): no deliveries, \(refused) publishes refused") }
                // What has not come after this long is lost; the counters say how much.
                return
            }
        }
    }

    private func send(_ loop: LoadLoop, _ publisher: Connection, _ roomBytes: [UInt8]) {
        published += 1
        let slot = Int(published) & (Self.ringSize - 1)
        remaining[slot] = subscribers
        sentAt[slot] = Clock.now()
        if backend.speaksRedis {
            loop.redisPublish(publisher, room: roomBytes, message: published, size: size)
        } else {
            loop.publish(publisher, room: roomBytes, message: published, size: size)
        }
    }

    private func receive(_ connection: Connection, _ payload: UnsafeRawBufferPointer) {
        guard connection.tag >= 0 else {
            if backend.isRefusal(payload) { refused += 1 }
            return
        }
        let now = Clock.now()
        let port = connection.tag % latencies.count
        var position = 0
        while let number = Payload.next(in: payload, &position) {
            counters[connection.tag].receive(number)
            let slot = Int(truncatingIfNeeded: number) & (Self.ringSize - 1)
            remaining[slot] -= 1
            if remaining[slot] == 0 { completed += 1 }
            if isMeasuring { latencies[port].record(now &- sentAt[slot]) }
        }
    }
}

/// User and system time of this process, in microseconds.
func ownProcessorMicroseconds() -> UInt64 {
    var usage = rusage()
    getrusage(__rusage_who_t(0), &usage)
    let microseconds =
        usage.ru_utime.tv_sec * 1_000_000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1_000_000
        + usage.ru_stime.tv_usec
    return UInt64(microseconds)
}
