import EventLoops
import NIOCore
import PeerProtocol
import Primitives
import SystemOpenSSL

/// One connection of the mesh, from its first byte to its end. Its mesh decides what it may become.
///
/// Confined to the mesh's loop.
final class MeshLink: ByteStreamHandler {
    enum State: Equatable {
        case awaitingHello
        case awaitingProof
        case awaitingReady
        /// Registered with the mesh; messages flow.
        case established
        case ended
    }

    let role: LinkRole
    let stream: ByteStream
    /// The dialled peer's name, or the address that the connection came from: for reasons and logs.
    let address: String
    /// The peer's place in the mesh's table; an acceptor's is nil before `established`.
    private(set) var expected: Int?
    private(set) var state = State.awaitingHello
    /// The peer's hello, checked but not proven before `established`.
    private(set) var peer: Hello?
    /// The peer's proven identity, and since when; of no meaning before `established`.
    private(set) var node = NodeID(0)
    private(set) var since = Instant.zero
    /// When the last message came, by the mesh's tick; nil before the first one.
    private(set) var lastMessage: Instant?
    /// When the handshake must be done.
    let deadline: Instant
    /// Why this side ends the link; the peer's reason, or the socket's, when it is nil.
    private(set) var reason: String?
    /// The reason was a refusal, of either side.
    private(set) var isRefusal = false
    /// The refusal came from a dialler that had not proven the secret.
    private(set) var isStranger = false

    private let mesh: Mesh
    /// Where the mesh has certificates; everything goes through it.
    private var tls: TLSSession?
    /// What TLS has brought and nobody has taken, and how much of it is of use.
    private var plain: [UInt8] = []
    private var plainNeeded = 1
    private var ownHello: [UInt8] = []
    private var peerHello: [UInt8] = []
    private var output = ByteWriter()
    private var isListed = false
    /// Bytes in the stream's queue when it was last looked at, and everything written since: never too low.
    private var queueBound = 0
    /// What waits until the stream is nearly empty.
    private(set) var bulk = BulkLane()
    private var isFeeding = false
    private var isFirstRead = true

    init(mesh: Mesh, stream: ByteStream, role: LinkRole, expected: Int?, address: String, deadline: Instant) {
        self.mesh = mesh
        self.stream = stream
        self.role = role
        self.expected = expected
        self.address = address
        self.deadline = deadline
    }

    var name: String { peer?.name ?? address }
    var incarnation: UInt64 { peer?.incarnation ?? 0 }

    // MARK: Handshake

    /// The dialler speaks first.
    func begin() {
        if let context = mesh.settings.tls {
            do throws(OpenSSLError) {
                let session =
                    role == .dialler
                    ? try TLSSession(connecting: context) : try TLSSession(accepting: context)
                tls = session
                if role == .dialler { withTLS(session) { session throws(OpenSSLError) in try session.start() } }
            } catch {
                return reset("TLS: \(error)")
            }
        }
        if role == .dialler { sendHello() }
    }

    private func sendHello() {
        guard let hello = mesh.makeHello() else { return refuse("no randomness for a nonce") }
        ownHello = HandshakeFrame.hello(hello).encoded()
        sendNow(ownHello)
    }

    private func sendNow(_ bytes: [UInt8]) {
        write(bytes)
        stream.flush()
    }

    /// Hands bytes to the stream.
    private func write(_ bytes: [UInt8]) {
        if let tls {
            withTLS(tls) { tls throws(OpenSSLError) in try tls.send(bytes) }
        } else {
            writeRaw(bytes)
        }
    }

    private func writeRaw(_ bytes: [UInt8]) {
        mesh.count(self) { $0.bytesOut += UInt64(bytes.count) }
        stream.write(stream.allocator.buffer(bytes: bytes))
    }

    /// Tells the peer why, then ends the connection.
    func refuse(_ why: String) {
        guard state != .ended, state != .established else { return }
        reason = why
        isRefusal = true
        state = .ended
        sendNow(HandshakeFrame.refusal(why).encoded())
        stream.finish()
        mesh.handshakeEnded(self)
    }

    /// Ends the connection without a word.
    func reset(_ why: String) {
        guard state != .ended else { return }
        let wasEstablished = state == .established
        reason = why
        state = .ended
        stream.close()
        if wasEstablished { mesh.linkEnded(self, why) } else { mesh.handshakeEnded(self) }
    }

