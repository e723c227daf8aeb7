import ClusterConfiguration
import Primitives
import SWIM
import Testing

@Suite struct GossipSectionTests {
    private func load(
        _ gossip: String = "",
        node: String = "",
        mode: String = "cluster",
        copies: Int = 1
    ) throws -> ClusterConfiguration {
        try ClusterConfiguration.load(
            text: """
                [cluster]
                mode = "\(mode)"
                replication_factor = \(copies)
                [gossip]
                \(gossip)
                [[node]]
                id = "a"
                data_dir = "d"
                \(node)
                """,
            path: "c.toml",
            environment: [:]
        )
    }

    private func problems(
        _ gossip: String = "",
        node: String = "",
        mode: String = "cluster",
        copies: Int = 1
    ) throws -> [String] {
        do {
            _ = try load(gossip, node: node, mode: mode, copies: copies)
            return []
        } catch let error as ConfigurationError {
            return error.problems.map(\.description)
        }
    }

    @Test("P-11 the defaults are those of the core, but for what the core leaves open")
    func defaults() {
        #expect(ClusterConfiguration.Gossip().swim == SWIMSettings())
    }

    @Test("P-11 each key of [gossip] reaches the core")
    func everyKey() throws {
        let configuration = try load(
            """
            probe_interval = "1s"
            probe_timeout = "300ms"
            indirect_probes = 5
            suspicion_multiplier = 6
            down_after = "0s"
            gossip_interval = "100ms"
            gossip_nodes = 4
            push_pull_interval = "60s"
            max_members = 77
            seeds = ["n1.example", "192.0.2.1:7947", "[2001:db8::1]:7947", "2001:db8::1"]
            """
        )
        var expected = SWIMSettings()
        expected.probeInterval = .seconds(1)
        expected.pingTimeout = .milliseconds(300)
        expected.indirectProbes = 5
        expected.suspicionMultiplier = 6
        expected.downAfter = nil
        expected.gossipInterval = .milliseconds(100)
        expected.gossipNodes = 4
        expected.pushPullInterval = .seconds(60)
        expected.maxMembers = 77
        #expect(configuration.gossip.swim == expected)
        #expect(configuration.gossip.seeds.count == 4)
        #expect(configuration.gossips)
        #expect(try !load("enabled = false").gossips)
        #expect(try !load(mode: "standalone").gossips)
    }

    @Test("P-11 the longest push-pull of the largest cluster fits into a frame of the gossip")
    func largest() throws {
        #expect(try load("max_members = 1500").gossip.swim.maxFrameBytes <= 1 << 20)
        #expect(try problems("max_members = 1501")[0].hasSuffix("gossip.max_members = 1501: must be 2...1500"))
    }

    @Test("P-11 times that do not fit each other are refused, with what would fit")
    func times() throws {
        #expect(
            try problems("probe_timeout = \"300ms\"")
                == ["c.toml: gossip.probe_interval = \"500ms\": must be at least twice gossip.probe_timeout, 600ms"]
        )
        #expect(
            try problems("down_after = \"100ms\"")
                == ["c.toml: gossip.down_after = \"100ms\": must be at least gossip.probe_interval, 500ms"]
        )
        #expect(try problems("down_after = \"0s\"").isEmpty)
        #expect(try problems("push_pull_interval = \"0s\"")[0].contains("must be 1s...1h"))
    }

    @Test("CL-01 P-10 more copies than the file has nodes are for clusters that may get more")
    func copies() throws {
        #expect(try problems(copies: 3).isEmpty)
        #expect(try problems("enabled = false", copies: 3)[0].contains("must be at most the number of nodes, 1"))
    }

    @Test("the gossip's port follows the mesh's, and takes no other listener's")
    func ports() throws {
        #expect(try load().nodes[0].gossipPort == 7947)
        #expect(try load(node: "gossip_port = 1234").nodes[0].gossipPort == 1234)
        #expect(try problems(node: "gossip_port = 9000")[0].contains("gossip_port = 9000: already node[0].admin_port"))
        #expect(try problems(node: "mesh_port = 8999")[0].contains("gossip_port = 9000: already node[0].admin_port"))
        #expect(try problems("enabled = false", node: "mesh_port = 8999").isEmpty)
        #expect(try problems(node: "mesh_port = 8999", mode: "standalone").isEmpty)
        #expect(
            try problems(node: "mesh_port = 65535")
                == [
                    "c.toml: node[0].gossip_port = 0: stands for mesh_port + 1, which is no port after "
                        + "mesh_port = 65535; name one"
                ]
        )
    }

    @Test("SE-21 keys are checked and never shown")
    func keys() throws {
        let key = String(repeating: "ab", count: 32)
        #expect(try load("keys = \"\(key)\"").gossip.keys.text == key)
        #expect(!String(describing: try load("keys = \"\(key)\"")).contains(key))
        for (keys, reason) in [
            ("abab", "each key must be 64 hexadecimal digits; draw one by openssl rand -hex 32"),
            (key + ",", "each key must be 64 hexadecimal digits; draw one by openssl rand -hex 32"),
            (key + "," + key.uppercased(), "has the same key twice"),
            (Array(repeating: key, count: 9).joined(separator: ","), "has 9 keys; at most 8"),
        ] {
            #expect(try problems("keys = \"\(keys)\"") == ["c.toml: gossip.keys: \(reason)"])
        }
        #expect(
            try problems("seeds = [\"a:b\"]")
                == ["c.toml: gossip.seeds = \"a:b\": must be host:port, [address]:port or a host alone"]
        )
    }
}
