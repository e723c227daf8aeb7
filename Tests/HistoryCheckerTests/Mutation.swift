import HistoryChecker
import Primitives
import Testing

/// A correct run made wrong in one way, and the errors that must be reported then.
struct Mutation: Sendable, CustomTestStringConvertible {
    var name: String
    var expected: [ViolationName]
    var apply: @Sendable (inout SyntheticRun) -> Void

    var testDescription: String { name }

    init(_ name: String, _ expected: ViolationName..., apply: @escaping @Sendable (inout SyntheticRun) -> Void) {
        self.name = name
        self.expected = expected
        self.apply = apply
    }

    static let all: [Mutation] = values + loss + order + sessions + cursors + replicas + availability

    private static let values: [Mutation] = [
        Mutation("an acknowledgement is shifted by one offset", .inconsistentOffsets) { run in
            let index = run.records { $0.kind == .publish && $0.outcome == .ok && $0.offset > 20 }[3]
            run.history.records[index].offset += 1
        },
        Mutation("a subscriber is handed another message at an offset", .inconsistentOffsets) { run in
            let index = run.records { $0.kind == .receive && $0.room == 1 && $0.offset == 20 }[0]
            run.history.records[index].message = run.logs[0][29]
        },
        Mutation("one replica has another message at an offset", .inconsistentOffsets, .divergentReplicas) { run in
            run.finalLogs.logs[1].entries[10].message = run.logs[0][3]
        },
        Mutation("a message is appended a second time", .duplicate) { run in
            let message = run.logs[0][20]
            run.everyReplica(of: 1) { $0.entries.append(.init(offset: $0.head + 1, message: message)) }
        },
        Mutation("a retry is given a new offset", .duplicate) { run in
            let first = run.records { $0.kind == .publish && $0.outcome == .ok && $0.room == 1 }[10]
            var retry = run.history.records[first]
            let offset = UInt64(run.logs[0].count + 1)
            retry.offset = offset
            retry.invoked = Instant(nanoseconds: 1 << 40)
            retry.returned = Instant(nanoseconds: (1 << 40) + 5)
            run.history.records.append(retry)
            let message = retry.message
            run.everyReplica(of: 1) { $0.entries.append(.init(offset: offset, message: message)) }
        },
        Mutation("a sequence number is appended twice as two messages", .duplicate) { run in
            let sends = run.records {
                $0.kind == .publish && $0.outcome == .ok && $0.room == 1 && $0.producer == 1
            }
            run.history.records[sends[6]].sequence = run.history.records[sends[5]].sequence
        },
        Mutation("a replica has a hole", .hole) { run in run.finalLogs.logs[0].entries.remove(at: 7) },
        Mutation("nobody sent a message that is in the log", .phantom) { run in
            run.everyReplica(of: 1) { $0.entries.append(.init(offset: $0.head + 1, message: 999_999)) }
        },
        Mutation("nobody sent a message that is received", .phantom) { run in
            let index = run.records { $0.kind == .receive && $0.room == 2 }.last!
            run.history.records[index].message = 999_999
        },
        Mutation("a message is received before it is published", .phantom) { run in
            let index = run.records { $0.kind == .receive && $0.room == 1 && $0.offset == 40 }[0]
            run.history.records[index].invoked = Instant(nanoseconds: 1)
            run.history.records[index].returned = Instant(nanoseconds: 1)
        },
        Mutation("a refused message is in the log", .abortedRead) { run in
            let index = run.records { $0.kind == .publish && $0.outcome == .fail && $0.room == 1 }[0]
            let message = run.history.records[index].message
            run.everyReplica(of: 1) { $0.entries.append(.init(offset: $0.head + 1, message: message)) }
        },
    ]

