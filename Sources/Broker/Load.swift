import PeerProtocol
import Primitives
import Rooms

/// What the owner of a partition does for it, as rates that forget: each turn, about a second, counts for a quarter.
struct LoadMeter {
    /// What a turn leaves of what was before it.
    static let kept = 0.75

    /// Since the last turn.
    private var operations: UInt64 = 0
    private var bytes: UInt64 = 0
    private var operationRate = 0.0
    private var byteRate = 0.0

    mutating func count(_ operations: Int, bytes: Int) {
        self.operations &+= UInt64(operations)
        self.bytes &+= UInt64(bytes)
    }

    mutating func turn(after interval: Interval) {
        let seconds = max(0.001, interval.seconds)
        operationRate += (1 - LoadMeter.kept) * (Double(operations) / seconds - operationRate)
        byteRate += (1 - LoadMeter.kept) * (Double(bytes) / seconds - byteRate)
        operations = 0
        bytes = 0
    }

    func load(of partition: PartitionID) -> PartitionLoad {
        PartitionLoad(
            partition: partition,
            operations: UInt64(operationRate.rounded()),
            bytes: UInt64(byteRate.rounded())
        )
    }
}

/// A room with many publishes, at least so many a second.
package struct RoomLoad: Equatable, Sendable {
    package var room: RoomName
    package var partition: PartitionID
    package var rate: UInt64

    package init(room: RoomName, partition: PartitionID, rate: UInt64) {
        self.room = room
        self.partition = partition
        self.rate = rate
    }
}

/// The rooms with the most publishes, approximately, in a handful of rows: Space-Saving (Metwally, Agrawal, El Abbadi,
/// "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005). A room without a row takes that
/// with the least count, and its count, which from then on is the row's error. So a room that has more than the n-th
/// part of what was counted has one of n rows, and count less error is never too much. Counts decay as those of
/// `LoadMeter` do.
///
/// One of `sampling` publishes, drawn by chance, is counted for all of them: at the price of a few comparisons each.
struct FrequentRooms {
    static let capacity = 16
    static let sampling = 8
    /// Rooms that are told of.
    static let told = 8

    private struct Row {
        var room: RoomName
        var partition: PartitionID
        var count: Double
        var error: Double
    }

    private var rows: [Row] = []

    init() { rows.reserveCapacity(FrequentRooms.capacity) }

    mutating func count(_ room: RoomName, _ partition: PartitionID, weight: Int = sampling) {
        var least = 0
        for index in rows.indices {
            if rows[index].room == room {
                rows[index].count += Double(weight)
                return
            }
            if rows[index].count < rows[least].count { least = index }
        }
        // The name may be part of a frame or of a log entry: it must not hold that.
        let room = room.compacted()
        if rows.count < FrequentRooms.capacity {
            rows.append(Row(room: room, partition: partition, count: Double(weight), error: 0))
        } else {
            let error = rows[least].count
            rows[least] = Row(room: room, partition: partition, count: error + Double(weight), error: error)
        }
    }

    /// The rooms with a publish a second or more, the busiest first; `interval` is the time since the last turn.
    mutating func turn(after interval: Interval) -> [RoomLoad] {
        let seconds = max(0.001, interval.seconds)
        var busiest: [RoomLoad] = []
        for row in rows {
            // What is kept of a constant rate adds up to that of 1 / (1 - kept) turns.
            let rate = (row.count - row.error) * (1 - LoadMeter.kept) / seconds
            guard rate >= 1 else { continue }
            busiest.append(RoomLoad(room: row.room, partition: row.partition, rate: UInt64(rate.rounded())))
        }
        busiest.sort { $0.rate != $1.rate ? $0.rate > $1.rate : RoomName.precedes($0.room, $1.room) }
        for index in rows.indices {
            rows[index].count *= LoadMeter.kept
            rows[index].error *= LoadMeter.kept
        }
        return Array(busiest.prefix(FrequentRooms.told))
    }
}

/// When a partition is hot, and when a cluster's load is uneven.
package struct LoadRule: Equatable, Sendable {
    /// Part of its node's load from which on a partition is hot.
    package var hotShare = 0.5
    /// Least load of a hot partition, and of a cluster whose nodes are compared (`PartitionLoad.weight`).
    package var hotRate = 1000.0
    /// For so long.
    package var hotAfter = Interval.seconds(10)
    /// The control leader moves leaderships when the load is uneven.
    package var autoBalance = false

    /// The most loaded node may be so much above the mean (LB-04). Once it was above, it must come down to `settled`:
    /// so a load at the border neither alarms again and again nor moves anything to and fro.
    package static let imbalance = 0.2
    package static let settled = 0.15
    /// Between two moves: the transfer, and until the rates have followed.
    static let pause = Interval.seconds(15)
    /// A partition that was moved stays for so long.
    static let rest = Interval.seconds(150)
    /// What a move must gain, as part of the mean.
    static let gain = 0.02

    package init() {}
}

/// Which of a node's partitions are hot: with `hotShare` of the node's load or more, and `hotRate` or more, for
/// `hotAfter`. One that is hot stays so until it has been below half of either for as long.
package struct HotPartitions: Sendable {
    package enum Change: Equatable, Sendable {
        case hot(PartitionLoad, share: Double)
        case cool(PartitionID)
    }

    private struct Row: Sendable {
        var partition: PartitionID
        /// Since when the other verdict would hold.
        var since: Instant?
        var isHot = false
    }

    private var rows: [Row] = []

    package init() {}

    package var hot: [PartitionID] { rows.filter(\.isHot).map(\.partition) }

    package mutating func judge(_ loads: [PartitionLoad], now: Instant, _ rule: LoadRule) -> [Change] {
        let total = loads.reduce(0) { $0 + $1.weight }
        func isAbove(_ load: PartitionLoad?, _ factor: Double) -> Bool {
            guard let load else { return false }
            return load.weight >= rule.hotRate * factor && load.weight >= total * rule.hotShare * factor
        }
        for load in loads where isAbove(load, 1) && !rows.contains(where: { $0.partition == load.partition }) {
            rows.append(Row(partition: load.partition))
        }
        var changes: [Change] = []
        for index in rows.indices {
            let load = loads.first { $0.partition == rows[index].partition }
            guard isAbove(load, rows[index].isHot ? 0.5 : 1) != rows[index].isHot else {
                rows[index].since = nil
                continue
            }
            let since = rows[index].since ?? now
            rows[index].since = since
            guard now - since >= rule.hotAfter else { continue }
            rows[index].isHot.toggle()
            rows[index].since = nil
            if rows[index].isHot, let load {
                changes.append(.hot(load, share: load.weight / max(1, total)))
            } else {
                changes.append(.cool(rows[index].partition))
            }
        }
        rows.removeAll { !$0.isHot && $0.since == nil }
        return changes
    }
}
