import Foundation
import Primitives
import Synchronization

/// Calm, kill, restart, ready, and again; the load goes on all the while.
struct FailoverSchedule {
    struct Fault {
        var node: Int
        /// The node led the partition of the room it was chosen for; otherwise it was its turn.
        var wasOwner: Bool
        var killed: Instant
        var restarted: Instant
        var ready: Instant?
    }

    var kills: Int
    var settle: Double
    var restartAfter: Double
    /// How long a restarted node may take to become ready.
    var patience = 60.0

    /// Kills the owner of one room after the other.
    func run(_ load: FailoverLoad, _ cluster: VencejoCluster) throws -> [Fault] {
        var progress = Progress()
        defer { progress.finish() }
        try load.start()
        var faults: [Fault] = []
        for kill in 0..<kills {
            progress.show("kill \(kill + 1) of \(kills)", Double(kill) / Double(kills))
            load.run(seconds: settle) { false }
            let room = load.roomNumbers[kill % load.roomNumbers.count].name
            faults.append(try strike(ownerOf: room, orNode: kill % cluster.servers.count, load, cluster))
        }
        load.run(seconds: settle) { false }
        return faults
    }

    /// Kills the owner of a room, or a node where nobody says who that is, and starts it again.
    func strike(
        ownerOf room: String,
        orNode turn: Int,
        _ load: FailoverLoad,
        _ cluster: VencejoCluster
    ) throws -> Fault {
        let owner = owner(of: room, cluster)
        let victim = owner ?? turn
        // The question has stopped the load for a moment, which is no silence of the cluster's.
        load.run(seconds: 0.2) { false }
        var fault = Fault(
            node: victim,
            wasOwner: owner != nil,
            killed: Clock.instant(),
            restarted: .zero,
            ready: nil
        )
        cluster.servers[victim].strike()
        load.run(seconds: restartAfter) { false }
        try cluster.servers[victim].start()
        fault.restarted = Clock.instant()
        let probe = ReadinessProbe(cluster.file.nodes[victim], patience: patience)
        load.run(seconds: patience) { probe.isReady }
        if probe.isReady { fault.ready = Clock.instant() }
        return fault
    }

    private func owner(of room: String, _ cluster: VencejoCluster) -> Int? {
        for node in cluster.file.nodes {
            let owner = AdminPort.owner(
                of: room,
                asking: node,
                nodes: cluster.file.nodes.map(\.id),
                partitions: cluster.file.partitions
            )
            if let owner { return owner }
        }
        return nil
    }
}

/// Asks a node whether it is ready from a thread of its own, so that a slow answer does not stop the load.
final class ReadinessProbe: Sendable {
    private let state = Atomic<Bool>(false)

    init(_ node: ClusterFile.Node, patience: Double) {
        let deadline = Clock.now() + UInt64(patience * 1e9)
        Thread.detachNewThread { [self] in
            while Clock.now() < deadline {
                if AdminPort.isReady(node) {
                    state.store(true, ordering: .releasing)
                    return
                }
                Clock.sleep(milliseconds: 20)
            }
        }
    }

    var isReady: Bool { state.load(ordering: .acquiring) }
}
