import Glibc
import Primitives

/// The one clock of a run.
enum Clock {
    /// Nanoseconds of CLOCK_MONOTONIC.
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    static func instant() -> Instant { Instant(nanoseconds: now()) }

    static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1000) }
}
