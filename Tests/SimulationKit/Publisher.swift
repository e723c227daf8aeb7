import Broker
import HistoryChecker
import Primitives
import Rooms

/// Publishes to one room. A message whose fate is unknown is sent again, on any node, when its kind makes that safe.
final class Publisher: Client {
    enum Kind {
        /// Each message is sent once, in order, over one connection: it may be lost, never doubled.
        case plain
        /// An idempotency key each, sent again until it is decided.
        case keyed
        /// A producer's epoch and dense sequence; go-back-N.
        case stamped
        case bestEffort
    }

    private struct Message {
        var number: UInt64
        var epoch: UInt64 = 0
        var sequence: UInt64 = 0
        /// The partition's owner changes when it was first sent.
        var ownerChanges: Int
        /// An attempt is under way.
        var command: UInt64?
        var connection: UInt32 = 0
        var invoked = Instant.zero
        var attempts = 0
        /// Not sent again before.
        var rested = Instant.zero
    }

    let kind: Kind
    let room: RoomName
    private let roomNumber: UInt32
    private let partition: PartitionID
    private var open: [Message] = []
    private var epoch: UInt64 = 1
    private var nextSequence: UInt64 = 0
    /// The newest epoch of which something is known to be appended.
    private var confirmedEpoch: UInt64 = 0
    private let window: Int
    private var isStopped = false
    private let isOrdered: Bool
    private let most: Int?
    private var created = 0

    /// - Parameter most: messages after which it stops; nil to go on until it is told.
    init(_ simulation: Simulation, _ kind: Kind, room: String, most: Int? = nil) {
        self.most = most
        self.kind = kind
        self.room = RoomName(room)
        roomNumber = simulation.history.rooms.number(of: room)
        window = simulation.clientChance.pick([1, 1, 3, 5])
        partition = PartitionID(self.room.slot * UInt32(simulation.swarm.partitions) / HashSlot.count)
        // A gateway's stream is forgotten after ten minutes of log time, and a clock that jumps an hour is past that.
        isOrdered = !simulation.swarm.faults.contains(.clockJump)
        super.init(simulation)
    }

    func isWaiting(for partition: PartitionID) -> Bool {
        partition == self.partition && open.contains { $0.command != nil }
    }

    override func begin() { step() }

    override func windDown() { isStopped = true }

    override var isIdle: Bool { isStopped && open.isEmpty }

    override var state: String {
        "\(kind) \(room) "
            + open.map { "#\($0.number) \($0.epoch):\($0.sequence) x\($0.attempts)" }.joined(separator: ", ")
    }

    private func step() {
        guard !isStopped || !open.isEmpty else { return }
        if !isStopped, simulation.swarm.operations.contains(.producerRestart), kind == .stamped,
            simulation.clientChance.chance(1, in: 200)
        {
            restartProducer()
        }
        if simulation.clientChance.chance(1, in: 100) { change() }
        if !isStopped, open.count < window { create() }
        send()
        after(simulation.clientChance.around(simulation.swarm.publishSpacing) + .microseconds(100)) { [unowned self] in
            step()
        }
    }

    private func create() {
        var message = Message(
            number: simulation.nextMessage,
            ownerChanges: simulation.oracle.ownerChanges[Int(partition.rawValue)]
        )
        simulation.nextMessage += 1
        if kind == .stamped, epoch > 1, confirmedEpoch == epoch, simulation.clientChance.chance(1, in: 20) {
            // The process that was thought dead sends once more.
            message.epoch = epoch - 1
            message.sequence = 1_000_000
        } else if kind == .stamped {
            message.epoch = epoch
            message.sequence = nextSequence
            nextSequence += 1
        }
        open.append(message)
        created += 1
        if created == most { isStopped = true }
    }

    /// Sends what is not under way. A stamped message waits for those before it to be under way, too.
    private func send() {
        guard !open.isEmpty, let connection = connection ?? connect() else { return }
        for row in open.indices where open[row].command == nil {
            if kind != .keyed, kind != .stamped, open[row].attempts > 0 { continue }
            if open[row].rested > simulation.now {
                if kind == .stamped { return }
                continue
            }
            let command = command()
            open[row].command = command
            open[row].connection = connection.number
            open[row].invoked = simulation.now
            open[row].attempts += 1
            transmit(open[row], command)
        }
    }

    private func transmit(_ message: Message, _ command: UInt64) {
        var payload = ByteWriter(capacity: simulation.swarm.payload + 8)
        payload.write(message.number)
        for _ in 0..<simulation.clientChance.below(UInt64(simulation.swarm.payload)) { payload.write(UInt8(120)) }
        let body = MessageBody(payload: payload.bytes[...], isJSON: false).encoded()
        let room = room
        let stamp =
            kind == .stamped
            ? ProducerStamp(id: Array("p\(number)".utf8)[...], epoch: message.epoch, sequence: message.sequence) : nil
        let key = kind == .keyed ? Array("k\(message.number)".utf8) : []
        request { broker, session in
            broker.publish(
                RequestToken(session: session, command: command),
                room: room,
                body: body[...],
                producer: stamp,
                idempotencyKey: key[...]
            )
        }
        // The client's own patience.
        let patience = simulation.swarm.broker.requestTimeout * 2
        after(patience) { [unowned self] in
            guard let row = open.firstIndex(where: { $0.command == command }) else { return }
            end(row, .info)
            change()
        }
    }

