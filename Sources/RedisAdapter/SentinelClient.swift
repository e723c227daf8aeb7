import EventLoops
import Primitives
import RESP

/// Asks Sentinels where the master is, and listens to one of them for a failover. Confined to the shard's loop.
/// Source: "Guidelines for Redis clients with support for Redis Sentinel", redis.io.
final class SentinelClient {
    typealias Address = RedisAdapterSettings.Address

    private let settings: RedisAdapterSettings
    private let flushers: RedisFlush
    private let name: String
    /// The one that answered last comes first.
    private var sentinels: [Address]
    private var watch: RedisConnection?
    private var isOpening = false
    private var nextWatch = Instant.zero
    private var opening: [RedisConnection] = []
    /// Told of the new master's address.
    var onSwitch: (Address) -> Void = { _ in }

    init(settings: RedisAdapterSettings, flushers: RedisFlush, name: String) {
        self.settings = settings
        self.flushers = flushers
        self.name = name
        sentinels = settings.sentinels
    }

    var count: Int { (watch == nil ? 0 : 1) + opening.count }

    private func open(_ address: Address, _ ready: @escaping (Result<RedisConnection, RedisError>) -> Void) {
        var connection: RedisConnection?
        connection = RedisConnection.open(
            address,
            role: .sentinel,
            name: name,
            credentials: RedisConnection.Credentials(password: settings.sentinelPassword),
            verifiesRole: false,
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

    // MARK: Discovery

    /// Asks one after the other until one knows the master.
    func resolve(_ done: @escaping (Result<Address, RedisError>) -> Void) {
        ask(sentinels[...], nil, done)
    }

    private func ask(
        _ rest: ArraySlice<Address>,
        _ last: RedisError?,
        _ done: @escaping (Result<Address, RedisError>) -> Void
    ) {
        guard let sentinel = rest.first else {
            return done(.failure(last ?? .connect("no Sentinel is configured")))
        }
        var isDone = false
        open(sentinel) { [weak self] result in
            guard let self else { return }
            func next(_ error: RedisError) {
                guard !isDone else { return }
                isDone = true
                ask(rest.dropFirst(), error, done)
            }
            switch result {
            case .failure(let error): next(error)
            case .success(let connection):
                opening.append(connection)
                connection.onClosed = { [weak self] error in
                    self?.opening.removeAll { $0 === connection }
                    next(error)
                }
                let command = RESPCommand("SENTINEL", "get-master-addr-by-name", RESPArgument(settings.sentinelMaster))
                connection.send(command) { [weak self, unowned connection] reply in
                    guard let self else { return }
                    opening.removeAll { $0 === connection }
                    connection.onClosed = nil
                    connection.close(.closed("asked"))
                    let parts = reply.elements ?? []
                    guard parts.count == 2, let host = parts[0].text, let port = parts[1].number,
                        (1...65535).contains(port)
                    else {
                        let reason =
                            reply.errorText ?? "\(sentinel.host):\(sentinel.port) knows no \(settings.sentinelMaster)"
                        return next(.refused(reason))
                    }
                    isDone = true
                    sentinels.removeAll { $0 == sentinel }
                    sentinels.insert(sentinel, at: 0)
                    done(.success(Address(host: host, port: Int(port))))
                }
            }
        }
    }

    // MARK: Watch

    /// Keeps an ear at one Sentinel, and time limits.
    func tick(_ now: Instant) {
        for connection in opening { connection.check(now) }
        watch?.check(now)
        guard watch == nil, !isOpening, now >= nextWatch, let sentinel = sentinels.first else { return }
        isOpening = true
        nextWatch = now + .seconds(1)
        open(sentinel) { [weak self] result in
            guard let self else { return }
            isOpening = false
            guard case .success(let connection) = result else {
                // Another one next time.
                sentinels.append(sentinels.removeFirst())
                return
            }
            watch = connection
            connection.onPush = { [weak self] value in self?.heard(value) }
            connection.onClosed = { [weak self] _ in self?.watch = nil }
            connection.subscribe(RESPCommand("SUBSCRIBE", "+switch-master"))
        }
    }

    /// `<name> <old ip> <old port> <new ip> <new port>`
    private func heard(_ value: RESPValue) {
        guard let parts = value.elements, parts.count == 3, parts[0].text == "message",
            let words = parts[2].text?.split(separator: " "), words.count == 5, words[0] == settings.sentinelMaster,
            let port = Int(words[4])
        else { return }
        onSwitch(Address(host: String(words[3]), port: port))
    }

    func stop() {
        nextWatch = .distantFuture
        watch?.close(.closed("this node stops"))
        for connection in opening { connection.close(.closed("this node stops")) }
    }
}
