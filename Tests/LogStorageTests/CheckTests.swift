import DiskSimulation
import LogFormat
import LogStorage
import OwnThread
import Primitives
import Testing

@Suite("Log check", .ownThread(nice: 5))
struct CheckTests {
    @Test("PS-09 a good log is reported good, with every block and record read")
    func clean() throws {
        let disk = try DamageTests.sample()
        let before = disk.operations
        let report = try LogCheck.run(disk: disk, directory: dataDirectory)
        #expect(report.isClean && !report.needsPeers)
        #expect(report.segments > 0 && report.blocks > 0 && report.snapshots == 4)
        #expect(report.groups.map(\.lastIndex) == [60, 60])
        #expect(report.lines.last == "the log is good")
        #expect(disk.operations == before)
    }

    @Test("PS-09 damage is located: file, byte, group and entries; repair does not touch it")
    func damagedBlock() throws {
        let disk = try DamageTests.sample()
        let file = try #require(disk.files.first { $0.contains("/1.0/") && $0.contains("-0000000000000001-") })
        disk.flipBit(of: file, byte: 120)
        let content = disk.bytes(of: file)
        let report = try LogCheck.run(disk: disk, directory: dataDirectory, repair: true)
        let damage = try #require(report.damages.first)
        #expect(damage.kind == .block && "data/" + damage.file == file && damage.offset == 64)
        #expect(damage.groups == [group(1)] && damage.indices?.lowerBound == 1)
        #expect(report.needsPeers && report.repairs.isEmpty)
        #expect(report.groups.first?.isFaulty == true)
        #expect(report.lines.contains { $0.contains("restore a backup") })
        #expect(disk.bytes(of: file) == content)
    }

    @Test("PS-09 a torn tail is told apart, keeps all before it, and repair cuts it")
    func tornTail() throws {
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
        disk.tamper(file) { bytes in bytes[end - 20] ^= 0xff }
        let report = try LogCheck.run(disk: disk, directory: dataDirectory)
        let torn = try #require(report.recovery.tornTail)
        #expect(report.damages.isEmpty && !report.needsPeers && !report.isClean)
        #expect(report.groups.first?.lastIndex == 5)
        #expect(report.lines.contains { $0.hasPrefix("torn tail: wal/") })
        let repaired = try LogCheck.run(disk: disk, directory: dataDirectory, repair: true)
        #expect(repaired.repairs.count == 1)
        #expect(disk.bytes(of: file)?.count == torn.offset)
        #expect(try LogCheck.run(disk: disk, directory: dataDirectory).isClean)
        let (_, recovery) = try openStore(disk, seed: 4)
        #expect(recovery.replica(1)?.lastIndex == 5)
    }

    @Test("PS-09 a flipped bit in any stored file is found")
    func everyFile() throws {
        let sample = try DamageTests.sample()
        for file in sample.files where !file.hasSuffix("spare") {
            let disk = sample.fork()
            // Behind the head of each kind of file, in what carries data.
            disk.flipBit(of: file, byte: file.hasSuffix(".wal") ? 64 + 50 : 70)
            let report = try LogCheck.run(disk: disk, directory: dataDirectory)
            #expect(!report.isClean, "\(file)")
            #expect(report.recovery.tornTail == nil, "\(file)")
        }
    }

    @Test("PS-09 a log in use is not checked")
    func inUse() throws {
        let disk = SimulatedDisk()
        let (store, _) = try openStore(disk)
        #expect(throws: StorageError.locked("data")) { try LogCheck.run(disk: disk, directory: dataDirectory) }
        try store.close()
    }
}
