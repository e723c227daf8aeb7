import Primitives

/// Check k's other half: how long each partition acknowledged nothing.
extension HistoryChecker {
    /// The longest silence of each partition, by partition, of those that touch `window` (all when nil).
    ///
    /// A silence runs from one acknowledgement to the next one; the first begins with the partition's first publish,
    /// the last one ends with the last publish, so that a partition that never comes back is silent to the end.
    /// `partitions[room]` maps rooms to partitions; empty for one partition a room.
    package static func longestSilences(
        of history: History,
        partitions: [UInt32] = [],
        window: Range<Instant>? = nil
    ) -> [Silence] {
        var invocations: [(partition: UInt32, time: Instant)] = []
        var acknowledgements: [(partition: UInt32, time: Instant)] = []
        for record in history.records where record.kind == .publish {
            let room = Int(record.room)
            let partition = room < partitions.count ? partitions[room] : record.room
            invocations.append((partition, record.invoked))
            if record.outcome == .ok { acknowledgements.append((partition, record.returned)) }
        }
        invocations.sort { ($0.partition, $0.time) < ($1.partition, $1.time) }
        acknowledgements.sort { ($0.partition, $0.time) < ($1.partition, $1.time) }

        var silences: [Silence] = []
        var next = 0
        var index = 0
        while index < invocations.count {
            let partition = invocations[index].partition
            var end = index
            while end < invocations.count, invocations[end].partition == partition { end += 1 }
            var longest = Silence(partition: partition, start: .zero, end: .zero)
            var last = invocations[index].time
            func consider(_ time: Instant) {
                if let window, !(last < window.upperBound && time > window.lowerBound) { return }
                if time - last > longest.length { longest = Silence(partition: partition, start: last, end: time) }
            }
            while next < acknowledgements.count, acknowledgements[next].partition <= partition {
                consider(acknowledgements[next].time)
                last = max(last, acknowledgements[next].time)
                next += 1
            }
            consider(invocations[end - 1].time)
            silences.append(longest)
            index = end
        }
        return silences
    }

    static func checkSilences(_ history: History, options: CheckOptions, report: inout CheckReport) {
        report.statistics.silences = longestSilences(of: history, partitions: options.partitions)
        guard let bound = options.maximumSilence else { return }
        for silence in report.statistics.silences where silence.length > bound {
            let name =
                options.partitions.isEmpty
                ? history.rooms.name(of: silence.partition) : "partition \(silence.partition)"
            report.add(
                Violation(
                    .unavailable,
                    room: name,
                    detail: "nothing was acknowledged for \(silence.length.milliseconds) ms"
                ),
                .unavailable,
                limit: options.maximumViolationsPerName
            )
        }
    }
}
