import Primitives
import RESP

/// The arguments of XREAD and XREADGROUP.
private struct ReadOptions {
    var count: Int64 = 0
    /// Milliseconds since 1970, 0 = for ever; nil: it does not wait.
    var deadline: Int64?
    var isNoAck = false
    var group: [UInt8]?
    var consumer: [UInt8] = []
    /// Indices of the keys; the ID of a key comes `keys.count` later.
    var keys = 0..<0

    /// How many entries a reader gets who had waited and gave no count.
    static let countAfterWait: Int64 = 1000

    init(_ call: Call, isGroup: Bool, now: Int64) throws(CommandError) {
        var index = 1
        loop: while index < call.count {
            let more = call.count - index - 1
            switch call {
            case _ where call.isWord(index, "block") && more > 0:
                deadline = try ReadOptions.deadline(call[index + 1], now)
                index += 2
            case _ where call.isWord(index, "count") && more > 0:
                count = max(0, try call.integer(index + 1))
                index += 2
            case _ where call.isWord(index, "streams") && more > 0:
                guard more % 2 == 0 else {
                    throw .message(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."
                    )
                }
                keys = (index + 1)..<(index + 1 + more / 2)
                break loop
            case _ where call.isWord(index, "group") && more > 1:
                guard isGroup else { throw ReadOptions.onlyGroups("GROUP") }
                group = call[index + 1]
                consumer = call[index + 2]
                index += 3
            case _ where call.isWord(index, "noack"):
                guard isGroup else { throw ReadOptions.onlyGroups("NOACK") }
                isNoAck = true
                index += 1
            default: throw .syntax
            }
        }
        if keys.isEmpty { throw .syntax }
        if isGroup, group == nil { throw .message("ERR Missing GROUP option for XREADGROUP") }
        if call.isRetry, count == 0 { count = ReadOptions.countAfterWait }
    }

    private static func onlyGroups(_ option: String) -> CommandError {
        .message("ERR The \(option) option is only supported by XREADGROUP. You called XREAD instead.")
    }

    private static func deadline(_ text: [UInt8], _ now: Int64) throws(CommandError) -> Int64 {
        guard let milliseconds = Decimal.integer(text) else {
            throw .message("ERR timeout is not an integer or out of range")
        }
        if milliseconds < 0 { throw .message("ERR timeout is negative") }
        if milliseconds == 0 { return 0 }
        let (deadline, overflow) = now.addingReportingOverflow(milliseconds)
        if overflow { throw .message("ERR timeout is out of range") }
        return deadline
    }

    var limit: Int64 { count == 0 ? .max : count }
}

extension StreamCommands {
    /// Where the keys of an XREAD or XREADGROUP are among its arguments; nil when it has none.
    package static func readKeys(_ arguments: [[UInt8]]) -> Range<Int>? {
        var index = 1
        while index < arguments.count {
            let word = arguments[index]
            if Call.equals(word, "block") || Call.equals(word, "count") {
                index += 2
            } else if Call.equals(word, "group") {
                index += 3
            } else if Call.equals(word, "noack") {
                index += 1
            } else if Call.equals(word, "streams") {
                let count = arguments.count - index - 1
                return count > 0 && count % 2 == 0 ? (index + 1)..<(index + 1 + count / 2) : nil
            } else {
                return nil
            }
        }
        return nil
    }
}

extension Keyspace {
    mutating func xread(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try ReadOptions(call, isGroup: false, now: now)
        // What it waits for if it waits: `$` is the last ID of now.
        var waiting = call
        var body = RESPWriter(version: reply.version)
        var served = 0
        var places: [(stream: StreamValue?, after: StreamID)] = []
        for index in options.keys {
            // As in Redis 7.2, also when it had waited and another of its keys got another type meanwhile.
            let stream = try lookUp(StreamValue.self, call.database, call[index])
            let place = index + options.keys.count
            if call.isByte(place, "$") {
                let last = stream?.lastID ?? .zero
                waiting.arguments[place] = Array(last.text.utf8)
                places.append((stream, last))
            } else if call.isByte(place, ">") {
                throw .message(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> "
                        + "option."
                )
            } else {
                places.append((stream, try call.streamID(place)))
            }
        }
        for (index, place) in zip(options.keys, places) {
            guard let stream = place.stream, let last = stream.lastEntryID, last > place.after,
                let start = place.after.next
            else { continue }
            served += 1
            if !body.isRESP3 { body.array(2) }
            body.bulk(call[index])
            stream.writeEntries(from: start, limit: options.limit, &body)
        }
        if served > 0 { return writeRead(served, body, &reply) }
        guard let deadline = options.deadline else { return reply.nullArray() }
        try block(
            waiting,
            at: Array(call.arguments[options.keys]),
            for: "stream",
            until: deadline,
            onTimeout: .nullArray,
            &reply
        )
    }

    private func writeRead(_ served: Int, _ body: RESPWriter, _ reply: inout RESPWriter) {
        if reply.isRESP3 { reply.map(served) } else { reply.array(served) }
        reply.raw(body.bytes)
    }

