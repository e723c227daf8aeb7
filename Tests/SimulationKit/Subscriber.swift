import Broker
import HistoryChecker
import Primitives
import Rooms

/// Subscribes to one room and resumes, on any node, from where it was. A consumer acknowledges, and continues from its
/// durable cursor.
final class Subscriber: Client {
    private enum Phase: Equatable {
        case away
        case asking(UInt64)
        case subscribed
    }

    let room: RoomName
    let isConsumer: Bool
    private let roomNumber: UInt32
    let isStored: Bool
    private let startsAtBeginning: Bool
    private var phase = Phase.away
    private var isStopped = false
    private var epoch: UInt64 = 0
    /// The last offset that it has; nil before its first subscription.
    private(set) var last: UInt64?
    private var acknowledged: UInt64 = 0
    /// What a consumer was handed so far, by offset.
    private var handed: [UInt64: UInt64] = [:]
    private var lastNode: Int?
    private var asked: (invoked: Instant, isRecovering: Bool) = (.zero, false)
    /// The queue of the connection is full: nothing is taken until it is writable again.
    private var isFull = false
    private let window: UInt32

    init(_ simulation: Simulation, room: String, isConsumer: Bool, startsAtBeginning: Bool = false) {
        self.startsAtBeginning = startsAtBeginning
        self.room = RoomName(room)
        self.isConsumer = isConsumer
        isStored = !room.hasPrefix("be:")
        roomNumber = simulation.history.rooms.number(of: room)
        window = simulation.clientChance.pick([1, 4, 100])
        super.init(simulation)
    }

    override func begin() { step() }
    /// Subscribers stay to the end, but go away no more.
    override func windDown() { isStopped = true }
    var isSubscribed: Bool { phase == .subscribed }

    private func step() {
        switch phase {
        case .away: subscribe()
        case .asking: break
        case .subscribed:
            if !isStopped, simulation.swarm.operations.contains(.resubscribe), simulation.clientChance.chance(1, in: 15)
            {
                leave()
            } else if isConsumer {
                acknowledge()
            }
        }
        after(simulation.clientChance.around(isStopped ? .milliseconds(8) : .milliseconds(25)) + .milliseconds(1)) {
            [unowned self] in step()
        }
    }

    private func subscribe() {
        guard connection ?? connect() != nil else { return }
        let command = command()
        var options = SubscribeOptions()
        if isConsumer {
            options.ackWindow = window
            options.consumer = Array("c\(number)".utf8)
            // Where it is by its own account: the cursor may not have been stored before its gateway died.
            if last != nil {
                options.recover = Position(epoch: epoch, offset: acknowledged)
                // A place that it claims is stored like one that it acknowledges, a gap's end included.
                recordAcknowledge(acknowledged)
            }
        } else if let last, isStored {
            options.recover = Position(epoch: epoch, offset: last)
        } else {
            options.fromBeginning = startsAtBeginning || simulation.clientChance.chance(1, in: 2)
        }
        phase = .asking(command)
        asked = (simulation.now, options.recover != nil)
        isFull = false
        let (room, chosen) = (room, options)
        request { broker, session in
            broker.subscribe(RequestToken(session: session, command: command), room: room, options: chosen)
        }
        after(simulation.swarm.broker.requestTimeout * 3) { [unowned self] in
            guard phase == .asking(command) else { return }
            phase = .away
            disconnect(isAbrupt: true)
        }
    }

    /// Goes away: with or without a word, or only out of the room.
    private func leave() {
        phase = .away
        guard simulation.clientChance.chance(1, in: 3), let connection, connection.session != nil else {
            return disconnect(isAbrupt: simulation.clientChance.chance(1, in: 2))
        }
        let room = room
        request { broker, session in _ = broker.unsubscribe(session, room: room) }
    }

    private func acknowledge() {
        guard let last, last > acknowledged, simulation.clientChance.chance(2, in: 3) else { return }
        let offset = acknowledged + 1 + simulation.clientChance.below(last - acknowledged)
        acknowledge(offset)
    }

    private func acknowledge(_ offset: UInt64) {
        simulation.trace.line(simulation.now) { "subscriber \(number) of \(self.room) acknowledges \(offset)" }
        acknowledged = offset
        recordAcknowledge(offset)
        let (room, position) = (room, Position(epoch: epoch, offset: offset))
        request { broker, session in
            do {
                try broker.acknowledge(session, room: room, position: position)
            } catch {
                // The subscription may have ended while the acknowledgement travelled.
            }
        }
    }

    private func recordAcknowledge(_ offset: UInt64) {
        record(
            HistoryRecord(
                invoked: simulation.now,
                returned: .distantFuture,
                process: number,
                connection: connection?.number ?? 0,
                kind: .acknowledge,
                room: roomNumber,
                epoch: epochNumber(epoch),
                producer: UInt64(number),
                offset: offset,
                outcome: .info
            )
        )
    }

    /// Acknowledges everything that it has; the cursor must get there.
    func acknowledgeAll() -> UInt64? {
        guard isConsumer, phase == .subscribed, let last else { return nil }
        if last > acknowledged { acknowledge(last) }
        return acknowledged
    }

    override func disconnected(_ connection: Connection) {
        guard self.connection === connection else { return }
        self.connection = nil
        phase = .away
    }

    override func resubscribe() {
        simulation.fail("the history of \(room) began anew")
    }

    // MARK: What comes

