import ClusterConfiguration
import Foundation
import Primitives
import Testing

/// The file that the package ships.
enum SampleFile {
    static let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "cluster.toml").path()

    static func text() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }

    static func load(_ environment: [String: String] = [:]) throws -> ClusterConfiguration {
        try ClusterConfiguration.load(path: path, environment: environment)
    }

    /// The sample with one line replaced.
    static func load(replacing line: String, with replacement: String) throws -> ClusterConfiguration {
        let text = try text()
        try #require(text.contains(line), "the sample has no \(line)")
        let range = try #require(text.range(of: line))
        return try ClusterConfiguration.load(
            text: text.replacingCharacters(in: range, with: replacement),
            path: "cluster.toml",
            environment: [:]
        )
    }
}

@Suite struct SampleFileTests {
    @Test("the shipped file describes three loopback nodes")
    func threeNodes() throws {
        let configuration = try SampleFile.load()
        #expect(configuration.cluster.mode == .cluster)
        #expect(configuration.cluster.partitions == 64)
        #expect(configuration.replicationFactor == 3)
        #expect(configuration.nodes.map(\.id) == ["n1", "n2", "n3"])
        #expect(configuration.nodes.map(\.gatewayPort) == [8000, 8010, 8020])
        #expect(configuration.nodes.map(\.respPort) == [6379, 6380, 6381])
        #expect(configuration.nodes.map(\.sentinelPort) == [26379, 26380, 26381])
        #expect(configuration.nodes.map(\.meshPort) == [7946, 7956, 7966])
        #expect(configuration.nodes.map(\.gossipPort) == [7947, 7957, 7967])
        #expect(configuration.nodes.map(\.adminPort) == [9000, 9010, 9020])
        #expect(configuration.nodes.map(\.dataDirectory) == ["./data/n1", "./data/n2", "./data/n3"])
        #expect(configuration.nodes.allSatisfy { $0.bind == "127.0.0.1" && $0.isLoopback })
        #expect(configuration.warnings.count == 1)
        #expect(configuration.warnings[0].contains("all nodes are on host 127.0.0.1"))
    }

