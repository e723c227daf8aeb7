import Primitives
import RESP

extension StreamCommands {
    fileprivate static let infoHelp: [StaticString] = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ]
}

extension Keyspace {
    mutating func xinfo(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let subcommand = try StreamCommands.subcommand(call)
        if subcommand == "help" { return StreamCommands.writeHelp(call, StreamCommands.infoHelp, &reply) }
        guard let stream = try lookUp(StreamValue.self, call.database, call[2]) else { throw .noSuchKey }
        switch subcommand {
        case "consumers":
            guard let group = stream.find(group: call[3]) else {
                throw StreamCommands.noGroup(call.text(3), key: call.text(2))
            }
            stream[group: group].writeConsumers(now: now, &reply)
        case "groups":
            reply.array(stream.groups.count)
            for group in stream.groups { stream.writeGroup(group, &reply) }
        default: try stream.writeInfo(call, &reply)
        }
    }
}

extension RESPWriter {
    fileprivate mutating func orNull(_ value: Int64?) {
        if let value { integer(value) } else { null() }
    }

    /// A row of a map.
    fileprivate mutating func row(_ name: String, _ value: some FixedWidthInteger) {
        bulk(name)
        integer(value)
    }

    fileprivate mutating func row(_ name: String, _ value: [UInt8]) {
        bulk(name)
        bulk(value)
    }

    fileprivate mutating func row(_ name: String, _ value: StreamID) {
        bulk(name)
        bulk(value)
    }
}

extension StreamGroup {
    fileprivate func writeConsumers(now: Int64, _ reply: inout RESPWriter) {
        reply.array(order.count)
        for place in order {
            let consumer = consumer(at: place)
            // `inactive` is of Redis 7.2.
            reply.map(4)
            reply.row("name", consumer.name)
            reply.row("pending", consumer.pending.count)
            reply.row("idle", max(0, now &- consumer.seenTime))
            reply.row("inactive", consumer.activeTime < 0 ? -1 : max(0, now &- consumer.activeTime))
        }
    }

    /// Consumers with what they have, at most `limit` each.
    fileprivate func writeConsumersFull(limit: Int64, _ reply: inout RESPWriter) {
        reply.array(order.count)
        for place in order {
            let consumer = consumer(at: place)
            // `active-time` is of Redis 7.2.
            reply.map(5)
            reply.row("name", consumer.name)
            reply.row("seen-time", consumer.seenTime)
            reply.row("active-time", consumer.activeTime)
            reply.row("pel-count", consumer.pending.count)
            reply.bulk("pending")
            let shown = min(Int64(consumer.pending.count), limit)
            reply.array(Int(shown))
            var left = shown
            consumer.pending.forEach { element in
                guard left > 0, let at = pending.find(element.id) else { return false }
                left -= 1
                reply.array(3)
                reply.bulk(element.id)
                reply.integer(pending[at].row.time)
                reply.integer(pending[at].row.count)
                return true
            }
        }
    }
}

extension StreamValue {
    fileprivate func writeGroup(_ group: StreamGroup, _ reply: inout RESPWriter) {
        reply.map(6)
        reply.row("name", group.name)
        reply.row("consumers", group.order.count)
        reply.row("pending", group.pending.count)
        reply.row("last-delivered-id", group.lastID)
        reply.bulk("entries-read")
        reply.orNull(group.entriesRead)
        reply.bulk("lag")
        reply.orNull(lag(group))
    }

    /// XINFO STREAM.
    fileprivate func writeInfo(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let isFull = call.count > 3
        var count: Int64 = 10
        if isFull {
            guard call.count == 4 || call.count == 6, call.isWord(3, "full"),
                call.count == 4 || call.isWord(4, "count")
            else { throw StreamCommands.wrongArguments(call) }
            if call.count == 6 {
                count = try call.integer(5)
                if count < 0 { count = 10 }
            }
        }
        reply.map(isFull ? 9 : 10)
        reply.row("length", length)
        reply.row("radix-tree-keys", nodes.count)
        // There is no radix tree; a tree over so many keys has about so many nodes.
        reply.row("radix-tree-nodes", nodes.count + 1)
        reply.row("last-generated-id", lastID)
        reply.row("max-deleted-entry-id", maxDeletedID)
        reply.row("entries-added", entriesAdded)
        reply.row("recorded-first-entry-id", firstEntryID)
        if isFull { return writeFull(limit: count == 0 ? .max : count, &reply) }
        reply.row("groups", groups.count)
        for (name, id) in [("first-entry", nodes.first?.ids.first), ("last-entry", lastEntryID)] {
            reply.bulk(name)
            if let id, let entry = entry(id) { StreamValue.write(id, entry, &reply) } else { reply.null() }
        }
    }

    private func writeFull(limit: Int64, _ reply: inout RESPWriter) {
        reply.bulk("entries")
        writeEntries(from: .zero, limit: limit, &reply)
        reply.bulk("groups")
        reply.array(groups.count)
        for group in groups {
            reply.map(7)
            reply.row("name", group.name)
            reply.row("last-delivered-id", group.lastID)
            reply.bulk("entries-read")
            reply.orNull(group.entriesRead)
            reply.bulk("lag")
            reply.orNull(lag(group))
            reply.row("pel-count", group.pending.count)
            reply.bulk("pending")
            let shown = min(Int64(group.pending.count), limit)
            reply.array(Int(shown))
            var left = shown
            group.pending.forEach { element in
                guard left > 0 else { return false }
                left -= 1
                reply.array(4)
                reply.bulk(element.id)
                reply.bulk(group.consumer(at: element.row.consumer).name)
                reply.integer(element.row.time)
                reply.integer(element.row.count)
                return true
            }
            reply.bulk("consumers")
            group.writeConsumersFull(limit: limit, &reply)
        }
    }
}