    override func subscribed(_ command: UInt64, _ result: Result<SubscribeResult, RequestError>) -> UInt64? {
        guard phase == .asking(command) else { return nil }
        guard case .success(let answer) = result else {
            phase = .away
            if simulation.clientChance.chance(1, in: 2) { disconnect(isAbrupt: false) }
            return nil
        }
        phase = .subscribed
        guard isStored else { return nil }
        let before = last
        simulation.trace.line(simulation.now) {
            "subscriber \(number) of \(room) at \(before ?? 0), acknowledged \(acknowledged): "
                + "begins at \(answer.offset), recovering \(answer.wasRecovering), "
                + "gap \(answer.gap.map { "\($0)" } ?? "none")"
        }
        if let gap = answer.gap { note(gap, before: before) }
        if isConsumer {
            startFromCursor(answer, before: before)
        } else if asked.isRecovering {
            if answer.recovered {
                simulation.sometimes.note(.resumed)
                if let lastNode, lastNode != connection?.node { simulation.sometimes.note(.resumedElsewhere) }
            }
            // Any move must have been declared.
            if let gap = answer.gap {
                set(gap.to, answer.epoch)
            } else if epoch != answer.epoch {
                simulation.fail("session \(number) resumed in another epoch of \(room)")
            } else if answer.offset != before {
                simulation.fail("session \(number) of \(room) resumed at \(answer.offset) instead of \(before ?? 0)")
            }
        } else {
            set(answer.offset, answer.epoch)
        }
        lastNode = connection?.node
        return receive(room, answer.publications)
    }

    private func startFromCursor(_ answer: SubscribeResult, before: UInt64?) {
        if answer.wasRecovering {
            simulation.sometimes.note(.cursorResumed)
            if let before, answer.offset < before { simulation.sometimes.note(.redelivered) }
        } else if before == nil {
            // The place where it began is remembered for it.
            record(cursorRecord(.acknowledge, answer, offset: answer.offset, returned: .distantFuture, .info))
        } else {
            simulation.fail("consumer \(number) of \(room) began anew, it had acknowledged \(acknowledged)")
        }
        let start = answer.gap.map { $0.from - 1 } ?? answer.offset
        if answer.wasRecovering, before == nil || start != acknowledged {
            // Not what it asked for: so it is what was stored.
            if before == nil {
                record(cursorRecord(.acknowledge, answer, offset: start, returned: .distantFuture, .info))
            }
            record(cursorRecord(.cursor, answer, offset: start, returned: simulation.now, .ok))
        }
        if let before, answer.offset > before, answer.gap == nil { passAgain(before + 1, answer.offset) }
        set(answer.offset, answer.epoch)
        acknowledged = answer.offset
    }

    /// An acknowledgement of an earlier session was stored only after this one had been set back: the cursor may pass
    /// what this consumer was handed before, and only that.
    private func passAgain(_ from: UInt64, _ to: UInt64) {
        for offset in from...to {
            guard let message = handed[offset] else { return }
            recordReceive(offset, message)
        }
        last = to
    }

    private func cursorRecord(
        _ kind: RecordKind,
        _ answer: SubscribeResult,
        offset: UInt64,
        returned: Instant,
        _ outcome: RecordOutcome
    ) -> HistoryRecord {
        HistoryRecord(
            invoked: asked.invoked,
            returned: returned,
            process: number,
            kind: kind,
            room: roomNumber,
            epoch: epochNumber(answer.epoch),
            producer: UInt64(number),
            offset: offset,
            outcome: outcome
        )
    }

    private func note(_ gap: Gap, before: UInt64?) {
        simulation.sometimes.note(.gapSent)
        if gap.reason == .epoch {
            simulation.fail("session \(number) at \(before ?? 0) of \(room) was told that its history is over: \(gap)")
        }
        if !isConsumer, let before, gap.from != before + 1 {
            simulation.fail("session \(number) at \(before) of \(room) was told of a gap from \(gap.from) to \(gap.to)")
        }
    }

    private func set(_ offset: UInt64, _ epoch: UInt64) {
        self.epoch = epoch
        last = offset
        record(
            HistoryRecord(
                invoked: simulation.now,
                returned: simulation.now,
                process: number,
                connection: connection?.number ?? 0,
                kind: .subscribe,
                room: roomNumber,
                epoch: epochNumber(epoch),
                offset: offset
            )
        )
    }

    override func gap(_ gap: Gap) {
        guard phase == .subscribed, !isFull else { return }
        note(gap, before: last)
        set(gap.to, epoch)
        // There is nothing in it to acknowledge.
        acknowledged = gap.to
    }

    override func receive(_ name: RoomName, _ publications: [Publication]) -> UInt64? {
        guard phase == .subscribed, name == room else { return nil }
        if isFull, isStored, !publications.isEmpty { return (last ?? 0) + 1 }
        for publication in publications {
            if isStored, simulation.isFaultPhase, simulation.swarm.operations.contains(.slowSubscriber),
                simulation.clientChance.chance(1, in: 40)
            {
                isFull = true
                let connection = connection
                after(simulation.clientChance.milliseconds(1...150)) { [unowned self] in
                    guard let connection, self.connection === connection, isFull else { return }
                    request { [unowned self] broker, session in
                        isFull = false
                        broker.sessionWritable(session)
                    }
                }
                return publication.offset
            }
            take(publication)
        }
        return nil
    }

    private func take(_ publication: Publication) {
        let message = messageNumber(publication.body)
        if !isStored { simulation.sometimes.note(.bestEffortDelivered) }
        recordReceive(publication.offset, message)
        if isStored { last = publication.offset }
        if isConsumer { handed[publication.offset] = message }
    }

    private func recordReceive(_ offset: UInt64, _ message: UInt64) {
        record(
            HistoryRecord(
                invoked: simulation.now,
                returned: simulation.now,
                process: number,
                connection: connection?.number ?? 0,
                kind: .receive,
                room: roomNumber,
                epoch: isStored ? epochNumber(epoch) : 0,
                message: message,
                offset: offset
            )
        )
    }
}
