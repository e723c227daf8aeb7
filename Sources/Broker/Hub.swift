import PeerProtocol
import Primitives
import Rooms

/// This shard's client sessions and the rooms that they are in.
///
/// A room has one live position here. Sessions at that position get each message by one `.broadcast`; a session that is
/// elsewhere (it resumes, it was paused, its acknowledgement window is full) has a position of its own and reads the
/// log until it has caught up. Nothing but positions is kept for it.
package struct Hub {
    let shard: Int
    var sessions: [Session] = []
    var freeSlots: [UInt32] = []
    var rooms: [HubRoom] = []
    var freeRooms: [HubRoomID] = []
    var roomIndex: [RoomName: HubRoomID] = [:]
    var fetches: [UInt64: HubFetchPurpose] = [:]
    var nextToken: UInt64 = 1
    /// Subscribes and subscriptions that wait for the outbox to be emptied, see `HubRoom.broadcastIn`.
    var beginLater: [(RequestToken, HubRoomID, SubscribeOptions)] = []
    var levelLater: [(slot: UInt32, room: HubRoomID)] = []
    // Channels, see `Broker+Channels`.
    var counting: [UInt64: CountedBegin] = [:]
    var untold: [HubRoomID] = []
    var patterns: [Glob: UInt32] = [:]
    /// Subscriptions to patterns since the owners were last told of them.
    var patternRequests: [(token: RequestToken, pattern: Glob)] = []
    var arePatternsUntold = false
    var patternBatches: [UInt64: PatternBatch] = [:]
    var gatherings: [UInt64: ChannelGathering] = [:]
    package private(set) var openSessions = 0
    var subscriptions = 0

    struct Session {
        var generation: UInt32 = 0
        var isOpen = false
        var subscriptions: [Subscription] = []
    }

    struct Subscription {
        enum Mode: Equatable {
            /// Waits for the room's registration or for the answer that it begins with.
            case starting
            /// In the room's live list.
            case live
            /// At a position of its own.
            case behind
        }
        var room: HubRoomID
        var mode: Mode = .starting
        /// The next offset that this subscription is to get.
        var next: UInt64 = 0
        var liveRow: Int32 = -1
        var isFetching = false
        /// The connection's queue is full: nothing is read for it until it says that it is writable.
        var isPaused = false
        var ackWindow: UInt32?
        var acknowledged: UInt64 = 0
        /// Up to here nothing counts against the window: it is acknowledged, or gone, and nobody acknowledges a gap.
        var settled: UInt64 = 0
        var consumer: [UInt8] = []
        /// A subscription made anew in the same room must not take the answers of the one before.
        var serial: UInt32 = 0
    }

    struct HubRoom {
        var name: RoomName
        var policy: NamespacePolicy
        var partition: PartitionID
        var isLive = false
        var epoch: UInt64 = 0
        var next: UInt64 = 0
        var subscribers = 0
        /// Of them, how many the relay was told.
        var told: Int32 = 0
        var isUntold = false
        /// Session slots.
        var live: [UInt32] = []
        /// Sessions at positions of their own.
        var behind: [UInt32] = []
        var waiting: [Waiting] = []
        /// The settling in which the last `.broadcast` went out. The live list is read when the outbox is emptied, so a
        /// session must not join it while a message from before its time is still in there.
        var broadcastIn: UInt64 = 0

        var isStored: Bool { policy.deliveryClass.isLogged }
    }

    struct Waiting {
        var token: RequestToken
        var options: SubscribeOptions
        var deadline: Instant
    }

    /// What waits for owners to count it.
    enum CountedBegin {
        case room(RequestToken, RoomName, SubscribeOptions)
        /// One partition of a batch.
        case pattern(UInt64)
    }

    /// A tick's subscriptions to patterns on their way to all owners.
    struct PatternBatch {
        var requests: [(token: RequestToken, pattern: Glob)]
        /// Owners that have not answered.
        var partitions: Int
        var deadline: Instant
    }

    /// A question to the owners of several partitions.
    struct ChannelGathering {
        var token: RequestToken
        var query: ChannelQuery
        var names: [RoomName]
        var globs: [Glob]
        var counts: [UInt64] = []
        var left = 0
    }

    enum HubFetchPurpose {
        case subscribe(RequestToken, HubRoomID, serial: UInt32, SubscribeOptions, start: Start)
        case cursor(RequestToken, HubRoomID, serial: UInt32, SubscribeOptions)
        case catchUp(SessionID, HubRoomID, serial: UInt32)
        case history(RequestToken, reverse: Bool, limit: Int, since: Position?)
        case historyTail(RequestToken, limit: Int, reverse: Bool)
    }

    /// Where a subscription begins: after `offset`.
    struct Start {
        var offset: UInt64
        var wasRecovering: Bool
        var hasCursor = false
        /// A majority is asked whether who answers still owns the room.
        var isConfirmed = false
        var gap: Gap?
    }

    init(shard: Int) { self.shard = shard }

    mutating func open(limit: Int) -> SessionID? {
        guard openSessions < limit else { return nil }
        let slot: UInt32
        if let free = freeSlots.popLast() {
            slot = free
        } else {
            slot = UInt32(sessions.count)
            sessions.append(Session())
        }
        openSessions += 1
        sessions[Int(slot)].isOpen = true
        sessions[Int(slot)].generation &+= 1
        return SessionID(slot: slot, generation: sessions[Int(slot)].generation)
    }

    mutating func close(_ session: SessionID) {
        sessions[Int(session.slot)].isOpen = false
        sessions[Int(session.slot)].subscriptions = []
        freeSlots.append(session.slot)
        openSessions -= 1
    }

    func isOpen(_ session: SessionID) -> Bool {
        Int(session.slot) < sessions.count && sessions[Int(session.slot)].isOpen
            && sessions[Int(session.slot)].generation == session.generation
    }

    func row(_ slot: UInt32, _ room: HubRoomID) -> Int? {
        sessions[Int(slot)].subscriptions.firstIndex { $0.room == room }
    }

    mutating func makeLive(_ slot: UInt32, _ row: Int) {
        let room = Int(sessions[Int(slot)].subscriptions[row].room)
        sessions[Int(slot)].subscriptions[row].mode = .live
        sessions[Int(slot)].subscriptions[row].liveRow = Int32(rooms[room].live.count)
        rooms[room].live.append(slot)
    }

    mutating func makeBehind(_ slot: UInt32, _ row: Int) {
        let room = Int(sessions[Int(slot)].subscriptions[row].room)
        sessions[Int(slot)].subscriptions[row].mode = .behind
        rooms[room].behind.append(slot)
    }

    /// Takes the subscription out of the list that it is in.
    mutating func detach(_ slot: UInt32, _ row: Int) {
        let subscription = sessions[Int(slot)].subscriptions[row]
        let room = Int(subscription.room)
        switch subscription.mode {
        case .starting: break
        case .live:
            let hole = Int(subscription.liveRow)
            let moved = rooms[room].live.removeLast()
            if moved != slot {
                rooms[room].live[hole] = moved
                if let other = self.row(moved, subscription.room) {
                    sessions[Int(moved)].subscriptions[other].liveRow = Int32(hole)
                }
            }
        case .behind: rooms[room].behind.removeAll { $0 == slot }
        }
        sessions[Int(slot)].subscriptions[row].mode = .starting
        sessions[Int(slot)].subscriptions[row].liveRow = -1
    }
}

