import EventLoops
import Logging
import NIOCore
import NIOPosix
import Primitives
import SWIM
import SystemOpenSSL

/// The sockets and the clock of a `SWIMNode`: sealed datagrams over UDP, sealed frames over TCP on the same port, and
/// the keyring that both are sealed with.
///
/// Datagrams carry probes and news. Streams carry what is larger, and probes whose datagrams got no answer, so that a
/// network that drops UDP costs time but marks nobody down. A connection serves one exchange.
///
/// Except for `init`, `start`, `stop` and `change` everything belongs to the shard's loop, the closures too.
package final class Gossip: @unchecked Sendable {
    /// Writes the keyring's file and tells how that went, on any thread.
    package typealias Keep = @Sendable (_ bytes: [UInt8], _ done: @escaping @Sendable ((any Error)?) -> Void) -> Void

    let settings: GossipSettings
    private let shard: Shard
    private let host: String
    private let port: Int
    private let logger: Logger
    private let keep: Keep
    private let onEvent: (MemberEvent) -> Void

    package private(set) var node: SWIMNode
    private(set) var seal: GossipSeal
    private var counted = GossipStatistics()

    private var socket: DatagramSocket?
    /// A socket is being opened, or must stay closed.
    private var isOpening = true
    private var nextOpen = Instant.zero
    /// Where the socket is bound, resolved once.
    private var bound: SocketAddress?
    /// Datagrams that sockets before this one did not send.
    private var unsentBefore: UInt64 = 0
    private var listener: Listener?
    private var isStopped = false
    /// Oldest first.
    private var accepted: [GossipStream] = []
    private var dialled: [GossipStream] = []
    /// Connections that are being made.
    private var dialling = 0
    /// Whose streams could not be made: told at the next tick, so that a node that tries again at once does not spin.
    private var failures: [GossipAddress] = []
    private var lastStream: UInt64 = 0
    private var isDraining = false

    private var seeds: [GossipSeed] = []
    /// What the node was last told to join by.
    private var handedOver: [GossipAddress] = []
    private var isResolving = false
    private var nextJoin = Instant.zero
    private var joinPause: Interval

    private var isChangingKeys = false
    private var refusalLines = 0
    private var refusalRefill = Instant.zero

    /// - Parameters:
    ///   - host, port: where to listen; the port is the one of the node's own address.
    ///   - label: the cluster's name: packets of another cluster are counted and never decrypted.
    ///   - keep: called with each new keyring before it is used.
    ///   - onEvent: told what becomes of members, in order. It may call anything but `stop`.
    package init(
        shard: Shard,
        node: SWIMNode,
        host: String,
        port: Int,
        label: String,
        keyring: GossipKeyring,
        settings: GossipSettings = GossipSettings(),
        logger: Logger,
        keep: @escaping Keep,
        onEvent: @escaping (MemberEvent) -> Void
    ) throws(OpenSSLError) {
        self.shard = shard
        self.node = node
        self.host = host
        self.port = port
        self.settings = settings
        self.logger = logger
        self.keep = keep
        self.onEvent = onEvent
        seal = try GossipSeal(keyring: keyring, label: label)
        joinPause = settings.minJoinPause
    }

    // MARK: Life

    /// Listens, and gives the node its clock. Throws when one of both sockets cannot be bound. Also starts the shard's
    /// ticker if nothing else did. Not from the loop.
    package func start() async throws {
        var listening = ListenerSettings(host: host, port: port)
        listening.mode = .single
        listening.backlog = 128
        listening.stream = streamSettings
        let listener = try await Listener.open(listening, on: [shard]) { _, stream in self.accept(stream) }
        do {
            // Once: a name server that does not answer would hold the loop.
            let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
            let socket = try await openSocket(address).get()
            try await shard.loop.submit {
                self.listener = listener
                self.bound = address
                self.socket = socket
                self.isOpening = false
                self.shard.startTicking()
                self.shard.atEveryTick { now, _ in self.tick(now) }
            }.get()
        } catch {
            await listener.close()
            throw error
        }
    }

    private func openSocket(_ address: SocketAddress) -> EventLoopFuture<DatagramSocket> {
        DatagramSocket.open(
            address: address,
            on: shard,
            maxBytes: settings.maxDatagram + 1
        ) { bytes, address in
            self.receive(bytes, from: address)
        } closed: { reason in
            self.unsentBefore += self.socket?.unsent ?? 0
            self.socket = nil
            guard !self.isStopped else { return }
            self.nextOpen = MonotonicClock.now() + .seconds(1)
            self.logger.error("the gossip's UDP socket is closed: TCP only", metadata: ["reason": "\(reason)"])
        }
    }

    /// After an error that the socket did not survive.
    private func reopenSocket() {
        guard let bound else { return }
        isOpening = true
        openSocket(bound).whenComplete { result in
            self.isOpening = false
            self.nextOpen = MonotonicClock.now() + .seconds(1)
            guard case .success(let socket) = result else { return }
            guard !self.isStopped else { return socket.close() }
            self.socket = socket
            self.logger.notice("the gossip's UDP socket is open again")
        }
    }

    /// Closes every socket. No event is told after it returns. Members are not told: see `leave`.
    package func stop() async {
        let listener = try? await shard.loop.submit { () -> Listener? in
            self.isStopped = true
            for stream in self.accepted + self.dialled { stream.drop() }
            self.socket?.close()
            return self.listener
        }.get()
        await listener?.close()
    }

    /// Asks for the cluster at these seeds until another member is known, and again when none is left. Each is an
    /// address or a name, which is looked up at each try. An own address among them is left out, so that all nodes may
    /// have the same list.
    package func join(seeds texts: [String]) throws(GossipError) {
        var seeds: [GossipSeed] = []
        for text in texts { seeds.append(try GossipSeed(text, defaultPort: settings.defaultPort)) }
        self.seeds = seeds
        nextJoin = .zero
        joinPause = settings.minJoinPause
    }

    /// Tells the others that this node goes: wait for `node.isLeft` before `stop`.
    package func leave() {
        seeds = []
        node.leave(now: MonotonicClock.now())
        drain()
    }

    /// What the others are told about this node from now on.
    package func update(_ metadata: MemberMetadata) {
        node.update(metadata, now: MonotonicClock.now())
        drain()
    }

    package var members: [Member] { node.members }

    package var statistics: GossipStatistics {
        var statistics = counted
        statistics.datagramsUnsent += unsentBefore + (socket?.unsent ?? 0)
        return statistics
    }

    /// Closes the UDP socket, as a firewall might, for good or until it is noticed: for tests of what TCP is there for.
    package func closeDatagramSocket(forGood: Bool = true) {
        if forGood { isOpening = true }
        socket?.close()
    }

    // MARK: Time

    private func tick(_ now: Instant) {
        guard !isStopped else { return }
        if now - refusalRefill >= .seconds(1) {
            refusalRefill = now
            refusalLines = settings.refusalLinesPerSecond
        }
        while let oldest = accepted.first(where: { $0.deadline <= now }) {
            counted.streamsDropped += 1
            oldest.drop()
        }
        while let oldest = dialled.first(where: { $0.deadline <= now }) { oldest.drop() }
        if socket == nil, !isOpening, nextOpen <= now { reopenSocket() }
        let failed = failures
        failures = []
        for address in failed { node.streamFailed(to: address, now: now) }
        if node.nextDeadline <= now { node.tick(now: now) }
        drain()
        if !seeds.isEmpty, !isResolving, nextJoin <= now { resolveSeeds() }
    }

    // MARK: Seeds

    private func resolveSeeds() {
        isResolving = true
        let seeds = seeds
        NIOThreadPool.singleton.runIfActive(eventLoop: shard.loop) { seeds.flatMap { $0.resolve() } }
            .whenComplete { result in
                self.isResolving = false
                guard !self.isStopped else { return }
                self.joinResolved((try? result.get()) ?? [])
            }
    }

    private func joinResolved(_ addresses: [SocketAddress]) {
        let now = MonotonicClock.now()
        let own = node.me.address
        let living = node.members.filter { $0.state.isLive && $0.address != own }.map(\.address)
        var strangers: [GossipAddress] = []
        for address in addresses.compactMap({ GossipAddress($0) }) {
            guard address != own, !living.contains(address), !strangers.contains(address) else { continue }
            strangers.append(address)
        }
        // The node tries those that it has by itself, with pauses that begin anew when it is told again.
        if strangers != handedOver {
            handedOver = strangers
            node.join(strangers, now: now)
            drain()
        }
        if living.isEmpty {
            nextJoin = now + joinPause
            joinPause = min(joinPause * 2, settings.maxJoinPause)
        } else {
            joinPause = settings.minJoinPause
            nextJoin = now + settings.reseedInterval
        }
    }

    // MARK: What the node wants

    private func drain() {
        guard !isDraining else { return }
        isDraining = true
        defer { isDraining = false }
        while !node.directives.isEmpty {
            let directives = node.directives
            node.directives.removeAll(keepingCapacity: true)
            for directive in directives {
                switch directive {
                case .send(let message, let address, .datagram): sendDatagram(message, to: address)
                case .send(let message, let address, .stream): sendStream(message, to: address)
                case .reply(let message, let stream): answer(message, on: stream)
                case .event(let event): if !isStopped { onEvent(event) }
                }
            }
        }
    }

    private func sealed(_ message: [UInt8], for transport: GossipTransport) -> [UInt8]? {
        do throws(AES256GCMError) {
            return try seal.seal(message, for: transport)
        } catch {
            // Memory or policy refuse the cipher: nothing that gossip could do without.
            logger.error("a gossip message cannot be sealed", metadata: ["reason": "\(error)"])
            return nil
        }
    }

    private func sendDatagram(_ message: [UInt8], to address: GossipAddress) {
        guard !isStopped, let packet = sealed(message, for: .datagram) else { return }
        guard let socket, socket.isOpen, packet.count <= settings.maxDatagram,
            let destination = SocketAddress(address, forIPv6: socket.isIPv6)
        else {
            counted.datagramsUnsent += 1
            return
        }
        counted.datagramsOut += 1
        counted.datagramBytesOut += UInt64(packet.count)
        socket.send(packet, to: destination)
    }

    private func sendStream(_ message: [UInt8], to address: GossipAddress) {
        guard !isStopped, message.count <= settings.maxFrame, let packet = sealed(message, for: .stream) else {
            return fail(address)
        }
        guard dialling + dialled.count < settings.maxStreams else { return fail(address) }
        dialling += 1
        counted.streamsDialled += 1
        let deadline = MonotonicClock.now() + settings.streamTimeout
        Dialer.connect(
            from: shard,
            host: address.host,
            port: Int(address.port),
            settings: streamSettings,
            timeout: .nanoseconds(Int64(clamping: settings.streamTimeout.nanoseconds))
        ) { stream in
            self.dialling -= 1
            guard !self.isStopped else { return nil }
            let exchange = self.exchange(stream, with: address, isDialled: true, deadline: deadline)
            self.dialled.append(exchange)
            stream.handler = exchange
            exchange.send(packet)
            return exchange
        } failed: { _ in
            self.dialling -= 1
            self.fail(address)
        }
    }

    /// The stream is gone when its dialler was: then nobody waits for the answer.
    private func answer(_ message: [UInt8], on id: UInt64) {
        guard let stream = accepted.first(where: { $0.id == id }), message.count <= settings.maxFrame,
            let packet = sealed(message, for: .stream)
        else { return }
        stream.send(packet)
    }

    private func exchange(
        _ stream: ByteStream,
        with address: GossipAddress,
        isDialled: Bool,
        deadline: Instant
    ) -> GossipStream {
        lastStream += 1
        return GossipStream(
            self,
            id: lastStream,
            stream,
            address: address,
            isDialled: isDialled,
            deadline: deadline
        )
    }

    private func fail(_ address: GossipAddress) {
        counted.streamsFailed += 1
        failures.append(address)
    }

    // MARK: What arrives

    private func receive(_ bytes: UnsafeRawBufferPointer, from socketAddress: SocketAddress) {
        guard !isStopped else { return }
        counted.datagramsIn += 1
        counted.datagramBytesIn += UInt64(bytes.count)
        guard let address = GossipAddress(socketAddress) else {
            counted[.address] += 1
            return
        }
        do throws(GossipRefusal) {
            guard bytes.count <= settings.maxDatagram else { throw .malformed }
            take(try seal.open(bytes, from: .datagram), from: address, over: .datagram)
        } catch {
            refused(error, address: address, over: "datagram")
        }
    }

    private func take(
        _ message: [UInt8],
        from address: GossipAddress,
        over transport: GossipTransport,
        replyTo: UInt64? = nil
    ) {
        let now = MonotonicClock.now()
        message.withUnsafeBytes { node.receive($0, from: address, over: transport, replyTo: replyTo, now: now) }
        drain()
    }

    func deliver(_ message: [UInt8], from stream: GossipStream) {
        take(message, from: stream.address, over: .stream, replyTo: stream.isDialled ? nil : stream.id)
    }

    private func accept(_ stream: ByteStream) -> (any ByteStreamHandler)? {
        guard !isStopped, let remote = stream.remoteAddress, let address = GossipAddress(remote) else { return nil }
        counted.streamsAccepted += 1
        if accepted.count >= settings.maxStreams {
            counted.streamsDropped += 1
            accepted[0].drop()
        }
        let deadline = MonotonicClock.now() + settings.streamTimeout
        let exchange = exchange(stream, with: address, isDialled: false, deadline: deadline)
        accepted.append(exchange)
        return exchange
    }

    func ended(_ stream: GossipStream, isAnswered: Bool) {
        accepted.removeAll { $0 === stream }
        dialled.removeAll { $0 === stream }
        if stream.isDialled, !isAnswered { fail(stream.address) }
    }

    func countFrameIn(bytes: Int) {
        counted.framesIn += 1
        counted.streamBytesIn += UInt64(bytes)
    }

    func countFrameOut(bytes: Int) {
        counted.framesOut += 1
        counted.streamBytesOut += UInt64(bytes)
    }

    func refused(_ reason: GossipRefusal, address: GossipAddress, over transport: String) {
        counted[reason] += 1
        guard refusalLines > 0 else { return }
        refusalLines -= 1
        logger.warning(
            "gossip refused",
            metadata: ["address": "\(address)", "reason": "\(reason.rawValue)", "over": "\(transport)"]
        )
    }

    private var streamSettings: StreamSettings {
        var stream = StreamSettings()
        stream.maxTail = GossipStream.prefixBytes + settings.maxFrame + GossipSeal.overhead
        stream.highWater = 2 * stream.maxTail
        stream.lowWater = stream.maxTail
        return stream
    }

    // MARK: Keys

    /// The keys that this node has, the one that encrypts first. Not from the loop.
    package func keyring() async -> GossipKeyring {
        // Fails only when the loop is gone, and nothing changes the keyring any more.
        (try? await shard.loop.submit { self.seal.keyring }.get()) ?? seal.keyring
    }

    /// Changes the keyring: first its file, then what packets are sealed and opened with. Returns the keyring as it is
    /// then. Not from the loop.
    package func change(_ change: KeyringChange) async throws(GossipError) -> GossipKeyring {
        let loop = shard.loop
        let changed = loop.flatSubmit {
            let promise = loop.makePromise(of: Result<GossipKeyring, GossipError>.self)
            self.begin(change) { promise.succeed($0) }
            return promise.futureResult
        }
        let result: Result<GossipKeyring, GossipError>
        do {
            result = try await changed.get()
        } catch {
            throw .stopped
        }
        return try result.get()
    }

    private func begin(
        _ change: KeyringChange,
        _ done: @escaping @Sendable (Result<GossipKeyring, GossipError>) -> Void
    ) {
        guard !isStopped else { return done(.failure(.stopped)) }
        guard !isChangingKeys else { return done(.failure(.busy)) }
        var next = seal.keyring
        do throws(KeyringError) {
            guard try next.apply(change) else { return done(.success(next)) }
        } catch {
            return done(.failure(.keyring(error)))
        }
        isChangingKeys = true
        let changed = next
        keep(changed.encoded()) { error in
            self.shard.loop.execute {
                self.isChangingKeys = false
                if let error { return done(.failure(.notKept("\(error)"))) }
                self.seal.keyring = changed
                self.logger.notice(
                    "gossip keyring changed",
                    metadata: ["primary": "\(changed.primary.fingerprint)", "keys": "\(changed.keys.count)"]
                )
                done(.success(changed))
            }
        }
    }
}
