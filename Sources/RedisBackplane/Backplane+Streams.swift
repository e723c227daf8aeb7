import Broker
import DequeModule
import PeerProtocol
import Primitives
import RESP
import Rooms

/// A guaranteed publish on its way into a room's stream.
struct Append {
    var hub: Int
    var token: RequestToken
    var room: RoomName
    var key: ArraySlice<UInt8>
    var body: ArraySlice<UInt8>
    var deadline: Instant
    /// Its message id is known to be new.
    var isChecked = false
    /// Where it stands, once it does.
    var position: Position?
}

/// A room whose messages are kept.
final class StreamRoom {
    enum State {
        /// Nothing is known of the stream.
        case closed
        case opening
        /// `epoch` is the stream's, as far as is known.
        case open
    }

    let name: RoomName
    let key: [UInt8]
    let reader: Int
    var state = State.closed
    var epoch: UInt64 = 0
    /// What the reader delivers next; of meaning while `isRead`.
    var next: UInt64 = 0
    /// Hubs that have members, and have been told the room's position.
    var hubs: [Int] = []
    /// Hubs that wait for it.
    var waiting: [Int] = []
    var appends: Deque<Append> = []
    /// Appends that are sent and not answered; those that the stream did not take, in order.
    var inFlight = 0
    var returned: [Append] = []
    /// The first of `appends` waits for the answer about its message id, and those behind it with it.
    var isChecking = false
    var retryAt = Instant.zero
    var lastUsed = Instant.zero
    var expiresAt = Instant.zero

    init(name: RoomName, key: [UInt8], reader: Int) {
        self.name = name
        self.key = key
        self.reader = reader
    }

    /// The reader follows it.
    var isRead: Bool { state == .open && !hubs.isEmpty }
    var isIdle: Bool { hubs.isEmpty && waiting.isEmpty && appends.isEmpty && inFlight == 0 && state != .opening }
}

/// Whose place in which room.
struct CursorOwner: Hashable {
    var room: RoomName
    var consumer: [UInt8]
}

/// A dedicated connection that reads streams, one XREAD at a time.
struct StreamReader {
    /// Of the server, for CLIENT UNBLOCK.
    var client: Int64 = 0
    var isReading = false
    /// The XREAD under way does not know of a room: it is to be cut short.
    var isStale = false
    var nextUnblock = Instant.zero
}

extension Backplane {
    // MARK: Rooms

    private func streamRoom(_ name: RoomName) -> StreamRoom? {
        if let row = roomIndex[name] { return rooms[row] }
        guard roomIndex.count < settings.rooms else { return nil }
        let owned = name.compacted()
        let room = StreamRoom(
            name: owned,
            key: names.stream(of: owned),
            reader: Int(owned.slot) % readers.count
        )
        if let free = freeRooms.popLast() {
            rooms[free] = room
            roomIndex[owned] = free
        } else {
            roomIndex[owned] = rooms.count
            rooms.append(room)
        }
        room.lastUsed = now
        return room
    }

    func registerStream(_ hub: Int, _ name: RoomName) {
        // At its bound the hub's own time limit answers.
        guard let room = streamRoom(name), !room.hubs.contains(hub), !room.waiting.contains(hub) else { return }
        room.waiting.append(hub)
        // Without Redis a new member begins where this node has left off; reading goes on from there.
        if room.isRead || (link.isFallback && room.epoch > 0 && room.next > 0) {
            answerWaiting(room, first: room.next)
        } else {
            open(room)
        }
    }

    func unregisterStream(_ hub: Int, _ name: RoomName) {
        guard let row = roomIndex[name], let room = rooms[row] else { return }
        room.hubs.removeAll { $0 == hub }
        room.waiting.removeAll { $0 == hub }
        room.lastUsed = now
    }

    private func answerWaiting(_ room: StreamRoom, first: UInt64) {
        let head = RoomHead(epoch: room.epoch, first: first, next: room.next)
        for hub in room.waiting { outbox.append(.hub(hub, .registered(room.name, head: head, live: true))) }
        room.hubs += room.waiting
        room.waiting.removeAll()
        read(room.reader)
    }

