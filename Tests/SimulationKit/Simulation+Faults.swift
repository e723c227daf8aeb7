import Broker
import DiskSimulation
import Primitives
import Raft

/// The nemesis: one fault after another, some at the same time, each with its end.
extension Simulation {
    func scheduleFault() {
        guard !swarm.faults.isEmpty else { return }
        after(faultChance.around(swarm.faultSpacing) + .milliseconds(1)) { [unowned self] in
            guard isFaultPhase else { return }
            inject(faultChance.pick(swarm.faults))
            scheduleFault()
        }
    }

    /// Remembers how to end a fault, and ends it after `interval` at the latest.
    private func until(_ interval: Interval, _ heal: @escaping () -> Void) {
        let id = nextHealer
        nextHealer += 1
        healers.append((id, heal))
        after(interval) { [unowned self] in
            guard let row = healers.firstIndex(where: { $0.id == id }) else { return }
            healers.remove(at: row).heal()
        }
    }

    /// Ends all faults that are under way.
    func healEverything() {
        for healer in healers { healer.heal() }
        healers = []
    }

    private func someNode() -> SimulatedNode { faultChance.pick(nodes.filter { !$0.isOutside }) }

    func inject(_ fault: Fault) {
        trace.note(20, now.nanoseconds, UInt64(fault.rawValue))
        trace.line(now) { "fault \(fault)" }
        switch fault {
        case .kill: die(someNode(), .kill)
        case .powerCut: die(someNode(), .powerCut)
        case .blackout:
            for node in nodes where faultChance.chance(3, in: 4) { die(node, .powerCut) }
        case .dieInStorage:
            let node = someNode()
            guard node.isRunning else { return }
            if faultChance.chance(1, in: 2) {
                node.disk.faults.powerOffAt = node.disk.operations + Int(faultChance.below(12))
            } else {
                node.disk.faults.failSyncAfter = Int(faultChance.below(4))
            }
            node.isSyncBroken = true
        case .pause:
            let node = someNode()
            pause(node)
            until(faultChance.milliseconds(50...1500)) { [unowned self] in resume(node) }
        case .split:
            var order = Array(nodes.indices)
            faultChance.shuffle(&order)
            let size = Int(faultChance.below(UInt64(nodes.count)))
            cutBetween(Array(order.prefix(size)), Array(order.dropFirst(size)), both: true)
        case .isolate:
            let node = someNode().index
            cutBetween([node], nodes.indices.filter { $0 != node }, both: true)
        case .oneWay:
            let node = someNode().index
            let others = nodes.indices.filter { $0 != node }
            if faultChance.chance(1, in: 2) {
                cutBetween([node], others, both: false)
            } else {
                cutBetween(others, [node], both: false)
            }
        case .blackhole:
            let (a, b) = somePair()
            cutBetween([a], [b], both: faultChance.chance(1, in: 2))
        case .reset:
            let (a, b) = somePair()
            reset(a, b)
        case .slowLink:
            let (a, b) = somePair()
            let row = network.link(a, b)
            network.directions[row].slowness = faultChance.pick([4, 20, 100])
            until(faultChance.milliseconds(100...2000)) { [unowned self] in network.directions[row].slowness = 1 }
        case .swizzle: swizzle()
        case .diskStall:
            let node = someNode()
            node.stalledUntil = now + faultChance.milliseconds(100...1500)
            sometimes.note(.diskStalled)
            until(.zero) {}
        case .diskFull:
            let node = someNode()
            node.disk.faults.capacity = node.disk.usedBytes + Int(faultChance.below(4000))
            until(faultChance.milliseconds(100...1200)) { node.disk.faults.capacity = nil }
        case .bitFlip: flipBits()
        case .clockJump:
            let node = someNode()
            let hour: Int64 = 3_600_000
            node.wallOffset = faultChance.pick([-hour, -1000, 0, 1000, hour])
            sometimes.note(.clockJumped)
        case .leaderChurn: churn()
        case .join: join()
        case .leave: leave()
        case .rearrange: rearrange()
        case .resign: resign(someNode())
        }
    }

