import Primitives

/// Decides whether a run of the broker kept its promises.
///
/// A log that answers with offsets gives its own total order, so nothing is searched: every check is a scan, a hash
/// lookup or a sort, O((M + R) log M) for M publishes and R receives. The checks are named a to k:
///
///     a  one value per (room, epoch, offset)      g  head reads between acknowledged and invoked
///     b  no message at two offsets                h  sessions: next = last + 1, or a declared gap or setback
///     c  dense log, no phantom, nothing refused   i  cursors: not below an answered commit, not above any
///     d  no acknowledged message lost             j  replicas equal at every common index
///     e  per-producer order                       k  silences, unseen messages
///     f  real-time order of appends
///
/// Sources: Jepsen's Kafka workload (names of the errors), Elle (recoverable versions make checking linear).
package enum HistoryChecker {
    /// Checks a whole run. Records and logs may be in any order, except that a session's own records keep theirs.
    /// Room numbers without a name in `history.rooms` are checked like the others.
    package static func check(
        _ history: History,
        finalLogs: FinalLogs = FinalLogs(),
        options: CheckOptions = CheckOptions()
    ) -> CheckReport {
        var report = CheckReport()
        report.statistics.records = history.records.count

        var roomCount = history.rooms.count + 1
        for record in history.records { roomCount = max(roomCount, Int(min(record.room, maximumRoom)) + 1) }
        for log in finalLogs.logs { roomCount = max(roomCount, Int(min(log.room, maximumRoom)) + 1) }
        var recordsOfRoom = [[Int]](repeating: [], count: roomCount)
        for (index, record) in history.records.enumerated() where record.kind != .fault {
            recordsOfRoom[Int(min(record.room, maximumRoom))].append(index)
        }
        var logsOfRoom = [[ReplicaLog]](repeating: [], count: roomCount)
        for log in finalLogs.logs { logsOfRoom[Int(min(log.room, maximumRoom))].append(log) }

        for room in 0..<roomCount where !recordsOfRoom[room].isEmpty || !logsOfRoom[room].isEmpty {
            report.statistics.rooms += 1
            let check = RoomCheck(
                room: UInt32(room),
                history: history,
                indices: recordsOfRoom[room],
                logs: logsOfRoom[room].sorted { $0.replica < $1.replica },
                options: options,
                report: report
            )
            report = CheckReport()
            check.run()
            report = check.report
        }
        checkDigests(finalLogs.digests, options: options, report: &report)
        checkSilences(history, options: options, report: &report)
        return report
    }

    /// Room numbers come from a symbol table and are small; a damaged history must not cost memory.
    private static let maximumRoom: UInt32 = 1 << 20
}
