import Broker
import Keys
import Primitives

/// Uses keys as a Redis client at any node's shim does: one command at a time, and after an error it does not know
/// whether the last one was done.
final class KeyClient: Client {
    private enum Role {
        case register(String)
        case counter(String)
        /// Pushes numbers that no other push has.
        case pusher
        /// Takes them, waiting when there are none.
        case popper
        /// Fills the memory with keys that may go at any time.
        case filler
    }

    private var role: Role
    private var pending: (command: UInt64, row: Int?, ticket: UInt64?)?
    private var isStopped = false
    private var asked = 0
    private let most: Int

    override init(_ simulation: Simulation) {
        let chance = simulation.clientChance.below(6)
        role =
            switch chance {
            case 0, 1: .register("r\(simulation.clientChance.below(2))")
            case 2, 3: .counter("c\(simulation.clientChance.below(2))")
            case 4: .pusher
            default: .popper
            }
        if simulation.swarm.broker.keyMemory.bytes > 0, simulation.clientChance.chance(1, in: 3) { role = .filler }
        most = simulation.clientChance.pick(10...40)
        super.init(simulation)
    }

    override func begin() { step() }

    override func windDown() {
        isStopped = true
        // Nobody pushes any more: who still waits goes.
        if case .popper = role, pending != nil { leave() }
    }

    override var isIdle: Bool { isStopped && pending == nil }
    override var state: String { "\(role), waits for \(pending.map { "\($0)" } ?? "nothing")" }

    private func leave() {
        if let ticket = pending?.ticket {
            request { broker, _ in broker.cancel(ticket: ticket, keyPartition: 0) }
        }
        pending = nil
        disconnect(isAbrupt: false)
    }

    private func step() {
        guard !isStopped else { return }
        if simulation.clientChance.chance(1, in: 15), pending == nil { disconnect(isAbrupt: true) }
        if pending?.ticket != nil, simulation.clientChance.chance(1, in: 40) { leave() }
        if pending == nil, asked < most { ask() }
        after(simulation.clientChance.around(simulation.swarm.publishSpacing) + .microseconds(300)) { [unowned self] in
            step()
        }
    }

    private func ask() {
        guard connection ?? connect() != nil else { return }
        asked += 1
        let command = command()
        var line: [String]
        var row: Int?
        var isReadOnly = false
        var waits = false
        switch role {
        case .register(let key):
            if simulation.clientChance.chance(1, in: 2) {
                let value = simulation.nextMessage
                simulation.nextMessage += 1
                line = ["SET", key, String(value)]
                row = note(key, .set(value))
            } else {
                line = ["GET", key]
                isReadOnly = simulation.clientChance.chance(3, in: 4)
                row = note(key, .get)
            }
        case .counter(let key):
            if simulation.clientChance.chance(3, in: 4) {
                line = ["INCR", key]
                row = note(key, .increment)
            } else {
                line = ["GET", key]
                isReadOnly = true
                row = note(key, .get)
            }
        case .pusher:
            let value = simulation.nextMessage
            simulation.nextMessage += 1
            simulation.pushed.insert(value)
            line = ["RPUSH", "list", String(value)]
        case .popper:
            line = ["BLPOP", "list", simulation.clientChance.chance(1, in: 2) ? "0" : "0.3"]
            waits = true
        case .filler:
            let key = "filler\(simulation.clientChance.below(60))"
            isReadOnly = simulation.clientChance.chance(1, in: 4)
            let value = String(repeating: "x", count: 1000)
            let life = String(simulation.clientChance.pick(500...60_000))
            line = isReadOnly ? ["GET", key] : ["SET", key, value, "PX", life]
        }
        var unit = KeyUnit(kind: .commands)
        unit.items = [.command(database: 0, arguments: line.map { Array($0.utf8) })]
        pending = (command, row, nil)
        request { [unowned self] broker, session in
            var unit = unit
            if waits {
                unit.ticket = broker.nextTicket()
                if pending?.command == command { pending?.ticket = unit.ticket }
            }
            broker.execute(
                RequestToken(session: session, command: command),
                keyPartition: 0,
                unit: unit.encoded(),
                isReadOnly: isReadOnly
            )
        }
        guard !waits else { return }
        // The client's own patience.
        after(simulation.swarm.broker.requestTimeout * 3) { [unowned self] in
            guard pending?.command == command else { return }
            pending = nil
            disconnect(isAbrupt: true)
        }
    }

