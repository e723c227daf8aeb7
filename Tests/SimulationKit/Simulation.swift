import Broker
import HistoryChecker
import Primitives

/// A whole cluster on one thread: brokers over real storage code on simulated disks, a simulated network, clients and
/// faults, all driven by one queue of events and one seed. Two runs of a seed are equal to the last bit.
///
/// A run: start, a phase with faults, healing, then everything is read back and the history is checked.
package final class Simulation {
    package let seed: UInt64
    package let options: SimulationOptions
    let swarm: Swarm

    var now = Instant(nanoseconds: 1_000_000_000)
    var queue = EventQueue()
    var nodes: [SimulatedNode]
    var network: Network
    var oracle: Oracle
    var clients: [Client] = []
    var history = History()
    var trace: Trace
    var sometimes = SometimesCounts()
    var failures: [String] = []

    // Chance, a stream for each part, so that parts do not move one another.
    var networkChance: Xoshiro256
    var diskChance: Xoshiro256
    var faultChance: Xoshiro256
    var clientChance: Xoshiro256
    var sampleChance: Xoshiro256

    var nextMessage: UInt64 = 1
    var nextConnection: UInt32 = 1
    var newestControl: ControlState?
    var isFaultPhase = true
    /// Clients begin nothing new.
    var isWindingDown = false
    /// Faults under way, by what ends them.
    var healers: [(id: Int, heal: () -> Void)] = []
    var nextHealer = 0
    /// What clients asked of keys.
    var keyOperations: [(key: String, operation: KeyHistory.Operation)] = []
    var pushed: Set<UInt64> = []
    var popped: Set<UInt64> = []
    var poppedTwice: Set<UInt64> = []
    /// An owner of keys was lost that had answered what a majority may not have had.
    var mayLackKeys = false
    /// The one node whose disk may decay: every partition keeps a quorum of sound replicas.
    var fragileNode: Int
    /// Nodes that are well again at the end: some of them in a liveness run, all of them otherwise.
    var core: [Int]
    /// Changes of members were under way when a liveness run chose its core.
    var wasChanging = false

    package init(seed: UInt64, options: SimulationOptions = SimulationOptions()) {
        self.seed = seed
        self.options = options
        var chance = Xoshiro256(seed: seed &* 0x9e37_79b9 &+ 0x7f4a_7c15)
        swarm = Swarm(chance: &chance, options: options)
        networkChance = chance.split()
        diskChance = chance.split()
        faultChance = chance.split()
        clientChance = chance.split()
        sampleChance = chance.split()
        fragileNode = Int(chance.below(UInt64(swarm.nodes)))
        let shape = swarm
        nodes = (0..<shape.nodes + shape.spares).map { SimulatedNode(index: $0, isSpare: $0 >= shape.nodes) }
        network = Network(count: nodes.count)
        oracle = Oracle(partitions: swarm.partitions, keyPartitions: swarm.keyPartitions, nodes: nodes.count)
        trace = Trace(isKept: options.isTraced)
        core = Array(nodes.indices)
    }

    /// Ten times what the busiest seeds need.
    static let mostEvents: UInt64 = 2_000_000

    // MARK: Time

    func schedule(_ event: Event, after interval: Interval) { queue.push(event, at: now + interval) }

    func schedule(_ node: SimulatedNode, _ event: NodeEvent, after interval: Interval) {
        queue.push(.node(node.index, life: node.life, event), at: now + interval)
    }

    func after(_ interval: Interval, _ body: @escaping () -> Void) { queue.push(.call(body), at: now + interval) }

    /// Runs events until `end`, or until something has failed.
    func run(until end: Instant) {
        while failures.isEmpty, let next = queue.nextTime, next <= end, let (time, event) = queue.pop() {
            now = time
            if trace.events > Simulation.mostEvents {
                return fail("more than \(Simulation.mostEvents) events: somebody spins")
            }
            switch event {
            case .call(let body):
                trace.note(1, time.nanoseconds)
                body()
            case .node(let index, let life, let event):
                let node = nodes[index]
                guard node.life == life else { continue }
                if node.isPaused {
                    node.deferred.append(event)
                } else {
                    handle(event, at: node)
                }
            }
        }
        if failures.isEmpty { now = max(now, end) }
    }

    func fail(_ text: String) {
        trace.line(now) { "FAILED: \(text)" }
        if failures.count < 20 { failures.append(text) }
    }

    // MARK: The run

    /// Runs the whole seed.
    package func run() -> SimulationResult {
        for node in nodes where !node.isOutside { start(node) }
        run(until: now + .milliseconds(400))
        makeClients()
        scheduleFault()
        run(until: now + swarm.faultPhase)
        isFaultPhase = false
        if failures.isEmpty { finish() }
        for node in nodes { noteCounters(node) }
        return result()
    }

    private func result() -> SimulationResult {
        SimulationResult(
            seed: seed,
            options: options,
            failures: failures,
            sometimes: sometimes,
            traceHash: trace.hash,
            events: trace.events,
            records: history.records.count,
            acknowledged: oracle.acknowledged,
            virtualTime: now - Instant(nanoseconds: 1_000_000_000),
            abandoned: nodes.count(where: \.isAbandoned),
            wasChanging: wasChanging,
            trace: trace.lines,
            shape: """
                \(swarm.nodes) + \(swarm.spares) nodes, \(swarm.partitions) partitions, \(swarm.shards) shards, \
                RF \(swarm.replicationFactor), \
                faults \(swarm.faults.map { "\($0)" }.joined(separator: " ")), \
                operations \(swarm.operations.map { "\($0)" }.joined(separator: " "))
                """
        )
    }
}

/// What became of a seed.
package struct SimulationResult: Sendable {
    package var seed: UInt64
    package var options: SimulationOptions
    /// Broken promises; empty for a good run.
    package var failures: [String]
    package var sometimes: SometimesCounts
    /// Equal for two runs of the seed.
    package var traceHash: UInt64
    package var events: UInt64
    package var records: Int
    package var acknowledged: Int
    package var virtualTime: Interval
    /// Nodes that a liveness run left broken, and whether changes of members were under way then.
    package var abandoned: Int
    package var wasChanging: Bool
    /// Lines of text, when they were asked for.
    package var trace: [String]
    /// What the seed drew.
    package var shape: String

    package var isGood: Bool { failures.isEmpty }

    /// What to print about a failed seed: what broke, and how to see it again.
    package var report: String {
        """
        seed \(seed) (\(shape)):
        \(failures.joined(separator: "\n"))
        replay: \(options.replayCommand(seed: seed))
        """
    }
}
