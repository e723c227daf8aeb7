import RedisProcess
import Testing

/// How a test's nodes share their rooms: what holds over one backplane holds over the other (P-06), and over a Redis
/// that is another cluster's shim (RA-32).
enum RunMode: String, CaseIterable, CustomTestStringConvertible {
    case cluster, redis, shim

    var testDescription: String { self == .shim ? "redis, over a cluster's shim" : rawValue }

    /// The modes that this machine can run.
    static var here: [RunMode] { RedisProcess.isInstalled ? allCases : [.cluster, .shim] }

    var options: ProcessCluster.Options {
        var options = ProcessCluster.Options()
        options.mode = rawValue
        return options
    }
}