    /// The commands that make a stream if there is none, and tell its epoch, its ends and its consumers' places.
    private func openCommands(_ key: [UInt8], after epoch: UInt64) -> [RESPCommand] {
        let created = StreamID(max(wall, epoch &+ 1), 0)
        let name = RESPArgument(key)
        return [
            RESPCommand("XGROUP", "CREATE", name, "vencejo", RESPArgument(created.description), "MKSTREAM"),
            RESPCommand("XINFO", "GROUPS", name), RESPCommand("XINFO", "STREAM", name),
        ]
    }

    /// A stream that was only asked for goes away by itself, too.
    private func boundCommands(_ room: RoomName) -> [RESPCommand] {
        let retention = policy(room).retentionMilliseconds
        guard retention > 0 else { return [] }
        return [
            RESPCommand("PEXPIRE", RESPArgument(names.stream(of: room)), RESPArgument(retention), "NX")
        ]
    }

    private func open(_ room: StreamRoom) {
        guard isUp, room.state != .opening, now >= room.retryAt else { return }
        room.state = .opening
        pool(.open(room.name), openCommands(room.key, after: room.epoch) + boundCommands(room.name))
    }

    func opened(_ name: RoomName, _ values: [RESPValue]?) {
        guard let row = roomIndex[name], let room = rooms[row], room.state == .opening else { return }
        guard let values, values.count >= 3, let stream = StreamHead(groups: values[1], stream: values[2])
        else {
            room.state = .closed
            room.retryAt = now + .milliseconds(500)
            if let values {
                emit(.refused(values.lazy.compactMap(\.errorText).last ?? "a stream without the group of its epoch"))
            }
            return
        }
        if let overrun = stream.overrun {
            // A foreign XADD has used an id beyond ours, and no id of this epoch fits any more: a new one begins.
            let epoch = StreamID(max(wall, overrun.milliseconds &+ 1), 0)
            let key = RESPArgument(room.key)
            let move = RESPCommand("XGROUP", "SETID", key, "vencejo", RESPArgument(epoch.description))
            return pool(.open(name), [move] + openCommands(room.key, after: 0).dropFirst())
        }
        let head = stream.head
        room.state = .open
        room.lastUsed = now
        let known = room.epoch
        room.epoch = head.epoch
        if !room.hubs.isEmpty {
            if known != head.epoch || head.next < room.next {
                // Another history, or one that a failover has cut back: no position in it is to be trusted.
                reset(room)
            } else {
                // What was trimmed while nobody could read is a gap that subscribers must hear of.
                let next = max(room.next, min(head.first, head.next))
                room.next = next
                for hub in room.hubs { outbox.append(.hub(hub, .resumed(name, epoch: room.epoch, next: next))) }
                read(room.reader)
            }
        }
        if !room.waiting.isEmpty {
            if room.hubs.isEmpty { room.next = head.next }
            answerWaiting(room, first: min(head.first, room.next))
        }
        pump(room)
    }

    private func reset(_ room: StreamRoom) {
        counters.resets += 1
        emit(.roomReset(room.name.description))
        for hub in room.hubs { outbox.append(.hub(hub, .roomReset(room.name))) }
        room.hubs.removeAll()
    }

    // MARK: Publish

    func append(_ hub: Int, _ token: RequestToken, _ command: ArraySlice<UInt8>, _ deadline: Instant) {
        func refuse(_ error: RequestError) { outbox.append(.hub(hub, .published(token, .failure(error)))) }
        let decoded = command.withUnsafeBytes { raw in
            try? PublishCommand(decoding: raw, of: command)
        }
        guard let decoded else { return refuse(.busy) }
        // What a producer may send next is nowhere kept in Redis mode; to take its stamp and ignore it would be a lie.
        guard decoded.producer == nil else { return refuse(.refused(.limitReached)) }
        // Nothing is acknowledged that is not stored: without Redis a room that keeps its messages takes none.
        guard !link.isFallback else { return refuse(.noQuorum) }
        guard pendingAppends < settings.pendingPublishes, let room = streamRoom(decoded.room) else {
            return refuse(.busy)
        }
        pendingAppends += 1
        room.lastUsed = now
        room.appends.append(
            Append(
                hub: hub,
                token: token,
                room: room.name,
                key: decoded.idempotencyKey,
                body: decoded.body,
                deadline: deadline
            )
        )
        pump(room)
    }

