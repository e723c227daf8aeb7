import Histogram
import HistoryChecker
import Primitives

/// One open-loop publisher and one resuming subscriber a room, over connections that move away from dead nodes.
final class FailoverLoad {
    let cluster: VencejoCluster
    let roomNumbers: [(name: String, number: UInt32)]
    private let interval: UInt64
    private let size: Int
    private let loop: LoadLoop
    private var publishers: [RoomPublisher] = []
    private var subscribers: [RoomSubscriber] = []

    /// One record for each message, in the order of their numbers, which begin at 1.
    var publishes: [HistoryRecord] = []
    /// When each message was due.
    var due: [UInt64] = []
    /// What the subscribers saw, in their order.
    var observations: [HistoryRecord] = []
    var rooms = SymbolTable()
    var epochs = SymbolTable()
    /// From the due time to the acknowledgement, in nanoseconds.
    var latency = LatencySummary.makeHistogram()
    var repeats = 0
    var reconnects = 0
    var publishCount: Int { publishes.count }
    private var isPublishing = false

    /// Publishes of one connection without an answer: below the server's default limit of 64.
    static let window = 48
    /// A publish without an answer is repeated after this.
    static let answerTimeout: UInt64 = 2_000_000_000
    static let retryDelay: UInt64 = 20_000_000
    /// A publisher that is refused again and again asks less and less often: not to load what tries to recover.
    static let longestRetryDelay: UInt64 = 160_000_000

    /// `name` begins the rooms' names.
    init(
        cluster: VencejoCluster,
        name: String = "failover",
        roomCount: Int,
        interval: UInt64,
        size: Int
    ) throws {
        self.cluster = cluster
        self.interval = interval
        self.size = size
        loop = try LoadLoop()
        var table = SymbolTable()
        roomNumbers = (0..<roomCount).map { index in
            let room = "\(name)-\(index)"
            return (room, table.number(of: room))
        }
        rooms = table
    }

    /// Connects everyone and waits until every subscriber has its position.
    func start() throws {
        let nodes = cluster.file.nodes.count
        for (index, room) in roomNumbers.enumerated() {
            publishers.append(RoomPublisher(room: room.name, number: room.number, node: index % nodes))
            subscribers.append(RoomSubscriber(room: room.name, number: room.number, node: (index + 1) % nodes))
        }
        loop.onReady = { [unowned self] connection in
            if connection.tag >= 0 {
                subscribers[connection.tag].isReady(loop, connection)
            }
        }
        loop.onClose = { [unowned self] connection in
            reconnects += 1
            let nodes = cluster.file.nodes.count
            if connection.tag >= 0 {
                subscribers[connection.tag].isClosed(nodes: nodes, now: Clock.now())
            } else {
                publishers[-connection.tag - 1].isClosed(nodes: nodes, now: Clock.now())
            }
        }
        loop.onMessage = { [unowned self] connection, payload in
            let now = Clock.now()
            if connection.tag >= 0 {
                Scan.forEachLine(payload) { subscribers[connection.tag].receive($0, now, self) }
            } else {
                Scan.forEachLine(payload) { publishers[-connection.tag - 1].receive($0, now, self) }
            }
        }
        run(seconds: 30) { self.subscribers.allSatisfy(\.isSubscribed) }
        guard subscribers.allSatisfy(\.isSubscribed) else {
            throw BenchError("\(subscribers.filter { !$0.isSubscribed }.count) subscribers have no position")
        }
        let now = Clock.now()
        for index in publishers.indices {
            // Rooms take turns within an interval.
            publishers[index].nextDue = now + interval * UInt64(index) / UInt64(publishers.count)
        }
        isPublishing = true
        reconnects = 0
    }

    /// Every room has had an acknowledgement since then.
    func isAcknowledged(since time: Instant) -> Bool {
        publishers.allSatisfy { $0.lastAcknowledged > time.nanoseconds }
    }

    /// Keeps the load going for `seconds`, or until `isOver`.
    func run(seconds: Double, until isOver: () -> Bool) {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        while case let now = Clock.now(), now < deadline, !isOver() {
            for index in publishers.indices {
                if isPublishing { publishers[index].schedule(now, interval, self) }
                publishers[index].pump(now, self)
            }
            for index in subscribers.indices { subscribers[index].pump(now, self) }
            loop.turn(milliseconds: 1)
        }
    }

    /// Stops publishing and waits until everything is acknowledged and received.
    func drain() throws {
        isPublishing = false
        run(seconds: 30) { self.publishers.allSatisfy(\.isIdle) }
        // Then until nothing has been received for a second.
        var last = -1
        for _ in 0..<30 where last != observations.count {
            last = observations.count
            run(seconds: 1) { false }
        }
        loop.closeAll()
    }

    func history() -> History {
        var history = History()
        history.rooms = rooms
        history.epochs = epochs
        // What was never sent is no part of the history.
        history.records = publishes.filter { $0.invoked != .distantFuture } + observations
        return history
    }

    func open(_ node: Int, tag: Int) -> Connection? {
        try? loop.openWebSocket(port: cluster.file.nodes[node].gatewayPort, tag: tag)
    }

    func subscribe(_ connection: Connection, _ room: String, after position: (epoch: String, offset: UInt64)?) {
        loop.subscribe(connection, room: room, after: position)
    }

    /// Sends message `number`; returns the command's number.
    func send(_ connection: Connection, _ room: [UInt8], _ number: UInt64) -> UInt64 {
        let index = Int(number) - 1
        if publishes[index].invoked == .distantFuture {
            publishes[index].invoked = Clock.instant()
        } else {
            repeats += 1
        }
        return loop.publish(connection, room: room, message: number, size: size, idempotent: true)
    }

    /// The next message's number.
    func makeMessage(room: UInt32, due time: UInt64) -> UInt64 {
        let number = UInt64(publishes.count + 1)
        due.append(time)
        publishes.append(
            HistoryRecord(
                invoked: .distantFuture,
                returned: .distantFuture,
                process: room,
                kind: .publish,
                room: room,
                // The idempotency key makes it a producer without a sequence.
                producer: UInt64(room),
                message: number,
                outcome: .info
            )
        )
        return number
    }
}
