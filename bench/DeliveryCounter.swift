/// What went wrong on the way to subscribers.
struct DeliveryCounts: Codable, Equatable, Sendable {
    var delivered: UInt64 = 0
    var lost: UInt64 = 0
    var duplicated: UInt64 = 0
    var reordered: UInt64 = 0

    static func += (a: inout DeliveryCounts, b: DeliveryCounts) {
        a.delivered += b.delivered
        a.lost += b.lost
        a.duplicated += b.duplicated
        a.reordered += b.reordered
    }

    var isClean: Bool { lost == 0 && duplicated == 0 && reordered == 0 }
}

/// Follows one subscriber of one publisher that numbers its messages 1, 2, 3...
///
/// A number above the expected one leaves the numbers between missing; a missing one that comes later was reordered,
/// one that never comes was lost, one that came before is a duplicate.
struct DeliveryCounter {
    private(set) var expected: UInt64
    private(set) var counts = DeliveryCounts()
    /// Ranges of numbers that were passed over and have not come yet, ascending.
    private var missing: [Range<UInt64>] = []

    init(first: UInt64 = 1) { expected = first }

    /// Takes the next number that arrived.
    mutating func receive(_ number: UInt64) {
        if number == expected {
            expected &+= 1
            counts.delivered &+= 1
        } else {
            receiveOutOfOrder(number)
        }
    }

    private mutating func receiveOutOfOrder(_ number: UInt64) {
        if number > expected {
            missing.append(expected..<number)
            expected = number + 1
            counts.delivered += 1
            return
        }
        guard let index = missing.firstIndex(where: { $0.contains(number) }) else {
            counts.duplicated += 1
            return
        }
        counts.delivered += 1
        counts.reordered += 1
        let range = missing.remove(at: index)
        if number + 1 < range.upperBound { missing.insert(number + 1..<range.upperBound, at: index) }
        if range.lowerBound < number { missing.insert(range.lowerBound..<number, at: index) }
    }

    /// The counts when everything up to and including `last` should have arrived, except what the server refused.
    func total(through last: UInt64, except refused: [UInt64] = []) -> DeliveryCounts {
        var total = counts
        for range in missing { total.lost += UInt64(range.count) }
        if last >= expected { total.lost += last - expected + 1 }
        for number in refused where number >= expected || missing.contains(where: { $0.contains(number) }) {
            total.lost -= number <= last ? 1 : 0
        }
        return total
    }
}
