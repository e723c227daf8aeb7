import Primitives
import RESP

/// What a server asks of a key partition by itself. Their names begin with a dot, which no client's command may.
enum HiddenCommands {
    static let handlers: [String: Handler] = [
        ".statistics": { (keys, _, reply) in keys.writeStatistics(&reply) },
        ".resetstat": { (keys, _, reply) in
            keys.statistics = KeyspaceStatistics()
            reply.ok()
        },
        ".configuration": { (keys, _, reply) in keys.writeConfiguration(&reply) },
        ".configure": { (keys, call, reply) throws(CommandError) in try keys.configure(call, &reply) },
        ".slotcount": { (keys, call, reply) throws(CommandError) in try keys.countSlot(call, &reply) },
        ".slotkeys": { (keys, call, reply) throws(CommandError) in try keys.keysOfSlot(call, &reply) },
    ]
}

extension Keyspace {
    /// Hits, misses, expired, evicted, changes, waiters, `maxmemory`, its policy, and what the keys take, then keys and
    /// expiring keys of each database.
    fileprivate func writeStatistics(_ reply: inout RESPWriter) {
        reply.array(9 + 2 * databases.count)
        for count in [
            statistics.hits, statistics.misses, statistics.expired, statistics.evicted, statistics.changes,
            UInt64(waiterCount),
        ] { reply.integer(Int64(clamping: count)) }
        reply.integer(configuration.maxMemory)
        reply.bulk(configuration.maxMemoryPolicy.rawValue)
        reply.integer(memoryEstimate)
        for database in databases.indices {
            reply.integer(keyCount(database))
            reply.integer(expiringCount(database))
        }
    }

    /// Names and values, one after the other.
    fileprivate func writeConfiguration(_ reply: inout RESPWriter) {
        reply.array(KeyspaceConfiguration.names.count * 2)
        for name in KeyspaceConfiguration.names {
            reply.bulk(name)
            reply.bulk(configurationGet(name) ?? "")
        }
    }

    /// `.configure name value [name value …]`: all or none.
    fileprivate mutating func configure(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let before = configuration
        for index in stride(from: 1, to: call.count - 1, by: 2) {
            let name = String(decoding: call[index], as: UTF8.self)
            do throws(KeyspaceConfiguration.Refusal) {
                try configurationSet(name, String(decoding: call[index + 1], as: UTF8.self))
            } catch {
                configuration = before
                switch error {
                case .unknownName:
                    throw .message("ERR Unknown option or number of arguments for CONFIG SET - '\(name)'")
                case .badValue(let why):
                    throw .message("ERR CONFIG SET failed (possibly related to argument '\(name)') - \(why)")
                }
            }
        }
        reply.ok()
    }

    // MARK: Slots, for CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT. They look at every key: for tools, not for traffic.

    fileprivate func countSlot(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let slot = try call.integer(1)
        var count = 0
        databases[call.database].objects.forEach { _, key, _ in
            if Int64(HashSlot.slot(of: key)) == slot { count += 1 }
            return true
        }
        reply.integer(count)
    }

    fileprivate func keysOfSlot(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let slot = try call.integer(1)
        let limit = try call.integer(2)
        var found: [[UInt8]] = []
        databases[call.database].objects.forEach { _, key, _ in
            if Int64(HashSlot.slot(of: key)) == slot { found.append(key) }
            return Int64(found.count) < limit
        }
        reply.array(found.count)
        for key in found.prefix(Int(clamping: max(0, limit))) { reply.bulk(key) }
    }
}
