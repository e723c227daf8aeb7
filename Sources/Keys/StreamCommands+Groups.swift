import Primitives
import RESP

extension StreamCommands {
    static func noGroup(_ group: String, key: String) -> CommandError {
        .message("NOGROUP No such consumer group '\(group)' for key name '\(key)'")
    }

    static func noKeyOrGroup(_ call: Call) -> CommandError {
        .message("NOGROUP No such key '\(call.text(1))' or consumer group '\(call.text(2))'")
    }

    fileprivate static let groupHelp: [StaticString] = [
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ]
}

// MARK: XGROUP

extension Keyspace {
    mutating func xgroup(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        switch try StreamCommands.subcommand(call) {
        case "create": try createGroup(call, &reply)
        case "setid": try setGroupID(call, &reply)
        case "destroy": try destroyGroup(call, &reply)
        case "createconsumer": try createConsumer(call, &reply)
        case "delconsumer": try deleteConsumer(call, &reply)
        default: StreamCommands.writeHelp(call, StreamCommands.groupHelp, &reply)
        }
    }

    /// MKSTREAM and ENTRIESREAD.
    private func groupOptions(
        _ call: Call,
        isCreate: Bool
    ) throws(CommandError) -> (makesStream: Bool, entriesRead: Int64?) {
        var makesStream = false
        var entriesRead: Int64?
        var index = 5
        while index < call.count {
            if isCreate, call.isWord(index, "mkstream") {
                makesStream = true
                index += 1
            } else if call.isWord(index, "entriesread"), index + 1 < call.count {
                let read = try call.integer(index + 1)
                if read < -1 { throw .message("ERR value for ENTRIESREAD must be positive or -1") }
                entriesRead = read == -1 ? nil : read
                index += 2
            } else {
                throw StreamCommands.wrongArguments(call)
            }
        }
        return (makesStream, entriesRead)
    }

    /// Changes the stream at the key of an XGROUP command, which must exist.
    private mutating func modifyGroups<R>(
        _ call: Call,
        creating: Bool = false,
        _ body: (inout StreamValue, inout Keyspace) throws(CommandError) -> R
    ) throws(CommandError) -> R {
        guard let result = try modify(StreamValue.self, call, call[2], creating: creating, body) else {
            throw .message(
                "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
                    + "MKSTREAM option to create an empty stream automatically."
            )
        }
        return result
    }

    private mutating func createGroup(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try groupOptions(call, isCreate: true)
        try modifyGroups(call, creating: options.makesStream) { (stream, _) throws(CommandError) in
            if call.count > 8 { throw StreamCommands.wrongArguments(call) }
            let id = call.isByte(4, "$") ? stream.lastID : try call.streamID(4)
            let group = StreamGroup(name: call[3], lastID: id, entriesRead: options.entriesRead)
            guard stream.add(group) else { throw .message("BUSYGROUP Consumer Group name already exists") }
        }
        notify(.stream, "xgroup-create", call.database, call[2])
        reply.ok()
    }

    private mutating func setGroupID(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try groupOptions(call, isCreate: false)
        try modifyGroups(call) { (stream, _) throws(CommandError) in
            guard let group = stream.find(group: call[3]) else {
                throw StreamCommands.noGroup(call.text(3), key: call.text(2))
            }
            if call.count > 7 { throw StreamCommands.wrongArguments(call) }
            let id = call.isByte(4, "$") ? stream.lastID : try call.streamBound(4)
            stream[group: group].lastID = id
            stream[group: group].entriesRead = options.entriesRead
        }
        notify(.stream, "xgroup-setid", call.database, call[2])
        reply.ok()
    }

    private mutating func destroyGroup(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isGone = try modifyGroups(call) { (stream, _) throws(CommandError) in stream.removeGroup(call[3]) }
        if isGone {
            notify(.stream, "xgroup-destroy", call.database, call[2])
            // Who waits in the group is told.
            signalReady(call.database, call[2])
        }
        reply.integer(isGone ? 1 : 0)
    }

    private mutating func createConsumer(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isNew = try modifyGroups(call) { (stream, keys) throws(CommandError) in
            guard let group = stream.find(group: call[3]) else {
                throw StreamCommands.noGroup(call.text(3), key: call.text(2))
            }
            if stream[group: group].find(consumer: call[4]) != nil { return false }
            _ = stream[group: group].add(StreamGroup.Consumer(name: call[4], seenTime: keys.now))
            return true
        }
        if isNew { notify(.stream, "xgroup-createconsumer", call.database, call[2]) }
        reply.integer(isNew ? 1 : 0)
    }

    private mutating func deleteConsumer(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let pending = try modifyGroups(call) { (stream, _) throws(CommandError) -> Int? in
            guard let group = stream.find(group: call[3]) else {
                throw StreamCommands.noGroup(call.text(3), key: call.text(2))
            }
            guard stream[group: group].find(consumer: call[4]) != nil else { return nil }
            return stream[group: group].remove(consumer: call[4])
        }
        if pending != nil { notify(.stream, "xgroup-delconsumer", call.database, call[2]) }
        reply.integer(pending ?? 0)
    }
}

