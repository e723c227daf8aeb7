import EventLoops
import Glibc
import Locks
import NIOCore
import Primitives
import Synchronization
import Testing

@Suite struct ShardTests {
    /// Loop-confined notes of a test.
    private final class Notes: @unchecked Sendable {
        var lines: [String] = []
        var runs = 0
    }

    @Test("a tick's work is stepped once and flushed once, after everything that was waiting")
    func endOfTick() throws {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        let shard = shards[0]
        let notes = Notes()
        try shard.loop.submit {
            shard.atEndOfTick(.flush) { notes.lines.append("flush") }
            shard.atEndOfTick(.step) {
                notes.lines.append("step")
                shard.setNeeds(.flush)
            }
            for number in 1...3 {
                shard.loop.execute {
                    notes.lines.append("input \(number)")
                    shard.setNeeds(.step)
                }
            }
        }.wait()
        #expect(eventually { (try? shard.loop.submit { notes.lines.count }.wait()) ?? 0 >= 5 })
        // The first input posts the end of the tick behind the other two.
        #expect(
            try shard.loop.submit { notes.lines }.wait() == ["input 1", "input 2", "input 3", "step", "flush"]
        )
    }

    @Test("work that asks for another round lets the loop turn in between")
    func anotherRound() throws {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        let shard = shards[0]
        let notes = Notes()
        try shard.loop.submit {
            shard.atEndOfTick(.step) {
                notes.runs += 1
                if notes.runs < 1000 { shard.setNeeds(.step) }
            }
            shard.setNeeds(.step)
        }.wait()
        // A loop that was starved would not answer before all rounds are done.
        let early = try shard.loop.submit { notes.runs }.wait()
        #expect(early < 1000)
        #expect(eventually { (try? shard.loop.submit { notes.runs }.wait()) == 1000 })
    }

    @Test("ticks come at their period with both clocks")
    func ticks() throws {
        let shards = Shards(count: 2)
        defer { try? shards.shutDownBlocking() }
        let seen = Lock<[[Instant]]>([[], []])
        let wall = Lock<[Timestamp]>([])
        let begin = MonotonicClock.now()
        for shard in shards.all {
            try shard.loop.submit {
                shard.startTicking(every: .milliseconds(5))
                shard.atEveryTick { now, time in
                    seen.withLock { $0[shard.index].append(now) }
                    wall.withLock { $0.append(time) }
                }
            }.wait()
        }
        #expect(eventually { seen.withLock { $0.allSatisfy { $0.count >= 20 } } })
        for shard in shards.all { try shard.loop.submit { shard.stopTicking() }.wait() }
        let end = MonotonicClock.now()
        for instants in seen.withLock({ $0 }) {
            #expect(instants == instants.sorted())
            #expect(instants.count <= Int((end - begin).milliseconds / 5) + 1)
        }
        let now = WallClock.now()
        #expect(wall.withLock { $0 }.allSatisfy { $0 <= now + 1000 && now < $0 + 60_000 })
        let counts = seen.withLock { $0.map(\.count) }
        usleep(30_000)
        #expect(seen.withLock { $0.map(\.count) } == counts)
    }

    @Test("GW-10 a stalled loop is seen from another thread, and its lag is recorded")
    func stalls() throws {
        let shards = Shards(count: 2)
        defer { try? shards.shutDownBlocking() }
        for shard in shards.all { try shard.loop.submit { shard.startTicking() }.wait() }
        #expect(eventually { shards.all.allSatisfy { $0.pulse.lateness.ticks > 3 } })
        #expect(eventually { shards.stalled(longerThan: .milliseconds(150), at: MonotonicClock.now()).isEmpty })

        let isHeld = Atomic<Bool>(true)
        shards[1].loop.execute { while isHeld.load(ordering: .acquiring) { usleep(1000) } }
        let wasSeen = eventually {
            shards.stalled(longerThan: .milliseconds(200), at: MonotonicClock.now()).contains(1)
        }
        isHeld.store(false, ordering: .releasing)
        #expect(wasSeen)
        #expect(eventually { shards.stalled(longerThan: .milliseconds(150), at: MonotonicClock.now()).isEmpty })
        let lag = shards[1].pulse.lateness
        #expect(lag.max > .milliseconds(150))
        #expect(lag.counts.suffix(3).reduce(0, +) >= 1)
    }

    @Test("GW-10 percentiles come from the buckets' bounds")
    func percentiles() {
        var lag = LoopLag()
        #expect(lag.percentile(99) == .zero)
        for _ in 0..<99 { lag.record(.microseconds(300)) }
        lag.record(.milliseconds(1500))
        #expect(lag.ticks == 100)
        #expect(lag.percentile(50) == .milliseconds(1))
        #expect(lag.percentile(99) == .milliseconds(1))
        #expect(lag.percentile(100) == .milliseconds(1500))
        #expect(lag.max == .milliseconds(1500))
    }

    @Test("a shard's thread can be bound to a processor")
    func pinning() {
        let shards = Shards(count: 1)
        defer { try? shards.shutDownBlocking() }
        #expect(shards[0].pin(toCPU: 0) == 0)
        #expect(shards[0].pin(toCPU: 100_000) != 0)
    }
}