    private static let loss: [Mutation] = [
        Mutation("the tail of every replica is lost", .lostWrite, .precommittedRead) { run in
            run.everyReplica(of: 1) { $0.entries.removeLast(5) }
        },
        Mutation("a message is lost and the rest moves up", .lostWrite, .inconsistentOffsets) { run in
            run.everyReplica(of: 1) { log in
                let at = log.entries.count - 10
                log.entries.remove(at: at)
                for index in at..<log.entries.count { log.entries[index].offset -= 1 }
            }
        },
        Mutation("an acknowledgement without an offset is lost", .lostWrite) { run in
            run.history.records.append(
                HistoryRecord(
                    invoked: Instant(nanoseconds: 5_000_000),
                    returned: Instant(nanoseconds: 5_000_001),
                    process: 9,
                    kind: .publish,
                    room: 1,
                    message: 888_888
                )
            )
        },
        Mutation("the room restarts in another epoch", .lostWrite, .precommittedRead) { run in
            let epoch = run.history.epochs.number(of: "e2")
            run.everyReplica(of: 1) {
                $0.epoch = epoch
                $0.floor = 0
                $0.entries = []
            }
        },
        Mutation("without a final read a message is passed by", .lostWrite, .pollSkip) { run in
            run.finalLogs = FinalLogs()
            let message = run.logs[0][30]
            run.history.records.removeAll { $0.kind == .receive && $0.message == message }
        },
        Mutation("a delivered message of unknown outcome is not kept", .precommittedRead) { run in
            let offset = UInt64(run.logs[0].count + 1)
            run.history.records.append(
                HistoryRecord(
                    invoked: Instant(nanoseconds: 5_000_000),
                    returned: .distantFuture,
                    process: 9,
                    kind: .publish,
                    room: 1,
                    producer: 9,
                    message: 777_777,
                    outcome: .info
                )
            )
            run.history.records.append(
                HistoryRecord(
                    invoked: Instant(nanoseconds: 5_000_002),
                    returned: Instant(nanoseconds: 5_000_002),
                    process: 100,
                    kind: .receive,
                    room: 1,
                    epoch: 1,
                    message: 777_777,
                    offset: offset
                )
            )
        },
    ]

    private static let order: [Mutation] = [
        Mutation("two messages of a producer change places", .nonmonotonicSend) { run in
            let sends = run.records {
                $0.kind == .publish && $0.outcome == .ok && $0.room == 1 && $0.producer == 2 && $0.offset > 10
            }
            let a = run.history.records[sends[3]].message
            let b = run.history.records[sends[4]].message
            run.exchangeEverywhere(a, b, room: 1)
        },
        Mutation("messages far apart change places", .realTimeOrder) { run in
            for index in run.history.records.indices { run.history.records[index].sequence = 0 }
            run.exchangeEverywhere(run.logs[0][20], run.logs[0][40], room: 1)
        },
        Mutation("a head read misses what was acknowledged", .staleRead) { run in
            let index = run.records { $0.kind == .read && $0.offset > 30 }[2]
            run.history.records[index].offset -= 10
        },
        Mutation("a head read sees what nobody has published yet", .futureRead) { run in
            let index = run.records { $0.kind == .read && $0.room == 1 && $0.offset > 10 }[2]
            run.history.records[index].offset += 20
        },
    ]

    private static let sessions: [Mutation] = [
        Mutation("a subscriber misses a message", .pollSkip) { run in
            let index = run.plainReceives(room: 1, from: 25)[0]
            run.history.records.remove(at: index)
        },
        Mutation("two messages reach a subscriber in the wrong order", .pollSkip, .nonmonotonicPoll) { run in
            let first = run.plainReceives(room: 1, from: 30)[0]
            let process = run.history.records[first].process
            let second = run.records { $0.kind == .receive && $0.process == process && $0.room == 1 }
                .first { $0 > first }!
            run.history.records.swapAt(first, second)
        },
        Mutation("a message is delivered twice in one subscription", .nonmonotonicPoll) { run in
            let index = run.records { $0.kind == .receive && $0.offset == 12 }[0]
            run.history.records.insert(run.history.records[index], at: index + 1)
        },
        Mutation("what a session acknowledged is delivered again", .nonmonotonicPoll) { run in
            let index = run.records { $0.kind == .acknowledge && $0.offset > 5 }.last!
            var again = run.history.records[index]
            again.kind = .subscribe
            again.producer = 0
            again.offset -= 1
            var receive = again
            receive.kind = .receive
            receive.offset += 1
            receive.message = run.logs[Int(again.room) - 1][Int(receive.offset) - 1]
            receive.returned = receive.invoked
            run.history.records.insert(contentsOf: [again, receive], at: index + 1)
        },
        Mutation("a gap is declared that retention does not explain", .pollSkip) { run in
            run.options.gapPolicy = .belowFloor
            let index = run.plainReceives(room: 1, from: 25)[0]
            run.history.records[index].kind = .subscribe
        },
        Mutation("a session is moved to another epoch", .pollSkip) { run in
            run.finalLogs = FinalLogs()
            run.history.records.append(
                HistoryRecord(
                    invoked: Instant(nanoseconds: 5_000_000),
                    returned: Instant(nanoseconds: 5_000_000),
                    process: 100,
                    kind: .subscribe,
                    room: 1,
                    epoch: run.history.epochs.number(of: "e2")
                )
            )
        },
    ]