// MARK: XACK, XPENDING

extension Keyspace {
    mutating func xack(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let acknowledged = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, _) throws(CommandError) -> Int in
            guard let group = stream.find(group: call[2]) else { return 0 }
            // All or nothing: a bad ID at the end acknowledges none.
            var ids: [StreamID] = []
            for index in 3..<call.count { ids.append(try call.streamID(index)) }
            return ids.reduce(0) { $0 + (stream[group: group].acknowledge($1) ? 1 : 0) }
        }
        reply.integer(acknowledged ?? 0)
    }

    mutating func xpending(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard call.count == 3 || (6...9).contains(call.count) else { throw .syntax }
        var range: PendingRange?
        if call.count > 3 { range = try PendingRange(call) }
        guard let stream = try lookUp(StreamValue.self, call.database, call[1]),
            let place = stream.find(group: call[2])
        else { throw StreamCommands.noKeyOrGroup(call) }
        let group = stream[group: place]
        if let range { range.write(group, now: now, &reply) } else { writePendingSummary(group, &reply) }
    }

    private func writePendingSummary(_ group: StreamGroup, _ reply: inout RESPWriter) {
        reply.array(4)
        reply.integer(group.pending.count)
        guard let first = group.pending.firstID, let last = group.pending.lastID else {
            reply.null()
            reply.null()
            return reply.nullArray()
        }
        reply.bulk(first)
        reply.bulk(last)
        let busy = group.order.map(group.consumer(at:)).filter { !$0.pending.isEmpty }
        reply.array(busy.count)
        for consumer in busy {
            reply.array(2)
            reply.bulk(consumer.name)
            reply.bulk(Int64(consumer.pending.count))
        }
    }
}

/// XPENDING's long form: `[IDLE ms] start end count [consumer]`.
private struct PendingRange {
    var minimumIdle: Int64 = 0
    let start: StreamID
    let end: StreamID
    let count: Int64
    var consumer: [UInt8]?

    init(_ call: Call) throws(CommandError) {
        var index = 3
        if call.isWord(3, "idle") {
            minimumIdle = try call.integer(4)
            if call.count < 8 { throw .syntax }
            index = 5
        }
        count = max(0, try call.integer(index + 2))
        start = try call.intervalStart(index)
        end = try call.intervalEnd(index + 1)
        if index + 3 < call.count { consumer = call[index + 3] }
    }

    func write(_ group: StreamGroup, now: Int64, _ reply: inout RESPWriter) {
        let mark = reply.count
        var written: Int64 = 0
        func write(_ id: StreamID, _ delivery: StreamGroup.Delivery) {
            let idle = now &- delivery.time
            if minimumIdle != 0, idle < minimumIdle { return }
            written += 1
            reply.array(4)
            reply.bulk(id)
            reply.bulk(group.consumer(at: delivery.consumer).name)
            reply.integer(max(0, idle))
            reply.integer(delivery.count)
        }
        if let consumer {
            guard let place = group.find(consumer: consumer) else { return reply.array(0) }
            if count > 0 {
                group.consumer(at: place).pending.forEach(from: start) { element in
                    guard element.id <= end, let at = group.pending.find(element.id) else { return false }
                    write(element.id, group.pending[at].row)
                    return written < count
                }
            }
        } else if count > 0 {
            group.pending.forEach(from: start) { element in
                guard element.id <= end else { return false }
                write(element.id, element.row)
                return written < count
            }
        }
        reply.insertArray(Int(written), at: mark)
    }
}

// MARK: XCLAIM, XAUTOCLAIM

/// XCLAIM's arguments after the consumer.
private struct ClaimOptions {
    var minimumIdle: Int64
    var ids: [StreamID] = []
    var deliveryTime: Int64
    var deliveries: Int64?
    var isForced = false
    var isJustID = false
    var lastID = StreamID.zero

    init(_ call: Call, now: Int64) throws(CommandError) {
        minimumIdle = try call.idle("XCLAIM")
        var index = 5
        while index < call.count, let id = StreamID(call[index]) {
            ids.append(id)
            index += 1
        }
        var time: Int64 = -1
        while index < call.count {
            let hasValue = index + 1 < call.count
            if call.isWord(index, "force") {
                isForced = true
            } else if call.isWord(index, "justid") {
                isJustID = true
            } else if hasValue, call.isWord(index, "idle") {
                time = now &- (try ClaimOptions.integer(call, index, "IDLE"))
                index += 1
            } else if hasValue, call.isWord(index, "time") {
                time = try ClaimOptions.integer(call, index, "TIME")
                index += 1
            } else if hasValue, call.isWord(index, "retrycount") {
                let count = try ClaimOptions.integer(call, index, "RETRYCOUNT")
                deliveries = count < 0 ? nil : count
                index += 1
            } else if hasValue, call.isWord(index, "lastid") {
                lastID = try call.streamID(index + 1)
                index += 1
            } else {
                throw .message("ERR Unrecognized XCLAIM option '\(call.text(index))'")
            }
            index += 1
        }
        // A time that cannot be is taken for now: clients compute it from their own clocks.
        deliveryTime = time < 0 || time > now ? now : time
    }

