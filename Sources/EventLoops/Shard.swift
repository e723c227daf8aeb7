import CPosixShims
import NIOCore
import Primitives

/// One event loop with all that it owns. Nothing on a shard is locked: apart from `index`, `loop` and `pulse`, every
/// member belongs to the loop's thread, and other threads reach it through an `Inbox` or `loop.execute`.
package final class Shard: @unchecked Sendable {
    /// The order in which one end of a tick runs.
    package enum Phase: Int, CaseIterable, Sendable {
        /// Step the cores with what arrived; hand over to the log and to the links.
        case step
        /// Send what the tick gathered.
        case flush
    }

    package let index: Int
    package let loop: any EventLoop
    package let pulse = LoopPulse()
    package let readBuffer = ReadBufferLoan()

    private var hooks: [[() -> Void]] = Array(repeating: [], count: Phase.allCases.count)
    private var needed: [Bool] = Array(repeating: false, count: Phase.allCases.count)
    private var isPosted = false
    private var isRunning = false
    private var unflushed: [ByteStream] = []
    private var ticker: Ticker?
    private var tickWork: [(Instant, Timestamp) -> Void] = []

    /// The group that the loop belongs to, for listeners that deal connections out to all of it.
    let group: any EventLoopGroup

    init(index: Int, loop: any EventLoop, group: any EventLoopGroup) {
        self.index = index
        self.loop = loop
        self.group = group
    }

    // MARK: End of tick

    /// Adds a closure that runs at the end of every tick for which `setNeeds(phase)` was called, after the closures
    /// that were added before it.
    package func atEndOfTick(_ phase: Phase, _ work: @escaping () -> Void) {
        loop.assertInEventLoop()
        hooks[phase.rawValue].append(work)
    }

    /// Asks for the end of this tick: after every socket of this turn of the loop was read, so that a turn's input is
    /// handled as one batch and leaves by one flush per connection. Called by whatever finds work; cheap when repeated.
    package func setNeeds(_ phase: Phase) {
        loop.assertInEventLoop()
        needed[phase.rawValue] = true
        // During the run a later phase still comes; an earlier one waits for the next turn (see `endTick`).
        guard !isPosted, !isRunning else { return }
        isPosted = true
        loop.execute { self.endTick() }
    }

    private func endTick() {
        isPosted = false
        isRunning = true
        for phase in Phase.allCases where needed[phase.rawValue] {
            needed[phase.rawValue] = false
            for work in hooks[phase.rawValue] { work() }
            if phase == .flush { flushStreams() }
        }
        isRunning = false
        guard needed.contains(true) else { return }
        // `execute` would run within the same turn and could starve the sockets; a timer lets them be read first.
        isPosted = true
        loop.assumeIsolated().scheduleTask(in: .microseconds(50)) { self.endTick() }
    }

    private func flushStreams() {
        var index = 0
        while index < unflushed.count {
            unflushed[index].flush()
            index += 1
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    /// The stream is flushed once at the end of the tick; the stream itself sees to it that it is listed once.
    func flushAtEndOfTick(_ stream: ByteStream) {
        unflushed.append(stream)
        setNeeds(.flush)
    }

    // MARK: Ticks

    /// Starts the shard's one timer; the first call decides the period. A late tick is not made up for.
    package func startTicking(every period: Interval = .milliseconds(10)) {
        loop.assertInEventLoop()
        precondition(period > .zero)
        guard ticker == nil else { return }
        let started = Ticker(shard: self, period: period)
        ticker = started
        started.arm(after: MonotonicClock.now())
    }

    /// Adds a closure that every tick calls, after those that were added before it.
    package func atEveryTick(_ work: @escaping (_ now: Instant, _ wall: Timestamp) -> Void) {
        loop.assertInEventLoop()
        tickWork.append(work)
    }

    func tick(now: Instant) {
        let wall = WallClock.now()
        for work in tickWork { work(now, wall) }
    }

    package func stopTicking() {
        loop.assertInEventLoop()
        ticker?.stop()
        ticker = nil
        pulse.stop()
    }

    /// Binds the loop's thread to one processor. Throws nothing: where it is not allowed the thread stays free.
    /// Returns an errno value, 0 on success. Not from the loop itself.
    package func pin(toCPU cpu: Int) -> Int32 {
        (try? loop.submit { vencejo_pin_to_cpu(Int32(cpu)) }.wait()) ?? -1
    }
}

/// A shard's only timer. Deadlines of connections, sessions and groups are checked from it, never timed one by one:
/// cancelling one of NIO's tasks scans them all.
final class Ticker: NIOScheduledCallbackHandler, @unchecked Sendable {
    private let shard: Shard
    private let period: Interval
    private var due = Instant.zero
    private var isStopped = false

    init(shard: Shard, period: Interval) {
        self.shard = shard
        self.period = period
    }

    func arm(after now: Instant) {
        due = due + period
        if due <= now { due = now + period }
        // Fails only when the loop is shutting down.
        _ = try? shard.loop.scheduleCallback(at: .uptimeNanoseconds(due.nanoseconds), handler: self)
    }

    func stop() { isStopped = true }

    func handleScheduledCallback(eventLoop: some EventLoop) {
        guard !isStopped else { return }
        let now = MonotonicClock.now()
        shard.pulse.beat(at: now, lateness: now - due)
        shard.tick(now: now)
        arm(after: MonotonicClock.now())
    }
}
