import ClientProtocol
import Primitives
import RESP
import Rooms

/// The place of an entry in a stream: `<milliseconds>-<sequence>`.
package struct StreamID: Equatable, Comparable, Sendable, CustomStringConvertible {
    package var milliseconds: UInt64
    package var sequence: UInt64

    package init(_ milliseconds: UInt64, _ sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let milliseconds = UInt64(parts[0]), let sequence = UInt64(parts[1]) else { return nil }
        self.init(milliseconds, sequence)
    }

    package init?(_ value: RESPValue) {
        guard let text = value.text else { return nil }
        self.init(text)
    }

    package var description: String { "\(milliseconds)-\(sequence)" }

    package static func < (a: StreamID, b: StreamID) -> Bool {
        (a.milliseconds, a.sequence) < (b.milliseconds, b.sequence)
    }
}

/// How positions are stream ids.
///
/// A position is (epoch, offset), offsets dense from 1. A stream id has two numbers as well, and since Redis 7.0
/// `XADD key E-*` keeps the first and counts the second by one: so the epoch is the first number and offset n is the id
/// `E-(n-1)`. The server numbers entries by itself, atomically and without holes; there is no counter that could lose
/// touch with the stream, no script, and `XRANGE` from a position is `XRANGE` from its id.
///
/// Who creates a room's stream chooses the epoch, its wall-clock milliseconds, and all must agree on it: it is the
/// last-delivered id of a consumer group `vencejo` of that stream. `XGROUP CREATE … MKSTREAM` makes stream and group in
/// one step and is refused to whoever comes second. It is a part of the key: a stream that was deleted, evicted or
/// lost takes its epoch with it, and the next one has a newer. `XADD … NOMKSTREAM` never makes a stream without one.
package enum StreamPosition {
    package static let epochGroup = "vencejo"

    /// The id of an offset; of 0, the greatest id before the epoch's first.
    package static func id(_ position: Position) -> StreamID {
        position.offset > 0
            ? StreamID(position.epoch, position.offset - 1) : StreamID(position.epoch &- 1, .max)
    }

    /// The offset of an id within the epoch; nil for an id of another one.
    package static func offset(_ id: StreamID, epoch: UInt64) -> UInt64? {
        if id.milliseconds == epoch { return id.sequence == .max ? nil : id.sequence + 1 }
        return id.milliseconds == epoch &- 1 && id.sequence == .max ? 0 : nil
    }
}

/// A stream's state as `XINFO STREAM` and `XINFO GROUPS` tell it.
package struct StreamHead: Equatable, Sendable {
    package var head: RoomHead
    /// The newest id, when it is beyond the epoch: somebody else has written into the stream.
    package private(set) var overrun: StreamID?
    private var cursors: [(consumer: [UInt8], offset: UInt64)] = []

    package static func == (a: StreamHead, b: StreamHead) -> Bool { a.head == b.head }

    /// Nil when the replies are not what Redis 7 sends, or the epoch is missing.
    package init?(groups: RESPValue, stream: RESPValue) {
        guard let rows = groups.elements, let last = stream.member("last-generated-id").flatMap(StreamID.init) else {
            return nil
        }
        var epoch: UInt64?
        for row in rows where row.member("name")?.text == StreamPosition.epochGroup {
            epoch = row.member("last-delivered-id").flatMap(StreamID.init)?.milliseconds
        }
        guard let epoch else { return nil }
        if last.milliseconds > epoch { overrun = last }
        let next = last.milliseconds == epoch ? last.sequence &+ 2 : 1
        var first = next
        if let id = stream.member("first-entry")?.elements?.first.flatMap(StreamID.init) {
            // Entries of an earlier epoch in front are none of this one's.
            first = id.milliseconds == epoch ? id.sequence &+ 1 : 1
        }
        head = RoomHead(epoch: epoch, first: first, next: next)
        let start = Array("consumer:".utf8)
        for row in rows {
            guard let name = row.member("name")?.bytes, name.starts(with: start),
                let id = row.member("last-delivered-id").flatMap(StreamID.init),
                let offset = StreamPosition.offset(id, epoch: epoch)
            else { continue }
            cursors.append((Array(name[start.count...]), offset))
        }
    }

    /// The last offset that a named consumer acknowledged.
    package func cursor(of consumer: [UInt8]) -> UInt64? { cursors.first { $0.consumer == consumer }?.offset }
}

/// One publication as a stream keeps it: fields that other programs can read too.
package struct StreamEntry: Equatable, Sendable {
    package var id: StreamID
    package var publication: Publication
    /// The message id that its publisher gave; empty: none.
    package var key: [UInt8] = []

    /// The fields and values of an XADD.
    package static func fields(
        _ body: ArraySlice<UInt8>,
        key: ArraySlice<UInt8>,
        time: Timestamp
    ) -> [RESPArgument] {
        let message = (try? MessageBody(decoding: body)) ?? MessageBody(payload: body, isJSON: false)
        var fields: [RESPArgument] = ["data", RESPArgument(message.payload), "time", RESPArgument(time)]
        if !message.isJSON { fields += ["form", "bytes"] }
        if message.timeToLive > 0 { fields += ["ttl", RESPArgument(message.timeToLive)] }
        if !message.tags.isEmpty { fields += ["tags", RESPArgument(message.tags)] }
        if !key.isEmpty { fields += ["id", RESPArgument(key)] }
        return fields
    }

    /// `[id, [field, value, …]]`; nil for anything else.
    package init?(_ value: RESPValue) {
        guard let parts = value.elements, parts.count == 2, let id = StreamID(parts[0]), let fields = parts[1].elements
        else { return nil }
        var message = MessageBody(payload: [])
        var time: Timestamp = 0
        var index = 0
        while index + 1 < fields.count {
            let content = fields[index + 1].bytes ?? []
            switch fields[index].text {
            case "data": message.payload = content[...]
            case "time": time = fields[index + 1].text.flatMap { UInt64($0) } ?? 0
            case "form": message.isJSON = false
            case "ttl": message.timeToLive = fields[index + 1].text.flatMap { UInt64($0) } ?? 0
            case "tags": message.tags = content[...]
            case "id": key = content
            default: break
            }
            index += 2
        }
        // Anybody who may write to Redis may have written it: what is no JSON must not stand in a client's frame.
        if message.isJSON, PayloadForm.classify(message.payload) != .json { message.isJSON = false }
        if PayloadForm.classify(message.tags) != .json { message.tags = [] }
        self.id = id
        publication = Publication(offset: id.sequence &+ 1, timestamp: time, body: message.encoded()[...])
    }
}