    private func finish(_ append: Append, _ result: Result<PublishOutcome, RequestError>) {
        pendingAppends -= 1
        outbox.append(.hub(append.hub, .published(append.token, result)))
    }

    /// Sends what can be sent of a room, in order.
    func pump(_ room: StreamRoom) {
        guard isUp, room.returned.isEmpty, !room.isChecking, !room.appends.isEmpty else { return }
        guard room.state == .open else { return open(room) }
        while let first = room.appends.first {
            if !first.key.isEmpty, !first.isChecked {
                room.isChecking = true
                publish(
                    .check(first),
                    RESPCommand(
                        "SET",
                        RESPArgument(names.message(first.key, in: room.name)),
                        "-",
                        "NX",
                        "GET",
                        "PX",
                        RESPArgument(settings.idempotencyWindow.milliseconds)
                    )
                )
                return
            }
            room.appends.removeFirst()
            room.inFlight += 1
            send(first, room)
        }
        refreshExpiry(room)
    }

    private func send(_ append: Append, _ room: StreamRoom) {
        let policy = policy(room.name)
        var arguments: [RESPArgument] = ["XADD", RESPArgument(room.key), "NOMKSTREAM"]
        if policy.retentionCount > 0 { arguments += ["MAXLEN", "=", RESPArgument(policy.retentionCount)] }
        arguments.append(RESPArgument("\(room.epoch)-*"))
        arguments += StreamEntry.fields(append.body, key: append.key, time: wall)
        if settings.waitReplicas > 0 {
            writerReplies.append(.append(append))
            hasUnwaitedAppends = true
            outbox.append(.send(.writer, RESPCommand(arguments), patience: .zero))
        } else {
            publish(.append(append), RESPCommand(arguments))
        }
    }

    /// A room in which nothing has happened for as long as its messages are kept is forgotten by Redis itself.
    private func refreshExpiry(_ room: StreamRoom) {
        let retention = policy(room.name).retentionMilliseconds
        guard retention > 0, now >= room.expiresAt else { return }
        room.expiresAt = now + .milliseconds(max(1000, retention / 8))
        publish(.ignored, RESPCommand("PEXPIRE", RESPArgument(room.key), RESPArgument(retention)))
    }

    /// The answer about a message id: nil: it is new and now taken; a position: it stands there; else somebody has
    /// taken it and not said where it stands, so that the stream must be looked at.
    func checked(_ append: Append, _ value: RESPValue) {
        guard let row = roomIndex[append.room], let room = rooms[row], room.isChecking, !room.appends.isEmpty else {
            return
        }
        if value == .null { return settle(room, duplicateOf: nil) }
        if let id = StreamID(value) {
            return settle(room, duplicateOf: Position(epoch: id.milliseconds, offset: id.sequence &+ 1))
        }
        if let error = value.errorText {
            room.isChecking = false
            room.appends.removeFirst()
            emit(.refused(error))
            finish(append, .failure(.noQuorum))
            return pump(room)
        }
        pool(.search(append), [RESPCommand("XREVRANGE", RESPArgument(room.key), "+", "-", "COUNT", "512")])
    }

    func searched(_ append: Append, _ values: [RESPValue]?) {
        guard let row = roomIndex[append.room], let room = rooms[row], room.isChecking, !room.appends.isEmpty,
            room.appends[0].token == append.token
        else { return }
        guard let entries = values?.first?.elements else {
            room.isChecking = false
            room.appends.removeFirst()
            finish(append, .failure(.timeout))
            return pump(room)
        }
        let found = entries.lazy.compactMap(StreamEntry.init).first { $0.key == Array(append.key) }
        settle(room, duplicateOf: found.map { Position(epoch: $0.id.milliseconds, offset: $0.publication.offset) })
    }

