import Primitives

/// A bug put in on purpose: a simulation that does not find it is itself the bug.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// Storage says that a batch is durable before it is synced; a power cut loses it.
    case skipFsync
    /// A leader commits by counting entries of earlier terms (Raft's figure 8).
    case countOldTerm
    /// A state machine restored from a snapshot has forgotten its producers.
    case forgetProducers
    /// A new owner serves from its election on: before its no-op is applied, and without asking a quorum.
    case serveBeforeNoop
    /// A damaged replica goes on as if it were whole.
    case ignoreDamage
}

/// What kind of run a seed is used for.
package struct SimulationOptions: Sendable {
    /// Faults end only for a core of the nodes; the rest stays broken, and the core must make progress.
    package var isLiveness = false
    package var planted: PlantedBug?
    /// Keep every event as a line of text.
    package var isTraced = false
    /// The length of the part with faults, in virtual time; nil to draw it.
    package var faultPhase: Interval?

    package init(isLiveness: Bool = false, planted: PlantedBug? = nil, isTraced: Bool = false) {
        self.isLiveness = isLiveness
        self.planted = planted
        self.isTraced = isTraced
    }

    /// The command that runs `seed` again and prints what happens.
    package func replayCommand(seed: UInt64) -> String {
        var command = "swift run -c release simulate --seed \(seed) --trace"
        if isLiveness { command += " --liveness" }
        if let planted { command += " --plant \(planted.rawValue)" }
        return command
    }
}

/// A class of faults. Each seed first switches some of them off: a uniform mix hides bugs (swarm testing).
enum Fault: Int, CaseIterable {
    case kill, powerCut, dieInStorage, pause, blackout
    case split, isolate, oneWay, blackhole, reset, slowLink, swizzle
    case diskStall, diskFull, bitFlip, clockJump, leaderChurn, resign
    case join, leave, rearrange
}

/// What clients do; switched off at random like faults.
enum Operation: Int, CaseIterable {
    case plainPublish, keyedPublish, stampedPublish, bestEffort
    case subscribe, resubscribe, consume, readHead, readHistory, slowSubscriber, producerRestart
    case keys
}
