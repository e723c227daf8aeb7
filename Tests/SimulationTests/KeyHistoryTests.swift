import Primitives
import SimulationKit
import Testing

@Suite
struct KeyHistoryTests {
    /// Operations as (client, action, from, to, result); `to` nil: nobody knows.
    static func violation(_ rows: [(UInt32, KeyHistory.Action, UInt64, UInt64?, UInt64?)]) -> String? {
        let operations = rows.map { client, action, from, to, result in
            KeyHistory.Operation(
                client: client,
                action: action,
                invoked: Instant(nanoseconds: from),
                returned: to.map { Instant(nanoseconds: $0) } ?? .distantFuture,
                result: result
            )
        }
        return KeyHistory(key: "k", operations: operations).violation()
    }

    @Test("RS-11 the judge of histories finds a stale read, a lost and a doubled increment, and a lost write")
    func violations() {
        #expect(KeyHistoryTests.violation([(1, .set(7), 0, 10, nil), (2, .get, 20, 30, 0)]) != nil)
        #expect(KeyHistoryTests.violation([(1, .increment, 0, 10, 1), (2, .increment, 20, 30, 1)]) != nil)
        #expect(KeyHistoryTests.violation([(1, .increment, 0, 10, 1), (2, .get, 20, 30, 2)]) != nil)
        #expect(
            KeyHistoryTests.violation([(1, .set(7), 0, 10, nil), (1, .set(8), 20, 30, nil), (2, .get, 40, 50, 7)])
                != nil
        )
        #expect(
            KeyHistoryTests.violation([(1, .increment, 0, nil, nil), (2, .get, 5, 8, 1), (2, .get, 9, 12, 0)]) != nil,
            "what was seen once stays"
        )
    }

    @Test("RS-11 the judge of histories takes what some order explains")
    func explained() {
        #expect(
            KeyHistoryTests.violation([(1, .set(7), 0, 30, nil), (2, .get, 10, 20, 0), (2, .get, 21, 29, 7)]) == nil
        )
        #expect(KeyHistoryTests.violation([(1, .increment, 0, nil, nil), (2, .increment, 5, 8, 2)]) == nil)
        #expect(KeyHistoryTests.violation([(1, .increment, 0, nil, nil), (2, .increment, 5, 8, 1)]) == nil)
        #expect(
            KeyHistoryTests.violation([(1, .set(1), 0, nil, nil), (2, .get, 50, 60, 0), (2, .get, 70, 80, 1)]) == nil
        )
    }
}
