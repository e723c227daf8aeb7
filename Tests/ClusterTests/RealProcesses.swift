import OwnThread
import Testing

/// Everything that starts processes: one test at a time, because they share the machine's processors and its ports.
@Suite("Real processes", .serialized, .ownThread)
struct RealProcesses {}
