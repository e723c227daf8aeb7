import Glibc
import Locks
import LogFormat
import Primitives

extension LogStore {
    /// Replaces the small file `name` as a whole, durably. Names are up to 64 letters, digits, `-`, `_` and `.`.
    package func writeMeta(_ name: String, _ content: [UInt8]) throws(StorageError) {
        guard DataDirectory.isMetaName(name) else { throw .invalidName(name) }
        guard content.count <= LogLimits.meta else {
            throw .tooLarge(field: "meta", size: content.count, limit: LogLimits.meta)
        }
        try locked { (state) throws(StorageError) in try state.checkUsable() }
        try maintain { () throws(DiskError) in
            let bytes = MetaFormat.encode(name: name, bytes: content)
            try disk.replace("\(directory.meta)/\(name)", in: directory.meta, with: bytes)
        }
    }

    /// The bytes last written under `name`; nil when there are none, `.corrupt` when they are damaged.
    package func readMeta(_ name: String) throws(StorageError) -> [UInt8]? {
        guard DataDirectory.isMetaName(name) else { throw .invalidName(name) }
        return try disk.readMeta(directory, name)
    }

    /// Copies the log as it is now into the empty or new directory `target`, while appends go on: a directory that
    /// opens like this one did. Immutable files are linked (or copied, where links do not reach), write-ahead files
    /// are copied up to the last complete record. Entries appended during the call may or may not be in it.
    package func backup(to target: String) throws(StorageError) {
        let copy = DataDirectory(root: target)
        try attempt { () throws(DiskError) in
            for path in [target, copy.wal, copy.groups, copy.meta] { try disk.makeDirectory(path) }
        }
        // Maintenance is here, so no segment or write-ahead file can go away meanwhile.
        let (files, groups) = shared.withLock { state -> ([(String, Int)], [(GroupID, UInt64)]) in
            var files = state.sealed.map { ($0.name, $0.bytes) }
            if let active = state.active { files.append((active.name, active.end)) }
            return (files, state.groups.map { ($0.group, $0.incarnation) })
        }
        try attempt { () throws(DiskError) in
            for (name, length) in files {
                try disk.copyFile("\(directory.wal)/\(name)", to: "\(copy.wal)/\(name)", length: length)
            }
            let present = try disk.list(directory.groups)
            for (group, incarnation) in groups {
                let name = DataDirectory.groupName(group, incarnation)
                guard present.contains(name) else { continue }
                try disk.makeDirectory("\(copy.groups)/\(name)")
                try disk.share("\(directory.groups)/\(name)", with: "\(copy.groups)/\(name)")
            }
            try disk.share(directory.meta, with: copy.meta)
            for path in [copy.wal, copy.groups, target] { try disk.synchronizeDirectory(path) }
        }
    }
}

extension Disk {
    func readMeta(_ directory: DataDirectory, _ name: String) throws(StorageError) -> [UInt8]? {
        let bytes: [UInt8]
        do throws(DiskError) {
            bytes = try contents(of: "\(directory.meta)/\(name)", limit: LogLimits.meta + 64)
        } catch {
            if error.code == ENOENT { return nil }
            throw StorageError(error)
        }
        do throws(DecodeError) {
            return try bytes.withBytes { (raw) throws(DecodeError) in try MetaFormat.decode(name: name, raw) }
        } catch {
            if case .unknown(_, let value) = error { throw .unsupported(file: "meta/\(name)", value: value) }
            throw .corrupt(Damage(.meta, file: "meta/\(name)"))
        }
    }

    /// Gives every finished file of a directory a second name in another one.
    func share(_ folder: String, with target: String) throws(DiskError) {
        for name in try list(folder) where !name.hasSuffix(".tmp") {
            do throws(DiskError) {
                try link("\(folder)/\(name)", to: "\(target)/\(name)")
            } catch  where error.code == EXDEV || error.code == EPERM || error.code == EMLINK {
                try copyFile("\(folder)/\(name)", to: "\(target)/\(name)", length: nil)
            }
        }
        try synchronizeDirectory(target)
    }

    func copyFile(_ path: String, to target: String, length: Int?) throws(DiskError) {
        let source = try open(path, creating: false)
        defer { close(source) }
        let copy = try open(target, creating: true)
        defer { close(copy) }
        var left = if let length { length } else { try size(of: source) }
        var offset = 0
        while left > 0 {
            let bytes = try readUpTo(source, count: min(left, 1 << 20), at: offset)
            guard !bytes.isEmpty else { break }
            try writeAll(copy, bytes, at: offset)
            offset += bytes.count
            left -= bytes.count
        }
        try synchronize(copy)
    }
}