extension Broker {
    // MARK: Sessions

    /// A slot for a client connection; nil at the bound.
    package func openSession() -> SessionID? { hub.open(limit: settings.maxSessions) }

    package func closeSession(_ session: SessionID) {
        guard hub.isOpen(session) else { return }
        for subscription in hub.sessions[Int(session.slot)].subscriptions {
            remove(session.slot, subscription.room)
        }
        hub.close(session)
    }

    package var sessionCount: Int { hub.openSessions }
    package var hubRoomCount: Int { hub.roomIndex.count }

    package func liveSubscribers(of room: HubRoomID) -> [UInt32] { hub.rooms[Int(room)].live }
    package func roomName(of room: HubRoomID) -> RoomName { hub.rooms[Int(room)].name }
    package func policy(of room: HubRoomID) -> NamespacePolicy { hub.rooms[Int(room)].policy }
    package func policy(for room: RoomName) -> NamespacePolicy { settings.namespaces.policy(for: room) }
    package func epoch(of room: HubRoomID) -> UInt64 { hub.rooms[Int(room)].epoch }

    /// Some partition has no owner that this node can reach.
    package var isDegraded: Bool { relays.contains { $0?.isDegraded == true } }

    // MARK: Publish

    package func publish(
        _ token: RequestToken,
        room: RoomName,
        body: ArraySlice<UInt8>,
        producer: ProducerStamp? = nil,
        idempotencyKey: ArraySlice<UInt8> = []
    ) {
        let policy = settings.namespaces.policy(for: room)
        let partition = partition(of: room)
        let body = stamped(body, room)
        guard policy.deliveryClass.isLogged else {
            post(.announce(partition, room, body: body), to: shard(of: partition))
            outbox.edge.append(.published(token, .success(.appended(Position(epoch: 0, offset: 0)))))
            return
        }
        let command = PublishCommand(room: room, producer: producer, idempotencyKey: idempotencyKey, body: body)
        post(
            .publish(
                hub: settings.shard,
                token,
                partition,
                command: command.encoded()[...],
                deadline: now + settings.requestTimeout,
                isCounted: false
            ),
            to: shard(of: partition)
        )
    }

