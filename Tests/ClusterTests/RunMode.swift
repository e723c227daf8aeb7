import RedisProcess
import Testing

/// How a test's nodes share their rooms: what holds over one backplane holds over the other (P-06).
enum RunMode: String, CaseIterable, CustomTestStringConvertible {
    case cluster, redis

    var testDescription: String { rawValue }

    /// The modes that this machine can run.
    static var here: [RunMode] { RedisProcess.isInstalled ? allCases : [.cluster] }

    var options: ProcessCluster.Options {
        var options = ProcessCluster.Options()
        options.mode = rawValue
        return options
    }
}
