import Foundation
import OwnThread
import Primitives
import Raft
import Testing

/// Small clusters under random faults, each fully determined by its seed.
@Suite("Random clusters", .ownThread(nice: 5))
struct RandomClusterTests {
    static var seedsPerShape: Int {
        ProcessInfo.processInfo.environment["VENCEJO_RAFT_SEEDS"].flatMap { Int($0) } ?? 60
    }

    enum Shape: String, CaseIterable, CustomTestStringConvertible {
        case three
        case five
        /// Voters come and go, learners too.
        case changing
        /// Short logs in memory and on disk: disk reads and snapshots all the time.
        case compacting
        /// Links that fail one way and heal.
        case partitions

        var testDescription: String { rawValue }
    }

    @Test("log, votes and reads stay safe under loss, duplication, reordering and crashes", arguments: Shape.allCases)
    func safety(shape: Shape) {
        var elections = 0
        var committed = 0
        var reads = 0
        var snapshots = 0
        for seed in 0..<UInt64(Self.seedsPerShape) {
            var run = RandomRun(shape: shape, seed: seed)
            run.disturb(steps: 1500)
            run.recover()
            elections += run.cluster.elections
            committed += run.cluster.history.count
            reads += run.cluster.confirmedReads
            snapshots += run.cluster.installedSnapshots
            #expect(run.cluster.violations.isEmpty, "shape \(shape) seed \(seed)")
            #expect(run.failure == nil, "shape \(shape) seed \(seed)")
            if !run.cluster.violations.isEmpty || run.failure != nil { return }
        }
        // The run must have had something to check.
        #expect(elections > 2 * Self.seedsPerShape)
        #expect(committed > 10 * Self.seedsPerShape)
        #expect(reads > Self.seedsPerShape)
        if shape == .compacting { #expect(snapshots > Self.seedsPerShape / 4) }
    }
}

private struct RandomRun {
    let shape: RandomClusterTests.Shape
    let cluster: TestCluster
    var random: Xoshiro256
    var failure: String?
    private var proposals = 0

    init(shape: RandomClusterTests.Shape, seed: UInt64) {
        self.shape = shape
        random = Xoshiro256(seed: seed &* 31 &+ 7)
        var settings = RaftSettings(electionTicks: 8, heartbeatTicks: 2, maxCommittedBytesPerReady: 100)
        settings.maxEntriesBytesPerMessage = 120
        settings.maxInflightMessages = 4
        let voters: [UInt64] = shape == .five || shape == .partitions ? [1, 2, 3, 4, 5] : [1, 2, 3]
        cluster = TestCluster(
            voters: voters,
            spares: shape == .changing ? [4, 5] : [],
            settings: settings,
            seed: seed &+ 1
        )
        if shape == .compacting || shape == .changing { cluster.entriesInMemory = 3 }
    }

    private mutating func pick() -> Int { Int(random.below(UInt64(cluster.replicas.count))) }

    mutating func disturb(steps: Int) {
        for _ in 0..<steps {
            disturb()
            if !cluster.violations.isEmpty { return }
        }
    }

    private mutating func disturb() {
        let position = pick()
        guard cluster.replicas[position].node != nil else {
            if random.chance(1, in: 4) { cluster.start(position) }
            return
        }
        switch random.below(100) {
        case 0..<12: cluster.with(cluster.replicas[position].id) { $0.tick() }
        case 12..<32: cluster.processReady(position)
        case 32..<44: cluster.sync(position)
        case 44..<76: deliver()
        case 76..<86: propose()
        case 86..<88: if let leader = cluster.leader { cluster.requestRead(cluster.position(leader)) }
        case 88: cluster.requestRead(position)
        case 89..<92: cluster.answerRead(position)
        case 92: fault(position)
        case 93: transfer(position)
        case 94: change()
        case 95: cut()
        case 96..<98: shrink(position)
        default: for position in cluster.replicas.indices { cluster.processReady(position) }
        }
    }

    private mutating func deliver() {
        guard !cluster.packets.isEmpty else { return }
        // Mostly in order, sometimes not.
        let place = random.chance(3, in: 4) ? 0 : Int(random.below(UInt64(cluster.packets.count)))
        if random.chance(1, in: 25) {
            cluster.deliver(cluster.packets[place])
            return
        }
        let packet = cluster.packets.remove(at: place)
        if random.chance(1, in: 25) || cluster.isCut(packet.from, packet.to) {
            cluster.drop(packet)
        } else {
            cluster.deliver(packet)
        }
    }

