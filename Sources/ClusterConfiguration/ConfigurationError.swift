/// Everything that is wrong with a configuration; start-up stops on it.
///
/// All problems that could be found are reported together, so that an operator edits the file once.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    /// At least one.
    package let problems: [ConfigurationProblem]

    package init(problems: [ConfigurationProblem]) {
        precondition(!problems.isEmpty, "an error without a problem")
        self.problems = problems
    }

    /// One line per problem.
    package var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// One thing wrong with a configuration.
package struct ConfigurationProblem: Equatable, Sendable, CustomStringConvertible {
    /// The file's path, or `environment` for an override.
    package let source: String
    /// Where in the source, e.g. `node[2].gateway_port` (elements count from 0) or `VENCEJO_LIMITS_MAX_SIZE`; empty
    /// when the problem is the whole file.
    package let keyPath: String
    /// The offending value as TOML; nil when there is none, or when it is a secret.
    package let value: String?
    /// What is wrong and what is allowed.
    package let reason: String

    package init(source: String, keyPath: String, value: String? = nil, reason: String) {
        self.source = source
        self.keyPath = keyPath
        self.value = value
        self.reason = reason
    }

    /// `cluster.toml: node[2].gateway_port = 99999: must be 1...65535`.
    package var description: String {
        var text = source
        if !keyPath.isEmpty { text += ": " + keyPath }
        if let value { text += (keyPath.isEmpty ? ": " : " = ") + value }
        return text + ": " + reason
    }
}
