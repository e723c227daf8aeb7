import LogFormat
import Primitives

/// Something that is not as it was written: where it is, whom it concerns, and what is lost.
package struct Damage: Equatable, Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// The end of the write-ahead log was never acknowledged as durable: cut.
        case tornTail = "torn tail"
        /// A write-ahead record at or below the durable position.
        case record = "damaged record"
        /// A write-ahead file without a readable head, or one whose records end too early.
        case file = "damaged file"
        /// A write-ahead file is not there.
        case missingFile = "missing file"
        /// The log has a hole, or ends before where it must.
        case missingEntries = "missing entries"
        case segment = "damaged segment"
        case block = "damaged block"
        case snapshot = "damaged snapshot"
        case meta = "damaged meta file"
    }

    package var kind: Kind
    /// Relative to the data directory.
    package var file: String
    package var offset: Int?
    package var lsns: ClosedRange<UInt64>?
    /// Sorted; nil when it cannot be told, and then every group is suspect.
    package var groups: [GroupID]?
    package var indices: ClosedRange<LogIndex>?

    package init(
        _ kind: Kind,
        file: String,
        offset: Int? = nil,
        lsns: ClosedRange<UInt64>? = nil,
        groups: [GroupID]? = nil,
        indices: ClosedRange<LogIndex>? = nil
    ) {
        self.kind = kind
        self.file = file
        self.offset = offset
        self.lsns = lsns
        self.groups = groups
        self.indices = indices
    }

    package var description: String {
        var text = "\(kind.rawValue): \(file)"
        if let offset { text += " at byte \(offset)" }
        if let lsns { text += ", records \(lsns.lowerBound)...\(lsns.upperBound)" }
        if let groups {
            text += ", groups " + groups.map(\.description).joined(separator: " ")
        } else if kind != .tornTail && kind != .meta {
            text += ", all groups"
        }
        if let indices { text += ", entries \(indices.lowerBound)...\(indices.upperBound)" }
        return text
    }
}

/// What opening the log found.
package struct RecoveryReport: Equatable, Sendable {
    /// Write-ahead files read.
    package var files = 0
    /// Write-ahead records applied, and the bytes of files read for them.
    package var records = 0
    package var bytes = 0
    package var segments = 0
    package var snapshots = 0
    /// Records that were written but never acknowledged as durable, and could not be read whole: cut.
    package var tornTail: Damage?
    /// Damage to what was acknowledged. Nothing of it was cut; the replicas concerned are faulty.
    package var damages: [Damage] = []
    /// Of records that were lost it cannot be told which groups they belonged to: one that is not on this disk may have
    /// been here, and may have voted and acknowledged.
    package var isIncomplete = false
    /// Directories under `groups/` that the log does not name: left alone.
    package var unreferenced: [String] = []
    /// The disk was full when the next write-ahead file was to be made; the first append tries again.
    package var isFull = false

    package init() {}
}

/// What opening the log gives.
package struct Recovery: Sendable {
    /// Sorted by group.
    package var replicas: [(group: GroupID, replica: RestoredReplica)] = []
    package var report = RecoveryReport()
}