    private func take(_ frame: HandshakeFrame, _ bytes: UnsafeRawBufferPointer) {
        switch (state, frame) {
        case (_, .refusal(let why)):
            reason = "refused by the peer: \(MeshLink.printable(why))"
            isRefusal = true
            isStranger = role == .acceptor && state != .awaitingReady
            state = .ended
            stream.close()
            mesh.handshakeEnded(self)
        case (.awaitingHello, .hello(let hello)):
            peer = hello
            peerHello = [UInt8](bytes)
            if let why = mesh.objection(to: hello, on: self) { return refuse(why) }
            if role == .acceptor {
                sendHello()
            } else {
                sendProof()
            }
            if state == .awaitingHello { state = .awaitingProof }
        case (.awaitingProof, .proof(let code)):
            guard let wanted = proof(of: role.other) else { return refuse("the proof could not be computed") }
            guard Digest.constantTimeEqual(code, wanted) else {
                return refuse("the cluster secret of '\(name)' is not this node's")
            }
            if let why = mesh.objectionToProven(self) { return refuse(why) }
            if role == .acceptor {
                sendProof()
                if state == .awaitingProof { state = .awaitingReady }
            } else {
                sendNow(HandshakeFrame.ready.encoded())
                establish()
            }
        case (.awaitingReady, .ready):
            // Another link may have come up since the proof. The dialler counts this one as up: no refusal any more.
            if let why = mesh.objectionToProven(self) { return reset(why) }
            establish()
        default: refuse("a handshake message out of order")
        }
    }

    // MARK: TLS

    var tlsVersion: String? { tls?.version }

    /// Runs `body`, hands over what the session has for the network, and ends the link where it fails.
    private func withTLS(_ tls: TLSSession, _ body: (TLSSession) throws(OpenSSLError) -> Void) {
        var failure: OpenSSLError?
        do throws(OpenSSLError) {
            try body(tls)
        } catch {
            failure = error
        }
        // An alert that tells the peer why is worth sending, too.
        let output = tls.takeOutput()
        if !output.isEmpty { writeRaw(output) }
        if let failure { endTLS("TLS: \(failure)") }
    }

    private func endTLS(_ why: String) {
        guard state != .established else { return reset(why) }
        guard state != .ended else { return }
        reason = why
        isRefusal = true
        state = .ended
        stream.finish()
        mesh.handshakeEnded(self)
    }

    private func receivedTLS(_ tls: TLSSession, _ bytes: UnsafeRawBufferPointer) {
        mesh.count(self) { $0.bytesIn += UInt64(bytes.count) }
        withTLS(tls) { tls throws(OpenSSLError) in try tls.receive(bytes, into: &plain) }
        stream.flush()
        guard state != .ended, plain.count >= plainNeeded else { return }
        var held = plain
        plain = []
        let consumed = held.withUnsafeMutableBytes { parse($0) }
        plainNeeded = stream.bytesNeeded
        stream.bytesNeeded = 1
        guard consumed < held.count else { return }
        plain = consumed == 0 ? held : Array(held[consumed...])
        if plain.count > stream.maxTail { reset(StreamCloseReason.tailOverflow.description) }
    }

    /// By how a connection begins: with a record of TLS, a handshake or an alert (RFC 8446, 5.1). As a frame of our own
    /// handshake it would be longer than one may be.
    private static func isTLS(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        (bytes[0] == 22 || bytes[0] == 21) && bytes[1] == 3
    }

    /// One side speaks TLS and the other does not.
    private func refuseOther() {
        if tls == nil { return refuse("it speaks TLS and this node does not: [mesh] tls_certificate is not set here") }
        tls = nil
        if role == .dialler {
            endTLS("the peer does not speak TLS, as [mesh] tls_certificate asks for")
        } else {
            refuse("this node speaks TLS only: [mesh] tls_certificate is set here")
        }
    }

    private func sendProof() {
        guard let code = proof(of: role) else { return refuse("the proof could not be computed") }
        sendNow(HandshakeFrame.proof(code).encoded())
    }

    private func proof(of prover: LinkRole) -> [UInt8]? {
        try? prover.proof(
            secret: mesh.identity.secret,
            channel: tls?.binding() ?? [],
            diallerHello: role == .dialler ? ownHello : peerHello,
            acceptorHello: role == .dialler ? peerHello : ownHello
        )
    }

    private func establish() {
        guard let peer, let index = mesh.peerIndex(named: peer.name) else { return reset("no hello") }
        state = .established
        expected = index
        node = peer.node
        since = MonotonicClock.now()
        stream.maxTail = mesh.settings.maxFrame
        ownHello = []
        peerHello = []
        mesh.linkEstablished(self)
    }

