/// The error classes, with the names of Jepsen's Kafka workload where it has one.
package enum ViolationName: String, Sendable, CaseIterable {
    /// a: two messages at one offset.
    case inconsistentOffsets = "inconsistent-offsets"
    /// b: a message of an idempotent producer at two offsets.
    case duplicate
    /// c: an offset without a message between offsets with one.
    case hole
    /// c: a message that nobody published, or one received before it was published.
    case phantom
    /// c: a message whose publish was definitely refused.
    case abortedRead = "G1a"
    /// d: an acknowledged message that is nowhere.
    case lostWrite = "lost-write"
    /// d: a message was delivered, and the final log does not have it.
    case precommittedRead = "precommitted-read"
    /// e: a producer's messages against its sequence.
    case nonmonotonicSend = "nonmonotonic-send"
    /// f: a message that was invoked after another one's acknowledgement comes before it.
    case realTimeOrder = "realtime-order"
    /// g: a head read below what was acknowledged before it began.
    case staleRead = "stale-read"
    /// g: a head read above what had been published when it ended.
    case futureRead = "future-read"
    /// h: a session missed a message without being told.
    case pollSkip = "poll-skip"
    /// h: a session went back without being told, or below what it had acknowledged.
    case nonmonotonicPoll = "nonmonotonic-poll"
    /// i: a stored cursor below a commit that had been answered, or below an earlier read.
    case lostCursor = "lost-cursor"
    /// i: a stored cursor above everything that was ever committed.
    case phantomCursor = "phantom-cursor"
    /// j: replicas differ at a common index, or one never caught up.
    case divergentReplicas = "divergent-replicas"
    /// k: no acknowledged publish for longer than allowed.
    case unavailable
    /// k: a message that no session received although one was due to.
    case unseen

    /// The letter of the check, a to k.
    package var check: Character {
        switch self {
        case .inconsistentOffsets: "a"
        case .duplicate: "b"
        case .hole, .phantom, .abortedRead: "c"
        case .lostWrite, .precommittedRead: "d"
        case .nonmonotonicSend: "e"
        case .realTimeOrder: "f"
        case .staleRead, .futureRead: "g"
        case .pollSkip, .nonmonotonicPoll: "h"
        case .lostCursor, .phantomCursor: "i"
        case .divergentReplicas: "j"
        case .unavailable, .unseen: "k"
        }
    }
}

/// One broken promise, with what is needed to find it in the history.
package struct Violation: Equatable, Sendable, CustomStringConvertible {
    package var name: ViolationName
    package var room: String
    package var offset: UInt64
    package var message: UInt64
    /// The index of the record in the history, where one record shows it.
    package var record: Int?
    package var detail: String

    package init(
        _ name: ViolationName,
        room: String,
        offset: UInt64 = 0,
        message: UInt64 = 0,
        record: Int? = nil,
        detail: String
    ) {
        self.name = name
        self.room = room
        self.offset = offset
        self.message = message
        self.record = record
        self.detail = detail
    }

    package var description: String { "\(name.rawValue) (\(name.check)) in \(room): \(detail)" }
}
