import Primitives

/// A subscriber's way through a room.
private struct Session {
    var process: UInt32
    var epoch: UInt32
    /// The last offset that it received, was set to, or was told to be missing.
    var last: UInt64
    /// The highest offset that it ever received: receiving at or below it is a redelivery.
    var highest: UInt64
    var acknowledged: UInt64 = 0
    /// Its first position: it is owed everything above.
    var start: UInt64
}

/// Checks h and i: what sessions and consumers were promised.
extension RoomCheck {
    /// h: the next message is last + 1, unless a `subscribe` record moved the session in the open.
    func checkSessions() {
        var sessions: [Session] = []
        var sessionOf: [UInt32: Int] = [:]
        for index in indices {
            let record = history.records[index]
            guard record.outcome == .ok else { continue }
            switch record.kind {
            case .subscribe:
                let epoch = position(record.epoch, 0).epoch
                if let slot = sessionOf[record.process] {
                    move(&sessions[slot], to: record, epoch: epoch, index)
                } else {
                    sessionOf[record.process] = sessions.count
                    sessions.append(begin(record, epoch: epoch, last: record.offset))
                }
            case .receive:
                report.statistics.received += 1
                guard record.offset != 0 else { continue }
                let epoch = position(record.epoch, 0).epoch
                if let slot = sessionOf[record.process] {
                    advance(&sessions[slot], record, epoch: epoch, index)
                } else {
                    // Never told where it starts: then the first message says so.
                    sessionOf[record.process] = sessions.count
                    sessions.append(begin(record, epoch: epoch, last: record.offset))
                    sessions[sessions.count - 1].start = record.offset - 1
                }
                measureLag(record)
            case .acknowledge:
                guard let slot = sessionOf[record.process] else { continue }
                sessions[slot].acknowledged = max(sessions[slot].acknowledged, record.offset)
            case .publish, .read, .cursor, .fault: break
            }
        }
        checkCompleteness(sessions)
    }

    private func begin(_ record: HistoryRecord, epoch: UInt32, last: UInt64) -> Session {
        Session(
            process: record.process,
            epoch: epoch,
            last: last,
            highest: record.kind == .receive ? last : 0,
            start: last
        )
    }

    private func move(_ session: inout Session, to record: HistoryRecord, epoch: UInt32, _ index: Int) {
        guard epoch == session.epoch else {
            if !options.epochMayChange, !isBestEffort {
                violate(
                    .pollSkip,
                    offset: record.offset,
                    record: index,
                    "session \(session.process) was moved to another epoch of the room"
                )
            }
            session = begin(record, epoch: epoch, last: record.offset)
            return
        }
        if record.offset > session.last {
            report.statistics.declaredGaps += 1
            report.statistics.declaredGapMessages += record.offset - session.last
            if options.gapPolicy == .belowFloor, record.offset > floor, !isBestEffort {
                violate(
                    .pollSkip,
                    offset: record.offset,
                    record: index,
                    """
                    session \(session.process) was told of a gap from \(session.last + 1) to \(record.offset), \
                    but retention trimmed only up to \(floor)
                    """
                )
            }
        }
        session.last = record.offset
    }

    private func advance(_ session: inout Session, _ record: HistoryRecord, epoch: UInt32, _ index: Int) {
        guard epoch == session.epoch else {
            violate(
                .nonmonotonicPoll,
                offset: record.offset,
                message: record.message,
                record: index,
                "session \(session.process) received offset \(record.offset) of another epoch"
            )
            return
        }
        if record.offset <= session.acknowledged {
            violate(
                .nonmonotonicPoll,
                offset: record.offset,
                message: record.message,
                record: index,
                """
                session \(session.process) received offset \(record.offset) again after it had acknowledged \
                \(session.acknowledged)
                """
            )
        } else if record.offset <= session.last {
            violate(
                .nonmonotonicPoll,
                offset: record.offset,
                message: record.message,
                record: index,
                "session \(session.process) received offset \(record.offset) after \(session.last)"
            )
        } else if record.offset > session.last + 1 {
            if isBestEffort {
                report.statistics.bestEffortSkips += record.offset - session.last - 1
            } else {
                violate(
                    .pollSkip,
                    offset: record.offset,
                    message: record.message,
                    record: index,
                    "session \(session.process) received offset \(record.offset) after \(session.last)"
                )
            }
        }
        if record.offset <= session.highest { report.statistics.redelivered += 1 }
        session.last = record.offset
        session.highest = max(session.highest, record.offset)
    }

