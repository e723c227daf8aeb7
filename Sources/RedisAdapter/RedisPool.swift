import DequeModule
import EventLoops
import Primitives
import RESP

/// Connections for requests that share nothing with the backplane's own: health, statistics, reads of streams (RA-18).
///
/// A request is one pipeline on a connection of its own for as long as it takes. Connections are made when they are
/// needed, up to the ceiling; `poolSize` of them stay. Beyond the ceiling a request waits, and fails when none becomes
/// free in time. Confined to the shard's loop.
final class RedisPool {
    typealias Completion = (Result<[RESPValue], RedisError>) -> Void

    private final class Request {
        let commands: [RESPCommand]
        let deadline: Instant
        let completion: Completion
        var retries: Int
        var notBefore = Instant.zero
        var values: [RESPValue] = []

        init(_ commands: [RESPCommand], deadline: Instant, retries: Int, completion: @escaping Completion) {
            self.commands = commands
            self.deadline = deadline
            self.retries = retries
            self.completion = completion
        }
    }

    private let settings: RedisAdapterSettings
    private let ceiling: Int
    private let dial: (@escaping (Result<RedisConnection, RedisError>) -> Void) -> Void
    private var idle: [RedisConnection] = []
    private var busy: [ObjectIdentifier: (connection: RedisConnection, request: Request)] = [:]
    private var connecting = 0
    /// Not before then are connections made that nobody waits for.
    private var nextSpare = Instant.zero
    private var waiting: Deque<Request> = []
    private var isStopped = false
    private(set) var requests: UInt64 = 0
    private(set) var retried: UInt64 = 0
    /// Why nothing is to be tried now; nil: it is.
    var refusal: () -> String? = { nil }

    /// `dial` makes a connection of the pool.
    init(
        settings: RedisAdapterSettings,
        dial: @escaping (@escaping (Result<RedisConnection, RedisError>) -> Void) -> Void
    ) {
        self.settings = settings
        self.dial = dial
        ceiling = max(1, settings.maxConnections - settings.dedicated)
    }

    /// Open connections.
    var count: Int { idle.count + busy.count }
    var waitingCount: Int { waiting.count }

    /// Asks; `completion` gets as many values as commands. Blocking commands are refused (RA-19).
    func request(_ commands: [RESPCommand], completion: @escaping Completion) {
        if let command = commands.first(where: \.isBlocking) { return completion(.failure(.blocking(command.name))) }
        if let reason = refusal() { return completion(.failure(.unavailable(reason))) }
        guard waiting.count < settings.poolQueue, !isStopped else { return completion(.failure(.exhausted)) }
        requests += 1
        waiting.append(
            Request(
                commands,
                deadline: MonotonicClock.now() + settings.socketTimeout,
                retries: settings.retryAttempts,
                completion: completion
            )
        )
        serve()
    }

    private func serve() {
        let now = MonotonicClock.now()
        while let first = waiting.first, first.notBefore <= now {
            if let connection = idle.popLast() {
                run(waiting.removeFirst(), on: connection)
            } else {
                let wanted = waiting.count - connecting
                if wanted > 0, count + connecting < ceiling { connect() }
                return
            }
        }
    }

    private func connect() {
        connecting += 1
        dial { [weak self] result in
            guard let self else { return }
            connecting -= 1
            switch result {
            case .success(let connection):
                guard !isStopped else { return connection.close(.closed("this node stops")) }
                connection.onClosed = { [weak self, unowned connection] reason in self?.lost(connection, reason) }
                idle.append(connection)
                serve()
                trim()
            case .failure(let error):
                // Whoever has waited longest learns of it.
                nextSpare = MonotonicClock.now() + .seconds(1)
                guard let request = waiting.popFirst() else { return }
                retry(request, error)
            }
        }
    }

    private func run(_ request: Request, on connection: RedisConnection) {
        busy[ObjectIdentifier(connection)] = (connection, request)
        request.values.removeAll()
        for command in request.commands {
            connection.send(command) { [weak self, unowned connection] value in
                request.values.append(value)
                if request.values.count == request.commands.count { self?.finished(connection, request) }
            }
        }
    }

    private func finished(_ connection: RedisConnection, _ request: Request) {
        busy[ObjectIdentifier(connection)] = nil
        idle.append(connection)
        serve()
        trim()
        request.completion(.success(request.values))
    }

    /// No more than `poolSize` stay open unused.
    private func trim() {
        while waiting.isEmpty, !idle.isEmpty, count > settings.poolSize {
            let surplus = idle.removeFirst()
            surplus.onClosed = nil
            surplus.close(.closed("surplus"))
        }
    }

    private func lost(_ connection: RedisConnection, _ reason: RedisError) {
        idle.removeAll { $0 === connection }
        guard let request = busy.removeValue(forKey: ObjectIdentifier(connection))?.request else { return }
        retry(request, reason)
    }

    /// Again after an error that another connection may not meet; after a time-out only where that is allowed (RA-08).
    private func retry(_ request: Request, _ error: RedisError) {
        let isAllowed = error == .timeout ? settings.retryOnTimeout : true
        if case .refused = error { return request.completion(.failure(error)) }
        guard isAllowed, request.retries > 0, !isStopped, refusal() == nil else {
            return request.completion(.failure(error))
        }
        let attempt = settings.retryAttempts - request.retries
        request.retries -= 1
        retried += 1
        request.notBefore = MonotonicClock.now() + .milliseconds(20) * (1 << UInt64(min(attempt, 6)))
        let again = Request(
            request.commands,
            deadline: max(request.deadline, request.notBefore + settings.socketTimeout),
            retries: request.retries,
            completion: request.completion
        )
        again.notBefore = request.notBefore
        waiting.append(again)
    }

    /// Time limits of requests and of the connections that carry them.
    func tick(_ now: Instant) {
        for connection in idle { connection.check(now) }
        // In no particular order: they have nothing to do with each other.
        for entry in Array(busy.values) { entry.connection.check(now) }
        while let first = waiting.first, first.deadline <= now {
            waiting.removeFirst()
            first.completion(.failure(.exhausted))
        }
        if now >= nextSpare, refusal() == nil, !isStopped {
            while count + connecting < min(settings.poolMinimum, ceiling) { connect() }
        }
        serve()
    }

    /// The server is another one now: nothing of the old one's is used again.
    func reset(_ reason: String) {
        for connection in idle + busy.values.map(\.connection) { connection.close(.closed(reason)) }
    }

    func stop() {
        isStopped = true
        reset("this node stops")
        for request in waiting { request.completion(.failure(.closed("this node stops"))) }
        waiting.removeAll()
    }
}