    /// A body with its namespace's time to live, if it names none.
    func stamped(_ body: ArraySlice<UInt8>, _ room: RoomName) -> ArraySlice<UInt8> {
        let policy = settings.namespaces.policy(for: room)
        guard policy.messageTimeToLive > 0, MessageBody.timeToLive(of: body) == 0,
            var message = try? MessageBody(decoding: body)
        else { return body }
        message.timeToLive = policy.messageTimeToLive
        return message.encoded()[...]
    }

    // MARK: Subscribe

    package func subscribe(_ token: RequestToken, room name: RoomName, options: SubscribeOptions) {
        let session = token.session
        guard hub.isOpen(session) else { return }
        func fail(_ error: RequestError) { outbox.edge.append(.subscribed(token, name, .failure(error))) }
        if let known = hub.roomIndex[name], hub.row(session.slot, known) != nil { return fail(.alreadySubscribed) }
        guard hub.sessions[Int(session.slot)].subscriptions.count < settings.subscriptionsPerSession,
            hub.subscriptions < settings.maxSubscriptions
        else {
            return fail(.tooManySubscriptions)
        }
        let room = makeRoom(name)
        hub.rooms[Int(room)].subscribers += 1
        hub.subscriptions += 1
        if !options.isCounted, hub.rooms[Int(room)].subscribers > 1 { noteUntold(room) }
        var subscription = Hub.Subscription(room: room)
        subscription.ackWindow = options.ackWindow
        subscription.consumer = options.ackWindow == nil ? [] : options.consumer
        subscription.serial = UInt32(truncatingIfNeeded: hub.nextToken)
        hub.nextToken += 1
        hub.sessions[Int(session.slot)].subscriptions.append(subscription)
        if hub.rooms[Int(room)].isLive {
            begin(token, room, options)
        } else {
            hub.rooms[Int(room)].waiting.append(
                Hub.Waiting(token: token, options: options, deadline: now + settings.requestTimeout)
            )
        }
    }

    private func makeRoom(_ name: RoomName) -> HubRoomID {
        if let known = hub.roomIndex[name] { return known }
        let owned = name.compacted()
        let partition = partition(of: owned)
        var room = Hub.HubRoom(name: owned, policy: settings.namespaces.policy(for: owned), partition: partition)
        // The first subscriber is counted with the registration.
        room.told = 1
        let id: HubRoomID
        if let free = hub.freeRooms.popLast() {
            id = free
            hub.rooms[Int(free)] = room
        } else {
            id = HubRoomID(hub.rooms.count)
            hub.rooms.append(room)
        }
        hub.roomIndex[owned] = id
        post(.register(hub: settings.shard, partition, owned, count: 1), to: shard(of: partition))
        return id
    }

    func hubRegistered(_ name: RoomName, _ head: RoomHead, live: Bool) {
        guard let room = hub.roomIndex[name], !hub.rooms[Int(room)].isLive else { return }
        hub.rooms[Int(room)].isLive = live
        hub.rooms[Int(room)].epoch = head.epoch
        hub.rooms[Int(room)].next = head.next
        let waiting = hub.rooms[Int(room)].waiting
        hub.rooms[Int(room)].waiting = []
        for waiter in waiting { begin(waiter.token, room, waiter.options) }
    }

