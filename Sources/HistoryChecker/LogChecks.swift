import Primitives

/// Checks a to d and the room's part of j: what is at which offset.
extension RoomCheck {
    /// a, b: every observation of a position names the same message, and no message has two positions.
    func checkValues() {
        for log in logs {
            for entry in log.entries {
                observe(position(log.epoch, entry.offset), entry.message, nil) { "replica \(log.replica)" }
            }
        }
        for index in indices {
            let record = history.records[index]
            guard record.offset != 0, record.message != 0, record.outcome == .ok else { continue }
            switch record.kind {
            case .publish:
                observe(position(record.epoch, record.offset), record.message, index) { "an acknowledgement" }
            case .receive:
                observe(position(record.epoch, record.offset), record.message, index) { "session \(record.process)" }
            case .acknowledge, .subscribe, .read, .cursor, .fault: break
            }
        }
    }

    private func observe(_ position: Position, _ message: UInt64, _ record: Int?, by observer: () -> String) {
        if let known = valueAt[position] {
            if known != message {
                violate(
                    .inconsistentOffsets,
                    offset: position.offset,
                    message: message,
                    record: record,
                    "offset \(position.offset) is message \(known), but \(message) for \(observer())"
                )
            }
            return
        }
        valueAt[position] = message
        positions.append((position, message))
        guard let first = positionOf[message] else {
            positionOf[message] = position
            return
        }
        let isIdempotent = publishedIndex[message].map { published[$0].isIdempotent } ?? true
        guard isIdempotent else {
            report.statistics.duplicatesWithoutIdempotence += 1
            return
        }
        violate(
            .duplicate,
            offset: position.offset,
            message: message,
            record: record,
            "message \(message) is at offset \(first.offset) and, for \(observer()), at \(position.offset)"
        )
    }

    /// c, j: every replica's log is dense above its floor, has only what was sent, and is a prefix of the longest one.
    func checkFinalLogs() {
        for log in logs {
            var next = log.floor + 1
            for entry in log.entries {
                if entry.offset != next {
                    violate(
                        .hole,
                        offset: entry.offset,
                        message: entry.message,
                        "replica \(log.replica) has offset \(entry.offset) where \(next) is due"
                    )
                }
                next = entry.offset &+ 1
                checkOrigin(entry.message, offset: entry.offset, record: nil) { "replica \(log.replica) has" }
            }
        }
        for index in indices {
            let record = history.records[index]
            guard record.kind == .receive, record.outcome == .ok, record.message != 0 else { continue }
            seen.insert(record.message)
            checkOrigin(record.message, offset: record.offset, record: index) { "session \(record.process) received" }
            guard let slot = publishedIndex[record.message], record.returned < published[slot].invoked else { continue }
            violate(
                .phantom,
                offset: record.offset,
                message: record.message,
                record: index,
                "message \(record.message) was received before it was published"
            )
        }
        compareReplicas()
    }

    private func checkOrigin(_ message: UInt64, offset: UInt64, record: Int?, by observer: () -> String) {
        if let slot = publishedIndex[message] {
            guard published[slot].isRefused else { return }
            violate(
                .abortedRead,
                offset: offset,
                message: message,
                record: record,
                "\(observer()) message \(message) at offset \(offset), whose publish was refused"
            )
        } else if options.publishersAreRecorded {
            violate(
                .phantom,
                offset: offset,
                message: message,
                record: record,
                "\(observer()) message \(message) at offset \(offset), which nobody published"
            )
        }
    }

    /// j: a chained hash over (offset, message) from the highest common floor, compared at the shorter log's head.
    private func compareReplicas() {
        guard logs.count > 1, let longest = longestLog else { return }
        for log in logs where log.replica != longest.replica {
            if log.epoch != longest.epoch {
                violate(.divergentReplicas, "replicas \(longest.replica) and \(log.replica) are in different epochs")
                continue
            }
            if options.replicasReachHead, log.head != longest.head {
                violate(
                    .divergentReplicas,
                    offset: log.head,
                    "replica \(log.replica) ends at \(log.head), replica \(longest.replica) at \(longest.head)"
                )
            }
            let from = max(log.floor, longest.floor)
            let to = min(log.head, longest.head)
            guard chain(log, from: from, to: to) != chain(longest, from: from, to: to) else { continue }
            violate(
                .divergentReplicas,
                offset: to,
                "replicas \(longest.replica) and \(log.replica) differ between offsets \(from + 1) and \(to)"
            )
        }
    }

