import Glibc

/// A thread that can be joined.
struct WorkerThread: @unchecked Sendable {
    // `@unchecked`: `pthread_t` is a plain number here.
    private let thread: pthread_t

    init(_ body: @escaping @Sendable () -> Void) {
        final class Body {
            let run: @Sendable () -> Void
            init(_ run: @escaping @Sendable () -> Void) { self.run = run }
        }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Body(body)).toOpaque()
        let code = pthread_create(
            &thread,
            nil,
            { context in
                Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            },
            context
        )
        precondition(code == 0, "a thread could not be started")
        self.thread = thread
    }

    func join() { pthread_join(thread, nil) }
}
