import Admin
import Broker
import ClusterConfiguration
import PeerProtocol
import Primitives
import Rooms

/// What is said of loads: in status, in metrics and in events.
extension NodeReport {
    static func load(_ brokers: [BrokerStatus], _ configuration: ClusterConfiguration) -> StatusReport.Load {
        let loads = brokers.flatMap(\.partitions).compactMap(\.load).filter { $0.weight > 0 }
        let total = loads.reduce(0) { $0 + $1.weight }
        let hot = brokers.flatMap(\.hot)
        let rooms = brokers.flatMap(\.rooms)
        return StatusReport.Load(
            partitions: loads.sorted { ($1.weight, $0.partition) < ($0.weight, $1.partition) }.map { load in
                StatusReport.Load.Partition(
                    id: Int(load.partition.rawValue),
                    isKeys: Int(load.partition.rawValue) >= configuration.cluster.partitions,
                    operations: load.operations,
                    bytes: load.bytes,
                    share: load.weight / total,
                    hot: hot.contains(load.partition),
                    rooms: rooms.filter { $0.partition == load.partition }.map {
                        StatusReport.Load.Room(name: $0.room.shown, rate: $0.rate)
                    }
                )
            },
            imbalance: brokers.compactMap(\.imbalance).first
        )
    }

    static func loadFamilies(_ text: inout PrometheusText, node: String, _ brokers: [BrokerStatus]) {
        let loads = brokers.flatMap(\.partitions).compactMap(\.load)
        text.family("load_operations", .gauge, help: "Publishes, units and reads of keys a second, as owner.")
        text.sample(loads.reduce(0) { $0 &+ $1.operations }, ["node": node])
        text.family("load_bytes", .gauge, help: "Bytes a second that these brought.")
        text.sample(loads.reduce(0) { $0 &+ $1.bytes }, ["node": node])
        text.family("partitions_hot", .gauge, help: "Partitions with a large part of this node's load.")
        text.sample(brokers.reduce(0) { $0 + $1.hot.count }, ["node": node])
        guard let imbalance = brokers.compactMap(\.imbalance).first else { return }
        text.family(
            "load_imbalance_ratio",
            .gauge,
            help: "How much the most loaded node is above the mean, told by the control leader."
        )
        text.sample(imbalance, ["node": node])
    }

    static func percent(_ part: Double) -> String { "\(Int((part * 100).rounded())) %" }
}

extension RoomName {
    /// For people: names are the clients' choice, and terminals obey control characters.
    var shown: String {
        var text = ""
        for scalar in description.unicodeScalars {
            text.unicodeScalars.append(scalar.properties.generalCategory == .control ? "\u{fffd}" : scalar)
        }
        return text
    }
}