    private mutating func propose() {
        guard let leader = cluster.replicas.indices.first(where: { cluster.replicas[$0].node?.role == .leader })
        else { return }
        // Also to an old leader that does not know it yet.
        let id = random.chance(1, in: 2) ? cluster.leader ?? cluster.replicas[leader].id : cluster.replicas[leader].id
        proposals += 1
        let data = Array("p\(proposals)".utf8)
        _ = cluster.with(id) { $0.propose(data) }
    }

    private mutating func fault(_ position: Int) {
        switch random.below(4) {
        case 0, 1: cluster.crash(position, surviving: Int(random.below(4)))
        case 2: cluster.with(cluster.replicas[position].id) { $0.forgetLeader() }
        default: cluster.with(cluster.replicas[position].id) { $0.campaign() }
        }
    }

    private mutating func transfer(_ position: Int) {
        guard let leader = cluster.leader else { return }
        let target = cluster.replicas[position].id
        cluster.with(leader) { $0.transferLeadership(to: target) }
    }

    private mutating func change() {
        guard shape == .changing, let leader = cluster.leader else { return }
        var voters: [NodeID] = []
        var learners: [NodeID] = []
        for replica in cluster.replicas {
            switch random.below(5) {
            case 0..<3: voters.append(replica.id)
            case 3: learners.append(replica.id)
            default: break
            }
        }
        let change: MembershipChange =
            random.chance(1, in: 4) ? .setLearners(learners) : .enterJoint(voters: voters, learners: learners)
        _ = cluster.with(leader) { $0.proposeMembership(change) }
    }

    private mutating func cut() {
        guard shape == .partitions else { return }
        if random.chance(1, in: 3) {
            cluster.cuts.removeAll()
        } else if random.chance(1, in: 2) {
            let from = cluster.replicas[pick()].id
            let to = cluster.replicas[pick()].id
            cluster.cuts.append((from, to))
        } else {
            // A whole node, both ways.
            let lone = cluster.replicas[pick()].id
            for replica in cluster.replicas where replica.id != lone {
                cluster.cuts.append((lone, replica.id))
                cluster.cuts.append((replica.id, lone))
            }
        }
    }

    private mutating func shrink(_ position: Int) {
        guard shape == .compacting || shape == .changing else { return }
        let applied = cluster.replicas[position].applied
        if random.chance(1, in: 2) {
            cluster.with(cluster.replicas[position].id) { $0.evictEntries(upTo: applied) }
        } else {
            cluster.compact(position, upTo: applied - min(applied, random.below(3)))
        }
    }

    /// The faults end: a leader must appear, commit, and bring everyone to the same log and state.
    mutating func recover() {
        guard cluster.violations.isEmpty else { return }
        cluster.cuts.removeAll()
        for position in cluster.replicas.indices where cluster.replicas[position].node == nil {
            cluster.start(position)
        }
        var marker: LogIndex?
        for round in 0..<400 {
            for replica in cluster.replicas { cluster.with(replica.id) { $0.tick() } }
            guard cluster.stabilize() else {
                failure = "never quiet"
                return
            }
            if !cluster.violations.isEmpty { return }
            guard let leader = cluster.leader else { continue }
            if marker.map({ $0 > cluster.maxCommit }) ?? true, round % 40 >= 30 { marker = nil }
            if marker == nil, case .accepted(_, let index) = cluster.with(leader, { $0.propose(Array("end".utf8)) }) {
                marker = index
            }
            if let marker, isConverged(marker) { return }
        }
        failure =
            "no convergence: commit \(cluster.maxCommit), marker \(marker.map { "\($0)" } ?? "none")\n"
            + cluster.replicas.indices.flatMap { cluster.statusLines($0) }.joined(separator: "\n")
    }

    private func isConverged(_ marker: LogIndex) -> Bool {
        guard let leader = cluster.leader, let node = cluster.replicas[cluster.position(leader)].node,
            node.commitIndex >= marker, !node.membership.isJoint
        else { return false }
        return node.membership.members.allSatisfy { member in
            let replica = cluster.replicas[cluster.position(member)]
            return replica.applied == node.commitIndex && replica.node?.lastIndex == node.lastIndex
                && replica.state == cluster.replicas[cluster.position(leader)].state
        }
    }
}