    private func note(_ key: String, _ action: KeyHistory.Action) -> Int {
        simulation.keyOperations.append(
            (
                key,
                KeyHistory.Operation(
                    client: number,
                    action: action,
                    invoked: simulation.now,
                    returned: .distantFuture,
                    result: nil
                )
            )
        )
        return simulation.keyOperations.count - 1
    }

    override func disconnected(_ connection: Connection) {
        guard self.connection === connection else { return }
        self.connection = nil
        pending = nil
    }

    override func keys(_ command: UInt64, _ result: Result<KeyOutcome, RequestError>) {
        guard let asked = pending, asked.command == command else { return }
        switch result {
        case .success(.replied(let bytes)):
            pending = nil
            answered(asked.row, bytes)
        case .success(.waits): simulation.sometimes.note(.keyWaited)
        case .success(.unknown), .failure(.timeout):
            pending = nil
            disconnect(isAbrupt: false)
        case .failure:
            // Certainly not done: as if it had never been asked.
            pending = nil
            if let row = asked.row { simulation.keyOperations[row].operation.action = .get }
        }
    }

    func served(_ ticket: UInt64, _ reply: [UInt8]?) {
        guard pending?.ticket == ticket else { return }
        pending = nil
        simulation.sometimes.note(.keyServed)
        if let reply { answered(nil, reply) } else { disconnect(isAbrupt: false) }
    }

    func waits(by ticket: UInt64) -> Bool { pending?.ticket == ticket }

    private func answered(_ row: Int?, _ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        if text.hasPrefix("-") {
            simulation.fail("client \(number): \(text)")
            return
        }
        if case .popper = role {
            if text.hasPrefix("*2"), lines.count > 4, let value = UInt64(lines[4]) { popped(value) }
            return
        }
        guard let row else { return }
        simulation.keyOperations[row].operation.returned = simulation.now
        var value: UInt64?
        if text.hasPrefix(":") { value = UInt64(lines[0].dropFirst()) }
        if text.hasPrefix("$-1") { value = 0 }
        if text.hasPrefix("$"), lines.count > 1, !text.hasPrefix("$-1") { value = UInt64(lines[1]) }
        simulation.keyOperations[row].operation.result = value
    }

    private func popped(_ value: UInt64) {
        if !simulation.pushed.contains(value) { simulation.fail("\(value) was popped and never pushed") }
        if !simulation.popped.insert(value).inserted { simulation.poppedTwice.insert(value) }
    }
}

extension Simulation {
    /// An owner that answers early, and everything that it has answered, is gone or will be.
    func noteKeysAhead(_ node: SimulatedNode, isDying: Bool) {
        for broker in node.brokers
        where broker.counters.keyEntriesUnconfirmed > 0 || (isDying && broker.keyEntriesAhead > 0) {
            mayLackKeys = true
        }
    }

    /// Every answer about a key is explained by one order of all commands. Where an owner was lost with something that
    /// it had answered early, every answer was at least true of some state: nothing is read that nobody wrote.
    func judgeKeys() {
        for node in nodes {
            noteKeysAhead(node, isDying: node.isAbandoned)
            for broker in node.brokers where broker.status().keys.statistics.evicted > 0 { sometimes.note(.keyEvicted) }
        }
        if swarm.keyPartitions > 0, swarm.broker.keyAck == .owner {
            sometimes.note(mayLackKeys ? .keyAnsweredEarly : .keyKeptEarly)
        }
        guard !mayLackKeys else { return judgeLossyKeys() }
        for value in poppedTwice.sorted() { fail("\(value) was popped twice") }
        var histories: [KeyHistory] = []
        for (key, operation) in keyOperations {
            if let row = histories.firstIndex(where: { $0.key == key }) {
                histories[row].operations.append(operation)
            } else {
                histories.append(KeyHistory(key: key, operations: [operation]))
            }
        }
        for history in histories {
            sometimes.note(.keyHistoryJudged)
            if let violation = history.violation() { fail(violation) }
        }
    }
}

extension Simulation {
    private func judgeLossyKeys() {
        var written: [String: Set<UInt64>] = [:]
        var increments: [String: UInt64] = [:]
        for (key, operation) in keyOperations {
            switch operation.action {
            case .set(let value): written[key, default: []].insert(value)
            case .increment: increments[key, default: 0] += 1
            case .get: break
            }
        }
        for (key, operation) in keyOperations {
            guard let result = operation.result, result != 0 else { continue }
            switch operation.action {
            case .set: break
            case .increment where result > increments[key] ?? 0: fail("\(key) was counted to \(result)")
            case .get where result > increments[key] ?? 0 && written[key]?.contains(result) != true:
                fail("\(key) was read as \(result), which nobody wrote")
            case .increment, .get: break
            }
        }
    }
}
