import Primitives
import Rooms
import Testing

@testable import Gateway

struct NamespaceIndexTests {
    @Test("RM-16 the longest prefix governs a room, also when shorter and longer ones of other letters stand between")
    func longestPrefix() {
        let prefixes = ["a", "a:b", "a:b:c", "b:very:long:prefix", "x:", "é", "", "gov:alerts:critical", "gov"]
        let namespaces = prefixes.map { text in
            var namespace = GatewayNamespace(prefix: Array(text.utf8))
            // The prefix's length in another field tells which row was found.
            namespace.maxMessageSize = text.utf8.count + 1
            return namespace
        }
        let index = NamespaceIndex(namespaces)
        let rooms = [
            "a", "a:", "ab", "a:b", "a:bc", "a:b:c", "a:b:c:d", "b", "b:very:long:prefix:", "x", "x:", "é:1", "", "zz",
            "gov:alerts:critical", "gov:alerts", "go", "A", "\u{0}",
        ]
        for room in rooms {
            let name = Array(room.utf8)
            let expected = prefixes.filter { name.starts(with: Array($0.utf8)) }.map(\.utf8.count).max() ?? 0
            // A slice that does not begin at zero, as names inside frames.
            let slice = ([UInt8(ascii: "#")] + name)[1...]
            #expect(index[index.row(of: RoomName(slice))].maxMessageSize == expected + 1, "\(room)")
        }
        #expect(NamespaceIndex([]).count == 1)
        #expect(NamespaceIndex([])[0].publishRefusal == nil && NamespaceIndex([])[0].rate == nil)
    }

    @Test("RM-16 a rate gives back its tokens in time and never more than the burst")
    func rate() {
        let rate = PublishRate(perSecond: 10, burst: 3)
        var fullAt: UInt64 = 0
        func take(at milliseconds: UInt64) -> Bool {
            rate.take(&fullAt, now: Instant(nanoseconds: milliseconds * 1_000_000))
        }
        #expect(take(at: 1000) && take(at: 1000) && take(at: 1000))
        #expect(!take(at: 1000) && !take(at: 1099))
        #expect(take(at: 1100) && !take(at: 1100))
        #expect(take(at: 60_000) && take(at: 60_000) && take(at: 60_000) && !take(at: 60_000), "no more than the burst")
        var taken = 0
        for millisecond in 60_001...70_000 where take(at: UInt64(millisecond)) { taken += 1 }
        #expect(taken == 100, "ten seconds of ten a second")

        var allowance = PublishAllowance()
        let one = PublishRate(perSecond: 1, burst: 1)
        func publish(in namespace: Int32) -> Bool { allowance.take(one, namespace: namespace, now: .zero) }
        #expect(publish(in: 1) && publish(in: 2))
        #expect(!publish(in: 1))
    }
}
