import Primitives
import RESP

extension Keyspace {
    mutating func dumpKey(_ call: Call, _ reply: inout RESPWriter) {
        guard let value = lookUp(call.database, call[1]) else { return reply.null() }
        reply.bulk(RedisDump.encode(value))
    }

    /// RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
    mutating func restoreKey(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        var replaces = false
        var isAbsolute = false
        var idle: Int64?
        var hasFrequency = false
        var index = 4
        while index < call.count {
            if call.isWord(index, "replace") {
                replaces = true
            } else if call.isWord(index, "absttl") {
                isAbsolute = true
            } else if call.isWord(index, "idletime"), index + 1 < call.count, !hasFrequency {
                idle = try call.integer(index + 1)
                if let idle, idle < 0 { throw .message("ERR Invalid IDLETIME value, must be >= 0") }
                index += 1
            } else if call.isWord(index, "freq"), index + 1 < call.count, idle == nil {
                guard (0...255).contains(try call.integer(index + 1)) else {
                    throw .message("ERR Invalid FREQ value, must be >= 0 and <= 255")
                }
                hasFrequency = true
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        let database = call.database
        let key = call[1]
        expireIfDue(database, key)
        if !replaces, exists(database, key) { throw .message("BUSYKEY Target key name already exists.") }
        let time = try call.integer(2)
        guard time >= 0 else { throw .message("ERR Invalid TTL value, must be >= 0") }
        guard RedisDump.isIntact(call[3]) else { throw .message("ERR DUMP payload version or checksum are wrong") }
        let value = try RedisDump.decode(call[3], configuration, seed: SplitMix64.mix(seed ^ version &+ 1))
        let isRemoved = remove(database, key)
        let (deadline, overflow) = time.addingReportingOverflow(isAbsolute || time == 0 ? 0 : now)
        if deadline != 0, overflow || deadline <= now {
            if isRemoved { notify(.generic, "del", database, key) }
            return reply.ok()
        }
        store(database, key, value, expiresAt: deadline)
        if let idle, let slot = slot(database, key) {
            databases[database].objects[slot].use(UInt32(clamping: Int64(usedNow) &- idle))
        }
        notify(.generic, "restore", database, key)
        reply.ok()
    }
}
