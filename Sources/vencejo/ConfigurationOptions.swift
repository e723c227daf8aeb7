import ArgumentParser
import ClusterConfiguration
import Glibc

/// Where the configuration is, for every command that reads it.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: .long, help: "The configuration file. Default: $VENCEJO_CONFIG, else cluster.toml.")
    var config: String?

    var path: String { config ?? ProcessEnvironment.all["VENCEJO_CONFIG"] ?? "cluster.toml" }

    /// Reads and checks the configuration. What is wrong goes to standard error, and the exit code is 78
    /// (`EX_CONFIG` of sysexits.h).
    func load() throws -> ClusterConfiguration {
        do throws(ConfigurationError) {
            return try ClusterConfiguration.load(path: path, environment: ProcessEnvironment.all)
        } catch {
            Output.error("\(error)")
            if access(path, F_OK) != 0, config == nil {
                Output.error("Run in the directory of cluster.toml, or name the file with --config.")
            }
            throw ExitCode(78)
        }
    }

    /// The same of a file that this program has written.
    static func load(_ path: String) throws -> ClusterConfiguration {
        do throws(ConfigurationError) {
            return try ClusterConfiguration.load(path: path, environment: ProcessEnvironment.all)
        } catch {
            Output.error("\(error)")
            throw ExitCode(78)
        }
    }
}

/// The process's environment.
package enum ProcessEnvironment {
    /// Name and value of every variable.
    package static var all: [String: String] {
        var variables: [String: String] = [:]
        var cursor = environ
        while let line = cursor.pointee {
            let text = String(cString: line)
            if let sign = text.firstIndex(of: "=") {
                variables[String(text[..<sign])] = String(text[text.index(after: sign)...])
            }
            cursor += 1
        }
        return variables
    }
}
