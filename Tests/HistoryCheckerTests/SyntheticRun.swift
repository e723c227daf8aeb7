import HistoryChecker
import Primitives

/// A correct run, made from a seed: producers with overlapping publishes, timeouts and retries, sessions with resumes
/// and redelivery, cursors, head reads, retention, three replicas.
struct SyntheticRun {
    var history = History()
    var finalLogs = FinalLogs()
    var options = CheckOptions()
    /// The true log of each room: the message at offset `index + 1`.
    var logs: [[UInt64]] = []

    private struct Session {
        var process: UInt32
        var room: Int
        var last: UInt64
        var acknowledged: UInt64 = 0
    }

    init(seed: UInt64, steps: Int = 1500, rooms: Int = 2, producers: Int = 3, sessions: Int = 3, floor: UInt64 = 5) {
        var random = Xoshiro256(seed: seed)
        let epoch = history.epochs.number(of: "e1")
        for room in 0..<rooms { _ = history.rooms.number(of: "room-\(room)") }
        logs = Array(repeating: [], count: rooms)
        var sequences = [[UInt64]](repeating: Array(repeating: 0, count: producers), count: rooms)
        var readers: [Session] = []
        var message: UInt64 = 0
        var time: UInt64 = 1_000_000

        func instant(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: nanoseconds) }

        for session in 0..<sessions {
            for room in 0..<rooms {
                readers.append(Session(process: UInt32(100 + session), room: room, last: 0))
                history.records.append(
                    HistoryRecord(
                        invoked: instant(time),
                        returned: instant(time + 1),
                        process: UInt32(100 + session),
                        kind: .subscribe,
                        room: UInt32(room + 1),
                        epoch: epoch,
                        offset: 0
                    )
                )
            }
        }

        func receive(_ slot: Int) {
            let reader = readers[slot]
            guard reader.last < UInt64(logs[reader.room].count) else { return }
            history.records.append(
                HistoryRecord(
                    invoked: instant(time),
                    returned: instant(time),
                    process: reader.process,
                    kind: .receive,
                    room: UInt32(reader.room + 1),
                    epoch: epoch,
                    message: logs[reader.room][Int(reader.last)],
                    offset: reader.last + 1
                )
            )
            readers[slot].last += 1
        }

