import Admin
import Cluster
import ClusterConfiguration
import Logging
import OwnThread
import Primitives
import Testing

@testable import Node
@testable import vencejo

/// `vencejo keys` against nodes' admin ports.
@Suite(.ownThread) struct KeysCommandTests {
    /// The admin port of a node with this gossip.
    private func admin(_ node: TestGossip, port: Int) -> AdminService {
        let gossip = node.gossip
        let name = node.name
        var logger = Logger(label: "admin")
        logger.logLevel = .critical
        return AdminService(
            host: "127.0.0.1",
            port: port,
            routes: AdminRoutes(
                metrics: { "" },
                live: { .healthy },
                ready: { .healthy },
                cluster: { "{}" },
                redis: { "{}" },
                status: { "{}" },
                drain: { _ in .refused("not here") },
                undrain: { .refused("not here") },
                gossipKeys: { await gossip.answer($0, node: name) }
            ),
            logger: logger
        )
    }

    @Test("CL-19 an operator changes the keys of all nodes; a node that is away stops what would cut it off")
    func rotation() async throws {
        try await withGossip(["a", "b", "c"]) { nodes in
            let ports = freePorts(3)
            var configuration = ClusterConfiguration()
            for (node, port) in zip(nodes, ports) {
                var entry = ClusterConfiguration.Node()
                entry.id = node.name
                entry.adminPort = port
                configuration.nodes.append(entry)
            }
            let round = KeysRound(configuration, timeout: .seconds(60))
            var services: [AdminService] = []
            for (node, port) in zip(nodes, ports) { services.append(admin(node, port: port)) }
            for service in services[..<2] { _ = try await service.start() }
            let old = await nodes[0].gossip.keyring().primary.fingerprint.description
            let new = try key(0xab)
            let digits = String(repeating: "ab", count: 32)
            let fingerprint = new.fingerprint.description

            // c is away: it keeps its keys, and everything but an installation waits for it.
            let half = await round.run(.install(key: digits), force: false)
            #expect(half.problems.count == 1 && half.done == 2)
            #expect(half.problems[0].hasPrefix("c does not answer and keeps the keys that it had: "))
            #expect(!half.lines.joined().contains(digits), "a key is never shown")
            #expect(await nodes[0].gossip.keyring().keys.count == 2)
            let early = await round.run(.use(fingerprint: fingerprint), force: false)
            #expect(early.problems[0].hasPrefix("c does not answer ("))
            #expect(early.problems.last?.contains("Nothing was changed") == true)
            #expect(await nodes[0].gossip.keyring().primary != new)

            _ = try await services[2].start()
            let missing = await round.run(.use(fingerprint: fingerprint), force: false)
            #expect(missing.problems.first == "c has no key \(fingerprint): install it there first")
            #expect(await round.run(.install(key: digits), force: false).problems.isEmpty, "again, for c")
            let wrong = await round.run(.remove(fingerprint: old), force: false)
            #expect(wrong.problems.first == "a encrypts with \(old): use another key first")
            let used = await round.run(.use(fingerprint: fingerprint), force: false)
            #expect(used.problems.isEmpty)
            #expect(used.lines.count == 4 && used.lines[1].hasPrefix("a "))
            #expect(used.lines[1].hasSuffix("\(fingerprint) \(old)"))
            #expect(await round.run(.remove(fingerprint: old), force: false).problems.isEmpty)
            for node in nodes {
                #expect(await node.gossip.keyring().keys == [new])
                #expect(!node.events.contains { $0.hasPrefix("suspected") })
            }
            // By force it is done where it can be done, and said where not.
            let forced = await round.run(.use(fingerprint: old), force: true)
            #expect(forced.problems.count == 3)
            #expect(forced.problems[0] == "a refused: no key \(old) is installed here")
            let bad = await round.run(.install(key: "abc"), force: false)
            #expect(bad.problems.first == "a refused: a key must be 64 hexadecimal digits")
            for service in services { await service.stop() }
        }
    }
}