    /// The room's live position is known: decides where the subscription starts.
    func begin(_ token: RequestToken, _ room: HubRoomID, _ options: SubscribeOptions) {
        guard hub.isOpen(token.session), let row = hub.row(token.session.slot, room) else { return }
        let slot = token.session.slot
        let state = hub.rooms[Int(room)]
        if options.isCounted, state.subscribers > 1 {
            count(room, for: .room(token, state.name, options))
            return
        }
        guard state.broadcastIn != settling else {
            hub.beginLater.append((token, room, options))
            return
        }
        let serial = hub.sessions[Int(slot)].subscriptions[row].serial
        guard state.isStored else {
            hub.makeLive(slot, row)
            outbox.edge.append(
                .subscribed(
                    token,
                    state.name,
                    .success(
                        SubscribeResult(
                            room: room,
                            isStored: false,
                            epoch: 0,
                            offset: 0,
                            publications: [],
                            wasRecovering: options.recover != nil,
                            recovered: false,
                            gap: nil
                        )
                    )
                )
            )
            return
        }
        if !hub.sessions[Int(slot)].subscriptions[row].consumer.isEmpty {
            hubFetch(
                room,
                from: 0,
                limit: 0,
                linearizable: true,
                consumer: options.consumer,
                .cursor(token, room, serial: serial, options)
            )
            return
        }
        start(token, room, options, cursor: nil)
    }

    func start(
        _ token: RequestToken,
        _ room: HubRoomID,
        _ options: SubscribeOptions,
        cursor: UInt64?,
        ofFormerEpoch: Bool = false
    ) {
        guard hub.isOpen(token.session), let row = hub.row(token.session.slot, room) else { return }
        let slot = token.session.slot
        let state = hub.rooms[Int(room)]
        let serial = hub.sessions[Int(slot)].subscriptions[row].serial
        let head = state.next - 1
        var start: Hub.Start
        if let cursor {
            start = Hub.Start(offset: cursor, wasRecovering: true, hasCursor: true)
            // How much is missing nobody knows; what there is follows all the same.
            if ofFormerEpoch { start.gap = Gap(from: cursor + 1, to: cursor, reason: .epoch) }
        } else if let wanted = options.recover {
            if wanted.epoch == 0 || wanted.epoch == state.epoch {
                start = Hub.Start(offset: wanted.offset, wasRecovering: true)
            } else {
                start = Hub.Start(
                    offset: head,
                    wasRecovering: true,
                    gap: Gap(from: wanted.offset + 1, to: head, reason: .epoch)
                )
            }
        } else if options.fromBeginning {
            start = Hub.Start(offset: 0, wasRecovering: false)
        } else {
            start = Hub.Start(offset: head, wasRecovering: false)
        }
        if start.offset > head, start.wasRecovering, cursor == nil {
            // Ahead of what this node has seen: ask the owner before anything is promised.
            start.isConfirmed = true
            hubFetch(
                room,
                from: start.offset + 1,
                limit: UInt32(settings.historyLimit),
                linearizable: true,
                consumer: [],
                .subscribe(token, room, serial: serial, options, start: start)
            )
        } else if start.offset == head || start.gap != nil {
            finishStart(token, room, row, start, publications: [], head: state.next)
        } else {
            hubFetch(
                room,
                from: start.offset + 1,
                limit: UInt32(settings.historyLimit),
                linearizable: false,
                consumer: [],
                .subscribe(token, room, serial: serial, options, start: start)
            )
        }
    }

    /// Answers the subscribe. `publications` follow `start.offset`; more may be read afterwards.
    func finishStart(
        _ token: RequestToken,
        _ room: HubRoomID,
        _ row: Int,
        _ start: Hub.Start,
        publications: [Publication],
        head: UInt64
    ) {
        let slot = token.session.slot
        let window = hub.sessions[Int(slot)].subscriptions[row].ackWindow
        var publications = publications
        if let window, publications.count > Int(window) { publications.removeLast(publications.count - Int(window)) }
        let next = (publications.last?.offset ?? start.offset) + 1
        hub.sessions[Int(slot)].subscriptions[row].next = next
        hub.sessions[Int(slot)].subscriptions[row].settled = start.offset
        // Nobody's place is behind a gap before it acknowledges something there: it may have to be told of it again.
        var place = start.offset
        if let gap = start.gap, gap.reason == .trimmed { place = gap.from - 1 }
        hub.sessions[Int(slot)].subscriptions[row].acknowledged = place
        let state = hub.rooms[Int(room)]
        outbox.edge.append(
            .subscribed(
                token,
                state.name,
                .success(
                    SubscribeResult(
                        room: room,
                        isStored: true,
                        epoch: state.epoch,
                        offset: start.offset,
                        publications: publications,
                        wasRecovering: start.wasRecovering,
                        recovered: start.wasRecovering && start.gap == nil,
                        gap: start.gap
                    )
                )
            )
        )
        if start.gap != nil { counters.gapsAnnounced += 1 }
        // A consumer's place is kept from its first subscription on, not from its first acknowledgement; and one that
        // comes with a place of its own has none here when its acknowledgements were lost with an owner.
        if !start.hasCursor { remember(hub.sessions[Int(slot)].subscriptions[row]) }
        if next == state.next, window == nil, state.broadcastIn != settling {
            hub.makeLive(slot, row)
        } else {
            hub.makeBehind(slot, row)
            advance(slot, row)
        }
    }

