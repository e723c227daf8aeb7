import Primitives

/// What a replica is doing in its term.
package enum Role: Equatable, Sendable {
    case follower
    case preCandidate
    case candidate
    case leader
}

/// The part of a replica's state that needs no disk.
package struct SoftState: Equatable, Sendable {
    package var role: Role
    /// Whom the replica believes to lead `term`; nil while unknown.
    package var leader: NodeID?
    package var term: Term

    package init(role: Role, leader: NodeID?, term: Term) {
        self.role = role
        self.leader = leader
        self.term = term
    }
}

/// A read that a quorum has confirmed: it may be served once `index` is applied.
package struct ReadState: Equatable, Sendable {
    /// What the caller gave to `readIndex`.
    package var context: UInt64
    package var index: LogIndex

    package init(context: UInt64, index: LogIndex) {
        self.context = context
        self.index = index
    }
}

/// A request to read retained entries that are no longer in memory. Each is answered once, by `onEntriesRead`.
package struct LogRead: Equatable, Sendable {
    /// The follower that needs the entries; the replica's own id when they are to be applied.
    package var peer: NodeID
    package var from: LogIndex
    /// Bytes of entries to return; one entry always fits.
    package var maxBytes: Int

    package init(peer: NodeID, from: LogIndex, maxBytes: Int) {
        self.peer = peer
        self.from = from
        self.maxBytes = maxBytes
    }
}

/// Everything that a replica wants done, moved out by `RaftNode.takeReady(into:)` into a value that the caller owns and
/// reuses. etcd/raft's `Ready` with asynchronous storage writes.
///
/// Order for the shell: queue `hardState` and `entries` as one write, behind all earlier writes of the group; send
/// `messages` at once; after the write is durable send `messagesAfterAppend` and call `onAppended`; replace the state
/// machine by `snapshot`; apply `committed`; call `onApplied`.
package struct Ready: Equatable, Sendable {
    /// Present when role, leader or term changed.
    package var softState: SoftState?
    /// Present when term, vote or commit changed. When it comes with `entries` it must be durable no later than they
    /// are, commit index included: a restarted replica that holds a `.leaveJoint` entry must also know that the joint
    /// membership before it was committed.
    package var hardState: HardState?
    /// `hardState` and `entries` must be durable before `messagesAfterAppend` go out. Also true when nothing is to be
    /// written but an earlier write of this group is still under way and `messagesAfterAppend` depends on it. A mere
    /// change of the commit index needs no sync.
    package var mustSync: Bool
    /// To append to stable storage; they replace whatever it holds from `entries[0].index` on.
    package var entries: [Entry]
    /// May leave at once, a leader's appends included: it writes in parallel with its followers (Raft thesis, 10.2.1).
    package var messages: [RaftMessage]
    /// May leave only after this Ready, and every one before it, is durable (`mustSync` says whether that takes a
    /// sync): granted votes, accepted appends, and a candidate's vote requests when they name entries that are still
    /// being written.
    package var messagesAfterAppend: [RaftMessage]
    /// To apply, in order, all durable here and on a quorum; the next batch follows `onApplied` of the last one.
    package var committed: [Entry]
    package var readStates: [ReadState]
    /// The state machine must be replaced by this snapshot, which the shell has already stored (`restoreSnapshot`);
    /// then `onApplied(snapshot.index)`.
    package var snapshot: SnapshotDescriptor?
    package var logReads: [LogRead]
    /// Followers behind the retained log: stream a snapshot to each, then call `onSnapshotSent`.
    package var snapshotNeeded: [NodeID]

    package init() {
        mustSync = false
        entries = []
        messages = []
        messagesAfterAppend = []
        committed = []
        readStates = []
        logReads = []
        snapshotNeeded = []
    }

    /// Empties everything and keeps the capacity.
    package mutating func removeAll() {
        softState = nil
        hardState = nil
        mustSync = false
        snapshot = nil
        entries.removeAll(keepingCapacity: true)
        messages.removeAll(keepingCapacity: true)
        messagesAfterAppend.removeAll(keepingCapacity: true)
        committed.removeAll(keepingCapacity: true)
        readStates.removeAll(keepingCapacity: true)
        logReads.removeAll(keepingCapacity: true)
        snapshotNeeded.removeAll(keepingCapacity: true)
    }

    /// Nothing to do.
    package var isEmpty: Bool {
        softState == nil && hardState == nil && snapshot == nil && !mustSync && entries.isEmpty && messages.isEmpty
            && messagesAfterAppend.isEmpty && committed.isEmpty && readStates.isEmpty && logReads.isEmpty
            && snapshotNeeded.isEmpty
    }
}
