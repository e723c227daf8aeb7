import EventLoops
import Logging
import NIOCore
import PeerProtocol
import Primitives
import SystemOpenSSL

/// The links to the other nodes of the cluster: one TCP connection per pair, all on one event loop.
///
/// Of a pair, the node with the smaller name (by bytes) dials, again and again; the other accepts. A link counts from
/// the moment that both sides have proven the cluster's secret and admitted each other. It delivers in order or is
/// reset; after a reset both sides begin again from their positions, so nothing is kept for a peer that is away.
///
/// Except for `init`, `start` and `stop` everything belongs to the shard's loop, the closures too.
package final class Mesh: @unchecked Sendable {
    /// What is known of one peer. Rows are kept when a peer leaves: links refer to them by their place.
    private struct PeerState {
        var peer: MeshPeer
        var isGone = false
        /// When the link to a node that is gone ends.
        var endsAt = Instant.zero
        var link: MeshLink?
        var isDialling = false
        var nextDial = Instant.zero
        var failures: UInt64 = 0
        var statistics: LinkStatistics
    }

    let identity: MeshIdentity
    let settings: MeshSettings
    private let shard: Shard
    private let host: String
    private let port: Int
    private let logger: Logger
    private let admit: (_ name: String, _ node: NodeID) -> String?
    private let onEvent: (MeshEvent) -> Void

    private var peers: [PeerState]
    /// Connections in the midst of a handshake, oldest first.
    private var handshakes: [MeshLink] = []
    private var unflushed: [MeshLink] = []
    private var listener: Listener?
    private var isStopped = false
    /// Of the last tick: near enough to now for what is measured in seconds.
    private(set) var now = Instant.zero
    /// Silence counts from here on: while this loop stood still, it heard nobody.
    private var listeningSince = Instant.zero
    private var random: Xoshiro256
    private var refusalBudget = Mesh.refusalsPerSecond
    private var refusalRefill = Instant.zero

    private static let refusalsPerSecond = 10

    /// Handshakes that ended in a refusal, a time-out or nonsense.
    package private(set) var failedHandshakes: UInt64 = 0
    /// Messages to peers without a link: dropped, as their senders expect.
    package private(set) var unsent: UInt64 = 0

    /// - Parameters:
    ///   - host, port: where to listen; port 0 takes any, see `start`.
    ///   - peers: the other nodes; an entry with this node's own name is left out.
    ///   - admit: asked when a peer has proven the secret; a reason refuses it. May be asked more than once per link.
    ///   - onEvent: told everything, in order. It may call `send`, not `stop`.
    package init(
        shard: Shard,
        identity: MeshIdentity,
        host: String,
        port: Int,
        peers: [MeshPeer],
        settings: MeshSettings = MeshSettings(),
        logger: Logger,
        admit: @escaping (_ name: String, _ node: NodeID) -> String? = { _, _ in nil },
        onEvent: @escaping (MeshEvent) -> Void
    ) {
        self.shard = shard
        self.identity = identity
        self.host = host
        self.port = port
        self.settings = settings
        self.logger = logger
        self.admit = admit
        self.onEvent = onEvent
        self.peers = peers.filter { $0.name != identity.name }
            .map { PeerState(peer: $0, statistics: LinkStatistics(name: $0.name)) }
        var system = SystemRandomNumberGenerator()
        random = Xoshiro256(seed: system.next())
    }

    // MARK: Life

    /// Listens, begins to dial, and returns the bound port. Throws when the address cannot be bound. Also starts the
    /// shard's ticker if nothing else did. Not from the loop.
    package func start() async throws -> Int {
        var settings = ListenerSettings(host: host, port: port)
        settings.mode = .single
        settings.backlog = 256
        settings.stream = streamSettings
        let listener = try await Listener.open(settings, on: [shard]) { _, stream in
            self.accepted(stream)
        }
        try await shard.loop.submit {
            self.listener = listener
            self.shard.startTicking()
            self.shard.atEndOfTick(.flush) { self.flush() }
            self.shard.atEveryTick { now, _ in self.tick(now) }
        }.get()
        return listener.port
    }

    /// Ends every link, listens and dials no more. Peers see the end at once. No event is told after it returns.
    package func stop() async {
        let listener = try? await shard.loop.submit { () -> Listener? in
            self.isStopped = true
            for link in self.handshakes { link.reset("this node stops") }
            for index in self.peers.indices { self.peers[index].link?.reset("this node stops") }
            return self.listener
        }.get()
        await listener?.close()
    }

    private var streamSettings: StreamSettings {
        var stream = StreamSettings()
        // Before the proof a peer may make us keep one handshake frame; `MeshLink` raises it afterwards.
        stream.maxTail = HandshakeFrame.prefixBytes + HandshakeFrame.limit
        stream.notSentLowWater = settings.notSentLowWater
        stream.highWater = settings.bulkAhead
        stream.lowWater = settings.bulkAhead / 2
        return stream
    }

    private func tick(_ now: Instant) {
        guard !isStopped else { return }
        if now - self.now > .seconds(1) { listeningSince = now }
        self.now = now
        if let bound = settings.maxSilence { resetSilent(bound) }
        if now - refusalRefill >= .seconds(1) {
            refusalRefill = now
            refusalBudget = Mesh.refusalsPerSecond
        }
        while let oldest = handshakes.first(where: { $0.deadline <= now }) {
            oldest.reset("no handshake within \(settings.handshakeTimeout.milliseconds) ms")
        }
        for index in peers.indices where peers[index].isGone && peers[index].endsAt <= now {
            peers[index].link?.reset("the node does not belong to the cluster any more")
        }
        for index in peers.indices where isDialler(to: peers[index].peer.name) && !peers[index].isGone {
            if peers[index].link == nil && !peers[index].isDialling && peers[index].nextDial <= now { dial(index) }
        }
    }

    /// The other nodes as they are from now on. New ones are dialled or waited for, links to those that are missing
    /// end after `settings.farewell`. On the shard's loop.
    package func setPeers(_ list: [MeshPeer]) {
        let list = list.filter { $0.name != identity.name }
        for index in peers.indices where !list.contains(where: { $0.name == peers[index].peer.name }) {
            if peers[index].isGone { continue }
            peers[index].isGone = true
            peers[index].endsAt = MonotonicClock.now() + settings.farewell
        }
        for peer in list {
            if let index = peers.firstIndex(where: { $0.peer.name == peer.name }) {
                if peers[index].peer != peer { peers[index].failures = 0 }
                peers[index].peer = peer
                peers[index].isGone = false
                if let node = peer.node, let link = peers[index].link, link.node != node {
                    link.reset("the name \(peer.name) belongs to \(node) now")
                }
            } else {
                peers.append(PeerState(peer: peer, statistics: LinkStatistics(name: peer.name)))
            }
        }
    }

    private func resetSilent(_ bound: Interval) {
        for index in peers.indices {
            guard let link = peers[index].link, let heard = link.lastMessage else { continue }
            if now - max(heard, listeningSince) > bound { link.reset("nothing was heard for \(bound.milliseconds) ms") }
        }
    }

    // MARK: Sending

    /// Queues a message; it leaves with all others of this tick. Without a link it is dropped and counted. False when
    /// the message is larger than a frame may be: it would never arrive.
    @discardableResult
    package func send(to node: NodeID, _ message: PeerMessage) -> Bool {
        // By index: an iterator would hold the array and make every count of a byte copy it.
        for index in peers.indices {
            if let link = peers[index].link, link.node == node { return link.send(message) }
        }
        unsent += 1
        return true
    }

    package func isUp(_ node: NodeID) -> Bool { peers.contains { $0.link?.node == node } }

    /// One row per peer, in the order in which they came to be known.
    package var linkStatistics: [LinkStatistics] {
        peers.filter { !$0.isGone }.map { state in
            var row = state.statistics
            row.node = state.link?.node
            row.queuedBytes = state.link?.queuedBytes ?? 0
            row.bulkQueuedBytes = state.link?.bulk.bytes ?? 0
            row.bulkQueuedMessages = state.link?.bulk.count ?? 0
            return row
        }
    }

    func listForFlush(_ link: MeshLink) {
        unflushed.append(link)
        shard.setNeeds(.flush)
    }

    private func flush() {
        // A failed write may end a link, and its owner's answer may list another one meanwhile.
        var index = 0
        while index < unflushed.count {
            unflushed[index].flush()
            index += 1
        }
        unflushed.removeAll(keepingCapacity: true)
    }

    /// Lets a link's bulk go on in a turn of the loop of its own, after the sockets were read.
    func feedSoon(_ link: MeshLink) {
        let bound = NIOLoopBound(link, eventLoop: shard.loop)
        shard.loop.assumeIsolated().scheduleTask(in: .microseconds(50)) { bound.value.feedBulk() }
    }

    func deliver(_ message: PeerMessage, from link: MeshLink) { onEvent(.message(from: link.node, message)) }

    func count(_ link: MeshLink, _ change: (inout LinkStatistics) -> Void) {
        // An acceptor's peer is anyone before it is proven: those few bytes are nobody's traffic.
        guard let index = link.expected else { return }
        change(&peers[index].statistics)
    }

    // MARK: Connections

    private func isDialler(to name: String) -> Bool {
        identity.name.utf8.lexicographicallyPrecedes(name.utf8)
    }

    func peerIndex(named name: String) -> Int? { peers.firstIndex { $0.peer.name == name && !$0.isGone } }

    private func dial(_ index: Int) {
        let peer = peers[index].peer
        peers[index].isDialling = true
        Dialer.connect(
            from: shard,
            host: peer.host,
            port: peer.port,
            settings: streamSettings,
            timeout: .nanoseconds(Int64(clamping: settings.handshakeTimeout.nanoseconds))
        ) { stream in
            guard !self.isStopped else { return nil }
            let link = self.opened(
                stream,
                .dialler,
                expected: index,
                address: "\(peer.name) (\(peer.host):\(peer.port))"
            )
            stream.handler = link
            link.begin()
            return link
        } failed: { why in
            self.logger.debug("dial failed", metadata: ["peer": "\(peer.name)", "reason": "\(why)"])
            self.dialEnded(index)
        }
    }

    private func accepted(_ stream: ByteStream) -> (any ByteStreamHandler)? {
        guard !isStopped else { return nil }
        let address = stream.remoteAddress.map { "\($0.ipAddress ?? "?"):\($0.port ?? 0)" } ?? "unknown address"
        let link = opened(stream, .acceptor, expected: nil, address: address)
        link.begin()
        return link
    }

    private func opened(_ stream: ByteStream, _ role: LinkRole, expected: Int?, address: String) -> MeshLink {
        // A flood of silent connections pushes out its own kind: an honest handshake takes a few round trips.
        if handshakes.count >= settings.maxHandshakes, let oldest = handshakes.first(where: { $0.role == .acceptor }) {
            oldest.reset("too many handshakes at once")
        }
        let link = MeshLink(
            mesh: self,
            stream: stream,
            role: role,
            expected: expected,
            address: address,
            deadline: MonotonicClock.now() + settings.handshakeTimeout
        )
        handshakes.append(link)
        return link
    }

    /// The next dial after a pause that grows with failures, half of it random, so that nodes that lost each other
    /// together do not meet in lockstep.
    private func dialEnded(_ index: Int) {
        peers[index].isDialling = false
        let doubled = settings.minRetry.nanoseconds << min(peers[index].failures, 10)
        let pause = max(1, min(settings.maxRetry.nanoseconds, doubled))
        peers[index].failures += 1
        let part = pause / 2 + random.below(pause / 2 + 1)
        peers[index].nextDial = MonotonicClock.now() + Interval(nanoseconds: part)
    }

    // MARK: Verdicts

    func makeHello() -> Hello? {
        guard let nonce = try? SecureRandom.bytes(count: Hello.nonceBytes) else { return nil }
        return Hello(
            protocolVersion: identity.protocolVersion,
            cluster: identity.clusterName,
            name: identity.name,
            node: identity.node,
            incarnation: identity.incarnation,
            features: identity.features,
            nonce: nonce
        )
    }

    /// Why a hello is refused, before anything is proven; nil when it is not.
    func objection(to hello: Hello, on link: MeshLink) -> String? {
        if hello.protocolVersion != identity.protocolVersion {
            return "protocol version \(hello.protocolVersion), this node speaks \(identity.protocolVersion)"
        }
        if hello.cluster != identity.clusterName {
            return "cluster '\(hello.cluster)', this node belongs to '\(identity.clusterName)'"
        }
        if hello.name == identity.name { return "the name '\(hello.name)' is this node's own" }
        guard let index = peerIndex(named: hello.name) else { return "no node '\(hello.name)' is known here" }
        if let expected = link.expected, expected != index {
            return "expected '\(peers[expected].peer.name)' at this address, found '\(hello.name)'"
        }
        if hello.node == identity.node {
            return "identity \(hello.node) is this node's own: a data directory was copied"
        }
        if link.role == .acceptor && isDialler(to: hello.name) {
            return "of '\(hello.name)' and '\(identity.name)' the smaller name dials"
        }
        return nil
    }

    /// Why a peer that has proven the secret is refused; nil when its link may take the place of an older one.
    func objectionToProven(_ link: MeshLink) -> String? {
        guard let hello = link.peer else { return "no hello" }
        for state in peers {
            guard let other = state.link else { continue }
            if other.node == hello.node && other.name != hello.name {
                return "duplicate identity: \(hello.node) is connected as '\(other.name)'"
            }
            guard other.name == hello.name else { continue }
            if other.incarnation > hello.incarnation {
                return "duplicate: a newer incarnation of '\(hello.name)' is connected"
            }
            // A process that ends takes its link with it. One that is heard has not: the newer one runs on a copy of
            // its data directory, and would vote with an older log than it has.
            if other.incarnation < hello.incarnation, let heard = other.lastMessage,
                now - heard < settings.aliveWithin
            {
                return "duplicate: '\(hello.name)' is connected and was heard just now; was a data directory copied?"
            }
            if other.incarnation == hello.incarnation && other.node != hello.node {
                return "duplicate: '\(hello.name)' is connected with identity \(other.node)"
            }
        }
        return admit(hello.name, hello.node)
    }

    // MARK: Turns of a link's life

    func linkEstablished(_ link: MeshLink) {
        guard let index = link.expected else { return }
        handshakes.removeAll { $0 === link }
        peers[index].link?.reset("replaced by a newer link")
        peers[index].link = link
        peers[index].isDialling = false
        peers[index].statistics.connects += 1
        logger.info(
            "link up",
            metadata: ["peer": "\(link.name)", "node": "\(link.node)", "tls": "\(link.tlsVersion ?? "none")"]
        )
        onEvent(.up(link.node, name: link.name))
    }

    func linkEnded(_ link: MeshLink, _ reason: String) {
        guard let index = link.expected, peers[index].link === link else { return }
        peers[index].link = nil
        // A link that ends at once counts as a failure: two nodes that replace each other must not spin.
        if MonotonicClock.now() - link.since > settings.maxRetry { peers[index].failures = 0 }
        if link.role == .dialler { dialEnded(index) }
        logger.info("link down", metadata: ["peer": "\(link.name)", "reason": "\(reason)"])
        onEvent(.down(link.node, name: link.name, reason: reason))
    }

    func handshakeEnded(_ link: MeshLink) {
        handshakes.removeAll { $0 === link }
        if link.role == .dialler, let index = link.expected { dialEnded(index) }
        guard !isStopped else { return }
        failedHandshakes += 1
        let reason = link.reason ?? "no reason"
        guard link.isRefusal, refusalBudget > 0 else {
            logger.debug("handshake failed", metadata: ["address": "\(link.address)", "reason": "\(reason)"])
            return
        }
        refusalBudget -= 1
        logger.warning("handshake refused", metadata: ["address": "\(link.address)", "reason": "\(reason)"])
        onEvent(.refused(address: link.address, reason: reason, isStranger: link.isStranger))
    }
}