    private func settle(_ room: StreamRoom, duplicateOf position: Position?) {
        room.isChecking = false
        if let position {
            finish(room.appends.removeFirst(), .success(.duplicate(position)))
        } else {
            room.appends[0].isChecked = true
        }
        pump(room)
    }

    /// The answer to an XADD.
    func appended(_ append: Append, _ value: RESPValue) {
        guard let row = roomIndex[append.room], let room = rooms[row] else { return }
        room.inFlight -= 1
        if let id = StreamID(value) {
            var append = append
            append.position = Position(epoch: id.milliseconds, offset: id.sequence &+ 1)
            if settings.waitReplicas > 0 { awaitsReplicas.append(append) } else { acknowledge(append) }
        } else if value == .null || value.errorText?.hasPrefix("ERR The ID specified") == true {
            // The stream is gone, or of a newer epoch than the one that is known here.
            room.returned.append(append)
        } else {
            emit(.refused(value.errorText ?? "an unknown answer to XADD"))
            finish(append, .failure(.noQuorum))
        }
        guard room.inFlight == 0, !room.returned.isEmpty else { return }
        room.appends = Deque(room.returned) + room.appends
        room.returned.removeAll()
        room.state = .closed
        pump(room)
    }

    private func acknowledge(_ append: Append) {
        guard let position = append.position else { return }
        counters.appended += 1
        if !append.key.isEmpty {
            publish(
                .ignored,
                RESPCommand(
                    "SET",
                    RESPArgument(names.message(append.key, in: append.room)),
                    RESPArgument(StreamPosition.id(position).description),
                    "XX",
                    "KEEPTTL"
                )
            )
        }
        finish(append, .success(.appended(position)))
    }

    // MARK: WAIT

    /// At the end of a turn: one WAIT for all that the turn appended (RA-28).
    package func settle() {
        guard hasUnwaitedAppends else { return }
        hasUnwaitedAppends = false
        writerReplies.append(.wait)
        outbox.append(
            .send(
                .writer,
                RESPCommand(
                    "WAIT",
                    RESPArgument(settings.waitReplicas),
                    RESPArgument(settings.waitTimeout.milliseconds)
                ),
                patience: settings.waitTimeout
            )
        )
    }

    /// Everything that was appended before the WAIT has been answered: the connection answers in order.
    func waited(_ value: RESPValue) {
        let isReplicated = (value.number ?? 0) >= Int64(settings.waitReplicas)
        let batch = awaitsReplicas
        awaitsReplicas.removeAll()
        for append in batch {
            // It stands in the master's stream all the same: its outcome is unknown, not negative.
            if isReplicated { acknowledge(append) } else { finish(append, .failure(.timeout)) }
        }
    }

    // MARK: Read

    /// Has a reader follow the rooms that it should, now.
    func read(_ index: Int) {
        guard isUp else { return }
        if readers[index].isReading {
            guard !readers[index].isStale else { return }
            readers[index].isStale = true
            return unblock(index)
        }
        var keys: [RESPArgument] = []
        var ids: [RESPArgument] = []
        for case let room? in rooms where room.reader == index && room.isRead {
            keys.append(RESPArgument(room.key))
            ids.append(
                RESPArgument(StreamPosition.id(Position(epoch: room.epoch, offset: room.next - 1)).description)
            )
        }
        guard !keys.isEmpty else { return }
        readers[index].isReading = true
        readers[index].isStale = false
        let head: [RESPArgument] = [
            "XREAD", "COUNT", RESPArgument(settings.readCount), "BLOCK", RESPArgument(settings.readBlock.milliseconds),
            "STREAMS",
        ]
        outbox.append(.send(.reader(index), RESPCommand(head + keys + ids), patience: settings.readBlock))
    }

    /// Cuts an XREAD short. It may be on its way only, and then the server has nothing to cut: `tickStreams` asks
    /// again.
    private func unblock(_ index: Int) {
        readers[index].nextUnblock = now + .milliseconds(100)
        pool(.ignored, [RESPCommand("CLIENT", "UNBLOCK", RESPArgument(readers[index].client))])
    }

