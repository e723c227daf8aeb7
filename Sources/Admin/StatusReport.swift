import Foundation

/// What `GET /status` answers and `vencejo status` shows: one node's view of itself and of the cluster.
package struct StatusReport: Codable, Sendable {
    package struct Node: Codable, Sendable {
        package var name: String
        package var id: String
        /// `self`, `up`, `suspected`, `down` or `leaving`, as seen by the node that answers.
        package var state: String
        package var host: String
        package var gatewayPort: Int
        package var zone: String
        /// `host:port` of its admin port, where the node that answers knows it.
        package var admin: String?
        /// Partitions that it owns, as far as the node that answers knows.
        package var owned: Int

        package init(
            name: String,
            id: String,
            state: String,
            host: String,
            gatewayPort: Int,
            zone: String,
            admin: String? = nil,
            owned: Int
        ) {
            self.name = name
            self.id = id
            self.state = state
            self.host = host
            self.gatewayPort = gatewayPort
            self.zone = zone
            self.admin = admin
            self.owned = owned
        }
    }

    package struct Partition: Codable, Sendable {
        package var id: Int
        /// Name of the owner; nil when none is known.
        package var owner: String?
        package var term: UInt64
        package var replicas: [String]
        /// This node's replica: `leader`, `follower`, …, or `none`.
        package var role: String
        package var commit: UInt64
        package var applied: UInt64
        package var firstIndex: UInt64
        package var lastIndex: UInt64
        package var rooms: Int
        package var degraded: Bool
        package var faulty: Bool

        package init(
            id: Int,
            owner: String?,
            term: UInt64,
            replicas: [String],
            role: String,
            commit: UInt64,
            applied: UInt64,
            firstIndex: UInt64,
            lastIndex: UInt64,
            rooms: Int,
            degraded: Bool,
            faulty: Bool
        ) {
            self.id = id
            self.owner = owner
            self.term = term
            self.replicas = replicas
            self.role = role
            self.commit = commit
            self.applied = applied
            self.firstIndex = firstIndex
            self.lastIndex = lastIndex
            self.rooms = rooms
            self.degraded = degraded
            self.faulty = faulty
        }
    }

    /// How far a node that is being emptied has got.
    package struct Drain: Codable, Sendable {
        /// `handing over`, `moving clients` or `empty`.
        package var state: String
        /// Groups that it still leads.
        package var owners: Int
        /// Connections of all kinds of clients that are still open.
        package var clients: Int
        /// Clients told to go, by now.
        package var moved: Int
        /// Clients cut off when the budget was over.
        package var cut: Int
        package var budgetMilliseconds: UInt64
        package var elapsedMilliseconds: UInt64

        package init(
            state: String,
            owners: Int,
            clients: Int,
            moved: Int,
            cut: Int,
            budgetMilliseconds: UInt64,
            elapsedMilliseconds: UInt64
        ) {
            self.state = state
            self.owners = owners
            self.clients = clients
            self.moved = moved
            self.cut = cut
            self.budgetMilliseconds = budgetMilliseconds
            self.elapsedMilliseconds = elapsedMilliseconds
        }

        package func json() -> String {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        }
    }

    /// What the node does for the partitions that it owns, in a second.
    package struct Load: Codable, Sendable {
        package struct Partition: Codable, Sendable {
            package var id: Int
            /// Of keys, not of rooms.
            package var isKeys: Bool
            package var operations: UInt64
            package var bytes: UInt64
            /// Part of the node's load.
            package var share: Double
            package var hot: Bool
            /// Its busiest rooms; publishes a second, by estimate.
            package var rooms: [Room]

            package init(
                id: Int,
                isKeys: Bool,
                operations: UInt64,
                bytes: UInt64,
                share: Double,
                hot: Bool,
                rooms: [Room]
            ) {
                self.id = id
                self.isKeys = isKeys
                self.operations = operations
                self.bytes = bytes
                self.share = share
                self.hot = hot
                self.rooms = rooms
            }
        }

        package struct Room: Codable, Sendable {
            package var name: String
            package var rate: UInt64

            package init(name: String, rate: UInt64) {
                self.name = name
                self.rate = rate
            }
        }

        /// Those that have any.
        package var partitions: [Partition]
        /// How much the most loaded node is above the mean, 0.2 is 20 %; nil but on the control leader.
        package var imbalance: Double?

        package init(partitions: [Partition], imbalance: Double?) {
            self.partitions = partitions
            self.imbalance = imbalance
        }

        package func json() -> String {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        }
    }

    package struct Event: Codable, Sendable {
        /// Milliseconds since 1970.
        package var time: UInt64
        package var kind: String
        package var text: String

        package init(time: UInt64, kind: String, text: String) {
            self.time = time
            self.kind = kind
            self.text = text
        }
    }

    package var node: String
    package var mode: String
    package var version: String
    package var cluster: String
    package var uptimeSeconds: Int
    package var ready: Bool
    package var reason: String
    package var degraded: Bool
    package var diskHealthy: Bool
    package var controlLeader: String?
    package var placementEpoch: UInt64
    /// What the cluster has agreed on; nil from programs that know of no levels.
    package var featureLevel: Int?
    package var connections: Int
    package var sessions: Int
    package var publishesAccepted: UInt64
    package var messagesSent: UInt64
    package var logBytes: Int
    package var nodes: [Node]
    package var partitions: [Partition]
    package var events: [Event]
    package var warnings: [String]
    /// Nil in cluster mode, which has no Redis.
    package var redis: RedisReport?
    /// Nil in Redis mode, where no node owns anything.
    package var load: Load?
    /// Nil while the node serves.
    package var drain: Drain?

    package init(
        node: String,
        mode: String,
        version: String,
        cluster: String,
        uptimeSeconds: Int,
        ready: Bool,
        reason: String,
        degraded: Bool,
        diskHealthy: Bool,
        controlLeader: String?,
        placementEpoch: UInt64,
        featureLevel: Int? = nil,
        connections: Int,
        sessions: Int,
        publishesAccepted: UInt64,
        messagesSent: UInt64,
        logBytes: Int,
        nodes: [Node],
        partitions: [Partition],
        events: [Event],
        warnings: [String]
    ) {
        self.node = node
        self.mode = mode
        self.version = version
        self.cluster = cluster
        self.uptimeSeconds = uptimeSeconds
        self.ready = ready
        self.reason = reason
        self.degraded = degraded
        self.diskHealthy = diskHealthy
        self.controlLeader = controlLeader
        self.placementEpoch = placementEpoch
        self.featureLevel = featureLevel
        self.connections = connections
        self.sessions = sessions
        self.publishesAccepted = publishesAccepted
        self.messagesSent = messagesSent
        self.logBytes = logBytes
        self.nodes = nodes
        self.partitions = partitions
        self.events = events
        self.warnings = warnings
    }

    package func json() -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    package init(json: [UInt8]) throws { self = try JSONDecoder().decode(StatusReport.self, from: Data(json)) }
}
