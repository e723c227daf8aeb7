import Broker
import DequeModule
import PeerProtocol
import Primitives
import Raft
import Rooms

/// What the mesh does with frames and connections.
extension Simulation {
    func send(_ message: PeerMessage, from node: SimulatedNode, to id: NodeID) {
        if case .raft(let group, let raft) = message { oracle.observe(raft, of: group, from: node, simulation: self) }
        let to = Int(id.rawValue) - 1
        let pair = network.pairs[network.pair(node.index, to)]
        guard pair.isConnected, network.believesUp[network.link(node.index, to)] else { return }
        var writer = ByteWriter()
        message.encode(into: &writer)
        let row = network.link(node.index, to)
        let lane = lane(of: message, row)
        var delay = networkChance.around(swarm.latency * network.directions[row].slowness)
        if lane == .bulk { delay = delay + swarm.latency * networkChance.below(20) }
        let arrival = max(network.directions[row][lane].lastArrival, now + delay + .microseconds(20))
        network.directions[row][lane].lastArrival = arrival
        network.directions[row][lane].frames.append((arrival, writer.bytes, message.appendGroup))
        trace.line(now) { "\(node.id) -> \(id) \(Simulation.summary(message))" }
        queue.push(
            .node(to, life: nodes[to].life, .deliver(from: node.index, epoch: pair.epoch, lane)),
            at: arrival
        )
    }

    /// As a link of the mesh chooses it, but that the smallest bulk counts.
    private func lane(of message: PeerMessage, _ row: Int) -> PeerLane {
        if message.lane(bulkBytes: 1) == .bulk { return .bulk }
        guard let group = message.appendGroup else { return .live }
        return network.directions[row].bulk.frames.contains { $0.group == group } ? .bulk : .live
    }

    func deliver(_ from: Int, _ epoch: UInt32, _ lane: PeerLane, to node: SimulatedNode) {
        let row = network.link(from, node.index)
        guard network.pairs[network.pair(from, node.index)].epoch == epoch,
            let first = network.directions[row][lane].frames.first, first.arrival <= now
        else { return }
        if network.directions[row].cuts > 0 {
            sometimes.note(.oneWay)
            return
        }
        network.directions[row][lane].frames.removeFirst()
        if lane == .live, !network.directions[row].bulk.frames.isEmpty { sometimes.note(.bulkPassed) }
        let message: PeerMessage
        do {
            message = try PeerMessage(decoding: first.bytes[PeerFrame.prefixBytes...])
        } catch {
            return fail("a frame from \(from + 1) to \(node.id) cannot be decoded: \(error)")
        }
        trace.note(5, now.nanoseconds, UInt64(CRC32C.checksum(first.bytes)) << 16 | UInt64(from << 8 | node.index))
        trace.line(now) { "\(node.id) <- \(from + 1) \(Simulation.summary(message))" }
        let id = nodes[from].id
        let shard = message.partition.map { Int($0.rawValue) % node.brokers.count }
        for (index, broker) in node.brokers.enumerated() {
            if let shard {
                if index == shard { broker.onPeerMessage(from: id, message) } else { broker.onPeerHeard(id) }
            } else if isForControl(message) {
                if index == 0 { broker.onPeerMessage(from: id, message) } else { broker.onPeerHeard(id) }
            } else {
                broker.onPeerMessage(from: id, message)
            }
        }
    }

    private func isForControl(_ message: PeerMessage) -> Bool {
        switch message {
        case .owners, .keepalive, .standing, .loads: false
        default: true
        }
    }

    // MARK: Connections

