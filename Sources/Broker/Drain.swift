import Primitives

/// A node's way out of service and back: first what it leads goes to other nodes, then its clients, one after the other
/// over a part of the budget; what is left when the budget is over is cut off.
///
/// The order and the pace are decided here; time and counts are inputs. The node carries the directives out.
package struct Drain: Sendable {
    package enum Phase: String, CaseIterable, Sendable {
        case serving
        case handingOver = "handing over"
        case movingClients = "moving clients"
        /// No client is here. The node stays so until it ends or is told to serve again.
        case empty
    }

    package struct Plan: Equatable, Sendable {
        /// For everything; leaderships may have half of it.
        package var budget: Interval
        /// The time over which clients are told to go, from when the leaderships are gone.
        package var spread: Interval

        package init(budget: Interval, spread: Interval) {
            self.budget = budget
            self.spread = spread
        }
    }

    /// What is still here.
    package struct Load: Equatable, Sendable {
        /// Leaderships that another node could take.
        package var leaderships: Int
        package var clients: Int

        package init(leaderships: Int = 0, clients: Int = 0) {
            self.leaderships = leaderships
            self.clients = clients
        }
    }

    package enum Directive: Equatable, Sendable {
        /// Lead nothing more, admit nobody more.
        case retire
        /// Ask so many more clients to go.
        case move(Int)
        /// Close what is left.
        case cut
        /// Lead and admit again.
        case serve
    }

    /// Clients told to go per second, at least: a handful does not have to wait for the spread.
    package static let slowestPace: UInt64 = 200

    package private(set) var phase = Phase.serving
    package private(set) var plan = Plan(budget: .zero, spread: .zero)
    /// When it began; nil while it serves.
    package private(set) var began: Instant?
    /// The budget was over before the last client was gone.
    package private(set) var wasCut = false
    private var movingSince = Instant.zero
    private var clients = 0
    private var asked = 0

    package init() {}

    /// Nothing happens when a drain is under way already: it keeps its plan.
    package mutating func begin(_ plan: Plan, now: Instant, into directives: inout [Directive]) {
        guard phase == .serving else { return }
        self = Drain()
        self.plan = plan
        began = now
        phase = .handingOver
        directives.append(.retire)
    }

    /// What is under way ends after `budget` from now at the latest.
    package mutating func hasten(within budget: Interval, now: Instant) {
        guard let began else { return }
        plan.budget = min(plan.budget, now + budget - began)
        plan.spread = min(plan.spread, plan.budget)
    }

    /// Back into service, from wherever it was.
    package mutating func cancel(into directives: inout [Directive]) {
        guard phase != .serving else { return }
        self = Drain()
        directives.append(.serve)
    }

    /// Goes as far as it can get with what is still here. Call it every few milliseconds until the phase is `empty`.
    package mutating func step(_ load: Load, now: Instant, into directives: inout [Directive]) {
        guard let began else { return }
        let spent = now - began
        if phase == .handingOver, load.leaderships == 0 || spent * 2 >= plan.budget {
            phase = .movingClients
            movingSince = now
            clients = load.clients
        }
        guard phase == .movingClients else { return }
        if load.clients == 0 {
            phase = .empty
        } else if spent >= plan.budget {
            // Once: what is cut is gone with the next look.
            if !wasCut { directives.append(.cut) }
            wasCut = true
        } else {
            let due = due(after: now - movingSince)
            guard due > asked else { return }
            directives.append(.move(due - asked))
            asked = due
        }
    }

    /// How many should have been asked by now: evenly over the spread, or faster if they are few. At its end everybody.
    private func due(after elapsed: Interval) -> Int {
        guard elapsed < plan.spread else { return .max }
        let milliseconds = elapsed.milliseconds
        let evenly = UInt64(clients) &* milliseconds / max(1, plan.spread.milliseconds)
        return Int(clamping: max(evenly, Drain.slowestPace &* milliseconds / 1000))
    }
}
