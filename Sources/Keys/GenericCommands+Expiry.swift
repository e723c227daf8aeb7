import Primitives
import RESP

extension Keyspace {
    /// EXPIRE and its kin: `key time [NX|XX|GT|LT]`. A time that has passed deletes the key.
    mutating func expire(
        _ call: Call,
        _ unit: TimeUnit,
        isAbsolute: Bool,
        _ name: String,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        let conditions = try ExpiryConditions(call)
        let value = try call.integer(2)
        let (time, overflow) = value.multipliedReportingOverflow(by: unit == .seconds ? 1000 : 1)
        let (deadline, carry) = time.addingReportingOverflow(isAbsolute ? 0 : now)
        guard !overflow, !carry else { throw .message("ERR invalid expire time in '\(name)' command") }

        let database = call.database
        let key = call[1]
        expireIfDue(database, key)
        guard let slot = slot(database, key),
            conditions.allow(deadline, instead: databases[database].objects[slot].expiresAt)
        else { return reply.integer(0) }
        if deadline <= now {
            deleteIfLive(database, key)
        } else {
            setDeadline(database, key, slot, deadline)
            touch(database, key)
            notify(.generic, "expire", database, key)
        }
        reply.integer(1)
    }

    mutating func timeToLive(_ call: Call, _ unit: TimeUnit, isAbsolute: Bool, _ reply: inout RESPWriter) {
        guard lookUp(call.database, call[1], touches: false) != nil,
            let deadline = deadline(call.database, call[1])
        else { return reply.integer(-2) }
        if deadline == 0 { return reply.integer(-1) }
        let time = isAbsolute ? deadline : max(0, deadline - now)
        reply.integer(unit == .milliseconds ? time : time / 1000 + (time % 1000 >= 500 ? 1 : 0))
    }

    mutating func persist(_ call: Call, _ reply: inout RESPWriter) {
        expireIfDue(call.database, call[1])
        guard let slot = slot(call.database, call[1]), databases[call.database].objects[slot].expiresAt != 0 else {
            return reply.integer(0)
        }
        setDeadline(call.database, call[1], slot, 0)
        touch(call.database, call[1])
        notify(.generic, "persist", call.database, call[1])
        reply.integer(1)
    }
}

/// NX, XX, GT and LT of EXPIRE.
private struct ExpiryConditions {
    private var ifNone = false
    private var ifSome = false
    private var ifGreater = false
    private var ifLess = false

    init(_ call: Call) throws(CommandError) {
        for index in 3..<max(3, call.count) {
            if call.isWord(index, "nx") {
                ifNone = true
            } else if call.isWord(index, "xx") {
                ifSome = true
            } else if call.isWord(index, "gt") {
                ifGreater = true
            } else if call.isWord(index, "lt") {
                ifLess = true
            } else {
                throw .message("ERR Unsupported option \(String(decoding: call[index], as: UTF8.self))")
            }
        }
        if ifNone, ifSome || ifGreater || ifLess {
            throw .message("ERR NX and XX, GT or LT options at the same time are not compatible")
        }
        if ifGreater, ifLess { throw .message("ERR GT and LT options at the same time are not compatible") }
    }

    /// `old` is 0 where a key never expires, which counts as later than any time.
    func allow(_ new: Int64, instead old: Int64) -> Bool {
        if ifNone, old != 0 { return false }
        if ifSome, old == 0 { return false }
        if ifGreater, old == 0 || new <= old { return false }
        if ifLess, old != 0, new >= old { return false }
        return true
    }
}
