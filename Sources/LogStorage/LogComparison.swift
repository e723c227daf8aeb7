import LogFormat
import Primitives

/// What a data directory has of each group's log: a mark for each entry.
package struct LogMarks: Sendable {
    /// Enough to tell entries apart, and little enough to keep for a whole log.
    package struct Mark: Equatable, Sendable {
        package var term: Term
        package var kind: EntryKind
        package var checksum: UInt32
    }

    package struct Group: Sendable {
        package var group: GroupID
        package var first: LogIndex
        /// As far as the node had written it down: the real one may be higher.
        package var commit: LogIndex
        package var marks: [Mark]

        package var last: LogIndex { first + LogIndex(marks.count) - 1 }
    }

    /// In the order of their numbers.
    package private(set) var groups: [Group] = []

    /// Reads everything in `directory`, which no other process may have open. Fails where something is damaged.
    package static func read<D: Disk>(disk: D, directory root: String) throws(StorageError) -> LogMarks {
        do throws(DiskError) { try disk.lock(directory: root) } catch { throw StorageError(error) }
        defer { disk.unlock(directory: root) }
        let directory = DataDirectory(root: root)
        var recoverer = Recoverer(disk, directory, LogSettings())
        if let damage = try recoverer.run().report.damages.first { throw StorageError.corrupt(damage) }
        var marks = LogMarks()
        for log in recoverer.state.groups.sorted(by: { $0.group < $1.group }) where !log.isDiscarded {
            var found = Group(group: log.group, first: log.first, commit: log.hardState.commit, marks: [])
            for segment in log.segments {
                let folder = "groups/\(DataDirectory.groupName(log.group, segment.header.incarnation))"
                do throws(FileReadError) {
                    let reader = try SegmentReader(disk, path: "\(directory.root)/\(folder)/\(segment.name)")
                    for position in segment.footer.blocks.indices {
                        for entry in try reader.block(position, of: segment) {
                            // A segment may begin below what retention left, and end above what was replaced.
                            guard entry.index == found.last + 1, entry.index <= segment.end else { continue }
                            found.marks.append(Mark(entry))
                        }
                    }
                } catch {
                    throw StorageError(error, "\(folder)/\(segment.name)")
                }
            }
            found.marks.append(contentsOf: log.memory.map(Mark.init))
            marks.groups.append(found)
        }
        return marks
    }
}

extension LogMarks.Mark {
    init(_ entry: Entry) {
        self.init(term: entry.term, kind: entry.kind, checksum: CRC32C.checksum(entry.data))
    }
}

/// The logs of several nodes beside each other: replicas of a group have the same entry at every committed index.
package struct LogComparison: Sendable {
    package struct Difference: Equatable, Sendable {
        package var group: GroupID
        package var index: LogIndex
        /// The places of the two logs in the list.
        package var logs: [Int]
        /// Both nodes knew that the index was committed. Otherwise one of them has what was never acknowledged, and
        /// replaces it when it meets its leader again.
        package var isCommitted: Bool
    }

    package private(set) var groups = 0
    /// Pairs of replicas, and the entries that both of a pair have.
    package private(set) var pairs = 0
    package private(set) var entries = 0
    /// Of these, how many both knew as committed.
    package private(set) var committed = 0
    /// The first of each pair that differs.
    package private(set) var differences: [Difference] = []

    package var isEqual: Bool { !differences.contains(where: \.isCommitted) }

    /// Each log is compared with the next one that has the group.
    package init(_ logs: [LogMarks]) {
        var last: [GroupID: (place: Int, log: LogMarks.Group)] = [:]
        for (place, log) in logs.enumerated() {
            for group in log.groups {
                if let other = last[group.group] {
                    compare(other.log, group, places: [other.place, place])
                } else {
                    groups += 1
                }
                last[group.group] = (place, group)
            }
        }
    }

    private mutating func compare(_ a: LogMarks.Group, _ b: LogMarks.Group, places: [Int]) {
        pairs += 1
        let from = max(a.first, b.first)
        let end = min(a.last, b.last)
        guard from <= end else { return }
        let known = min(a.commit, b.commit)
        entries += Int(end - from + 1)
        committed += known >= from ? Int(min(end, known) - from + 1) : 0
        for index in from...end where a.marks[Int(index - a.first)] != b.marks[Int(index - b.first)] {
            differences.append(
                Difference(group: a.group, index: index, logs: places, isCommitted: index <= known)
            )
            return
        }
    }

    /// For people; `names` are those of the logs.
    package func lines(_ names: [String]) -> [String] {
        var lines = differences.map { difference in
            let places = difference.logs.map { names[$0] }.joined(separator: " and ")
            let what = difference.isCommitted ? "DIFFER" : "differ in what was never committed"
            return "group \(difference.group): \(places) \(what), from entry \(difference.index) on"
        }
        let wrong = differences.count(where: \.isCommitted)
        lines.append(
            "\(groups) groups, \(pairs) pairs of replicas, \(entries) entries compared, \(committed) of them known as "
                + "committed by both: \(wrong) pairs differ, \(differences.count - wrong) in uncommitted tails"
        )
        return lines
    }
}
