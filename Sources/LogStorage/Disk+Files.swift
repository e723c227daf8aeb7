import Glibc
import LogFormat

extension Disk {
    /// Writes all of `bytes`; a write that makes no progress is a full disk.
    func writeAll(_ file: DiskFile, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = try write(file, rest, at: offset + done)
            guard count > 0 else { throw DiskError(.write, file.path, ENOSPC) }
            done += count
        }
    }

    func writeAll(_ file: DiskFile, _ bytes: [UInt8], at offset: Int) throws(DiskError) {
        try bytes.withBytes { (raw) throws(DiskError) in try writeAll(file, raw, at: offset) }
    }

    /// Reads exactly `count` bytes; less is an error with code 0.
    func readExactly(_ file: DiskFile, count: Int, at offset: Int) throws(DiskError) -> [UInt8] {
        let bytes = try readUpTo(file, count: count, at: offset)
        guard bytes.count == count else { throw DiskError(.read, file.path, 0) }
        return bytes
    }

    func readUpTo(_ file: DiskFile, count: Int, at offset: Int) throws(DiskError) -> [UInt8] {
        var failure: DiskError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(DiskError) {
                while filled < count {
                    let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...])
                    let got = try read(file, into: rest, at: offset + filled)
                    if got == 0 { break }
                    filled += got
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// A whole file of at most `limit` bytes; `EFBIG` above.
    package func contents(of path: String, limit: Int) throws(DiskError) -> [UInt8] {
        let file = try open(path, creating: false)
        defer { close(file) }
        let length = try size(of: file)
        guard length <= limit else { throw DiskError(.read, path, EFBIG) }
        return try readUpTo(file, count: length, at: 0)
    }

    /// Makes `path` hold `bytes`, durably and as a whole: under a temporary name, synced, renamed, directory synced.
    /// On an error before the rename the temporary file is removed and nothing has changed.
    func replace(_ path: String, in directory: String, with bytes: [UInt8]) throws(DiskError) {
        try replace([WholeFile(path: path, directory: directory, bytes: bytes)])
    }

    /// The same for several files, which take each step together: what a file system commits for one of them it then
    /// commits for all, so that many files take little more of the disk's time than one. Whoever syncs there waits for
    /// every commit. On an error those that were renamed are removed as well, so with others in the list a file must be
    /// new.
    func replace(_ files: [WholeFile]) throws(DiskError) {
        var opened: [DiskFile] = []
        defer { for file in opened { close(file) } }
        var renamed = 0
        do throws(DiskError) {
            for file in files {
                let made = try open(file.temporary, creating: true)
                opened.append(made)
                try truncate(made, to: 0)
                try writeAll(made, file.bytes, at: 0)
                if files.count > 1 { startWriting(made) }
            }
            for file in opened { try synchronize(file) }
            for file in files {
                try rename(file.temporary, to: file.path)
                renamed += 1
            }
        } catch {
            for (row, file) in files.enumerated() { try? remove(row < renamed ? file.path : file.temporary) }
            throw error
        }
        for directory in Set(files.map(\.directory)).sorted() { try synchronizeDirectory(directory) }
    }

    func exists(_ name: String, in directory: String) throws(DiskError) -> Bool {
        try list(directory).contains(name)
    }
}

/// A file that is written as a whole, and the directory that it lies in.
struct WholeFile {
    var path: String
    var directory: String
    var bytes: [UInt8]

    var temporary: String { path + ".tmp" }
}
