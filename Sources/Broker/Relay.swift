import DequeModule
import Keys
import PeerProtocol
import Primitives
import Rooms

/// This node's end of one partition: the stream of its publishes to the owner, and the rooms that its hubs want.
///
/// All of it survives a change of owner: what was not answered is sent again, in order, to the next one, where apply
/// recognizes what had already been appended.
final class Relay {
    let partition: PartitionID
    var owner: NodeID?
    var ownerTerm: Term = 0
    /// Since when there is no owner to talk to.
    var lostAt: Instant?
    var isDegraded = false
    var isDirty = false

    // The publish stream.
    var gateway: GatewayID
    var attempt: UInt32 = 1
    /// Sequence of `pending[0]`.
    var base: UInt64 = 1
    var pending: Deque<PendingPublish> = []
    var pendingBytes = 0
    /// How many of `pending` were sent in this attempt.
    var sent = 0
    var lastPublish: Instant
    /// When the owner last answered, or was first asked.
    var lastProgress: Instant
    /// After a refusal the next attempt waits, so that two nodes that disagree do not spin.
    var retryAt: Instant?

    var rooms: [RoomName: RelayRoom] = [:]
    /// Rooms in order of registration; the walk over them must not depend on hashing.
    var roomOrder: [RoomName] = []
    var fetches: [UInt64: PendingFetch] = [:]
    var nextToken: UInt64

    // Of a key partition.
    let isKeys: Bool
    /// The gateway has said which node and shard it serves.
    var hasSaidHello = false
    /// Waits under way, and the hub that each came from.
    var tickets: [UInt64: Int] = [:]
    /// Waits that were given up while nobody knew yet whether they had begun.
    var cancelled: Set<UInt64> = []
    /// Waits whose replies are here: the partition may forget them.
    var doneTickets: [UInt64] = []
    var nextPoll: Instant
    /// Patterns of this node's hubs.
    var patterns: [Int: [PatternCount]] = [:]

    var cursors: [CursorUpdate] = []
    var cursorsDue: Instant?

    struct PendingPublish {
        var command: ArraySlice<UInt8>
        var hub: Int
        var token: RequestToken
        var deadline: Instant
        /// The client was answered: by the owner, or by a timeout.
        var isAnswered: Bool
        var isDecided: Bool
        /// The publisher wants to know how many subscribers the message was sent to.
        var isCounted = false
    }

    struct RelayRoom {
        enum State: Equatable {
            /// Waits for an owner.
            case wanted
            /// A registration is under way; live messages before its answer do not count.
            case registering(token: UInt64)
            case live
        }
        /// Bit per hub.
        var hubs: UInt64
        /// Hubs that wait for the registration's answer.
        var waiting: UInt64
        var state: State
        var isStored: Bool
        /// Subscribers of all hubs.
        var subscribers: Int32 = 0
        /// 0 until the owner has told.
        var epoch: UInt64
        var next: UInt64
    }

    struct PendingFetch {
        enum Purpose {
            case registration
            case hub(Int, ShardMessage.HubFetch)
            case keys(hub: Int, RequestToken)
            case poll([UInt64])
            /// A count or the patterns; the hub's token.
            case counted(hub: Int, UInt64)
            case announced(hub: Int, RequestToken)
            case channels(hub: Int, UInt64)

            var isRegistration: Bool { if case .registration = self { true } else { false } }
        }
        enum Request {
            case room(FetchRequest)
            case keys(KeyRead)
            case subscribers([SubscriberCount])
            /// All patterns, as they are when this is sent.
            case patterns
            case announce(RoomName, ArraySlice<UInt8>)
            case channels(ChannelQuery)
        }
        var purpose: Purpose
        var request: Request
        var deadline: Instant
        var isSent: Bool
        var sentAt: Instant

        /// A repetition would be a second message, or move the keys a second time.
        var isSentOnce: Bool {
            switch request {
            case .announce: true
            case .keys(let read): read.unit.first == KeyUnit.Kind.handOver.rawValue
            case .room, .subscribers, .patterns, .channels: false
            }
        }
    }

    /// Names of rooms that are gone stay in `roomOrder` until half of it is stale, so that a mass disconnect is linear.
    func compactOrder() {
        guard roomOrder.count > 2 * rooms.count + 16 else { return }
        var seen: Set<RoomName> = []
        roomOrder.removeAll { rooms[$0] == nil || !seen.insert($0).inserted }
    }

