import Primitives

extension ClusterConfiguration {
    /// `[log]`: the replicated log on disk.
    package struct Log: Sendable, Equatable {
        /// Bytes of one write-ahead file.
        package var walFileSize = 64 << 20
        /// Bytes at which a segment is closed.
        package var segmentSize = 64 << 20
        package var sync = Sync.always
        /// Least time between two fsyncs while many publishes wait; zero: none.
        package var commitDelay = Interval.milliseconds(1)
        /// What a namespace keeps when it does not say.
        package var retention = Retention()
        /// Applied entries between two snapshots of a partition.
        package var snapshotEveryEntries = 10_000
        /// Newest entries of a partition kept in memory.
        package var tailRingBytes = 4 << 20
        /// Free bytes of the volume below which guaranteed publishes are refused.
        package var minFreeDisk = 256 << 20

        package init() {}
    }

    /// When written bytes are made to reach the disk.
    package enum Sync: String, CaseIterable, Sendable {
        /// Before anything is acknowledged.
        case always
        /// Once a second: a crash of all replicas may lose the last second.
        case everysec
        /// When the kernel likes.
        case never
    }

    /// `[raft]`: agreement inside one group.
    package struct Raft: Sendable, Equatable {
        package var tick = Interval.milliseconds(50)
        package var heartbeat = Interval.milliseconds(100)
        /// Shortest silence after which a follower campaigns; the longest is twice that.
        package var election = Interval.milliseconds(600)
        /// The same for the control group.
        package var controlElection = Interval.milliseconds(1000)
        /// Append messages without an answer, per follower.
        package var maxInflightMessages = 256
        /// Bytes of them.
        package var maxInflightBytes = 4 << 20
        /// Bytes of one append message.
        package var maxMessageBytes = 256 << 10
        /// Bytes of a group's entries that no majority has yet.
        package var maxUncommittedBytes = 16 << 20

        package init() {}
    }

    /// `[liveness]`: how fast nodes notice that another one is gone.
    package struct Liveness: Sendable, Equatable {
        package var keepalive = Interval.milliseconds(100)
        package var suspect = Interval.milliseconds(400)
        /// Between the campaigns of the first and the next follower.
        package var rankDelay = Interval.milliseconds(60)

        package init() {}
    }
}

extension ClusterConfiguration.Log {
    static let settings: [Setting<Self>] = [
        .size("wal_file_size", \.walFileSize, (1 << 20)...(4 << 30), "One write-ahead file, preallocated."),
        .size(
            "segment_size",
            \.segmentSize,
            (64 << 10)...(4 << 30),
            "Size at which a partition's segment file is closed."
        ),
        .choice(
            "sync",
            \.sync,
            "always: fsync before anything is acknowledged. everysec: once a second. never: when the kernel likes. "
                + "Anything but always breaks the promise of guaranteed and retained rooms."
        ),
        .duration(
            "commit_delay",
            \.commitDelay,
            .microseconds(1)...(.seconds(1)),
            zero: "none",
            "Least time between two fsyncs while many publishes wait, so that they share one; a lone publish never "
                + "waits."
        ),
        .duration(
            "retention_time",
            \.retention.time,
            ClusterConfiguration.Retention.timeRange,
            zero: "unlimited",
            "Default age of the oldest publication of a room."
        ),
        .integer(
            "retention_count",
            \.retention.count,
            0...1_000_000_000,
            "Default publications per room; 0: unlimited."
        ),
        .size(
            "retention_bytes",
            \.retention.bytes,
            1024...(1 << 44),
            zero: "unlimited",
            "Default payload bytes per room."
        ),
        .integer(
            "snapshot_every_entries",
            \.snapshotEveryEntries,
            16...100_000_000,
            "Applied entries between two snapshots of a partition: less replay at start against more writing. "
                + "Keys also wait until the log has grown by as much as they take."
        ),
        .size(
            "tail_ring_bytes",
            \.tailRingBytes,
            (64 << 10)...(1 << 30),
            "Newest entries of each partition kept in memory for fan-out and resumes; at least max_size."
        ),
        .size(
            "min_free_disk",
            \.minFreeDisk,
            (1 << 20)...(1 << 44),
            zero: "not watched",
            "Below this the node refuses guaranteed publishes and reports it, rather than filling the disk."
        ),
    ]
}

extension ClusterConfiguration.Raft {
    static let settings: [Setting<Self>] = [
        .milliseconds("tick_ms", \.tick, 1...1000, "Resolution of the timers."),
        .milliseconds("heartbeat_ms", \.heartbeat, 1...10_000, "Between two heartbeats of a leader; at least tick_ms."),
        .milliseconds(
            "election_ms",
            \.election,
            10...60_000,
            "Shortest silence after which a follower campaigns; at least 3 x heartbeat_ms. The longest is twice that."
        ),
        .milliseconds(
            "control_election_ms",
            \.controlElection,
            10...60_000,
            "The same for the control group, where calm matters more; at least election_ms."
        ),
        .integer("max_inflight_messages", \.maxInflightMessages, 1...65536, "Unanswered append messages per follower."),
        .size(
            "max_inflight_bytes",
            \.maxInflightBytes,
            (64 << 10)...(1 << 30),
            "Bytes of them; at least max_message_bytes."
        ),
        .size(
            "max_message_bytes",
            \.maxMessageBytes,
            (4 << 10)...(64 << 20),
            "Entries of one append message; a single larger entry travels alone."
        ),
        .size(
            "max_uncommitted_bytes",
            \.maxUncommittedBytes,
            (64 << 10)...(1 << 30),
            "Entries of a group without a majority yet; beyond it publishes are refused for now."
        ),
    ]
}

extension ClusterConfiguration.Liveness {
    static let settings: [Setting<Self>] = [
        .milliseconds("keepalive_ms", \.keepalive, 1...10_000, "Between two keep-alives of a node pair."),
        .milliseconds(
            "suspect_ms",
            \.suspect,
            10...60_000,
            "Silence after which a node's followers campaign; at least 2 x keepalive_ms. Longer: fewer needless "
                + "campaigns on a shaky network, slower failover."
        ),
        .milliseconds("rank_delay_ms", \.rankDelay, 1...10_000, "Head start of each follower over the next in rank."),
    ]
}