    /// A peer's words for the log: no control characters.
    private static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? " " : $0 }))
    }

    // MARK: Messages

    /// Bytes that wait for the peer, but for the bulk lane's.
    var queuedBytes: Int { output.count + stream.queuedBytes }

    /// Queues a message for the end of this tick. False: it is larger than a frame may be, and was dropped.
    func send(_ message: PeerMessage) -> Bool {
        guard state == .established else { return false }
        if message.lane() == .bulk || (!bulk.isEmpty && bulk.holdsBack(message)) { return sendBulk(message) }
        let before = output.count
        message.encode(into: &output)
        let size = output.count - before
        guard size <= mesh.settings.maxFrame else {
            output.bytes.removeLast(size)
            return false
        }
        queueBound += size
        mesh.count(self) { $0.messagesOut += 1 }
        if queueBound > mesh.settings.maxQueue {
            queueBound = queuedBytes
            if queueBound > mesh.settings.maxQueue {
                mesh.count(self) { $0.overflows += 1 }
                reset("the outbound queue is above \(mesh.settings.maxQueue) bytes")
                return true
            }
        }
        if output.count >= 256 << 10 { handOver() }
        list()
        return true
    }

    private func sendBulk(_ message: PeerMessage) -> Bool {
        var frame = ByteWriter()
        message.encode(into: &frame)
        guard frame.count <= mesh.settings.maxFrame else { return false }
        guard bulk.bytes + frame.count <= mesh.settings.maxBulkQueue else {
            // A reset would take votes and live messages with it.
            mesh.count(self) { $0.bulkDropped += 1 }
            return true
        }
        bulk.append(frame.bytes, group: message.appendGroup)
        list()
        return true
    }

    private func list() {
        guard !isListed else { return }
        isListed = true
        mesh.listForFlush(self)
    }

    private func handOver() {
        guard output.count > 0 else { return }
        write(output.bytes)
        // The array of one huge message is not kept.
        output.bytes.removeAll(keepingCapacity: output.bytes.capacity <= 1 << 20)
    }

    /// Sends what the tick gathered: one system call.
    func flush() {
        isListed = false
        guard state == .established else { return }
        handOver()
        stream.flush()
        if !bulk.isEmpty, !isFeeding { feedBulk() }
        queueBound = stream.queuedBytes
    }

    /// Hands bulk to the stream while little waits there (`MeshSettings.bulkAhead`, the stream's high-water mark), and
    /// a bounded part of it in one turn of the loop. When the stream has room again it says so.
    func feedBulk() {
        isFeeding = false
        guard state == .established else { return }
        // An append that was queued as live may be followed by one of its group that is bulk.
        handOver()
        var budget = MeshLink.bulkBytesPerTurn
        while budget > 0, stream.isWritable, let frame = bulk.next() {
            let size = frame.count
            budget -= size
            queueBound += size
            mesh.count(self) {
                $0.messagesOut += 1
                $0.bulkMessagesOut += 1
                $0.bulkBytesOut += UInt64(size)
            }
            write(frame)
            stream.flush()
        }
        if !bulk.isEmpty, stream.isWritable { feedSoon() }
    }

    private func feedSoon() {
        guard !isFeeding else { return }
        isFeeding = true
        mesh.feedSoon(self)
    }

    private static let bulkBytesPerTurn = 1 << 20

    // MARK: ByteStreamHandler

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        if isFirstRead {
            guard bytes.count >= 2 else {
                stream.bytesNeeded = 2
                return 0
            }
            isFirstRead = false
            if MeshLink.isTLS(bytes) != (tls != nil) {
                refuseOther()
                return bytes.count
            }
        }
        guard let tls else { return parse(bytes) }
        receivedTLS(tls, UnsafeRawBufferPointer(bytes))
        return bytes.count
    }

    private func parse(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        var place = 0
        do throws(DecodeError) {
            while state != .ended {
                let rest = UnsafeRawBufferPointer(rebasing: bytes[place...])
                let isHandshake = state != .established
                let size =
                    isHandshake
                    ? try HandshakeFrame.size(at: rest)
                    : try PeerFrame.size(at: rest, limit: mesh.settings.maxFrame)
                guard let size, rest.count >= size else {
                    stream.bytesNeeded = size ?? (isHandshake ? HandshakeFrame.prefixBytes : PeerFrame.prefixBytes)
                    break
                }
                let frame = UnsafeRawBufferPointer(rebasing: rest[..<size])
                place += size
                if tls == nil { mesh.count(self) { $0.bytesIn += UInt64(size) } }
                if isHandshake {
                    take(try HandshakeFrame(decoding: frame, version: mesh.identity.protocolVersion), frame)
                } else {
                    let message = try PeerMessage(
                        decoding: UnsafeRawBufferPointer(rebasing: frame[PeerFrame.prefixBytes...])
                    )
                    mesh.count(self) { $0.messagesIn += 1 }
                    lastMessage = mesh.now
                    mesh.deliver(message, from: self)
                }
            }
        } catch {
            // Before the proof it may be anyone: no word that would make us an echo.
            reset("bad \(state == .established ? "message" : "handshake"): \(error)")
        }
        return state == .ended ? bytes.count : place
    }

    /// Told in the midst of a write, too.
    func writabilityChanged(_ isWritable: Bool) {
        if isWritable, !bulk.isEmpty { feedSoon() }
    }

    func closed(_ why: StreamCloseReason) {
        guard state != .ended else { return }
        let wasEstablished = state == .established
        reason = why.description
        state = .ended
        if wasEstablished { mesh.linkEnded(self, why.description) } else { mesh.handshakeEnded(self) }
    }
}
