import Broker
import Keys
import Primitives
import RESP

/// What came between MULTI and EXEC.
struct Transaction {
    struct Queued {
        var row: Int
        var arguments: [[UInt8]]
        /// A key partition does it; else the shard.
        var isKeys: Bool
    }

    var queue: [Queued] = []
    var bytes = 0
    /// A command was refused: EXEC will do nothing.
    var isRefused = false
}

/// A key of WATCH, with what its partition said of it then.
struct WatchedKey {
    var partition: Int
    var slot: UInt32
    var watch: KeyUnit.Watch
}

/// EXEC of a transaction that has commands of the shard's own: they run in order after the keys' commands, which are
/// done as a whole, and the replies are put together in the order of the queue.
struct Script {
    var queue: [Transaction.Queued]
    var exec: CommandInHand
    var next = 0
    /// Replies of the keys' commands, in their order.
    var keyReplies: [[UInt8]]
    var nextKeyReply = 0
    /// Where the reply of the command in hand begins.
    var mark = 0
    /// It is being continued, further down the stack.
    var isAdvancing = false
}

extension RESPConnection {
    func multi() {
        guard transaction == nil else { return fail("ERR MULTI calls can not be nested") }
        transaction = Transaction()
        reply.ok()
    }

    func discard() {
        guard transaction != nil else { return fail("ERR DISCARD without MULTI") }
        transaction = nil
        watches = []
        reply.ok()
    }

    func unwatch() {
        watches = []
        reply.ok()
    }

    /// Queues a command that MULTI holds back.
    func enqueue(_ row: Int, _ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> Bool {
        let command = table.table.commands[row]
        let arguments = arguments(base, ranges)
        var isKeys = false
        if case .keys = table.executors[row] { isKeys = true }
        shard.metrics.commandsTotal += 1
        let bytes = arguments.reduce(0) { $0 + $1.count + 16 }
        if command.flags.contains(.noMulti) {
            transaction?.isRefused = true
            reply.error("ERR Command not allowed inside a transaction")
        } else if transaction!.queue.count >= settings.transactionCommands
            || transaction!.bytes + bytes > settings.transactionBytes
        {
            transaction?.isRefused = true
            reply.error(
                "ERR transaction too large: its bounds are \(settings.transactionCommands) commands and "
                    + "\(settings.transactionBytes) bytes"
            )
        } else if isKeys, case .refused(let text) = placeIfSpread(row, arguments) {
            transaction?.isRefused = true
            reply.error(text)
        } else {
            transaction?.queue.append(Transaction.Queued(row: row, arguments: arguments, isKeys: isKeys))
            transaction?.bytes += bytes
            reply.simple("QUEUED")
        }
        if reply.bytes.first == UInt8(ascii: "-") {
            shard.metrics.commands[row].rejected += 1
            countError(reply.bytes)
        }
        flushReply()
        return true
    }

    private func placeIfSpread(_ row: Int, _ arguments: [[UInt8]]) -> Place {
        keyPartitions > 1 || listener.face == .cluster ? place(row, arguments) : .partition(0, slot: nil)
    }

    // MARK: WATCH

    func watch(_ arguments: [[UInt8]]) {
        guard transaction == nil else { return fail("ERR WATCH inside MULTI is not allowed") }
        var wanted: [WatchedKey] = []
        for key in arguments.dropFirst() {
            let slot = HashSlot.slot(of: key)
            let home = partition(ofSlot: slot)
            if listener.face == .cluster {
                if let first = wanted.first, first.slot != slot {
                    return fail("CROSSSLOT Keys in request don't hash to the same slot")
                }
                if let text = redirection(home, slot) { return fail(text) }
            }
            let isKnown = (watches + wanted).contains { $0.watch.key == key && $0.watch.database == database }
            if isKnown { continue }
            let watch = KeyUnit.Watch(database: database, key: key, version: 0)
            wanted.append(WatchedKey(partition: home, slot: slot, watch: watch))
        }
        guard watches.count + wanted.count <= settings.watchedKeys else {
            return fail("ERR too many watched keys: at most \(settings.watchedKeys)")
        }
        askVersions(wanted)
    }

    /// One key partition after the other; usually there is one.
    private func askVersions(_ wanted: [WatchedKey]) {
        guard let home = wanted.first?.partition else {
            reply.ok()
            return completeCommand()
        }
        var here = wanted.filter { $0.partition == home }
        let others = wanted.filter { $0.partition != home }
        var unit = KeyUnit(kind: .versions)
        unit.keys = here.map { ($0.watch.database, $0.watch.key) }
        ask([home], unit.encoded(), isReadOnly: true) { replies in
            let isWhole = replies[0].withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                for index in here.indices {
                    guard let version = try? reader.read(UInt64.self) else { return false }
                    here[index].watch.version = version
                }
                return true
            }
            guard isWhole else { return self.closeUnknown() }
            self.watches += here
            self.askVersions(others)
        }
    }

