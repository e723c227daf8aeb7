import Keys
import Primitives
import RESP

/// CLUSTER.
extension RESPConnection {
    func cluster(_ arguments: [[UInt8]]) {
        guard listener.face == .cluster else { return fail("ERR This instance has cluster support disabled") }
        guard let topology = shard.node.topology else {
            return fail("CLUSTERDOWN The cluster's members are not known yet")
        }
        switch lastSubcommand {
        case "slots": clusterSlots(topology)
        case "shards": clusterShards(topology)
        case "nodes": reply.verbatim(nodeLines(topology, topology.nodes.indices.map { $0 }))
        case "replicas", "slaves": clusterReplicas(topology, arguments[2])
        case "info": reply.verbatim(clusterInfo(topology))
        case "myid": reply.bulk(topology.node(topology.me)?.id ?? "")
        case "links": reply.array(0)
        case "keyslot": reply.integer(HashSlot.slot(of: arguments[2]))
        case "countkeysinslot", "getkeysinslot": slotQuestion(arguments)
        case "failover": clusterFailover(arguments, topology)
        default:
            help(
                "CLUSTER",
                [
                    "COUNTKEYSINSLOT <slot>", "    Return the number of keys in <slot>.", "FAILOVER [FORCE|TAKEOVER]",
                    "    Hand the first key partition of this node over to another replica.",
                    "GETKEYSINSLOT <slot> <count>", "    Return key names stored by current node in a slot.", "INFO",
                    "    Return information about the cluster.", "KEYSLOT <key>", "    Return the hash slot for <key>.",
                    "MYID", "    Return the node id.", "NODES",
                    "    Return cluster configuration seen by node. Output format:",
                    "    <id> <ip:port@bus-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
                    "REPLICAS <node-id>", "    Return <node-id> replicas.", "SHARDS",
                    "    Return information about slot range mappings and the nodes associated with them.", "SLOTS",
                    "    Return information about slots range mappings. Each range is made of:",
                    "    start, end, master and replicas IP addresses, ports and ids",
                ]
            )
        }
    }

    private func write(node: RESPTopology.Node) {
        reply.array(4)
        reply.bulk(node.host)
        reply.integer(node.clusterPort)
        reply.bulk(node.id)
        reply.array(0)
    }

    private func clusterSlots(_ topology: RESPTopology) {
        let rows = topology.nodes.indices.flatMap { owner in topology.slots(ownedBy: owner).map { ($0, owner) } }
            .sorted { $0.0.lowerBound < $1.0.lowerBound }
        reply.array(rows.count)
        for (slots, owner) in rows {
            let nodes = [owner] + topology.replicas(of: owner)
            reply.array(2 + nodes.count)
            reply.integer(slots.lowerBound)
            reply.integer(slots.upperBound)
            for index in nodes { write(node: topology.nodes[index]) }
        }
    }

    private func clusterShards(_ topology: RESPTopology) {
        let owners = topology.nodes.indices.filter { !topology.owned(by: $0).isEmpty }
        reply.array(owners.count)
        for owner in owners {
            let slots = topology.slots(ownedBy: owner)
            reply.map(2)
            reply.bulk("slots")
            reply.array(slots.count * 2)
            for range in slots {
                reply.integer(range.lowerBound)
                reply.integer(range.upperBound)
            }
            reply.bulk("nodes")
            let nodes = [owner] + topology.replicas(of: owner)
            reply.array(nodes.count)
            for index in nodes {
                let node = topology.nodes[index]
                reply.map(7)
                reply.bulk("id")
                reply.bulk(node.id)
                reply.bulk("port")
                reply.integer(node.clusterPort)
                reply.bulk("ip")
                reply.bulk(node.host)
                reply.bulk("endpoint")
                reply.bulk(node.host)
                reply.bulk("role")
                reply.bulk(index == owner ? "master" : "replica")
                reply.bulk("replication-offset")
                reply.integer(shard.metrics.commandsTotal)
                reply.bulk("health")
                reply.bulk(node.isAlive ? "online" : "failed")
            }
        }
    }

