/// A failed file operation: what was tried, on what, and the system's reason.
package struct DiskError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Operation: String, Sendable {
        case lock, makeDirectory, removeDirectory, list, open, size, preallocate, write, read, synchronize, truncate
        case rename, remove, link, synchronizeDirectory
    }

    package var operation: Operation
    package var path: String
    /// An `errno` value; 0 when the system gave none (a short read, for one).
    package var code: Int32

    package init(_ operation: Operation, _ path: String, _ code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    package var description: String { "\(operation.rawValue) \(path): errno \(code)" }
}

/// An open file of some `Disk`.
package struct DiskFile: Sendable {
    package var descriptor: Int32
    /// As it was opened, for error messages.
    package var path: String

    package init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }
}

/// The file operations that the log needs, synchronous and POSIX-like, so that a simulated disk can stand in and lose
/// exactly what a real one may lose: contents before `synchronize`, names before `synchronizeDirectory`.
///
/// Paths are plain strings with `/`. All calls may come from any thread.
package protocol Disk: Sendable {
    /// Takes the data directory for this process; fails with `EWOULDBLOCK` when another process has it.
    func lock(directory: String) throws(DiskError)
    func unlock(directory: String)
    /// Makes a directory whose parent exists; one that exists already is fine.
    func makeDirectory(_ path: String) throws(DiskError)
    /// Removes an empty directory.
    func removeDirectory(_ path: String) throws(DiskError)
    /// The names in a directory, sorted.
    func list(_ path: String) throws(DiskError) -> [String]
    func open(_ path: String, creating: Bool) throws(DiskError) -> DiskFile
    func close(_ file: DiskFile)
    func size(of file: DiskFile) throws(DiskError) -> Int
    /// Reserves space for the first `length` bytes; the file becomes at least that long, with zeros.
    func preallocate(_ file: DiskFile, length: Int) throws(DiskError)
    /// Writes at a byte offset; may write less than asked.
    func write(_ file: DiskFile, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) -> Int
    /// Reads from a byte offset; 0 at the end of the file.
    func read(_ file: DiskFile, into bytes: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int
    /// fdatasync(2): the file's contents and length are durable on return. After an error nothing about them is known.
    func synchronize(_ file: DiskFile) throws(DiskError)
    /// A hint that the file's contents are on their way to the disk from now on; nothing is durable by it.
    func startWriting(_ file: DiskFile)
    func truncate(_ file: DiskFile, to length: Int) throws(DiskError)
    func rename(_ path: String, to target: String) throws(DiskError)
    func remove(_ path: String) throws(DiskError)
    /// A second name for a file, as link(2) makes it.
    func link(_ path: String, to target: String) throws(DiskError)
    /// fsync(2) of a directory: names made, changed and removed in it are durable on return.
    func synchronizeDirectory(_ path: String) throws(DiskError)
}

extension Disk {
    package func startWriting(_ file: DiskFile) {}
}
