import EventLoops
import Glibc
import Locks
import Primitives
import Testing

@Suite struct LockTests {
    @Test("CN-03 N threads that count M times each make exactly N times M")
    func exactCounts() {
        let counter = SharedCounter()
        let published = Published([UInt64](repeating: 0, count: 8))
        onThreads(8) { thread in
            for number in 1...50_000 {
                counter.increment()
                if number % 5000 == 0 { published.update { $0[thread] += 5000 } }
            }
        }
        #expect(counter.value == 8 * 50_000)
        #expect(published.load() == [UInt64](repeating: 50_000, count: 8))
    }

    #if DEBUG
        @Test("CN-04 locks taken in crossed order stop the process at once, they never wait for each other")
        func crossedOrderIsTrapped() async {
            await #expect(processExitsWith: .failure) {
                closeInheritedSockets()
                let outer = RankedLock(.registry, 0)
                let inner = RankedLock(.inbox, 0)
                inner.withLock { a in outer.withLock { b in (a, b) = (b, a) } }
            }
        }

        @Test("CN-05 two locks of one rank are never held together")
        func equalRanksAreTrapped() async {
            await #expect(processExitsWith: .failure) {
                closeInheritedSockets()
                let one = RankedLock(.metrics, 0)
                let two = RankedLock(.metrics, 0)
                one.withLock { a in two.withLock { b in (a, b) = (b, a) } }
            }
        }

        @Test("CN-05 a lock may be taken again after it was left, also by an error")
        func releasedRanksAreForgotten() throws {
            struct Refusal: Error {}
            let outer = RankedLock(.registry, 0)
            let inner = RankedLock(.inbox, 0)
            for _ in 0..<3 {
                #expect(throws: Refusal.self) { try inner.withLock { _ in throw Refusal() } }
                outer.withLock { a in inner.withLock { b in (a, b) = (a + 1, b + 1) } }
            }
            #expect(outer.withLock { $0 } == 3)
        }
    #endif

    @Test("CN-04 threads that contend for several locks in rank order all end, and none waits for good")
    func contendersAllEnd() {
        let first = Shared(.lifecycle), second = Shared(.storage), third = Shared(.metrics)
        let worst = Lock<[UInt64]>([])
        onThreads(8) { thread in
            var random = Xoshiro256(seed: UInt64(thread))
            var longest: UInt64 = 0
            for _ in 0..<2000 {
                let before = MonotonicClock.now()
                switch random.below(4) {
                case 0: first.lock.withLock { a in second.lock.withLock { b in (a, b) = (a + 1, b + 1) } }
                case 1: first.lock.withLock { a in third.lock.withLock { b in (a, b) = (a + 1, b + 1) } }
                case 2: second.lock.withLock { a in third.lock.withLock { b in (a, b) = (a + 1, b + 1) } }
                default:
                    first.lock.withLock { a in
                        second.lock.withLock { b in third.lock.withLock { c in (a, b, c) = (a + 1, b + 1, c + 1) } }
                    }
                }
                longest = max(longest, (MonotonicClock.now() - before).milliseconds)
            }
            let mine = longest
            worst.withLock { $0.append(mine) }
        }
        let waits = worst.withLock { $0 }
        #expect(waits.count == 8)
        #expect(waits.allSatisfy { $0 < 10_000 }, "longest waits in ms: \(waits)")
        let sum = first.lock.withLock { $0 } + second.lock.withLock { $0 } + third.lock.withLock { $0 }
        #expect(sum >= 8 * 2000 * 2 && sum <= 8 * 2000 * 3)
    }

    private final class Shared: Sendable {
        let lock: RankedLock<Int>
        init(_ rank: LockRank) { lock = RankedLock(rank, 0) }
    }
}
