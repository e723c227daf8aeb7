import Primitives

/// One group's part of a batch: what Raft asks to persist together.
package struct LogItem: Equatable, Sendable {
    package var group: GroupID
    package var hardState: HardState?
    /// Consecutive indices. A first index at or below the log's last one replaces the log from there.
    package var entries: [Entry]

    package init(group: GroupID, hardState: HardState? = nil, entries: [Entry] = []) {
        self.group = group
        self.hardState = hardState
        self.entries = entries
    }
}

/// What happened to a group's log as a whole.
package enum GroupChange: UInt8, Sendable {
    /// The log was replaced by the snapshot and segments in the directory of `StoredItem.incarnation`.
    case newIncarnation = 1
    /// The leader has made good what was damaged.
    case repaired = 2
    /// The replica left this node. Its term and vote stay, because the node might be a member again in the same term.
    case discarded = 3
}

/// A `LogItem` as it is on disk, with what storage itself has to remember.
package struct StoredItem: Equatable, Sendable {
    package var group: GroupID
    /// Which life of the group's log this belongs to; entries of an earlier life are ignored at recovery.
    package var incarnation: UInt64
    package var hardState: HardState?
    /// Retention has dropped what is below this index.
    package var floor: LogIndex?
    package var change: GroupChange?
    package var entries: [Entry]

    package init(
        group: GroupID,
        incarnation: UInt64,
        hardState: HardState? = nil,
        floor: LogIndex? = nil,
        change: GroupChange? = nil,
        entries: [Entry] = []
    ) {
        self.group = group
        self.incarnation = incarnation
        self.hardState = hardState
        self.floor = floor
        self.change = change
        self.entries = entries
    }
}

/// A group's state at the start of a write-ahead file, so that older files can go.
package struct GroupCheckpoint: Equatable, Sendable {
    package var group: GroupID
    package var incarnation: UInt64
    package var hardState: HardState
    package var floor: LogIndex
    /// The last index of the log at that moment: what the older files and the segments must add up to.
    package var lastIndex: LogIndex
    package var isFaulty: Bool
    package var isDiscarded: Bool

    package init(
        group: GroupID,
        incarnation: UInt64,
        hardState: HardState,
        floor: LogIndex,
        lastIndex: LogIndex,
        isFaulty: Bool,
        isDiscarded: Bool
    ) {
        self.group = group
        self.incarnation = incarnation
        self.hardState = hardState
        self.floor = floor
        self.lastIndex = lastIndex
        self.isFaulty = isFaulty
        self.isDiscarded = isDiscarded
    }
}

extension ByteWriter {
    mutating func write(_ state: HardState) {
        writeVarint(state.term)
        write(UInt8(state.vote == nil ? 0 : 1))
        if let vote = state.vote { write(vote.rawValue) }
        writeVarint(state.commit)
    }

    /// Term, kind and data; the index follows from the position.
    @inline(__always)
    mutating func writeBody(of entry: Entry) {
        writeVarint(entry.term)
        write(entry.kind.rawValue)
        writeBytes(entry.data)
    }

    mutating func write(_ item: StoredItem, entries: ArraySlice<Entry>) {
        writeVarint(UInt64(item.group.rawValue))
        writeVarint(item.incarnation)
        var flags: UInt8 = 0
        if item.hardState != nil { flags |= 1 }
        if item.floor != nil { flags |= 2 }
        if item.change != nil { flags |= 4 }
        if !entries.isEmpty { flags |= 8 }
        write(flags)
        if let state = item.hardState { write(state) }
        if let floor = item.floor { writeVarint(floor) }
        if let change = item.change { write(change.rawValue) }
        if let first = entries.first {
            writeVarint(UInt64(entries.count))
            writeVarint(first.index)
            for entry in entries { writeBody(of: entry) }
        }
    }

    mutating func write(_ checkpoint: GroupCheckpoint) {
        writeVarint(UInt64(checkpoint.group.rawValue))
        writeVarint(checkpoint.incarnation)
        write(UInt8((checkpoint.isFaulty ? 1 : 0) | (checkpoint.isDiscarded ? 2 : 0)))
        write(checkpoint.hardState)
        writeVarint(checkpoint.floor)
        writeVarint(checkpoint.lastIndex)
    }
}

extension ByteReader {
    mutating func readGroup() throws(DecodeError) -> GroupID {
        let value = try readVarint()
        guard let raw = UInt32(exactly: value) else { throw .malformed("group") }
        return GroupID(rawValue: raw)
    }

    mutating func readHardState() throws(DecodeError) -> HardState {
        let term = try readVarint()
        let tag = try readByte()
        guard tag <= 1 else { throw .malformed("vote") }
        let vote = tag == 1 ? NodeID(try read(UInt64.self)) : nil
        return HardState(term: term, vote: vote, commit: try readVarint())
    }

    @inline(__always)
    mutating func readEntryBody(index: LogIndex) throws(DecodeError) -> Entry {
        let term = try readVarint()
        let tag = try readByte()
        guard let kind = EntryKind(rawValue: tag) else { throw .unknown(field: "entry kind", value: UInt64(tag)) }
        return Entry(
            term: term,
            index: index,
            kind: kind,
            data: try readBytes(limit: LogLimits.entryData, "entry data")
        )
    }

    /// `count` entries from `first` on. An entry takes at least three bytes, which bounds what a lying count allocates.
    mutating func readEntryBodies(count: Int, first: LogIndex) throws(DecodeError) -> [Entry] {
        guard count <= remaining / 3 else { throw .truncated }
        guard first <= LogIndex.max - LogIndex(count) else { throw .malformed("first index") }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        for offset in 0..<count { entries.append(try readEntryBody(index: first + LogIndex(offset))) }
        return entries
    }

    mutating func readStoredItem() throws(DecodeError) -> StoredItem {
        var item = StoredItem(group: try readGroup(), incarnation: try readVarint())
        let flags = try readByte()
        guard flags & 0xf0 == 0 else { throw .unknown(field: "item flags", value: UInt64(flags)) }
        if flags & 1 != 0 { item.hardState = try readHardState() }
        if flags & 2 != 0 { item.floor = try readVarint() }
        if flags & 4 != 0 {
            let tag = try readByte()
            guard let change = GroupChange(rawValue: tag) else { throw .unknown(field: "change", value: UInt64(tag)) }
            item.change = change
        }
        if flags & 8 != 0 {
            let count = try readCount(limit: LogLimits.recordBody, "entries")
            item.entries = try readEntryBodies(count: count, first: try readVarint())
        }
        return item
    }

    mutating func readGroupCheckpoint() throws(DecodeError) -> GroupCheckpoint {
        let group = try readGroup()
        let incarnation = try readVarint()
        let flags = try readByte()
        guard flags & 0xfc == 0 else { throw .unknown(field: "checkpoint flags", value: UInt64(flags)) }
        return GroupCheckpoint(
            group: group,
            incarnation: incarnation,
            hardState: try readHardState(),
            floor: try readVarint(),
            lastIndex: try readVarint(),
            isFaulty: flags & 1 != 0,
            isDiscarded: flags & 2 != 0
        )
    }
}
