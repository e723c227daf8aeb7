import Primitives
import RESP

/// Strings. Source: https://redis.io/docs/latest/commands/?group=string
enum StringCommands {
    static let table = """
        get|2|readonly fast|1 1 1|string|1.0.0|Returns the string value of a key.
        set|-3|write denyoom|1 1 1|string|1.0.0|Sets the string value of a key, ignoring its type.
        setnx|3|write denyoom fast|1 1 1|string|1.0.0|Sets the value of a key that does not exist.
        setex|4|write denyoom|1 1 1|string|2.0.0|Sets the value and the time to live of a key, in seconds.
        psetex|4|write denyoom|1 1 1|string|2.6.0|Sets the value and the time to live of a key, in milliseconds.
        getset|3|write denyoom fast|1 1 1|string|1.0.0|Sets the value of a key and returns the old one.
        getdel|2|write fast|1 1 1|string|6.2.0|Returns the value of a key and deletes it.
        getex|-2|write fast|1 1 1|string|6.2.0|Returns the value of a key and sets or clears its time to live.
        mget|-2|readonly fast|1 -1 1|string|1.0.0|Returns the values of several keys.
        mset|-3|write denyoom|1 -1 2|string|1.0.1|Sets the values of several keys.
        msetnx|-3|write denyoom|1 -1 2|string|1.0.1|Sets the values of several keys if none of them exists.
        append|3|write denyoom fast|1 1 1|string|2.0.0|Appends to the value of a key.
        strlen|2|readonly fast|1 1 1|string|2.2.0|Returns the length of a value.
        getrange|4|readonly|1 1 1|string|2.4.0|Returns a part of a value.
        substr|4|readonly|1 1 1|string|1.0.0|Returns a part of a value: GETRANGE's old name.
        setrange|4|write denyoom|1 1 1|string|2.2.0|Overwrites a part of a value from an offset on.
        incr|2|write denyoom fast|1 1 1|string|1.0.0|Adds one to the integer value of a key.
        decr|2|write denyoom fast|1 1 1|string|1.0.0|Subtracts one from the integer value of a key.
        incrby|3|write denyoom fast|1 1 1|string|1.0.0|Adds to the integer value of a key.
        decrby|3|write denyoom fast|1 1 1|string|1.0.0|Subtracts from the integer value of a key.
        incrbyfloat|3|write denyoom fast|1 1 1|string|2.6.0|Adds to the decimal value of a key.
        lcs|-3|readonly|1 2 1|string|7.0.0|Finds the longest common subsequence of two values.
        """

    static let handlers: [String: Handler] = [
        "get": { (keys, call, reply) throws(CommandError) in try keys.get(call, &reply) },
        "set": { (keys, call, reply) throws(CommandError) in try keys.set(call, &reply) },
        "setnx": { (keys, call, reply) throws(CommandError) in keys.setIfMissing(call, &reply) },
        "setex": { (keys, call, reply) throws(CommandError) in try keys.setExpiring(call, .seconds, "setex", &reply) },
        "psetex": { (keys, call, reply) throws(CommandError) in
            try keys.setExpiring(call, .milliseconds, "psetex", &reply)
        },
        "getset": { (keys, call, reply) throws(CommandError) in try keys.getSet(call, &reply) },
        "getdel": { (keys, call, reply) throws(CommandError) in try keys.getDelete(call, &reply) },
        "getex": { (keys, call, reply) throws(CommandError) in try keys.getExpire(call, &reply) },
        "mget": { (keys, call, reply) throws(CommandError) in keys.getMany(call, &reply) },
        "mset": { (keys, call, reply) throws(CommandError) in try keys.setMany(call, ifMissing: false, &reply) },
        "msetnx": { (keys, call, reply) throws(CommandError) in try keys.setMany(call, ifMissing: true, &reply) },
        "append": { (keys, call, reply) throws(CommandError) in try keys.append(call, &reply) },
        "strlen": { (keys, call, reply) throws(CommandError) in try keys.stringLength(call, &reply) },
        "getrange": { (keys, call, reply) throws(CommandError) in try keys.getRange(call, &reply) },
        "substr": { (keys, call, reply) throws(CommandError) in try keys.getRange(call, &reply) },
        "setrange": { (keys, call, reply) throws(CommandError) in try keys.setRange(call, &reply) },
        "incr": { (keys, call, reply) throws(CommandError) in try keys.increment(call, by: 1, &reply) },
        "decr": { (keys, call, reply) throws(CommandError) in try keys.increment(call, by: -1, &reply) },
        "incrby": { (keys, call, reply) throws(CommandError) in
            try keys.increment(call, by: try call.integer(2), &reply)
        },
        "decrby": { (keys, call, reply) throws(CommandError) in
            let amount = try call.integer(2)
            guard amount != .min else { throw .message("ERR decrement would overflow") }
            try keys.increment(call, by: -amount, &reply)
        },
        "incrbyfloat": { (keys, call, reply) throws(CommandError) in try keys.incrementDecimal(call, &reply) },
        "lcs": { (keys, call, reply) throws(CommandError) in try keys.longestCommonSubsequence(call, &reply) },
    ]
}