    init(partition: PartitionID, gateway: GatewayID, isKeys: Bool, now: Instant) {
        self.partition = partition
        self.gateway = gateway
        self.isKeys = isKeys
        nextPoll = now
        // An owner may still read the disk for an earlier life of this node; its answer must not fit a fetch of this
        // one. 48 bits of chance, and tokens stay short.
        nextToken = gateway.rawValue >> 16
        lostAt = now
        lastPublish = now
        lastProgress = now
    }
}

extension Broker {
    func relay(_ partition: PartitionID) -> Relay? {
        Int(partition.rawValue) < relays.count ? relays[Int(partition.rawValue)] : nil
    }

    func mark(_ relay: Relay) {
        guard !relay.isDirty else { return }
        relay.isDirty = true
        dirtyRelays.append(relay)
    }

    // MARK: Owner

    func relayOwner(_ relay: Relay, node: NodeID, term: Term) {
        guard isReachable(node) else { return }
        if relay.owner == node, relay.ownerTerm == term { return }
        relay.owner = node
        relay.ownerTerm = term
        relay.lostAt = nil
        if relay.isDegraded {
            relay.isDegraded = false
            outbox.events.append(.restored(relay.partition))
        }
        restartStream(relay)
        if relay.isKeys { greetKeys(relay) }
        for token in relay.fetches.keys.sorted() {
            if case .registration = relay.fetches[token]?.purpose { relay.fetches[token] = nil }
        }
        // Registrations first: a count says something of a registered room only.
        for name in relay.roomOrder { register(name, relay) }
        if !relay.patterns.isEmpty { send(.patterns(relay.partition, token: 0, allPatterns(relay)), to: node) }
        for token in relay.fetches.keys.sorted() {
            guard let fetch = relay.fetches[token], !fetch.purpose.isRegistration else { continue }
            if fetch.isSentOnce, fetch.isSent {
                failFetch(token, relay, .timeout)
            } else {
                sendFetch(token, relay)
            }
        }
        mark(relay)
    }

    func ownerUnreachable(_ relay: Relay) {
        guard relay.owner != nil else { return }
        relay.owner = nil
        relay.lostAt = now
        if owners[Int(relay.partition.rawValue)]?.node != settings.node {
            // Forget the term too: the same owner may come back on a new link.
            owners[Int(relay.partition.rawValue)] = nil
        }
        relay.ownerTerm = 0
        for name in relay.roomOrder { relay.rooms[name]?.state = .wanted }
        for token in relay.fetches.keys.sorted() {
            guard let fetch = relay.fetches[token] else { continue }
            if fetch.purpose.isRegistration {
                relay.fetches[token] = nil
            } else if fetch.isSentOnce, fetch.isSent {
                failFetch(token, relay, .timeout)
            } else {
                relay.fetches[token]?.isSent = false
            }
        }
    }

    private func restartStream(_ relay: Relay) {
        relay.attempt += 1
        relay.sent = 0
        relay.retryAt = nil
        counters.streamsRestarted += 1
        mark(relay)
    }

    // MARK: Publishes

    /// Why the stream takes no more now; nil = it does.
    func refusal(of command: ArraySlice<UInt8>, _ relay: Relay) -> RequestError? {
        if relay.isDegraded || (relay.owner == settings.node && !isDiskHealthy) { return .noQuorum }
        let isFull =
            relay.pending.count >= settings.publishWindow || pendingPublishes >= settings.pendingPublishes
            || relay.pendingBytes + command.count > settings.publishWindowBytes
        return isFull ? .busy : nil
    }

    func relayPublish(
        _ partition: PartitionID,
        _ command: ArraySlice<UInt8>,
        hub: Int,
        token: RequestToken,
        deadline: Instant,
        isCounted: Bool
    ) {
        guard let relay = relay(partition) else { return }
        if let refusal = refusal(of: command, relay) {
            counters.publishesRefused += 1
            post(isCounted ? .received(token, .failure(refusal)) : .published(token, .failure(refusal)), to: hub)
            return
        }
        if relay.pending.isEmpty, now - relay.lastPublish > .seconds(300) {
            // The partition forgets idle gateways after ten minutes; a fresh name never meets a half-forgotten one.
            relay.gateway = GatewayID(rawValue: random.next())
            relay.base = 1
            relay.sent = 0
        }
        relay.lastPublish = now
        if relay.pending.isEmpty { relay.lastProgress = now }
        relay.pending.append(
            Relay.PendingPublish(
                command: command,
                hub: hub,
                token: token,
                deadline: deadline,
                isAnswered: false,
                isDecided: false,
                isCounted: isCounted
            )
        )
        relay.pendingBytes += command.count
        pendingPublishes += 1
        mark(relay)
    }

