import Primitives

/// What single keys cannot know: how values must fit each other.
extension ClusterConfiguration {
    mutating func validate(_ problems: inout ProblemList) {
        refuseWhatIsNotBuilt(&problems)
        validateCluster(&problems)
        validateNodes(&problems)
        validateExposure(&problems)
        validateHeartbeats(&problems)
        validateNamespaces(&problems)
        validateLimits(&problems)
        validateTimers(&problems)
        validateMesh(&problems)
        validateGossip(&problems)
        validateRedis(&problems)
        warnings = collectWarnings()
    }

    private func validateCluster(_ problems: inout ProblemList) {
        if cluster.partitions & (cluster.partitions - 1) != 0 {
            problems.add("cluster.partitions", value: .integer(cluster.partitions), "must be a power of two, 1...16384")
        }
        // A cluster that gossips may have other nodes than the file, or get them.
        if mode == .cluster, !gossip.enabled, !nodes.isEmpty, cluster.replicationFactor > nodes.count {
            problems.add(
                "cluster.replication_factor",
                value: .integer(cluster.replicationFactor),
                "must be at most the number of nodes, \(nodes.count)"
            )
        }
    }

    private func validateNodes(_ problems: inout ProblemList) {
        if nodes.isEmpty { problems.add("node", "at least one [[node]] is needed") }
        var ids: [String: Int] = [:]
        var ports: [String: String] = [:]
        var directories: [String: Int] = [:]
        for (index, node) in nodes.enumerated() {
            let isName = node.id.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "._-".utf8.contains(byte)
            }
            if !isName {
                problems.add("node[\(index)].id", value: .string(node.id), "must be letters, digits, '.', '_' and '-'")
            }
            if let first = ids.updateValue(index, forKey: node.id) {
                problems.add("node[\(index)].id", value: .string(node.id), "already the id of node[\(first)]")
            }
            if ["0.0.0.0", "::", "*"].contains(node.host) {
                problems.add(
                    "node[\(index)].host",
                    value: .string(node.host),
                    "peers cannot dial it; name an address in host and listen on all of them by bind"
                )
            }
            if let first = directories.updateValue(index, forKey: node.machine + " " + node.dataDirectory) {
                problems.add(
                    "node[\(index)].data_dir",
                    value: .string(node.dataDirectory),
                    "already the directory of node[\(first)] on the same host"
                )
            }
            let used = [
                ("gateway_port", node.gatewayPort), ("resp_port", node.respPort), ("mesh_port", node.meshPort),
                ("admin_port", node.adminPort), ("cluster_port", node.clusterPort),
                ("sentinel_port", node.sentinelPort), ("gossip_port", gossips ? node.gossipPort : 0),
            ]
            for (key, port) in used where port != 0 {
                let keyPath = "node[\(index)].\(key)"
                if let first = ports.updateValue(keyPath, forKey: "\(node.machine) \(port)") {
                    problems.add(keyPath, value: .integer(port), "already \(first) on the same host")
                }
            }
        }
    }

    private func validateExposure(_ problems: inout ProblemList) {
        guard let index = nodes.firstIndex(where: { !$0.isLoopback }) else { return }
        let exposed = "node[\(index)] listens on \(nodes[index].bind)"
        if mode == .cluster {
            if cluster.secret.text == Cluster.sampleSecret {
                problems.add(
                    "cluster.secret",
                    "is the sample value, which everyone knows, and \(exposed); set your own"
                )
            } else if cluster.secret.text.utf8.count < 16 {
                problems.add("cluster.secret", "must have at least 16 bytes, because \(exposed)")
            }
        }
        if resp.password.isEmpty, let index = nodes.firstIndex(where: { !$0.isLoopback && $0.respPort != 0 }) {
            problems.add(
                "resp.password",
                "must be set, because node[\(index)] listens on \(nodes[index].bind) for Redis clients; or set "
                    + "resp_port = 0"
            )
        }
        if !auth.allowAnonymousOnPublic {
            for namespace in namespaces where namespace.anonymousSubscribe || namespace.anonymousPublish {
                let key = namespace.anonymousSubscribe ? "anonymous_subscribe" : "anonymous_publish"
                problems.add(
                    "namespace[prefix \(SettingText.quote(namespace.prefix))].\(key)",
                    value: .boolean(true),
                    "must be false, because \(exposed); or set auth.allow_anonymous_on_public = true"
                )
            }
        }
    }

    private func validateHeartbeats(_ problems: inout ProblemList) {
        for profile in heartbeats {
            if profile.detection > HeartbeatProfile.longestDetection {
                problems.add(
                    "heartbeat.\(profile.name)",
                    "ping_interval + ping_timeout = \(SettingText.duration(profile.detection)), must be at most 30s"
                )
            }
            if limits.idleTimeout != .zero, limits.idleTimeout <= profile.detection {
                problems.add(
                    "limits.idle_timeout",
                    value: .string(SettingText.duration(limits.idleTimeout)),
                    "must be longer than ping_interval + ping_timeout of [heartbeat.\(profile.name)], "
                        + SettingText.duration(profile.detection)
                )
            }
        }
    }

    private func validateNamespaces(_ problems: inout ProblemList) {
        for (index, namespace) in namespaces.enumerated() {
            let name = "namespace[prefix \(SettingText.quote(namespace.prefix))]"
            if index > 0, namespaces[index - 1].prefix == namespace.prefix {
                problems.add("\(name).prefix", "there are two of it")
            }
            if namespace.prefixBytes.count > limits.roomNameBytes {
                problems.add("\(name).prefix", "must be at most limits.room_name_bytes, \(limits.roomNameBytes)")
            }
            if !heartbeats.contains(where: { $0.name == namespace.heartbeat }) {
                let known = heartbeats.map { SettingText.quote($0.name) }.joined(separator: ", ")
                problems.add("\(name).heartbeat", value: .string(namespace.heartbeat), "must be one of \(known)")
            }
            if namespace.maxMessageSize > limits.maxSize {
                problems.add(
                    "\(name).max_message_size",
                    value: .string(SettingText.size(namespace.maxMessageSize)),
                    "must be at most limits.max_size, \(SettingText.size(limits.maxSize))"
                )
            }
            if namespace.deliveryClass == .bestEffort, namespace.retention != log.retention {
                problems.add("\(name).retention", "best_effort publications are not stored; leave retention out")
            }
        }
    }

    private func validateLimits(_ problems: inout ProblemList) {
        if gateway.broadcastRoom.utf8.count > limits.roomNameBytes {
            problems.add(
                "gateway.broadcast_room",
                value: .string(gateway.broadcastRoom),
                "must be at most limits.room_name_bytes, \(limits.roomNameBytes)"
            )
        }
        if limits.writeLimit < 2 * limits.maxSize {
            problems.add(
                "limits.write_limit",
                value: .string(SettingText.size(limits.writeLimit)),
                "must be at least twice limits.max_size, \(SettingText.size(2 * limits.maxSize))"
            )
        }
        if log.tailRingBytes < limits.maxSize {
            problems.add(
                "log.tail_ring_bytes",
                value: .string(SettingText.size(log.tailRingBytes)),
                "must be at least limits.max_size, \(SettingText.size(limits.maxSize))"
            )
        }
        if log.walFileSize < 4 * limits.maxSize {
            problems.add(
                "log.wal_file_size",
                value: .string(SettingText.size(log.walFileSize)),
                "must be at least four times limits.max_size, \(SettingText.size(4 * limits.maxSize))"
            )
        }
        if raft.maxInflightBytes < raft.maxMessageBytes {
            problems.add(
                "raft.max_inflight_bytes",
                value: .string(SettingText.size(raft.maxInflightBytes)),
                "must be at least raft.max_message_bytes, \(SettingText.size(raft.maxMessageBytes))"
            )
        }
        if raft.maxUncommittedBytes < 2 * limits.maxSize {
            problems.add(
                "raft.max_uncommitted_bytes",
                value: .string(SettingText.size(raft.maxUncommittedBytes)),
                "must be at least twice limits.max_size, \(SettingText.size(2 * limits.maxSize))"
            )
        }
    }

    private func validateTimers(_ problems: inout ProblemList) {
        func atLeast(_ key: String, _ value: Interval, _ bound: Interval, _ meaning: String) {
            guard value < bound else { return }
            problems.add(
                key,
                value: .integer(Int(value.milliseconds)),
                "must be at least \(meaning), \(bound.milliseconds)"
            )
        }
        atLeast("raft.heartbeat_ms", raft.heartbeat, raft.tick, "raft.tick_ms")
        atLeast("raft.election_ms", raft.election, raft.heartbeat * 3, "3 x raft.heartbeat_ms")
        atLeast("raft.control_election_ms", raft.controlElection, raft.election, "raft.election_ms")
        atLeast("liveness.suspect_ms", liveness.suspect, liveness.keepalive * 2, "2 x liveness.keepalive_ms")
    }

    private func collectWarnings() -> [String] {
        var warnings = redisWarnings
        if mode == .cluster {
            if nodes.count < 3 {
                warnings.append(
                    "\(nodes.count) node\(nodes.count == 1 ? "" : "s"): the loss of one stops guaranteed publishes; "
                        + "high availability needs at least 3"
                )
            } else if cluster.replicationFactor < 3 {
                warnings.append(
                    "cluster.replication_factor = \(cluster.replicationFactor): the loss of one replica stops its "
                        + "partitions; high availability needs at least 3"
                )
            }
            if cluster.replicationFactor > 2, cluster.replicationFactor % 2 == 0 {
                warnings.append(
                    "cluster.replication_factor = \(cluster.replicationFactor): an even number costs a copy and "
                        + "survives no more losses than one less"
                )
            }
            if nodes.count > 1 {
                if nodes.allSatisfy({ $0.zone == nodes[0].zone }) {
                    warnings.append(
                        "all nodes are in zone \(SettingText.quote(nodes[0].zone)): its loss is the loss of the cluster"
                    )
                }
                if nodes.allSatisfy({ $0.machine == nodes[0].machine }) {
                    warnings.append("all nodes are on host \(nodes[0].host): this survives processes, not machines")
                }
            }
        }
        if log.sync != .always {
            warnings.append(
                "log.sync = \"\(log.sync.rawValue)\": acknowledged publications may be lost when the replicas' "
                    + "machines "
                    + "fail together"
            )
        }
        for namespace in namespaces {
            for (key, roles) in [
                ("subscribe_roles", namespace.subscribeRoles), ("publish_roles", namespace.publishRoles),
            ] where !roles.isEmpty && !roles.contains(Namespace.anonymousRole) {
                warnings.append(
                    "namespace[prefix \(SettingText.quote(namespace.prefix))].\(key): this version verifies no tokens, "
                        + "so that nobody has one of these roles"
                )
            }
        }
        if auth.allowAnonymousOnPublic, nodes.contains(where: { !$0.isLoopback }),
            namespaces.contains(where: { $0.anonymousSubscribe || $0.anonymousPublish })
        {
            warnings.append("auth.allow_anonymous_on_public: clients without a token are served beyond loopback")
        }
        if !ClusterConfiguration.Node.isLoopback(admin.host) {
            warnings.append("admin.host = \(SettingText.quote(admin.host)): the admin port has no authentication")
        }
        return warnings
    }
}
