import ClientProtocol
import NIOCore
import NIOPosix
import Primitives
import WebSocket

/// The state of a client: its connection, its requests in flight and its subscriptions. Confined to its event loop;
/// `VencejoClient` is the way in.
final class ClientCore: @unchecked Sendable {
    private struct Pending {
        var message: [UInt8]
        /// May be sent again on another connection: reading, or a publish with an idempotency key.
        var isRepeatable: Bool
        var deadline: NIODeadline
        var finish: (Result<ServerMessage.Reply, ClientFailure>) -> Void
    }

    private final class Subscription {
        let room: String
        var options: SubscriptionOptions
        let events: AsyncStream<ClientEvent>.Continuation
        var position: RoomPosition?
        var isActive = false

        init(room: String, options: SubscriptionOptions, events: AsyncStream<ClientEvent>.Continuation) {
            self.room = room
            self.options = options
            self.events = events
            if case .after(let position) = options.start { self.position = position }
        }
    }

    let loop: any EventLoop
    private let urls: [NodeURL]
    private let settings: ClientSettings
    private var link: ClientLink?
    private var isConnected = false
    private var isClosed = false
    private var nextURL = 0
    private var failures = 0
    private var nextID: UInt32 = 1
    private var connectID: UInt32 = 0
    private var pending: [UInt32: Pending] = [:]
    private var subscriptions: [Subscription] = []
    private var connecting: [(Result<Void, ClientFailure>) -> Void] = []
    private var window: DuplicateWindow
    private var watchdog: RepeatedTask?
    private var lastHeard = NIODeadline.now()
    private var pingInterval: TimeAmount = .seconds(25)

    init(urls: [NodeURL], settings: ClientSettings, loop: any EventLoop) {
        self.urls = urls
        self.settings = settings
        self.loop = loop
        window = settings.duplicateWindow
    }

    var duplicates: UInt64 { window.duplicates }

    // MARK: Connection

    /// Connects for the first time: every URL is tried once.
    func start(_ done: @escaping (Result<Void, ClientFailure>) -> Void) {
        connecting.append(done)
        let period = TimeAmount.milliseconds(500)
        watchdog = loop.scheduleRepeatedTask(initialDelay: period, delay: period) { [weak self] _ in
            self?.checkTimes()
        }
        dial()
    }

