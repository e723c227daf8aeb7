import Histogram
import HistoryChecker
import Primitives

/// Who publishes where, and who subscribes.
struct LoadLayout {
    struct Client: Equatable {
        /// The index of its room.
        var room: Int
        var node: Int
    }

    var rooms: [String]
    var publishers: [Client]
    var subscribers: [Client]
    /// A client whose node is gone waits for it; otherwise it goes to the next one.
    var isPinned = false
    /// Messages of a publisher that are due at the same time.
    var burst: UInt64 = 1

    /// One publisher and one subscriber a room, at neighbouring nodes.
    static func spread(_ rooms: [String], over nodes: Int) -> Self {
        Self(
            rooms: rooms,
            publishers: rooms.indices.map { Client(room: $0, node: $0 % nodes) },
            subscribers: rooms.indices.map { Client(room: $0, node: ($0 + 1) % nodes) }
        )
    }
}

/// Open-loop publishers and resuming subscribers.
final class FailoverLoad {
    let cluster: VencejoCluster
    let layout: LoadLayout
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
    /// A connection that is not usable after this is opened anew.
    static let openTimeout: UInt64 = 1_000_000_000
    static let retryDelay: UInt64 = 20_000_000
    /// A publisher that is refused again and again asks less and less often: not to load what tries to recover.
    static let longestRetryDelay: UInt64 = 160_000_000

    /// `name` begins the rooms' names.
    convenience init(
        cluster: VencejoCluster,
        name: String = "failover",
        roomCount: Int,
        interval: UInt64,
        size: Int
    ) throws {
        let rooms = (0..<roomCount).map { "\(name)-\($0)" }
        let layout = LoadLayout.spread(rooms, over: cluster.file.nodes.count)
        try self.init(cluster: cluster, layout: layout, interval: interval, size: size)
    }

    init(cluster: VencejoCluster, layout: LoadLayout, interval: UInt64, size: Int) throws {
        self.cluster = cluster
        self.layout = layout
        self.interval = interval
        self.size = size
        loop = try LoadLoop()
        var table = SymbolTable()
        roomNumbers = layout.rooms.map { ($0, table.number(of: $0)) }
        rooms = table
    }

    /// Connects everyone and waits until every subscriber has its position.
    func start() throws {
        for (index, client) in layout.publishers.enumerated() {
            let room = roomNumbers[client.room]
            publishers.append(RoomPublisher(index: index, room: room.name, number: room.number, node: client.node))
        }
        for (index, client) in layout.subscribers.enumerated() {
            let room = roomNumbers[client.room]
            subscribers.append(RoomSubscriber(index: index, room: room.name, number: room.number, node: client.node))
        }
        loop.onReady = { [unowned self] connection in
            if connection.tag >= 0 {
                subscribers[connection.tag].isReady(loop, connection)
            }
        }
        loop.onClose = { [unowned self] connection in
            reconnects += 1
            if connection.tag >= 0 {
                subscribers[connection.tag].isClosed(self, Clock.now())
            } else {
                publishers[-connection.tag - 1].isClosed(self, Clock.now())
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

    /// Every client of the node has been served since then.
    func isServed(node: Int, since time: Instant) -> Bool {
        for (index, client) in layout.publishers.enumerated() where client.node == node {
            guard publishers[index].lastAcknowledged > time.nanoseconds else { return false }
        }
        for (index, client) in layout.subscribers.enumerated() where client.node == node {
            guard subscribers[index].lastReceived > time.nanoseconds else { return false }
        }
        return true
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

    /// Of the publishes that were due in this time and were acknowledged, from then.
    func latencies(dueIn window: Range<UInt64>) -> LatencySummary {
        let rows = publishes.indices.lazy.filter { window.contains(self.due[$0]) && self.publishes[$0].outcome == .ok }
        return LatencySummary(
            nanoseconds: rows.map { row in
                let (returned, due) = (self.publishes[row].returned.nanoseconds, self.due[row])
                return returned > due ? returned - due : 0
            }
        )
    }

    func open(_ node: Int, tag: Int) -> Connection? {
        let place = cluster.file.nodes[node]
        return try? loop.openWebSocket(host: place.host, port: place.gatewayPort, tag: tag)
    }

    /// Gives up a connection that does not become usable.
    func abandon(_ connection: Connection) {
        reconnects += 1
        loop.close(connection)
    }

    /// Where a client goes whose node is gone.
    func next(after node: Int) -> Int { layout.isPinned ? node : (node + 1) % cluster.file.nodes.count }

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
    func makeMessage(room: UInt32, publisher: UInt32, due time: UInt64) -> UInt64 {
        let number = UInt64(publishes.count + 1)
        due.append(time)
        publishes.append(
            HistoryRecord(
                invoked: .distantFuture,
                returned: .distantFuture,
                process: publisher,
                kind: .publish,
                room: room,
                // The idempotency key makes it a producer without a sequence.
                producer: UInt64(publisher),
                message: number,
                outcome: .info
            )
        )
        return number
    }
}
