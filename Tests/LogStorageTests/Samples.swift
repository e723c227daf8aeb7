import DiskSimulation
import LogFormat
import LogStorage
import Primitives
import Testing

typealias Store = LogStore<SimulatedDisk>

let dataDirectory = "data"

/// Sizes so small that a short run rotates, flushes, merges and recycles.
func smallSettings() -> LogSettings {
    var settings = LogSettings()
    settings.walFileSize = 4096
    settings.flushStepBytes = 2048
    settings.mergeFanIn = 3
    settings.mergeFloor = 4096
    return settings
}

func group(_ number: UInt32) -> GroupID { GroupID(rawValue: number) }

/// Bytes that only this entry has, so that any mix-up is seen.
func sampleData(_ group: GroupID, _ index: LogIndex, _ term: Term) -> [UInt8] {
    var random = Xoshiro256(seed: UInt64(group.rawValue) << 48 ^ index << 16 ^ term)
    let length = Int(random.below(120))
    if random.chance(1, in: 2) { return Array("\(group) wrote \(index) in \(term); ".utf8) }
    return (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

func sampleEntry(_ group: GroupID, _ index: LogIndex, term: Term = 1) -> Entry {
    Entry(term: term, index: index, kind: .command, data: sampleData(group, index, term))
}

func sampleEntries(_ group: GroupID, _ indices: ClosedRange<LogIndex>, term: Term = 1) -> [Entry] {
    indices.map { sampleEntry(group, $0, term: term) }
}

func sampleState(_ group: GroupID, _ index: LogIndex) -> [UInt8] {
    Array(String(repeating: "state of \(group) at \(index). ", count: 40).utf8)
}

func sampleDescriptor(_ index: LogIndex, term: Term = 1) -> SnapshotDescriptor {
    SnapshotDescriptor(index: index, term: term, membership: Membership(voters: [NodeID(1), NodeID(2), NodeID(3)]))
}

func openStore(
    _ disk: SimulatedDisk,
    settings: LogSettings = smallSettings(),
    seed: UInt64 = 1
) throws -> (store: Store, recovery: Recovery) {
    try Store.open(disk: disk, directory: dataDirectory, settings: settings, seed: seed)
}

extension Recovery {
    func replica(_ number: UInt32) -> RestoredReplica? { replicas.first { $0.group == group(number) }?.replica }
}

extension LogStore {
    /// Flushes and merges until nothing is left to do.
    func settle() throws {
        var steps = 0
        while needsFlush {
            _ = try flushStep()
            steps += 1
            try #require(steps < 10_000, "flushing does not end")
        }
    }

    /// All entries of a group, read in pieces of `maxBytes`.
    func readAll(_ group: GroupID, maxBytes: Int = 500) throws -> [Entry] {
        let retained = retained(group: group)
        var entries: [Entry] = []
        var next = retained.firstIndex
        while next <= retained.lastIndex {
            let part = try read(group: group, from: next, upTo: retained.lastIndex, maxBytes: maxBytes)
            try #require(!part.isEmpty)
            entries.append(contentsOf: part)
            next += LogIndex(part.count)
        }
        return entries
    }
}
