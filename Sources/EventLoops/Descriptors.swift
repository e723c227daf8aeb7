import CPosixShims
import Glibc

/// The process's bound on open files and sockets (GW-17).
package struct DescriptorLimit: Equatable, Sendable {
    package var soft: UInt64
    package var hard: UInt64
    /// Why the soft limit could not be raised (an errno value); 0 when it now equals the hard limit.
    package var error: Int32

    /// Raises the soft limit to the hard limit and says what holds now.
    package static func raise() -> DescriptorLimit {
        var soft: UInt64 = 0
        var hard: UInt64 = 0
        let error = vencejo_raise_descriptor_limit(&soft, &hard)
        return DescriptorLimit(soft: soft, hard: hard, error: error)
    }

    /// Descriptors in use, from /proc/self/fd; costs a system call per thousand or so, for a metric, not for a hot
    /// path. Nil where /proc is not readable.
    package static func inUse() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // ".", ".." and the directory's own descriptor.
        return max(0, count - 3)
    }
}