    /// Sends what the owner has not been sent in this attempt, as one message.
    func flushRelay(_ relay: Relay) {
        relay.isDirty = false
        guard let owner = relay.owner, relay.sent < relay.pending.count, relay.retryAt == nil else { return }
        while relay.sent < relay.pending.count {
            var commands: [ArraySlice<UInt8>] = []
            var bytes = 0
            let first = relay.base + UInt64(relay.sent)
            while relay.sent < relay.pending.count, bytes < 1 << 20, commands.count < 4096 {
                commands.append(relay.pending[relay.sent].command)
                bytes += relay.pending[relay.sent].command.count
                relay.sent += 1
            }
            send(
                .publish(
                    PublishStream(
                        partition: relay.partition,
                        gateway: relay.gateway,
                        attempt: relay.attempt,
                        first: first,
                        acknowledgedBelow: relay.base,
                        commands: commands
                    )
                ),
                to: owner
            )
        }
    }

    func receiveResults(_ results: PublishedResults) {
        guard let relay = relay(results.partition), relay.gateway == results.gateway else { return }
        relay.lastProgress = now
        for result in results.results {
            guard result.sequence >= relay.base else { continue }
            let row = Int(result.sequence - relay.base)
            guard row < relay.pending.count else { continue }
            relay.pending[row].isDecided = true
            guard !relay.pending[row].isAnswered else { continue }
            relay.pending[row].isAnswered = true
            let answer: Result<PublishOutcome, RequestError>
            switch result.outcome {
            case .appended, .duplicate, .duplicateUnknownOffset: answer = .success(result.outcome)
            default: answer = .failure(.refused(result.outcome))
            }
            let pending = relay.pending[row]
            if pending.isCounted {
                post(.received(pending.token, answer.map { _ in Int(result.receivers) }), to: pending.hub)
            } else {
                post(.published(pending.token, answer), to: pending.hub)
            }
        }
        forgetDecided(relay)
    }

    func forgetDecided(_ relay: Relay) {
        while !relay.pending.isEmpty, relay.pending[0].isDecided {
            relay.pendingBytes -= relay.pending.removeFirst().command.count
            pendingPublishes -= 1
            relay.base += 1
            relay.sent = max(0, relay.sent - 1)
        }
    }

    func receiveRefusal(_ refusal: PublishRefusal, from node: NodeID) {
        guard let relay = relay(refusal.partition), relay.gateway == refusal.gateway,
            relay.attempt == refusal.attempt, relay.owner == node
        else { return }
        relay.sent = 0
        if refusal.owner == node {
            restartStream(relay)
        } else {
            ownerUnreachable(relay)
        }
    }

    func relayAnnounce(_ partition: PartitionID, _ room: RoomName, _ body: ArraySlice<UInt8>) {
        guard let relay = relay(partition) else { return }
        if let owner = relay.owner {
            send(.announce(partition, room, body: body), to: owner)
        } else {
            // Nobody orders the room now: those who are here hear it all the same (CL-21).
            _ = forwardLocally(room, relay, [Publication(offset: 0, timestamp: wall, body: body)])
        }
    }

    // MARK: Rooms

    func relayRegister(_ partition: PartitionID, _ room: RoomName, hub: Int, count: Int32) {
        guard let relay = relay(partition) else { return }
        let bit = UInt64(1) << UInt64(hub)
        if relay.rooms[room] == nil {
            relay.rooms[room] = Relay.RelayRoom(
                hubs: 0,
                waiting: 0,
                state: .wanted,
                isStored: settings.namespaces.policy(for: room).deliveryClass.isLogged,
                epoch: 0,
                next: 0
            )
            relay.roomOrder.append(room)
        }
        relay.rooms[room]?.hubs |= bit
        relay.rooms[room]?.waiting |= bit
        relay.rooms[room]?.subscribers += count
        guard let row = relay.rooms[room] else { return }
        if row.state == .live {
            tellCount(room, relay)
            answerWaiting(room, relay)
        } else if row.state == .wanted {
            if relay.owner != nil {
                register(room, relay)
            } else if relay.isDegraded, !row.isStored {
                answerWaiting(room, relay)
            }
        }
    }

