import Admin
import Cluster
import SWIM

/// Families of metrics about the gossip.
extension NodeReport {
    /// What the gossip says of itself, copied on its loop.
    struct GossipFigures: Sendable {
        var statistics: GossipStatistics
        var counters: SWIMCounters
        var healthScore: Int
        var members: [Member]

        init(_ gossip: Gossip) {
            statistics = gossip.statistics
            counters = gossip.node.counters
            healthScore = gossip.node.healthScore
            members = gossip.members
        }
    }

    static func gossipFamilies(_ text: inout PrometheusText, node: String, _ gossip: GossipFigures) {
        let (sockets, swim) = (gossip.statistics, gossip.counters)
        func counters(_ name: String, _ help: String, _ label: String, _ rows: [(String, UInt64)]) {
            text.family(name, .counter, help: help)
            for (value, count) in rows {
                switch label {
                case "over": text.sample(count, ["node": node, "over": value])
                case "reason": text.sample(count, ["node": node, "reason": value])
                default: text.sample(count, ["node": node, "kind": value])
                }
            }
        }
        text.family("gossip_members", .gauge, help: "Members that this node lists, by what it believes of them.")
        for state in [MemberState.alive, .suspect, .down, .left] {
            text.sample(gossip.members.count { $0.state == state }, ["node": node, "state": "\(state)"])
        }
        text.family(
            "gossip_health_score",
            .gauge,
            help: "0: this node trusts itself; up to 7: it judges others slowly."
        )
        text.sample(gossip.healthScore, ["node": node])
        counters(
            "gossip_bytes_in_total",
            "Payload bytes of UDP and TCP that arrived.",
            "over",
            [("datagram", sockets.datagramBytesIn), ("stream", sockets.streamBytesIn)]
        )
        counters(
            "gossip_bytes_out_total",
            "Payload bytes of UDP and TCP that were sent.",
            "over",
            [("datagram", sockets.datagramBytesOut), ("stream", sockets.streamBytesOut)]
        )
        counters(
            "gossip_messages_in_total",
            "Datagrams and frames of streams that arrived.",
            "over",
            [("datagram", sockets.datagramsIn), ("stream", sockets.framesIn)]
        )
        counters(
            "gossip_messages_out_total",
            "Datagrams and frames of streams that were sent.",
            "over",
            [("datagram", sockets.datagramsOut), ("stream", sockets.framesOut)]
        )
        counters(
            "gossip_refused_total",
            "Packets and frames that were thrown away unread, by reason; see docs/gossip.md.",
            "reason",
            GossipRefusal.allCases.map { ($0.rawValue, sockets[$0]) }
        )
        counters(
            "gossip_lost_total",
            "What could not be sent, or not be finished.",
            "reason",
            [
                ("datagram_unsent", sockets.datagramsUnsent), ("stream_failed", sockets.streamsFailed),
                ("stream_dropped", sockets.streamsDropped), ("undecodable", swim.decodeErrors),
                ("version", swim.unknownVersions), ("bounds", swim.droppedForBounds),
            ]
        )
        counters(
            "gossip_probes_total",
            "Probes of other members, and what became of them.",
            "kind",
            [
                ("sent", swim.probes), ("failed", swim.failedProbes), ("indirect", swim.indirectProbes),
                ("stream", swim.streamProbes), ("stream_answered", swim.streamAcks),
            ]
        )
        counters(
            "gossip_events_total",
            "What this node noticed.",
            "kind",
            [
                ("suspected", swim.suspicions), ("down", swim.downs), ("refuted", swim.refutations),
                ("paused", swim.pauses), ("conflict", swim.conflicts), ("push_pull", swim.pushPulls),
            ]
        )
    }
}
