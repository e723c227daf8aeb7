import Locks

/// A value that a test and its tasks share.
final class Shared<Value: Sendable>: Sendable {
    private let state: Lock<Value>

    init(_ value: Value) { state = Lock(value) }

    var value: Value { state.withLock { $0 } }

    @discardableResult
    func change<Result: Sendable>(_ body: (inout Value) -> Result) -> Result { state.withLock { body(&$0) } }
}

extension Shared<UInt64> {
    /// Counts on and returns the new value.
    func next() -> UInt64 {
        change {
            $0 += 1
            return $0
        }
    }
}
