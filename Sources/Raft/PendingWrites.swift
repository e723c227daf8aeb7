import DequeModule
import Primitives

/// The writes that storage was given and has not confirmed, oldest first.
///
/// Storage answers with (term, last index), which does not identify entries: while a write is under way the log may be
/// truncated and grow again, even back to the very same entries (etcd/raft's `async_storage_writes_append_aba_race`),
/// and a late answer would then vouch for entries whose own write has not finished. So every write remembers how much
/// of it is still in the log; truncation lowers that, and nothing raises it again.
struct PendingWrites: Sendable {
    struct Write: Equatable, Sendable {
        /// Term, vote and last index of the replica when the write was handed out.
        let term: Term
        let vote: NodeID?
        let index: LogIndex
        /// The part of the log that this write makes durable.
        var validThrough: LogIndex
    }

    private var writes: Deque<Write> = []

    var isEmpty: Bool { writes.isEmpty }
    var count: Int { writes.count }

    mutating func begin(term: Term, vote: NodeID?, index: LogIndex, validThrough: LogIndex) {
        writes.append(Write(term: term, vote: vote, index: index, validThrough: validThrough))
    }

    /// Entries above `index` are gone from the log.
    mutating func truncate(after index: LogIndex) {
        for position in writes.indices where writes[position].validThrough > index {
            writes[position].validThrough = index
        }
    }

    /// Storage confirmed the oldest write with this term and index; writes before it are durable too, as storage keeps
    /// their order. Nil when there is no such write.
    mutating func complete(term: Term, index: LogIndex) -> Write? {
        guard let position = writes.firstIndex(where: { $0.term == term && $0.index == index }) else { return nil }
        let write = writes[position]
        writes.removeFirst(position + 1)
        return write
    }
}
