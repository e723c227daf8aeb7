import Broker
import EventLoops
import Keys
import Primitives
import RESP

/// CLIENT.
extension RESPConnection {
    func client(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "id": reply.integer(id)
        case "info": reply.verbatim(description + "\n")
        case "list": clientList(arguments)
        case "kill": clientKill(arguments)
        case "setname": setName(arguments[2])
        case "getname": if name.isEmpty { reply.null() } else { reply.bulk(name) }
        case "setinfo": setInfo(arguments)
        case "reply": setReplyMode(arguments[2])
        case "no-evict", "no-touch": setSwitch(arguments)
        case "unblock": unblock(arguments)
        case "pause": pauseClients(arguments)
        case "unpause":
            shard.node.pause(nil)
            reply.ok()
        case "tracking":
            if Call.equals(arguments[2], "off") { return reply.ok() }
            fail("ERR client-side caching is not supported: CLIENT TRACKING can only be OFF")
        case "trackinginfo": trackingInfo()
        case "getredir": reply.integer(-1)
        default: help("CLIENT", RESPConnection.clientHelp)
        }
    }

    private static let clientHelp = [
        "GETNAME", "    Return the name of the current connection.", "GETREDIR",
        "    Always -1: there is no client tracking.",
        "ID", "    Return the ID of the current connection.", "INFO",
        "    Return information about the current client connection.", "KILL <ip:port>",
        "    Kill connection made from <ip:port>.", "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:", "    * ADDR (<ip:port>|<unixsocket>:0)", "    * LADDR (<ip:port>)",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "    * USER <username>", "    * SKIPME (YES|NO)",
        "    * ID <client-id>",
        "LIST [options ...]", "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "    * ID <client-id> [<client-id> [...]]",
        "UNPAUSE", "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]", "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.", "SETNAME <name>",
        "    Assign the name <name> to the current connection.", "SETINFO <option> <value>",
        "    Set client meta attr. Options are: LIB-NAME, LIB-VER.", "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.", "NO-EVICT (ON|OFF)", "    Accepted.", "NO-TOUCH (ON|OFF)",
        "    Accepted.",
    ]

    // MARK: What CLIENT LIST says

    private var kind: String { isSubscriber ? "pubsub" : "normal" }

    /// A line of CLIENT LIST.
    var description: String {
        var flags = ""
        if isSubscriber { flags += "P" }
        if isMonitor { flags += "O" }
        if transaction != nil { flags += "x" }
        if waiting == .ticket || waiting == .pause { flags += "b" }
        if isNoEvict { flags += "e" }
        if isNoTouch { flags += "T" }
        if flags.isEmpty { flags = "N" }
        var command = lastCommand.map { table.table.commands[$0].name } ?? "NULL"
        if !lastSubcommand.isEmpty { command += "|" + lastSubcommand }
        let age = (shard.now - created).nanoseconds / 1_000_000_000
        let idle = (shard.now - lastInteraction).nanoseconds / 1_000_000_000
        let queued = transaction.map { String($0.queue.count) } ?? "-1"
        // One's own query buffer holds the command in hand, in Redis 26 bytes of it for the shortest `CLIENT LIST`.
        return "id=\(id) addr=\(address) laddr=\(listener.address):\(listener.port) fd=\(session.slot) "
            + "name=\(String(decoding: name, as: UTF8.self)) age=\(age) idle=\(idle) flags=\(flags) db=\(database) "
            + "sub=\(channels.count) psub=\(subscribedPatterns.count) ssub=\(shardChannels.count) multi=\(queued) "
            + "qbuf=\(inputInHand) qbuf-free=0 argv-mem=\(inputInHand) multi-mem=\(transaction?.bytes ?? 0) "
            + "rbs=0 rbp=0 obl=0 oll=0 "
            + "omem=\(out.count) tot-mem=\(out.capacity + inputInHand + 1024) events=r cmd=\(command) "
            + "user=default redir=-1 resp=\(version) lib-name=\(String(decoding: libraryName, as: UTF8.self)) "
            + "lib-ver=\(String(decoding: libraryVersion, as: UTF8.self))"
    }

    private var inputInHand: Int {
        let arguments = commandInHand.arguments
        guard !arguments.isEmpty else { return 0 }
        return arguments.reduce(4) { $0 + $1.count + 5 + String($1.count).utf8.count }
    }

    private func clientList(_ arguments: [[UInt8]]) {
        var type: String?
        var ids: Set<UInt64>?
        if arguments.count > 2 {
            if Call.equals(arguments[2], "type"), arguments.count == 4 {
                guard let known = RESPConnection.clientType(arguments[3]) else {
                    return fail("ERR Unknown client type '\(String(decoding: arguments[3], as: UTF8.self))'")
                }
                type = known
            } else if Call.equals(arguments[2], "id"), arguments.count > 3 {
                ids = []
                for argument in arguments.dropFirst(3) {
                    guard let number = Decimal.integer(argument), number > 0 else {
                        return fail("ERR Invalid client ID")
                    }
                    ids?.insert(UInt64(number))
                }
            } else {
                return fail("ERR syntax error")
            }
        }
        waiting = .shards
        let (wantedType, wantedIDs) = (type, ids)
        shard.node.gather(from: shard) { shard in
            shard.orderedClients.compactMap { client -> (UInt64, String)? in
                if let wantedType, client.kind != wantedType { return nil }
                if let wantedIDs, !wantedIDs.contains(client.id) { return nil }
                return (client.id, client.description)
            }
        } _: { rows in
            let all = rows.flatMap { $0 }.sorted { $0.0 < $1.0 }
            self.reply.verbatim(all.map { $0.1 + "\n" }.joined())
            self.completeCommand()
        }
    }

    private static func clientType(_ text: [UInt8]) -> String? {
        switch String(decoding: text, as: UTF8.self).lowercased() {
        case "normal": "normal"
        case "pubsub": "pubsub"
        case "master": "master"
        case "replica", "slave": "replica"
        default: nil
        }
    }

    // MARK: KILL

    /// Whom CLIENT KILL means.
    private struct Victims: Sendable {
        var id: UInt64?
        var type: String?
        var address: String?
        var localAddress: String?
        var skipsMe = true
    }

    private func clientKill(_ arguments: [[UInt8]]) {
        var victims = Victims()
        let isOld = arguments.count == 3
        if isOld {
            victims.address = String(decoding: arguments[2], as: UTF8.self)
            victims.skipsMe = false
        } else if let error = readVictims(arguments, &victims) {
            return fail(error)
        }
        waiting = .shards
        let me = id
        let wanted = victims
        shard.node.gather(from: shard) { shard in
            var killed = 0
            for client in shard.orderedClients where client.isMeant(wanted) {
                if client.id == me {
                    if wanted.skipsMe { continue }
                } else {
                    client.close()
                }
                killed += 1
            }
            shard.finishInput()
            return killed
        } _: { counts in
            let killed = counts.reduce(0, +)
            if isOld {
                if killed > 0 { self.reply.ok() } else { self.fail("ERR No such client") }
            } else {
                self.reply.integer(killed)
            }
            // Oneself after the reply.
            if !wanted.skipsMe, self.isMeant(wanted) {
                self.flushReply()
                self.finish()
            }
            self.completeCommand()
        }
    }

    private func isMeant(_ victims: Victims) -> Bool {
        if let id = victims.id, id != self.id { return false }
        if let type = victims.type, type != kind { return false }
        if let address = victims.address, address != self.address { return false }
        if let local = victims.localAddress, local != "\(listener.address):\(listener.port)" { return false }
        return true
    }

    private func readVictims(_ arguments: [[UInt8]], _ victims: inout Victims) -> String? {
        var index = 2
        while index < arguments.count {
            guard index + 1 < arguments.count else { return "ERR syntax error" }
            let value = arguments[index + 1]
            let text = String(decoding: value, as: UTF8.self)
            switch String(decoding: arguments[index], as: UTF8.self).lowercased() {
            case "id":
                guard let number = Decimal.integer(value), number > 0 else {
                    return "ERR client-id should be greater than 0"
                }
                victims.id = UInt64(number)
            case "type":
                guard let type = RESPConnection.clientType(value) else { return "ERR Unknown client type '\(text)'" }
                victims.type = type
            case "addr": victims.address = text
            case "laddr": victims.localAddress = text
            case "user": if text != "default" { return "ERR No such user '\(text)'" }
            case "skipme":
                switch text.lowercased() {
                case "yes": victims.skipsMe = true
                case "no": victims.skipsMe = false
                default: return "ERR syntax error"
                }
            default: return "ERR syntax error"
            }
            index += 2
        }
        return nil
    }

    // MARK: Names and switches

    private func setName(_ name: [UInt8]) {
        if let error = nameError(name) { return fail(error) }
        self.name = name
        reply.ok()
    }

    private func setInfo(_ arguments: [[UInt8]]) {
        let value = arguments[3]
        let option = String(decoding: arguments[2], as: UTF8.self)
        guard value.count <= 256, value.allSatisfy({ $0 >= 33 && $0 <= 126 }) else {
            return fail("ERR \(option.lowercased()) cannot contain spaces, newlines or special characters.")
        }
        switch option.lowercased() {
        case "lib-name": libraryName = value
        case "lib-ver": libraryVersion = value
        default: return fail("ERR Unrecognized option '\(option)'")
        }
        reply.ok()
    }

    private func setReplyMode(_ mode: [UInt8]) {
        switch String(decoding: mode, as: UTF8.self).lowercased() {
        case "on":
            replyMode = .on
            reply.ok()
        case "off": replyMode = .off
        case "skip": if replyMode != .off { replyMode = .skipNext }
        default: fail("ERR syntax error")
        }
    }

    private func setSwitch(_ arguments: [[UInt8]]) {
        let isOn: Bool
        switch String(decoding: arguments[2], as: UTF8.self).lowercased() {
        case "on": isOn = true
        case "off": isOn = false
        default: return fail("ERR syntax error")
        }
        if lastSubcommand == "no-evict" { isNoEvict = isOn } else { isNoTouch = isOn }
        reply.ok()
    }

    private func trackingInfo() {
        reply.map(3)
        reply.bulk("flags")
        reply.set(1)
        reply.bulk("off")
        reply.bulk("redirect")
        reply.integer(-1)
        reply.bulk("prefixes")
        reply.array(0)
    }

    // MARK: UNBLOCK and PAUSE

    private func unblock(_ arguments: [[UInt8]]) {
        guard arguments.count <= 4 else { return fail("ERR syntax error") }
        var error: [UInt8] = []
        if arguments.count == 4 {
            if Call.equals(arguments[3], "error") {
                error = Array("UNBLOCKED client unblocked via CLIENT UNBLOCK".utf8)
            } else if !Call.equals(arguments[3], "timeout") {
                return fail("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
            }
        }
        guard let number = Decimal.integer(arguments[2]) else {
            return fail("ERR value is not an integer or out of range")
        }
        waiting = .shards
        let wanted = UInt64(bitPattern: number)
        shard.node.gather(from: shard) { shard -> (ticket: UInt64, partition: Int)? in
            // Also one whose wait is on its way to the owner, as it counts as blocked: this follows it.
            guard let client = shard.clients[wanted], client.unitTicket != 0,
                client.waiting == .ticket || client.waiting == .unit
            else { return nil }
            return (client.unitTicket, client.unitPartition)
        } _: { found in
            guard let wait = found.compactMap({ $0 }).first else {
                self.reply.integer(0)
                return self.completeCommand()
            }
            self.endWait(wait.ticket, wait.partition, error)
        }
    }

    private func endWait(_ ticket: UInt64, _ partition: Int, _ error: [UInt8]) {
        sequence += 1
        waiting = .query
        query = KeyQuery(first: sequence, count: 1, isLenient: false) { replies in
            self.reply.raw(replies[0])
            self.completeCommand()
        }
        let token = RequestToken(session: session, command: sequence)
        shard.broker.unblock(token, ticket: ticket, keyPartition: partition, error: error)
        shard.calledBroker()
    }

    private func pauseClients(_ arguments: [[UInt8]]) {
        guard arguments.count <= 4 else { return fail("ERR syntax error") }
        var isAll = true
        if arguments.count == 4 {
            if Call.equals(arguments[3], "write") {
                isAll = false
            } else if !Call.equals(arguments[3], "all") {
                return fail("ERR CLIENT PAUSE mode must be WRITE or ALL")
            }
        }
        guard let milliseconds = Decimal.integer(arguments[2]) else {
            return fail("ERR timeout is not an integer or out of range")
        }
        guard milliseconds >= 0 else { return fail("ERR timeout is negative") }
        let interval = Interval.milliseconds(UInt64(min(milliseconds, 1 << 40)))
        shard.node.pause(RESPNode.Pause(until: shard.now + interval, isAll: isAll))
        reply.ok()
    }
}
