import Broker
import DequeModule
import DiskSimulation
import LogStorage
import Primitives

/// One node: a process that comes and goes, and a disk that stays.
final class SimulatedNode {
    let index: Int
    let id: NodeID
    let disk = SimulatedDisk()

    /// Raised by every start and every death: events of another life are dropped.
    var life: UInt32 = 0
    /// One per shard; empty while the process is down.
    var brokers: [Broker] = []
    var store: LogStore<SimulatedDisk>?
    var isPaused = false
    /// What arrived during the pause.
    var deferred: [NodeEvent] = []
    /// Milliseconds that the wall clock is off.
    var wallOffset: Int64 = 0
    /// The node must stay as it is: liveness runs leave it broken.
    var isAbandoned = false
    /// It did not form the cluster: it comes later, if at all.
    let isSpare: Bool
    /// It does not belong to the cluster (yet, or any more), and its process does not run.
    var isOutside: Bool
    var hasBelonged = false

    // The disk's two queues.
    struct Append {
        var shard: Int
        var ticket: UInt64
        var items: [StorageRequest.Item]
    }
    struct Job {
        var shard: Int
        var request: StorageRequest
    }
    var appends: Deque<Append> = []
    var writing: [Append] = []
    var isWriting = false
    var isDiskFull = false
    var jobs: Deque<Job> = []
    var isWorking = false
    var stalledUntil = Instant.zero
    /// A sync failed or the power went; cleared by the restart.
    var isSyncBroken = false

    // Damage.
    var wasTampered = false
    /// Groups whose replica is damaged here.
    var faultyGroups: [GroupID] = []

    // Clients.
    /// By shard and session slot.
    var sessions: [[Connection?]] = []
    /// Every connection of this life.
    var connections: [Connection] = []
    /// Messages between shards.
    var shardMail: Deque<(to: Int, message: ShardMessage)> = []

    init(index: Int, isSpare: Bool) {
        self.index = index
        self.isSpare = isSpare
        isOutside = isSpare
        id = NodeID(UInt64(index + 1))
        // A mounted disk; the node makes its data directory on it.
        do {
            try disk.makeDirectory("/disk")
            try disk.synchronizeDirectory("")
        } catch {
            preconditionFailure("a new disk refuses a directory: \(error)")
        }
    }

    var isRunning: Bool { !brokers.isEmpty }

    func broker(of group: GroupID) -> Broker {
        guard let partition = group.partition else { return brokers[0] }
        return brokers[Int(partition.rawValue) % brokers.count]
    }

    /// Drops everything that a dead process takes with it.
    func die() {
        life += 1
        brokers = []
        store = nil
        isPaused = false
        deferred = []
        appends = []
        writing = []
        isWriting = false
        isDiskFull = false
        jobs = []
        isWorking = false
        sessions = []
        connections = []
        shardMail = []
    }
}
