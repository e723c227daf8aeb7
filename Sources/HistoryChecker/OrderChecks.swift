import Primitives

/// Checks e to g: the order of appends against producers, real time and reads.
extension RoomCheck {
    /// e: a producer's offsets rise with (producer epoch, sequence), and one sequence number is one append.
    func checkProducers() {
        var sends: [(producer: UInt64, epoch: UInt32, sequence: UInt64, message: UInt64, record: Int)] = []
        for index in indices {
            let record = history.records[index]
            guard record.kind == .publish, record.producer != 0, record.sequence != 0 else { continue }
            guard record.outcome != .fail else { continue }
            sends.append((record.producer, record.producerEpoch, record.sequence, record.message, index))
        }
        sends.sort {
            ($0.producer, $0.epoch, $0.sequence, $0.record) < ($1.producer, $1.epoch, $1.sequence, $1.record)
        }
        var last: (producer: UInt64, epoch: UInt32, sequence: UInt64, position: Position)?
        for send in sends {
            guard let position = appendedPosition(send.message, record: send.record) else { continue }
            defer { last = (send.producer, send.epoch, send.sequence, position) }
            guard let before = last, before.producer == send.producer else { continue }
            guard before.position.epoch == position.epoch else { continue }
            if before.epoch == send.epoch, before.sequence == send.sequence {
                guard before.position.offset != position.offset else { continue }
                violate(
                    .duplicate,
                    offset: position.offset,
                    message: send.message,
                    record: send.record,
                    """
                    producer \(send.producer)'s sequence \(send.sequence) is at offsets \(before.position.offset) \
                    and \(position.offset)
                    """
                )
            } else if before.position.offset >= position.offset {
                violate(
                    .nonmonotonicSend,
                    offset: position.offset,
                    message: send.message,
                    record: send.record,
                    """
                    producer \(send.producer)'s sequence \(send.sequence) is at offset \(position.offset), \
                    its sequence \(before.sequence) at \(before.position.offset)
                    """
                )
            }
        }
    }

    /// What the acknowledgement said, else where the message was seen; nil for a message that was never seen.
    private func appendedPosition(_ message: UInt64, record: Int) -> Position? {
        let record = history.records[record]
        if record.outcome == .ok, record.offset != 0 { return position(record.epoch, record.offset) }
        return positionOf[message]
    }

    /// f: scanning by offset, no message may have been acknowledged before one at a lower offset was even invoked.
    func checkRealTime() {
        var latestInvocation = Instant.zero
        var latestMessage: UInt64 = 0
        for (position, message) in positionsInOrder() {
            guard let slot = publishedIndex[message] else { continue }
            let publish = published[slot]
            if publish.isAcknowledged, publish.acknowledged < latestInvocation {
                violate(
                    .realTimeOrder,
                    offset: position.offset,
                    message: message,
                    record: publish.record,
                    """
                    message \(message) at offset \(position.offset) was acknowledged before message \(latestMessage), \
                    which precedes it, was published
                    """
                )
            }
            if publish.invoked > latestInvocation {
                latestInvocation = publish.invoked
                latestMessage = message
            }
        }
    }

    /// The known positions of the final epoch by offset; a message at two offsets counts at the first one seen.
    func positionsInOrder() -> [(position: Position, message: UInt64)] {
        positions
            .filter { $0.position.epoch == finalEpoch && positionOf[$0.message] == $0.position }
            .sorted { $0.position.offset < $1.position.offset }
    }

    /// g: max offset acknowledged before the read began <= result <= max offset invoked before it ended.
    func checkReads() {
        var reads: [Int] = []
        for index in indices {
            let record = history.records[index]
            guard record.kind == .read, record.outcome == .ok else { continue }
            guard position(record.epoch, 0).epoch == finalEpoch else { continue }
            reads.append(index)
        }
        guard !reads.isEmpty else { return }
        var acknowledged = OffsetTimeline()
        var invoked = OffsetTimeline()
        for (position, message) in positionsInOrder() {
            guard let slot = publishedIndex[message] else { continue }
            if published[slot].isAcknowledged {
                acknowledged.add(published[slot].acknowledged, position.offset)
            }
            invoked.add(published[slot].invoked, position.offset)
        }
        acknowledged.close()
        invoked.close()
        for index in reads {
            let read = history.records[index]
            let least = acknowledged.maximum(before: read.invoked)
            let most = invoked.maximum(before: read.returned)
            if read.offset < least {
                violate(
                    .staleRead,
                    offset: read.offset,
                    record: index,
                    "a read returned \(read.offset) after offset \(least) had been acknowledged"
                )
            }
            // What retention trimmed may be unknown here, so the floor is always a possible head.
            if options.publishersAreRecorded, read.offset > max(most, floor) {
                violate(
                    .futureRead,
                    offset: read.offset,
                    record: index,
                    "a read returned \(read.offset) when offset \(most) was the highest one published"
                )
            }
        }
    }
}

/// Offsets with the time from which they count; answers "the highest one before t" in O(log n).
struct OffsetTimeline {
    private var points: [(time: Instant, offset: UInt64)] = []

    mutating func add(_ time: Instant, _ offset: UInt64) { points.append((time, offset)) }

    /// Sorts by time and makes offsets running maxima.
    mutating func close() {
        points.sort { ($0.time, $0.offset) < ($1.time, $1.offset) }
        var highest: UInt64 = 0
        for index in points.indices {
            highest = max(highest, points[index].offset)
            points[index].offset = highest
        }
    }

    /// The highest offset whose time is before `time`; 0 for none.
    func maximum(before time: Instant) -> UInt64 {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle].time < time { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? 0 : points[low - 1].offset
    }
}