    func relayUnregister(_ partition: PartitionID, _ room: RoomName, hub: Int, count: Int32) {
        guard let relay = relay(partition), relay.rooms[room] != nil else { return }
        relay.rooms[room]?.subscribers -= count
        relay.rooms[room]?.hubs &= ~(UInt64(1) << UInt64(hub))
        relay.rooms[room]?.waiting &= ~(UInt64(1) << UInt64(hub))
        guard relay.rooms[room]?.hubs == 0 else {
            tellCount(room, relay)
            return
        }
        if case .registering(let token) = relay.rooms[room]?.state { relay.fetches[token] = nil }
        relay.rooms[room] = nil
        relay.compactOrder()
        if let owner = relay.owner { send(.uninterested(partition, room), to: owner) }
    }

    /// Registration and catch-up are the same request: interest from here on, and what came after `next`.
    private func register(_ room: RoomName, _ relay: Relay) {
        guard let row = relay.rooms[room] else { return }
        let token = relay.nextToken
        relay.nextToken += 1
        relay.rooms[room]?.state = .registering(token: token)
        let request = FetchRequest(
            partition: relay.partition,
            token: token,
            room: room,
            register: true,
            epoch: row.epoch,
            from: row.isStored && row.epoch != 0 ? row.next : 0,
            limit: UInt32(settings.historyLimit),
            subscribers: UInt32(clamping: row.subscribers)
        )
        relay.fetches[token] = Relay.PendingFetch(
            purpose: .registration,
            request: .room(request),
            deadline: .distantFuture,
            isSent: true,
            sentAt: now
        )
        if let owner = relay.owner { send(.fetch(request), to: owner) }
    }

    private func answerWaiting(_ room: RoomName, _ relay: Relay) {
        guard let row = relay.rooms[room], row.waiting != 0 else { return }
        relay.rooms[room]?.waiting = 0
        let head = RoomHead(epoch: row.epoch, first: 0, next: row.next)
        for hub in 0..<settings.shards where row.waiting & (UInt64(1) << UInt64(hub)) != 0 {
            post(.registered(room, head: head, live: true), to: hub)
        }
    }

    func forward(_ room: RoomName, _ relay: Relay, epoch: UInt64, _ publications: [Publication]) {
        guard let row = relay.rooms[room], !publications.isEmpty else { return }
        for hub in 0..<settings.shards where row.hubs & (UInt64(1) << UInt64(hub)) != 0 {
            post(.publications(room, epoch: epoch, publications), to: hub)
        }
    }

    func receivePublications(
        _ partition: PartitionID,
        _ room: RoomName,
        _ epoch: UInt64,
        _ publications: [Publication],
        from node: NodeID
    ) {
        guard let relay = relay(partition), relay.owner == node else { return }
        // As Redis does it: those who named the channel first, then those whose pattern it matches.
        defer { forwardToPatterns(room, relay, publications) }
        guard let row = relay.rooms[room] else { return }
        guard row.isStored else {
            forward(room, relay, epoch: 0, publications)
            return
        }
        guard row.state == .live, let first = publications.first, let last = publications.last else { return }
        if epoch == row.epoch, first.offset == row.next {
            relay.rooms[room]?.next = last.offset + 1
            forward(room, relay, epoch: epoch, publications)
        } else if epoch == row.epoch, last.offset < row.next {
            return
        } else {
            // A hole: whatever its reason, the log has what is missing.
            counters.gapsRepaired += 1
            register(room, relay)
        }
    }

    // MARK: Fetches

    func relayFetch(_ fetch: ShardMessage.HubFetch, hub: Int) {
        guard let relay = relay(fetch.partition) else { return }
        guard relay.fetches.count < settings.pendingFetches else {
            post(.fetched(token: fetch.token, fetch.room, .failure(.busy)), to: hub)
            return
        }
        guard !relay.isDegraded else {
            post(.fetched(token: fetch.token, fetch.room, .failure(.noQuorum)), to: hub)
            return
        }
        let request = FetchRequest(
            partition: fetch.partition,
            token: relay.nextToken,
            room: fetch.room,
            register: false,
            linearizable: fetch.linearizable,
            epoch: fetch.epoch,
            from: fetch.from,
            limit: fetch.limit,
            consumer: fetch.consumer
        )
        ask(relay, .room(request), .hub(hub, fetch))
    }

