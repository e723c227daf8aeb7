import Glibc
import LogFormat
import Primitives

/// What the check of a data directory found.
package struct CheckReport: Equatable, Sendable {
    package struct Group: Equatable, Sendable {
        package var group: GroupID
        package var incarnation: UInt64
        package var firstIndex: LogIndex
        package var lastIndex: LogIndex
        package var snapshotIndex: LogIndex
        package var isFaulty: Bool
    }

    package var recovery = RecoveryReport()
    /// Everything that is damaged, what opening would find and what only a full read does.
    package var damages: [Damage] = []
    package var groups: [Group] = []
    package var segments = 0
    package var blocks = 0
    package var entries = 0
    package var snapshots = 0
    package var bytes = 0
    /// What `repair` did; empty when it did nothing.
    package var repairs: [String] = []
    /// Damage that `repair` will not touch is there.
    package var needsPeers: Bool { damages.contains { $0.groups?.isEmpty != true } }
    package var isClean: Bool { damages.isEmpty && recovery.tornTail == nil }

    package init() {}

    /// For people: what is good, what is not, what is lost, what to do.
    package var lines: [String] {
        var lines = [
            "write-ahead log: \(recovery.files) files, \(recovery.records) good records",
            "segments: \(segments) files, \(blocks) good blocks, \(entries) entries; snapshots: \(snapshots) good",
        ]
        for group in groups {
            let state = group.isFaulty ? "FAULTY" : "good"
            lines.append(
                "group \(group.group).\(group.incarnation): entries \(group.firstIndex)...\(group.lastIndex), "
                    + "snapshot at \(group.snapshotIndex): \(state)"
            )
        }
        for name in recovery.unreferenced { lines.append("not part of the log: groups/\(name)") }
        if let torn = recovery.tornTail {
            lines.append("\(torn)")
            lines.append("  never acknowledged as durable; everything before it is kept, opening the log cuts it")
        }
        for damage in damages {
            lines.append("\(damage)")
            if damage.groups?.isEmpty == true {
                lines.append("  nothing is lost: rebuilt from what follows it")
            } else {
                lines.append("  this was acknowledged and is lost on this node; it is not cut")
            }
        }
        lines.append(contentsOf: repairs)
        if needsPeers {
            lines.append("do not delete anything while other replicas may need this node's data.")
            lines.append("with healthy peers: start the node, its faulty replicas are filled again by their leaders;")
            lines.append("or wipe the data directory, which makes this node a new member.")
            lines.append("without peers: restore a backup.")
        } else if isClean {
            lines.append("the log is good")
        }
        return lines
    }
}

/// Verifies every record, block, footer, snapshot and meta file of a data directory: `vencejo log check DIR
/// [--repair]`.
package enum LogCheck {
    /// Reads everything in `directory`, which no other process may have open. With `repair`, and only then, writes: it
    /// cuts a torn tail, which opening the log would do as well. Damage to what was acknowledged is never cut.
    package static func run<D: Disk>(
        disk: D,
        directory root: String,
        repair: Bool = false
    ) throws(StorageError) -> CheckReport {
        do throws(DiskError) { try disk.lock(directory: root) } catch { throw StorageError(error) }
        defer { disk.unlock(directory: root) }
        let directory = DataDirectory(root: root)
        var recoverer = Recoverer(disk, directory, LogSettings())
        let recovery = try recoverer.run()
        var report = CheckReport()
        report.recovery = recovery.report
        report.damages = recovery.report.damages
        report.bytes = recovery.report.bytes
        for log in recoverer.state.groups.sorted(by: { $0.group < $1.group }) where !log.isDiscarded {
            try check(log, disk, directory, &report)
        }
        try checkMeta(disk, directory, &report)
        if repair, let torn = recovery.report.tornTail, let offset = torn.offset {
            try cut(torn, at: offset, disk, directory)
            report.repairs.append("cut \(torn.file) at byte \(offset)")
        }
        return report
    }

    private static func check<D: Disk>(
        _ log: GroupLog,
        _ disk: D,
        _ directory: DataDirectory,
        _ report: inout CheckReport
    ) throws(StorageError) {
        let folder = "groups/\(DataDirectory.groupName(log.group, log.incarnation))"
        var isFaulty = log.isFaulty
        for segment in log.segments where !segment.isDamaged {
            report.segments += 1
            report.bytes += segment.fileBytes
            for position in segment.footer.blocks.indices {
                do throws(FileReadError) {
                    let reader = try SegmentReader(disk, path: "\(directory.root)/\(folder)/\(segment.name)")
                    report.entries += try reader.block(position, of: segment).count
                    report.blocks += 1
                } catch {
                    guard case .damaged(let offset) = error else { throw StorageError(error, segment.name) }
                    isFaulty = true
                    let next =
                        position + 1 < segment.footer.blocks.count
                        ? segment.footer.blocks[position + 1].first - 1 : segment.header.last
                    add(
                        Damage(
                            .block,
                            file: "\(folder)/\(segment.name)",
                            offset: offset,
                            groups: [log.group],
                            indices: segment.footer.blocks[position].first...next
                        ),
                        to: &report
                    )
                }
            }
        }
        for snapshot in log.snapshots {
            let name = DataDirectory.snapshotName(snapshot.index, snapshot.term)
            switch disk.readSnapshot(directory, name, group: log.group, incarnation: log.incarnation) {
            case .success(let read):
                report.snapshots += 1
                report.bytes += read.state.count
            case .failure(.damaged(let offset)):
                add(snapshotDamage(name, offset, group: log.group, incarnation: log.incarnation), to: &report)
            case .failure(let error): throw StorageError(error, name)
            }
        }
        report.groups.append(
            CheckReport.Group(
                group: log.group,
                incarnation: log.incarnation,
                firstIndex: log.first,
                lastIndex: log.last,
                snapshotIndex: log.snapshotIndex,
                isFaulty: isFaulty
            )
        )
    }

    /// A damaged block that recovery met is reported once, with the range of the whole block.
    private static func add(_ damage: Damage, to report: inout CheckReport) {
        let known = report.damages.firstIndex { $0.file == damage.file && $0.offset == damage.offset }
        if let known { report.damages[known] = damage } else { report.damages.append(damage) }
    }

    private static func checkMeta<D: Disk>(
        _ disk: D,
        _ directory: DataDirectory,
        _ report: inout CheckReport
    ) throws(StorageError) {
        let names: [String]
        do throws(DiskError) {
            names = try disk.list(directory.meta)
        } catch {
            if error.code == ENOENT { return }
            throw StorageError(error)
        }
        for name in names where DataDirectory.isMetaName(name) {
            do throws(StorageError) {
                _ = try disk.readMeta(directory, name)
            } catch {
                guard case .corrupt(let damage) = error else { throw error }
                report.damages.append(damage)
            }
        }
    }

    private static func cut<D: Disk>(
        _ torn: Damage,
        at offset: Int,
        _ disk: D,
        _ directory: DataDirectory
    ) throws(StorageError) {
        do throws(DiskError) {
            let file = try disk.open("\(directory.root)/\(torn.file)", creating: false)
            defer { disk.close(file) }
            try disk.truncate(file, to: offset)
            try disk.synchronize(file)
        } catch {
            throw StorageError(error)
        }
    }
}

extension StorageError {
    init(_ error: FileReadError, _ name: String) {
        switch error {
        case .disk(let error): self.init(error)
        case .unsupported(let value): self = .unsupported(file: name, value: value)
        case .damaged(let offset): self = .corrupt(Damage(.file, file: name, offset: offset))
        }
    }
}