    /// What an XREAD brought: a map of keys and entries in RESP3, an array of pairs in RESP2, null when it found
    /// nothing.
    func onEntries(_ index: Int, _ value: RESPValue) {
        readers[index].isReading = false
        switch value {
        case .map(let parts):
            var row = 0
            while row + 1 < parts.count {
                deliver(parts[row], parts[row + 1])
                row += 2
            }
        case .array(let pairs):
            for pair in pairs {
                guard let parts = pair.elements, parts.count == 2 else { continue }
                deliver(parts[0], parts[1])
            }
        case .error(let text):
            // A key of another type, for example: the rooms are asked again one by one.
            emit(.refused(text))
            for case let room? in rooms where room.reader == index && room.isRead {
                room.state = .closed
                room.retryAt = now + .milliseconds(500)
            }
        default: break
        }
        read(index)
    }

    private func deliver(_ key: RESPValue, _ entries: RESPValue) {
        guard let name = key.bytes.flatMap({ names.room(ofStream: $0) }), let row = roomIndex[name],
            let room = rooms[row], room.isRead
        else { return }
        var publications: [Publication] = []
        for entry in (entries.elements ?? []).lazy.compactMap(StreamEntry.init) {
            guard entry.id.milliseconds == room.epoch else {
                // The stream began anew while it was followed.
                room.state = .closed
                open(room)
                break
            }
            if entry.publication.offset >= room.next { publications.append(entry.publication) }
        }
        guard let last = publications.last else { return }
        room.next = last.offset + 1
        counters.read += UInt64(publications.count)
        for hub in room.hubs {
            outbox.append(.hub(hub, .publications(room.name, epoch: room.epoch, publications)))
        }
    }

    // MARK: Fetch

    /// A hub reads: history, what a subscriber missed, a consumer's place.
    func fetch(_ hub: Int, _ fetch: ShardMessage.HubFetch) {
        guard isUp else {
            return outbox.append(.hub(hub, .fetched(token: fetch.token, fetch.room, .failure(.noQuorum))))
        }
        let known = roomIndex[fetch.room].flatMap { rooms[$0] }.flatMap { $0.state == .open ? $0.epoch : nil }
        ask(hub, fetch, epoch: fetch.epoch != 0 ? fetch.epoch : known ?? 0, isSecond: false)
    }

    /// Whether messages are asked for as well, right behind the three answers about the stream.
    private func ranges(_ fetch: ShardMessage.HubFetch, _ epoch: UInt64) -> Bool {
        fetch.limit > 0 && fetch.from > 0 && epoch > 0
    }

    private func ask(_ hub: Int, _ fetch: ShardMessage.HubFetch, epoch: UInt64, isSecond: Bool) {
        let key = names.stream(of: fetch.room)
        var commands = openCommands(key, after: 0)
        if ranges(fetch, epoch) {
            let limit = min(Int(fetch.limit), settings.historyLimit)
            commands.append(
                RESPCommand(
                    "XRANGE",
                    RESPArgument(key),
                    RESPArgument(StreamID(epoch, fetch.from - 1).description),
                    RESPArgument(StreamID(epoch, .max).description),
                    "COUNT",
                    RESPArgument(limit)
                )
            )
        }
        pool(
            .fetch(hub: hub, fetch, epoch: epoch, isSecond: isSecond),
            commands + (isSecond ? [] : boundCommands(fetch.room))
        )
    }

    func fetched(_ hub: Int, _ fetch: ShardMessage.HubFetch, epoch: UInt64, isSecond: Bool, _ values: [RESPValue]?) {
        guard let values, values.count >= 3, let stream = StreamHead(groups: values[1], stream: values[2]) else {
            return outbox.append(.hub(hub, .fetched(token: fetch.token, fetch.room, .failure(.busy))))
        }
        if let row = roomIndex[fetch.room], let room = rooms[row], room.state == .open, !room.hubs.isEmpty,
            room.epoch != stream.head.epoch
        {
            room.state = .closed
            open(room)
        }
        // The epoch was not known, and nobody asked for a particular one: now it is known.
        if fetch.limit > 0, fetch.from > 0, fetch.epoch == 0, epoch != stream.head.epoch, !isSecond {
            return ask(hub, fetch, epoch: stream.head.epoch, isSecond: true)
        }
        var reply = FetchReply(
            partition: fetch.partition,
            token: fetch.token,
            room: fetch.room,
            status: .ok,
            head: stream.head
        )
        if !fetch.consumer.isEmpty { reply.cursor = stream.cursor(of: fetch.consumer) }
        if ranges(fetch, epoch), values.count > 3, epoch == stream.head.epoch {
            reply.publications = (values[3].elements ?? []).compactMap { StreamEntry($0)?.publication }
        }
        outbox.append(.hub(hub, .fetched(token: fetch.token, fetch.room, .success(reply))))
    }

