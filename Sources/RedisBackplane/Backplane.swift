import Broker
import DequeModule
import Primitives
import RESP
import Rooms

/// The backplane of a node in Redis mode, without I/O: to the hubs of the node's shards it is the shard that owns every
/// partition, and it does an owner's work by Redis.
///
/// Best-effort rooms are Pub/Sub channels; guaranteed and retained rooms are streams (`StreamPosition` says how). Hubs
/// ask by `ShardMessage`, exactly as they ask the relays of a cluster's node, so that subscriptions, windows, named
/// consumers, pauses and gaps are the same code in every mode.
///
/// Inputs are methods; `outbox` is what must be done outside, in order. Confined to one thread.
package final class Backplane {
    package var outbox: [BackplaneDirective] = []
    package let settings: BackplaneSettings
    package internal(set) var counters = BackplaneCounters()
    package internal(set) var link: LinkState
    /// From publishing a probe to hearing it; nil before the first.
    package private(set) var probeLatency: Interval?
    /// Peers that answer and are not registered in this Redis (RA-30).
    package private(set) var foreignPeers: [String] = []
    /// Those that were missing once: they may only just have started.
    private var missingPeers: [String] = []

    let names: RedisNames
    var now: Instant
    var wall: Timestamp
    private var table = SubscriptionTable()
    private var queue: PublishQueue
    /// Hubs with members in best-effort rooms.
    private var interest: [RoomName: [Int]] = [:]
    /// Best-effort rooms whose channel is not confirmed yet.
    private var awaited: [[UInt8]: [(hub: Int, room: RoomName)]] = [:]

    // Streams.
    var rooms: [StreamRoom?] = []
    var freeRooms: [Int] = []
    var roomIndex: [RoomName: Int] = [:]
    var readers: [StreamReader]
    /// Appends without an answer, in all rooms.
    var pendingAppends = 0
    var cursors: [(owner: CursorOwner, position: Position)] = []
    var cursorRows: [CursorOwner: Int] = [:]
    var nextCursorFlush = Instant.zero
    var nextSweep = Instant.zero
    var awaitsReplicas: [Append] = []
    var hasUnwaitedAppends = false

    // What answers are for, in the order of each connection.
    var publisherReplies: Deque<PublisherPurpose> = []
    var writerReplies: Deque<WriterPurpose> = []
    var poolRequests: [UInt64: PoolPurpose] = [:]
    private var nextPoolRequest: UInt64 = 1

    private var restoringSince = Instant.zero
    private var probeSent: (number: UInt64, at: Instant)?
    private var probeNumber: UInt64 = 0
    private var nextProbe = Instant.zero
    private var nextRegistration = Instant.zero
    private var nextRefusal = Instant.zero
    private var breakerState = CircuitBreaker.State.closed

    enum PublisherPurpose {
        case publish
        case probe
        case append(Append)
        case check(Append)
        case ignored
    }

    enum WriterPurpose {
        case append(Append)
        case wait
    }

    enum PoolPurpose {
        case open(RoomName)
        case search(Append)
        case fetch(hub: Int, ShardMessage.HubFetch, epoch: UInt64, isSecond: Bool)
        case registration
        case ignored
    }

    package init(settings: BackplaneSettings, now: Instant, wall: Timestamp) {
        self.settings = settings
        self.now = now
        self.wall = wall
        names = RedisNames(prefix: settings.prefix, broadcastRoom: settings.broadcastRoom)
        link = LinkState(
            retries: settings.retryAttempts,
            base: settings.retryBase,
            ceiling: settings.retryCeiling,
            seed: settings.seed
        )
        queue = PublishQueue(limit: settings.queueCount, byteLimit: settings.queueBytes, window: settings.window)
        readers = (0..<max(1, settings.readers)).map { _ in StreamReader() }
        _ = table.want(.channel, names.probe(of: settings.node))
        if settings.usesPattern {
            _ = table.want(.channel, names.prefix)
            _ = table.want(.pattern, names.pattern)
        }
    }

    var isUp: Bool { link.phase == .up }

    /// Refusals can come with every publish: one a second is told.
    func emit(_ event: BackplaneEvent) {
        if case .refused = event {
            guard now >= nextRefusal else { return }
            nextRefusal = now + .seconds(1)
        }
        outbox.append(.event(event))
    }

    func pool(_ purpose: PoolPurpose, _ commands: [RESPCommand]) {
        let id = nextPoolRequest
        nextPoolRequest += 1
        poolRequests[id] = purpose
        outbox.append(.pool(id, commands))
    }

    func publish(_ purpose: PublisherPurpose, _ command: RESPCommand) {
        publisherReplies.append(purpose)
        outbox.append(.send(.publisher, command, patience: .zero))
    }

    // MARK: Time

    /// Moves the clock. Before each batch of inputs.
    package func advance(now: Instant, wall: Timestamp) {
        self.now = max(self.now, now)
        self.wall = wall
    }

    /// Does what is due. Every 10 ms or so.
    package func tick() {
        if link.begin(at: now) { outbox.append(.connect) }
        noteBreaker()
        if link.phase == .restoring, now - restoringSince > settings.socketTimeout {
            outbox.append(.disconnect("subscriptions were not confirmed in time"))
        }
        for item in queue.expired(at: now) { deliverLocally(item) }
        if isUp { tickProbe() }
        if isUp, now >= nextRegistration { register() }
        tickStreams()
    }

    private func tickProbe() {
        if let probe = probeSent, now - probe.at > settings.socketTimeout {
            probeSent = nil
            return outbox.append(.disconnect("what is published is not received"))
        }
        guard now >= nextProbe, probeSent == nil else { return }
        nextProbe = now + settings.probeInterval
        probeNumber += 1
        probeSent = (probeNumber, now)
        publish(
            .probe,
            RESPCommand("PUBLISH", RESPArgument(names.probe(of: settings.node)), RESPArgument(probeNumber))
        )
    }

    // MARK: Link

    /// All dedicated connections are there, with their handshakes done.
    /// `clients` are the server's numbers of the readers' connections.
    package func onConnected(readers clients: [Int64]) {
        for (index, client) in clients.enumerated() where index < readers.count { readers[index].client = client }
        link.connected()
        restoringSince = now
        for command in table.restore() { outbox.append(.send(.subscriber, command, patience: .zero)) }
        if table.isComplete { restored() }
    }

    private func restored() {
        let wasFallback = link.isFallback
        link.restored()
        noteBreaker()
        emit(.up(attempts: link.attempts))
        if wasFallback { emit(.recovered) }
        probeSent = nil
        nextProbe = now
        nextRegistration = now
        flushQueue()
        restoreStreams()
    }

    /// The link is lost, or could not be made: nothing more comes of its connections.
    package func onLinkLost(_ reason: String) {
        let wasUp = isUp
        let wasFallback = link.isFallback
        link.failed(at: now, reason)
        noteBreaker()
        if wasUp { emit(.lost(reason)) }
        if !wasFallback, link.isFallback { emit(.fallback(reason)) }
        probeSent = nil
        counters.retried += settings.retryOnTimeout ? UInt64(queue.sentCount) : 0
        for item in queue.lost(retry: settings.retryOnTimeout) { deliverLocally(item) }
        if link.isFallback {
            for item in queue.drain() { deliverLocally(item) }
        }
        loseStreams()
        publisherReplies.removeAll()
        writerReplies.removeAll()
        answerAwaited()
    }

    /// A successor of the server is named: nobody need wait for the end of a pause.
    package func onSuccessor() { link.hurry(at: now) }

    private func noteBreaker() {
        guard link.breaker.state != breakerState else { return }
        breakerState = link.breaker.state
        emit(.breaker(breakerState))
    }

    /// Rooms that wait for their channel are served locally meanwhile.
    private func answerAwaited() {
        let waiting = awaited.keys.sorted { $0.lexicographicallyPrecedes($1) }
        for channel in waiting { confirm(channel) }
    }

    private func confirm(_ channel: [UInt8]) {
        for (hub, room) in awaited.removeValue(forKey: channel) ?? [] { answerBestEffort(hub, room) }
    }

    // MARK: Hubs

    /// What a shard's hub asks of the owner of a room.
    package func onShardMessage(_ message: ShardMessage) {
        switch message {
        case .announce(_, let room, let body): announce(room, body)
        case .publish(let hub, let token, _, let command, let deadline, _): append(hub, token, command, deadline)
        case .register(let hub, _, let room, _):
            if isStored(room) { registerStream(hub, room) } else { registerChannel(hub, room) }
        case .unregister(let hub, _, let room, _):
            if isStored(room) { unregisterStream(hub, room) } else { unregisterChannel(hub, room) }
        case .fetch(let hub, let fetch): self.fetch(hub, fetch)
        case .acknowledge(_, let update): acknowledge(update)
        // A hub is told these, and asks none of them.
        case .published, .registered, .publications, .fetched, .resumed, .roomReset, .control, .emptied, .loads: break
        // Nobody counts subscribers in Redis mode, and there is no shim: its clients speak to Redis itself.
        case .subscriberCount, .patterns, .announceCounted, .channelQuery, .keyUnit, .keyRead, .cancelWait, .keys,
            .served, .counted, .channelReply, .received, .patternPublications:
            break
        }
    }

    func policy(_ room: RoomName) -> NamespacePolicy { settings.namespaces.policy(for: room) }
    private func isStored(_ room: RoomName) -> Bool { policy(room).deliveryClass.isLogged }

    private func registerChannel(_ hub: Int, _ room: RoomName) {
        let owned = room.compacted()
        if interest[owned]?.contains(hub) != true { interest[owned, default: []].append(hub) }
        if !settings.usesPattern {
            let channel = names.channel(of: owned)
            if let command = table.want(.channel, channel), link.phase == .restoring || isUp {
                outbox.append(.send(.subscriber, command, patience: .zero))
            }
            if isUp, !table.isAcknowledged(.channel, channel) {
                awaited[channel, default: []].append((hub, owned))
                return
            }
        }
        answerBestEffort(hub, owned)
    }

    private func answerBestEffort(_ hub: Int, _ room: RoomName) {
        outbox.append(.hub(hub, .registered(room, head: RoomHead(epoch: 0, first: 1, next: 1), live: true)))
    }

    private func unregisterChannel(_ hub: Int, _ room: RoomName) {
        guard var hubs = interest[room] else { return }
        hubs.removeAll { $0 == hub }
        interest[room] = hubs.isEmpty ? nil : hubs
        guard hubs.isEmpty, !settings.usesPattern else { return }
        let channel = names.channel(of: room)
        awaited[channel] = nil
        if let command = table.drop(.channel, channel), link.phase == .restoring || isUp {
            outbox.append(.send(.subscriber, command, patience: .zero))
        }
    }

    // MARK: Pub/Sub

    private func announce(_ room: RoomName, _ body: ArraySlice<UInt8>) {
        guard !link.isFallback else { return deliver(room, body, isLocal: true) }
        let owned = room.compacted()
        let item = PublishQueue.Item(
            room: owned,
            body: body,
            channel: names.channel(of: owned),
            payload: ChannelPayload.encode(body, policyTimeToLive: policy(owned).messageTimeToLive),
            expectsEcho: settings.usesPattern || interest[owned] != nil,
            deadline: now + settings.socketTimeout
        )
        for item in queue.append(item) { deliverLocally(item) }
        flushQueue()
    }

    private func flushQueue() {
        guard isUp else { return }
        while let item = queue.next() {
            counters.published += 1
            publish(.publish, RESPCommand("PUBLISH", RESPArgument(item.channel), RESPArgument(item.payload)))
        }
    }

    private func deliverLocally(_ item: PublishQueue.Item) { deliver(item.room, item.body, isLocal: true) }

    private func deliver(_ room: RoomName, _ body: ArraySlice<UInt8>, isLocal: Bool) {
        if isLocal { counters.localBroadcasts += 1 }
        guard let hubs = interest[room] else { return }
        let publication = Publication(offset: 0, timestamp: wall, body: body)
        for hub in hubs { outbox.append(.hub(hub, .publications(room.compacted(), epoch: 0, [publication]))) }
    }

    /// On the subscriber connection: a message, or the confirmation of a subscription. RESP2 and RESP3 say it alike.
    package func onSubscriber(_ value: RESPValue) {
        guard let parts = value.elements, let kind = parts.first?.text else {
            if let error = value.errorText { outbox.append(.disconnect("the subscription is refused: \(error)")) }
            return
        }
        switch kind {
        case "message" where parts.count == 3: heard(parts[1].bytes ?? [], parts[2].bytes ?? [])
        case "pmessage" where parts.count == 4: heard(parts[2].bytes ?? [], parts[3].bytes ?? [])
        case "subscribe", "psubscribe":
            guard parts.count == 3, let name = parts[1].bytes else { return }
            guard table.acknowledged(kind == "subscribe" ? .channel : .pattern, name) else { return }
            confirm(name)
            if link.phase == .restoring, table.isComplete { restored() }
        default: break
        }
    }

    private func heard(_ channel: [UInt8], _ payload: [UInt8]) {
        if channel == names.probe(of: settings.node) {
            // Another node of the same name, or a probe of an earlier life, is none of ours.
            guard let probe = probeSent, RESPValue.bulk(payload).number == Int64(probe.number) else { return }
            probeLatency = now - probe.at
            probeSent = nil
            return
        }
        counters.received += 1
        queue.heard(channel: channel, payload: payload)
        guard let room = names.room(of: channel) else { return }
        let policy = policy(room)
        guard !policy.deliveryClass.isLogged else {
            counters.unplaced += 1
            if counters.unplaced <= 10 { emit(.unplaced(room.description)) }
            return
        }
        guard interest[room] != nil else { return }
        deliver(
            room,
            ChannelPayload.decode(payload, policyTimeToLive: policy.messageTimeToLive)[...],
            isLocal: false
        )
    }

    // MARK: Replies

    /// The answer to the oldest unanswered command of a dedicated connection other than the subscriber's.
    package func onReply(_ connection: BackplaneConnection, _ value: RESPValue) {
        if let error = value.errorText, Backplane.isFatal(error) {
            return outbox.append(.disconnect(error))
        }
        switch connection {
        case .publisher:
            guard let purpose = publisherReplies.popFirst() else { return }
            switch purpose {
            case .publish:
                queue.answered()
                if let error = value.errorText { emit(.refused(error)) }
                flushQueue()
            case .append(let append): appended(append, value)
            case .check(let append): checked(append, value)
            case .probe, .ignored: break
            }
        case .writer:
            guard let purpose = writerReplies.popFirst() else { return }
            switch purpose {
            case .append(let append): appended(append, value)
            case .wait: waited(value)
            }
        case .reader(let index): onEntries(index, value)
        case .subscriber: onSubscriber(value)
        }
    }

    /// This server cannot be worked with: it is no master (any more), is still loading, or does not let us in.
    private static func isFatal(_ error: String) -> Bool {
        ["READONLY", "LOADING", "NOAUTH", "MASTERDOWN", "NOPERM", "UNBLOCKED"].contains { error.hasPrefix($0) }
    }

    /// What the pool brought: as many values as commands, or why it did not.
    package func onPoolReply(_ id: UInt64, _ values: [RESPValue]?) {
        guard let purpose = poolRequests.removeValue(forKey: id) else { return }
        switch purpose {
        case .open(let room): opened(room, values)
        case .search(let append): searched(append, values)
        case .fetch(let hub, let fetch, let epoch, let isSecond):
            fetched(hub, fetch, epoch: epoch, isSecond: isSecond, values)
        case .registration: registered(values)
        case .ignored: break
        }
    }

    // MARK: Peers

    /// A row with a time to live per node: whoever answers and has none writes to another Redis (RA-30).
    private func register() {
        nextRegistration = now + .seconds(5)
        var commands = [
            RESPCommand("SET", RESPArgument(names.node(settings.node)), RESPArgument(wall), "PX", "20000")
        ]
        if !settings.peers.isEmpty {
            commands.append(RESPCommand(["MGET"] + settings.peers.map { RESPArgument(names.node($0)) }))
        }
        pool(.registration, commands)
    }

    private func registered(_ values: [RESPValue]?) {
        guard let rows = values?.last?.elements, rows.count == settings.peers.count else { return }
        for (peer, row) in zip(settings.peers, rows) {
            if row == .null {
                outbox.append(.probePeer(peer))
            } else {
                missingPeers.removeAll { $0 == peer }
                foreignPeers.removeAll { $0 == peer }
            }
        }
    }

    /// Whether the gateway of a peer that is not registered answers.
    package func onPeerProbed(_ peer: String, answers: Bool) {
        if !answers {
            missingPeers.removeAll { $0 == peer }
            foreignPeers.removeAll { $0 == peer }
        } else if !missingPeers.contains(peer) {
            missingPeers.append(peer)
        } else if !foreignPeers.contains(peer) {
            foreignPeers.append(peer)
            emit(.foreignPeer(peer))
        }
    }
}
