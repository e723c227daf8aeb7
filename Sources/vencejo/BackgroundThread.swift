import Glibc

/// A thread for what blocks: the cooperative pool of the tasks must not.
enum BackgroundThread {
    private final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs `body` on a thread of its own, which ends with it.
    static func detach(_ body: @escaping @Sendable () -> Void) {
        var thread: pthread_t = 0
        let work = Unmanaged.passRetained(Work(body))
        let code = pthread_create(
            &thread,
            nil,
            { raw in
                if let raw { Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body() }
                return nil
            },
            work.toOpaque()
        )
        // Out of threads: then it blocks here, which is still right.
        if code == 0 { pthread_detach(thread) } else { work.takeRetainedValue().body() }
    }
}
