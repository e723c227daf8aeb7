import Foundation
import Glibc
import Primitives

/// One fault on one victim, under a load that goes on, until the victim's clients are served again.
struct FaultRound {
    struct Result {
        var victim: Int
        var began: Instant
        /// The fault was whole from here to there.
        var whole: Range<Instant>
        var healed: Instant
        var end: Instant
        /// For each room: where clients ought to notice as little as possible, and where nothing may be acknowledged.
        var healthy: [[Int]]
        var shunned: [[Int]]
        /// A room's clients count together: each of them has lost its own node for a while.
        var isMerged = false
        /// Seconds from the end of the fault until the victim was ready, and until all its clients were served.
        var ready: Double?
        var served: Double?
        /// Ownerships won in the first three fifths of the fault, in the rest of it, and after it.
        var early: UInt64 = 0
        var late: UInt64 = 0
        var after: UInt64 = 0
        var isolation: IsolationProbe.Finding?
        var incidents = IncidentCount()
        var findings: [String] = []
        var placement: PlacementChange?
        var drain: NodeStatus.Drain?
    }

    let cell: FaultCell
    let scene: FaultScene
    let load: FailoverLoad
    /// What an isolated node may take to show all that it has to.
    private static let isolationSeconds = 30.0
    /// Of the cell's own time.
    var pace = 1.0

    var seconds: Double { cell.seconds * pace }

    func run(victim: Int, name: String, _ status: NodeStatus) throws -> Result {
        let nodes = scene.nodes
        let wall = UInt64(Date().timeIntervalSince1970 * 1000)
        let before = try BackgroundTask { OwnershipCount(nodes) }.wait(load)
        load.run(seconds: 0.2) { false }
        var result = Result(
            victim: victim,
            began: Clock.instant(),
            whole: .zero..<(.zero),
            healed: .zero,
            end: .zero,
            healthy: healthy(victim, status),
            shunned: shunned(victim, status)
        )
        var middle = BackgroundTask { before }
        var probe: BackgroundTask<IsolationProbe.Finding>?
        if cell == .rolling {
            result.isMerged = true
            result.ready = try roll(from: victim)
        } else if cell == .drain {
            try drain(victim, &result)
        } else if cell == .leave {
            try leave(victim, &result)
        } else if cell == .join {
            try join(&result)
        } else {
            try inject(victim)
            let whole = Clock.instant()
            if cell == .blackhole {
                let isolation = IsolationProbe(
                    node: nodes[victim],
                    name: name,
                    began: whole.nanoseconds,
                    deadline: whole.nanoseconds + UInt64(max(seconds, Self.isolationSeconds) * 1e9)
                )
                probe = BackgroundTask { try isolation.run() }
            }
            load.run(seconds: seconds * 0.6) { false }
            middle = BackgroundTask { OwnershipCount(nodes) }
            load.run(seconds: seconds * 0.4) { false }
            // As long as the probe needs, on a machine that has other things to do.
            if let probe { load.run(seconds: Self.isolationSeconds) { probe.isDone } }
            result.whole = whole..<Clock.instant()
            try heal(victim, &result)
        }
        result.healed = Clock.instant()
        let last = BackgroundTask { OwnershipCount(nodes) }
        switch cell {
        case .join: break
        case .leave: try replace(victim, &result)
        default: recover(victim, &result)
        }
        // What healing itself disturbs is seen too.
        load.run(seconds: 1) { false }
        result.end = Clock.instant()

        if let probe {
            result.isolation = try probe.wait(load)
            result.findings += result.isolation?.faults ?? []
        }
        let ownerships = (try middle.wait(load), try last.wait(load))
        let end = try BackgroundTask { OwnershipCount(nodes) }.wait(load)
        result.early = ownerships.0.since(before)
        result.late = ownerships.1.since(ownerships.0)
        result.after = end.since(ownerships.1)
        let others = nodes.indices.filter { $0 != victim }.map { nodes[$0] }
        result.incidents = try BackgroundTask { IncidentCount(asking: others, since: wall) }.wait(load)
        for index in nodes.indices where !scene.cluster.servers[index].isRunning {
            result.findings.append("\(nodes[index].id) has ended: \(scene.cluster.servers[index].logTail(lines: 2))")
        }
        return result
    }

    // MARK: Sides

    private func healthy(_ victim: Int, _ status: NodeStatus) -> [[Int]] {
        let all = Array(scene.nodes.indices)
        guard !cell.isOrderly else { return load.layout.rooms.map { _ in all } }
        let side = cell.side(of: victim, nodes: all.count)
        let others = all.filter { !side.contains($0) }
        guard cell == .split else { return load.layout.rooms.map { _ in others } }
        return load.layout.rooms.indices.map { room in
            let healthy = hasMajority(others, of: load.layout.rooms[room], status) ? others : side
            // Nobody hears anything where nobody publishes.
            let isHeard = load.layout.publishers.contains { $0.room == room && healthy.contains($0.node) }
            return isHeard ? healthy : []
        }
    }

