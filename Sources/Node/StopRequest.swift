import Glibc
import Logging
import UnixSignals

/// A node is asked to end: by SIGTERM or SIGINT, by its task's cancellation, or because it was let go. A signal after
/// the first ends the process: whoever sends it does not want to wait for clients.
struct StopRequest: Sendable {
    private let requests: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    /// Takes the signals from here on.
    init(_ logger: Logger) async {
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let (requests, continuation) = AsyncStream.makeStream(of: Void.self)
        self.requests = requests
        self.continuation = continuation
        // Outlives the caller's task, whose cancellation is a request too.
        Task.detached {
            var isStopping = false
            for await _ in signals {
                if isStopping {
                    logger.warning("stopping at once")
                    _exit(1)
                }
                isStopping = true
                continuation.yield()
            }
        }
    }

    func request() { continuation.yield() }

    /// Returns when it has been requested, however long ago.
    func requested() async { for await _ in requests { return } }
}