    // MARK: Consumers

    /// The place of a named consumer: the last-delivered id of a consumer group of its own. Gathered, and written once
    /// a second.
    func acknowledge(_ update: CursorUpdate) {
        let owner = CursorOwner(room: update.room.compacted(), consumer: update.consumer)
        if let row = cursorRows[owner] {
            cursors[row] = (owner, update.position)
        } else if cursors.count < Backplane.cursorLimit {
            // One that is left out is behind until its next acknowledgement: delivered again, not lost.
            cursorRows[owner] = cursors.count
            cursors.append((owner, update.position))
        }
    }

    private static let cursorLimit = 65_536

    private func flushCursors() {
        guard isUp, now >= nextCursorFlush, !cursors.isEmpty else { return }
        nextCursorFlush = now + .seconds(1)
        var commands: [RESPCommand] = []
        for (owner, position) in cursors {
            let key = RESPArgument(names.stream(of: owner.room))
            let group = RESPArgument(RedisNames.group(owner.consumer))
            let id = RESPArgument(StreamPosition.id(position).description)
            // The first is refused where the group exists.
            commands.append(RESPCommand("XGROUP", "CREATE", key, group, id))
            commands.append(RESPCommand("XGROUP", "SETID", key, group, id))
        }
        cursors.removeAll()
        cursorRows.removeAll()
        pool(.ignored, commands)
    }

    // MARK: Time and the link

    func tickStreams() {
        flushCursors()
        for index in readers.indices
        where readers[index].isReading && readers[index].isStale && now >= readers[index].nextUnblock {
            unblock(index)
        }
        guard now >= nextSweep else { return }
        nextSweep = now + .milliseconds(100)
        for row in rooms.indices {
            guard let room = rooms[row] else { continue }
            if isUp, room.state == .closed, !room.hubs.isEmpty || !room.waiting.isEmpty || !room.appends.isEmpty {
                open(room)
            }
            if isUp, room.isRead { refreshExpiry(room) }
            while let first = room.appends.first, first.deadline <= now, !room.isChecking {
                finish(room.appends.removeFirst(), .failure(.noQuorum))
            }
            // An idle room is remembered for a while: whoever publishes without subscribing need not ask each time.
            if room.isIdle, now - room.lastUsed > .seconds(60) {
                roomIndex[room.name] = nil
                rooms[row] = nil
                freeRooms.append(row)
            }
        }
    }

    func restoreStreams() {
        for case let room? in rooms {
            room.state = .closed
            room.retryAt = .zero
            room.expiresAt = .zero
            if !room.isIdle { open(room) }
        }
    }

    /// What was sent and not answered may have happened or not; what was not sent has not.
    func loseStreams() {
        hasUnwaitedAppends = false
        var unknown = awaitsReplicas
        awaitsReplicas.removeAll()
        for case .append(let append) in publisherReplies { unknown.append(append) }
        for case .append(let append) in writerReplies { unknown.append(append) }
        for append in unknown { finish(append, .failure(.timeout)) }
        for index in readers.indices { readers[index] = StreamReader() }
        for case let room? in rooms {
            room.state = .closed
            room.inFlight = 0
            room.isChecking = false
            room.appends = Deque(room.returned) + room.appends
            room.returned.removeAll()
            guard link.isFallback else { continue }
            for append in room.appends { finish(append, .failure(.noQuorum)) }
            room.appends.removeAll()
        }
    }
}
