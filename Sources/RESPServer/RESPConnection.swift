import Broker
import DequeModule
import EventLoops
import Keys
import NIOCore
import Primitives
import RESP
import Rooms

/// A command on its way, for the counts and SLOWLOG.
struct CommandInHand {
    var row = 0
    var started = Instant.zero
    var arguments: [[UInt8]] = []
}

/// One client of the shim, from accept to close. Confined to its shard's loop.
///
/// Every command gets one reply, in order. What the connection waits for is one thing at a time: a unit of the
/// keyspace, or publishes, or the acknowledgements of a SUBSCRIBE; meanwhile nothing further of it is executed, and its
/// input stays where it is.
final class RESPConnection: ByteStreamHandler {
    enum Phase {
        case open
        /// The last reply was written; the peer is given time to read it.
        case finishing
        case closed
    }

    enum Waiting {
        case nothing
        /// A unit of this connection's commands, or a transaction.
        case unit
        /// A blocking command.
        case ticket
        /// Questions to key partitions (`query`).
        case query
        case publishes
        case acknowledgements
        case channels
        /// Other shards' answers.
        case shards
        /// CLIENT PAUSE.
        case pause
        /// WAIT.
        case replicas
    }

    let shard: RESPShard
    let stream: ByteStream
    let listener: RESPListenerSettings
    /// Unique in the node (CLIENT ID).
    let id: UInt64
    let session: SessionID
    let address: String
    let created: Instant

    var phase = Phase.open
    var waiting = Waiting.nothing
    /// Numbers requests to the broker; an answer to an older one is ignored.
    var sequence: UInt64 = 0

    // Who the client is.
    var isAuthenticated: Bool
    var name: [UInt8] = []
    var libraryName: [UInt8] = []
    var libraryVersion: [UInt8] = []
    var database = 0
    var isNoEvict = false
    var isNoTouch = false
    var isMonitor = false

    // Input.
    var parser = RESPRequestParser()
    private var isRunning = false
    private var isReadingPaused = false
    /// Told to go by a drain: it takes no further command, apart from those of a transaction that is open.
    private var isLeaving = false
    var lastInteraction: Instant
    /// The last command's place in the table, and its subcommand, for CLIENT LIST.
    var lastCommand: Int?
    var lastSubcommand = ""

    /// The command that the shard itself answers.
    var commandInHand = CommandInHand()
    /// Its reply; moved to `out` when it is whole.
    var reply = RESPWriter()
    /// Handlers on the stack: an answer that comes while there is one is finished by `run`.
    private var handlersRunning = 0

    // The keyspace.
    var unit: KeyUnitWriter?
    var unitRows: [UInt16] = []
    var unitPartition = 0
    var unitIsReadOnly = true
    var unitTicket: UInt64 = 0
    var unitStarted = Instant.zero
    var unitSent: [UInt8] = []
    var servedEarly: [UInt8]??
    var query: KeyQuery?
    var afterUnit: ((KeyOutcome) -> Void)?
    var channelsDone: ((Result<ChannelReply, RequestError>) -> Void)?

    // MULTI.
    var transaction: Transaction?
    var watches: [WatchedKey] = []
    var script: Script?

    // Subscriptions: names with the number of their subscription, for an order.
    var channels: [[UInt8]: UInt64] = [:]
    var shardChannels: [[UInt8]: UInt64] = [:]
    var subscribedPatterns: [[UInt8]: UInt64] = [:]
    var subscriptionCount: UInt64 = 0
    var acknowledgements: Acknowledgements?
    var publishes = Publishes()
    /// What WAIT waits for, and the last count that it was told.
    var replicasWanted: (count: Int64, deadline: Instant, have: Int64)?

    // Output.
    var out: [UInt8] = []
    /// Messages that wait until a reply is whole.
    private var held: [UInt8] = []
    private var isHolding = false
    var replyMode = ReplyMode.on
    private var isWritable = true
    private var softLimitSince: Instant?

    enum ReplyMode {
        case on
        case off
        /// The next command's reply, and that alone, is not sent.
        case skipNext
        case skip
    }

    init(shard: RESPShard, stream: ByteStream, listener: RESPListenerSettings, id: UInt64, session: SessionID) {
        self.shard = shard
        self.stream = stream
        self.listener = listener
        self.id = id
        self.session = session
        isAuthenticated = shard.settings.password.isEmpty
        created = shard.now
        lastInteraction = shard.now
        if let remote = stream.remoteAddress, let host = remote.ipAddress, let port = remote.port {
            address = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        } else {
            address = "?:0"
        }
    }

