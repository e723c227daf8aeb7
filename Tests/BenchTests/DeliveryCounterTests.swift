import Testing

@testable import bench

@Suite("Delivery counting")
struct DeliveryCounterTests {
    private func count(_ numbers: [UInt64], through last: UInt64) -> DeliveryCounts {
        var counter = DeliveryCounter()
        for number in numbers { counter.receive(number) }
        return counter.total(through: last)
    }

    @Test("BN-05 messages in order are delivered and nothing else")
    func inOrder() {
        #expect(count(Array(1...1000), through: 1000) == DeliveryCounts(delivered: 1000))
    }

    @Test("BN-05 missing messages are lost, in the middle and at the end")
    func lost() {
        #expect(count([1, 2, 5, 6], through: 8) == DeliveryCounts(delivered: 4, lost: 4))
        #expect(count([], through: 3) == DeliveryCounts(lost: 3))
    }

    @Test("BN-05 a message that comes a second time is a duplicate")
    func duplicated() {
        #expect(count([1, 2, 2, 3, 1], through: 3) == DeliveryCounts(delivered: 3, duplicated: 2))
    }

    @Test("BN-05 a message that comes late is reordered and not lost")
    func reordered() {
        #expect(count([1, 3, 2, 4], through: 4) == DeliveryCounts(delivered: 4, reordered: 1))
        #expect(
            count([5, 3, 1, 2, 3], through: 5) == DeliveryCounts(delivered: 4, lost: 1, duplicated: 1, reordered: 3)
        )
    }

    @Test("BN-05 any sequence is accounted for exactly, as a slow and simple count has it")
    func anySequence() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            let numbers = (0..<60).map { _ in UInt64.random(in: 1...40, using: &random) }
            var seen: Set<UInt64> = []
            var highest: UInt64 = 0
            var expected = DeliveryCounts()
            for number in numbers {
                if !seen.insert(number).inserted {
                    expected.duplicated += 1
                } else {
                    expected.delivered += 1
                    if number < highest { expected.reordered += 1 }
                }
                highest = max(highest, number)
            }
            expected.lost = 45 - UInt64(seen.count)
            #expect(count(numbers, through: 45) == expected, "\(numbers)")
        }
    }
}
