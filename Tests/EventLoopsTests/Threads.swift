import Glibc

/// Runs `body` on `count` threads of its own at once and waits for all of them. The cooperative pool would run no more
/// than the machine has cores.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    var threads: [pthread_t] = []
    for index in 0..<count {
        var thread = pthread_t()
        let job = Unmanaged.passRetained(Job { body(index) })
        let outcome = pthread_create(
            &thread,
            nil,
            { pointer in
                Unmanaged<Job>.fromOpaque(pointer!).takeRetainedValue().run()
                return nil
            },
            job.toOpaque()
        )
        precondition(outcome == 0)
        threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
}

private final class Job: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Waits until `condition` holds; false when it does not within `seconds`.
func eventually(within seconds: Int = 20, _ condition: () -> Bool) -> Bool {
    for _ in 0..<(seconds * 1000) {
        if condition() { return true }
        usleep(1000)
    }
    return condition()
}
