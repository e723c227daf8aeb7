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
        let temporary = path + ".tmp"
        do throws(DiskError) {
            let file = try open(temporary, creating: true)
            defer { close(file) }
            try truncate(file, to: 0)
            try writeAll(file, bytes, at: 0)
            try synchronize(file)
            try rename(temporary, to: path)
        } catch {
            try? remove(temporary)
            throw error
        }
        try synchronizeDirectory(directory)
    }

    func exists(_ name: String, in directory: String) throws(DiskError) -> Bool {
        try list(directory).contains(name)
    }
}
