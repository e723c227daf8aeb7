import LogFormat
import Primitives

/// The names under a data directory: `wal/`, `groups/<group>.<incarnation>/`, `meta/`.
struct DataDirectory: Sendable {
    let root: String

    /// The directory that holds the data directory's own name.
    var parent: String {
        guard let slash = root.lastIndex(of: "/") else { return "." }
        return slash == root.startIndex ? "/" : String(root[..<slash])
    }

    var wal: String { root + "/wal" }
    var groups: String { root + "/groups" }
    var meta: String { root + "/meta" }
    var spare: String { wal + "/spare" }
    var newFile: String { wal + "/new.tmp" }

    func group(_ group: GroupID, _ incarnation: UInt64) -> String {
        "\(groups)/\(DataDirectory.groupName(group, incarnation))"
    }

    static func groupName(_ group: GroupID, _ incarnation: UInt64) -> String { "\(group.rawValue).\(incarnation)" }

    static func parseGroup(_ name: String) -> (group: GroupID, incarnation: UInt64)? {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let group = UInt32(parts[0]), let incarnation = UInt64(parts[1]) else { return nil }
        return (GroupID(rawValue: group), incarnation)
    }

    static func walName(_ sequence: UInt64) -> String { hex(sequence) + ".wal" }

    static func parseWAL(_ name: String) -> UInt64? {
        guard name.hasSuffix(".wal"), name.utf8.count == 20 else { return nil }
        return UInt64(name.dropLast(4), radix: 16)
    }

    static func segmentName(_ sequence: UInt64, _ first: LogIndex, _ last: LogIndex) -> String {
        "\(hex(sequence))-\(hex(first))-\(hex(last)).seg"
    }

    static func parseSegment(_ name: String) -> (sequence: UInt64, first: LogIndex, last: LogIndex)? {
        guard name.hasSuffix(".seg") else { return nil }
        let parts = name.dropLast(4).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let sequence = UInt64(parts[0], radix: 16), let first = UInt64(parts[1], radix: 16),
            let last = UInt64(parts[2], radix: 16), first > 0, first <= last, last < .max
        else { return nil }
        return (sequence, first, last)
    }

    static func snapshotName(_ index: LogIndex, _ term: Term) -> String { "\(hex(index))-\(hex(term)).snap" }

    static func parseSnapshot(_ name: String) -> (index: LogIndex, term: Term)? {
        guard name.hasSuffix(".snap") else { return nil }
        let parts = name.dropLast(5).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let index = UInt64(parts[0], radix: 16), let term = UInt64(parts[1], radix: 16) else {
            return nil
        }
        return (index, term)
    }

    /// Letters, digits, `-`, `_` and `.`, not beginning with a dot, up to 64: what a meta file may be called.
    static func isMetaName(_ name: String) -> Bool {
        guard !name.isEmpty, name.utf8.count <= 64, name.utf8.first != UInt8(ascii: "."), !name.hasSuffix(".tmp") else {
            return false
        }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
    }

    /// Sixteen digits, so that names sort as numbers do.
    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