    /// Tries to connect two nodes, again and again until it works.
    func connect(_ a: Int, _ b: Int, after delay: Interval) {
        after(delay) { [unowned self] in
            let pair = network.pair(a, b)
            guard nodes[a].isRunning, nodes[b].isRunning, !network.pairs[pair].isConnected else { return }
            let isTold = !network.believesUp[network.link(a, b)] && !network.believesUp[network.link(b, a)]
            guard isTold, network.isOpen(a, b), !nodes[a].isPaused, !nodes[b].isPaused else {
                return connect(a, b, after: networkChance.milliseconds(10...60))
            }
            network.pairs[pair].isConnected = true
            network.pairs[pair].epoch += 1
            trace.line(now) { "link \(a + 1)-\(b + 1) up" }
            for (x, y) in [(a, b), (b, a)] {
                let row = network.link(x, y)
                network.believesUp[row] = true
                network.directions[row].begin(at: now)
                handle(.peerUp(y), at: nodes[x])
            }
        }
    }

    /// The connection is gone, and every frame on it; each side notices in its own time.
    func drop(_ a: Int, _ b: Int, tellFirst: Interval?, tellSecond: Interval?) {
        let pair = network.pair(a, b)
        guard network.pairs[pair].isConnected else { return }
        network.pairs[pair].isConnected = false
        network.pairs[pair].epoch += 1
        trace.line(now) { "link \(a + 1)-\(b + 1) down" }
        for (x, y, delay) in [(a, b, tellFirst), (b, a, tellSecond)] {
            let row = network.link(x, y)
            if !network.directions[row].isEmpty { sometimes.note(.linkReset) }
            network.directions[row].begin(at: now)
            if let delay, nodes[x].isRunning { schedule(nodes[x], .peerDown(y), after: delay) }
        }
        let latest = max(tellFirst ?? .zero, tellSecond ?? .zero)
        connect(a, b, after: latest + networkChance.milliseconds(5...50))
    }

    func reset(_ a: Int, _ b: Int) {
        let late = networkChance.chance(1, in: 4)
        drop(
            a,
            b,
            tellFirst: networkChance.microseconds(0...2000),
            tellSecond: late ? networkChance.milliseconds(20...300) : networkChance.microseconds(0...2000)
        )
    }

    func cut(from a: Int, to b: Int) { network.directions[network.link(a, b)].cuts += 1 }

    func mend(from a: Int, to b: Int) {
        let row = network.link(a, b)
        network.directions[row].cuts -= 1
        guard network.directions[row].cuts == 0 else { return }
        // What was held back arrives now, in order.
        let epoch = network.pairs[network.pair(a, b)].epoch
        for lane in [PeerLane.live, .bulk] {
            for index in network.directions[row][lane].frames.indices {
                let arrival = max(network.directions[row][lane].frames[index].arrival, now)
                network.directions[row][lane].frames[index].arrival = arrival
                queue.push(.node(b, life: nodes[b].life, .deliver(from: a, epoch: epoch, lane)), at: arrival)
            }
        }
    }

    static func summary(_ message: PeerMessage) -> String {
        switch message {
        case .raft(let group, let raft):
            switch raft.body {
            case .append(let request):
                return "\(group) append t\(raft.term) after \(request.previousIndex)/t\(request.previousTerm) "
                    + "+\(request.entries.count) commit \(request.commit)"
            default: return "\(group) t\(raft.term) \(raft.body)"
            }
        case .snapshotChunk(let chunk):
            return "chunk \(chunk.group) #\(chunk.descriptor.index) at \(chunk.offset)"
        case .publish(let stream):
            return "publish \(stream.partition) \(stream.gateway.rawValue & 0xffff) attempt \(stream.attempt) "
                + "\(stream.first)+\(stream.commands.count)"
        case .publications(let partition, let room, _, let list):
            return "publications \(partition) \(room) \(list.first?.offset ?? 0)...\(list.last?.offset ?? 0)"
        case .fetched(let reply):
            return "fetched \(reply.room) token \(reply.token) \(reply.status) first \(reply.head.first) "
                + "next \(reply.head.next) +\(reply.publications.count)"
        case .fetch(let request):
            return "fetch \(request.room) token \(request.token) register \(request.register) "
                + "linearizable \(request.linearizable) from \(request.from) limit \(request.limit)"
        default: return "\(message)"
        }
    }
}
