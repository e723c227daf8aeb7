import Placement
import Primitives
import Raft

/// What a surviving node's disk has of one group.
package struct SurvivingCopy: Equatable, Sendable {
    package var group: GroupID
    /// Part of its log is damaged, or the copy was removed: it cannot be gone on from.
    package var isFaulty: Bool
    /// The membership in force at the commit index, and after each later change that the log holds: any of them may be
    /// the one that a leader would need a majority of.
    package var memberships: [Membership]
    package var commit: LogIndex
    package var lastIndex: LogIndex
    package var lastTerm: Term
    /// The highest that it has seen.
    package var term: Term

    package init(
        group: GroupID,
        isFaulty: Bool = false,
        memberships: [Membership],
        commit: LogIndex,
        lastIndex: LogIndex,
        lastTerm: Term,
        term: Term
    ) {
        self.group = group
        self.isFaulty = isFaulty
        self.memberships = memberships
        self.commit = commit
        self.lastIndex = lastIndex
        self.lastTerm = lastTerm
        self.term = term
    }

    /// Something can be gone on from.
    var isSound: Bool { !isFaulty && lastIndex > 0 }

    /// Raft's order of logs (5.4.1).
    func isLessComplete(than other: SurvivingCopy) -> Bool {
        (lastTerm, lastIndex) < (other.lastTerm, other.lastIndex)
    }
}

/// Reads one group's copy from its snapshot to the end of its log.
package struct CopyReader: Sendable {
    package private(set) var copy: SurvivingCopy
    /// Of the control group, at the end of what was read.
    package private(set) var control = ControlState()
    /// The entry that is to be read next; above `copy.lastIndex` when there is none.
    package private(set) var next: LogIndex

    /// - Parameter base: the members before the log's first entry; of no consequence behind a snapshot.
    package init(_ group: GroupID, _ restored: RestoredReplica, base: Membership) throws(DecodeError) {
        let log = RaftLog(restored)
        copy = SurvivingCopy(
            group: group,
            isFaulty: restored.isFaulty,
            memberships: [restored.snapshot?.membership ?? base],
            commit: log.commit,
            lastIndex: log.lastIndex,
            lastTerm: log.lastTerm,
            term: restored.hardState.term
        )
        next = log.applied + 1
        if group == .control, restored.snapshot != nil {
            control = try ControlState(snapshot: restored.snapshotState)
        }
    }

    package var isAtEnd: Bool { next > copy.lastIndex }

    /// Takes the entries from `next` on.
    package mutating func read(_ entries: [Entry]) throws(DecodeError) {
        for entry in entries where entry.index == next {
            next += 1
            switch entry.kind {
            case .noop: break
            case .command:
                if copy.group == .control { _ = control.apply(try ControlCommand(decoding: entry.data)) }
            case .membership:
                guard let last = copy.memberships.last,
                    let changed = try MembershipChange(decoding: entry.data).applied(to: last)
                else { continue }
                if entry.index <= copy.commit { copy.memberships.removeLast() }
                copy.memberships.append(changed)
            }
        }
    }
}

/// What one surviving node has: its part in the decision how the cluster goes on. Carried between nodes as a file.
package struct SurvivorReport: Equatable, Sendable {
    package var cluster: String
    package var node: NodeID
    package var name: String
    /// The control group's state at the end of its log here.
    package var control: ControlState
    /// Sorted by group.
    package var copies: [SurvivingCopy]

    package init(cluster: String, node: NodeID, name: String, control: ControlState, copies: [SurvivingCopy]) {
        self.cluster = cluster
        self.node = node
        self.name = name
        self.control = control
        self.copies = copies.sorted { $0.group < $1.group }
    }

    private static let magic: [UInt8] = Array("VREC".utf8)
    private static let format: UInt8 = 1

    /// Magic, format u8, the content, and a CRC32C of everything before it.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 4096)
        writer.writeRaw(SurvivorReport.magic)
        writer.write(SurvivorReport.format)
        writer.writeString(cluster)
        writer.write(node.rawValue)
        writer.writeString(name)
        writer.writeBytes(control.encodeSnapshot())
        writer.writeVarint(UInt64(copies.count))
        for copy in copies {
            writer.writeVarint(UInt64(copy.group.rawValue))
            writer.write(UInt8(copy.isFaulty ? 1 : 0))
            writer.writeVarint(UInt64(copy.memberships.count))
            for membership in copy.memberships { writer.write(membership) }
            for number in [copy.commit, copy.lastIndex, copy.lastTerm, copy.term] { writer.writeVarint(number) }
        }
        writer.write(CRC32C.checksum(writer.bytes))
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(DecodeError) {
        guard bytes.count > 9, bytes.starts(with: SurvivorReport.magic) else { throw .malformed("survivor report") }
        let content = Array(bytes.dropLast(4))
        let sum = bytes.suffix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard CRC32C.checksum(content) == sum else { throw .malformed("survivor report's checksum") }
        self = try decoding(content) { reader throws(DecodeError) in
            _ = try reader.readRaw(count: SurvivorReport.magic.count)
            let format = try reader.readByte()
            guard format == SurvivorReport.format else {
                throw .unknown(field: "survivor report's format", value: UInt64(format))
            }
            let cluster = try reader.readString(limit: 255, "cluster")
            let node = NodeID(try reader.read(UInt64.self))
            let name = try reader.readString(limit: 255, "node name")
            let control = try ControlState(snapshot: try reader.readBytes(limit: reader.remaining, "control state"))
            var copies: [SurvivingCopy] = []
            for _ in 0..<(try reader.readCount(limit: 1 << 16, "copies")) {
                let number = try reader.readCount(limit: Int(UInt32.max), "group")
                let isFaulty = try reader.readByte() != 0
                var memberships: [Membership] = []
                for _ in 0..<(try reader.readCount(limit: reader.remaining, "memberships")) {
                    memberships.append(try reader.readMembership())
                }
                copies.append(
                    SurvivingCopy(
                        group: GroupID(rawValue: UInt32(number)),
                        isFaulty: isFaulty,
                        memberships: memberships,
                        commit: try reader.readVarint(),
                        lastIndex: try reader.readVarint(),
                        lastTerm: try reader.readVarint(),
                        term: try reader.readVarint()
                    )
                )
            }
            return SurvivorReport(cluster: cluster, node: node, name: name, control: control, copies: copies)
        }
    }
}