extension Keyspace {
    // MARK: Reading

    /// The string at a live key, as bytes; nil when the key is missing. Counts a hit or a miss.
    mutating func lookUpString(_ database: Int, _ key: [UInt8]) throws(CommandError) -> [UInt8]? {
        guard let value = lookUp(database, key) else { return nil }
        guard let bytes = value.stringBytes else { throw .wrongType }
        return bytes
    }

    /// The length of the string at a live key; nil when the key is missing. For commands that write: counts nothing.
    func stringLength(_ database: Int, _ key: [UInt8]) throws(CommandError) -> Int? {
        guard let value = peek(database, key) else { return nil }
        guard let bytes = value.stringBytes else { throw .wrongType }
        return bytes.count
    }

    mutating func get(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let bytes = try lookUpString(call.database, call[1]) else { return reply.null() }
        reply.bulk(bytes)
    }

    fileprivate mutating func getMany(_ call: Call, _ reply: inout RESPWriter) {
        reply.array(call.count - 1)
        for key in call.arguments.dropFirst() {
            if let bytes = lookUp(call.database, key)?.stringBytes { reply.bulk(bytes) } else { reply.null() }
        }
    }

    fileprivate mutating func stringLength(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        reply.integer(try lookUpString(call.database, call[1])?.count ?? 0)
    }

    fileprivate mutating func getRange(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        var start = try call.integer(2)
        var end = try call.integer(3)
        guard let bytes = try lookUpString(call.database, call[1]) else { return reply.bulk([]) }
        let count = Int64(bytes.count)
        if start < 0, end < 0, start > end { return reply.bulk([]) }
        if start < 0 { start = max(0, count &+ start) }
        if end < 0 { end = max(0, count &+ end) }
        end = min(end, count - 1)
        guard start <= end else { return reply.bulk([]) }
        reply.bulk(bytes[Int(start)...Int(end)])
    }

    // MARK: Setting

    fileprivate mutating func set(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try StringOptions(call, from: 3, isSet: true)
        let database = call.database
        let key = call[1]
        let deadline = try options.deadline(now, "set")
        let mark = reply.count
        if options.returnsOld { try get(call, &reply) }
        if options.ifMissing || options.ifPresent, exists(database, key) != options.ifPresent {
            if reply.count == mark { reply.null() }
            return
        }
        store(
            database,
            key,
            Value(string: call[2]),
            expiresAt: deadline,
            keepsDeadline: options.keepsDeadline
        )
        notify(.string, "set", database, key)
        if deadline != 0 { notify(.generic, "expire", database, key) }
        if reply.count == mark { reply.ok() }
    }

    fileprivate mutating func setIfMissing(_ call: Call, _ reply: inout RESPWriter) {
        if exists(call.database, call[1]) { return reply.integer(0) }
        store(call.database, call[1], Value(string: call[2]))
        notify(.string, "set", call.database, call[1])
        reply.integer(1)
    }

    fileprivate mutating func setExpiring(
        _ call: Call,
        _ unit: TimeUnit,
        _ name: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let deadline = try lifetime(call[2], unit, isAbsolute: false, name)
        store(call.database, call[1], Value(string: call[3]), expiresAt: deadline)
        notify(.string, "set", call.database, call[1])
        notify(.generic, "expire", call.database, call[1])
        reply.ok()
    }

    fileprivate mutating func getSet(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        try get(call, &reply)
        store(call.database, call[1], Value(string: call[2]))
        notify(.string, "set", call.database, call[1])
    }

