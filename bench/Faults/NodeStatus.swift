import Foundation
import Primitives

/// What `GET /status` says, as far as faults are concerned.
struct NodeStatus: Decodable, Sendable {
    struct Partition: Decodable, Sendable {
        var id: Int
        var owner: String?
        /// Those that the placement names, its preferred owner first.
        var replicas: [String]
        /// Of the replica that is here; "none" where there is none.
        var role: String
        var degraded: Bool
    }

    struct Member: Decodable, Sendable {
        var name: String
    }

    struct Drain: Decodable, Sendable {
        var state: String
        var moved: Int
        var cut: Int
        var elapsedMilliseconds: Int
    }

    struct Event: Decodable, Sendable {
        /// Milliseconds since 1970.
        var time: UInt64
        var kind: String
        var text: String
    }

    /// Whose it is.
    var node: String
    var degraded: Bool
    var controlLeader: String?
    var placementEpoch: UInt64
    var nodes: [Member]
    var drain: Drain?
    var partitions: [Partition]
    var events: [Event]

    /// nil when the node does not answer.
    static func ask(_ node: ClusterFile.Node) -> NodeStatus? {
        guard let answer = AdminPort.get("/status", node), answer.status == 200 else { return nil }
        return try? JSONDecoder().decode(NodeStatus.self, from: answer.body)
    }

    /// The row of a room's partition, of so many that rooms have; those of keys follow in the list.
    func partition(of room: String, _ count: Int) -> Partition? {
        let number = Int(HashSlot.slot(of: Array(room.utf8))) * count / Int(HashSlot.count)
        return partitions.first { $0.id == number }
    }

    /// How often partitions were taken over by the node since its start; nil when it does not answer.
    static func ownershipsWon(_ node: ClusterFile.Node) -> UInt64? {
        guard let answer = AdminPort.get("/metrics", node), answer.status == 200 else { return nil }
        return ownershipsWon(in: String(decoding: answer.body, as: UTF8.self))
    }

    static func ownershipsWon(in metrics: String) -> UInt64? {
        for line in metrics.split(separator: "\n") where line.contains("ownerships_won_total{") {
            return line.split(separator: " ").last.flatMap { Double($0) }.map { UInt64($0) }
        }
        return nil
    }
}

/// Ownerships won so far, by node; a node that starts again counts from nothing.
struct OwnershipCount: Sendable {
    var won: [UInt64?]

    init(_ nodes: [ClusterFile.Node]) { won = nodes.map(NodeStatus.ownershipsWon) }

    /// How many were won since `earlier`, by all nodes that answered both times or have started in between.
    func since(_ earlier: OwnershipCount) -> UInt64 {
        zip(won, earlier.won).reduce(0) { sum, pair in
            guard let now = pair.0 else { return sum }
            let before = pair.1 ?? now
            return sum + (now >= before ? now - before : now)
        }
    }
}
