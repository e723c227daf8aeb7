import Broker
import EventLoops
import Keys
import NIOCore
import Primitives
import RESP

/// Commands about the connection itself.
extension RESPConnection {
    func ping(_ arguments: [[UInt8]]) {
        guard arguments.count <= 2 else { return fail("ERR wrong number of arguments for 'ping' command") }
        if isSubscriber, version < 3 {
            reply.array(2)
            reply.bulk("pong")
            reply.bulk(arguments.count > 1 ? arguments[1] : [])
        } else if arguments.count > 1 {
            reply.bulk(arguments[1])
        } else {
            reply.simple("PONG")
        }
    }

    func quit() {
        reply.ok()
        flushReply()
        finish()
    }

    func databaseNumber(_ text: [UInt8]) -> Int? {
        guard let number = Decimal.integer(text), number >= 0, number < Int64(Keyspace.databaseCount) else {
            return nil
        }
        return listener.face == .cluster && number > 0 ? nil : Int(number)
    }

    func select(_ arguments: [[UInt8]]) {
        guard let number = Decimal.integer(arguments[1]) else {
            return fail("ERR value is not an integer or out of range")
        }
        if listener.face == .cluster, number != 0 { return fail("ERR SELECT is not allowed in cluster mode") }
        guard let database = databaseNumber(arguments[1]) else { return fail("ERR DB index is out of range") }
        self.database = database
        reply.ok()
    }

    /// As if the connection were new.
    func reset() {
        transaction = nil
        watches = []
        forgetSubscriptions()
        if isMonitor {
            isMonitor = false
            shard.leaveMonitors(self)
        }
        database = 0
        name = []
        replyMode = .on
        isNoEvict = false
        isNoTouch = false
        isAuthenticated = settings.password.isEmpty
        setVersion(2)
        reply.simple("RESET")
    }

    private func setVersion(_ version: UInt8) {
        reply.version = version
        shard.setLane(session.slot, RESPShard.Lane.resp3, version >= 3)
    }

    // MARK: Who the client is

    private static let wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

    func auth(_ arguments: [[UInt8]]) {
        guard arguments.count <= 3 else { return fail("ERR syntax error") }
        if arguments.count == 2, settings.password.isEmpty {
            return fail(
                "ERR AUTH <password> called without any password configured for the default user. "
                    + "Are you sure your configuration is correct?"
            )
        }
        let user = arguments.count == 3 ? arguments[1] : Array("default".utf8)
        guard accepts(user: user, password: arguments[arguments.count - 1]) else {
            return fail(RESPConnection.wrongPassword)
        }
        isAuthenticated = true
        reply.ok()
    }

    /// Without a password the default user takes any, as Redis's `nopass`.
    private func accepts(user: [UInt8], password: [UInt8]) -> Bool {
        guard user.elementsEqual("default".utf8) else { return false }
        return settings.password.isEmpty || RESPConnection.isEqual(password, settings.password)
    }

    /// In a time that says nothing of where they differ.
    private static func isEqual(_ given: [UInt8], _ wanted: [UInt8]) -> Bool {
        var difference: UInt8 = given.count == wanted.count ? 0 : 1
        for index in given.indices { difference |= given[index] ^ wanted[index % wanted.count] }
        return difference == 0
    }

    func hello(_ arguments: [[UInt8]]) {
        var wanted = Int64(version)
        var next = 1
        if arguments.count > 1 {
            guard let number = Decimal.integer(arguments[1]) else {
                return fail("ERR Protocol version is not an integer or out of range")
            }
            guard number == 2 || number == 3 else { return fail("NOPROTO unsupported protocol version") }
            wanted = number
            next = 2
        }
        var newName: [UInt8]?
        var credentials: (user: [UInt8], password: [UInt8])?
        while next < arguments.count {
            if Call.equals(arguments[next], "auth"), next + 2 < arguments.count {
                credentials = (arguments[next + 1], arguments[next + 2])
                next += 3
            } else if Call.equals(arguments[next], "setname"), next + 1 < arguments.count {
                newName = arguments[next + 1]
                next += 2
            } else {
                let option = String(decoding: arguments[next].prefix(128), as: UTF8.self)
                return fail("ERR Syntax error in HELLO option '\(option)'")
            }
        }
        if let credentials {
            guard accepts(user: credentials.user, password: credentials.password) else {
                return fail(RESPConnection.wrongPassword)
            }
            isAuthenticated = true
        }
        guard isAuthenticated else {
            return fail(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
                    + "<pass> option can be used to authenticate the client and select the RESP protocol version at "
                    + "the same time"
            )
        }
        if let newName {
            if let error = nameError(newName) { return fail(error) }
            name = newName
        }
        setVersion(UInt8(wanted))
        writeGreeting()
    }

