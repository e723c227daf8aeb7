import Glibc
import Locks
import LogFormat
import Primitives

extension LogStore {
    /// Opens the log in `directory`, making it when there is none, and says what every replica begins from.
    ///
    /// Takes the directory for this process. Reads the heads and footers of segments, and all of the few write-ahead
    /// files that were not flushed yet. `seed` makes the salts of new files: random in production, so that nothing
    /// stored can look like a record.
    ///
    /// Fails with `.locked` when another process has the directory, `.unsupported` on files of a later version.
    /// Damage is not a failure: it is in the report, and the replicas concerned are faulty.
    package static func open(
        disk: D,
        directory root: String,
        settings: LogSettings = LogSettings(),
        seed: UInt64
    ) throws(StorageError) -> (store: LogStore, recovery: Recovery) {
        let directory = DataDirectory(root: root)
        do throws(DiskError) {
            try disk.makeDirectory(root)
            try disk.lock(directory: root)
        } catch {
            throw StorageError(error)
        }
        do throws(StorageError) {
            return try openLocked(disk, directory, settings, seed)
        } catch {
            disk.unlock(directory: root)
            throw error
        }
    }

    private static func openLocked(
        _ disk: D,
        _ directory: DataDirectory,
        _ settings: LogSettings,
        _ seed: UInt64
    ) throws(StorageError) -> (store: LogStore, recovery: Recovery) {
        do throws(DiskError) {
            for path in [directory.wal, directory.groups, directory.meta] { try disk.makeDirectory(path) }
            try disk.synchronizeDirectory(directory.root)
            // The parent may be another's; then making the data directory durable was its owner's business.
            do throws(DiskError) {
                try disk.synchronizeDirectory(directory.parent)
            } catch  where error.code == EACCES || error.code == EPERM {}
        } catch {
            throw StorageError(error)
        }
        var recoverer = Recoverer(disk, directory, settings)
        var recovery = try recoverer.run()
        do throws(DiskError) {
            if let suspect = recoverer.suspect {
                let file = try disk.open("\(directory.wal)/\(suspect.name)", creating: false)
                defer { disk.close(file) }
                try disk.writeAll(file, suspect.bytes, at: suspect.offset)
                try disk.synchronize(file)
            }
            try removeLeftovers(disk, directory, recoverer.replaced)
        } catch {
            throw StorageError(error)
        }
        let mixed = seed ^ SplitMix64.mix(recoverer.lastSequence &+ (recoverer.nextLSN << 20))
        let store = LogStore(
            disk: disk,
            directory: directory,
            settings: settings,
            state: recoverer.state,
            nextLSN: recoverer.nextLSN,
            salts: Xoshiro256(seed: mixed)
        )
        store.writer.header.sequence = recoverer.lastSequence
        store.shared.withLock { $0.mayMerge = true }
        do throws(StorageError) {
            // Never behind what was there: a new file, whose head names the last good record of the old one.
            try store.rotate()
        } catch {
            guard case .full = error else { throw error }
            recovery.report.isFull = true
        }
        return (store, recovery)
    }

    /// Files under temporary names were never finished, and lower incarnations were replaced by a durable record.
    private static func removeLeftovers(
        _ disk: D,
        _ directory: DataDirectory,
        _ replaced: [String]
    ) throws(DiskError) {
        for folder in [directory.wal, directory.meta] {
            for name in try disk.list(folder) where name.hasSuffix(".tmp") { try disk.remove("\(folder)/\(name)") }
        }
        for name in replaced { try disk.removeTree("\(directory.groups)/\(name)") }
        for name in try disk.list(directory.groups) {
            guard DataDirectory.parseGroup(name) != nil else { continue }
            let folder = "\(directory.groups)/\(name)"
            for file in try disk.list(folder) where file.hasSuffix(".tmp") { try disk.remove("\(folder)/\(file)") }
        }
    }
}
