import Broker
import ClientProtocol
import EventLoops
import NIOCore
import Primitives
import Rooms
import WebSocket

/// The client edge of one shard: its connections, and what the broker has for them. Confined to the shard's loop.
///
/// The driver calls `handle` with the broker's directives after it has settled the broker in the tick's step phase, for
/// which the edge asks by `Shard.setNeeds(.step)`. Frames are gathered during a tick; at its end each connection that
/// has some is written and flushed once.
package final class GatewayShard: @unchecked Sendable {
    static let corkCapacity = 16 << 10

    package let configuration: GatewayConfiguration
    let loop: Shard
    let broker: any EdgeBroker
    let protocolLimits: ClientProtocolLimits
    let namespaces: NamespaceIndex
    /// Of connections none of whose rooms wants a tighter one.
    let heartbeat: Heartbeat
    var closeLinger: TimeAmount { .nanoseconds(Int64(clamping: configuration.closeTimeout.nanoseconds)) }
    let allocator = ByteBufferAllocator()

    package internal(set) var metrics = GatewayMetrics()
    /// Set by the node when the process is close to its bound on descriptors: new connections are refused (GW-17).
    package var isShortOfDescriptors = false
    /// Clients are refused, or sent to other nodes: this one is being emptied.
    package private(set) var isDraining = false
    /// No new connections: the node is stopping.
    package private(set) var isStopping = false
    /// Nodes with room, as the node last heard.
    package var redirectTargets = RedirectTargets()

    private(set) var now = Instant.zero
    private(set) var wall: Timestamp = 0

    // Connections by their own index (all), and by session slot (those that have a session).
    private var connections: ContiguousArray<ClientConnection?> = []
    private var generations: ContiguousArray<UInt32> = []
    private var freeIndices: [UInt32] = []
    /// Connections that are there to be refused.
    private var refused = 0
    /// Sessions that a drain has told to go and that still wait for something.
    private var leaving: [ClientConnection] = []
    /// Where the drain goes on in the table of connections.
    private var nextToLeave = 0
    private var sessions: ContiguousArray<ClientConnection?> = []
    private var wheel: TimerWheel
    private var due: [TimerWheel.Entry] = []

    // Outbound.
    var delivery: Delivery
    var rooms = RoomTable()
    var cork: ByteBuffer
    let pingFrame: ByteBuffer
    let webSocketPingFrame: ByteBuffer
    private var messageIDs: MessageIDs

    private var resumable: [ClientConnection] = []
    private var closing: [(connection: ClientConnection, disconnect: Disconnect)] = []
    private var chance: Xoshiro256

    /// Made anywhere; everything else happens on `loop`, beginning with `start`.
    package init(configuration: GatewayConfiguration, loop: Shard, broker: any EdgeBroker) {
        precondition(configuration.pingInterval > .zero && configuration.pingTimeout > .zero)
        self.configuration = configuration
        self.loop = loop
        self.broker = broker
        var limits = ClientProtocolLimits()
        limits.channel = configuration.roomNameBytes
        protocolLimits = limits
        namespaces = NamespaceIndex(configuration.namespaces)
        heartbeat = Heartbeat(pingInterval: configuration.pingInterval, pingTimeout: configuration.pingTimeout)
        now = MonotonicClock.now()
        wall = WallClock.now()
        wheel = TimerWheel(now: now)
        delivery = Delivery(maxBytes: configuration.queueBytes, maxMessages: configuration.writeMessages)
        cork = allocator.buffer(capacity: GatewayShard.corkCapacity)
        var frame: [UInt8] = []
        FrameWriter.append(.text, to: &frame) { PushEncoder.appendPing(to: &$0) }
        pingFrame = allocator.buffer(bytes: frame)
        frame = []
        FrameWriter.append(.ping, [], to: &frame)
        webSocketPingFrame = allocator.buffer(bytes: frame)
        messageIDs = MessageIDs(node: configuration.node, shard: configuration.shard, start: wall)
        var seed = SystemRandomNumberGenerator()
        chance = Xoshiro256(seed: seed.next())
    }

    /// Joins the shard's timer and the end of its ticks.
    package func start() {
        loop.atEveryTick { [weak self] now, wall in self?.tick(now: now, wall: wall) }
        loop.atEndOfTick(.flush) { [weak self] in self?.endTick() }
    }

    // MARK: Connections

    /// Takes a new socket; nil refuses it without an answer.
    package func accept(_ stream: ByteStream) -> (any ByteStreamHandler)? {
        readClocks()
        guard !isStopping else { return nil }
        let admission = admission
        // The refused get a reason, in bounds: a flood of them gets none.
        if admission == .refused, refused >= 256 {
            metrics.refusedByStatus[HTTPStatus.serviceUnavailable.rawValue, default: 0] += 1
            return nil
        }
        let index: UInt32
        if let free = freeIndices.popLast() {
            index = free
        } else {
            index = UInt32(connections.count)
            connections.append(nil)
            generations.append(0)
        }
        generations[Int(index)] &+= 1
        let connection = ClientConnection(
            shard: self,
            stream: stream,
            entry: TimerWheel.Entry(index: index, generation: generations[Int(index)]),
            admission: admission
        )
        stream.maxTail = max(configuration.httpHead, configuration.httpBody, configuration.maxSize) + 65536
        connections[Int(index)] = connection
        metrics.activeConnections += 1
        metrics.connectionsTotal += 1
        if admission == .refused { refused += 1 }
        arm(connection, at: connection.deadline)
        return connection
    }

    private var admission: ClientConnection.Admission {
        let count = metrics.activeConnections - refused
        if isDraining || isShortOfDescriptors || count >= configuration.maxConnections { return .refused }
        let isCrowded = configuration.redirectAbove > 0 && count >= configuration.redirectAbove
        return isCrowded && !redirectTargets.isEmpty ? .redirected : .open
    }

    /// A node for a client that this one does not take.
    func redirectTarget() -> RedirectTargets.Target? { redirectTargets.choose(chance.next(), chance.next()) }

    /// Seconds after which a refused client may come again.
    func retryAfter() -> UInt64 {
        let least = UInt64(max(1, configuration.retryAfter))
        return least + chance.below(least + 1)
    }

    /// A connection got a session; `isPlain` nil: for HTTP requests only.
    func begin(_ connection: ClientConnection, _ session: SessionID, isPlain: Bool?) {
        while sessions.count <= Int(session.slot) { sessions.append(nil) }
        sessions[Int(session.slot)] = connection
        guard let isPlain else { return }
        delivery.open(session.slot, isPlain: isPlain)
        metrics.activeSessions += 1
        metrics.sessionsTotal += 1
    }

    /// A session ended; `.webSocket` ones are counted.
    func end(_ session: SessionID) {
        if let connection = sessions[Int(session.slot)], connection.frameParser != nil { metrics.activeSessions -= 1 }
        sessions[Int(session.slot)] = nil
        delivery.close(session.slot)
        broker.closeSession(session)
        calledBroker()
    }

    /// The socket is closed. `code` nil: it never was a WebSocket.
    func remove(_ connection: ClientConnection, code: UInt16?) {
        let index = Int(connection.entry.index)
        guard connections[index] === connection else { return }
        connections[index] = nil
        freeIndices.append(connection.entry.index)
        metrics.activeConnections -= 1
        if connection.admission == .refused { refused -= 1 }
        if let code { metrics.closedByCode[code, default: 0] += 1 }
        metrics.cleanups += 1
        metrics.cleanupNanoseconds &+= (MonotonicClock.now() - now).nanoseconds
        finishInput()
    }

    /// The connection of a session, if it is still the same one.
    private func connection(of session: SessionID) -> ClientConnection? {
        guard Int(session.slot) < sessions.count, let found = sessions[Int(session.slot)], found.session == session
        else { return nil }
        return found
    }

    // MARK: Time

    func readClocks() {
        now = MonotonicClock.now()
        wall = WallClock.now()
    }

    private func tick(now: Instant, wall: Timestamp) {
        self.now = now
        self.wall = wall
        due.removeAll(keepingCapacity: true)
        wheel.advance(to: now, due: &due)
        for entry in due {
            guard generations[Int(entry.index)] == entry.generation, let connection = connections[Int(entry.index)],
                connection.armed <= now
            else { continue }
            connection.armed = .distantFuture
            let next = connection.onTimer()
            if next < .distantFuture { arm(connection, at: next) }
        }
        if !leaving.isEmpty { letGo() }
        finishInput()
    }

    /// The wheel looks at the connection then, or earlier.
    func arm(_ connection: ClientConnection, at deadline: Instant) {
        guard deadline < connection.armed else { return }
        connection.armed = deadline
        wheel.arm(connection.entry, at: deadline)
    }

    /// A moment within the second half of the first interval, so that clients that came together are not asked
    /// together.
    func firstPing(_ heartbeat: Heartbeat) -> Instant {
        let half = heartbeat.pingInterval.nanoseconds / 2
        return now + Interval(nanoseconds: half + chance.below(max(1, half)))
    }

    // MARK: Input's end

    /// The broker was called: it is settled in this tick.
    func calledBroker() { loop.setNeeds(.step) }

    /// After input of any kind: what it made is sent at the end of the tick.
    func finishInput() {
        while let (connection, disconnect) = closing.popLast() { connection.close(disconnect, waitsForPeer: false) }
        if !delivery.dirty.isEmpty { loop.setNeeds(.flush) }
    }

    func closeLater(_ connection: ClientConnection, _ disconnect: Disconnect) {
        closing.append((connection, disconnect))
    }

    func resume(_ connection: ClientConnection) { resumable.append(connection) }

    func take(_ slot: UInt32) -> TickFrames.Node { delivery.take(slot) }

    private func endTick() {
        var index = 0
        // A flush can make others dirty: a slow reader's paused rooms catch up, a broken one leaves.
        while index < delivery.dirty.count {
            let slot = delivery.dirty[index]
            index += 1
            delivery.clearDirty(slot)
            let node = delivery.take(slot)
            sessions[Int(slot)]?.flush(node)
        }
        delivery.endTick()
        finishInput()
    }

    // MARK: Directives

    /// Does what the broker wants of this shard's connections.
    package func handle(_ directives: [EdgeDirective]) {
        readClocks()
        for directive in directives { handle(directive) }
        if !resumable.isEmpty {
            var waiting: [ClientConnection] = []
            swap(&waiting, &resumable)
            for connection in waiting { connection.resume() }
        }
        finishInput()
    }

    private func handle(_ directive: EdgeDirective) {
        switch directive {
        case .broadcast(let room, let publication): broadcast(room, publication)
        case .publications(let session, let room, let publications):
            guard let connection = connection(of: session) else { return }
            for publication in publications { deliver(publication, room: room, to: connection) }
        case .published(let token, let result):
            guard let connection = connection(of: token.session), let request = Request(token: token.command) else {
                return
            }
            switch request {
            case .command(let id):
                connection.publishAnswered(id, result)
                connection.answered()
            case .plain(let number):
                connection.plainPublished(number, result)
                connection.answered()
            case .http(let number): connection.answerHTTP(number, result)
            case .connectRoom, .plainRoom: break
            }
        case .subscribed(let token, let room, let result): subscribed(token, room, result)
        case .history(let token, _, let result):
            guard let connection = connection(of: token.session),
                case .command(let id) = Request(token: token.command)
            else { return }
            connection.historyAnswered(id, result)
            connection.answered()
        case .gap(let session, let room, let gap):
            guard let connection = connection(of: session) else { return }
            announce(gap, room, to: connection)
        case .resubscribe(let session, let name):
            guard let connection = connection(of: session) else { return }
            resubscribe(connection, name)
        // For the shim.
        case .keys, .served, .received, .patternSubscribed, .patternMessage, .channels: break
        }
    }

    private func subscribed(
        _ token: RequestToken,
        _ room: RoomName,
        _ result: Result<BrokerSubscribeResult, RequestError>
    ) {
        guard let connection = connection(of: token.session), let request = Request(token: token.command) else {
            return
        }
        switch request {
        case .command(let id): connection.subscribeAnswered(id, room, result)
        case .connectRoom(let row): connection.connectRoomAnswered(Int(row), result)
        case .plain(let number): connection.plainJoined(number, room, result)
        case .plainRoom: connection.plainJoined(nil, room, result)
        case .http: return
        }
        connection.answered()
    }

    private func resubscribe(_ connection: ClientConnection, _ name: RoomName) {
        guard let row = connection.memberships.firstIndex(where: { $0.name == name }) else { return }
        let membership = connection.memberships[row]
        if membership.room >= 0 { connection.forget(membership.room) }
        connection.memberships.remove(at: row)
        connection.leftNamespace(membership.namespace)
        switch connection.dialect {
        case .plain: connection.rejoinPlain(name, isServerSide: membership.isServerSide)
        case .centrifugo:
            // A client does not renew what the server gave it: it connects again with its positions.
            if membership.isServerSide { return connection.close(.insufficientState) }
            connection.send { PushEncoder.appendUnsubscribe(channel: name.bytes, .insufficientState, to: &$0) }
        }
    }

    private func announce(_ gap: Gap, _ room: HubRoomID, to connection: ClientConnection) {
        let record = record(of: room)
        var frame: [UInt8] = []
        FrameWriter.append(
            .text,
            lengthHint: 160,
            to: &frame
        ) { out in
            switch connection.dialect {
            case .centrifugo:
                PushEncoder.appendGap(
                    channel: record.name,
                    epoch: record.epoch,
                    first: gap.from,
                    last: gap.to,
                    reason: gap.reason == .trimmed ? "trimmed" : "epoch",
                    to: &out
                )
            case .plain: PlainNotice.appendGap(gap, room: record.name, to: &out)
            }
        }
        // In the room's order, and read again like its messages when the queue is full.
        connection.enqueue(
            OutboundFrame(
                bytes: allocator.buffer(bytes: frame),
                room: room,
                offset: gap.from,
                priority: record.priority,
                isStored: true
            )
        )
    }

    // MARK: Messages

    /// The broker's number for a room that a session joined.
    func note(_ room: HubRoomID, _ name: RoomName, epoch: UInt64, isStored: Bool) {
        let policy = broker.policy(of: room)
        if let known = rooms[room], known.epoch == epoch, RoomName(known.name) == name { return }
        rooms.set(
            room,
            RoomRecord(
                name: name.compacted().bytes,
                epoch: epoch,
                isStored: isStored,
                deliveryClass: policy.deliveryClass,
                priority: policy.priority
            )
        )
    }

    private func record(of room: HubRoomID) -> RoomRecord {
        if let known = rooms[room] { return known }
        let policy = broker.policy(of: room)
        note(room, broker.roomName(of: room), epoch: 0, isStored: policy.deliveryClass.isLogged)
        return rooms[room]!
    }

    private func broadcast(_ room: HubRoomID, _ publication: Publication) {
        let record = record(of: room)
        let subscribers = broker.liveSubscribers(of: room)
        metrics.broadcasts += 1
        if publication.isStale(at: wall) {
            metrics.drop(record.deliveryClass, .stale, UInt64(subscribers.count))
            return
        }
        var encoded = EncodedPublication(
            publication,
            room: room,
            record: record,
            ids: &messageIDs,
            allocator: allocator
        )
        var served = delivery.spread(subscribers, &encoded)
        if !delivery.congested.isEmpty {
            // A copy: full queues pause their rooms, and that changes the broker's lists.
            for slot in Array(delivery.congested) {
                guard let connection = sessions[Int(slot)] else { continue }
                served += 1
                connection.enqueueBehind(connection.dialect == .plain ? encoded.plain() : encoded.push())
            }
        }
        let latency = wall > publication.timestamp ? wall - publication.timestamp : 0
        metrics.latency(milliseconds: latency, count: served)
    }

    /// One message for one connection.
    func deliver(_ publication: Publication, room: HubRoomID, to connection: ClientConnection) {
        let record = record(of: room)
        if publication.isStale(at: wall) { return metrics.drop(record.deliveryClass, .stale) }
        if connection.pausedRooms.contains(room) { return }
        var encoded = EncodedPublication(
            publication,
            room: room,
            record: record,
            ids: &messageIDs,
            allocator: allocator
        )
        connection.enqueue(connection.dialect == .plain ? encoded.plain() : encoded.push())
    }

    /// As it stands in a reply; nil when it is stale.
    func outgoing(_ publication: Publication, room: HubRoomID) -> OutgoingPublication? {
        let record = record(of: room)
        if publication.isStale(at: wall) {
            metrics.drop(record.deliveryClass, .stale)
            return nil
        }
        var id: [UInt8] = []
        messageIDs.append(epoch: record.epoch, offset: publication.offset, isStored: record.isStored, to: &id)
        return EncodedPublication.outgoing(publication, isStored: record.isStored, id: id)
    }

    /// As it stands in a history, which shows stale messages too.
    func outgoing(_ publication: Publication, epoch: UInt64) -> OutgoingPublication {
        var id: [UInt8] = []
        messageIDs.append(epoch: epoch, offset: publication.offset, isStored: true, to: &id)
        return EncodedPublication.outgoing(publication, isStored: true, id: id)
    }

    /// The rooms that every connection of this user is in, as far as their namespaces let it.
    func serverRooms(user: [UInt8]) -> [RoomName] {
        var names: [RoomName] = []
        if !configuration.broadcastRoom.isEmpty { names.append(RoomName(configuration.broadcastRoom)) }
        if !user.isEmpty { names.append(RoomName([UInt8(ascii: "#")] + user)) }
        names.removeAll { namespaces[namespaces.row(of: $0)].subscribeRefusal != nil }
        return names
    }

    /// 128 random bits in the form of a UUID (RFC 9562, version 4).
    func makeClientID() -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        var generator = SystemRandomNumberGenerator()
        let high = generator.next() & ~0xF000 | 0x4000
        let low = generator.next() & ~(3 << 62) | 1 << 63
        var text: [UInt8] = []
        text.reserveCapacity(36)
        for (word, dashes) in [(high, [8, 12]), (low, [0, 4])] {
            for place in 0..<16 {
                if dashes.contains(place) { text.append(UInt8(ascii: "-")) }
                text.append(digits[Int(word >> UInt64(60 - 4 * place) & 15)])
            }
        }
        return text
    }

    // MARK: Drain

    /// Connections that a drain has to see off.
    package var clientsLeft: Int { metrics.activeConnections - refused }

    /// From here on no client is admitted; those that are here stay until `move` and `cut`.
    package func retire() {
        isDraining = true
        nextToLeave = 0
    }

    /// Admits clients again.
    package func serve() { isDraining = false }

    /// Tells up to `count` more clients to go; returns how many. Each goes when what it waits for has reached it.
    package func move(_ count: Int) -> Int {
        readClocks()
        var told = 0
        while told < count, nextToLeave < connections.count {
            if let connection = connections[nextToLeave], connection.admission != .refused, connection.beginLeaving() {
                told += 1
                leaving.append(connection)
            }
            nextToLeave += 1
        }
        letGo()
        finishInput()
        return told
    }

    private func letGo() {
        var waiting: [ClientConnection] = []
        swap(&waiting, &leaving)
        waiting.removeAll { $0.leaveWhenDone() }
        leaving = waiting + leaving
    }

    /// Closes every connection that is still there, whatever it waits for; returns how many clients that hit.
    package func cut() -> Int {
        readClocks()
        var count = 0
        for case let connection? in connections where connection.cutOff() { count += 1 }
        leaving = []
        metrics.cut += UInt64(count)
        finishInput()
        return count
    }

    // MARK: Stop

    /// Refuses new connections and closes those that are there, sessions with 3001 or 1012.
    package func stop() {
        isStopping = true
        readClocks()
        for case let connection? in connections {
            switch connection.phase {
            case .closing, .closed: continue
            case .webSocket: connection.close(connection.farewell)
            default: connection.closeSocket()
            }
        }
        finishInput()
    }
}
