import Foundation
import Glibc
import HistoryChecker
import Primitives

/// Cells one after the other on one cluster.
final class FaultMatrix {
    struct Size {
        var rounds = 3
        /// Milliseconds between two bursts of a publisher, and messages of a burst.
        var interval = 20.0
        var burst: UInt64 = 2
        var size = 128
        /// Of the cells' own times.
        var pace = 1.0
        var settle = 1.0
    }

    /// What became of one cell and one kind of victim.
    struct Outcome {
        var cell: FaultCell
        var role: FaultVictim
        /// Why it was not run, or broke off.
        var reason: String?
        var rounds: [FaultRound.Result] = []
        var silence = FaultSilence()
        var attempted = 0
        var statistics = CheckStatistics()
        var delivery = DeliveryCounts()
        var wronglyAcknowledged = 0
        var breaches: [String] = []
        /// Of publishes, from when they were due, before a change and while it lasted: of each round.
        var latencies: [(before: LatencySummary, during: LatencySummary)?] = []
    }

    /// The nodes' logs beside each other, when all had ended.
    struct LogComparison {
        var text: String
        var isEqual: Bool
    }

    private let scene: FaultScene
    private let size: Size

    init(scene: FaultScene, size: Size) {
        self.scene = scene
        self.size = size
    }

    func run(_ cells: [FaultCell], _ victims: [FaultVictim]) -> [Outcome] {
        var outcomes: [Outcome] = []
        var isBroken: String?
        func roles(_ cell: FaultCell) -> [FaultVictim] { cell == .join ? [.newcomer] : victims }
        let total = cells.reduce(0) { $0 + roles($1).count }
        for cell in cells {
            for role in roles(cell) {
                var outcome = Outcome(cell: cell, role: role)
                FaultProgress.say("\(outcomes.count + 1)/\(total) \(cell.rawValue), \(role.rawValue)")
                outcome.reason = isBroken ?? cell.isMissing
                if outcome.reason == nil {
                    do {
                        try scene.awaitReady()
                        try run(&outcome)
                    } catch {
                        outcome.reason = "\(error)"
                        outcome.breaches.append("\(cell.rawValue), \(role.rawValue): \(error)")
                        isBroken = repair()
                    }
                }
                FaultProgress.say("  " + FaultSummary.line(outcome))
                outcomes.append(outcome)
            }
        }
        return outcomes
    }

    /// Takes back whatever a cell that broke off has left; returns why that did not help.
    private func repair() -> String? {
        do {
            if FaultNetwork.dropIsMissing == nil { try scene.network.drop([]) }
            for index in scene.nodes.indices {
                try scene.network.setLink(index, isUp: true)
                scene.disks?.empty(index)
                scene.cluster.servers[index].signal(SIGCONT)
            }
            scene.newcomer?.abandon(scene)
            try scene.awaitReady()
            return nil
        } catch {
            return "the cluster did not come back from the cell before: \(error)"
        }
    }

    private func run(_ outcome: inout Outcome) throws {
        let (cell, role) = (outcome.cell, outcome.role)
        let name = "\(cell.rawValue)-\(role.rawValue)"
        let first = try scene.status()
        let rooms = scene.rooms(name, first)
        guard !rooms.isEmpty else { throw BenchError("no partition has an owner") }
        let count = scene.nodes.count
        var layout = LoadLayout(
            rooms: rooms,
            publishers: rooms.indices.flatMap { room in
                [room % count, (room + 2) % count].map { LoadLayout.Client(room: room, node: $0) }
            },
            subscribers: rooms.indices.flatMap { room in
                (0..<count).map { LoadLayout.Client(room: room, node: $0) }
            }
        )
        layout.isPinned = !cell.movesClients
        layout.burst = size.burst
        let load = try FailoverLoad(
            cluster: scene.cluster,
            layout: layout,
            interval: UInt64(size.interval * 1e6),
            size: size.size
        )
        try load.start()
        for turn in 0..<size.rounds {
            try scene.newcomer?.leave(scene, load)
            load.run(seconds: size.settle) { false }
            let status = try scene.status()
            guard let victim = scene.victim(role, rooms, turn: turn, status) else {
                throw BenchError("nobody is \(role.title)")
            }
            var round = FaultRound(cell: cell, scene: scene, load: load)
            round.pace = size.pace
            outcome.rounds.append(try round.run(victim: victim.node, name: "\(name)-\(turn)", status))
            for index in scene.nodes.indices where !scene.cluster.servers[index].isRunning {
                try scene.cluster.servers[index].start()
            }
        }
        try load.drain()
        try judge(load, &outcome)
        try scene.newcomer?.leave(scene, nil)
    }

    private func judge(_ load: FailoverLoad, _ outcome: inout Outcome) throws {
        var history = load.history()
        let readBack = ReadBack(cluster: scene.cluster, others: scene.newcomer?.joined ?? [])
        let logs = try readBack.read(load.roomNumbers, epochs: &history.epochs)
        var options = CheckOptions()
        options.sessionsReadToEnd = true
        options.gapPolicy = .belowFloor
        let checked = HistoryChecker.check(history, finalLogs: logs, options: options)
        let name = "\(outcome.cell.rawValue), \(outcome.role.rawValue)"
        outcome.attempted = load.publishCount
        outcome.statistics = checked.statistics
        outcome.delivery = DeliveryCounts(checked)
        outcome.breaches += breaches(of: checked).map { "\(name): \($0)" }
        if checked.statistics.acknowledged < load.publishCount {
            let missing = load.publishCount - checked.statistics.acknowledged
            outcome.breaches.append("\(name): \(missing) publishes were never acknowledged")
        }
        for (turn, round) in outcome.rounds.enumerated() {
            let silence = FaultSilence(round, load)
            outcome.silence.publishers += silence.publishers
            outcome.silence.subscribers += silence.subscribers
            let wrong = FaultSilence.wronglyAcknowledged(round, load)
            outcome.wronglyAcknowledged += wrong
            if wrong > 0 {
                outcome.breaches.append("\(name): \(wrong) publishes acknowledged on the side without a majority")
            }
            if let window = round.placement?.window, !window.isEmpty {
                let during = round.whole.lowerBound.nanoseconds..<round.whole.upperBound.nanoseconds
                outcome.latencies.append((load.latencies(dueIn: window), load.latencies(dueIn: during)))
            } else {
                outcome.latencies.append(nil)
            }
            outcome.breaches += round.findings.map { "\(name), round \(turn + 1): \($0)" }
        }
    }

    /// Ends all nodes and has their logs compared entry by entry.
    func compareLogs(binary: String) -> LogComparison {
        for server in scene.cluster.servers { server.signal(SIGTERM) }
        let deadline = Clock.now() + 30_000_000_000
        while Clock.now() < deadline, scene.cluster.servers.contains(where: \.isRunning) {
            Clock.sleep(milliseconds: 50)
        }
        scene.cluster.stop()
        do {
            let text = try SystemTool.run([binary, "log", "compare"] + scene.nodes.map(\.dataDirectory))
            return LogComparison(text: text.split(separator: "\n").last.map(String.init) ?? "", isEqual: true)
        } catch {
            return LogComparison(text: "\(error)", isEqual: false)
        }
    }
}

/// Lines for whoever waits: one a cell, on standard error.
enum FaultProgress {
    static func say(_ line: String) { try? FileHandle.standardError.write(contentsOf: Data((line + "\n").utf8)) }
}