    @discardableResult
    package func unsubscribe(_ session: SessionID, room name: RoomName) -> Bool {
        guard hub.isOpen(session), let room = hub.roomIndex[name], hub.row(session.slot, room) != nil else {
            return false
        }
        remove(session.slot, room)
        return true
    }

    func remove(_ slot: UInt32, _ room: HubRoomID) {
        guard let row = hub.row(slot, room) else { return }
        hub.detach(slot, row)
        hub.sessions[Int(slot)].subscriptions.remove(at: row)
        let index = Int(room)
        hub.rooms[index].waiting.removeAll { $0.token.session.slot == slot }
        hub.rooms[index].subscribers -= 1
        hub.subscriptions -= 1
        guard hub.rooms[index].subscribers == 0 else {
            noteUntold(room)
            return
        }
        let name = hub.rooms[index].name
        let told = hub.rooms[index].told
        let partition = hub.rooms[index].partition
        hub.roomIndex[name] = nil
        hub.freeRooms.append(room)
        post(.unregister(hub: settings.shard, partition, name, count: told), to: shard(of: partition))
    }

    // MARK: Delivery

    func hubPublications(_ name: RoomName, _ epoch: UInt64, _ publications: [Publication]) {
        guard let room = hub.roomIndex[name] else { return }
        let index = Int(room)
        guard hub.rooms[index].isLive else { return }
        guard hub.rooms[index].isStored else {
            hub.rooms[index].broadcastIn = settling
            for publication in publications { outbox.edge.append(.broadcast(room, publication)) }
            return
        }
        guard epoch == hub.rooms[index].epoch, let first = publications.first, let last = publications.last,
            last.offset >= hub.rooms[index].next
        else { return }
        passOver(room, to: first.offset)
        let next = hub.rooms[index].next
        hub.rooms[index].next = last.offset + 1
        if !hub.rooms[index].live.isEmpty {
            hub.rooms[index].broadcastIn = settling
            for publication in publications where publication.offset >= next {
                outbox.edge.append(.broadcast(room, publication))
            }
        }
        guard !hub.rooms[index].behind.isEmpty else { return }
        for slot in hub.rooms[index].behind {
            guard let row = hub.row(slot, room) else { continue }
            let subscription = hub.sessions[Int(slot)].subscriptions[row]
            guard !subscription.isFetching, !subscription.isPaused, subscription.next >= first.offset,
                subscription.next <= last.offset, first.offset + UInt64(publications.count) == last.offset + 1
            else {
                advance(slot, row)
                continue
            }
            // It was at the live position with a window open: what just came needs no detour through the log.
            let from = Int(subscription.next - first.offset)
            let open = windowLeft(subscription)
            let share = Array(publications[from..<min(publications.count, from + open)])
            give(slot, row, share)
            advance(slot, row)
        }
    }

    /// The relay has an owner anew. Retention may have gone past what this node had seen of the room, and perhaps no
    /// message follows that would show the hole. Acknowledgements may have been lost with the owner before.
    func hubResumed(_ name: RoomName, _ epoch: UInt64, _ next: UInt64) {
        guard let room = hub.roomIndex[name], hub.rooms[Int(room)].isLive, epoch == hub.rooms[Int(room)].epoch else {
            return
        }
        passOver(room, to: next)
        for slot in hub.rooms[Int(room)].behind {
            guard let row = hub.row(slot, room) else { continue }
            remember(hub.sessions[Int(slot)].subscriptions[row])
            advance(slot, row)
        }
    }

