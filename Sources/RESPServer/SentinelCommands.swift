import EventLoops
import Primitives
import RESP

/// SENTINEL: this node answers for one service, whose master is the owner of the first key partition.
extension RESPConnection {
    func sentinel(_ arguments: [[UInt8]]) {
        let name = word(arguments[1])
        let counts: [String: ClosedRange<Int>] = [
            "myid": 2...2, "masters": 2...2, "primaries": 2...2, "help": 2...2, "master": 3...3, "primary": 3...3,
            "replicas": 3...3, "slaves": 3...3, "sentinels": 3...3, "get-master-addr-by-name": 3...3,
            "get-primary-addr-by-name": 3...3, "ckquorum": 3...3, "failover": 3...3, "pending-scripts": 2...2,
        ]
        guard let allowed = counts[name] else {
            let shown = String(decoding: arguments[1].prefix(128), as: UTF8.self)
            return fail(
                "ERR Unknown sentinel subcommand '\(shown)', or one that other Sentinels use: there are none here"
            )
        }
        guard allowed.contains(arguments.count) else {
            return fail("ERR wrong number of arguments for 'sentinel|\(name)' command")
        }
        if name == "help" { return help("SENTINEL", RESPConnection.sentinelHelp) }
        guard let topology = shard.node.topology else { return fail("ERR the cluster's members are not known yet") }
        if arguments.count == 3, !arguments[2].elementsEqual(settings.masterName.utf8) {
            return name.hasPrefix("get-") ? reply.nullArray() : fail("ERR No such master with that name")
        }
        switch name {
        case "myid": reply.bulk(topology.node(topology.me)?.id ?? "")
        case "pending-scripts": reply.array(0)
        case "masters", "primaries":
            reply.array(1)
            write(fields: masterFields(topology))
        case "master", "primary": write(fields: masterFields(topology))
        case "replicas", "slaves":
            let replicas = topology.partitions.first?.replicas.compactMap { topology.node($0) } ?? []
            reply.array(replicas.count)
            for node in replicas { write(fields: replicaFields(node, topology)) }
        case "sentinels":
            let others = topology.nodes.indices.filter { $0 != topology.me && topology.nodes[$0].sentinelPort != 0 }
            reply.array(others.count)
            for index in others { write(fields: sentinelFields(topology.nodes[index])) }
        case "ckquorum": checkQuorum(topology)
        case "failover":
            handOver(0, orElse: "NOGOODSLAVE No suitable replica to promote")
        default:
            guard let master = topology.master else { return reply.nullArray() }
            reply.array(2)
            reply.bulk(master.host)
            reply.bulk(String(master.port))
        }
    }

    private static let sentinelHelp = [
        "CKQUORUM <master-name>", "    Check if the current configuration is able to reach the quorum.",
        "FAILOVER <master-name>", "    Hand the keys over to another node.", "GET-MASTER-ADDR-BY-NAME <master-name>",
        "    Return the ip and port number of the master with that name.", "MASTER <master-name>",
        "    Show the state and info of the specified master.", "MASTERS", "    Show the masters and their state.",
        "MYID", "    Return the ID of this node.", "REPLICAS <master-name>", "    Show the replicas and their state.",
        "SENTINELS <master-name>", "    Show the other nodes that answer as Sentinels.",
    ]

    private func write(fields: [(String, String)]) {
        reply.map(fields.count)
        for (name, value) in fields {
            reply.bulk(name)
            reply.bulk(value)
        }
    }

    private func checkQuorum(_ topology: RESPTopology) {
        let alive = topology.nodes.count(where: \.isAlive)
        if alive * 2 > topology.nodes.count, topology.master != nil {
            reply.simple("OK \(alive) usable Sentinels. Quorum and failover authorization can be reached")
        } else {
            fail("NOQUORUM \(alive) usable Sentinels. Not enough available Sentinels to reach the majority")
        }
    }

    private func common(_ name: String, _ node: RESPTopology.Node, port: Int, flags: String) -> [(String, String)] {
        [
            ("name", name), ("ip", node.host), ("port", String(port)), ("runid", node.id),
            ("flags", node.isAlive ? flags : "\(flags),s_down"), ("link-pending-commands", "0"), ("link-refcount", "1"),
            ("last-ping-sent", "0"), ("last-ok-ping-reply", "0"), ("last-ping-reply", "0"),
            ("down-after-milliseconds", "1000"),
        ]
    }

    private func masterFields(_ topology: RESPTopology) -> [(String, String)] {
        let none = RESPTopology.Node(
            id: "",
            host: "",
            port: 0,
            clusterPort: 0,
            sentinelPort: 0,
            isAlive: false
        )
        let master = topology.master
        let node = master ?? none
        var fields = common(settings.masterName, node, port: node.port, flags: "master")
        fields += [
            ("info-refresh", "0"), ("role-reported", "master"), ("role-reported-time", "0"),
            ("config-epoch", String(topology.partitions.first?.epoch ?? 0)),
            ("num-slaves", String(topology.partitions.first?.replicas.count ?? 0)),
            ("num-other-sentinels", String(topology.nodes.count(where: { $0.sentinelPort != 0 }) - 1)),
            ("quorum", String(topology.nodes.count / 2 + 1)), ("failover-timeout", "180000"), ("parallel-syncs", "1"),
        ]
        return fields
    }

    private func replicaFields(_ node: RESPTopology.Node, _ topology: RESPTopology) -> [(String, String)] {
        var fields = common("\(node.host):\(node.port)", node, port: node.port, flags: "slave")
        fields += [
            ("info-refresh", "0"), ("role-reported", "slave"), ("role-reported-time", "0"),
            ("master-link-down-time", "0"), ("master-link-status", topology.master == nil ? "err" : "ok"),
            ("master-host", topology.master?.host ?? ""), ("master-port", String(topology.master?.port ?? 0)),
            ("slave-priority", "100"), ("slave-repl-offset", "0"), ("replica-announced", "1"),
        ]
        return fields
    }

    private func sentinelFields(_ node: RESPTopology.Node) -> [(String, String)] {
        var fields = common(node.id, node, port: node.sentinelPort, flags: "sentinel")
        fields += [
            ("last-hello-message", "0"), ("voted-leader", "?"), ("voted-leader-epoch", "0"),
        ]
        return fields
    }
}
