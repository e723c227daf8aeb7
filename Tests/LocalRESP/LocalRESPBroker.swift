import Broker
import EventLoops
import Keys
import Primitives
import RESPServer
import Rooms

/// A broker of one node and one shard: key partitions without a log, channels without a cluster. Answers come at the
/// end of the tick, as from the real one. Confined to its shard's loop.
package final class LocalRESPBroker: RESPBroker, @unchecked Sendable {
    private struct Room {
        var id: HubRoomID
        var name: RoomName
        var subscribers: [UInt32] = []
    }

    package let keyPartitions: Int
    private let loop: Shard
    private let gateway = GatewayID(rawValue: 1)
    private var partitions: [KeyPartition]
    private var index: LogIndex = 0
    private var sequence: [UInt64]
    private var lastTicket: UInt64 = 0
    private var chance = Xoshiro256(seed: 42)

    private var generations: [UInt32] = []
    private var freeSlots: [UInt32] = []
    private var sessionsMax = 20_000
    private var rooms: [RoomName: Int] = [:]
    private var table: [Room] = []
    private var patterns: [(glob: Glob, count: Int)] = []
    package var directives: [EdgeDirective] = []
    /// What requests are answered with instead of being done; nil: they are done.
    package var failure: RequestError?
    /// Answers are kept back until `release`.
    package var isHolding = false
    /// Replicas besides the owner that have everything.
    package var replicas = 0
    /// Key partitions that were to be handed over.
    package private(set) var handedOver: [Int] = []
    private var heldBack: [EdgeDirective] = []
    private var nextExpiry: UInt64 = 0

    package init(loop: Shard, keyPartitions: Int = 1) {
        self.loop = loop
        self.keyPartitions = keyPartitions
        partitions = (0..<keyPartitions).map { KeyPartition(partition: PartitionID(UInt32($0))) }
        sequence = Array(repeating: 0, count: keyPartitions)
        for partition in 0..<keyPartitions { apply(partition) { $0.begin(seed: 7) } }
    }

    /// Called every tick.
    package func tick(_ wall: Timestamp) {
        guard wall >= nextExpiry else { return }
        nextExpiry = wall + 100
        for partition in 0..<keyPartitions where partitions[partition].isDue(wall) { apply(partition) { $0.expire() } }
        loop.setNeeds(.step)
    }

    package func release() {
        isHolding = false
        directives += heldBack
        heldBack = []
        loop.setNeeds(.step)
    }

    package func takeDirectives() -> [EdgeDirective] {
        defer { directives = [] }
        return directives
    }

    private func answer(_ directive: EdgeDirective) {
        if isHolding { heldBack.append(directive) } else { directives.append(directive) }
    }

    // MARK: Sessions

    package func openSession() -> SessionID? {
        if let slot = freeSlots.popLast() {
            generations[Int(slot)] &+= 1
            return SessionID(slot: slot, generation: generations[Int(slot)])
        }
        guard generations.count < sessionsMax else { return nil }
        generations.append(0)
        return SessionID(slot: UInt32(generations.count - 1), generation: 0)
    }

    package func closeSession(_ session: SessionID) {
        for row in table.indices { table[row].subscribers.removeAll { $0 == session.slot } }
        freeSlots.append(session.slot)
    }

    package func bound(sessions: Int) { sessionsMax = sessions }

    // MARK: Keys

    @discardableResult
    private func apply(_ partition: Int, _ write: (inout KeyBatchWriter) -> Void) -> KeyOutcome? {
        var batch = KeyBatchWriter(timestamp: WallClock.now(), chance: chance.next())
        write(&batch)
        index += 1
        var effects: [KeyPartition.Effect] = []
        do {
            try partitions[partition].apply(index: index, data: batch.bytes, into: &effects)
        } catch {
            preconditionFailure("a batch of our own: \(error)")
        }
        var outcome: KeyOutcome?
        for effect in effects {
            switch effect {
            case .decided(_, _, let decided): outcome = decided
            case .served(_, let ticket, let reply): answer(.served(ticket: ticket, reply: reply))
            case .notified(let notification): notify(notification, partition)
            }
        }
        return outcome
    }

    private func applyUnit(_ partition: Int, _ unit: [UInt8]) -> KeyOutcome {
        sequence[partition] += 1
        let number = sequence[partition]
        return apply(partition) { $0.unit(gateway: gateway, sequence: number, acknowledgedBelow: number, unit[...]) }
            ?? .unknown
    }

    package func execute(_ token: RequestToken, keyPartition: Int, unit: [UInt8], isReadOnly: Bool) {
        if let failure { return answer(.keys(token, .failure(failure))) }
        guard isReadOnly else {
            let mark = directives.count
            let outcome = applyUnit(keyPartition, unit)
            // As with the real broker, the unit's own result comes before what it made others wait for.
            if isHolding {
                answer(.keys(token, .success(outcome)))
            } else {
                directives.insert(.keys(token, .success(outcome)), at: mark)
            }
            return
        }
        switch unit.first {
        case KeyUnit.Kind.replicas.rawValue:
            return answer(.keys(token, .success(.replied(Array(":\(replicas)\r\n".utf8)))))
        case KeyUnit.Kind.handOver.rawValue:
            handedOver.append(keyPartition)
            return answer(.keys(token, .success(.replied(Array(":\(replicas > 0 ? 1 : 0)\r\n".utf8)))))
        default: break
        }
        let wall = WallClock.now()
        let outcome = unit.withUnsafeBytes { try? partitions[keyPartition].read($0, from: gateway, now: wall) }
        guard let outcome else { preconditionFailure("a unit of our own") }
        answer(.keys(token, .success(outcome)))
    }

    package func nextTicket() -> UInt64 {
        lastTicket += 1
        return lastTicket
    }

    package func cancel(ticket: UInt64, keyPartition: Int) {
        var unit = KeyUnit(kind: .cancel)
        unit.tickets = [ticket]
        _ = applyUnit(keyPartition, unit.encoded())
    }

    package func unblock(_ token: RequestToken, ticket: UInt64, keyPartition: Int, error: [UInt8]) {
        var unit = KeyUnit(kind: .unblock)
        unit.tickets = [ticket]
        unit.error = error
        answer(.keys(token, .success(applyUnit(keyPartition, unit.encoded()))))
    }

    private func notify(_ notification: KeyNotification, _ partition: Int) {
        let kinds = partitions[partition].keyspace.configuration.notifications
        let event = Array(notification.event.utf8)
        if kinds.contains(.keyspace) {
            let channel = Array("__keyspace@\(notification.database)__:".utf8) + notification.key
            _ = publish(RoomName(channel), MessageBody(payload: event[...], isJSON: false).encoded()[...])
        }
        if kinds.contains(.keyevent) {
            let channel = Array("__keyevent@\(notification.database)__:".utf8) + event
            _ = publish(RoomName(channel), MessageBody(payload: notification.key[...], isJSON: false).encoded()[...])
        }
    }

    // MARK: Channels

    private func publish(_ room: RoomName, _ body: ArraySlice<UInt8>) -> Int {
        let publication = Publication(offset: 0, timestamp: WallClock.now(), body: body)
        var count = 0
        if let row = rooms[room], !table[row].subscribers.isEmpty {
            count += table[row].subscribers.count
            directives.append(.broadcast(table[row].id, publication))
        }
        let matching = ChannelName.isReserved(room.bytes) ? [] : patterns.filter { $0.glob.matches(room.bytes) }
        if !matching.isEmpty {
            count += matching.reduce(0) { $0 + $1.count }
            directives.append(.patternMessage(room, publication))
        }
        return count
    }

    package func publishCounted(_ token: RequestToken, room: RoomName, body: ArraySlice<UInt8>) -> Int? {
        if let failure {
            answer(.received(token, .failure(failure)))
        } else {
            answer(.received(token, .success(publish(room, body))))
        }
        return nil
    }

    package func subscribe(_ token: RequestToken, room: RoomName, options: SubscribeOptions) {
        if let failure { return answer(.subscribed(token, room, .failure(failure))) }
        let row: Int
        if let known = rooms[room] {
            row = known
        } else {
            row = table.count
            rooms[room] = row
            table.append(Room(id: HubRoomID(row), name: room))
        }
        table[row].subscribers.append(token.session.slot)
        let result = SubscribeResult(room: table[row].id, isStored: false, epoch: 1, offset: 0)
        answer(.subscribed(token, room, .success(result)))
    }

    package func unsubscribe(_ session: SessionID, room: RoomName) -> Bool {
        guard let row = rooms[room], let place = table[row].subscribers.firstIndex(of: session.slot) else {
            return false
        }
        table[row].subscribers.remove(at: place)
        return true
    }

    package func subscribePattern(_ token: RequestToken, pattern: Glob) -> Bool {
        if let row = patterns.firstIndex(where: { $0.glob == pattern }) {
            patterns[row].count += 1
        } else {
            patterns.append((pattern, 1))
        }
        answer(.patternSubscribed(token, pattern))
        return true
    }

    package func unsubscribePattern(_ pattern: Glob) {
        guard let row = patterns.firstIndex(where: { $0.glob == pattern }) else { return }
        patterns[row].count -= 1
        if patterns[row].count == 0 { patterns.remove(at: row) }
    }

    package func channels(_ token: RequestToken, query: ChannelQuery) {
        if let failure { return answer(.channels(token, .failure(failure))) }
        let reply: ChannelReply
        switch query {
        case .names(let pattern):
            let live = table.filter { !$0.subscribers.isEmpty && pattern?.matches($0.name.bytes) ?? true }
            reply = .names(live.map(\.name))
        case .counts(let names):
            reply = .counts(names.map { name in rooms[name].map { UInt64(table[$0].subscribers.count) } ?? 0 })
        case .patterns: reply = .patterns(patterns.map(\.glob))
        }
        answer(.channels(token, .success(reply)))
    }

    package func liveSubscribers(of room: HubRoomID) -> [UInt32] { table[Int(room)].subscribers }
    package func roomName(of room: HubRoomID) -> RoomName { table[Int(room)].name }

    /// Waits that nobody has ended.
    package var waiterCount: Int { partitions.reduce(0) { $0 + $1.keyspace.waiterCount } }
    /// Subscriptions of any session.
    package var subscriptionCount: Int {
        table.reduce(0) { $0 + $1.subscribers.count } + patterns.reduce(0) { $0 + $1.count }
    }

    /// What somebody else in the cluster publishes.
    package func publishFromElsewhere(_ room: RoomName, _ payload: [UInt8], isJSON: Bool) {
        _ = publish(room, MessageBody(payload: payload[...], isJSON: isJSON).encoded()[...])
        loop.setNeeds(.step)
    }
}
