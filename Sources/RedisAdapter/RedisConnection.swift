import EventLoops
import NIOCore
import Primitives
import RESP
import SystemOpenSSL

/// One connection to a Redis server or a Sentinel: the handshake, then commands and their replies, in order.
///
/// It opens with `HELLO 3` and falls back to RESP2 where the server does not know it, as current clients do. What is
/// sent during a turn of the loop leaves as one write: a pipeline. Confined to the shard's loop.
final class RedisConnection: ByteStreamHandler {
    /// What it is for; a part of its name in `CLIENT LIST`.
    enum Role: String, CaseIterable {
        case pool, publisher, subscriber, reader, writer, sentinel
    }

    struct Credentials {
        var user = ""
        var password = ""
        var database = 0
    }

    private struct Pending {
        var deadline: Instant
        var reply: (RESPValue) -> Void
    }

    let role: Role
    /// The server's number for it.
    private(set) var client: Int64 = 0
    private(set) var isReady = false
    /// Pushes, and everything else that answers no command.
    var onPush: ((RESPValue) -> Void)?
    /// The last call, once the connection was ready.
    var onClosed: ((RedisError) -> Void)?

    private let name: String
    private let credentials: Credentials
    private let verifiesRole: Bool
    private let timeout: Interval
    private let flushers: RedisFlush
    private var stream: ByteStream?
    private let tls: TLSSession?
    /// What TLS has brought and the parser has not taken.
    private var plain: [UInt8] = []
    private var parser: RESPReplyParser
    private var pending: [Pending] = []
    private var pendingHead = 0
    private var outgoing: [UInt8] = []
    private var isListed = false
    private var ready: ((Result<RedisConnection, RedisError>) -> Void)?
    private var failure: RedisError?
    private var isHandshaking = true
    private var handshakeDeadline = Instant.zero

    private static let longestBulk = 16 << 20

    private init(
        role: Role,
        name: String,
        credentials: Credentials,
        verifiesRole: Bool,
        tls: TLSSession?,
        timeout: Interval,
        flushers: RedisFlush,
        ready: @escaping (Result<RedisConnection, RedisError>) -> Void
    ) {
        self.role = role
        self.tls = tls
        self.name = name
        self.credentials = credentials
        self.verifiesRole = verifiesRole
        self.timeout = timeout
        self.flushers = flushers
        self.ready = ready
        var limits = RESPReplyLimits()
        limits.bulk = RedisConnection.longestBulk
        parser = RESPReplyParser(limits: limits)
    }

    /// Connects and shakes hands; `ready` is called once, also when it fails. The connection is returned at once, so
    /// that it can be closed and its time can be watched.
    @discardableResult
    static func open(
        _ address: RedisAdapterSettings.Address,
        role: Role,
        name: String,
        credentials: Credentials,
        verifiesRole: Bool,
        tls: TLSContext?,
        connectTimeout: Interval,
        timeout: Interval,
        flushers: RedisFlush,
        ready: @escaping (Result<RedisConnection, RedisError>) -> Void
    ) -> RedisConnection {
        let connection = RedisConnection(
            role: role,
            name: name,
            credentials: credentials,
            verifiesRole: verifiesRole,
            // Without memory for a session it would not go far either.
            tls: tls.flatMap { try? TLSSession(connecting: $0, to: address.host) },
            timeout: timeout,
            flushers: flushers,
            ready: ready
        )
        connection.handshakeDeadline = MonotonicClock.now() + connectTimeout + timeout
        var settings = StreamSettings()
        settings.maxTail = longestBulk + (128 << 10)
        settings.highWater = 4 << 20
        settings.lowWater = 1 << 20
        Dialer.connect(
            from: flushers.shard,
            host: address.host,
            port: address.port,
            settings: settings,
            timeout: .nanoseconds(Int64(clamping: connectTimeout.nanoseconds))
        ) { stream in
            guard connection.failure == nil else { return nil }
            connection.stream = stream
            connection.startTLS()
            connection.begin()
            return connection
        } failed: { reason in
            connection.finish(.connect("\(address.host):\(address.port): \(reason)"))
        }
        return connection
    }

    // MARK: TLS

    private func startTLS() { withTLS { tls throws(OpenSSLError) in try tls.start() } }

    /// Runs `body`, writes what the session has for the network, and ends the connection where it fails.
    private func withTLS(_ body: (TLSSession) throws(OpenSSLError) -> Void) {
        guard let tls, let stream else { return }
        var refusal: OpenSSLError?
        do throws(OpenSSLError) {
            try body(tls)
        } catch {
            refusal = error
        }
        // An alert that tells the server why is worth sending, too.
        let output = tls.takeOutput()
        if !output.isEmpty {
            stream.write(stream.allocator.buffer(bytes: output))
            stream.flush()
        }
        if let refusal { close(.closed("TLS: \(refusal)")) }
    }

    // MARK: Handshake

    private func begin() {
        var hello: [RESPArgument] = ["HELLO", "3"]
        if !credentials.password.isEmpty {
            let user = credentials.user.isEmpty ? "default" : credentials.user
            hello += ["AUTH", RESPArgument(user), RESPArgument(credentials.password)]
        }
        hello += ["SETNAME", RESPArgument(name)]
        send(RESPCommand(hello)) { [unowned self] reply in
            if let error = reply.errorText {
                if error.hasPrefix("WRONGPASS") || error.hasPrefix("NOAUTH") || error.hasPrefix("NOPERM") {
                    return close(.refused(error))
                }
                return beginOld()
            }
            client = reply.member("id")?.number ?? 0
            finishHandshake(knowsClient: true)
        }
    }

