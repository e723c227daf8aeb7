import Admin
import Cluster
import RESPServer

/// Families of metrics about Redis clients and about the links between nodes.
extension NodeReport {
    static func shimFamilies(_ text: inout PrometheusText, node: String, _ resp: RESPMetrics) {
        func counter(_ name: String, _ help: String, _ value: UInt64) {
            text.family(name, .counter, help: help)
            text.sample(value, ["node": node])
        }
        func gauge(_ name: String, _ help: String, _ value: Int) {
            text.family(name, .gauge, help: help)
            text.sample(value, ["node": node])
        }
        gauge("resp_clients", "Open connections of Redis clients.", resp.connections)
        gauge("resp_subscribers", "Of them, those with a subscription.", resp.subscribers)
        gauge("resp_blocked_clients", "Of them, those that wait for a key.", resp.blocked)
        counter("resp_connections_total", "Connections of Redis clients since start.", resp.connectionsTotal)
        counter("resp_connections_rejected_total", "Connections above resp.max_clients.", resp.rejectedConnections)
        counter("resp_patterns_refused_total", "Pattern subscriptions above resp.max_patterns.", resp.patternsRefused)
        text.family("resp_commands_total", .counter, help: "Redis commands, by what the connection uses them for.")
        for use in RESPMetrics.Use.allCases {
            text.sample(resp.commandsByUse[use.rawValue], ["node": node, "use": "\(use)"])
        }
        text.family("resp_commands_per_second", .gauge, help: "Redis commands of the last whole second.")
        text.sample(resp.commandsPerSecond, ["node": node])
        counter("resp_publishes_total", "PUBLISH and SPUBLISH.", resp.publishes)
        counter("resp_deliveries_total", "Messages written to Redis subscribers.", resp.deliveries)
        text.family("resp_clients_cut_total", .counter, help: "Redis clients whose connection was closed, by reason.")
        for (reason, count) in [
            // Whatever was published to a slow subscriber from then on is lost to it, as with Redis.
            ("slow_subscriber", resp.slowSubscribers), ("slow_reader", resp.slowNormal),
            ("query_buffer", resp.queryBufferOverflows), ("protocol_error", resp.protocolErrors),
            ("unknown_outcome", resp.unknownOutcomes), ("drain", resp.cut),
        ] {
            text.sample(count, ["node": node, "reason": reason])
        }
        counter("resp_clients_moved_total", "Idle connections that a drain closed.", resp.moved)
        counter("resp_bytes_in_total", "Bytes read from Redis clients.", resp.bytesIn)
        counter("resp_bytes_out_total", "Bytes written to Redis clients.", resp.bytesOut)
    }

    static func linkFamilies(
        _ text: inout PrometheusText,
        node: String,
        _ links: [LinkStatistics],
        failedHandshakes: UInt64
    ) {
        func rows(_ name: String, _ type: PrometheusText.Kind, _ help: String, _ value: (LinkStatistics) -> UInt64) {
            text.family(name, type, help: help)
            for link in links { text.sample(value(link), ["node": node, "peer": link.name]) }
        }
        text.family(
            "mesh_handshakes_failed_total",
            .counter,
            help:
                "Connections of the mesh that ended before they were links: refused by either side, late, or nonsense."
        )
        text.sample(failedHandshakes, ["node": node])
        rows("mesh_link_up", .gauge, "1 while the link to the peer is up.") { $0.node == nil ? 0 : 1 }
        rows("mesh_link_bytes_in_total", .counter, "Bytes from the peer.") { $0.bytesIn }
        rows("mesh_link_bytes_out_total", .counter, "Bytes to the peer.") { $0.bytesOut }
        rows("mesh_link_messages_in_total", .counter, "Messages from the peer.") { $0.messagesIn }
        rows("mesh_link_messages_out_total", .counter, "Messages to the peer.") { $0.messagesOut }
        rows("mesh_link_queue_bytes", .gauge, "Bytes that wait for the peer.") { UInt64($0.queuedBytes) }
        rows("mesh_link_connects_total", .counter, "Links made with the peer.") { $0.connects }
        rows("mesh_link_overflows_total", .counter, "Links reset because their queue was full.") { $0.overflows }
        func lanes(
            _ name: String,
            _ type: PrometheusText.Kind,
            _ help: String,
            _ live: (LinkStatistics) -> UInt64,
            _ bulk: (LinkStatistics) -> UInt64
        ) {
            text.family(name, type, help: help)
            for link in links {
                text.sample(live(link), ["node": node, "peer": link.name, "lane": "live"])
                text.sample(bulk(link), ["node": node, "peer": link.name, "lane": "bulk"])
            }
        }
        lanes("mesh_lane_queue_bytes", .gauge, "Bytes that wait in the lane; live: in front of the socket.") {
            UInt64($0.queuedBytes)
        } _: {
            UInt64($0.bulkQueuedBytes)
        }
        lanes("mesh_lane_bytes_out_total", .counter, "Bytes to the peer by lane.") {
            $0.bytesOut - $0.bulkBytesOut
        } _: {
            $0.bulkBytesOut
        }
        lanes("mesh_lane_messages_out_total", .counter, "Messages to the peer by lane.") {
            $0.messagesOut - $0.bulkMessagesOut
        } _: {
            $0.bulkMessagesOut
        }
        rows("mesh_bulk_queue_messages", .gauge, "Messages that wait in the bulk lane.") {
            UInt64($0.bulkQueuedMessages)
        }
        rows("mesh_bulk_dropped_total", .counter, "Messages dropped because the bulk lane was full.") {
            $0.bulkDropped
        }
    }
}
