import Broker
import HistoryChecker
import Primitives
import Rooms

/// Reads heads and histories, which must reflect everything acknowledged before.
final class Reader: Client {
    private let rooms: [String]
    private var pending: (command: UInt64, room: String, invoked: Instant, since: UInt64?, isReverse: Bool, limit: Int)?
    private var isStopped = false

    init(_ simulation: Simulation, rooms: [String]) {
        self.rooms = rooms
        super.init(simulation)
    }

    override func begin() { step() }
    override func windDown() { isStopped = true }
    override var isIdle: Bool { isStopped && pending == nil }

    private func step() {
        guard !isStopped else { return }
        if pending == nil { ask() }
        after(simulation.clientChance.around(.milliseconds(20)) + .microseconds(500)) { [unowned self] in step() }
    }

    private func ask() {
        if simulation.clientChance.chance(1, in: 10) { disconnect(isAbrupt: false) }
        guard connection ?? connect() != nil else { return }
        let room = simulation.clientChance.pick(rooms)
        let command = command()
        let operations = simulation.swarm.operations
        let isHistory =
            operations.contains(.readHistory)
            && (!operations.contains(.readHead) || simulation.clientChance.chance(1, in: 2))
        let since = isHistory ? simulation.clientChance.below(200) : nil
        let isReverse = isHistory && simulation.clientChance.chance(1, in: 3)
        let limit = isHistory ? Int(simulation.clientChance.pick([1, 5, 30])) : 0
        pending = (command, room, simulation.now, isReverse ? nil : since, isReverse, limit)
        request { broker, session in
            broker.history(
                RequestToken(session: session, command: command),
                room: RoomName(room),
                since: isReverse ? nil : since.map { Position(epoch: 0, offset: $0) },
                limit: limit,
                reverse: isReverse
            )
        }
        after(simulation.swarm.broker.requestTimeout * 3) { [unowned self] in
            guard pending?.command == command else { return }
            pending = nil
            disconnect(isAbrupt: true)
        }
    }

    override func disconnected(_ connection: Connection) {
        guard self.connection === connection else { return }
        self.connection = nil
        pending = nil
    }

    override func history(_ command: UInt64, _ result: Result<HistoryResult, RequestError>) {
        guard let asked = pending, asked.command == command else { return }
        pending = nil
        guard case .success(let answer) = result else { return }
        simulation.sometimes.note(.readServed)
        if !asked.isReverse {
            record(
                HistoryRecord(
                    invoked: asked.invoked,
                    returned: simulation.now,
                    process: number,
                    kind: .read,
                    room: simulation.history.rooms.number(of: asked.room),
                    epoch: epochNumber(answer.epoch),
                    offset: answer.offset
                )
            )
        }
        check(asked.room, answer, since: asked.since, isReverse: asked.isReverse, limit: asked.limit)
    }

    /// A history is a run of the room, in order, and what the log holds.
    private func check(_ room: String, _ answer: HistoryResult, since: UInt64?, isReverse: Bool, limit: Int) {
        let list = isReverse ? answer.publications.reversed() : answer.publications
        if list.count > limit { simulation.fail("a history of \(room) has \(list.count) messages, limit \(limit)") }
        let name = RoomName(room)
        let partition = PartitionID(name.slot * UInt32(simulation.swarm.partitions) / HashSlot.count)
        if let first = list.first, let since, first.offset <= since {
            simulation.fail("a history of \(room) since \(since) begins at \(first.offset)")
        }
        for (row, publication) in list.enumerated() {
            if row > 0, publication.offset != list[row - 1].offset + 1 {
                simulation.fail("a history of \(room) has \(publication.offset) after \(list[row - 1].offset)")
            }
            let message = messageNumber(publication.body)
            if let known = simulation.oracle.message(name, publication.offset, partition), known != message {
                simulation.fail(
                    "a history of \(room) has message \(message) at \(publication.offset), the log \(known)"
                )
            }
        }
    }
}