    fileprivate mutating func getDelete(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        try get(call, &reply)
        deleteIfLive(call.database, call[1])
    }

    fileprivate mutating func getExpire(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try StringOptions(call, from: 2, isSet: false)
        let database = call.database
        let key = call[1]
        guard let bytes = try lookUpString(database, key) else { return reply.null() }
        let deadline = try options.deadline(now, "getex")
        reply.bulk(bytes)
        guard let slot = slot(database, key) else { return }
        if deadline != 0, deadline <= now {
            deleteIfLive(database, key)
        } else if deadline != 0 {
            setDeadline(database, key, slot, deadline)
            touch(database, key)
            notify(.generic, "expire", database, key)
        } else if options.clearsDeadline, databases[database].objects[slot].expiresAt != 0 {
            setDeadline(database, key, slot, 0)
            touch(database, key)
            notify(.generic, "persist", database, key)
        }
    }

    fileprivate mutating func setMany(
        _ call: Call,
        ifMissing: Bool,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        guard call.count % 2 == 1 else {
            throw .message("ERR wrong number of arguments for '\(ifMissing ? "msetnx" : "mset")' command")
        }
        let places = stride(from: 1, to: call.count, by: 2)
        if ifMissing, places.contains(where: { exists(call.database, call[$0]) }) { return reply.integer(0) }
        for place in places {
            store(call.database, call[place], Value(string: call[place + 1]))
            notify(.string, "set", call.database, call[place])
        }
        if ifMissing { reply.integer(1) } else { reply.ok() }
    }

    // MARK: Changing in place

    fileprivate mutating func append(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let database = call.database
        let key = call[1]
        let suffix = call[2]
        if let length = try stringLength(database, key) {
            try checkLength(Int64(length), adding: suffix.count)
            reply.integer(
                editString(database, key) { bytes in
                    bytes += suffix
                    return bytes.count
                }
            )
        } else {
            store(database, key, Value(string: suffix))
            reply.integer(suffix.count)
        }
        notify(.string, "append", database, key)
    }

    fileprivate mutating func setRange(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let offset = try call.integer(2)
        guard offset >= 0 else { throw .message("ERR offset is out of range") }
        let part = call[3]
        let length = try stringLength(call.database, call[1])
        if part.isEmpty { return reply.integer(length ?? 0) }
        try checkLength(offset, adding: part.count)
        let start = Int(offset)
        let count = editString(call.database, call[1]) { bytes in
            if bytes.count < start + part.count {
                bytes.append(contentsOf: repeatElement(0, count: start + part.count - bytes.count))
            }
            bytes.replaceSubrange(start..<(start + part.count), with: part)
            return bytes.count
        }
        notify(.string, "setrange", call.database, call[1])
        reply.integer(count)
    }

    /// Changes the bytes of the string at `key` in place; a missing key begins empty. The type is checked already.
    /// Without `touching` the caller calls `touch` if something has changed.
    mutating func editString<R>(
        _ database: Int,
        _ key: [UInt8],
        touching: Bool = true,
        _ body: (inout [UInt8]) -> R
    ) -> R {
        expireIfDue(database, key)
        var bytes: [UInt8] = []
        guard let slot = databases[database].objects.find(key) else {
            let result = body(&bytes)
            store(database, key, .string(bytes))
            return result
        }
        var taken = Value.taken
        swap(&taken, &databases[database].objects[slot].value)
        if case .string(let held) = taken { bytes = held } else { bytes = taken.stringBytes ?? [] }
        let bytesBefore = taken.byteEstimate
        // The only reference left is `bytes`: it changes in place.
        taken = .taken
        let result = body(&bytes)
        databases[database].objects[slot].value = .string(bytes)
        keyBytes += Value.string(bytes).byteEstimate - bytesBefore
        if touching { touch(database, key) }
        return result
    }