    /// On to another connection; answers to what is under way are not waited for.
    private func change() {
        for row in open.indices.reversed() where open[row].command != nil { end(row, .info) }
        disconnect(isAbrupt: simulation.clientChance.chance(1, in: 2))
    }

    override func disconnected(_ connection: Connection) {
        guard self.connection === connection else { return }
        self.connection = nil
        for row in open.indices.reversed() where open[row].command != nil { end(row, .info) }
    }

    override func published(_ command: UInt64, _ result: Result<PublishOutcome, RequestError>) {
        guard let row = open.firstIndex(where: { $0.command == command }) else { return }
        switch result {
        case .success(.appended(let position)): acknowledge(row, position, isDuplicate: false)
        case .success(.duplicate(let position)): acknowledge(row, position, isDuplicate: true)
        case .success: end(row, .ok, isDecided: true)
        case .failure(.refused(let outcome)):
            switch outcome {
            case .fenced:
                simulation.sometimes.note(.producerFenced)
                end(row, .fail, isDecided: true)
            case .sequenceGap, .unknownProducer: goBack(row)
            default:
                simulation.fail("message \(open[row].number) in \(room) was decided against: \(outcome)")
            }
        case .failure(let error):
            simulation.trace.line(simulation.now) { "client \(number): message \(open[row].number) failed: \(error)" }
            if error == .noQuorum { simulation.sometimes.note(.publishRefused) }
            if error == .timeout { simulation.sometimes.note(.publishTimedOut) }
            end(row, error.isDefinite ? .fail : .info)
        }
    }

    private func acknowledge(_ row: Int, _ position: Position, isDuplicate: Bool) {
        let message = open[row]
        if kind == .stamped {
            confirmedEpoch = max(confirmedEpoch, message.epoch)
            if message.epoch < confirmedEpoch, message.sequence == 1_000_000 {
                simulation.fail("an old epoch of producer \(number) was not fenced")
            }
        }
        if kind != .bestEffort {
            simulation.oracle.acknowledge(message.number, room, position.offset, simulation: simulation)
        }
        if isDuplicate {
            simulation.sometimes.note(.duplicateAnswered)
            if message.attempts == 1, isOrdered {
                simulation.fail("message \(message.number) is a duplicate of nothing")
            }
            if simulation.oracle.ownerChanges[Int(partition.rawValue)] > message.ownerChanges {
                simulation.sometimes.note(.duplicateAcrossFailover)
            }
        }
        end(row, .ok, isDecided: true, position: position)
    }

    /// A sequence before this one is missing: everything from the oldest open one on is sent again.
    private func goBack(_ row: Int) {
        let sequence = open[row].sequence
        end(row, .fail)
        if sequence == 0 { simulation.fail("sequence 0 of a producer was refused as out of order") }
    }

    /// Writes the attempt down. A message that is not decided stays open when it may be sent again.
    private func end(_ row: Int, _ outcome: RecordOutcome, isDecided: Bool = false, position: Position? = nil) {
        let message = open[row]
        write(message, outcome, returned: simulation.now, position)
        if isDecided || kind == .plain || kind == .bestEffort {
            open.remove(at: row)
        } else {
            open[row].command = nil
            // Every attempt is one more entry: clients that never slow down can ask for more than a cluster with
            // entries of one command and messages of one entry does, and keep its queue longer than their patience.
            open[row].rested = simulation.now + simulation.swarm.broker.requestTimeout * UInt64(message.attempts / 10)
        }
    }

    private func write(_ message: Message, _ outcome: RecordOutcome, returned: Instant, _ position: Position?) {
        var producer: UInt64 = 0
        var sequence: UInt64 = 0
        switch kind {
        case .plain where isOrdered:
            producer = 1 << 40 | UInt64(message.connection)
            sequence = message.number
        case .keyed: producer = 1 << 41 | UInt64(number)
        case .stamped:
            producer = UInt64(number)
            sequence = message.sequence + 1
        case .plain, .bestEffort: break
        }
        record(
            HistoryRecord(
                invoked: message.invoked,
                returned: returned,
                process: number,
                connection: message.connection,
                kind: .publish,
                room: roomNumber,
                epoch: position.map { $0.epoch == 0 ? 0 : epochNumber($0.epoch) } ?? 0,
                producer: producer,
                producerEpoch: UInt32(message.epoch),
                sequence: sequence,
                message: message.number,
                offset: position?.offset ?? 0,
                outcome: outcome
            )
        )
    }

    /// The producer's process begins anew: what it had under way it does not know of any more.
    private func restartProducer() {
        for message in open where message.command != nil { write(message, .info, returned: simulation.now, nil) }
        open = []
        epoch += 1
        nextSequence = 0
        disconnect(isAbrupt: true)
    }

    override func finish() {
        for message in open where message.command != nil { write(message, .info, returned: .distantFuture, nil) }
        open = []
    }
}