    /// A node leaves and, after a while, stays after all; it may have died in between.
    private func resign(_ node: SimulatedNode) {
        guard node.isRunning else { return }
        let led = node.brokers.map(\.leadershipsToHandOver).reduce(0, +)
        for broker in node.brokers { broker.resign() }
        let brokers = node.brokers
        until(faultChance.milliseconds(100...3000)) { [unowned self] in
            let isSame = node.isRunning && zip(brokers, node.brokers).allSatisfy { $0 === $1 }
            guard isSame else { return }
            let left = brokers.map(\.leadershipsToHandOver).reduce(0, +)
            if led > 0, left == 0 { sometimes.note(.resigned) }
            for broker in brokers { broker.standAgain() }
        }
    }

    private func somePair() -> (Int, Int) {
        let a = someNode().index
        let b = (a + 1 + Int(faultChance.below(UInt64(nodes.count - 1)))) % nodes.count
        return (a, b)
    }

    func die(_ node: SimulatedNode, _ death: Death) {
        guard node.isRunning else { return }
        crash(node, death, isSilent: faultChance.chance(1, in: 4))
        restart(node, after: faultChance.chance(1, in: 4) ? .microseconds(100) : faultChance.milliseconds(20...1500))
    }

    /// Cuts everything from one side to the other; connections that stay cut are given up after a while, on both
    /// sides or only where the silence is noticed.
    private func cutBetween(_ left: [Int], _ right: [Int], both: Bool) {
        for a in left {
            for b in right {
                cut(from: a, to: b)
                if both { cut(from: b, to: a) }
            }
        }
        let length = faultChance.milliseconds(50...2500)
        if faultChance.chance(1, in: 2) {
            let patience = faultChance.milliseconds(20...1000)
            after(patience) { [unowned self] in
                for a in left {
                    for b in right where !network.isOpen(a, b) { reset(a, b) }
                }
            }
        }
        until(length) { [unowned self] in
            for a in left {
                for b in right {
                    mend(from: a, to: b)
                    if both { mend(from: b, to: a) }
                }
            }
        }
    }

    /// Clogs some nodes one after the other and lets them go in another order (FoundationDB's swizzle).
    private func swizzle() {
        var chosen = nodes.indices.filter { _ in faultChance.chance(1, in: 2) }
        for node in chosen {
            after(faultChance.milliseconds(0...300)) { [unowned self] in
                guard isFaultPhase else { return }
                cutBetween([node], nodes.indices.filter { $0 != node }, both: faultChance.chance(1, in: 2))
            }
        }
        chosen.removeAll()
    }

    /// Turns some bits on the one disk that may decay.
    private func flipBits() {
        let node = nodes[fragileNode]
        // What was written last is not yet known to have been durable: damage there looks like a torn tail, and is one
        // that no log can tell from a lie of the disk.
        let files = node.disk.files.filter { !$0.hasSuffix("/spare") && !$0.hasSuffix(".tmp") }
        guard let newest = files.last(where: { $0.hasSuffix(".wal") }) else { return }
        let targets = files.filter { $0 != newest && (node.disk.bytes(of: $0)?.isEmpty == false) }
        guard !targets.isEmpty else { return }
        node.wasTampered = true
        for _ in 0...faultChance.below(3) {
            let file = faultChance.pick(targets)
            let count = node.disk.bytes(of: file)?.count ?? 1
            let byte = Int(faultChance.below(UInt64(count)))
            node.disk.flipBit(of: file, byte: byte, bit: Int(faultChance.below(8)))
            trace.line(now) { "node \(node.id): bit flipped in \(file) at \(byte)" }
        }
        if faultChance.chance(2, in: 3) { die(node, .kill) }
    }

    /// Makes trouble for a leader just as it has been elected: where Raft's subtle rules matter.
    private func churn() {
        for node in nodes where node.isRunning && !node.isPaused {
            guard faultChance.chance(1, in: 2) else { continue }
            let leads = (0...swarm.allPartitions).contains { row in
                let id = GroupID(rawValue: UInt32(row))
                return node.broker(of: id).raftNode(id)?.role == .leader
            }
            guard leads else { continue }
            switch faultChance.below(4) {
            case 0: die(node, .kill)
            case 1: pause(node); until(faultChance.milliseconds(150...700)) { [unowned self] in resume(node) }
            case 2: cutBetween([node.index], nodes.indices.filter { $0 != node.index }, both: false)
            default: cutBetween(nodes.indices.filter { $0 != node.index }, [node.index], both: true)
            }
        }
        // And again, while the next one is being found.
        if faultChance.chance(2, in: 3) {
            after(faultChance.milliseconds(30...400)) { [unowned self] in
                if isFaultPhase { churn() }
            }
        }
    }
}
