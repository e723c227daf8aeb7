import Primitives
import SWIM

extension ClusterConfiguration {
    /// `[gossip]`: who belongs to the cluster and who is gone (SWIM with Lifeguard). It never decides who owns a room.
    package struct Gossip: Sendable, Equatable {
        /// In cluster mode; the other modes have nobody to gossip with.
        package var enabled = true
        /// Addresses to join by, besides the nodes of the file: `host:port`, or a name of the DNS.
        package var seeds: [String] = []
        package var probeInterval = Interval.milliseconds(500)
        package var probeTimeout = Interval.milliseconds(200)
        /// Members that are asked to probe on behalf of one that got no answer.
        package var indirectProbes = 3
        package var suspicionMultiplier = 4
        package var downAfter = Interval.seconds(5)
        package var gossipInterval = Interval.milliseconds(200)
        /// Members that each round of gossip goes to.
        package var gossipNodes = 3
        package var pushPullInterval = Interval.seconds(30)
        package var maxMembers = 1024
        /// 64 hexadecimal digits each, separated by commas; the first one encrypts. Empty: derived from the secret.
        package var keys = Secret("")

        package init() {}
    }
}

extension ClusterConfiguration.Gossip {
    /// What a keyring holds at most.
    package static let maxKeys = 8

    static let settings: [Setting<Self>] = [
        .boolean(
            "enabled",
            \.enabled,
            "Gossip about members in cluster mode. false: the nodes of this file are the members, for ever."
        ),
        .list(
            "seeds",
            \.seeds,
            "Where to join besides the nodes of this file: host:gossip_port, or a name of the DNS, whose addresses are "
                + "all asked, and looked up again at each try."
        ),
        .duration(
            "probe_interval",
            \.probeInterval,
            .milliseconds(10)...(.seconds(60)),
            "Each node probes one other member so often. Shorter: faster detection, more packets."
        ),
        .duration(
            "probe_timeout",
            \.probeTimeout,
            .milliseconds(5)...(.seconds(30)),
            "For the answer to a probe, before others are asked to try and TCP is tried; shorter than probe_interval, "
                + "longer than the slowest round trip."
        ),
        .integer(
            "indirect_probes",
            \.indirectProbes,
            0...16,
            "Members that are asked to try when a probe got no answer; 0: none."
        ),
        .integer(
            "suspicion_multiplier",
            \.suspicionMultiplier,
            1...32,
            "A suspect that multiplier - 1 members accuse has multiplier x max(1, log10(members)) x probe_interval to "
                + "show that it lives; one that fewer accuse, up to six times as long."
        ),
        .duration(
            "down_after",
            \.downAfter,
            .milliseconds(50)...(.seconds(3600)),
            zero: "as soon as the suspicion ends",
            "As Sentinel's down-after: a member counts as down when it has been unreachable for so long at least, "
                + "however many confirm it. A longer suspicion is waited for. Rooms do not wait: see [liveness]."
        ),
        .duration(
            "gossip_interval",
            \.gossipInterval,
            .milliseconds(10)...(.seconds(60)),
            "News go to gossip_nodes other members so often, until all have had time to hear them."
        ),
        .integer("gossip_nodes", \.gossipNodes, 1...16, "Members that each round of gossip goes to."),
        .duration(
            "push_pull_interval",
            \.pushPullInterval,
            .seconds(1)...(.seconds(3600)),
            "A node compares all that it knows with another member over TCP so often, and looks up and asks seeds that "
                + "are not among the members again; above 32 members less often."
        ),
        .integer("max_members", \.maxMembers, 2...1500, "Members at a time; more are refused."),
        .secret(
            "keys",
            \.keys,
            "Keys of the gossip for a node whose data directory has no keyring yet: 64 hexadecimal digits each, at "
                + "most 8, separated by commas; the first one encrypts, all decrypt. Empty: one that is derived from "
                + "cluster.secret. Changed live by `vencejo keys`. Better set by VENCEJO_GOSSIP_KEYS."
        ),
    ]
}

extension ClusterConfiguration.Gossip {
    /// What it means to the core.
    package var swim: SWIMSettings {
        var settings = SWIMSettings()
        settings.probeInterval = probeInterval
        settings.pingTimeout = probeTimeout
        settings.indirectProbes = indirectProbes
        settings.suspicionMultiplier = suspicionMultiplier
        settings.downAfter = downAfter == .zero ? nil : downAfter
        settings.gossipInterval = gossipInterval
        settings.gossipNodes = gossipNodes
        settings.pushPullInterval = pushPullInterval
        settings.maxMembers = maxMembers
        return settings
    }
}

extension ClusterConfiguration {
    /// Whether this node gossips.
    package var gossips: Bool { mode == .cluster && gossip.enabled }

    func validateGossip(_ problems: inout ProblemList) {
        func atLeast(_ key: String, _ value: Interval, _ bound: Interval, _ meaning: String) {
            guard value < bound else { return }
            problems.add(
                "gossip.\(key)",
                value: .string(SettingText.duration(value)),
                "must be at least \(meaning), \(SettingText.duration(bound))"
            )
        }
        // A tick is 10 ms: what ends within the same one is not shorter.
        atLeast("probe_interval", gossip.probeInterval, gossip.probeTimeout * 2, "twice gossip.probe_timeout")
        if gossip.downAfter != .zero {
            atLeast("down_after", gossip.downAfter, gossip.probeInterval, "gossip.probe_interval")
        }
        if gossip.maxMembers < nodes.count {
            problems.add(
                "gossip.max_members",
                value: .integer(gossip.maxMembers),
                "must be at least the number of nodes, \(nodes.count)"
            )
        }
        for seed in gossip.seeds where !Self.isSeed(seed) {
            problems.add("gossip.seeds", value: .string(seed), "must be host:port, [address]:port or a host alone")
        }
        let keys = gossip.keys.text.split(separator: ",", omittingEmptySubsequences: false)
        if !gossip.keys.isEmpty {
            if keys.count > Gossip.maxKeys {
                problems.add("gossip.keys", "has \(keys.count) keys; at most \(Gossip.maxKeys)")
            } else if !keys.allSatisfy({ $0.utf8.count == 64 && $0.allSatisfy { $0.isASCII && $0.isHexDigit } }) {
                problems.add("gossip.keys", "each key must be 64 hexadecimal digits; draw one by openssl rand -hex 32")
            } else if Set(keys.map { $0.lowercased() }).count < keys.count {
                problems.add("gossip.keys", "has the same key twice")
            }
        }
        for (index, node) in nodes.enumerated() where gossips && node.gossipPort > 65535 {
            problems.add(
                "node[\(index)].gossip_port",
                value: .integer(0),
                "stands for mesh_port + 1, which is no port after mesh_port = \(node.meshPort); name one"
            )
        }
    }

    private static func isSeed(_ text: String) -> Bool {
        guard let colon = text.lastIndex(of: ":") else { return true }
        let host = text[..<colon]
        let port = text[text.index(after: colon)...]
        if text.hasPrefix("[") { return text.hasSuffix("]") || (host.hasSuffix("]") && isPort(port)) }
        // Two colons: an IPv6 address without a port.
        return host.contains(":") || (!host.isEmpty && isPort(port))
    }

    private static func isPort(_ text: Substring) -> Bool { Int(text).map { (1...65535).contains($0) } ?? false }
}
