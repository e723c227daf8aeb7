import Glibc
import Locks
import Testing

/// Runs each test on a thread of its own instead of the shared pool, which has one thread per processor: a test that
/// waits in a system call, or computes for minutes, would otherwise hold up every other test of the process.
public struct OwnThread: SuiteTrait, TestTrait, TestScoping {
    /// Added to the thread's nice value (setpriority(2)): above 0 it leaves the processors to tests that wait for
    /// something.
    let nice: Int32

    /// A suite's trait holds for each of its tests.
    public var isRecursive: Bool { true }

    /// Runs one case of a test with an executor that lives as long.
    public func provideScope(
        for test: Test,
        testCase: Test.Case?,
        performing function: @Sendable () async throws -> Void
    ) async throws {
        guard testCase != nil else { return try await function() }
        let executor = ThreadExecutor(nice: nice)
        defer { executor.stop() }
        try await withTaskExecutorPreference(executor) { try await function() }
    }
}

extension Trait where Self == OwnThread {
    /// A thread for each test.
    public static var ownThread: OwnThread { OwnThread(nice: 0) }
    /// A thread for each test, behind (above 0) those that are waiting for something.
    public static func ownThread(nice: Int32) -> OwnThread { OwnThread(nice: nice) }
}

/// A task executor of one thread. Child tasks run on it too; detached tasks and `Task {}` do not.
public final class ThreadExecutor: TaskExecutor {
    private struct State {
        var jobs: [UnownedJob] = []
        var isStopped = false
    }

    private let state = Lock(State())
    private let wake: Semaphore

    /// Starts the thread; `stop` ends it.
    public init(nice: Int32 = 0) {
        wake = Semaphore()
        let executor = Unmanaged.passRetained(self)
        let start = Start(executor: executor, nice: nice)
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { ThreadExecutor.main($0) }, Unmanaged.passRetained(start).toOpaque())
        precondition(result == 0, "no thread: \(String(cString: strerror(result)))")
        pthread_detach(thread)
    }

    /// Any thread may call it.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.jobs.append(job) }
        wake.post()
    }

    /// The thread ends when it has run what it was given.
    public func stop() {
        state.withLock { $0.isStopped = true }
        wake.post()
    }

    private final class Start {
        let executor: Unmanaged<ThreadExecutor>
        let nice: Int32
        init(executor: Unmanaged<ThreadExecutor>, nice: Int32) {
            self.executor = executor
            self.nice = nice
        }
    }

    private static func main(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
        // On Linux a nice value belongs to the thread; 0 names the calling one.
        if start.nice != 0 { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, start.nice) }
        start.executor.takeRetainedValue().run()
        return nil
    }

    private func run() {
        while true {
            wake.wait()
            let (jobs, isStopped) = state.withLock { state -> ([UnownedJob], Bool) in
                defer { state.jobs = [] }
                return (state.jobs, state.isStopped)
            }
            for job in jobs { job.runSynchronously(on: asUnownedTaskExecutor()) }
            if isStopped && jobs.isEmpty { return }
            // What came meanwhile, or in the same breath as the stop, has posted too, or is looked for now.
            if isStopped { wake.post() }
        }
    }
}

/// sem_t at a fixed address.
private final class Semaphore: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func post() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