    func sendFetch(_ token: UInt64, _ relay: Relay) {
        guard let owner = relay.owner, let fetch = relay.fetches[token] else { return }
        relay.fetches[token]?.isSent = true
        relay.fetches[token]?.sentAt = now
        switch fetch.request {
        case .room(let request): send(.fetch(request), to: owner)
        case .keys(let read): send(.keyRead(read), to: owner)
        case .subscribers(let counts): send(.subscribers(relay.partition, token: token, counts), to: owner)
        case .patterns: send(.patterns(relay.partition, token: token, allPatterns(relay)), to: owner)
        case .announce(let room, let body):
            send(.announceCounted(relay.partition, token: token, room, body: body), to: owner)
        case .channels(let query): send(.channelQuery(relay.partition, token: token, query), to: owner)
        }
    }

    func receiveFetched(_ reply: FetchReply, from node: NodeID) {
        guard let relay = relay(reply.partition), relay.owner == node, let fetch = relay.fetches[reply.token] else {
            return
        }
        switch fetch.purpose {
        case .hub(let hub, let wanted):
            switch reply.status {
            case .ok:
                relay.fetches[reply.token] = nil
                post(.fetched(token: wanted.token, wanted.room, .success(reply)), to: hub)
            case .busy:
                relay.fetches[reply.token] = nil
                post(.fetched(token: wanted.token, wanted.room, .failure(.busy)), to: hub)
            case .notOwner: relay.fetches[reply.token]?.isSent = false
            }
        case .registration:
            relay.fetches[reply.token] = nil
            guard let row = relay.rooms[reply.room], row.state == .registering(token: reply.token) else { return }
            switch reply.status {
            case .ok: registered(reply, row, relay)
            case .busy, .notOwner: relay.rooms[reply.room]?.state = .wanted
            }
        case .keys, .poll, .counted, .announced, .channels: return
        }
    }

    private func registered(_ reply: FetchReply, _ row: Relay.RelayRoom, _ relay: Relay) {
        let room = reply.room
        guard row.isStored else {
            relay.rooms[room]?.state = .live
            answerWaiting(room, relay)
            return
        }
        if row.epoch == 0 {
            relay.rooms[room]?.epoch = reply.head.epoch
            relay.rooms[room]?.next = reply.head.next
        } else if row.epoch != reply.head.epoch {
            relay.rooms[room]?.epoch = reply.head.epoch
            relay.rooms[room]?.next = reply.head.next
            for hub in 0..<settings.shards where row.hubs & (UInt64(1) << UInt64(hub)) != 0 {
                post(.roomReset(room), to: hub)
            }
        } else {
            var next = row.next
            if reply.head.next < next {
                // The owner has not applied what we have seen: it is behind us in name only; ask again.
                relay.rooms[room]?.state = .wanted
                return
            }
            next = max(next, min(reply.head.first, reply.head.next))
            for hub in 0..<settings.shards where row.hubs & (UInt64(1) << UInt64(hub)) != 0 {
                post(.resumed(room, epoch: row.epoch, next: next), to: hub)
            }
            let publications = reply.publications.filter { $0.offset >= next }
            if let last = publications.last { next = last.offset + 1 }
            relay.rooms[room]?.next = next
            forward(room, relay, epoch: row.epoch, publications)
            if next < reply.head.next {
                register(room, relay)
                return
            }
        }
        relay.rooms[room]?.state = .live
        answerWaiting(room, relay)
    }

    // MARK: Cursors

    func relayAcknowledge(_ partition: PartitionID, _ update: CursorUpdate) {
        guard let relay = relay(partition) else { return }
        if let row = relay.cursors.firstIndex(where: { $0.room == update.room && $0.consumer == update.consumer }) {
            relay.cursors[row].position = update.position
        } else {
            relay.cursors.append(update)
        }
        if relay.cursorsDue == nil { relay.cursorsDue = now + settings.cursorFlush }
        if relay.cursors.count >= 4096 { relay.cursorsDue = now }
    }