    private func writeGreeting() {
        reply.map(listener.face == .sentinel ? 6 : 7)
        reply.bulk("server")
        reply.bulk("redis")
        reply.bulk("version")
        reply.bulk(RESPConnection.redisVersion)
        reply.bulk("proto")
        reply.integer(version)
        reply.bulk("id")
        reply.integer(id)
        reply.bulk("mode")
        reply.bulk(mode)
        if listener.face != .sentinel {
            reply.bulk("role")
            reply.bulk("master")
        }
        reply.bulk("modules")
        reply.array(0)
    }

    var mode: String {
        switch listener.face {
        case .standalone: "standalone"
        case .cluster: "cluster"
        case .sentinel: "sentinel"
        }
    }

    /// What clients choose features by: Redis's 7.2, whose commands and replies these are.
    static let redisVersion = "7.2.4"

    func nameError(_ name: [UInt8]) -> String? {
        if name.count > settings.clientNameBytes { return "ERR client name too long" }
        guard name.allSatisfy({ $0 >= 33 && $0 <= 126 }) else {
            return "ERR Client names cannot contain spaces, newlines or special characters."
        }
        return nil
    }

    // MARK: Small things

    func time() {
        let now = WallClock.now()
        reply.array(2)
        reply.bulk(String(now / 1000))
        reply.bulk(String(now % 1000 * 1000))
    }

    func clusterOnly() {
        guard listener.face == .cluster else { return fail("ERR This instance has cluster support disabled") }
        reply.ok()
    }

    func role() {
        if listener.face == .sentinel {
            reply.array(2)
            reply.bulk("sentinel")
            reply.array(1)
            reply.bulk(settings.masterName)
            return
        }
        let topology = shard.node.topology
        let replicas = topology?.partitions.first?.replicas.compactMap { topology?.node($0) } ?? []
        reply.array(3)
        reply.bulk("master")
        reply.integer(shard.metrics.commandsTotal)
        reply.array(replicas.count)
        for replica in replicas {
            reply.array(3)
            reply.bulk(replica.host)
            reply.bulk(String(replica.port))
            reply.bulk(String(shard.metrics.commandsTotal))
        }
    }

    /// A write is answered when a majority has it; WAIT says how many replicas besides the owner do, and waits for
    /// more.
    func wait(_ arguments: [[UInt8]]) {
        guard let count = Decimal.integer(arguments[1]) else {
            return fail("ERR value is not an integer or out of range")
        }
        guard let timeout = Decimal.integer(arguments[2]) else {
            return fail("ERR timeout is not an integer or out of range")
        }
        guard timeout >= 0 else { return fail("ERR timeout is negative") }
        let deadline = timeout == 0 ? Instant.distantFuture : shard.now + .milliseconds(UInt64(timeout))
        // In a transaction nothing waits.
        replicasWanted = (script == nil ? count : 0, deadline, 0)
        shard.waitingForReplicas.append(self)
        askForReplicas()
    }

    /// The owners say how many have what is committed now, and that includes what this connection was answered.
    private func askForReplicas() {
        let unit = KeyUnit(kind: .replicas).encoded()
        ask(Array(0..<keyPartitions), unit, isReadOnly: true, isLenient: true) { replies in
            let counts = replies.map { Decimal.integer($0.dropFirst().dropLast(2)) ?? 0 }
            self.replicasCounted(counts.min() ?? 0)
        }
    }