    private func measureLag(_ record: HistoryRecord) {
        guard let slot = publishedIndex[record.message], published[slot].isAcknowledged else { return }
        let lag = record.returned - published[slot].acknowledged
        if lag > report.statistics.worstRealTimeLag { report.statistics.worstRealTimeLag = lag }
    }

    /// k: what no session saw, and sessions that ended below the head although they stayed.
    private func checkCompleteness(_ sessions: [Session]) {
        guard !sessions.isEmpty, !isBestEffort else { return }
        var start = UInt64.max
        for session in sessions where session.epoch == finalEpoch { start = min(start, session.start) }
        var head: UInt64 = 0
        for (position, message) in positionsInOrder() where position.offset > max(start, floor) {
            head = max(head, position.offset)
            guard start != .max, !seen.contains(message) else { continue }
            report.statistics.unseen += 1
            guard options.sessionsReadToEnd else { continue }
            violate(
                .unseen,
                offset: position.offset,
                message: message,
                "no session received message \(message) at offset \(position.offset)"
            )
        }
        guard options.sessionsReadToEnd else { return }
        for session in sessions where session.epoch == finalEpoch && session.last < head {
            violate(
                .unseen,
                offset: session.last,
                "session \(session.process) ended at offset \(session.last), the room at \(head)"
            )
        }
    }

    /// i: a stored cursor is at least the highest commit answered before the read, at most the highest one sent before
    /// it ended, and no lower than what an earlier read returned.
    func checkCursors() {
        var consumers: [UInt64] = []
        var commits: [UInt64: [Int]] = [:]
        var reads: [UInt64: [Int]] = [:]
        for index in indices {
            let record = history.records[index]
            guard record.producer != 0 else { continue }
            if record.kind == .acknowledge, record.outcome != .fail {
                commits[record.producer, default: []].append(index)
            } else if record.kind == .cursor, record.outcome == .ok {
                if reads[record.producer] == nil { consumers.append(record.producer) }
                reads[record.producer, default: []].append(index)
            }
        }
        for consumer in consumers {
            var answered = OffsetTimeline()
            var sent = OffsetTimeline()
            for index in commits[consumer] ?? [] {
                let commit = history.records[index]
                if commit.outcome == .ok { answered.add(commit.returned, commit.offset) }
                sent.add(commit.invoked, commit.offset)
            }
            var earlier = OffsetTimeline()
            for index in reads[consumer] ?? [] {
                earlier.add(history.records[index].returned, history.records[index].offset)
            }
            answered.close()
            sent.close()
            earlier.close()
            for index in reads[consumer] ?? [] {
                let read = history.records[index]
                let least = max(answered.maximum(before: read.invoked), earlier.maximum(before: read.invoked))
                let most = sent.maximum(before: read.returned)
                if read.offset < least {
                    violate(
                        .lostCursor,
                        offset: read.offset,
                        record: index,
                        "consumer \(consumer)'s cursor is \(read.offset), but \(least) was committed or read before"
                    )
                }
                if read.offset > most {
                    violate(
                        .phantomCursor,
                        offset: read.offset,
                        record: index,
                        "consumer \(consumer)'s cursor is \(read.offset), but \(most) is the highest one sent"
                    )
                }
            }
        }
    }
}
