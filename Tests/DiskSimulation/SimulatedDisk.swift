import Glibc
import Locks
import LogStorage
import Primitives

/// A disk in memory that loses what a real one may lose.
///
/// Contents count as durable after `synchronize`, names after `synchronizeDirectory`; everything else may be there
/// after a crash, in part, or not. A failed `synchronize` leaves the contents readable but, as on Linux, marks them
/// clean: a later one succeeds without writing them.
package final class SimulatedDisk: Disk {
    /// What a crash leaves of everything that was not synced.
    package enum Survival: Sendable {
        /// Nothing.
        case nothing
        /// All of it, as after a `kill -9`.
        case everything
        /// The first changes in order; the last one of each file torn in the middle.
        case prefix(seed: UInt64)
        /// Any sectors of any writes, in any order; the first changes of names of each directory.
        case anySectors(seed: UInt64)
    }

    /// Faults to come; each is used up, or lasts, as it says.
    package struct Faults: Sendable {
        /// Every operation that changes something fails from the one with this number on (the power is off).
        package var powerOffAt: Int?
        /// This many syncs from now, one fails with EIO; 0 is the next one.
        package var failSyncAfter: Int?
        /// Bytes that all files together may hold.
        package var capacity: Int?
        /// Every write takes at most this many bytes.
        package var longestWrite: Int?

        package init() {}
    }

    struct Node: Sendable {
        var content: [UInt8] = []
        var durable: [UInt8] = []
        /// Changes of content since the last sync, in order.
        var pending: [Change] = []
        var links = 0
    }

    enum Change: Sendable {
        case write(offset: Int, bytes: [UInt8])
        case length(Int)
    }

    enum NameChange: Sendable {
        case set(String, Int)
        case remove(String)
        case rename(String, String, Int)
    }

    struct Folder: Sendable {
        var names: [String: Int] = [:]
        var durable: [String: Int] = [:]
        var pending: [NameChange] = []
    }

    struct Contents: Sendable {
        var nodes: [Int: Node] = [:]
        var nextNode = 1
        /// Directories by path; a directory's own existence is a name in its parent with node 0.
        var folders: [String: Folder] = ["": Folder()]
        var open: [Int32: Int] = [:]
        var nextDescriptor: Int32 = 3
        var locked: [String] = []
        var operations = 0
        var faults = Faults()
        var used = 0
    }

    let contents: Lock<Contents>
    private let hook = Lock<(@Sendable (Int) -> Void)?>(nil)

    package init() { contents = Lock(Contents()) }

    private init(_ other: Contents) { contents = Lock(other) }

    /// A disk with the same contents, durable and not; nothing open, nothing locked, no faults.
    package func fork() -> SimulatedDisk {
        var copy = contents.withLock { $0 }
        copy.open = [:]
        copy.locked = []
        copy.faults = Faults()
        copy.operations = 0
        return SimulatedDisk(copy)
    }

    // MARK: - For tests

    /// Operations so far that change something: writes, syncs, and everything with names.
    package var operations: Int { contents.withLock { $0.operations } }

    package var faults: Faults {
        get { contents.withLock { $0.faults } }
        set { contents.withLock { $0.faults = newValue } }
    }

    /// Called before each operation that changes something, with its number: a test can `fork` the disk there, and so
    /// crash at every boundary in one run.
    package var beforeOperation: (@Sendable (Int) -> Void)? {
        get { hook.withLock { $0 } }
        set { hook.withLock { $0 = newValue } }
    }

    func announce() {
        guard let hook = beforeOperation else { return }
        hook(operations)
    }

    /// Bytes of all files.
    package var usedBytes: Int { contents.withLock { $0.used } }

    /// Cuts the power: what was not durable survives as `survival` says, everything open is closed.
    package func crash(keeping survival: Survival) { contents.withLock { $0.crash(survival) } }

    /// The path of every file, sorted.
    package var files: [String] {
        contents.withLock { state in
            var paths: [String] = []
            for (path, folder) in state.folders {
                for (name, node) in folder.names where node != 0 { paths.append("\(path)/\(name)") }
            }
            return paths.sorted()
        }
    }

    package func bytes(of path: String) -> [UInt8]? {
        contents.withLock { state in state.node(path).flatMap { state.nodes[$0]?.content } }
    }

    /// Changes a file behind everyone's back, as decay or a stray write would: durable at once.
    package func tamper(_ path: String, _ change: (inout [UInt8]) -> Void) {
        contents.withLock { state in
            guard let node = state.node(path), var found = state.nodes[node] else { return }
            change(&found.content)
            found.durable = found.content
            found.pending = []
            state.nodes[node] = found
        }
    }

    package func flipBit(of path: String, byte: Int, bit: Int = 0) {
        tamper(path) { $0[byte] ^= 1 << UInt8(bit) }
    }

    /// Makes a file vanish, durably.
    package func destroy(_ path: String) {
        contents.withLock { state in
            let (folder, name) = Contents.split(path)
            state.folders[folder]?.names[name] = nil
            state.folders[folder]?.durable[name] = nil
        }
    }

    // MARK: - Disk

    package func lock(directory: String) throws(DiskError) {
        let taken = contents.withLock { state -> Bool in
            if state.locked.contains(directory) { return true }
            state.locked.append(directory)
            return false
        }
        if taken { throw DiskError(.lock, directory, EWOULDBLOCK) }
    }

    package func unlock(directory: String) {
        contents.withLock { $0.locked.removeAll { $0 == directory } }
    }

    package func makeDirectory(_ path: String) throws(DiskError) {
        try change(.makeDirectory, path) { state in
            // One that was removed is still there for a crash to bring back.
            if state.isVisible(path) { return 0 }
            let (parent, name) = Contents.split(path)
            guard state.folders[parent] != nil else { return ENOENT }
            state.folders[path] = Folder()
            state.folders[parent]!.names[name] = 0
            state.folders[parent]!.pending.append(.set(name, 0))
            return 0
        }
    }

    package func removeDirectory(_ path: String) throws(DiskError) {
        try change(.removeDirectory, path) { state in
            guard let folder = state.folders[path] else { return ENOENT }
            guard folder.names.isEmpty else { return ENOTEMPTY }
            let (parent, name) = Contents.split(path)
            state.folders[parent]?.names[name] = nil
            state.folders[parent]?.pending.append(.remove(name))
            return 0
        }
    }

    package func list(_ path: String) throws(DiskError) -> [String] {
        let names = contents.withLock { state -> [String]? in
            guard state.isVisible(path) else { return nil }
            return state.folders[path].map { $0.names.keys.sorted() }
        }
        guard let names else { throw DiskError(.list, path, ENOENT) }
        return names
    }

    package func open(_ path: String, creating: Bool) throws(DiskError) -> DiskFile {
        if creating { announce() }
        let opened = contents.withLock { state -> Result<DiskFile, DiskError> in
            let (folder, name) = Contents.split(path)
            guard state.isVisible(folder) else { return .failure(DiskError(.open, path, ENOENT)) }
            if state.folders[folder]?.names[name] == nil {
                guard creating else { return .failure(DiskError(.open, path, ENOENT)) }
                if let code = state.begin() { return .failure(DiskError(.open, path, code)) }
                let node = state.nextNode
                state.nextNode += 1
                state.nodes[node] = Node(links: 1)
                state.folders[folder]!.names[name] = node
                state.folders[folder]!.pending.append(.set(name, node))
            }
            guard let node = state.folders[folder]?.names[name], node != 0 else {
                return .failure(DiskError(.open, path, EISDIR))
            }
            let descriptor = state.nextDescriptor
            state.nextDescriptor += 1
            state.open[descriptor] = node
            return .success(DiskFile(descriptor: descriptor, path: path))
        }
        return try opened.get()
    }

    package func close(_ file: DiskFile) {
        contents.withLock { $0.open[file.descriptor] = nil }
    }

    package func size(of file: DiskFile) throws(DiskError) -> Int {
        let size = contents.withLock { state in state.open[file.descriptor].flatMap { state.nodes[$0]?.content.count } }
        guard let size else { throw DiskError(.size, file.path, EBADF) }
        return size
    }

    package func preallocate(_ file: DiskFile, length: Int) throws(DiskError) {
        try change(.preallocate, file.path) { state in
            guard let node = state.open[file.descriptor], let size = state.nodes[node]?.content.count else {
                return EBADF
            }
            guard length > size else { return 0 }
            guard state.reserve(length - size) else { return ENOSPC }
            state.nodes[node]!.content += [UInt8](repeating: 0, count: length - size)
            state.nodes[node]!.pending.append(.length(length))
            return 0
        }
    }

    package func write(_ file: DiskFile, _ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        var written = 0
        let data = [UInt8](bytes)
        try change(.write, file.path) { state in
            guard let node = state.open[file.descriptor], let size = state.nodes[node]?.content.count else {
                return EBADF
            }
            var count = min(data.count, state.faults.longestWrite ?? .max)
            if let capacity = state.faults.capacity {
                // A full disk takes what still fits: overwriting always does.
                let room = max(0, capacity - state.used) + max(0, size - offset)
                count = min(count, room)
                if count <= 0, !data.isEmpty { return ENOSPC }
            }
            let growth = max(0, offset + count - size)
            state.used += growth
            let part = Array(data[0..<count])
            Change.write(offset: offset, bytes: part).apply(to: &state.nodes[node]!.content)
            state.nodes[node]!.pending.append(.write(offset: offset, bytes: part))
            written = count
            return 0
        }
        return written
    }

    package func read(
        _ file: DiskFile,
        into bytes: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) throws(DiskError) -> Int {
        let content = contents.withLock { state -> [UInt8]? in
            guard let node = state.open[file.descriptor], let content = state.nodes[node]?.content else { return nil }
            return offset >= content.count ? [] : Array(content[offset..<min(content.count, offset + bytes.count)])
        }
        guard let content else { throw DiskError(.read, file.path, EBADF) }
        bytes.copyBytes(from: content)
        return content.count
    }

    package func synchronize(_ file: DiskFile) throws(DiskError) {
        try change(.synchronize, file.path) { state in
            guard let node = state.open[file.descriptor], state.nodes[node] != nil else { return EBADF }
            if state.syncFails() {
                state.nodes[node]!.pending = []
                return EIO
            }
            for change in state.nodes[node]!.pending { change.apply(to: &state.nodes[node]!.durable) }
            state.nodes[node]!.pending = []
            return 0
        }
    }

    package func truncate(_ file: DiskFile, to length: Int) throws(DiskError) {
        try change(.truncate, file.path) { state in
            guard let node = state.open[file.descriptor], let size = state.nodes[node]?.content.count else {
                return EBADF
            }
            if length == size { return 0 }
            if length > size, !state.reserve(length - size) { return ENOSPC }
            if length < size { state.used -= size - length }
            Change.length(length).apply(to: &state.nodes[node]!.content)
            state.nodes[node]!.pending.append(.length(length))
            return 0
        }
    }

    package func rename(_ path: String, to target: String) throws(DiskError) {
        try change(.rename, path) { state in
            let (folder, name) = Contents.split(path)
            let (other, newName) = Contents.split(target)
            guard folder == other, let node = state.folders[folder]?.names[name], node != 0 else { return ENOENT }
            let replaced = state.folders[folder]!.names[newName]
            state.folders[folder]!.names[name] = nil
            state.folders[folder]!.names[newName] = node
            state.folders[folder]!.pending.append(.rename(name, newName, node))
            if let replaced { state.unlink(replaced) }
            return 0
        }
    }

    package func remove(_ path: String) throws(DiskError) {
        try change(.remove, path) { state in
            let (folder, name) = Contents.split(path)
            guard let node = state.folders[folder]?.names[name], node != 0 else { return ENOENT }
            state.folders[folder]!.names[name] = nil
            state.folders[folder]!.pending.append(.remove(name))
            state.unlink(node)
            return 0
        }
    }

    package func link(_ path: String, to target: String) throws(DiskError) {
        try change(.link, target) { state in
            let (folder, name) = Contents.split(target)
            guard let node = state.node(path), state.isVisible(folder) else { return ENOENT }
            guard state.folders[folder]?.names[name] == nil else { return EEXIST }
            state.nodes[node]!.links += 1
            state.folders[folder]!.names[name] = node
            state.folders[folder]!.pending.append(.set(name, node))
            return 0
        }
    }

    package func synchronizeDirectory(_ path: String) throws(DiskError) {
        let path = path == "." ? "" : path
        try change(.synchronizeDirectory, path) { state in
            guard state.isVisible(path) else { return ENOENT }
            if state.syncFails() { return EIO }
            state.folders[path]!.durable = state.folders[path]!.names
            state.folders[path]!.pending = []
            return 0
        }
    }

    private func change(
        _ operation: DiskError.Operation,
        _ path: String,
        _ body: (inout Contents) -> Int32
    ) throws(DiskError) {
        announce()
        let code = contents.withLock { state -> Int32 in
            if let code = state.begin() { return code }
            return body(&state)
        }
        if code != 0 { throw DiskError(operation, path, code) }
    }
}
