import DequeModule
import Primitives
import RESP

/// What a command's code is given and does. Replies go to the writer; an error's text replaces what was written.
package typealias Handler =
    @Sendable (inout Keyspace, Call, inout RESPWriter) throws(CommandError) -> Void

/// Commands' code by name: an open hash table of its own, because the dictionary's costs as much as a small command.
private final class HandlerTable: Sendable {
    struct Row {
        /// Lower-case.
        let name: [UInt8]
        let run: Handler
    }

    let rows: ContiguousArray<Row>
    /// Places in `rows`, -1 where there is none.
    private let places: [Int16]
    private static let size = 1024

    init(_ families: [[String: Handler]]) {
        var rows: ContiguousArray<Row> = []
        var places = [Int16](repeating: -1, count: HandlerTable.size)
        for family in families {
            for name in family.keys.sorted() {
                let bytes = Array(name.utf8)
                var place = HandlerTable.hash(bytes)
                while places[place] >= 0 {
                    precondition(rows[Int(places[place])].name != bytes, name)
                    place = (place + 1) & (HandlerTable.size - 1)
                }
                places[place] = Int16(rows.count)
                rows.append(Row(name: bytes, run: family[name]!))
            }
        }
        precondition(rows.count < HandlerTable.size / 2, "the table is too small")
        self.rows = rows
        self.places = places
    }

    /// By a name in any case.
    func find(_ name: [UInt8]) -> Int? {
        var place = HandlerTable.hash(name)
        while places[place] >= 0 {
            let row = Int(places[place])
            if HandlerTable.isEqual(name, rows[row].name) { return row }
            place = (place + 1) & (HandlerTable.size - 1)
        }
        return nil
    }

    private static func lower(_ byte: UInt8) -> UInt8 { byte >= 65 && byte <= 90 ? byte | 32 : byte }

    private static func isEqual(_ name: [UInt8], _ lowered: [UInt8]) -> Bool {
        guard name.count == lowered.count else { return false }
        for index in name.indices where lower(name[index]) != lowered[index] { return false }
        return true
    }

    /// FNV-1a.
    private static func hash(_ name: [UInt8]) -> Int {
        var hash: UInt32 = 2_166_136_261
        for byte in name.prefix(32) { hash = (hash ^ UInt32(lower(byte))) &* 16_777_619 }
        return Int(truncatingIfNeeded: hash ^ hash >> 16) & (size - 1)
    }
}

extension Keyspace {
    /// The commands on keys, by the file that has their code.
    package static let rows: [String] = [
        StringCommands.table, GenericCommands.table, BitmapCommands.table, ListCommands.table, HashCommands.table,
        SetCommands.table, SortedSetCommands.table, StreamCommands.table,
    ]

    private static let handlers = HandlerTable([
        StringCommands.handlers, GenericCommands.handlers, BitmapCommands.handlers, ListCommands.handlers,
        HashCommands.handlers, SetCommands.handlers, SortedSetCommands.handlers, StreamCommands.handlers,
        HiddenCommands.handlers,
    ])

    package enum Outcome: Equatable, Sendable {
        /// The reply is written.
        case replied
        /// Nothing is written: the reply comes in `served`.
        case blocked
    }

    /// Runs one command, whose name and number of arguments are right. Waiters are served by `serveWaiters`, which the
    /// caller calls after it: after the whole of a transaction.
    @discardableResult
    package mutating func execute(_ call: Call, _ reply: inout RESPWriter) -> Outcome {
        let mark = reply.count
        guard let row = Keyspace.handlers.find(call.arguments[0]) else {
            reply.error("ERR unknown command '\(String(decoding: call.arguments[0], as: UTF8.self))'")
            return .replied
        }
        do throws(CommandError) {
            try Keyspace.handlers.rows[row].run(&self, call, &reply)
            return .replied
        } catch {
            reply.rollBack(to: mark)
            if error == .blocked { return .blocked }
            reply.error(error.text)
            return .replied
        }
    }

    // MARK: Waiting

