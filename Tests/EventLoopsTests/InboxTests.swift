import EventLoops
import Locks
import NIOCore
import Primitives
import Synchronization
import Testing

@Suite struct InboxTests {
    private struct Note: Sendable {
        var producer: Int
        var number: UInt64
    }

    /// What the loop saw; read only after the loop is done.
    private final class Tally: @unchecked Sendable {
        var next: [UInt64]
        var sum: UInt64 = 0
        var batches = 0
        var disorder = 0
        let count = Atomic<Int>(0)

        init(producers: Int) { next = Array(repeating: 0, count: producers) }

        func take(_ notes: [Note]) {
            batches += 1
            for note in notes {
                if note.number != next[note.producer] { disorder += 1 }
                next[note.producer] = note.number + 1
                sum &+= SplitMix64.mix(UInt64(note.producer) << 32 | note.number)
            }
            count.wrappingAdd(notes.count, ordering: .releasing)
        }
    }

    @Test("CN-01 concurrent producers lose nothing, repeat nothing and keep their order", arguments: [1, 4, 16])
    func concurrentProducers(producers: Int) throws {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        let tally = Tally(producers: producers)
        let each = UInt64(80_000 / producers)
        let inbox = Inbox<Note>(shard: shards[0], capacity: 1 << 20) { tally.take($0) }
        let expected = Lock<UInt64>(0)
        let refused = SharedCounter()
        onThreads(producers) { producer in
            var sum: UInt64 = 0
            var random = Xoshiro256(seed: UInt64(producer))
            var number: UInt64 = 0
            while number < each {
                // Bursts of different sizes, some by one call.
                let burst = min(each - number, 1 + random.below(64))
                let notes = (0..<burst).map { Note(producer: producer, number: number + $0) }
                if random.chance(1, in: 2) {
                    if !inbox.post(contentsOf: notes) { refused.increment() }
                } else {
                    for note in notes where !inbox.post(note) { refused.increment() }
                }
                for note in notes { sum &+= SplitMix64.mix(UInt64(producer) << 32 | note.number) }
                number += burst
            }
            expected.withLock { $0 &+= sum }
        }
        let all = producers * Int(each)
        #expect(eventually { tally.count.load(ordering: .acquiring) == all })
        try shards[0].loop.submit {
            #expect(tally.disorder == 0)
            #expect(tally.next == Array(repeating: each, count: producers))
            #expect(tally.sum == expected.withLock { $0 })
            #expect(tally.batches <= all)
        }.wait()
        #expect(inbox.depth == 0)
        #expect(inbox.refused == 0 && refused.value == 0)
    }

    @Test("CN-01 a full inbox refuses and counts; what it took is delivered")
    func bounded() throws {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        let tally = Tally(producers: 1)
        let inbox = Inbox<Note>(shard: shards[0], capacity: 100) { tally.take($0) }
        // The loop is held, so that nothing is taken out meanwhile.
        try shards[0].loop.submit {
            for number in 0..<100 { #expect(inbox.post(Note(producer: 0, number: UInt64(number)))) }
            #expect(!inbox.post(Note(producer: 0, number: 100)))
            #expect(!inbox.post(contentsOf: [Note(producer: 0, number: 100), Note(producer: 0, number: 101)]))
            #expect(inbox.depth == 100)
        }.wait()
        #expect(eventually { tally.count.load(ordering: .acquiring) == 100 })
        #expect(inbox.refused == 3)
        #expect(inbox.post(Note(producer: 0, number: 100)))
        #expect(eventually { tally.count.load(ordering: .acquiring) == 101 })
        inbox.close()
        #expect(!inbox.post(Note(producer: 0, number: 101)))
    }

    @Test("messages that wait are delivered as one batch, by one wake-up")
    func batches() throws {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        let tally = Tally(producers: 1)
        let inbox = Inbox<Note>(shard: shards[0], capacity: 10_000) { tally.take($0) }
        try shards[0].loop.submit {
            for number in 0..<5000 { _ = inbox.post(Note(producer: 0, number: UInt64(number))) }
        }.wait()
        #expect(eventually { tally.count.load(ordering: .acquiring) == 5000 })
        #expect(try shards[0].loop.submit { tally.batches }.wait() == 1)
    }
}
