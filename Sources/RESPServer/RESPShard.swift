import Broker
import EventLoops
import Keys
import NIOCore
import Primitives
import Rooms

/// The shim of one shard: its connections, and what the broker has for them. Confined to the shard's loop.
///
/// The driver calls `handle` with the broker's directives after it has settled the broker in the tick's step phase, for
/// which the shim asks by `Shard.setNeeds(.step)`. Output is gathered during a tick; at its end each connection that
/// has some is written and flushed once.
package final class RESPShard: @unchecked Sendable {
    package let node: RESPNode
    package let loop: Shard
    let broker: any RESPBroker
    let table = ServerTable.all
    let allocator = ByteBufferAllocator()

    package internal(set) var metrics = RESPMetrics()
    /// Clients are refused: the node is being emptied.
    package private(set) var isDraining = false
    /// No new connections: few descriptors are left.
    package var isShortOfDescriptors = false
    /// No new connections: the node is stopping.
    package private(set) var isStopping = false
    var settings: RESPSettings

    private(set) var now: Instant
    private(set) var wall: Timestamp

    // Connections by the slot of their session, and by their number.
    private var sessions: ContiguousArray<RESPConnection?> = []
    private(set) var clients: [UInt64: RESPConnection] = [:]
    /// Those that wait for a key, by ticket.
    var tickets: [UInt64: RESPConnection] = [:]
    /// Those that wait for replicas (WAIT).
    var waitingForReplicas: [RESPConnection] = []
    /// Those that wait for the end of CLIENT PAUSE.
    private var paused: [RESPConnection] = []
    private(set) var pause: RESPNode.Pause?
    /// Connections that closed while a call of theirs was on the stack.
    private var closing: [RESPConnection] = []
    /// Whom a drain has not told to go yet, newest first, and whom it waits for.
    private var staying: [RESPConnection] = []
    private var leaving: [RESPConnection] = []
    private var nextSweep = Instant.zero
    private var commandsAtSweep: UInt64 = 0
    var monitors: [RESPConnection] = []
    /// Some connection of the node is a monitor.
    var isMonitored = false

    // Outbound.
    var lanes: ContiguousArray<Lane> = []
    var tree = FrameTree()
    private var dirty: ContiguousArray<UInt32> = []
    private var cork: ByteBuffer
    var channels: ContiguousArray<Channel?> = []
    var patterns = PatternTable()

    struct Lane {
        /// The session is a connection of the shim.
        static let open: UInt8 = 1
        static let resp3: UInt8 = 2
        /// Messages wait behind a reply.
        static let held: UInt8 = 4
        static let dirty: UInt8 = 8

        var node = FrameTree.root
        var state: UInt8 = 0
    }

    /// A room that connections here are subscribed to.
    struct Channel {
        var room: RoomName
        var name: [UInt8]
        var kind: RESPNode.ChannelKind
    }

    /// Made anywhere; everything else happens on `loop`, beginning with `start`.
    package init(node: RESPNode, loop: Shard, broker: any RESPBroker) {
        self.node = node
        self.loop = loop
        self.broker = broker
        settings = node.settings
        now = MonotonicClock.now()
        wall = WallClock.now()
        cork = allocator.buffer(capacity: 16 << 10)
        metrics.commands = Array(repeating: RESPMetrics.CommandCount(), count: table.table.commands.count)
        node.join(self)
    }

    /// Joins the shard's timer and the end of its ticks. It lives as long as its loop; a weak reference would give the
    /// object a side table, through which every later retain goes (a third of a read's time).
    package func start() {
        loop.atEveryTick { now, wall in self.tick(now: now, wall: wall) }
        loop.atEndOfTick(.flush) { self.flush() }
    }

    // MARK: Connections

    /// Takes a new socket of the listener; nil refuses it without an answer.
    package func accept(_ stream: ByteStream, _ listener: RESPListenerSettings) -> (any ByteStreamHandler)? {
        readClocks()
        metrics.connectionsTotal += 1
        guard !isStopping else { return nil }
        if isDraining {
            metrics.rejectedConnections += 1
            // Clients take LOADING for a reason to try again, and other errors for an answer.
            stream.write(allocator.buffer(string: "-LOADING this node is draining, connect to another one\r\n"))
            stream.flush()
            return nil
        }
        let id = isShortOfDescriptors ? nil : node.admitClient()
        guard let id, let session = broker.openSession() else {
            if id != nil { node.clientLeft() }
            metrics.rejectedConnections += 1
            stream.write(allocator.buffer(string: "-ERR max number of clients reached\r\n"))
            stream.flush()
            return nil
        }
        calledBroker()
        stream.maxTail = settings.queryBuffer
        let connection = RESPConnection(shard: self, stream: stream, listener: listener, id: id, session: session)
        while sessions.count <= Int(session.slot) { sessions.append(nil) }
        while lanes.count <= Int(session.slot) { lanes.append(Lane()) }
        sessions[Int(session.slot)] = connection
        lanes[Int(session.slot)].node = FrameTree.root
        lanes[Int(session.slot)].state = lanes[Int(session.slot)].state & Lane.dirty | Lane.open
        clients[id] = connection
        metrics.connections += 1
        return connection
    }

    /// The connection has ended, whoever ended it.
    func remove(_ connection: RESPConnection) {
        guard clients.removeValue(forKey: connection.id) != nil else { return }
        let slot = Int(connection.session.slot)
        sessions[slot] = nil
        lanes[slot].node = FrameTree.root
        lanes[slot].state &= Lane.dirty
        broker.closeSession(connection.session)
        calledBroker()
        node.clientLeft()
        metrics.connections -= 1
        waitingForReplicas.removeAll { $0 === connection }
        paused.removeAll { $0 === connection }
        if connection.isMonitor { leaveMonitors(connection) }
    }

    /// The connection of a session, if it is still the same one and one of the shim's.
    func connection(of session: SessionID) -> RESPConnection? {
        guard Int(session.slot) < sessions.count, let found = sessions[Int(session.slot)], found.session == session
        else { return nil }
        return found
    }

    func session(at slot: UInt32) -> RESPConnection? { sessions[Int(slot)] }

    /// In the order of their numbers.
    var orderedClients: [RESPConnection] { clients.values.sorted { $0.id < $1.id } }

    // MARK: Time

    func readClocks() {
        readClock()
        wall = WallClock.now()
    }

    /// The monotonic one alone: the wall clock is looked at every tick.
    func readClock() { now = MonotonicClock.now() }

    private func tick(now: Instant, wall: Timestamp) {
        self.now = now
        self.wall = wall
        if let pause, pause.until <= now { pauseChanged(nil) }
        for connection in waitingForReplicas { connection.checkReplicas() }
        if !leaving.isEmpty { letGo() }
        if now >= nextSweep {
            nextSweep = now + .seconds(1)
            metrics.commandsPerSecond = metrics.commandsTotal &- commandsAtSweep
            commandsAtSweep = metrics.commandsTotal
            for connection in Array(clients.values) { connection.sweep() }
        }
        finishInput()
    }

    // MARK: CLIENT PAUSE

    func isPaused(_ traits: ServerTable.Traits) -> Bool {
        guard let pause, pause.until > now, !traits.contains(.neverPaused) else { return false }
        return pause.isAll || traits.contains(.pausedAsWrite)
    }

    func waitForPause(_ connection: RESPConnection) {
        paused.append(connection)
        metrics.blocked += 1
    }

    func pauseChanged(_ new: RESPNode.Pause?) {
        readClocks()
        pause = new
        var waiting: [RESPConnection] = []
        swap(&waiting, &paused)
        metrics.blocked -= waiting.count
        for connection in waiting { connection.pauseEnded() }
        finishInput()
    }

    func leavePause(_ connection: RESPConnection) {
        let count = paused.count
        paused.removeAll { $0 === connection }
        metrics.blocked -= count - paused.count
    }

    // MARK: Input's end

    /// The broker was called: it is settled in this tick.
    func calledBroker() { loop.setNeeds(.step) }

    /// After input of any kind: what it made is sent at the end of the tick.
    func finishInput() {
        while let connection = closing.popLast() { connection.close() }
        if !dirty.isEmpty { loop.setNeeds(.flush) }
    }

    func closeLater(_ connection: RESPConnection) { closing.append(connection) }

    // MARK: Output

    /// The connection has output for the end of the tick.
    @inline(__always)
    func mark(_ slot: UInt32) {
        guard lanes[Int(slot)].state & Lane.dirty == 0 else { return }
        lanes[Int(slot)].state |= Lane.dirty
        dirty.append(slot)
    }

    func setLane(_ slot: UInt32, _ flag: UInt8, _ isSet: Bool) {
        if isSet { lanes[Int(slot)].state |= flag } else { lanes[Int(slot)].state &= ~flag }
    }

    /// The list of a connection, which becomes empty.
    func take(_ slot: UInt32) -> FrameTree.Node {
        defer { lanes[Int(slot)].node = FrameTree.root }
        return lanes[Int(slot)].node
    }

    private func flush() {
        var index = 0
        while index < dirty.count {
            let slot = dirty[index]
            index += 1
            lanes[Int(slot)].state &= ~Lane.dirty
            sessions[Int(slot)]?.flush()
        }
        dirty.removeAll(keepingCapacity: true)
        tree.reset()
        finishInput()
    }

    /// Writes bytes to a stream by way of one buffer for the whole shard.
    func write(_ bytes: [UInt8], to stream: ByteStream) {
        cork.clear()
        cork.writeBytes(bytes)
        stream.write(cork)
    }

    // MARK: Directives

    /// Does what the broker wants of the shim's connections.
    package func handle(_ directives: [EdgeDirective]) {
        readClocks()
        for directive in directives { handle(directive) }
        finishInput()
    }

    private func handle(_ directive: EdgeDirective) {
        switch directive {
        case .keys(let token, let result): connection(of: token.session)?.keysAnswered(token.command, result)
        case .served(let ticket, let reply): tickets[ticket]?.served(ticket, reply)
        case .received(let token, let result): connection(of: token.session)?.published(token.command, result)
        case .subscribed(let token, let room, let result):
            if case .success(let subscription) = result { note(subscription.room, room) }
            connection(of: token.session)?.subscribed(token.command, room, result)
        case .patternSubscribed(let token, let pattern):
            connection(of: token.session)?.patternSubscribed(token.command, pattern)
        case .channels(let token, let result): connection(of: token.session)?.channelsAnswered(token.command, result)
        case .broadcast(let room, let publication): broadcast(room, publication)
        case .publications(let session, let room, let publications):
            guard let connection = connection(of: session) else { return }
            for publication in publications { deliver(publication, room, to: connection) }
        case .patternMessage(let room, let publication): deliverPattern(room, publication)
        case .resubscribe(let session, let room): connection(of: session)?.resubscribe(room)
        // A subscription without a position has no gaps to speak of; the rest is for the WebSocket edge.
        case .gap, .published, .history: break
        }
    }

    // MARK: Topology

    func topologyChanged(from old: RESPTopology?, to new: RESPTopology) {
        readClocks()
        if let before = old?.master, let after = new.master, before.host != after.host || before.port != after.port {
            let text =
                "\(settings.masterName) \(before.host) \(before.port) \(after.host) \(after.port)"
            for connection in orderedClients where connection.listener.face == .sentinel {
                connection.deliverLocally(channel: Array("+switch-master".utf8), payload: Array(text.utf8))
            }
        }
        finishInput()
    }

    // MARK: Drain

    /// From here on no client is admitted; those that are here stay until `move` and `cut`.
    package func retire() {
        isDraining = true
        staying = orderedClients.reversed()
    }

    /// Admits clients again.
    package func serve() {
        isDraining = false
        staying = []
    }

    /// Tells up to `count` more connections to go; returns how many. Each goes when it has its replies.
    package func move(_ count: Int) -> Int {
        readClocks()
        var told = 0
        while told < count, let connection = staying.popLast() {
            guard connection.phase == .open else { continue }
            connection.beginLeaving()
            leaving.append(connection)
            told += 1
        }
        letGo()
        finishInput()
        return told
    }

    private func letGo() {
        var waiting: [RESPConnection] = []
        swap(&waiting, &leaving)
        waiting.removeAll { $0.leaveWhenIdle() }
        leaving = waiting + leaving
    }

    /// Closes every connection that is still there, whatever it waits for; returns how many.
    package func cut() -> Int {
        readClocks()
        let left = orderedClients
        for connection in left { connection.close() }
        staying = []
        leaving = []
        metrics.cut += UInt64(left.count)
        finishInput()
        return left.count
    }

    // MARK: Stop

    /// Refuses new connections and closes those that are there.
    package func stop() {
        isStopping = true
        readClocks()
        for connection in orderedClients { connection.close() }
        finishInput()
    }
}
