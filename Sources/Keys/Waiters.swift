import DequeModule
import Primitives

/// Connections that wait for a key. A waiter is a command to run again when a key of it changes, as Redis 7.2 does it.
struct Waiters: Sendable {
    struct Waiter: Sendable {
        var call: Call
        var version: UInt8
        var keys: [Keyspace.DatabaseKey]
        /// `TYPE`'s word for what it waits for; nil: whatever is there.
        var type: String?
        /// Milliseconds since 1970; 0: for ever.
        var deadline: Int64
        /// What the client gets when the time is up.
        var onTimeout: Timeout
        /// Order of arrival: first blocked, first served.
        var arrival: UInt64
        /// A key that is removed or gets another type wakes it too (XREADGROUP).
        var wakesOnRemoval: Bool
    }

    enum Timeout: Sendable {
        case null
        case nullArray
    }

    /// A waiter's place in an order: that of arrival, or that of deadlines.
    private struct Place: Sendable {
        var deadline: Int64 = 0
        var arrival: UInt64
        var id: WaiterID

        static func < (a: Place, b: Place) -> Bool {
            a.deadline != b.deadline ? a.deadline < b.deadline : a.arrival < b.arrival
        }
    }

    /// Those who wait at a key, in order of arrival.
    private struct Line: Sendable {
        var places: Deque<Place> = []
        /// How many of them wake when the key is removed.
        var wakingOnRemoval = 0

        mutating func remove(arrival: UInt64) {
            places.remove(at: Waiters.firstIndex(places) { $0.arrival >= arrival })
        }
    }

    private(set) var waiters: [WaiterID: Waiter] = [:]
    private var lines: [Keyspace.DatabaseKey: Line] = [:]
    private var deadlines: Deque<Place> = []
    private var arrivals: UInt64 = 0
    /// Keys that may serve a waiter, each once, in the order in which they changed.
    private var changed: [Keyspace.DatabaseKey] = []
    private var isChanged: Set<Keyspace.DatabaseKey> = []

    init() {}

    var isEmpty: Bool { waiters.isEmpty }
    var count: Int { waiters.count }

    /// Somebody who waits at the key may be able to go on.
    mutating func noteChange(_ key: Keyspace.DatabaseKey) {
        if lines[key] != nil, isChanged.insert(key).inserted { changed.append(key) }
    }

    mutating func takeChanged() -> [Keyspace.DatabaseKey] {
        defer {
            changed = []
            isChanged = []
        }
        return changed
    }

    var hasChanged: Bool { !changed.isEmpty }

    /// Who came to the key next after the given arrival: first come, first served.
    func next(at key: Keyspace.DatabaseKey, after arrival: UInt64) -> WaiterID? {
        guard let places = lines[key]?.places, let last = places.last, last.arrival > arrival else { return nil }
        return places[Waiters.firstIndex(places) { $0.arrival > arrival }].id
    }

    func wakesOnRemoval(_ key: Keyspace.DatabaseKey) -> Bool { (lines[key]?.wakingOnRemoval ?? 0) > 0 }

    /// A waiter whose command runs again and still waits keeps its place and its deadline.
    mutating func add(_ id: WaiterID, _ waiter: Waiter) {
        if waiters[id] != nil { return }
        var waiter = waiter
        arrivals += 1
        waiter.arrival = arrivals
        var seen: Set<Keyspace.DatabaseKey> = []
        waiter.keys = waiter.keys.filter { seen.insert($0).inserted }
        for key in waiter.keys {
            lines[key, default: Line()].places.append(Place(arrival: waiter.arrival, id: id))
            if waiter.wakesOnRemoval { lines[key]?.wakingOnRemoval += 1 }
        }
        if waiter.deadline != 0 {
            let place = Place(deadline: waiter.deadline, arrival: waiter.arrival, id: id)
            deadlines.insert(place, at: Waiters.firstIndex(deadlines) { place < $0 })
        }
        waiters[id] = waiter
    }

    @discardableResult
    mutating func remove(_ id: WaiterID) -> Waiter? {
        guard let waiter = waiters.removeValue(forKey: id) else { return nil }
        for key in waiter.keys {
            lines[key]?.remove(arrival: waiter.arrival)
            if waiter.wakesOnRemoval { lines[key]?.wakingOnRemoval -= 1 }
            if lines[key]?.places.isEmpty == true { lines[key] = nil }
        }
        if waiter.deadline != 0 {
            let place = Place(deadline: waiter.deadline, arrival: waiter.arrival, id: id)
            deadlines.remove(at: Waiters.firstIndex(deadlines) { !($0 < place) })
        }
        return waiter
    }

