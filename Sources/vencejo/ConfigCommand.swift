import ArgumentParser
import ClusterConfiguration
import Primitives

/// `vencejo config`.
struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Check the configuration.",
        subcommands: [Check.self, Settings.self],
        defaultSubcommand: Check.self
    )

    /// `vencejo config check`.
    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check",
            abstract: "Check cluster.toml and the environment's overrides; exit 78 when something is wrong."
        )

        @OptionGroup var configurationOptions: ConfigurationOptions

        @Flag(name: .long, help: "Print what is in force.")
        var print = false

        func run() async throws {
            let configuration = try configurationOptions.load()
            let nodes = configuration.nodes.map(\.id).joined(separator: ", ")
            Output.line(
                "\(configuration.path): good. Mode \(configuration.mode.rawValue), nodes \(nodes), "
                    + "\(configuration.cluster.partitions) partitions, \(configuration.replicationFactor) copies."
            )
            for warning in configuration.warnings { Output.line("warning: \(warning)") }
            if print { Output.line(EffectiveSettings.text(configuration)) }
        }
    }

    /// `vencejo config settings`.
    struct Settings: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "settings",
            abstract: "Print every setting with its allowed values and default, as Markdown."
        )

        func run() async throws { Output.line(ClusterConfiguration.settingsReference) }
    }
}

/// A configuration in words.
enum EffectiveSettings {
    /// One `section.key = value` a line; secrets show only whether they are set.
    static func text(_ configuration: ClusterConfiguration) -> String {
        var lines: [String] = []
        func section(_ name: String, _ value: Any) {
            for child in Mirror(reflecting: value).children {
                guard let label = child.label else { continue }
                lines.append("\(name).\(key(label)) = \(render(child.value))")
            }
        }
        section("cluster", configuration.cluster)
        for node in configuration.nodes { section("node[\(node.id)]", node) }
        for namespace in configuration.namespaces {
            section("namespace[\(SettingText.quote(namespace.prefix))]", namespace)
        }
        for profile in configuration.heartbeats { section("heartbeat.\(profile.name)", profile) }
        section("limits", configuration.limits)
        section("gateway", configuration.gateway)
        section("admin", configuration.admin)
        section("auth", configuration.auth)
        section("log", configuration.log)
        section("raft", configuration.raft)
        section("liveness", configuration.liveness)
        section("mesh", configuration.mesh)
        section("slo", configuration.slo)
        return lines.filter { !$0.contains(".prefix_bytes = ") }.joined(separator: "\n")
    }

    private static func render(_ value: Any) -> String {
        switch value {
        case let interval as Interval: SettingText.quote(SettingText.duration(interval))
        case let text as String: SettingText.quote(text)
        case let choice as any RawRepresentable<String>: SettingText.quote(choice.rawValue)
        case let secret as Secret: secret.isEmpty ? "\"\"" : "\"...\""
        case let retention as ClusterConfiguration.Retention:
            "{ time = \(render(retention.time)), count = \(retention.count), bytes = \(retention.bytes) }"
        case let list as [String]: "[\(list.map(SettingText.quote).joined(separator: ", "))]"
        default: "\(value)"
        }
    }

    /// `maxConnections` as `max_connections`.
    private static func key(_ label: String) -> String {
        var key = ""
        var wasUpper = true
        for character in label {
            if character.isUppercase, !wasUpper { key += "_" }
            wasUpper = character.isUppercase
            key += character.lowercased()
        }
        return key
    }
}
