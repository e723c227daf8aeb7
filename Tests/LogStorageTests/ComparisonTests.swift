import DiskSimulation
import LogFormat
import OwnThread
import Primitives
import Testing

@testable import LogStorage

@Suite("Log comparison", .ownThread(nice: 5))
struct ComparisonTests {
    /// A closed log of one group. Entries from `changed` on are of a later term.
    private func log(_ last: LogIndex, commit: LogIndex, changed: LogIndex? = nil, flushed: Bool = false) throws
        -> LogMarks
    {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        for index in 1...last {
            let term: Term = changed.map { index >= $0 ? 2 : 1 } ?? 1
            let entry = sampleEntry(group(3), index, term: term)
            let state = HardState(term: term, commit: min(index, commit))
            try store.append([LogItem(group: group(3), hardState: state, entries: [entry])])
        }
        try store.sync()
        if flushed { try store.settle() }
        disk.crash(keeping: .everything)
        return try LogMarks.read(disk: disk, directory: dataDirectory)
    }

    @Test("CL-09 logs that are equal are reported equal, in segments as in the write-ahead log")
    func equal() throws {
        let comparison = LogComparison([try log(40, commit: 40), try log(60, commit: 50, flushed: true)])
        #expect(comparison.isEqual)
        #expect(comparison.groups == 1 && comparison.pairs == 1)
        #expect(comparison.entries == 40 && comparison.committed == 40)
        #expect(comparison.differences == [])
    }

    @Test("CL-09 a committed entry that differs is found, with its group and index")
    func divergent() throws {
        let logs = [
            try log(40, commit: 40), try log(40, commit: 40, flushed: true), try log(40, commit: 40, changed: 31),
        ]
        let comparison = LogComparison(logs)
        #expect(!comparison.isEqual)
        #expect(
            comparison.differences == [.init(group: group(3), index: 31, logs: [1, 2], isCommitted: true)]
        )
        #expect(comparison.lines(["a", "b", "c"]).first == "group \(group(3)): b and c DIFFER, from entry 31 on")
    }

    @Test("CL-09 what was never committed may differ, and is told apart")
    func tail() throws {
        let comparison = LogComparison([try log(40, commit: 30), try log(40, commit: 40, changed: 31)])
        #expect(comparison.isEqual)
        #expect(comparison.differences.map(\.isCommitted) == [false])
        #expect(comparison.committed == 30)
    }
}
