import HistoryChecker
import Primitives

/// The longest times in which clients heard nothing, in milliseconds.
struct FaultSilence: Equatable {
    /// Of each publisher (or room) that counts: between two acknowledgements.
    var publishers: [Double] = []
    /// Of each subscriber (or room): between two messages.
    var subscribers: [Double] = []

    init() {}

    /// In milliseconds, of publishers or subscribers, whoever waited longer.
    var p99: Double? { [publishers, subscribers].compactMap { percentile(99, of: $0) }.max() }

    /// The longest piece of `began...end` without any of these times, in milliseconds. What was silent before counts
    /// from its beginning.
    static func longest(_ times: [UInt64], _ began: UInt64, _ end: UInt64) -> Double {
        var last = times.last { $0 <= began } ?? began
        var longest: UInt64 = 0
        for time in times where time > began && time <= end {
            longest = max(longest, time - last)
            last = max(last, time)
        }
        return Double(max(longest, end > last ? end - last : 0)) / 1e6
    }

    /// Of the clients at nodes that the round calls healthy.
    init(_ round: FaultRound.Result, _ load: FailoverLoad) {
        let layout = load.layout
        var acknowledged = [[UInt64]](repeating: [], count: layout.publishers.count)
        for record in load.publishes where record.outcome == .ok {
            acknowledged[Int(record.process) - 1].append(record.returned.nanoseconds)
        }
        var received = [[UInt64]](repeating: [], count: layout.subscribers.count)
        for record in load.observations where record.kind == .receive {
            received[Int(record.process - RoomSubscriber.firstProcess)].append(record.invoked.nanoseconds)
        }
        publishers = Self.silences(round, layout.publishers, acknowledged)
        subscribers = Self.silences(round, layout.subscribers, received)
    }

    private static func silences(
        _ round: FaultRound.Result,
        _ clients: [LoadLayout.Client],
        _ times: [[UInt64]]
    ) -> [Double] {
        let (began, end) = (round.began.nanoseconds, round.end.nanoseconds)
        guard round.isMerged else {
            return clients.indices.filter { round.healthy[clients[$0].room].contains(clients[$0].node) }
                .map { longest(times[$0].sorted(), began, end) }
        }
        return round.healthy.indices.map { room in
            let all = clients.indices.filter { clients[$0].room == room }.flatMap { times[$0] }
            return longest(all.sorted(), began, end)
        }
    }

    /// Publishes that were begun and acknowledged during the fault at nodes where that cannot be.
    static func wronglyAcknowledged(_ round: FaultRound.Result, _ load: FailoverLoad) -> Int {
        // What was under way when the fault began may still be answered.
        let from = round.whole.lowerBound + .milliseconds(200)
        return load.publishes.count { record in
            let client = load.layout.publishers[Int(record.process) - 1]
            return record.outcome == .ok && record.invoked >= from && record.returned < round.whole.upperBound
                && round.shunned[client.room].contains(client.node)
        }
    }
}

/// The value that `percent` of a hundred values do not exceed; nil for none.
func percentile(_ percent: Double, of values: [Double]) -> Double? {
    guard !values.isEmpty else { return nil }
    let rank = Int((percent / 100 * Double(values.count)).rounded(.up))
    return values.sorted()[max(0, min(values.count, rank) - 1)]
}