    /// The command waits at `keys` until one of them changes or `deadline` (milliseconds since 1970, 0 = for ever).
    /// Throws `.blocked`; where nobody can wait it answers as if the time were up.
    ///
    /// `call` is run again as it is given here, so a command that means "from now on" says so in it (XREAD `$`). It
    /// runs only when a key that changed holds `type` (`TYPE`'s word; nil: whatever it holds).
    mutating func block(
        _ call: Call,
        at keys: [[UInt8]],
        for type: String? = nil,
        until deadline: Int64,
        onTimeout: Waiters.Timeout,
        wakesOnRemoval: Bool = false,
        _ reply: inout RESPWriter
    ) throws(CommandError) {
        guard let waiter = call.waiter else {
            Keyspace.writeTimeout(onTimeout, &reply)
            return
        }
        guard waiters.count < Keyspace.waitersMax || call.isRetry else {
            throw .message("ERR max number of blocked clients reached")
        }
        waiters.add(
            waiter,
            Waiters.Waiter(
                call: call,
                version: reply.version,
                keys: keys.map { DatabaseKey(database: call.database, key: $0) },
                type: type,
                deadline: deadline,
                onTimeout: onTimeout,
                arrival: 0,
                wakesOnRemoval: wakesOnRemoval
            )
        )
        throw .blocked
    }

    package static let waitersMax = 100_000

    /// A blocking command's timeout, seconds with a fraction, as a deadline; 0 stays 0.
    func blockDeadline(seconds text: [UInt8]) throws(CommandError) -> Int64 {
        guard let seconds = Decimal.double(text) else {
            throw .message("ERR timeout is not a float or out of range")
        }
        let milliseconds = (seconds * 1000).rounded(.up)
        if milliseconds < 0 { throw .message("ERR timeout is negative") }
        if milliseconds == 0 { return 0 }
        guard milliseconds < 0x1p62, now < 1 << 62 else { throw .message("ERR timeout is out of range") }
        return now + Int64(milliseconds)
    }

    /// Runs the commands of those who wait at keys that have changed, first come, first served, until none can go on.
    package mutating func serveWaiters() {
        while waiters.hasChanged {
            for key in waiters.takeChanged() { serveWaiters(at: key) }
        }
    }

    private mutating func serveWaiters(at key: DatabaseKey) {
        var arrival: UInt64 = 0
        while let id = waiters.next(at: key, after: arrival), let waiter = waiters.waiters[id] {
            arrival = waiter.arrival
            if !waiter.wakesOnRemoval {
                guard let type = peek(key.database, key.key)?.typeName else {
                    if waiters.wakesOnRemoval(key) { continue }
                    return
                }
                if let wanted = waiter.type, wanted != type { continue }
            }
            var call = waiter.call
            call.isRetry = true
            var writer = RESPWriter(version: waiter.version)
            let isAdmitted = admits(call.arguments)
            if !isAdmitted { writer.error(Keyspace.outOfMemory) }
            if !isAdmitted || execute(call, &writer) == .replied {
                waiters.remove(id)
                served.append(ServedWaiter(waiter: id, reply: writer.bytes))
            }
        }
    }

    /// Answers those whose time is up.
    package mutating func timeOutWaiters() {
        while let id = waiters.firstDue(now) { unblock(id) }
    }

    /// When the next waiter's time is up; milliseconds since 1970.
    package var nextTimeout: Int64? { waiters.nextDeadline }
    package var waiterCount: Int { waiters.count }

    /// Ends a wait as if its time were up, or with an error (CLIENT UNBLOCK). False when nobody waits there.
    @discardableResult
    package mutating func unblock(_ id: WaiterID, error: String? = nil) -> Bool {
        guard let waiter = waiters.remove(id) else { return false }
        var writer = RESPWriter(version: waiter.version)
        if let error { writer.error(error) } else { Keyspace.writeTimeout(waiter.onTimeout, &writer) }
        served.append(ServedWaiter(waiter: id, reply: writer.bytes))
        return true
    }

    package func isWaiting(_ id: WaiterID) -> Bool { waiters.waiters[id] != nil }

    /// The connection is gone: nobody is answered.
    package mutating func forget(_ id: WaiterID) { waiters.remove(id) }

    /// All connections of a gateway are gone.
    package mutating func forget(gateway: UInt64) { for id in waiters.of(gateway: gateway) { waiters.remove(id) } }

    private static func writeTimeout(_ timeout: Waiters.Timeout, _ reply: inout RESPWriter) {
        switch timeout {
        case .null: reply.null()
        case .nullArray: reply.nullArray()
        }
    }
}
