/// What one replica holds of one room after the run: healed, settled, and read from beginning to end.
package struct ReplicaLog: Equatable, Sendable {
    /// A retained message.
    package struct Entry: Equatable, Sendable {
        package var offset: UInt64
        package var message: UInt64

        package init(offset: UInt64, message: UInt64) {
            self.offset = offset
            self.message = message
        }
    }

    package var room: UInt32
    /// The node, or any number that tells readers apart (a fresh subscriber is one more reader).
    package var replica: UInt64
    package var epoch: UInt32
    /// Everything at or below this offset was trimmed by announced retention. 0 when nothing was.
    package var floor: UInt64
    /// The messages above the floor, in the order in which the replica returned them.
    package var entries: [Entry]

    package init(room: UInt32, replica: UInt64, epoch: UInt32 = 0, floor: UInt64 = 0, entries: [Entry]) {
        self.room = room
        self.replica = replica
        self.epoch = epoch
        self.floor = floor
        self.entries = entries
    }

    /// The last offset, or the floor of an empty log.
    package var head: UInt64 { entries.last?.offset ?? floor }
}

/// A hash of a replica's state machine right after it applied `index`: equal for all replicas of a group.
package struct ReplicaDigest: Equatable, Sendable {
    package var group: UInt32
    package var replica: UInt64
    package var index: UInt64
    package var hash: UInt64

    package init(group: UInt32, replica: UInt64, index: UInt64, hash: UInt64) {
        self.group = group
        self.replica = replica
        self.index = index
        self.hash = hash
    }
}

/// Everything that was read back after the run. Empty when there was no final phase: then acknowledged messages are
/// only known to be lost below the highest offset that somebody saw, as in Jepsen's Kafka workload.
package struct FinalLogs: Equatable, Sendable {
    package var logs: [ReplicaLog]
    package var digests: [ReplicaDigest]

    package init(logs: [ReplicaLog] = [], digests: [ReplicaDigest] = []) {
        self.logs = logs
        self.digests = digests
    }
}
