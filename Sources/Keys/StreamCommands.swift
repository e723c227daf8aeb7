import Primitives
import RESP

/// Streams. Sources: https://redis.io/docs/latest/commands/?group=stream and the behaviour of redis-server 7.0.15.
package enum StreamCommands {
    static let table = """
        xack|-4|write fast|1 1 1|stream|5.0.0|Acknowledges entries of a consumer group.
        xadd|-5|write denyoom fast|1 1 1|stream|5.0.0|Appends an entry to a stream, making it if needed.
        xautoclaim|-6|write fast|1 1 1|stream|6.2.0|Takes pending entries over, as if delivered to the consumer.
        xclaim|-6|write fast|1 1 1|stream|5.0.0|Takes the given pending entries over, as if delivered to the consumer.
        xdel|-3|write fast|1 1 1|stream|5.0.0|Removes entries by their IDs; returns how many.
        xgroup|-2||0 0 0|stream|5.0.0|A container for consumer group commands.
        xgroup/create|-5|write denyoom|2 2 1|stream|5.0.0|Creates a consumer group.
        xgroup/createconsumer|5|write denyoom|2 2 1|stream|6.2.0|Creates a consumer in a group.
        xgroup/delconsumer|5|write|2 2 1|stream|5.0.0|Deletes a consumer from a group.
        xgroup/destroy|4|write|2 2 1|stream|5.0.0|Destroys a consumer group.
        xgroup/help|2|loading stale|0 0 0|stream|5.0.0|Shows the subcommands.
        xgroup/setid|-5|write|2 2 1|stream|5.0.0|Sets a group's last delivered ID.
        xinfo|-2||0 0 0|stream|5.0.0|A container for commands that describe streams.
        xinfo/consumers|4|readonly|2 2 1|stream|5.0.0|Lists the consumers of a group.
        xinfo/groups|3|readonly|2 2 1|stream|5.0.0|Lists the groups of a stream.
        xinfo/help|2|loading stale|0 0 0|stream|5.0.0|Shows the subcommands.
        xinfo/stream|-3|readonly|2 2 1|stream|5.0.0|Describes a stream.
        xlen|2|readonly fast|1 1 1|stream|5.0.0|Returns the number of entries of a stream.
        xpending|-3|readonly|1 1 1|stream|5.0.0|Lists what a group's consumers have not acknowledged.
        xrange|-4|readonly|1 1 1|stream|5.0.0|Returns the entries between two IDs.
        xread|-4|readonly blocking movablekeys|0 0 0|stream|5.0.0|Returns what is new in streams, or waits for it.
        xreadgroup|-7|write blocking movablekeys|0 0 0|stream|5.0.0|Returns what is new or pending for a consumer.
        xrevrange|-4|readonly|1 1 1|stream|5.0.0|Returns the entries between two IDs, the greatest first.
        xsetid|-3|write denyoom fast|1 1 1|stream|5.0.0|Sets a stream's last ID; for replication.
        xtrim|-4|write|1 1 1|stream|5.0.0|Removes entries from the beginning of a stream.
        """

    static let handlers: [String: Handler] = [
        "xack": { (keys, call, reply) throws(CommandError) in try keys.xack(call, &reply) },
        "xadd": { (keys, call, reply) throws(CommandError) in try keys.xadd(call, &reply) },
        "xautoclaim": { (keys, call, reply) throws(CommandError) in try keys.xautoclaim(call, &reply) },
        "xclaim": { (keys, call, reply) throws(CommandError) in try keys.xclaim(call, &reply) },
        "xdel": { (keys, call, reply) throws(CommandError) in try keys.xdel(call, &reply) },
        "xgroup": { (keys, call, reply) throws(CommandError) in try keys.xgroup(call, &reply) },
        "xinfo": { (keys, call, reply) throws(CommandError) in try keys.xinfo(call, &reply) },
        "xlen": { (keys, call, reply) throws(CommandError) in
            reply.integer(try keys.lookUp(StreamValue.self, call.database, call[1])?.length ?? 0)
        },
        "xpending": { (keys, call, reply) throws(CommandError) in try keys.xpending(call, &reply) },
        "xrange": { (keys, call, reply) throws(CommandError) in try keys.xrange(call, reversed: false, &reply) },
        "xread": { (keys, call, reply) throws(CommandError) in try keys.xread(call, &reply) },
        "xreadgroup": { (keys, call, reply) throws(CommandError) in try keys.xreadgroup(call, &reply) },
        "xrevrange": { (keys, call, reply) throws(CommandError) in try keys.xrange(call, reversed: true, &reply) },
        "xsetid": { (keys, call, reply) throws(CommandError) in try keys.xsetid(call, &reply) },
        "xtrim": { (keys, call, reply) throws(CommandError) in try keys.xtrim(call, &reply) },
    ]

    private static let rows = CommandTable([table])

    /// The subcommand that a call of a container means, in lower case; checks the number of arguments.
    static func subcommand(_ call: Call) throws(CommandError) -> Substring {
        let name = String(decoding: call[0], as: UTF8.self)
        guard let command = rows.find(call.arguments), let bar = command.name.firstIndex(of: "|") else {
            let word = String(decoding: call[1].prefix(128), as: UTF8.self)
            throw .message("ERR unknown subcommand '\(word)'. Try \(name.uppercased()) HELP.")
        }
        guard command.accepts(argumentCount: call.count) else {
            throw .message("ERR wrong number of arguments for '\(command.name)' command")
        }
        return command.name[command.name.index(after: bar)...]
    }

    static func wrongArguments(_ call: Call) -> CommandError {
        let name = String(decoding: call[0], as: UTF8.self).uppercased()
        let word = String(decoding: call[1].prefix(128), as: UTF8.self)
        return .message("ERR unknown subcommand or wrong number of arguments for '\(word)'. Try \(name) HELP.")
    }

    static func writeHelp(_ call: Call, _ lines: [StaticString], _ reply: inout RESPWriter) {
        reply.array(lines.count + 3)
        let name = String(decoding: call[0], as: UTF8.self).uppercased()
        reply.simple("\(name) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
        for line in lines { reply.simple(line) }
        reply.simple("HELP" as StaticString)
        reply.simple("    Prints this help." as StaticString)
    }

    /// An entry's bytes of fields and values: as in Redis, where a node's lengths have 32 bits.
    static let entryBytesMax = 1 << 30
}

// MARK: Arguments

extension Call {
    private static let invalidID = CommandError.message("ERR Invalid stream ID specified as stream command argument")

    /// The argument is this one byte.
    func isByte(_ index: Int, _ byte: Unicode.Scalar) -> Bool {
        arguments[index].count == 1 && arguments[index][0] == UInt8(ascii: byte)
    }

    /// An ID; not `-` or `+`.
    func streamID(_ index: Int) throws(CommandError) -> StreamID {
        guard let id = StreamID(arguments[index]) else { throw Call.invalidID }
        return id
    }

    /// An ID, or `-` or `+` for the least and the greatest.
    func streamBound(_ index: Int, missingSequence: UInt64 = 0) throws(CommandError) -> StreamID {
        if isByte(index, "-") { return .zero }
        if isByte(index, "+") { return .max }
        guard let id = StreamID(arguments[index], missingSequence: missingSequence) else { throw Call.invalidID }
        return id
    }

    /// Where an interval starts: after the ID when it has a `(` in front.
    func intervalStart(_ index: Int) throws(CommandError) -> StreamID {
        guard let id = try exclusiveID(index, missingSequence: 0) else { return try streamBound(index) }
        guard let next = id.next else { throw .message("ERR invalid start ID for the interval") }
        return next
    }

    /// Where an interval ends: before the ID when it has a `(` in front.
    func intervalEnd(_ index: Int) throws(CommandError) -> StreamID {
        guard let id = try exclusiveID(index, missingSequence: .max) else {
            return try streamBound(index, missingSequence: .max)
        }
        guard let previous = id.previous else { throw .message("ERR invalid end ID for the interval") }
        return previous
    }

    private func exclusiveID(_ index: Int, missingSequence: UInt64) throws(CommandError) -> StreamID? {
        guard arguments[index].count > 1, arguments[index][0] == UInt8(ascii: "(") else { return nil }
        guard let id = StreamID(arguments[index].dropFirst(), missingSequence: missingSequence) else {
            throw Call.invalidID
        }
        return id
    }

    func text(_ index: Int) -> String { String(decoding: arguments[index], as: UTF8.self) }
}

/// Which ID XADD is to give.
private enum NewID {
    case automatic
    case milliseconds(UInt64)
    case given(StreamID)

    /// The ID after `last`; nil when it would not be greater.
    func after(_ last: StreamID, now: Int64) -> StreamID? {
        switch self {
        case .automatic:
            let ms = UInt64(max(now, 0))
            return ms > last.ms ? StreamID(ms, 0) : last.next
        case .milliseconds(let ms):
            if ms == last.ms { return last.seq < .max ? StreamID(ms, last.seq + 1) : nil }
            return ms > last.ms ? StreamID(ms, 0) : nil
        case .given(let id): return id > last ? id : nil
        }
    }
}

/// What XADD and XTRIM have in common.
private struct StreamOptions {
    var trim: StreamValue.Trim?
    var createsStream = true
    var id = NewID.automatic
    /// Index of the first argument that was not read.
    var end = 2

    init(_ call: Call, isAdd: Bool, _ configuration: KeyspaceConfiguration) throws(CommandError) {
        var limit: Int64?
        loop: while end < call.count {
            let isLast = end + 1 == call.count
            switch call {
            case _ where isAdd && call.isByte(end, "*"):
                break loop
            case _ where !isLast && (call.isWord(end, "maxlen") || call.isWord(end, "minid")):
                try readTrim(call)
            case _ where !isLast && call.isWord(end, "limit"):
                let given = try call.integer(end + 1)
                if given < 0 { throw .message("ERR The LIMIT argument must be >= 0.") }
                limit = given
                end += 2
            case _ where isAdd && call.isWord(end, "nomkstream"):
                createsStream = false
                end += 1
            case _ where isAdd:
                try readID(call)
                break loop
            default: throw .syntax
            }
        }
        guard trim != nil else {
            if limit ?? 0 != 0 {
                throw .message("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            }
            if isAdd { return }
            throw .message("ERR syntax error, XTRIM must be called with a trimming strategy")
        }
        let isApproximate = trim?.isApproximate ?? false
        if let limit {
            guard isApproximate else {
                throw .message("ERR syntax error, LIMIT cannot be used without the special ~ option")
            }
            trim?.limit = limit
        } else if isApproximate {
            // At most a hundred nodes at once.
            let entries = min(configuration.streamNodeMaxEntries, 10_000) * 100
            trim?.limit = entries > 0 ? min(entries, 1_000_000) : 10_000
        }
    }

    private mutating func readTrim(_ call: Call) throws(CommandError) {
        if trim != nil {
            throw .message("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        }
        let isLength = call.isWord(end, "maxlen")
        var isApproximate = false
        if end + 2 < call.count, call.isByte(end + 1, "~") || call.isByte(end + 1, "=") {
            isApproximate = call.isByte(end + 1, "~")
            end += 1
        }
        if isLength {
            let length = try call.integer(end + 1)
            if length < 0 { throw .message("ERR The MAXLEN argument must be >= 0.") }
            trim = StreamValue.Trim(bound: .length(length), isApproximate: isApproximate)
        } else {
            trim = StreamValue.Trim(bound: .id(try call.streamID(end + 1)), isApproximate: isApproximate)
        }
        end += 2
    }

    private mutating func readID(_ call: Call) throws(CommandError) {
        if call[end].count < 128, call[end].last == UInt8(ascii: "*"),
            call[end].dropLast().last == UInt8(ascii: "-"), let ms = StreamID.number(call[end].dropLast(2))
        {
            id = .milliseconds(ms)
        } else {
            id = .given(try call.streamID(end))
        }
    }
}

// MARK: Entries

extension Keyspace {
    mutating func xadd(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try StreamOptions(call, isAdd: true, configuration)
        let fields = options.end + 1
        guard call.count - fields >= 2, (call.count - fields) % 2 == 0 else {
            throw .message("ERR wrong number of arguments for 'xadd' command")
        }
        if case .given(.zero) = options.id {
            throw .message("ERR The ID specified in XADD must be greater than 0-0")
        }
        var entry = RESPWriter()
        entry.array(call.count - fields)
        var size = 0
        for index in fields..<call.count {
            size += call[index].count
            entry.bulk(call[index])
        }
        let added = try modify(StreamValue.self, call, call[1], creating: options.createsStream) {
            (stream, keys) throws(CommandError) -> (id: StreamID, trimmed: Int) in
            if stream.lastID == .max {
                throw .message("ERR The stream has exhausted the last possible ID, unable to add more items")
            }
            guard let id = options.id.after(stream.lastID, now: keys.now) else {
                throw .message("ERR The ID specified in XADD is equal or smaller than the target stream top item")
            }
            guard size <= StreamCommands.entryBytesMax else {
                throw .message("ERR Elements are too large to be stored")
            }
            stream.append(id, entry.bytes, keys.configuration)
            return (id, options.trim.map { stream.trim($0) } ?? 0)
        }
        guard let added else { return reply.null() }
        touch(call.database, call[1])
        notify(.stream, "xadd", call.database, call[1])
        if added.trimmed > 0 { notify(.stream, "xtrim", call.database, call[1]) }
        reply.bulk(added.id)
    }

    mutating func xtrim(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try StreamOptions(call, isAdd: false, configuration)
        let trimmed = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, _) throws(CommandError) -> Int in options.trim.map { stream.trim($0) } ?? 0
        }
        if let trimmed, trimmed > 0 {
            touch(call.database, call[1])
            notify(.stream, "xtrim", call.database, call[1])
        }
        reply.integer(trimmed ?? 0)
    }

    mutating func xdel(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let removed = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, _) throws(CommandError) -> Int in
            // All or nothing: a bad ID at the end leaves the stream as it is.
            var ids: [StreamID] = []
            for index in 2..<call.count { ids.append(try call.streamID(index)) }
            return ids.reduce(0) { $0 + (stream.remove($1) ? 1 : 0) }
        }
        if let removed, removed > 0 {
            touch(call.database, call[1])
            notify(.stream, "xdel", call.database, call[1])
        }
        reply.integer(removed ?? 0)
    }

    mutating func xsetid(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let id = try call.streamID(2)
        var added: Int64?
        var deleted = StreamID.zero
        var index = 3
        while index < call.count {
            guard index + 1 < call.count else { throw .syntax }
            if call.isWord(index, "entriesadded") {
                let given = try call.integer(index + 1)
                if given < 0 { throw .message("ERR entries_added must be positive") }
                added = given
            } else if call.isWord(index, "maxdeletedid") {
                deleted = try call.streamID(index + 1)
                if id < deleted {
                    throw .message("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
                }
            } else {
                throw .syntax
            }
            index += 2
        }
        let found = try modify(StreamValue.self, call, call[1], creating: false) {
            (stream, _) throws(CommandError) -> Bool in
            if let last = stream.lastEntryID {
                if id < last {
                    throw .message("ERR The ID specified in XSETID is smaller than the target stream top item")
                }
                if let added, added < stream.length {
                    throw .message(
                        "ERR The entries_added specified in XSETID is smaller than the target stream length"
                    )
                }
            }
            stream.lastID = id
            if let added { stream.entriesAdded = added }
            if deleted != .zero { stream.maxDeletedID = deleted }
            return true
        }
        guard found != nil else { throw .noSuchKey }
        notify(.stream, "xsetid", call.database, call[1])
        reply.ok()
    }

    mutating func xrange(_ call: Call, reversed: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        let start = try call.intervalStart(reversed ? 3 : 2)
        let end = try call.intervalEnd(reversed ? 2 : 3)
        var count = Int64.max
        var index = 4
        while index < call.count {
            guard call.isWord(index, "count"), index + 1 < call.count else { throw .syntax }
            count = max(0, try call.integer(index + 1))
            index += 2
        }
        guard let stream = try lookUp(StreamValue.self, call.database, call[1]) else { return reply.array(0) }
        if count == 0 { return reply.nullArray() }
        stream.writeEntries(from: start, to: end, limit: count, reversed: reversed, &reply)
    }
}

extension StreamValue {
    /// Writes an entry: its ID and the array of its fields and values.
    static func write(_ id: StreamID, _ entry: ArraySlice<UInt8>, _ reply: inout RESPWriter) {
        reply.array(2)
        reply.bulk(id)
        reply.raw(entry)
    }

    /// Writes the array of the entries between two IDs, both included, at most `limit`.
    func writeEntries(
        from start: StreamID,
        to end: StreamID = .max,
        limit: Int64,
        reversed: Bool = false,
        _ reply: inout RESPWriter
    ) {
        let mark = reply.count
        var written = 0
        if limit > 0 {
            forEach(from: start, to: end, reversed: reversed) { id, entry in
                StreamValue.write(id, entry, &reply)
                written += 1
                return written < limit
            }
        }
        reply.insertArray(written, at: mark)
    }
}