    private func chain(_ log: ReplicaLog, from: UInt64, to: UInt64) -> UInt64 {
        var hash: UInt64 = 0
        for entry in log.entries where entry.offset > from && entry.offset <= to {
            hash = SplitMix64.mix(SplitMix64.mix(hash ^ entry.offset) ^ entry.message)
        }
        return hash
    }

    /// d: what was acknowledged is in the final log or was trimmed; what was delivered is, too.
    func checkLoss() {
        guard !isBestEffort else { return }
        if longestLog == nil {
            checkLossWithoutFinalLog()
            return
        }
        for message in published where message.isAcknowledged && !kept.contains(message.message) {
            let known = message.position.offset != 0 ? message.position : positionOf[message.message]
            if let known {
                let epoch = known.epoch == 0 ? finalEpoch : known.epoch
                if epoch == finalEpoch, known.offset <= floor { continue }
                if epoch != finalEpoch, options.epochMayChange { continue }
            }
            violate(
                .lostWrite,
                offset: known?.offset ?? 0,
                message: message.message,
                record: message.record,
                "message \(message.message), acknowledged at offset \(known?.offset ?? 0), is in no final log"
            )
        }
        var reported: Set<UInt64> = []
        for index in indices {
            let record = history.records[index]
            guard record.kind == .receive, record.outcome == .ok, record.message != 0 else { continue }
            let position = position(record.epoch, record.offset)
            if position.epoch != finalEpoch {
                if options.epochMayChange { continue }
            } else if position.offset <= floor {
                continue
            }
            guard !kept.contains(record.message), reported.insert(record.message).inserted else { continue }
            violate(
                .precommittedRead,
                offset: record.offset,
                message: record.message,
                record: index,
                "session \(record.process) received message \(record.message) at \(record.offset), which no "
                    + "final log has"
            )
        }
    }

    /// Before a final read, only what lies between two messages that one session received is known to be missing.
    private func checkLossWithoutFinalLog() {
        var lowest = UInt64.max
        var highest: UInt64 = 0
        for index in indices {
            let record = history.records[index]
            guard record.outcome == .ok, record.kind == .receive || record.kind == .subscribe else { continue }
            guard position(record.epoch, record.offset).epoch == finalEpoch else { continue }
            if record.kind == .receive { highest = max(highest, record.offset) }
            lowest = min(lowest, record.offset)
        }
        for message in published where message.isAcknowledged && !seen.contains(message.message) {
            let offset = message.position.offset
            let epoch = message.position.epoch == 0 ? finalEpoch : message.position.epoch
            guard epoch == finalEpoch, offset > lowest, offset < highest else { continue }
            violate(
                .lostWrite,
                offset: offset,
                message: message.message,
                record: message.record,
                "message \(message.message), acknowledged at offset \(offset), was passed by"
            )
        }
    }
}

/// The groups' part of j.
extension HistoryChecker {
    static func checkDigests(_ digests: [ReplicaDigest], options: CheckOptions, report: inout CheckReport) {
        let sorted = digests.sorted { ($0.group, $0.index, $0.replica) < ($1.group, $1.index, $1.replica) }
        for (before, after) in zip(sorted, sorted.dropFirst())
        where before.group == after.group && before.index == after.index && before.hash != after.hash {
            report.add(
                Violation(
                    .divergentReplicas,
                    room: "group \(after.group)",
                    offset: after.index,
                    detail:
                        "replicas \(before.replica) and \(after.replica) have different states at index \(after.index)"
                ),
                .divergentReplicas,
                limit: options.maximumViolationsPerName
            )
        }
    }
}