    private func nodeLines(_ topology: RESPTopology, _ indices: [Int]) -> String {
        var text = ""
        for index in indices {
            let node = topology.nodes[index]
            let master = topology.master(of: index)
            var flags = index == topology.me ? ["myself"] : []
            flags.append(master == nil ? "master" : "slave")
            if !node.isAlive { flags.append("fail") }
            let epoch = topology.owned(by: index).map { topology.partitions[$0].epoch }.max() ?? topology.epoch
            let slots = topology.slots(ownedBy: index)
                .map { $0.lowerBound == $0.upperBound ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            text += "\(node.id) \(node.host):\(node.clusterPort)@\(node.clusterPort + 10000) "
            text += "\(flags.joined(separator: ",")) \(topology.node(master)?.id ?? "-") 0 0 \(epoch) "
            text += ([node.isAlive ? "connected" : "disconnected"] + slots).joined(separator: " ") + "\n"
        }
        return text
    }

    private func clusterReplicas(_ topology: RESPTopology, _ id: [UInt8]) {
        guard let master = topology.nodes.firstIndex(where: { $0.id.utf8.elementsEqual(id) }) else {
            return fail("ERR Unknown node \(String(decoding: id.prefix(64), as: UTF8.self))")
        }
        let replicas = topology.replicas(of: master)
        reply.array(replicas.count)
        for index in replicas { reply.bulk(String(nodeLines(topology, [index]).dropLast())) }
    }

    private func clusterInfo(_ topology: RESPTopology) -> String {
        let served = topology.partitions.indices.filter { topology.node(topology.partitions[$0].owner) != nil }
        let slots = served.reduce(0) { $0 + topology.slots($1).count }
        let owners = Set(served.compactMap { topology.partitions[$0].owner })
        let rows: [(String, String)] = [
            ("cluster_enabled", "1"), ("cluster_state", served.count == topology.partitions.count ? "ok" : "fail"),
            ("cluster_slots_assigned", "16384"), ("cluster_slots_ok", String(slots)), ("cluster_slots_pfail", "0"),
            ("cluster_slots_fail", String(16384 - slots)), ("cluster_known_nodes", String(topology.nodes.count)),
            ("cluster_size", String(owners.count)), ("cluster_current_epoch", String(topology.epoch)),
            ("cluster_my_epoch", String(topology.epoch)), ("cluster_stats_messages_sent", "0"),
            ("cluster_stats_messages_received", "0"), ("total_cluster_links_buffer_limit_exceeded", "0"),
        ]
        return rows.map { "\($0.0):\($0.1)\r\n" }.joined()
    }

    private func slotQuestion(_ arguments: [[UInt8]]) {
        guard let slot = Decimal.integer(arguments[2]), slot >= 0, slot < Int64(HashSlot.count) else {
            return fail("ERR Invalid or out of range slot")
        }
        var question = [Array(".slotcount".utf8), arguments[2]]
        if lastSubcommand == "getkeysinslot" {
            guard let limit = Decimal.integer(arguments[3]), limit >= 0 else {
                return fail("ERR Invalid number of keys")
            }
            question = [Array(".slotkeys".utf8), arguments[2], Decimal.bytes(of: limit)]
        }
        ask([partition(ofSlot: UInt32(slot))], unit(question), isReadOnly: true) { replies in
            self.reply.raw(replies[0])
            self.completeCommand()
        }
    }

    private func clusterFailover(_ arguments: [[UInt8]], _ topology: RESPTopology) {
        if arguments.count > 2, !["force", "takeover"].contains(word(arguments[2])) || arguments.count > 3 {
            return fail("ERR syntax error")
        }
        let text = "ERR there is no replica that could take over"
        guard let partition = topology.owned(by: topology.me).first ?? topology.partitions.indices.first else {
            return fail(text)
        }
        handOver(partition, orElse: text)
    }

    /// Asks the owner of a key partition, wherever it is, to give it to another replica.
    func handOver(_ partition: Int, orElse text: String) {
        ask([partition], KeyUnit(kind: .handOver).encoded(), isReadOnly: true) { replies in
            if Decimal.integer(replies[0].dropFirst().dropLast(2)) == 1 {
                self.reply.ok()
            } else {
                self.fail(text)
            }
            self.completeCommand()
        }
    }
}