    // MARK: EXEC

    func execute() {
        guard let transaction else { return fail("ERR EXEC without MULTI") }
        self.transaction = nil
        let watched = watches
        watches = []
        if transaction.isRefused {
            return fail("EXECABORT Transaction discarded because of previous errors.")
        }
        var home: (partition: Int, slot: UInt32?)?
        for queued in transaction.queue where queued.isKeys {
            switch placeIfSpread(queued.row, queued.arguments) {
            case .partition(let partition, let slot):
                guard let slot else { continue }
                if let known = home, known.partition != partition || listener.face == .cluster && known.slot != slot {
                    return fail("CROSSSLOT Keys in request don't hash to the same slot")
                }
                home = (partition, slot)
            case .everywhere:
                if keyPartitions > 1 {
                    return fail(
                        "ERR \(table.table.commands[queued.row].name) in a transaction needs a single key partition"
                    )
                }
            case .refused(let text): return fail("EXECABORT Transaction discarded because of: \(text)")
            }
        }
        let partition = home?.partition ?? watched.first?.partition ?? 0
        guard watched.allSatisfy({ $0.partition == partition }) else {
            return fail("CROSSSLOT Keys in request don't hash to the same slot")
        }
        runTransaction(transaction.queue, watched, partition)
    }

    private func runTransaction(_ queue: [Transaction.Queued], _ watched: [WatchedKey], _ partition: Int) {
        var commands: [(database: Int, arguments: [[UInt8]])] = []
        var current = database
        var isReadOnly = true
        for queued in queue {
            if queued.isKeys {
                commands.append((current, queued.arguments))
                if table.table.commands[queued.row].flags.contains(.write) { isReadOnly = false }
            } else if table.table.commands[queued.row].name == "select",
                let number = databaseNumber(queued.arguments[1])
            {
                current = number
            }
        }
        if commands.isEmpty, watched.isEmpty { return beginScript(queue, keyReplies: []) }
        var sent = KeyUnit(kind: .commands)
        sent.isRESP3 = version >= 3
        sent.items = [.transaction(watches: watched.map(\.watch), commands: commands)]
        unitRows = [UInt16(commandInHand.row)]
        send(sent.encoded(), to: partition, isReadOnly: isReadOnly, ticket: 0)
        afterUnit = { outcome in
            guard case .replied(let bytes) = outcome else { return self.closeUnknown() }
            self.transactionAnswered(queue, bytes)
        }
    }

    private func transactionAnswered(_ queue: [Transaction.Queued], _ bytes: [UInt8]) {
        guard let elements = ReplyScanner.elements(bytes) else {
            // A watched key had changed.
            reply.raw(bytes)
            return completeCommand()
        }
        let replies = elements.map { Array(bytes[$0]) }
        let each = (shard.now - unitStarted).nanoseconds / 1000 / UInt64(max(1, replies.count))
        var next = 0
        for queued in queue where queued.isKeys && next < replies.count {
            if shard.isMonitored { feedMonitors(queued.row, queued.arguments) }
            let isFailed = replies[next].first == UInt8(ascii: "-")
            shard.metrics.commands[queued.row].called(microseconds: each, failed: isFailed)
            if isFailed { countError(replies[next]) }
            count(queued.row)
            next += 1
        }
        if queue.allSatisfy(\.isKeys) {
            reply.raw(bytes)
            completeCommand()
        } else {
            beginScript(queue, keyReplies: replies)
        }
    }

    private func beginScript(_ queue: [Transaction.Queued], keyReplies: [[UInt8]]) {
        reply.array(queue.count)
        setHolding(true)
        script = Script(queue: queue, exec: commandInHand, keyReplies: keyReplies)
        continueScript()
    }

    /// Runs the script's commands until one waits; called again when that one has its reply.
    func continueScript() {
        guard script?.isAdvancing == false else { return }
        script?.isAdvancing = true
        while let current = script, phase == .open {
            guard current.next < current.queue.count else { return endScript(current) }
            let queued = current.queue[current.next]
            script?.next += 1
            if queued.isKeys {
                reply.raw(current.keyReplies[current.nextKeyReply])
                script?.nextKeyReply += 1
                continue
            }
            script?.mark = reply.count
            run(queued.row, queued.arguments)
            if waiting != .nothing { break }
        }
        script?.isAdvancing = false
    }

    private func endScript(_ ended: Script) {
        script = nil
        commandInHand = ended.exec
        completeCommand()
    }
}