        for _ in 0..<steps {
            time += 2
            let room = Int(random.below(UInt64(rooms)))
            switch random.below(10) {
            case 0..<4:
                let producer = Int(random.below(UInt64(producers)))
                message += 1
                sequences[room][producer] += 1
                var record = HistoryRecord(
                    invoked: instant(time - random.below(5)),
                    returned: instant(time + 1 + random.below(5)),
                    process: UInt32(producer + 1),
                    connection: UInt32(producer + 1),
                    kind: .publish,
                    room: UInt32(room + 1),
                    epoch: epoch,
                    producer: UInt64(producer + 1),
                    sequence: sequences[room][producer],
                    message: message
                )
                switch random.below(20) {
                case 0:
                    record.outcome = .fail
                    record.epoch = 0
                case 1:
                    record.outcome = .info
                    record.epoch = 0
                    record.returned = .distantFuture
                case 2:
                    // Appended, but the answer was lost; the retry is told the original offset.
                    logs[room].append(message)
                    var lost = record
                    lost.outcome = .info
                    lost.epoch = 0
                    lost.returned = .distantFuture
                    history.records.append(lost)
                    record.invoked = instant(time + 10)
                    record.returned = instant(time + 12)
                    record.offset = UInt64(logs[room].count)
                default:
                    logs[room].append(message)
                    record.offset = UInt64(logs[room].count)
                }
                history.records.append(record)
            case 4..<8: receive(Int(random.below(UInt64(readers.count))))
            case 8:
                let slot = Int(random.below(UInt64(readers.count)))
                let reader = readers[slot]
                if reader.last > reader.acknowledged, random.chance(1, in: 3) {
                    // Resumed below what it had received: redelivery, above what it had acknowledged.
                    let back = random.below(reader.last - reader.acknowledged + 1)
                    readers[slot].last -= back
                    history.records.append(
                        HistoryRecord(
                            invoked: instant(time),
                            returned: instant(time + 1),
                            process: reader.process,
                            kind: .subscribe,
                            room: UInt32(reader.room + 1),
                            epoch: epoch,
                            offset: readers[slot].last
                        )
                    )
                } else if reader.last > 0 {
                    readers[slot].acknowledged = max(reader.acknowledged, reader.last)
                    history.records.append(
                        HistoryRecord(
                            invoked: instant(time),
                            returned: instant(time + 1),
                            process: reader.process,
                            kind: .acknowledge,
                            room: UInt32(reader.room + 1),
                            epoch: epoch,
                            producer: UInt64(reader.process),
                            offset: reader.last
                        )
                    )
                }
            default:
                if random.chance(1, in: 2) {
                    history.records.append(
                        HistoryRecord(
                            invoked: instant(time - 1),
                            returned: instant(time + 1),
                            process: 50,
                            kind: .read,
                            room: UInt32(room + 1),
                            epoch: epoch,
                            offset: UInt64(logs[room].count)
                        )
                    )
                } else {
                    let reader = readers[Int(random.below(UInt64(readers.count)))]
                    history.records.append(
                        HistoryRecord(
                            invoked: instant(time),
                            returned: instant(time + 1),
                            process: 51,
                            kind: .cursor,
                            room: UInt32(reader.room + 1),
                            epoch: epoch,
                            producer: UInt64(reader.process),
                            offset: reader.acknowledged
                        )
                    )
                }
            }
        }
        for slot in readers.indices {
            while readers[slot].last < UInt64(logs[readers[slot].room].count) {
                time += 1
                receive(slot)
            }
        }
        for room in 0..<rooms {
            for replica in 1...3 {
                // One replica has not trimmed yet: floors are announced, not simultaneous.
                let from = replica == 3 ? 0 : Int(floor)
                finalLogs.logs.append(
                    ReplicaLog(
                        room: UInt32(room + 1),
                        replica: UInt64(replica),
                        epoch: epoch,
                        floor: UInt64(from),
                        entries: (from..<logs[room].count).map {
                            ReplicaLog.Entry(offset: UInt64($0 + 1), message: logs[room][$0])
                        }
                    )
                )
            }
        }
        options.sessionsReadToEnd = true
        options.maximumSilence = .seconds(1)
    }

    func check() -> CheckReport { HistoryChecker.check(history, finalLogs: finalLogs, options: options) }

    /// The indices of the records for which `matches` holds.
    func records(where matches: (HistoryRecord) -> Bool) -> [Int] {
        history.records.indices.filter { matches(history.records[$0]) }
    }

    /// The receives of `room` that lie between the receives of the offsets before and after, in the same session.
    func plainReceives(room: UInt32, from offset: UInt64) -> [Int] {
        var found: [Int] = []
        var previous: [UInt32: [Int]] = [:]
        for index in history.records.indices where history.records[index].room == room {
            let record = history.records[index]
            guard record.kind == .receive || record.kind == .subscribe else { continue }
            let before = previous[record.process] ?? []
            if before.count == 2, (before + [index]).allSatisfy({ history.records[$0].kind == .receive }),
                history.records[before[1]].offset >= offset,
                !history.records[(index + 1)...].contains(where: {
                    $0.kind == .subscribe && $0.room == room && $0.process == record.process
                        && $0.offset <= record.offset
                })
            {
                found.append(before[1])
            }
            previous[record.process] = Array((before + [index]).suffix(2))
        }
        return found
    }

    /// Exchanges two messages wherever anybody saw them, as if the log itself had them the other way round.
    mutating func exchangeEverywhere(_ a: UInt64, _ b: UInt64, room: UInt32) {
        let offsetOfA = UInt64(logs[Int(room) - 1].firstIndex(of: a)! + 1)
        let offsetOfB = UInt64(logs[Int(room) - 1].firstIndex(of: b)! + 1)
        for index in history.records.indices where history.records[index].room == room {
            let record = history.records[index]
            if record.kind == .publish, record.outcome == .ok {
                if record.message == a { history.records[index].offset = offsetOfB }
                if record.message == b { history.records[index].offset = offsetOfA }
            } else if record.kind == .receive {
                if record.message == a {
                    history.records[index].message = b
                } else if record.message == b {
                    history.records[index].message = a
                }
            }
        }
        for log in finalLogs.logs.indices where finalLogs.logs[log].room == room {
            for entry in finalLogs.logs[log].entries.indices {
                if finalLogs.logs[log].entries[entry].message == a {
                    finalLogs.logs[log].entries[entry].message = b
                } else if finalLogs.logs[log].entries[entry].message == b {
                    finalLogs.logs[log].entries[entry].message = a
                }
            }
        }
    }

    /// Changes the final logs of `room` on every replica.
    mutating func everyReplica(of room: UInt32, _ change: (inout ReplicaLog) -> Void) {
        for log in finalLogs.logs.indices where finalLogs.logs[log].room == room { change(&finalLogs.logs[log]) }
    }
}