    /// Somebody whose time is up: by deadline, then by arrival.
    func firstDue(_ now: Int64) -> WaiterID? { deadlines.first.flatMap { $0.deadline <= now ? $0.id : nil } }

    func of(gateway: UInt64) -> [WaiterID] { waiters.keys.filter { $0.gateway == gateway }.sorted() }

    var nextDeadline: Int64? { deadlines.first?.deadline }

    /// The first place of a sorted queue from which on `condition` holds.
    private static func firstIndex(_ places: Deque<Place>, where condition: (Place) -> Bool) -> Int {
        var low = 0
        var high = places.count
        while low < high {
            let middle = (low + high) / 2
            if condition(places[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

extension Waiters {
    /// In order of arrival, from which all orders follow.
    func encode(into writer: inout ByteWriter) {
        writer.writeVarint(arrivals)
        writer.writeVarint(UInt64(waiters.count))
        for (id, waiter) in waiters.sorted(by: { $0.value.arrival < $1.value.arrival }) {
            writer.write(id.gateway)
            writer.write(id.session)
            writer.writeVarint(waiter.arrival)
            writer.writeVarint(UInt64(waiter.call.database))
            writer.writeVarint(UInt64(waiter.call.count))
            for argument in waiter.call.arguments { writer.writeBytes(argument) }
            writer.write(waiter.version)
            writer.writeVarint(UInt64(waiter.keys.count))
            for key in waiter.keys { Waiters.encode(key, into: &writer) }
            writer.writeString(waiter.type ?? "")
            writer.writeVarint(UInt64(bitPattern: waiter.deadline))
            writer.write((waiter.onTimeout == .nullArray ? 1 : 0) | (waiter.wakesOnRemoval ? 2 : 0) as UInt8)
        }
        writer.writeVarint(UInt64(changed.count))
        for key in changed { Waiters.encode(key, into: &writer) }
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        let total = try reader.readVarint()
        for _ in 0..<(try reader.readCount(limit: Keyspace.waitersMax, "waiters")) {
            let id = WaiterID(gateway: try reader.read(UInt64.self), session: try reader.read(UInt64.self))
            let arrival = try reader.readVarint()
            guard arrival > arrivals, arrival <= total, waiters[id] == nil else { throw .malformed("waiters") }
            let database = try Waiters.database(from: &reader)
            var arguments: [[UInt8]] = []
            for _ in 0..<(try reader.readCount(limit: reader.remaining, "waiters")) {
                arguments.append(try reader.readBytes(limit: reader.remaining, "waiters"))
            }
            guard !arguments.isEmpty else { throw .malformed("waiters") }
            let version = try reader.readByte()
            var keys: [Keyspace.DatabaseKey] = []
            for _ in 0..<(try reader.readCount(limit: reader.remaining, "waiters")) {
                keys.append(try Waiters.key(from: &reader))
            }
            let type = try reader.readString(limit: 16, "waiters")
            let deadline = Int64(bitPattern: try reader.readVarint())
            let flags = try reader.readByte()
            // `add` gives the next arrival.
            arrivals = arrival - 1
            add(
                id,
                Waiter(
                    call: Call(arguments, database: database, waiter: id),
                    version: version,
                    keys: keys,
                    type: type.isEmpty ? nil : type,
                    deadline: deadline,
                    onTimeout: flags & 1 != 0 ? .nullArray : .null,
                    arrival: arrival,
                    wakesOnRemoval: flags & 2 != 0
                )
            )
        }
        arrivals = total
        for _ in 0..<(try reader.readCount(limit: reader.remaining, "waiters")) {
            noteChange(try Waiters.key(from: &reader))
        }
    }

    private static func encode(_ key: Keyspace.DatabaseKey, into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(key.database))
        writer.writeBytes(key.key)
    }

    private static func key(from reader: inout ByteReader) throws(DecodeError) -> Keyspace.DatabaseKey {
        let database = try Waiters.database(from: &reader)
        return Keyspace.DatabaseKey(database: database, key: try reader.readBytes(limit: reader.remaining, "waiters"))
    }

    private static func database(from reader: inout ByteReader) throws(DecodeError) -> Int {
        try reader.readCount(limit: Keyspace.databaseCount - 1, "database")
    }
}

/// The reply to a command that had waited.
package struct ServedWaiter: Sendable {
    package var waiter: WaiterID
    package var reply: [UInt8]
}