    /// RESP2, for servers that do not know HELLO 3.
    private func beginOld() {
        if !credentials.password.isEmpty {
            var auth: [RESPArgument] = ["AUTH"]
            if !credentials.user.isEmpty { auth.append(RESPArgument(credentials.user)) }
            send(RESPCommand(auth + [RESPArgument(credentials.password)])) { [unowned self] reply in
                if let error = reply.errorText { close(.refused(error)) }
            }
        }
        // A Sentinel before 6.2 and some proxies do not know it; a name is only a name.
        send(RESPCommand("CLIENT", "SETNAME", RESPArgument(name))) { _ in }
        finishHandshake(knowsClient: false)
    }

    private func finishHandshake(knowsClient: Bool) {
        if role != .sentinel {
            send(RESPCommand("CLIENT", "SETINFO", "LIB-NAME", "vencejo")) { _ in }
            if credentials.database != 0 {
                send(RESPCommand("SELECT", RESPArgument(credentials.database))) { [unowned self] reply in
                    if let error = reply.errorText { close(.refused(error)) }
                }
            }
            if !knowsClient {
                send(RESPCommand("CLIENT", "ID")) { [unowned self] reply in client = reply.number ?? 0 }
            }
            if verifiesRole {
                send(RESPCommand("ROLE")) { [unowned self] reply in
                    let role = reply.elements?.first?.text ?? reply.errorText ?? "nothing"
                    if role != "master" { close(.refused("the server that the Sentinel names is \(role), not master")) }
                }
            }
        }
        send(RESPCommand("PING")) { [unowned self] reply in
            // LOADING, NOAUTH, MASTERDOWN and their like.
            if let error = reply.errorText { return close(.refused(error)) }
            isHandshaking = false
            isReady = true
            let report = ready
            ready = nil
            report?(.success(self))
        }
    }

    // MARK: Commands

    /// Queues a command behind those before it; `reply` is called unless the connection ends first.
    func send(_ command: RESPCommand, patience: Interval = .zero, reply: @escaping (RESPValue) -> Void) {
        guard failure == nil else { return }
        pending.append(Pending(deadline: MonotonicClock.now() + timeout + patience, reply: reply))
        write(command)
    }

    /// Queues a command whose answers are pushes.
    func subscribe(_ command: RESPCommand) { if failure == nil { write(command) } }

    private func write(_ command: RESPCommand) {
        RESPCommandEncoder.append(command, to: &outgoing)
        guard !isListed else { return }
        isListed = true
        flushers.add(self)
    }

    var pendingCount: Int { pending.count - pendingHead }

    func flush() {
        isListed = false
        guard let stream, !outgoing.isEmpty else { return }
        if tls != nil {
            withTLS { tls throws(OpenSSLError) in try tls.send(outgoing) }
        } else {
            stream.write(stream.allocator.buffer(bytes: outgoing))
            stream.flush()
        }
        outgoing.removeAll(keepingCapacity: outgoing.capacity <= 256 << 10)
    }

    /// Ends a connection that has not answered in time.
    func check(_ now: Instant) {
        if isHandshaking, now >= handshakeDeadline { return close(.timeout) }
        if pendingHead < pending.count, pending[pendingHead].deadline <= now { close(.timeout) }
    }

    func close(_ reason: RedisError) {
        guard failure == nil else { return }
        failure = reason
        if let stream { stream.close() } else { finish(reason) }
    }

    // MARK: ByteStreamHandler

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard tls != nil else { return parse(UnsafeRawBufferPointer(bytes)) }
        withTLS { tls throws(OpenSSLError) in try tls.receive(UnsafeRawBufferPointer(bytes), into: &plain) }
        if plain.count >= parser.bytesNeeded {
            let consumed = plain.withUnsafeBytes { parse($0) }
            plain.removeFirst(min(consumed, plain.count))
        }
        stream?.bytesNeeded = 1
        return bytes.count
    }

    private func parse(_ raw: UnsafeRawBufferPointer) -> Int {
        var position = 0
        do throws(RESPReplyError) {
            while failure == nil, let value = try parser.next(raw, from: &position) { take(value) }
        } catch {
            close(.closed("not RESP: \(error)"))
        }
        stream?.bytesNeeded = parser.bytesNeeded
        flushers.shard.setNeeds(.step)
        return failure == nil ? position : raw.count
    }

    private func take(_ value: RESPValue) {
        if case .push = value {
            onPush?(value)
        } else if pendingHead < pending.count {
            let reply = pending[pendingHead].reply
            pendingHead += 1
            if pendingHead == pending.count || pendingHead >= 1024 {
                pending.removeFirst(pendingHead)
                pendingHead = 0
            }
            reply(value)
        } else {
            // RESP2 has no pushes: a subscriber's messages are arrays that nobody asked for.
            onPush?(value)
        }
    }

    func writabilityChanged(_ isWritable: Bool) {}

    func closed(_ reason: StreamCloseReason) { finish(failure ?? .closed(reason.description)) }

    private func finish(_ reason: RedisError) {
        failure = reason
        stream = nil
        pending.removeAll()
        pendingHead = 0
        let (report, told) = (ready, onClosed)
        ready = nil
        onClosed = nil
        onPush = nil
        if let report { report(.failure(reason)) } else { told?(reason) }
        flushers.shard.setNeeds(.step)
    }
}

/// Connections that have something to write in this turn of the loop: each is written once, at its end.
final class RedisFlush {
    let shard: Shard
    private var waiting: [RedisConnection] = []

    init(shard: Shard) {
        self.shard = shard
        shard.atEndOfTick(.flush) { [weak self] in self?.flush() }
    }

    func add(_ connection: RedisConnection) {
        waiting.append(connection)
        shard.setNeeds(.flush)
    }

    private func flush() {
        var batch: [RedisConnection] = []
        swap(&batch, &waiting)
        for connection in batch { connection.flush() }
    }
}
