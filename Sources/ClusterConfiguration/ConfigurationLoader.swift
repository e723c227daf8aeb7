import Glibc

extension ClusterConfiguration {
    /// Largest file that `load` reads, in bytes.
    package static let maxFileBytes = 1 << 20

    /// Variables that begin like an override and are none.
    package static let reservedVariables: Set<String> = [
        "VENCEJO_CONFIG", "VENCEJO_NODE", "VENCEJO_PYTHON", "VENCEJO_REWRITE", "VENCEJO_SEED", "VENCEJO_TEST_SECONDS",
        "VENCEJO_WARNINGS_AS_ERRORS",
    ]

    /// Reads the file, applies the environment's overrides and checks the whole.
    ///
    /// An override is `VENCEJO_<SECTION>_<KEY>`, e.g. `VENCEJO_LIMITS_MAX_SIZE=128KiB` or
    /// `VENCEJO_HEARTBEAT_CRITICAL_PING_INTERVAL=2s`; nodes and namespaces are set in the file only. An unknown
    /// variable of that form is refused: it is a misspelt setting.
    package static func load(
        path: String,
        environment: [String: String]
    ) throws(ConfigurationError) -> ClusterConfiguration {
        try load(text: readFile(path), path: path, environment: environment)
    }

    /// The same from a text; `path` names it in errors.
    package static func load(
        text: String,
        path: String,
        environment: [String: String]
    ) throws(ConfigurationError) -> ClusterConfiguration {
        let root: TOMLNode
        do {
            root = try TOMLNode.parse(text)
        } catch {
            throw ConfigurationError(problems: [
                ConfigurationProblem(
                    source: error.line > 0 ? "\(path):\(error.line):\(error.column)" : path,
                    keyPath: "",
                    reason: "not TOML: \(error.reason)"
                )
            ])
        }
        var configuration = ClusterConfiguration()
        configuration.path = path
        var problems = ProblemList(source: path)
        configuration.decode(root, &problems)
        // The guide's variables first: a VENCEJO_REDIS_… of the same setting is the more particular one.
        Redis.apply(environment, to: &configuration, &problems)
        configuration.override(environment, &problems)
        // After the overrides, because namespaces inherit the log's retention.
        configuration.decodeNamespaces(root, &problems)
        // Cross-checks of half-read values would only repeat what is already reported.
        if problems.problems.isEmpty { configuration.validate(&problems) }
        guard problems.problems.isEmpty else { throw ConfigurationError(problems: problems.problems) }
        return configuration
    }

    private mutating func decode(_ root: TOMLNode, _ problems: inout ProblemList) {
        guard case .table(let members) = root else { return }
        for section in SectionBinding.all {
            for member in members where member.key == section.name { section.decode(member.value, &self, &problems) }
        }
        for member in members {
            switch member.key {
            case "node":
                nodes = Self.decodeArray(member, Node(), Node.settings, &problems)
            case "namespace":
                continue
            case "heartbeat":
                decodeHeartbeats(member.value, &problems)
            default:
                if SectionBinding.all.contains(where: { $0.name == member.key }) { continue }
                let known =
                    SectionBinding.all.map { "[\($0.name)]" } + ["[[node]]", "[[namespace]]", "[heartbeat.<name>]"]
                problems.add(member.key, value: member.value, "unknown key; there are \(known.joined(separator: ", "))")
            }
        }
        for index in nodes.indices where nodes[index].bind.isEmpty { nodes[index].bind = nodes[index].host }
        for index in nodes.indices where nodes[index].gossipPort == 0 {
            nodes[index].gossipPort = nodes[index].meshPort + 1
        }
    }