    // MARK: Time

    /// Sends again what went unanswered for too long. An owner that dropped a request with its former term, or a link
    /// that swallowed it, must not leave it waiting for ever; repeats are recognized.
    private func askAgain(_ relay: Relay) {
        if relay.sent > 0, now - relay.lastProgress > settings.resendAfter {
            relay.lastProgress = now
            restartStream(relay)
        }
        guard !relay.fetches.isEmpty else { return }
        for token in relay.fetches.keys.sorted() {
            guard let fetch = relay.fetches[token], fetch.isSent, now - fetch.sentAt > settings.resendAfter else {
                continue
            }
            if fetch.isSentOnce {
                failFetch(token, relay, .timeout)
                continue
            }
            switch fetch.purpose {
            case .hub, .keys, .poll, .counted, .announced, .channels: relay.fetches[token]?.isSent = false
            case .registration:
                relay.fetches[token] = nil
                if case .room(let request) = fetch.request,
                    relay.rooms[request.room]?.state == .registering(token: token)
                {
                    relay.rooms[request.room]?.state = .wanted
                }
            }
        }
    }

    func tickRelay(_ relay: Relay) {
        if relay.owner == nil, !relay.isDegraded, let lost = relay.lostAt, now - lost > settings.degradedAfter {
            relay.isDegraded = true
            outbox.events.append(.degraded(relay.partition))
            for name in relay.roomOrder where relay.rooms[name]?.isStored == false { answerWaiting(name, relay) }
            for token in relay.fetches.keys.sorted() { failFetch(token, relay, .noQuorum) }
        }
        if relay.owner != nil {
            askAgain(relay)
            for name in relay.roomOrder where relay.rooms[name]?.state == .wanted { register(name, relay) }
            for token in relay.fetches.keys.sorted() where relay.fetches[token]?.isSent == false {
                sendFetch(token, relay)
            }
            if relay.sent < relay.pending.count { mark(relay) }
        }
        if let due = relay.cursorsDue, due <= now, let owner = relay.owner {
            relay.cursorsDue = nil
            let updates = relay.cursors
            relay.cursors.removeAll(keepingCapacity: true)
            send(.acknowledge(relay.partition, updates), to: owner)
        }
        for row in relay.pending.indices {
            guard relay.pending[row].deadline <= now else { break }
            guard !relay.pending[row].isAnswered else { continue }
            // The publish stays in the stream: it may be in the log already, and those behind it keep their place.
            relay.pending[row].isAnswered = true
            let token = relay.pending[row].token
            let answer: ShardMessage
            if relay.isKeys {
                answer = .keys(token, .failure(.timeout))
            } else if relay.pending[row].isCounted {
                answer = .received(token, .failure(.timeout))
            } else {
                answer = .published(token, .failure(.timeout))
            }
            post(answer, to: relay.pending[row].hub)
        }
        if relay.isKeys { tickKeyRelay(relay) }
        guard !relay.fetches.isEmpty else { return }
        for token in relay.fetches.keys.sorted() {
            if let fetch = relay.fetches[token], fetch.deadline <= now { failFetch(token, relay, .timeout) }
        }
    }

    /// Tells who asked that there is no answer; registrations wait for an owner instead.
    private func failFetch(_ token: UInt64, _ relay: Relay, _ error: RequestError) {
        switch relay.fetches[token]?.purpose {
        case .hub(let hub, let wanted)?:
            relay.fetches[token] = nil
            post(.fetched(token: wanted.token, wanted.room, .failure(error)), to: hub)
        case .keys(let hub, let request)?:
            relay.fetches[token] = nil
            post(.keys(request, .failure(error)), to: hub)
        case .poll?: relay.fetches[token] = nil
        case .announced(let hub, let request)?:
            relay.fetches[token] = nil
            post(.received(request, .failure(error)), to: hub)
        case .channels(let hub, let number)?:
            relay.fetches[token] = nil
            post(.channelReply(token: number, relay.partition, .failure(error)), to: hub)
        case .counted(let hub, let number)?:
            // Nobody counts now; a subscriber begins all the same, and is registered with the next owner.
            relay.fetches[token] = nil
            post(.counted(token: number), to: hub)
        case .registration?, nil: break
        }
    }
}
