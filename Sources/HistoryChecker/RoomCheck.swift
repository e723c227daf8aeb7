import Primitives

/// Where a message is: offsets of different epochs are not comparable.
struct Position: Hashable {
    var epoch: UInt32
    var offset: UInt64
}

/// All attempts to publish one message, as one.
struct PublishedMessage {
    var message: UInt64
    /// The first attempt: the message cannot have been appended before it.
    var invoked: Instant
    /// The first acknowledgement: it cannot have been appended after it.
    var acknowledged: Instant = .distantFuture
    var position = Position(epoch: 0, offset: 0)
    var isAcknowledged = false
    /// Every attempt definitely had no effect.
    var isRefused = true
    var isIdempotent: Bool
    var record: Int
}

/// The facts of one room and the checks over them.
final class RoomCheck {
    let room: UInt32
    let history: History
    /// The room's records, as indices into the history, in its order.
    let indices: [Int]
    /// Sorted by replica.
    let logs: [ReplicaLog]
    let options: CheckOptions
    var report: CheckReport

    let isBestEffort: Bool
    /// The epoch of the final logs, or the newest one that somebody saw.
    var finalEpoch: UInt32 = 0
    /// The lowest floor of any replica: below it nothing has to be in a final log.
    var floor: UInt64 = 0
    /// The final log that reaches furthest.
    var longestLog: ReplicaLog?

    var published: [PublishedMessage] = []
    var publishedIndex: [UInt64: Int] = [:]
    /// Distinct positions, in the order in which they were first seen.
    var positions: [(position: Position, message: UInt64)] = []
    var valueAt: [Position: UInt64] = [:]
    var positionOf: [UInt64: Position] = [:]
    /// The messages that some replica holds.
    var kept: Set<UInt64> = []
    /// Messages that some session received.
    var seen: Set<UInt64> = []

    init(room: UInt32, history: History, indices: [Int], logs: [ReplicaLog], options: CheckOptions, report: CheckReport)
    {
        self.room = room
        self.history = history
        self.indices = indices
        self.logs = logs
        self.options = options
        self.report = report
        isBestEffort = options.bestEffortRooms.contains(room)
    }

    func run() {
        collect()
        checkValues()
        checkFinalLogs()
        checkLoss()
        checkProducers()
        checkRealTime()
        checkReads()
        checkSessions()
        checkCursors()
    }

    /// An epoch of 0 means that the observer was not told: then it is the final one.
    func position(_ epoch: UInt32, _ offset: UInt64) -> Position {
        Position(epoch: epoch == 0 ? finalEpoch : epoch, offset: offset)
    }

    func violate(
        _ name: ViolationName,
        offset: UInt64 = 0,
        message: UInt64 = 0,
        record: Int? = nil,
        _ detail: @autoclosure () -> String
    ) {
        report.add(
            Violation(
                name,
                room: history.rooms.name(of: room),
                offset: offset,
                message: message,
                record: record,
                detail: detail()
            ),
            name,
            limit: options.maximumViolationsPerName
        )
    }

    /// Folds the attempts of each message and finds the final epoch, floor and log.
    private func collect() {
        for log in logs {
            if log.epoch != 0 { finalEpoch = log.epoch }
            if longestLog == nil || log.head > longestLog!.head { longestLog = log }
        }
        floor = logs.map(\.floor).min() ?? 0
        var epochs: [UInt32] = []
        for index in indices {
            let record = history.records[index]
            if record.epoch != 0, epochs.last != record.epoch, record.outcome == .ok { epochs.append(record.epoch) }
            guard record.kind == .publish, record.message != 0 else { continue }
            fold(record, index)
        }
        if finalEpoch == 0 { finalEpoch = epochs.last ?? 0 }
        for log in logs {
            for entry in log.entries { kept.insert(entry.message) }
        }
        for message in published {
            if message.isAcknowledged {
                report.statistics.acknowledged += 1
            } else if message.isRefused {
                report.statistics.refused += 1
            } else {
                report.statistics.unknownOutcome += 1
                if kept.contains(message.message) { report.statistics.unknownButKept += 1 }
            }
        }
        countEpochs(epochs)
    }

    private func countEpochs(_ epochs: [UInt32]) {
        var distinct = Set<UInt32>()
        for epoch in epochs { distinct.insert(epoch) }
        report.statistics.epochChanges += max(0, distinct.count - 1)
    }

    private func fold(_ record: HistoryRecord, _ index: Int) {
        let slot: Int
        if let known = publishedIndex[record.message] {
            slot = known
            published[slot].invoked = min(published[slot].invoked, record.invoked)
            published[slot].isIdempotent = published[slot].isIdempotent && record.producer != 0
        } else {
            slot = published.count
            publishedIndex[record.message] = slot
            published.append(
                PublishedMessage(
                    message: record.message,
                    invoked: record.invoked,
                    isIdempotent: record.producer != 0,
                    record: index
                )
            )
        }
        if record.outcome != .fail { published[slot].isRefused = false }
        guard record.outcome == .ok else { return }
        published[slot].isAcknowledged = true
        if record.returned < published[slot].acknowledged { published[slot].acknowledged = record.returned }
        if record.offset != 0, published[slot].position.offset == 0 {
            published[slot].position = Position(epoch: record.epoch, offset: record.offset)
            published[slot].record = index
        }
    }
}