    private static let cursors: [Mutation] = [
        Mutation("a stored cursor falls back", .lostCursor) { run in
            let index = run.records { $0.kind == .cursor && $0.offset > 10 }[1]
            run.history.records[index].offset -= 5
        },
        Mutation("a stored cursor is ahead of every commit", .phantomCursor) { run in
            let index = run.records { $0.kind == .cursor && $0.offset > 10 }[0]
            run.history.records[index].offset += 500
        },
        Mutation("a cursor of an unanswered commit is seen and then lost", .lostCursor) { run in
            for (index, offset) in [UInt64(7), 7, 0].enumerated() {
                run.history.records.append(
                    HistoryRecord(
                        invoked: Instant(nanoseconds: 6_000_000 + UInt64(10 * index)),
                        returned: index == 0
                            ? .distantFuture : Instant(nanoseconds: 6_000_001 + UInt64(10 * index)),
                        process: 70,
                        kind: index == 0 ? .acknowledge : .cursor,
                        room: 1,
                        producer: 4242,
                        offset: offset,
                        outcome: index == 0 ? .info : .ok
                    )
                )
            }
        },
    ]

    private static let replicas: [Mutation] = [
        Mutation("two entries of one replica change places", .divergentReplicas, .inconsistentOffsets) { run in
            let entries = run.finalLogs.logs[2].entries
            run.finalLogs.logs[2].entries[20].message = entries[21].message
            run.finalLogs.logs[2].entries[21].message = entries[20].message
        },
        Mutation("one replica never catches up", .divergentReplicas) { run in
            run.finalLogs.logs[1].entries.removeLast(3)
        },
        Mutation("states differ at one index", .divergentReplicas) { run in
            for replica in UInt64(1)...3 {
                run.finalLogs.digests.append(
                    ReplicaDigest(group: 4, replica: replica, index: 900, hash: replica == 2 ? 5 : 6)
                )
            }
        },
    ]

    private static let availability: [Mutation] = [
        Mutation("a partition is silent", .unavailable) { run in
            let middle = run.history.records.count / 2
            for index in middle..<run.history.records.count {
                run.history.records[index].invoked = run.history.records[index].invoked + .seconds(3)
                run.history.records[index].returned = run.history.records[index].returned + .seconds(3)
            }
        },
        Mutation("a partition never comes back", .unavailable) { run in
            let last = run.history.records[run.records { $0.kind == .publish }.last!]
            run.history.records.append(
                HistoryRecord(
                    invoked: last.invoked + .seconds(5),
                    returned: .distantFuture,
                    process: 9,
                    kind: .publish,
                    room: 1,
                    producer: 9,
                    message: 666_666,
                    outcome: .info
                )
            )
        },
        Mutation("the last message reaches nobody", .unseen) { run in
            let message = run.logs[0].last!
            run.history.records.removeAll { $0.kind == .receive && $0.message == message }
        },
        Mutation("one session stops early", .unseen) { run in
            let message = run.logs[1].last!
            run.history.records.removeAll { $0.kind == .receive && $0.message == message && $0.process == 101 }
        },
    ]
}