    private func dial() {
        guard !isClosed else { return }
        let url = urls[nextURL % urls.count]
        nextURL += 1
        let maxMessageSize = settings.maxMessageSize
        ClientBootstrap(group: loop)
            .connectTimeout(.milliseconds(settings.connectMilliseconds))
            .channelOption(.socketOption(.so_reuseaddr), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let link = ClientLink(url: url, maxMessageSize: maxMessageSize, owner: self)
                    self.link = link
                    try channel.pipeline.syncOperations.addHandler(link)
                }
            }
            .connect(host: url.host, port: url.port)
            .whenFailure { error in self.attemptFailed(.unreachable(String(describing: error))) }
    }

    private func attemptFailed(_ failure: ClientFailure) {
        link = nil
        failures += 1
        if isClosed { return }
        if !connecting.isEmpty, failures >= urls.count || !settings.reconnects {
            let waiting = connecting
            connecting = []
            isClosed = true
            watchdog?.cancel()
            for done in waiting { done(.failure(failure)) }
            return
        }
        retry()
    }

    private func retry() {
        guard settings.reconnects else { return shutDown(.connectionLost) }
        let doublings = min(max(failures - urls.count, 0), 16)
        let low = settings.backoffMilliseconds.lowerBound
        let most = min(settings.backoffMilliseconds.upperBound, low << Int64(doublings))
        // The other nodes are tried at once, then with random waits, so that clients do not come back together.
        let wait = failures < urls.count ? Int64.random(in: 0...low) : Int64.random(in: low...max(low, most))
        loop.assumeIsolated().scheduleTask(in: .milliseconds(wait)) { [weak self] in self?.dial() }
    }

    func linkOpened(_ link: ClientLink) {
        lastHeard = .now()
        connectID = nextRequestID()
        var message: [UInt8] = []
        message.append(contentsOf: "{\"id\":\(connectID),\"connect\":{\"name\":".utf8)
        JSONWriter.append(text: settings.name, to: &message)
        message.append(contentsOf: "}}".utf8)
        link.send(text: message)
    }

    func linkClosed(_ ended: ClientLink, code: UInt16, _ failure: ClientFailure?) {
        guard ended === link else { return }
        link = nil
        let wasConnected = isConnected
        isConnected = false
        if isClosed { return }
        let terminal = !Disconnect(code: code, reason: "").reconnects
        for subscription in subscriptions {
            subscription.isActive = false
            yield(subscription, .disconnected(code: code, reconnects: settings.reconnects && !terminal))
        }
        for id in pending.keys.sorted() where pending[id]?.isRepeatable == false {
            pending.removeValue(forKey: id)?.finish(.failure(.connectionLost))
        }
        if terminal { return shutDown(failure ?? .protocolViolation("closed with \(code)")) }
        if wasConnected {
            failures = 0
            retry()
        } else {
            attemptFailed(failure ?? .unreachable("closed with \(code) before it was usable"))
        }
    }

    private func connected(_ reply: ServerMessage.Reply) {
        isConnected = true
        failures = 0
        if reply.pingInterval > 0 { pingInterval = .seconds(Int64(clamping: reply.pingInterval)) }
        let waiting = connecting
        connecting = []
        for done in waiting { done(.success(())) }
        // First what waited for a connection: the subscribes are new requests and are sent as they are made.
        for id in pending.keys.sorted() {
            if let request = pending[id] { link?.send(text: request.message) }
        }
        for subscription in subscriptions { sendSubscribe(subscription) }
    }

    private func checkTimes() {
        let now = NIODeadline.now()
        for id in pending.keys.sorted() {
            if let request = pending[id], request.deadline < now {
                pending.removeValue(forKey: id)?.finish(.failure(.timeout))
            }
        }
        // The server's rule: a ping every interval; ten seconds more and the connection counts as dead.
        if isConnected, now - lastHeard > pingInterval + .seconds(10) { link?.close(.init(3012)) }
    }

    func close() { shutDown(nil) }

    private func shutDown(_ failure: ClientFailure?) {
        guard !isClosed else { return }
        isClosed = true
        isConnected = false
        watchdog?.cancel()
        for subscription in subscriptions {
            subscription.events.yield(.ended(failure))
            subscription.events.finish()
        }
        subscriptions = []
        let requests = pending
        pending = [:]
        for id in requests.keys.sorted() { requests[id]?.finish(.failure(failure ?? .closed)) }
        for done in connecting { done(.failure(failure ?? .closed)) }
        connecting = []
        link?.close(.normal)
    }

    // MARK: Requests

    private func nextRequestID() -> UInt32 {
        defer { nextID = nextID == .max ? 1 : nextID + 1 }
        return nextID
    }

    /// Sends `{"id":n,` + `rest`. `rest` begins with the method's name and ends with the closing brace.
    func request(
        _ rest: [UInt8],
        isRepeatable: Bool,
        _ finish: @escaping (Result<ServerMessage.Reply, ClientFailure>) -> Void
    ) {
        guard !isClosed else { return finish(.failure(.closed)) }
        guard pending.count < settings.requestsInFlight else { return finish(.failure(.tooManyRequests)) }
        guard isConnected || isRepeatable else { return finish(.failure(.connectionLost)) }
        let id = nextRequestID()
        let message = Array("{\"id\":\(id),".utf8) + rest
        pending[id] = Pending(
            message: message,
            isRepeatable: isRepeatable,
            deadline: .now() + .milliseconds(settings.requestMilliseconds),
            finish: finish
        )
        if isConnected { link?.send(text: message) }
    }

    // MARK: Subscriptions

    func subscribe(_ room: String, _ options: SubscriptionOptions, _ events: AsyncStream<ClientEvent>.Continuation) {
        guard !isClosed, !subscriptions.contains(where: { $0.room == room }) else {
            let failure =
                isClosed ? ClientFailure.closed : .server(code: 105, message: "already subscribed", isTemporary: false)
            events.yield(.ended(failure))
            return events.finish()
        }
        let subscription = Subscription(room: room, options: options, events: events)
        subscriptions.append(subscription)
        if isConnected { sendSubscribe(subscription) }
    }

    func unsubscribe(_ room: String) {
        guard let row = subscriptions.firstIndex(where: { $0.room == room }) else { return }
        subscriptions.remove(at: row).events.finish()
        var rest = Array("\"unsubscribe\":{\"channel\":".utf8)
        JSONWriter.append(text: room, to: &rest)
        rest.append(contentsOf: "}}".utf8)
        if isConnected { request(rest, isRepeatable: false) { _ in } }
    }

    private func sendSubscribe(_ subscription: Subscription) {
        var rest = Array("\"subscribe\":{\"channel\":".utf8)
        JSONWriter.append(text: subscription.room, to: &rest)
        if let position = subscription.position {
            rest.append(contentsOf: ",\"recover\":true,\"offset\":\(position.offset),\"epoch\":\"".utf8)
            EpochText.append(position.epoch, to: &rest)
            rest.append(UInt8(ascii: "\""))
        } else if subscription.options.start == .beginning {
            rest.append(contentsOf: ",\"recover\":true".utf8)
        }
        if let acknowledgement = subscription.options.acknowledgement {
            rest.append(contentsOf: ",\"ack\":{\"window\":\(acknowledgement.window),\"cursor\":".utf8)
            JSONWriter.append(text: acknowledgement.cursor, to: &rest)
            rest.append(UInt8(ascii: "}"))
        }
        rest.append(contentsOf: "}}".utf8)
        request(rest, isRepeatable: false) { [weak self, weak subscription] result in
            guard let self, let subscription else { return }
            self.subscribed(subscription, result)
        }
    }

    private func subscribed(_ subscription: Subscription, _ result: Result<ServerMessage.Reply, ClientFailure>) {
        guard subscriptions.contains(where: { $0 === subscription }) else { return }
        switch result {
        case .success(let reply):
            subscription.isActive = true
            let epoch = reply.isPositioned ? reply.epoch : nil
            // The position before the recovered messages; they move it on one by one.
            let start = reply.publications.first.map { $0.offset - min(1, $0.offset) } ?? reply.offset
            subscription.position = epoch.map { RoomPosition(epoch: $0, offset: start) }
            yield(
                subscription,
                .subscribed(
                    position: subscription.position,
                    wasRecovering: reply.wasRecovering,
                    recovered: reply.recovered
                )
            )
            for publication in reply.publications { deliver(publication, to: subscription) }
            if let epoch { subscription.position = RoomPosition(epoch: epoch, offset: reply.offset) }
        case .failure(.connectionLost): break
        case .failure(let failure):
            if case .server(_, _, true) = failure {
                // The room's owner is being elected: again in a moment, as long as the connection lives.
                loop.assumeIsolated().scheduleTask(in: .milliseconds(.random(in: 100...500))) { [weak self] in
                    guard let self, self.isConnected, !subscription.isActive,
                        self.subscriptions.contains(where: { $0 === subscription })
                    else { return }
                    self.sendSubscribe(subscription)
                }
                return
            }
            end(subscription, failure)
        }
    }

    private func end(_ subscription: Subscription, _ failure: ClientFailure?) {
        subscriptions.removeAll { $0 === subscription }
        subscription.events.yield(.ended(failure))
        subscription.events.finish()
    }

    private func yield(_ subscription: Subscription, _ event: ClientEvent) {
        if case .dropped = subscription.events.yield(event) {
            // The reader is too far behind. Skipping messages would be a lie: the stream ends, and its reader may
            // subscribe again after its last position.
            subscriptions.removeAll { $0 === subscription }
            subscription.events.finish()
            unsubscribeOnly(subscription.room)
        }
    }

    private func unsubscribeOnly(_ room: String) {
        guard isConnected else { return }
        var rest = Array("\"unsubscribe\":{\"channel\":".utf8)
        JSONWriter.append(text: room, to: &rest)
        rest.append(contentsOf: "}}".utf8)
        request(rest, isRepeatable: false) { _ in }
    }

    private func deliver(_ publication: ServerMessage.Publication, to subscription: Subscription) {
        let isNew = window.isNew(
            publication.id.isEmpty ? [] : Array(subscription.room.utf8) + [0] + publication.id,
            now: Instant(nanoseconds: UInt64(NIODeadline.now().uptimeNanoseconds))
        )
        let message = message(publication, room: subscription.room, epoch: subscription.position?.epoch ?? 0)
        if publication.offset > 0, let position = subscription.position, publication.offset > position.offset {
            subscription.position = RoomPosition(epoch: position.epoch, offset: publication.offset)
        }
        if isNew { yield(subscription, .message(message)) }
    }

    func message(_ publication: ServerMessage.Publication, room: String, epoch: UInt64) -> ReceivedMessage {
        ReceivedMessage(
            room: room,
            offset: publication.offset,
            epoch: publication.offset > 0 ? epoch : 0,
            data: publication.data,
            id: publication.id,
            time: publication.time,
            tags: publication.tags
        )
    }

    // MARK: Input

    func received(_ frame: [UInt8], from source: ClientLink) {
        guard source === link else { return }
        lastHeard = .now()
        let messages: [ServerMessage.Content]
        do throws(JSONError) {
            messages = try ServerMessage.decode(frame)
        } catch {
            return source.close(.invalidPayload)
        }
        for message in messages { handle(message, from: source) }
    }

    private func handle(_ message: ServerMessage.Content, from source: ClientLink) {
        switch message {
        case .ping: source.send(text: Array("{}".utf8))
        case .reply(let id, let result):
            let id = UInt32(clamping: id)
            if id == connectID, !isConnected {
                switch result {
                case .success(let reply): connected(reply)
                case .failure(.server(_, _, true)): source.close(.normal)
                case .failure(let failure): shutDown(failure)
                }
                return
            }
            pending.removeValue(forKey: id)?.finish(result)
        case .push(let channel, let push):
            let room = String(decoding: channel, as: UTF8.self)
            guard let subscription = subscriptions.first(where: { $0.room == room }) else { return }
            switch push {
            case .publication(let publication): deliver(publication, to: subscription)
            case .gap(let from, let to, let reason):
                yield(subscription, .gap(from: from, to: to, reason: reason))
                if let position = subscription.position, to > position.offset {
                    subscription.position = RoomPosition(epoch: position.epoch, offset: to)
                }
            case .dropped(let count): yield(subscription, .dropped(count: count))
            case .unsubscribe(let code):
                subscription.isActive = false
                if code >= 2500 { sendSubscribe(subscription) } else { end(subscription, nil) }
            case .other: break
            }
        }
    }
}