    private static func decodeArray<Element>(
        _ member: TOMLMember,
        _ initial: Element,
        _ settings: [Setting<Element>],
        _ problems: inout ProblemList
    ) -> [Element] {
        guard case .array(let tables) = member.value else {
            problems.add(member.key, value: member.value, "must be an array of tables, [[\(member.key)]]")
            return []
        }
        guard tables.count <= 1024 else {
            problems.add(member.key, "at most 1024 of them, there are \(tables.count)")
            return []
        }
        return tables.enumerated().map { index, table in
            var element = initial
            SectionBinding.read(table, path: "\(member.key)[\(index)]", settings, into: &element, &problems)
            return element
        }
    }

    private mutating func decodeHeartbeats(_ node: TOMLNode, _ problems: inout ProblemList) {
        guard case .table(let members) = node else {
            problems.add("heartbeat", value: node, "must be tables, [heartbeat.<name>]")
            return
        }
        for member in members {
            var profile = heartbeats.first { $0.name == member.key } ?? .standard
            profile.name = member.key
            guard member.key.utf8.count <= 64, !member.key.isEmpty else {
                problems.add("heartbeat.\(member.key)", "a profile's name has 1...64 bytes")
                continue
            }
            let path = "heartbeat.\(member.key)"
            SectionBinding.read(member.value, path: path, HeartbeatProfile.settings, into: &profile, &problems)
            heartbeats.removeAll { $0.name == member.key }
            heartbeats.append(profile)
        }
        heartbeats.sort { $0.name < $1.name }
    }

    /// Longest prefix first, and always one for everything else.
    private mutating func decodeNamespaces(_ root: TOMLNode, _ problems: inout ProblemList) {
        var initial = Namespace()
        initial.retention = log.retention
        namespaces = []
        if case .table(let members) = root, let member = members.first(where: { $0.key == "namespace" }) {
            namespaces = Self.decodeArray(member, initial, Namespace.settings, &problems)
        }
        if !namespaces.contains(where: { $0.prefix.isEmpty }) { namespaces.append(initial) }
        namespaces.sort {
            $0.prefixBytes.count != $1.prefixBytes.count
                ? $0.prefixBytes.count > $1.prefixBytes.count : $0.prefix < $1.prefix
        }
    }

    private mutating func override(_ environment: [String: String], _ problems: inout ProblemList) {
        let names = environment.keys.filter { $0.hasPrefix(OverrideVariable.prefix) }.sorted()
        guard !names.isEmpty else { return }
        var variables = SectionBinding.all.flatMap(\.variables)
        for index in heartbeats.indices {
            variables += HeartbeatProfile.settings.map { setting in
                OverrideVariable(section: "heartbeat.\(heartbeats[index].name)", setting: setting) {
                    $0.heartbeats[index] = $1
                } get: {
                    $0.heartbeats[index]
                }
            }
        }
        for name in names where !ClusterConfiguration.reservedVariables.contains(name) {
            guard let variable = variables.first(where: { $0.name == name }) else {
                problems.add(
                    ConfigurationProblem(
                        source: "environment",
                        keyPath: name,
                        reason: "no such setting; overrides are VENCEJO_<SECTION>_<KEY>, and nodes and namespaces are "
                            + "set in the file only"
                    )
                )
                continue
            }
            if let problem = variable.apply(environment[name] ?? "", &self) { problems.add(problem) }
        }
    }

    /// The text of a configuration file, as it stands.
    package static func readFile(_ path: String) throws(ConfigurationError) -> String {
        func refused(_ reason: String) -> ConfigurationError {
            ConfigurationError(problems: [ConfigurationProblem(source: path, keyPath: "", reason: reason)])
        }
        guard let file = fopen(path, "re") else { throw refused(String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            bytes += chunk[..<count]
            if bytes.count > maxFileBytes { throw refused("larger than \(maxFileBytes) bytes") }
            if count < chunk.count { break }
        }
        if ferror(file) != 0 { throw refused("cannot be read") }
        if bytes.contains(0) { throw refused("not a text file: it has a zero byte") }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw refused("not UTF-8") }
        return text
    }
}
