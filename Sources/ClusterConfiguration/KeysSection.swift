import Primitives

extension ClusterConfiguration {
    /// `[keys]`: the keys of Redis clients, in Raft groups of their own.
    package struct Keys: Sendable, Equatable {
        /// Groups that share the 16384 hash slots; 0: no keys.
        package var partitions = 1
        package var sync = Sync.everysec
        package var ack = Ack.quorum
        /// Bytes of memory that the keys of a partition may take; 0: no bound.
        package var maxMemory = 0
        package var maxMemoryPolicy = Eviction.noeviction
        /// How long a node may be away before the waits of its clients (BLPOP, XREAD BLOCK) are given up.
        package var waiterLease = Interval.seconds(5)

        package init() {}

        /// Who has a write when it is answered.
        package enum Ack: String, CaseIterable, Sendable {
            case quorum
            case owner
        }

        /// What goes first when memory is short.
        package enum Eviction: String, CaseIterable, Sendable {
            case noeviction
            case allkeysLRU = "allkeys-lru"
            case allkeysRandom = "allkeys-random"
            case volatileLRU = "volatile-lru"
            case volatileRandom = "volatile-random"
            case volatileTTL = "volatile-ttl"
        }
    }

    /// `[resp]`: how Redis clients are received.
    package struct RESP: Sendable, Equatable {
        /// What clients say in AUTH or HELLO; empty: no password.
        package var password = Secret("")
        package var maxClients = 10_000
        /// Different patterns of PSUBSCRIBE, per event loop.
        package var maxPatterns = 1000
        /// Bytes of one argument (`proto-max-bulk-len`).
        package var maxBulk = 4 << 20
        /// Bytes of input that one connection may have waiting (`client-query-buffer-limit`).
        package var queryBuffer = 32 << 20
        /// Bytes of replies that one connection may leave unread (`client-output-buffer-limit normal`).
        package var outputBuffer = 64 << 20
        /// Bytes of messages that one subscriber may leave unread before it is cut off.
        package var subscriberBuffer = 32 << 20
        /// A connection that says nothing for so long is closed; zero: never.
        package var timeout = Interval.zero
        /// The name under which Sentinel clients find the cluster.
        package var sentinelMaster = "mymaster"
        /// On the cluster ports: send a client to the owner of the slot, or do its work for it.
        package var clusterRedirects = true

        package init() {}
    }
}

extension ClusterConfiguration.Keys {
    static let settings: [Setting<Self>] = [
        .integer(
            "partitions",
            \.partitions,
            0...16384,
            "Raft groups that share the 16384 hash slots, a power of two, fixed when the cluster is created. 1: "
                + "commands on several keys and transactions are as atomic as in Redis. 0: no keys, only Pub/Sub."
        ),
        .choice(
            "sync",
            \.sync,
            "always: fsync on a majority before a write is acknowledged. everysec: written on a majority, fsync once a "
                + "second, as Redis with appendfsync everysec. never: when the kernel likes."
        ),
        .choice(
            "ack",
            \.ack,
            "quorum: a write is answered when a majority has it. owner: when the owner has written it, as Redis does; "
                + "what the others do not have yet is lost with the owner. Costs the owner a second state of the keys."
        ),
        .size(
            "max_memory",
            \.maxMemory,
            (1 << 20)...(1 << 44),
            zero: "unlimited",
            isRedisMemory: true,
            "Memory that the keys of each partition may take, as INFO's used_memory counts it; above it "
                + "max_memory_policy acts. Redis's units (100mb, 1gb) are understood too. CONFIG SET maxmemory changes "
                + "it at run time, until the file says something else."
        ),
        .choice(
            "max_memory_policy",
            \.maxMemoryPolicy,
            "noeviction: writes that need memory are refused. allkeys-lru: keys unused for long go first. "
                + "allkeys-random: any. volatile-lru, volatile-random, volatile-ttl (least time to live first): "
                + "only of the keys with a time to live."
        ),
        .duration(
            "waiter_lease",
            \.waiterLease,
            .milliseconds(500)...(.seconds(600)),
            "How long a node may be away before the waits of its clients (BLPOP, XREAD BLOCK) are given up."
        ),
    ]
}

extension ClusterConfiguration.RESP {
    static let settings: [Setting<Self>] = [
        .secret(
            "password",
            \.password,
            "What Redis clients say in AUTH or HELLO; empty: none, which a node that listens beyond loopback refuses. "
                + "Better set by VENCEJO_RESP_PASSWORD."
        ),
        .integer("max_clients", \.maxClients, 1...1_000_000, "Connections of Redis clients per node."),
        .integer(
            "max_patterns",
            \.maxPatterns,
            1...100_000,
            "Different patterns of PSUBSCRIBE per event loop; every message is matched with all of them."
        ),
        .size("max_bulk", \.maxBulk, 1024...(6 << 20), "One argument of a command, as CONFIG's proto-max-bulk-len."),
        .size("query_buffer", \.queryBuffer, 65536...(1 << 30), "Input that one connection may have waiting."),
        .size("output_buffer", \.outputBuffer, 65536...(4 << 30), "Replies that one connection may leave unread."),
        .size(
            "subscriber_buffer",
            \.subscriberBuffer,
            65536...(4 << 30),
            "Messages that one subscriber may leave unread before it is cut off."
        ),
        .duration(
            "timeout",
            \.timeout,
            .seconds(1)...(.seconds(31_536_000)),
            zero: "never",
            "A connection that says nothing for so long is closed; subscribers are not."
        ),
        .text(
            "sentinel_master",
            \.sentinelMaster,
            limit: 64,
            "The name under which Sentinel clients find the cluster."
        ),
        .boolean(
            "cluster_redirects",
            \.clusterRedirects,
            "On the cluster ports: true sends a client to the owner of a slot (MOVED), false does its work for it."
        ),
    ]
}
