import Glibc
import LogFormat
import Primitives

/// Why the log could not do what was asked.
package enum StorageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The disk is full (`ENOSPC`, `EDQUOT`). Nothing of the call was acknowledged; it may be tried again.
    case full(DiskError)
    /// Another failed operation; the log's state is as before the call.
    case disk(DiskError)
    /// A write or sync of the write-ahead log failed. What reached the disk is unknown, every later operation fails
    /// with the same error, and the process must exit: a second sync could succeed without the data (CockroachDB
    /// #37102).
    case poisoned(DiskError)
    /// Another process has the data directory.
    case locked(String)
    /// Stored bytes fail their checksum.
    case corrupt(Damage)
    /// Entries that do not continue the log: the first index is not in `first...(last + 1)`, or has a hole inside.
    case notContiguous(group: GroupID, first: LogIndex, last: LogIndex, given: LogIndex)
    /// A value above its limit (`LogLimits`).
    case tooLarge(field: StaticStringName, size: Int, limit: Int)
    /// A file, record or field of a later version: this build must not run on the directory.
    case unsupported(file: String, value: UInt64)
    /// The group has no log here.
    case unknownGroup(GroupID)
    /// A name that cannot be a file's.
    case invalidName(String)
    /// The writer was stopped before the call was done.
    case stopped

    init(_ error: DiskError) {
        switch error.code {
        case ENOSPC, EDQUOT: self = .full(error)
        case EWOULDBLOCK where error.operation == .lock: self = .locked(error.path)
        default: self = .disk(error)
        }
    }

    package var description: String {
        switch self {
        case .full(let error): "disk full: \(error)"
        case .disk(let error): "\(error)"
        case .poisoned(let error): "the log is unusable after: \(error)"
        case .locked(let path): "another process holds \(path)"
        case .corrupt(let damage): "\(damage)"
        case .notContiguous(let group, let first, let last, let given):
            "group \(group): entry \(given) does not continue the log \(first)...\(last)"
        case .tooLarge(let field, let size, let limit): "\(field) of \(size) bytes, limit \(limit)"
        case .unsupported(let file, let value): "\(file) is of a later version (0x\(String(value, radix: 16)))"
        case .unknownGroup(let group): "no log of group \(group)"
        case .invalidName(let name): "invalid name \"\(name)\""
        case .stopped: "the log writer has stopped"
        }
    }
}
