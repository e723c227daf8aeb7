import Foundation
import Locks

/// Work on a thread of its own, so that the load goes on meanwhile.
final class BackgroundTask<Value: Sendable>: Sendable {
    private let outcome = Lock<Result<Value, BenchError>?>(nil)

    init(_ body: @escaping @Sendable () throws -> Value) {
        Thread.detachNewThread { [self] in
            let result: Result<Value, BenchError>
            do {
                result = .success(try body())
            } catch {
                result = .failure(error as? BenchError ?? BenchError("\(error)"))
            }
            outcome.withLock { $0 = result }
        }
    }

    var isDone: Bool { outcome.withLock { $0 != nil } }

    /// Of a task that is done.
    func value() throws -> Value {
        guard let outcome = outcome.withLock({ $0 }) else { throw BenchError("still at work") }
        return try outcome.get()
    }

    /// Keeps the load going until the task is done.
    func wait(_ load: FailoverLoad, seconds: Double = 60) throws -> Value {
        load.run(seconds: seconds) { isDone }
        return try value()
    }
}