    private func replicasCounted(_ have: Int64) {
        guard let wanted = replicasWanted else { return }
        guard have >= wanted.count || shard.now >= wanted.deadline else {
            // Asked again at the next tick.
            replicasWanted?.have = have
            waiting = .replicas
            return
        }
        replicasWanted = nil
        shard.waitingForReplicas.removeAll { $0 === self }
        reply.integer(Int(have))
        completeCommand()
    }

    /// At every tick.
    func checkReplicas() {
        guard let wanted = replicasWanted else { return }
        if waiting == .replicas { return askForReplicas() }
        guard waiting == .query, shard.now >= wanted.deadline else { return }
        // No owner has answered in time.
        query = nil
        replicasCounted(wanted.have)
    }

    func lolwut() { reply.verbatim("Vencejo \(settings.version) (Redis ver. \(RESPConnection.redisVersion))\n") }

    // MARK: Snapshots

    func save() {
        shard.node.actions.snapshot()
        reply.ok()
    }

    func backgroundSave(_ arguments: [[UInt8]]) {
        if arguments.count > 2 || arguments.count == 2 && !Call.equals(arguments[1], "schedule") {
            return fail("ERR syntax error")
        }
        shard.node.actions.snapshot()
        reply.simple("Background saving started")
    }

    func backgroundRewrite() {
        shard.node.actions.snapshot()
        reply.simple("Background append only file rewriting started")
    }

    func lastSave() { reply.integer(shard.node.actions.lastSnapshot() / 1000) }

    // MARK: MONITOR

    func monitor() {
        if script != nil || transaction != nil { return fail("ERR MONITOR isn't allowed in a transaction") }
        guard !isMonitor else { return reply.ok() }
        isMonitor = true
        shard.joinMonitors(self)
        reply.ok()
    }

    /// Shows a command to the monitors of the node; not those of administrators, as in Redis.
    func feedMonitors(_ row: Int, _ arguments: [[UInt8]]) {
        let command = table.table.commands[row]
        if command.flags.contains(.admin) || command.name == "quit" || command.name == "reset" && isMonitor { return }
        var line = "+\(shard.wall / 1000)."
        let micros = String(shard.wall % 1000 * 1000)
        line += String(repeating: "0", count: 6 - micros.utf8.count) + micros + " [\(database) \(address)]"
        let isSecret = command.name == "auth" || command.name == "hello"
        for (index, argument) in arguments.enumerated() {
            line += " " + (isSecret && index > 0 ? "\"(redacted)\"" : RESPConnection.quoted(argument))
        }
        let bytes = Array((line + "\r\n").utf8)
        for shard in shard.node.shards {
            if shard === self.shard {
                shard.showMonitors(bytes)
            } else {
                shard.loop.loop.execute { shard.showMonitors(bytes) }
            }
        }
    }

    /// As redis-cli writes it (sds.c: sdscatrepr).
    static func quoted(_ bytes: [UInt8]) -> String {
        var text = "\""
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\\"): text += "\\\\"
            case UInt8(ascii: "\""): text += "\\\""
            case 10: text += "\\n"
            case 13: text += "\\r"
            case 9: text += "\\t"
            case 7: text += "\\a"
            case 8: text += "\\b"
            case 32...126: text.unicodeScalars.append(UnicodeScalar(byte))
            default:
                let digits = String(byte, radix: 16)
                text += "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
            }
        }
        return text + "\""
    }

    // MARK: HELP

    func help(_ container: String, _ lines: [String]) {
        let all =
            ["\(container) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"] + lines + [
                "HELP", "    Print this help.",
            ]
        reply.array(all.count)
        for line in all { reply.simple(line) }
    }
}

extension RESPShard {
    func joinMonitors(_ connection: RESPConnection) {
        monitors.append(connection)
        node.monitorsChanged(by: 1)
    }

    func leaveMonitors(_ connection: RESPConnection) {
        monitors.removeAll { $0 === connection }
        node.monitorsChanged(by: -1)
    }

    func showMonitors(_ line: [UInt8]) {
        for connection in monitors { connection.emit(line) }
        finishInput()
    }
}