    private func shunned(_ victim: Int, _ status: NodeStatus) -> [[Int]] {
        let side = cell.side(of: victim, nodes: scene.nodes.count)
        let others = scene.nodes.indices.filter { !side.contains($0) }
        switch cell {
        case .blackhole: return load.layout.rooms.map { _ in side }
        case .split: return load.layout.rooms.map { hasMajority(others, of: $0, status) ? side : others }
        default: return load.layout.rooms.map { _ in [] }
        }
    }

    private func hasMajority(_ side: [Int], of room: String, _ status: NodeStatus) -> Bool {
        let replicas = scene.partition(of: room, status)?.replicas ?? []
        let names = Set(side.map { scene.nodes[$0].id })
        return 2 * replicas.count(where: names.contains) > replicas.count
    }

    // MARK: Faults

    private func inject(_ victim: Int) throws {
        let network = scene.network
        let server = scene.cluster.servers[victim]
        let drops = cell.drops(victim: victim, nodes: scene.nodes.count)
        switch cell {
        case .kill: server.strike()
        case .stop: server.signal(SIGSTOP)
        case .blackhole, .sendOnly, .receiveOnly, .pair, .split, .loss:
            try BackgroundTask { try network.drop(drops) }.wait(load)
        case .flap:
            let deadline = Clock.now() + UInt64(seconds * 1e9) - 400_000_000
            _ = BackgroundTask {
                var isUp = true
                while Clock.now() < deadline || !isUp {
                    isUp.toggle()
                    try network.setLink(victim, isUp: isUp)
                    Clock.sleep(milliseconds: 300)
                }
            }
        case .slowDisk: try scene.disks?.slow(victim, process: server.pid)
        case .fullDisk:
            guard let disks = scene.disks else { return }
            try BackgroundTask { try disks.fill(victim) }.wait(load)
        case .rolling, .drain, .leave, .join: break
        }
    }

    private func heal(_ victim: Int, _ result: inout Result) throws {
        let network = scene.network
        let server = scene.cluster.servers[victim]
        switch cell {
        case .stop: server.signal(SIGCONT)
        case .blackhole, .sendOnly, .receiveOnly, .pair, .split, .loss:
            try BackgroundTask { try network.drop([]) }.wait(load)
        case .flap: try BackgroundTask { try network.setLink(victim, isUp: true) }.wait(load)
        case .slowDisk: try scene.disks?.hasten(victim, process: server.pid)
        case .fullDisk: scene.disks?.empty(victim)
        case .kill, .rolling, .drain, .leave, .join: break
        }
        guard !server.isRunning else { return }
        if cell != .kill { result.findings.append("\(server.name) ended itself: \(server.logTail(lines: 2))") }
        try server.start()
    }

    /// Every node is asked to end, and started again when it has; returns the longest time from a start to readiness.
    private func roll(from victim: Int) throws -> Double? {
        var longest = 0.0
        for step in scene.nodes.indices {
            let index = (victim + step) % scene.nodes.count
            let server = scene.cluster.servers[index]
            server.signal(SIGTERM)
            load.run(seconds: 30) { !server.isRunning }
            try server.start()
            let started = Clock.now()
            let probe = ReadinessProbe(scene.nodes[index], patience: FaultScene.patience)
            load.run(seconds: FaultScene.patience) { probe.isReady }
            guard probe.isReady else { return nil }
            longest = max(longest, Double(Clock.now() - started) / 1e9)
            load.run(seconds: 1) { false }
        }
        return longest
    }

    private func recover(_ victim: Int, _ result: inout Result) {
        let probe = ReadinessProbe(scene.nodes[victim], patience: FaultScene.patience)
        let healed = result.healed
        var ready: Double?
        var served: Double?
        load.run(seconds: FaultScene.patience) {
            let passed = (Clock.instant() - healed).seconds
            if ready == nil, probe.isReady { ready = passed }
            if served == nil, load.isServed(node: victim, since: healed) { served = passed }
            return ready != nil && served != nil
        }
        if cell != .rolling { result.ready = ready }
        result.served = served
        if result.ready == nil { result.findings.append("\(scene.nodes[victim].id) did not become ready again") }
        if served == nil { result.findings.append("clients of \(scene.nodes[victim].id) were not served again") }
    }
}

/// What the nodes themselves recorded of a fault (CL-13), counted over all of them.
struct IncidentCount: Equatable, Sendable {
    var suspected = 0
    var heardAgain = 0
    var takeovers = 0
    var quorumLost = 0
    /// The longest time that a node gave for a takeover, since the last owner was heard, in milliseconds.
    var slowestTakeover = 0

    init() {}

    init(asking nodes: [ClusterFile.Node], since time: UInt64) {
        for node in nodes {
            for event in NodeStatus.ask(node)?.events ?? [] where event.time >= time { add(event) }
        }
    }

    mutating func add(_ event: NodeStatus.Event) {
        switch event.kind {
        case "peer":
            if event.text.contains("suspected") { suspected += 1 } else { heardAgain += 1 }
        case "quorum": if event.text.contains("has no owner") { quorumLost += 1 }
        case "owner":
            // "n2 owns p7 in term 3, 431 ms after its last owner was heard"
            let words = event.text.split(separator: " ")
            guard let at = words.firstIndex(of: "ms"), at > 0, let silence = Int(words[at - 1]) else { return }
            takeovers += 1
            slowestTakeover = max(slowestTakeover, silence)
        default: break
        }
    }
}
