import Admin
import Broker
import ClusterConfiguration
import EventLoops
import Gateway
import Logging
import NIOCore
import Primitives
import RESPServer

/// Empties a node and puts it back into service. `Drain` decides; this looks after what is left every few milliseconds,
/// and carries out.
actor NodeDrain {
    /// One shard's clients.
    struct Edge: Sendable {
        var shard: Shard
        var gateway: GatewayShard
        /// Nil where Redis clients are not served.
        var resp: RESPShard?
    }

    /// The cluster's side of it; nil where nothing is led.
    struct Leadership: Sendable {
        var left: @Sendable () async -> Int
        var resign: @Sendable () -> Void
        var standAgain: @Sendable () -> Void
    }

    private static let interval = Duration.milliseconds(20)

    private let edges: [Edge]
    private let leadership: Leadership?
    private let settings: ClusterConfiguration.Drain
    private let name: String
    private let events: EventLog
    private let logger: Logger
    /// Tells the others whether this node takes clients.
    private let announce: @Sendable (_ isDraining: Bool) -> Void

    private var core = Drain()
    /// Counts drains and their ends: what belongs to an older one stops.
    private var number = 0
    /// What is under way; each piece of work waits for the one before it.
    private var work: Task<Void, Never>?
    private var moved = 0
    private var cut = 0
    private var elapsed = Interval.zero
    private var isStopping = false

    init(
        edges: [Edge],
        leadership: Leadership?,
        settings: ClusterConfiguration.Drain,
        name: String,
        events: EventLog,
        logger: Logger,
        announce: @escaping @Sendable (_ isDraining: Bool) -> Void = { _ in }
    ) {
        self.edges = edges
        self.leadership = leadership
        self.settings = settings
        self.name = name
        self.events = events
        self.logger = logger
        self.announce = announce
    }

    // MARK: Commands

    /// Begins to empty the node, if that is not under way; returns how far it is.
    func begin(budget text: String?) async -> CommandOutcome {
        var budget = settings.budget
        if let text {
            guard let wanted = SettingText.duration(text), wanted <= .seconds(3600) else {
                return .invalid("budget must be a duration such as 30s, at most 1h")
            }
            budget = wanted
        }
        begin(budget)
        return .done(await report()?.json() ?? "{}")
    }

    private func begin(_ budget: Interval) {
        guard core.phase == .serving else { return }
        let spread = Interval(nanoseconds: UInt64(Double(budget.nanoseconds) * settings.spread))
        var directives: [Drain.Directive] = []
        core.begin(Drain.Plan(budget: budget, spread: spread), now: MonotonicClock.now(), into: &directives)
        moved = 0
        cut = 0
        announce(true)
        note("\(name) is draining within \(SettingText.duration(budget))")
        next { [directives] in await $0.run($1, directives) }
    }

    /// Puts the node back into service.
    func cancel() async -> CommandOutcome {
        guard !isStopping else { return .refused("the node is stopping") }
        guard core.phase != .serving else { return .done(#"{"state":"serving"}"#) }
        var directives: [Drain.Directive] = []
        core.cancel(into: &directives)
        announce(false)
        let task = next { [directives] drain, _ in await drain.carryOut(directives) }
        await task.value
        note("\(name) serves again")
        return .done(#"{"state":"serving"}"#)
    }

    /// For the node's end: returns when it is empty. A drain that is under way has the usual budget from now on at
    /// most: whoever stops the process waits no longer.
    func finish() async {
        isStopping = true
        begin(settings.budget)
        core.hasten(within: settings.budget, now: MonotonicClock.now())
        await work?.value
    }

    @discardableResult
    private func next(_ body: @escaping @Sendable (NodeDrain, Int) async -> Void) -> Task<Void, Never> {
        number += 1
        let (before, own) = (work, number)
        let task = Task {
            await before?.value
            await body(self, own)
        }
        work = task
        return task
    }

    // MARK: Course

    private func run(_ own: Int, _ directives: [Drain.Directive]) async {
        var directives = directives
        while true {
            await carryOut(directives)
            let load = await load()
            guard own == number, let began = core.began else { return }
            directives = []
            let before = core.phase
            let now = MonotonicClock.now()
            core.step(load, now: now, into: &directives)
            elapsed = now - began
            if core.phase == .empty { return ended(load) }
            if core.phase != before, core.phase == .movingClients {
                note("\(name) moves \(load.clients) clients; \(load.leaderships) leaderships are left")
            }
            if directives.isEmpty { try? await Task.sleep(for: NodeDrain.interval) }
        }
    }

    private func ended(_ load: Drain.Load) {
        note(
            "\(name) is empty after \(elapsed.milliseconds) ms: \(moved) clients told to go, \(cut) cut off, "
                + "\(load.leaderships) leaderships left"
        )
    }

    private func carryOut(_ directives: [Drain.Directive]) async {
        for directive in directives {
            switch directive {
            case .retire:
                leadership?.resign()
                await each { edge in
                    edge.gateway.retire()
                    edge.resp?.retire()
                    return 0
                }
            case .serve:
                leadership?.standAgain()
                await each { edge in
                    edge.gateway.serve()
                    edge.resp?.serve()
                    return 0
                }
            case .move(let count):
                var left = count
                for edge in edges where left > 0 {
                    let most = left
                    let told = await on(edge) { edge in
                        let told = edge.gateway.move(most)
                        return told + (edge.resp?.move(most - told) ?? 0)
                    }
                    left -= told
                    moved += told
                }
            case .cut: cut += await each { edge in edge.gateway.cut() + (edge.resp?.cut() ?? 0) }
            }
        }
    }

    private func load() async -> Drain.Load {
        let clients = await each { $0.gateway.clientsLeft + ($0.resp?.metrics.connections ?? 0) }
        return Drain.Load(leaderships: await leadership?.left() ?? 0, clients: clients)
    }

    /// Runs on every shard's loop; the sum.
    @discardableResult
    private func each(_ body: @escaping @Sendable (Edge) -> Int) async -> Int {
        var sum = 0
        for edge in edges { sum += await on(edge, body) }
        return sum
    }

    private func on(_ edge: Edge, _ body: @escaping @Sendable (Edge) -> Int) async -> Int {
        // A loop that takes no more work has no clients either.
        (try? await edge.shard.loop.submit { body(edge) }.get()) ?? 0
    }

    private func note(_ text: String) {
        events.append(kind: "drain", text)
        logger.notice("\(text)")
    }

    // MARK: Questions

    /// Nil while the node serves.
    func report() async -> StatusReport.Drain? {
        guard core.phase != .serving else { return nil }
        let load = await load()
        guard let began = core.began else { return nil }
        return StatusReport.Drain(
            state: core.phase.rawValue,
            owners: load.leaderships,
            clients: load.clients,
            moved: moved,
            cut: cut,
            budgetMilliseconds: core.plan.budget.milliseconds,
            elapsedMilliseconds: (core.phase == .empty ? elapsed : MonotonicClock.now() - began).milliseconds
        )
    }

    /// Not ready from the first moment on, whatever else is well.
    func readiness(_ other: @Sendable () async -> HealthReport) async -> HealthReport {
        core.phase == .serving ? await other() : .unhealthy("draining")
    }

    /// `report` with what is known of the drain.
    func complete(_ report: StatusReport) async -> StatusReport {
        guard let drain = await self.report() else { return report }
        var report = report
        report.drain = drain
        report.ready = false
        report.reason = "draining"
        return report
    }

    /// The family that says where the node stands, as text to be appended to the others.
    func family() -> String {
        var text = PrometheusText()
        text.family("drain_state", .gauge, help: "1 for the state that the node is in.")
        for phase in Drain.Phase.allCases {
            text.sample(core.phase == phase ? 1 : 0, ["node": name, "state": phase.rawValue])
        }
        return text.text
    }
}
