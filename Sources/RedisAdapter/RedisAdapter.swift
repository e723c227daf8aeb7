import Broker
import EventLoops
import NIOCore
import Primitives
import RESP
import RedisBackplane

/// Redis mode's shell: gives the backplane its connections and its clock, and decides nothing but which server it is.
///
/// The backplane's own connections are made together and given up together; the pool's come and go as they are needed.
/// Confined to the shard's loop, apart from `init`.
package final class RedisAdapter: @unchecked Sendable {
    private let settings: RedisAdapterSettings
    private let shard: Shard
    private let hub: (Int, ShardMessage) -> Void
    private let note: (BackplaneEvent) -> Void

    private var core: Backplane
    private var flushers: RedisFlush!
    private var pool: RedisPool!
    private var sentinel: SentinelClient?
    /// Where the master is; with Sentinels as the last one that was asked said.
    private var server: RedisAdapterSettings.Address
    private var dedicated: [BackplaneConnection: RedisConnection] = [:]
    /// Counts attempts to connect: what belongs to an earlier one is not listened to.
    private var generation: UInt64 = 0
    private var opening: [RedisConnection] = []
    private var switches: UInt64 = 0
    private var isStopped = false

    /// - Parameters:
    ///   - hub: takes what a shard's hub is told.
    ///   - note: takes what the log is told.
    package init(
        shard: Shard,
        settings: RedisAdapterSettings,
        hub: @escaping (Int, ShardMessage) -> Void,
        note: @escaping (BackplaneEvent) -> Void
    ) {
        self.shard = shard
        self.settings = settings
        self.hub = hub
        self.note = note
        server = settings.server
        core = Backplane(settings: settings.backplane, now: MonotonicClock.now(), wall: WallClock.now())
    }

    /// On the loop, once. The shard ticks.
    package func start() {
        flushers = RedisFlush(shard: shard)
        pool = RedisPool(settings: settings) { [unowned self] ready in dial(.pool, ready) }
        pool.refusal = { [unowned self] in
            settings.isPubSubEnabled && core.link.breaker.state == .open ? core.link.reason : nil
        }
        if !settings.sentinels.isEmpty {
            let client = SentinelClient(settings: settings, flushers: flushers, name: name(.sentinel))
            client.onSwitch = { [unowned self] address in switched(to: address) }
            sentinel = client
        }
        shard.atEndOfTick(.step) { [unowned self] in step() }
        shard.atEveryTick { [unowned self] now, wall in
            guard !isStopped else { return }
            core.advance(now: now, wall: wall)
            if settings.isPubSubEnabled { core.tick() }
            pool.tick(now)
            sentinel?.tick(now)
            // `check` may end a connection, and that changes the lists.
            for connection in opening { connection.check(now) }
            for connection in Array(dedicated.values) { connection.check(now) }
            shard.setNeeds(.step)
        }
        shard.setNeeds(.step)
    }

    /// What hubs ask. On the loop; what comes of it is under way when it returns, so that it leaves in this turn.
    package func receive(_ messages: [ShardMessage]) {
        for message in messages { core.onShardMessage(message) }
        step()
    }

    // MARK: Step

    private func step() {
        core.advance(now: MonotonicClock.now(), wall: WallClock.now())
        core.settle()
        var rounds = 0
        while !core.outbox.isEmpty, rounds < 64 {
            var directives: [BackplaneDirective] = []
            swap(&directives, &core.outbox)
            for directive in directives { perform(directive) }
            core.settle()
            rounds += 1
        }
        if !core.outbox.isEmpty { shard.setNeeds(.step) }
    }

    private func perform(_ directive: BackplaneDirective) {
        switch directive {
        case .connect: connect()
        case .disconnect(let reason): disconnect(.closed(reason))
        case .send(let key, let command, let patience):
            guard let connection = dedicated[key] else { return }
            if key == .subscriber { return connection.subscribe(command) }
            connection.send(command, patience: patience) { [unowned self] value in core.onReply(key, value) }
        case .pool(let id, let commands):
            pool.request(commands) { [weak self] result in
                guard let self else { return }
                core.onPoolReply(id, try? result.get())
                shard.setNeeds(.step)
            }
        case .hub(let index, let message): hub(index, message)
        case .probePeer(let peer): probe(peer)
        case .event(let event): note(event)
        }
    }

    private func probe(_ peer: String) {
        guard let address = settings.peers[peer] else { return }
        Dialer.connect(from: shard, host: address.host, port: address.port, timeout: .seconds(2)) { [weak self] _ in
            self?.core.onPeerProbed(peer, answers: true)
            self?.shard.setNeeds(.step)
            return nil
        } failed: { [weak self] _ in
            self?.core.onPeerProbed(peer, answers: false)
        }
    }

    // MARK: Link

    private func name(_ role: RedisConnection.Role) -> String {
        // CLIENT SETNAME takes neither spaces nor line breaks; node names have none.
        "vencejo:\(settings.backplane.node):\(role.rawValue)"
    }

    private func dial(
        _ role: RedisConnection.Role,
        _ ready: @escaping (Result<RedisConnection, RedisError>) -> Void
    ) {
        var connection: RedisConnection?
        connection = RedisConnection.open(
            server,
            role: role,
            name: name(role),
            credentials: RedisConnection.Credentials(
                user: settings.user,
                password: settings.password,
                database: settings.database
            ),
            verifiesRole: sentinel != nil,
            tls: settings.tls,
            connectTimeout: settings.connectTimeout,
            timeout: settings.socketTimeout,
            flushers: flushers
        ) { [weak self] result in
            self?.opening.removeAll { $0 === connection }
            connection = nil
            ready(result)
        }
        if let connection { opening.append(connection) }
    }

    private func connect() {
        generation += 1
        let own = generation
        guard let sentinel else { return connect(own) }
        sentinel.resolve { [weak self] result in
            guard let self, own == generation else { return }
            switch result {
            case .success(let address):
                if address != server { pool.reset("the master is another one") }
                server = address
                connect(own)
            case .failure(let error): disconnect(error)
            }
        }
    }

    private func connect(_ own: UInt64) {
        var wanted: [(BackplaneConnection, RedisConnection.Role)] = [
            (.publisher, .publisher), (.subscriber, .subscriber),
        ]
        if settings.backplane.waitReplicas > 0 { wanted.append((.writer, .writer)) }
        for index in 0..<settings.backplane.readers { wanted.append((.reader(index), .reader)) }
        for (key, role) in wanted {
            dial(role) { [weak self] result in
                guard let self else { return }
                guard own == generation else {
                    if case .success(let connection) = result { connection.close(.closed("too late")) }
                    return
                }
                switch result {
                case .failure(let error): disconnect(error)
                case .success(let connection):
                    dedicated[key] = connection
                    connection.onClosed = { [weak self] reason in
                        guard let self, own == generation else { return }
                        disconnect(reason)
                    }
                    if key == .subscriber {
                        connection.onPush = { [weak self] value in self?.core.onSubscriber(value) }
                    }
                    guard dedicated.count == wanted.count else { return }
                    let clients = (0..<settings.backplane.readers).map { dedicated[.reader($0)]?.client ?? 0 }
                    core.onConnected(readers: clients)
                    shard.setNeeds(.step)
                }
            }
        }
    }

    /// Gives the backplane's connections up, all of them.
    private func disconnect(_ reason: RedisError) {
        generation += 1
        let ended = dedicated
        dedicated.removeAll()
        for connection in ended.values {
            connection.onClosed = nil
            connection.close(reason)
        }
        for connection in opening where connection.role != .pool { connection.close(reason) }
        core.advance(now: MonotonicClock.now(), wall: WallClock.now())
        core.onLinkLost(reason.description)
        shard.setNeeds(.step)
    }

    private func switched(to address: RedisAdapterSettings.Address) {
        guard address != server else { return }
        switches += 1
        pool.reset("the master is another one")
        disconnect(.closed("failover to \(address.host):\(address.port)"))
        core.onSuccessor()
    }

    /// On the loop; nothing comes of it afterwards.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        generation += 1
        for connection in Array(dedicated.values) + opening { connection.close(.closed("this node stops")) }
        dedicated.removeAll()
        sentinel?.stop()
        pool.stop()
    }

    // MARK: Questions

    /// Any request to the pool. On the loop; so is the completion.
    package func request(
        _ commands: [RESPCommand],
        _ completion: @escaping (Result<[RESPValue], RedisError>) -> Void
    ) {
        pool.request(commands, completion: completion)
        shard.setNeeds(.step)
    }

    /// PING over the pool; and while rooms go through Redis, the state of their link. Nil: all is well (HC-04, HC-05).
    package func health(_ completion: @escaping (String?) -> Void) {
        request([RESPCommand("PING")]) { [weak self] result in
            guard let self else { return }
            switch result {
            case .failure(let error): completion(error.description)
            case .success(let values):
                if let error = values.first?.errorText { return completion(error) }
                let isWhole = !settings.isPubSubEnabled || core.link.phase == .up
                completion(isWhole ? nil : "Pub/Sub is not connected: \(core.link.reason)")
            }
        }
    }

    /// What the guide's `get_redis_stats` reads, from INFO.
    package func info(_ completion: @escaping ([String: String]?) -> Void) {
        request([RESPCommand("INFO")]) { result in
            guard let text = (try? result.get())?.first?.text else { return completion(nil) }
            var fields: [String: String] = [:]
            for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
                guard let colon = line.firstIndex(of: ":") else { continue }
                fields[String(line[..<colon])] = String(line[line.index(after: colon)...])
            }
            completion(fields)
        }
    }

    package var status: RedisAdapterStatus {
        var status = RedisAdapterStatus()
        status.isUp = settings.isPubSubEnabled && core.link.phase == .up
        status.isFallback = !settings.isPubSubEnabled || core.link.isFallback
        status.breaker = core.link.breaker.state
        status.breakerOpenings = core.link.breaker.openings
        status.attempts = core.link.attempts
        status.reason = settings.isPubSubEnabled ? core.link.reason : "Pub/Sub is switched off"
        status.server = "\(server.host):\(server.port)"
        status.connections["pool"] = pool.count
        for connection in dedicated.values { status.connections[connection.role.rawValue, default: 0] += 1 }
        if let sentinel { status.connections["sentinel"] = sentinel.count }
        status.poolRequests = pool.requests
        status.poolWaiting = pool.waitingCount
        status.poolRetries = pool.retried
        status.probeLatency = core.probeLatency
        status.switches = switches
        status.foreignPeers = core.foreignPeers
        status.counters = core.counters
        return status
    }
}
