import DiskSimulation
import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Damage", .ownThread(nice: 5))
struct DamageTests {
    /// A closed log with two groups: segments, snapshots, and write-ahead files.
    static func sample() throws -> SimulatedDisk {
        let disk = SimulatedDisk()
        var settings = smallSettings()
        settings.walFileSize = 1024
        let (store, _) = try openStore(disk, settings: settings)
        for round in LogIndex(0)..<12 {
            for number in UInt32(1)...2 {
                let first = round * 5 + 1
                try store.append([
                    LogItem(
                        group: group(number),
                        hardState: HardState(term: 1 + round / 4, vote: NodeID(1), commit: first),
                        entries: sampleEntries(group(number), first...(first + 4), term: 1 + round / 4)
                    )
                ])
                try store.sync()
            }
            if round == 5 {
                try store.settle()
                for number in UInt32(1)...2 {
                    for index in [LogIndex(10), 20] {
                        try store.saveSnapshot(
                            group: group(number),
                            descriptor: sampleDescriptor(index, term: (index - 1) / 20 + 1),
                            state: sampleState(group(number), index)
                        )
                    }
                }
            }
        }
        try store.close()
        return disk
    }

    /// Everything that is returned is right, and what cannot be returned is announced.
    static func verify(_ disk: SimulatedDisk, _ label: String) throws {
        let (store, recovery) = try openStore(disk, seed: 2)
        for number in UInt32(1)...2 {
            let group = group(number)
            guard let replica = recovery.replica(number) else {
                #expect(!recovery.report.damages.isEmpty, "\(label): a group is gone without a word")
                continue
            }
            if !replica.isFaulty {
                #expect(replica.lastIndex == 60, "\(label): lost entries of \(group)")
                #expect(replica.hardState == HardState(term: 3, vote: NodeID(1), commit: 56), "\(label)")
                #expect(replica.firstIndex == 1, "\(label)")
            }
            if let snapshot = replica.snapshot {
                #expect(replica.snapshotState == sampleState(group, snapshot.index), "\(label)")
                if snapshot.index < 20 { #expect(!recovery.report.damages.isEmpty, "\(label)") }
            }
            #expect(recovery.report.tornTail == nil, "\(label): acknowledged data was taken for a torn tail")
            for entry in replica.entries {
                #expect(entry == sampleEntry(group, entry.index, term: (entry.index - 1) / 20 + 1), "\(label)")
            }
            do {
                for entry in try store.readAll(group) {
                    #expect(entry == sampleEntry(group, entry.index, term: (entry.index - 1) / 20 + 1), "\(label)")
                }
            } catch StorageError.corrupt {
                // Announced: neither wrong bytes nor a silent end.
            }
        }
    }

    @Test("a flipped bit anywhere never gives wrong entries and never cuts what was acknowledged")
    func flippedBits() throws {
        let sample = try DamageTests.sample()
        for file in sample.files where !file.hasSuffix("spare") {
            let size = try #require(sample.bytes(of: file)).count
            for byte in stride(from: 3, to: size, by: 97) {
                let disk = sample.fork()
                disk.flipBit(of: file, byte: byte, bit: byte % 8)
                try DamageTests.verify(disk, "\(file) byte \(byte)")
            }
        }
    }

    @Test("a lost, empty, zeroed or cut file is announced, never taken for a torn tail")
    func lostFiles() throws {
        let sample = try DamageTests.sample()
        for file in sample.files where !file.hasSuffix("spare") && !file.contains(".snap") {
            let size = try #require(sample.bytes(of: file)).count
            for change in 0..<4 {
                let disk = sample.fork()
                switch change {
                case 0: disk.destroy(file)
                case 1: disk.tamper(file) { $0 = [] }
                case 2: disk.tamper(file) { $0 = [UInt8](repeating: 0, count: $0.count) }
                default: disk.tamper(file) { $0.removeLast($0.count - min($0.count, 60)) }
                }
                // Nothing on the node says that the newest write-ahead file, in which nothing was appended, was there.
                let label = "\(file) of \(size) bytes, change \(change)"
                let isLastFile = file == sample.files.last { $0.hasSuffix(".wal") }
                if change == 0, isLastFile { continue }
                let (_, recovery) = try openStore(disk, seed: 2)
                #expect(!recovery.report.damages.isEmpty, "\(label)")
                #expect(recovery.replicas.contains { $0.replica.isFaulty }, "\(label)")
                #expect(recovery.report.tornTail == nil, "\(label)")
            }
        }
    }

    @Test("damage to a record concerns the groups in it, and outlives restarts until it is repaired")
    func faultySticks() throws {
        let disk = try DamageTests.sample()
        let file = try #require(disk.files.last { $0.hasSuffix(".wal") })
        let bytes = try #require(disk.bytes(of: file))
        // The second record: the first batch behind the checkpoint, which is of one group.
        let offset = try bytes.withUnsafeBytes { raw -> Int in
            guard case .valid(let checkpoint) = RecordHeader.decode(raw, at: WALFileHeader.size) else {
                throw DecodeError.truncated
            }
            return WALFileHeader.size + checkpoint.totalLength
        }
        let groups = try bytes.withUnsafeBytes { raw -> [GroupID] in
            guard case .valid(let header) = RecordHeader.decode(raw, at: offset) else { throw DecodeError.truncated }
            return try #require(header.directory(raw, at: offset))
        }
        disk.flipBit(of: file, byte: offset + RecordHeader.size + 9)
        for life in UInt64(0)..<3 {
            let (store, recovery) = try openStore(disk, seed: life)
            let faulty = recovery.replicas.filter { $0.replica.isFaulty }.map(\.group)
            #expect(faulty == groups, "life \(life)")
            if life == 0 {
                let damage = try #require(recovery.report.damages.first)
                #expect(damage.kind == .record && damage.offset == offset && damage.groups == groups)
            }
            try store.settle()
            try store.close()
        }
        // The damaged file was set aside, not removed.
        #expect(disk.files.contains { $0.hasSuffix(".damaged") })
        let (store, _) = try openStore(disk, seed: 9)
        let repaired = groups[0]
        try store.installSnapshot(
            group: repaired,
            descriptor: sampleDescriptor(70, term: 4),
            state: sampleState(repaired, 70),
            entries: []
        )
        try store.close()
        let (_, recovery) = try openStore(disk, seed: 10)
        #expect(!recovery.replicas.contains { $0.replica.isFaulty })
        #expect(recovery.replica(repaired.rawValue)?.lastIndex == 70)
    }

    @Test("a torn record above the durable position is cut, below it the groups are faulty")
    func tornOrCorrupt() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        try store.append([
            LogItem(group: group(1), hardState: HardState(term: 1), entries: sampleEntries(group(1), 1...5))
        ])
        try store.sync()
        try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), 6...10))])
        disk.crash(keeping: .everything)
        let file = try #require(disk.files.last { $0.hasSuffix(".wal") })
        let end = try #require(disk.bytes(of: file)?.lastIndex { $0 != 0 })
        let torn = disk.fork()
        torn.tamper(file) { bytes in for index in (end - 30)...end { bytes[index] = 0 } }
        let (_, recovery) = try openStore(torn, seed: 3)
        #expect(recovery.replica(1)?.lastIndex == 5)
        #expect(recovery.replica(1)?.isFaulty == false)
        #expect(recovery.report.tornTail != nil && recovery.report.damages.isEmpty)

        // The same bytes, but a later record says that they were durable.
        let (again, _) = try openStore(disk, seed: 3)
        try again.close()
        disk.tamper(file) { bytes in for index in (end - 30)...end { bytes[index] = 0 } }
        let (_, second) = try openStore(disk, seed: 4)
        #expect(second.replica(1)?.isFaulty == true)
        #expect(second.report.tornTail == nil && !second.report.damages.isEmpty)
    }

    @Test("records of a recycled file's earlier life are never read")
    func recycledFiles() throws {
        let disk = SimulatedDisk()
        var settings = smallSettings()
        settings.walFileSize = 2048
        let (store, _) = try openStore(disk, settings: settings)
        var next: LogIndex = 1
        var lives = 0
        while store.statistics.recycledFiles < 5 {
            try store.append([LogItem(group: group(1), entries: sampleEntries(group(1), next...(next + 3)))])
            try store.sync()
            next += 4
            try store.settle()
            lives += 1
            try #require(lives < 2000)
            let copy = disk.fork()
            copy.crash(keeping: lives % 2 == 0 ? .nothing : .everything)
            let (_, recovery) = try openStore(copy, settings: settings, seed: 5)
            #expect(recovery.replica(1)?.lastIndex == next - 1)
            #expect(recovery.report.damages.isEmpty)
        }
    }

    @Test("PS-09 a corrupt newest snapshot gives way to the one before while the log covers the difference")
    func corruptSnapshot() throws {
        let sample = try DamageTests.sample()
        let newest = try #require(sample.files.last { $0.contains("/1.0/") && $0.hasSuffix(".snap") })
        sample.flipBit(of: newest, byte: 100)
        let (store, recovery) = try openStore(sample, seed: 2)
        #expect(recovery.replica(1)?.snapshot?.index == 10)
        #expect(recovery.replica(1)?.isFaulty == false)
        #expect(recovery.report.damages.map(\.kind) == [.snapshot])
        #expect(try store.newestSnapshot(group: group(1))?.descriptor.index == 10)
        // Not even a damaged file is removed on suspicion.
        #expect(sample.files.contains(newest))
        try store.close()

        let both = try DamageTests.sample()
        for file in both.files where file.contains("/1.0/") && file.hasSuffix(".snap") {
            both.flipBit(of: file, byte: 100)
        }
        let (_, second) = try openStore(both, seed: 2)
        #expect(second.replica(1)?.snapshot == nil)
        #expect(second.replica(1)?.firstIndex == 1)
        #expect(second.report.damages.count == 2)
    }

    @Test("a segment's damaged footer is rebuilt from its blocks")
    func rebuiltFooter() throws {
        let disk = try DamageTests.sample()
        let file = try #require(disk.files.first { $0.hasSuffix(".seg") })
        disk.tamper(file) { bytes in bytes[bytes.count - 40] ^= 0x55 }
        let (store, recovery) = try openStore(disk, seed: 2)
        #expect(recovery.report.damages.map(\.kind) == [.segment])
        #expect(!recovery.replicas.contains { $0.replica.isFaulty })
        #expect(try store.readAll(group(1)).count == 60)
    }

    @Test("a file of a later version stops the node")
    func laterVersion() throws {
        let disk = try DamageTests.sample()
        let file = try #require(disk.files.last { $0.hasSuffix(".wal") })
        disk.tamper(file) { bytes in
            bytes[8] = 2
            let sum = CRC32C.checksum(Array(bytes[0..<60]))
            for index in 0..<4 { bytes[60 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index)) }
        }
        #expect(throws: StorageError.unsupported(file: String(file.suffix(20)), value: 2)) { try openStore(disk) }
    }
}
