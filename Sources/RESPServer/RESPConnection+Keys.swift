import Broker
import EventLoops
import Keys
import Primitives
import RESP

/// The same question to several key partitions, or one to one of them.
final class KeyQuery {
    let first: UInt64
    var replies: [[UInt8]]
    var missing: Int
    let isLenient: Bool
    let done: ([[UInt8]]) -> Void

    init(first: UInt64, count: Int, isLenient: Bool, _ done: @escaping ([[UInt8]]) -> Void) {
        self.first = first
        self.isLenient = isLenient
        replies = Array(repeating: [], count: count)
        missing = count
        self.done = done
    }
}

extension RESPConnection {
    // MARK: Where keys are

    var keyPartitions: Int { shard.broker.keyPartitions }

    func partition(ofSlot slot: UInt32) -> Int { Int(slot) * keyPartitions / Int(HashSlot.count) }

    enum Place {
        case partition(Int, slot: UInt32?)
        /// The command concerns all keys.
        case everywhere
        case refused(String)
    }

    /// The key partition of a command. `arguments` has the name first.
    func place(_ row: Int, _ arguments: [[UInt8]]) -> Place {
        let facts = CommandFacts.all[RESPConnection.container(table.table.commands[row].name)] ?? table.facts[row]
        let specs =
            arguments.count > 1 ? facts.subcommand(arguments[1])?.facts.keySpecs ?? facts.keySpecs : facts.keySpecs
        let keys = CommandKeys.positions(table.table.commands[row].name, specs, arguments) ?? []
        guard let first = keys.first else {
            return RESPConnection.isEverywhere(table.table.commands[row].name) ? .everywhere : .partition(0, slot: nil)
        }
        let slot = HashSlot.slot(of: arguments[first.index])
        let home = partition(ofSlot: slot)
        for key in keys.dropFirst() {
            let other = HashSlot.slot(of: arguments[key.index])
            let isTogether = listener.face == .cluster ? other == slot : partition(ofSlot: other) == home
            if !isTogether { return .refused("CROSSSLOT Keys in request don't hash to the same slot") }
        }
        if let redirection = redirection(home, slot) { return .refused(redirection) }
        return .partition(home, slot: slot)
    }

    private static func container(_ name: String) -> String { String(name.prefix { $0 != "|" }) }

    private static func isEverywhere(_ name: String) -> Bool {
        switch name {
        case "dbsize", "flushall", "flushdb", "keys", "randomkey", "scan", "swapdb": true
        default: false
        }
    }

    /// On the cluster face: where the client should ask instead.
    func redirection(_ partition: Int, _ slot: UInt32) -> String? {
        guard listener.face == .cluster, !listener.proxiesKeys, let topology = shard.node.topology,
            topology.partitions.indices.contains(partition)
        else { return nil }
        guard let owner = topology.partitions[partition].owner, let node = topology.node(owner) else {
            return "CLUSTERDOWN Hash slot not served"
        }
        return owner == topology.me ? nil : "MOVED \(slot) \(node.host):\(node.clusterPort)"
    }

    /// The key partitions that a command about all keys asks: on the cluster face those of this node.
    var partitionsHere: [Int] {
        guard listener.face == .cluster, !listener.proxiesKeys, let topology = shard.node.topology else {
            return Array(0..<keyPartitions)
        }
        return topology.owned(by: topology.me).filter { $0 < keyPartitions }
    }

    // MARK: Units