    /// A string of so many bytes may be made (`proto-max-bulk-len`).
    func checkLength(_ length: Int64, adding count: Int) throws(CommandError) {
        let (total, overflow) = length.addingReportingOverflow(Int64(count))
        guard !overflow, total <= configuration.protoMaxBulkLength else {
            throw .message("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        }
    }

    // MARK: Numbers

    fileprivate mutating func increment(
        _ call: Call,
        by amount: Int64,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let old: Int64
        switch peek(call.database, call[1]) {
        case nil: old = 0
        case .integer(let value)?: old = value
        case .string(let bytes)?:
            guard let value = Decimal.integer(bytes) else { throw .notAnInteger }
            old = value
        default: throw .wrongType
        }
        let (value, overflow) = old.addingReportingOverflow(amount)
        if overflow { throw .message("ERR increment or decrement would overflow") }
        store(call.database, call[1], .integer(value), keepsDeadline: true)
        notify(.string, "incrby", call.database, call[1])
        reply.integer(value)
    }

    fileprivate mutating func incrementDecimal(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let old = peek(call.database, call[1])
        if let old, old.stringBytes == nil { throw .wrongType }
        guard let value = LongDecimal(old?.stringBytes ?? [48]), let amount = LongDecimal(call[2]) else {
            throw .notAFloat
        }
        guard let sum = LongDecimal.sum(value, amount) else {
            throw .message("ERR increment would produce NaN or Infinity")
        }
        let text = sum.text
        store(call.database, call[1], .string(text), keepsDeadline: true)
        notify(.string, "incrbyfloat", call.database, call[1])
        reply.bulk(text)
    }
}

/// Of a time given by a client.
enum TimeUnit {
    case seconds
    case milliseconds
}

extension Keyspace {
    /// A time to live or a point in time, as a deadline in milliseconds since 1970. It must be above 0.
    func lifetime(
        _ text: [UInt8],
        _ unit: TimeUnit,
        isAbsolute: Bool,
        _ name: String
    ) throws(CommandError) -> Int64 {
        try Keyspace.lifetime(text, unit, isAbsolute: isAbsolute, now, name)
    }

    fileprivate static func lifetime(
        _ text: [UInt8],
        _ unit: TimeUnit,
        isAbsolute: Bool,
        _ now: Int64,
        _ name: String
    ) throws(CommandError) -> Int64 {
        guard let value = Decimal.integer(text) else { throw .notAnInteger }
        let (time, overflow) = value.multipliedReportingOverflow(by: unit == .seconds ? 1000 : 1)
        let (deadline, carry) = time.addingReportingOverflow(isAbsolute ? 0 : now)
        guard value > 0, !overflow, !carry else { throw .message("ERR invalid expire time in '\(name)' command") }
        return deadline
    }
}

/// The options of SET and GETEX.
private struct StringOptions {
    var ifMissing = false
    var ifPresent = false
    var returnsOld = false
    var keepsDeadline = false
    var clearsDeadline = false
    private var time: (text: [UInt8], unit: TimeUnit, isAbsolute: Bool)?

    init(_ call: Call, from first: Int, isSet: Bool) throws(CommandError) {
        var index = first
        while index < call.count {
            if isSet, call.isWord(index, "nx"), !ifPresent {
                ifMissing = true
            } else if isSet, call.isWord(index, "xx"), !ifMissing {
                ifPresent = true
            } else if isSet, call.isWord(index, "get") {
                returnsOld = true
            } else if isSet, call.isWord(index, "keepttl"), time == nil {
                keepsDeadline = true
            } else if !isSet, call.isWord(index, "persist"), time == nil {
                clearsDeadline = true
            } else if let (unit, isAbsolute) = StringOptions.unit(call, index), index + 1 < call.count,
                !keepsDeadline, !clearsDeadline, accepts(unit, isAbsolute)
            {
                time = (call[index + 1], unit, isAbsolute)
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
    }

    private static func unit(_ call: Call, _ index: Int) -> (TimeUnit, isAbsolute: Bool)? {
        if call.isWord(index, "ex") { return (.seconds, false) }
        if call.isWord(index, "px") { return (.milliseconds, false) }
        if call.isWord(index, "exat") { return (.seconds, true) }
        if call.isWord(index, "pxat") { return (.milliseconds, true) }
        return nil
    }

    /// One kind of time; it may be said again, as in Redis.
    fileprivate func accepts(_ unit: TimeUnit, _ isAbsolute: Bool) -> Bool {
        guard let time else { return true }
        return time.unit == unit && time.isAbsolute == isAbsolute
    }

    /// Milliseconds since 1970; 0: none was given.
    func deadline(_ now: Int64, _ name: String) throws(CommandError) -> Int64 {
        guard let time else { return 0 }
        return try Keyspace.lifetime(time.text, time.unit, isAbsolute: time.isAbsolute, now, name)
    }
}
