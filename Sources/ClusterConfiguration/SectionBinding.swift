/// A named table of the file, bound to its place in the configuration.
struct SectionBinding: Sendable {
    let name: String
    /// Reads a table's members into the configuration.
    let decode: @Sendable (TOMLNode, inout ClusterConfiguration, inout ProblemList) -> Void
    /// Environment variables that the section knows.
    let variables: [OverrideVariable]
    /// Rows of the settings table.
    let descriptions: [SettingDescription]

    init<Section>(
        _ name: String,
        _ path: any WritableKeyPath<ClusterConfiguration, Section> & Sendable,
        _ settings: [Setting<Section>]
    ) {
        self.name = name
        decode = { node, configuration, problems in
            SectionBinding.read(node, path: name, settings, into: &configuration[keyPath: path], &problems)
        }
        variables = settings.map { setting in
            OverrideVariable(section: name, setting: setting) {
                $0[keyPath: path] = $1
            } get: {
                $0[keyPath: path]
            }
        }
        let initial = ClusterConfiguration()[keyPath: path]
        descriptions = settings.flatMap { $0.descriptions(prefix: name + ".", section: initial) }
    }

    /// Every table that appears once, in the order of the documentation.
    static let all: [SectionBinding] = [
        SectionBinding("cluster", \.cluster, ClusterConfiguration.Cluster.settings),
        SectionBinding("limits", \.limits, ClusterConfiguration.Limits.settings),
        SectionBinding("gateway", \.gateway, ClusterConfiguration.Gateway.settings),
        SectionBinding("admin", \.admin, ClusterConfiguration.Admin.settings),
        SectionBinding("drain", \.drain, ClusterConfiguration.Drain.settings),
        SectionBinding("auth", \.auth, ClusterConfiguration.Auth.settings),
        SectionBinding("log", \.log, ClusterConfiguration.Log.settings),
        SectionBinding("raft", \.raft, ClusterConfiguration.Raft.settings),
        SectionBinding("liveness", \.liveness, ClusterConfiguration.Liveness.settings),
        SectionBinding("mesh", \.mesh, ClusterConfiguration.Mesh.settings),
        SectionBinding("gossip", \.gossip, ClusterConfiguration.Gossip.settings),
        SectionBinding("keys", \.keys, ClusterConfiguration.Keys.settings),
        SectionBinding("resp", \.resp, ClusterConfiguration.RESP.settings),
        SectionBinding("redis", \.redis, ClusterConfiguration.Redis.settings),
        SectionBinding("slo", \.slo, ClusterConfiguration.ServiceLevels.settings),
    ]

    /// Reads one table: unknown keys, missing required keys and refused values become problems; what is absent keeps
    /// the value that `section` came with.
    static func read<Section>(
        _ node: TOMLNode,
        path: String,
        _ settings: [Setting<Section>],
        into section: inout Section,
        _ problems: inout ProblemList
    ) {
        guard case .table(let members) = node else {
            problems.add(path, value: node, "must be a table")
            return
        }
        for member in members {
            let keyPath = "\(path).\(member.key)"
            guard let setting = settings.first(where: { $0.key == member.key }) else {
                let known = settings.map(\.key).joined(separator: ", ")
                problems.add(keyPath, value: member.value, "unknown key; [\(path)] has \(known)")
                continue
            }
            guard let refusal = setting.assign(member.value, &section) else { continue }
            problems.add(
                refusal.subpath.isEmpty ? keyPath : "\(keyPath).\(refusal.subpath)",
                value: setting.isSecret ? nil : refusal.value ?? member.value,
                refusal.reason
            )
        }
        for setting in settings where setting.isRequired && !members.contains(where: { $0.key == setting.key }) {
            problems.add("\(path).\(setting.key)", "missing; \(setting.type), \(setting.allowed)")
        }
    }
}

/// An environment variable that replaces one value of the file.
struct OverrideVariable: Sendable {
    let name: String
    let apply: @Sendable (String, inout ClusterConfiguration) -> ConfigurationProblem?

    static let prefix = "VENCEJO_"

    init<Section>(
        section: String,
        setting: Setting<Section>,
        set: @escaping @Sendable (inout ClusterConfiguration, Section) -> Void,
        get: @escaping @Sendable (ClusterConfiguration) -> Section
    ) {
        let name = OverrideVariable.name(section: section, key: setting.key)
        self.name = name
        apply = { text, configuration in
            var section = get(configuration)
            if let refusal = setting.assign(setting.parse(text), &section) {
                return ConfigurationProblem(
                    source: "environment",
                    keyPath: name,
                    value: setting.isSecret ? nil : SettingText.quote(text),
                    reason: refusal.reason
                )
            }
            set(&configuration, section)
            return nil
        }
    }

    /// `limits`, `max_size` -> `VENCEJO_LIMITS_MAX_SIZE`.
    static func name(section: String, key: String) -> String {
        let words = section + "_" + key
        return prefix + String(words.map { $0 == "." || $0 == "-" ? "_" : Character($0.uppercased()) })
    }
}

/// Collects what is wrong.
struct ProblemList {
    let source: String
    private(set) var problems: [ConfigurationProblem] = []

    init(source: String) { self.source = source }

    mutating func add(_ keyPath: String, value: TOMLNode? = nil, _ reason: String) {
        problems.append(
            ConfigurationProblem(source: source, keyPath: keyPath, value: value?.rendered, reason: reason)
        )
    }

    mutating func add(_ problem: ConfigurationProblem) { problems.append(problem) }
}