    private static func integer(_ call: Call, _ index: Int, _ option: String) throws(CommandError) -> Int64 {
        guard let value = Decimal.integer(call[index + 1]) else {
            throw .message("ERR Invalid \(option) option argument for XCLAIM")
        }
        return value
    }
}

extension Call {
    /// The least idle time of what XCLAIM or XAUTOCLAIM takes.
    fileprivate func idle(_ command: String) throws(CommandError) -> Int64 {
        guard let idle = Decimal.integer(arguments[4]) else {
            throw .message("ERR Invalid min-idle-time argument for \(command)")
        }
        return max(0, idle)
    }
}

extension Keyspace {
    mutating func xclaim(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        var body = RESPWriter(version: reply.version)
        let claimed = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, keys) throws(CommandError) -> Int in
            guard let group = stream.find(group: call[2]) else { throw StreamCommands.noKeyOrGroup(call) }
            let options = try ClaimOptions(call, now: keys.now)
            if stream[group: group].lastID < options.lastID { stream[group: group].lastID = options.lastID }
            // As Redis 7.2 does, and 7.0 only when there is something to claim.
            let consumer = keys.streamConsumer(call[3], &stream, group, call.database, call[1])
            var claimed = 0
            for id in options.ids {
                guard let entry = stream.entry(id) else {
                    // What is not in the stream any more is nobody's.
                    stream[group: group].acknowledge(id)
                    continue
                }
                let known = stream[group: group].pending.find(id).map { stream[group: group].pending[$0].row }
                guard known != nil || options.isForced else { continue }
                if let known, options.minimumIdle > 0, keys.now &- known.time < options.minimumIdle { continue }
                let count = known?.count ?? 1
                stream[group: group].assign(
                    id,
                    StreamGroup.Delivery(
                        consumer: consumer,
                        time: options.deliveryTime,
                        count: options.deliveries ?? (options.isJustID ? count : count &+ 1)
                    )
                )
                if options.isJustID { body.bulk(id) } else { StreamValue.write(id, entry, &body) }
                claimed += 1
            }
            if claimed > 0 { stream[group: group].noteActive(consumer, keys.now) }
            return claimed
        }
        guard let claimed else { throw StreamCommands.noKeyOrGroup(call) }
        reply.array(claimed)
        reply.raw(body.bytes)
    }

    mutating func xautoclaim(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let minimumIdle = try call.idle("XAUTOCLAIM")
        let start = try call.intervalStart(5)
        var limit: Int64 = 100
        var isJustID = false
        var index = 6
        while index < call.count {
            if call.isWord(index, "count"), index + 1 < call.count {
                guard let count = Decimal.integer(call[index + 1]), count > 0, count <= Int64.max / 16 else {
                    throw .message("ERR COUNT must be > 0")
                }
                limit = count
                index += 2
            } else if call.isWord(index, "justid") {
                isJustID = true
                index += 1
            } else {
                throw .syntax
            }
        }
        var body = RESPWriter(version: reply.version)
        let result = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, keys) throws(CommandError) -> (cursor: StreamID, claimed: Int, deleted: [StreamID]) in
            guard let group = stream.find(group: call[2]) else { throw StreamCommands.noKeyOrGroup(call) }
            let consumer = keys.streamConsumer(call[3], &stream, group, call.database, call[1])
            var claimed = 0
            var deleted: [StreamID] = []
            // Ten looks for each entry wanted, then the cursor goes back to the client.
            var attempts = limit * 10
            var place = stream[group: group].pending.place(from: start)
            while let at = place, attempts > 0, Int64(claimed + deleted.count) < limit {
                attempts -= 1
                let id = stream[group: group].pending[at].id
                let known = stream[group: group].pending[at].row
                guard let entry = stream.entry(id) else {
                    stream[group: group].acknowledge(id)
                    deleted.append(id)
                    place = stream[group: group].pending.place(from: id)
                    continue
                }
                place = stream[group: group].pending.next(at)
                if minimumIdle > 0, keys.now &- known.time < minimumIdle { continue }
                let count = isJustID ? known.count : known.count &+ 1
                stream[group: group].assign(
                    id,
                    StreamGroup.Delivery(consumer: consumer, time: keys.now, count: count)
                )
                if isJustID { body.bulk(id) } else { StreamValue.write(id, entry, &body) }
                claimed += 1
            }
            if claimed > 0 { stream[group: group].noteActive(consumer, keys.now) }
            let next = place.map { stream[group: group].pending[$0].id }
            return (next ?? .zero, claimed, deleted)
        }
        guard let result else { throw StreamCommands.noKeyOrGroup(call) }
        reply.array(3)
        reply.bulk(result.cursor)
        reply.array(result.claimed)
        reply.raw(body.bytes)
        reply.array(result.deleted.count)
        for id in result.deleted { reply.bulk(id) }
    }
}
