import CPosixShims
import Glibc
import Locks

/// The real disk.
package final class PosixDisk: Disk {
    /// Descriptors of `LOCK` files that this object holds, by directory.
    private let locks = Lock<[String: Int32]>([:])

    package init() {}

    deinit {
        locks.withLock { held in
            for descriptor in held.values { _ = Glibc.close(descriptor) }
        }
    }

    package func lock(directory: String) throws(DiskError) {
        let path = directory + "/LOCK"
        let descriptor = vencejo_open(path, O_RDWR | O_CREAT, 0o640)
        guard descriptor >= 0 else { throw DiskError(.lock, path, errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            _ = Glibc.close(descriptor)
            throw DiskError(.lock, path, code)
        }
        locks.withLock { $0[directory] = descriptor }
    }

    package func unlock(directory: String) {
        let held = locks.withLock { $0.removeValue(forKey: directory) }
        if let held { _ = Glibc.close(held) }
    }

    package func makeDirectory(_ path: String) throws(DiskError) {
        if mkdir(path, 0o750) != 0, errno != EEXIST { throw DiskError(.makeDirectory, path, errno) }
    }

    package func removeDirectory(_ path: String) throws(DiskError) {
        guard rmdir(path) == 0 else { throw DiskError(.removeDirectory, path, errno) }
    }

    package func list(_ path: String) throws(DiskError) -> [String] {
        guard let stream = opendir(path) else { throw DiskError(.list, path, errno) }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let item = readdir(stream) {
            let name = withUnsafePointer(to: &item.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw DiskError(.list, path, errno) }
        return names.sorted()
    }

    package func open(_ path: String, creating: Bool) throws(DiskError) -> DiskFile {
        let descriptor = vencejo_open(path, O_RDWR | (creating ? O_CREAT : 0), 0o640)
        guard descriptor >= 0 else { throw DiskError(.open, path, errno) }
        return DiskFile(descriptor: descriptor, path: path)
    }

    package func close(_ file: DiskFile) { _ = Glibc.close(file.descriptor) }

    package func size(of file: DiskFile) throws(DiskError) -> Int {
        var information = stat()
        guard fstat(file.descriptor, &information) == 0 else { throw DiskError(.size, file.path, errno) }
        return Int(information.st_size)
    }

    package func preallocate(_ file: DiskFile, length: Int) throws(DiskError) {
        let code = vencejo_preallocate(file.descriptor, 0, off_t(length))
        guard code == 0 else { throw DiskError(.preallocate, file.path, code) }
    }

    package func write(_ file: DiskFile, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        while true {
            let count = pwrite(file.descriptor, bytes.baseAddress, bytes.count, off_t(offset))
            if count >= 0 { return count }
            guard errno == EINTR else { throw DiskError(.write, file.path, errno) }
        }
    }

    package func read(
        _ file: DiskFile,
        into bytes: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(DiskError) -> Int {
        while true {
            let count = pread(file.descriptor, bytes.baseAddress, bytes.count, off_t(offset))
            if count >= 0 { return count }
            guard errno == EINTR else { throw DiskError(.read, file.path, errno) }
        }
    }

    package func synchronize(_ file: DiskFile) throws(DiskError) {
        let code = vencejo_fdatasync(file.descriptor)
        guard code == 0 else { throw DiskError(.synchronize, file.path, code) }
    }

    package func startWriting(_ file: DiskFile) { vencejo_start_writing(file.descriptor) }

    package func truncate(_ file: DiskFile, to length: Int) throws(DiskError) {
        guard ftruncate(file.descriptor, off_t(length)) == 0 else { throw DiskError(.truncate, file.path, errno) }
    }

    package func rename(_ path: String, to target: String) throws(DiskError) {
        guard Glibc.rename(path, target) == 0 else { throw DiskError(.rename, path, errno) }
    }

    package func remove(_ path: String) throws(DiskError) {
        guard unlink(path) == 0 else { throw DiskError(.remove, path, errno) }
    }

    package func link(_ path: String, to target: String) throws(DiskError) {
        guard Glibc.link(path, target) == 0 else { throw DiskError(.link, target, errno) }
    }

    package func synchronizeDirectory(_ path: String) throws(DiskError) {
        let descriptor = vencejo_open(path, O_RDONLY | O_DIRECTORY, 0)
        guard descriptor >= 0 else { throw DiskError(.synchronizeDirectory, path, errno) }
        defer { _ = Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw DiskError(.synchronizeDirectory, path, errno) }
    }
}