    /// Adds a command to the unit that is being gathered; false when it must wait for what is before it.
    func addToUnit(_ row: Int, _ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> Bool {
        guard waiting == .nothing else { return false }
        let flags = table.rows[row].flags
        var home = 0
        if keyPartitions > 1 || listener.face == .cluster {
            let arguments = arguments(base, ranges)
            switch place(row, arguments) {
            case .partition(let partition, _): home = partition
            case .everywhere:
                if unit != nil {
                    sendUnit()
                    return false
                }
                runEverywhere(row, arguments)
                return true
            case .refused(let text):
                if unit != nil {
                    sendUnit()
                    return false
                }
                answerRefused(row, text)
                return true
            }
        }
        let mayBlock = flags.contains(.blocking) && asksToBlock(row, base, ranges)
        if unit != nil {
            // Not bound to a name: a second reference would copy the bytes at the next command.
            let bytes = ranges.reduce(unit!.byteCount) { $0 + $1.count }
            let isFull =
                unit!.count >= shard.settings.unitCommands || bytes >= shard.settings.unitBytes
                || replyMode == .skip
            if isFull || mayBlock || home != unitPartition {
                sendUnit()
                return false
            }
        } else {
            beginUnit(home, ticket: mayBlock ? shard.broker.nextTicket() : 0)
        }
        unit!.command(database: database, arguments: ranges.count)
        for range in ranges { unit!.argument(UnsafeRawBufferPointer(rebasing: base[range])) }
        unitRows.append(UInt16(row))
        if flags.contains(.write) { unitIsReadOnly = false }
        lastCommand = row
        lastSubcommand = ""
        count(row)
        if shard.isMonitored { feedMonitors(row, arguments(base, ranges)) }
        if mayBlock || replyMode == .skip { sendUnit() }
        return true
    }

    private func beginUnit(_ partition: Int, ticket: UInt64) {
        unit = KeyUnitWriter(isRESP3: version >= 3, ticket: ticket)
        unitRows.removeAll(keepingCapacity: true)
        unitPartition = partition
        unitTicket = ticket
        unitIsReadOnly = ticket == 0
    }

    /// XREAD and XREADGROUP block only when they say so.
    private func asksToBlock(_ row: Int, _ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> Bool {
        guard table.rows[row].traits.contains(.stream) else { return true }
        for range in ranges.dropFirst() {
            let word = [UInt8](base[range].prefix(8))
            if Call.equals(word, "block") { return true }
            if Call.equals(word, "streams") { return false }
        }
        return false
    }

    private func answerRefused(_ row: Int, _ text: String) {
        shard.metrics.commands[row].rejected += 1
        shard.metrics.commandsTotal += 1
        reply.error(text)
        countError(reply.bytes)
        flushReply()
    }

    /// Hands what was gathered to the key partition.
    func sendUnit() {
        guard let gathered = unit else { return }
        unit = nil
        send(gathered.bytes, to: unitPartition, isReadOnly: unitIsReadOnly, ticket: unitTicket)
    }

    func send(_ bytes: [UInt8], to partition: Int, isReadOnly: Bool, ticket: UInt64) {
        waiting = .unit
        sequence += 1
        unitPartition = partition
        unitTicket = ticket
        unitStarted = shard.now
        unitSent = bytes
        servedEarly = nil
        if ticket != 0 {
            shard.tickets[ticket] = self
            shard.metrics.blocked += 1
        }
        shard.metrics.units += 1
        if isReadOnly { shard.metrics.unitsReadOnly += 1 }
        let token = RequestToken(session: session, command: sequence)
        shard.broker.execute(token, keyPartition: partition, unit: bytes, isReadOnly: isReadOnly)
        shard.calledBroker()
    }

    func keysAnswered(_ number: UInt64, _ result: Result<KeyOutcome, RequestError>) {
        if let query, number >= query.first, number < query.first + UInt64(query.replies.count) {
            return queryAnswered(query, Int(number - query.first), result)
        }
        guard waiting == .unit, number == sequence else { return }
        switch result {
        case .success(.unknown): closeUnknown()
        case .success(let outcome):
            if let after = afterUnit {
                afterUnit = nil
                waiting = .nothing
                return after(outcome)
            }
            unitAnswered(outcome)
        case .failure(let error):
            guard error.isDefinite else { return closeUnknown() }
            unitRefused(text(of: error))
        }
    }

    private func unitAnswered(_ outcome: KeyOutcome) {
        switch outcome {
        case .replied(let bytes):
            account(bytes)
            endTicket()
            answer(bytes, commands: unitRows.count)
            waiting = .nothing
            proceed()
        case .waits(let bytes):
            // A blocking command is alone in its unit.
            if !bytes.isEmpty { emit(bytes) }
            waiting = .ticket
            if let early = servedEarly { served(unitTicket, early) }
        case .unknown: closeUnknown()
        }
    }

    /// Writes a unit's replies, as far as the client wants them.
    private func answer(_ bytes: [UInt8], commands: Int) {
        if mayReply { emit(bytes) }
        for _ in 0..<min(commands, 2) { passReply() }
    }

    /// Nothing was done: each command is answered so.
    private func unitRefused(_ text: String) {
        endTicket()
        afterUnit = nil
        var writer = RESPWriter(version: version)
        for row in unitRows {
            writer.error(text)
            shard.metrics.commands[Int(row)].rejected += 1
        }
        if unitRows.isEmpty { writer.error(text) }
        countError(writer.bytes)
        answer(writer.bytes, commands: unitRows.count)
        waiting = .nothing
        script = nil
        setHolding(false)
        proceed()
    }

    /// Said when a command was certainly not done.
    private func text(of error: RequestError) -> String {
        if error == .tooLong {
            return "ERR too long: a command or transaction may have \(KeyUnit.byteLimit) bytes; nothing was done"
        }
        // Clients try again.
        return listener.face == .cluster
            ? "CLUSTERDOWN The cluster is down: no quorum for these keys, nothing was done"
            : "TRYAGAIN no quorum for these keys, nothing was done"
    }

    /// Counts a unit's commands.
    private func account(_ bytes: [UInt8]) {
        let total = (shard.now - unitStarted).nanoseconds / 1000
        let each = total / UInt64(max(1, unitRows.count))
        if unitRows.count == 1 {
            let isFailed = bytes.first == UInt8(ascii: "-")
            shard.metrics.commands[Int(unitRows[0])].called(microseconds: each, failed: isFailed)
            if isFailed { countError(bytes) }
        } else {
            bytes.withUnsafeBytes { raw in
                var position = 0
                for row in unitRows {
                    let isFailed = position < raw.count && raw[position] == UInt8(ascii: "-")
                    shard.metrics.commands[Int(row)].called(microseconds: each, failed: isFailed)
                    if isFailed { countError(UnsafeRawBufferPointer(rebasing: raw[position...])) }
                    guard position < raw.count else { continue }
                    position = ReplyScanner.end(raw, from: position) ?? raw.count
                }
            }
        }
        let threshold = shard.settings.slowerThan
        guard threshold >= 0, each >= UInt64(threshold), unitTicket == 0 else { return }
        guard let sent = try? unitSent.withUnsafeBytes({ raw throws(DecodeError) in try KeyUnit(decoding: raw) }) else {
            return
        }
        for item in sent.items {
            switch item {
            case .command(_, let arguments): noteSlow(each, arguments)
            case .transaction(_, let commands): for command in commands { noteSlow(each, command.arguments) }
            }
        }
    }

    // MARK: Waiting for a key

    func served(_ ticket: UInt64, _ bytes: [UInt8]?) {
        guard ticket == unitTicket else { return }
        guard waiting == .ticket else {
            servedEarly = .some(bytes)
            return
        }
        guard let bytes else { return closeUnknown() }
        endTicket()
        if let row = unitRows.first {
            shard.metrics.commands[Int(row)].called(microseconds: 0, failed: bytes.first == UInt8(ascii: "-"))
        }
        if bytes.first == UInt8(ascii: "-") { countError(bytes) }
        answer(bytes, commands: 1)
        waiting = .nothing
        proceed()
    }

    private func endTicket() {
        guard unitTicket != 0 else { return }
        shard.tickets[unitTicket] = nil
        shard.metrics.blocked -= 1
        unitTicket = 0
    }

    /// The connection goes while it waits: what would be popped for it stays.
    func abandonTicket() {
        guard unitTicket != 0, waiting == .ticket || waiting == .unit else { return }
        shard.broker.cancel(ticket: unitTicket, keyPartition: unitPartition)
        shard.calledBroker()
        endTicket()
    }

    // MARK: Questions to key partitions

    /// Asks key partitions and gives `done` their replies; the command in hand waits. Errors end the command, unless
    /// it is `isLenient`: then what failed is an empty reply.
    func ask(
        _ partitions: [Int],
        _ unit: [UInt8],
        isReadOnly: Bool,
        isLenient: Bool = false,
        _ done: @escaping ([[UInt8]]) -> Void
    ) {
        waiting = .query
        let asked = KeyQuery(first: sequence + 1, count: partitions.count, isLenient: isLenient, done)
        query = asked
        sequence += UInt64(partitions.count)
        for (index, partition) in partitions.enumerated() {
            let token = RequestToken(session: session, command: asked.first + UInt64(index))
            shard.broker.execute(token, keyPartition: partition, unit: unit, isReadOnly: isReadOnly)
        }
        shard.calledBroker()
        if partitions.isEmpty {
            query = nil
            done([])
        }
    }

    private func queryAnswered(_ asked: KeyQuery, _ index: Int, _ result: Result<KeyOutcome, RequestError>) {
        switch result {
        case .success(.replied(let bytes)), .success(.waits(let bytes)): asked.replies[index] = bytes
        case _ where asked.isLenient: break
        case .failure(let error) where error.isDefinite && asked.replies.count == 1:
            query = nil
            fail(text(of: error))
            return completeCommand()
        default: return closeUnknown()
        }
        asked.missing -= 1
        guard asked.missing == 0 else { return }
        query = nil
        waiting = .nothing
        asked.done(asked.replies)
    }

    /// A unit of one command.
    func unit(_ arguments: [[UInt8]]) -> [UInt8] {
        var unit = KeyUnit(kind: .commands)
        unit.isRESP3 = version >= 3
        unit.items = [.command(database: database, arguments: arguments)]
        return unit.encoded()
    }

    // MARK: Commands about all keys

    private func runEverywhere(_ row: Int, _ arguments: [[UInt8]]) {
        begin(row, arguments)
        let name = table.table.commands[row].name
        let isReadOnly = !table.table.commands[row].flags.contains(.write)
        let here = partitionsHere
        if name == "scan" { return scan(arguments, here) }
        ask(here, unit(arguments), isReadOnly: isReadOnly) { replies in
            self.combine(name, replies)
            self.completeCommand()
        }
    }

    private func combine(_ name: String, _ replies: [[UInt8]]) {
        if let error = replies.first(where: { $0.first == UInt8(ascii: "-") }) { return reply.raw(error) }
        switch name {
        case "dbsize": reply.integer(replies.reduce(Int64(0)) { $0 &+ (ReplyScanner.integer($1) ?? 0) })
        case "keys":
            let rows = replies.map { ($0, ReplyScanner.elements($0) ?? []) }
            reply.array(rows.reduce(0) { $0 + $1.1.count })
            for (bytes, ranges) in rows { for range in ranges { reply.raw(bytes[range]) } }
        case "randomkey":
            var generator = SystemRandomNumberGenerator()
            let found = replies.filter { $0.first == UInt8(ascii: "$") && $0.dropFirst().first != UInt8(ascii: "-") }
            if let chosen = found.randomElement(using: &generator) { reply.raw(chosen) } else { reply.null() }
        default: if let first = replies.first { reply.raw(first) } else { reply.ok() }
        }
    }

    /// One partition after the other. A partition's cursor is a point of the space of hashes, whose low bits are zero;
    /// the partition's number goes there.
    private func scan(_ arguments: [[UInt8]], _ here: [Int]) {
        guard let cursor = UInt64(String(decoding: arguments[1], as: UTF8.self)) else {
            fail("ERR invalid cursor")
            return completeCommand()
        }
        let mask: UInt64 = 0xFFFF
        guard let partition = here.first(where: { UInt64($0) >= cursor & mask }) else {
            reply.array(2)
            reply.bulk("0")
            reply.array(0)
            return completeCommand()
        }
        let inner = UInt64(partition) == cursor & mask ? cursor & ~mask : 0
        var asked = arguments
        asked[1] = Array(String(inner).utf8)
        ask([partition], unit(asked), isReadOnly: true) { replies in
            let bytes = replies[0]
            if let parts = ReplyScanner.elements(bytes), parts.count == 2,
                let text = ReplyScanner.bulk(bytes[parts[0]]), let next = UInt64(String(decoding: text, as: UTF8.self))
            {
                let following = here.first { $0 > partition }.map { UInt64($0) } ?? 0
                self.reply.array(2)
                self.reply.bulk(String(next == 0 ? following : next & ~mask | UInt64(partition)))
                self.reply.raw(bytes[parts[1]])
            } else {
                self.reply.raw(bytes)
            }
            self.completeCommand()
        }
    }
}
