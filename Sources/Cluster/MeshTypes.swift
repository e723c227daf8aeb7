import PeerProtocol
import Primitives
import SystemOpenSSL

/// Who this node says it is on the mesh, and what it can prove.
package struct MeshIdentity: Sendable {
    /// Keeps meshes apart; 1 to 64 bytes.
    package var clusterName: String
    /// The node's name in the configuration; 1 to 64 bytes.
    package var name: String
    /// The identity kept in the data directory.
    package var node: NodeID
    /// Larger at every start of the node.
    package var incarnation: UInt64
    /// What all nodes of the cluster know. Never sent.
    package var secret: [UInt8]
    /// Bits of optional abilities, told to the peer.
    package var features: UInt64
    package var protocolVersion: UInt16

    package init(
        clusterName: String,
        name: String,
        node: NodeID,
        incarnation: UInt64,
        secret: [UInt8],
        features: UInt64 = 0,
        protocolVersion: UInt16 = PeerFrame.version
    ) {
        self.clusterName = clusterName
        self.name = name
        self.node = node
        self.incarnation = incarnation
        self.secret = secret
        self.features = features
        self.protocolVersion = protocolVersion
    }
}

/// Another node of the cluster, as the configuration names it.
package struct MeshPeer: Equatable, Sendable {
    package var name: String
    package var host: String
    package var port: Int
    /// Whose name it is now, where that is known: a link with another node of that name ends.
    package var node: NodeID?

    package init(name: String, host: String, port: Int, node: NodeID? = nil) {
        self.name = name
        self.host = host
        self.port = port
        self.node = node
    }
}

/// What a mesh tells its owner, on its loop.
package enum MeshEvent: Sendable {
    /// A link is proven and admitted; messages to the node go out from here on.
    case up(NodeID, name: String)
    /// The link is gone, and perhaps messages of either direction with it: both sides go on from their positions.
    case down(NodeID, name: String, reason: String)
    case message(from: NodeID, PeerMessage)
    /// A handshake ended in a refusal, by this side or by the other. At most a few a second are told. `isStranger`: the
    /// words are those of somebody who connected and has not proven the secret.
    case refused(address: String, reason: String, isStranger: Bool)
}

/// Bounds and times of a mesh.
package struct MeshSettings: Sendable {
    /// The largest frame either way, in bytes; alike on all nodes.
    package var maxFrame = PeerFrame.defaultLimit
    /// Bytes of live messages that may wait for one peer; above it the link is reset.
    package var maxQueue = 64 << 20
    /// Bytes of bulk (`PeerLane.bulk`) that may wait for one peer, at least a frame; what comes above it is dropped,
    /// and asked for again.
    package var maxBulkQueue = 64 << 20
    /// Bulk goes on only while no more than this waits in front of the socket: what a live message may have before it,
    /// with one frame of bulk and `notSentLowWater`.
    package var bulkAhead = 256 << 10
    /// Bytes that the kernel takes before it can send them. Its own bound grows to megabytes, which live messages would
    /// have to wait for as well (TCP_NOTSENT_LOWAT in tcp(7)).
    package var notSentLowWater = 128 << 10
    /// Connections in the midst of a handshake; above it the oldest is dropped.
    package var maxHandshakes = 128
    package var handshakeTimeout = Interval.seconds(3)
    /// The first pause before dialling again; it doubles up to `maxRetry`, and half of it is chance.
    package var minRetry = Interval.milliseconds(50)
    package var maxRetry = Interval.seconds(1)
    /// A link that has brought messages, and then none for so long, is reset and dialled anew: after a cut TCP repeats
    /// ever more rarely, and would find out that the way is free again only minutes later. For users that send
    /// keepalives; nil: never.
    package var maxSilence: Interval?
    /// A peer that was heard so lately keeps its link against a newer process of the same name.
    package var aliveWithin = Interval.seconds(1)
    /// How long the link to a node that was let go stays: the node hears of it over this link, and serves its clients
    /// until they have gone elsewhere. As long as its drain may take.
    package var farewell = Interval.seconds(35)

    /// Certificates: all links speak TLS, and nobody without one of the same authorities gets in. nil: none does.
    package var tls: TLSContext?

    package init() {}
}

/// What went over the links with one peer since this node began (CL-18).
package struct LinkStatistics: Equatable, Sendable {
    package var name: String
    /// The peer's identity while the link is up.
    package var node: NodeID?
    /// Bytes of the TCP streams, handshakes included.
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    package var messagesIn: UInt64 = 0
    package var messagesOut: UInt64 = 0
    /// Bytes that wait in front of the socket: live messages, and the bulk that was let through.
    package var queuedBytes = 0
    /// Bulk that waits behind them, and how much has gone before; `bytesOut` and `messagesOut` count it too.
    package var bulkQueuedBytes = 0
    package var bulkQueuedMessages = 0
    package var bulkBytesOut: UInt64 = 0
    package var bulkMessagesOut: UInt64 = 0
    /// Messages of bulk that were dropped because too many waited.
    package var bulkDropped: UInt64 = 0
    /// Links made, and how many of them were reset because their queue was full.
    package var connects: UInt64 = 0
    package var overflows: UInt64 = 0

    package init(name: String) { self.name = name }
}