    /// What the live position lacks before `next` is gone: those at it are told.
    private func passOver(_ room: HubRoomID, to next: UInt64) {
        let state = hub.rooms[Int(room)]
        guard next > state.next else { return }
        hub.rooms[Int(room)].next = next
        counters.gapsAnnounced += 1
        for slot in state.live {
            outbox.edge.append(
                .gap(
                    SessionID(slot: slot, generation: hub.sessions[Int(slot)].generation),
                    room,
                    Gap(from: state.next, to: next - 1, reason: .trimmed)
                )
            )
        }
    }

    func windowLeft(_ subscription: Hub.Subscription) -> Int {
        guard let window = subscription.ackWindow else { return .max >> 1 }
        let outstanding = subscription.next - 1 - min(subscription.settled, subscription.next - 1)
        return outstanding >= UInt64(window) ? 0 : Int(UInt64(window) - outstanding)
    }

    func give(_ slot: UInt32, _ row: Int, _ publications: [Publication]) {
        guard let last = publications.last else { return }
        let subscription = hub.sessions[Int(slot)].subscriptions[row]
        hub.sessions[Int(slot)].subscriptions[row].next = last.offset + 1
        let session = SessionID(slot: slot, generation: hub.sessions[Int(slot)].generation)
        outbox.edge.append(.publications(session, subscription.room, publications))
    }

    /// Moves a subscription that is not live: into the live list when it is level, else it reads on when it may.
    func advance(_ slot: UInt32, _ row: Int) {
        let subscription = hub.sessions[Int(slot)].subscriptions[row]
        guard subscription.mode == .behind, !subscription.isFetching, !subscription.isPaused else { return }
        let room = hub.rooms[Int(subscription.room)]
        if subscription.next >= room.next {
            if subscription.ackWindow == nil, subscription.next == room.next {
                guard room.broadcastIn != settling else {
                    hub.levelLater.append((slot, subscription.room))
                    return
                }
                hub.detach(slot, row)
                hub.makeLive(slot, row)
            }
            return
        }
        let open = min(windowLeft(subscription), settings.historyLimit)
        guard open > 0 else { return }
        hub.sessions[Int(slot)].subscriptions[row].isFetching = true
        hubFetch(
            subscription.room,
            from: subscription.next,
            limit: UInt32(open),
            linearizable: false,
            consumer: [],
            .catchUp(
                SessionID(slot: slot, generation: hub.sessions[Int(slot)].generation),
                subscription.room,
                serial: subscription.serial
            )
        )
    }

    /// The connection's queue is full: live messages of this stored room wait in the log.
    package func pause(_ session: SessionID, _ room: HubRoomID, nextOffset: UInt64) {
        guard hub.isOpen(session), let row = hub.row(session.slot, room) else { return }
        if hub.sessions[Int(session.slot)].subscriptions[row].mode == .live {
            hub.detach(session.slot, row)
            hub.sessions[Int(session.slot)].subscriptions[row].next = nextOffset
            hub.makeBehind(session.slot, row)
        } else if nextOffset < hub.sessions[Int(session.slot)].subscriptions[row].next {
            hub.sessions[Int(session.slot)].subscriptions[row].next = nextOffset
        }
        hub.sessions[Int(session.slot)].subscriptions[row].isPaused = true
    }

    /// The connection's queue has room again.
    package func sessionWritable(_ session: SessionID) {
        guard hub.isOpen(session) else { return }
        for row in hub.sessions[Int(session.slot)].subscriptions.indices
        where hub.sessions[Int(session.slot)].subscriptions[row].isPaused {
            hub.sessions[Int(session.slot)].subscriptions[row].isPaused = false
            advance(session.slot, row)
        }
    }

    /// The outbox was emptied: what waited for that goes on.
    func levelHub() {
        if !hub.beginLater.isEmpty {
            let waiting = hub.beginLater
            hub.beginLater.removeAll()
            for (token, room, options) in waiting { begin(token, room, options) }
        }
        if !hub.levelLater.isEmpty {
            let waiting = hub.levelLater
            hub.levelLater.removeAll()
            for (slot, room) in waiting {
                if let row = hub.row(slot, room) { advance(slot, row) }
            }
        }
    }

    func hubReset(_ name: RoomName) {
        guard let room = hub.roomIndex[name] else { return }
        for slot in (hub.rooms[Int(room)].live + hub.rooms[Int(room)].behind) {
            let session = SessionID(slot: slot, generation: hub.sessions[Int(slot)].generation)
            remove(slot, room)
            outbox.edge.append(.resubscribe(session, name))
        }
    }
}
