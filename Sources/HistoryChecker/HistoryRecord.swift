import Primitives

/// What a client, a subscriber or the fault injector did, once.
package enum RecordKind: UInt8, Sendable, CaseIterable {
    /// A publish: `message`, and `offset` where the acknowledgement named it.
    case publish = 1
    /// A subscriber was handed `message` at `offset`.
    case receive = 2
    /// A subscriber or a named consumer (`producer`) committed everything up to and including `offset`.
    case acknowledge = 3
    /// A session's position was set to `offset`: the next message must be `offset + 1`. A position above the session's
    /// last one is a declared gap, one below it announces redelivery.
    case subscribe = 4
    /// A linearizable read of the room's head returned `offset`.
    case read = 5
    /// A read of the stored cursor of the consumer `producer` returned `offset`.
    case cursor = 6
    /// A fault was active on node `process` from `invoked` to `returned`; `message` says which, in the harness's
    /// numbers.
    case fault = 7
}

/// How an operation ended, with Jepsen's three values: `fail` is only for a definite non-effect, a timeout is `info`.
package enum RecordOutcome: UInt8, Sendable, CaseIterable {
    case ok = 0
    case fail = 1
    case info = 2
}

/// One observation of a run, on the harness's one clock.
///
/// Numbers that do not apply are 0: room and epoch numbers come from the history's symbol tables, whose first number
/// is 1, messages are numbered by the harness from 1, and offsets of a room begin at 1.
package struct HistoryRecord: Equatable, Sendable {
    /// When the operation was started.
    package var invoked: Instant
    /// When it ended; `distantFuture` for an operation that never returned. Equal to `invoked` for a receive.
    package var returned: Instant
    /// The logical process: a publisher, or a subscriber's session over all its connections.
    package var process: UInt32
    /// The connection's number, unique over the run.
    package var connection: UInt32
    package var kind: RecordKind
    package var room: UInt32
    package var epoch: UInt32
    /// The idempotent producer, or the named consumer; 0 for none.
    package var producer: UInt64
    package var producerEpoch: UInt32
    /// The producer's sequence number. 0 promises no order.
    package var sequence: UInt64
    /// Unique per published message; a retry of a message carries the same number.
    package var message: UInt64
    package var offset: UInt64
    package var outcome: RecordOutcome

    package init(
        invoked: Instant,
        returned: Instant,
        process: UInt32,
        connection: UInt32 = 0,
        kind: RecordKind,
        room: UInt32 = 0,
        epoch: UInt32 = 0,
        producer: UInt64 = 0,
        producerEpoch: UInt32 = 0,
        sequence: UInt64 = 0,
        message: UInt64 = 0,
        offset: UInt64 = 0,
        outcome: RecordOutcome = .ok
    ) {
        self.invoked = invoked
        self.returned = returned
        self.process = process
        self.connection = connection
        self.kind = kind
        self.room = room
        self.epoch = epoch
        self.producer = producer
        self.producerEpoch = producerEpoch
        self.sequence = sequence
        self.message = message
        self.offset = offset
        self.outcome = outcome
    }
}
