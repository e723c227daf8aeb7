import Glibc
import Synchronization

/// SIGINT and SIGTERM as a stream of numbers: the handler writes a byte into a pipe, a thread reads it.
enum Interrupts {
    private static let pipeEnd = Atomic<Int32>(-1)

    /// Takes over both signals for the rest of the process. Call it once.
    static func stream() -> AsyncStream<Int32> {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0, "no descriptors left")
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        pipeEnd.store(ends[1], ordering: .releasing)
        let handler: @convention(c) (Int32) -> Void = { number in
            let saved = errno
            var byte = UInt8(truncatingIfNeeded: number)
            _ = write(Interrupts.pipeEnd.load(ordering: .acquiring), &byte, 1)
            errno = saved
        }
        signal(SIGINT, handler)
        signal(SIGTERM, handler)
        let reading = ends[0]
        return AsyncStream { continuation in
            BackgroundThread.detach {
                var byte: UInt8 = 0
                while true {
                    let count = read(reading, &byte, 1)
                    if count == 1 { continuation.yield(Int32(byte)) } else if count == 0 || errno != EINTR { return }
                }
            }
        }
    }
}