    @Test("RM-05 DL-04 the shipped namespaces have the classes and priorities of the three domains")
    func namespaces() throws {
        let configuration = try SampleFile.load()
        func policy(_ room: String) -> ClusterConfiguration.Namespace { configuration.namespace(for: Array(room.utf8)) }
        #expect(policy("gov:alerts:critical").deliveryClass == .guaranteed)
        #expect(policy("gov:alerts:critical").priority == .critical)
        #expect(policy("gov:alerts:critical").retention.time == .seconds(7 * 86400))
        #expect(policy("gov:alerts:critical").retention.count == 100_000)
        #expect(configuration.heartbeat(of: policy("gov:alerts:critical")).pingInterval == .seconds(5))
        #expect(
            configuration.heartbeat(of: policy("gov:alerts:critical")).detection
                < configuration.heartbeat(of: policy("other")).detection
        )
        #expect(policy("citizen:notifications:42").deliveryClass == .bestEffort)
        #expect(policy("citizen:notifications:42").priority == .low)
        #expect(policy("citizen:notifications").messageTTL == .seconds(60))
        #expect(policy("ops:system:health").deliveryClass == .retained)
        #expect(policy("ops:system:health").retention.bytes == 1 << 30)
        #expect(policy("anything else").prefix.isEmpty)
        #expect(policy("anything else").deliveryClass == .guaranteed)
        #expect(policy("anything else").publishRate == 0, "a load test over one connection meets no rate")
        #expect(configuration.namespaces.allSatisfy { $0.anonymousSubscribe && $0.anonymousPublish })
    }

    @Test("X-28 the names of the four Redis schemes have a namespace each")
    func redisNames() throws {
        let configuration = try SampleFile.load()
        for (room, prefix) in [
            ("ws_broadcast", "ws_broadcast"), ("chat_system", "chat_system"), ("chat_system:lobby", "chat_system"),
            ("gov:alerts:critical", "gov:alerts:critical"), ("pubsub:x", "pubsub:"),
        ] {
            #expect(configuration.namespace(for: Array(room.utf8)).prefix == prefix)
        }
    }

    @Test("P-11 the shipped file mentions every setting, with a comment, and states its default where it must")
    func everySetting() throws {
        let lines = try SampleFile.text().split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        #expect(ClusterConfiguration.settings.count > 80)
        for setting in ClusterConfiguration.settings {
            var parts = setting.keyPath.split(separator: ".").map(String.init)
            let section = parts.removeFirst().replacing("[]", with: "")
            if parts.first == "<name>" { parts.removeFirst() }
            let key = parts[0]
            var current = ""
            var found = false
            var commented = false
            for line in lines {
                if line.hasPrefix("[") {
                    let name = line.prefix { $0 != "#" }.filter { !"[] ".contains($0) }
                    current = String(name.split(separator: ".")[0])
                    commented = section == "heartbeat"
                } else if line.hasPrefix("# \(key) =") || line.hasPrefix("\(key) =") {
                    guard current == section else { continue }
                    if parts.count > 1, !line.contains("\(parts[1]) =") { continue }
                    found = commented
                    break
                } else if line.isEmpty {
                    commented = false
                } else if line.hasPrefix("#") {
                    commented = true
                }
            }
            #expect(found, "\(setting.keyPath) has no commented line in cluster.toml")
            #expect(!setting.documentation.isEmpty)
            #expect(!setting.allowed.isEmpty)
        }
    }

    @Test("P-11 every value that the shipped file states outside nodes, namespaces and heartbeats is the default")
    func defaults() throws {
        let shipped = try SampleFile.load()
        let initial = ClusterConfiguration()
        #expect(shipped.cluster == initial.cluster)
        #expect(shipped.heartbeats == initial.heartbeats)
        #expect(shipped.limits == initial.limits)
        #expect(shipped.gateway == initial.gateway)
        #expect(shipped.admin == initial.admin)
        #expect(shipped.auth == initial.auth)
        #expect(shipped.log == initial.log)
        #expect(shipped.raft == initial.raft)
        #expect(shipped.liveness == initial.liveness)
        #expect(shipped.gossip == initial.gossip)
        #expect(shipped.slo == initial.slo)
        #expect(shipped.redis == initial.redis)
    }

    @Test("P-11 the commented lines of the shipped file state the defaults of nodes and namespaces")
    func commentedDefaults() throws {
        let text = try SampleFile.text()
        for setting in ClusterConfiguration.settings where setting.keyPath.contains("[]") {
            let key = try #require(setting.keyPath.split(separator: ".").last)
            guard let value = setting.defaultValue, !setting.keyPath.contains("retention"),
                text.contains("\n# \(key) =")
            else { continue }
            #expect(text.contains("\n# \(key) = \(value)\n"), "\(setting.keyPath) has the default \(value)")
        }
        #expect(text.contains("# retention = { time = \"24h\", count = 100_000, bytes = \"64MiB\" }"))
    }

    @Test("CL-03 two nodes, or one zone, or one machine start with a warning")
    func warnings() throws {
        let text = """
            cluster.replication_factor = 2
            cluster.secret = "0123456789abcdef"
            [[node]]
            id = "a"
            host = "10.0.0.1"
            resp_port = 0
            data_dir = "d"
            [[node]]
            id = "b"
            host = "10.0.0.2"
            resp_port = 0
            data_dir = "d"
            """
        let two = try ClusterConfiguration.load(text: text, path: "two", environment: [:])
        #expect(two.warnings.contains { $0.hasPrefix("2 nodes") })
        #expect(two.warnings.contains { $0.hasPrefix("all nodes are in zone \"default\"") })
        #expect(!two.warnings.contains { $0.contains("on host") })
        let even = text + "\nzone = \"z\"\n[[node]]\nid = \"c\"\nhost = \"10.0.0.3\"\nresp_port = 0\ndata_dir = \"d\""
        let three = try ClusterConfiguration.load(text: even, path: "three", environment: [:])
        #expect(three.warnings.count == 1)
        #expect(three.warnings[0].hasPrefix("cluster.replication_factor = 2"))
    }
}
