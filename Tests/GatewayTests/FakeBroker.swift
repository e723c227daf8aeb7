import EventLoops
import Gateway
import Primitives
import Rooms

@testable import Broker

/// A broker of one node in memory: rooms keep everything, every call is answered in the same tick, or not at all while
/// `isSilent`. Rooms that begin with "live:" are not stored. Confined to the shard's loop.
final class FakeBroker: EdgeBroker, @unchecked Sendable {
    struct Room {
        var name: RoomName
        var epoch: UInt64
        var log: [Publication] = []
        var live: [UInt32] = []
        /// Sessions that were paused, and the next offset that they need.
        var paused: [(SessionID, UInt64)] = []
    }

    var rooms: [Room] = []
    var generations: [UInt32] = []
    var isOpen: [Bool] = []
    var directives: [EdgeDirective] = []
    /// Publishes are not answered.
    var isSilent = false
    var silenced: [RequestToken] = []
    var nextError: RequestError?
    var nextOutcome: PublishOutcome?
    var priorities: [String: RoomPriority] = [:]
    var maxSessions = 10_000
    var pauses = 0
    var wall: Timestamp { WallClock.now() }
    var publishTimestampShift: UInt64 = 0

    var openSessions: Int { isOpen.count { $0 } }
    var isDegraded: Bool { false }

    func openSession() -> SessionID? {
        guard openSessions < maxSessions else { return nil }
        if let slot = isOpen.firstIndex(of: false) {
            isOpen[slot] = true
            generations[slot] += 1
            return SessionID(slot: UInt32(slot), generation: generations[slot])
        }
        isOpen.append(true)
        generations.append(1)
        return SessionID(slot: UInt32(isOpen.count - 1), generation: 1)
    }

    func closeSession(_ session: SessionID) {
        isOpen[Int(session.slot)] = false
        for index in rooms.indices {
            rooms[index].live.removeAll { $0 == session.slot }
            rooms[index].paused.removeAll { $0.0 == session }
        }
    }

    func index(of name: RoomName) -> Int {
        if let index = rooms.firstIndex(where: { $0.name == name }) { return index }
        rooms.append(Room(name: name.compacted(), epoch: 0xabc0 + UInt64(rooms.count)))
        return rooms.count - 1
    }

    func publish(
        _ token: RequestToken,
        room: RoomName,
        body: ArraySlice<UInt8>,
        producer: ProducerStamp?,
        idempotencyKey: ArraySlice<UInt8>
    ) {
        if isSilent { return silenced.append(token) }
        if let error = nextError {
            nextError = nil
            return directives.append(.published(token, .failure(error)))
        }
        if let outcome = nextOutcome {
            nextOutcome = nil
            return directives.append(.published(token, .success(outcome)))
        }
        let position = append(room, Array(body)[...])
        directives.append(.published(token, .success(.appended(position))))
    }

    @discardableResult
    func append(_ name: RoomName, _ body: ArraySlice<UInt8>) -> Position {
        let index = index(of: name)
        let isStored = policy(for: name).deliveryClass.isLogged
        let publication = Publication(
            offset: isStored ? UInt64(rooms[index].log.count + 1) : 0,
            timestamp: wall - publishTimestampShift,
            body: body
        )
        if isStored { rooms[index].log.append(publication) }
        directives.append(.broadcast(HubRoomID(index), publication))
        return Position(epoch: isStored ? rooms[index].epoch : 0, offset: publication.offset)
    }

    func subscribe(_ token: RequestToken, room: RoomName, options: SubscribeOptions) {
        if let error = nextError {
            nextError = nil
            return directives.append(.subscribed(token, room, .failure(error)))
        }
        let index = index(of: room)
        let isStored = policy(for: room).deliveryClass.isLogged
        var publications: [Publication] = []
        var recovered = false
        if let position = options.recover {
            recovered = position.epoch == rooms[index].epoch
            if recovered { publications = rooms[index].log.filter { $0.offset > position.offset } }
        } else if options.fromBeginning {
            publications = rooms[index].log
        }
        rooms[index].live.append(token.session.slot)
        directives.append(
            .subscribed(
                token,
                room,
                .success(
                    SubscribeResult(
                        room: HubRoomID(index),
                        isStored: isStored,
                        epoch: isStored ? rooms[index].epoch : 0,
                        offset: UInt64(rooms[index].log.count),
                        publications: publications,
                        wasRecovering: options.recover != nil,
                        recovered: recovered,
                        gap: nil
                    )
                )
            )
        )
    }

    func unsubscribe(_ session: SessionID, room: RoomName) -> Bool {
        let index = index(of: room)
        let before = rooms[index].live.count
        rooms[index].live.removeAll { $0 == session.slot }
        return rooms[index].live.count < before
    }

    func history(_ token: RequestToken, room: RoomName, since: Position?, limit: Int, reverse: Bool) {
        guard policy(for: room).deliveryClass.isLogged else {
            return directives.append(.history(token, room, .failure(.notStored)))
        }
        let index = index(of: room)
        var found = rooms[index].log.filter { $0.offset > (since?.offset ?? 0) }
        if reverse { found.reverse() }
        directives.append(
            .history(
                token,
                room,
                .success(
                    HistoryResult(
                        epoch: rooms[index].epoch,
                        offset: UInt64(rooms[index].log.count),
                        publications: Array(found.prefix(limit))
                    )
                )
            )
        )
    }

    func acknowledge(_ session: SessionID, room: RoomName, position: Position) throws(RequestError) {
        let index = index(of: room)
        guard rooms[index].live.contains(session.slot) else { throw .notSubscribed }
        guard position.epoch == rooms[index].epoch else { throw .badPosition }
    }

    func sessionWritable(_ session: SessionID) {
        for index in rooms.indices {
            guard let row = rooms[index].paused.firstIndex(where: { $0.0 == session }) else { continue }
            let next = rooms[index].paused.remove(at: row).1
            let missed = rooms[index].log.filter { $0.offset >= next }
            rooms[index].live.append(session.slot)
            if !missed.isEmpty { directives.append(.publications(session, HubRoomID(index), missed)) }
        }
    }

    func pause(_ session: SessionID, _ room: HubRoomID, nextOffset: UInt64) {
        pauses += 1
        rooms[Int(room)].live.removeAll { $0 == session.slot }
        rooms[Int(room)].paused.removeAll { $0.0 == session }
        rooms[Int(room)].paused.append((session, nextOffset))
    }

    func liveSubscribers(of room: HubRoomID) -> [UInt32] { rooms[Int(room)].live }
    func roomName(of room: HubRoomID) -> RoomName { rooms[Int(room)].name }
    func policy(of room: HubRoomID) -> NamespacePolicy { policy(for: rooms[Int(room)].name) }

    func policy(for room: RoomName) -> NamespacePolicy {
        NamespacePolicy(
            deliveryClass: room.description.hasPrefix("live:") ? .bestEffort : .guaranteed,
            priority: priorities[room.description] ?? .normal
        )
    }
}
