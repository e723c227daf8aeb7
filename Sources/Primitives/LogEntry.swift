/// What a log entry carries.
package enum EntryKind: UInt8, Sendable {
    /// A leader's empty entry at the start of its term.
    case noop = 0
    /// A command for the group's state machine.
    case command = 1
    /// An encoded `MembershipChange`.
    case membership = 2
}

/// One entry of a Raft group's log.
package struct Entry: Equatable, Sendable {
    package var term: Term
    package var index: LogIndex
    package var kind: EntryKind
    package var data: [UInt8]

    @inlinable package init(term: Term, index: LogIndex, kind: EntryKind = .command, data: [UInt8] = []) {
        self.term = term
        self.index = index
        self.kind = kind
        self.data = data
    }
}

/// What a replica must have on disk before it answers: Raft's persistent state, plus the commit index as a hint.
package struct HardState: Equatable, Sendable {
    package var term: Term
    package var vote: NodeID?
    package var commit: LogIndex

    package init(term: Term = 0, vote: NodeID? = nil, commit: LogIndex = 0) {
        self.term = term
        self.vote = vote
        self.commit = commit
    }
}

/// Who replicates a group. A joint configuration (`outgoing` not empty) needs both majorities (Raft thesis, 4.3).
/// Arrays are sorted, so that equal memberships are equal values.
package struct Membership: Equatable, Sendable {
    package var voters: [NodeID]
    package var outgoing: [NodeID]
    package var learners: [NodeID]

    package init(voters: [NodeID], outgoing: [NodeID] = [], learners: [NodeID] = []) {
        self.voters = voters.sorted()
        self.outgoing = outgoing.sorted()
        self.learners = learners.sorted()
    }

    package var isJoint: Bool { !outgoing.isEmpty }

    /// Everyone who receives the log, each once, sorted.
    package var members: [NodeID] {
        var all: [NodeID] = []
        for id in (voters + outgoing + learners).sorted() where all.last != id { all.append(id) }
        return all
    }

    package func isVoter(_ id: NodeID) -> Bool { voters.contains(id) || outgoing.contains(id) }
}

/// What names a snapshot: the last entry that it covers, and the membership committed there.
package struct SnapshotDescriptor: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term
    package var membership: Membership

    package init(index: LogIndex, term: Term, membership: Membership) {
        self.index = index
        self.term = term
        self.membership = membership
    }
}

extension ByteWriter {
    package mutating func write(_ membership: Membership) {
        for list in [membership.voters, membership.outgoing, membership.learners] {
            writeVarint(UInt64(list.count))
            for id in list { write(id.rawValue) }
        }
    }

    package mutating func write(_ descriptor: SnapshotDescriptor) {
        writeVarint(descriptor.index)
        writeVarint(descriptor.term)
        write(descriptor.membership)
    }

    package mutating func write(_ entry: Entry) {
        writeVarint(entry.term)
        writeVarint(entry.index)
        write(entry.kind.rawValue)
        writeBytes(entry.data)
    }
}

extension ByteReader {
    package mutating func readMembership() throws(DecodeError) -> Membership {
        var lists: [[NodeID]] = []
        for _ in 0..<3 {
            let count = try readCount(limit: 1024, "membership")
            var list: [NodeID] = []
            for _ in 0..<count { list.append(NodeID(try read(UInt64.self))) }
            lists.append(list)
        }
        return Membership(voters: lists[0], outgoing: lists[1], learners: lists[2])
    }

    package mutating func readSnapshotDescriptor() throws(DecodeError) -> SnapshotDescriptor {
        let index = try readVarint()
        let term = try readVarint()
        return SnapshotDescriptor(index: index, term: term, membership: try readMembership())
    }

    package mutating func readEntry(dataLimit: Int) throws(DecodeError) -> Entry {
        let term = try readVarint()
        let index = try readVarint()
        let tag = try readByte()
        guard let kind = EntryKind(rawValue: tag) else { throw .unknown(field: "entry kind", value: UInt64(tag)) }
        return Entry(term: term, index: index, kind: kind, data: try readBytes(limit: dataLimit, "entry data"))
    }
}

/// The first entry of a run of entries of one term. A log's terms are a short sorted list of these, so that the term of
/// any retained index is known without reading the disk.
package struct TermStart: Equatable, Sendable {
    package var index: LogIndex
    package var term: Term

    package init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }
}

/// What a replica's disk holds at start: storage makes it, Raft and the state machine begin from it.
package struct RestoredReplica: Equatable, Sendable {
    package var hardState: HardState
    /// The newest state-machine snapshot, already read back and verified; entries above its index are applied again.
    package var snapshot: SnapshotDescriptor?
    package var snapshotState: [UInt8]
    /// The first retained entry; `lastIndex + 1` when the log is empty.
    package var firstIndex: LogIndex
    package var lastIndex: LogIndex
    /// Covers `firstIndex - 1 ... lastIndex` (the entry before the first one is what AppendEntries names as previous);
    /// empty when nothing was ever appended.
    package var termStarts: [TermStart]
    /// The newest entries, up to `lastIndex`, that stay in memory; older retained ones are read from segments on
    /// demand.
    package var entries: [Entry]
    /// A damaged part of the acknowledged log was found, or the replica was removed from here before: it neither votes
    /// nor campaigns before the leader has filled it.
    package var isFaulty: Bool
    /// It was removed from here before: what is left is its vote.
    package var isDiscarded: Bool

    package init(
        hardState: HardState = HardState(),
        snapshot: SnapshotDescriptor? = nil,
        snapshotState: [UInt8] = [],
        firstIndex: LogIndex = 1,
        lastIndex: LogIndex = 0,
        termStarts: [TermStart] = [],
        entries: [Entry] = [],
        isFaulty: Bool = false,
        isDiscarded: Bool = false
    ) {
        self.isDiscarded = isDiscarded
        self.hardState = hardState
        self.snapshot = snapshot
        self.snapshotState = snapshotState
        self.firstIndex = firstIndex
        self.lastIndex = lastIndex
        self.termStarts = termStarts
        self.entries = entries
        self.isFaulty = isFaulty
    }
}