    var settings: RESPSettings { shard.settings }
    var table: ServerTable { shard.table }
    var version: UInt8 { reply.version }
    var isSubscriber: Bool { !channels.isEmpty || !subscribedPatterns.isEmpty || !shardChannels.isEmpty }

    // MARK: Input

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        shard.readClock()
        guard phase == .open else { return bytes.count }
        lastInteraction = shard.now
        shard.metrics.largestInput = max(shard.metrics.largestInput, bytes.count)
        var consumed = 0
        isRunning = true
        while phase == .open, mayTakeCommand {
            guard let used = takeCommand(UnsafeRawBufferPointer(rebasing: bytes[consumed...])) else { break }
            consumed += used
        }
        sendUnit()
        isRunning = false
        if phase != .open { consumed = bytes.count }
        shard.metrics.bytesIn &+= UInt64(consumed)
        if phase == .open, !mayTakeCommand || waiting == .publishes, consumed < bytes.count { pauseReading() }
        shard.finishInput()
        return consumed
    }

    /// Publishes of one connection may be under way together; nothing else.
    private var mayTakeCommand: Bool {
        if isLeaving, transaction == nil { return false }
        return switch waiting {
        case .nothing: script == nil
        case .publishes: script == nil && publishes.mayAdd
        default: false
        }
    }

    private func pauseReading() {
        guard !isReadingPaused else { return }
        isReadingPaused = true
        stream.pauseReading()
    }

    /// Finds one command and deals with it. Nil: there is none, or it must wait for those before it.
    private func takeCommand(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard !bytes.isEmpty else { return nil }
        do throws(RESPProtocolError) {
            let limits = isAuthenticated ? shard.settings.request : RESPLimits.unauthenticated
            guard
                case .command(let consumed) = try parser.parse(bytes, limits: limits, isAuthenticated: isAuthenticated)
            else { return nil }
            if parser.arguments.isEmpty { return consumed }
            let isTaken =
                parser.isInline
                ? parser.inline.withUnsafeBytes { dispatch($0) } : dispatch(bytes)
            return isTaken ? consumed : nil
        } catch {
            // What came before it is answered first.
            if unit != nil || waiting != .nothing {
                sendUnit()
                return nil
            }
            protocolFailed(error)
            return bytes.count
        }
    }

    private func protocolFailed(_ error: RESPProtocolError) {
        shard.metrics.protocolErrors += 1
        if let text = error.text {
            var writer = RESPWriter()
            writer.error(text)
            emit(writer.bytes)
        }
        finish()
    }

    // MARK: Dispatch

    /// Whether the command in `parser.arguments` was taken; if not, it is offered again.
    private func dispatch(_ base: UnsafeRawBufferPointer) -> Bool {
        let ranges = parser.arguments
        let name = UnsafeRawBufferPointer(rebasing: base[ranges[0]])
        guard let called = table.find(name), isVisible(called) else {
            return refuse(nil, unknownCommand(base, ranges))
        }
        guard table.rows[called].accepts(argumentCount: ranges.count) else {
            return refuse(called, "ERR wrong number of arguments for '\(table.table.commands[called].name)' command")
        }
        var row = called
        if table.rows[called].traits.contains(.container) {
            if let error = subcommandError(called, base, ranges) { return refuse(called, error) }
            row = table.effective(called, ranges.count > 1 ? [UInt8](base[ranges[1]].prefix(64)) : nil)
        }
        let traits = table.rows[row].traits
        if !isAuthenticated, !table.rows[called].flags.contains(.noAuth) {
            return refuse(called, "NOAUTH Authentication required.")
        }
        if isSubscriber, version < 3, !traits.contains(.subscriber) {
            // Its client could not tell a reply from a message.
            let shown = table.table.commands[called].name
            return refuse(
                called,
                "ERR Can't execute '\(shown)': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                    + "are allowed in this context"
            )
        }
        if transaction != nil, !traits.contains(.immediate) {
            if waiting == .publishes { return false }
            return enqueue(row, base, ranges)
        }
        if shard.pause != nil, isPaused(row) { return waitForPause() }
        if traits.contains(.keys) { return addToUnit(row, base, ranges) }
        // Publishes go on together; everything else waits for what is before it.
        if unit != nil {
            sendUnit()
            return false
        }
        if traits.contains(.publish) {
            takePublish(row, base, ranges)
            return true
        }
        if waiting == .publishes { return false }
        run(row, arguments(base, ranges))
        return true
    }

    func arguments(_ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> [[UInt8]] {
        ranges.map { [UInt8](base[$0]) }
    }

    /// The command exists on this face.
    func isVisible(_ row: Int) -> Bool {
        table.rows[row].traits.contains(listener.face == .sentinel ? .onSentinel : .offSentinel)
    }

    /// Also why, when the command is one of Redis's that this server does not have.
    private func unknownCommand(_ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> String {
        let name = String(decoding: base[ranges[0]].prefix(128), as: UTF8.self)
        if let reason = ServerCommands.refused[name.lowercased()] {
            if transaction != nil, ServerCommands.refusedInTransactions.contains(name.lowercased()) {
                return "ERR Command not allowed inside a transaction"
            }
            return "ERR unknown command '\(name)': not supported by Vencejo: \(reason)"
        }
        var shown = ""
        for range in ranges.dropFirst() where shown.utf8.count < 128 {
            shown += "'\(String(decoding: base[range].prefix(128 - shown.utf8.count), as: UTF8.self))' "
        }
        return "ERR unknown command '\(name)', with args beginning with: \(shown)"
    }

    private func subcommandError(_ row: Int, _ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> String? {
        guard ranges.count > 1 else { return nil }
        let container = table.table.commands[row].name
        let name = [UInt8](base[ranges[1]].prefix(128))
        guard let found = table.facts[row].subcommand(name) else {
            return "ERR unknown subcommand '\(String(decoding: name, as: UTF8.self))'. "
                + "Try \(container.uppercased()) HELP."
        }
        guard found.accepts(argumentCount: ranges.count) else {
            return "ERR wrong number of arguments for '\(container)|\(found.name)' command"
        }
        return nil
    }

    private func isPaused(_ row: Int) -> Bool {
        if let transaction, table.table.commands[row].name == "exec" {
            return transaction.queue.contains { shard.isPaused(table.rows[$0.row].traits) }
        }
        return shard.isPaused(table.rows[row].traits)
    }

    private func waitForPause() -> Bool {
        if unit != nil {
            sendUnit()
            return false
        }
        guard waiting == .nothing else { return false }
        waiting = .pause
        shard.waitForPause(self)
        return false
    }

    func pauseEnded() {
        waiting = .nothing
        proceed()
    }

    /// Answers a command with an error before it has run; false when what is before it must be answered first.
    private func refuse(_ row: Int?, _ text: String) -> Bool {
        if unit != nil {
            sendUnit()
            return false
        }
        guard waiting == .nothing else { return false }
        if let row { shard.metrics.commands[row].rejected += 1 }
        transaction?.isRefused = true
        shard.metrics.commandsTotal += 1
        reply.error(text)
        countError(reply.bytes)
        flushReply()
        return true
    }

    // MARK: The shard's own commands

    func run(_ row: Int, _ arguments: [[UInt8]]) {
        begin(row, arguments)
        guard case .server(let handler) = table.executors[row] else { return }
        handlersRunning += 1
        handler(self, arguments)
        handlersRunning -= 1
        if waiting == .nothing, phase == .open { finishCommand() }
    }

    func begin(_ row: Int, _ arguments: [[UInt8]]) {
        commandInHand = CommandInHand(row: row, started: MonotonicClock.now(), arguments: arguments)
        lastCommand = row
        lastSubcommand = ""
        if !table.facts[row].subcommands.isEmpty, arguments.count > 1 {
            lastSubcommand = String(decoding: arguments[1], as: UTF8.self).lowercased()
        }
        count(row)
        // EXEC is shown after what it ran.
        if shard.isMonitored, table.table.commands[row].name != "exec" { feedMonitors(row, arguments) }
    }

    func count(_ row: Int) {
        shard.metrics.commandsTotal &+= 1
        shard.metrics.commandsByUse[table.rows[row].use.rawValue] &+= 1
    }

    /// The command in hand, which waited for something, has its reply.
    func completeCommand() {
        waiting = .nothing
        if handlersRunning == 0, phase == .open { finishCommand() }
    }

    private func finishCommand() {
        let mark = script?.mark ?? 0
        let isFailed = reply.count > mark && reply.bytes[mark] == UInt8(ascii: "-")
        let microseconds = (MonotonicClock.now() - commandInHand.started).nanoseconds / 1000
        shard.metrics.commands[commandInHand.row].called(microseconds: microseconds, failed: isFailed)
        if isFailed { countError(reply.bytes[mark...]) }
        noteSlow(microseconds, commandInHand.arguments)
        if shard.isMonitored, table.table.commands[commandInHand.row].name == "exec" {
            feedMonitors(commandInHand.row, commandInHand.arguments)
        }
        commandInHand.arguments = []
        if script != nil { return continueScript() }
        flushReply()
        setHolding(false)
        proceed()
    }

    /// Fails the command in hand.
    func fail(_ text: String) { reply.error(text) }

    /// The reply is whole: it goes out, unless the client wants none.
    func flushReply() {
        if mayReply { emit(reply.bytes) }
        reply.bytes.removeAll(keepingCapacity: reply.bytes.count <= 4096)
        passReply()
    }

    var mayReply: Bool { replyMode == .on || replyMode == .skipNext }

    /// One more command was answered.
    func passReply() {
        switch replyMode {
        case .skipNext: replyMode = .skip
        case .skip: replyMode = .on
        default: break
        }
    }

    func countError(_ bytes: some Collection<UInt8>) {
        let code = String(decoding: bytes.dropFirst().prefix { $0 != 32 && $0 != 13 }.prefix(32), as: UTF8.self)
        if shard.metrics.errors[code] != nil || shard.metrics.errors.count < 128 {
            shard.metrics.errors[code, default: 0] += 1
        }
    }

    func noteSlow(_ microseconds: UInt64, _ arguments: [[UInt8]]) {
        let threshold = shard.settings.slowerThan
        guard threshold >= 0, microseconds >= UInt64(threshold), let name = arguments.first else { return }
        // Passwords are not kept.
        let word = String(decoding: name, as: UTF8.self).lowercased()
        guard word != "exec", word != "auth", word != "hello" else { return }
        shard.node.addSlow(
            RESPNode.SlowCommand(
                id: 0,
                time: shard.wall / 1000,
                microseconds: microseconds,
                arguments: RESPConnection.shortened(arguments),
                address: address,
                name: self.name
            )
        )
    }

    /// SLOWLOG keeps 32 arguments of 128 bytes.
    private static func shortened(_ arguments: [[UInt8]]) -> [[UInt8]] {
        var kept = arguments.prefix(arguments.count > 32 ? 31 : 32).map { argument -> [UInt8] in
            guard argument.count > 128 else { return argument }
            return argument.prefix(128) + Array("... (\(argument.count - 128) more bytes)".utf8)
        }
        if arguments.count > 32 { kept.append(Array("... (\(arguments.count - 31) more arguments)".utf8)) }
        return kept
    }

    /// Something ended that input waited for: what is left of it is offered again.
    func proceed() {
        guard phase == .open, !isRunning, mayTakeCommand else { return }
        guard isReadingPaused else { return }
        isReadingPaused = false
        stream.resumeReading()
    }

    // MARK: Output

    /// Queues bytes for the end of the tick, behind everything before them.
    func emit(_ bytes: [UInt8]) {
        guard phase == .open, !bytes.isEmpty else { return }
        spill()
        out.append(contentsOf: bytes)
        shard.mark(session.slot)
    }

    /// Messages of this tick that were listed for this connection come before what follows.
    private func spill() {
        let node = shard.take(session.slot)
        if node != FrameTree.root { shard.tree.append(node, to: &out) }
    }

    /// From here on messages wait until a reply is whole, or no longer.
    func setHolding(_ isHolding: Bool) {
        guard isHolding != self.isHolding else { return }
        self.isHolding = isHolding
        shard.setLane(session.slot, RESPShard.Lane.held, isHolding)
        if !isHolding, !held.isEmpty {
            emit(held)
            held = []
        }
    }

    func hold(_ message: [UInt8]) {
        held.append(contentsOf: message)
        let limit = settings.pubsubOutput.hard
        if limit > 0, UInt64(held.count) > limit { closeSlow() }
    }

    /// Writes what the tick has gathered, with one call of the system.
    func flush() {
        guard phase == .open else { return }
        let node = shard.take(session.slot)
        let size = out.count + shard.tree.bytes(of: node)
        guard size > 0 else { return }
        shard.metrics.largestOutput = max(shard.metrics.largestOutput, size)
        if !isWritable || UInt64(size) > 1 << 20, isOverLimit(adding: size) { return closeSlow() }
        if !out.isEmpty {
            shard.write(out, to: stream)
            out.removeAll(keepingCapacity: out.capacity <= 4096)
        }
        if node != FrameTree.root { stream.write(shard.tree.shared(node, shard.allocator)) }
        shard.metrics.bytesOut &+= UInt64(size)
        shard.metrics.flushes += 1
        stream.flush()
    }

    func writabilityChanged(_ isWritable: Bool) {
        self.isWritable = isWritable
        if isWritable { softLimitSince = nil }
    }

    private var outputLimit: RESPSettings.OutputLimit {
        isSubscriber ? shard.settings.pubsubOutput : shard.settings.normalOutput
    }

    private func isOverLimit(adding size: Int) -> Bool {
        let limit = outputLimit
        let queued = UInt64(stream.queuedBytes + size + held.count)
        if limit.hard > 0, queued > limit.hard { return true }
        guard limit.soft > 0, queued > limit.soft else {
            softLimitSince = nil
            return false
        }
        let since = softLimitSince ?? shard.now
        softLimitSince = since
        return shard.now - since >= .seconds(limit.seconds)
    }

    private func closeSlow() {
        if isSubscriber { shard.metrics.slowSubscribers += 1 } else { shard.metrics.slowNormal += 1 }
        shard.closeLater(self)
    }

    /// About once a second.
    func sweep() {
        guard phase == .open else { return }
        if !isWritable, isOverLimit(adding: 0) { return closeSlow() }
        let timeout = settings.idleTimeout
        if timeout > 0, !isSubscriber, waiting == .nothing, shard.now - lastInteraction > .seconds(timeout) { close() }
    }

    // MARK: Drain

    func beginLeaving() {
        isLeaving = true
        // It would wait for as long as nobody pushes. Its wait ends as Redis ends it when an instance changes its role;
        // the owner decides whether the wait or its end was first, so that nothing popped is lost.
        guard unitTicket != 0, waiting == .ticket || waiting == .unit else { return }
        shard.broker.unblock(
            // Nobody asked: the answer is to no request.
            RequestToken(session: session, command: 0),
            ticket: unitTicket,
            keyPartition: unitPartition,
            error: Array("UNBLOCKED force unblock from blocking operation, this node is draining".utf8)
        )
        shard.calledBroker()
    }

    /// Closes the connection when all its commands are answered and the kernel has the replies. True when it is gone.
    func leaveWhenIdle() -> Bool {
        guard phase == .open else { return true }
        let isIdle = waiting == .nothing || waiting == .pause
        guard isIdle, unit == nil, transaction == nil, script == nil, out.isEmpty, stream.queuedBytes == 0 else {
            return false
        }
        shard.metrics.moved += 1
        finish()
        return true
    }

    // MARK: End

    /// Ends the connection after everything written has gone out.
    func finish() {
        guard phase == .open else { return }
        flush()
        guard phase == .open else { return }
        phase = .finishing
        leave()
        stream.finish()
    }

    /// Ends the connection at once.
    func close() {
        guard phase != .closed else { return }
        let wasOpen = phase == .open
        phase = .closed
        if wasOpen { leave() }
        stream.close()
    }

    /// The outcome of a write is not known: no answer is better than a wrong one.
    func closeUnknown() {
        shard.metrics.unknownOutcomes += 1
        close()
    }

    func closed(_ reason: StreamCloseReason) {
        if reason == .tailOverflow { shard.metrics.queryBufferOverflows += 1 }
        guard phase == .open else {
            phase = .closed
            return
        }
        shard.readClocks()
        phase = .closed
        leave()
        shard.finishInput()
    }

    /// The broker and the tables forget the connection.
    private func leave() {
        if waiting == .ticket || unitTicket != 0 { abandonTicket() }
        if waiting == .pause { shard.leavePause(self) }
        if isReadingPaused {
            isReadingPaused = false
            stream.resumeReading()
        }
        forgetSubscriptions()
        unit = nil
        transaction = nil
        watches = []
        script = nil
        query = nil
        afterUnit = nil
        channelsDone = nil
        acknowledgements = nil
        held = []
        out = []
        waiting = .nothing
        shard.remove(self)
    }
}
