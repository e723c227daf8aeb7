import Glibc

/// A value behind a pthread mutex, with the interface of the standard library's `Mutex`. That one waits on a futex of
/// its own, which the thread sanitizer cannot see: every access that it orders looks like a race (CN-06).
///
/// Sendable because the value is reached with the mutex held only.
package struct Lock<Value>: ~Copyable, @unchecked Sendable {
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline let value: UnsafeMutablePointer<Value>

    @inlinable
    package init(_ value: consuming sending Value) {
        mutex = .allocate(capacity: 1)
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
        guard pthread_mutex_init(mutex, nil) == 0 else { preconditionFailure("no mutex is left") }
    }

    @inlinable
    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
        value.deinitialize(count: 1)
        value.deallocate()
    }

    /// Runs `body` with the lock held; `body` must be short and must not take it again.
    @inlinable
    package borrowing func withLock<Result, E: Error>(
        _ body: (inout sending Value) throws(E) -> sending Result
    ) throws(E) -> sending Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value.pointee)
    }
}
