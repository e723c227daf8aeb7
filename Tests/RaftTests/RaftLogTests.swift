import Primitives
import Raft
import Testing

@Suite("RaftLog")
struct RaftLogTests {
    /// A log of the given terms from index 1, all in memory, durable.
    private func log(_ terms: [Term], commit: LogIndex = 0, inMemory: Int = .max) -> RaftLog {
        var entries: [Entry] = []
        var starts: [TermStart] = []
        for (offset, term) in terms.enumerated() {
            entries.append(Entry(term: term, index: LogIndex(offset + 1), data: [UInt8(offset)]))
            if starts.last?.term != term { starts.append(TermStart(index: LogIndex(offset + 1), term: term)) }
        }
        return RaftLog(
            RestoredReplica(
                hardState: HardState(commit: commit),
                lastIndex: LogIndex(terms.count),
                termStarts: starts,
                entries: Array(entries.suffix(inMemory))
            )
        )
    }

    @Test("the term of every index is known, also without its content")
    func terms() {
        let log = log([1, 1, 2, 2, 2, 5], inMemory: 2)
        #expect((0...6).map { log.term(at: $0) } == [0, 1, 1, 2, 2, 2, 5])
        #expect(log.term(at: 7) == nil)
        #expect(log.memoryFirst == 5)
        #expect(log.entries(from: 4, maxBytes: 1000).isEmpty)
        #expect(log.entries(from: 5, maxBytes: 1000).count == 2)
    }

    @Test("at least one entry fits, and no more than the bytes allow")
    func bytes() {
        let log = log([1, 1, 1])
        #expect(log.entries(from: 1, maxBytes: 0).count == 1)
        #expect(log.entries(from: 1, maxBytes: 50).count == 2)
        #expect(log.entries(from: 1, maxBytes: 74).count == 2)
        #expect(log.entries(from: 1, maxBytes: 75).count == 3)
    }

    @Test("the place where two logs may agree skips whole terms")
    func lastPossibleMatch() {
        let log = log([1, 1, 2, 2, 4, 4])
        func match(_ index: LogIndex, _ term: Term) -> LogIndex {
            log.lastPossibleMatch(index: index, term: term).index
        }
        #expect(match(6, 4) == 6)
        #expect(match(6, 3) == 4)
        #expect(match(9, 9) == 6)
        #expect(match(5, 1) == 2)
        #expect(match(6, 0) == 0)
        #expect(log.lastPossibleMatch(index: 6, term: 3).term == 2)
    }

    @Test("the place where two logs may agree is the step by step search, for random logs")
    func lastPossibleMatchModel() {
        var random = Xoshiro256(seed: 5)
        for _ in 0..<300 {
            var term: Term = 1
            let terms = (0..<(1 + random.below(12))).map { _ in
                term += random.below(2) * random.below(3)
                return term
            }
            var log = log(terms, commit: LogIndex(terms.count))
            var ready: [Entry] = []
            log.takeCommitted(into: &ready, maxBytes: .max)
            log.appliedTo(LogIndex(terms.count))
            log.compact(upTo: random.below(UInt64(terms.count)))
            let limit = random.below(6)
            let start = random.below(UInt64(terms.count + 3))
            var index = min(start, log.lastIndex)
            while index > 0, let own = log.term(at: index), own > limit { index -= 1 }
            let found = log.lastPossibleMatch(index: start, term: limit)
            #expect(found.index == index)
            #expect(found.term == (log.term(at: index) ?? 0))
        }
    }

    @Test("truncation takes back what was handed out and durable, and forgets the terms")
    func truncate() {
        var log = log([1, 1, 2, 3], commit: 1)
        log.truncate(after: 2)
        #expect(log.lastIndex == 2)
        #expect(log.stable == 2)
        #expect(log.handed == 2)
        #expect(log.lastTerm == 1)
        log.append(Entry(term: 4, index: 3))
        var written: [Entry] = []
        log.takeUnwritten(into: &written)
        #expect(written.map(\.index) == [3])
        #expect(log.stable == 2)
        log.stableTo(9)
        #expect(log.stable == 3)
    }

    @Test("only what is committed and durable is applied, each entry once")
    func apply() {
        var log = log([1, 1])
        log.append(Entry(term: 1, index: 3))
        log.commitTo(3)
        var out: [Entry] = []
        log.takeCommitted(into: &out, maxBytes: .max)
        #expect(out.map(\.index) == [1, 2])
        out = []
        log.takeCommitted(into: &out, maxBytes: .max)
        #expect(out.isEmpty)
        log.takeUnwritten(into: &out)
        log.stableTo(3)
        out = []
        log.takeCommitted(into: &out, maxBytes: .max)
        #expect(out.map(\.index) == [3])
    }

    @Test("eviction keeps terms, and keeps what is not durable or not committed")
    func evict() {
        var log = log([1, 2, 2, 2], commit: 3)
        log.append(Entry(term: 3, index: 5))
        log.evict(upTo: 5)
        #expect(log.memoryFirst == 4)
        #expect(log.term(at: 2) == 2)
        #expect(log.firstIndex == 1)
    }

    @Test("compaction keeps the term before the first entry, and stops at what is applied")
    func compact() {
        var log = log([1, 2, 2, 3], commit: 3)
        var out: [Entry] = []
        log.takeCommitted(into: &out, maxBytes: .max)
        log.appliedTo(3)
        log.compact(upTo: 4)
        #expect(log.firstIndex == 4)
        #expect(log.term(at: 3) == 2)
        #expect(log.term(at: 2) == nil)
        #expect(log.termStarts.first == TermStart(index: 2, term: 2))
    }

    @Test("a restored snapshot replaces the log and keeps the entries beside it")
    func restore() {
        var log = log([1, 1, 1])
        let membership = Membership(voters: [NodeID(1)])
        log.restore(
            SnapshotDescriptor(index: 20, term: 4, membership: membership),
            firstRetained: 18,
            termStarts: [TermStart(index: 17, term: 3), TermStart(index: 19, term: 4)]
        )
        #expect(log.firstIndex == 18)
        #expect(log.lastIndex == 20)
        #expect(log.commit == 20)
        #expect([17, 18, 19, 20].map { log.term(at: $0) } == [3, 3, 4, 4])
        #expect(log.memoryFirst == 21)
    }

    @Test("a restored log that ends before its snapshot begins after it")
    func shorterThanSnapshot() {
        let membership = Membership(voters: [NodeID(1)])
        let log = RaftLog(
            RestoredReplica(
                hardState: HardState(term: 3, commit: 2),
                snapshot: SnapshotDescriptor(index: 10, term: 3, membership: membership),
                lastIndex: 4,
                termStarts: [TermStart(index: 1, term: 1)]
            )
        )
        #expect(log.firstIndex == 11)
        #expect(log.lastIndex == 10)
        #expect(log.commit == 10)
        #expect(log.applied == 10)
        #expect(log.lastTerm == 3)
    }

    @Test("restored entries that do not end the log are not trusted")
    func brokenSuffix() {
        let log = RaftLog(
            RestoredReplica(
                lastIndex: 3,
                termStarts: [TermStart(index: 1, term: 1)],
                entries: [Entry(term: 1, index: 1), Entry(term: 1, index: 3)]
            )
        )
        #expect(log.memoryFirst == 4)
        #expect(log.lastIndex == 3)
    }
}
