import HistoryChecker
import Primitives
import Testing

@Suite("The history checker")
struct HistoryCheckerTests {
    @Test("a correct history passes", arguments: 1...20)
    func correctHistoryPasses(seed: Int) {
        let run = SyntheticRun(seed: UInt64(seed))
        let report = run.check()
        #expect(report.isValid, "\(report.violations.first.map(\.description) ?? "")")
        #expect(report.statistics.acknowledged > 300)
        #expect(report.statistics.received > 600)
        #expect(report.statistics.redelivered > 0)
        #expect(report.statistics.unseen == 0)
        #expect(report.statistics.silences.count == 2)
    }

    @Test("a mutated history is caught by the check that is made for it", arguments: Mutation.all)
    func mutationIsCaught(mutation: Mutation) {
        for seed in UInt64(1)...8 {
            var run = SyntheticRun(seed: seed)
            mutation.apply(&run)
            let report = run.check()
            for name in mutation.expected {
                #expect(report.count(of: name) > 0, "seed \(seed): \(name.rawValue) not reported")
            }
        }
    }

    @Test("every error name has a mutation that shows it")
    func everyNameIsCovered() {
        for name in ViolationName.allCases {
            #expect(Mutation.all.contains { $0.expected.contains(name) }, "\(name.rawValue)")
        }
    }

    @Test("a declared gap is counted and not held against the broker")
    func declaredGap() {
        var run = SyntheticRun(seed: 3)
        let index = run.records { $0.kind == .receive && $0.offset == 25 }[0]
        run.history.records[index].kind = .subscribe
        let report = run.check()
        #expect(report.count(of: .pollSkip) == 0)
        #expect(report.statistics.declaredGaps == 1)
        #expect(report.statistics.declaredGapMessages == 1)
    }

    @Test("what retention trimmed is not lost")
    func retentionFloor() {
        var run = SyntheticRun(seed: 4)
        run.everyReplica(of: 1) { log in
            log.floor = log.head - 10
            log.entries.removeFirst(log.entries.count - 10)
        }
        #expect(run.check().isValid)
        run.everyReplica(of: 1) { log in log.floor = log.head - 11 }
        #expect(run.check().count(of: .hole) == 3)
    }

    @Test("a producer without idempotence may repeat itself, and that is counted")
    func duplicatesWithoutIdempotence() {
        var run = SyntheticRun(seed: 5)
        for index in run.history.records.indices where run.history.records[index].kind == .publish {
            run.history.records[index].producer = 0
        }
        run.options.sessionsReadToEnd = false
        let message = run.logs[0][20]
        run.everyReplica(of: 1) { $0.entries.append(.init(offset: $0.head + 1, message: message)) }
        let report = run.check()
        #expect(report.isValid, "\(report.violations.first.map(\.description) ?? "")")
        #expect(report.statistics.duplicatesWithoutIdempotence == 1)
    }

    @Test("a best-effort room may lose messages but not reorder them")
    func bestEffort() {
        var run = SyntheticRun(seed: 6)
        run.options.bestEffortRooms = [1, 2]
        run.finalLogs = FinalLogs()
        let index = run.records { $0.kind == .receive && $0.offset == 25 }[0]
        run.history.records.remove(at: index)
        let report = run.check()
        #expect(report.isValid, "\(report.violations.first.map(\.description) ?? "")")
        #expect(report.statistics.bestEffortSkips == 1)

        let receives = run.records { $0.kind == .receive && $0.process == 100 && $0.room == 1 && $0.offset > 30 }
        run.history.records.swapAt(receives[0], receives[1])
        #expect(run.check().count(of: .nonmonotonicPoll) > 0)
    }

    @Test("an epoch may change only where the run allows it")
    func epochChange() {
        var run = SyntheticRun(seed: 7)
        run.options.epochMayChange = true
        run.options.sessionsReadToEnd = false
        let epoch = run.history.epochs.number(of: "e2")
        run.everyReplica(of: 1) {
            $0.epoch = epoch
            $0.floor = 0
            $0.entries = []
        }
        #expect(run.check().isValid)
    }

    @Test("violations beyond the bound are counted and not listed")
    func violationsAreBounded() {
        var run = SyntheticRun(seed: 8)
        run.options.maximumViolationsPerName = 3
        run.everyReplica(of: 1) { $0.entries.removeLast(20) }
        let report = run.check()
        #expect(report.violations.filter { $0.name == .lostWrite }.count == 3)
        #expect(report.count(of: .lostWrite) > 3)
    }

    @Test("silences can be asked for one fault's window")
    func silencesInWindow() {
        var history = History()
        let room = history.rooms.number(of: "r")
        for (index, time) in [UInt64(0), 10, 20, 500, 510, 2000, 2010].enumerated() {
            history.records.append(
                HistoryRecord(
                    invoked: Instant.zero + .milliseconds(time),
                    returned: Instant.zero + .milliseconds(time + 1),
                    process: 1,
                    kind: .publish,
                    room: room,
                    message: UInt64(index + 1),
                    offset: UInt64(index + 1)
                )
            )
        }
        let whole = HistoryChecker.longestSilences(of: history)
        #expect(whole.map(\.length.milliseconds) == [1490])
        let window = (Instant.zero + .milliseconds(100))..<(Instant.zero + .milliseconds(505))
        #expect(HistoryChecker.longestSilences(of: history, window: window).map(\.length.milliseconds) == [480])
    }

    @Test("a history survives writing and reading, and a damaged one is refused")
    func codec() throws {
        let history = SyntheticRun(seed: 9, steps: 400).history
        let bytes = HistoryWriter.encode(history)
        #expect(bytes.count < history.records.count * 40)
        #expect(try HistoryReader.decode(bytes) == history)
        for length in [0, 3, 4, 5, bytes.count / 2, bytes.count - 1] {
            #expect(throws: DecodeError.self) { try HistoryReader.decode(Array(bytes.prefix(length))) }
        }
        var random = Xoshiro256(seed: 10)
        for _ in 0..<500 {
            var damaged = bytes
            damaged[Int(random.below(UInt64(bytes.count)))] ^= UInt8(1 << random.below(8))
            // Either an error or some other history, which the checker must take without a trap.
            guard let other = try? HistoryReader.decode(damaged) else { continue }
            _ = HistoryChecker.check(other)
        }
    }
}
