import EventLoops
import Testing

/// A record whose parts belong together: a torn read shows.
private struct VersionedRecord: Sendable {
    var version: UInt64
    var fields: [UInt64]

    init(version: UInt64) {
        self.version = version
        fields = (0..<16).map { version &* 31 &+ $0 }
    }

    var isWhole: Bool { fields.enumerated().allSatisfy { $0.element == version &* 31 &+ UInt64($0.offset) } }
}

@Suite struct PublishedTests {
    @Test("CN-02 a record read while it is written is always whole, versions never go back, and nobody starves")
    func tornReads() async {
        let record = Published(VersionedRecord(version: 0))
        let torn = SharedCounter()
        let backwards = SharedCounter()
        let done = SharedCounter()
        await withTaskGroup(of: UInt64.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    var last: UInt64 = 0
                    var reads: UInt64 = 0
                    while done.value == 0 || reads < 1000 {
                        let seen = record.load()
                        if !seen.isWhole { torn.increment() }
                        if seen.version < last { backwards.increment() }
                        last = seen.version
                        reads += 1
                        if reads % 64 == 0 { await Task.yield() }
                    }
                    return reads
                }
            }
            group.addTask {
                for version in 1...20_000 {
                    record.store(VersionedRecord(version: UInt64(version)))
                    if version % 64 == 0 { await Task.yield() }
                }
                done.increment()
                return 20_000
            }
            for await reads in group { #expect(reads >= 1000) }
        }
        #expect(torn.value == 0)
        #expect(backwards.value == 0)
        #expect(record.load().version == 20_000)
    }
}