    mutating func xreadgroup(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let options = try ReadOptions(call, isGroup: true, now: now)
        let group = options.group ?? []
        // Nil: new entries (`>`).
        var places: [StreamID?] = []
        for index in options.keys {
            places.append(try checkGroupRead(call, index, index + options.keys.count, group))
        }
        var body = RESPWriter(version: reply.version)
        var served = 0
        for (index, after) in zip(options.keys, places) {
            let isServed = try modify(StreamValue.self, call, call[index], creating: false) {
                (stream, keys) throws(CommandError) -> Bool in
                guard let place = stream.find(group: group) else { return false }
                // As Redis 7.2 does, and 7.0 only when there is something: the consumer is there from its first try.
                let consumer = keys.streamConsumer(options.consumer, &stream, place, call.database, call[index])
                let isHistory = after != nil
                guard isHistory || stream.lastEntryID.map({ $0 > stream[group: place].lastID }) == true else {
                    return false
                }
                if !body.isRESP3 { body.array(2) }
                body.bulk(call[index])
                if let after {
                    stream.deliverAgain(place, consumer, after: after, options.limit, now: keys.now, &body)
                } else {
                    stream.deliver(
                        place,
                        consumer,
                        limit: options.limit,
                        isNoAck: options.isNoAck,
                        now: keys.now,
                        &body
                    )
                }
                return true
            }
            if isServed == true { served += 1 }
        }
        if served > 0 { return writeRead(served, body, &reply) }
        guard let deadline = options.deadline else { return reply.nullArray() }
        try block(
            call,
            at: Array(call.arguments[options.keys]),
            until: deadline,
            onTimeout: .nullArray,
            wakesOnRemoval: true,
            &reply
        )
    }

    /// That a key of XREADGROUP has the group; returns the ID after which to read, nil for `>`.
    private mutating func checkGroupRead(
        _ call: Call,
        _ index: Int,
        _ place: Int,
        _ group: [UInt8]
    ) throws(CommandError) -> StreamID? {
        let stream: StreamValue?
        do throws(CommandError) {
            stream = try lookUp(StreamValue.self, call.database, call[index])
            if stream == nil, call.isRetry { throw .wrongType }
        } catch {
            // Who waited is told that the stream went, also when another type came in its place (Redis 7.0; 7.2 says
            // WRONGTYPE to the latter).
            throw call.isRetry ? .message("UNBLOCKED the stream key no longer exists") : error
        }
        guard let stream, stream.find(group: group) != nil else {
            let name = String(decoding: group, as: UTF8.self)
            throw .message(
                "NOGROUP No such key '\(call.text(index))' or consumer group '\(name)' in XREADGROUP with GROUP "
                    + "option"
            )
        }
        if call.isByte(place, "$") {
            throw .message(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
                    + "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just "
                    + "return an empty result set."
            )
        }
        if call.isByte(place, ">") { return nil }
        // To Redis the greatest ID is the same as `>`.
        let id = try call.streamID(place)
        return id == .max ? nil : id
    }

    /// The consumer of that name, made when there is none; notes that it was seen.
    mutating func streamConsumer(
        _ name: [UInt8],
        _ stream: inout StreamValue,
        _ group: Int,
        _ database: Int,
        _ key: [UInt8]
    ) -> Int {
        if let known = stream[group: group].find(consumer: name) {
            stream[group: group].noteSeen(known, now)
            return known
        }
        notify(.stream, "xgroup-createconsumer", database, key)
        return stream[group: group].add(StreamGroup.Consumer(name: name, seenTime: now))
    }
}

extension StreamValue {
    /// Delivers entries that the group has not seen, and writes them as an array.
    fileprivate mutating func deliver(
        _ group: Int,
        _ consumer: Int,
        limit: Int64,
        isNoAck: Bool,
        now: Int64,
        _ reply: inout RESPWriter
    ) {
        guard let start = self[group: group].lastID.next else { return reply.array(0) }
        var ids: [StreamID] = []
        let mark = reply.count
        forEach(from: start, to: .max) { id, entry in
            ids.append(id)
            StreamValue.write(id, entry, &reply)
            return ids.count < limit
        }
        reply.insertArray(ids.count, at: mark)
        for id in ids {
            advance(group, to: id)
            if isNoAck { continue }
            // After XGROUP SETID somebody may have it already.
            self[group: group].assign(id, StreamGroup.Delivery(consumer: consumer, time: now, count: 1))
        }
        if !ids.isEmpty { self[group: group].noteActive(consumer, now) }
    }

    /// Delivers once more what the consumer has not acknowledged, and writes it as an array. What is not in the stream
    /// any more has nil for its fields.
    fileprivate mutating func deliverAgain(
        _ group: Int,
        _ consumer: Int,
        after: StreamID,
        _ limit: Int64,
        now: Int64,
        _ reply: inout RESPWriter
    ) {
        guard let start = after.next else { return reply.array(0) }
        var ids: [StreamID] = []
        self[group: group].consumer(at: consumer).pending.forEach(from: start) { element in
            ids.append(element.id)
            return ids.count < limit
        }
        reply.array(ids.count)
        for id in ids {
            guard let entry = entry(id) else {
                reply.array(2)
                reply.bulk(id)
                reply.nullArray()
                continue
            }
            StreamValue.write(id, entry, &reply)
            if let place = self[group: group].pending.find(id) {
                let count = self[group: group].pending[place].row.count
                self[group: group].setDelivery(place, time: now, count: count &+ 1)
            }
        }
    }
}
